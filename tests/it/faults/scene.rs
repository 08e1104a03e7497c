//! One host to which something happens.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{FAULTS, TABLE};
use crate::containerd::Differ;
use crate::fault_table::{Back, Row};
use crate::publisher::Publisher;
use crate::world::{Daemon, Image, PATIENCE, World, run};

pub(super) const V1: &str = "r.test/team/app:v1";

/// What a question takes at most on a machine that has some other work.
const BUSY: Duration = Duration::from_secs(5);

/// Version by repository and role.
type Floors = BTreeMap<(String, String), u64>;

/// A host with a signed image, whose every question goes to the trust server.
pub(super) struct Scene {
    pub(super) world: World,
    pub(super) image: Image,
    pub(super) publisher: Publisher,
    fault: &'static str,
    before: Floors,
    told: Vec<String>,
    /// How long the longest question took while all was well.
    usual: Duration,
}

impl Scene {
    /// `None`, with a message, where the tests don't run as root.
    pub(super) fn new(folder: &str, fault: &'static str) -> Option<Self> {
        assert!(FAULTS.contains(&fault), "{fault}");
        let mut world = World::new(folder)?;
        world.deadline = "3s";
        let image = Image::named("signed");
        let publisher = world.sign(&image.index.digest);
        world.write_policy(&asking_always(&world.policy()));
        world
            .containerd
            .hold("default", |held| image.hold_as(held, V1));
        world
            .containerd
            .differ(Differ::AsksGate(world.path("gate")));
        Some(Self {
            world,
            image,
            publisher,
            fault,
            before: Floors::new(),
            told: Vec::new(),
            usual: Duration::ZERO,
        })
    }

    /// The publisher signs anew, so that the next question has floors to write.
    pub(super) fn publish(&mut self) {
        self.publisher.tick();
        self.world.notary.publish(&self.publisher);
    }

    /// The code with which `verify` ends now.
    pub(super) fn code(&self) -> String {
        let name = format!("{V1}@{}", self.image.index.digest);
        let (answer, exit) = self.world.rootpin_json(&["verify", &name]);
        let code = answer["code"].as_str().unwrap_or("allowed").to_owned();
        assert_eq!(exit == 0, code == "allowed", "{answer}");
        code
    }

    /// What an engine gets now. The three doors must agree.
    pub(super) fn ask(&self) -> String {
        let (code, digest) = (self.code(), &self.image.index.digest);
        let verifier = self.world.verifier(V1, digest);
        assert!(
            (verifier.code == 0) == (code == "allowed") && verifier.out.contains(&code),
            "verify says {code}, and {verifier:?}"
        );
        let unpack = self.image.unpack();
        let gate = self
            .world
            .unpack("gate", unpack, &[("containerd-namespace", "default")])
            .unwrap_err();
        if code == "allowed" {
            assert_eq!(gate.code(), tonic::Code::Unimplemented, "{gate:?}");
            return code;
        }
        assert!(
            gate.code() == tonic::Code::FailedPrecondition && gate.message().contains(&code),
            "verify says {code}, and {gate:?}"
        );
        refused(&code)
    }

    /// Publishes and asks until something is refused while status and metrics say that the state is
    /// in trouble; whatever is allowed before that has its floors written. What is refused may be
    /// written a moment later, where the failed write left room: then the state is well again.
    pub(super) fn ask_until_refused_and_told(&mut self) -> String {
        for _ in 0..2000 {
            self.publish();
            let code = self.code();
            let newest = self.publisher.roles["timestamp"].version;
            if code == "allowed" {
                assert!(
                    self.has_seen(newest),
                    "allowed without its floor: {:?}",
                    self.floors()
                );
            } else if self.is_told_of_state() {
                return refused(&code);
            } else {
                let until = Instant::now() + PATIENCE;
                while !self.has_seen(newest) {
                    assert!(Instant::now() < until, "{code}, and nothing is told");
                }
            }
        }
        panic!("it is never noticed");
    }

    /// Whether status and metrics say now that the state is in trouble.
    pub(super) fn is_told_of_state(&mut self) -> bool {
        let (word, sample) = ("the state is in trouble", "rootpin_state_ok 0");
        let (status, exit) = self.world.rootpin_json(&["status"]);
        let metrics = self.world.rootpin(&["metrics"]).out;
        let is_red = status["why"].to_string().contains(word);
        if !is_red || !metrics.lines().any(|line| line == sample) {
            return false;
        }
        assert_eq!(exit, 1, "{status}");
        self.told.push(format!("`rootpin status` is red: “{word}”"));
        self.told.push(format!("metric `{sample}`"));
        true
    }

    /// Whether the floor of the timestamp is that.
    pub(super) fn has_seen(&self, version: u64) -> bool {
        let seen = |((_, role), found): (&(String, String), &u64)| {
            role == "timestamp" && *found == version
        };
        self.floors().iter().any(seen)
    }

    /// All is well, and these are the floors that must hold from now on.
    pub(super) fn well(&mut self) {
        let since = Instant::now();
        assert_eq!(self.ask(), "allowed");
        self.usual = self.usual.max(since.elapsed());
        self.before = self.floors();
        assert!(self.before.len() > 1, "{:?}", self.before);
    }

    /// What the daemon knows.
    pub(super) fn floors(&self) -> Floors {
        let (seen, exit) = self.world.rootpin_json(&["state", "show"]);
        assert_eq!(exit, 0, "{seen}");
        floors_of(&seen)
    }

    /// The status is red, with that among its reasons.
    pub(super) fn told_by_status(&mut self, word: &str) {
        let (status, exit) = self.status_when(|status, _| status["why"].to_string().contains(word));
        assert_eq!(exit, 1, "{status}");
        self.told.push(format!("`rootpin status` is red: “{word}”"));
    }

    /// The status names the source, and is not red for it.
    pub(super) fn told_by_silent_source(&mut self) {
        let (status, exit) = self.status_when(|status, _| status["silent"][0].is_object());
        assert_eq!(exit, 0, "{status}");
        self.told
            .push("`rootpin status` names the source".to_owned());
        self.told_by_metric("rootpin_sources_silent 1");
    }

    fn status_when(&self, wanted: impl Fn(&Value, i32) -> bool) -> (Value, i32) {
        let until = Instant::now() + PATIENCE;
        loop {
            let (status, exit) = self.world.rootpin_json(&["status"]);
            if wanted(&status, exit) {
                return (status, exit);
            }
            assert!(Instant::now() < until, "{status}");
        }
    }

    /// A sample of the metrics, as `NAME VALUE`.
    pub(super) fn told_by_metric(&mut self, sample: &str) {
        let metrics = self.world.rootpin(&["metrics"]).out;
        assert!(
            metrics.lines().any(|line| line == sample),
            "{sample}: {metrics}"
        );
        self.told.push(format!("metric `{sample}`"));
    }

    /// A line of the log with that in it.
    pub(super) fn told_by_log(&mut self, daemon: &mut Daemon, text: &str) {
        daemon.line(text);
        self.told.push(format!("log: “{text}”"));
    }

    /// The refusal's code in the metrics of questions.
    pub(super) fn told_by_questions(&mut self, code: &str) {
        let metrics = self.world.rootpin(&["metrics"]).out;
        let door = "rootpin_questions_total{door=\"gate\",engine=\"main\"";
        let found = metrics
            .lines()
            .any(|line| line.starts_with(door) && line.contains(&format!("code=\"{code}\"")));
        assert!(found, "{code}: {metrics}");
        self.told.push(format!(
            "the refusal itself, and metric `rootpin_questions_total{{code=\"{code}\"}}`"
        ));
    }

    /// What a person hears of it elsewhere.
    pub(super) fn told(&mut self, words: &str) {
        self.told.push(words.to_owned());
    }

    /// How much longer than on an idle machine a question may take here: what it took while all was
    /// well says how busy this one is.
    pub(super) fn busy(&self) -> Duration {
        BUSY.max(self.usual * 8)
    }

    /// The fault is over: by itself the host answers again within that time.
    pub(super) fn back_within(&self, seconds: u64) -> Back {
        let time = Duration::from_secs(seconds);
        let since = Instant::now();
        loop {
            let saw = self.code();
            let took = since.elapsed();
            if saw == "allowed" {
                assert!(
                    took <= time + self.busy(),
                    "{}: back after {took:?}",
                    self.fault
                );
                assert_eq!(self.ask(), "allowed");
                return Back::Within(time);
            }
            assert!(
                took <= time + self.busy() + PATIENCE,
                "{}: still {saw}",
                self.fault
            );
        }
    }

    /// Compares the floors with those before, and the row with docs/faults.md.
    pub(super) fn end(&self, saw: &str, back: Back) {
        let now = self.floors();
        self.held(&now);
        self.row(saw, back);
    }

    pub(super) fn held(&self, now: &Floors) {
        for (role, version) in &self.before {
            assert!(
                now.get(role).is_some_and(|found| found >= version),
                "{role:?} was {version}, is {now:?}"
            );
        }
    }

    pub(super) fn row(&self, saw: &str, back: Back) {
        let told = if self.told.is_empty() {
            vec!["it is not told: nothing is wrong".to_owned()]
        } else {
            self.told.clone()
        };
        TABLE.compare(&Row {
            fault: self.fault,
            saw: saw.to_owned(),
            floors: self.before.len(),
            back,
            told,
        });
    }
}

fn refused(code: &str) -> String {
    format!("refused: `{code}`")
}

/// A policy by which nothing is kept at hand: each question goes to the source.
pub(super) fn asking_always(policy: &str) -> String {
    policy.replace("role =", "recheck = \"0s\"\nrole =")
}

fn floors_of(seen: &Value) -> Floors {
    let mut floors = Floors::new();
    for repository in seen["repositories"].as_array().unwrap() {
        for floor in repository["floors"].as_array().unwrap() {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            floors.insert(
                (text(&repository["name"]), text(&floor["role"])),
                floor["version"].as_u64().unwrap(),
            );
        }
    }
    floors
}

/// A mount namespace in which a test mounts what it likes, and which other processes join.
pub(super) struct Mounts {
    holder: Child,
}

impl Mounts {
    /// With that done in it. `None`, with a message, where this machine allows no such namespace.
    #[allow(clippy::disallowed_macros, reason = "a test that did not run says so")]
    pub(super) fn new(script: &str) -> Option<Self> {
        use std::io::{BufRead as _, BufReader};
        let mut holder = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-ec"])
            .arg(format!("{script}\necho there; exec sleep 600"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(holder.stdout.take().unwrap())
            .read_line(&mut said)
            .unwrap();
        if said != "there\n" {
            let _ = holder.wait();
            eprintln!("not run: no mount namespace here, or nothing can be mounted in it");
            return None;
        }
        Some(Self { holder })
    }

    /// A path as the namespace shows it.
    pub(super) fn path(&self, path: &std::path::Path) -> std::path::PathBuf {
        format!("/proc/{}/root{}", self.holder.id(), path.display()).into()
    }

    pub(super) fn run(&self, script: &str) {
        let mut inside = self.command("sh");
        let ended = run(inside.args(["-ec", script]), b"");
        assert_eq!(ended.code, 0, "{script}: {ended:?}");
    }

    /// A command in the namespace; the process is the program's own.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args([
            "--mount",
            "--target",
            &self.holder.id().to_string(),
            "--",
            program,
        ]);
        command
    }

    /// rootpind in it.
    pub(super) fn start(&self, world: &World, config: &str) -> Daemon {
        let mut command = self.command(env!("CARGO_BIN_EXE_rootpind"));
        command.arg("--config").arg(world.path("rootpin.toml"));
        world.start_by(config, &mut command)
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

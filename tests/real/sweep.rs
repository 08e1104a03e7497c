//! Names that real engines are given past every door: told, removed, and what runs from them.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::daemon::Daemon;
use crate::door::Door;
use crate::image::Image;
use crate::lab::{Lab, run, write};
use crate::own::{Own, push_signed};
use crate::say;

/// What the issue promises from the policy's being taken, and from a name's being written.
const SOON: Duration = Duration::from_secs(2);
const ELSEWHERE: &str = "elsewhere.example/app:1";

struct Host<'lab> {
    lab: &'lab Lab,
    door: Door,
    daemon: Daemon,
}

impl Host<'_> {
    fn ctr(&self, words: &[&str]) -> String {
        let (bin, socket) = if self.door == Door::Local17 {
            ("LAB_BIN17", "LAB_CONTAINERD17")
        } else {
            ("LAB_BIN2", "LAB_CONTAINERD2")
        };
        run(Command::new(self.lab.path(bin).join("ctr"))
            .arg("-a")
            .arg(self.lab.var(socket))
            .args(words))
    }

    /// Waits until a sweep tells that name with that code. Returns how long it took.
    fn until_told(&self, name: &str, code: &str, begun: Instant) -> Duration {
        loop {
            if self
                .daemon
                .swept(self.door.engine(), name)
                .iter()
                .any(|finding| finding.code() == code && finding.is_told_in_full())
            {
                let took = begun.elapsed();
                assert!(took < SOON, "{name} {code}: {took:?}");
                say(&format!(
                    "  {}: {name} is told as {code} after {} ms",
                    self.door,
                    took.as_millis()
                ));
                return took;
            }
            assert!(
                begun.elapsed() < 5 * SOON,
                "{name} is not told as {code}: {:#}",
                self.sweep(&[]).0
            );
        }
    }

    /// Adds to the policy and waits until it is taken.
    fn add(&self, text: &str) {
        let before = self.status()["policy"]["hash"].clone();
        let file = self.lab.root.join("rootpin/policy/policy.toml");
        let fresh = file.with_extension("new");
        fs::write(
            &fresh,
            format!("{}{text}", fs::read_to_string(&file).unwrap()),
        )
        .unwrap();
        fs::rename(fresh, file).unwrap();
        let end = Instant::now() + Duration::from_secs(10);
        while self.status()["policy"]["hash"] == before {
            assert!(Instant::now() < end, "{:#}", self.status());
        }
    }

    fn status(&self) -> Value {
        self.rootpin(&["status"]).0
    }

    fn sweep(&self, words: &[&str]) -> (Value, Option<i32>) {
        self.rootpin(&[&["sweep"], words].concat())
    }

    fn rootpin(&self, words: &[&str]) -> (Value, Option<i32>) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
        let output = command
            .args(words)
            .args(["--json", "--control"])
            .arg(self.lab.sockets().join("control.sock"))
            .output()
            .unwrap();
        let value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {output:?}"));
        (value, output.status.code())
    }

    /// `outcome code action` of a record of this engine, where it is a finding.
    fn finding(&self, report: &Value, record: &str) -> Option<String> {
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let of = |finding: &&Value| {
            finding["engine"] == self.door.engine() && finding["record"] == record
        };
        let found = report["findings"].as_array().unwrap().iter().find(of)?;
        Some(
            ["outcome", "code", "action"]
                .map(|member| text(&found[member]))
                .join(" "),
        )
    }

    fn names(&self, namespace: &str) -> String {
        self.ctr(&["-n", namespace, "images", "ls", "-q"])
    }
}

fn host<'lab>(lab: &'lab Lab, door: Door, repository: &str) -> (Host<'lab>, String, Image) {
    let (name, image) = (lab.name(repository, "v1"), Image::waiting(repository));
    let own = Own::new(lab, name.trim_end_matches(":v1"));
    push_signed(&own, "v1", &image);
    let daemon = Daemon::start(lab, &own.policy(&[]));
    let host = Host { lab, door, daemon };
    // The stream is there before the first event.
    let end = Instant::now() + Duration::from_secs(5);
    let watching = |row: &Value| {
        row["door"] == "sweep" && row["engine"] == door.engine() && row["state"] == "watching"
    };
    while !host.status()["doors"]
        .as_array()
        .unwrap()
        .iter()
        .any(watching)
    {
        assert!(Instant::now() < end, "{:#}", host.status());
    }
    door.cool(lab);
    door.bring_when_connected(lab, &name, &image)
        .unwrap_or_else(|words| panic!("{door}: {words}"));
    (host, name, image)
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn names_written_past_every_door_are_told_at_once_and_removed_where_the_policy_says_so() {
    let lab = Lab::start();
    for (door, repository) in [(Door::Local17, "real/sweep17"), (Door::Ctr2, "real/sweep2")] {
        let (host, name, image) = host(&lab, door, repository);
        assert_eq!(host.finding(&host.sweep(&[]).0, &name), None);

        // A signed image under another name, by `ctr images tag`.
        let begun = Instant::now();
        host.ctr(&["images", "tag", &name, ELSEWHERE]);
        host.until_told(ELSEWHERE, "no-rule", begun);
        // Other bytes under the signed name, by an archive: no layer is unpacked, and so no gate is
        // asked.
        let other = Image::manifest(&format!("{repository}, other"));
        let archive = lab.root.join("sweep.tar");
        write(&archive, other.archive(&name));
        let begun = Instant::now();
        host.ctr(&[
            "images",
            "import",
            "--no-unpack",
            &archive.display().to_string(),
        ]);
        host.until_told(&name, "digest-mismatch", begun);
        let (report, code) = host.sweep(&[]);
        assert_eq!(code, Some(1));
        assert_eq!(
            host.finding(&report, ELSEWHERE).as_deref(),
            Some("refused no-rule reported"),
            "{report:#}"
        );

        // Now they go.
        host.add("[sweep]\naction = \"remove\"\n");
        let end = Instant::now() + Duration::from_secs(5);
        while host.names("default").contains(ELSEWHERE) || host.names("default").contains(&name) {
            assert!(Instant::now() < end, "{:#}", host.sweep(&[]).0);
        }
        // The same again, with that policy in force.
        host.door.bring_when_connected(&lab, &name, &image).unwrap();
        host.ctr(&["images", "tag", &name, ELSEWHERE]);
        let begun = Instant::now();
        while host.names("default").contains(ELSEWHERE) {
            assert!(begun.elapsed() < SOON, "{:#}", host.sweep(&[]).0);
        }
        say(&format!(
            "  {door}: a retag is removed after {} ms",
            begun.elapsed().as_millis()
        ));
        assert!(
            host.names("default").contains(&name),
            "what is admitted stays"
        );
    }
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn a_revoked_digest_shows_up_at_once_and_a_container_that_runs_from_it_is_told_and_let_be() {
    let lab = Lab::start();
    for (door, repository) in [
        (Door::Local17, "real/revoked17"),
        (Door::Ctr2, "real/revoked2"),
    ] {
        let (host, name, image) = host(&lab, door, repository);
        host.ctr(&["run", "-d", "--net-host", "--null-io", &name, "waits"]);
        let container = |report: &Value| {
            let running = report["containers"].as_array().unwrap().clone();
            running
                .into_iter()
                .find(|one| one["engine"] == door.engine() && one["id"] == "waits")
                .unwrap_or_default()
        };
        let (report, _) = host.sweep(&[]);
        assert_eq!(
            (
                container(&report)["image"].as_str(),
                container(&report)["outcome"].as_str()
            ),
            (Some(&*name), Some("allowed")),
            "{report:#}"
        );

        // A layer of it: what the image is made of has to be known.
        let layer = image.blobs[1].digest();
        host.add(&format!("[sweep]\naction = \"remove\"\n[[revoked]]\ndigest = \"{layer}\"\nreason = \"CVE-2030-1\"\n"));
        host.until_told(&name, "revoked", Instant::now());
        let (report, code) = host.sweep(&[]);
        assert_eq!(code, Some(1));
        assert_eq!(
            host.finding(&report, &name).as_deref(),
            Some("refused revoked kept"),
            "{report:#}"
        );
        assert_eq!(container(&report)["outcome"], "refused", "{report:#}");
        assert!(host.names("default").contains(&name));
        // Once nothing runs from it, the next sweep takes it.
        host.ctr(&["tasks", "kill", "-s", "SIGKILL", "waits"]);
        host.ctr(&["tasks", "delete", "--force", "waits"]);
        host.ctr(&["containers", "delete", "waits"]);
        let (report, _) = host.sweep(&["--dry-run"]);
        assert!(host.names("default").contains(&name), "{report:#}");
        let (report, _) = host.sweep(&[]);
        assert_eq!(
            host.finding(&report, &name).as_deref(),
            Some("refused revoked removed"),
            "{report:#}"
        );
        assert!(!host.names("default").contains(&name));
    }
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn what_docker_tags_and_loads_into_the_containerd_store_is_told_at_once() {
    let lab = Lab::start();
    let (host, name, image) = host(&lab, Door::Docker28, "real/sweepdocker");
    let docker = |words: &[&str]| {
        run(Command::new(lab.path("LAB_BIN2").join("docker"))
            .args(words)
            .env("DOCKER_HOST", lab.var("LAB_DOCKERD28")))
    };
    assert_eq!(host.finding(&host.sweep(&[]).0, &name), None);
    docker(&["run", "-d", "--network", "host", "--name", "waits", &name]);
    let begun = Instant::now();
    docker(&["tag", &name, ELSEWHERE]);
    host.until_told(ELSEWHERE, "no-rule", begun);
    let archive = lab.root.join("sweep.tar");
    let loaded = format!("{}:loaded", name.trim_end_matches(":v1"));
    write(&archive, Image::manifest("loaded").archive(&loaded));
    let begun = Instant::now();
    // dockerd writes the name before it unpacks, and leaves it there when that is refused.
    docker(&["load", "-i", &archive.display().to_string()]);
    host.until_told(&loaded, "no-statement", begun);
    let (report, _) = host.sweep(&[]);
    let running: Vec<_> = report["containers"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["image"] == *name || one["digest"] == image.digest())
        .collect();
    assert!(
        !running.is_empty() && running.iter().all(|one| one["outcome"] == "allowed"),
        "{report:#}"
    );
    host.add("[sweep]\naction = \"remove\"\n");
    let end = Instant::now() + Duration::from_secs(5);
    while host.names("moby").contains(ELSEWHERE) || host.names("moby").contains(&loaded) {
        assert!(Instant::now() < end, "{:#}", host.sweep(&[]).0);
    }
    assert!(
        docker(&["images"]).contains(name.split_once(":v1").unwrap().0),
        "what is admitted stays"
    );
    docker(&["rm", "-f", "waits"]);
}

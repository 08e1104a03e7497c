//! `rootpin prove` on real engines: it finds every door shut, names each one that is unhooked, and
//! leaves nothing behind.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rootpin::engines::DockerdClient;
use serde_json::Value;

use crate::daemon::{Daemon, Policy};
use crate::dockerd::{ALL, Dockerd};
use crate::lab::{Lab, write};

const ENGINES: [(&str, &str); 2] = [("containerd17", "ctr17"), ("containerd2", "ctr2")];

struct Proof {
    exit: Option<i32>,
    json: Value,
    errors: String,
}

/// One that names the lab's own registry, whose blobs have the same source label as a proof's.
fn policy(more: &str) -> Policy {
    let digest = format!("sha256:{}", "ab".repeat(32));
    let image =
        format!("[[image]]\nname = \"127.0.0.1:5000/real/other:1\"\ndigest = \"{digest}\"\n");
    vec![(
        "policy.toml",
        format!("version = 1\ndefault = \"deny\"\n{more}{image}"),
    )]
}

/// The daemon's configuration.
fn config(lab: &Lab) -> PathBuf {
    lab.root.join("rootpin/rootpin.toml")
}

fn command(lab: &Lab, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
    command
        .args(["prove", "--json", "--config"])
        .arg(config(lab))
        .args(arguments);
    command
}

/// An engine that missed the daemon a moment ago may wait up to three seconds before it looks
/// again.
fn prove(lab: &Lab, arguments: &[&str]) -> Proof {
    prove_by(&mut command(lab, arguments))
}

fn prove_by(command: &mut Command) -> Proof {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let Output {
            status,
            stdout,
            stderr,
        } = command.output().unwrap();
        let words = String::from_utf8_lossy(&stdout).into_owned();
        if !words.contains("connection error: desc") || Instant::now() > end {
            let json =
                serde_json::from_str(&words).unwrap_or_else(|error| panic!("{error}: {words}"));
            return Proof {
                exit: status.code(),
                json,
                errors: String::from_utf8_lossy(&stderr).into_owned(),
            };
        }
    }
}

impl Proof {
    fn paths(&self, result: &str) -> BTreeSet<&str> {
        let paths = self.json["paths"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|path| path["result"] == result);
        paths.map(|path| path["path"].as_str().unwrap()).collect()
    }

    fn is_in_order(&self) {
        assert_eq!(self.exit, Some(0), "{:#}\n{}", self.json, self.errors);
    }

    /// Nothing is open but these, and each of them is named loudly.
    fn names(&self, open: &[&str]) {
        assert_eq!(
            (self.exit, self.paths("open")),
            (Some(1), open.iter().copied().collect()),
            "{:#}",
            self.json
        );
        assert!(self.paths("unknown").is_empty(), "{:#}", self.json);
        assert!(
            open.iter()
                .all(|path| self.errors.contains(&format!("rootpin: OPEN: {path}: "))),
            "{}",
            self.errors
        );
        assert_eq!(self.json["left"], serde_json::json!([]));
    }
}

/// All that an engine has, by name. `BuildKit` remembers builds for two days, fifty at most, and
/// nobody is given a way to have it forget one.
fn listing(lab: &Lab) -> String {
    let mut lines = Vec::new();
    for (engine, ctr) in ENGINES {
        for namespace in lab
            .script(&[ctr, "namespaces", "ls", "-q"])
            .lines()
            .filter(|name| *name != "moby_history")
        {
            lines.push(format!("{engine} namespace {namespace}"));
            for what in [
                &["images", "ls", "-q"][..],
                &["content", "ls", "-q"],
                &["content", "active"],
                &["snapshots", "ls"],
                &["leases", "ls"],
            ] {
                let words = lab.script(&[&[ctr, "-n", namespace], what].concat());
                lines.extend(
                    words
                        .lines()
                        .skip(usize::from(
                            words.starts_with("KEY")
                                || words.starts_with("REF")
                                || words.starts_with("ID"),
                        ))
                        .map(|line| format!("{engine} {namespace} {what:?} {line}")),
                );
            }
        }
    }
    let docker = DockerdClient::at(
        lab.var("LAB_DOCKERD28")
            .trim_start_matches("unix://")
            .as_ref(),
        Duration::from_secs(10),
    );
    for path in [
        "/images/json?all=1",
        "/containers/json?all=1",
        "/system/df?type=build-cache",
    ] {
        let answer = lab.runtime.block_on(docker.get(path)).unwrap();
        let value: Value = serde_json::from_slice(&answer).unwrap();
        let listed = value
            .as_array()
            .or_else(|| value["BuildCache"].as_array())
            .cloned()
            .unwrap_or_default();
        lines.extend(listed.iter().map(|one| format!("docker {path} {one}")));
    }
    // dockerd lists what it has built in another order each time.
    lines.sort();
    lines.join("\n")
}

/// Restarts an engine with one more drop-in, which its name puts last; or without it.
fn with_drop_in(lab: &Lab, engine: &str, text: Option<&str>) {
    let file = lab.root.join(format!("etc/{engine}.d/zz-later.toml"));
    match text {
        Some(text) => write(&file, text),
        None => fs::remove_file(&file).unwrap(),
    }
    if engine == "containerd2" {
        lab.script(&["stop", "dockerd28", engine]);
        lab.script(&["start", engine, "dockerd28"]);
    } else {
        lab.script(&["stop", engine]);
        lab.script(&["start", engine]);
    }
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn a_proof_finds_every_door_shut_and_leaves_nothing_behind() {
    let lab = Lab::start();
    let _daemon = Daemon::start(&lab, &policy(""));
    let before = listing(&lab);
    let proof = prove(&lab, &[]);
    assert_eq!(proof.exit, Some(0), "{:#}", proof.json);
    let ways = [
        "client-pull",
        "client-import",
        "transfer-import",
        "cri-pull",
    ];
    let mut wanted: BTreeSet<String> = ENGINES
        .iter()
        .flat_map(|(engine, _)| ways.map(|way| format!("{engine}/{way}")))
        .collect();
    wanted.insert("containerd2/transfer-pull".to_owned());
    wanted.extend(
        ["pull", "load", "import", "build", "buildkit"].map(|way| format!("dockerd28/{way}")),
    );
    let mut shut = proof.paths("shut");
    shut.remove("resolver");
    assert_eq!(shut, wanted.iter().map(String::as_str).collect());
    let doors: BTreeSet<_> = proof.json["paths"]
        .as_array()
        .unwrap()
        .iter()
        .map(|path| path["images"]["unsigned"]["door"].as_str().unwrap_or("-"))
        .collect();
    assert!(
        ["-", "apply", "gate", "verifier"]
            .iter()
            .all(|door| doors.contains(door)),
        "the first is of BuildKit, whose layers have no name: {doors:?}"
    );
    assert_eq!(listing(&lab), before);
    let state = lab.root.join("rootpin/state");
    let (root, names) = ("rootpin-prove-", proof.json["names"].as_str().unwrap());
    for entry in fs::read_dir(&state).unwrap() {
        let path = entry.unwrap().path();
        let bytes = if path.is_file() {
            fs::read(&path).unwrap()
        } else {
            Vec::new()
        };
        assert!(
            !bytes
                .windows(root.len())
                .any(|window| window == root.as_bytes()),
            "{} knows of the proof",
            path.display()
        );
    }
    let audit = fs::read_to_string(lab.root.join("rootpin/audit.jsonl")).unwrap();
    let events: Vec<Value> = audit
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|record: &Value| record["names"] == names)
        .collect();
    let told: Vec<_> = events
        .iter()
        .map(|record| (record["event"].as_str().unwrap(), record["why"].as_str()))
        .collect();
    assert_eq!(told, [("prove-begin", None), ("prove-end", Some("ended"))]);
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn a_door_that_is_unhooked_is_named() {
    let lab = Lab::start();
    let _daemon = Daemon::start(&lab, &policy(""));
    prove(&lab, &[]).is_in_order();

    let verifier = lab.root.join("rootpin/verifier/rootpin-verifier");
    fs::rename(&verifier, lab.root.join("rootpin/rootpin-verifier")).unwrap();
    prove(&lab, &[]).names(&["containerd2/transfer-pull", "containerd2/cri-pull"]);
    fs::rename(lab.root.join("rootpin/rootpin-verifier"), &verifier).unwrap();

    let order =
        "version = 3\n[plugins.'io.containerd.service.v1.diff-service']\ndefault = [\"walking\"]\n";
    with_drop_in(&lab, "containerd2", Some(order));
    let by_docker = [
        "dockerd28/pull",
        "dockerd28/load",
        "dockerd28/import",
        "dockerd28/build",
        "dockerd28/buildkit",
    ];
    prove(&lab, &[]).names(
        &[
            &["containerd2/client-pull", "containerd2/client-import"][..],
            &by_docker,
        ]
        .concat(),
    );

    let platform = rootpin::canary::ARCHITECTURE;
    let differ = format!(
        "version = 3\n[[plugins.'io.containerd.transfer.v1.local'.unpack_config]]\nplatform = \"linux/{platform}\"\nsnapshotter = \"overlayfs\"\ndiffer = \"walking\"\n"
    );
    with_drop_in(&lab, "containerd2", Some(&differ));
    prove(&lab, &[]).names(&["containerd2/transfer-import"]);

    // Either of these makes CRI pull past the verifier, which the gate's refusals hide from whoever
    // looks at unsigned bytes alone.
    let local =
        "version = 3\n[plugins.'io.containerd.cri.v1.images']\nuse_local_image_pull = true\n";
    with_drop_in(&lab, "containerd2", Some(local));
    prove(&lab, &[]).names(&["containerd2/cri-pull"]);
    with_drop_in(&lab, "containerd2", None);

    let order = "version = 2\n[plugins.\"io.containerd.service.v1.diff-service\"]\ndefault = [\"walking\"]\n";
    with_drop_in(&lab, "containerd17", Some(order));
    prove(&lab, &[]).names(&[
        "containerd17/client-pull",
        "containerd17/client-import",
        "containerd17/cri-pull",
    ]);
    with_drop_in(&lab, "containerd17", None);

    prove(&lab, &[]).is_in_order();
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn a_proof_that_cannot_be_is_no_proof_and_says_why() {
    let lab = Lab::start();
    let daemon = Daemon::start(&lab, &policy("prove = false\n"));
    let forbidden = prove(&lab, &[]);
    assert_eq!(forbidden.exit, Some(2));
    assert!(
        forbidden.errors.contains("prove = false"),
        "{}",
        forbidden.errors
    );
    daemon.stop();
    let dead = prove(&lab, &[]);
    assert_eq!(dead.exit, Some(2));
    assert!(
        dead.errors.contains("the daemon does not answer"),
        "{}",
        dead.errors
    );

    let _daemon = Daemon::start(&lab, &policy("mode = \"audit\"\n"));
    let audit = prove(
        &lab,
        &[
            "--path",
            "containerd2/transfer-pull",
            "--path",
            "containerd17/client-pull",
        ],
    );
    audit.names(&["containerd2/transfer-pull", "containerd17/client-pull"]);
    assert!(
        audit.errors.contains("the policy's mode is audit"),
        "{}",
        audit.errors
    );

    lab.script(&["stop", "containerd17"]);
    let silent = prove(&lab, &["--path", "containerd2/client-pull"]);
    assert_eq!(silent.json["silent"][0]["engine"], "containerd17");
    lab.script(&["start", "containerd17"]);
    assert_eq!(prove(&lab, &["--path", "no/such"]).exit, Some(64));
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn a_proof_that_is_interrupted_cleans_up_and_the_next_one_does_after_one_that_was_killed() {
    let lab = Lab::start();
    let _daemon = Daemon::start(&lab, &policy(""));
    prove(&lab, &[]).is_in_order();
    let before = listing(&lab);

    let interrupted = begin(&lab);
    signal(&interrupted, "-INT");
    let output = interrupted.wait_with_output().unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (output.status.code(), json["cut_short"].as_str()),
        (Some(2), Some("interrupted"))
    );
    assert_eq!(listing(&lab), before);

    let mut killed = begin(&lab);
    signal(&killed, "-KILL");
    killed.wait().unwrap();
    assert_ne!(
        listing(&lab),
        before,
        "it was killed before it had brought anything in"
    );
    // Its place is free as soon as the daemon sees that it went away.
    let end = Instant::now() + Duration::from_secs(10);
    while prove(&lab, &[]).exit != Some(0) {
        assert!(Instant::now() < end);
    }
    assert_eq!(listing(&lab), before);
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn an_authorization_plugin_that_is_not_asked_is_named() {
    let lab = Lab::start();
    let dockerds = ALL.map(|name| Dockerd::new(&lab, name));
    let configured: String = dockerds.iter().map(Dockerd::config).collect();
    let _daemon = Daemon::with(&lab, &policy(""), &configured);
    for dockerd in &dockerds {
        dockerd.start(&lab);
    }
    let config = lab.root.join("rootpin/rootpin.toml").display().to_string();
    let of_docker = || {
        let list = Command::new(env!("CARGO_BIN_EXE_rootpin"))
            .args(["prove", "--list", "--config", &config])
            .output()
            .unwrap();
        let words = String::from_utf8(list.stdout).unwrap();
        let paths: Vec<_> = words
            .lines()
            .filter(|path| path.starts_with("dockerd"))
            .map(str::to_owned)
            .collect();
        let arguments: Vec<&str> = paths
            .iter()
            .flat_map(|path| ["--path", path])
            .chain(["--config", &config])
            .collect();
        prove_by(
            Command::new(env!("CARGO_BIN_EXE_rootpin"))
                .args(["prove", "--json"])
                .args(arguments),
        )
    };
    let shut = of_docker();
    assert_eq!(
        (shut.exit, shut.paths("shut").len()),
        (Some(0), 6 * ALL.len()),
        "{:#}",
        shut.json
    );

    for verb in ["stop", "start"] {
        lab.script(&[&[verb], &ALL[..]].concat());
    }
    // With the containerd store the gate stops unsigned bytes all the same; known ones under
    // another name it is not asked about.
    let classic = ALL.iter().filter(|name| name.ends_with("-overlay2"));
    let classic = classic.flat_map(|name| {
        ["pull", "load", "import", "build", "buildkit"].map(|way| format!("{name}/{way}"))
    });
    let open: Vec<String> = classic
        .chain(["dockerd26/pull".to_owned(), "dockerd28/pull".to_owned()])
        .collect();
    let open: Vec<&str> = open.iter().map(String::as_str).collect();
    of_docker().names(&open);
}

/// A proof that has brought something in.
fn begin(lab: &Lab) -> Child {
    let child = command(lab, &[])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let end = Instant::now() + Duration::from_secs(10);
    while !lab
        .script(&["ctr17", "namespaces", "ls", "-q"])
        .contains("rootpin-prove-")
    {
        assert!(Instant::now() < end, "it brings nothing in");
    }
    child
}

fn signal(child: &Child, signal: &str) {
    crate::lab::run(
        Command::new("sh")
            .args(["-c", "kill \"$0\" \"$1\"", signal])
            .arg(child.id().to_string()),
    );
}

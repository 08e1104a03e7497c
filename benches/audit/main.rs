//! How long an audit takes, and how much time and memory a merge and a simulation of many reports:
//! `cargo bench --bench audit`, as root. See `benches/README.md`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken benchmark should stop at once"
)]
#![allow(clippy::disallowed_macros, reason = "this program's own terminal")]

#[path = "../../tests/support/containerd.rs"]
mod containerd;
#[path = "../../tests/support/publisher.rs"]
mod publisher;
#[path = "../../tests/support/world.rs"]
mod world;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use publisher::Publisher;
use rootpin_trust::image::Digest;
use serde_json::{Value, json};
use tempfile::TempDir;
use world::World;

/// What one run took: time, the most memory that was resident, exit code, output.
struct Run {
    time: Duration,
    megabytes: f64,
    code: i32,
    out: String,
}

const RUNS: usize = 5;
const HOSTS: usize = 1000;
const IMAGES: usize = 200;
const SERVER: &str = "https://notary.example";
const ROLE: &str = "targets/releases";

fn main() {
    let fleet = reports();
    println!("| number | median of {RUNS} | most memory |\n|---|---|---|");
    merge(&fleet);
    simulate(&fleet);
    drop(fleet);
    for repositories in [25, 500] {
        host(500, repositories);
    }
}

/// 1,000 reports of 200 images with eleven parts each, of which seven hosts differ.
fn reports() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (mut bytes, parts) = (0, parts());
    for number in 0..HOSTS {
        let text = report(number, &parts).to_string();
        bytes += text.len();
        fs::write(folder.path().join(format!("{number:04}.json")), text).unwrap();
    }
    println!(
        "{HOSTS} reports of {IMAGES} images: {} MB",
        bytes / 1_000_000
    );
    folder
}

fn merge(folder: &TempDir) {
    let run = |words: &[&str]| {
        let run = measured(
            Command::new(program())
                .args(["audit", "merge", "--json"])
                .args(words)
                .arg(folder.path()),
        );
        let fleet: Value = serde_json::from_str(&run.out).unwrap();
        let differing = fleet["hosts"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|host| !host["drift"].as_array().unwrap().is_empty());
        let named: Vec<_> = differing
            .map(|host| host["host"].as_str().unwrap().to_owned())
            .collect();
        let wanted: Vec<_> = (0..HOSTS)
            .filter(|number| differs(*number))
            .map(|number| format!("node-{number:04}"))
            .collect();
        assert_eq!((named, run.code), (wanted, 1));
        run
    };
    // Outside the folder, which is read.
    let pages = tempfile::tempdir().unwrap();
    let page = pages.path().join("fleet.html").display().to_string();
    tell("merge", || run(&[]));
    tell("merge, with a page of HTML", || run(&["--html", &page]));
}

/// A policy that lacks an exemption; and the same, which revokes a layer too.
fn simulate(reports: &TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let policy = |name: &str, more: &str| {
        let dir = folder.path().join(name);
        fs::create_dir(&dir).unwrap();
        let text = format!(
            "version = 1\ndefault = \"deny\"\n[[root]]\nid = \"acme\"\ntype = \"notary\"\nserver = \"{SERVER}\"\nkeys = [\"{}\"]\n\
             role = \"{ROLE}\"\n[[rule]]\nmatch = \"registry.example/team/*\"\nroots = [\"acme\"]\n{more}",
            key("acme")
        );
        fs::write(dir.join("policy.toml"), text).unwrap();
        dir
    };
    let run = |policy: &Path, wanted: &[String]| {
        let run = measured(
            Command::new(program())
                .args(["--json", "policy", "simulate"])
                .arg(policy)
                .arg("--reports")
                .arg(reports.path()),
        );
        let simulated: Value = serde_json::from_str(&run.out).unwrap();
        let images = simulated["images"].as_array().unwrap();
        let changes: Vec<_> = images
            .iter()
            .map(|image| {
                let hosts = image["hosts"].as_array().unwrap().len();
                let name = image["image"].as_str().unwrap().split('@').next().unwrap();
                format!("{} {name} on {hosts}", image["kind"].as_str().unwrap())
            })
            .collect();
        assert_eq!((changes.as_slice(), run.code), (wanted, 1));
        run
    };
    let exempt = format!("refused old.example/app:1 on {HOSTS}");
    let without = policy("without", "");
    tell("policy simulate", || {
        run(&without, std::slice::from_ref(&exempt))
    });
    let layer = format!("sha256:{}", key("layer 7 0"));
    let revoked = format!("[[revoked]]\ndigest = \"{layer}\"\nreason = \"x\"\n");
    let revoking = policy("revoking", &revoked);
    let layer = format!("refused registry.example/team/app7:1.7 on {HOSTS}");
    let wanted = [exempt.clone(), layer];
    tell("policy simulate, with a newly revoked layer", || {
        run(&revoking, &wanted)
    });
}

/// The program that is measured.
fn program() -> PathBuf {
    std::env::var_os("ROOTPIN_BENCH_PROGRAMS").map_or_else(
        || PathBuf::from(env!("CARGO_BIN_EXE_rootpin")),
        |folder| PathBuf::from(folder).join("rootpin"),
    )
}

fn differs(number: usize) -> bool {
    number % 150 == 7
}

fn key(name: &str) -> String {
    Digest::of(name.as_bytes()).hex()
}

/// By the digest of each image: what it is made of.
fn parts() -> Value {
    let parts: serde_json::Map<String, Value> = (0..IMAGES)
        .map(|at| {
            let layer = |layer: usize| format!("sha256:{}", key(&format!("layer {at} {layer}")));
            (
                format!("sha256:{}", key(&format!("image {at}"))),
                (0..11).map(layer).collect(),
            )
        })
        .collect();
    Value::Object(parts)
}

fn report(number: usize, parts: &Value) -> Value {
    let policy = if differs(number) { "older" } else { "policy" };
    let versions = json!({"root": 3, "timestamp": 400 + number, "snapshot": 200, "targets": 20, "targets/releases": 180});
    let held = |at: usize| {
        json!({"repository": format!("registry.example/team/app{at}"), "contact": "2026-11-26T10:00:00Z", "versions": versions, "root_expires": "2036-01-01T00:00:00Z",
            "files": {"root.json": format!("sha256:{}", key(&format!("root {at}"))), "timestamp.json": format!("sha256:{}", key(&format!("timestamp {at} {number}")))}})
    };
    let image = |at: usize, name: &str, ground: &str, roots: Value| {
        json!({"engine": "containerd", "namespace": "k8s.io", "name": name, "digest": format!("sha256:{}", key(&format!("image {at}"))),
            "judgement": {"outcome": "allowed", "let_through": true, "code": null, "ground": ground, "rule": "[[rule]] match = \"registry.example/team/*\" (policy.toml:12)",
                "roots": roots, "found": null, "wanted": null, "hint": null}})
    };
    let signed = (1..IMAGES).map(|at| {
        let repository = format!("registry.example/team/app{}", at % 50);
        let word = json!({"root": "acme", "repository": repository, "role": ROLE, "root_keys": [key("acme")],
            "signers": [key("signer"), key("targets")], "versions": versions, "expires": "2026-12-10T00:00:00Z", "contact": "2026-11-26T10:00:00Z"});
        image(at, &format!("{repository}:1.{at}"), "signed", json!([word]))
    });
    let exempt = image(0, "old.example/app:1", "exempt", json!([]));
    let images: Vec<_> = std::iter::once(exempt).chain(signed).collect();
    let terms = format!(
        "notary {SERVER} {:?} {ROLE} false false None",
        [key("acme")]
    );
    json!({"version": 1, "rootpin": "0.1.0", "host": format!("node-{number:04}"), "at": "2026-11-26T10:00:00Z", "outcome": "clean", "online": false,
        "judged_by": "daemon", "policy": {"hash": format!("sha256:{}", key(policy)), "mode": "enforce", "warnings": [], "revoked_keys": []},
        "roots": [{"id": "acme", "type": "notary", "sources": [SERVER], "role": ROLE, "pinned": null, "terms": format!("sha256:{}", key(&terms)),
            "keys": [{"id": key("acme"), "fingerprint": "SHA256:x"}], "held": (0..50).map(held).collect::<Vec<_>>()}],
        "images": images, "parts": parts, "trust_directories": [],
        "root_keys": [{"id": key("acme"), "fingerprint": "SHA256:x", "pinned_by": ["acme"], "repositories": []}], "findings": [], "untold": []})
}

/// A host with so many images of so many repositories, all of them cached.
fn host(images: usize, repositories: usize) {
    let Some(world) = World::new(&format!("bench-audit-{repositories}")) else {
        return;
    };
    let publishers: Vec<_> = (0..repositories)
        .map(|at| Publisher::new(&format!("r.test/team/app{at}")))
        .collect();
    let keys: Vec<_> = publishers
        .iter()
        .map(|publisher| format!("{:?}", publisher.root_key().id()))
        .collect();
    let policy = world.policy();
    let (head, rest) = policy.split_once("keys = [").unwrap();
    let policy = format!(
        "{head}keys = [{}]{}",
        keys.join(", "),
        rest.split_once(']').unwrap().1
    );
    world.write_policy(&policy);
    let tags = images / repositories;
    let mut names = Vec::new();
    for mut publisher in publishers {
        for tag in 0..tags {
            let digest = Digest::of(format!("{} {tag}", publisher.gun).as_bytes()).to_string();
            publisher.tag(&format!("v{tag}"), &digest, 7);
            names.push((format!("{}:v{tag}", publisher.gun), digest));
        }
        world.notary.publish(&publisher);
    }
    world
        .containerd
        .hold("k8s.io", |held| held.images.clone_from(&names));
    let daemon = world.start();
    for (name, digest) in names.iter().step_by(tags) {
        assert_eq!(
            world.rootpin(&["verify", &format!("{name}@{digest}")]).code,
            0
        );
    }
    let at = |name: &str| world.path(name).display().to_string();
    let run = |words: &[&str]| {
        let mut command = Command::new(program());
        command
            .args([
                "audit",
                "--json",
                "--config",
                &at("rootpin.toml"),
                "--control",
                &at("control"),
            ])
            .args(words)
            .env("HOME", at("home"));
        let run = measured(&mut command);
        let report: Value = serde_json::from_str(&run.out).unwrap();
        let allowed = report["images"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|image| image["judgement"]["outcome"] == "allowed")
            .count();
        assert_eq!(allowed, images, "{report:#}");
        run
    };
    let of = format!("{images} images of {repositories} repositories");
    tell(&format!("audit of {of}, through the daemon"), || run(&[]));
    assert_eq!(daemon.stop().0, 0);
    tell(&format!("audit of {of}, by files"), || {
        run(&["--policy", &at("policy"), "--state", &at("state")])
    });
}

fn tell(what: &str, run: impl Fn() -> Run) {
    let mut runs: Vec<_> = (0..RUNS).map(|_| run()).collect();
    runs.sort_by_key(|run| run.time);
    let most = runs.iter().map(|run| run.megabytes).fold(0.0, f64::max);
    println!(
        "| {what} | {:.0} ms | {most:.0} MiB |",
        runs[RUNS / 2].time.as_secs_f64() * 1000.0
    );
}

fn measured(command: &mut Command) -> Run {
    let begun = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut stdout = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut out = String::new();
        std::io::Read::read_to_string(&mut stdout, &mut out).unwrap();
        out
    });
    let mut kibibytes = 0_u32;
    let ended = loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let peak = text.lines().find_map(|line| {
            line.strip_prefix("VmHWM:")?
                .trim()
                .strip_suffix(" kB")?
                .trim()
                .parse()
                .ok()
        });
        kibibytes = kibibytes.max(peak.unwrap_or_default());
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let time = begun.elapsed();
    Run {
        time,
        megabytes: f64::from(kibibytes) / 1024.0,
        code: ended.code().unwrap(),
        out: reader.join().unwrap(),
    }
}

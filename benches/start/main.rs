//! How long rootpind takes until it is ready, with a state of many floors: `cargo bench --bench start`,
//! as root. See `benches/README.md`.

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

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use jiff::Timestamp;
use publisher::Publisher;
use rootpin::state::{Additions, Store};
use rootpin_trust::image::Repository;
use rootpin_trust::notary::{GunUpdate, KeyPins};
use rootpin_trust::{Answer, FetchFrom, KeyId, Progress, Refusal, Verification as _, Verified};
use world::World;

const RUNS: usize = 15;
/// Each has root, targets, targets/releases, snapshot and timestamp.
const ROLES: usize = 5;

fn main() {
    println!(
        "| floors | keys that each belongs to | state file | until it is ready, median of {RUNS} | longest | CPU time, median | resident |\n|---|---|---|---|---|---|---|"
    );
    for (repositories, one_root) in [(0, false), (200, false), (2000, false), (500, true)] {
        let world = World::new("bench-start").expect("as root");
        fill(&world.path("state"), repositories, one_root);
        let file = fs::metadata(world.path("state").join("state.redb"));
        let file = file.map_or(0, |file| u32::try_from(file.len()).unwrap());
        let file = f64::from(file) / 1024.0 / 1024.0;
        let mut starts: Vec<_> = (0..RUNS).map(|_| start(&world)).collect();
        let column = |starts: &mut Vec<[f64; 3]>, at: usize| {
            starts.sort_by(|one, other| one[at].total_cmp(&other[at]));
            (starts[RUNS / 2][at], starts[RUNS - 1][at])
        };
        let ((wall, longest), (cpu, _), (memory, _)) = (
            column(&mut starts, 0),
            column(&mut starts, 1),
            column(&mut starts, 2),
        );
        let keys = if one_root { repositories } else { 1 };
        println!(
            "| {} | {keys} | {file:.1} MiB | {wall:.0} ms | {longest:.0} ms | {cpu:.0} ms | {memory:.1} MiB |",
            repositories * ROLES
        );
    }
}

/// A state that has seen so many repositories, each under a root key of its own. `one_root`: one root
/// of the policy pins the keys of all of them, so that each floor belongs to each key.
fn fill(state: &Path, repositories: usize, one_root: bool) {
    let now = Timestamp::now();
    let publisher = |at| Publisher::new(&format!("r.test/team/app{at}"));
    let mut publishers: Vec<_> = (0..repositories).map(publisher).collect();
    let key = |publisher: &Publisher| publisher.root_key().id().parse().unwrap();
    let all: BTreeSet<KeyId> = publishers.iter().map(key).collect();
    let verified: Vec<_> = publishers
        .iter_mut()
        .map(|publisher| {
            let pinned = if one_root {
                all.clone()
            } else {
                [key(publisher)].into()
            };
            seen(publisher, pinned, now)
        })
        .collect();
    let store = Store::open(state).unwrap();
    if verified.is_empty() {
        return;
    }
    let additions = Additions {
        now,
        verified: verified.iter().collect(),
        contacts: Vec::new(),
        rows: Vec::new(),
    };
    assert!(store.commit(&additions).unwrap().wrote);
}

fn seen(publisher: &mut Publisher, pinned: BTreeSet<KeyId>, now: Timestamp) -> Verified<Progress> {
    publisher.tag("v1", &format!("sha256:{}", "1".repeat(64)), 7);
    let pins = KeyPins {
        keys: pinned,
        revoked: [].into(),
        role: "targets/releases".to_owned(),
        certificate_dates: false,
        allow_rsa_pkcs1v15: false,
        max_age: None,
    };
    let files = publisher.tree().files;
    let repository = Repository::from_full(&publisher.gun).unwrap();
    let mut update = GunUpdate::start(&repository, &pins, Vec::new(), now);
    let fetched = update.run(|want| {
        let file = files.get(&want.request.file_name());
        let file = file.filter(|_| want.from == FetchFrom::Source);
        Ok::<Answer, Refusal>(file.cloned().into())
    });
    fetched.unwrap();
    let progress = update.progress().unwrap();
    assert_eq!(progress.get().floors.len(), ROLES);
    progress
}

/// Milliseconds until READY, milliseconds of CPU time by then, and MiB resident.
fn start(world: &World) -> [f64; 3] {
    let programs = std::env::var_os("ROOTPIN_BENCH_PROGRAMS").map(PathBuf::from);
    let program = programs.map_or(env!("CARGO_BIN_EXE_rootpind").into(), |folder| {
        folder.join("rootpind")
    });
    let (config, notify) = (world.path("rootpin.toml"), world.path("notify"));
    fs::write(&config, world.config()).unwrap();
    let _ = fs::remove_file(&notify);
    let notices = UnixDatagram::bind(&notify).unwrap();
    notices.set_read_timeout(Some(world::PATIENCE)).unwrap();
    let mut command = Command::new(program);
    command.arg("--config").arg(&config);
    command.env("NOTIFY_SOCKET", &notify);
    command.stdin(Stdio::null()).stderr(Stdio::null());
    let begun = Instant::now();
    let mut child = command.spawn().unwrap();
    let mut message = [0_u8; 64];
    let length = notices.recv(&mut message).unwrap();
    let ready = begun.elapsed().as_secs_f64() * 1e3;
    assert_eq!(message[..length].trim_ascii_end(), *b"READY=1");
    let proc = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", child.id())).unwrap();
    // The name, which ends in a parenthesis, is followed by state, eleven more, utime and stime in
    // hundredths of a second; schedstat has nanoseconds, of the first thread alone.
    let stat = proc("stat");
    let ticks = stat.rsplit_once(')').unwrap().1.split_whitespace().skip(11);
    let cpu: f64 = ticks
        .take(2)
        .map(|ticks| ticks.parse::<f64>().unwrap())
        .sum();
    let status = proc("status");
    let resident = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kilobytes = resident.split_whitespace().nth(1).unwrap();
    let memory = kilobytes.parse::<f64>().unwrap() / 1024.0;
    child.kill().unwrap();
    child.wait().unwrap();
    [ready, cpu * 10.0, memory]
}

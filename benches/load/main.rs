//! 10,000 questions over 200 connections to one daemon, while three of its four sources fail, and
//! the memory of another one that only its healthy source was asked about: `cargo bench --bench
//! load`, as root. See `benches/README.md`.

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
#[path = "../../tests/support/front.rs"]
mod front;
#[path = "../../tests/support/load.rs"]
mod load;
#[path = "../../tests/support/publisher.rs"]
mod publisher;
#[path = "../../tests/support/world.rs"]
mod world;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use load::{Answer, Load, Source, codes, memory, times};
use world::Daemon;

const QUESTIONS: usize = 10_000;
const CONNECTIONS: usize = 200;
const REPOSITORIES: usize = 50;

fn main() {
    decisions();
    let load = Load::new("bench-load", REPOSITORIES).expect("as root");
    let daemon = start(&load);
    let begun = Instant::now();
    let answers = load.ask(QUESTIONS, CONNECTIONS, 2);
    let took = begun.elapsed();
    println!(
        "{QUESTIONS} questions over {CONNECTIONS} connections in {:.1} s",
        took.as_secs_f64()
    );
    println!(
        "| source, door | answers | p50 | p99 | longest | requests |\n|---|---|---|---|---|---|"
    );
    for (source, requests) in [
        (
            Source::Healthy,
            format!(
                "{} for {REPOSITORIES} repositories",
                load.world.notary.questions()
            ),
        ),
        (
            Source::Slow,
            format!("{} connections", load.slow.connections()),
        ),
        (Source::Dead, "nobody listens".to_owned()),
        (
            Source::Hostile,
            format!("{} connections", load.hostile.connections()),
        ),
    ] {
        for gate in [false, true] {
            tell(&answers, source, gate, &requests);
        }
    }
    println!("answers: {:?}", codes(&answers));
    println!(
        "most memory of rootpind: {:.1} MiB",
        mebibytes(&daemon, "VmHWM")
    );
    assert_eq!(daemon.stop().0, 0);
}

/// What is resident after many questions about the names of a healthy source.
fn decisions() {
    let load = Load::new("bench-load", REPOSITORIES).expect("as root");
    let daemon = start(&load);
    println!("| decisions | resident | of that its own | most |\n|---|---|---|---|");
    for (decisions, more) in [(0, 0), (1_000, 1_000), (10_000, 9_000)] {
        load.ask_healthy(more);
        let [all, own, most] = ["VmRSS", "RssAnon", "VmHWM"].map(|what| mebibytes(&daemon, what));
        println!("| {decisions} | {all:.1} MiB | {own:.1} MiB | {most:.1} MiB |");
    }
    assert_eq!(daemon.stop().0, 0);
}

/// The program that is measured.
fn start(load: &Load) -> Daemon {
    let programs = std::env::var_os("ROOTPIN_BENCH_PROGRAMS").map(PathBuf::from);
    let program = programs.map_or(env!("CARGO_BIN_EXE_rootpind").into(), |folder| {
        folder.join("rootpind")
    });
    let mut command = Command::new(program);
    command.arg("--config").arg(load.world.path("rootpin.toml"));
    let daemon = load.world.start_by(&load.world.config(), &mut command);
    assert_eq!(daemon.notice(), "READY=1");
    daemon
}

fn mebibytes(daemon: &Daemon, what: &str) -> f64 {
    f64::from(u32::try_from(memory(daemon, what)).unwrap()) / 1024.0
}

fn tell(answers: &[Answer], source: Source, gate: bool, requests: &str) {
    let times = times(answers, |one| one.source == source && one.gate == gate);
    let at = |part: usize| milliseconds(times[(times.len() - 1) * part / 100]);
    let door = if gate { "gate" } else { "verifier" };
    println!(
        "| {source:?}, {door} | {} | {} | {} | {} | {requests} |",
        times.len(),
        at(50),
        at(99),
        at(100)
    );
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

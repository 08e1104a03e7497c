//! 10,000 questions over 200 connections to one daemon, while three of its four sources fail:
//! `cargo bench --bench load`, as root. See `benches/README.md`.

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

use std::time::{Duration, Instant};

use load::{Answer, Load, Source, codes, peak, times};

const QUESTIONS: usize = 10_000;
const CONNECTIONS: usize = 200;
const REPOSITORIES: usize = 50;

fn main() {
    let load = Load::new("bench-load", REPOSITORIES).expect("as root");
    let daemon = load.world.start();
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
        f64::from(u32::try_from(peak(&daemon)).unwrap()) / 1024.0
    );
    assert_eq!(daemon.stop().0, 0);
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

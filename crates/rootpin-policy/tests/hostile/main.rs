//! A hostile world: an adversary who has the network, the registry, its own repositories and any of
//! the online and tenants' keys does what it likes, one step after the other, to one host. After
//! each step the host asks for an image, and what it answers and keeps is compared with what honest
//! offline keys signed.
//!
//! ```text
//! cargo test -p rootpin-policy --test hostile                        1,000 sequences; tests/run has 10,000
//! ROOTPIN_HOSTILE=1000000 cargo test --release …                     as many as you like
//! ROOTPIN_HOSTILE_SEED=4711 cargo test … -- --nocapture              one of them again
//! ```
//!
//! A sequence that breaks a promise is shortened, printed with its seed, and fails the test.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken test should stop at once"
)]

mod acts;
mod client;
mod counts;
mod history;
mod look;
mod notary;
#[path = "../../../../tests/support/publisher.rs"]
mod notary_publisher;
mod oracle;
mod signatures;
mod steps;
mod tuf_forgery;
mod tuf_history;
#[path = "../../../rootpin-trust/src/tuf/tests/publisher.rs"]
#[allow(dead_code, reason = "only its way of signing is used")]
mod tuf_publisher;
mod world;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{env, thread};

use counts::Counts;
use oracle::Violation;
use steps::Sequence;
use world::{Run, World};

const WORLDS: usize = 24;
const SEQUENCES: u64 = 1_000;

fn worlds() -> Vec<World> {
    (0..WORLDS)
        .map(|seed| World::of(u64::try_from(seed).unwrap()))
        .collect()
}

fn told(worlds: &[World], sequence: &Sequence, violation: &Violation) -> String {
    let still = |shorter: &Sequence| {
        let found = Run::whole(&worlds[shorter.world], shorter).err();
        found.is_some_and(|found| found.is_like(violation))
    };
    let shortest = sequence.shortened(still);
    let violation = Run::whole(&worlds[shortest.world], &shortest).unwrap_err();
    format!("{violation}\n  {shortest}")
}

#[test]
fn no_sequence_of_attacks_lets_in_what_offline_keys_did_not_sign_or_takes_a_version_back() {
    let worlds = worlds();
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    if let Some(seed) = number("ROOTPIN_HOSTILE_SEED") {
        let sequence = Sequence::of(seed, WORLDS);
        if let Err(violation) = Run::whole(&worlds[sequence.world], &sequence) {
            panic!("{}", told(&worlds, &sequence, &violation));
        }
        return;
    }
    let sequences = number("ROOTPIN_HOSTILE").unwrap_or(SEQUENCES);
    let (next, all, failed) = (
        AtomicU64::new(0),
        Mutex::new(Counts::default()),
        Mutex::new(BTreeMap::new()),
    );
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= sequences || failed.lock().unwrap().len() >= 3 {
                        return;
                    }
                    let sequence = Sequence::of(seed, WORLDS);
                    match Run::whole(&worlds[sequence.world], &sequence) {
                        Ok(counts) => all.lock().unwrap().add(&counts),
                        Err(violation) => drop(failed.lock().unwrap().insert(seed, violation)),
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    let told: Vec<String> = failed
        .iter()
        .map(|(seed, violation)| told(&worlds, &Sequence::of(*seed, WORLDS), violation))
        .collect();
    assert!(told.is_empty(), "\n{}", told.join("\n"));
    all.into_inner().unwrap().are_of_a_world_with_events();
}

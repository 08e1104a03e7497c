//! How long it takes to judge all images of a host from local evidence: `cargo bench --bench
//! sweep`, as root. See `benches/README.md`.

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

use publisher::Publisher;
use serde_json::Value;
use world::{Image, World};

const RUNS: usize = 5;
const IMAGES: usize = 2000;

fn main() {
    println!(
        "| {IMAGES} images | median of {RUNS}, by the daemon's own clock | longest |\n|---|---|---|"
    );
    for repositories in [25, 500] {
        host(repositories);
    }
}

/// All admitted; all admitted, and each taken apart because some digest is revoked; none admitted.
fn host(repositories: usize) {
    let world = World::new("bench-sweep").expect("as root");
    let tags = IMAGES / repositories;
    let keys: Vec<_> = (0..repositories)
        .map(|number| Publisher::new(&gun(number)).root_key().id())
        .collect();
    let policy = format!(
        "version = 1\ndefault = \"deny\"\n[[root]]\nid = \"acme\"\ntype = \"notary\"\nserver = \"http://127.0.0.1:{}\"\n\
         keys = {keys:?}\nrole = \"targets/releases\"\n[[rule]]\nmatch = \"r.test/team/*\"\nroots = [\"acme\"]\n",
        world.notary.port
    );
    world.write_policy(&policy);
    for number in 0..repositories {
        let mut publisher = Publisher::new(&gun(number));
        for tag in 0..tags {
            let (name, image) = (
                format!("{}:v{tag}", publisher.gun),
                Image::named(&format!("{number} {tag}")),
            );
            publisher.tag(&format!("v{tag}"), &image.index.digest, 7);
            world.containerd.hold("k8s.io", |held| {
                image.hold_as(held, &name);
                // As CRI has it: two more names for the same bytes.
                held.images
                    .push((image.config.digest.clone(), image.index.digest.clone()));
                held.images.push((
                    format!("{}@{}", publisher.gun, image.index.digest),
                    image.index.digest.clone(),
                ));
            });
        }
        world.notary.publish(&publisher);
    }
    let daemon = world.start();
    assert_eq!(
        sweep(&world, 0).0,
        0,
        "by the sources, which puts all of it into the cache"
    );
    world.notary.hang(true);
    let of = format!("of {repositories} repositories");
    tell(&format!("{of}, all admitted"), || sweep(&world, 0).1);
    let some = format!("sha256:{}", "1".repeat(64));
    world.write_policy(&format!(
        "{policy}[[revoked]]\ndigest = \"{some}\"\nreason = \"another image\"\n"
    ));
    assert_eq!(world.rootpin(&["policy", "reload"]).code, 0);
    tell(&format!("{of}, all admitted, each taken apart"), || {
        sweep(&world, 0).1
    });
    world.write_policy(&policy.replace("r.test/team/*", "r.test/other/*"));
    assert_eq!(world.rootpin(&["policy", "reload"]).code, 0);
    tell(&format!("{of}, none admitted"), || {
        sweep(&world, 3 * IMAGES).1
    });
    assert_eq!(daemon.stop().0, 0);
}

fn gun(number: usize) -> String {
    format!("r.test/team/app{number}")
}

/// The exit code and the daemon's own time.
fn sweep(world: &World, wanted: usize) -> (i32, u64) {
    let (report, code) = world.rootpin_json(&["sweep"]);
    let found = report["findings"].as_array().unwrap().len();
    assert_eq!(
        found,
        wanted,
        "{:#}",
        report["findings"]
            .as_array()
            .unwrap()
            .first()
            .unwrap_or(&Value::Null)
    );
    (code, report["engines"][0]["microseconds"].as_u64().unwrap())
}

fn tell(what: &str, run: impl Fn() -> u64) {
    let mut runs: Vec<u64> = (0..RUNS).map(|_| run()).collect();
    runs.sort_unstable();
    let milliseconds = |time: u64| time / 1000;
    println!(
        "| {what} | {} ms | {} ms |",
        milliseconds(runs[RUNS / 2]),
        milliseconds(runs[RUNS - 1])
    );
}

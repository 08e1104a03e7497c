//! A plain driver for fuzzing on a stable toolchain: each reader of bytes from outside gets examples
//! of real tools with bytes and structure changed.
//!
//! ```text
//! cargo test -p rootpin-policy --test fuzz                       a moment for each reader
//! fuzz/run MINUTES                                               so long in all
//! ROOTPIN_FUZZ_INPUT=FILE ROOTPIN_FUZZ_TARGET=NAME cargo test …  one input again
//! ```
//!
//! An input that makes a reader panic is written to `target/fuzz` and fails the test.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "a broken test should stop at once"
)]

mod json;
mod mutate;
#[path = "../../../../tests/support/publisher.rs"]
mod notary_publisher;
#[path = "../../../rootpin-trust/src/tuf/tests/publisher.rs"]
#[allow(dead_code, reason = "only its way of signing is used")]
mod publisher;
mod signer;
mod targets;

use std::panic::catch_unwind;
use std::path::Path;
use std::sync::Mutex;
use std::{env, fs, thread};

use mutate::Random;
use rootpin_trust::image::Digest;
use serde_json::{Value, json};
use targets::{DATA, TARGETS, Target};

/// Inputs of each reader where nothing else is said.
const INPUTS: u64 = 1_000;

/// Examples that no file has.
const TEXTS: [&[u8]; 14] = [
    b"docker.io/library/alpine:3.20@sha256:0908e133957497f79cafb71c0a4f70424a0faaa08f83dfd450c37b83ffeb65ea",
    b"localhost:5000/a",
    b"[::1]:5000/team/app:v1",
    b"sha256:0908e133957497f79cafb71c0a4f70424a0faaa08f83dfd450c37b83ffeb65ea",
    b"r.example/team/**\nr.example/team/app",
    b"oci://r.example/meta:latest",
    b"https://t.example:8443/meta/\n",
    b"file:///srv/tuf",
    b"7d\n",
    b"r.example/*/app:?\nr.example/team/app:1",
    br#"version = 1
default = "deny"
[[root]]
id = "a"
type = "notary"
server = "https://n.example"
keys = ["roots/acme.pub"]
role = "targets/releases"
[[root]]
id = "t"
type = "tuf"
file = "roots/1.root.json"
sha256 = "0908e133957497f79cafb71c0a4f70424a0faaa08f83dfd450c37b83ffeb65ea"
metadata = ["https://t.example", "oci://r.example/meta"]
[[rule]]
match = "r.example/**"
roots = ["a"]
quorum = 1
[[image]]
name = "r.example/app:2"
digest = "sha256:0908e133957497f79cafb71c0a4f70424a0faaa08f83dfd450c37b83ffeb65ea"
[[exempt]]
match = "free.example/a"
until = 2026-12-24T00:00:00Z
reason = "old"
[[revoked]]
digest = "sha256:1108e133957497f79cafb71c0a4f70424a0faaa08f83dfd450c37b83ffeb65ea"
reason = "leaked"
[local]
content = "allow"
[limits]
offline = "3d"
"#,
    br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:0908e133957497f79cafb71c0a4f70424a0faaa08f83dfd450c37b83ffeb65ea","size":527,"platform":{"architecture":"arm64","os":"linux","variant":"v8"}}],"annotations":{"a":"b"}}"#,
    br#"{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{"mediaType":"application/vnd.docker.container.image.v1+json","size":1469,"digest":"sha256:0908e133957497f79cafb71c0a4f70424a0faaa08f83dfd450c37b83ffeb65ea"},"layers":[{"mediaType":"application/vnd.docker.image.rootfs.diff.tar.gzip","size":3623807,"digest":"sha256:1108e133957497f79cafb71c0a4f70424a0faaa08f83dfd450c37b83ffeb65ea","urls":["https://x"]}]}"#,
    br#"{"a":[1,-2,null,true,"\u00e9\n\\",{"b":{}}],"A":""}"#,
];

fn examples(folder: &str, end: &str) -> Vec<&'static [u8]> {
    let files = DATA.iter().filter(|(name, _)| {
        !end.is_empty() && name.starts_with(folder) && name.ends_with(end)
            || end.is_empty() && !folder.is_empty() && name.starts_with(folder)
    });
    let files = files.map(|(_, bytes)| &bytes[..]);
    // Each reader gets the examples of its kind as often as all others together.
    let own: Vec<&[u8]> = files.collect();
    let times = if own.is_empty() {
        0
    } else {
        1 + TEXTS.len() / own.len()
    };
    TEXTS.into_iter().chain(own.repeat(times)).collect()
}

fn tried(target: &Target, seed: u64, examples: &[&[u8]]) {
    let (name, read, ..) = target;
    let input = Random(seed).input(examples);
    if catch_unwind(|| read(&input)).is_err() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/fuzz");
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(format!("{name}-{}", &Digest::of(&input).hex()[..16]));
        fs::write(&path, &input).unwrap();
        panic!(
            "{name}, seed {seed}: ROOTPIN_FUZZ_TARGET={name} ROOTPIN_FUZZ_INPUT={}",
            path.display()
        );
    }
}

#[test]
fn no_bytes_from_outside_make_a_reader_panic_or_read_two_things() {
    let said = |name: &str| env::var(name).ok();
    let only = said("ROOTPIN_FUZZ_TARGET");
    let picked = |target: &&Target| only.as_deref().is_none_or(|only| only == target.0);
    if let Some(path) = said("ROOTPIN_FUZZ_INPUT") {
        let input = fs::read(path).unwrap();
        TARGETS
            .iter()
            .filter(picked)
            .for_each(|(_, read, ..)| read(&input));
        return;
    }
    let inputs = said("ROOTPIN_FUZZ").map_or(INPUTS, |text| text.parse().unwrap());
    let first = said("ROOTPIN_FUZZ_SEED").map_or(0, |text| text.parse().unwrap());
    let targets = Mutex::new(TARGETS.iter().filter(picked));
    let next = || targets.lock().unwrap().next();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(target) = next() {
                    let (_, read, folder, end) = target;
                    let examples = examples(folder, end);
                    for example in &examples {
                        read(example);
                    }
                    for seed in first..first + inputs {
                        tried(target, seed, &examples);
                    }
                }
            });
        }
    });
}

#[test]
fn an_example_that_nobody_changed_is_read_to_its_end() {
    let targets = &DATA["tuf/repository/2.targets.json"];
    assert!(targets::signed("2.targets.json", targets, 4));
    let mut snapshot: Value =
        serde_json::from_slice(&DATA["tuf/repository/2.snapshot.json"]).unwrap();
    // The targets are other ones here.
    snapshot["signed"]["meta"]["targets.json"] = json!({ "version": 2 });
    let snapshot = serde_json::to_vec(&snapshot).unwrap();
    assert!(targets::signed("2.snapshot.json", &snapshot, 3));
}

#[test]
fn an_example_that_its_own_key_signed_counts_in_each_form() {
    let made = |name: &str| &DATA[&format!("made/{name}")][..];
    assert!(signer::statement_counts(made("statement")));
    assert!(signer::simple_counts(made("simple")));
    assert!(signer::jws_counts(made("jws-header"), made("jws-payload")));
    assert!(signer::cose_counts(
        made("cose-header"),
        made("cose-payload")
    ));
    for role in [
        "root",
        "targets",
        "targets/releases",
        "snapshot",
        "timestamp",
    ] {
        let file = made(&format!("notary/{role}"));
        assert!(signer::notary_role_counts(role, file), "{role}");
    }
}

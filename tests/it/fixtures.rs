//! Metadata that real publishers and servers made, judged as a host would.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rootpin_trust::canonical::{Limits, Text, rewrite_doubles};
use rootpin_trust::notary::KeyPins;

use crate::publisher::Tree;
use crate::workflow::{GUN, Host, NOW, Outcome, pins_of, published, tags};

const LIMITS: Limits = Limits {
    bytes: 1 << 20,
    depth: 32,
    values: 100_000,
};

fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(path)
}

/// Every file of a folder by its path below it.
pub(crate) fn tree(path: &str) -> Tree {
    fn add(base: &Path, folder: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                add(base, &path, files);
            } else {
                files.insert(
                    path.strip_prefix(base)
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .to_owned(),
                    std::fs::read(&path).unwrap(),
                );
            }
        }
    }
    let base = data("notary").join(path);
    let mut files = BTreeMap::new();
    add(&base, &base, &mut files);
    Tree { files }
}

/// Lines of `expected.tsv` below the header that begins so.
pub(crate) fn expected(header: &str) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(data("expected.tsv")).unwrap();
    let lines = text
        .lines()
        .skip_while(|line| !line.starts_with(header))
        .skip(1);
    lines
        .take_while(|line| !line.starts_with('#'))
        .map(|line| line.split('\t').map(ToOwned::to_owned).collect())
        .collect()
}

fn described(result: &Result<Outcome, rootpin_trust::Refusal>) -> String {
    match result {
        Err(refusal) => refusal.code.to_string(),
        Ok(outcome) => {
            let tags: Vec<_> = tags(outcome.collection.get())
                .into_iter()
                .map(|(tag, digest)| format!("{tag}={digest}"))
                .collect();
            if tags.is_empty() {
                "(no tags)".to_owned()
            } else {
                tags.join(" ")
            }
        }
    }
}

#[test]
fn every_tree_of_the_fixtures_has_its_expected_outcome() {
    let lines = expected("# tree\t");
    for line in &lines {
        let [path, gun, keys, role, now, outcome] = &line[..] else {
            panic!("{line:?}")
        };
        let mut pins = pins_of(&keys.split(',').map(ToOwned::to_owned).collect::<Vec<_>>());
        pins.role.clone_from(role);
        let (result, _) = Host::default().look_at(&tree(path), gun, &pins, now);
        assert_eq!(described(&result), *outcome, "{line:?}: {result:?}");
    }
    let mut told: Vec<_> = lines.iter().map(|line| line[0].clone()).collect();
    told.dedup();
    assert_eq!(
        told.len(),
        folders(&data("notary")),
        "a tree without a line"
    );
}

/// How many folders hold a `root.json`.
fn folders(folder: &Path) -> usize {
    let inner = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir());
    usize::from(folder.join("root.json").exists()) + inner.map(|path| folders(&path)).sum::<usize>()
}

#[test]
fn every_canonical_json_vector_is_written_as_docker_go_writes_it_or_refused() {
    let vectors = std::fs::read(data("notary/vectors/canonical-json.json")).unwrap();
    let vectors: serde_json::Value = serde_json::from_slice(&vectors).unwrap();
    let vectors = vectors.as_array().unwrap();
    let lines = expected("# index\t");
    assert_eq!(lines.len(), vectors.len());
    for (vector, line) in vectors.iter().zip(lines) {
        let input = vector.get("input").unwrap().as_str().unwrap();
        let told: serde_json::Value = serde_json::from_str(&line[1]).unwrap();
        assert_eq!(told.as_str(), Some(input));
        // What is signed is an object, always.
        let ours = rewrite_doubles(input.as_bytes(), LIMITS)
            .ok()
            .filter(|text| Text::of(text).is_object());
        let ours = ours.map(|text| String::from_utf8(text).unwrap());
        match line[2].as_str() {
            "same" => assert_eq!(
                ours.as_deref(),
                vector.get("canonical").and_then(serde_json::Value::as_str),
                "{input}"
            ),
            _ => assert_eq!(ours, None, "{input}"),
        }
    }
}

#[test]
fn a_real_servers_rotations_are_followed_over_four_looks() {
    let served = |look: u8| tree(&format!("server/rotated/served{look}"));
    let keys: Vec<String> = expected("# tree\t")
        .into_iter()
        .filter(|line| line[0].starts_with("server/rotated"))
        .map(|line| line[2].clone())
        .collect();
    let mut pins = pins_of(&keys);
    pins.role = "targets".to_owned();
    let mut host = Host::default();
    for (look, version) in [(1, 1), (2, 4), (3, 5), (4, 6)] {
        let (result, _) = host.look_at(
            &served(look),
            "registry.test/fix/rotated",
            &pins,
            "2026-11-23T00:00:00Z",
        );
        assert_eq!(result.unwrap().collection.get().versions["root"], version);
    }
    let (result, _) = host.look_at(
        &served(3),
        "registry.test/fix/rotated",
        &pins,
        "2026-11-23T00:00:00Z",
    );
    assert_eq!(result.unwrap_err().code.as_str(), "rollback");
}

#[test]
fn a_tag_that_a_real_publisher_removed_is_gone_and_does_not_come_back() {
    let line = expected("# tree\t")
        .into_iter()
        .find(|line| line[0] == "server/removed/served1")
        .unwrap();
    let mut pins = pins_of(&[line[2].clone()]);
    pins.role = "targets".to_owned();
    let mut host = Host::default();
    let (before, after) = (
        tree("server/removed/served1"),
        tree("server/removed/served2"),
    );
    let mut look = |tree| {
        host.look_at(
            tree,
            "registry.test/fix/removed",
            &pins,
            "2026-11-23T00:00:00Z",
        )
        .0
    };
    let first = tags(look(&before).unwrap().collection.get());
    let second = tags(look(&after).unwrap().collection.get());
    assert!(second.len() < first.len());
    assert_eq!(look(&before).unwrap_err().code.as_str(), "rollback");
}

/// The gist of a verification: two with the same gist say the same.
fn gist(outcome: &Outcome) -> String {
    let collection = outcome.collection.get();
    format!(
        "{:?} {:?} {:?} {:?}",
        collection.targets,
        collection.versions,
        collection.expires,
        outcome.progress.get().statements
    )
}

#[test]
fn a_mutated_repository_is_refused_or_says_the_same() {
    let (mut publisher, pins) = published();
    publisher.rotate_root(&[publisher.root_key()]);
    mutate(&publisher.tree(), GUN, &pins, NOW);
}

#[test]
fn a_mutated_repository_of_a_real_server_is_refused_or_says_the_same() {
    let line = expected("# tree\t")
        .into_iter()
        .find(|line| line[0] == "server/delegations/served")
        .unwrap();
    mutate(
        &tree(&line[0]),
        &line[1],
        &pins_of(&[line[2].clone()]),
        &line[4],
    );
}

fn mutate(whole: &Tree, gun: &str, pins: &KeyPins, now: &str) {
    let good = gist(&Host::default().look_at(whole, gun, pins, now).0.unwrap());
    let names: Vec<String> = whole.files.keys().cloned().collect();
    let change = (
        0..names.len(),
        any::<prop::sample::Index>(),
        any::<u8>(),
        0..4_u8,
    );
    let mut runner = TestRunner::new(Config {
        cases: 400,
        failure_persistence: None,
        ..Config::default()
    });
    runner
        .run(&change, |(file, at, byte, how)| {
            let mut tree = whole.clone();
            let bytes = tree.files.get_mut(&names[file]).unwrap();
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] ^= byte,
                1 => bytes.insert(at, byte),
                2 => drop(bytes.remove(at)),
                _ => bytes.truncate(at),
            }
            if let Ok(outcome) = Host::default().look_at(&tree, gun, pins, now).0 {
                prop_assert_eq!(gist(&outcome), good.clone());
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn arbitrary_bytes_in_place_of_any_file_are_refused_without_a_panic() {
    let (publisher, pins) = published();
    let whole = publisher.tree();
    let member = r#"\{"signed":\{"_type":"(Root|Timestamp)","version":[0-9]{1,3},"expires":"2036-01-01T00:00:00Z","(meta|roles|keys)":[\[\]{}":a-z0-9,]{0,40}\},"signatures":[\[\]{}":a-z0-9,]{0,40}\}"#;
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        member.prop_map(String::into_bytes)
    ];
    let mut runner = TestRunner::new(Config {
        cases: 400,
        failure_persistence: None,
        ..Config::default()
    });
    runner
        .run(
            &(
                prop::sample::select(vec!["root.json", "timestamp.json"]),
                bytes,
            ),
            |(name, bytes)| {
                let mut tree = whole.clone();
                tree.files.insert(name.to_owned(), bytes);
                prop_assert!(Host::default().look(&tree, &pins).is_err());
                Ok(())
            },
        )
        .unwrap();
}

#[test]
fn signatures_of_all_four_kinds_of_keys_count() {
    let line = expected("# tree\t")
        .into_iter()
        .find(|line| line[0] == "vectors/delegations")
        .unwrap();
    let (result, _) = Host::default().look_at(
        &tree("vectors/delegations"),
        &line[1],
        &pins_of(&[line[2].clone()]),
        &line[4],
    );
    // P-256, P-384, RSA in a certificate, and Ed25519 for releases; one key for targets.
    assert_eq!(result.unwrap().collection.get().signers.len(), 5);
}

//! A proposal that no file of a policy could hold.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use rootpin_trust::image::Repository;
use serde_json::json;

use crate::world::{Ended, run};

const SCOPES: usize = 20_000;
/// The most that a file of a policy may have.
const MIB: u64 = 1 << 20;

fn rootpin(dir: &Path, words: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
    run(command.args(words).current_dir(dir).env("HOME", dir), b"")
}

/// Imports a `policy.json` of that many scopes, a line each, whose names that gives.
fn imported(name: impl Fn(usize) -> String) -> (tempfile::TempDir, BTreeSet<String>) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("k.pub"),
        include_str!("../../data/keys/ed25519.pub"),
    )
    .unwrap();
    let signed = json!([{ "type": "sigstoreSigned", "keyPath": "k.pub" }]);
    let scopes = (0..SCOPES).map(|number| {
        let requires = if number % 10 == 0 {
            signed.to_string()
        } else {
            r#"[{"type":"reject"}]"#.to_owned()
        };
        format!("{:?}:{requires}", name(number))
    });
    let scopes = scopes.collect::<Vec<_>>().join(",\n");
    let text = format!(
        "{{\"default\":[{{\"type\":\"reject\"}}],\"transports\":{{\"docker\":{{\n{scopes}\n}}}}}}"
    );
    assert!(
        text.lines().count() > SCOPES && text.len() <= 1 << 20,
        "{}",
        text.len()
    );
    fs::write(dir.path().join("policy.json"), text).unwrap();
    let words = [
        "import",
        "--from",
        "containers-policy",
        "policy.json",
        "--out",
        "p",
    ];
    let ended = rootpin(dir.path(), &words);
    assert_eq!(ended.code, 0, "{} {}", ended.err, ended.out.len());
    assert!(
        ended.out.contains("\ndivided: policy.toml"),
        "{}",
        ended.err
    );
    let folder = dir.path().join("p");
    let fragments = fs::read_dir(folder.join("policy.d")).unwrap();
    let mut files: Vec<_> = fragments.map(|file| file.unwrap().path()).collect();
    files.push(folder.join("policy.toml"));
    let mut patterns = BTreeSet::new();
    for file in files {
        assert!(
            fs::metadata(&file).unwrap().len() <= MIB,
            "{}",
            file.display()
        );
        let text = fs::read_to_string(&file).unwrap();
        for line in text
            .lines()
            .filter_map(|line| line.strip_prefix("match = "))
        {
            assert!(patterns.insert(line.trim_matches('"').to_owned()), "{line}");
        }
    }
    (dir, patterns)
}

fn loads_and_has_all(dir: &Path, patterns: &BTreeSet<String>, name: impl Fn(usize) -> String) {
    let ended = rootpin(dir, &["policy", "check", "p"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(patterns.len(), 2 * SCOPES);
    for number in 0..SCOPES {
        let name = name(number);
        assert!(Repository::from_full(&name).is_ok(), "{name}");
        let below = format!("{name}/**");
        assert!(
            patterns.contains(&name) && patterns.contains(&below),
            "{name}"
        );
    }
    // By the judge itself, of a name in a fragment or in policy.toml.
    for (number, word) in [(0, "cosign-1"), (10, "cosign-1"), (SCOPES - 1, "no root")] {
        let name = name(number) + ":1";
        let ended = rootpin(dir, &["policy", "explain", "--policy", "p", &name]);
        assert!(ended.out.contains(word), "{name}: {ended:?}");
    }
}

#[test]
fn twenty_thousand_scopes_of_one_registry_become_fragments_that_load_together() {
    let name = |number: usize| format!("r.example/a{number:05}");
    let (dir, patterns) = imported(name);
    loads_and_has_all(dir.path(), &patterns, name);
}

#[test]
fn twenty_thousand_scopes_of_a_hundred_teams_become_fragments_that_load_together() {
    let name = |number: usize| format!("registry.io/team{:02}/r-{:03}", number % 100, number / 100);
    let (dir, patterns) = imported(name);
    loads_and_has_all(dir.path(), &patterns, name);
}

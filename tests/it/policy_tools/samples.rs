//! The samples of docs/policy-tools.md are what the program prints, with digests cut.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::lint::{KEY, notary, rule};
use super::simulate::{self, EXEMPT, digest};
use crate::world::run;

/// Each command with a prompt in the document, and the lines below it.
fn samples() -> Vec<(String, String)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/policy-tools.md");
    let text = fs::read_to_string(path).unwrap();
    let blocks = text.split("```console\n").skip(1);
    let blocks = blocks.map(|block| block.split("```").next().unwrap());
    let commands = blocks.flat_map(|block| block.split("$ ").skip(1));
    let sample = |command: &str| {
        let (typed, printed) = command.split_once('\n').unwrap();
        (typed.to_owned(), printed.trim_end().to_owned())
    };
    commands.map(sample).collect()
}

/// What a document shows of a text: four digits of each digest.
fn cut(text: &str) -> String {
    let mut parts = text.split("sha256:");
    let mut shown = parts.next().unwrap().to_owned();
    for part in parts {
        let digits = part.chars().take_while(char::is_ascii_hexdigit).count();
        let end = if digits == 64 { 4 } else { digits };
        let dots = if digits == 64 { "…" } else { "" };
        let _ = write!(shown, "sha256:{}{dots}{}", &part[..end], &part[digits..]);
    }
    shown.trim_end().to_owned()
}

/// A folder with all that the samples name.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let limits = EXEMPT.split_at(EXEMPT.find("[limits]").unwrap()).1;
    for (name, more) in [("old", EXEMPT), ("new", limits)] {
        simulate::policy(folder.path(), name, more);
    }
    for host in 0..3 {
        let mut report = simulate::report(host);
        let images = report["images"].as_array_mut().unwrap();
        let exempt = images
            .iter_mut()
            .find(|image| image["name"] == "r.example/old/app:1")
            .unwrap();
        exempt["judgement"]["rule"] =
            json!("[[exempt]] match = \"r.example/old/app\" (policy.toml:12)");
        write(&format!("reports/node-{host:03}.json"), &report.to_string());
    }
    write(
        "reports/node-003.json",
        "{\"version\": 1, \"host\": \"node-003\"",
    );
    let weak = notary("a", KEY, "allow-rsa-pkcs1v15 = true\n") + &rule("r.example/team/**", "");
    write(
        "policy/policy.toml",
        &format!("version = 1\ndefault = \"deny\"\n{weak}"),
    );
    let case = format!(
        "[[case]]\nname = \"r.example/old/app:1\"\ndigest = \"{}\"\nat = 2026-11-30T12:00:00Z\nexpect = \"allowed\"\n",
        digest("r.example/old/app:1")
    );
    write("new/tests/old.toml", &case);
    folder
}

fn printed(folder: &Path, typed: &str) -> String {
    let words = typed.split_whitespace().skip(1);
    let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
    let ended = run(command.args(words).current_dir(folder), b"");
    cut(&(ended.out + &ended.err))
}

#[test]
fn each_sample_of_the_document_is_what_the_program_prints() {
    let folder = folder();
    let samples = samples();
    let verbs = ["simulate", "diff", "test", "lint"].map(|verb| format!("rootpin policy {verb} "));
    for verb in &verbs {
        let is_shown = samples.iter().any(|(typed, _)| typed.starts_with(verb));
        assert!(is_shown, "no sample of {verb}");
    }
    let wrong: Vec<String> = samples
        .iter()
        .map(|(typed, shown)| (typed, shown, printed(folder.path(), typed)))
        .filter(|(_, shown, printed)| *shown != printed)
        .map(|(typed, shown, printed)| {
            format!("$ {typed}\n{printed}\n--- the document has\n{shown}")
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

//! The samples of docs/policy-tools.md are what the program prints, with digests cut.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::lint::{KEY, notary, rule};
use super::simulate::{self, EXEMPT, digest};
use crate::schema;
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
pub(crate) fn folder() -> tempfile::TempDir {
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

/// The schema of what one verb prints.
fn schema_of(verb: &str) -> Value {
    let mut schema: Value =
        serde_json::from_str(include_str!("../../../docs/policy-tools.schema.json")).unwrap();
    schema.as_object_mut().unwrap().remove("anyOf");
    schema["$ref"] = json!(format!("#/$defs/{verb}"));
    schema
}

#[test]
fn what_each_tool_prints_with_json_is_as_the_schema_says_and_a_mistake_is_of_one_form_in_all() {
    let folder = folder();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("bad/policy.toml", "version = 2\n");
    write("bad/tests/a.toml", "");
    write("bare/policy.toml", "version = 1\ndefault = \"deny\"\n");
    write("bare/tests/a.toml", "not toml");
    write("cut.json", "{\"version\": 1");
    let huge = "x".repeat(3 << 20);
    write("huge.json", &huge);
    write("huge/policy.toml", &huge);
    write("huge/tests/a.toml", "");
    fs::create_dir(folder.path().join("empty")).unwrap();
    let (check, explain, mistake) = ("check", "explain", "mistake");
    let name = "r.example/old/app:1";
    for (typed, kind, code) in [
        ("check old", check, 0),
        ("check bare", check, 0),
        ("explain --policy old NAME", explain, 0),
        ("explain --policy new NAME", explain, 0),
        ("lint policy", "lint", 1),
        ("lint bare", "lint", 0),
        ("lint bare --inventory cut.json", "lint", 2),
        ("lint bare --inventory huge.json", "lint", 2),
        ("lint bare --inventory empty", "lint", 2),
        ("test new", "test", 1),
        ("test bare", "test", 2),
        ("test empty --policy bare", "test", 2),
        ("simulate new --reports reports/", "simulate", 1),
        (
            "simulate old --reports reports/node-000.json",
            "simulate",
            0,
        ),
        ("simulate bare --reports cut.json", "simulate", 2),
        ("simulate bare --reports huge.json", "simulate", 2),
        ("simulate bare --reports nowhere.json", "simulate", 2),
        ("simulate bare --reports empty", "simulate", 2),
        ("simulate bare", "simulate", 2),
        ("diff old new --inventory reports/node-000.json", "diff", 1),
        ("diff old old", "diff", 0),
        ("diff old old --inventory cut.json", "diff", 2),
        ("diff old old --inventory huge.json", "diff", 2),
        // A policy that does not load, or is none.
        ("check bad", check, 1),
        ("check huge", check, 2),
        ("check empty", check, 2),
        ("explain --policy bad NAME", check, 2),
        ("lint bad", check, 2),
        ("test bad", check, 2),
        ("simulate bad --reports reports/", check, 2),
        ("diff bad old", check, 2),
        ("diff old bad", check, 2),
        ("lint huge", check, 2),
        ("test huge", check, 2),
        ("simulate huge", check, 2),
        ("diff huge old", check, 2),
        ("lint empty", check, 2),
        ("simulate nowhere", check, 2),
        ("diff old nowhere", check, 2),
        ("simulate old --old bad", check, 2),
        ("test nowhere", mistake, 2),
        // A command line that is wrong.
        ("explain --policy old Not/A:Name:x", mistake, 64),
        ("lint --more", mistake, 64),
        ("simulate", mistake, 64),
        ("diff old", mistake, 64),
        ("odd", mistake, 64),
    ] {
        let words = typed.replace("NAME", name);
        let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
        command.args(["--json", "policy"]).args(words.split(' '));
        let ended = run(command.current_dir(folder.path()), b"");
        let printed: Value =
            serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{typed}: {ended:?}"));
        let errors = schema::errors(&schema_of(kind), &printed);
        assert!(errors.is_empty(), "{typed}: {errors:?}\n{printed:#}");
        assert_eq!(ended.code, code, "{typed}: {printed:#}");
        let is_mistake = code == 2 || kind == mistake;
        assert!(
            !is_mistake || !printed["error"].as_str().unwrap().is_empty(),
            "{typed}"
        );
        // The same without --json: something is said, and the exit code is the same.
        let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
        command.arg("policy").args(words.split(' '));
        let ended = run(command.current_dir(folder.path()), b"");
        let said = format!("{}{}", ended.out, ended.err);
        assert!(ended.code == code && !said.is_empty(), "{typed}: {ended:?}");
    }
}

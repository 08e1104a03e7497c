//! One mistake has one exit code, whichever verb meets it, and with `--json` one form of document.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{folder, rootpin};
use crate::world::Ended;

/// The document on standard output, if it is one of a mistake or of a judgement.
fn document(ended: &Ended) -> Result<Value, String> {
    let value: Value =
        serde_json::from_str(&ended.out).map_err(|error| format!("{error}: {ended:?}"))?;
    let is_text = |member: &str| value[member].as_str().is_some_and(|text| !text.is_empty());
    // A judgement says in its hint what a mistake says in its error.
    if value["version"] == 1 && is_text("outcome") && (is_text("error") || is_text("hint")) {
        Ok(value)
    } else {
        Err(format!("another form: {value}"))
    }
}

/// What is wrong with the answer to a command that can't be carried out.
fn fault(dir: &Path, typed: &str, exit: i32, outcome: &str) -> Option<String> {
    let words: Vec<&str> = typed.split(' ').collect();
    let text = rootpin(dir, &words);
    let json = rootpin(dir, &[&words[..], &["--json"]].concat());
    let said = match document(&json) {
        Ok(value) => value["outcome"].as_str().unwrap_or_default().to_owned(),
        Err(why) => why,
    };
    let is_right = (text.code, json.code, said.as_str()) == (exit, exit, outcome);
    (!is_right).then(|| {
        format!(
            "{typed}\n  {} and {}: {said}\n  {text:?}",
            text.code, json.code
        )
    })
}

/// A folder with a policy that is in order, one that is a folder itself, and one that is nonsense;
/// and the same of files.
fn mistakes(name: &str) -> std::path::PathBuf {
    let dir = folder(name);
    fs::create_dir_all(dir.join("unreadable/policy.toml")).unwrap();
    fs::create_dir(dir.join("broken")).unwrap();
    fs::write(dir.join("broken/policy.toml"), "nonsense = \n").unwrap();
    fs::create_dir_all(dir.join("cases")).unwrap();
    fs::write(dir.join("cases/one.toml"), "").unwrap();
    fs::write(dir.join("broken.file"), "{ \"nonsense").unwrap();
    fs::create_dir(dir.join("unreadable.file")).unwrap();
    fs::write(dir.join("empty.toml"), "").unwrap();
    fs::write(dir.join("report.json"), "{}").unwrap();
    let made = rootpin(
        &dir,
        &[
            "bundle",
            "export",
            "--root",
            "team",
            "--policy",
            "policy",
            "made.bundle",
        ],
    );
    assert_eq!(made.code, 0, "{made:?}");
    dir
}

const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000001";

/// The verbs that read a policy from a folder.
const WITH_POLICY: &[&str] = &[
    "policy check {policy}",
    "policy explain r.test/x --policy {policy}",
    "policy lint {policy}",
    "policy simulate {policy} --reports report.json",
    "policy simulate policy --old {policy} --reports report.json",
    "policy diff {policy} policy",
    "policy diff policy {policy}",
    "policy test cases --policy {policy}",
    "pin list --policy {policy}",
    "pin diff --policy {policy}",
    "pin scan r.test/x --policy {policy}",
    "pin remove team --policy {policy}",
    "pin revoke {digest} --reason x --policy {policy}",
    "bundle export --root team --policy {policy} out.bundle",
    "bundle import made.bundle --policy {policy} --state state",
    "state reset --root team --yes --state state --policy {policy}",
    "verify r.test/x@{digest} --policy {policy} --state state",
    "audit merge report.json --expect {policy}",
    "repo --repo team compare --with notary https://127.0.0.1:1 r.test/x --policy {policy}",
    "repo --repo team take-over --from notary https://127.0.0.1:1 r.test/x --policy {policy}",
];

#[test]
fn a_policy_that_is_not_there_can_not_be_read_or_does_not_load_ends_every_verb_with_one_exit_code()
{
    let dir = mistakes("mistakes-policy");
    fs::create_dir(dir.join("state")).unwrap();
    let mut faults = Vec::new();
    for typed in WITH_POLICY {
        for policy in ["missing", "unreadable", "broken"] {
            // The question itself is whether it loads, and it is answered.
            let asks = typed.starts_with("policy check") && policy == "broken";
            let (exit, outcome) = if asks {
                (1, "refused")
            } else {
                (2, "unjudged")
            };
            let typed = typed
                .replace("{policy}", policy)
                .replace("{digest}", DIGEST);
            faults.extend(fault(&dir, &typed, exit, outcome));
        }
    }
    assert!(!dir.join("missing").exists(), "a mistyped folder was made");
    assert!(
        faults.is_empty(),
        "{}:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

#[test]
fn the_tools_of_a_policy_name_each_mistake_of_one_that_does_not_load() {
    let dir = mistakes("mistakes-document");
    for typed in WITH_POLICY
        .iter()
        .filter(|typed| typed.starts_with("policy "))
    {
        let typed = format!("{} --json", typed.replace("{policy}", "broken"));
        let words: Vec<&str> = typed.split(' ').collect();
        let value = document(&rootpin(&dir, &words)).unwrap();
        assert_eq!(
            (&value["ok"], &value["hash"], &value["errors"][0]["code"]),
            (&Value::Bool(false), &Value::Null, &"syntax".into()),
            "{typed}: {value}"
        );
    }
}

/// The verbs that read another file.
const WITH_FILE: &[&str] = &[
    "bundle import {file} --policy policy --state state",
    "policy simulate policy --reports {file}",
    "policy diff policy policy --inventory {file}",
    "doctor --config {file}",
    "install --config {file}",
    "prove --config {file}",
    "evidence out --config {file}",
    "support --out archive --config {file}",
    "hosts write r.test --dir certs.d --config {file}",
    "hosts check --dir certs.d --config {file}",
    "pin add x --policy policy --from {file} --type notary --server https://n.test --role targets --match r.test/x --fingerprint {sha256}",
    "pin scan r.test/x --server https://n.test --tls-ca {file}",
    "repo --repo team key add x --file {file}",
    "repo --repo team rotate root --sign {file}",
    "repo --repo team rotate root --finish {file}",
    "repo --repo team endorse --list {file} --dry-run",
    "repo --repo team sign r.test/team/x:1 --file {file}",
    "import {file} --from containers-policy --out proposal",
    "import {file} --from notation-trustpolicy --out proposal",
    "repo clone file:///nowhere copy --root {file} --sha256 {sha256} --names r.test/**",
];

#[test]
fn a_file_that_is_not_there_can_not_be_read_or_is_nonsense_ends_every_verb_with_one_exit_code() {
    let dir = mistakes("mistakes-file");
    fs::create_dir(dir.join("state")).unwrap();
    let root = fs::read(dir.join("team/root.json")).unwrap();
    let sha256 = rootpin_trust::image::Digest::of(&root).hex();
    let mut faults = Vec::new();
    for typed in WITH_FILE {
        for file in ["missing.file", "unreadable.file", "broken.file"] {
            let typed = typed.replace("{file}", file).replace("{sha256}", &sha256);
            faults.extend(fault(&dir, &typed, 2, "unjudged"));
        }
    }
    assert!(
        faults.is_empty(),
        "{}:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

fn leaves(command: &clap::Command, path: &[String], found: &mut Vec<Vec<String>>) {
    for below in command.get_subcommands() {
        let path = [path, &[below.get_name().to_owned()]].concat();
        if below.has_subcommands() {
            leaves(below, &path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn an_option_that_no_verb_has_ends_each_verb_as_wrong_usage_and_says_so_in_json() {
    let mut verbs = Vec::new();
    leaves(&rootpin::cli::command(), &[], &mut verbs);
    assert!(verbs.len() > 40, "{verbs:?}");
    verbs.push(vec!["nonsense".to_owned()]);
    for verb in verbs {
        let typed = |more: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
            crate::world::run(command.args(&verb).args(more), b"")
        };
        let text = typed(&["--nonsense"]);
        assert_eq!(
            (text.code, text.out.as_str()),
            (64, ""),
            "{verb:?}: {text:?}"
        );
        let json = typed(&["--json", "--nonsense"]);
        let value = document(&json).unwrap_or_else(|why| panic!("{verb:?}: {why}"));
        assert_eq!(
            (json.code, &value["outcome"]),
            (64, &"usage".into()),
            "{verb:?}: {value}"
        );
    }
}

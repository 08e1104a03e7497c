//! What the packaged units leave open is what docs/threat-model.md argues. How it is to be in such a
//! sandbox, tests with a real systemd try.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use crate::documents::{files, is_of_kind, text, top};

/// The release whose list of settings docs/threat-model.md has.
const SYSTEMD: &str = "systemd 252 ";

/// `systemd-analyze security --offline`, which reads a unit's file and asks nobody.
#[allow(clippy::disallowed_macros, reason = "a test that did not run says so")]
fn analyze(unit: &str, arguments: &[&str]) -> Option<(String, bool)> {
    let version = Command::new("systemctl").arg("--version").output();
    if !version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).starts_with(SYSTEMD)) {
        eprintln!("not run: {SYSTEMD}is not installed");
        return None;
    }
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager"])
        .args(arguments)
        .arg(top().join(unit))
        .output()
        .unwrap();
    Some((
        String::from_utf8(output.stdout).unwrap(),
        output.status.success(),
    ))
}

#[test]
fn what_systemd_still_marks_of_rootpind_s_unit_is_argued_row_by_row() {
    let unit = "packaging/systemd/rootpind.service";
    let Some((json, _)) = analyze(unit, &["--json=short"]) else {
        return;
    };
    let settings: Value = serde_json::from_str(&json).unwrap();
    let marked: BTreeSet<String> = settings
        .as_array()
        .unwrap()
        .iter()
        .filter(|setting| setting["set"] == false && setting["exposure"].is_string())
        .map(|setting| setting["name"].as_str().unwrap().to_owned())
        .collect();
    let page = text("docs/threat-model.md");
    let (_, table) = page
        .split_once("| setting | why it stays |\n|---|---|\n")
        .unwrap();
    let argued: BTreeSet<String> = table
        .lines()
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.split('`').nth(1).unwrap().replace("\\|", "|"))
        .collect();
    assert!(argued.len() > 5, "{argued:?}");
    assert_eq!(argued, marked);
}

#[test]
fn no_unit_is_more_exposed_than_the_daemon_and_that_as_the_threat_model_says() {
    let page = text("docs/threat-model.md");
    assert!(page.contains("rootpind.service` says 1.8 "));
    let units: Vec<_> = files("packaging/systemd")
        .into_iter()
        .filter(|path| is_of_kind(path, "service"))
        .collect();
    assert!(units.len() > 5, "{units:?}");
    for unit in units {
        // In tenths. What needs no network and no other user's files is below 1.5.
        let threshold = if unit.ends_with("/rootpind.service") {
            "18"
        } else {
            "16"
        };
        let Some((said, is_below)) = analyze(&unit, &[&format!("--threshold={threshold}")]) else {
            return;
        };
        assert!(is_below, "{}", said.lines().last().unwrap_or_default());
    }
}

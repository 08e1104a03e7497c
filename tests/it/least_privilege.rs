//! What the packaged units leave open is what docs/threat-model.md argues. How it is to be in such a
//! sandbox, tests with a real systemd try.

use std::collections::BTreeMap;
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
    let word = |value: &Value| value.as_str().map(ToOwned::to_owned);
    let marked: BTreeMap<String, String> = settings
        .as_array()
        .unwrap()
        .iter()
        .filter(|setting| setting["set"] == false)
        .filter_map(|setting| Some((word(&setting["name"])?, word(&setting["exposure"])?)))
        .collect();
    let page = text("docs/threat-model.md");
    let rows = argued(&page);
    assert!(rows.len() > 5, "{rows:?}");
    let shown: BTreeMap<String, String> = rows
        .iter()
        .map(|(setting, thousandths)| (setting.clone(), rounded_up(*thousandths)))
        .collect();
    assert_eq!(shown, marked);
    let sum: u32 = rows.values().sum();
    assert_eq!(rounded_up(sum), "1.8");
    assert!(
        page.contains(&format!("sum to {}.{:03},", sum / 1000, sum % 1000)),
        "{sum}"
    );
}

/// The rows of docs/threat-model.md: a setting, and the thousandths that it costs.
fn argued(page: &str) -> BTreeMap<String, u32> {
    let (_, table) = page
        .split_once("| setting | points | why it stays |\n|---|---|---|\n")
        .unwrap();
    let row = |line: &str| {
        let setting = line.split('`').nth(1).unwrap().replace("\\|", "|");
        let (_, rest) = line.split_once("` | 0.").unwrap();
        let (points, _) = rest.split_once(' ').unwrap();
        (setting, points.parse::<u32>().unwrap())
    };
    table
        .lines()
        .take_while(|line| line.starts_with('|'))
        .map(row)
        .collect()
}

/// As systemd shows it: tenths, and what is between two of them is the higher one.
fn rounded_up(thousandths: u32) -> String {
    let tenths = thousandths.div_ceil(100);
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// The daemon's unit with other settings, each in place of the line that has its key.
fn with_settings(settings: &[&str]) -> String {
    let unit = text("packaging/systemd/rootpind.service");
    let is_replaced = |line: &str| {
        line.split_once('=').is_some_and(|(key, _)| {
            settings
                .iter()
                .any(|new| new.split('=').next() == Some(key))
        })
    };
    let kept = unit.lines().filter(|line| !is_replaced(line));
    kept.flat_map(|line| {
        let new: &[&str] = if line == "[Service]" { settings } else { &[] };
        std::iter::once(line).chain(new.iter().copied())
    })
    .collect::<Vec<_>>()
    .join("\n")
}

#[test]
fn the_wanted_number_takes_another_user_or_a_user_namespace() {
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("rootpind.service");
    let tried: [(&[&str], &str, &str); 4] = [
        (&[], "18", "17"),
        (
            &[
                "ProtectHome=yes",
                "CapabilityBoundingSet=",
                "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
                "MemoryDenyWriteExecute=yes",
                "ProcSubset=pid",
            ],
            "16",
            "15",
        ),
        (
            &[
                "ProtectHome=yes",
                "CapabilityBoundingSet=",
                "PrivateUsers=yes",
            ],
            "15",
            "14",
        ),
        (&["User=rootpin"], "15", "14"),
    ];
    for (settings, reaches, not) in tried {
        std::fs::write(&unit, with_settings(settings)).unwrap();
        for (threshold, is_reached) in [(reaches, true), (not, false)] {
            let threshold = format!("--threshold={threshold}");
            let Some((said, is_below)) = analyze(unit.to_str().unwrap(), &[&threshold]) else {
                return;
            };
            assert_eq!(is_below, is_reached, "{settings:?}: {said}");
        }
    }
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

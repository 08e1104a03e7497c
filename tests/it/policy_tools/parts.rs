//! A digest that is newly revoked may be a part of an image: reports list the parts, and where they
//! don't, nobody can tell.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::simulate::{AT, EXEMPT, digest, layer_of, policy, report, rootpin};

const APP: &str = "r.example/team/app7:1";

fn revoking(of: &str) -> String {
    let digest = digest(of);
    format!("{EXEMPT}[[revoked]]\ndigest = \"{digest}\"\nreason = \"x\"\n")
}

fn written(folder: &Path, name: &str, lines: &[Value]) -> String {
    let path: PathBuf = folder.join(name);
    let lines: Vec<_> = lines.iter().map(ToString::to_string).collect();
    fs::write(&path, lines.join("\n")).unwrap();
    path.display().to_string()
}

/// A report as rootpin made it before reports listed parts.
fn older(host: usize) -> Value {
    let mut report = report(host);
    report.as_object_mut().unwrap().remove("parts");
    report
}

/// `kind name` of each change.
fn changes(value: &Value) -> Vec<String> {
    let images = value["images"].as_array().unwrap().iter();
    let change = |image: &Value| {
        let name = image["image"].as_str().unwrap().split('@').next().unwrap();
        format!("{} {name}", image["kind"].as_str().unwrap())
    };
    images.map(change).collect()
}

#[test]
fn a_revoked_layer_is_found_in_the_images_and_on_the_hosts_that_have_it_and_nowhere_else() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (old, new) = (
        policy(folder.path(), "old", EXEMPT),
        policy(folder.path(), "new", &revoking(&layer_of(APP))),
    );
    let mut other = report(1);
    // The same image, of which this host has another platform.
    other["parts"][digest(APP)] = json!([digest("another platform's layer")]);
    let reports = written(
        folder.path(),
        "reports.jsonl",
        &[report(0), other, report(2)],
    );
    let (value, code) = rootpin(&["simulate", &new, "--reports", &reports]);
    assert_eq!((changes(&value), code), (vec![format!("refused {APP}")], 1));
    let change = &value["images"][0];
    assert_eq!(
        (&change["was"], &change["now"], &change["hosts"]),
        (
            &json!("allowed signed"),
            &json!("refused revoked"),
            &json!(["node-000", "node-002"])
        )
    );
    let (value, code) = rootpin(&["diff", &old, &new, "--inventory", &reports]);
    let images = value["images"].as_array().unwrap();
    assert_eq!((images.len(), code), (1, 1), "{value}");
    assert_eq!(
        (&images[0]["new"], &value["unknown"]),
        (&json!("refused revoked"), &json!(0))
    );
    // What is revoked by both changes nothing.
    let same = policy(folder.path(), "same", &revoking(&layer_of(APP)));
    let (value, _) = rootpin(&["diff", &new, &same, "--inventory", &reports]);
    assert_eq!(
        (&value["images"], &value["unknown"]),
        (&json!([]), &json!(0))
    );
}

#[test]
fn of_an_image_whose_parts_are_not_reported_it_is_said_that_nobody_can_tell() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let revoked = revoking("some layer");
    let new = policy(folder.path(), "new", &revoked);
    let reports = written(folder.path(), "reports.jsonl", &[older(0), report(1)]);
    let (value, code) = rootpin(&["simulate", &new, "--reports", &reports]);
    let found = changes(&value);
    assert_eq!((found.len(), code), (21, 2), "{value}");
    assert!(found.iter().all(|change| change.starts_with("unknown ")));
    assert_eq!(
        (&value["hosts"][0]["unknown"], &value["hosts"][1]["unknown"]),
        (&json!(21), &json!(0))
    );
    assert!(
        value["images"][0]["now"]
            .as_str()
            .unwrap()
            .contains("a newly revoked digest may be a part of it")
    );
    // A list that is there and lacks the image tells as little.
    let mut lacking = report(1);
    lacking["parts"]
        .as_object_mut()
        .unwrap()
        .remove(&digest(APP));
    let reports = written(folder.path(), "lacking.jsonl", &[lacking]);
    let (value, code) = rootpin(&["simulate", &new, "--reports", &reports]);
    assert_eq!((changes(&value), code), (vec![format!("unknown {APP}")], 2));
    // The digest was revoked already, by the policy that this host had in force.
    let (check, _) = rootpin(&["check", &new]);
    let mut known = older(0);
    known["policy"]["hash"] = check["hash"].clone();
    let reports = written(folder.path(), "known.jsonl", &[known]);
    let more = policy(
        folder.path(),
        "more",
        &format!("{revoked}[docker]\nswarm = \"allow\"\n"),
    );
    for words in [
        &["simulate", &new, "--reports", &reports][..],
        &["simulate", &more, "--reports", &reports, "--old", &new],
    ] {
        let (value, code) = rootpin(words);
        assert_eq!((changes(&value), code), (vec![], 0), "{words:?}");
    }
}

#[test]
fn what_a_line_of_an_audit_file_does_not_tell_of_parts_the_report_of_the_same_host_does() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let old = policy(folder.path(), "old", EXEMPT);
    let new = policy(folder.path(), "new", &revoking("some layer"));
    let (check, _) = rootpin(&["check", &old]);
    let line = |name: &str, host: &str| {
        json!({ "version": 1, "host": host, "time": AT, "policy": check["hash"], "name": name, "digest": digest(name), "outcome": "allowed",
            "code": null, "ground": "signed", "rule": "r", "roots": ["a"], "found": null, "wanted": null, "hint": null, "let_through": true,
            "door": "gate", "engine": "main", "namespaces": [], "layer": null, "microseconds": 1 })
    };
    let lines = [line(APP, "node-000"), line(APP, "node-009"), report(0)];
    let mut turned = lines.clone();
    turned.reverse();
    for (name, lines) in [("lines.jsonl", lines), ("turned.jsonl", turned)] {
        let reports = written(folder.path(), name, &lines);
        let (value, code) = rootpin(&["simulate", &new, "--old", &old, "--reports", &reports]);
        assert_eq!((changes(&value), code), (vec![format!("unknown {APP}")], 2));
        assert_eq!(value["images"][0]["hosts"], json!(["node-009"]), "{value}");
        // The reason has no hint inside, and the hint is a command.
        let image = &value["images"][0];
        assert!(!image["now"].as_str().unwrap().contains("hint"), "{image}");
        let hint = image["hint"].as_str().unwrap();
        assert!(hint.ends_with("rootpin audit --json"), "{hint}");
    }
}

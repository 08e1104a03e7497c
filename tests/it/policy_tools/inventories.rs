//! How simulate, diff and lint read what the hosts of a fleet say: the order of files changes nothing,
//! of a host's reports the latest counts, and no file that log rotation left is passed over.

use std::fs;
use std::path::Path;

use rootpin_trust::key_file;
use serde_json::{Value, json};

use super::lint::top_data;
use super::simulate::{AT, EXEMPT, digest, policy, report, rootpin};

const EARLIER: &str = "2026-11-26T09:00:00Z";
const LATER: &str = "2026-11-26T11:00:00Z";

fn at(mut report: Value, time: &str) -> Value {
    report["at"] = json!(time);
    report
}

/// The report with the images of these names alone.
fn only(mut report: Value, names: &[&str]) -> Value {
    let images = report["images"].as_array_mut().unwrap();
    images.retain(|image| names.contains(&image["name"].as_str().unwrap()));
    report
}

fn line(time: &str, name: &str, outcome: &str, code: &Value, ground: &Value) -> Value {
    json!({ "version": 1, "host": "node-001", "time": time, "policy": digest("old"), "name": name, "digest": digest(name),
        "outcome": outcome, "code": code, "ground": ground, "rule": null, "roots": [], "found": null, "wanted": null, "hint": null,
        "let_through": outcome == "allowed", "let_through_by": null, "door": "verifier", "engine": "main", "namespaces": ["k8s.io"],
        "layer": null, "microseconds": 1 })
}

/// All orders of so many.
fn orders(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![vec![]];
    }
    let mut all = Vec::new();
    for order in orders(count - 1) {
        for place in 0..count {
            let mut order = order.clone();
            order.insert(place, count - 1);
            all.push(order);
        }
    }
    all
}

/// Writes the documents as files whose names have that order.
fn written(folder: &Path, documents: &[Value], order: &[usize]) -> String {
    let reports = folder.join("reports");
    _ = fs::remove_dir_all(&reports);
    fs::create_dir(&reports).unwrap();
    for (place, which) in order.iter().enumerate() {
        let path = reports.join(format!("{place}.json"));
        fs::write(path, documents[*which].to_string()).unwrap();
    }
    reports.display().to_string()
}

#[test]
fn in_whatever_order_reports_and_audit_files_are_read_each_tool_says_the_same() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (old, new) = (
        policy(folder.path(), "old", EXEMPT),
        policy(folder.path(), "new", ""),
    );
    let (exempt, free) = ("r.example/old/app:1", "free.example/app:1");
    let documents = [
        at(report(1), EARLIER),
        only(at(report(1), AT), &[exempt, free]),
        only(at(report(1), AT), &["r.example/team/app3:1"]),
        // Newer than each report, and of an image that none has.
        line(
            LATER,
            "free.example/other:1",
            "refused",
            &json!("no-rule"),
            &Value::Null,
        ),
        only(at(report(2), EARLIER), &[exempt]),
    ];
    let mut told = None;
    for order in orders(documents.len()) {
        let reports = written(folder.path(), &documents, &order);
        let simulated = rootpin(&["simulate", &new, "--reports", &reports]);
        // The earlier report of the first host is superseded, and nothing else.
        let (value, code) = &simulated;
        let hosts = value["hosts"].as_array().unwrap();
        let images: Vec<_> = hosts.iter().map(|host| &host["images"]).collect();
        assert_eq!(
            (*code, images),
            (1, vec![&json!(4), &json!(1)]),
            "{order:?} {value}"
        );
        assert_eq!(value["superseded"], 1, "{order:?} {value}");
        assert_eq!(value["images"][0]["hosts"], json!(["node-001", "node-002"]));
        let compared = rootpin(&["diff", &old, &new, "--inventory", &reports]);
        let linted = rootpin(&["lint", &old, "--inventory", &reports]);
        let all = [simulated, compared, linted];
        let first = told.get_or_insert_with(|| all.clone());
        assert_eq!(first, &all, "{order:?}");
    }
}

#[test]
fn a_diff_and_a_lint_count_the_latest_report_of_a_host_alone_and_take_no_other_version() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (old, new) = (
        policy(folder.path(), "old", EXEMPT),
        policy(folder.path(), "new", ""),
    );
    let gone = only(at(report(1), LATER), &["r.example/team/app3:1"]);
    let reports = written(folder.path(), &[report(1), gone], &[0, 1]);
    let (value, _) = rootpin(&["diff", &old, &new, "--inventory", &reports]);
    assert_eq!(value["images"], json!([]), "{value}");
    let (value, _) = rootpin(&["lint", &old, "--inventory", &reports]);
    let codes = |value: &Value| -> Vec<String> {
        let findings = value["findings"].as_array().unwrap().iter();
        findings
            .map(|one| one["code"].as_str().unwrap().to_owned())
            .collect()
    };
    assert!(codes(&value).contains(&"unmet".to_owned()), "{value}");
    // An image whose digest its engine does not know may be the one that needs the entry.
    let mut unknown = report(1);
    for image in unknown["images"].as_array_mut().unwrap() {
        image["digest"] = Value::Null;
        image["judgement"] = Value::Null;
    }
    let reports = written(folder.path(), &[unknown], &[0]);
    let (value, _) = rootpin(&["lint", &old, "--inventory", &reports]);
    assert!(!codes(&value).contains(&"unmet".to_owned()), "{value}");

    let mut other = report(1);
    other["version"] = json!(99);
    let reports = written(folder.path(), &[other], &[0]);
    for words in [
        vec!["diff", &old, &old, "--inventory", &reports],
        vec!["simulate", &old, "--reports", &reports],
    ] {
        let (value, code) = rootpin(&words);
        assert_eq!(
            (code, &value["left_out"]),
            (2, &json!(1)),
            "{words:?} {value}"
        );
    }
    let (value, _) = rootpin(&["lint", &old, "--inventory", &reports]);
    assert_eq!(value["left_out"], 1, "{value}");
}

#[test]
fn what_log_rotation_left_of_an_audit_file_is_read_or_named() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let new = policy(folder.path(), "new", "");
    let logs = folder.path().join("logs");
    fs::create_dir(&logs).unwrap();
    let same = line(
        AT,
        "free.example/app:1",
        "refused",
        &json!("no-rule"),
        &Value::Null,
    );
    let exempt = line(
        EARLIER,
        "r.example/old/app:1",
        "allowed",
        &Value::Null,
        &json!("exempt"),
    );
    fs::write(logs.join("audit.jsonl"), same.to_string()).unwrap();
    let logs_text = logs.display().to_string();
    let simulate = || rootpin(&["simulate", &new, "--reports", &logs_text]);
    assert_eq!(simulate().1, 0);
    fs::write(
        logs.join("audit.jsonl.2.gz"),
        b"\x1f\x8b\x08\0\0\0\0\0\0\x03\n",
    )
    .unwrap();
    let (value, code) = simulate();
    let unread = value["unreadable"][0].as_str().unwrap();
    assert!(
        code == 2 && unread.contains("audit.jsonl.2.gz") && unread.contains("it is compressed"),
        "{value}"
    );
    fs::write(logs.join("audit.jsonl.1"), exempt.to_string()).unwrap();
    let (value, code) = simulate();
    assert_eq!(
        (code, &value["hosts"][0]["newly_refused"]),
        (1, &json!(1)),
        "{value}"
    );
}

#[test]
fn a_signature_of_an_index_and_those_of_what_it_lists_stand_for_each_other_only_where_one_proves_the_other()
 {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let key = top_data("keys/p384.pub");
    let id = key_file::public_keys(&key).unwrap()[0].id().to_string();
    let ruled = |index: &str| {
        let dir = folder.path().join(index);
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("team.pub"), &key).unwrap();
        let text = format!(
            "version = 1\ndefault = \"deny\"\n[[root]]\nid = \"b\"\ntype = \"cosign\"\nkeys = [\"team.pub\"]\n\
             [[rule]]\nmatch = \"r.example/**\"\nroots = [\"b\"]\ntags = \"unbound\"\nindex = \"{index}\"\n"
        );
        fs::write(dir.join("policy.toml"), text).unwrap();
        dir.display().to_string()
    };
    let (signed, by_manifests) = (ruled("signed"), ruled("by-manifests"));
    let terms = digest(&format!("cosign {:?} 1 None None", [&id]));
    let file = folder.path().join("report.json");
    let kind = |was: Value, allowed: bool, policy: &str| {
        let name = "r.example/app:1";
        let word = json!({ "root": "b", "repository": "r.example/app", "role": "", "root_keys": [id], "signers": [id],
            "versions": {}, "expires": null, "contact": AT });
        let (outcome, code, ground) = if allowed {
            ("allowed", Value::Null, json!("signed"))
        } else {
            ("refused", json!("no-statement"), Value::Null)
        };
        let mut report = report(1);
        report["roots"] = json!([{ "id": "b", "terms": terms }]);
        report["images"] = json!([{ "engine": "main", "namespace": null, "name": name, "digest": digest(name), "judgement": {
            "outcome": outcome, "let_through": allowed, "let_through_by": null, "code": code, "ground": ground, "rule": null,
            "index": was, "roots": [word], "found": null, "wanted": null, "hint": null } }]);
        fs::write(&file, report.to_string()).unwrap();
        let (value, _) = rootpin(&["simulate", policy, "--reports", file.to_str().unwrap()]);
        let images = value["images"].as_array().unwrap().iter();
        let kinds: Vec<_> = images
            .map(|image| image["kind"].as_str().unwrap())
            .collect();
        kinds.join(" ")
    };
    for (was, allowed, by_signed, by_listed) in [
        (json!("signed"), true, "", ""),
        (json!("by-manifests"), true, "unknown", ""),
        (Value::Null, true, "unknown", ""),
        (json!("signed"), false, "", "unknown"),
        (json!("by-manifests"), false, "", ""),
        (Value::Null, false, "", "unknown"),
    ] {
        assert_eq!(
            kind(was.clone(), allowed, &signed),
            by_signed,
            "{was} {allowed}"
        );
        assert_eq!(
            kind(was.clone(), allowed, &by_manifests),
            by_listed,
            "{was} {allowed}"
        );
    }
}

#[test]
fn what_root_let_through_and_what_is_local_is_no_newly_refused_image() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let same = policy(folder.path(), "same", "[local]\ncontent = \"allow\"\n");
    let none = policy(folder.path(), "none", "");
    let mut glass = line(
        AT,
        "free.example/y:1",
        "refused",
        &json!("no-rule"),
        &Value::Null,
    );
    glass["let_through"] = json!(true);
    glass["let_through_by"] = json!("break-glass");
    glass["break_glass"] = json!("fire");
    let mut local = line(
        AT,
        "built.example/x:1",
        "allowed",
        &Value::Null,
        &json!("local"),
    );
    local["door"] = json!("gate");
    let mut nowhere = local.clone();
    nowhere["namespaces"] = json!([]);
    let kinds = |policy: &str, line: &Value| {
        let file = folder.path().join("line.jsonl");
        fs::write(&file, line.to_string()).unwrap();
        let (value, code) = rootpin(&["simulate", policy, "--reports", file.to_str().unwrap()]);
        let images = value["images"].as_array().unwrap().iter();
        let kinds = images.map(|image| image["kind"].as_str().unwrap().to_owned());
        (kinds.collect::<Vec<_>>().join(" "), code)
    };
    assert_eq!(kinds(&same, &glass), (String::new(), 0));
    assert_eq!(kinds(&same, &local), (String::new(), 0));
    assert_eq!(kinds(&none, &local), ("refused".to_owned(), 1));
    assert_eq!(kinds(&same, &nowhere), ("unknown".to_owned(), 2));
}

//! What another policy would refuse on a fleet: exactly the names that change, by image and host.

use std::fs;
use std::io::Read as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use rootpin_trust::image::Digest;
use serde_json::{Value, json};

pub(super) const AT: &str = "2026-11-26T10:00:00Z";

pub(super) fn digest(text: &str) -> String {
    Digest::of(text.as_bytes()).to_string()
}

pub(super) fn policy(folder: &Path, name: &str, more: &str) -> String {
    let dir = folder.join(name);
    fs::create_dir(&dir).unwrap();
    let key = "1".repeat(64);
    let text = format!(
        "version = 1\ndefault = \"deny\"\n[[root]]\nid = \"a\"\ntype = \"notary\"\nserver = \"https://a.example\"\nkeys = [\"{key}\"]\nrole = \"targets\"\n\
         [[rule]]\nmatch = \"r.example/team/*\"\nroots = [\"a\"]\n{more}"
    );
    fs::write(dir.join("policy.toml"), text).unwrap();
    dir.display().to_string()
}

pub(super) fn rootpin(words: &[&str]) -> (Value, i32) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
    let output = command
        .args(["--json", "policy"])
        .args(words)
        .output()
        .unwrap();
    let value = serde_json::from_slice(&output.stdout);
    let value = value.unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (value, output.status.code().unwrap())
}

/// The terms of the root, as a report has them: those that the tool itself reports.
fn terms() -> String {
    let text = format!(
        "notary https://a.example {:?} targets false false None",
        ["1".repeat(64)]
    );
    digest(&text)
}

/// The layer of an image of a report.
pub(super) fn layer_of(image: &str) -> String {
    format!("layer of {image}")
}

/// A report of 20 signed images, an exempt one and one without an entry.
pub(crate) fn report(host: usize) -> Value {
    let judged = |name: String, judgement: Value| json!({ "engine": "main", "namespace": null, "digest": digest(&name), "name": name, "judgement": judgement });
    let word = |repository: &str| {
        json!({ "root": "a", "repository": repository, "role": "targets", "root_keys": ["1".repeat(64)],
            "signers": ["2".repeat(64)], "versions": {}, "expires": AT, "contact": AT })
    };
    let signed = (0..20).map(|at| {
        let repository = format!("r.example/team/app{at}");
        let yes = json!({ "outcome": "allowed", "let_through": true, "code": null, "ground": "signed",
            "rule": "[[rule]]", "roots": [word(&repository)], "found": null, "wanted": null, "hint": null });
        judged(format!("{repository}:1"), yes)
    });
    let other = |name: &str, outcome: &str, code: Value, ground: Value| {
        let answer = json!({ "outcome": outcome, "let_through": outcome == "allowed", "code": code, "ground": ground,
            "rule": null, "roots": [], "found": null, "wanted": null, "hint": null });
        judged(name.to_owned(), answer)
    };
    let mut images: Vec<Value> = signed.collect();
    images.push(other(
        "r.example/old/app:1",
        "allowed",
        json!(null),
        json!("exempt"),
    ));
    images.push(other(
        "free.example/app:1",
        "refused",
        json!("no-rule"),
        json!(null),
    ));
    let layer = |image: &Value| json!([digest(&layer_of(image["name"].as_str().unwrap()))]);
    let parts = images
        .iter()
        .map(|image| (image["digest"].as_str().unwrap().to_owned(), layer(image)));
    let parts: serde_json::Map<String, Value> = parts.collect();
    json!({
        "version": 1, "rootpin": "0.1.0", "host": format!("node-{host:03}"), "at": AT, "outcome": "clean", "online": false, "parts": parts,
        "judged_by": "daemon", "policy": { "hash": digest("old"), "mode": "enforce", "warnings": [], "revoked_keys": [] },
        "roots": [{ "id": "a", "type": "notary", "sources": [], "role": "targets", "keys": [], "pinned": null, "held": [],
            "terms": terms(), "max_age": null }],
        "images": images, "trust_directories": [], "root_keys": [], "findings": [], "untold": [],
    })
}

pub(super) const EXEMPT: &str = "[[exempt]]\nmatch = \"r.example/old/app\"\nuntil = 2099-01-01T00:00:00Z\nreason = \"old\"\n[limits]\nmax-exempt = \"40000d\"\n";

#[test]
fn exactly_the_images_that_change_are_named_with_their_hosts_and_nothing_is_guessed() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let reports = folder.path().join("reports.jsonl");
    let lines: Vec<_> = (0..40).map(|host| report(host).to_string()).collect();
    fs::write(&reports, lines.join("\n")).unwrap();
    let reports = reports.display().to_string();
    let simulate = |name: &str, more: &str| {
        let dir = policy(folder.path(), name, more);
        let (value, code) = rootpin(&["simulate", &dir, "--reports", &reports]);
        let kinds = value["images"].as_array().unwrap().iter().map(|image| {
            assert_eq!(image["hosts"].as_array().unwrap().len(), 40, "{image}");
            format!(
                "{} {}",
                image["kind"].as_str().unwrap(),
                image["image"].as_str().unwrap().split('@').next().unwrap()
            )
        });
        (kinds.collect::<Vec<_>>(), code, value)
    };
    let (same, code, value) = simulate("same", EXEMPT);
    assert_eq!((same, code), (vec![], 0), "{value}");
    assert_eq!(value["hosts"][39]["images"], 22);
    // The exemption is gone.
    let (gone, code, value) = simulate("gone", "");
    assert_eq!(
        (gone, code),
        (vec!["refused r.example/old/app:1".to_owned()], 1)
    );
    assert_eq!(value["hosts"][0]["newly_refused"], 1);
    // One image is revoked.
    let revoked = format!(
        "{EXEMPT}[[revoked]]\ndigest = \"{}\"\nreason = \"x\"\n",
        digest("r.example/team/app7:1")
    );
    let (gone, code, value) = simulate("revoked", &revoked);
    assert_eq!(
        (gone, code),
        (vec!["refused r.example/team/app7:1".to_owned()], 1)
    );
    assert_eq!(value["images"][0]["now"], "refused revoked");
    // A rule that nobody was asked about yet: its root may have signed the image.
    let ruled = format!("{EXEMPT}[[rule]]\nmatch = \"free.example/*\"\nroots = [\"a\"]\n");
    let (unknown, code, _) = simulate("ruled", &ruled);
    assert_eq!(
        (unknown, code),
        (vec!["unknown free.example/app:1".to_owned()], 2)
    );
    // A key that signed is revoked: the root's own, and a signer's.
    let key = |digit: &str| {
        format!(
            "{EXEMPT}[[revoked]]\nkey = \"{}\"\nreason = \"x\"\n",
            digit.repeat(64)
        )
    };
    let (gone, code, _) = simulate("root-key", &key("1"));
    assert_eq!((gone.len(), code), (20, 1));
    assert!(
        gone.iter()
            .all(|image| image.starts_with("refused r.example/team/"))
    );
    let (unknown, code, _) = simulate("signer", &key("2"));
    assert_eq!((unknown.len(), code), (20, 2));
    assert!(
        unknown
            .iter()
            .all(|image| image.starts_with("unknown r.example/team/"))
    );
}

#[test]
fn a_line_of_an_audit_file_tells_as_much_as_the_policy_that_was_in_force_then() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (old, new) = (
        policy(folder.path(), "old", EXEMPT),
        policy(folder.path(), "new", "[docker]\nswarm = \"allow\"\n"),
    );
    let (value, _) = rootpin(&["check", &old]);
    let line = |name: &str, ground: &str, roots: &[&str]| {
        json!({ "version": 1, "host": "h", "time": AT, "policy": value["hash"], "name": name, "digest": digest(name), "outcome": "allowed",
            "code": null, "ground": ground, "rule": "r", "roots": roots, "found": null, "wanted": null, "hint": null, "let_through": true,
            "door": "gate", "engine": "main", "namespaces": [], "layer": null, "microseconds": 1 })
    };
    let lines = [
        line("r.example/team/app:1", "signed", &["a"]),
        line("r.example/old/app:1", "exempt", &[]),
        json!({ "version": 1, "host": "h", "time": AT, "policy": null, "event": "started" }),
    ];
    let file = folder.path().join("audit.jsonl");
    fs::write(&file, lines.map(|line| line.to_string()).join("\n")).unwrap();
    let file = file.display().to_string();
    let kinds = |words: &[&str]| {
        let (value, _) = rootpin(&[&["simulate", &new, "--reports", &file], words].concat());
        assert_eq!(value["unreadable"], json!([]));
        let images = value["images"].as_array().unwrap().iter();
        images
            .map(|image| image["kind"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(kinds(&["--old", &old]), ["refused"]);
    assert_eq!(kinds(&[]), ["refused", "unknown"]);
}

#[test]
fn an_image_that_many_hosts_have_is_judged_by_each_hosts_own_evidence() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let new = policy(folder.path(), "new", EXEMPT);
    let mut old = report(1);
    let mut other = report(2);
    let contact = "/images/0/judgement/roots/0/contact";
    // Longer ago than `offline` allows; by other terms; by a key more.
    *old.pointer_mut(contact).unwrap() = json!("2026-11-01T10:00:00Z");
    other["roots"][0]["terms"] = json!(digest("others"));
    let mut keys = report(3);
    keys["images"][0]["judgement"]["roots"][0]["signers"] = json!(["3".repeat(64)]);
    let revoked = format!(
        "{EXEMPT}[[revoked]]\nkey = \"{}\"\nreason = \"x\"\n",
        "3".repeat(64)
    );
    let revoking = policy(folder.path(), "revoking", &revoked);
    let file = folder.path().join("reports.jsonl");
    let all = [report(0), old, other, keys, report(4)].map(|report| report.to_string());
    for lines in [all.clone(), {
        let mut turned = all;
        turned.reverse();
        turned
    }] {
        fs::write(&file, lines.join("\n")).unwrap();
        let hosts_of = |dir: &str| {
            let (value, _) = rootpin(&["simulate", dir, "--reports", file.to_str().unwrap()]);
            let images = value["images"].as_array().unwrap();
            let first = images.iter().filter(|image| {
                image["image"]
                    .as_str()
                    .unwrap()
                    .starts_with("r.example/team/app0:")
            });
            let first = first.map(|image| (image["now"].to_string(), image["hosts"].clone()));
            first.collect::<Vec<_>>()
        };
        let unknown = hosts_of(&new);
        let hosts: Vec<_> = unknown.iter().map(|(_, hosts)| hosts.clone()).collect();
        assert!(hosts.contains(&json!(["node-001"])), "{unknown:?}");
        assert!(hosts.contains(&json!(["node-002"])), "{unknown:?}");
        assert_eq!(hosts.len(), 2, "{unknown:?}");
        // Who else signed for it is not known, so nobody's answer is.
        let unknown = hosts_of(&revoking);
        let named: usize = unknown
            .iter()
            .map(|(_, hosts)| hosts.as_array().unwrap().len())
            .sum();
        assert_eq!(named, 5, "{unknown:?}");
    }
}

#[test]
fn each_report_line_and_image_that_is_left_out_is_counted_and_named() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (old, new) = (
        policy(folder.path(), "old", EXEMPT),
        policy(folder.path(), "new", EXEMPT),
    );
    let mut earlier = report(1);
    earlier["at"] = json!("2026-11-25T10:00:00Z");
    let mut odd = report(2);
    odd["images"][0]["name"] = json!("NO NAME");
    odd["images"][1]["digest"] = json!("sha256:0");
    // Neither is one that a pull could mean, and neither was judged.
    odd["images"][2] = json!({ "engine": "main", "namespace": null, "digest": null, "name": "r.example/team/x:1", "judgement": null });
    odd["images"][3] = json!({ "engine": "main", "namespace": null, "digest": digest("x"), "name": "NO NAME", "judgement": null });
    let mut version = report(3);
    version["version"] = json!(2);
    let lines = [report(1), earlier, odd, version].map(|report| report.to_string());
    let file = folder.path().join("reports.jsonl");
    fs::write(&file, format!("{}\nnonsense\n", lines.join("\n"))).unwrap();
    let file = file.display().to_string();
    let (value, code) = rootpin(&["simulate", &new, "--reports", &file]);
    assert_eq!(
        (code, &value["outcome"]),
        (2, &json!("unjudged")),
        "{value}"
    );
    assert_eq!(
        (
            &value["left_out"],
            &value["superseded"],
            &value["without_name"]
        ),
        (&json!(4), &json!(1), &json!(2)),
        "{value}"
    );
    let named = value["unreadable"].as_array().unwrap();
    for (at, why) in [
        "\"NO NAME\" is no image name",
        "is no digest",
        "another version",
        "no report",
    ]
    .iter()
    .enumerate()
    {
        let line = named[at].as_str().unwrap();
        assert!(line.starts_with(&file) && line.contains(why), "{line}");
    }
    let (value, code) = rootpin(&["diff", &old, &new, "--inventory", &file]);
    assert_eq!((code, &value["left_out"]), (2, &json!(4)), "{value}");
    // What is found is found, whatever was left out.
    let gone = policy(folder.path(), "gone", "");
    let (value, code) = rootpin(&["simulate", &gone, "--reports", &file]);
    assert_eq!((code, &value["left_out"]), (1, &json!(4)), "{value}");
    assert_eq!(value["outcome"], Value::Null);
    let (value, code) = rootpin(&["diff", &old, &gone, "--inventory", &file]);
    assert_eq!((code, &value["left_out"]), (1, &json!(4)), "{value}");
}

#[test]
fn a_diff_names_the_entries_and_the_names_whose_answer_changes_with_both_traces() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (old, new) = (
        policy(folder.path(), "old", EXEMPT),
        policy(folder.path(), "new", ""),
    );
    let reports = folder.path().join("reports.json");
    fs::write(&reports, report(1).to_string()).unwrap();
    let reports = reports.display().to_string();
    let (value, code) = rootpin(&["diff", &old, &new, "--inventory", &reports]);
    assert_eq!(code, 1);
    let gone = value["only_old"].as_array().unwrap();
    assert!(
        gone.iter().any(|entry| entry
            .as_str()
            .unwrap()
            .starts_with("[[exempt]] match = \"r.example/old/app\"")),
        "{value}"
    );
    let images = value["images"].as_array().unwrap();
    assert_eq!(images.len(), 1, "{value}");
    assert_eq!(
        (&images[0]["old"], &images[0]["new"]),
        (&json!("allowed exempt"), &json!("refused no-rule"))
    );
    assert_eq!(images[0]["old_trace"]["steps"][0]["outcome"], "applies");
    assert_eq!(images[0]["new_trace"]["steps"], json!([]));
    let (value, code) = rootpin(&["diff", &old, &old, "--inventory", &reports]);
    assert_eq!(
        (code, &value["only_new"], &value["images"]),
        (0, &json!([]), &json!([]))
    );
}

#[test]
fn a_report_of_the_future_hides_no_other_report_of_its_host() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let reports = folder.path().join("reports");
    fs::create_dir(&reports).unwrap();
    let mut future = report(0);
    let later = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24);
    future["at"] = json!(later.to_string());
    future["images"] = json!([]);
    let write = |name: &str, report: &Value| {
        fs::write(reports.join(name), report.to_string()).unwrap();
    };
    write("future.json", &future);
    write("real.json", &report(0));
    let reports = reports.display().to_string();
    for (name, more, wanted) in [("same", EXEMPT, 2), ("gone", "", 1)] {
        let dir = policy(folder.path(), name, more);
        let (value, code) = rootpin(&["simulate", &dir, "--reports", &reports]);
        assert_eq!(
            (code, &value["hosts"][0]["images"]),
            (wanted, &json!(22)),
            "{value}"
        );
        let said = value["unreadable"].to_string();
        assert!(said.contains("is in the future"), "{value}");
    }
}

#[test]
fn what_a_trial_lets_through_whatever_the_root_says_is_no_doubt() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let reports = folder.path().join("report.json");
    fs::write(&reports, report(0).to_string()).unwrap();
    let reports = reports.display().to_string();
    let simulate = |dir: &str| {
        let (value, code) = rootpin(&["simulate", dir, "--reports", &reports]);
        let images = value["images"].as_array().unwrap().iter();
        let images = images.map(|image| {
            let text = |member: &str| image[member].as_str().unwrap();
            let name = text("image").split('@').next().unwrap();
            format!("{} {name}: {}", text("kind"), text("now"))
        });
        (images.collect::<Vec<_>>(), code)
    };
    // Nobody was asked about it, and it is refused by now.
    let ruled = |more: &str| {
        format!("{EXEMPT}[[rule]]\nmatch = \"free.example/*\"\nroots = [\"a\"]\n{more}")
    };
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * 20);
    let ahead = format!("audit-until = {soon:.0}\n");
    let revoking = |text: &str| {
        let key = "3".repeat(64);
        format!("{text}[[revoked]]\nkey = \"{key}\"\nreason = \"x\"\n")
    };
    let through = "let through either way, judgement unknown: no evidence of this root about it";
    let certain = format!("allowed free.example/app:1: {through}");
    let in_doubt = "unknown free.example/app:1: unknown no evidence of this root about it";
    let trial = policy(folder.path(), "trial", &ruled(&ahead));
    assert_eq!(simulate(&trial), (vec![certain.clone()], 0));
    let over = policy(
        folder.path(),
        "over",
        &ruled("audit-until = 2026-01-01T00:00:00Z\n"),
    );
    assert_eq!(simulate(&over), (vec![in_doubt.to_owned()], 2));
    // What is revoked is not let through by a trial, and a root may say that it is.
    let text = revoking(&ruled(&ahead));
    let (images, code) = simulate(&policy(folder.path(), "revoking", &text));
    assert!(
        images.contains(&in_doubt.to_owned()) && code == 2,
        "{images:?}"
    );
    // A whole policy lets that through too, but for a rule that enforces.
    let audit = |name: &str, more: &str| {
        let dir = policy(folder.path(), name, &revoking(&ruled(more)));
        let file = Path::new(&dir).join("policy.toml");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(
            file,
            text.replacen("default", "mode = \"audit\"\ndefault", 1),
        )
        .unwrap();
        simulate(&dir)
    };
    let (images, code) = audit("audit", "");
    assert!(images.contains(&certain) && code == 0, "{images:?}");
    let mut others = images.iter().filter(|image| **image != certain);
    assert!(
        others.all(|image| image.starts_with("let-through r.example/team/app")),
        "{images:?}"
    );
    let (images, code) = audit("strict", "mode = \"enforce\"\n");
    assert!(
        images.contains(&in_doubt.to_owned()) && code == 2,
        "{images:?}"
    );
}

#[test]
fn this_host_s_daemon_is_asked_where_it_was_said_to_listen() {
    let folder = tempfile::tempdir().unwrap();
    let new = policy(folder.path(), "new", "");
    let control = folder.path().join("control");
    let listener = UnixListener::bind(&control).unwrap();
    // Whoever listens there hears the first byte and goes, so that there is no report.
    let heard = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        connection.read(&mut [0]).unwrap()
    });
    let command = Command::new(env!("CARGO_BIN_EXE_rootpin"))
        .arg("--control")
        .arg(&control)
        .args(["policy", "simulate", &new, "--host"])
        .output()
        .unwrap();
    assert_eq!(command.status.code(), Some(2), "{command:?}");
    // One that says nothing, for a listener that nobody asked.
    let _ = UnixStream::connect(&control);
    assert_eq!(heard.join().unwrap(), 1);
}

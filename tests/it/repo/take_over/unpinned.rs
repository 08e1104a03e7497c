//! Repositories whose root nothing pins, or whose key was named wrongly.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::{GUN, Leaving, digest};
use crate::publisher::{Key, Publisher};
use crate::world::run;

const OTHER: &str = "r.test/team/other";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_that_the_policy_does_not_pin_is_refused_as_one_that_does_not_verify() {
    let leaving = Leaving::new().await;
    let mut other = Publisher::new(OTHER);
    other.tag("v1", &digest("other"), 7);
    leaving.server.publish(&other);
    let (url, key) = (leaving.url(), leaving.notary.root_key().id());
    let policy = leaving.org.path("notary-policy");
    fs::create_dir(&policy).unwrap();
    let text = format!(
        "version = 1\ndefault = \"deny\"\n[[root]]\nid = \"n\"\ntype = \"notary\"\nserver = \"{url}\"\nkeys = [\"{key}\"]\n\
         role = \"targets/releases\"\n[[rule]]\nmatch = \"{GUN}\"\nroots = [\"n\"]\n"
    );
    fs::write(policy.join("policy.toml"), text).unwrap();
    let run = |verb: &str, way: &str, more: &[&str]| {
        let words = [verb, way, "notary", &url, "--policy", "notary-policy"];
        leaving.org.repo("main", &[&words, more].concat())
    };
    let ended = run("take-over", "--from", &[GUN, OTHER]);
    assert!(
        ended.code == 2
            && ended.err.contains(OTHER)
            && ended.err.contains("root-not-pinned: the policy in")
            && ended.err.contains("--root-key ID"),
        "{ended:?}"
    );
    let ended = run("compare", "--with", &[GUN, OTHER, "--json"]);
    let report: Value = serde_json::from_str(&ended.out).unwrap();
    assert!(
        ended.code == 1
            && report["repositories"] == 1
            && report["tags"] == 3
            && report["refused"][0]["name"] == OTHER
            && report["refused"][0]["code"] == "root-not-pinned",
        "{report}"
    );
    // Where nothing is left, what was left out is said all the same.
    let ended = run("take-over", "--from", &[OTHER, "--skip-refused"]);
    assert!(
        ended.code == 1 && !ended.err.contains("with --skip-refused"),
        "{ended:?}"
    );
    let ended = run("take-over", "--from", &[GUN, OTHER, "--skip-refused"]);
    assert!(
        ended.code == 1
            && ended
                .out
                .contains(&format!("refused: {OTHER}: root-not-pinned")),
        "{ended:?}"
    );
    assert_eq!(leaving.verify("v1", "one"), "allowed");
    let ended = run("compare", "--with", &[GUN]);
    assert_eq!(ended.code, 0, "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_id_that_docker_trust_inspect_prints_is_told_from_the_root_keys_own() {
    let leaving = Leaving::new().await;
    let root: Value = serde_json::from_slice(&leaving.notary.tree().files["root.json"]).unwrap();
    let id = root["signed"]["roles"]["root"]["keyids"][0]
        .as_str()
        .unwrap();
    assert_ne!(id, leaving.notary.root_key().id());
    let url = leaving.url();
    for words in [["take-over", "--from"], ["compare", "--with"]] {
        let more = ["notary", &url, "--root-key", id, GUN];
        let ended = leaving.org.repo("main", &[&words[..], &more].concat());
        let said = ended.out + &ended.err;
        assert!(
            ended.code == 2
                && said.contains(&format!(
                    "{id} is the ID of a certificate, which docker trust inspect calls Root Key"
                ))
                && said.contains("grep -l 'role: root'"),
            "{said}"
        );
    }
    // A key that is no one's there is what it is.
    let wrong = "1".repeat(64);
    let words = [
        "take-over",
        "--from",
        "notary",
        &url,
        "--root-key",
        &wrong,
        GUN,
    ];
    let ended = leaving.org.repo("main", &words);
    assert!(
        ended.code == 2 && !ended.err.contains("docker trust inspect"),
        "{ended:?}"
    );
    let missing = leaving.run("take-over", &["r.test/team/none"]);
    assert!(
        missing.code == 2
            && missing.err.contains("no-statement")
            && missing.err.contains("hint: see its spelling"),
        "{missing:?}"
    );
}

/// The server's feed names these.
fn feed(leaving: &Leaving, guns: &[&str]) {
    let record = |(id, gun): (usize, &&str)| json!({ "ID": id + 1, "GUN": gun, "Category": "update", "Version": 1 });
    let records: Vec<Value> = guns.iter().enumerate().map(record).collect();
    let feed = json!({ "count": records.len(), "records": records });
    leaving
        .server
        .serve("/v2/_trust/changefeed", feed.to_string().into_bytes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_publisher_has_on_the_server_is_named_and_fails_no_timer() {
    let mut leaving = Leaving::new().await;
    let mut other = Publisher::new(OTHER);
    other.tag("v1", &digest("other"), 7);
    leaving.server.publish(&other);
    feed(&leaving, &[GUN, OTHER]);
    let line = format!("another publisher's: {OTHER}: nothing pins its root");
    let strict = leaving.run("take-over", &["--all"]);
    assert!(
        strict.code == 2 && strict.err.contains(OTHER) && strict.err.contains("--skip-refused"),
        "{strict:?}"
    );
    // The first run, and one where nothing is new.
    for _ in 0..2 {
        let ended = leaving.run("take-over", &["--all", "--skip-refused"]);
        assert!(ended.code == 0 && ended.out.contains(&line), "{ended:?}");
    }
    assert_eq!(leaving.verify("v1", "one"), "allowed");
    // It has one of this repository's names, so that it may as well be this one's, replaced there.
    let compared = leaving.run("compare", &["--all"]);
    assert!(
        compared.code == 1
            && compared.out.contains(&format!("another root: {OTHER}: "))
            && compared.out.contains("no difference in what could be read"),
        "{compared:?}"
    );
    // Named, it should verify.
    let named = leaving.run("take-over", &[GUN, OTHER, "--skip-refused"]);
    assert!(
        named.code == 1 && named.out.contains("refused: "),
        "{named:?}"
    );
    // A difference is one, whatever else could not be read.
    leaving.notary.tag("v9", &digest("nine"), 7);
    leaving.notary.tick();
    leaving.server.publish(&leaving.notary);
    for guns in [&["--all"][..], &[GUN, OTHER]] {
        let compared = leaving.run("compare", guns);
        assert!(
            compared.code == 1 && compared.out.contains(OTHER),
            "{compared:?}"
        );
    }
    // The time that is over is told from it.
    let words = ["--all", "--skip-refused", "--until", "2026-01-01T00:00:00Z"];
    assert_eq!(leaving.run("take-over", &words).code, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_taken_over_and_shows_another_root_key_is_refused_and_not_another_publishers() {
    let leaving = Leaving::new().await;
    leaving.take_over();
    let mut replaced = Publisher::new(GUN);
    replaced.role("root").keys = vec![Key::named("a thief").certificate(GUN)];
    replaced.tag("v1", &digest("evil"), 7);
    let mut ours = Publisher::new(OTHER);
    ours.role("root").keys = vec![leaving.notary.root_key().certificate(OTHER)];
    ours.tag("v1", &digest("other"), 7);
    leaving.server.publish(&replaced);
    leaving.server.publish(&ours);
    feed(&leaving, &[GUN, OTHER]);
    let ended = leaving.run("take-over", &["--all", "--skip-refused"]);
    assert!(
        ended.code == 1
            && ended
                .out
                .contains(&format!("refused: {GUN}: root-not-pinned")),
        "{ended:?}"
    );
    assert_eq!(leaving.run("compare", &["--all"]).code, 2);
    // Where nothing at all is pinned, the key was named wrongly.
    feed(&leaving, &["r.test/team/third"]);
    let mut third = Publisher::new("r.test/team/third");
    third.tag("v1", &digest("third"), 7);
    leaving.server.publish(&third);
    let ended = leaving.run("take-over", &["--all", "--skip-refused"]);
    assert!(ended.code == 1, "{ended:?}");
}

/// A repository of another root key.
fn foreign(gun: &str) -> Publisher {
    let mut foreign = Publisher::new(gun);
    foreign.role("root").keys = vec![Key::named("a thief").certificate(gun)];
    foreign.tag("v1", &digest("evil"), 7);
    foreign
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_a_floor_or_an_entry_here_or_a_pinned_first_root_is_nobody_elses() {
    for known in ["floor", "entry", "first root", "nothing"] {
        let leaving = Leaving::new().await;
        let mut ours = Publisher::new(OTHER);
        ours.role("root").keys = vec![leaving.notary.root_key().certificate(OTHER)];
        ours.tag("v1", &digest("other"), 7);
        leaving.server.publish(&ours);
        feed(&leaving, &[GUN, OTHER]);
        match known {
            "floor" => {
                let compared = leaving.run("compare", &[OTHER]);
                assert_eq!(compared.code, 1, "{compared:?}");
            }
            "entry" => {
                let signed = leaving.org.sign("main", &format!("{OTHER}:mine"), "mine");
                assert_eq!(signed.code, 0, "{signed:?}");
            }
            _ => {}
        }
        if known == "first root" {
            // The next one that the server shows is signed by nobody who counts.
            let mut next = foreign(OTHER);
            next.role("root").version = 2;
            let root = next.tree().files["root.json"].clone();
            let at = format!("/v2/{OTHER}/_trust/tuf/2.root.json");
            leaving.server.serve(&at, root);
        } else {
            leaving.server.publish(&foreign(OTHER));
        }
        let ended = leaving.run("take-over", &["--all", "--skip-refused"]);
        let (code, line) = match known {
            "nothing" => (0, format!("another publisher's: {OTHER}: ")),
            _ => (1, format!("refused: {OTHER}: root-not-pinned")),
        };
        assert!(
            ended.code == code && ended.out.contains(&line),
            "{known}: {ended:?}"
        );
        let compared = leaving.run("compare", &["--all"]);
        assert!(
            compared.code != 0 && compared.out.contains(OTHER),
            "{known}: {compared:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_command_that_a_refusal_names_is_taken_and_cures_it() {
    let leaving = Leaving::new().await;
    leaving.take_over();
    // The publisher began anew: other bytes of a version that was seen.
    let mut anew = leaving.notary.clone();
    anew.edit("targets", |signed| {
        signed["targets"]["anew"] = signed["targets"]["old"].clone();
    });
    leaving.server.publish(&anew);
    let (url, key) = (leaving.url(), leaving.notary.root_key().id());
    for (verb, word) in [("take-over", "--from"), ("compare", "--with")] {
        let words = [verb, word, "notary", &url, "--root-key", &key, GUN];
        let ended = leaving.org.repo("main", &words);
        let said = ended.out + &ended.err;
        let command = said
            .split("rootpin state reset ")
            .nth(1)
            .unwrap_or_else(|| panic!("{said}"));
        let command = command.lines().next().unwrap();
        assert_eq!(command, format!("--repository {GUN} --state main/notary"));
    }
    let reset = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
        command
            .args(["state", "reset", "--repository", GUN])
            .args(["--state", "main/notary"])
            .args(more)
            .current_dir(leaving.org.path(""));
        run(&mut command, b"")
    };
    let dry = reset(&["--dry-run"]);
    assert!(
        dry.code == 0 && dry.out.contains(&format!("forgotten: {GUN}: ")),
        "{dry:?}"
    );
    assert_eq!(leaving.run("take-over", &[GUN]).code, 2);
    assert_eq!(reset(&["--yes"]).code, 0);
    let ended = leaving.run("take-over", &[GUN]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(leaving.verify("anew", "old"), "allowed");
    // Another root key is given by a word of the command.
    let wrong = "1".repeat(64);
    let words = [
        "take-over",
        "--from",
        "notary",
        &url,
        "--root-key",
        &wrong,
        GUN,
    ];
    let ended = leaving.org.repo("main", &words);
    assert!(
        ended.code == 2
            && ended.err.contains("give it too: --root-key ID")
            && !ended.err.contains("add it to the policy"),
        "{ended:?}"
    );
    let more = [&words[..], &["--root-key", &key]].concat();
    assert_eq!(leaving.org.repo("main", &more).code, 0);
    let ended = leaving.run("take-over", &[GUN, "--role", "targets/none"]);
    assert!(
        ended.code == 2
            && ended
                .err
                .contains("delegations of targets to \"targets/releases\"")
            && ended.err.contains("or leave out --role"),
        "{ended:?}"
    );
}

//! Repositories whose root nothing pins, or whose key was named wrongly.

use std::fs;

use serde_json::Value;

use super::{GUN, Leaving, digest};
use crate::publisher::Publisher;

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
        ended.code == 2
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

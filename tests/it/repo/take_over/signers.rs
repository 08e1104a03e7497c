//! Who may sign at Notary and who here: each difference is said, and so is each key that comes or goes.

use std::fs;

use super::{GUN, Leaving};
use crate::publisher::Listed;

/// Lets somebody sign the repository's tags, as `docker trust signer add` does.
fn add(leaving: &mut Leaving, name: &str, key: &Listed) {
    leaving
        .notary
        .role("targets/releases")
        .keys
        .push(key.clone());
    let role = match name {
        "alice" => "targets/alice",
        _ => "targets/bob",
    };
    leaving.notary.delegate(role, vec![key.clone()], vec![""]);
    leaving.notary.tick();
    leaving.server.publish(&leaving.notary);
}

fn said(leaving: &Leaving, verb: &str, more: &[&str]) -> (String, i32) {
    let ended = leaving.run(verb, &[&[GUN], more].concat());
    (ended.out + &ended.err, ended.code)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signer_who_comes_or_goes_at_notary_is_a_difference_and_is_named_before_it_is_taken_over()
{
    let mut leaving = Leaving::new().await;
    let [alice, bob] = ["alice", "bob"].map(|name| {
        let public = leaving.org.key(name, name);
        Listed::ed25519(&fs::read_to_string(public).unwrap())
    });
    let releases = leaving.notary.role("targets/releases");
    releases.signers = Some(releases.keys.clone());
    add(&mut leaving, "alice", &alice);
    let (dry, _) = said(&leaving, "take-over", &["--dry-run"]);
    assert!(dry.contains("\n  + key of alice ("), "{dry}");
    leaving.take_over();
    assert_eq!(leaving.compare().1, 0);

    add(&mut leaving, "bob", &bob);
    leaving.notary.role("targets/releases").paths = vec!["v"];
    leaving.notary.tick();
    leaving.server.publish(&leaving.notary);
    let (report, code) = leaving.compare();
    let signers = &report["signers"][0];
    assert!(
        code == 1
            && signers["only_notary"][0]["holder"] == "bob"
            && signers["only_here"] == serde_json::json!([])
            && signers["paths_at_notary"] == serde_json::json!([format!("{GUN}:v*")]),
        "{report}"
    );
    let (text, _) = said(&leaving, "compare", &[]);
    assert!(
        text.contains("bob (")
            && text.contains("may sign at Notary alone")
            && text.contains(&format!("here than at Notary: {GUN}:v*"))
            && !text.contains("the same here"),
        "{text}"
    );
    let (dry, _) = said(&leaving, "take-over", &["--dry-run"]);
    assert!(
        dry.contains("\n  + key of bob (") && !dry.contains("key of alice"),
        "{dry}"
    );
    leaving.take_over();
    assert_eq!(leaving.compare().1, 0);

    leaving.notary.role("targets/releases").keys.pop();
    leaving.notary.remove("targets/bob");
    leaving.notary.tick();
    leaving.server.publish(&leaving.notary);
    let (report, code) = leaving.compare();
    let signers = &report["signers"][0];
    assert!(
        code == 1
            && report["differences"] == serde_json::json!([])
            && signers["only_here"][0]["holder"] == "bob"
            && signers["only_notary"] == serde_json::json!([]),
        "{report}"
    );
    let (text, _) = said(&leaving, "compare", &[]);
    assert!(text.contains("may sign here alone"), "{text}");
    let (dry, _) = said(&leaving, "take-over", &["--dry-run"]);
    assert!(
        dry.contains("\n  - key of bob (") && !dry.contains("key of alice"),
        "{dry}"
    );
    leaving.take_over();
    assert_eq!(leaving.compare().1, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_without_a_sha256_is_left_behind_by_name() {
    let mut leaving = Leaving::new().await;
    for role in ["targets", "targets/releases"] {
        leaving.notary.edit(role, |signed| {
            signed["targets"]["long"] =
                serde_json::json!({ "length": 7, "hashes": { "sha512": "AAAA" } });
        });
    }
    leaving.notary.tick();
    leaving.server.publish(&leaving.notary);
    let taken = leaving.take_over();
    let (compared, _) = said(&leaving, "compare", &[]);
    for role in ["targets", "targets/releases"] {
        let what = format!("{GUN}: {role} names \"long\" without a SHA-256");
        assert!(taken.contains(&format!("left behind: {what}")), "{taken}");
        assert!(compared.contains(&format!("note: {what}")), "{compared}");
    }
}

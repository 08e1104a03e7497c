//! Who may sign at Notary and who here: each difference is said, and so is each key that comes or goes.

use std::fs;

use serde_json::Value;

use super::{GUN, Leaving, digest};
use crate::publisher::{Key, Listed, Publisher};

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

/// A key that may sign two repositories, as another signer in each.
async fn of_two_names() -> (Leaving, Publisher, String) {
    let mut leaving = Leaving::new().await;
    let public = leaving.org.key("alice", "alice");
    let key = Listed::ed25519(&fs::read_to_string(public).unwrap());
    let mut other = Publisher::new("r.test/team/other");
    other.role("root").keys = vec![leaving.notary.root_key().certificate(&other.gun)];
    other.tag("v1", &digest("other"), 7);
    for (notary, role) in [
        (&mut leaving.notary, "targets/alice"),
        (&mut other, "targets/dave"),
    ] {
        let releases = notary.role("targets/releases");
        releases.signers = Some(releases.keys.clone());
        releases.keys.push(key.clone());
        notary.delegate(role, vec![key.clone()], vec![""]);
        notary.tick();
        leaving.server.publish(notary);
    }
    let gun = other.gun.clone();
    (leaving, other, gun)
}

fn holders(leaving: &Leaving) -> Vec<String> {
    let listed = leaving.org.json("main", &["delegate", "list"]);
    let keys = listed["delegations"].as_array().unwrap().iter();
    let keys = keys.flat_map(|one| one["keys"].as_array().unwrap());
    let mut names: Vec<String> = keys
        .map(|key| key.as_str().unwrap().split(" (").next().unwrap().to_owned())
        .collect();
    names.sort();
    names.dedup();
    names
}

fn outcome(leaving: &Leaving, guns: &[&str]) -> String {
    let ended = leaving.run("take-over", &[guns, &["--json"]].concat());
    assert_eq!(ended.code, 0, "{ended:?}");
    let report: Value = serde_json::from_str(&ended.out).unwrap();
    report["outcome"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_two_names_keeps_both_and_the_second_run_finds_nothing_to_do() {
    let (leaving, _, other) = of_two_names().await;
    let both = [GUN, &other];
    assert_eq!(outcome(&leaving, &both), "published");
    assert!(
        holders(&leaving).contains(&"alice, dave".to_owned()),
        "{:?}",
        holders(&leaving)
    );
    for guns in [&both[..], &[GUN], &[&other]] {
        assert_eq!(outcome(&leaving, guns), "unchanged", "{guns:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_that_gets_another_name_has_its_line_and_repositories_by_turns_come_to_rest() {
    let (leaving, _, other) = of_two_names().await;
    leaving.take_over();
    let (dry, _) = said(&leaving, "take-over", &[&other, "--dry-run"]);
    let line = ": alice, dave (was alice)\n";
    assert!(
        dry.contains("\n~ targets: holder of key ") && dry.contains(line),
        "{dry}"
    );
    assert_eq!(outcome(&leaving, &[&other]), "published");
    for guns in [GUN, &other, GUN] {
        assert_eq!(outcome(&leaving, &[guns]), "unchanged", "{guns}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_a_role_that_is_named_the_holder_is_the_signer_and_never_the_role_of_all() {
    let mut leaving = Leaving::new().await;
    let alice = Key::named("alice").bare();
    leaving
        .notary
        .role("targets/releases")
        .keys
        .push(alice.clone());
    leaving
        .notary
        .delegate("targets/alice", vec![alice], vec![""]);
    leaving.notary.tick();
    leaving.server.publish(&leaving.notary);
    let ended = leaving.run("take-over", &[GUN, "--role", "targets/releases"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    let named = holders(&leaving);
    assert!(named.contains(&"alice".to_owned()), "{named:?}");
    for roles in [
        &["--role", "targets/alice"][..],
        &["--role", "targets/alice", "--role", "targets"],
        &["--role", "targets"],
    ] {
        let ended = leaving.run("take-over", &[&[GUN, "--json"], roles].concat());
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(!ended.out.contains("releases ("), "{ended:?}");
        assert!(!ended.out.contains("alice, "), "{ended:?}");
        let named = holders(&leaving);
        assert!(!named.contains(&"releases".to_owned()), "{named:?}");
    }
}

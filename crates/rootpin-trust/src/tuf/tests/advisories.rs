//! Published weaknesses of other clients of this format, one test for each, named after it.

use serde_json::{Value, json};

use super::attacks::{seen_two, signed};
use super::host::Host;
use super::publisher::{Publisher, key, role, sign, target};
use crate::Request;
use crate::image::Digest;
use crate::tuf::Question;

/// What becomes of a timestamp whose role, keys and signatures are as the test says.
pub(super) fn with_timestamp_role(
    listed: &Value,
    keys: &Value,
    signatures: impl FnOnce(&mut Vec<Value>),
) -> &'static str {
    let mut publisher = Publisher::new();
    let mut host = Host::of(&publisher);
    publisher.publish_root(&[]);
    let mut root = signed(&publisher, "2.root.json");
    root["roles"]["timestamp"] = listed.clone();
    root["keys"]
        .as_object_mut()
        .unwrap()
        .extend(keys.as_object().unwrap().clone());
    publisher
        .files
        .insert("2.root.json".to_owned(), sign(&root, &[1]));
    let mut timestamp: Value =
        serde_json::from_slice(&sign(&signed(&publisher, "timestamp.json"), &[2])).unwrap();
    signatures(timestamp["signatures"].as_array_mut().unwrap());
    publisher.files.insert(
        "timestamp.json".to_owned(),
        timestamp.to_string().into_bytes(),
    );
    host.code(&publisher)
}

/// A repository with one delegated role, which names one tag.
fn with_team() -> Publisher {
    let mut publisher = Publisher::new();
    publisher.delegate(
        "team",
        21,
        &["r.example/team/*"],
        ("r.example/team/app:1", "x"),
        false,
    );
    publisher.publish();
    publisher
}

fn team_code(host: &mut Host, publisher: &Publisher) -> &'static str {
    let question = Question::Tag("1".parse().unwrap());
    host.search(publisher, "r.example/team/app", &question)
        .map_or_else(|refusal| refusal.code.as_str(), |_| "ok")
}

#[test]
fn cve_2020_6174_one_signature_that_stands_twice_counts_once() {
    let twice = |signatures: &mut Vec<Value>| signatures.push(signatures[0].clone());
    assert_eq!(
        with_timestamp_role(&role(&[2, 9], 2), &json!({ "key-9": key(9) }), twice),
        "malformed"
    );
    assert_eq!(
        with_timestamp_role(&role(&[2, 2], 2), &json!({}), |_| ()),
        "malformed"
    );
}

#[test]
fn ghsa_3633_5h82_39pq_one_key_under_two_ids_counts_once() {
    let alias = |signatures: &mut Vec<Value>| {
        let mut again = signatures[0].clone();
        again["keyid"] = "alias".into();
        signatures.push(again);
    };
    let listed = json!({ "keyids": ["key-2", "alias"], "threshold": 2 });
    assert_eq!(
        with_timestamp_role(&listed, &json!({ "alias": key(2) }), alias),
        "bad-signature"
    );
}

#[test]
fn cve_2026_23992_a_threshold_of_none_is_no_threshold() {
    for threshold in [json!(0), json!(-1), json!("1"), json!(null)] {
        let listed = json!({ "keyids": ["key-2"], "threshold": threshold });
        assert_eq!(
            with_timestamp_role(&listed, &json!({}), |_| ()),
            "malformed"
        );
    }
}

#[test]
fn cve_2026_6967_a_delegated_role_s_expiry_and_version_count() {
    let question = Question::Tag("1".parse().unwrap());
    let mut publisher = Publisher::new();
    publisher.delegate(
        "team",
        21,
        &["r.example/team/*"],
        ("r.example/team/app:1", "x"),
        false,
    );
    publisher
        .expires
        .insert("team".to_owned(), "2029-12-31T00:00:00Z".to_owned());
    publisher.publish();
    let refusal = Host::of(&publisher)
        .search(&publisher, "r.example/team/app", &question)
        .unwrap_err();
    assert_eq!(refusal.code.as_str(), "expired");
    publisher.expires.clear();
    publisher.publish();
    publisher.publish_snapshot(
        &json!({ "targets.json": { "version": 3 }, "team.json": { "version": 3 } }),
    );
    publisher.files.insert(
        "3.team.json".to_owned(),
        publisher.files["2.team.json"].clone(),
    );
    let refusal = Host::of(&publisher)
        .search(&publisher, "r.example/team/app", &question)
        .unwrap_err();
    assert_eq!(refusal.code.as_str(), "rollback");
}

#[test]
fn cve_2021_41131_no_role_s_name_leaves_its_folder() {
    for (role, name) in [
        ("../x", "1...%2Fx.json"),
        ("a/b", "1.a%2Fb.json"),
        ("a?#b", "1.a%3F%23b.json"),
        ("é", "1.%C3%A9.json"),
    ] {
        assert_eq!(Request::versioned(role, Some(1)).file_name(), name);
    }
    let mut publisher = Publisher::new();
    publisher.delegate("targets", 21, &["*"], ("x", "x"), false);
    publisher.delegated.clear();
    publisher.publish();
    assert_eq!(
        Host::of(&publisher).code(&publisher),
        "malformed",
        "nor takes a top-level role's place"
    );
}

#[test]
fn cve_2026_24137_no_target_s_name_is_a_file_s() {
    let mut publisher = Publisher::new();
    let mut host = Host::of(&publisher);
    for name in ["../../x.json", "/x.json", "a/../x.json"] {
        publisher.names.insert(name.to_owned(), target("x"));
    }
    publisher.publish();
    let one = Some(Digest::of(b"one"));
    assert_eq!(host.tag(&publisher, "r.example/app", "1"), one);
    assert!(!host.cache.is_empty() && !host.asked.is_empty());
    for file in host.cache.keys().chain(&host.asked) {
        assert!(!file.contains('/') && !file.ends_with("x.json"), "{file}");
    }
}

#[test]
fn cve_2026_6966_one_signature_that_stands_twice_counts_once_for_a_delegated_role_too() {
    let mut publisher = Publisher::new();
    publisher.delegate(
        "team",
        21,
        &["r.example/team/*"],
        ("r.example/team/app:1", "x"),
        false,
    );
    let delegations = publisher.delegations.as_mut().unwrap();
    delegations["keys"]["key-22"] = key(22);
    delegations["roles"][0]["keyids"] = json!(["key-21", "key-22"]);
    delegations["roles"][0]["threshold"] = 2.into();
    publisher.publish();
    assert_eq!(
        team_code(&mut Host::of(&publisher), &publisher),
        "bad-signature",
        "one of two"
    );
    let mut team: Value = serde_json::from_slice(&publisher.files["1.team.json"]).unwrap();
    let mut again = team["signatures"][0].clone();
    again["keyid"] = "key-22".into();
    team["signatures"].as_array_mut().unwrap().push(again);
    publisher
        .files
        .insert("1.team.json".to_owned(), team.to_string().into_bytes());
    publisher.publish_snapshot(
        &json!({ "targets.json": { "version": 2 }, "team.json": { "version": 1 } }),
    );
    assert_eq!(
        team_code(&mut Host::of(&publisher), &publisher),
        "bad-signature",
        "nor under the other's name"
    );
}

#[test]
fn cve_2020_6173_a_file_of_a_hundred_thousand_signatures_costs_none_of_them() {
    let publisher = Publisher::new();
    let mut many = publisher.clone();
    let mut file: Value = serde_json::from_slice(&publisher.files["1.targets.json"]).unwrap();
    let sig = file["signatures"][0]["sig"].clone();
    file["signatures"] = (0..100_000)
        .map(|number| json!({ "keyid": format!("{number}"), "sig": sig }))
        .collect();
    many.files
        .insert("1.targets.json".to_owned(), file.to_string().into_bytes());
    many.publish_snapshot(&json!({ "targets.json": { "version": 1 } }));
    assert_eq!(Host::of(&publisher).code(&many), "malformed");
}

#[test]
fn cve_2020_15163_a_root_that_is_not_signed_well_is_not_kept() {
    // Signed by the old key and not by its own: refused, and refused again by a host that starts
    // anew.
    let mut publisher = Publisher::new();
    let good = publisher.clone();
    let mut host = Host::of(&publisher);
    publisher.root = vec![11];
    publisher.publish_root(&[1]);
    let root = signed(&publisher, "2.root.json");
    publisher
        .files
        .insert("2.root.json".to_owned(), sign(&root, &[1]));
    for _ in 0..2 {
        assert_eq!(host.code(&publisher), "bad-signature");
        assert!(!host.cache.contains_key("2.root.json"));
        host.restart();
    }
    assert_eq!(host.code(&good), "ok");
}

#[test]
fn cve_2025_2885_a_root_s_version_is_exactly_the_next() {
    for version in [1, 3] {
        let mut publisher = Publisher::new();
        let mut host = Host::of(&publisher);
        publisher.publish_root(&[]);
        let mut root = signed(&publisher, "2.root.json");
        root["version"] = version.into();
        publisher
            .files
            .insert("2.root.json".to_owned(), sign(&root, &[1]));
        assert_eq!(host.code(&publisher), "malformed", "{version}");
    }
}

#[test]
fn cve_2025_2886_and_cve_2024_47534_a_terminating_role_ends_the_search_whatever_waits_above_it() {
    let mut publisher = Publisher::new();
    publisher.delegate(
        "outer",
        21,
        &["r.example/team/*"],
        ("r.example/team/other:1", "x"),
        false,
    );
    publisher.delegate(
        "later",
        22,
        &["r.example/team/*"],
        ("r.example/team/app:1", "later"),
        false,
    );
    let mut inner = role(&[23], 1);
    inner["name"] = "inner".into();
    inner["paths"] = json!(["r.example/team/*"]);
    inner["terminating"] = true.into();
    publisher.delegated.get_mut("outer").unwrap().1 =
        Some(json!({ "keys": { "key-23": key(23) }, "roles": [inner] }));
    publisher.delegated.insert(
        "inner".to_owned(),
        (
            [("r.example/team/web:1".to_owned(), target("inner"))].into(),
            None,
            vec![23],
        ),
    );
    publisher.publish();
    let mut host = Host::of(&publisher);
    assert_eq!(
        host.tag(&publisher, "r.example/team/web", "1"),
        Some(Digest::of(b"inner")),
        "depth before breadth"
    );
    assert_eq!(
        host.tag(&publisher, "r.example/team/app", "1"),
        None,
        "what waits in the parent's list is not asked any more"
    );
}

#[test]
fn cve_2025_2887_and_cve_2022_29173_a_delegated_role_goes_back_no_more_than_any_other() {
    let mut publisher = with_team();
    let old = publisher.files["1.team.json"].clone();
    publisher.publish();
    let mut host = Host::of(&publisher);
    assert_eq!(team_code(&mut host, &publisher), "ok");
    // Who holds the online keys lists the older file again.
    publisher.files.insert("1.team.json".to_owned(), old);
    publisher.publish_snapshot(
        &json!({ "targets.json": { "version": 3 }, "team.json": { "version": 1 } }),
    );
    for _ in 0..2 {
        assert_eq!(team_code(&mut host, &publisher), "rollback");
        host.restart();
        host.cache.clear();
    }
}

#[test]
fn cve_2025_2888_a_timestamp_that_was_refused_is_not_kept_and_stops_nothing() {
    let (_, new, mut host) = seen_two();
    let mut bad = new.clone();
    bad.versions.insert("snapshot".to_owned(), 1);
    bad.versions.insert("timestamp".to_owned(), 41);
    bad.publish_timestamp();
    assert_eq!(bad.versions["timestamp"], 42);
    assert_eq!(
        host.code(&bad),
        "rollback",
        "a snapshot behind the one that was seen"
    );
    let mut next = new.clone();
    next.publish();
    host.restart();
    assert_eq!(
        host.code(&next),
        "ok",
        "version 3 is not behind 42, which never held"
    );
}

#[test]
fn cve_2026_23991_files_of_any_shape_are_refused_before_and_after_their_signature() {
    let publisher = with_team();
    let odd = [
        json!(null),
        json!(0),
        json!("x"),
        json!([]),
        json!({}),
        json!([{}]),
        json!({ "x": [] }),
        json!(-1),
        json!(true),
    ];
    for (file, key) in [
        ("1.root.json", 1),
        ("timestamp.json", 2),
        ("2.snapshot.json", 3),
        ("2.targets.json", 4),
        ("1.team.json", 21),
    ] {
        let whole = signed(&publisher, file);
        for member in whole.as_object().unwrap().keys() {
            for value in &odd {
                let mut changed = whole.clone();
                changed[member] = value.clone();
                let mut hostile = publisher.clone();
                let (name, root) = if file == "1.root.json" {
                    ("2.root.json", true)
                } else {
                    (file, false)
                };
                if root && member != "version" {
                    changed["version"] = 2.into();
                }
                hostile
                    .files
                    .insert(name.to_owned(), sign(&changed, &[key]));
                let mut host = Host::of(&publisher);
                let code = team_code(&mut host, &hostile);
                assert!(
                    code != "ok" || changed == whole || member == "custom" || consistent(member),
                    "{name} with {member} = {value}"
                );
            }
        }
    }
}

/// What may be anything: it is read as "no" unless it is true, and then files have other names.
fn consistent(member: &str) -> bool {
    member == "consistent_snapshot"
}

#[test]
fn ghsa_qp9x_wp8f_qgjj_the_case_of_a_path_counts() {
    let mut publisher = Publisher::new();
    publisher.delegate(
        "team",
        21,
        &["r.example/Team/*"],
        ("r.example/team/app:1", "x"),
        false,
    );
    publisher.publish();
    let mut host = Host::of(&publisher);
    assert_eq!(host.tag(&publisher, "r.example/team/app", "1"), None);
    assert!(!host.asked.contains(&"1.team.json".to_owned()));
}

#[test]
fn ghsa_77hh_43cm_v8j6_a_role_is_looked_for_only_where_a_delegation_names_it() {
    let publisher = with_team();
    // The very file is there and the snapshot lists it; no delegation leads to it any more.
    let mut removed = publisher.clone();
    removed.delegations = None;
    removed.publish();
    let mut host = Host::of(&publisher);
    assert_eq!(team_code(&mut host, &publisher), "ok");
    assert_eq!(host.tag(&removed, "r.example/team/app", "1"), None);
}

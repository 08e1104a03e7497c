//! Past attacks on clients of this format, and what a hostile mirror can try. Each ends in a
//! refusal, and a good repository afterwards is taken as before.

use serde_json::{Value, json};

use crate::Code;
use crate::image::Digest;
use crate::tuf::Question;

use super::host::Host;
use super::publisher::{EXPIRES, Publisher, key, role, sign, target};

pub(super) fn signed(publisher: &Publisher, file: &str) -> Value {
    let mut file: Value = serde_json::from_slice(&publisher.files[file]).unwrap();
    file["signed"].take()
}

/// A host that has seen version 1, and version 2.
pub(super) fn seen_two() -> (Publisher, Publisher, Host) {
    let mut publisher = Publisher::new();
    let old = publisher.clone();
    publisher.publish();
    let mut host = Host::of(&publisher);
    assert_eq!(host.code(&publisher), "ok");
    (old, publisher, host)
}

#[test]
fn an_older_repository_is_refused_with_and_without_a_cache() {
    let (old, new, mut host) = seen_two();
    assert_eq!(host.code(&old), "rollback");
    host.restart();
    host.cache.clear();
    assert_eq!(host.code(&old), "rollback");
    assert_eq!(host.code(&new), "ok");
}

#[test]
fn the_floor_survives_an_interrupted_update() {
    let (old, mut new, mut host) = seen_two();
    // The timestamp of version 3 comes through, and nothing after it.
    new.publish();
    let mut cut = new.clone();
    cut.files.remove("3.snapshot.json");
    assert_eq!(host.code(&cut), "role-missing");
    host.restart();
    // Who holds the timestamp's and the snapshot's keys goes back to the first targets.
    let mut back = new.clone();
    back.files.insert(
        "9.targets.json".to_owned(),
        old.files["1.targets.json"].clone(),
    );
    back.publish_snapshot(&json!({ "targets.json": { "version": 1 } }));
    back.files.insert(
        "1.targets.json".to_owned(),
        old.files["1.targets.json"].clone(),
    );
    assert_eq!(host.clone().code(&back), "rollback");
    // Nor can the snapshot go back behind the one that the timestamp named, of which not one byte
    // was seen.
    let mut lower = new.clone();
    lower.versions.insert("snapshot".to_owned(), 2);
    lower.publish_timestamp();
    assert_eq!(host.clone().code(&lower), "rollback");
    assert_eq!(host.code(&new), "ok");
}

#[test]
fn a_role_that_was_listed_does_not_vanish() {
    let mut publisher = Publisher::new();
    publisher.delegate(
        "team",
        21,
        &["r.example/team/*"],
        ("r.example/team/app:1", "x"),
        false,
    );
    publisher.publish();
    let mut host = Host::of(&publisher);
    assert_eq!(host.code(&publisher), "ok");
    publisher.publish_snapshot(&json!({ "targets.json": { "version": 2 } }));
    assert_eq!(host.code(&publisher), "rollback");
}

#[test]
fn a_timestamp_of_the_same_version_with_other_content_is_discarded() {
    let (_, new, mut host) = seen_two();
    let mut twin = new.clone();
    let mut timestamp = signed(&new, "timestamp.json");
    timestamp["meta"]["snapshot.json"]["version"] = 7.into();
    twin.files
        .insert("timestamp.json".to_owned(), sign(&timestamp, &[2]));
    assert_eq!(host.code(&twin), "ok");
    host.restart();
    assert_eq!(host.code(&twin), "ok", "the cached one stands in");
    host.restart();
    host.cache.clear();
    assert_eq!(
        host.code(&twin),
        "rollback",
        "without the one that was seen the other is judged"
    );
}

#[test]
fn targets_go_back_only_where_the_snapshot_s_key_was_replaced() {
    let (_, mut new, mut host) = seen_two();
    new.versions.insert("targets".to_owned(), 0);
    let mut same_key = new.clone();
    same_key.publish();
    assert_eq!(host.code(&same_key), "rollback");
    let mut host = seen_two().2;
    new.snapshot = vec![13];
    new.publish_root(&[]);
    new.publish();
    assert_eq!(host.code(&new), "ok");
    assert_eq!(new.versions["targets"], 1);
}

#[test]
fn metadata_is_over_at_the_very_second_that_it_names() {
    let publisher = Publisher::new();
    for (now, wanted) in [("2030-01-31T23:59:59Z", "ok"), (EXPIRES, "expired")] {
        let mut host = Host::of(&publisher);
        now.clone_into(&mut host.now);
        assert_eq!(host.code(&publisher), wanted);
    }
    for role in ["root", "timestamp", "snapshot", "targets"] {
        let mut publisher = Publisher::new();
        publisher
            .expires
            .insert(role.to_owned(), "2029-12-31T00:00:00Z".to_owned());
        publisher.publish_root(&[]);
        publisher.publish();
        assert_eq!(Host::of(&publisher).code(&publisher), "expired", "{role}");
    }
    // An expired root in the middle of a chain is none.
    let mut publisher = Publisher::new();
    publisher
        .expires
        .insert("root".to_owned(), "2029-12-31T00:00:00Z".to_owned());
    publisher.publish_root(&[]);
    publisher.expires.clear();
    publisher.publish_root(&[]);
    assert_eq!(Host::of(&publisher).code(&publisher), "ok");
}

#[test]
fn a_timestamp_that_stands_still_grows_older_than_max_age() {
    let mut publisher = Publisher::new();
    let mut host = Host::of(&publisher);
    host.pins.max_age = Some(jiff::SignedDuration::from_hours(72));
    assert_eq!(host.code(&publisher), "ok");
    "2030-01-03T23:59:59Z".clone_into(&mut host.now);
    assert_eq!(host.code(&publisher), "ok");
    "2030-01-04T00:00:00Z".clone_into(&mut host.now);
    let refusal = host.update(&publisher).unwrap_err();
    assert_eq!(refusal.code.as_str(), "expired");
    let found = "timestamp.json version 1, first seen at 2030-01-01T00:00:00Z and too old at 2030-01-04T00:00:00Z";
    assert_eq!(refusal.found, found, "it has not expired");
    publisher.publish_timestamp();
    assert_eq!(host.code(&publisher), "ok");
}

#[test]
fn files_of_different_times_and_other_bytes_are_refused() {
    let (old, new, _) = seen_two();
    for (place, from) in [
        ("2.snapshot.json", &old.files["1.snapshot.json"]),
        ("2.targets.json", &old.files["1.targets.json"]),
    ] {
        let mut mixed = new.clone();
        mixed.files.insert(place.to_owned(), from.clone());
        assert!(
            ["rollback", "malformed"].contains(&Host::of(&new).code(&mixed)),
            "{place}"
        );
    }
    let mut longer = new.clone();
    longer.files.get_mut("2.targets.json").unwrap().push(b' ');
    assert_eq!(
        Host::of(&new).code(&longer),
        "role-missing",
        "more than the listed length is not even read"
    );
    for file in new
        .files
        .keys()
        .filter(|file| *file != "1.root.json" && !file.starts_with("1."))
    {
        let mut odd = new.clone();
        for bytes in [
            &b""[..],
            b"{}",
            b"[]",
            b"null",
            b"{\"signed\":{},\"signatures\":[]}",
            b"\xff",
        ] {
            odd.files.insert(file.clone(), bytes.to_vec());
            assert_ne!(Host::of(&new).code(&odd), "ok", "{file}");
        }
    }
}

#[test]
fn a_file_that_another_role_s_key_signed_is_refused() {
    let publisher = Publisher::new();
    for (file, key) in [
        ("timestamp.json", 3),
        ("1.snapshot.json", 2),
        ("1.targets.json", 3),
    ] {
        let mut substituted = publisher.clone();
        let bytes = sign(&signed(&publisher, file), &[key]);
        substituted.files.insert(file.to_owned(), bytes);
        assert!(
            ["bad-signature", "malformed"].contains(&Host::of(&publisher).code(&substituted)),
            "{file}"
        );
    }
    // The snapshot, signed right, in the timestamp's place.
    let mut confused = publisher.clone();
    confused.timestamp = vec![3];
    confused.publish_root(&[]);
    confused.files.insert(
        "timestamp.json".to_owned(),
        publisher.files["1.snapshot.json"].clone(),
    );
    assert_eq!(Host::of(&publisher).code(&confused), "malformed");
}

#[test]
fn a_root_whose_key_the_policy_revokes_is_refused_and_leads_nowhere() {
    let mut publisher = Publisher::new();
    let mut host = Host::of(&publisher);
    host.pins.revoked.clone_from(host.pins.root.keys());
    assert_eq!(host.code(&publisher), "revoked");
    let old = std::mem::replace(&mut publisher.root, vec![11]);
    publisher.publish_root(&old);
    assert_eq!(host.code(&publisher), "revoked");
}

#[test]
fn a_policy_s_floor_holds_for_a_host_that_has_seen_nothing() {
    let publisher = Publisher::new();
    for role in ["root", "timestamp", "snapshot", "targets"] {
        let mut host = Host::of(&publisher);
        host.pins.floor.insert(role.to_owned(), 2);
        assert_eq!(host.code(&publisher), "rollback", "{role}");
    }
}

#[test]
fn a_chain_of_delegations_in_a_circle_ends() {
    let mut publisher = Publisher::new();
    publisher.delegate("a", 21, &["r.example/*"], ("other", "x"), false);
    publisher.delegate("b", 22, &["r.example/*"], ("other", "x"), false);
    let to = |name: &str, number: u8| {
        let mut listing = role(&[number], 1);
        listing["name"] = name.into();
        listing["paths"] = json!(["*/*"]);
        listing["terminating"] = false.into();
        json!({ "keys": { format!("key-{number}"): key(number) }, "roles": [listing] })
    };
    publisher.delegated.get_mut("a").unwrap().1 = Some(to("b", 22));
    publisher.delegated.get_mut("b").unwrap().1 = Some(to("a", 21));
    publisher.publish();
    assert_eq!(
        Host::of(&publisher).tag(&publisher, "r.example/none", "1"),
        None
    );
}

#[test]
fn two_files_of_one_version_are_not_both_taken() {
    let (_, new, mut host) = seen_two();
    let mut twin = new.clone();
    twin.names
        .insert("r.example/app:1".to_owned(), target("other"));
    twin.versions.insert("targets".to_owned(), 1);
    twin.publish();
    assert_eq!(twin.versions["targets"], 2);
    assert_eq!(host.code(&twin), "rollback");
}

#[test]
fn a_refusal_says_that_the_source_has_another_history_of_roots() {
    let (publisher, mut other) = (Publisher::new(), Publisher::new());
    let mut root = signed(&other, "1.root.json");
    root["expires"] = "2035-01-01T00:00:00Z".into();
    other
        .files
        .insert("1.root.json".to_owned(), sign(&root, &[1]));
    let mut timestamp = signed(&other, "timestamp.json");
    timestamp["version"] = 9.into();
    // By a key that this history's root does not list.
    other
        .files
        .insert("timestamp.json".to_owned(), sign(&timestamp, &[77]));
    let mut host = Host::of(&publisher);
    host.update(&publisher).unwrap();
    let refusal = host.update(&other).unwrap_err();
    assert!(
        refusal.code == Code::BadSignature && refusal.unpinned_root,
        "{refusal}"
    );
    assert!(
        refusal
            .found
            .contains("root 1 at the source differs from root 1 here")
            && refusal.hint.contains("pin diff"),
        "{refusal}"
    );
    // The same history with a bad timestamp is no other one.
    other.files.insert(
        "1.root.json".to_owned(),
        publisher.files["1.root.json"].clone(),
    );
    let refusal = host.update(&other).unwrap_err();
    assert!(
        !refusal.unpinned_root && !refusal.found.contains("differs"),
        "{refusal}"
    );
}

#[test]
fn a_refusal_names_the_kind_and_scheme_of_a_key_that_is_not_known_here() {
    let mut publisher = Publisher::new();
    let mut root = signed(&publisher, "1.root.json");
    root["version"] = 2.into();
    root["keys"]["key-2"]["keytype"] = "ml-dsa".into();
    root["keys"]["key-2"]["scheme"] = "ml-dsa-65/1".into();
    publisher
        .files
        .insert("2.root.json".to_owned(), sign(&root, &[1]));
    let mut host = Host::of(&publisher);
    let refusal = host.update(&publisher).unwrap_err();
    assert!(
        refusal.found.ends_with("0 distinct keys (of its role's keys, 1 of a kind or scheme not known here: \"ml-dsa ml-dsa-65/1\")"),
        "{}",
        refusal.found
    );
}

#[test]
fn a_tag_that_is_listed_without_a_sha256_is_refused_as_that_and_not_as_missing() {
    let mut publisher = Publisher::new();
    publisher.names.insert(
        "r.example/app:2".to_owned(),
        json!({ "length": 3, "hashes": { "sha512": "00" } }),
    );
    publisher.publish();
    let mut host = Host::of(&publisher);
    let question = Question::Tag("2".parse().unwrap());
    let refusal = host
        .search(&publisher, "r.example/app", &question)
        .unwrap_err();
    assert!(
        refusal
            .found
            .contains("the target r.example/app:2 and no sha256"),
        "{}",
        refusal.found
    );
    // A digest is found by the tags that have one.
    let question = Question::Digest(Digest::of(b"one"));
    assert_eq!(
        host.search(&publisher, "r.example/app", &question)
            .unwrap()
            .collection
            .get()
            .targets
            .len(),
        1
    );
}

#[test]
fn a_root_that_says_neither_true_nor_false_of_consistent_snapshots_is_refused() {
    let mut publisher = Publisher::new();
    let mut root = signed(&publisher, "1.root.json");
    root["version"] = 2.into();
    root["consistent_snapshot"] = "true".into();
    publisher
        .files
        .insert("2.root.json".to_owned(), sign(&root, &[1]));
    assert_eq!(Host::of(&publisher).code(&publisher), "malformed");
}

#[test]
fn a_digest_is_found_though_a_role_with_less_precedence_is_over_or_missing() {
    let mut publisher = Publisher::new();
    publisher.delegate(
        "team",
        21,
        &["r.example/team/*"],
        ("r.example/team/app:1", "one of theirs"),
        false,
    );
    publisher.delegate(
        "rest",
        22,
        &["r.example/*/*"],
        ("r.example/rest/app:1", "one of the rest"),
        false,
    );
    publisher.publish();
    publisher.files.remove("1.rest.json");
    let mut host = Host::of(&publisher);
    let mut ask = |content: &str| {
        host.search(
            &publisher,
            "r.example/team/app",
            &Question::Digest(Digest::of(content.as_bytes())),
        )
    };
    assert_eq!(
        ask("one of theirs").unwrap().collection.get().targets.len(),
        1
    );
    assert_eq!(ask("of nobody").unwrap_err().code.as_str(), "role-missing");
}

#[test]
fn a_chain_of_roots_that_grew_too_long_is_refused_with_what_to_do() {
    let mut publisher = Publisher::new();
    let mut host = Host::of(&publisher);
    for _ in 0..257 {
        publisher.publish_root(&[]);
    }
    let refusal = host.update(&publisher).unwrap_err();
    assert!(
        refusal.hint.starts_with("pin a later root file"),
        "{}",
        refusal.hint
    );
}

#[test]
fn a_delegated_role_can_not_have_a_host_compare_patterns_for_ever() {
    let mut publisher = Publisher::new();
    let slow = format!("r.example/*{}b/app:*", "a".repeat(900));
    let gun = format!("r.example/{}/app", "a".repeat(100));
    let path = |tag: usize| format!("{gun}:{tag}");
    // Each of many tags stands for the digest, and a role with precedence says otherwise: each is
    // looked up, by way of all patterns.
    publisher.delegate("first", 21, &["r.example/*/*"], (&path(0), "other"), false);
    publisher.delegate(
        "slow",
        21,
        &vec![slow.as_str(); 1000],
        ("r.example/x:1", "other"),
        false,
    );
    publisher.delegate("many", 21, &["r.example/*/*"], (&path(0), "wanted"), false);
    for (role, content) in [("first", "other"), ("many", "wanted")] {
        let targets = &mut publisher.delegated.get_mut(role).unwrap().0;
        targets.extend((0..1000).map(|tag| (path(tag), target(content))));
    }
    publisher.publish();
    let mut host = Host::of(&publisher);
    let refusal = host
        .search(&publisher, &gun, &Question::Digest(Digest::of(b"wanted")))
        .unwrap_err();
    assert_eq!(refusal.code.as_str(), "over-limit", "{}", refusal.found);
    assert_eq!(host.tag(&publisher, &gun, "7"), Some(Digest::of(b"other")));
}

#[test]
fn roots_that_fork_from_those_that_were_seen_take_no_place_in_the_cache() {
    let (_, mut new, mut host) = seen_two();
    let mut fork = new.clone();
    new.root = vec![7];
    new.publish_root(&[1]);
    new.publish_root(&[]);
    assert_eq!(host.code(&new), "ok");
    // Who has the keys of before signs another second root. The cache lost the good one.
    fork.root = vec![9];
    fork.publish_root(&[1]);
    let mut broken = fork.clone();
    broken
        .files
        .insert("3.root.json".to_owned(), b"{}".to_vec());
    for forked in [fork, broken] {
        host.cache.remove("2.root.json");
        host.restart();
        assert_ne!(host.code(&forked), "ok");
        assert!(!host.cache.contains_key("2.root.json"));
        host.restart();
        assert_eq!(host.code(&new), "ok");
    }
}

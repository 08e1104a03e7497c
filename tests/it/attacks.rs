//! Attacks, past and possible, each under its name.

use rootpin_trust::notary::KeyPins;
use rootpin_trust::{Code, Refusal, Request};
use serde_json::json;

use crate::publisher::{Key, Publisher, Tree};
use crate::workflow::{GUN, Host, NOW, Outcome, first_look, pins, published, tags};

const OTHER: &str = "2222222222222222222222222222222222222222222222222222222222222222";

fn refused(result: Result<Outcome, Refusal>) -> Refusal {
    let refusal = result
        .map(|outcome| outcome.collection.get().versions.clone())
        .expect_err("it was verified");
    assert!(!refusal.found.is_empty() && !refusal.wanted.is_empty() && !refusal.hint.is_empty());
    refusal
}

fn code(tree: &Tree, pins: &KeyPins) -> Code {
    refused(first_look(tree, pins)).code
}

/// A host that has seen a repository, and the repository.
fn seen() -> (Publisher, KeyPins, Host) {
    let (publisher, pins) = published();
    let mut host = Host::default();
    host.look(&publisher.tree(), &pins).unwrap();
    (publisher, pins, host)
}

#[test]
fn a_root_of_an_unpinned_key_is_refused_on_first_contact_and_its_id_is_marked_unverified() {
    let (publisher, _) = published();
    let refusal = refused(first_look(
        &publisher.tree(),
        &pins(&[Key::named("another")]),
    ));
    assert_eq!(refusal.code, Code::RootNotPinned);
    assert!(
        refusal.found.contains(&publisher.root_key().id()) && refusal.found.contains("unverified"),
        "{}",
        refusal.found
    );
    assert!(!refusal.hint.contains(&publisher.root_key().id()));
}

#[test]
fn a_former_key_that_is_still_pinned_opens_no_second_history_for_a_host_without_a_cache() {
    let (mut publisher, _) = published();
    let before = publisher.tree();
    let next = Key::named("next root");
    let pins = pins(&[publisher.root_key(), next.clone()]);
    publisher.rotate_root(&[next]);
    publisher.tick();
    // The host meets the repository after the rotation: its chain of roots begins with the new key.
    let mut host = Host::default();
    host.look(&publisher.tree(), &pins).unwrap();
    host.root = None;
    assert_eq!(refused(host.look(&before, &pins)).code, Code::Rollback);
    host.look(&publisher.tree(), &pins).unwrap();
}

#[test]
fn pins_hold_on_rotation_also_with_a_cached_root() {
    let (mut publisher, pins, mut host) = seen();
    publisher.rotate_root(&[Key::named("unpinned")]);
    publisher.tick();
    assert_eq!(
        refused(host.look(&publisher.tree(), &pins)).code,
        Code::RootNotPinned
    );
    assert_eq!(code(&publisher.tree(), &pins), Code::RootNotPinned);
}

#[test]
fn an_extra_root_key_that_is_not_pinned_is_refused_beside_a_pinned_one() {
    let (mut publisher, pins) = published();
    publisher
        .role("root")
        .keys
        .push(Key::named("extra").certificate(GUN));
    assert_eq!(code(&publisher.tree(), &pins), Code::RootNotPinned);
}

#[test]
fn a_poisoned_cached_root_is_set_aside() {
    let (publisher, pins, host) = seen();
    let mut attacker = Publisher::new(GUN);
    attacker.role("root").keys = vec![Key::named("attacker").certificate(GUN)];
    for poison in [
        attacker.tree().files["root.json"].clone(),
        b"{".to_vec(),
        Vec::new(),
    ] {
        let mut host = Host {
            root: Some(poison),
            ..host.clone()
        };
        assert_eq!(
            refused(host.look(&attacker.tree(), &pins)).code,
            Code::RootNotPinned
        );
        host.look(&publisher.tree(), &pins).unwrap();
    }
}

#[test]
fn a_cached_root_that_no_floor_confirms_is_set_aside() {
    let (mut publisher, pins, host) = seen();
    // Good signatures of a pinned key, but not the root that this host saw as version 1.
    publisher.role("root").expires = "2035-01-01T00:00:00Z";
    let other = publisher.tree().files["root.json"].clone();
    publisher.role("root").expires = crate::publisher::FAR;
    for floors in [host.floors.clone(), Vec::new()] {
        let (result, asked) = Host {
            root: Some(other.clone()),
            floors,
        }
        .look_at(&publisher.tree(), GUN, &pins, NOW);
        result.unwrap();
        assert_eq!(asked[0], Request::newest("root"));
    }
}

#[test]
fn a_cached_root_that_left_the_pins_is_set_aside_and_its_floor_stays() {
    let (mut publisher, _) = published();
    let (first, second) = (publisher.root_key(), Key::named("second"));
    let mut host = Host::default();
    let old = publisher.tree();
    publisher.rotate_root(std::slice::from_ref(&second));
    host.look(&old, &pins(&[first.clone(), second.clone()]))
        .unwrap();
    host.look(&publisher.tree(), &pins(&[first.clone(), second]))
        .unwrap();
    assert_eq!(
        refused(host.look(&old, &pins(&[first]))).code,
        Code::Rollback
    );
}

#[test]
fn a_rotation_that_the_old_root_did_not_sign_is_refused() {
    let (mut publisher, _) = published();
    let (first, second) = (publisher.root_key(), Key::named("second"));
    let pins = pins(&[first, second.clone()]);
    let mut host = Host::default();
    host.look(&publisher.tree(), &pins).unwrap();
    publisher.rotate_root(&[second]);
    publisher.former.clear();
    assert_eq!(
        refused(host.look(&publisher.tree(), &pins)).code,
        Code::BadSignature
    );
}

#[test]
fn a_rotation_that_its_own_keys_did_not_sign_is_refused() {
    let (mut publisher, _) = published();
    let (first, second) = (publisher.root_key(), Key::named("second"));
    let pins = pins(&[first, second.clone()]);
    let mut host = Host::default();
    host.look(&publisher.tree(), &pins).unwrap();
    publisher.rotate_root(&[second]);
    publisher.role("root").signers = Some(vec![]);
    assert_eq!(
        refused(host.look(&publisher.tree(), &pins)).code,
        Code::BadSignature
    );
    assert_eq!(code(&publisher.tree(), &pins), Code::BadSignature);
}

#[test]
fn two_certificates_over_one_key_are_one_signature() {
    let (mut publisher, pins) = published();
    let key = publisher.root_key();
    let root = publisher.role("root");
    root.keys = vec![
        key.certificate(GUN),
        key.certificate_until(GUN, 2, "491231235959Z"),
    ];
    root.threshold = 2;
    assert_eq!(code(&publisher.tree(), &pins), Code::BadSignature);
}

#[test]
fn a_bare_key_and_a_certificate_over_it_are_one_signature_of_a_delegation() {
    let (mut publisher, pins) = published();
    let key = Key::named("signer");
    let role = publisher.role("targets/releases");
    role.keys = vec![key.bare(), key.certificate("anything")];
    role.threshold = 2;
    assert_eq!(code(&publisher.tree(), &pins), Code::BadSignature);
}

#[test]
fn one_signature_that_stands_twice_counts_once() {
    let (mut publisher, pins) = published();
    let signer = Key::named("signer").bare();
    let role = publisher.role("targets/releases");
    role.keys = vec![signer.clone(), Key::named("absent").bare()];
    role.signers = Some(vec![signer]);
    role.threshold = 2;
    let mut tree = publisher.tree();
    let bytes = String::from_utf8(tree.files["targets/releases.json"].clone()).unwrap();
    let (head, list) = bytes.split_once("\"signatures\":[").unwrap();
    let entry = list.strip_suffix("]}").unwrap();
    let doubled = format!("{head}\"signatures\":[{entry},{entry}]}}").into_bytes();
    relink(&mut tree, &publisher, "targets/releases", doubled);
    assert_eq!(code(&tree, &pins), Code::BadSignature);
}

/// Puts other bytes in the place of a targets role's file, with a snapshot and a timestamp that
/// name them.
fn relink(tree: &mut Tree, publisher: &Publisher, role: &str, bytes: Vec<u8>) {
    use crate::publisher::{file_meta, sign};
    let mut snapshot: serde_json::Value =
        serde_json::from_slice(&tree.files["snapshot.json"]).unwrap();
    snapshot["signed"]["meta"][role] = file_meta(&bytes);
    let snapshot = sign(&snapshot["signed"], publisher.roles["snapshot"].keys.iter());
    let mut timestamp: serde_json::Value =
        serde_json::from_slice(&tree.files["timestamp.json"]).unwrap();
    timestamp["signed"]["meta"]["snapshot"] = file_meta(&snapshot);
    tree.files
        .retain(|name, _| !name.starts_with("snapshot.") && !name.starts_with(&format!("{role}.")));
    tree.files.insert(
        "timestamp.json".to_owned(),
        sign(
            &timestamp["signed"],
            publisher.roles["timestamp"].keys.iter(),
        ),
    );
    tree.files.insert("snapshot.json".to_owned(), snapshot);
    tree.files.insert(format!("{role}.json"), bytes);
}

#[test]
fn files_without_enough_signatures_are_refused_whatever_their_role() {
    for role in [
        "root",
        "timestamp",
        "snapshot",
        "targets",
        "targets/releases",
    ] {
        for signers in [vec![], vec![Key::named("stranger").bare()]] {
            let (mut publisher, pins) = published();
            publisher.role(role).signers = Some(signers);
            let refusal = refused(first_look(&publisher.tree(), &pins));
            assert_eq!(refusal.code, Code::BadSignature, "{role}");
            assert!(refusal.found.starts_with(role), "{}", refusal.found);
        }
    }
}

#[test]
fn no_role_goes_back_behind_a_version_that_was_seen() {
    for role in [
        "root",
        "timestamp",
        "snapshot",
        "targets",
        "targets/releases",
    ] {
        for keep_cache in [true, false] {
            let (mut publisher, pins) = published();
            let mut host = Host::default();
            publisher.role(role).version = 7;
            host.look(&publisher.tree(), &pins).unwrap();
            host.root = host.root.filter(|_| keep_cache);
            publisher.tick();
            publisher.role(role).version = 6;
            if role == "root" {
                host.root = None;
            }
            let refusal = refused(host.look(&publisher.tree(), &pins));
            assert_eq!(refusal.code, Code::Rollback, "{role}");
            assert!(
                refusal.found.contains("version 6") && refusal.wanted.contains("version 7"),
                "{role}: {refusal}"
            );
        }
    }
}

#[test]
fn a_rollback_is_refused_also_where_the_cached_file_is_larger() {
    let (mut publisher, pins) = published();
    let mut host = Host::default();
    let mut old = publisher.clone();
    publisher.tick();
    for tag in 0..100 {
        publisher.tag(&format!("tag{tag}"), OTHER, 7);
    }
    host.look(&publisher.tree(), &pins).unwrap();
    // The server holds the keys of snapshot and timestamp: these are new, around old targets.
    old.role("snapshot").version = 3;
    old.role("timestamp").version = 3;
    assert_eq!(refused(host.look(&old.tree(), &pins)).code, Code::Rollback);
}

#[test]
fn a_delegation_is_not_rolled_back_under_unchanged_targets() {
    let (mut publisher, pins) = published();
    let mut host = Host::default();
    publisher.role("targets/releases").version = 2;
    host.look(&publisher.tree(), &pins).unwrap();
    publisher.role("targets/releases").version = 1;
    publisher.role("snapshot").version = 2;
    publisher.role("timestamp").version = 2;
    let refusal = refused(host.look(&publisher.tree(), &pins));
    assert_eq!(
        (refusal.code, refusal.found.as_str()),
        (Code::Rollback, "targets/releases.json version 1")
    );
}

#[test]
fn the_same_version_with_other_content_is_refused() {
    for role in ["timestamp", "snapshot", "targets", "targets/releases"] {
        let (mut publisher, pins, mut host) = seen();
        publisher.tick();
        publisher.role(role).version = 1;
        publisher.role(role).expires = "2035-01-01T00:00:00Z";
        let refusal = refused(host.look(&publisher.tree(), &pins));
        assert_eq!(refusal.code, Code::Rollback, "{role}");
        assert!(refusal.found.contains("other content"), "{}", refusal.found);
    }
    let (mut publisher, pins, host) = seen();
    publisher.role("root").expires = "2035-01-01T00:00:00Z";
    publisher.tick();
    assert_eq!(
        refused(Host { root: None, ..host }.look(&publisher.tree(), &pins)).code,
        Code::Rollback
    );
}

#[test]
fn a_delegation_that_vanishes_is_refused_and_its_tags_do_not_come_from_another_role() {
    let (mut publisher, pins, host) = seen();
    publisher.tag_in("targets", "v1", OTHER, 7);
    publisher.tick();
    let mut forgotten = publisher.clone();
    forgotten.forget("targets/releases");
    let mut removed = publisher.clone();
    removed.remove("targets/releases");
    let mut withheld = publisher.tree();
    withheld
        .files
        .retain(|name, _| !name.starts_with("targets/releases"));
    for tree in [forgotten.tree(), removed.tree(), withheld] {
        let refusal = refused(host.clone().look(&tree, &pins));
        assert_eq!(refusal.code, Code::RoleMissing);
        assert!(refusal.wanted.contains("targets/releases"));
    }
}

#[test]
fn an_expired_or_unsigned_delegation_does_not_fall_back_to_targets() {
    let (mut publisher, pins) = published();
    publisher.tag_in("targets", "v1", OTHER, 7);
    publisher.role("targets/releases").expires = "2020-01-01T00:00:00Z";
    assert_eq!(code(&publisher.tree(), &pins), Code::Expired);
    publisher.role("targets/releases").signers = Some(vec![]);
    assert_eq!(code(&publisher.tree(), &pins), Code::BadSignature);
}

#[test]
fn a_snapshot_for_another_root_is_refused_as_mix_and_match() {
    let (mut publisher, pins) = published();
    let old = publisher.tree();
    publisher.next_root();
    let mut tree = publisher.tree();
    for name in ["timestamp.json", "snapshot.json", "targets.json"] {
        tree.files.insert(name.to_owned(), old.files[name].clone());
    }
    tree.files.extend(
        old.files
            .iter()
            .filter(|(name, _)| name.starts_with("snapshot."))
            .map(|(name, bytes)| (name.clone(), bytes.clone())),
    );
    let refusal = refused(first_look(&tree, &pins));
    assert_eq!(refusal.code, Code::Rollback);
    assert!(refusal.found.contains("snapshot.json"), "{}", refusal.found);
}

#[test]
fn good_files_of_another_time_under_a_signed_hash_are_refused_as_mix_and_match() {
    let (mut publisher, pins) = published();
    let old = publisher.tree();
    publisher.tick();
    let new = publisher.tree();
    for role in ["snapshot", "targets", "targets/releases"] {
        let mut tree = new.clone();
        for (name, bytes) in &mut tree.files {
            if name.starts_with(&format!("{role}.")) {
                bytes.clone_from(&old.files[&format!("{role}.json")]);
            }
        }
        assert_eq!(code(&tree, &pins), Code::Malformed, "{role}");
    }
}

#[test]
fn a_root_for_another_repository_is_refused_though_the_key_is_pinned() {
    let mut publisher = Publisher::new("registry.test/team/other");
    publisher.tag("v1", OTHER, 7);
    let refusal = refused(first_look(
        &publisher.tree(),
        &pins(&[publisher.root_key()]),
    ));
    assert_eq!(refusal.code, Code::BadSignature);
    assert!(
        refusal.found.contains("registry.test/team/other") && refusal.wanted.contains(GUN),
        "{refusal}"
    );
}

#[test]
fn a_wildcard_certificate_is_for_what_is_below_a_slash_only() {
    for (name, good) in [
        ("registry.test/team/*", true),
        ("registry.test/*", true),
        ("registry.test/tea*", false),
        ("*", false),
        ("registry.test/team/app*", false),
    ] {
        let (mut publisher, pins) = published();
        publisher.role("root").keys = vec![publisher.root_key().certificate(name)];
        assert_eq!(first_look(&publisher.tree(), &pins).is_ok(), good, "{name}");
    }
}

#[test]
fn a_bare_key_in_the_root_role_signs_nothing() {
    let (mut publisher, pins) = published();
    publisher.role("root").keys = vec![publisher.root_key().bare()];
    assert_eq!(code(&publisher.tree(), &pins), Code::BadSignature);
}

#[test]
fn a_fast_forward_locks_out_only_until_root_replaces_the_keys() {
    let (mut publisher, pins) = published();
    let mut host = Host::default();
    for role in ["timestamp", "snapshot", "targets"] {
        publisher.role(role).version = 100_001;
    }
    host.look(&publisher.tree(), &pins).unwrap();
    for role in ["timestamp", "snapshot", "targets"] {
        publisher.role(role).version = 2;
        assert_eq!(
            refused(host.clone().look(&publisher.tree(), &pins)).code,
            Code::Rollback
        );
        publisher.rotate(role, &[Key::named(&format!("new {role}"))]);
    }
    let outcome = host.look(&publisher.tree(), &pins).unwrap();
    assert_eq!(outcome.progress.get().fallen.len(), 3);
    // The lower versions are floors from now on.
    publisher.role("timestamp").version = 1;
    assert_eq!(
        refused(host.look(&publisher.tree(), &pins)).code,
        Code::Rollback
    );
}

#[test]
fn a_fast_forwarded_delegation_recovers_when_its_delegator_replaces_its_keys() {
    let (mut publisher, pins) = published();
    let mut host = Host::default();
    publisher.role("targets/releases").version = 100_001;
    host.look(&publisher.tree(), &pins).unwrap();
    publisher.tick();
    publisher.role("targets/releases").version = 2;
    assert_eq!(
        refused(host.clone().look(&publisher.tree(), &pins)).code,
        Code::Rollback
    );
    // One more key beside the old one replaces nothing.
    publisher
        .role("targets/releases")
        .keys
        .push(Key::named("new").bare());
    assert_eq!(
        refused(host.clone().look(&publisher.tree(), &pins)).code,
        Code::Rollback
    );
    publisher.role("targets/releases").keys.remove(0);
    host.look(&publisher.tree(), &pins).unwrap();
}

#[test]
fn other_keys_of_the_delegator_bring_no_old_delegation_back() {
    let (mut publisher, pins, mut host) = seen();
    let old = publisher.clone();
    publisher.tick();
    publisher.role("targets/releases").version = 7;
    host.look(&publisher.tree(), &pins).unwrap();
    // The publisher rotates the targets key; who holds the snapshot's and the timestamp's passes
    // off old releases with it.
    publisher.rotate("targets", &[Key::named("new targets")]);
    publisher.tick();
    let releases = old
        .roles
        .iter()
        .find(|(name, _)| name.as_str() == "targets/releases")
        .unwrap()
        .1
        .clone();
    *publisher.role("targets/releases") = releases;
    assert_eq!(
        refused(host.look(&publisher.tree(), &pins)).code,
        Code::Rollback
    );
}

#[test]
fn a_root_version_is_not_skipped_and_not_repeated() {
    for version in [1, 3, 7] {
        let (mut publisher, pins, mut host) = seen();
        publisher.next_root().version = version;
        let mut tree = publisher.tree();
        let root = tree.files["root.json"].clone();
        tree.files.insert("2.root.json".to_owned(), root);
        assert_eq!(
            refused(host.look(&tree, &pins)).code,
            Code::Malformed,
            "{version}"
        );
    }
}

#[test]
fn endless_roots_are_refused() {
    let (mut publisher, pins) = published();
    for _ in 0..300 {
        publisher.next_root();
    }
    let mut tree = publisher.tree();
    let first = tree.files["1.root.json"].clone();
    tree.files.insert("root.json".to_owned(), first);
    assert_eq!(code(&tree, &pins), Code::OverLimit);
}

#[test]
fn endless_signatures_keys_and_bytes_are_refused() {
    let (mut publisher, pins) = published();
    publisher.role("targets/releases").keys = (0..65)
        .map(|index| Key::named(&format!("k{index}")).bare())
        .collect();
    assert_eq!(code(&publisher.tree(), &pins), Code::OverLimit);

    let (publisher, pins) = published();
    let mut tree = publisher.tree();
    let signed: serde_json::Value = serde_json::from_slice(&tree.files["timestamp.json"]).unwrap();
    let mut forged = signed.clone();
    let mut entry = signed["signatures"][0].clone();
    entry["sig"] = "AAAA".into();
    forged["signatures"] = vec![entry; 1500].into();
    // Within its size limit a timestamp can't hold enough of them; a root can.
    assert_eq!(
        with(&mut tree, "timestamp.json", &forged, &pins),
        Code::OverLimit
    );
    let mut forged: serde_json::Value = serde_json::from_slice(&tree.files["root.json"]).unwrap();
    let mut entry = forged["signatures"][0].clone();
    entry["sig"] = "AAAA".into();
    forged["signatures"] = vec![entry; 1500].into();
    assert_eq!(
        with(&mut tree, "root.json", &forged, &pins),
        Code::OverLimit
    );
    forged["signed"]["x"] = (0..100).fold(json!(1), |inner, _| json!([inner]));
    assert_eq!(
        with(&mut tree, "root.json", &forged, &pins),
        Code::OverLimit
    );

    let (mut publisher, pins) = published();
    publisher.edit("timestamp", |signed| {
        signed["meta"]["snapshot"]["length"] = (1_u64 << 40).into();
    });
    assert_eq!(code(&publisher.tree(), &pins), Code::OverLimit);
}

fn with(tree: &mut Tree, name: &str, value: &serde_json::Value, pins: &KeyPins) -> Code {
    let before = tree
        .files
        .insert(name.to_owned(), serde_json::to_vec(value).unwrap())
        .unwrap();
    let code = code(tree, pins);
    tree.files.insert(name.to_owned(), before);
    code
}

#[test]
fn a_revoked_key_in_the_root_role_is_refused() {
    let (publisher, mut pins) = published();
    pins.revoked.clone_from(&pins.keys);
    assert_eq!(code(&publisher.tree(), &pins), Code::Revoked);
}

#[test]
fn a_revoked_keys_signature_counts_nowhere() {
    for role in ["timestamp", "snapshot", "targets", "targets/releases"] {
        let (mut publisher, mut pins) = published();
        pins.revoked = crate::workflow::pins(&[publisher.roles[role].keys[0].key.clone()]).keys;
        let refusal = refused(first_look(&publisher.tree(), &pins));
        assert_eq!(refusal.code, Code::Revoked, "{role}");
        publisher.role(role).keys.push(Key::named("heir").bare());
        first_look(&publisher.tree(), &pins).unwrap();
        publisher.role(role).signers = Some(vec![]);
        assert_eq!(code(&publisher.tree(), &pins), Code::BadSignature, "{role}");
    }
}

#[test]
fn root_certificates_out_of_their_dates_count_where_the_policy_checks_dates() {
    let (mut publisher, mut pins) = published();
    publisher.role("root").keys =
        vec![
            publisher
                .root_key()
                .certificate_until(GUN, 1, "250101000000Z"),
        ];
    first_look(&publisher.tree(), &pins).unwrap();
    pins.certificate_dates = true;
    let refusal = refused(first_look(&publisher.tree(), &pins));
    assert_eq!(refusal.code, Code::Expired);
    assert!(
        refusal.found.contains("2025-01-01T00:00:00Z"),
        "{}",
        refusal.found
    );
    // A newer root by the same key, in a newer certificate, is the way out, also for a host that
    // slept.
    let mut host = Host::default();
    host.look_at(&publisher.tree(), GUN, &pins, "2024-01-01T00:00:00Z")
        .0
        .unwrap();
    publisher.rotate_root(&[publisher.root_key()]);
    host.look(&publisher.tree(), &pins).unwrap();
}

#[test]
fn an_expired_root_in_the_middle_does_not_matter_and_at_the_end_it_does() {
    let (mut publisher, pins) = published();
    publisher.role("root").expires = "2029-01-01T00:00:00Z";
    let mut host = Host::default();
    host.look_at(&publisher.tree(), GUN, &pins, "2028-01-01T00:00:00Z")
        .0
        .unwrap();
    let mut late = host.clone();
    assert_eq!(
        refused(late.look(&publisher.tree(), &pins)).code,
        Code::Expired
    );
    publisher.next_root();
    publisher.next_root().expires = crate::publisher::FAR;
    host.look(&publisher.tree(), &pins).unwrap();
}

#[test]
fn what_is_not_there_is_told_apart() {
    let (publisher, pins, mut host) = seen();
    assert_eq!(code(&Tree { files: [].into() }, &pins), Code::NoStatement);
    for name in ["timestamp", "snapshot", "targets", "targets/releases"] {
        let mut tree = publisher.tree();
        tree.files
            .retain(|file, _| !file.starts_with(&format!("{name}.")));
        assert_eq!(code(&tree, &pins), Code::RoleMissing, "{name}");
        assert_eq!(
            refused(host.look(&tree, &pins)).code,
            Code::RoleMissing,
            "{name}"
        );
    }
    for role in ["timestamp", "snapshot", "targets"] {
        let mut publisher = publisher.clone();
        publisher.edit(
            "root",
            match role {
                "timestamp" => {
                    |signed| drop(signed["roles"].as_object_mut().unwrap().remove("timestamp"))
                }
                "snapshot" => {
                    |signed| drop(signed["roles"].as_object_mut().unwrap().remove("snapshot"))
                }
                _ => |signed| drop(signed["roles"].as_object_mut().unwrap().remove("targets")),
            },
        );
        assert_eq!(code(&publisher.tree(), &pins), Code::RoleMissing, "{role}");
    }
}

#[test]
fn a_key_under_another_keys_id_spoils_the_file() {
    let (mut publisher, pins) = published();
    publisher.edit("root", |signed| {
        let id = signed["roles"]["timestamp"]["keyids"][0]
            .as_str()
            .unwrap()
            .to_owned();
        signed["keys"][&id] =
            signed["keys"][signed["roles"]["snapshot"]["keyids"][0].as_str().unwrap()].clone();
    });
    assert_eq!(code(&publisher.tree(), &pins), Code::Malformed);
}

#[test]
fn a_delegation_of_a_path_that_the_parent_does_not_hold_gives_nothing() {
    let (mut publisher, mut pins) = published();
    publisher.role("targets/releases").paths = vec!["v"];
    publisher.delegate(
        "targets/releases/deep",
        vec![Key::named("deep").bare()],
        vec![""],
    );
    publisher.tag_in("targets/releases/deep", "v1", OTHER, 7);
    pins.role = "targets/releases/deep".to_owned();
    assert!(
        tags(
            first_look(&publisher.tree(), &pins)
                .unwrap()
                .collection
                .get()
        )
        .is_empty()
    );
}

#[test]
fn odd_metadata_is_refused_as_malformed() {
    type Edit = fn(&mut serde_json::Value);
    let edits: [(&str, Edit); 17] = [
        ("root", |signed| signed["_type"] = "root".into()),
        ("timestamp", |signed| signed["_type"] = "Snapshot".into()),
        ("timestamp", |signed| signed["version"] = 0.into()),
        ("timestamp", |signed| signed["version"] = "1".into()),
        ("timestamp", |signed| {
            signed["expires"] = "2036-01-01".into();
        }),
        ("timestamp", |signed| {
            signed["meta"]["snapshot"]["hashes"] = json!({"sha512": "AA=="});
        }),
        ("timestamp", |signed| {
            signed["meta"] = serde_json::Value::Null;
        }),
        ("snapshot", |signed| {
            drop(signed["meta"].as_object_mut().unwrap().remove("root"));
        }),
        ("snapshot", |signed| signed["meta"]["targets"] = json!({})),
        ("root", |signed| {
            signed["roles"]["root"]["threshold"] = 0.into();
        }),
        ("root", |signed| {
            signed["roles"]["timestamp"]["keyids"] = json!(["0".repeat(64)]);
        }),
        ("targets", |signed| {
            signed["delegations"]["roles"][0]["name"] = "targets/a/b".into();
        }),
        ("targets", |signed| {
            signed["delegations"]["roles"] = json!([
                signed["delegations"]["roles"][0],
                signed["delegations"]["roles"][0]
            ]);
        }),
        ("targets", |signed| {
            signed["delegations"]["roles"][0]["paths"] = "v".into();
        }),
        ("targets", |signed| {
            signed["delegations"]["roles"] = "none".into();
        }),
        ("targets/releases", |signed| {
            signed["targets"]["v1"]["hashes"]["sha256"] = "AA==".into();
        }),
        ("targets/releases", |signed| signed["targets"] = json!([])),
    ];
    for (index, (role, edit)) in edits.into_iter().enumerate() {
        let (mut publisher, pins) = published();
        publisher.edit(role, edit);
        assert_eq!(
            code(&publisher.tree(), &pins),
            Code::Malformed,
            "{index} {role}"
        );
    }
}

//! Weaknesses that were found without an advisory: in reviews and issues of other clients, or by
//! reading here. One test for each.

use serde_json::{Value, json};

use super::advisories::with_timestamp_role;
use super::attacks::seen_two;
use super::host::Host;
use super::publisher::{Publisher, key};
use crate::image::Digest;
use crate::tuf::Question;

#[test]
fn tob_sigstore_14_a_role_that_is_at_hand_is_verified_again_when_its_delegator_names_other_keys() {
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
    assert!(host.tag(&publisher, "r.example/team/app", "1").is_some());
    // The delegation goes to another key; the role's file stays as it is.
    let delegations = publisher.delegations.as_mut().unwrap();
    delegations["keys"]["key-22"] = key(22);
    delegations["roles"][0]["keyids"] = json!(["key-22"]);
    publisher.publish();
    let file = &publisher.files["1.team.json"];
    let listed = json!({ "version": 1, "length": file.len(), "hashes": { "sha256": Digest::of(file).hex() } });
    publisher.publish_snapshot(&json!({ "targets.json": { "version": 3 }, "team.json": listed }));
    for restarted in [false, true] {
        if restarted {
            host.restart();
        }
        let refusal = host
            .search(
                &publisher,
                "r.example/team/app",
                &Question::Tag("1".parse().unwrap()),
            )
            .unwrap_err();
        assert_eq!(refusal.code.as_str(), "bad-signature");
    }
}

#[test]
fn keys_that_are_not_understood_and_odd_signatures_spoil_nothing_and_count_for_nothing() {
    let odd = json!({ "odd": { "keytype": "dilithium", "scheme": "dilithium5", "keyval": { "lattice": "…" } } });
    let extra = |signatures: &mut Vec<Value>| {
        signatures.insert(0, json!({ "keyid": "odd", "sig": "" }));
        signatures.insert(0, json!({ "keyid": "nobody", "sig": "not hexadecimal" }));
    };
    assert_eq!(
        with_timestamp_role(
            &json!({ "keyids": ["odd", "gone", "key-2"], "threshold": 1 }),
            &odd,
            extra
        ),
        "ok"
    );
    assert_eq!(
        with_timestamp_role(
            &json!({ "keyids": ["odd", "gone", "key-2"], "threshold": 2 }),
            &odd,
            extra
        ),
        "bad-signature"
    );
}

#[test]
fn sigstore_rust_174_a_star_stays_within_its_segment() {
    let mut publisher = Publisher::new();
    publisher.delegate(
        "team",
        21,
        &["r.example/*"],
        ("r.example/team/app:1", "x"),
        false,
    );
    publisher.publish();
    assert_eq!(
        Host::of(&publisher).tag(&publisher, "r.example/team/app", "1"),
        None
    );
}

#[test]
fn sigstore_rust_198_what_has_expired_in_the_cache_still_bounds_what_comes() {
    let (old, mut new, mut host) = seen_two();
    "2030-03-01T00:00:00Z".clone_into(&mut host.now);
    assert_eq!(host.code(&new), "expired");
    host.restart();
    for publisher in [&old, &new] {
        assert_ne!(host.clone().code(publisher), "ok");
    }
    let mut back = old.clone();
    for role in ["root", "timestamp", "snapshot", "targets"] {
        back.expires
            .insert(role.to_owned(), "2030-04-01T00:00:00Z".to_owned());
        new.expires
            .insert(role.to_owned(), "2030-04-01T00:00:00Z".to_owned());
    }
    back.publish_root(&[]);
    for (role, before) in [("timestamp", 5), ("snapshot", 5), ("targets", 0)] {
        back.versions.insert(role.to_owned(), before);
    }
    back.publish();
    assert_eq!(
        host.clone().code(&back),
        "rollback",
        "fresh, and behind what had been seen"
    );
    new.publish_root(&[]);
    new.publish();
    assert_eq!(host.code(&new), "ok", "what is renewed is taken");
}

#[test]
fn an_update_that_breaks_off_at_any_step_loosens_nothing_and_is_made_up_for_by_the_next() {
    let (old, mut new, host) = seen_two();
    let was = new.clone();
    new.publish_root(&[]);
    new.publish();
    for missing in [
        "2.root.json",
        "timestamp.json",
        "3.snapshot.json",
        "3.targets.json",
    ] {
        for cached in [true, false] {
            let mut host = host.clone();
            let mut cut = new.clone();
            cut.files.remove(missing);
            let _ = host.code(&cut);
            host.restart();
            if !cached {
                host.cache.clear();
            }
            assert_eq!(host.clone().code(&old), "rollback", "{missing}");
            let back = host.clone().code(&was);
            assert!(
                back == "rollback" || missing == "2.root.json" || missing == "timestamp.json",
                "{missing}: {back}"
            );
            assert_eq!(host.code(&new), "ok", "{missing}");
        }
    }
}

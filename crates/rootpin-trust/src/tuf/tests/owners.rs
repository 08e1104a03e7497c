//! Whose a floor is: a pinned root's, by its file and by its id in the policy. An edit of the policy
//! loses none, and another pinned root has no say in it.

use std::sync::Arc;

use serde_json::json;

use crate::Code;
use crate::image::Digest;
use crate::tuf::{PinnedRoot, Question};

use super::attacks::{seen_two, signed};
use super::host::Host;
use super::publisher::{Publisher, sign, target};

fn pin(host: &mut Host, publisher: &Publisher, version: u64) {
    let bytes = publisher.files[&format!("{version}.root.json")].clone();
    host.pins.root = Arc::new(PinnedRoot::read(bytes).unwrap());
    host.restart();
    host.cache.clear();
}

/// The adversary's own repository, whose root a host pins too.
fn own_repository() -> Publisher {
    let mut own = Publisher::new();
    (own.root, own.timestamp) = (vec![61], vec![62]);
    (own.snapshot, own.targets) = (vec![63], vec![64]);
    own.versions.clear();
    own.files.clear();
    own.publish_root(&[]);
    own.publish();
    own
}

/// A host that pins that one too, with the floors of the first.
fn of_own(host: &Host, own: &Publisher) -> Host {
    let mut other = Host::of(own);
    other.pins.id = "own".to_owned();
    other.floors.clone_from(&host.floors);
    other
}

/// A publisher who replaced its root key, a host that pins the first root and saw all of it, and
/// the repository as it was one publication before.
fn rotated() -> (Publisher, Publisher, Host) {
    let (_, mut new, mut host) = seen_two();
    new.root = vec![7];
    new.publish_root(&[1]);
    let back = new.clone();
    new.publish();
    assert_eq!(host.code(&new), "ok");
    (back, new, host)
}

fn owners(host: &Host) -> Vec<(String, Vec<&str>)> {
    host.floors
        .iter()
        .map(|floor| {
            let ids = floor.owner.iter().flat_map(|owner| &owner.ids);
            (floor.role.clone(), ids.map(String::as_str).collect())
        })
        .collect()
}

#[test]
fn floors_stay_with_a_root_whose_id_changes() {
    let (old, new, mut host) = seen_two();
    host.pins.id = "another name".to_owned();
    host.restart();
    host.cache.clear();
    assert_eq!(host.code(&old), "rollback");
    assert_eq!(host.code(&new), "ok");
}

#[test]
fn floors_stay_with_a_root_for_which_a_later_file_is_pinned() {
    let (back, new, mut host) = rotated();
    pin(&mut host, &new, 2);
    assert_eq!(host.code(&back), "rollback");
    assert_eq!(host.code(&new), "ok");
    let now = host.pins.root.statement();
    let owners = host
        .floors
        .iter()
        .map(|floor| floor.owner.as_ref().unwrap().pin);
    assert_eq!(owners.collect::<Vec<_>>(), [now; 3]);
}

#[test]
fn floors_of_before_a_root_s_keys_were_replaced_bind_a_later_file_too() {
    let (old, mut new, mut host) = seen_two();
    new.root = vec![7];
    new.publish_root(&[1]);
    let mut cut = new.clone();
    cut.files.remove("timestamp.json");
    assert_eq!(host.code(&cut), "role-missing");
    pin(&mut host, &new, 2);
    let mut back = new.clone();
    let timestamp = old.files["timestamp.json"].clone();
    back.files.insert("timestamp.json".to_owned(), timestamp);
    assert_eq!(host.code(&back), "rollback");
    assert_eq!(host.code(&new), "ok");
}

#[test]
fn floors_bind_a_later_file_that_has_no_root_key_of_the_earlier_one_until_the_role_s_keys_go() {
    let (old, mut new, mut host) = seen_two();
    new.root = vec![7];
    new.publish_root(&[1]);
    let timestamp = old.files["timestamp.json"].clone();
    pin(&mut host, &new, 2);
    // The host never saw how the first root handed over.
    assert!(host.floors.iter().all(|floor| {
        let keys = host.pins.root.signers();
        floor.root_keys.is_disjoint(keys)
    }));
    let mut back = new.clone();
    back.files.insert("timestamp.json".to_owned(), timestamp);
    assert_eq!(host.code(&back), "rollback");
    assert_eq!(host.code(&new), "ok");
}

#[test]
fn floors_bind_a_later_file_under_another_id_too_where_they_were_seen_under_it() {
    let (back, new, mut host) = rotated();
    host.pins.id = "another name".to_owned();
    pin(&mut host, &new, 2);
    assert_eq!(host.code(&back), "rollback");
    assert_eq!(host.code(&new), "ok");
    assert_eq!(host.code(&new), "ok");
    assert_eq!(host.floors.len(), 6, "each root has its own");
}

#[test]
fn two_roots_that_pin_one_file_share_their_floors_until_one_is_pinned_anew() {
    let (back, new, mut host) = rotated();
    let mut second = host.clone();
    second.pins.id = "second".to_owned();
    assert_eq!(second.code(&new), "ok");
    let both = vec!["repository", "second"];
    assert!(owners(&second).iter().all(|(_, ids)| *ids == both));
    assert_eq!(second.floors.len(), 3);
    let before = second.floors.clone();
    host.floors.clone_from(&before);
    assert_eq!(host.code(&new), "ok");
    assert_eq!(host.floors, before, "neither takes them from the other");
    pin(&mut second, &new, 2);
    assert_eq!(second.code(&back), "rollback");
    assert_eq!(second.code(&new), "ok");
    assert_eq!(second.floors.len(), 6);
    host.floors = second.floors;
    host.restart();
    host.cache.clear();
    assert_eq!(host.code(&back), "rollback");
}

#[test]
fn floors_of_an_earlier_rootpin_bind_each_root_that_shares_a_root_key_and_none_takes_them_away() {
    let (old, new, mut host) = seen_two();
    for floor in &mut host.floors {
        floor.owner = None;
    }
    let earlier = host.floors.clone();
    host.restart();
    host.cache.clear();
    assert_eq!(host.clone().code(&old), "rollback");
    // Another root, which one of the keys signed, raises its own versions.
    let mut own = own_repository();
    own.root = vec![61, 1];
    own.publish_root(&[]);
    own.publish();
    own.publish();
    let mut other = Host::of(&own);
    other.pins.id = "own".to_owned();
    other.floors.clone_from(&host.floors);
    other.code(&own);
    assert!(earlier.iter().all(|floor| other.floors.contains(floor)));
    host.floors = other.floors;
    assert_eq!(host.clone().code(&old), "rollback");
    assert_eq!(host.code(&new), "ok");
    assert!(earlier.iter().all(|floor| host.floors.contains(floor)));
    let after = host.floors.clone();
    assert_eq!(host.code(&new), "ok");
    assert_eq!(host.floors, after);
}

#[test]
fn whoever_has_one_root_key_and_a_pinned_root_of_its_own_raises_no_floor_of_the_other_root() {
    let (old, new, mut host) = seen_two();
    let mut own = own_repository();
    // One of the victim's root keys signs its roots too.
    own.root = vec![61, 1];
    own.publish_root(&[]);
    own.versions.insert("timestamp".to_owned(), 1_000_000);
    for _ in 0..8 {
        own.publish_root(&[]);
    }
    own.publish();
    let mut other = of_own(&host, &own);
    assert_eq!(other.code(&own), "ok");
    host.floors = other.floors;
    for cached in [true, false] {
        host.restart();
        if !cached {
            host.cache.clear();
        }
        assert_eq!(host.clone().code(&new), "ok");
        assert_eq!(host.clone().code(&old), "rollback");
    }
}

#[test]
fn a_pinned_root_that_hands_over_to_another_s_keys_and_forks_raises_no_floor_of_the_other_root() {
    let (_, mut victim, mut host) = seen_two();
    victim.publish_root(&[]);
    victim.publish_root(&[]);
    victim.publish();
    assert_eq!(host.code(&victim), "ok");
    // Without a key of the victim's: the second root lists its root key, so its third one follows.
    let mut own = own_repository();
    own.root = vec![61, 1];
    own.publish_root(&[]);
    let second = sign(&signed(&own, "2.root.json"), &[61]);
    own.files.insert("2.root.json".to_owned(), second.clone());
    let mut handed = victim.clone();
    for version in [1, 2] {
        let name = format!("{version}.root.json");
        handed.files.insert(name.clone(), own.files[&name].clone());
    }
    let mut other = of_own(&host, &own);
    assert_eq!(other.code(&handed), "ok");
    // A host that lost its cache meets another third root.
    other.restart();
    other.cache.clear();
    for version in 3..9 {
        own.publish_root(&[]);
        let name = format!("{version}.root.json");
        let forked = sign(&signed(&own, &name), &[61]);
        own.files.insert(name, forked);
    }
    own.versions.insert("timestamp".to_owned(), 1_000_000);
    own.publish();
    assert_eq!(other.code(&own), "ok");
    host.floors = other.floors;
    host.restart();
    assert_eq!(host.clone().code(&victim), "ok");
    host.cache.clear();
    assert_eq!(host.code(&victim), "ok");
}

#[test]
fn a_delegate_that_signs_one_version_twice_for_two_pinned_files_takes_only_its_own_names_away() {
    let (gun, question) = ("r.example/team/app", Question::Tag("1".parse().unwrap()));
    let mut publisher = Publisher::new();
    let (pattern, name) = (["r.example/team/*"], format!("{gun}:1"));
    publisher.delegate("team", 21, &pattern, (&name, "one"), false);
    publisher.publish();
    publisher.publish_root(&[]);
    let version = |role: &str| json!({ "version": publisher.versions[role] });
    let (targets, team) = (version("targets"), version("team"));
    let file = format!("{}.team.json", team["version"]);
    publisher.publish_snapshot(&json!({ "targets.json": targets, "team.json": team }));
    let mut twin = publisher.clone();
    let mut other = signed(&twin, &file);
    other["targets"][&name] = target("other");
    twin.files.insert(file, sign(&other, &[21]));
    let mut first = Host::of(&publisher);
    let mut second = first.clone();
    second.pins.id = "second".to_owned();
    pin(&mut second, &publisher, 2);
    let of = |host: &mut Host, publisher: &Publisher| host.tag(publisher, gun, "1");
    let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
    assert_eq!(of(&mut first, &publisher), Some(one));
    assert_eq!(of(&mut second, &twin), Some(other));
    let floors = [first.floors.clone(), second.floors.clone()].concat();
    for (host, own, others, digest) in [
        (&mut first, &publisher, &twin, one),
        (&mut second, &twin, &publisher, other),
    ] {
        host.floors.clone_from(&floors);
        host.restart();
        host.cache.clear();
        assert_eq!(of(host, own), Some(digest));
        host.restart();
        host.cache.clear();
        assert_eq!(host.code(others), "ok", "all but the delegate's names");
        let refused = host.search(others, gun, &question).unwrap_err();
        assert_eq!(refused.code, Code::Rollback);
    }
}

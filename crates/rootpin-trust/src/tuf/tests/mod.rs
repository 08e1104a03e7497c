//! The workflow, from both sides.

mod advisories;
mod attacks;
mod earlier;
mod history;
mod host;
mod owners;
mod policy_floor;
mod previous;
pub(crate) mod publisher;
mod recall;
mod sigstore;
mod weaknesses;

use serde_json::json;

use super::{PinnedRoot, Question};
use crate::image::Digest;
use host::Host;
use publisher::{Publisher, key, role, sign, target};

fn digest(content: &str) -> Digest {
    Digest::of(content.as_bytes())
}

#[test]
fn a_tag_is_found_and_the_files_are_asked_for_in_the_order_of_the_specification() {
    let publisher = Publisher::new();
    let mut host = Host::of(&publisher);
    assert_eq!(
        host.tag(&publisher, "r.example/app", "1"),
        Some(digest("one"))
    );
    assert_eq!(
        host.asked,
        [
            "2.root.json",
            "timestamp.json",
            "1.snapshot.json",
            "1.targets.json"
        ]
    );
    assert_eq!(host.tag(&publisher, "r.example/app", "2"), None);
    assert_eq!(
        host.asked,
        ["2.root.json", "timestamp.json"],
        "nothing that still stands is asked for again"
    );
    host.restart();
    assert_eq!(
        host.tag(&publisher, "r.example/app", "1"),
        Some(digest("one"))
    );
    assert_eq!(
        host.asked,
        ["2.root.json", "timestamp.json"],
        "nor where it is in the cache"
    );
}

#[test]
fn files_without_versions_in_their_names_are_taken_where_the_root_says_so() {
    let mut publisher = Publisher::new();
    publisher.consistent = false;
    publisher.publish_root(&[]);
    publisher.publish();
    let mut host = Host::of(&publisher);
    assert_eq!(
        host.tag(&publisher, "r.example/app", "1"),
        Some(digest("one"))
    );
    assert_eq!(
        host.asked,
        [
            "2.root.json",
            "3.root.json",
            "timestamp.json",
            "snapshot.json",
            "targets.json"
        ]
    );
}

#[test]
fn a_host_that_slept_through_two_rotations_of_the_root_follows_them_and_starts_from_there_the_next_time()
 {
    let mut publisher = Publisher::new();
    let mut host = Host::of(&publisher);
    for next in [11, 12] {
        let old = std::mem::replace(&mut publisher.root, vec![next]);
        publisher.publish_root(&old);
    }
    publisher.publish();
    assert_eq!(host.code(&publisher), "ok");
    assert_eq!(
        host.asked[..3],
        ["2.root.json", "3.root.json", "4.root.json"]
    );
    host.restart();
    assert_eq!(host.code(&publisher), "ok");
    assert_eq!(host.asked[0], "4.root.json");
    // A cached root is a link of the chain or nothing: one that does not hold is asked of the
    // source.
    host.restart();
    let forged = host.cache["2.root.json"].clone();
    host.cache.insert("3.root.json".to_owned(), forged);
    assert_eq!(host.code(&publisher), "ok");
    assert_eq!(host.asked[..2], ["3.root.json", "4.root.json"]);
}

#[test]
fn a_root_that_the_old_keys_or_its_own_have_not_signed_is_refused() {
    for (new, signers) in [(vec![11], vec![11]), (vec![11], vec![1])] {
        let mut publisher = Publisher::new();
        let mut host = Host::of(&publisher);
        publisher.root.clone_from(&new);
        publisher.publish_root(&[1]);
        let mut root: serde_json::Value =
            serde_json::from_slice(&publisher.files["2.root.json"]).unwrap();
        root = root["signed"].take();
        publisher
            .files
            .insert("2.root.json".to_owned(), sign(&root, &signers));
        assert_eq!(host.code(&publisher), "bad-signature", "{signers:?}");
    }
}

#[test]
fn a_source_that_hides_the_newest_root_is_refused_by_a_host_that_lost_its_cache() {
    let mut publisher = Publisher::new();
    publisher.publish_root(&[]);
    publisher.publish();
    let mut host = Host::of(&publisher);
    assert_eq!(host.code(&publisher), "ok");
    publisher.files.remove("2.root.json");
    host.restart();
    host.cache.clear();
    assert_eq!(host.code(&publisher), "rollback");
}

#[test]
fn a_snapshot_of_the_listed_version_with_other_bytes_is_refused() {
    let mut publisher = Publisher::new();
    let listed = json!({ "snapshot.json": { "version": 1, "length": 10_000, "hashes": { "sha256": digest("other").hex() } } });
    let timestamp = json!({ "_type": "timestamp", "spec_version": "1.0.34", "version": 2, "expires": publisher::EXPIRES, "meta": listed });
    publisher
        .files
        .insert("timestamp.json".to_owned(), sign(&timestamp, &[2]));
    assert_eq!(Host::of(&publisher).code(&publisher), "malformed");
}

#[test]
fn delegated_roles_are_searched_in_their_order_and_a_terminating_one_ends_it() {
    for (terminating, wanted) in [(false, Some("second")), (true, None)] {
        let mut publisher = Publisher::new();
        publisher.delegate(
            "first",
            21,
            &["r.example/team/*"],
            ("r.example/team/app:1", "first"),
            terminating,
        );
        publisher.delegate(
            "second",
            22,
            &["r.example/team/*"],
            ("r.example/team/app:2", "second"),
            false,
        );
        publisher.publish();
        let mut host = Host::of(&publisher);
        assert_eq!(
            host.tag(&publisher, "r.example/team/app", "1"),
            Some(digest("first"))
        );
        assert!(
            !host.asked.contains(&"1.second.json".to_owned()),
            "no role that the question doesn't lead to"
        );
        assert_eq!(
            host.tag(&publisher, "r.example/team/app", "2"),
            wanted.map(digest)
        );
        assert_eq!(host.tag(&publisher, "r.example/other/app", "1"), None);
    }
}

#[test]
fn a_role_names_nothing_outside_its_paths() {
    let mut publisher = Publisher::new();
    publisher.delegate(
        "team",
        21,
        &["r.example/team/*"],
        ("r.example/prod/app:1", "stolen"),
        false,
    );
    publisher.publish();
    let mut host = Host::of(&publisher);
    assert_eq!(host.tag(&publisher, "r.example/prod/app", "1"), None);
    let found = host
        .search(
            &publisher,
            "r.example/prod/app",
            &Question::Digest(digest("stolen")),
        )
        .unwrap();
    assert!(found.collection.get().targets.is_empty());
}

#[test]
fn a_digest_is_found_by_any_of_its_tags_and_by_the_manifests_that_are_listed() {
    let mut publisher = Publisher::new();
    publisher.delegate(
        "team",
        21,
        &["r.example/team/app:*"],
        ("r.example/team/app:9", "nine"),
        false,
    );
    let child = digest("child");
    publisher.names.get_mut("r.example/app:1").unwrap()["custom"] =
        json!({ "rootpin": { "manifests": [child.to_string()] } });
    publisher.publish();
    let mut host = Host::of(&publisher);
    let mut tags = |gun: &str, digest| {
        let found = host
            .search(&publisher, gun, &Question::Digest(digest))
            .unwrap();
        found
            .collection
            .get()
            .targets
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(tags("r.example/team/app", digest("nine")), ["9"]);
    assert_eq!(tags("r.example/app", digest("one")), ["1"]);
    assert_eq!(tags("r.example/app", child), ["1"]);
    assert_eq!(tags("r.example/app", digest("nine")), [""; 0]);
}

#[test]
fn a_digest_is_found_among_the_tags_of_its_repository_wherever_these_stand_among_others() {
    let mut publisher = Publisher::new();
    for name in ["aaa:1", "app:2", "app2:1", "ap:3", "zzz:1"] {
        let path = format!("r.example/{name}");
        publisher.names.insert(path, target(name));
    }
    publisher.publish();
    let mut host = Host::of(&publisher);
    for (repository, tag, content) in [
        ("r.example/aaa", "1", "aaa:1"),
        ("r.example/ap", "3", "ap:3"),
        ("r.example/app", "1", "one"),
        ("r.example/app", "2", "app:2"),
        ("r.example/app2", "1", "app2:1"),
        ("r.example/zzz", "1", "zzz:1"),
    ] {
        let question = Question::Digest(digest(content));
        let found = host.search(&publisher, repository, &question).unwrap();
        let tags: Vec<_> = found.collection.get().targets.keys().collect();
        assert_eq!(tags, [tag], "{content}");
    }
}

#[test]
fn whether_any_tag_of_a_repository_is_signed_is_said_by_one_of_them() {
    let mut publisher = Publisher::new();
    publisher.delegate(
        "team",
        21,
        &["r.example/team/app:*"],
        ("r.example/team/app:9", "nine"),
        false,
    );
    publisher.publish();
    let mut host = Host::of(&publisher);
    let mut any = |gun: &str| {
        let found = host.search(&publisher, gun, &Question::Any).unwrap();
        let targets = &found.collection.get().targets;
        targets
            .iter()
            .next()
            .map(|(tag, target)| (tag.clone(), target.digest))
    };
    assert_eq!(
        any("r.example/team/app"),
        Some(("9".to_owned(), digest("nine")))
    );
    assert!(any("r.example/app").is_some());
    assert_eq!(any("r.example/team"), None);
    assert_eq!(any("r.example/ap"), None);
}

#[test]
fn a_tag_that_a_role_with_precedence_gives_another_digest_is_not_found_by_the_later_one_s() {
    let mut publisher = Publisher::new();
    publisher.delegate(
        "late",
        21,
        &["r.example/app:*"],
        ("r.example/app:1", "late"),
        false,
    );
    publisher.publish();
    let mut host = Host::of(&publisher);
    assert_eq!(
        host.tag(&publisher, "r.example/app", "1"),
        Some(digest("one"))
    );
    let found = host
        .search(
            &publisher,
            "r.example/app",
            &Question::Digest(digest("late")),
        )
        .unwrap();
    assert!(found.collection.get().targets.is_empty());
}

#[test]
fn the_bin_of_a_path_is_found_by_its_hash() {
    let mut publisher = Publisher::new();
    let path = "r.example/bin/app:1";
    let first = digest(path).hex();
    let bin = format!("bin-{}", &first[..1]);
    let mut bins = role(&[21], 1);
    bins["bit_length"] = 4.into();
    bins["name_prefix"] = "bin".into();
    publisher.delegations = Some(json!({ "keys": { "key-21": key(21) }, "succinct_roles": bins }));
    publisher.delegated.insert(
        bin.clone(),
        (
            [(path.to_owned(), target("in a bin"))].into(),
            None,
            vec![21],
        ),
    );
    publisher.publish();
    let mut host = Host::of(&publisher);
    assert_eq!(
        host.tag(&publisher, "r.example/bin/app", "1"),
        Some(digest("in a bin"))
    );
    assert_eq!(host.asked.last(), Some(&format!("1.{bin}.json")));
    let refusal = host
        .search(
            &publisher,
            "r.example/bin/app",
            &Question::Digest(digest("in a bin")),
        )
        .unwrap_err();
    assert_eq!(refusal.code.as_str(), "over-limit");
    assert!(
        refusal.hint.contains("ask for the image with its tag"),
        "{refusal:?}"
    );
}

#[test]
fn a_pinned_file_is_a_root_that_its_own_keys_signed() {
    let publisher = Publisher::new();
    let good = publisher.files["1.root.json"].clone();
    assert_eq!(PinnedRoot::read(good.clone()).unwrap().version(), 1);
    let text = String::from_utf8(good).unwrap();
    for (from, to) in [
        ("\"version\": 1", "\"version\": 2"),
        ("\"1.0.34\"", "\"2.0.0\""),
        ("\"_type\": \"root\"", "\"_type\": \"targets\""),
    ] {
        assert!(text.contains(from));
        PinnedRoot::read(text.replace(from, to).into_bytes()).unwrap_err();
    }
}

#[test]
fn a_sweep_goes_through_every_published_role_and_past_those_that_do_not_hold() {
    let mut publisher = Publisher::new();
    publisher.delegate(
        "team",
        21,
        &["r.example/team/*"],
        ("r.example/team/app:1", "one"),
        true,
    );
    publisher.delegate(
        "forged",
        22,
        &["r.example/prod/*"],
        ("r.example/prod/app:1", "two"),
        false,
    );
    publisher.delegate(
        "other",
        23,
        &["s.example/*"],
        ("s.example/app:1", "three"),
        false,
    );
    publisher.publish();
    publisher.delegate("unpublished", 24, &["*"], ("x:1", "four"), false);
    let listed = publisher.delegations.clone();
    publisher.delegated.remove("unpublished");
    publisher.delegated.get_mut("forged").unwrap().2 = vec![99];
    publisher.delegations = listed;
    publisher.publish();
    let mut host = Host::of(&publisher);
    let swept = host.sweep(&publisher, "").unwrap();
    assert_eq!(swept.failed.keys().collect::<Vec<_>>(), ["forged"]);
    let roles: Vec<_> = swept
        .trusted
        .versions()
        .into_keys()
        .filter(|role| !["root", "snapshot", "timestamp"].contains(&role.as_str()))
        .collect();
    assert_eq!(roles, ["other", "targets", "team"]);
    let mut host = Host::of(&publisher);
    let roles = host
        .sweep(&publisher, "s.example/")
        .unwrap()
        .trusted
        .versions();
    assert!(roles.contains_key("other") && !roles.contains_key("team"));
}

#[test]
fn a_sweep_counts_hash_bins_and_refuses_more_than_anybody_has() {
    for (bits, swept) in [(3, true), (20, false)] {
        let mut publisher = Publisher::new();
        let mut bins = role(&[21], 1);
        bins["bit_length"] = bits.into();
        bins["name_prefix"] = "bin".into();
        publisher.delegations =
            Some(json!({ "keys": { "key-21": key(21) }, "succinct_roles": bins }));
        for number in 0..8 {
            publisher
                .delegated
                .insert(format!("bin-{number}"), ([].into(), None, vec![21]));
        }
        publisher.publish();
        let mut host = Host::of(&publisher);
        let found = host.sweep(&publisher, "");
        assert_eq!(
            found
                .as_ref()
                .map(|swept| swept.trusted.versions().len())
                .ok(),
            swept.then_some(12)
        );
        assert!(swept || found.unwrap_err().code.as_str() == "over-limit");
    }
}

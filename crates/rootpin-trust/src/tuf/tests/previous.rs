//! What the last update of a process ended with, and what one leaves that failed.

use std::collections::BTreeSet;

use super::host::Host;
use super::publisher::Publisher;
use crate::tuf::Update;
use crate::{Code, FetchFrom, Refusal, Verification as _};

#[test]
fn a_second_look_of_a_process_asks_for_the_next_root_and_the_timestamp_alone() {
    let publisher = Publisher::new();
    let mut host = Host::of(&publisher);
    assert_eq!(host.code(&publisher), "ok");
    host.cache.clear();
    assert_eq!(host.code(&publisher), "ok");
    assert_eq!(host.asked, ["2.root.json", "timestamp.json"]);
}

#[test]
fn a_key_that_is_revoked_between_two_looks_counts_no_more_for_what_it_signed_before() {
    let publisher = Publisher::new();
    let mut first = Host::of(&publisher);
    assert_eq!(first.code(&publisher), "ok");
    for key in first.pins.root.keys() {
        let (mut kept, mut anew) = (first.clone(), Host::of(&publisher));
        kept.pins.revoked = BTreeSet::from([*key]);
        anew.pins.revoked.clone_from(&kept.pins.revoked);
        assert_eq!(anew.code(&publisher), "revoked", "{key}");
        assert_eq!(kept.code(&publisher), "revoked", "{key}");
    }
}

#[test]
fn what_another_pinned_root_verified_is_verified_anew() {
    let publisher = Publisher::new();
    let mut host = Host::of(&publisher);
    assert_eq!(host.code(&publisher), "ok");
    let mut other = Publisher::new();
    (other.root, other.timestamp) = (vec![11], vec![12]);
    (other.snapshot, other.targets) = (vec![13], vec![14]);
    other.versions.clear();
    other.publish_root(&[]);
    other.publish();
    let trusted = host.trusted.take();
    host = Host::of(&other);
    host.trusted = trusted;
    assert_eq!(host.code(&other), "ok");
    assert!(
        host.asked.iter().any(|name| name.ends_with("targets.json")),
        "{:?}",
        host.asked
    );
}

#[test]
fn what_an_update_fetched_before_its_source_broke_off_is_left_though_nobody_asked_for_its_floors() {
    let mut publisher = Publisher::new();
    publisher.publish_root(&[]);
    let host = Host::of(&publisher);
    let mut update = Update::start(&host.pins, Vec::new(), None, host.now());
    let result = update.run(|want| {
        let name = want.request.file_name();
        if name == "3.root.json" {
            return Err(Refusal::new(
                Code::SourceUnreachable,
                "nothing",
                "an answer",
                "",
            ));
        }
        let is_source = matches!(want.from, FetchFrom::Source);
        let file = publisher.files.get(&name);
        Ok(file.filter(|_| is_source).cloned().into())
    });
    assert_eq!(result.unwrap_err().code.as_str(), "source-unreachable");
    let files = update.files();
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["2.root.json"]);
}

#[test]
fn a_timestamp_of_the_version_that_was_seen_with_other_content_changes_nothing_for_the_process_that_saw_it()
 {
    let mut publisher = Publisher::new();
    let mut host = Host::of(&publisher);
    assert_eq!(host.code(&publisher), "ok");
    host.cache.clear();
    publisher.versions.insert("timestamp".to_owned(), 0);
    let later = "2030-03-01T00:00:00Z".to_owned();
    publisher.expires.insert("timestamp".to_owned(), later);
    publisher.publish_timestamp();
    let seen = host.floors.clone();
    assert_eq!(host.code(&publisher), "ok");
    assert_eq!(host.floors, seen);
}

//! A source whose files no key here signed: whether it has another history of roots is looked at once.

use super::host::Host;
use super::publisher::Publisher;

const OTHER: &str = "another history of roots";

/// One that signs by other keys, with one root.
fn other_publisher() -> Publisher {
    let mut other = Publisher::new();
    (other.root, other.timestamp) = (vec![11], vec![12]);
    (other.snapshot, other.targets) = (vec![13], vec![14]);
    other.versions.clear();
    other.publish_root(&[]);
    other.publish();
    other
}

/// What a refusal found, and what the source was asked for.
fn refused(host: &mut Host, publisher: &Publisher) -> (String, Vec<String>) {
    let refusal = host.update(publisher).unwrap_err();
    assert_eq!(refusal.code.as_str(), "bad-signature");
    (refusal.found, host.asked.clone())
}

#[test]
fn a_source_with_another_first_root_is_said_to_have_another_history() {
    let mut host = Host::of(&Publisher::new());
    let (found, asked) = refused(&mut host, &other_publisher());
    assert!(found.contains(OTHER), "{found}");
    assert_eq!(asked, ["2.root.json", "timestamp.json", "1.root.json"]);
}

#[test]
fn a_history_that_was_begun_anew_and_is_shorter_is_compared_by_the_pinned_root() {
    let mut publisher = Publisher::new();
    publisher.publish_root(&[]);
    publisher.publish();
    let mut host = Host::of(&publisher);
    assert_eq!(host.code(&publisher), "ok");
    let (found, asked) = refused(&mut host, &other_publisher());
    assert!(found.contains(OTHER), "{found}");
    assert_eq!(
        asked,
        [
            "3.root.json",
            "timestamp.json",
            "2.root.json",
            "1.root.json"
        ]
    );
}

#[test]
fn the_same_root_or_none_at_the_source_is_no_other_history_and_is_asked_for_once() {
    let publisher = Publisher::new();
    let mut forged = publisher.clone();
    forged.timestamp = vec![12];
    forged.publish_timestamp();
    for without_root in [false, true] {
        if without_root {
            forged.files.remove("1.root.json");
        }
        let mut host = Host::of(&publisher);
        let (found, asked) = refused(&mut host, &forged);
        assert!(!found.contains(OTHER), "{found}");
        assert_eq!(asked, ["2.root.json", "timestamp.json", "1.root.json"]);
    }
}

//! Time: the clock while a question waits, and how long the cache serves.

use std::collections::BTreeMap;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rootpin_policy::Policy;
use rootpin_trust::Code;

use super::due::later;
use super::look::{clock, offline_limit, offline_of};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn policy(of_root: &str) -> Policy {
    let key = "0".repeat(64);
    let text = format!(
        "version = 1\ndefault = \"deny\"\n[[root]]\nid = \"acme\"\ntype = \"notary\"\nserver = \"https://n.example\"\n\
         keys = [\"{key}\"]\nrole = \"targets\"\n{of_root}\n[[rule]]\nmatch = \"r.example/**\"\nroots = [\"acme\"]\n"
    );
    let files = BTreeMap::from([("policy.toml".to_owned(), text.into_bytes())]);
    rootpin_policy::load(&files, at("2030-01-01T00:00:00Z")).unwrap()
}

#[test]
fn the_clock_goes_on_while_a_question_waits() {
    let begun = at("2030-01-01T00:00:00Z");
    assert!(clock(begun, Duration::from_secs(3)) >= at("2030-01-01T00:00:03Z"));
    assert!(clock(begun, Duration::from_millis(1)) < at("2030-01-01T00:00:01Z"));
}

#[test]
fn cached_metadata_grows_older_than_max_age_while_nobody_answers() {
    for (of_root, hours) in [
        ("", 14 * 24),
        ("max-age = \"72h\"", 72),
        ("max-age = \"90d\"", 14 * 24),
    ] {
        let policy = policy(of_root);
        let root = policy.roots.get("acme").unwrap();
        let offline = offline_of(&policy, root);
        assert_eq!(offline, SignedDuration::from_hours(hours), "{of_root}");
        let contact = at("2030-01-01T00:00:00Z");
        let limit = later(contact, offline);
        let limited =
            |now| offline_limit(offline, "https://n.example", Some(contact), "silence", now);
        assert_eq!(
            limited(later(limit, SignedDuration::from_secs(-1))),
            Ok((contact, limit))
        );
        assert_eq!(limited(limit).unwrap_err().code, Code::SourceUnreachable);
    }
}

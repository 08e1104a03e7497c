//! The oldest versions that a policy takes.

use std::collections::BTreeMap;

use super::host::Host;
use super::publisher::Publisher;

#[test]
fn the_oldest_version_that_the_policy_takes_is_taken_and_an_older_one_refused() {
    let publisher = Publisher::new();
    for role in ["root", "timestamp", "snapshot", "targets"] {
        let mut host = Host::of(&publisher);
        host.pins.floor = BTreeMap::from([(role.to_owned(), 1)]);
        assert_eq!(host.code(&publisher), "ok", "{role}");
        host.pins.floor = BTreeMap::from([(role.to_owned(), 2)]);
        host.restart();
        let refusal = host.update(&publisher).unwrap_err();
        assert_eq!(refusal.code.as_str(), "rollback", "{role}");
        // A root that is too old is the policy's own; another role's file may be newer elsewhere.
        assert_eq!(refusal.source_behind, role != "root", "{role}");
    }
}

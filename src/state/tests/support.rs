//! The parts that the tests of the state share.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::state::{Additions, Committed, Row, RowKind, StateError, Store};
use rootpin_trust::image::Digest;
use rootpin_trust::{Floor, KeyId, Progress, Subject, Verified};

pub(super) const SERVER: &str = "https://notary.example";

/// Minutes of a day.
pub(super) const DAY: u32 = 24 * 60;

/// So many minutes after the time at which the tests begin.
pub(super) fn at(minute: u32) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + i64::from(minute) * 60).unwrap()
}

pub(super) fn gun(name: &str) -> Subject {
    Subject::parse(&format!("registry.example/{name}")).unwrap()
}

pub(super) fn key(number: u8) -> KeyId {
    KeyId::from_bytes([number; 32])
}

pub(in crate::state) fn keys(numbers: &[u8]) -> BTreeSet<KeyId> {
    numbers.iter().copied().map(key).collect()
}

pub(in crate::state) fn floor(
    role: &str,
    root_keys: &[u8],
    version: u64,
    own_keys: &[u8],
) -> Floor {
    let signed = Digest::of(format!("{role} {version} {own_keys:?}").as_bytes());
    Floor {
        role: role.to_owned(),
        root_keys: keys(root_keys).into(),
        version,
        signed,
        keys: keys(own_keys),
        threshold: 1,
        listed: BTreeMap::new(),
        since: None,
        owner: None,
    }
}

/// Whether a floor was seen under one of these root keys.
pub(super) fn under(root_keys: &[u8]) -> impl Fn(&Floor) -> bool {
    let root_keys = keys(root_keys);
    move |floor| !floor.root_keys.is_disjoint(&root_keys)
}

/// A verification of `name` that ends with root 1 and all other roles at this version.
pub(super) fn verified(name: &str, version: u64) -> Verified<Progress> {
    let floors = vec![
        floor("root", &[1], 1, &[1]),
        floor("timestamp", &[1], version, &[2]),
        floor("snapshot", &[1], version, &[3]),
        floor("targets", &[1], version, &[4]),
        floor("targets/releases", &[1], version, &[5]),
    ];
    with_floors(name, floors, &format!("{name} {version}"))
}

pub(super) fn with_floors(name: &str, floors: Vec<Floor>, statement: &str) -> Verified<Progress> {
    Verified::for_test(Progress {
        subject: gun(name),
        floors,
        fallen: Vec::new(),
        statements: vec![Digest::of(statement.as_bytes())],
        signers: keys(&[4, 5]),
    })
}

pub(super) fn row(name: &str, until: u32) -> Row {
    Row {
        name: format!("registry.example/{name}").parse().unwrap(),
        top: Digest::of(name.as_bytes()),
        kind: RowKind::Top,
        policy: Digest::of(b"policy"),
        valid_until: at(until),
        rule: "policy.toml:7".to_owned(),
    }
}

/// Commits one verification, with nothing else.
pub(super) fn see(
    store: &Store,
    now: u32,
    progress: &Verified<Progress>,
) -> Result<Committed, StateError> {
    let subject = &progress.get().subject;
    store.commit(&Additions {
        now: at(now),
        verified: vec![progress],
        contacts: vec![(SERVER, subject, at(now))],
        rows: Vec::new(),
    })
}

/// The recorded version of a role of a repository.
pub(super) fn version(store: &Store, name: &str, role: &str) -> Option<u64> {
    store
        .history(&gun(name))
        .unwrap()
        .iter()
        .find(|floor| floor.role == role)
        .map(|floor| floor.version)
}

//! Whether the hosts of a fleet were shown one view of signed metadata: whoever holds an online key,
//! or a mirror, may show different hosts different things.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::fleet::{Drift, DriftCode, KeptReport};

/// The highest version of a role that a host has seen of one repository.
#[derive(Debug)]
pub(super) struct HeldView {
    pub(super) repository: Arc<str>,
    pub(super) role: Arc<str>,
    pub(super) version: u64,
    /// The digest of the signed bytes.
    pub(super) signed: Arc<str>,
    pub(super) root_keys: Vec<Arc<str>>,
    /// The role's own keys.
    pub(super) keys: Vec<Arc<str>>,
    /// When the host first saw that version, for TUF timestamps.
    pub(super) since: Option<Timestamp>,
    /// The host's last good contact with the source.
    pub(super) contact: Option<Timestamp>,
    pub(super) max_age: Option<SignedDuration>,
}

impl HeldView {
    fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        let keys = |root_key| self.keys.iter().map(move |key| (root_key, key));
        let pairs = self.root_keys.iter().flat_map(keys);
        pairs.map(|(root_key, key)| (&**root_key, &**key, &*self.repository))
    }
}

/// A root without `max-age`: the policy's default for `offline`.
const MAX_AGE: SignedDuration = SignedDuration::from_hours(14 * 24);

/// A host may be a day behind the others.
const BEHIND: SignedDuration = SignedDuration::from_hours(24);

/// A root key, a key of the role, and the repository: files that share these are of one history.
type Group<'a> = (&'a str, &'a str, &'a str);
/// One version of a role.
type Version<'a> = (Group<'a>, &'a str, u64);

type Differences = BTreeMap<Arc<str>, Vec<Drift>>;

/// What differs on each host.
pub(super) fn differences(hosts: &BTreeMap<Arc<str>, KeptReport>) -> Differences {
    let mut found = Differences::new();
    split(hosts, &mut found);
    held_back(hosts, &mut found);
    for drift in found.values_mut() {
        // Repositories share several keys.
        drift.sort_by(|one, other| (one.code, &one.detail).cmp(&(other.code, &other.detail)));
        drift.dedup_by(|one, other| (one.code, &one.detail) == (other.code, &other.detail));
    }
    found
}

fn all(
    hosts: &BTreeMap<Arc<str>, KeptReport>,
) -> impl Iterator<Item = (&Arc<str>, &HeldView)> + Clone {
    hosts
        .iter()
        .flat_map(|(host, seen)| seen.views.iter().map(move |view| (host, view)))
}

/// The same version of the same role with other signed bytes. Files whose roles have no key in
/// common, as after a rotation, are not the same.
fn split(hosts: &BTreeMap<Arc<str>, KeptReport>, found: &mut Differences) {
    let mut groups: BTreeMap<Version<'_>, BTreeMap<&str, BTreeSet<&Arc<str>>>> = BTreeMap::new();
    for (host, view) in all(hosts) {
        for group in view.groups() {
            let group = (group, &*view.role, view.version);
            let known = groups.entry(group).or_default();
            known.entry(&view.signed).or_default().insert(host);
        }
    }
    for (((_, _, repository), role, version), by_bytes) in groups {
        let most = by_bytes
            .values()
            .map(BTreeSet::len)
            .max()
            .unwrap_or_default();
        let is_most = |hosts: &BTreeSet<_>| hosts.len() == most;
        let has_majority = by_bytes.values().filter(|hosts| is_most(hosts)).count() == 1;
        if by_bytes.len() < 2 {
            continue;
        }
        let total: usize = by_bytes.values().map(BTreeSet::len).sum();
        for (signed, hosts) in &by_bytes {
            // Those whom most agree with are not the ones to look at.
            if has_majority && is_most(hosts) {
                continue;
            }
            for host in hosts {
                let others = total - hosts.len();
                let detail = format!(
                    "{role} of {repository}, version {version}, is {signed}; {others} other hosts have other bytes of that version"
                );
                let code = DriftCode::SplitView.as_str();
                let drift = found.entry(Arc::clone(host)).or_default();
                drift.push(Drift { code, detail });
            }
        }
    }
}

/// A host that had contact with its source, and still has a timestamp that it saw more than a
/// `max-age` before, although another host had a newer one a day before that contact. When a Notary
/// timestamp was first seen is not kept: then the newer one must be a `max-age` older.
fn held_back(hosts: &BTreeMap<Arc<str>, KeptReport>, found: &mut Differences) {
    let timestamps = || all(hosts).filter(|(_, view)| &*view.role == "timestamp");
    // Each version and when a host had it at the latest. A new key of the role counts anew.
    let mut seen: BTreeMap<Group<'_>, BTreeMap<u64, Timestamp>> = BTreeMap::new();
    for (_, view) in timestamps() {
        let Some(at) = view.since.or(view.contact) else {
            continue;
        };
        for group in view.groups() {
            let versions = seen.entry(group).or_default();
            let first = versions.entry(view.version).or_insert(at);
            *first = at.min(*first);
        }
    }
    for (host, view) in timestamps() {
        let max_age = view.max_age.unwrap_or(MAX_AGE);
        let Some(contact) = view.contact else {
            continue;
        };
        let allowed = match view.since {
            Some(since) if contact.duration_since(since) <= max_age => continue,
            Some(_) => BEHIND,
            None => max_age.checked_add(BEHIND).unwrap_or(SignedDuration::MAX),
        };
        let Ok(limit) = contact.checked_sub(allowed) else {
            continue;
        };
        for group in view.groups() {
            let versions = seen.get(&group);
            let mut newer = versions.into_iter().flat_map(|versions| {
                let newer = (
                    std::ops::Bound::Excluded(view.version),
                    std::ops::Bound::Unbounded,
                );
                versions.range(newer)
            });
            let Some((version, at)) = newer.find(|(_, at)| **at <= limit) else {
                continue;
            };
            let detail = format!(
                "timestamp of {} at version {}, although another host had version {version} at {at}",
                view.repository, view.version
            );
            let code = DriftCode::HeldBack.as_str();
            let drift = found.entry(Arc::clone(host)).or_default();
            drift.push(Drift { code, detail });
        }
    }
}

//! Whether the hosts of a fleet were shown one view of signed metadata: whoever holds an online key,
//! or a mirror, may show different hosts different things.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::drift::{Drift, DriftCode};
use super::kept_report::{HeldView, KeptReport};
use crate::plain_text::counted;

/// A root without `max-age`: the policy's default for `offline`.
const MAX_AGE: SignedDuration = SignedDuration::from_hours(14 * 24);

/// A place of TUF metadata may be a mirror that is a day behind the others.
const BEHIND: SignedDuration = SignedDuration::from_hours(24);

/// A timestamp is renewed each hour or less often, so a year has fewer versions.
const FAR: u64 = 10_000;

/// The clocks of two hosts differ by less, and a cache before a source keeps a timestamp for less:
/// Notary's server allows five minutes.
const LATE: SignedDuration = SignedDuration::from_mins(15);

/// A root key, a key of the role, and the repository: files that share these are of one history.
type Group<'a> = (&'a str, &'a str, &'a str);
/// One version of a role.
type Version<'a> = (Group<'a>, &'a str, u64);

/// The histories that a view is part of.
fn histories(view: &HeldView) -> impl Iterator<Item = Group<'_>> {
    let keys = |root_key| view.keys.iter().map(move |key| (root_key, key));
    let pairs = view.root_keys.iter().flat_map(keys);
    pairs.flat_map(|(root_key, key)| {
        let places = view.places.iter();
        places.map(move |place| (&**root_key, &**key, &**place))
    })
}

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
    type Seen<'a> = BTreeMap<&'a str, BTreeMap<&'a Arc<str>, &'a HeldView>>;
    let mut groups: BTreeMap<Version<'_>, Seen<'_>> = BTreeMap::new();
    for (host, view) in all(hosts) {
        for group in histories(view) {
            let group = (group, &*view.role, view.version);
            let known = groups.entry(group).or_default();
            known.entry(&view.signed).or_default().insert(host, view);
        }
    }
    for ((_, role, version), by_bytes) in groups {
        let most = by_bytes.values().map(BTreeMap::len).max();
        let is_most = |hosts: &BTreeMap<_, _>| Some(hosts.len()) == most;
        let has_majority = by_bytes.values().filter(|hosts| is_most(hosts)).count() == 1;
        if by_bytes.len() < 2 {
            continue;
        }
        let all: BTreeSet<&&Arc<str>> = by_bytes.values().flat_map(BTreeMap::keys).collect();
        for (signed, hosts) in &by_bytes {
            // Those whom most agree with are not the ones to look at.
            if has_majority && is_most(hosts) {
                continue;
            }
            for (host, view) in hosts {
                // A host that has both is no other one.
                let others = all.len() - hosts.len();
                let detail = format!(
                    "{role} of {}, version {version}, is {signed}; other bytes of that version are on {}",
                    view.repository,
                    counted(others, "other host")
                );
                let code = DriftCode::SplitView.as_str();
                let drift = found.entry(Arc::clone(host)).or_default();
                drift.push(Drift { code, detail });
            }
        }
    }
}

/// What hosts know of one version of a timestamp.
#[derive(Debug, Clone, Copy)]
struct KnownVersion {
    /// When a host had it at the latest.
    at: Timestamp,
    /// When it ends, by its publisher.
    expires: Option<Timestamp>,
}

/// The newest version that any host has, and the newest that another host has.
#[derive(Debug, Default)]
struct Newest<'a> {
    first: Option<(u64, &'a Arc<str>)>,
    second: u64,
}

impl<'a> Newest<'a> {
    fn add(&mut self, host: &'a Arc<str>, version: u64) {
        match self.first {
            Some((first, known)) if version > first => {
                if known != host {
                    self.second = first;
                }
                self.first = Some((version, host));
            }
            Some((_, known)) if known != host => self.second = self.second.max(version),
            Some(_) => {}
            None => self.first = Some((version, host)),
        }
    }

    /// The only host that has a newer version than that.
    fn alone(&self, view: &HeldView) -> Option<&'a Arc<str>> {
        let (_, host) = self.first.filter(|_| self.second <= view.version)?;
        Some(host)
    }
}

/// A host that had contact with its source, and still has an older timestamp than another host had
/// at that time.
fn held_back(hosts: &BTreeMap<Arc<str>, KeptReport>, found: &mut Differences) {
    let timestamps = || all(hosts).filter(|(_, view)| &*view.role == "timestamp");
    // A new key of the role counts anew.
    let mut seen: BTreeMap<Group<'_>, BTreeMap<u64, KnownVersion>> = BTreeMap::new();
    let far_ahead = far_ahead(timestamps(), found);
    let is_odd = |host, group| far_ahead.contains(&(host, group));
    let mut newest: BTreeMap<Group<'_>, Newest<'_>> = BTreeMap::new();
    for (host, view) in timestamps() {
        for group in histories(view).filter(|group| !is_odd(host, *group)) {
            newest.entry(group).or_default().add(host, view.version);
        }
    }
    for (host, view) in timestamps() {
        let Some(at) = view.since.or(view.contact) else {
            continue;
        };
        let expires = view.expires;
        for group in histories(view).filter(|group| !is_odd(host, *group)) {
            let versions = seen.entry(group).or_default();
            let known = versions.entry(view.version);
            let known = known.or_insert(KnownVersion { at, expires });
            known.at = at.min(known.at);
            known.expires = known.expires.or(expires);
        }
    }
    for (host, view) in timestamps() {
        let Some(contact) = view.contact else {
            continue;
        };
        for group in histories(view) {
            let versions = seen.get(&group);
            let mut newer = versions.into_iter().flat_map(|versions| {
                let newer = (
                    std::ops::Bound::Excluded(view.version),
                    std::ops::Bound::Unbounded,
                );
                versions.range(newer)
            });
            let tells = |(version, known): &(&u64, &KnownVersion)| {
                is_held_back(view, contact, **version, **known)
            };
            let Some((version, KnownVersion { at, .. })) = newer.find(tells) else {
                continue;
            };
            let mut detail = format!(
                "timestamp of {} at version {}, although another host had version {version} at {at:.0}",
                view.repository, view.version
            );
            if let Some(alone) = newest.get(&group).and_then(|newest| newest.alone(view)) {
                let _ = write!(
                    detail,
                    "; no other host than {alone} had a newer one: this host is held back, or {alone} reports what nobody else was shown"
                );
            }
            let code = DriftCode::HeldBack.as_str();
            let drift = found.entry(Arc::clone(host)).or_default();
            drift.push(Drift { code, detail });
        }
    }
}

/// The hosts each of which alone claims a version far beyond all others of the same history. By such
/// a claim one host could have all others called held back.
fn far_ahead<'a>(
    timestamps: impl Iterator<Item = (&'a Arc<str>, &'a HeldView)>,
    found: &mut Differences,
) -> BTreeSet<(&'a Arc<str>, Group<'a>)> {
    let mut claims: BTreeMap<Group<'_>, BTreeMap<&Arc<str>, &HeldView>> = BTreeMap::new();
    for (host, view) in timestamps {
        for group in histories(view) {
            let hosts = claims.entry(group).or_default();
            let known = hosts.entry(host).or_insert(view);
            if view.version > known.version {
                *known = view;
            }
        }
    }
    let mut odd = BTreeSet::new();
    for (group, hosts) in claims {
        let mut versions: Vec<u64> = hosts.values().map(|view| view.version).collect();
        versions.sort_unstable_by(|one, other| other.cmp(one));
        let [first, second, ..] = versions.as_slice() else {
            continue;
        };
        if first.saturating_sub(*second) <= FAR {
            continue;
        }
        for (host, view) in hosts.into_iter().filter(|(_, view)| view.version == *first) {
            let detail = format!(
                "timestamp of {} at version {first}; no other host has one beyond {second}",
                view.repository
            );
            let code = DriftCode::FarAhead.as_str();
            let drift = found.entry(Arc::clone(host)).or_default();
            drift.push(Drift { code, detail });
            odd.insert((host, group));
        }
    }
    odd
}

/// Whether a host was kept from a newer version that another host had. Reports say only since when a
/// host has its newest, so that of a publisher who renews often none had it for long; hence a
/// timestamp that is older than its `max-age` at the time of contact needs little besides. Whoever
/// shows a host one old timestamp after the other can keep each young, but not its publisher's
/// expiry.
fn is_held_back(view: &HeldView, contact: Timestamp, version: u64, newer: KnownVersion) -> bool {
    let had_before = contact.duration_since(newer.at);
    let Some(since) = view.since else {
        // A Notary repository has one server, which shows no older timestamp than before.
        return had_before >= LATE;
    };
    let max_age = view.max_age.unwrap_or(MAX_AGE);
    // Of two newer versions the first was there before, also where clocks differ a little.
    let is_far_behind = version.saturating_sub(view.version) > 1;
    // Of one newer version the publisher may just give its timestamps another validity.
    let ends = view.expires.zip(newer.expires).filter(|_| is_far_behind);
    let is_old = contact.duration_since(since) > max_age
        || ends.is_some_and(|(own, newer)| newer.duration_since(own) > max_age);
    had_before > BEHIND
        || (is_old && had_before >= LATE)
        || (is_old && is_far_behind && had_before >= -LATE)
}

//! Summarizes a fleet's reports: the majority, or what a policy demands, and each host that
//! differs from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::drift::{Drift, DriftCode, differs};
use super::host::second;
use super::kept_report::{Counts, HostImage, KeptReport, is_ahead};
use super::merge::{Expected, Merge, Unreadable};
use super::views;

/// A fleet.
#[derive(Debug, Clone, Serialize)]
pub struct Fleet {
    /// Of this form: 1.
    pub version: u64,
    /// When it was put together.
    pub at: String,
    /// `clean`, `drift` or `unknown`: exit code 0, 1, 2.
    pub outcome: &'static str,
    /// How many reports there were; those that a later one of the same host replaced among them.
    pub reports: usize,
    /// How many were replaced.
    pub superseded: usize,
    /// What hosts are held to.
    pub expected: Majority,
    /// How many hosts have each policy, by its hash.
    pub policies: BTreeMap<Arc<str>, usize>,
    /// Every root key that some host knows.
    pub keys: Vec<FleetKey>,
    /// Every host, those that differ with how.
    pub hosts: Vec<FleetHost>,
    /// Reports that could not be read.
    pub unreadable: Vec<Unreadable>,
    /// Why images are refused, by code, for the page.
    #[serde(skip)]
    pub refusals: BTreeMap<&'static str, RefusalCause>,
    /// Which hosts have which image, for the page.
    #[serde(skip)]
    pub images: Vec<FleetImage>,
    /// How many images more there are.
    #[serde(skip)]
    pub images_left_off: usize,
}

/// The images that hosts refuse by one code.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RefusalCause {
    /// How many names of images on hosts.
    pub images: usize,
    /// The places of these hosts in the fleet.
    pub hosts: Vec<usize>,
}

/// An image, and the hosts that have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetImage {
    /// Its name.
    pub name: Arc<str>,
    /// Its digest.
    pub digest: Option<Arc<str>>,
    /// `allowed`, `refused` or `unjudged`.
    pub outcome: &'static str,
    /// The hosts.
    pub hosts: Vec<Arc<str>>,
}

/// What hosts are held to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Majority {
    /// `majority`, or `policy` where one was given.
    pub of: &'static str,
    /// The policy's hash; none where no host has one, or no policy is the most frequent.
    pub policy: Option<Arc<str>>,
    /// The hashes of policies that equally many hosts have, and no policy is more frequent.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub tied: BTreeSet<Arc<str>>,
    /// The pinned keys.
    pub keys: BTreeSet<Arc<str>>,
}

/// A root key in a fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FleetKey {
    /// Its canonical ID.
    pub id: Arc<str>,
    /// Its fingerprint, where some host knows it.
    pub fingerprint: Option<Arc<str>>,
    /// Whether hosts are to pin it.
    pub expected: bool,
    /// The ids of the roots that pin it.
    pub roots: BTreeSet<Arc<str>>,
    /// How many hosts pin it.
    pub pinned_by: usize,
    /// How many hosts trust it without.
    pub unpinned_on: usize,
    /// The repositories for which they do.
    pub unpinned_for: BTreeSet<Arc<str>>,
}

/// A host of a fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FleetHost {
    /// Its name.
    pub host: Arc<str>,
    /// When its report was made.
    pub at: String,
    /// What its own audit came to.
    pub outcome: &'static str,
    /// Its policy's hash.
    pub policy: Option<Arc<str>>,
    /// Its policy's mode.
    pub mode: Option<Arc<str>>,
    /// How much there is of what.
    pub counts: Counts,
    /// Its pinned keys.
    pub pins: BTreeSet<Arc<str>>,
    /// How it differs.
    pub drift: Vec<Drift>,
}

impl Merge {
    /// Compares what was taken in.
    #[must_use]
    pub fn fleet(
        self,
        expected: Option<&Expected>,
        older_than: Option<SignedDuration>,
        now: Timestamp,
    ) -> Fleet {
        let majority = expected.map_or_else(|| majority(&self), demanded);
        let newest = versions(&self);
        let limit = older_than.and_then(|age| now.checked_sub(age).ok());
        let floors = expected.map(floors).unwrap_or_default();
        let mut views = views::differences(&self.hosts);
        let hosts = self.hosts.iter().map(|(name, seen)| {
            let mut drift = drift(seen, &majority, &newest, &floors);
            drift.extend(views.remove(name).into_iter().flatten());
            let own = Some(seen.at).filter(|at| is_ahead(*at, now));
            let ahead = own.max(seen.ahead);
            drift.extend(ahead.map(|at| {
                let other = if own.is_none() {
                    ": that report does not count"
                } else {
                    ""
                };
                let (at, now) = (second(at), second(now));
                differs(DriftCode::ClockAhead, format!("{at} is after {now}{other}"))
            }));
            let at = second(seen.at).to_string();
            let is_silent = limit.is_some_and(|limit| seen.at < limit);
            drift.extend(
                is_silent.then(|| differs(DriftCode::Silent, format!("no report since {at}"))),
            );
            FleetHost {
                host: Arc::clone(name),
                at,
                outcome: seen.outcome,
                policy: seen.policy.as_ref().map(|(hash, _)| Arc::clone(hash)),
                mode: seen.policy.as_ref().map(|(_, mode)| Arc::clone(mode)),
                counts: seen.counts,
                pins: seen.pins.keys().cloned().collect(),
                drift,
            }
        });
        let hosts: Vec<FleetHost> = hosts.collect();
        let mut policies = BTreeMap::new();
        for (hash, _) in self.hosts.values().filter_map(|seen| seen.policy.as_ref()) {
            *policies.entry(Arc::clone(hash)).or_default() += 1;
        }
        let drifts = hosts.iter().any(|host| !host.drift.is_empty());
        let unknown = !self.unreadable.is_empty() || hosts.is_empty();
        Fleet {
            version: 1,
            at: second(now).to_string(),
            outcome: if unknown {
                "unknown"
            } else if drifts {
                "drift"
            } else {
                "clean"
            },
            reports: self.reports,
            superseded: self.superseded,
            policies,
            keys: keys(&self, &majority),
            hosts,
            expected: majority,
            refusals: refusals(&self),
            images: images(&self),
            images_left_off: self.images_left_off,
            unreadable: self.unreadable,
        }
    }
}

fn refusals(merge: &Merge) -> BTreeMap<&'static str, RefusalCause> {
    let mut all = BTreeMap::<&'static str, RefusalCause>::new();
    for (place, seen) in merge.hosts.values().enumerate() {
        for (code, count) in &seen.refusals {
            let cause = all.entry(code).or_default();
            cause.images += count;
            cause.hosts.push(place);
        }
    }
    all
}

/// Every image once, by name, with the hosts that have it so.
fn images(merge: &Merge) -> Vec<FleetImage> {
    let mut all: BTreeMap<&HostImage, Vec<Arc<str>>> = BTreeMap::new();
    for (host, seen) in &merge.hosts {
        for image in &seen.images {
            let of = all.entry(image).or_default();
            if of.last() != Some(host) {
                of.push(Arc::clone(host));
            }
        }
    }
    let image = |(image, hosts): (&HostImage, Vec<Arc<str>>)| FleetImage {
        name: Arc::clone(&image.name),
        digest: image.digest.clone(),
        outcome: image.outcome,
        hosts,
    };
    all.into_iter().map(image).collect()
}

impl Fleet {
    /// 0 clean, 1 drift, 2 could not tell: some report is missing from the comparison.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.outcome {
            "clean" => 0,
            "drift" => 1,
            _ => 2,
        }
    }

    /// The hosts that differ.
    pub fn differing(&self) -> impl Iterator<Item = &FleetHost> {
        self.hosts.iter().filter(|host| !host.drift.is_empty())
    }
}

impl Majority {
    /// The policy for people; where none is the most frequent, those that are equally so.
    #[must_use]
    pub fn shown_policy(&self) -> String {
        match &self.policy {
            Some(policy) => policy.to_string(),
            None if self.tied.is_empty() => "none".to_owned(),
            None => format!("none, equally many hosts have {}", joined(&self.tied)),
        }
    }
}

/// What most hosts have: of policies the most frequent, of keys each that more than half of them
/// pin.
fn majority(merge: &Merge) -> Majority {
    let (mut policies, mut keys) = (
        BTreeMap::<&Arc<str>, usize>::new(),
        BTreeMap::<&Arc<str>, usize>::new(),
    );
    for seen in merge.hosts.values() {
        if let Some((hash, _)) = &seen.policy {
            *policies.entry(hash).or_default() += 1;
        }
        for key in seen.pins.keys() {
            *keys.entry(key).or_default() += 1;
        }
    }
    let most = policies.values().max();
    let mut tied: BTreeSet<Arc<str>> = policies
        .iter()
        .filter(|(_, count)| Some(*count) == most)
        .map(|(hash, _)| Arc::clone(hash))
        .collect();
    // Of two that are as frequent none is the one to hold hosts to.
    let policy = if tied.len() == 1 {
        tied.pop_first()
    } else {
        None
    };
    let with_policy = merge
        .hosts
        .values()
        .filter(|seen| seen.policy.is_some())
        .count();
    let keys = keys
        .into_iter()
        .filter(|(_, count)| count * 2 > with_policy)
        .map(|(key, _)| Arc::clone(key))
        .collect();
    Majority {
        of: "majority",
        policy,
        tied,
        keys,
    }
}

fn demanded(expected: &Expected) -> Majority {
    let keys = expected
        .roots
        .iter()
        .flat_map(|root| &root.keys)
        .map(|key| key.id.as_str().into())
        .collect();
    Majority {
        of: "policy",
        policy: Some(expected.policy.as_str().into()),
        tied: BTreeSet::new(),
        keys,
    }
}

type Versions = BTreeMap<(Arc<str>, Arc<str>), u64>;

/// For each root and repository the version that at least half of the hosts that hold one have
/// reached.
fn versions(merge: &Merge) -> Versions {
    let mut all: BTreeMap<(Arc<str>, Arc<str>), Vec<u64>> = BTreeMap::new();
    for held in merge.hosts.values().flat_map(|seen| &seen.held) {
        all.entry((Arc::clone(&held.root), Arc::clone(&held.repository)))
            .or_default()
            .push(held.version);
    }
    let reached = all.into_iter().filter_map(|(of, mut versions)| {
        versions.sort_unstable();
        Some((of, *versions.get(versions.len() / 2)?))
    });
    reached.collect()
}

/// The version of the file that a policy pins, by the root's id.
fn floors(expected: &Expected) -> BTreeMap<Arc<str>, u64> {
    expected
        .roots
        .iter()
        .filter_map(|root| Some((root.id.as_str().into(), root.pinned.as_ref()?.version)))
        .collect()
}

fn drift(
    seen: &KeptReport,
    majority: &Majority,
    newest: &Versions,
    floors: &BTreeMap<Arc<str>, u64>,
) -> Vec<Drift> {
    let mut drift = Vec::new();
    match (&seen.policy, &majority.policy) {
        (Some((hash, _)), Some(wanted)) if hash != wanted => {
            drift.push(differs(DriftCode::PolicyDiffers, format!("policy {hash}")));
        }
        (Some((hash, _)), None) => {
            let mut others = majority.tied.clone();
            let detail = if others.remove(hash) {
                format!("policy {hash}; as many hosts have {}", joined(&others))
            } else {
                format!("policy {hash}; more hosts have {}", joined(&others))
            };
            drift.push(differs(DriftCode::PolicyDiffers, detail));
        }
        (None, policy) if policy.is_some() || !majority.tied.is_empty() => drift.push(differs(
            DriftCode::PolicyDiffers,
            "no policy in force, or none that could be asked".to_owned(),
        )),
        _ => {}
    }
    // A host whose policy is not known has no pins to compare.
    if seen.policy.is_some() {
        let missing = majority
            .keys
            .iter()
            .filter(|key| !seen.pins.contains_key(*key));
        drift.extend(missing.map(|key| differs(DriftCode::PinMissing, format!("root key {key}"))));
        let extra = seen
            .pins
            .iter()
            .filter(|(key, _)| !majority.keys.contains(*key));
        drift.extend(extra.map(|(key, roots)| {
            differs(
                DriftCode::PinExtra,
                format!("root key {key} of root {}", joined(roots)),
            )
        }));
    }
    for held in &seen.held {
        let reached = newest
            .get(&(Arc::clone(&held.root), Arc::clone(&held.repository)))
            .copied()
            .unwrap_or_default();
        let wanted = reached.max(floors.get(&held.root).copied().unwrap_or_default());
        if held.version < wanted {
            drift.push(differs(
                DriftCode::Behind,
                format!(
                    "root {}: {} at version {}, others at {wanted}",
                    held.root, held.repository, held.version
                ),
            ));
        }
    }
    let trusted = seen.unpinned.iter().map(|(key, repositories)| {
        differs(
            DriftCode::TrustsUnpinned,
            format!("root key {key} for {}", joined(repositories)),
        )
    });
    drift.extend(trusted);
    drift
}

fn keys(merge: &Merge, majority: &Majority) -> Vec<FleetKey> {
    let mut keys: BTreeMap<Arc<str>, FleetKey> = BTreeMap::new();
    let key = |id: &Arc<str>| FleetKey {
        id: Arc::clone(id),
        fingerprint: merge.fingerprints.get(id).cloned(),
        expected: majority.keys.contains(id),
        roots: BTreeSet::new(),
        pinned_by: 0,
        unpinned_on: 0,
        unpinned_for: BTreeSet::new(),
    };
    for id in &majority.keys {
        keys.insert(Arc::clone(id), key(id));
    }
    for seen in merge.hosts.values() {
        for (id, roots) in &seen.pins {
            let known = keys.entry(Arc::clone(id)).or_insert_with(|| key(id));
            known.pinned_by += 1;
            known.roots.extend(roots.iter().cloned());
        }
        for (id, repositories) in &seen.unpinned {
            let known = keys.entry(Arc::clone(id)).or_insert_with(|| key(id));
            known.unpinned_on += 1;
            known.unpinned_for.extend(repositories.iter().cloned());
        }
    }
    keys.into_values().collect()
}

/// A few of them, and how many there are besides.
fn joined(names: &BTreeSet<Arc<str>>) -> String {
    let first: Vec<&str> = names.iter().take(4).map(|name| &**name).collect();
    let more = names.len().saturating_sub(first.len());
    if more == 0 {
        first.join(", ")
    } else {
        format!("{} and {more} more", first.join(", "))
    }
}

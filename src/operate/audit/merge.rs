//! Reports of many hosts, read one after the other: each is capped, and of each is kept only what a
//! fleet is compared by.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::fleet::{Counts, HeldRoot, HostImage, KeptReport};
use super::reading::Reports;
use super::views::HeldView;
use crate::decide::survey::PinnedRoot;
use crate::observe::plain;

/// Takes in reports.
#[derive(Debug, Default)]
pub struct Merge {
    /// By host; of two reports of one host the later one.
    pub(super) hosts: BTreeMap<Arc<str>, KeptReport>,
    pub(super) reports: usize,
    pub(super) superseded: usize,
    pub(super) unreadable: Vec<Unreadable>,
    pub(super) fingerprints: BTreeMap<Arc<str>, Arc<str>>,
    texts: HashSet<Arc<str>>,
    /// How many images of hosts are kept, and how many are not.
    images: usize,
    pub(super) images_left_off: usize,
}

/// A report that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unreadable {
    /// Where it came from.
    pub origin: String,
    /// Why.
    pub why: String,
}

/// What a policy demands of every host.
#[derive(Debug, Clone)]
pub struct Expected {
    /// Its hash.
    pub policy: String,
    /// Its roots.
    pub roots: Vec<PinnedRoot>,
}

/// Reports at once.
const MAX_REPORTS: usize = 100_000;
/// So many bad reports are listed.
const MAX_UNREADABLE: usize = 1000;
/// So many images of hosts are kept, for the page that says which host has which: 5,000 hosts of 200.
const MAX_IMAGES: usize = 1_000_000;
/// What one report may say of each kind.
const MAX_ITEMS: usize = 50_000;

/// As much of a report as a fleet is compared by. Whatever else stands in it is passed over.
#[derive(Debug, Deserialize)]
struct Slim<'a> {
    version: u64,
    #[serde(borrow)]
    host: Cow<'a, str>,
    #[serde(borrow)]
    at: Cow<'a, str>,
    #[serde(borrow)]
    outcome: Cow<'a, str>,
    policy: Option<SlimPolicy>,
    roots: Vec<SlimRoot>,
    images: Vec<SlimImage>,
    root_keys: Vec<SlimKey>,
    findings: Vec<SlimFinding>,
    untold: Vec<serde::de::IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct SlimPolicy {
    hash: String,
    mode: String,
}

#[derive(Debug, Deserialize)]
struct SlimRoot {
    id: String,
    keys: Vec<SlimPin>,
    held: Vec<SlimHeld>,
    #[serde(default)]
    max_age: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct SlimPin {
    id: String,
    fingerprint: Option<String>,
}

#[derive(Debug, Deserialize)]
struct SlimHeld {
    repository: String,
    versions: BTreeMap<String, u64>,
    #[serde(default)]
    contact: Option<String>,
    #[serde(default)]
    floors: Vec<SlimFloor>,
}

#[derive(Debug, Deserialize)]
struct SlimFloor {
    role: String,
    version: u64,
    signed: String,
    since: Option<String>,
    root_keys: Vec<String>,
    #[serde(default)]
    keys: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct SlimImage {
    #[serde(default)]
    name: String,
    #[serde(default)]
    digest: Option<String>,
    judgement: Option<SlimJudgement>,
}

#[derive(Debug, Deserialize)]
struct SlimJudgement {
    outcome: MergeOutcome,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum MergeOutcome {
    Allowed,
    Refused,
    Unjudged,
}

impl MergeOutcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Refused => "refused",
            Self::Unjudged => "unjudged",
        }
    }
}

#[derive(Debug, Deserialize)]
struct SlimKey {
    id: String,
    fingerprint: Option<String>,
    pinned_by: Vec<serde::de::IgnoredAny>,
    repositories: Vec<SlimUse>,
}

#[derive(Debug, Deserialize)]
struct SlimUse {
    repository: String,
}

#[derive(Debug, Deserialize)]
struct SlimFinding {
    severity: super::FindingSeverity,
}

impl SlimHeld {
    /// So much has to be kept of it: each pair of keys is compared.
    fn items(&self) -> usize {
        let pairs = self.floors.iter();
        let pairs = pairs.map(|floor| floor.root_keys.len().max(1) * floor.keys.len().max(1));
        pairs.sum()
    }
}

impl Merge {
    fn keep(&mut self, host: Arc<str>, seen: KeptReport) {
        if let Some(known) = self.hosts.get(&host) {
            self.superseded += 1;
            if known.at >= seen.at {
                return;
            }
        }
        self.hosts.insert(host, seen);
    }

    fn seen(&mut self, slim: &Slim<'_>) -> Result<(Arc<str>, KeptReport), String> {
        if slim.version != 1 {
            return Err(format!(
                "a report of version {}: this rootpin reads version 1",
                slim.version
            ));
        }
        if slim.host.is_empty() || slim.host.chars().count() > 255 {
            return Err(
                "a host without a name, or with one of more than 255 characters".to_owned(),
            );
        }
        let at: Timestamp = slim
            .at
            .parse()
            .map_err(|_| format!("{:?} is not a time", plain(&slim.at)))?;
        let outcome = match &*slim.outcome {
            "clean" => "clean",
            "findings" => "findings",
            "unknown" => "unknown",
            other => return Err(format!("{:?} is not an outcome", plain(other))),
        };
        let items = [
            slim.roots.len(),
            slim.root_keys.len(),
            slim.roots
                .iter()
                .map(|root| {
                    let floors = root.held.iter().map(SlimHeld::items);
                    root.keys.len() + root.held.len() + floors.sum::<usize>()
                })
                .sum(),
        ];
        if items.into_iter().max() > Some(MAX_ITEMS) {
            return Err(format!("more than {MAX_ITEMS} roots, keys or repositories"));
        }
        let mut counts = Counts {
            images: slim.images.len(),
            untold: slim.untold.len(),
            ..Counts::default()
        };
        for image in &slim.images {
            match image.judgement.as_ref().map(|judgement| judgement.outcome) {
                Some(MergeOutcome::Allowed) => counts.allowed += 1,
                Some(MergeOutcome::Refused) => counts.refused += 1,
                Some(MergeOutcome::Unjudged) | None => counts.unjudged += 1,
            }
        }
        let images = self.images_of(slim);
        for finding in &slim.findings {
            match finding.severity {
                super::FindingSeverity::Error => counts.errors += 1,
                super::FindingSeverity::Warning => counts.warnings += 1,
                super::FindingSeverity::Info => {}
            }
        }
        let policy = slim
            .policy
            .as_ref()
            .map(|policy| (self.text(&policy.hash), self.text(&policy.mode)));
        let (mut pins, mut held) = (BTreeMap::<Arc<str>, BTreeSet<Arc<str>>>::new(), Vec::new());
        let mut views = Vec::new();
        for root in &slim.roots {
            let id = self.text(&root.id);
            for key in &root.keys {
                let pin = self.key(&key.id, key.fingerprint.as_deref());
                pins.entry(pin).or_default().insert(Arc::clone(&id));
            }
            for one in &root.held {
                self.views(root.max_age, one, &mut views);
                if let Some(version) = one.versions.get("root") {
                    held.push(HeldRoot {
                        root: Arc::clone(&id),
                        repository: self.text(&one.repository),
                        version: *version,
                    });
                }
            }
        }
        let mut unpinned = BTreeMap::new();
        for key in slim
            .root_keys
            .iter()
            .filter(|key| key.pinned_by.is_empty() && !key.repositories.is_empty())
        {
            let id = self.key(&key.id, key.fingerprint.as_deref());
            let of = key
                .repositories
                .iter()
                .map(|seen| self.text(&seen.repository))
                .collect();
            unpinned.insert(id, of);
        }
        Ok((
            self.text(&slim.host),
            KeptReport {
                at,
                outcome,
                policy,
                pins,
                held,
                views,
                unpinned,
                counts,
                images,
            },
        ))
    }

    fn images_of(&mut self, slim: &Slim<'_>) -> Vec<HostImage> {
        let room = MAX_IMAGES.saturating_sub(self.images);
        let taken = slim.images.len().min(room);
        self.images += taken;
        self.images_left_off += slim.images.len() - taken;
        let mut images = Vec::with_capacity(taken);
        for image in slim.images.iter().take(taken) {
            let judgement = image.judgement.as_ref();
            images.push(HostImage {
                name: self.text(&image.name),
                digest: image.digest.as_deref().map(|digest| self.text(digest)),
                outcome: judgement.map_or("unjudged", |judgement| judgement.outcome.as_str()),
            });
        }
        images
    }

    fn views(&mut self, max_age: Option<u64>, held: &SlimHeld, views: &mut Vec<HeldView>) {
        let time = |text: &Option<String>| text.as_ref().and_then(|text| text.parse().ok());
        let max_age = max_age.and_then(|seconds| i64::try_from(seconds).ok());
        for floor in &held.floors {
            let view = HeldView {
                repository: self.text(&held.repository),
                role: self.text(&floor.role),
                version: floor.version,
                signed: self.text(&floor.signed),
                root_keys: floor.root_keys.iter().map(|key| self.text(key)).collect(),
                keys: floor.keys.iter().map(|key| self.text(key)).collect(),
                since: time(&floor.since),
                contact: time(&held.contact),
                max_age: max_age.map(SignedDuration::from_secs),
            };
            views.push(view);
        }
    }

    fn key(&mut self, id: &str, fingerprint: Option<&str>) -> Arc<str> {
        let id = self.text(id);
        if let Some(fingerprint) = fingerprint {
            let fingerprint = self.text(fingerprint);
            self.fingerprints
                .entry(Arc::clone(&id))
                .or_insert(fingerprint);
        }
        id
    }

    /// Hosts of one fleet say the same things: each is kept once.
    fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        let kept: Arc<str> = plain(text).into();
        self.texts.insert(Arc::clone(&kept));
        kept
    }
}

impl Reports for Merge {
    fn report(&mut self, origin: &str, bytes: &[u8]) {
        if self.reports >= MAX_REPORTS {
            if self.reports == MAX_REPORTS {
                self.unreadable(origin, &format!("more than {MAX_REPORTS} reports"));
            }
            self.reports += 1;
            return;
        }
        self.reports += 1;
        match serde_json::from_slice::<Slim<'_>>(bytes) {
            Ok(slim) => match self.seen(&slim) {
                Ok((host, seen)) => self.keep(host, seen),
                Err(why) => self.unreadable(origin, &why),
            },
            Err(error) => self.unreadable(
                origin,
                &format!("not a report of `rootpin audit --json`: {error}"),
            ),
        }
    }

    fn unreadable(&mut self, origin: &str, why: &str) {
        // A hostile stream of bad lines is as bad as a thousand of them.
        let why = match self.unreadable.len() {
            0..MAX_UNREADABLE => plain(why),
            MAX_UNREADABLE => format!(
                "more than {MAX_UNREADABLE} reports could not be read: this one and all after it are not listed"
            ),
            _ => return,
        };
        self.unreadable.push(Unreadable {
            origin: origin.to_owned(),
            why,
        });
    }
}

//! Reports of many hosts, read one after the other: each is capped, and of each is kept only what a
//! fleet is compared by.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::extract::{HeldExtract, MAX_ITEMS, ReportExtract, RootExtract};
use super::kept_report::{HeldRoot, HeldView, HostImage, KeptReport, is_ahead};
use super::reading::Reports;
use crate::decide::survey::PinnedRoot;
use crate::observe::plain;

/// Takes in reports.
#[derive(Debug, Default)]
pub struct Merge {
    /// By host; of two reports of one host the later one, in whatever order they came.
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

impl Merge {
    /// Whatever a report of the future says, it stands in no other one's place: whoever writes such
    /// a report could hide all that the host says from now on.
    fn keep(&mut self, host: Arc<str>, seen: KeptReport) {
        let now = Timestamp::now();
        if let Some(known) = self.hosts.get_mut(&host) {
            self.superseded += 1;
            let ahead = [&*known, &seen]
                .into_iter()
                .filter(|one| is_ahead(one.at, now));
            let ahead = ahead.map(|one| one.at).chain(known.ahead).max();
            let is_present = |one: &KeptReport| !is_ahead(one.at, now);
            // Of two of one time, the one that found more: none of them is known to be the later.
            if (is_present(&*known), &*known) < (is_present(&seen), &seen) {
                *known = seen;
            }
            known.ahead = ahead;
            return;
        }
        self.hosts.insert(host, seen);
    }

    fn seen(&mut self, report: &ReportExtract<'_>) -> Result<(Arc<str>, KeptReport), String> {
        if report.version != 1 {
            return Err(format!(
                "a report of version {}: this rootpin reads version 1",
                report.version
            ));
        }
        if report.host.is_empty() || report.host.chars().count() > 255 {
            return Err(
                "a host without a name, or with one of more than 255 characters".to_owned(),
            );
        }
        let at: Timestamp = report
            .at
            .parse()
            .map_err(|_| format!("{:?} is not a time", plain(&report.at)))?;
        let outcome = match &*report.outcome {
            "clean" => "clean",
            "findings" => "findings",
            "unknown" => "unknown",
            other => return Err(format!("{:?} is not an outcome", plain(other))),
        };
        if report.items() > MAX_ITEMS {
            return Err(format!("more than {MAX_ITEMS} roots, keys or repositories"));
        }
        let counts = report.counts();
        let images = self.images_of(report);
        let policy = report
            .policy
            .as_ref()
            .map(|policy| (self.text(&policy.hash), self.text(&policy.mode)));
        let (mut pins, mut held) = (BTreeMap::<Arc<str>, BTreeSet<Arc<str>>>::new(), Vec::new());
        let mut views = Vec::new();
        for root in &report.roots {
            let id = self.text(&root.id);
            for key in &root.keys {
                let pin = self.key(&key.id, key.fingerprint.as_deref());
                pins.entry(pin).or_default().insert(Arc::clone(&id));
            }
            for one in &root.held {
                self.views(root, one, &mut views);
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
        for key in report
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
            self.text(&report.host),
            KeptReport {
                at,
                outcome,
                policy,
                pins,
                held,
                views,
                unpinned,
                counts,
                refusals: report.refusals(),
                images,
                ahead: None,
            },
        ))
    }

    fn images_of(&mut self, report: &ReportExtract<'_>) -> Vec<HostImage> {
        let room = MAX_IMAGES.saturating_sub(self.images);
        let taken = report.images.len().min(room);
        self.images += taken;
        self.images_left_off += report.images.len() - taken;
        let mut images = Vec::with_capacity(taken);
        for image in report.images.iter().take(taken) {
            let judgement = image.judgement.as_ref();
            images.push(HostImage {
                name: self.text(&image.name),
                digest: image.digest.as_deref().map(|digest| self.text(digest)),
                outcome: judgement.map_or("unjudged", |judgement| judgement.outcome.as_str()),
            });
        }
        images
    }

    fn views(&mut self, root: &RootExtract, held: &HeldExtract, views: &mut Vec<HeldView>) {
        let time = |text: &Option<String>| text.as_ref().and_then(|text| text.parse().ok());
        let max_age = root.max_age.and_then(|age| i64::try_from(age).ok());
        // A host calls the repository of each root of TUF "tuf"; a name of Notary has a path.
        let of_tuf = !held.repository.contains('/');
        let name = match root.sources.first() {
            Some(source) if of_tuf => format!("root {} at {source}", root.id),
            None if of_tuf => format!("root {}", root.id),
            _ => held.repository.clone(),
        };
        let repository = self.text(&name);
        let addresses = root.sources.iter().filter(|_| of_tuf);
        let mut places: Vec<Arc<str>> = addresses
            .map(|source| self.text(source.trim_end_matches('/')))
            .collect();
        // Mirrors that no two hosts share are mirrors of one repository all the same.
        let pinned = root.pinned.as_ref().filter(|_| of_tuf);
        places.extend(pinned.map(|file| self.text(&format!("the root file {}", file.sha256))));
        if places.is_empty() {
            places.push(Arc::clone(&repository));
        }
        for floor in &held.floors {
            let view = HeldView {
                repository: Arc::clone(&repository),
                places: places.clone(),
                role: self.text(&floor.role),
                version: floor.version,
                signed: self.text(&floor.signed),
                root_keys: floor.history_keys().map(|key| self.text(key)).collect(),
                keys: floor.keys.iter().map(|key| self.text(key)).collect(),
                since: time(&floor.since),
                contact: time(&held.contact),
                expires: time(&held.timestamp_expires).filter(|_| floor.role == "timestamp"),
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
        match serde_json::from_slice::<ReportExtract<'_>>(bytes) {
            Ok(report) => match self.seen(&report) {
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

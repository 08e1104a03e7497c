//! The images and signers of a fleet, from what its hosts report, as far as lint asks about them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::{SignedDuration, Timestamp};
use rootpin_trust::image::{Digest, ImageRef};

use super::fleet::{self, FleetItem, FromHost, LatestReports};
use super::left_out::LeftOut;
use super::pulled::{Pulled, pulled};
use super::reported::{KeyText, Report, ReportedImage, Word};
use crate::operate::audit::Reports;

/// Names and digests are kept up to here; a fleet that has more is no inventory to lint by.
const MAX_IMAGES: usize = 1_000_000;

/// An image; without a digest where its host knows none of a registry.
type FleetImage = (ImageRef, Option<Digest>);

/// What the hosts of a fleet say.
#[derive(Debug)]
pub struct Inventory {
    /// No report is later.
    now: Timestamp,
    numbers: HashMap<FleetImage, usize>,
    /// Numbers of the images of each host, by its latest reports.
    latest: LatestReports<Vec<usize>>,
    /// Numbers of the images that lines of audit files are about.
    asked: BTreeSet<usize>,
    /// By root ID and signer's key the repositories that it signed for.
    pub(super) signed: BTreeMap<(String, String), BTreeSet<String>>,
    /// By root ID the longest time that metadata was still valid for when it was reported.
    pub(super) validity: BTreeMap<String, SignedDuration>,
    /// By root ID when the newest root file that some host holds expires.
    pub(super) root_expires: BTreeMap<String, Timestamp>,
    /// Reports and images that could not be read.
    pub left_out: LeftOut,
}

impl Inventory {
    /// Nothing yet, at this time.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self {
            now,
            numbers: HashMap::new(),
            latest: LatestReports::default(),
            asked: BTreeSet::new(),
            signed: BTreeMap::new(),
            validity: BTreeMap::new(),
            root_expires: BTreeMap::new(),
            left_out: LeftOut::default(),
        }
    }
}

impl Reports for Inventory {
    fn report(&mut self, origin: &str, bytes: &[u8]) {
        let FromHost { host, at, item } = match fleet::read(bytes, self.now) {
            Ok(read) => read,
            Err(why) => return self.unreadable(origin, &why),
        };
        match item {
            FleetItem::Report(report) => {
                let counts = self.latest.counts(&host, at);
                let images = self.of_report(origin, report, at);
                if counts {
                    self.latest.keep(host, at, images);
                }
            }
            FleetItem::Record(record) => {
                if let Some(name) = &record.name {
                    let number = self.image(origin, name, record.digest.as_deref(), true);
                    self.asked.extend(number);
                }
            }
            FleetItem::Event => {}
        }
    }

    fn unreadable(&mut self, origin: &str, why: &str) {
        self.left_out.add(origin, why);
    }
}

impl Inventory {
    /// Every image that some host has, or was asked about.
    pub(super) fn images(&self) -> Vec<&FleetImage> {
        let of_hosts = self.latest.all().flat_map(|(_, images)| images);
        let present: BTreeSet<usize> = of_hosts.chain(&self.asked).copied().collect();
        let numbers = self.numbers.iter();
        let present = numbers.filter(|(_, number)| present.contains(number));
        present.map(|(image, _)| image).collect()
    }

    /// The numbers of its images. What it says of roots is so, whatever the host has now.
    fn of_report(&mut self, origin: &str, report: Report<'_>, at: Timestamp) -> Vec<usize> {
        for root in report.roots {
            let expires = root.held.iter();
            let expires = expires.filter_map(|held| held.root_expires.as_ref());
            let newest = expires
                .filter_map(|text| text.parse::<Timestamp>().ok())
                .max();
            if let Some(newest) = newest {
                let known = self.root_expires.entry(root.id).or_insert(newest);
                *known = newest.max(*known);
            }
        }
        let mut numbers = Vec::new();
        for image in report.images {
            let ReportedImage {
                name,
                digest,
                judgement,
            } = image;
            let is_judged = judgement.is_some();
            numbers.extend(self.image(origin, &name, digest.as_deref(), is_judged));
            for word in judgement.into_iter().flat_map(|judged| judged.roots) {
                self.word(word, at);
            }
        }
        numbers
    }

    fn image(
        &mut self,
        origin: &str,
        name: &str,
        digest: Option<&str>,
        is_judged: bool,
    ) -> Option<usize> {
        let image = match (pulled(name, digest, is_judged), digest) {
            (Pulled::Image(name, digest), _) => (name, Some(digest)),
            (Pulled::Nothing, None) => (name.parse().ok()?, None),
            (Pulled::Nothing, Some(_)) => return None,
            (Pulled::Unread(why), _) => {
                self.unreadable(origin, &why);
                return None;
            }
        };
        if let Some(known) = self.numbers.get(&image) {
            return Some(*known);
        }
        if self.numbers.len() >= MAX_IMAGES {
            let why = format!(
                "{}, one image more than the {MAX_IMAGES} that are kept",
                image.0
            );
            self.unreadable(origin, &why);
            return None;
        }
        let number = self.numbers.len();
        self.numbers.insert(image, number);
        Some(number)
    }

    fn word(&mut self, word: Word<'_>, at: Timestamp) {
        let expires = word.expires.and_then(|text| text.parse::<Timestamp>().ok());
        if let Some(expires) = expires {
            let left = expires.duration_since(at);
            let longest = self.validity.entry(word.root.to_string()).or_insert(left);
            *longest = left.max(*longest);
        }
        let known = |KeyText(key): KeyText| key;
        for signer in word.signers.into_iter().filter_map(known) {
            let key = (word.root.to_string(), signer.to_string());
            let of = self.signed.entry(key).or_default();
            of.extend(word.repository.as_ref().map(|of| of.to_string()));
        }
    }
}

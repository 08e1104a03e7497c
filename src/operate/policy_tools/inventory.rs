//! The images and signers of a fleet, from its audit reports, as far as lint asks about them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use rootpin_trust::image::{Digest, ImageRef};
use serde::Deserialize;

use super::left_out::LeftOut;
use super::reported::{Pulled, pulled};
use crate::operate::audit::Reports;

/// Names and digests are kept up to here; a fleet that has more is no inventory to lint by.
const MAX_IMAGES: usize = 1_000_000;

/// What the reports of a fleet say.
#[derive(Debug, Default)]
pub struct Inventory {
    /// Every image.
    pub(super) images: BTreeSet<(ImageRef, Digest)>,
    /// By root ID and signer's key the repositories that it signed for.
    pub(super) signed: BTreeMap<(String, String), BTreeSet<String>>,
    /// By root ID the longest time that metadata was still valid for when it was reported.
    pub(super) validity: BTreeMap<String, SignedDuration>,
    /// By root ID when the newest root file that some host holds expires.
    pub(super) root_expires: BTreeMap<String, Timestamp>,
    /// Reports and images that could not be read.
    pub left_out: LeftOut,
}

#[derive(Deserialize)]
struct Report {
    version: u64,
    at: String,
    roots: Vec<Root>,
    images: Vec<Image>,
}

#[derive(Deserialize)]
struct Root {
    id: String,
    held: Vec<Held>,
}

#[derive(Deserialize)]
struct Held {
    root_expires: Option<String>,
}

#[derive(Deserialize)]
struct Image {
    name: String,
    digest: Option<String>,
    judgement: Option<Judgement>,
}

#[derive(Deserialize)]
struct Judgement {
    roots: Vec<Word>,
}

#[derive(Deserialize)]
struct Word {
    root: String,
    repository: Option<String>,
    #[serde(default)]
    signers: Vec<String>,
    expires: Option<String>,
}

impl Reports for Inventory {
    fn report(&mut self, origin: &str, bytes: &[u8]) {
        let report = match serde_json::from_slice::<Report>(bytes) {
            Ok(report) if report.version == 1 => report,
            Ok(_) => return self.unreadable(origin, "a report of another version"),
            Err(error) => return self.unreadable(origin, &error.to_string()),
        };
        let Ok(at) = report.at.parse::<Timestamp>() else {
            return self.unreadable(origin, "its time is none");
        };
        for root in &report.roots {
            let expires = root
                .held
                .iter()
                .filter_map(|held| held.root_expires.as_ref());
            let newest = expires
                .filter_map(|text| text.parse::<Timestamp>().ok())
                .max();
            if let Some(newest) = newest {
                let known = self.root_expires.entry(root.id.clone()).or_insert(newest);
                *known = newest.max(*known);
            }
        }
        for image in report.images {
            match pulled(
                &image.name,
                image.digest.as_deref(),
                image.judgement.is_some(),
            ) {
                Pulled::Image(name, digest) if self.images.len() < MAX_IMAGES => {
                    self.images.insert((name, digest));
                }
                Pulled::Image(name, _) => {
                    let why = format!("{name}, one image more than the {MAX_IMAGES} that are kept");
                    self.unreadable(origin, &why);
                }
                Pulled::Unread(why) => self.unreadable(origin, &why),
                Pulled::Nothing => {}
            }
            for word in image.judgement.into_iter().flat_map(|judged| judged.roots) {
                self.word(word, at);
            }
        }
    }

    fn unreadable(&mut self, origin: &str, why: &str) {
        self.left_out.add(origin, why);
    }
}

impl Inventory {
    fn word(&mut self, word: Word, at: Timestamp) {
        let expires = word.expires.and_then(|text| text.parse::<Timestamp>().ok());
        if let Some(expires) = expires {
            let left = expires.duration_since(at);
            let longest = self.validity.entry(word.root.clone()).or_insert(left);
            *longest = left.max(*longest);
        }
        for signer in word.signers {
            let of = self.signed.entry((word.root.clone(), signer)).or_default();
            of.extend(word.repository.clone());
        }
    }
}

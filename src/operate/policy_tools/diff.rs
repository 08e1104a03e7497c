//! `rootpin policy diff`: the entries in which two policies differ, and the names whose answer
//! changes.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rootpin_policy::Policy;
use rootpin_trust::image::ImageRef;

use super::left_out::LeftOut;
use super::reported::{Judged, Report, Seen};
use super::suppose::{Answer, Proposed, suppose};
use crate::operate::audit::Reports;

/// The entries that only the old policy has, and those that only the new one has.
#[must_use]
pub fn differing_entries(old: &Policy, new: &Policy) -> (Vec<String>, Vec<String>) {
    let (before, after) = (old.listing(), new.listing());
    let only = |these: &BTreeSet<String>, those: &BTreeSet<String>| {
        these.difference(those).cloned().collect()
    };
    (only(&before, &after), only(&after, &before))
}

/// Compares what two policies would answer about the images of reports, on the same evidence.
#[derive(Debug)]
pub struct Comparison<'a> {
    old: Proposed<'a>,
    new: Proposed<'a>,
    now: Timestamp,
    /// By name with digest: both answers, where they differ on some host.
    pub changed: BTreeMap<ImageRef, (String, String)>,
    /// What could not be read.
    pub left_out: LeftOut,
}

impl<'a> Comparison<'a> {
    /// Of these two, at this time.
    #[must_use]
    pub fn of(old: &'a Policy, new: &'a Policy, now: Timestamp) -> Self {
        Self {
            old: Proposed::of(old),
            new: Proposed::of(new),
            now,
            changed: BTreeMap::new(),
            left_out: LeftOut::default(),
        }
    }
}

fn shown(answer: &Answer) -> String {
    let through = answer.let_through && answer.outcome != "allowed";
    let through = if through { ", let through" } else { "" };
    format!("{} {}{through}", answer.outcome, answer.why)
}

impl Reports for Comparison<'_> {
    fn report(&mut self, origin: &str, bytes: &[u8]) {
        let mut report = match serde_json::from_slice::<Report<'_>>(bytes) {
            Ok(report) => report,
            Err(error) => return self.unreadable(origin, &error.to_string()),
        };
        let Ok(at) = report.at.parse::<Timestamp>() else {
            return self.unreadable(origin, "its time is none");
        };
        if report.version != 1 {
            return self.unreadable(origin, "a report of another version");
        }
        let judged = Judged::of_report(&mut report);
        for image in std::mem::take(&mut report.images) {
            let seen = match Seen::of_image(image) {
                Ok(Some(seen)) => seen,
                Ok(None) => continue,
                Err(why) => {
                    self.unreadable(origin, &why);
                    continue;
                }
            };
            let old = suppose(&self.old, &judged, &seen, at, self.now);
            let new = suppose(&self.new, &judged, &seen, at, self.now);
            let answer = |of: &Answer| (of.outcome, of.why.clone(), of.let_through);
            if answer(&old) != answer(&new) {
                let name = match seen.name.digest {
                    Some(_) => seen.name,
                    None => seen.name.with_digest(seen.digest),
                };
                self.changed.insert(name, (shown(&old), shown(&new)));
            }
        }
    }

    fn unreadable(&mut self, origin: &str, why: &str) {
        self.left_out.add(origin, why);
    }
}

//! `rootpin policy diff`: the entries in which two policies differ, and the names whose answer
//! changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use rootpin_policy::Policy;
use rootpin_trust::image::ImageRef;

use super::asked::Asked;
use super::entries::entries;
use super::fleet::{self, FleetItem, FromHost, LatestReports};
use super::judged::Judged;
use super::left_out::LeftOut;
use super::parts::RevokedDigests;
use super::reported::Seen;
use super::suppose::{Answer, Proposed, revokes_more, suppose};
use crate::operate::audit::Reports;

/// The entries that only the old policy has, and those that only the new one has.
#[must_use]
pub fn differing_entries(old: &Policy, new: &Policy) -> (Vec<String>, Vec<String>) {
    let (before, after) = (entries(old), entries(new));
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
    /// The digests that one of them revokes.
    revoked: RevokedDigests,
    now: Timestamp,
    latest: LatestReports<Compared>,
    /// Of lines of audit files.
    lines: Compared,
    left_out: LeftOut,
}

/// What two policies answer otherwise.
#[derive(Debug, Default)]
pub struct Compared {
    /// By name with digest: both answers, where they differ on some host.
    pub changed: BTreeMap<ImageRef, (String, String)>,
    /// Answers of hosts of which nobody can tell whether the policies differ.
    pub unknown: usize,
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
            revoked: RevokedDigests::of([old, new]),
            now,
            latest: LatestReports::default(),
            lines: Compared::default(),
            left_out: LeftOut::default(),
        }
    }

    /// What differs on the hosts.
    #[must_use]
    pub fn end(self) -> Compared {
        let mut all = self.lines;
        all.left_out = self.left_out;
        for (_, compared) in self.latest.into_all() {
            all.add(compared);
        }
        all
    }

    fn compare(&self, compared: &mut Compared, judged: &Judged, seen: Seen, at: Timestamp) {
        let (old, new) = (&self.old, &self.new);
        let answer = |of: &Proposed<'_>, other: &Proposed<'_>| {
            if revokes_more(of.policy, other.policy) {
                suppose(of, judged, &seen, at, self.now)
            } else {
                let seen = seen.clone().with_known_parts();
                suppose(of, judged, &seen, at, self.now)
            }
        };
        let (old, new) = (answer(old, new), answer(new, old));
        let answer = |of: &Answer| (of.outcome, of.why.clone(), of.let_through);
        let is_unknown = [&old, &new].iter().any(|one| one.outcome == "unknown");
        if answer(&old) == answer(&new) {
            compared.unknown += usize::from(is_unknown);
            return;
        }
        let is_told = is_unknown || seen.asked == Asked::Pull || seen.was.is_same(&old);
        compared.unknown += usize::from(is_unknown || !is_told);
        let now = if is_told {
            shown(&new)
        } else {
            "unknown the host knew more of it than is told".to_owned()
        };
        let name = match seen.name.digest {
            Some(_) => seen.name,
            None => seen.name.with_digest(seen.digest),
        };
        compared.change(name, (shown(&old), now));
    }
}

impl Compared {
    fn add(&mut self, other: Self) {
        let Self {
            changed,
            unknown,
            left_out: _,
        } = other;
        self.unknown += unknown;
        for (name, answers) in changed {
            self.change(name, answers);
        }
    }

    /// Of an image that hosts answer otherwise, the first answers in their order are shown.
    fn change(&mut self, name: ImageRef, answers: (String, String)) {
        let known = self.changed.entry(name).or_insert_with(|| answers.clone());
        if answers < *known {
            *known = answers;
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
        let FromHost { host, at, item } = match fleet::read(bytes, self.now) {
            Ok(read) => read,
            Err(why) => return self.unreadable(origin, &why),
        };
        match item {
            FleetItem::Report(mut report) => {
                let counts = self.latest.counts(&host, at);
                let (judged, mut compared) = (Judged::of_report(&mut report), Compared::default());
                for image in report.images {
                    match Seen::of_image(image, (&self.revoked, &report.parts)) {
                        Ok(Some(seen)) if counts => {
                            self.compare(&mut compared, &judged, seen, at);
                        }
                        Ok(_) => {}
                        Err(why) => self.unreadable(origin, &why),
                    }
                }
                if counts {
                    self.latest.keep(host, at, compared);
                }
            }
            FleetItem::Record(record) => {
                let hash = record.policy.as_deref();
                let is = |by: &&Proposed<'_>| hash == Some(by.policy.hash.to_string().as_str());
                let by = Some(&self.old).filter(is);
                let by = by.or_else(|| Some(&self.new).filter(is));
                let judged = by.map(|by| Arc::clone(&by.roots)).unwrap_or_default();
                let seen = Seen::of_record(record, by.map(|by| by.policy));
                let mut compared = Compared::default();
                match seen {
                    Ok(Some(seen)) => self.compare(&mut compared, &judged, seen, at),
                    Ok(None) => {}
                    Err(why) => self.unreadable(origin, &why),
                }
                self.lines.add(compared);
            }
            FleetItem::Event => {}
        }
    }

    fn unreadable(&mut self, origin: &str, why: &str) {
        self.left_out.add(origin, why);
    }
}

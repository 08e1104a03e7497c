//! `rootpin policy diff`: the entries in which two policies differ, and the names whose answer
//! changes.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rootpin_policy::{Policy, Root};
use rootpin_trust::image::ImageRef;

use super::left_out::LeftOut;
use super::reported::{Judged, Report, Seen};
use super::suppose::{Answer, Proposed, suppose};
use crate::decide::survey::terms;
use crate::operate::audit::Reports;

/// The entries of a policy in words that say all that decides, one an entry, without their places.
fn entries(policy: &Policy) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let until = |until: Option<Timestamp>| until.map_or("-".to_owned(), |at| at.to_string());
    all.insert(format!(
        "mode {}, audit-until {}",
        policy.mode_at(Some(Timestamp::MIN)),
        until(policy.audit_until)
    ));
    all.insert(format!("[local] {:?}", policy.local));
    all.insert(format!("[limits] {:?}", policy.limits));
    all.insert(format!("[docker] {:?}", policy.docker));
    all.insert(format!("[sweep] action = {:?}", policy.sweep.as_str()));
    all.insert(format!(
        "[credentials] only-to = {:?}",
        policy.credentials_to
    ));
    all.insert(format!("prove = {}", policy.prove));
    let source = |root: &Root| {
        format!(
            "[[root]] {root}, recheck {:#}, terms {}",
            root.recheck,
            terms(root)
        )
    };
    all.extend(policy.roots.values().map(|root| source(root)));
    for rule in &policy.rules {
        let ids: Vec<_> = rule.roots.iter().map(|root| root.id.as_str()).collect();
        let signed_as = rule
            .signed_as
            .as_ref()
            .map_or("-", |pattern| pattern.as_str());
        all.insert(format!(
            "[[rule]] match = \"{}\", roots {}, quorum {}, mode {}, audit-until {}, signed-as {signed_as}, credentials {}, final {}",
            rule.pattern,
            ids.join(" "),
            rule.quorum,
            rule.mode.map_or("-", |mode| mode.as_str()),
            until(rule.audit_until),
            rule.credentials,
            rule.is_final,
        ));
    }
    for image in policy.images() {
        for digest in &image.digests {
            all.insert(format!(
                "[[image]] name = \"{}:{}\", digest {digest}",
                image.repository,
                image.tag.as_str()
            ));
        }
    }
    for exempt in policy.exempts() {
        let digests: Vec<_> = exempt
            .digests
            .iter()
            .flatten()
            .map(ToString::to_string)
            .collect();
        all.insert(format!(
            "[[exempt]] match = \"{}\", until {}, digests {}: {}",
            exempt.pattern,
            exempt.until,
            if exempt.digests.is_some() {
                digests.join(" ")
            } else {
                "any".to_owned()
            },
            exempt.reason
        ));
    }
    for (digest, reason) in policy.revoked_digests() {
        all.insert(format!("[[revoked]] digest = \"{digest}\": {reason}"));
    }
    for key in policy.revoked_keys() {
        let reason = policy.revoked_key(key).unwrap_or_default();
        all.insert(format!("[[revoked]] key = \"{key}\": {reason}"));
    }
    all
}

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

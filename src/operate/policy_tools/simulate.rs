//! `rootpin policy simulate`: which answers another policy would change on the hosts of a fleet.
//!
//! Reports are read one after the other. Of each host are kept the numbers of its answers, and of
//! each answer that changes one copy.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use rootpin_policy::Policy;
use rootpin_trust::image::{Digest, ImageRef};
use serde::Serialize;

use super::fleet::{self, FleetItem, FromHost, LatestReports};
use super::judged::Judged;
use super::known_answers::KnownAnswers;
use super::left_out::LeftOut;
use super::parts::RevokedDigests;
use super::reported::{Record, Report, Seen, Was};
use super::settling::Settling;
use super::suppose::{Answer, Proposed, revokes_more, suppose};
use crate::observe::plain;
use crate::operate::audit::Reports;

/// Takes in reports and lines of audit files.
#[derive(Debug)]
pub struct Simulation<'a> {
    policy: Proposed<'a>,
    /// The policy that was in force, for the evidence of audit files.
    old: Option<Proposed<'a>>,
    revoked: RevokedDigests,
    now: Timestamp,
    known: KnownAnswers,
    changes: Vec<ImageChange>,
    numbers: HashMap<(String, Was, Answer), usize>,
    images: HashMap<ImageRef, HashMap<Digest, usize>>,
    images_met: usize,
    latest: LatestReports<HostAnswers>,
    /// Of lines of audit files.
    lines: BTreeMap<Arc<str>, HostAnswers>,
    reports: usize,
    without_name: usize,
    left_out: LeftOut,
}

/// Numbers of the images of one host, of those that the new policy refuses, and of the changes.
#[derive(Debug, Default)]
struct HostAnswers {
    images: Vec<usize>,
    refused: Vec<usize>,
    changes: Vec<usize>,
    /// Images of which nobody can tell because their parts are not known, each with that change.
    without_parts: Vec<(usize, usize)>,
}

impl HostAnswers {
    fn add(&mut self, other: Self) {
        let Self {
            images,
            refused,
            changes,
            without_parts,
        } = other;
        self.images.extend(images);
        self.refused.extend(refused);
        self.changes.extend(changes);
        self.without_parts.extend(without_parts);
    }

    /// With the lines of the host's audit files. What they don't tell of the parts of an image, the
    /// host's report does.
    fn with_lines(&mut self, mut lines: Self) {
        let reported: HashSet<usize> = self.images.iter().copied().collect();
        let without = lines.without_parts.iter();
        let told = without.filter(|(image, _)| reported.contains(image));
        let told: HashSet<usize> = told.map(|(_, change)| *change).collect();
        lines.changes.retain(|change| !told.contains(change));
        self.add(lines);
    }

    /// Each number once: an image is in several namespaces, and an audit file asks about it again
    /// and again.
    fn distinct(mut self) -> Self {
        for numbers in [&mut self.images, &mut self.refused, &mut self.changes] {
            numbers.sort_unstable();
            numbers.dedup();
        }
        self
    }
}

/// How the parts of an image come to be reported.
const REPORT_PARTS: &str = "have the host report once more: rootpin audit --json";

/// Which of the two policies a host had in force, if one of them.
#[derive(Debug, Clone, Copy)]
enum Own {
    Proposed,
    Old,
}

/// The answer about one image that changes, or of which nobody can tell whether it does.
#[derive(Debug, Clone, Serialize)]
pub struct ImageChange {
    /// Its name and digest.
    pub image: String,
    /// `refused`, `allowed`, `changed`, `let-through` (however it is judged) or `unknown`: what
    /// becomes of it.
    pub kind: &'static str,
    /// The answer that the host reported.
    pub was: String,
    /// The answer by the new policy, or why nobody can tell.
    pub now: String,
    /// The entry that decided.
    pub was_rule: Option<String>,
    /// The entry that would.
    pub now_rule: Option<String>,
    /// What would let somebody tell.
    pub hint: Option<&'static str>,
    /// The hosts that have it.
    pub hosts: Vec<Arc<str>>,
}

/// What would change on one host.
#[derive(Debug, Serialize)]
pub struct HostChange {
    /// The host.
    pub host: Arc<str>,
    /// Images that were looked at.
    pub images: usize,
    /// Images that the new policy refuses, changed or not.
    pub refused: usize,
    /// Images that were let through and would be stopped.
    pub newly_refused: usize,
    /// Images that were stopped and would be let through.
    pub newly_allowed: usize,
    /// Images of which nobody can tell.
    pub unknown: usize,
}

/// The result over all hosts.
#[derive(Debug, Serialize)]
pub struct Simulated {
    /// Of this form: 1.
    pub version: u64,
    /// The hash of the new policy.
    pub policy: String,
    /// Reports and lines that were read.
    pub reports: usize,
    /// Images whose answer changes, or of which nobody can tell, by name.
    pub images: Vec<ImageChange>,
    /// Every host.
    pub hosts: Vec<HostChange>,
    /// Reports that count for nothing, because their host made a later one.
    pub superseded: usize,
    /// Images and questions that no pull could mean: without a name, or without a digest.
    pub without_name: usize,
    /// How many reports, lines and images could not be read.
    pub left_out: usize,
    /// The first of them, and why.
    pub unreadable: Vec<String>,
    /// The same, as lines of text.
    #[serde(skip)]
    pub not_read: Vec<String>,
}

impl<'a> Simulation<'a> {
    /// Of the new policy; `old`: the one that was in force when the audit files were written.
    #[must_use]
    pub fn of(policy: &'a Policy, old: Option<&'a Policy>, now: Timestamp) -> Self {
        Self {
            policy: Proposed::of(policy),
            old: old.map(Proposed::of),
            revoked: RevokedDigests::of([policy].into_iter().chain(old)),
            now,
            known: KnownAnswers::default(),
            changes: Vec::new(),
            numbers: HashMap::new(),
            images: HashMap::new(),
            images_met: 0,
            latest: LatestReports::default(),
            lines: BTreeMap::new(),
            reports: 0,
            without_name: 0,
            left_out: LeftOut::default(),
        }
    }

    /// The policy of that hash, if it is given.
    fn own(&self, hash: Option<&str>) -> Option<Own> {
        let is = |proposed: &Proposed<'_>| hash == Some(proposed.policy.hash.to_string().as_str());
        if self.old.as_ref().is_some_and(is) {
            Some(Own::Old)
        } else {
            is(&self.policy).then_some(Own::Proposed)
        }
    }

    /// `judged`: by which policy, and its number among those that were met.
    fn answer(
        &mut self,
        host: &mut HostAnswers,
        (judged, number, own): (&Judged, Option<usize>, Option<Own>),
        seen: Seen,
        at: Timestamp,
    ) {
        let mut seen = seen.without_times(self.policy.policy, at);
        let own_policy = match own {
            Some(Own::Proposed) => Some(self.policy.policy),
            Some(Own::Old) => self.old.as_ref().map(|old| old.policy),
            None => None,
        };
        if own_policy.is_some_and(|own| !revokes_more(self.policy.policy, own)) {
            seen = seen.with_known_parts();
        }
        let (policy, now) = (&self.policy, self.now);
        let find = |seen: &Seen| suppose(policy, judged, seen, at, now);
        let (seen, answer) = self.known.of(number, seen, find);
        let settling = Settling {
            proposed: policy,
            own: match own {
                Some(Own::Proposed) => Some(policy),
                Some(Own::Old) => self.old.as_ref(),
                None => None,
            },
            judged,
            at,
        };
        let answer = settling.settled(&seen, answer);
        let image = self.image(&seen);
        host.images.push(image);
        if answer.outcome == "refused" && !answer.let_through {
            host.refused.push(image);
        }
        if !seen.was.is_same(&answer) {
            let is_without_parts = answer.lacks_parts;
            let change = self.number(&seen, answer);
            host.changes.push(change);
            if is_without_parts {
                host.without_parts.push((image, change));
            }
        }
    }

    /// The number of an image, which many hosts have.
    fn image(&mut self, seen: &Seen) -> usize {
        let known = self.images.get(&seen.name);
        if let Some(number) = known.and_then(|digests| digests.get(&seen.digest)) {
            return *number;
        }
        let digests = self.images.entry(seen.name.clone()).or_default();
        digests.insert(seen.digest, self.images_met);
        self.images_met += 1;
        self.images_met - 1
    }

    /// The number of a change, which many hosts share.
    fn number(&mut self, seen: &Seen, answer: Answer) -> usize {
        let image = match seen.name.digest {
            Some(_) => seen.name.to_string(),
            None => seen.name.with_digest(seen.digest).to_string(),
        };
        let key = (image, seen.was.clone(), answer);
        if let Some(known) = self.numbers.get(&key) {
            return *known;
        }
        let (image, was, answer) = &key;
        let went_on = was.let_through || was.outcome == "allowed";
        // A host that stopped it by its own clock or state may go on to.
        let either_way = answer.let_through && (went_on || !was.is_for_the_host());
        let kind = match (answer.outcome, went_on, answer.let_through) {
            ("unknown", ..) if !either_way => "unknown",
            ("unknown", false, true) => "allowed",
            ("unknown", ..) => "let-through",
            (_, true, false) => "refused",
            (_, false, true) => "allowed",
            _ => "changed",
        };
        let through = |outcome: &str, through: bool| {
            if through && outcome != "allowed" {
                ", let through"
            } else {
                ""
            }
        };
        let by_glass = if was.by_glass {
            ", let through by break-glass"
        } else {
            ""
        };
        self.changes.push(ImageChange {
            image: image.clone(),
            kind,
            was: plain(&format!(
                "{} {}{}{by_glass}",
                was.outcome,
                was.why,
                through(&was.outcome, was.let_through)
            )),
            now: if answer.outcome == "unknown" && either_way {
                format!("let through either way, judgement unknown: {}", answer.why)
            } else {
                let through = through(answer.outcome, answer.let_through);
                format!("{} {}{through}", answer.outcome, answer.why)
            },
            was_rule: was.rule.as_deref().map(plain),
            now_rule: answer.rule.clone(),
            hint: answer.lacks_parts.then_some(REPORT_PARTS),
            hosts: Vec::new(),
        });
        let number = self.changes.len() - 1;
        self.numbers.insert(key, number);
        number
    }

    fn whole_report(
        &mut self,
        origin: &str,
        (host, at): (Arc<str>, Timestamp),
        mut report: Report<'_>,
    ) {
        let counts = self.latest.counts(&host, at);
        let mut answers = HostAnswers::default();
        let hash = report.policy.as_ref().and_then(|one| one.hash.as_deref());
        let own = self.own(hash);
        let judged = Judged::of_report(&mut report);
        let number = self.known.number(&judged);
        for image in std::mem::take(&mut report.images) {
            match Seen::of_image(image, (&self.revoked, &report.parts)) {
                Ok(Some(seen)) if counts => {
                    self.answer(&mut answers, (&judged, number, own), seen, at);
                }
                Ok(Some(_)) => {}
                // Of a report that counts for nothing too: it may have come before the later one.
                Ok(None) => self.without_name += 1,
                Err(why) => self.unreadable(origin, &why),
            }
        }
        if counts {
            self.latest.keep(host, at, answers);
        }
    }

    /// A line of an audit file: the host keeps what its other lines say.
    fn record(&mut self, origin: &str, (host, at): (Arc<str>, Timestamp), record: Record<'_>) {
        let own = self.own(record.policy.as_deref());
        let by = match own {
            Some(Own::Proposed) => Some(&self.policy),
            Some(Own::Old) => self.old.as_ref(),
            None => None,
        };
        let judged = by.map(|by| Arc::clone(&by.roots)).unwrap_or_default();
        let seen = Seen::of_record(record, by.map(|by| by.policy));
        let number = self.known.number(&judged);
        let mut answers = HostAnswers::default();
        match seen {
            Ok(Some(seen)) => self.answer(&mut answers, (&*judged, number, own), seen, at),
            Ok(None) => self.without_name += 1,
            Err(why) => self.unreadable(origin, &why),
        }
        self.lines.entry(host).or_default().add(answers);
    }

    /// The result.
    #[must_use]
    pub fn end(mut self) -> Simulated {
        let superseded = self.latest.superseded;
        let mut all: BTreeMap<Arc<str>, HostAnswers> = BTreeMap::new();
        for (host, answers) in std::mem::take(&mut self.latest).into_all() {
            all.entry(host).or_default().add(answers);
        }
        for (host, lines) in std::mem::take(&mut self.lines) {
            all.entry(host).or_default().with_lines(lines);
        }
        let mut hosts = Vec::new();
        for (host, answers) in all {
            let answers = answers.distinct();
            let mut by_kind = BTreeSet::new();
            for number in answers.changes {
                if let Some(change) = self.changes.get_mut(number) {
                    change.hosts.push(Arc::clone(&host));
                    by_kind.insert((change.kind, change.image.clone()));
                }
            }
            let of = |wanted| by_kind.iter().filter(|(kind, _)| *kind == wanted).count();
            hosts.push(HostChange {
                images: answers.images.len(),
                refused: answers.refused.len(),
                newly_refused: of("refused"),
                newly_allowed: of("allowed"),
                unknown: of("unknown"),
                host,
            });
        }
        // What only superseded reports said is no host's.
        self.changes.retain(|change| !change.hosts.is_empty());
        self.changes
            .sort_by(|one, other| one.words().cmp(&other.words()));
        Simulated {
            version: 1,
            policy: self.policy.policy.hash.to_string(),
            reports: self.reports,
            images: self.changes,
            hosts,
            superseded,
            without_name: self.without_name,
            left_out: self.left_out.count(),
            unreadable: self.left_out.named().to_vec(),
            not_read: self.left_out.lines(),
        }
    }
}

impl ImageChange {
    /// All that is said of it but for the hosts.
    fn words(&self) -> [Option<&str>; 5] {
        let rules = [&self.was_rule, &self.now_rule].map(Option::as_deref);
        let [was_rule, now_rule] = rules;
        let (image, was, now) = (&self.image, &self.was, &self.now);
        [Some(image), Some(was), Some(now), was_rule, now_rule]
    }
}

impl Simulated {
    /// Why nobody can tell, where the exit code is 2.
    #[must_use]
    pub fn why_unknown(&self) -> String {
        let unknown = self.images.iter().filter(|image| image.kind == "unknown");
        match (self.unreadable.first(), unknown.count()) {
            (Some(first), _) => format!("{} not read, the first: {first}", self.left_out),
            (None, 0) => "no host was reported".to_owned(),
            (None, unknown) => format!("the answers about {unknown} images can't be told"),
        }
    }

    /// 0 nothing would be newly refused, 1 something would, 2 nobody can tell of something.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let any = |kind: &str| self.images.iter().any(|image| image.kind == kind);
        if any("refused") {
            1
        } else if any("unknown") || self.left_out > 0 || self.hosts.is_empty() {
            2
        } else {
            0
        }
    }
}

impl Reports for Simulation<'_> {
    fn report(&mut self, origin: &str, bytes: &[u8]) {
        self.reports += 1;
        match fleet::read(bytes, self.now) {
            Ok(FromHost { host, at, item }) => match item {
                FleetItem::Report(report) => self.whole_report(origin, (host, at), report),
                FleetItem::Record(record) => self.record(origin, (host, at), record),
                FleetItem::Event => {}
            },
            Err(why) => self.unreadable(origin, &why),
        }
    }

    fn unreadable(&mut self, origin: &str, why: &str) {
        self.left_out.add(origin, why);
    }
}

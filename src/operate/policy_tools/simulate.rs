//! `rootpin policy simulate`: which answers another policy would change on the hosts of a fleet.
//!
//! Reports are read one after the other. Of each host are kept the numbers of its answers, and of
//! each answer that changes one copy.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use rootpin_policy::Policy;
use serde::Serialize;

use super::known_answers::KnownAnswers;
use super::left_out::LeftOut;
use super::reported::{Judged, Record, Report, Seen, Was};
use super::suppose::{Answer, Proposed, suppose};
use crate::observe::plain;
use crate::operate::audit::Reports;

/// Takes in reports and lines of audit files.
#[derive(Debug)]
pub struct Simulation<'a> {
    policy: Proposed<'a>,
    /// The policy that was in force, for the evidence of audit files.
    old: Option<&'a Policy>,
    old_judged: Judged,
    now: Timestamp,
    known: KnownAnswers,
    changes: Vec<ImageChange>,
    numbers: HashMap<(String, Was, Answer), usize>,
    hosts: BTreeMap<Arc<str>, HostAnswers>,
    reports: usize,
    superseded: usize,
    without_name: usize,
    left_out: LeftOut,
}

#[derive(Debug, Default)]
struct HostAnswers {
    at: Timestamp,
    images: usize,
    refused: usize,
    /// Numbers of the changes.
    changes: Vec<usize>,
}

/// The answer about one image that changes, or of which nobody can tell whether it does.
#[derive(Debug, Clone, Serialize)]
pub struct ImageChange {
    /// Its name and digest.
    pub image: String,
    /// `refused`, `allowed`, `changed` or `unknown`: what becomes of it.
    pub kind: &'static str,
    /// The answer that the host reported.
    pub was: String,
    /// The answer by the new policy, or why nobody can tell.
    pub now: String,
    /// The entry that decided.
    pub was_rule: Option<String>,
    /// The entry that would.
    pub now_rule: Option<String>,
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
            old,
            old_judged: old.map(Judged::by).unwrap_or_default(),
            now,
            known: KnownAnswers::default(),
            changes: Vec::new(),
            numbers: HashMap::new(),
            hosts: BTreeMap::new(),
            reports: 0,
            superseded: 0,
            without_name: 0,
            left_out: LeftOut::default(),
        }
    }

    /// `judged`: by which policy, and its number among those that were met.
    fn answer(
        &mut self,
        host: &mut HostAnswers,
        (judged, number): (&Judged, Option<usize>),
        seen: Seen,
        at: Timestamp,
    ) {
        let seen = seen.without_times(self.policy.policy, at);
        let (policy, now) = (&self.policy, self.now);
        let find = |seen: &Seen| suppose(policy, judged, seen, at, now);
        let (seen, answer) = self.known.of(number, seen, find);
        host.images += 1;
        host.refused += usize::from(answer.outcome == "refused" && !answer.let_through);
        let was = &seen.was;
        let is_same = was.outcome == answer.outcome && was.let_through == answer.let_through;
        if !is_same {
            host.changes.push(self.number(&seen, answer));
        }
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
        let kind = match (answer.outcome, went_on, answer.let_through) {
            ("unknown", ..) => "unknown",
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
        self.changes.push(ImageChange {
            image: image.clone(),
            kind,
            was: plain(&format!(
                "{} {}{}",
                was.outcome,
                was.why,
                through(&was.outcome, was.let_through)
            )),
            now: format!(
                "{} {}{}",
                answer.outcome,
                answer.why,
                through(answer.outcome, answer.let_through)
            ),
            was_rule: was.rule.as_deref().map(plain),
            now_rule: answer.rule.clone(),
            hosts: Vec::new(),
        });
        let number = self.changes.len() - 1;
        self.numbers.insert(key, number);
        number
    }

    fn whole_report(&mut self, origin: &str, mut report: Report<'_>) {
        let Ok(at) = report.at.parse::<Timestamp>() else {
            return self.unreadable(origin, "its time is none");
        };
        if report.version != 1 || report.host.is_empty() {
            return self.unreadable(origin, "a report of another version, or without a host");
        }
        let host: Arc<str> = plain(&report.host).into();
        // Of two reports of one host the later one counts.
        match self.hosts.get(&host) {
            Some(known) if known.at >= at => {
                self.superseded += 1;
                return;
            }
            known => self.superseded += usize::from(known.is_some()),
        }
        let mut answers = HostAnswers {
            at,
            ..HostAnswers::default()
        };
        let judged = Judged::of_report(&mut report);
        let number = self.known.number(&judged);
        for image in std::mem::take(&mut report.images) {
            match Seen::of_image(image) {
                Ok(Some(seen)) => self.answer(&mut answers, (&judged, number), seen, at),
                Ok(None) => self.without_name += 1,
                Err(why) => self.unreadable(origin, &why),
            }
        }
        self.hosts.insert(host, answers);
    }

    /// A line of an audit file: the host keeps what its earlier lines say.
    fn record(&mut self, origin: &str, record: Record<'_>) {
        let Ok(at) = record.time.parse::<Timestamp>() else {
            return self.unreadable(origin, "its time is none");
        };
        let old = self.old.filter(|old| {
            let hash = record.policy.as_deref();
            hash == Some(old.hash.to_string().as_str())
        });
        let judged = match old {
            Some(_) => std::mem::take(&mut self.old_judged),
            None => Judged::default(),
        };
        let host: Arc<str> = plain(&record.host).into();
        let mut answers = self.hosts.remove(&host).unwrap_or_default();
        answers.at = answers.at.max(at);
        let number = self.known.number(&judged);
        match Seen::of_record(record, old) {
            Ok(Some(seen)) => self.answer(&mut answers, (&judged, number), seen, at),
            Ok(None) => self.without_name += 1,
            Err(why) => self.unreadable(origin, &why),
        }
        self.hosts.insert(host, answers);
        if old.is_some() {
            self.old_judged = judged;
        }
    }

    /// The result.
    #[must_use]
    pub fn end(mut self) -> Simulated {
        let mut hosts = Vec::new();
        for (host, mut answers) in self.hosts {
            // An image is asked about again and again in an audit file.
            answers.changes.sort_unstable();
            answers.changes.dedup();
            let mut change = HostChange {
                host: Arc::clone(&host),
                images: answers.images,
                refused: answers.refused,
                newly_refused: 0,
                newly_allowed: 0,
                unknown: 0,
            };
            for number in answers.changes {
                let Some(image) = self.changes.get_mut(number) else {
                    continue;
                };
                image.hosts.push(Arc::clone(&host));
                match image.kind {
                    "refused" => change.newly_refused += 1,
                    "allowed" => change.newly_allowed += 1,
                    "unknown" => change.unknown += 1,
                    _ => {}
                }
            }
            hosts.push(change);
        }
        // What only superseded reports said is no host's.
        self.changes.retain(|change| !change.hosts.is_empty());
        self.changes.sort_by(|one, other| {
            (&one.image, &one.was, &one.now).cmp(&(&other.image, &other.was, &other.now))
        });
        Simulated {
            version: 1,
            policy: self.policy.policy.hash.to_string(),
            reports: self.reports,
            images: self.changes,
            hosts,
            superseded: self.superseded,
            without_name: self.without_name,
            left_out: self.left_out.count(),
            unreadable: self.left_out.named().to_vec(),
            not_read: self.left_out.lines(),
        }
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
        let why = match serde_json::from_slice::<Report<'_>>(bytes) {
            Ok(report) => return self.whole_report(origin, report),
            Err(why) => why,
        };
        if let Ok(record) = serde_json::from_slice::<Record<'_>>(bytes) {
            self.record(origin, record);
        } else if !is_event(bytes) {
            self.unreadable(origin, &format!("no report and no audit record: {why}"));
        }
    }

    fn unreadable(&mut self, origin: &str, why: &str) {
        self.left_out.add(origin, why);
    }
}

/// Whether this is a line of an audit file that is no decision.
fn is_event(bytes: &[u8]) -> bool {
    let line = serde_json::from_slice::<serde_json::Value>(bytes);
    line.is_ok_and(|line| line.get("event").is_some())
}

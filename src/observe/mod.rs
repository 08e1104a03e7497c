//! One decision in; a log line, metrics and an audit record out.

mod askers;
mod audit;
mod journal;
mod log;
mod metrics;
mod status_board;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::{Value, json};

pub(crate) use crate::plain_text::{plain, plain_lines};

use crate::decide::{Decision, Door, LetThroughBy, Verdict, signers};

pub(crate) use self::askers::{
    CredentialAsker, CredentialCounts, CredentialOutcome, CredentialsAsked,
};
pub(crate) use self::log::{init as init_log, init_cli as init_cli_log};
pub use self::metrics::{KnownMetric, METRICS, label_value};
pub(crate) use self::status_board::SelfChecks;
pub(crate) use self::status_board::{StatusBoard, Swept, Unproven};

/// Where decisions are told.
#[derive(Debug)]
pub(crate) struct Observer {
    audit: Option<audit::AuditFile>,
    metrics: metrics::Metrics,
    last: Mutex<BTreeMap<(Door, Option<String>), Timestamp>>,
    credentials: Mutex<CredentialsAsked>,
    /// The host's name and the hash of the policy in force, which stand in every record.
    host: String,
    policy: Mutex<Option<String>>,
}

impl Observer {
    /// Opens the audit file, if there is to be one.
    pub(crate) fn new(audit: Option<&Path>) -> Self {
        let audit = audit.map(audit::AuditFile::open);
        // Read once: a host that is renamed is another one to whoever reads its records.
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
            .map(|name| name.trim().to_owned())
            .unwrap_or_default();
        Self {
            audit,
            metrics: metrics::Metrics::default(),
            last: Mutex::default(),
            credentials: Mutex::default(),
            host,
            policy: Mutex::default(),
        }
    }

    /// The policy by which decisions are made from now on.
    pub(crate) fn policy_in_force(&self, hash: Option<String>) {
        *self.policy.lock().unwrap_or_else(PoisonError::into_inner) = hash;
    }

    /// Why decisions are not recorded, if they are not.
    #[must_use]
    pub(crate) fn audit_trouble(&self) -> Option<String> {
        self.audit.as_ref()?.trouble()
    }

    /// Writes a record, with what every one has. Whether it is there, where there is to be one.
    fn append(&self, mut record: Value) -> bool {
        let Some(audit) = &self.audit else {
            return true;
        };
        if let Some(members) = record.as_object_mut() {
            members.insert("host".to_owned(), json!(self.host));
            members.insert(
                "policy".to_owned(),
                json!(*self.policy.lock().unwrap_or_else(PoisonError::into_inner)),
            );
        }
        let is_there = audit.append(&record);
        if !is_there {
            self.metrics
                .add("rootpin_audit_lost_total", String::new(), 1.0);
        }
        is_there
    }

    /// Tells one decision. What can't be told is an error in the log, and the decision stands.
    pub(crate) fn observe(&self, verdict: &Verdict) {
        let key = (verdict.door, verdict.engine.clone());
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, verdict.at);
        log::decision(verdict);
        self.metrics.count(verdict);
        self.append(record(verdict));
    }

    /// Tells something that is no decision, and that whoever reads the audit file has to know of:
    /// one object with an `event`. Whether it is there.
    pub(crate) fn event(&self, mut record: Value) -> bool {
        if let Some(members) = record.as_object_mut() {
            members.insert("version".to_owned(), json!(1));
            members.insert("time".to_owned(), json!(Timestamp::now().to_string()));
        }
        self.append(record)
    }

    /// Counts a question for this host's credentials.
    pub(crate) fn credentials(&self, asker: CredentialAsker, outcome: CredentialOutcome) {
        let labels = format!(
            "asker=\"{}\",outcome=\"{}\"",
            asker.as_str(),
            outcome.as_str()
        );
        self.metrics.add("rootpin_credentials_total", labels, 1.0);
        self.credentials
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(asker)
            .or_default()
            .count(outcome, Timestamp::now());
    }

    /// Who asked for credentials since the start, and what came of it.
    #[must_use]
    pub(crate) fn credentials_asked(&self) -> CredentialsAsked {
        self.credentials
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Opens the audit file anew, after it was rotated away.
    pub(crate) fn reopen(&self) {
        if let Some(audit) = &self.audit {
            audit.reopen();
        }
    }

    /// Forgets when an engine's doors were asked, as it may have started anew by another configuration.
    /// The verifier does not say for which engine it asks.
    pub(crate) fn engine_ended(&self, engine: &str) {
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(door, of), _| *door != Door::Verifier && of.as_deref() != Some(engine));
    }

    /// When a door was last asked, since its engine started.
    #[must_use]
    pub(crate) fn last_question(&self, door: Door, engine: Option<&str>) -> Option<Timestamp> {
        let key = (door, engine.map(str::to_owned));
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .copied()
    }

    /// The counters, for what else is counted and for the text of all.
    #[must_use]
    pub(crate) fn metrics(&self) -> &metrics::Metrics {
        &self.metrics
    }
}

/// The object of `rootpin verify --json`.
#[must_use]
pub fn judgement(verdict: &Verdict) -> Value {
    let refusal = verdict.decision.denial().map(|denial| &denial.refusal);
    let (rule, roots) = match &verdict.decision {
        Decision::Allow(admission) => (Some(admission.rule.as_str()), signers(admission)),
        Decision::Deny(denial) | Decision::LetThrough(denial, _) => {
            (denial.rule.as_deref(), denial.roots.clone())
        }
    };
    let by = verdict.decision.let_through_by();
    json!({
        "version": 1,
        "name": verdict.name.as_ref().map(ToString::to_string),
        "digest": verdict.digest.map(|digest| digest.to_string()),
        "outcome": verdict.decision.outcome(),
        "code": refusal.map(|refusal| refusal.code.as_str()),
        "rule": rule,
        "roots": roots,
        "found": refusal.map(|refusal| &refusal.found),
        "wanted": refusal.map(|refusal| &refusal.wanted),
        "hint": refusal.map(|refusal| &refusal.hint),
        "let_through": verdict.decision.lets_through(),
        "let_through_by": by.map(LetThroughBy::as_str),
    })
}

/// The judgement with its circumstances: a line of the audit file, but for `host` and `policy`.
#[must_use]
pub fn record(verdict: &Verdict) -> Value {
    let mut record = judgement(verdict);
    let ground = match &verdict.decision {
        Decision::Allow(admission) => Some(admission.ground.as_str()),
        Decision::Deny(_) | Decision::LetThrough(..) => None,
    };
    if let Some(members) = record.as_object_mut() {
        members.insert("time".to_owned(), json!(verdict.at.to_string()));
        members.insert("door".to_owned(), json!(verdict.door.as_str()));
        members.insert("engine".to_owned(), json!(verdict.engine));
        members.insert("namespaces".to_owned(), json!(verdict.namespaces));
        members.insert(
            "layer".to_owned(),
            json!(verdict.layer.map(|layer| layer.to_string())),
        );
        members.insert("ground".to_owned(), json!(ground));
        if let Some(LetThroughBy::BreakGlass(glass)) = verdict.decision.let_through_by() {
            members.insert("break_glass".to_owned(), json!(glass.reason));
        }
        members.insert(
            "microseconds".to_owned(),
            json!(u64::try_from(verdict.took.as_micros()).unwrap_or(u64::MAX)),
        );
    }
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_engine_asked_before_it_ended_proves_nothing_and_other_engines_keep_theirs() {
        let observer = Observer::new(None);
        let asked = [
            (Door::Gate, Some("main")),
            (Door::Apply, Some("main")),
            (Door::Verifier, None),
            (Door::Gate, Some("other")),
        ];
        for (door, engine) in asked {
            let key = (door, engine.map(str::to_owned));
            let mut last = observer.last.lock().unwrap();
            last.insert(key, Timestamp::UNIX_EPOCH);
        }
        observer.engine_ended("main");
        let known = asked.map(|(door, engine)| observer.last_question(door, engine).is_some());
        assert_eq!(known, [false, false, false, true]);
    }
}

//! Counters, in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use crate::decide::Verdict;

/// What is counted, by name and labels.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    values: Mutex<BTreeMap<(&'static str, String), f64>>,
}

/// Name, type and meaning of every metric.
const KNOWN: &[(&str, &str, &str)] = &[
    (
        "rootpin_questions_total",
        "counter",
        "Questions asked, by door, engine, outcome and code.",
    ),
    (
        "rootpin_question_seconds_sum",
        "counter",
        "Time spent on questions, by door and engine.",
    ),
    (
        "rootpin_let_through_total",
        "counter",
        "Refusals that audit mode let through, by door and engine.",
    ),
    (
        "rootpin_shared_signer_total",
        "counter",
        "Times one signer's key was first seen under a further repository.",
    ),
    (
        "rootpin_policy_ok",
        "gauge",
        "1 while the policy on disk is the one in force.",
    ),
    (
        "rootpin_policy_loads_total",
        "counter",
        "Policies taken, and policies that did not load, by result.",
    ),
    (
        "rootpin_canary_ok",
        "gauge",
        "1 while a door proves that its engine asks it, by engine.",
    ),
    (
        "rootpin_listening",
        "gauge",
        "1 while a door has its socket, by door and engine.",
    ),
    (
        "rootpin_prove_ok",
        "gauge",
        "1 where the last proof found a path shut, 0 where it did not, by path.",
    ),
    (
        "rootpin_prove_seconds",
        "gauge",
        "When the last proof ended, in seconds since 1970.",
    ),
    (
        "rootpin_resolver_requests_total",
        "counter",
        "Requests that engines made to the resolver, by the status of the answer.",
    ),
    (
        "rootpin_resolver_seconds_sum",
        "counter",
        "Time spent at the resolver until the body of each answer could begin.",
    ),
    (
        "rootpin_nri_connected",
        "gauge",
        "1 while containerd's NRI asks before it makes a container, by engine.",
    ),
    (
        "rootpin_running_refused",
        "gauge",
        "Containers that ran when NRI was last connected and may not run, by engine.",
    ),
    (
        "rootpin_resident_images",
        "gauge",
        "Image names on this host, by engine.",
    ),
    (
        "rootpin_resident_refused",
        "gauge",
        "Image names on this host that the policy refuses, by engine.",
    ),
    (
        "rootpin_resident_unjudged",
        "gauge",
        "Image names on this host that could not be judged, by engine.",
    ),
    (
        "rootpin_removed_total",
        "counter",
        "Image names that were removed because the policy refuses them, by engine.",
    ),
    (
        "rootpin_clock_ok",
        "gauge",
        "1 while the clock can be right: not before rootpin was built, nor before the policy was written.",
    ),
    (
        "rootpin_state_ok",
        "gauge",
        "1 while the state can be used.",
    ),
    (
        "rootpin_state_acknowledged",
        "gauge",
        "1 where the state is the one that was acknowledged on this host.",
    ),
    (
        "rootpin_state_lost",
        "gauge",
        "1 where another state was acknowledged on this host: its floors are lost or elsewhere.",
    ),
    (
        "rootpin_state_begun_seconds",
        "gauge",
        "When the state was made, in seconds since 1970.",
    ),
    (
        "rootpin_root_expires_seconds",
        "gauge",
        "When a root's own metadata expires, in seconds since 1970, as far as it is known here, by root.",
    ),
    (
        "rootpin_sources_behind",
        "gauge",
        "Sources that show older metadata than was verified, or half of it, while what was verified answers.",
    ),
    (
        "rootpin_audit_ok",
        "gauge",
        "1 while the audit file can be written.",
    ),
    (
        "rootpin_audit_lost_total",
        "counter",
        "Decisions that are not in the audit file, because it could not be written.",
    ),
    (
        "rootpin_start_seconds",
        "gauge",
        "When the daemon started, in seconds since 1970.",
    ),
];

impl Metrics {
    /// Adds to a counter. `labels` as `name="value",…`.
    pub(crate) fn add(&self, name: &'static str, labels: String, by: f64) {
        *self
            .values
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry((name, labels))
            .or_default() += by;
    }

    /// Sets a gauge.
    pub(crate) fn set(&self, name: &'static str, labels: String, to: f64) {
        self.values
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert((name, labels), to);
    }

    /// Counts one decision.
    pub(super) fn count(&self, verdict: &Verdict) {
        let place = format!(
            "door=\"{}\",engine=\"{}\"",
            verdict.door,
            label_value(verdict.engine.as_deref().unwrap_or_default())
        );
        let code = verdict
            .decision
            .denial()
            .map_or("", |denial| denial.refusal.code.as_str());
        let outcome = verdict.decision.outcome();
        self.add(
            "rootpin_questions_total",
            format!("{place},outcome=\"{outcome}\",code=\"{code}\""),
            1.0,
        );
        if outcome != "allowed" && verdict.decision.lets_through() {
            self.add("rootpin_let_through_total", place.clone(), 1.0);
        }
        self.add(
            "rootpin_question_seconds_sum",
            place,
            verdict.took.as_secs_f64(),
        );
    }

    /// Everything, as Prometheus reads it.
    #[must_use]
    pub(crate) fn text(&self) -> String {
        let values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for &(name, kind, help) in KNOWN {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for ((_, labels), value) in values.iter().filter(|((known, _), _)| *known == name) {
                let labels = if labels.is_empty() {
                    String::new()
                } else {
                    format!("{{{labels}}}")
                };
                let _ = writeln!(text, "{name}{labels} {value}");
            }
        }
        text
    }
}

/// A label's value (Prometheus text format, "Comments, help text, and type information").
#[must_use]
pub fn label_value(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_add_up_and_are_written_with_their_type() {
        let metrics = Metrics::default();
        metrics.add("rootpin_questions_total", "door=\"gate\"".to_owned(), 1.0);
        metrics.add("rootpin_questions_total", "door=\"gate\"".to_owned(), 2.0);
        let text = metrics.text();
        assert!(
            text.contains(
                "# TYPE rootpin_questions_total counter\nrootpin_questions_total{door=\"gate\"} 3\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn a_label_cannot_end_its_own_quotes() {
        assert_eq!(label_value("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}

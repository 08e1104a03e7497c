//! Counters, gauges and a histogram, in Prometheus' text format.

mod known;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::decide::{Decision, Verdict, signers};
use rootpin_trust::Code;

pub use known::{KnownMetric, METRICS};

/// More series than a host with many engines and roots has: names of roots that come and go with
/// policies must not fill the memory.
const MAX_SERIES: usize = 5000;

/// The upper bounds of the histogram's buckets, in seconds: an engine gives a verifier 10.
const BUCKETS: [f64; 9] = [0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 8.0];

/// What is counted, by name and labels.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    series: Mutex<Series>,
}

#[derive(Debug, Default)]
struct Series {
    values: BTreeMap<(&'static str, String), f64>,
    histograms: BTreeMap<(&'static str, String), Histogram>,
    dropped: f64,
}

/// How many values lie at or below each bound, and all of them.
#[derive(Debug, Default)]
struct Histogram {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum: f64,
}

impl Series {
    /// The place of a value, unless there are too many.
    fn value(&mut self, name: &'static str, labels: String) -> Option<&mut f64> {
        let is_new = !self.values.contains_key(&(name, labels.clone()));
        if is_new && self.values.len() + self.histograms.len() >= MAX_SERIES {
            self.dropped += 1.0;
            return None;
        }
        Some(self.values.entry((name, labels)).or_default())
    }

    fn histogram(&mut self, name: &'static str, labels: String, value: f64) {
        let is_new = !self.histograms.contains_key(&(name, labels.clone()));
        if is_new && self.values.len() + self.histograms.len() >= MAX_SERIES {
            self.dropped += 1.0;
            return;
        }
        let histogram = self.histograms.entry((name, labels)).or_default();
        let reached = histogram.buckets.iter_mut().zip(BUCKETS);
        for (count, _) in reached.filter(|(_, bound)| value <= *bound) {
            *count += 1;
        }
        histogram.count += 1;
        histogram.sum += value;
    }
}

impl Metrics {
    fn series(&self) -> MutexGuard<'_, Series> {
        self.series.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds to a counter. `labels` as `name="value",…`.
    pub(crate) fn add(&self, name: &'static str, labels: String, by: f64) {
        if let Some(value) = self.series().value(name, labels) {
            *value += by;
        }
    }

    /// Sets a gauge.
    pub(crate) fn set(&self, name: &'static str, labels: String, to: f64) {
        if let Some(value) = self.series().value(name, labels) {
            *value = to;
        }
    }

    /// Sets gauges that are looked up when they are asked for, in place of all that these names had.
    pub(crate) fn replace(&self, names: &[&'static str], gauges: Vec<(&'static str, String, f64)>) {
        self.series()
            .values
            .retain(|(name, _), _| !names.contains(name));
        for (name, labels, to) in gauges {
            self.set(name, labels, to);
        }
    }

    /// Counts one decision.
    pub(super) fn count(&self, verdict: &Verdict) {
        let door = format!("door=\"{}\"", verdict.door);
        let place = format!(
            "{door},engine=\"{}\"",
            label_value(verdict.engine.as_deref().unwrap_or_default())
        );
        let denial = verdict.decision.denial();
        let code = denial.map_or("", |denial| denial.refusal.code.as_str());
        let outcome = verdict.decision.outcome();
        let answer = format!("outcome=\"{outcome}\",code=\"{code}\"");
        self.add("rootpin_questions_total", format!("{place},{answer}"), 1.0);
        let roots = match &verdict.decision {
            Decision::Allow(admission) => signers(admission),
            Decision::Deny(denial) | Decision::LetThrough(denial, _) => denial.roots.clone(),
        };
        for root in roots {
            let root = label_value(&root);
            let labels = format!("root=\"{root}\",{door},{answer}");
            self.add("rootpin_root_answers_total", labels, 1.0);
        }
        if denial.is_some_and(|denial| denial.refusal.code == Code::Rollback) {
            self.add("rootpin_floors_refused_total", door, 1.0);
        }
        if let Some(by) = verdict.decision.let_through_by() {
            let labels = format!("{place},by=\"{}\"", by.as_str());
            self.add("rootpin_let_through_total", labels, 1.0);
        }
        let seconds = verdict.took.as_secs_f64();
        self.series()
            .histogram("rootpin_question_seconds", place, seconds);
    }

    /// Everything, as Prometheus reads it.
    #[must_use]
    pub(crate) fn text(&self) -> String {
        let series = self.series();
        let mut text = String::new();
        for KnownMetric {
            name, kind, help, ..
        } in METRICS
        {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            let values = series.values.iter().filter(|((known, _), _)| known == name);
            for ((_, labels), value) in values {
                sample(&mut text, name, labels, *value);
            }
            let histograms = series.histograms.iter();
            for ((_, labels), histogram) in histograms.filter(|((known, _), _)| known == name) {
                histogram.write(&mut text, name, labels);
            }
            if *name == "rootpin_series_dropped_total" {
                sample(&mut text, name, "", series.dropped);
            }
        }
        text
    }
}

impl Histogram {
    fn write(&self, text: &mut String, name: &str, labels: &str) {
        let bounds = BUCKETS.iter().map(ToString::to_string);
        let all = bounds.chain(["+Inf".to_owned()]);
        for (bound, count) in all.zip(self.buckets.iter().chain([&self.count])) {
            let _ = writeln!(text, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}");
        }
        sample(text, &format!("{name}_sum"), labels, self.sum);
        let _ = writeln!(text, "{name}_count{{{labels}}} {}", self.count);
    }
}

fn sample(text: &mut String, name: &str, labels: &str, value: f64) {
    // Writing to a String can't fail.
    let _ = match labels {
        "" => writeln!(text, "{name} {value}"),
        labels => writeln!(text, "{name}{{{labels}}} {value}"),
    };
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
    fn a_histogram_counts_each_value_in_every_bucket_that_it_fits_in() {
        let metrics = Metrics::default();
        for value in [0.001, 0.3, 0.3, 20.0] {
            let labels = "door=\"gate\",engine=\"\"".to_owned();
            metrics
                .series()
                .histogram("rootpin_question_seconds", labels, value);
        }
        let text = metrics.text();
        for (bound, count) in [("0.001", 1), ("0.1", 1), ("0.5", 3), ("8", 3), ("+Inf", 4)] {
            let line = format!(
                "rootpin_question_seconds_bucket{{door=\"gate\",engine=\"\",le=\"{bound}\"}} {count}\n"
            );
            assert!(text.contains(&line), "{line}{text}");
        }
        assert!(text.contains("seconds_sum{door=\"gate\",engine=\"\"} 20.601\n"));
        assert!(text.contains("seconds_count{door=\"gate\",engine=\"\"} 4\n"));
    }

    #[test]
    fn more_series_than_a_host_has_are_not_counted_and_that_is() {
        let metrics = Metrics::default();
        for at in 0..MAX_SERIES + 3 {
            let labels = format!("root=\"{at}\"");
            metrics.add("rootpin_root_answers_total", labels, 1.0);
        }
        metrics.add("rootpin_root_answers_total", "root=\"0\"".to_owned(), 1.0);
        let text = metrics.text();
        assert!(text.contains("\nrootpin_series_dropped_total 3\n"));
        assert!(text.contains("\nrootpin_root_answers_total{root=\"0\"} 2\n"));
    }

    #[test]
    fn what_is_looked_up_replaces_what_was_there() {
        let metrics = Metrics::default();
        let hash = |hash: &str| ("rootpin_policy_info", format!("hash=\"{hash}\""), 1.0);
        metrics.replace(&["rootpin_policy_info"], vec![hash("old")]);
        metrics.replace(&["rootpin_policy_info"], vec![hash("new")]);
        let text = metrics.text();
        assert!(text.contains("hash=\"new\"") && !text.contains("hash=\"old\""));
    }

    #[test]
    fn a_label_cannot_end_its_own_quotes() {
        assert_eq!(label_value("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}

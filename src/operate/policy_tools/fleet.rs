//! Reads what the hosts of a fleet say, in one way for each tool that asks about a fleet: reports of
//! `rootpin audit --json`, and lines of audit files. The order in which they come changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::reported::{Record, Report, ReportedImage};
use crate::observe::plain;
use crate::operate::audit::is_ahead;

/// The answers that a host can give.
const OUTCOMES: [&str; 3] = ["allowed", "refused", "unjudged"];

/// What one report or one line is.
#[derive(Debug)]
pub(super) enum FleetItem<'a> {
    /// All that a host has.
    Report(Report<'a>),
    /// One decision.
    Record(Record<'a>),
    /// A line of an audit file that is no decision.
    Event,
}

/// One report or one line, with its host and its time.
#[derive(Debug)]
pub(super) struct FromHost<'a> {
    pub(super) host: Arc<str>,
    pub(super) at: Timestamp,
    pub(super) item: FleetItem<'a>,
}

/// Reads one report or one line, at this time.
///
/// # Errors
/// Why it is none that can be relied on.
pub(super) fn read(bytes: &[u8], now: Timestamp) -> Result<FromHost<'_>, String> {
    let why = match serde_json::from_slice::<Report<'_>>(bytes) {
        Ok(report) => {
            let (host, at) = head(report.version, &report.host, &report.at)?;
            // It would stand in the place of all that its host reports until then.
            if is_ahead(at, now) {
                return Err(format!("its time, {at}, is in the future"));
            }
            if host.is_empty() {
                return Err("it names no host".to_owned());
            }
            let mut outcomes = report.images.iter().filter_map(ReportedImage::outcome);
            if let Some(other) = outcomes.find(|outcome| !OUTCOMES.contains(outcome)) {
                return Err(format!("{other:?} is no outcome"));
            }
            let item = FleetItem::Report(report);
            return Ok(FromHost { host, at, item });
        }
        Err(why) => why,
    };
    if let Ok(record) = serde_json::from_slice::<Record<'_>>(bytes) {
        let (host, at) = head(record.version, &record.host, &record.time)?;
        if !OUTCOMES.contains(&&*record.outcome) {
            return Err(format!("{:?} is no outcome", &*record.outcome));
        }
        let item = FleetItem::Record(record);
        return Ok(FromHost { host, at, item });
    }
    match serde_json::from_slice::<EventLine>(bytes) {
        Ok(event) if event.outcome.is_none() && event.images.is_none() => {
            let (host, at) = head(event.version, &event.host, &event.time)?;
            let item = FleetItem::Event;
            Ok(FromHost { host, at, item })
        }
        _ => Err(format!("no report and no audit record: {why}")),
    }
}

#[derive(Debug, serde::Deserialize)]
#[serde(expecting = "an object")]
struct EventLine {
    version: u64,
    host: String,
    time: String,
    #[serde(rename = "event")]
    _event: String,
    #[serde(default)]
    outcome: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    images: Option<serde::de::IgnoredAny>,
}

fn head(version: u64, host: &str, time: &str) -> Result<(Arc<str>, Timestamp), String> {
    if version != 1 {
        return Err(format!("it is of another version: {version}"));
    }
    let at = time
        .parse()
        .map_err(|_| format!("its time is none: {time:?}"))?;
    Ok((plain(host).into(), at))
}

/// What is kept of the latest report of each host. Of reports of one host and one time each counts:
/// none of them is known to be the later one.
#[derive(Debug)]
pub(super) struct LatestReports<T> {
    hosts: BTreeMap<Arc<str>, (Timestamp, Vec<T>)>,
    /// Reports that count for nothing.
    pub(super) superseded: usize,
}

impl<T> Default for LatestReports<T> {
    fn default() -> Self {
        Self {
            hosts: BTreeMap::new(),
            superseded: 0,
        }
    }
}

impl<T> LatestReports<T> {
    /// Whether a report counts, as far as reports came. Those that it supersedes count no more.
    pub(super) fn counts(&mut self, host: &Arc<str>, at: Timestamp) -> bool {
        match self.hosts.get_mut(host) {
            Some((known, _)) if *known > at => {
                self.superseded += 1;
                false
            }
            Some((known, kept)) if *known < at => {
                self.superseded += kept.len();
                (*known, *kept) = (at, Vec::new());
                true
            }
            _ => true,
        }
    }

    /// Keeps this of a report that counts.
    pub(super) fn keep(&mut self, host: Arc<str>, at: Timestamp, kept: T) {
        let (_, all) = self.hosts.entry(host).or_insert((at, Vec::new()));
        all.push(kept);
    }

    /// What is kept, by host.
    pub(super) fn all(&self) -> impl Iterator<Item = (&Arc<str>, &T)> {
        let all = self.hosts.iter();
        all.flat_map(|(host, (_, kept))| kept.iter().map(move |kept| (host, kept)))
    }

    /// The same, by value.
    pub(super) fn into_all(self) -> impl Iterator<Item = (Arc<str>, T)> {
        let all = self.hosts.into_iter();
        all.flat_map(|(host, (_, kept))| {
            kept.into_iter().map(move |kept| (Arc::clone(&host), kept))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_host_the_latest_reports_count_in_whatever_order_they_come() {
        let reports = [
            ("a", 1, "old"),
            ("a", 2, "one"),
            ("a", 2, "two"),
            ("b", 1, "other"),
        ];
        let kept = |order: [usize; 4]| {
            let mut latest = LatestReports::default();
            for (host, at, what) in order.map(|at| reports[at]) {
                let (host, at) = (Arc::from(host), Timestamp::from_second(at).unwrap());
                if latest.counts(&host, at) {
                    latest.keep(host, at, what);
                }
            }
            let mut kept: Vec<_> = latest.all().map(|(_, what)| *what).collect();
            kept.sort_unstable();
            (kept, latest.superseded)
        };
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 3, 2], [2, 3, 0, 1]] {
            assert_eq!(kept(order), (vec!["one", "other", "two"], 1), "{order:?}");
        }
    }

    #[test]
    fn a_line_is_a_report_a_decision_or_an_event_and_nothing_between() {
        let record = |more: &str| {
            format!(
                r#"{{"version":1,"host":"h","time":"2026-11-30T10:00:00Z","policy":null,"name":null,"digest":null,"outcome":"allowed","code":null,"ground":null,"rule":null,"roots":[],"found":null,"let_through":true{more}}}"#
            )
        };
        let kind = |line: &str| match read(line.as_bytes(), "2026-12-01T00:00:00Z".parse().unwrap())
        {
            Ok(read) => match read.item {
                FleetItem::Report(_) => "report",
                FleetItem::Record(_) => "record",
                FleetItem::Event => "event",
            },
            Err(_) => "unread",
        };
        assert_eq!(kind(&record("")), "record");
        assert_eq!(
            kind(r#"{"version":1,"host":"h","time":"2026-11-30T10:00:00Z","event":"started"}"#),
            "event"
        );
        for bad in [
            record("").replace("\"version\":1", "\"version\":99"),
            record("").replace("2026-11-30T", "yesterday "),
            record("").replace("\"allowed\"", "\"maybe\""),
            record("").replace(
                "\"let_through\":true",
                "\"let_through\":\"yes\",\"event\":\"x\"",
            ),
            r#"{"version":1,"event":"started"}"#.to_owned(),
            r#"{"event":{}}"#.to_owned(),
            "{".to_owned(),
        ] {
            assert_eq!(kind(&bad), "unread", "{bad}");
        }
    }
}

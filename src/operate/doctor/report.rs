//! The doctor's report, for people and programs.

use std::str::FromStr;

use serde_json::{Value, json};

use super::code::{Code, HoleSeverity};
use super::hole::Hole;
use crate::observe::plain;

pub use crate::operate::audit::Untold;

/// An engine that answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnsweringEngine {
    /// `containerd` or `dockerd`.
    pub kind: &'static str,
    /// As rootpin.toml names it.
    pub name: String,
    /// What it says it is.
    pub version: String,
    /// Its process; 0 where that is not known.
    pub pid: u32,
}

/// Everything found.
#[derive(Debug, Clone, Default)]
pub struct DoctorReport {
    /// The engines that answered.
    pub engines: Vec<AnsweringEngine>,
    /// The holes, the worst first.
    pub holes: Vec<Hole>,
    /// What could not be looked at.
    pub untold: Vec<Untold>,
    /// What somebody said is known and to be left out of the count.
    pub accepted: Vec<Accepted>,
}

/// A hole that is known: every one of a code, or those of one subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// What it is.
    pub code: Code,
    /// An engine's name, or a word of what was found; none: all of that code.
    pub subject: Option<String>,
}

impl Accepted {
    fn covers(&self, hole: &Hole) -> bool {
        let is_of = |subject: &String| {
            hole.engine == *subject || words(&hole.found).any(|word| word == subject)
        };
        hole.code == self.code && self.subject.as_ref().is_none_or(is_of)
    }
}

impl FromStr for Accepted {
    type Err = String;

    /// `CODE` or `CODE:SUBJECT`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (code, subject) = text
            .split_once(':')
            .map_or((text, None), |(code, subject)| {
                (code, Some(subject.to_owned()))
            });
        let code = Code::ALL
            .iter()
            .copied()
            .find(|known| known.as_str() == code);
        let code = code.ok_or_else(|| "no such code; docs/doctor.md lists them".to_owned())?;
        if subject.as_ref().is_some_and(String::is_empty) {
            return Err("nothing stands behind the colon; wanted CODE, or CODE:SUBJECT with an engine's name or a word of what was found"
                .to_owned());
        }
        Ok(Self { code, subject })
    }
}

/// The words of what was found, without what punctuates it.
fn words(found: &str) -> impl Iterator<Item = &str> {
    found
        .split_ascii_whitespace()
        .map(|word| word.trim_matches(|sign: char| ",;:\"'()[]".contains(sign)))
}

impl DoctorReport {
    pub(super) fn engine(&mut self, kind: &'static str, name: &str, version: &str, pid: u32) {
        self.engines.push(AnsweringEngine {
            kind,
            name: name.to_owned(),
            version: version.to_owned(),
            pid,
        });
    }

    pub(super) fn untold(&mut self, subject: &str, why: &str) {
        self.untold.push(Untold {
            subject: subject.to_owned(),
            why: plain(why),
        });
    }

    pub(super) fn finish(&mut self) {
        self.holes.sort_by(|one, other| {
            (one.severity, &one.engine, one.code.as_str(), &one.found).cmp(&(
                other.severity,
                &other.engine,
                other.code.as_str(),
                &other.found,
            ))
        });
        self.holes.dedup();
    }

    /// Whether a hole counts: it is open, and nobody said that it is known.
    #[must_use]
    pub fn counts(&self, hole: &Hole) -> bool {
        hole.severity == HoleSeverity::Open && !self.is_accepted(hole)
    }

    fn is_accepted(&self, hole: &Hole) -> bool {
        self.accepted.iter().any(|accepted| accepted.covers(hole))
    }

    /// `open`, `shut`, or `untold` where no hole was found and not everything was looked at.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        match (
            self.holes.iter().any(|hole| self.counts(hole)),
            self.untold.is_empty(),
        ) {
            (true, _) => "open",
            (false, true) => "shut",
            (false, false) => "untold",
        }
    }

    /// 0 shut, 1 open, 2 could not tell.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.outcome() {
            "open" => 1,
            "shut" => 0,
            _ => 2,
        }
    }

    /// The object of `rootpin doctor --json`.
    #[must_use]
    pub fn json(&self) -> Value {
        let hole = |hole: &Hole| {
            json!({
                "code": hole.code.as_str(),
                "severity": hole.severity.as_str(),
                "engine": if hole.engine.is_empty() { None } else { Some(&hole.engine) },
                "found": hole.found,
                "why": hole.code.why(),
                "change": hole.change,
                "fixable": hole.fix.is_some(),
                "accepted": self.is_accepted(hole),
            })
        };
        let engine = |engine: &AnsweringEngine| json!({ "kind": engine.kind, "name": engine.name, "version": engine.version, "pid": engine.pid });
        json!({
            "version": 1,
            "outcome": self.outcome(),
            "engines": self.engines.iter().map(engine).collect::<Vec<_>>(),
            "holes": self.holes.iter().map(hole).collect::<Vec<_>>(),
            "untold": self.untold,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_engine_that_is_known_hides_no_other() {
        let mut report = DoctorReport {
            accepted: vec![
                "unlisted-engine:buildkitd".parse().unwrap(),
                "gate-order:main".parse().unwrap(),
            ],
            ..DoctorReport::default()
        };
        let hole = |code, engine: &str, found: &str| Hole::new(code, engine, found);
        report.holes = vec![
            hole(
                Code::UnlistedEngine,
                "",
                "buildkitd runs as process 7 of user 0: /usr/bin/buildkitd",
            ),
            hole(
                Code::UnlistedEngine,
                "",
                "containerd runs as process 8 of user 0: containerd --config /etc/buildkitd.toml",
            ),
            hole(Code::GateOrder, "main", "x"),
            hole(Code::GateOrder, "second", "main"),
            hole(Code::GateMissing, "main", "x"),
        ];
        let counts: Vec<bool> = report
            .holes
            .iter()
            .map(|hole| report.counts(hole))
            .collect();
        assert_eq!(
            counts,
            [false, true, false, false, true],
            "a word of what was found is a subject too"
        );
        report.accepted = vec!["unlisted-engine".parse().unwrap()];
        assert!(!report.counts(&report.holes[1]));
        assert!(
            "unlisted:x".parse::<Accepted>().is_err() && "gate-order:".parse::<Accepted>().is_err()
        );
    }
}

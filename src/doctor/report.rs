//! What a doctor says, for people and programs.

use serde_json::{Value, json};

use super::code::{Code, Severity};
use super::hole::Hole;
use crate::observe::plain;

pub use crate::audit::Untold;

/// An engine that answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engine {
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
pub struct Report {
    /// The engines that answered.
    pub engines: Vec<Engine>,
    /// The holes, the worst first.
    pub holes: Vec<Hole>,
    /// What could not be looked at.
    pub untold: Vec<Untold>,
    /// Codes that somebody said are known and to be left out of the count.
    pub accepted: Vec<Code>,
}

impl Report {
    pub(super) fn engine(&mut self, kind: &'static str, name: &str, version: &str, pid: u32) {
        self.engines.push(Engine { kind, name: name.to_owned(), version: version.to_owned(), pid });
    }

    pub(super) fn untold(&mut self, subject: &str, why: &str) {
        self.untold.push(Untold { subject: subject.to_owned(), why: plain(why) });
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
        hole.severity == Severity::Open && !self.accepted.contains(&hole.code)
    }

    /// `open`, `shut`, or `untold` where no hole was found and not everything was looked at.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        match (self.holes.iter().any(|hole| self.counts(hole)), self.untold.is_empty()) {
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
                "accepted": self.accepted.contains(&hole.code),
            })
        };
        let engine = |engine: &Engine| json!({ "kind": engine.kind, "name": engine.name, "version": engine.version, "pid": engine.pid });
        json!({
            "version": 1,
            "outcome": self.outcome(),
            "engines": self.engines.iter().map(engine).collect::<Vec<_>>(),
            "holes": self.holes.iter().map(hole).collect::<Vec<_>>(),
            "untold": self.untold,
        })
    }
}

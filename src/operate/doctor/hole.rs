//! One hole: what was found, and what closes it.

use std::path::PathBuf;

use super::code::{Code, HoleSeverity};
use crate::observe::plain;

/// An open hole of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hole {
    /// What it is.
    pub code: Code,
    /// How much it weighs here.
    pub severity: HoleSeverity,
    /// The engine's name, or empty where it is no one's.
    pub engine: String,
    /// What was found, and in which file.
    pub found: String,
    /// What to do; where it is a file's lines, exactly those.
    pub change: String,
    /// How `--fix` does it; none: a person must.
    pub fix: Option<Fix>,
}

/// A change that closes holes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fix {
    /// rootpin's drop-in of that engine, written anew as the last one that is read.
    DropIn,
    /// The key of CRI 1.7 that a drop-in can't set without losing all others.
    CriAnnotations,
    /// rootpin-verifier in that folder, which is made if need be.
    Verifier(PathBuf),
    /// Root's, with this mode.
    Mode(PathBuf, u32),
    /// One more of dockerd's authorization plugins.
    Authorization(String),
    /// That feature of dockerd is off.
    Feature(String),
    /// That socket is removed, if nobody listens there.
    DeadSocket(PathBuf),
    /// That file, which an earlier try to write has left, is removed.
    Leftover(PathBuf),
}

impl Hole {
    /// A hole with its code's severity and nothing to do.
    pub(super) fn new(code: Code, engine: &str, found: impl AsRef<str>) -> Self {
        let found = plain(found.as_ref());
        Self {
            code,
            severity: code.severity(),
            engine: engine.to_owned(),
            found,
            change: String::new(),
            fix: None,
        }
    }

    /// What closes it.
    pub(super) fn change(mut self, change: impl Into<String>) -> Self {
        self.change = change.into();
        self
    }

    /// What closes it by `--fix`.
    pub(super) fn fix(mut self, fix: Fix) -> Self {
        self.fix = Some(fix);
        self
    }

    /// In this case it weighs less, or more.
    pub(super) fn weighing(mut self, severity: HoleSeverity) -> Self {
        self.severity = severity;
        self
    }
}

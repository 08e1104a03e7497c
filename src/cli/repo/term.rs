//! The root's term, which every verb that reads a repository watches: where it is over hosts refuse
//! all that the repository says.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::cli::output::Output;
use crate::publish::{Document, Metadata};

/// From when on it is said.
const SOON: SignedDuration = SignedDuration::from_hours(24 * 30);

/// How the newest root's term stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RootTerm {
    version: u64,
    expires: Option<Timestamp>,
    state: TermState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TermState {
    Good,
    Soon,
    Over,
}

impl RootTerm {
    pub(super) fn of(metadata: &Metadata, now: Timestamp) -> Self {
        let root = metadata.root().ok();
        Self::at(
            root.map_or(0, Document::version),
            root.and_then(Document::expires),
            now,
        )
    }

    fn at(version: u64, expires: Option<Timestamp>, now: Timestamp) -> Self {
        let left = expires.map(|expires| expires.duration_since(now));
        let state = match left {
            Some(left) if left > SOON => TermState::Good,
            Some(left) if left.is_positive() => TermState::Soon,
            _ => TermState::Over,
        };
        Self {
            version,
            expires,
            state,
        }
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let state = match self.state {
            TermState::Good => "ok",
            TermState::Soon => "expires soon",
            TermState::Over => "expired",
        };
        json!({ "version": self.version, "expires": self.expires.map(|expires| expires.to_string()), "state": state })
    }

    /// Says it, where it is soon over, and gives the exit code of a verb that ended with this one.
    pub(super) fn said(&self, exit: u8, repo: &Path) -> u8 {
        if let Some(text) = self.text() {
            Output::loudly(&super::in_folder(&text, repo));
        }
        if self.state == TermState::Over {
            exit.max(1)
        } else {
            exit
        }
    }

    fn text(&self) -> Option<String> {
        let expires = self
            .expires
            .map(|expires| expires.to_string())
            .unwrap_or_default();
        let found = match self.state {
            TermState::Good => return None,
            TermState::Soon => {
                format!(
                    "root {} expires at {expires}, and from then on hosts refuse all that this repository says",
                    self.version
                )
            }
            TermState::Over => format!(
                "root {} expired at {expires}: hosts refuse all that this repository says",
                self.version
            ),
        };
        let hint = "sign it anew where enough of its keys are (elsewhere with --propose FILE): rootpin repo rotate root --renew";
        Some(format!("{found}\nhint: {hint}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_told_of_from_thirty_days_on_and_fails_the_verb_from_the_second_of_its_end_on() {
        let now: Timestamp = "2026-11-29T00:00:00Z".parse().unwrap();
        for (expires, exit, said) in [
            ("2027-01-01T00:00:00Z", 0, None),
            (
                "2026-12-29T00:00:00Z",
                0,
                Some("expires at 2026-12-29T00:00:00Z"),
            ),
            ("2026-11-29T00:00:01Z", 0, Some("expires at")),
            (
                "2026-11-29T00:00:00Z",
                1,
                Some("root 3 expired at 2026-11-29T00:00:00Z"),
            ),
            ("2020-01-01T00:00:00Z", 1, Some("rotate root --renew")),
        ] {
            let term = RootTerm::at(3, Some(expires.parse().unwrap()), now);
            assert_eq!(term.said(0, Path::new(".")), exit, "{expires}");
            assert_eq!(term.said(2, Path::new(".")), 2);
            assert_eq!(term.text().is_some(), said.is_some(), "{expires}");
            assert!(
                said.is_none_or(|said| term.text().unwrap().contains(said)),
                "{:?}",
                term.text()
            );
        }
    }
}

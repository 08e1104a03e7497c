//! `[[exempt]]`: names, or bytes, that need no signature for a while.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Timestamp;

use super::diagnostic::Location;
use super::pattern::{self, Pattern};
use super::report::{At, Place, Report};
use super::section::Section;
use super::{digest, reason};
use rootpin_trust::image::Digest;

/// An exemption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exempt {
    /// The names.
    pub pattern: Pattern,
    /// When it ends.
    pub until: Timestamp,
    /// Why it is there.
    pub reason: String,
    /// The only bytes that it is for; without, every byte under the names.
    pub digests: Option<BTreeSet<Digest>>,
    /// Where it stands.
    pub location: Location,
}

impl Exempt {
    /// Whether its time has passed.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        now >= self.until
    }
}

impl fmt::Display for Exempt {
    /// `[[exempt]] match = "…" (FILE:LINE)`
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "[[exempt]] match = \"{}\" ({}:{})",
            self.pattern, self.location.file, self.location.line
        )
    }
}

/// An exemption as far as it was understood.
#[derive(Debug)]
pub(super) struct ExemptDraft {
    pub(super) place: Place,
    pub(super) pattern: Option<At<Pattern>>,
    pub(super) until: Option<At<Timestamp>>,
    pub(super) reason: Option<String>,
    pub(super) digests: Option<Vec<At<Digest>>>,
}

/// Reads one `[[exempt]]`.
pub(super) fn read(section: &Section<'_>, report: &mut Report) -> ExemptDraft {
    section.only(report, &["match", "until", "reason", "digests"]);
    section.require(
        report,
        &[
            (
                "match",
                "the names that it is for, as registry.example/legacy/app",
            ),
            ("until", "when it ends, as 2027-01-31T00:00:00Z"),
            ("reason", reason::HINT),
        ],
    );
    ExemptDraft {
        place: section.place,
        pattern: section.parsed(report, "match", pattern::parse),
        until: section.instant(report, "until"),
        reason: section
            .parsed(report, "reason", reason::parse)
            .map(|at| at.value),
        digests: section.list(report, "digests", digest::parse),
    }
}

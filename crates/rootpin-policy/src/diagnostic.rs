//! What is wrong in a policy, and where: one finding as a person and a machine read it.

use std::fmt;
use std::sync::Arc;

/// Every code that a finding can have, and what it means. Stable: `--json` carries them,
/// `docs/policy.md` explains them.
pub const CODES: [(&str, &str); 29] = [
    (
        "ambiguous",
        "two rules can match one name and neither is more specific",
    ),
    ("bad-digest", "not sha256: and 64 lower-case hex digits"),
    ("bad-duration", "not a whole number and s, m, h or d"),
    ("bad-file", "a pinned file does not hold what it should"),
    (
        "bad-key",
        "a key that is neither a canonical key ID nor a file with usable keys",
    ),
    ("bad-name", "an image name not in full form with its tag"),
    (
        "bad-pattern",
        "a pattern that is not understood or not in full form",
    ),
    ("bad-role", "a role that no image can be signed in"),
    ("bad-url", "an address that is not understood"),
    ("bad-value", "a value outside of what the key takes"),
    ("duplicate", "the same thing said twice"),
    (
        "final",
        "a fragment would take names from a rule that is final",
    ),
    (
        "fragment",
        "a key that does not belong in this kind of file, or [fragment] owns that is missing",
    ),
    (
        "looser-mode",
        "a rule may be stricter than the policy, never looser",
    ),
    ("missing-key", "a mandatory key is not there"),
    ("no-effect", "a key that changes nothing where it stands"),
    (
        "outside-owns",
        "a fragment speaks of names that it does not own",
    ),
    ("owns-overlap", "two fragments own the same names"),
    (
        "plain-http",
        "http without TLS to an address that is not loopback",
    ),
    ("quorum", "a quorum that its roots cannot give"),
    ("revoked-pin", "what an entry pins is revoked"),
    ("signed-as", "signed-as has other wildcards than match"),
    ("syntax", "not TOML"),
    ("undefined-root", "a rule names a root that no file defines"),
    ("unknown-key", "a key that is not understood"),
    ("unknown-type", "a root of a type that is not understood"),
    (
        "unreadable",
        "a file is missing, not UTF-8, too large or badly owned",
    ),
    ("until", "an exemption that is over, or ends too far away"),
    ("unused-root", "a root that no rule names"),
];

/// Whether a finding stops the policy from loading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The policy does not load.
    Error,
    /// The policy loads.
    Warning,
}

/// A place in one of the policy's files.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// Relative to the policy's directory: `policy.toml`, `policy.d/10.toml`.
    pub file: Arc<str>,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Where; line 1 column 1 where the whole file is meant.
    pub location: Location,
    /// One of [`CODES`].
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What a person can do.
    pub hint: String,
    /// Whether it stops the policy from loading.
    pub severity: Severity,
    /// The line that it is about, control characters replaced and cut when very long; empty for a
    /// whole file.
    pub source_line: String,
    /// Where in `source_line` the caret stands, in characters from 0.
    pub caret: usize,
}

/// Something wrong with one value, before it is known where the value stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}; hint: {hint}")]
pub struct Fault {
    /// One of [`CODES`].
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What a person can do.
    pub hint: String,
}

impl Fault {
    pub(super) fn new(
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            code,
            message: message.into(),
            hint: hint.into(),
        }
    }
}

impl Severity {
    /// `error` or `warning`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}:{}", self.file, self.line, self.column)
    }
}

impl fmt::Display for Diagnostic {
    /// `FILE:LINE:COLUMN: CODE: message`, the line, a caret, and `hint: …`; no line break at the
    /// end.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let warning = if self.severity == Severity::Warning {
            "warning: "
        } else {
            ""
        };
        writeln!(
            formatter,
            "{}: {}: {warning}{}",
            self.location, self.code, self.message
        )?;
        if !self.source_line.is_empty() {
            // Tabs are kept, so that the caret stands under its character whatever their width.
            let pad: String = self
                .source_line
                .chars()
                .take(self.caret)
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            writeln!(formatter, "    {}\n    {pad}^", self.source_line)?;
        }
        write!(formatter, "hint: {}", self.hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding() -> Diagnostic {
        Diagnostic {
            location: Location {
                file: "policy.toml".into(),
                line: 3,
                column: 9,
            },
            code: "bad-digest",
            message: "not a digest".to_owned(),
            hint: "write one".to_owned(),
            severity: Severity::Error,
            source_line: "\tname = x".to_owned(),
            caret: 8,
        }
    }

    #[test]
    fn a_finding_shows_the_place_the_line_a_caret_and_a_hint() {
        let text = "policy.toml:3:9: bad-digest: not a digest\n    \tname = x\n    \t       ^\nhint: write one";
        assert_eq!(finding().to_string(), text);
    }

    #[test]
    fn a_finding_about_a_whole_file_shows_no_line() {
        let whole = Diagnostic {
            source_line: String::new(),
            severity: Severity::Warning,
            ..finding()
        };
        assert_eq!(
            whole.to_string(),
            "policy.toml:3:9: bad-digest: warning: not a digest\nhint: write one"
        );
    }

    #[test]
    fn codes_are_sorted_and_stand_once() {
        assert!(CODES.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}

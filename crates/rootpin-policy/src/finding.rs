//! A finding: something wrong in a policy, and where, for people and for machines.

use std::fmt;
use std::sync::Arc;

rootpin_trust::codes! {
    /// The kind of a finding. Names are stable; docs/policy.md explains them.
    pub enum FindingCode;
    Ambiguous = "ambiguous", "two rules can match one name and neither is more specific";
    BadDigest = "bad-digest", "not sha256: and 64 lower-case hex digits";
    BadDuration = "bad-duration", "not a whole number and s, m, h or d";
    BadFile = "bad-file", "a pinned file does not hold what it should";
    BadKey = "bad-key", "a key that is neither a canonical key ID nor a file with usable keys";
    BadName = "bad-name", "an image name not in full form with its tag";
    BadPattern = "bad-pattern", "a pattern that is not understood or not in full form";
    BadRole = "bad-role", "a role that no image can be signed in";
    BadUrl = "bad-url", "an address that is not understood";
    BadValue = "bad-value", "a value outside of what the key takes";
    Duplicate = "duplicate", "the same thing said twice";
    Final = "final", "a fragment would take names from a rule that is final";
    Fragment = "fragment", "a key that does not belong in this kind of file, or a fragment without owns";
    LooserMode = "looser-mode", "a rule may be stricter than the policy, never looser";
    MissingKey = "missing-key", "a mandatory key is not there";
    NoEffect = "no-effect", "a key that changes nothing where it stands";
    OutsideOwns = "outside-owns", "a fragment speaks of names that it does not own";
    OwnsOverlap = "owns-overlap", "two fragments own the same names";
    PlainHttp = "plain-http", "http without TLS to an address that is not loopback";
    Quorum = "quorum", "a quorum that its roots cannot give, or that one signer can give alone";
    RevokedPin = "revoked-pin", "what an entry pins is revoked";
    SignedAs = "signed-as", "signed-as has other wildcards than match";
    Syntax = "syntax", "not TOML";
    UnboundTags = "unbound-tags", "a rule whose roots may bind no tag, and that does not say so, or says so for nothing";
    UndefinedRoot = "undefined-root", "a rule names a root that no file defines";
    UnknownKey = "unknown-key", "a key that is not understood";
    UnknownType = "unknown-type", "a root of a type that is not understood";
    Unreadable = "unreadable", "a file is missing, not UTF-8, too large or badly owned";
    Until = "until", "an end that is over, or too far away";
    UnusedRoot = "unused-root", "a root that no rule names";
}

/// Whether a finding stops the policy from loading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// The place; line 1 column 1 for a whole file.
    pub location: Location,
    /// The kind of finding.
    pub code: FindingCode,
    /// The mistake.
    pub message: String,
    /// What to write instead.
    pub hint: String,
    /// Whether it stops the policy from loading.
    pub severity: Severity,
    /// The line at that place, with control characters replaced, cut when very long; empty for a
    /// whole file.
    pub source_line: String,
    /// The place in `source_line`, in characters from 0.
    pub caret: usize,
}

/// A mistake in one value, wherever the value stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}; hint: {hint}")]
pub struct Fault {
    /// The kind of finding.
    pub code: FindingCode,
    /// The mistake.
    pub message: String,
    /// What to write instead.
    pub hint: String,
}

impl Fault {
    /// A fault of that kind.
    pub fn new(code: FindingCode, message: impl Into<String>, hint: impl Into<String>) -> Self {
        let (message, hint) = (message.into(), hint.into());
        Self {
            code,
            message,
            hint,
        }
    }
}

impl Location {
    /// `FILE:LINE`
    pub(crate) fn short(&self) -> String {
        format!("{}:{}", self.file, self.line)
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
        let (location, code, message) = (&self.location, self.code, &self.message);
        let warning = match self.severity {
            Severity::Error => "",
            Severity::Warning => "warning: ",
        };
        writeln!(formatter, "{location}: {code}: {warning}{message}")?;
        if !self.source_line.is_empty() {
            // Tabs are kept, so that the caret stands under its character whatever their width.
            let before = self.source_line.chars().take(self.caret);
            let pad: String = before.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
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
            code: FindingCode::BadDigest,
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
        let names = FindingCode::ALL.iter().map(|code| code.as_str());
        assert!(names.is_sorted_by(|one, two| one < two));
    }
}

//! A "no", with what a person needs to change it.

use std::fmt;

crate::codes! {
    /// Why an image is not let through. The names are stable; logs, metrics and `--json` carry them.
    pub enum Code;
    BadSignature = "bad-signature", "The threshold of a role's signatures is not met";
    Clock = "clock", "The clock is earlier than the last good contact";
    DigestMismatch = "digest-mismatch", "The name is signed, for another digest";
    ExemptionOver = "exemption-over", "An exemption for the name is over";
    Expired = "expired", "Metadata, or a signature, is past its expiry";
    Malformed = "malformed", "Something could not be read as what it should be";
    NoRule = "no-rule", "No rule covers the name";
    NoStatement = "no-statement", "The tag, digest or repository is not named by the signed metadata, or a signer of it is missing";
    NotLocal = "not-local", "The bytes come from no registry, and the policy lets no such bytes through here";
    OverLimit = "over-limit", "A limit on hostile work was reached";
    PolicyUnusable = "policy-unusable", "There is no policy in force";
    Revoked = "revoked", "The digest or a key it rests on is revoked by the policy";
    RoleMissing = "role-missing", "A role that the policy requires is not there";
    Rollback = "rollback", "Metadata is older than what this host has seen, or other bytes stand under a version that it has seen";
    RootNotPinned = "root-not-pinned", "The root role lists a key that is not pinned";
    SourceDenied = "source-denied", "A source wants credentials that it wasn't given (401, 403)";
    SourceUnreachable = "source-unreachable", "No source answers";
    StateUnusable = "state-unusable", "The state of this host cannot be read or written";
}

impl Code {
    /// Whether we judged and said no (exit 1); otherwise we could not judge (exit 2).
    #[must_use]
    pub fn judged(self) -> bool {
        match self {
            Self::BadSignature
            | Self::DigestMismatch
            | Self::ExemptionOver
            | Self::Expired
            | Self::NoRule
            | Self::NoStatement
            | Self::NotLocal
            | Self::Revoked
            | Self::RoleMissing
            | Self::Rollback
            | Self::RootNotPinned => true,
            Self::Clock
            | Self::Malformed
            | Self::OverLimit
            | Self::PolicyUnusable
            | Self::SourceDenied
            | Self::SourceUnreachable
            | Self::StateUnusable => false,
        }
    }

    /// How much it says: of several refusals the one whose code has the highest rank is shown.
    #[must_use]
    pub fn rank(self) -> u8 {
        match self {
            Self::NoRule => 0,
            Self::NotLocal => 1,
            Self::ExemptionOver => 2,
            Self::PolicyUnusable => 3,
            Self::SourceUnreachable => 4,
            Self::SourceDenied => 5,
            Self::Malformed => 6,
            Self::OverLimit => 7,
            Self::Clock => 8,
            Self::StateUnusable => 9,
            Self::NoStatement => 10,
            Self::RoleMissing => 11,
            Self::Expired => 12,
            Self::DigestMismatch => 13,
            Self::RootNotPinned => 14,
            Self::BadSignature => 15,
            Self::Rollback => 16,
            Self::Revoked => 17,
        }
    }
}

/// A "no": what was found, what was wanted, and what would change it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub code: Code,
    /// The finding. May quote hostile text, always escaped.
    pub found: String,
    /// The demand that was not met.
    pub wanted: String,
    /// The remedy: what a person can type or change.
    pub hint: String,
    /// Whether it is for a root file that nothing pinned speaks for: if the publisher's root was
    /// changed, another is to be pinned.
    pub unpinned_root: bool,
    /// Whether a source that is behind, or half published, explains it. Who can serve such files
    /// can as well stay silent, so what was verified earlier may answer as if nobody had.
    pub source_behind: bool,
}

impl Refusal {
    /// A refusal of that kind.
    pub fn new(
        code: Code,
        found: impl Into<String>,
        wanted: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            code,
            found: found.into(),
            wanted: wanted.into(),
            hint: hint.into(),
            unpinned_root: false,
            source_behind: false,
        }
    }

    /// One for a root file that nothing pinned speaks for.
    #[must_use]
    pub(super) fn of_unpinned_root(mut self) -> Self {
        self.unpinned_root = true;
        self
    }

    /// One that a source which is behind, or half published, explains.
    #[must_use]
    pub(super) fn of_source_behind(mut self) -> Self {
        self.source_behind = true;
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}: found {}, wanted {}",
            self.code, self.found, self.wanted
        )
    }
}

impl std::error::Error for Refusal {}

/// Hostile text, escaped and cut, to stand in a refusal.
pub(super) fn shown(text: &str) -> String {
    let cut: String = text.chars().take(120).collect();
    if cut.len() < text.len() {
        format!("{cut:?}…")
    } else {
        format!("{cut:?}")
    }
}

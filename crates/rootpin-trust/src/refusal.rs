//! A "no", with what a person needs to change it.

use std::fmt;

/// Each code once: its documentation, its variant and its stable name.
macro_rules! codes {
    ($($(#[$documentation:meta])* $code:ident = $name:literal,)*) => {
        /// Why an image is not let through. The names are stable; logs, metrics and `--json` carry
        /// them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[$documentation])* $code,)*
        }

        impl Code {
            /// Every code, in the order of their names.
            pub const ALL: &[Self] = &[$(Self::$code,)*];

            /// The stable name.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$code => $name,)*
                }
            }
        }
    };
}

codes! {
    /// The threshold of a role's signatures is not met.
    BadSignature = "bad-signature",
    /// The clock is earlier than the last good contact.
    Clock = "clock",
    /// The name is signed, for another digest.
    DigestMismatch = "digest-mismatch",
    /// An exemption for the name is over.
    ExemptionOver = "exemption-over",
    /// Metadata is past its expiry.
    Expired = "expired",
    /// Something could not be read as what it should be.
    Malformed = "malformed",
    /// No rule covers the name.
    NoRule = "no-rule",
    /// The tag, digest or repository is not named by the signed metadata.
    NoStatement = "no-statement",
    /// The bytes come from no registry, and the policy lets no such bytes through here.
    NotLocal = "not-local",
    /// A limit on hostile work was reached.
    OverLimit = "over-limit",
    /// There is no policy in force.
    PolicyUnusable = "policy-unusable",
    /// The digest or a key it rests on is revoked by the policy.
    Revoked = "revoked",
    /// A role that the policy requires is not there.
    RoleMissing = "role-missing",
    /// Metadata is older than what this host has seen, or other bytes stand under a version that it
    /// has seen.
    Rollback = "rollback",
    /// The root role lists a key that is not pinned.
    RootNotPinned = "root-not-pinned",
    /// A source wants credentials that it wasn't given (401, 403).
    SourceDenied = "source-denied",
    /// No source answers.
    SourceUnreachable = "source-unreachable",
    /// The state of this host cannot be read or written.
    StateUnusable = "state-unusable",
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
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
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
    pub(super) fn of_unpinned_root(self) -> Self {
        Self {
            unpinned_root: true,
            ..self
        }
    }

    /// One that a source which is behind, or half published, explains.
    #[must_use]
    pub(super) fn of_source_behind(self) -> Self {
        Self {
            source_behind: true,
            ..self
        }
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

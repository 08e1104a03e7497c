//! What the judge answers.

use std::sync::Arc;

use jiff::Timestamp;
use rootpin_trust::image::Digest;
use rootpin_trust::{Code, Collection, Refusal, Verified};

use crate::Mode;

/// Why an image is let through. Only the judge makes one.
#[derive(Debug)]
pub struct Admission {
    pub(super) ground: Ground,
    pub(super) rule: String,
    pub(super) valid_until: Timestamp,
    pub(super) mode: Mode,
}

/// What an admission rests on.
#[derive(Debug)]
pub enum Ground {
    /// Pinned roots have signed that the name is these bytes: each root's ID and its statement.
    Signed(Vec<(String, Statement)>),
    /// The policy itself names the digest.
    PolicyPin,
    /// The policy exempts the name.
    Exempt,
    /// Bytes that came from no registry, which the policy lets through in this namespace.
    Local,
    /// A key of the policy lets all of its kind pass, as `[docker] swarm`.
    PolicyKey,
}

/// What a root's verified metadata says of a repository.
#[derive(Debug, Clone)]
pub struct Statement {
    /// The verified metadata.
    pub verified: Arc<Verified<Collection>>,
    /// The last good contact with its source.
    pub contact: Timestamp,
    /// Until when it answers without another look.
    pub valid_until: Timestamp,
    /// Whether it was known before the question, so that its source may have newer metadata.
    pub at_hand: bool,
    /// When its source may be asked again, where anybody will.
    pub again_after: Option<Timestamp>,
}

/// A "no" with what was known when it was said.
#[derive(Debug, Clone)]
pub struct Denial {
    /// Why, and what would change it.
    pub refusal: Refusal,
    /// The policy's entry that applied, if one did.
    pub rule: Option<String>,
    /// The roots that were asked.
    pub roots: Vec<String>,
}

/// The answer to a question.
#[derive(Debug)]
pub struct Judgement {
    /// Yes or no.
    pub result: Result<Admission, Denial>,
    /// The mode under which a no stands.
    pub mode: Mode,
    /// The name that decided: its place in the question. None: no name did.
    pub decided_by: Option<usize>,
    /// The digest that a tag resolves to.
    pub digest: Option<Digest>,
    /// What it rests on.
    pub basis: Basis,
}

/// What a judgement rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// The policy alone.
    Policy,
    /// Roots were asked, and all their metadata is as fresh as the policy wants it.
    Roots,
    /// Roots were asked, and for one of them there was no fresh metadata.
    Doubtful,
}

impl Basis {
    /// The weaker of two.
    #[must_use]
    pub fn weaker(self, other: Self) -> Self {
        match (self, other) {
            (Self::Doubtful, _) | (_, Self::Doubtful) => Self::Doubtful,
            (Self::Roots, _) | (_, Self::Roots) => Self::Roots,
            (Self::Policy, Self::Policy) => Self::Policy,
        }
    }
}

impl Denial {
    /// A no by no entry of the policy.
    #[must_use]
    pub fn plain(refusal: Refusal) -> Self {
        Self {
            refusal,
            rule: None,
            roots: Vec::new(),
        }
    }

    /// A no by an entry of the policy.
    #[must_use]
    pub fn by(rule: String, refusal: Refusal) -> Self {
        Self {
            rule: Some(rule),
            ..Self::plain(refusal)
        }
    }
}

impl Admission {
    /// `signed`, `policy-pin`, `exempt`, `local` or `policy-key`.
    #[must_use]
    pub fn ground_name(&self) -> &'static str {
        match self.ground {
            Ground::Signed(_) => "signed",
            Ground::PolicyPin => "policy-pin",
            Ground::Exempt => "exempt",
            Ground::Local => "local",
            Ground::PolicyKey => "policy-key",
        }
    }

    /// What it rests on.
    #[must_use]
    pub fn ground(&self) -> &Ground {
        &self.ground
    }

    /// The policy's entry: `[[rule]] match = "…"`.
    #[must_use]
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// Until when it holds without being decided anew.
    #[must_use]
    pub fn valid_until(&self) -> Timestamp {
        self.valid_until
    }

    /// The mode under which a failure to keep it stands.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The roots that signed.
    #[must_use]
    pub fn roots(&self) -> Vec<&str> {
        match &self.ground {
            Ground::Signed(roots) => roots.iter().map(|(id, _)| id.as_str()).collect(),
            Ground::PolicyPin | Ground::Exempt | Ground::Local | Ground::PolicyKey => Vec::new(),
        }
    }
}

/// How much a code says: the most specific of several refusals is shown.
#[must_use]
pub fn rank(code: Code) -> u8 {
    match code {
        Code::NoRule => 0,
        Code::NotLocal => 1,
        Code::ExemptionOver => 2,
        Code::PolicyUnusable => 3,
        Code::SourceUnreachable => 4,
        Code::SourceDenied => 5,
        Code::Malformed => 6,
        Code::OverLimit => 7,
        Code::Clock => 8,
        Code::StateUnusable => 9,
        Code::NoStatement => 10,
        Code::RoleMissing => 11,
        Code::Expired => 12,
        Code::DigestMismatch => 13,
        Code::RootNotPinned => 14,
        Code::BadSignature => 15,
        Code::Rollback => 16,
        Code::Revoked => 17,
    }
}

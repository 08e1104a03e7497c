//! The answer of the judge.

use std::sync::Arc;

use jiff::Timestamp;
use rootpin_trust::image::Digest;
use rootpin_trust::{Code, Collection, Refusal, Verified};

use crate::Mode;

/// A "yes". Only the judge makes one.
#[derive(Debug)]
#[non_exhaustive]
pub struct Admission {
    /// Why the image is let through.
    pub ground: Ground,
    /// The policy's entry: `[[rule]] match = "…"`.
    pub rule: String,
    /// Until when the answer holds without being judged anew.
    pub valid_until: Timestamp,
    /// The mode for a failure to record the answer.
    pub mode: Mode,
}

/// Why an image is let through.
#[derive(Debug)]
pub enum Ground {
    /// Pinned roots have signed that the name is these bytes: each root's ID and its statement.
    Signed(Vec<(String, Statement)>),
    /// The policy itself names the digest.
    PolicyPin,
    /// The policy exempts the name.
    Exempt,
    /// The bytes came from no registry, and the policy allows such bytes in this namespace.
    Local,
    /// A key of the policy allows all of its kind, as `[docker] swarm` does.
    PolicyKey,
}

/// A root's verified metadata about a repository.
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
    /// Why it may lack signers, where all of them were asked for.
    pub unseen: Option<Refusal>,
    /// Where it may lack signers because lists are longer than what is looked at: how much was, as an
    /// end of what was found.
    pub cut: String,
    /// A hint about its age, for a no that newer metadata may mend.
    pub age: String,
}

/// A "no".
#[derive(Debug, Clone)]
pub struct Denial {
    /// Why, and what would change it.
    pub refusal: Refusal,
    /// The policy's entry that applied, if one did.
    pub rule: Option<String>,
    /// The roots that were asked.
    pub roots: Vec<String>,
    /// Whether break-glass does not change it (rule 12).
    pub stays: bool,
    /// Whether it is about the bytes, so that no other name mends it, and no `audit-until` of a rule
    /// lets it through (rule 11).
    pub is_final: bool,
    /// Whether a root said that it rests on a revoked key, also beside roots that could not be heard:
    /// no `audit-until` of a rule lets it through (rule 11).
    pub rests_on_revoked: bool,
}

/// The answer to a question.
#[derive(Debug)]
pub struct Judgement {
    /// Yes or no.
    pub result: Result<Admission, Denial>,
    /// The mode for a no.
    pub mode: Mode,
    /// Whether root's break-glass lets a no pass.
    pub breaks_glass: bool,
    /// The index in the question of the name that decided; `None` if no name did.
    pub decided_by: Option<usize>,
    /// The digest that a tag resolves to.
    pub digest: Option<Digest>,
    /// What the answer rests on.
    pub basis: Basis,
}

/// What a judgement rests on, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Basis {
    /// The policy alone.
    Policy,
    /// Metadata of roots, all of it as fresh as the policy demands.
    Roots,
    /// Metadata of roots, some of it missing or no longer fresh.
    Doubtful,
}

impl Denial {
    /// A no by no entry of the policy.
    #[must_use]
    pub fn plain(refusal: Refusal) -> Self {
        Self {
            refusal,
            rule: None,
            roots: Vec::new(),
            stays: false,
            is_final: false,
            rests_on_revoked: false,
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

    pub(super) fn is_revoked(&self) -> bool {
        self.rests_on_revoked || self.refusal.code == Code::Revoked
    }

    /// Whether no `audit-until` of a rule lets it through (rule 11).
    pub(super) fn is_lasting(&self) -> bool {
        self.is_final || self.is_revoked()
    }

    /// What is shown instead of another no is let through by nothing that does not let that through.
    pub(super) fn stays_beside(&mut self, other: &Self) {
        self.stays |= other.stays;
        self.is_final |= other.is_final;
        self.rests_on_revoked |= other.is_revoked();
    }

    /// A no that break-glass does not change.
    pub(super) fn staying(self) -> Self {
        Self {
            stays: true,
            ..self
        }
    }
}

impl Ground {
    /// The stable name.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Signed(_) => "signed",
            Self::PolicyPin => "policy-pin",
            Self::Exempt => "exempt",
            Self::Local => "local",
            Self::PolicyKey => "policy-key",
        }
    }
}

impl Judgement {
    pub(super) fn of(result: Result<(Ground, String, Timestamp), Denial>, mode: Mode) -> Self {
        let admission = |(ground, rule, valid_until)| Admission {
            ground,
            rule,
            valid_until,
            mode,
        };
        Self {
            result: result.map(admission),
            mode,
            breaks_glass: false,
            decided_by: None,
            digest: None,
            basis: Basis::Policy,
        }
    }

    pub(super) fn no(denial: Denial, mode: Mode) -> Self {
        Self::of(Err(denial), mode)
    }

    pub(super) fn decided_by(mut self, name: usize) -> Self {
        self.decided_by = Some(name);
        self
    }
}

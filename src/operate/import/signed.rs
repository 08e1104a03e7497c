//! Roots and rules of a proposal whose signatures stand beside images.

use std::collections::BTreeSet;

use super::{ImportedRule, Proposal};
use rootpin_trust::PublicKey;
use rootpin_trust::image::Digest;

/// A root of type cosign or notation. The source pins its keys, so a person has confirmed them.
#[derive(Debug)]
pub(crate) struct SignedRoot {
    /// Its id in the policy.
    pub(crate) id: String,
    /// Whose signatures count.
    pub(crate) signers: Signers,
}

/// Whose signatures count.
#[derive(Debug, Clone)]
pub(crate) enum Signers {
    /// Of simple signing.
    Cosign {
        /// One of them must have signed.
        keys: Vec<PublicKey>,
        /// Whether the signature must give the whole name.
        reference: bool,
    },
    /// Of Notation.
    Notation {
        /// Each in PEM.
        certificates: Vec<String>,
        /// As a policy writes them; none: any subject will do.
        subjects: Vec<String>,
    },
}

/// A rule of which every root must say yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SignedRule {
    /// Indexes of [`Proposal::signed_roots`].
    pub(crate) roots: Vec<usize>,
    /// The name in the signature, where it is another one.
    pub(crate) signed_as: Option<String>,
}

impl Signers {
    /// What makes two of them one root.
    pub(super) fn identity(&self) -> (&'static str, BTreeSet<String>, BTreeSet<&str>) {
        match self {
            Self::Cosign { keys, reference } => {
                let kind = if *reference { "cosign" } else { "unbound" };
                let keys = keys.iter().map(|key| key.id().to_string());
                (kind, keys.collect(), BTreeSet::new())
            }
            Self::Notation {
                certificates,
                subjects,
            } => {
                let pems = certificates.iter();
                let pems = pems.map(|pem| Digest::of(pem.as_bytes()).to_string());
                let subjects = subjects.iter().map(String::as_str);
                ("notation", pems.collect(), subjects.collect())
            }
        }
    }

    /// Whether a signature must give the tag.
    pub(crate) fn binds_tag(&self) -> bool {
        matches!(
            self,
            Self::Cosign {
                reference: true,
                ..
            }
        )
    }

    /// The name of the root's type.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Cosign { .. } => "cosign",
            Self::Notation { .. } => "notation",
        }
    }
}

impl Proposal {
    /// Adds a rule for a pattern by which all of these must have signed; equal roots are one.
    pub(super) fn require(&mut self, pattern: &str, all: Vec<Signers>, signed_as: Option<String>) {
        let mut roots = Vec::new();
        for signers in all {
            let same = |known: &SignedRoot| known.signers.identity() == signers.identity();
            let index = self.signed_roots.iter().position(same).unwrap_or_else(|| {
                let number = self.signed_roots.len() + 1;
                let id = format!("{}-{number}", signers.kind());
                self.signed_roots.push(SignedRoot { id, signers });
                number - 1
            });
            if !roots.contains(&index) {
                roots.push(index);
            }
        }
        let rule = SignedRule { roots, signed_as };
        self.rules
            .insert(pattern.to_owned(), ImportedRule::Signed(rule));
    }

    /// Whether each quorum of the rule's roots binds the tag.
    pub(crate) fn binds_tag(&self, rule: &SignedRule) -> bool {
        let mut roots = rule
            .roots
            .iter()
            .filter_map(|at| self.signed_roots.get(*at));
        roots.any(|root| root.signers.binds_tag())
    }
}

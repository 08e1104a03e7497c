//! The policy by which a host judged, as far as it decides what its evidence proves.

use std::collections::BTreeMap;

use rootpin_policy::{Policy, Root, RootKind};
use rootpin_trust::KeyId;

use super::reported::{Report, ReportedRoot};
use crate::decide::survey::terms;

/// What a root of that policy proves by a statement.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct JudgedRoot {
    terms: String,
    sources: Vec<String>,
}

/// The policy by which a host judged, as far as it decides what its evidence proves.
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash)]
pub(super) struct Judged {
    /// Each root, by its ID.
    roots: BTreeMap<String, JudgedRoot>,
    /// The keys that counted nowhere; `None` where that is not known.
    pub(super) revoked: Option<Vec<KeyId>>,
}

impl Judged {
    pub(super) fn of_report(report: &mut Report<'_>) -> Self {
        let roots = std::mem::take(&mut report.roots).into_iter();
        let judged = |root: ReportedRoot| {
            let (terms, sources) = (root.terms?, root.sources);
            Some((root.id, JudgedRoot { terms, sources }))
        };
        let revoked = report
            .policy
            .as_ref()
            .and_then(|one| one.revoked_keys.as_ref());
        // A key that is not understood may be any.
        let revoked = revoked.and_then(|keys| keys.iter().map(|key| key.0).collect());
        Self {
            roots: roots.filter_map(judged).collect(),
            revoked,
        }
    }

    pub(super) fn by(policy: &Policy) -> Self {
        let of = |root: &Root| JudgedRoot {
            terms: terms(root),
            sources: sources(root),
        };
        let roots = policy.roots.iter().map(|(id, root)| (id.clone(), of(root)));
        Self {
            roots: roots.collect(),
            revoked: Some(policy.revoked_keys().iter().copied().collect()),
        }
    }
}

impl Judged {
    /// Whether what that root said, it would say by this one too: it verifies in the same way, and
    /// reads what the other one read.
    pub(super) fn is_same(&self, id: &str, others: &Self, other: &str) -> bool {
        let (Some(judged), Some(present)) = (self.roots.get(id), others.roots.get(other)) else {
            return false;
        };
        let mut known = judged.sources.iter();
        judged.terms == present.terms && known.all(|source| present.sources.contains(source))
    }
}

/// Where a root's metadata is read, as reports have it.
fn sources(root: &Root) -> Vec<String> {
    match &root.kind {
        RootKind::Notary(notary) => vec![notary.server.clone()],
        RootKind::Tuf(tuf) => tuf.metadata.iter().map(ToString::to_string).collect(),
        // Signatures are read beside the image.
        RootKind::Cosign(_) | RootKind::Notation(_) => Vec::new(),
    }
}

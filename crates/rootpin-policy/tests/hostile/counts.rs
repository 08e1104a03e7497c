//! What happened in sequences: a world without events would prove nothing.

use std::collections::BTreeMap;

/// How often what happened, to see that a world is not without events.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) accepted: BTreeMap<&'static str, usize>,
    pub(crate) refused: BTreeMap<&'static str, usize>,
    pub(crate) released: usize,
    /// Answers that were given again after the network went.
    pub(crate) without_network: usize,
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Self) {
        for (all, one) in [
            (&mut self.accepted, &other.accepted),
            (&mut self.refused, &other.refused),
        ] {
            for (what, count) in one {
                *all.entry(what).or_default() += count;
            }
        }
        self.released += other.released;
        self.without_network += other.without_network;
    }

    /// A model in which nothing is accepted, or nothing refused, proves nothing.
    pub(crate) fn are_of_a_world_with_events(&self) {
        for name in [
            "main",
            "team",
            "tenant",
            "quorum",
            "own",
            "notary",
            "other notary",
            "cosign",
            "notation",
            "tags",
        ] {
            assert!(
                self.accepted.get(name).is_some_and(|count| *count > 0),
                "{name}: {self:?}"
            );
        }
        for code in [
            "rollback",
            "expired",
            "bad-signature",
            "malformed",
            "digest-mismatch",
            "no-statement",
            "role-missing",
            "source-unreachable",
            "root-not-pinned",
            "source-denied",
            "revoked",
        ] {
            assert!(
                self.refused.get(code).is_some_and(|count| *count > 0),
                "{code}: {self:?}"
            );
        }
        assert!(self.released > 0);
        assert!(self.without_network > 0);
    }
}

//! The names that the ledger has for a digest, and the registries that the policy names.

use crate::decide::Decider;
use crate::doors::claims::NameLookup;
use crate::sources::is_of_host;
use rootpin_trust::image::{Digest, ImageRef};

/// Names from the ledger, and registries from the policy.
pub(super) struct LookedUpNames<'a> {
    pub(super) decider: &'a Decider,
}

impl NameLookup for LookedUpNames<'_> {
    fn admitted(&self, top: &Digest) -> Vec<ImageRef> {
        let rows = self.decider.store().admitted(top).unwrap_or_default();
        rows.into_iter()
            .filter(|row| row.top == *top)
            .map(|row| row.name)
            .collect()
    }

    fn registries(&self, host: &str) -> Vec<String> {
        let Ok(policy) = self.decider.policy() else {
            return Vec::new();
        };
        let proving = self.decider.proving_at();
        policy
            .hosts()
            .into_iter()
            .chain(proving.as_deref())
            .filter(|registry| is_of_host(registry, host))
            .map(str::to_owned)
            .collect()
    }
}

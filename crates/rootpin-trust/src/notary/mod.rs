//! The Notary v1 format and workflow, without input or output: [`GunUpdate`] says what it wants next
//! and is given the bytes.
//!
//! ```text
//! root.json, or a cached root that a floor confirms ─▶ N.root.json … (pins, old threshold, new threshold) ─▶ timestamp.json
//!     ─▶ snapshot (by hash; must name the root's bytes) ─▶ targets ─▶ targets/a ─▶ … the required role (each under its own delegator)
//! every file: form ─▶ threshold ─▶ floor ─▶ expiry
//! ```
//!
//! The workflow is that of Notary's client, except where a comment says "Off-spec".

mod inspect;
mod root;
mod targets;
mod update;

use std::collections::BTreeSet;

use super::{KeyId, threshold};

pub use inspect::{Inspection, ListedRoot, ListedTargets, SeenFile};
pub use targets::is_targets_role;
pub use update::GunUpdate;

/// The keys that a host pins for one repository, and what else it demands of the metadata.
#[derive(Debug, Clone)]
pub struct KeyPins {
    /// Canonical IDs of the keys that may stand in the root role: every key there must be one of
    /// these.
    pub keys: BTreeSet<KeyId>,
    /// Canonical IDs whose signatures count nowhere; a root role that lists one is refused.
    pub revoked: BTreeSet<KeyId>,
    /// The role that must name the image: `targets`, `targets/releases`, …
    pub role: String,
    /// Whether the dates of root certificates count.
    pub certificate_dates: bool,
    /// Whether RSA signatures may be PKCS#1 v1.5.
    pub allow_rsa_pkcs1v15: bool,
    /// A ceiling on freshness. Notary's timestamp bears no date of signing, so its age is
    /// unknown; instead verified metadata expires at the latest this long after it was verified,
    /// even if the publisher allows more.
    pub max_age: Option<jiff::SignedDuration>,
}

impl KeyPins {
    pub(super) fn counting(&self) -> threshold::Counting<'_> {
        threshold::Counting {
            revoked: &self.revoked,
            allow_rsa_pkcs1v15: self.allow_rsa_pkcs1v15,
        }
    }
}

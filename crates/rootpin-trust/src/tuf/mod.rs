//! The Update Framework 1.0 (specification 1.0.34), without input or output: [`Update`] and
//! [`Search`] say what they want next and are given the bytes.
//!
//! ```text
//! pinned root ─▶ N+1.root.json … (old threshold, new threshold) ─▶ timestamp.json ─▶ snapshot ─▶ targets          Update ─▶ Trusted
//! Trusted ─▶ delegated roles, as far as the question leads to them, each under its own delegator                    Search ─▶ Found
//! every file: pin (length, hashes) ─▶ form ─▶ threshold ─▶ version ─▶ floor ─▶ expiry
//! ```
//!
//! A target's path is the full name of an image with its tag, `registry.example/team/app:1.2`; its
//! SHA-256 is the digest of the manifest or index. In its `custom`, an object `rootpin` may list
//! the digests of the platforms' `manifests`.

mod delegation;
mod pattern;
mod root;
mod search;
mod sweep;
mod targets;
#[cfg(test)]
pub(crate) mod tests;
mod trusted;
mod update;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Collection, KeyId, Verified};
use crate::image::{Digest, Tag};

pub use pattern::matches as path_matches;
pub use root::PinnedRoot;
pub use search::{PathSearch, Search};
pub use sweep::{Sweep, Swept};
pub use trusted::Trusted;
pub use update::Update;

/// The root file that a host pins, and what else it demands of the metadata.
#[derive(Debug, Clone)]
pub struct RootPins {
    /// What the policy calls it: its floors stay with the name where a later file is pinned.
    pub id: String,
    /// The root file from which every chain of roots must come.
    pub root: Arc<PinnedRoot>,
    /// Canonical IDs whose signatures count nowhere; a root role that lists one is refused.
    pub revoked: BTreeSet<KeyId>,
    /// The oldest versions that are taken, by top-level role (`root`, `timestamp`, …), whatever was
    /// seen before.
    pub floor: BTreeMap<String, u64>,
    /// A ceiling on freshness: a timestamp that was first seen longer ago than this is expired,
    /// whatever its publisher allows.
    pub max_age: Option<jiff::SignedDuration>,
}

/// A question about the images of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Question {
    /// The digest of this tag.
    Tag(Tag),
    /// A tag with this digest.
    Digest(Digest),
    /// The same, of signatures that are beside an image.
    Image {
        /// The digest of its manifest or index.
        digest: Digest,
        /// The tag that they must bind; `None`: they bind none, or one of all will do.
        tag: Option<Tag>,
        /// Whether they may be of each manifest that this index lists, in place of its own.
        by_manifests: bool,
        /// Whether all keys that signed are wanted, and not only enough of them.
        every_signer: bool,
    },
    /// One of the tags that are signed, whichever it is.
    Any,
}

impl Question {
    /// The same, for all keys that signed an image, or for enough of them.
    #[must_use]
    pub fn with_every_signer(mut self, wanted: bool) -> Self {
        if let Self::Image { every_signer, .. } = &mut self {
            *every_signer = wanted;
        }
        self
    }
}

/// The end of a good search.
#[derive(Debug)]
pub struct Found {
    /// The tags that answer the question; none, where it is not signed.
    pub collection: Verified<Collection>,
    /// The verified metadata, with the roles that were looked at.
    pub trusted: Trusted,
}

/// A target as it is listed, for whoever fetches targets as files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Length in bytes.
    pub length: u64,
    /// Hashes in hexadecimal digits, by the algorithm's name.
    pub hashes: BTreeMap<String, String>,
}

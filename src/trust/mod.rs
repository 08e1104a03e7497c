//! Whether it holds: signed metadata against pinned keys, floors and one point in time.
//!
//! Pure: no input or output, no clock. Bytes come in through [`notary::Update`]; what comes out is a [`Verified`], which nothing
//! outside this module can make.

mod budget;
pub mod canonical;
mod certificate;
pub mod key;
pub mod notary;
mod pem;
mod refusal;
mod threshold;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::image::{Digest, Repository};

pub use key::KeyId;
pub use refusal::{Code, Refusal};

/// Proof that a verification happened: only this module makes one, and only after every check passed.
#[derive(Debug)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    /// The end of a verification.
    fn after_every_check(value: T) -> Self {
        Self(value)
    }

    /// What was verified.
    #[must_use]
    pub fn get(&self) -> &T {
        &self.0
    }

    /// For tests of what takes a proof: one without a verification.
    #[cfg(test)]
    pub(crate) fn for_test(value: T) -> Self {
        Self(value)
    }
}

/// What a host demands of one repository's metadata.
#[derive(Debug, Clone)]
pub struct Pins {
    /// Canonical IDs of the keys that may stand in the root role: every key there must be one of these.
    pub keys: BTreeSet<KeyId>,
    /// Canonical IDs whose signatures count nowhere; a root role that lists one is refused.
    pub revoked: BTreeSet<KeyId>,
    /// The role that must name the image: `targets`, `targets/releases`, …
    pub role: String,
    /// Whether the dates of root certificates count.
    pub certificate_dates: bool,
    /// Whether RSA signatures may be PKCS#1 v1.5.
    pub allow_rsa_pkcs1v15: bool,
    /// A ceiling on freshness. Notary's timestamp bears no date of signing, so its age can't be told; instead what was verified
    /// expires at the latest this long after it was verified, even if the publisher allows more.
    pub max_age: Option<jiff::SignedDuration>,
}

/// The highest version that a host has seen of one role, and whose word that was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Floor {
    /// `root`, `timestamp`, `snapshot`, `targets`, `targets/releases`, …
    pub role: String,
    /// Canonical IDs of the root keys under which it was seen, over all the root versions of the chain.
    pub root_keys: BTreeSet<KeyId>,
    /// The version.
    pub version: u64,
    /// SHA-256 of the canonical signed bytes: another file of the same version is refused.
    pub signed: Digest,
    /// Canonical IDs of the role's own keys, and how many had to sign: when the role's keys are replaced the floor falls.
    pub keys: BTreeSet<KeyId>,
    /// The role's threshold.
    pub threshold: u64,
}

/// One repository's tags as a pinned root's chain of signatures gives them.
#[derive(Debug)]
pub struct Collection {
    /// The repository it was verified for.
    pub gun: Repository,
    /// The role that names the tags.
    pub role: String,
    /// Tag to digest (and length in bytes), within the paths that the role was delegated.
    pub targets: BTreeMap<String, Target>,
    /// The earliest expiry of all metadata that was used.
    pub expires: Timestamp,
    /// Canonical IDs of the root role's keys.
    pub root_keys: BTreeSet<KeyId>,
    /// Canonical IDs of the keys whose signatures counted for the targets roles.
    pub signers: BTreeSet<KeyId>,
    /// Version by role.
    pub versions: BTreeMap<String, u64>,
    /// SHA-256 of the canonical signed bytes of each targets role: seen under another repository, it is a replay.
    pub statements: Vec<Digest>,
    /// The floors that this verification raises or confirms, for the state to keep. Each takes the place of all of its role that
    /// share a root key with it.
    pub floors: Vec<Floor>,
    /// The kept floors that no longer bind because their role's keys were replaced: to be forgotten when `floors` are kept.
    pub fallen: Vec<Floor>,
}

/// What a tag stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Digest of the manifest or index.
    pub digest: Digest,
    /// Its length in bytes.
    pub length: u64,
}

//! Verifies signed metadata against pinned keys, floors and one point in time: The Update Framework
//! 1.0 ([`tuf`]), Notary v1, the format of Docker Content Trust ([`notary`]), and signatures of
//! images by cosign ([`cosign`]) and Notation ([`notation`]).
//!
//! The crate does no input or output and reads no clock. An update says which file it wants next,
//! the caller brings the bytes, and the end is a [`Verified`] value, which only this crate can
//! make. A [`Refusal`] says what was found, what was wanted and what to do.
//!
//! # Verify a TUF repository
//!
//! Pin a root file, update the top-level metadata, then search for one image's name:
//!
//! ```
//! use std::sync::Arc;
//!
//! use rootpin_trust::image::{Repository, Tag};
//! use rootpin_trust::tuf::{PinnedRoot, Question, RootPins, Search, Update};
//! use rootpin_trust::{Answer, FetchFrom, Refusal, Verification, Want};
//!
//! /// The source: a client of yours fetches the file instead. Nothing is cached here.
//! fn fetch(want: &Want) -> Result<Answer, Refusal> {
//!     let bytes: &[u8] = match (want.from, want.request.file_name().as_str()) {
//!         (FetchFrom::Source, "timestamp.json") => {
//!             include_bytes!("../../../tests/data/tuf/repository/timestamp.json")
//!         }
//!         (FetchFrom::Source, "2.snapshot.json") => {
//!             include_bytes!("../../../tests/data/tuf/repository/2.snapshot.json")
//!         }
//!         (FetchFrom::Source, "2.targets.json") => {
//!             include_bytes!("../../../tests/data/tuf/repository/2.targets.json")
//!         }
//!         _ => return Ok(Answer::Missing),
//!     };
//!     Ok(Answer::Bytes(bytes.to_vec()))
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let root = include_bytes!("../../../tests/data/tuf/repository/1.root.json");
//! let pins = RootPins {
//!     id: "acme".to_owned(),
//!     root: Arc::new(PinnedRoot::read(root.to_vec())?),
//!     revoked: [].into(),
//!     floor: [].into(),
//!     max_age: None,
//! };
//! let now = "2026-11-29T12:00:00Z".parse()?;
//!
//! let mut update = Update::start(&pins, Vec::new(), None, now);
//! let trusted = update.run(fetch)?;
//! // Keep these floors, also when the update fails, and start the next one with them.
//! let floors = update.progress().ok_or("no floors")?.get().merge_into(&[])?;
//! assert_eq!(floors.len(), 3);
//!
//! let app = Repository::from_full("registry.example/team/app")?;
//! let question = Question::Tag("v1".parse::<Tag>()?);
//! let found = Search::start(&trusted, &app, &question, now).run(fetch)?;
//! let target = &found.collection.get().targets["v1"];
//! assert_eq!(
//!     target.digest.to_string(),
//!     "sha256:0908e133957497f79cafb71c0a4f70424a0faaa08f83dfd450c37b83ffeb65ea",
//! );
//! # Ok(())
//! # }
//! ```
//!
//! # Verify a Notary repository
//!
//! Pin the canonical IDs of the repository's root keys, and name the role that must sign:
//!
//! ```
//! use rootpin_trust::image::Repository;
//! use rootpin_trust::notary::{GunUpdate, KeyPins};
//! use rootpin_trust::{Answer, FetchFrom, Refusal, Verification, Want};
//!
//! /// The server: a client of yours fetches the file instead. Nothing is cached here.
//! fn fetch(want: &Want) -> Result<Answer, Refusal> {
//!     let bytes: &[u8] = match (want.from, want.request.role.as_str()) {
//!         (FetchFrom::Source, "root") if !want.request.is_root_version() => {
//!             include_bytes!("../../../tests/data/notary/server/basic/served/root.json")
//!         }
//!         (FetchFrom::Source, "timestamp") => {
//!             include_bytes!("../../../tests/data/notary/server/basic/served/timestamp.json")
//!         }
//!         (FetchFrom::Source, "snapshot") => {
//!             include_bytes!("../../../tests/data/notary/server/basic/served/snapshot.json")
//!         }
//!         (FetchFrom::Source, "targets") => {
//!             include_bytes!("../../../tests/data/notary/server/basic/served/targets.json")
//!         }
//!         _ => return Ok(Answer::Missing),
//!     };
//!     Ok(Answer::Bytes(bytes.to_vec()))
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let root_key = "30ff07203524acdab8e653ac2fdc39817dd51afb50adaf0d6f923643f1ad8db0".parse()?;
//! let pins = KeyPins {
//!     keys: [root_key].into(),
//!     revoked: [].into(),
//!     role: "targets".to_owned(),
//!     certificate_dates: false,
//!     allow_rsa_pkcs1v15: false,
//!     max_age: None,
//! };
//! let gun = Repository::from_full("registry.test/fix/basic")?;
//! let now = "2026-11-23T00:00:00Z".parse()?;
//!
//! let mut update = GunUpdate::start(&gun, &pins, Vec::new(), now);
//! let collection = update.run(fetch)?;
//! let digest = collection.get().targets["v1"].digest;
//! assert_eq!(digest.hex(), "11".repeat(32));
//! // Keep these floors, also when the update fails, and start the next one with them.
//! let floors = update.progress().ok_or("no floors")?.get().merge_into(&[])?;
//! assert_eq!(floors.len(), 4);
//! # Ok(())
//! # }
//! ```

#[cfg(test)]
extern crate self as rootpin_trust;

mod budget;
pub mod canonical;
mod certificate;
mod codes;
pub mod cosign;
mod date;
mod envelope;
mod fetch;
mod fingerprint;
mod floors;
mod format;
pub mod hex;
pub mod image;
mod image_signature;
mod independent;
pub mod key;
pub mod key_file;
mod meta;
pub mod notary;
pub mod notation;
pub mod pem;
mod refusal;
mod role;
mod root;
mod root_file;
mod signed_index;
mod threshold;
pub mod tuf;
mod weak_point;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use crate::image::{Digest, Repository};

pub use certificate::Certificate;
pub use fetch::{Answer, Edition, FetchFrom, Request, Step, Verification, Want};
pub use fingerprint::{Fingerprint, key_name};
pub use floors::FloorConflict;
pub use format::Format;
pub use image_signature::{
    MOST_SIGNATURES, SIGNATURE_BYTES, SignatureFile, SignatureFinding, SignatureOutcome,
    SignedImage,
};
pub use independent::{Signers, independent};
pub use key::{KeyError, KeyId, PublicKey};
pub use refusal::{Code, Refusal};
pub use role::Role;
pub use root_file::RootFile;
pub use signed_index::{by_manifests, with_manifests};

/// Proof that a verification happened: only this module makes one, and only after every check
/// passed.
#[derive(Debug)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    /// The end of a verification.
    fn after_every_check(value: T) -> Self {
        Self(value)
    }

    /// The verified value.
    #[must_use]
    pub fn get(&self) -> &T {
        &self.0
    }

    /// For tests of what takes a proof: one without a verification.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn for_test(value: T) -> Self {
        Self(value)
    }
}

/// The subject of metadata; floors are kept by subject.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// One repository of images: Notary keeps metadata for each (its GUN).
    Gun(Repository),
    /// The names of all images that a TUF repository has. Which one it is, its root keys say: an id
    /// and a URL are labels only.
    Tuf,
}

impl Subject {
    /// Reads what `Display` writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        // No repository in full form is without a slash.
        if text == TUF {
            Some(Self::Tuf)
        } else {
            Repository::from_full(text).ok().map(Self::Gun)
        }
    }
}

const TUF: &str = "tuf";

impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gun(gun) => fmt::Display::fmt(gun, formatter),
            Self::Tuf => formatter.write_str(TUF),
        }
    }
}

/// The version of a role as another role's file lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The version.
    pub version: u64,
    /// SHA-256 of the canonical signed bytes, once the file itself was verified: another file of
    /// the same version is refused.
    pub signed: Option<Digest>,
    /// A digest of what the file was pinned to when it was verified.
    pub pin: Option<Digest>,
}

impl Listed {
    /// A version that is listed, and its file not verified yet.
    pub(crate) fn version(version: u64) -> Self {
        Self {
            version,
            signed: None,
            pin: None,
        }
    }
}

/// The pinned root of a TUF 1.0 repository whose updates write a floor. An update neither replaces
/// nor drops the floor of another pinned root: whoever holds too few of that root's keys has no say
/// in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FloorOwner {
    /// SHA-256 of the pinned file's canonical signed bytes.
    pub pin: Digest,
    /// The ids under which the policy pinned that file. A root that is pinned anew under one of
    /// them takes its floors over.
    pub ids: BTreeSet<String>,
    /// SHA-256 of the canonical signed bytes of the root file under which the version was seen. The
    /// floor binds each chain of roots that has that file.
    pub under: Digest,
}

/// The highest version that a host has seen of one role, and whose word that was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Floor {
    /// `root`, `timestamp`, `snapshot`, `targets`, `targets/releases`, …
    pub role: String,
    /// Canonical IDs of the root keys under which it was seen, over all the root versions of the
    /// chain; of TUF 1.0 those that signed. Shared, as a root may pin hundreds, and each floor of
    /// each repository belongs to all of them.
    pub root_keys: Arc<BTreeSet<KeyId>>,
    /// The version.
    pub version: u64,
    /// SHA-256 of the canonical signed bytes: another file of the same version is refused.
    pub signed: Digest,
    /// Canonical IDs of the role's own keys, and how many had to sign: when the role's keys are
    /// replaced the floor falls.
    pub keys: BTreeSet<KeyId>,
    /// The role's threshold.
    pub threshold: u64,
    /// The versions that the file lists (TUF 1.0 only): the snapshot in a timestamp, every targets
    /// role in a snapshot. None of it vanishes or goes back as long as this floor stands.
    pub listed: BTreeMap<String, Listed>,
    /// When this version was first seen, where its age counts (TUF 1.0's timestamp).
    pub since: Option<Timestamp>,
    /// Whose it is (TUF 1.0 only). One of a rootpin that wrote none is nobody's: it binds each root
    /// that shares a root key, and stays.
    pub owner: Option<FloorOwner>,
}

/// The floors and statements of one verification, for the state to keep. Those of an update that
/// broke off count as seen too.
#[derive(Debug)]
pub struct Progress {
    /// The subject of the metadata.
    pub subject: Subject,
    /// The floors that this verification raises or confirms. Each takes the place of all of its
    /// role and owner that share a root key with it.
    pub floors: Vec<Floor>,
    /// The kept floors that no longer bind because their role's keys were replaced: to be forgotten
    /// when `floors` are kept.
    pub fallen: Vec<Floor>,
    /// SHA-256 of the canonical signed bytes of each targets role that doesn't say which repository
    /// it is for (Notary's): seen under another repository, it is a replay.
    pub statements: Vec<Digest>,
    /// Canonical IDs of the keys that signed these.
    pub signers: BTreeSet<KeyId>,
}

impl Progress {
    pub(crate) fn of_tuf(floors: Vec<Floor>, fallen: Vec<Floor>) -> Self {
        Self {
            subject: Subject::Tuf,
            floors,
            fallen,
            statements: Vec::new(),
            signers: BTreeSet::new(),
        }
    }

    /// Whether it says more than the floors that are kept.
    pub(crate) fn is_new_to(&self, kept: &[Floor]) -> bool {
        !self.fallen.is_empty() || self.floors.iter().any(|floor| !kept.contains(floor))
    }
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
    /// Digests that are signed whatever their tag: the signatures bind none.
    pub untagged: BTreeSet<Digest>,
    /// The earliest expiry of all metadata that was used.
    pub expires: Timestamp,
    /// Canonical IDs of the root role's keys.
    pub root_keys: BTreeSet<KeyId>,
    /// Canonical IDs of the keys whose signatures counted for the targets roles.
    pub signers: BTreeSet<KeyId>,
    /// How many of the signers it rests on until it expires, whichever these are.
    pub signers_needed: usize,
    /// Version by role.
    pub versions: BTreeMap<String, u64>,
}

/// The image of a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Digest of the manifest or index.
    pub digest: Digest,
    /// Its length in bytes.
    pub length: u64,
    /// Digests of the platforms' manifests in it, where the statement lists them.
    pub manifests: Vec<Digest>,
}

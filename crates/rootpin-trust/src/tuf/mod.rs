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
mod envelope;
mod meta;
mod pattern;
mod role;
mod root;
mod search;
mod signed_by;
mod sweep;
mod targets;
#[cfg(test)]
pub(crate) mod tests;
mod trusted;
mod update;
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Collection, Floor, KeyId, Verified};
use crate::image::{Digest, Tag};

pub use pattern::matches as path_matches;
pub use root::PinnedRoot;
pub(super) use root::list_root;
pub use search::{PathSearch, Search};
pub use signed_by::{key_id, signed_by};
pub use sweep::{Sweep, Swept};
pub use trusted::Trusted;
pub use update::Update;

/// What a host demands of a repository's metadata.
#[derive(Debug, Clone)]
pub struct Pins {
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

/// What this host has of a repository from earlier.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// All floors kept for the subject.
    pub floors: Vec<Floor>,
    /// What the last update of this process ended with; of it nothing is verified again that still
    /// stands.
    pub trusted: Option<Trusted>,
}

/// A file of the repository's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// The root file of that version.
    Root(u64),
    /// The newest timestamp file.
    Timestamp,
    /// The snapshot file, of that version where snapshots are consistent (section 6.2).
    Snapshot(Option<u64>),
    /// The file of a targets role, of that version where snapshots are consistent.
    Role(String, Option<u64>),
}

/// Where a file is wanted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// What was kept of the file the last time. It is judged as if it came from the source; none is
    /// no answer but "missing".
    Cache,
    /// The source.
    Source,
}

/// What is wanted next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// The file.
    pub request: Request,
    /// The most bytes that it may have.
    pub max_bytes: usize,
    /// Where from.
    pub from: From,
}

/// What there is of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The file.
    Bytes(Vec<u8>),
    /// There is no such file (404).
    Missing,
}

/// How it goes on.
#[derive(Debug)]
pub enum Step<T> {
    /// This file is wanted.
    Fetch(Want),
    /// All is verified.
    Done(T),
}

/// What is asked of a repository of images.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Question {
    /// What the tag stands for.
    Tag(Tag),
    /// Which tags stand for the digest.
    Digest(Digest),
}

/// The end of a good search.
#[derive(Debug)]
pub struct Found {
    /// The tags that answer the question; none, where it is not signed.
    pub collection: Verified<Collection>,
    /// What holds now, with the roles that were looked at.
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

impl Request {
    /// The file's name at a source: `3.root.json`, `timestamp.json`, `7.snapshot.json`. Of a role's
    /// name everything but letters, digits and `_ - . ~` is percent-encoded, so that it is one
    /// segment of a path.
    #[must_use]
    pub fn file_name(&self) -> String {
        let versioned = |version: &Option<u64>, name: &str| {
            version.map_or_else(|| name.to_owned(), |version| format!("{version}.{name}"))
        };
        match self {
            Self::Root(version) => format!("{version}.root.json"),
            Self::Timestamp => "timestamp.json".to_owned(),
            Self::Snapshot(version) => versioned(version, "snapshot.json"),
            Self::Role(role, version) => versioned(version, &format!("{}.json", encoded(role))),
        }
    }

    /// The name under which a cache keeps it: `3.root.json`, and of all others the newest,
    /// `ROLE.json` with the role's name as it is.
    #[must_use]
    pub fn cache_name(&self) -> String {
        match self {
            // Each of them: the chain is verified from the pinned file every time.
            Self::Root(version) => format!("{version}.root.json"),
            Self::Timestamp => "timestamp.json".to_owned(),
            Self::Snapshot(_) => "snapshot.json".to_owned(),
            Self::Role(role, _) => format!("{role}.json"),
        }
    }
}

fn digit(value: u8) -> char {
    char::from_digit(u32::from(value), 16)
        .unwrap_or('0')
        .to_ascii_uppercase()
}

fn encoded(role: &str) -> String {
    let mut name = String::new();
    for byte in role.bytes() {
        match byte {
            // Dots do no harm: the name goes on with .json.
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'~' => {
                name.push(char::from(byte));
            }
            other => name.extend(['%', digit(other >> 4), digit(other & 15)]),
        }
    }
    name
}

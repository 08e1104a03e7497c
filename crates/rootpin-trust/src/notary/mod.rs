//! The Notary v1 format and workflow, without input or output: [`Update`] says what it wants next
//! and is given the bytes.
//!
//! ```text
//! root.json, or a cached root that a floor confirms ─▶ N.root.json … (pins, old threshold, new threshold) ─▶ timestamp.json
//!     ─▶ snapshot (by hash; must name the root's bytes) ─▶ targets ─▶ targets/a ─▶ … the required role (each under its own delegator)
//! every file: form ─▶ threshold ─▶ floor ─▶ expiry
//! ```
//!
//! The workflow is that of Notary's client, except where a comment says "Off-spec".

mod envelope;
mod inspect;
mod role;
mod root;
mod targets;
mod update;

use super::{Collection, Floor, Progress, Verified};
use crate::image::Digest;

pub use inspect::{Inspection, ListedRole, ListedRoot, ListedTargets, SeenFile};
pub(super) use root::list_root;
pub use update::Update;

/// What this host has of a repository from earlier.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Cached bytes of the newest root file; trusted for nothing, they only save asking for old
    /// versions.
    pub root: Option<Vec<u8>>,
    /// All floors kept for the repository.
    pub floors: Vec<Floor>,
}

/// A file of the repository's metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// The newest root file.
    LatestRoot,
    /// The root file of that version.
    Root(u64),
    /// The newest timestamp file.
    Timestamp,
    /// The snapshot file with that SHA-256.
    Snapshot(Digest),
    /// The file of a targets role (`targets`, `targets/releases`, …) with that SHA-256.
    Role(String, Digest),
}

/// What [`Update`] wants next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Want {
    /// The file.
    pub request: Request,
    /// The most bytes that it may have.
    pub max_bytes: usize,
}

/// What the source has of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The file.
    Bytes(Vec<u8>),
    /// There is no such file (404).
    Missing,
}

/// How an update goes on.
#[derive(Debug)]
pub enum Step {
    /// This file is wanted.
    Fetch(Want),
    /// All is verified.
    Done(Box<Outcome>),
}

/// The end of a good update.
#[derive(Debug)]
pub struct Outcome {
    /// What the repository says.
    pub collection: Verified<Collection>,
    /// What the state is to keep of it.
    pub progress: Verified<Progress>,
    /// The files that were used, for a cache: `root.json`, `timestamp.json`,
    /// `targets/releases.json`, …
    pub files: Vec<(String, Vec<u8>)>,
}

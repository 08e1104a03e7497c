//! The part of one host's report that a merge keeps, to compare a fleet by.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

/// What is kept of one host's report. Their order is by time, then by how much was found, then by
/// all else: so one of two counts whatever comes first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KeptReport {
    pub(super) at: Timestamp,
    /// `clean`, `findings`, `unknown`: in the order of letters too.
    pub(super) outcome: &'static str,
    /// Hash and mode.
    pub(super) policy: Option<(Arc<str>, Arc<str>)>,
    /// Pinned keys, each with the ids of the roots that pin it.
    pub(super) pins: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    pub(super) held: Vec<HeldRoot>,
    pub(super) views: Vec<HeldView>,
    /// Root keys that are trusted there and pinned by none of its roots, each with its
    /// repositories.
    pub(super) unpinned: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
    pub(super) counts: Counts,
    /// How many images are refused by each code.
    pub(super) refusals: BTreeMap<&'static str, usize>,
    /// Its images.
    pub(super) images: Vec<HostImage>,
    /// When the latest of its reports of the future was made, which does not count.
    pub(super) ahead: Option<Timestamp>,
}

/// Clocks of one fleet agree better than this.
const AHEAD: SignedDuration = SignedDuration::from_hours(1);

/// Whether a report is of the future.
pub(crate) fn is_ahead(at: Timestamp, now: Timestamp) -> bool {
    at.duration_since(now) > AHEAD
}

/// The version of a root file.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HeldRoot {
    pub(super) root: Arc<str>,
    pub(super) repository: Arc<str>,
    pub(super) version: u64,
}

/// How much there is of what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Counts {
    /// Resident images.
    pub images: usize,
    /// … that the policy allows.
    pub allowed: usize,
    /// … that it refuses.
    pub refused: usize,
    /// … that could not be judged.
    pub unjudged: usize,
    /// Findings that are errors.
    pub errors: usize,
    /// Findings that are warnings.
    pub warnings: usize,
    /// What could not be looked at.
    pub untold: usize,
}

/// An image as a host has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HostImage {
    pub(super) name: Arc<str>,
    pub(super) digest: Option<Arc<str>>,
    pub(super) outcome: &'static str,
}

/// The highest version of a role that a host has seen of one repository.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HeldView {
    /// How the host calls it.
    pub(super) repository: Arc<str>,
    /// What makes it the same repository on another host: a Notary repository's name; of TUF one of
    /// the addresses of its metadata, or the root file that is pinned.
    pub(super) places: Vec<Arc<str>>,
    pub(super) role: Arc<str>,
    pub(super) version: u64,
    /// The digest of the signed bytes.
    pub(super) signed: Arc<str>,
    pub(super) root_keys: Vec<Arc<str>>,
    /// The role's own keys.
    pub(super) keys: Vec<Arc<str>>,
    /// When the host first saw that version, for TUF timestamps.
    pub(super) since: Option<Timestamp>,
    /// The host's last good contact with the source.
    pub(super) contact: Option<Timestamp>,
    /// When the timestamp ends, by its publisher.
    pub(super) expires: Option<Timestamp>,
    pub(super) max_age: Option<SignedDuration>,
}

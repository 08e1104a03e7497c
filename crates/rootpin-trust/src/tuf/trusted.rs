//! A repository's verified metadata, kept from one update to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::envelope::Envelope;
use crate::floors::other_content;
use crate::image::Digest;
use crate::meta::FileMeta;
use crate::refusal::shown;
use crate::role::Authority;
use crate::{Code, Floor, FloorOwner, KeyId, Listed, Refusal};

use super::root::{PinnedRoot, SignedChain};
use super::targets::VerifiedTargets;

/// The metadata that an update verified. Only an update makes one.
#[derive(Debug, Clone)]
pub struct Trusted(pub(super) Arc<TrustedState>);

#[derive(Debug, Clone)]
pub(super) struct TrustedState {
    pub(super) chain: SignedChain,
    pub(super) timestamp: Arc<Envelope>,
    pub(super) snapshot: Arc<Snapshot>,
    /// The targets roles that were looked at so far, by name.
    pub(super) roles: BTreeMap<String, Arc<VerifiedTargets>>,
    /// The earliest expiry of the four top-level roles, and of the policy's ceiling on freshness.
    pub(super) expires: Timestamp,
    /// The snapshot's floor, with what it lists.
    pub(super) floor: Floor,
    pub(super) revoked: BTreeSet<KeyId>,
    /// The pinned root that the chain came from, and whose the floors are.
    pub(super) pinned: Arc<PinnedRoot>,
    pub(super) owner: FloorOwner,
}

/// The snapshot file, verified.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) envelope: Envelope,
    pub(super) pin: FileMeta,
    pub(super) authority: Authority,
    pub(super) listed: BTreeMap<String, FileMeta>,
}

impl Snapshot {
    /// The pin of a role's file.
    pub(super) fn pin_of(&self, role: &str) -> Result<&FileMeta, Refusal> {
        self.listed.get(role).ok_or_else(|| {
            let found = format!("snapshot.json version {} without it", self.envelope.version);
            let hint = "the delegation was made and its role never published, or was taken back: ask the publisher";
            Refusal::new(Code::RoleMissing, found, format!("the role {}", shown(role)), hint)
        })
    }
}

impl Trusted {
    /// The earliest expiry of the top-level metadata.
    #[must_use]
    pub fn expires(&self) -> Timestamp {
        self.0.expires
    }

    /// Whether a newer root was verified than its own, by these floors.
    #[must_use]
    pub fn is_of_older_root(&self, seen: &[Floor]) -> bool {
        let chain = &self.0.chain;
        let floors = chain.floors(seen, self.0.owner.clone());
        floors.judge(&chain.claim()).is_err()
    }

    /// Whether both list the same files of the same roles.
    #[must_use]
    pub fn is_the_same(&self, other: &Self) -> bool {
        self.0.snapshot.envelope.statement == other.0.snapshot.envelope.statement
    }

    /// Whether files have their version in their name, and targets that are files their hash
    /// (section 6.2).
    #[must_use]
    pub fn consistent_snapshot(&self) -> bool {
        self.0.chain.last.consistent
    }

    /// Version by role, of all that was looked at.
    #[must_use]
    pub fn versions(&self) -> BTreeMap<String, u64> {
        let state = &self.0;
        let fixed = [
            ("root", state.chain.version()),
            ("timestamp", state.timestamp.version),
            ("snapshot", state.snapshot.envelope.version),
        ];
        let fixed = fixed.map(|(name, version)| (name.to_owned(), version));
        let roles = state.roles.iter();
        let roles = roles.map(|(name, role)| (name.clone(), role.envelope.version));
        fixed.into_iter().chain(roles).collect()
    }

    /// Canonical IDs of the root role's keys.
    #[must_use]
    pub fn root_keys(&self) -> BTreeSet<KeyId> {
        self.0.chain.last.role.ids()
    }
}

/// SHA-256 of what is signed in the role's file that this host has verified under that very pin.
pub(super) fn noted(floor: &Floor, role: &str, pin: &FileMeta) -> Option<Digest> {
    let listed = floor.listed.get(role)?;
    listed.signed.filter(|_| listed.pin == Some(pin.digest()))
}

/// Notes that a role's file was verified, in the floor of the snapshot that lists it; refuses
/// another file of a version that was seen. Returns whether that is news.
pub(super) fn note(
    floor: &mut Floor,
    role: &str,
    pin: &FileMeta,
    file: &Envelope,
) -> Result<bool, Refusal> {
    let known = floor.listed.get(role);
    let same_version = known.filter(|known| known.version == file.version);
    if let Some(seen) = same_version.and_then(|known| known.signed)
        && seen != file.statement
    {
        let hint = "two files were signed under one version: ask the publisher which one is meant, and for a new version";
        let (name, version) = (&file.file, file.version);
        return Err(other_content(name, version, (file.statement, seen), hint));
    }
    let now = Listed {
        version: file.version,
        signed: Some(file.statement),
        pin: Some(pin.digest()),
    };
    let is_news = known != Some(&now);
    floor.listed.insert(role.to_owned(), now);
    Ok(is_news)
}

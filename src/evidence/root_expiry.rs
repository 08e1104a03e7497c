//! Until when the roots' own metadata holds, as far as this host has seen it: nothing is asked for
//! it, and no decision rests on it.

use jiff::Timestamp;

use super::tuf::origin;
use super::{MetadataOrigin, Repositories};
use rootpin_policy::{Policy, Root, RootKind, TufRoot};
use rootpin_trust::{Request, RootFile, Subject};

/// A Notary server has a root for each repository; of a host with more of them than this not each
/// is read.
const MAX_REPOSITORIES: usize = 256;

/// Until when a root of the policy holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootExpiry {
    /// The root's ID in the policy.
    pub root: String,
    /// When it expires; of a Notary server's repositories the first that does.
    pub at: Timestamp,
    /// How many repositories of the server were not looked at.
    pub unread: usize,
}

impl Repositories {
    /// Each root of the policy whose metadata is known here.
    pub(crate) fn root_expiries(&self, policy: &Policy) -> Vec<RootExpiry> {
        let expiry = |root: &Root| match &root.kind {
            RootKind::Tuf(tuf) => self.of_tuf_root(root, tuf).map(|at| (at, 0)),
            RootKind::Notary(notary) => self.of_notary_roots(&notary.server),
            RootKind::Cosign(_) => None,
        };
        policy
            .roots
            .values()
            .filter_map(|root| {
                let (at, unread) = expiry(root)?;
                Some(RootExpiry {
                    root: root.id.clone(),
                    at,
                    unread,
                })
            })
            .collect()
    }

    /// The newest version that was verified here: in the cache, or the pinned file itself.
    fn of_tuf_root(&self, root: &Root, tuf: &TufRoot) -> Option<Timestamp> {
        let floors = self.store.history(&Subject::Tuf).ok()?;
        let own = floors.iter().filter(|floor| {
            floor.role == "root" && !floor.root_keys.is_disjoint(root.floor_keys())
        });
        let version = own.map(|floor| floor.version).max()?;
        let cached = || self.cached(&origin(&root.id), &Request::root(version).cache_name());
        let bytes = if version <= tuf.pinned.version() {
            tuf.pinned.bytes().to_vec()
        } else {
            cached()?
        };
        Some(RootFile::read(&bytes).ok()?.expires)
    }

    fn of_notary_roots(&self, server: &str) -> Option<(Timestamp, usize)> {
        let subjects = self.store.subjects_of(server).ok()?;
        let unread = subjects.len().saturating_sub(MAX_REPOSITORIES);
        let expiry = |subject: Subject| {
            let origin = MetadataOrigin {
                source: server.to_owned(),
                subject,
            };
            Some(
                RootFile::read(&self.cached(&origin, "root.json")?)
                    .ok()?
                    .expires,
            )
        };
        subjects
            .into_iter()
            .take(MAX_REPOSITORIES)
            .filter_map(expiry)
            .min()
            .map(|at| (at, unread))
    }
}

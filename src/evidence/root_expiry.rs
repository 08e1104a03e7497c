//! Until when the roots' own metadata holds, and when signatures of the others were seen, as far as
//! this host knows: nothing is asked for it, and no decision rests on it.

use std::sync::Arc;

use jiff::Timestamp;

use super::tuf::origin;
use super::{MetadataOrigin, Repositories, source_of};
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
    /// When the metadata that was verified last expires; of a Notary server's repositories the
    /// first that does.
    pub metadata: Option<Timestamp>,
    /// The last good contact with a source.
    pub contact: Option<Timestamp>,
}

/// A root of the policy whose signatures are beside images: it has no metadata that expires.
#[derive(Debug, Clone)]
pub struct SignatureRoot {
    /// The root.
    pub root: Arc<Root>,
    /// When a registry last had signatures of it that were enough for an image.
    pub seen: Option<Timestamp>,
}

impl Repositories {
    /// Each root of the policy whose signatures are beside images.
    pub(crate) fn signature_roots(&self, policy: &Policy) -> Vec<SignatureRoot> {
        let roots = policy.roots.values();
        let of_signatures =
            |root: &&Arc<Root>| matches!(root.kind, RootKind::Cosign(_) | RootKind::Notation(_));
        let of = |root: &Arc<Root>| SignatureRoot {
            root: Arc::clone(root),
            seen: self.store.last_contact(&source_of(root)).ok().flatten(),
        };
        roots.filter(of_signatures).map(of).collect()
    }

    /// Each root of the policy whose metadata is known here.
    pub(crate) fn root_expiries(&self, policy: &Policy) -> Vec<RootExpiry> {
        let expiry = |root: &Root| match &root.kind {
            RootKind::Tuf(tuf) => self.of_tuf_root(root, tuf).map(|at| (at, 0)),
            RootKind::Notary(notary) => self.of_notary_roots(&notary.server),
            RootKind::Cosign(_) | RootKind::Notation(_) => None,
        };
        let origins = |root: &Root| match &root.kind {
            RootKind::Tuf(_) => vec![origin(&root.id)],
            RootKind::Notary(notary) => self.notary_origins(&notary.server),
            RootKind::Cosign(_) | RootKind::Notation(_) => Vec::new(),
        };
        policy
            .roots
            .values()
            .filter_map(|root| {
                let (at, unread) = expiry(root)?;
                let origins = origins(root);
                let contact = |of: &MetadataOrigin| {
                    let contact = self.store.contact(&of.source, &of.subject);
                    contact.ok().flatten()
                };
                let metadata = |of: &MetadataOrigin| {
                    self.cached(of, "timestamp.json")
                        .as_deref()
                        .and_then(expires)
                };
                Some(RootExpiry {
                    root: root.id.clone(),
                    at,
                    unread,
                    metadata: origins.iter().filter_map(metadata).min(),
                    contact: origins.iter().filter_map(contact).max(),
                })
            })
            .collect()
    }

    /// The newest version that was verified here: in the cache, or the pinned file itself.
    fn of_tuf_root(&self, root: &Root, tuf: &TufRoot) -> Option<Timestamp> {
        let floors = self.store.history(&Subject::Tuf).ok()?;
        let own = root.floors(&floors).into_iter();
        let own = own.filter(|floor| floor.role == "root");
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
        let all = self.store.subjects_of(server).ok()?.len();
        let unread = all.saturating_sub(MAX_REPOSITORIES);
        let expiry = |origin: MetadataOrigin| {
            let file = self.cached(&origin, "root.json")?;
            Some(RootFile::read(&file).ok()?.expires)
        };
        let expiries = self.notary_origins(server).into_iter().filter_map(expiry);
        expiries.min().map(|at| (at, unread))
    }

    /// The repositories of a server that are looked at.
    fn notary_origins(&self, server: &str) -> Vec<MetadataOrigin> {
        let subjects = self.store.subjects_of(server).unwrap_or_default();
        let origin = |subject: Subject| MetadataOrigin {
            source: server.to_owned(),
            subject,
        };
        let some = subjects.into_iter().take(MAX_REPOSITORIES);
        some.map(origin).collect()
    }
}

/// When a file of the cache expires. It was verified before it was written there; nothing but a
/// report rests on it.
fn expires(file: &[u8]) -> Option<Timestamp> {
    let file: serde_json::Value = serde_json::from_slice(file).ok()?;
    file.get("signed")?.get("expires")?.as_str()?.parse().ok()
}

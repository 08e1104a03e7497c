//! A whole repository as a publisher holds it: read from its files, verified by the same engine as
//! on every host.

mod authority;
mod verify;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Deref;
use std::sync::Arc;

pub use authority::Authority;
use authority::authority;
pub(super) use authority::{HOLDERS, TAKEN_OUT, delegated, name};
use serde_json::{Map, Value};
use verify::{role_of, verify};

use super::PublishError;
use super::document::{Document, listing};
use super::place::{MetadataFiles, WAITING};
use super::role_key::RoleKey;
use rootpin_trust::tuf::PinnedRoot;
use rootpin_trust::{Floor, Request};

/// One file, which many states of a repository may share: a large one is read once, and not copied
/// with each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataFile(Arc<Content>);

/// What a file is.
#[derive(Debug, PartialEq, Eq)]
pub struct Content {
    /// What is in it.
    pub document: Document,
    /// The file as it was published.
    pub bytes: Vec<u8>,
    /// Whether it lists delegations. Of thousands of hash bins none does, and who signs for each of
    /// them is looked for in all.
    delegates: bool,
}

impl Content {
    fn of(document: Document, bytes: Vec<u8>) -> MetadataFile {
        let delegates = delegated(&document).next().is_some();
        MetadataFile(Arc::new(Self {
            document,
            bytes,
            delegates,
        }))
    }
}

/// Files that were taken apart before, by their bytes.
type KnownFiles<'a> = HashMap<&'a [u8], &'a MetadataFile>;

/// All current files of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// The root files by their versions.
    pub roots: BTreeMap<u64, MetadataFile>,
    /// The timestamp.
    pub timestamp: MetadataFile,
    /// The snapshot.
    pub snapshot: MetadataFile,
    /// The targets roles by name.
    pub roles: BTreeMap<String, MetadataFile>,
    /// Role files that the snapshot doesn't list yet, because signatures are missing: of the role,
    /// or of the snapshot's key.
    pub waiting: BTreeMap<String, MetadataFile>,
    /// Roles whose present file their delegator's keys don't stand for, and why.
    pub broken: BTreeMap<String, String>,
    /// What a host that has seen this has seen.
    pub floors: Vec<Floor>,
}

impl MetadataFile {
    /// A file that was just signed.
    pub(super) fn of(document: Document) -> Self {
        let bytes = document.to_bytes();
        Content::of(document, bytes)
    }

    fn read(
        files: &MetadataFiles,
        name: &str,
        known: &KnownFiles<'_>,
    ) -> Result<Self, PublishError> {
        let bytes = files
            .get(name)
            .ok_or_else(|| PublishError::Incomplete(name.to_owned()))?;
        if let Some(same) = known.get(bytes.as_slice()) {
            return Ok((*same).clone());
        }
        Ok(Content::of(Document::read(name, bytes)?, bytes.clone()))
    }
}

impl Deref for MetadataFile {
    type Target = Content;

    fn deref(&self) -> &Content {
        &self.0
    }
}

impl Metadata {
    /// Reads and verifies a repository. `seen`: the floors of what was read before, behind which
    /// nothing may go. Expiry doesn't count: what has expired is to be renewed. All is verified;
    /// files that are `known` are not taken apart again.
    ///
    /// # Errors
    /// A file is missing or malformed, or the whole doesn't hold under the pinned root.
    pub fn read(
        files: &MetadataFiles,
        pinned: &Arc<PinnedRoot>,
        seen: &[Floor],
        known: Option<&Self>,
    ) -> Result<Self, PublishError> {
        let known = &known
            .into_iter()
            .flat_map(Self::all)
            .map(|file| (file.bytes.as_slice(), file))
            .collect();
        let (trusted, mut broken, floors) = verify(files, pinned, seen)?;
        let versions = trusted.versions();
        let version = |role: &str| versions.get(role).copied().unwrap_or_default();
        let last = version("root");
        let roots = files
            .keys()
            .filter_map(|name| name.strip_suffix(".root.json")?.parse::<u64>().ok())
            .filter(|found| *found <= last);
        let roots = roots.map(|version| {
            Ok((
                version,
                MetadataFile::read(files, &Request::root(version).file_name(), known)?,
            ))
        });
        let roots = roots.collect::<Result<BTreeMap<_, _>, PublishError>>()?;
        // Without consistent snapshots (section 6.2) names have no versions.
        let consistent = trusted.consistent_snapshot();
        let snapshot = Request::versioned("snapshot", consistent.then(|| version("snapshot")));
        let snapshot = MetadataFile::read(files, &snapshot.file_name(), known)?;
        let mut roles = BTreeMap::new();
        for (name, meta) in snapshot.document.members("meta").into_iter().flatten() {
            let role = name.strip_suffix(".json").unwrap_or(name);
            if TOP_LEVEL.contains(&role) {
                continue;
            }
            let version = meta.get("version").and_then(Value::as_u64);
            let request = Request::versioned(role, version.filter(|_| consistent));
            roles.insert(
                role.to_owned(),
                MetadataFile::read(files, &request.file_name(), known)?,
            );
        }
        broken.retain(|role, _| roles.contains_key(role));
        let timestamp = MetadataFile::read(files, "timestamp.json", known)?;
        let mut read = Self {
            roots,
            timestamp,
            snapshot,
            roles,
            waiting: BTreeMap::new(),
            broken,
            floors,
        };
        read.waiting = read.waiting_in(files, known);
        Ok(read)
    }

    /// What waits for signatures or for the snapshot's key. Nothing but its signatures speaks for
    /// it: what no key of its role has signed, or is not newer than what is published, is not
    /// looked at.
    fn waiting_in(
        &self,
        files: &MetadataFiles,
        known: &KnownFiles<'_>,
    ) -> BTreeMap<String, MetadataFile> {
        let names = files.keys().filter(|name| name.starts_with(WAITING));
        let read = names.filter_map(|name| {
            Some((
                role_of(name).ok()?,
                MetadataFile::read(files, name, known).ok()?,
            ))
        });
        read.filter(|(role, file)| {
            let signed = self
                .authority(role)
                .is_some_and(|authority| !Self::signers(&authority, &file.document).is_empty());
            let is_targets =
                file.document.signed.get("_type").and_then(Value::as_str) == Some("targets");
            let newer = self
                .roles
                .get(role)
                .is_none_or(|published| published.document.version() < file.document.version());
            signed && is_targets && newer && !TOP_LEVEL.contains(&role.as_str())
        })
        .collect()
    }

    fn all(&self) -> impl Iterator<Item = &MetadataFile> {
        let online = [&self.timestamp, &self.snapshot].into_iter();
        online
            .chain(self.roots.values())
            .chain(self.roles.values())
            .chain(self.waiting.values())
    }

    /// A targets role as it is to be gone on from: what waits, or else what is published.
    #[must_use]
    pub fn newest(&self, role: &str) -> Option<&MetadataFile> {
        self.waiting.get(role).or_else(|| self.roles.get(role))
    }

    /// Those of a role's keys that have signed a document, each key once.
    #[must_use]
    pub fn signers(authority: &Authority, document: &Document) -> Vec<RoleKey> {
        let mut seen = BTreeSet::new();
        authority
            .keys
            .iter()
            .filter(|key| document.signed_by(key).is_some_and(|id| seen.insert(id)))
            .cloned()
            .collect()
    }

    /// A repository of nothing but its first root.
    pub(super) fn founded(root: MetadataFile) -> Self {
        let empty = |kind| MetadataFile::of(Document::new(kind));
        let (snapshot, timestamp) = (empty("snapshot"), empty("timestamp"));
        let (roles, waiting, broken) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self {
            roots: BTreeMap::from([(root.document.version(), root)]),
            timestamp,
            snapshot,
            roles,
            waiting,
            broken,
            floors: Vec::new(),
        }
    }

    /// Whether both are the same files.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        (&self.roots, &self.timestamp, &self.snapshot)
            == (&other.roots, &other.timestamp, &other.snapshot)
            && (&self.roles, &self.waiting) == (&other.roles, &other.waiting)
    }

    /// The files to publish.
    #[must_use]
    pub fn files(&self) -> MetadataFiles {
        let mut files = MetadataFiles::new();
        for (version, root) in &self.roots {
            files.insert(Request::root(*version).file_name(), root.bytes.clone());
        }
        let newest = self.roots.values().next_back();
        let consistent = newest.is_none_or(|root| {
            root.document.signed.get("consistent_snapshot") != Some(&Value::Bool(false))
        });
        let version = |file: &MetadataFile| consistent.then(|| file.document.version());
        files.insert(
            Request::versioned("snapshot", version(&self.snapshot)).file_name(),
            self.snapshot.bytes.clone(),
        );
        for (role, file) in &self.roles {
            files.insert(
                Request::versioned(role, version(file)).file_name(),
                file.bytes.clone(),
            );
        }
        for (role, file) in &self.waiting {
            files.insert(
                format!("{WAITING}{}", Request::newest(role).file_name()),
                file.bytes.clone(),
            );
        }
        files.insert("timestamp.json".to_owned(), self.timestamp.bytes.clone());
        files
    }

    /// The newest root.
    ///
    /// # Errors
    /// There is none, which no repository that was read is without.
    pub fn root(&self) -> Result<&Document, PublishError> {
        let newest = self.roots.values().next_back().map(|file| &file.document);
        newest.ok_or_else(|| PublishError::Incomplete("N.root.json".to_owned()))
    }

    /// Which keys sign for a role.
    #[must_use]
    pub fn authority(&self, role: &str) -> Option<Authority> {
        let root = self.root().ok()?;
        if let Some(listed) = root.members("roles").and_then(|roles| roles.get(role)) {
            return authority(listed, root.members("keys"), "root");
        }
        let (by, listed) = self
            .delegations()
            .find(|(_, listed)| name(listed) == role)?;
        let keys = self.roles.get(by).and_then(|file| {
            file.document
                .members("delegations")?
                .get("keys")?
                .as_object()
        });
        authority(listed, keys, by)
    }

    /// All delegations: who delegates, and the role as it is listed. Those of `targets` first.
    pub fn delegations(&self) -> impl Iterator<Item = (&str, &Value)> {
        let first = self.roles.get_key_value("targets").into_iter();
        let others = self.roles.iter().filter(|(role, _)| *role != "targets");
        let all = first.chain(others).filter(|(_, file)| file.delegates);
        all.flat_map(|(by, file)| {
            delegated(&file.document).map(move |listed| (by.as_str(), listed))
        })
    }

    /// What people call whoever holds a key.
    #[must_use]
    pub fn holder(&self, keyid: &str) -> Option<String> {
        let roots = self.roots.values().rev().map(|file| &file.document);
        let documents = roots.chain(self.roles.values().map(|file| &file.document));
        let holders =
            documents.filter_map(|document| document.members(HOLDERS)?.get(keyid)?.as_str());
        // As tuf-on-ci lists a key's holder.
        let owner = || self.key(keyid)?.get("x-tuf-on-ci-keyowner")?.as_str();
        holders
            .map(str::to_owned)
            .next()
            .or_else(|| owner().map(str::to_owned))
    }

    /// Keys for people: who holds them, and the beginnings of their IDs.
    #[must_use]
    pub fn named(&self, keyids: &[String]) -> String {
        let named = |keyid: &String| {
            let short: String = keyid.chars().take(8).collect();
            self.holder(keyid)
                .map_or(short.clone(), |holder| format!("{holder} ({short})"))
        };
        keyids.iter().map(named).collect::<Vec<_>>().join(", ")
    }

    /// A key as metadata lists it, for people: two files may list two keys under one ID.
    #[must_use]
    pub fn key(&self, keyid: &str) -> Option<&Value> {
        let of_root = self
            .root()
            .ok()?
            .members("keys")
            .and_then(|keys| keys.get(keyid));
        let delegated = self.roles.values().filter_map(|file| {
            file.document
                .members("delegations")?
                .get("keys")?
                .get(keyid)
        });
        of_root.into_iter().chain(delegated).next()
    }

    /// What the next snapshot lists.
    pub(super) fn meta(&self) -> Map<String, Value> {
        // Old tools list the root too, and clients let nothing vanish that was listed.
        let root = self
            .snapshot
            .document
            .members("meta")
            .and_then(|meta| meta.get("root.json"))
            .and(self.roots.values().next_back());
        let root = root.map(|file| {
            (
                "root.json".to_owned(),
                listing(file.document.version(), &file.bytes),
            )
        });
        let roles = self.roles.iter().map(|(role, file)| {
            (
                format!("{role}.json"),
                listing(file.document.version(), &file.bytes),
            )
        });
        roles.chain(root).collect()
    }
}

/// The top-level roles that are no targets.
const TOP_LEVEL: [&str; 3] = ["root", "snapshot", "timestamp"];

/// The IDs of the keys that a role is signed by.
pub(super) fn keyids(listed: &Value) -> impl Iterator<Item = &str> {
    listed
        .get("keyids")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

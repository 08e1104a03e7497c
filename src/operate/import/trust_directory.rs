//! A trust directory of Docker's or Notary's client: the root keys that this host saw first, which
//! are proposed and not confirmed.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use super::{ImportedKey, ImportedRoot, Proposal, ServerChoice};
use crate::observe::plain;
use crate::operate::audit::folder::{Allowance, FolderEntryKind, OpenFolder};
use rootpin_trust::PublicKey;
use rootpin_trust::image::Repository;
use rootpin_trust::notary::Inspection;

/// No file that verifies is longer.
const MAX_FILE: usize = 8 << 20;
/// An image's name has no more parts.
const MAX_DEPTH: usize = 128;
const METADATA: &str = "metadata";
const RELEASES: &str = "targets/releases";

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct TrustDirectory {
    /// The repositories.
    pub(crate) repositories: Vec<CachedRepository>,
    /// What was not taken, and why.
    pub(crate) unread: Vec<(String, String)>,
    /// Whether a part of it is there and could not be read.
    pub(crate) failed: bool,
}

/// A repository as the client cached it.
#[derive(Debug)]
pub(crate) struct CachedRepository {
    /// Its name.
    pub(crate) gun: Repository,
    /// The keys of its root role.
    pub(crate) root_keys: Vec<Arc<PublicKey>>,
    /// Whether `targets/releases` is delegated.
    pub(crate) releases: bool,
}

impl TrustDirectory {
    /// Reads the folder that has `tuf` in it. Links are not followed.
    ///
    /// # Errors
    /// The folder can't be opened.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let folder = OpenFolder::open(path)?;
        let mut found = Self::default();
        let mut allowance = Allowance::default();
        let Some(tuf) = folder.child("tuf")? else {
            return Err(io::Error::new(ErrorKind::NotFound, "there is no tuf in it"));
        };
        found.walk(&tuf, "", 0, &mut allowance);
        Ok(found)
    }

    /// The key in the certificate of that ID, in any root role.
    pub(crate) fn certificate(&self, id: &str) -> Option<&PublicKey> {
        let keys = self.repositories.iter().flat_map(|one| &one.root_keys);
        keys.map(AsRef::as_ref)
            .find(|key| !key.certificates().is_empty() && key.scoped_id() == id)
    }

    /// Proposes what the client went by: each repository's root keys, none of them confirmed.
    pub(crate) fn proposal(
        &self,
        file: &str,
        servers: impl Fn(&Repository) -> ServerChoice,
    ) -> Proposal {
        let keys = self.repositories.iter().flat_map(|one| &one.root_keys);
        let mut proposal = Proposal {
            seen: keys.map(|key| key.as_ref().clone()).collect(),
            unread: self.failed,
            ..Proposal::default()
        };
        for (name, why) in &self.unread {
            proposal.leave(file, name.clone(), why.clone());
        }
        for repository in &self.repositories {
            let choice = servers(&repository.gun);
            let key = |key: &Arc<PublicKey>| ImportedKey {
                id: key.id(),
                key: Some(key.as_ref().clone()),
                confirmed: false,
            };
            let role = if repository.releases {
                RELEASES
            } else {
                "targets"
            };
            let root = ImportedRoot {
                id: String::new(),
                server: choice.of(repository.gun.host()),
                tls_ca: choice.tls_ca,
                role: role.to_owned(),
                keys: repository.root_keys.iter().map(key).collect(),
            };
            proposal.allow(repository.gun.as_str(), root);
        }
        proposal
    }

    fn tell(&mut self, what: &str, why: &dyn std::fmt::Display) {
        self.unread.push((plain(what), plain(&why.to_string())));
    }

    /// Tells of a part that could not be read.
    fn fail(&mut self, what: &str, why: &io::Error) {
        self.failed = true;
        self.tell(what, why);
    }

    fn walk(&mut self, folder: &OpenFolder, name: &str, depth: usize, allowance: &mut Allowance) {
        if depth >= MAX_DEPTH {
            return self.tell(name, &"too deep");
        }
        let entries = match folder.entries(allowance) {
            Ok(entries) => entries,
            Err(error) => return self.fail(name, &error),
        };
        for (entry, kind) in entries {
            let below = match name {
                "" => entry.clone(),
                name => format!("{name}/{entry}"),
            };
            match kind {
                FolderEntryKind::File => {}
                FolderEntryKind::Other => {
                    self.tell(&below, &"not a plain file or folder: not followed");
                }
                FolderEntryKind::Folder => match folder.child(&entry) {
                    Ok(Some(child)) => {
                        if entry == METADATA && !name.is_empty() {
                            self.repository(&child, name, allowance);
                        }
                        self.walk(&child, &below, depth + 1, allowance);
                    }
                    Ok(None) => {}
                    Err(error) => self.fail(&below, &error),
                },
            }
        }
    }

    fn repository(&mut self, metadata: &OpenFolder, name: &str, allowance: &mut Allowance) {
        match cached(metadata, name, allowance) {
            Ok(repository) if allowance.repositories > 0 => {
                allowance.repositories -= 1;
                self.repositories.push(repository);
            }
            Ok(_) => self.tell(name, &"too many repositories"),
            Err(NotTaken::Unread(file, error)) => self.fail(&format!("{name}: {file}"), &error),
            Err(NotTaken::Wrong(why)) => self.tell(name, &why),
        }
    }
}

/// Why a repository is not proposed.
enum NotTaken {
    /// That file could not be read.
    Unread(&'static str, io::Error),
    /// It is not what a client goes by.
    Wrong(String),
}

impl From<String> for NotTaken {
    fn from(why: String) -> Self {
        Self::Wrong(why)
    }
}

impl From<&str> for NotTaken {
    fn from(why: &str) -> Self {
        Self::Wrong(why.to_owned())
    }
}

fn cached(
    metadata: &OpenFolder,
    name: &str,
    allowance: &mut Allowance,
) -> Result<CachedRepository, NotTaken> {
    let gun = Repository::from_full(name).map_err(|error| error.to_string())?;
    let mut read = |file: &'static str| {
        let bytes = metadata.read(file, MAX_FILE, allowance);
        bytes.map_err(|error| match error.kind() {
            ErrorKind::NotFound => NotTaken::Wrong(format!("there is no {file}")),
            _ => NotTaken::Unread(file, error),
        })
    };
    let mut inspection = Inspection::default();
    let root = inspection
        .root("root.json", &read("root.json")?)
        .map_err(|refusal| format!("root.json: {}", refusal.found))?;
    if !root.file.signed {
        return Err("root.json is not signed by its own root keys".into());
    }
    let keys = root.role("root").map(|role| role.keys.clone());
    let root_keys = keys.filter(|keys| !keys.is_empty());
    let root_keys = root_keys.ok_or("root.json lists no root key that is known here")?;
    // Without a cached targets.json the client has read no tag.
    let targets = match read("targets.json") {
        Ok(bytes) => Some(bytes),
        Err(NotTaken::Wrong(_)) => None,
        Err(unread) => return Err(unread),
    };
    let targets = root.role("targets").zip(targets);
    let releases = targets.is_some_and(|(role, bytes)| {
        let listed = inspection.targets(role, &bytes);
        listed.is_ok_and(|listed| {
            let mut delegations = listed.delegations.iter();
            delegations.any(|(role, _)| role.name == RELEASES)
        })
    });
    Ok(CachedRepository {
        gun,
        root_keys,
        releases,
    })
}

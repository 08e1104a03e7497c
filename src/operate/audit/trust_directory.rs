//! Trust directories as Docker's and Notary's clients keep them: `tuf/<repository>/metadata/*.json`
//! and `private/*.key`.

use std::collections::BTreeMap;

use super::findings::Untold;
use super::folder::{Allowance, FolderEntryKind, OpenFolder};
use super::report::TrustDirectory;
use super::repository::{self, InspectedRepository};
use crate::observe::plain;

/// What was read of one trust directory.
#[derive(Debug)]
pub(super) struct ReadTrustDirectory {
    pub(super) directory: TrustDirectory,
    pub(super) untold: Vec<Untold>,
}

/// Repositories are no deeper than an image's name has parts, nor roles than names of 255
/// characters.
const MAX_DEPTH: usize = 128;
/// No file that verifies is longer.
const MAX_FILE: usize = 8 << 20;
/// Where a repository's folder has its files.
const METADATA: &str = "metadata";

/// Reads a trust directory; none where there is nothing of one.
pub(super) fn read(folder: &OpenFolder, allowance: &mut Allowance) -> Option<ReadTrustDirectory> {
    let path = plain(&folder.path.to_string_lossy());
    let directory = TrustDirectory {
        path,
        repositories: Vec::new(),
        private_keys: Vec::new(),
    };
    let mut found = ReadTrustDirectory {
        directory,
        untold: Vec::new(),
    };
    let mut any = false;
    match folder.child("tuf") {
        Ok(Some(tuf)) => {
            any = true;
            found.walk(&tuf, "", 0, allowance);
        }
        Ok(None) => {}
        Err(error) => found.tell(folder, "tuf", &error),
    }
    match folder.child("private") {
        Ok(Some(private)) => {
            any = true;
            found.private_keys(&private, 0, allowance);
        }
        Ok(None) => {}
        Err(error) => found.tell(folder, "private", &error),
    }
    (any || !found.untold.is_empty()).then_some(found)
}

impl ReadTrustDirectory {
    fn tell(&mut self, folder: &OpenFolder, name: &str, why: &dyn std::fmt::Display) {
        self.untold.push(Untold::new(
            plain(&folder.path.join(name).to_string_lossy()),
            plain(&why.to_string()),
        ));
    }

    /// Goes down the parts of repositories' names.
    fn walk(&mut self, folder: &OpenFolder, name: &str, depth: usize, allowance: &mut Allowance) {
        if depth >= MAX_DEPTH {
            return self.tell(folder, "", &"too deep");
        }
        let entries = match folder.entries(allowance) {
            Ok(entries) => entries,
            Err(error) => return self.tell(folder, "", &error),
        };
        for (entry, kind) in entries {
            match kind {
                FolderEntryKind::Folder => {}
                FolderEntryKind::File => continue,
                FolderEntryKind::Other => {
                    self.tell(folder, &entry, &"not a plain file or folder: not followed");
                    continue;
                }
            }
            let child = match folder.child(&entry) {
                Ok(Some(child)) => child,
                Ok(None) => continue,
                Err(error) => {
                    self.tell(folder, &entry, &error);
                    continue;
                }
            };
            if entry == METADATA && !name.is_empty() {
                self.repository(&child, name, allowance);
            }
            let below = if name.is_empty() {
                entry
            } else {
                format!("{name}/{entry}")
            };
            self.walk(&child, &below, depth + 1, allowance);
        }
    }

    fn repository(&mut self, metadata: &OpenFolder, name: &str, allowance: &mut Allowance) {
        let mut files = BTreeMap::new();
        self.files(metadata, "", 0, &mut files, allowance);
        if files.is_empty() {
            return;
        }
        if allowance.repositories == 0 {
            return self.tell(metadata, "", &"too many repositories for one audit");
        }
        allowance.repositories -= 1;
        let InspectedRepository {
            repository,
            refused,
        } = repository::inspect(name, &files);
        for (file, refusal) in refused {
            self.tell(
                metadata,
                &file,
                &format!(
                    "{}: {}; wanted {}",
                    refusal.code, refusal.found, refusal.wanted
                ),
            );
        }
        self.directory.repositories.push(repository);
    }

    /// The metadata files of a repository: those of delegated roles lie in folders of the roles'
    /// names.
    fn files(
        &mut self,
        folder: &OpenFolder,
        name: &str,
        depth: usize,
        files: &mut BTreeMap<String, Vec<u8>>,
        allowance: &mut Allowance,
    ) {
        let entries = match folder.entries(allowance) {
            Ok(entries) => entries,
            Err(error) => return self.tell(folder, "", &error),
        };
        for (entry, kind) in entries {
            let path = if name.is_empty() {
                entry.clone()
            } else {
                format!("{name}/{entry}")
            };
            match kind {
                FolderEntryKind::File if entry.strip_suffix(".json").is_some() => {
                    match folder.read(&entry, MAX_FILE, allowance) {
                        Ok(bytes) => drop(files.insert(path, bytes)),
                        Err(error) => self.tell(folder, &entry, &error),
                    }
                }
                FolderEntryKind::Folder if depth < MAX_DEPTH => match folder.child(&entry) {
                    // A repository below one that is called `metadata` is gone into by `walk`.
                    Ok(Some(child)) if entry != METADATA => {
                        self.files(&child, &path, depth + 1, files, allowance);
                    }
                    Ok(_) => {}
                    Err(error) => self.tell(folder, &entry, &error),
                },
                FolderEntryKind::File => {}
                FolderEntryKind::Folder => self.tell(folder, &entry, &"too deep"),
                FolderEntryKind::Other => {
                    self.tell(folder, &entry, &"not a plain file or folder: not followed");
                }
            }
        }
    }

    /// The names only: an audit has no business in private keys.
    fn private_keys(&mut self, folder: &OpenFolder, depth: usize, allowance: &mut Allowance) {
        let entries = match folder.entries(allowance) {
            Ok(entries) => entries,
            Err(error) => return self.tell(folder, "", &error),
        };
        for (entry, kind) in entries {
            match (kind, entry.strip_suffix(".key")) {
                (FolderEntryKind::File, Some(id)) => self.directory.private_keys.push(plain(id)),
                // Older clients sort them into folders: root_keys, tuf_keys.
                (FolderEntryKind::Folder, _) if depth < MAX_DEPTH => match folder.child(&entry) {
                    Ok(Some(child)) => self.private_keys(&child, depth + 1, allowance),
                    Ok(None) => {}
                    Err(error) => self.tell(folder, &entry, &error),
                },
                _ => {}
            }
        }
    }
}

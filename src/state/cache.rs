//! Cached metadata files. They spare requests and serve while a source is silent; what they say is verified anew each time, and
//! the floors hold whether they are there or not.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::image::{Digest, Repository};

use super::directory;

/// The cache in a state directory.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
    owner: u32,
}

impl Cache {
    /// The cache of an open state. It has the owner of the state directory, which the state has checked.
    ///
    /// # Errors
    /// The state directory is not there.
    pub fn new(state: &Path) -> io::Result<Self> {
        Ok(Self { folder: state.join("cache"), owner: fs::metadata(state)?.uid() })
    }

    /// A cached file, by its role's path (`targets/releases.json`). What can't be read is as if it were not there.
    #[must_use]
    pub fn read(&self, server: &str, gun: &Repository, name: &str, max_bytes: usize) -> Option<Vec<u8>> {
        let path = self.folder_of(server, gun).join(file_name(name)?);
        match self.read_file(&path, max_bytes) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                log::warn!("{}: not used: {error}", path.display());
                None
            }
        }
    }

    /// Writes files of one verified whole; those that are there already are left alone.
    ///
    /// # Errors
    /// A file could not be written. What was verified holds all the same.
    pub fn write(&self, server: &str, gun: &Repository, files: &[(String, Vec<u8>)]) -> io::Result<()> {
        let folder = self.folder_of(server, gun);
        let mut written = false;
        for (name, bytes) in files {
            let path = folder.join(file_name(name).ok_or_else(|| refused("the role's name is too long for a file"))?);
            if self.read_file(&path, bytes.len()).is_ok_and(|known| known == *bytes) {
                continue;
            }
            if !written {
                self.make(&folder)?;
                written = true;
            }
            let mut draft = tempfile::Builder::new().prefix(".new-").tempfile_in(&folder)?;
            draft.write_all(bytes)?;
            draft.as_file().set_permissions(Permissions::from_mode(0o600))?;
            draft.as_file().sync_all()?;
            draft.persist(&path)?;
        }
        if written { directory::sync(&folder) } else { Ok(()) }
    }

    /// Removes what is cached of one repository of one server.
    ///
    /// # Errors
    /// It is there and can't be removed.
    pub fn forget(&self, server: &str, gun: &Repository) -> io::Result<()> {
        match fs::remove_dir_all(self.folder_of(server, gun)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn folder_of(&self, server: &str, gun: &Repository) -> PathBuf {
        self.folder.join(Digest::of(format!("{server}\n{gun}").as_bytes()).hex())
    }

    /// Makes the folders that are missing.
    fn make(&self, folder: &Path) -> io::Result<()> {
        for folder in [&self.folder, folder] {
            match DirBuilder::new().mode(0o700).create(folder) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => self.check(&fs::symlink_metadata(folder)?, Metadata::is_dir)?,
                Err(error) => return Err(error),
                Ok(()) => folder.parent().map_or(Ok(()), directory::sync)?,
            }
        }
        Ok(())
    }

    fn read_file(&self, path: &Path, max_bytes: usize) -> io::Result<Vec<u8>> {
        for folder in path.parent().into_iter().chain([self.folder.as_path()]) {
            self.check(&fs::symlink_metadata(folder)?, Metadata::is_dir)?;
        }
        self.check(&fs::symlink_metadata(path)?, Metadata::is_file)?;
        let file = File::open(path)?;
        self.check(&file.metadata()?, Metadata::is_file)?;
        let limit = u64::try_from(max_bytes).unwrap_or(u64::MAX).saturating_add(1);
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes)?;
        if bytes.len() > max_bytes {
            return Err(refused("longer than it may be"));
        }
        Ok(bytes)
    }

    fn check(&self, metadata: &Metadata, kind: fn(&Metadata) -> bool) -> io::Result<()> {
        if !kind(metadata) {
            return Err(refused("neither a plain file nor a folder"));
        }
        if metadata.uid() != self.owner {
            return Err(refused("owned by somebody else"));
        }
        if metadata.mode() & 0o022 != 0 {
            return Err(refused("others may write it"));
        }
        Ok(())
    }
}

/// A file's name for a role's path: what is not plain is written as `%` and two hex digits, so that no role leaves the folder.
fn file_name(role: &str) -> Option<String> {
    let mut name = String::new();
    for (at, byte) in role.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => name.push(char::from(byte)),
            b'.' if at > 0 => name.push('.'),
            other => write!(name, "%{other:02x}").ok()?,
        }
    }
    // The longest name that file systems take is 255.
    (1..=255).contains(&name.len()).then_some(name)
}

fn refused(why: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}

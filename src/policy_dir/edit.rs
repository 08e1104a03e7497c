//! An edit of a policy's directory: what would come of it is loaded as the daemon loads it, and
//! only then put in place.
//!
//! Pinned files are added first, under names that nobody has; the one text that changes is renamed
//! into place last. Whatever interrupts it, the old policy or the new one is there, whole.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tempfile::NamedTempFile;

use super::{FRAGMENTS, Owner, PolicyDir};
use crate::problem::Problem;
use crate::trusted_path;
use rootpin_policy::{Diagnostic, Files, Policy, Unreadable};

/// A policy's directory that nobody else edits by command meanwhile.
#[derive(Debug)]
pub struct Editing {
    files: PolicyDir,
    /// Locked until this is dropped. The directory itself, so that no file is left behind.
    locked: File,
}

impl Drop for Editing {
    /// Closing it would do, but for a child process of another thread that has it open until it runs its program.
    fn drop(&mut self) {
        let _ = self.locked.unlock();
    }
}

/// What is to be in the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The file that changes: `policy.toml`, `policy.d/10.toml`.
    pub file: String,
    /// Its text.
    pub text: String,
    /// Pinned files that come with it, by name. One that is there already must be the same.
    pub pinned: BTreeMap<String, Vec<u8>>,
}

/// A proposal that loads, and the policy that it gives.
#[derive(Debug)]
pub struct Checked<'a> {
    editing: &'a Editing,
    proposal: Proposal,
    /// The policy as it will be.
    pub policy: Policy,
}

/// A step of [`Checked::write_watched`] that is about to be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EditStep {
    /// A pinned file is put in place.
    Pin,
    /// Whether the policy is still what was edited is looked at.
    Look,
    /// The old text is kept aside.
    Backup,
    /// The new text is written beside the old one.
    Write,
    /// The new text takes the place of the old one.
    Rename,
    /// The rename is made to last.
    Sync,
}

impl Editing {
    /// Begins to edit the policy in that directory, whose files must belong to that owner.
    ///
    /// # Errors
    /// There is no such directory, or another edit is under way.
    pub fn begin(dir: &Path, owner: Owner) -> Result<Self, Problem> {
        let files = PolicyDir::open(dir, owner);
        let shown = files.dir.display();
        let failed = |error: &io::Error| {
            Problem::hinted(
                format!("{shown}: {error}"),
                format!("name the policy's folder by --policy, or make {shown}"),
            )
        };
        let locked = File::open(&files.dir).map_err(|error| failed(&error))?;
        match locked.try_lock() {
            Ok(()) => Ok(Self { files, locked }),
            Err(TryLockError::WouldBlock) => Err(Problem::hinted(
                format!("another edit of {shown} is under way"),
                "try again when it has ended",
            )),
            Err(TryLockError::Error(error)) => Err(failed(&error)),
        }
    }

    /// The directory as it is.
    #[must_use]
    pub fn files(&self) -> &PolicyDir {
        &self.files
    }

    /// The text of a file of the policy, or `None` where there is none yet.
    ///
    /// # Errors
    /// It is not to be trusted, or no text.
    pub fn text(&self, name: &str) -> Result<Option<String>, Problem> {
        let read = self.files.read(name);
        if matches!(fs::symlink_metadata(self.files.dir.join(name)), Err(error) if error.kind() == io::ErrorKind::NotFound)
        {
            return Ok(None);
        }
        let bytes = read
            .map_err(|error| Problem::hinted(format!("{name}: {}", error.message), error.hint))?;
        String::from_utf8(bytes)
            .map(Some)
            .map_err(|_| Problem::hinted(format!("{name} is not UTF-8"), "save the file as UTF-8"))
    }

    /// Loads what the policy would be.
    ///
    /// # Errors
    /// Every finding, if it doesn't load.
    pub fn check(
        &self,
        proposal: Proposal,
        now: Timestamp,
    ) -> Result<Checked<'_>, Vec<Diagnostic>> {
        let policy = super::load(
            &Overlay {
                base: &self.files,
                proposal: &proposal,
            },
            now,
        )?;
        Ok(Checked {
            editing: self,
            proposal,
            policy,
        })
    }
}

/// A directory as it would be.
struct Overlay<'a> {
    base: &'a PolicyDir,
    proposal: &'a Proposal,
}

impl Files for Overlay<'_> {
    fn read(&self, relative: &str) -> Result<Vec<u8>, Unreadable> {
        let proposed = if relative == self.proposal.file {
            Some(self.proposal.text.as_bytes())
        } else {
            self.proposal.pinned.get(relative).map(Vec::as_slice)
        };
        match proposed {
            Some(bytes) if self.base.dir.join(relative).exists() => {
                // What is there is the owner's own, or it is not written over.
                trusted_path::check(&self.base.dir.join(relative), self.base.owner)?;
                Ok(bytes.to_vec())
            }
            Some(bytes) => {
                let parent = self
                    .base
                    .dir
                    .join(relative)
                    .parent()
                    .map(Path::to_owned)
                    .unwrap_or_default();
                let parent = if parent.exists() {
                    &parent
                } else {
                    &self.base.dir
                };
                trusted_path::check_directory(parent, self.base.owner)?;
                Ok(bytes.to_vec())
            }
            None => self.base.read(relative),
        }
    }

    fn fragments(&self) -> Result<Vec<String>, Unreadable> {
        let mut names = self.base.fragments()?;
        if self.proposal.file.starts_with(FRAGMENTS) && !names.contains(&self.proposal.file) {
            names.push(self.proposal.file.clone());
        }
        Ok(names)
    }

    fn dir(&self) -> Option<String> {
        self.base.dir()
    }
}

impl Checked<'_> {
    /// Puts it in place. The old text stays beside it, as `policy.toml.bak`.
    ///
    /// # Errors
    /// Something could not be written, or the policy changed meanwhile: then it is as it was.
    pub fn write(self) -> Result<(), Problem> {
        self.write_watched(&mut |_| Ok(()))
    }

    /// The same; before each step `watch` is asked, and its error stops it there, as a full disk
    /// would.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn write_watched(
        self,
        watch: &mut dyn FnMut(EditStep) -> io::Result<()>,
    ) -> Result<(), Problem> {
        let files = &self.editing.files;
        let failed = |name: &str| {
            let name = name.to_owned();
            move |error: io::Error| {
                Problem::hinted(
                    format!("{name} is not written: {error}"),
                    "nothing in force has changed; mend this and try again",
                )
            }
        };
        for (name, bytes) in &self.proposal.pinned {
            watch(EditStep::Pin)
                .and_then(|()| pin(&files.dir.join(name), bytes))
                .map_err(failed(name))?;
        }
        let name = &self.proposal.file;
        watch(EditStep::Look).map_err(failed(name))?;
        if files.look() != files.identity() {
            return Err(Problem::hinted(
                "the policy was changed by somebody else meanwhile".to_owned(),
                "look at what they did, and try again",
            ));
        }
        // Behind links, so that a link stays one.
        let path = files.dir.join(name);
        let path = if path.exists() {
            fs::canonicalize(&path).map_err(failed(name))?
        } else {
            path
        };
        replace(&path, self.proposal.text.as_bytes(), watch).map_err(failed(name))
    }
}

/// Puts a text in place of a file, or in a new one: whole, or not at all. The old text stays beside
/// it, as `NAME.bak`.
///
/// # Errors
/// Something could not be written, or another user may write on the way there: then the file is as
/// it was.
pub fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Behind links, so that a link stays one.
    replace(&trusted_path::place(path)?, bytes, &mut |_| Ok(()))
}

/// Adds a pinned file. One that is there already is left, if it is the same.
fn pin(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = parent(path)?;
    make(parent)?;
    match temporary(path, bytes, 0o644)?.persist_noclobber(path) {
        Ok(_) => sync(parent),
        Err(error)
            if error.error.kind() == io::ErrorKind::AlreadyExists && fs::read(path)? == bytes =>
        {
            Ok(())
        }
        Err(error) => Err(error.error),
    }
}

fn replace(
    path: &Path,
    bytes: &[u8],
    watch: &mut dyn FnMut(EditStep) -> io::Result<()>,
) -> io::Result<()> {
    let parent = parent(path)?;
    make(parent)?;
    let old = match fs::metadata(path) {
        Ok(metadata) => Some((fs::read(path)?, metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let mode = old
        .as_ref()
        .map_or(0o644, |(_, metadata)| metadata.mode() & 0o7777);
    let beside = |bytes: &[u8]| {
        let file = temporary(path, bytes, mode)?;
        if let Some((_, old)) = &old {
            if owner(&file.as_file().metadata()?) != owner(old) {
                fchown(file.as_file(), Some(old.uid()), Some(old.gid()))?;
            }
            trusted_path::copy_attributes(&File::open(path)?, file.as_file())?;
            file.as_file()
                .set_permissions(Permissions::from_mode(mode))?;
        }
        Ok::<_, io::Error>(file)
    };
    if let Some((text, _)) = &old {
        watch(EditStep::Backup)?;
        let mut backup = path.as_os_str().to_owned();
        backup.push(".bak");
        beside(text)?
            .persist(PathBuf::from(backup))
            .map_err(|error| error.error)?;
    }
    watch(EditStep::Write)?;
    let new = beside(bytes)?;
    watch(EditStep::Rename)?;
    new.persist(path).map_err(|error| error.error)?;
    watch(EditStep::Sync)?;
    sync(parent)
}

fn owner(metadata: &fs::Metadata) -> (u32, u32) {
    (metadata.uid(), metadata.gid())
}

/// A whole file beside `path`, safe on the disk, under a name that no policy is read from.
fn temporary(path: &Path, bytes: &[u8], mode: u32) -> io::Result<NamedTempFile> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut file = tempfile::Builder::new()
        .prefix(&format!(".{name}."))
        .suffix(".new")
        .tempfile_in(parent(path)?)?;
    file.write_all(bytes)?;
    file.as_file()
        .set_permissions(Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// A directory that only its owner writes to, whatever the caller's umask is.
fn make(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o755).create(dir) {
        Ok(()) => sync(parent(dir)?),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn parent(path: &Path) -> io::Result<&Path> {
    path.parent().ok_or_else(|| io::Error::other("no folder"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_where_only_its_owner_can_write() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, file) = (dir.path().join("open"), dir.path().join("hosts.toml"));
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, folder.join("hosts.toml")).unwrap();
        let why = replace_file(&folder.join("hosts.toml"), b"new").unwrap_err();
        assert!(why.to_string().contains("can be written by"), "{why}");
        assert_eq!(fs::read(&file).unwrap(), b"old");
        std::os::unix::fs::symlink("hosts.toml", dir.path().join("link")).unwrap();
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(&file, "user.managed", b"puppet", flags).unwrap();
        replace_file(&dir.path().join("link"), b"new").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        for kept in [&file, &dir.path().join("hosts.toml.bak")] {
            let mut value = [0_u8; 6];
            rustix::fs::getxattr(kept, "user.managed", &mut value).unwrap();
            assert_eq!(&value, b"puppet");
        }
    }
}

//! The policy's directory on disk: what is read there is the owner's own, or it is not read.

mod earliest;
mod edit;
#[cfg(test)]
mod fuzz;
mod last;
mod lint_code;
pub mod pins;
mod warnings;

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use crate::plain_text::shell_word;
use crate::trusted_path::{self, Untrusted};
use rootpin_policy::{Diagnostic, Files, Policy, Unreadable};

pub use crate::trusted_path::Owner;

pub use earliest::Earliest;
pub use edit::{Checked, EditStep, Editing, Proposal, replace_file};
pub use last::LastGood;
pub use lint_code::LintCode;

/// The one file that a policy has to have.
const POLICY: &str = "policy.toml";
/// No policy file, fragment or pinned file is longer.
pub(crate) const MAX_BYTES: u64 = 1 << 20;

/// A policy's directory. Reads nothing but plain files that, like every directory above them,
/// belong to their owner alone.
#[derive(Debug)]
pub struct PolicyDir {
    dir: PathBuf,
    owner: Owner,
    read: Mutex<Identity>,
}

/// What identifies the files of a policy: another identity, other files. Cheap to take again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// By name; `None` for a file that is not there or not readable.
    files: BTreeMap<String, Option<Stamp>>,
    fragments: Vec<String>,
}

/// What the file system says of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    dev: u64,
    inode: u64,
    mode: u32,
    owner: (u32, u32),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Loads the policy of these files, with its warnings, for those who show them.
///
/// # Errors
/// Every finding that is an error.
pub fn load(files: &dyn Files, now: Timestamp) -> Result<Policy, Vec<Diagnostic>> {
    let mut policy = rootpin_policy::load(files, now)?;
    policy.warnings = warnings::find(&policy, now)?;
    // Nothing else needs them.
    policy.texts.clear();
    Ok(policy)
}

impl PolicyDir {
    /// The directory at that path, whose files must belong to that owner. Nothing is read yet.
    #[must_use]
    pub fn open(dir: &Path, owner: Owner) -> Self {
        // A path that can't be made absolute is refused when it is read.
        let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        Self {
            dir,
            owner,
            read: Mutex::default(),
        }
    }

    /// The identity of everything that was read, as it was when it was read.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.read
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The identity that the files read, and the fragments that came since, have now. Differs from
    /// [`PolicyDir::identity`] if anything changed; two looks that are equal, some time apart, say
    /// that whoever writes has finished. Judges nothing.
    #[must_use]
    pub fn look(&self) -> Identity {
        let fragments = self.list().unwrap_or_default();
        let names = self
            .identity()
            .files
            .into_keys()
            .chain(fragments.iter().cloned());
        let files = names
            .map(|name| (name.clone(), self.stamp(&name)))
            .collect();
        Identity { files, fragments }
    }

    /// Loads the policy. By a clock that can't be right no end is too far away or over: then the
    /// earliest time that can be right counts.
    pub fn load(&self, now: Timestamp) -> (Result<Policy, Vec<Diagnostic>>, Earliest) {
        let loaded = load(self, now);
        let earliest = self.earliest();
        if now < earliest.at {
            (load(self, earliest.at), earliest)
        } else {
            (loaded, earliest)
        }
    }

    /// The earliest time that a clock can rightly show, by the program's build and the files that
    /// were read.
    #[must_use]
    pub fn earliest(&self) -> Earliest {
        let identity = self.identity();
        let written = identity
            .files
            .iter()
            .filter_map(|(name, stamp)| Some((stamp.as_ref()?.modified.0, name)));
        written
            .max()
            .map_or_else(Earliest::of_build, |(seconds, name)| {
                Earliest::of_build().or(&self.dir.join(name), seconds)
            })
    }

    /// What was read, for [`LastGood`]: the bytes of each file, if they are still the ones that
    /// were read.
    #[must_use]
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let names = self.identity().files.into_keys();
        names
            .filter_map(|name| Some((name.clone(), self.read_checked(&name).1.ok()?)))
            .collect()
    }

    fn stamp(&self, relative: &str) -> Option<Stamp> {
        fs::metadata(self.dir.join(relative))
            .ok()
            .map(|metadata| Stamp::of(&metadata))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.dir.join(FRAGMENTS)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            // As a shell reads `policy.d/*.toml`: hidden files, which editors leave behind, are
            // none.
            if name.as_encoded_bytes().starts_with(b".")
                || !name.as_encoded_bytes().ends_with(b".toml")
            {
                continue;
            }
            match name.to_str() {
                Some(name) if !name.chars().any(char::is_control) => {
                    names.push(format!("{FRAGMENTS}/{name}"));
                }
                _ => {
                    return Err(io::Error::other(format!(
                        "{} is not a name of plain characters",
                        name.display()
                    )));
                }
            }
        }
        names.sort();
        Ok(names)
    }

    fn read_checked(&self, relative: &str) -> (Option<Stamp>, Result<Vec<u8>, Unreadable>) {
        let checked = trusted_path::check(&self.dir.join(relative), self.owner);
        match checked
            .map_err(Unreadable::from)
            .and_then(|path| read_capped(&path))
        {
            Ok((metadata, bytes)) => (Some(Stamp::of(&metadata)), Ok(bytes)),
            Err(error) => (self.stamp(relative), Err(self.or_begun(relative, error))),
        }
    }

    /// A host without a policy is told how it gets one, and whoever names the file, to name its folder.
    fn or_begun(&self, relative: &str, error: Unreadable) -> Unreadable {
        if relative == POLICY && self.dir.is_file() {
            let folder = self.dir.parent().unwrap_or(&self.dir).to_string_lossy();
            let what = format!("{} is a file, and no folder", self.dir.display());
            let hint = format!("name the policy's folder: {}", shell_word(&folder));
            return unreadable(&what, &hint);
        }
        let path = self.dir.join(relative);
        let missing = || matches!(fs::symlink_metadata(&path), Err(error) if error.kind() == io::ErrorKind::NotFound);
        if relative != POLICY || !missing() {
            return error;
        }
        let begin = if self.dir.is_dir() {
            String::new()
        } else {
            format!(
                "mkdir -p {}; then ",
                shell_word(&self.dir.to_string_lossy())
            )
        };
        let hint = format!(
            "{begin}write {}, or have `rootpin pin add ID --policy {} --from FILE --match PATTERN` write it",
            path.display(),
            shell_word(&self.dir.to_string_lossy())
        );
        Unreadable { hint, ..error }
    }
}

impl Files for PolicyDir {
    fn read(&self, relative: &str) -> Result<Vec<u8>, Unreadable> {
        let (stamp, bytes) = self.read_checked(relative);
        self.read
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .files
            .insert(relative.to_owned(), stamp);
        bytes
    }

    fn fragments(&self) -> Result<Vec<String>, Unreadable> {
        let dir = self.dir.join(FRAGMENTS);
        let is_none = |error: io::Error| {
            // Below a file there is no policy.toml either, which is said of that.
            let none = [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory];
            none.contains(&error.kind())
        };
        if fs::symlink_metadata(&dir).is_err_and(is_none) {
            return Ok(Vec::new());
        }
        trusted_path::check_directory(&dir, self.owner)?;
        let names = self.list().map_err(|error| {
            unreadable(
                &error.to_string(),
                "the directory must be readable and hold plain names",
            )
        })?;
        self.read
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .fragments
            .clone_from(&names);
        Ok(names)
    }

    fn dir(&self) -> Option<String> {
        self.dir.to_str().map(str::to_owned)
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            dev: metadata.dev(),
            inode: metadata.ino(),
            mode: metadata.mode(),
            owner: (metadata.uid(), metadata.gid()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Reads a file whose path was checked. It was seen to be a plain file before it is opened, since
/// opening a pipe would wait.
fn read_capped(path: &Path) -> Result<(Metadata, Vec<u8>), Unreadable> {
    let failed = |error: io::Error| unreadable(&error.to_string(), "the file must be readable");
    let mut file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(unreadable("not a plain file", "put a plain file there"));
    }
    let mut bytes = Vec::new();
    file.by_ref()
        .take(MAX_BYTES.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_BYTES) {
        return Err(unreadable("longer than 1 MiB", "split it into fragments"));
    }
    Ok((metadata, bytes))
}

impl From<Untrusted> for Unreadable {
    fn from(Untrusted { message, hint }: Untrusted) -> Self {
        Self { message, hint }
    }
}

fn unreadable(message: &str, hint: &str) -> Unreadable {
    Unreadable {
        message: message.to_owned(),
        hint: hint.to_owned(),
    }
}

const FRAGMENTS: &str = "policy.d";

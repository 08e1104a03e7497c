//! The state directory: whose it is, and whether it is new.

use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::StateError;
use crate::plain_text::error_words;

/// What a directory is when the state is opened in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DirectoryKind {
    /// Missing until now, or empty, or left when the file was being made: it may be made.
    New,
    /// It holds the file.
    Existing,
}

/// Checks the directory, and makes it if it is missing. `file` is the state's file in it, and
/// `draft` the name under which that is made: it is still there only where the very first start was
/// cut short, when nothing was seen yet.
pub(super) fn prepare(dir: &Path, file: &Path, draft: &Path) -> Result<DirectoryKind, StateError> {
    let metadata = match fs::metadata(dir) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir)
                .map_err(|error| io_error(dir, &error))?;
            return Ok(DirectoryKind::New);
        }
        Err(error) => return Err(io_error(dir, &error)),
    };
    if !metadata.is_dir() {
        return Err(unusable(
            dir,
            "not a directory",
            "give the state a directory of its own",
        ));
    }
    let own = own_uid(dir).map_err(|error| io_error(dir, &error))?;
    if metadata.uid() != own {
        return Err(wrong_owner(dir, &metadata, own));
    }
    match fs::symlink_metadata(file) {
        Ok(found) => {
            check_file(file, &found, own)?;
            // Looked at anew: another process may have closed it before it made the file.
            let metadata = fs::metadata(dir).map_err(|error| io_error(dir, &error))?;
            check_mode(dir, &metadata)?;
            // Or, where the power failed when both names were there, it would speak for a new state
            // one day.
            remove(draft).map_err(|error| io_error(draft, &error))?;
            Ok(DirectoryKind::Existing)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let entries: io::Result<Vec<_>> = fs::read_dir(dir)
                .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
            let entries = entries.map_err(|error| io_error(dir, &error))?;
            if entries.iter().any(|path| path == file) {
                // Another process has made it just now.
                return prepare(dir, file, draft);
            }
            if !entries.is_empty() && !entries.iter().any(|path| path == draft) {
                let name = file.file_name().unwrap_or_default().display();
                let why = format!("the directory is not new, yet {name} is not in it");
                return Err(unusable(
                    dir,
                    &why,
                    "put the file back, or see `rootpin state reset --help`",
                ));
            }
            fs::set_permissions(dir, Permissions::from_mode(0o700))
                .map_err(|error| io_error(dir, &error))?;
            Ok(DirectoryKind::New)
        }
        Err(error) => Err(io_error(file, &error)),
    }
}

/// Checks whether this process may use the directory and can read the file in it: then only damage
/// keeps the state from being opened. A file that is missing or not a plain one passes.
pub(super) fn check_access(dir: &Path, file: &Path) -> Result<(), StateError> {
    let metadata = fs::metadata(dir).map_err(|error| io_error(dir, &error))?;
    let own = own_uid(dir).map_err(|error| io_error(dir, &error))?;
    if metadata.uid() != own {
        return Err(wrong_owner(dir, &metadata, own));
    }
    check_mode(dir, &metadata)?;
    match fs::symlink_metadata(file) {
        Ok(found) if found.is_file() => {
            check_file(file, &found, own)?;
            File::open(file)
                .and_then(|mut file| io::copy(&mut file, &mut io::sink()))
                .map_err(|error| {
                    unusable(
                        file,
                        &error.to_string(),
                        "see `dmesg` for a fault of the disk; put the file back from a backup, or move it away and run this again",
                    )
                })?;
            Ok(())
        }
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io_error(file, &error)),
        _ => Ok(()),
    }
}

/// Removes a file that may be gone already.
pub(super) fn remove(file: &Path) -> io::Result<()> {
    fs::remove_file(file).or_else(|error| {
        if error.kind() == ErrorKind::NotFound {
            Ok(())
        } else {
            Err(error)
        }
    })
}

/// Makes the names in a directory last.
pub(super) fn sync(dir: &Path) -> io::Result<()> {
    // The parent of a bare name is the empty path.
    let dir = if dir.as_os_str().is_empty() {
        Path::new(".")
    } else {
        dir
    };
    File::open(dir)?.sync_all()
}

pub(super) fn io_error(path: &Path, error: &io::Error) -> StateError {
    unusable(
        path,
        &error_words(error),
        "see that the directory is there and can be written, then start again",
    )
}

pub(super) fn unusable(path: &Path, why: &str, hint: &str) -> StateError {
    StateError::Unusable {
        path: path.to_owned(),
        why: why.to_owned(),
        hint: hint.to_owned(),
    }
}

fn wrong_owner(path: &Path, metadata: &Metadata, own: u32) -> StateError {
    unusable(
        path,
        &format!("owned by uid {}, not by uid {own}", metadata.uid()),
        &format!("chown {own} {}", path.display()),
    )
}

fn check_mode(dir: &Path, metadata: &Metadata) -> Result<(), StateError> {
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(unusable(
            dir,
            &format!("mode {mode:04o} lets others in"),
            &format!("chmod 700 {}", dir.display()),
        ));
    }
    Ok(())
}

fn check_file(file: &Path, metadata: &Metadata, own: u32) -> Result<(), StateError> {
    let mode = metadata.mode() & 0o7777;
    if !metadata.is_file() {
        return Err(unusable(
            file,
            "not a regular file",
            "put the file back, or see `rootpin state reset --help`",
        ));
    }
    if metadata.uid() != own {
        return Err(wrong_owner(file, metadata, own));
    }
    if mode & 0o077 != 0 {
        return Err(unusable(
            file,
            &format!("mode {mode:04o} lets others in"),
            &format!("chmod 600 {}", file.display()),
        ));
    }
    Ok(())
}

/// The user as whom files are made, asked of a file without a name, which also shows that the
/// directory can be written.
fn own_uid(dir: &Path) -> io::Result<u32> {
    Ok(tempfile::tempfile_in(dir)?.metadata()?.uid())
}

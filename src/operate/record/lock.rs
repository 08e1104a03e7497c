//! One at a time: whoever changes engines' files plans by what is there, records that, and writes.
//! One for each rootpin.toml and its record. Who has another rootpin.toml for the same engines finds
//! before writing that a file changed meanwhile.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::FOLDER_HINT;
use crate::operate::leftover;
use crate::problem::Problem;
use crate::trusted_path::{Owner, check_directory};

/// Beside the record, while somebody is at work.
const FILE: &str = ".installing.lock";
/// What is in it, if the record's folder was made for it.
const MADE: &str = "rootpin made this folder\n";
/// Others are at the same start or end.
const TRIES: usize = 100;

/// Held from the planning to the end of the writing. The kernel lets go of it when the process
/// ends, however it does.
#[derive(Debug)]
pub(crate) struct InstallLock {
    file: File,
    path: PathBuf,
    /// The record's folder was made by rootpin, and goes once it is empty.
    pub(crate) made_folder: bool,
}

impl InstallLock {
    /// Takes it; makes the record's folder, where that is missing. None: this user may not write
    /// there, and so changes nothing.
    ///
    /// # Errors
    /// Somebody else has it or may change the folder, or it can't be made.
    pub(crate) fn take(record: &Path) -> Result<Option<Self>, Problem> {
        let folder = record.parent().unwrap_or(Path::new("/"));
        let path = folder.join(FILE);
        let failed = |error: &io::Error| {
            Problem::hinted(format!("{}: {error}", path.display()), FOLDER_HINT)
        };
        if let Ok(target) = fs::read_link(folder)
            && !folder.exists()
        {
            let (folder, target) = (folder.display(), target.display());
            return Err(Problem::hinted(
                format!("{folder} is a link to {target}, which is not there"),
                "make that folder, or remove the link, and run this again",
            ));
        }
        let made_folder = match make(folder) {
            Ok(made) => made,
            Err(error) if nothing_to_write(&error) => return Ok(None),
            Err(error) => return Err(failed(&error)),
        };
        // No record is written there either.
        check_directory(folder, Owner::RootOrCaller)
            .map_err(|fault| Problem::hinted(fault.message, fault.hint))?;
        for _ in 0..TRIES {
            let opened = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(nofollow())
                .open(&path);
            let mut file = match opened {
                Ok(file) => file,
                Err(error) if nothing_to_write(&error) => return Ok(None),
                Err(error) => return Err(failed(&error)),
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(Problem::hinted(
                        "another rootpin install, doctor --fix or hosts write is at work on this host",
                        "wait until it has ended, and run this again",
                    ));
                }
                Err(TryLockError::Error(error)) => return Err(failed(&error)),
            }
            // The one before may have removed the file between.
            if is_at(&file, &path) {
                let made_folder = of_this_or_one_killed(&mut file, made_folder)
                    .map_err(|error| failed(&error))?;
                // Of a record that was being written when its writer was killed.
                let _ = leftover::remove_all(folder);
                return Ok(Some(Self {
                    file,
                    path,
                    made_folder,
                }));
            }
        }
        Err(Problem::hinted(
            format!("{}: it is removed again and again", path.display()),
            "run this again",
        ))
    }
}

impl Drop for InstallLock {
    fn drop(&mut self) {
        // First the name, so that nobody takes a lock on a file that goes. One that another made
        // since is theirs.
        if is_at(&self.file, &self.path) {
            let _ = fs::remove_file(&self.path);
        }
        let _ = self.file.unlock();
        if let (true, Some(folder)) = (self.made_folder, self.path.parent()) {
            // What is in it keeps it.
            let _ = fs::remove_dir(folder);
        }
    }
}

/// Whether the folder was made by this one or by one before it that was killed, which nobody but its
/// lock's file tells.
fn of_this_or_one_killed(file: &mut File, made_folder: bool) -> io::Result<bool> {
    if made_folder {
        file.write_all(MADE.as_bytes())?;
        return Ok(true);
    }
    let mut text = String::new();
    file.take(64).read_to_string(&mut text)?;
    Ok(text == MADE)
}

fn nofollow() -> i32 {
    i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default()
}

fn nothing_to_write(error: &io::Error) -> bool {
    [ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem].contains(&error.kind())
}

/// Makes the folder; says whether it was missing.
fn make(folder: &Path) -> io::Result<bool> {
    if folder.is_dir() {
        return Ok(false);
    }
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o755).create(folder)?;
    Ok(true)
}

fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(own), Ok(there)) = (file.metadata(), fs::symlink_metadata(path)) else {
        return false;
    };
    (own.dev(), own.ino()) == (there.dev(), there.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_a_link_to_nothing_is_named_with_its_target() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("rootpin");
        std::os::unix::fs::symlink("/none/rootpin", &link).unwrap();
        let why = InstallLock::take(&link.join("installed.json")).unwrap_err();
        let wanted = format!("{} is a link to /none/rootpin, which", link.display());
        assert!(why.to_string().starts_with(&wanted), "{why}");
    }

    #[test]
    fn only_one_at_a_time_changes_the_files_of_engines_and_nothing_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("rootpin/installed.json");
        let first = InstallLock::take(&record).unwrap().unwrap();
        assert!(first.made_folder);
        let second = InstallLock::take(&record).unwrap_err();
        assert!(
            second.what.starts_with("another rootpin install"),
            "{second}"
        );
        drop(first);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let third = InstallLock::take(&record).unwrap().unwrap();
        fs::write(&record, "{}").unwrap();
        drop(third);
        let fourth = InstallLock::take(&record).unwrap().unwrap();
        assert!(!fourth.made_folder);
        drop(fourth);
        let left: Vec<_> = fs::read_dir(record.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["installed.json"]);
    }

    #[test]
    fn what_one_that_was_killed_made_and_left_goes_with_the_next() {
        let top = tempfile::tempdir().unwrap();
        for others in [false, true] {
            let record = top.path().join("rootpin/installed.json");
            let folder = record.parent().unwrap();
            if others {
                fs::create_dir(folder).unwrap();
            }
            let killed = InstallLock::take(&record).unwrap().unwrap();
            let text = fs::read(folder.join(FILE)).unwrap();
            drop(killed);
            // As its end would have been without any of its own code.
            fs::create_dir_all(folder).unwrap();
            fs::write(folder.join(FILE), text).unwrap();
            fs::write(folder.join(".rootpin-Ab3dE9"), "half").unwrap();
            let next = InstallLock::take(&record).unwrap().unwrap();
            assert_eq!(next.made_folder, !others);
            drop(next);
            assert_eq!(folder.exists(), others);
        }
        assert_eq!(fs::read_dir(top.path().join("rootpin")).unwrap().count(), 0);
    }

    #[test]
    fn a_lock_that_was_removed_by_the_one_before_is_taken_anew() {
        let folder = tempfile::tempdir().unwrap();
        let record = folder.path().join("installed.json");
        let path = folder.path().join(FILE);
        let first = InstallLock::take(&record).unwrap().unwrap();
        fs::remove_file(&path).unwrap();
        let second = InstallLock::take(&record).unwrap().unwrap();
        assert!(is_at(&second.file, &path) && !is_at(&first.file, &path));
        drop(first);
        assert!(is_at(&second.file, &path), "the second's stays");
        InstallLock::take(&record).unwrap_err();
    }

    #[test]
    fn a_folder_that_others_may_change_is_named_and_nothing_is_put_there() {
        let folder = tempfile::tempdir().unwrap();
        let open = folder.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let refused = InstallLock::take(&open.join("installed.json")).unwrap_err();
        assert!(refused.to_string().contains("open"), "{refused}");
        assert_eq!(fs::read_dir(&open).unwrap().count(), 0);
    }
}

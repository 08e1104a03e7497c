//! An image of a host: a folder that becomes this program's root directory, so that every path
//! means what it will mean on the host, and no link leads out.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{StatVfsMountFlags, statvfs};

use crate::cli::fix;
use crate::operate::doctor::kubelet::OWN_PROVIDER;
use crate::operate::leftover::{PREFIX, is_leftover};
use crate::problem::Problem;
use crate::trusted_path::{Owner, check_directory};

/// This program is in it from now on.
pub(super) struct Image {
    /// A folder of drafts at its top, which goes at the end.
    staged: PathBuf,
    /// It is locked as long as this is open.
    _lock: File,
}

impl Image {
    /// Goes there, with a copy of the programs that a plan may want.
    pub(super) fn enter(dir: &Path) -> Result<Self, Problem> {
        let failed = |error: &dyn std::fmt::Display| {
            Problem::hinted(
                format!("{}: {error}", dir.display()),
                "name the folder that holds the image's root directory, as root",
            )
        };
        let dir =
            check_directory(dir, Owner::RootOrCaller).map_err(|fault| failed(&fault.message))?;
        if is_root(&dir).map_err(|error| failed(&error))? {
            return Err(Problem::hinted(
                format!("{} is the root directory of this machine", dir.display()),
                "name the folder that holds the image's root directory; for this machine leave out --root",
            ));
        }
        remove_left(&dir).map_err(|error| failed(&error))?;
        let staged = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(&dir)
            .map_err(|error| failed(&error))?;
        let lock = File::open(staged.path()).map_err(|error| failed(&error))?;
        lock.lock().map_err(|error| failed(&error))?;
        // The user that runs the image's programs passes through it.
        lock.set_permissions(fs::Permissions::from_mode(0o711))
            .map_err(|error| failed(&error))?;
        for name in [fix::PROGRAM, OWN_PROVIDER] {
            let own = fix::beside(name)?;
            if !own.is_file() {
                continue;
            }
            let copy = staged.path().join(name);
            fs::copy(&own, &copy)
                .and_then(|_| fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)))
                .map_err(|error| failed(&error))?;
        }
        rustix::process::chroot(&dir).map_err(|error| failed(&error))?;
        let folder = staged.keep();
        let staged = Path::new("/").join(folder.file_name().unwrap_or_default());
        let image = Self {
            staged,
            _lock: lock,
        };
        std::env::set_current_dir("/").map_err(|error| failed(&error))?;
        // Copies of configurations that are tried out are drafts, too.
        let _ = tempfile::env::override_temp_dir(&image.staged);
        // What is run of the image must not get more rights than it has.
        rustix::thread::set_no_new_privs(true).map_err(|error| failed(&error))?;
        Ok(image)
    }

    /// The copy of one of rootpin's programs.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.staged.join(name)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.staged);
    }
}

/// Removes what a run that was killed has left at the image's top: this user's folders of drafts.
fn remove_left(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_staged = name.to_str().is_some_and(is_leftover);
        let about = entry.metadata()?;
        let own = rustix::process::geteuid().as_raw();
        if !is_staged || !about.is_dir() || about.uid() != own {
            continue;
        }
        // Another run may be at work: it has it locked.
        let folder = File::open(entry.path())?;
        if folder.try_lock().is_err() {
            continue;
        }
        fs::remove_dir_all(entry.path())?;
    }
    Ok(())
}

/// Whether a folder is this machine's own root directory, by whatever name.
fn is_root(dir: &Path) -> io::Result<bool> {
    let (dir, root) = (fs::metadata(dir)?, fs::metadata("/")?);
    Ok((dir.dev(), dir.ino()) == (root.dev(), root.ino()))
}

/// Whether nothing can be written there, by whomever.
pub(super) fn is_read_only(folder: &Path) -> bool {
    statvfs(folder).is_ok_and(|about| about.f_flag.contains(StatVfsMountFlags::RDONLY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_that_was_killed_has_left_goes_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (folder, files) in [
            (".rootpin-Ab3dE9", &["rootpin-verifier", "config.toml"][..]),
            (".rootpin-xYz012", &[]),
            (".rootpin-of-others", &[]),
            (".rootpin-333333", &[]),
            ("rootpin-Ab3dE9", &[]),
        ] {
            fs::create_dir(at(folder)).unwrap();
            for file in files {
                fs::write(at(folder).join(file), "x").unwrap();
            }
        }
        fs::write(at(".rootpin-111111"), "a file").unwrap();
        std::os::unix::fs::symlink("/", at(".rootpin-222222")).unwrap();
        let at_work = File::open(at(".rootpin-333333")).unwrap();
        at_work.lock().unwrap();
        remove_left(dir.path()).unwrap();
        let mut left: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        left.sort();
        assert_eq!(
            left,
            [
                ".rootpin-111111",
                ".rootpin-222222",
                ".rootpin-333333",
                ".rootpin-of-others",
                "rootpin-Ab3dE9"
            ]
        );
    }

    #[test]
    fn this_machine_s_own_root_directory_is_no_image() {
        for name in ["/", "/..", "/proc/self/root/."] {
            assert!(is_root(Path::new(name)).unwrap(), "{name}");
        }
        let why = Image::enter(Path::new("/"))
            .err()
            .map(|why| why.to_string());
        assert!(
            why.as_ref()
                .is_some_and(|why| why.contains("the root directory of this machine")),
            "{why:?}"
        );
        assert!(!is_root(Path::new("/proc")).unwrap());
    }
}

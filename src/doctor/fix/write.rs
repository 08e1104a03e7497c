//! Writes what was planned: each file whole or not at all, the one before kept.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::Plan;

/// A file that was written or changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The file.
    pub path: PathBuf,
    /// Where the one before is; none: there was none, or its mode alone changed.
    pub backup: Option<PathBuf>,
    /// Whether there was none.
    pub new: bool,
}

/// Writes all of it, or leaves all texts and programs as they were.
pub(super) fn write(plan: &Plan, time: &str) -> Result<Vec<Written>, String> {
    let mut done = Vec::new();
    let Err(why) = write_all(plan, time, &mut done) else {
        return Ok(done);
    };
    let back = undo(&done).map_or_else(
        |error| format!("what was written before could not be taken back: {error}"),
        |()| "nothing is written".to_owned(),
    );
    Err(format!("{why}; {back}"))
}

fn write_all(plan: &Plan, time: &str, done: &mut Vec<Written>) -> Result<(), String> {
    let failed = |path: &Path, error: &io::Error| format!("{}: {error}", path.display());
    for edit in &plan.texts {
        if super::text(&edit.path)? != edit.before {
            return Err(format!(
                "{} changed meanwhile; hint: run it again",
                edit.path.display()
            ));
        }
    }
    let mut files = Vec::new();
    for (from, to) in &plan.programs {
        files.push((
            to,
            fs::read(from).map_err(|error| failed(from, &error))?,
            0o755,
        ));
    }
    files.extend(
        plan.texts
            .iter()
            .map(|edit| (&edit.path, edit.after.clone().into_bytes(), edit.mode)),
    );
    for (path, bytes, mode) in files {
        let backup = put(path, &bytes, mode, time).map_err(|error| failed(path, &error))?;
        done.push(Written {
            path: path.clone(),
            new: backup.is_none(),
            backup,
        });
    }
    for (path, mode) in &plan.modes {
        let set = chown(path, Some(0), None)
            .and_then(|()| fs::set_permissions(path, Permissions::from_mode(*mode)));
        set.map_err(|error| failed(path, &error))?;
        done.push(Written {
            path: path.clone(),
            backup: None,
            new: false,
        });
    }
    Ok(())
}

/// Puts back what was there before. Modes stay: they were too wide.
pub(super) fn undo(done: &[Written]) -> io::Result<()> {
    for Written { path, backup, new } in done.iter().rev() {
        if let Some(backup) = backup {
            let path = fs::canonicalize(path)?;
            let now = fs::metadata(&path)?;
            chown(backup, Some(now.uid()), Some(now.gid()))?;
            fs::rename(backup, &path)?;
        } else if *new {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Puts bytes in a file's place by a rename. A file that is there keeps its mode and owner, a link
/// its target's place.
fn put(path: &Path, bytes: &[u8], mode: u32, time: &str) -> io::Result<Option<PathBuf>> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = path
        .parent()
        .ok_or_else(|| io::Error::other("no file's path"))?;
    make_folder(folder)?;
    let old = fs::metadata(&path).ok();
    let backup = old.as_ref().map(|_| {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".bak-{time}"));
        // Not in the verifier's folder: containerd would run it.
        if mode == 0o755 {
            folder.with_file_name(name)
        } else {
            path.with_file_name(name)
        }
    });
    if let Some(backup) = &backup {
        fs::copy(&path, backup)?;
    }
    let mut fresh = NamedTempFile::with_prefix_in(".rootpin-", folder)?;
    fresh.write_all(bytes)?;
    fresh.as_file().set_permissions(Permissions::from_mode(
        old.as_ref().map_or(mode, |old| old.mode() & 0o7777),
    ))?;
    if let Some(old) = old {
        chown(fresh.path(), Some(old.uid()), Some(old.gid()))?;
    }
    fresh.as_file().sync_all()?;
    fresh.persist(&path).map_err(|failed| failed.error)?;
    File::open(folder)?.sync_all()?;
    Ok(backup)
}

/// The folder, and those that lead to it; new ones are mode 0755 whatever the umask is.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        make_folder(above)?;
    }
    fs::create_dir(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(0o755))
}

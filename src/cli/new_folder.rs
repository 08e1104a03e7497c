//! Writes a folder that is new, whole or not at all.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::failure::Failure;
use crate::problem::Problem;

/// Refuses a folder that is there already; before anything is asked of anybody.
pub(super) fn check(out: &Path) -> Result<(), Failure> {
    if fs::symlink_metadata(out).is_err() {
        let parent = parent(out);
        return if parent.is_dir() {
            Ok(())
        } else {
            Err(Failure::Unknown(Problem::hinted(
                format!("{}: there is no such folder", parent.display()),
                format!("mkdir -p {}", parent.display()),
            )))
        };
    }
    Err(Failure::Usage(Problem::hinted(
        format!("{} is there already", out.display()),
        "name a folder that is new: nothing is ever written over another",
    )))
}

fn parent(out: &Path) -> &Path {
    let parent = out.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

/// Writes the files, by their paths in the folder, and gives the folder that mode.
pub(super) fn write(out: &Path, files: &BTreeMap<String, Vec<u8>>, mode: u32) -> io::Result<()> {
    let draft = tempfile::Builder::new()
        .prefix(".rootpin-new-")
        .tempdir_in(parent(out))?;
    for (name, bytes) in files {
        let path = draft.path().join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, bytes)?;
    }
    // rename() would put it in the place of an empty folder that somebody made meanwhile.
    if fs::symlink_metadata(out).is_ok() {
        return Err(ErrorKind::AlreadyExists.into());
    }
    let folder = draft.keep();
    fs::set_permissions(&folder, Permissions::from_mode(mode))?;
    fs::rename(&folder, out).inspect_err(|_| drop(fs::remove_dir_all(&folder)))
}

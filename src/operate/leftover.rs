//! Files that a try to write has left, as where the host went down.

use std::path::Path;
use std::{fs, io};

use crate::trusted_path;

/// The names of files that are being written.
pub(crate) const PREFIX: &str = ".rootpin-";

/// Whether that is the name of one that was left.
pub(crate) fn is_leftover(name: &str) -> bool {
    let random = name.strip_prefix(PREFIX);
    random.is_some_and(|random| {
        random.len() == 6 && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// Removes those of a folder, now that nobody writes there.
pub(crate) fn remove_all(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if name.to_str().is_some_and(is_leftover) {
            remove(&folder.join(name))?;
        }
    }
    Ok(())
}

/// Removes one.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    // A folder or link of that name is nobody's that is known here.
    if !fs::symlink_metadata(path).is_ok_and(|about| about.is_file()) {
        return Ok(());
    }
    trusted_path::place(path).and_then(fs::remove_file)
}

//! Files that only their owner can read: keys, and the passphrases of keys.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::key::SigningError;
use crate::problem::Problem;

/// No such file is larger.
const MAX_FILE: usize = 64 * 1024;

/// Reads a file that only the caller can read. The checks are made on the file that is then read,
/// not on its name.
///
/// # Errors
/// It can't be read, is too long, or others could read it.
pub fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, SigningError> {
    let (file, metadata) = open(path)?;
    if metadata.mode() & 0o077 != 0 {
        return Err(SigningError::Exposed(
            shown(path),
            format!("has mode {:04o}", metadata.mode() & 0o7777),
        ));
    }
    owned(path, &metadata)?;
    bytes_of(path, file)
}

/// Reads a file that may be handed around, as a public key is.
pub(super) fn read_public(path: &Path) -> Result<Vec<u8>, SigningError> {
    let (file, _) = open(path)?;
    bytes_of(path, file).map(|bytes| bytes.to_vec())
}

/// The path without links of something that only root or the caller can change: the file, and every
/// folder on the way to it.
pub(super) fn unchangeable_by_others(path: &Path) -> Result<PathBuf, SigningError> {
    let failed = |path: &Path, error| SigningError::File(shown(path), error);
    let path = fs::canonicalize(path).map_err(|error| failed(path, error))?;
    let own = rustix::process::geteuid().as_raw();
    for part in path.ancestors() {
        let metadata = fs::metadata(part).map_err(|error| failed(part, error))?;
        // In a sticky folder, as the system's temporary one, nobody can take away or rename what is
        // another's.
        let sticky = metadata.is_dir() && metadata.mode() & 0o1000 != 0;
        let fault = if metadata.uid() != 0 && metadata.uid() != own {
            format!("belongs to user {}", metadata.uid())
        } else if metadata.mode() & 0o022 != 0 && !sticky {
            format!(
                "has mode {:04o}, so that others can write it",
                metadata.mode() & 0o7777
            )
        } else {
            continue;
        };
        let found = format!("{} {fault}", shown(part));
        let problem = Problem::hinted(
            "what is loaded from there runs as you",
            "it must belong to root or you alone, with every folder above it",
        );
        return Err(SigningError::Token(found, problem));
    }
    Ok(path)
}

/// Writes a file that isn't there yet; it appears whole or not at all, with mode 0600 from its
/// first moment.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), SigningError> {
    write(path, bytes).map_err(|error| SigningError::File(shown(path), error))
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    temporary.write_all(bytes)?;
    temporary.as_file().sync_all()?;
    temporary.persist_noclobber(path)?;
    File::open(folder)?.sync_all()
}

fn open(path: &Path) -> Result<(File, Metadata), SigningError> {
    let failed = |error| SigningError::File(shown(path), error);
    // Before it is opened: a pipe would hold its reader.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(failed(io::Error::other("not a regular file")));
    }
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    Ok((file, metadata))
}

pub(super) fn owned(path: &Path, metadata: &Metadata) -> Result<(), SigningError> {
    if metadata.uid() == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(SigningError::Exposed(
        shown(path),
        format!("belongs to user {}", metadata.uid()),
    ))
}

fn bytes_of(path: &Path, file: File) -> Result<Zeroizing<Vec<u8>>, SigningError> {
    let failed = |error| SigningError::File(shown(path), error);
    // All at once: what grows leaves copies behind that nobody wipes.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE + 1));
    let most = u64::try_from(MAX_FILE)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    file.take(most).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > MAX_FILE {
        return Err(failed(io::Error::other(format!(
            "longer than {MAX_FILE} bytes"
        ))));
    }
    Ok(bytes)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_private_file_that_others_can_read_or_that_is_endless_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passphrase");
        write_new(&path, b"secret\n").unwrap();
        assert_eq!(read_private(&path).unwrap().as_slice(), b"secret\n");
        assert!(write_new(&path, b"other").is_err(), "written over");
        for mode in [0o640, 0o604, 0o620] {
            set_mode(&path, mode);
            assert!(
                matches!(read_private(&path), Err(SigningError::Exposed(..))),
                "{mode:o}"
            );
        }
        assert!(read_private(Path::new("/dev/zero")).is_err());
        fs::write(&path, vec![b'a'; MAX_FILE + 1]).unwrap();
        assert!(read_public(&path).is_err());
    }

    #[test]
    fn what_is_loaded_can_be_changed_by_nobody_else_at_any_point_on_its_way() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("lib");
        fs::create_dir(&folder).unwrap();
        let path = folder.join("module.so");
        fs::write(&path, b"").unwrap();
        assert!(unchangeable_by_others(&path).is_ok());
        set_mode(&folder, 0o777);
        let error = unchangeable_by_others(&path).unwrap_err().to_string();
        assert!(error.contains("mode 0777"), "{error}");
        set_mode(&folder, 0o755);
        set_mode(&path, 0o666);
        assert!(unchangeable_by_others(&path).is_err());
        set_mode(&path, 0o644);
        if std::os::unix::fs::chown(&folder, Some(12345), None).is_ok() {
            assert!(unchangeable_by_others(&path).is_err());
        }
    }
}

//! A Unix socket that only root can connect to.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

use super::{Holder, Taken};
use crate::trusted_path::restrict_socket;

/// Binds a socket of mode 0600. One that is left over from a daemon that died is replaced; anything
/// else in its place is an error.
///
/// # Errors
/// Somebody answers there, something that is no socket is there, or the directory does not let us.
pub async fn bind_unix(path: &Path) -> Result<UnixListener, Taken> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(Taken::plain(
                "something that is no socket is there; remove it",
            ));
        }
        Ok(_) if UnixStream::connect(path).await.is_ok() => {
            return Err(Taken::by(Holder::of_unix(path)));
        }
        Ok(_) => fs::remove_file(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    // Bound under another name and renamed once its mode is right, so that it is never open to
    // others, not even for an instant.
    let fresh = fresh_name(path)?;
    let _ = fs::remove_file(&fresh);
    let listener = UnixListener::bind(&fresh)?;
    restrict_socket(&fresh)?;
    fs::rename(&fresh, path)?;
    Ok(listener)
}

fn fresh_name(path: &Path) -> io::Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a path of a socket"))?;
    Ok(path.with_file_name(format!(".{}.new", name.to_string_lossy())))
}

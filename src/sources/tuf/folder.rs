//! Metadata in a folder of this host. It is read as hostile as any other: the folder may be a
//! mount.

use std::io::{self, ErrorKind};
use std::path::Path;

use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout_at};

use crate::sources::{SourceError, escaped};

/// Whether the folder is there at all: a mount that is missing is no answer about the repository.
pub(super) async fn open(folder: &Path, deadline: Instant) -> Result<(), SourceError> {
    let silent = |cause: &str| SourceError::Silent {
        url: escaped(&format!("file://{}", folder.display())),
        cause: cause.to_owned(),
    };
    let found = timeout_at(deadline, tokio::fs::metadata(folder))
        .await
        .map_err(|_| silent("not read before the deadline"))?;
    match found {
        Err(error) if error.kind() == ErrorKind::NotFound => Err(silent("no such folder")),
        // What else is wrong with it each file tells.
        _ => Ok(()),
    }
}

/// One file of the folder.
pub(super) async fn get(
    folder: &Path,
    name: &str,
    max_bytes: usize,
    deadline: Instant,
) -> Result<Option<Vec<u8>>, SourceError> {
    let path = folder.join(name);
    let url = || escaped(&format!("file://{}", path.display()));
    if matches!(name, "" | "." | "..") || name.contains(['/', '\0']) {
        return Err(SourceError::Other {
            url: url(),
            cause: "not a name of a file".to_owned(),
        });
    }
    let read = timeout_at(deadline, read(&path, max_bytes)).await;
    let read = read.map_err(|_| SourceError::Silent {
        url: url(),
        cause: "not read before the deadline".to_owned(),
    })?;
    match read {
        Ok(bytes) if bytes.len() > max_bytes => Err(SourceError::TooLarge {
            url: url(),
            limit: max_bytes,
        }),
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error().is_none() => Err(SourceError::Other {
            url: url(),
            cause: escaped(&error.to_string()),
        }),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(SourceError::Unreadable {
            url: url(),
            cause: escaped(&error.to_string()),
        }),
        Err(error) => Err(SourceError::Silent {
            url: url(),
            cause: escaped(&error.to_string()),
        }),
    }
}

/// At most one byte more than allowed, by which it is told that there is more.
async fn read(path: &Path, max_bytes: usize) -> io::Result<Vec<u8>> {
    // Before it is opened: a pipe would hold its reader.
    if !tokio::fs::metadata(path).await?.is_file() {
        return Err(io::Error::other("not a plain file"));
    }
    let file = tokio::fs::File::open(path).await?;
    let most = u64::try_from(max_bytes)
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

//! A Unix socket that stays where engines look for it: one whose file is removed is made anew.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};

use super::bind_unix;

/// How often it is looked for.
const LOOK: Duration = Duration::from_secs(2);

/// A listening socket and its path.
#[derive(Debug)]
pub(crate) struct KeptSocket {
    path: PathBuf,
    listener: Mutex<Arc<UnixListener>>,
    /// Why it could not be made anew, as it was told last.
    told: Mutex<Option<String>>,
}

impl KeptSocket {
    /// The listener was bound at that path, by whatever name it had first.
    #[must_use]
    pub(crate) fn new(path: PathBuf, listener: UnixListener) -> Self {
        Self {
            path,
            listener: Mutex::new(Arc::new(listener)),
            told: Mutex::default(),
        }
    }

    /// The next connection.
    ///
    /// # Errors
    /// As accept(2).
    pub(crate) async fn accept(&self) -> io::Result<UnixStream> {
        loop {
            let listener =
                Arc::clone(&self.listener.lock().unwrap_or_else(PoisonError::into_inner));
            tokio::select! {
                accepted = listener.accept() => return accepted.map(|(stream, _)| stream),
                () = self.until_gone() => self.renew().await,
            }
        }
    }

    async fn until_gone(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            if is_gone(&self.path) {
                return;
            }
        }
    }

    async fn renew(&self) {
        let path = self.path.display();
        let mut why = None;
        match bind_unix(&self.path).await {
            Ok(listener) => {
                log::warn!("{path} was removed, and is made anew");
                *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(listener);
            }
            Err(error) => why = Some(error.to_string()),
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = &why
            && told.as_ref() != Some(why)
        {
            log::error!(
                "{path} was removed, and can't be made anew: {why}; it is tried again every {LOOK:?}; hint: if its folder was removed under systemd, \
                 `systemctl restart rootpind` makes both"
            );
        }
        *told = why;
    }
}

/// Whether nothing at all is at a path. What somebody else put there is theirs.
fn is_gone(path: &Path) -> bool {
    fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn kept(path: &Path) -> KeptSocket {
        KeptSocket::new(path.to_owned(), bind_unix(path).await.unwrap())
    }

    #[tokio::test]
    async fn a_removed_socket_is_made_anew_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gate.sock");
        let kept = kept(&path).await;
        for _ in 0..2 {
            assert!(!is_gone(&path));
            fs::remove_file(&path).unwrap();
            assert!(is_gone(&path));
            kept.renew().await;
            let (accepted, connected) = tokio::join!(kept.accept(), UnixStream::connect(&path));
            assert!(accepted.is_ok() && connected.is_ok());
        }
    }

    #[tokio::test]
    async fn a_path_that_somebody_else_has_meanwhile_is_left_to_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gate.sock");
        let kept = kept(&path).await;
        fs::remove_file(&path).unwrap();
        fs::write(&path, "another's").unwrap();
        assert!(!is_gone(&path));
        kept.renew().await;
        assert_eq!(fs::read(&path).unwrap(), b"another's");
        assert!(kept.told.lock().unwrap().is_some());
    }

    #[tokio::test]
    async fn a_socket_whose_folder_is_gone_is_made_once_the_folder_is_back() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("run");
        fs::create_dir(&folder).unwrap();
        let path = folder.join("gate.sock");
        let kept = kept(&path).await;
        fs::remove_dir_all(&folder).unwrap();
        kept.renew().await;
        assert!(is_gone(&path) && kept.told.lock().unwrap().is_some());
        fs::create_dir(&folder).unwrap();
        kept.renew().await;
        assert!(UnixStream::connect(&path).await.is_ok() && kept.told.lock().unwrap().is_none());
    }
}

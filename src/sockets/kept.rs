//! A Unix socket that stays where engines look for it: one whose file is removed is made anew, and
//! one whose path leads to something else is told of.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};

use super::bind_unix;
use crate::problem::Problem;

/// How often it is looked for.
const LOOK: Duration = Duration::from_secs(2);

/// Hears whether who connects to the path comes here, or why not.
type Tell = dyn Fn(Result<(), String>) + Send + Sync;

/// A listening socket and its path.
pub(crate) struct KeptSocket {
    path: PathBuf,
    bound: Mutex<Bound>,
    /// Why who connects to the path does not come here, as it was told last.
    told: Mutex<Option<String>>,
    tell: Box<Tell>,
}

/// A listener, and its file: device and inode, which nobody else gets while the socket is open.
#[derive(Debug)]
struct Bound {
    listener: Arc<UnixListener>,
    file: Option<(u64, u64)>,
}

impl Bound {
    fn at(path: &Path, listener: UnixListener) -> Self {
        Self {
            listener: Arc::new(listener),
            file: file_at(path),
        }
    }
}

impl KeptSocket {
    /// The listener was bound at that path, by whatever name it had first. `tell` is called when
    /// the path no longer leads to it, and when it does again.
    #[must_use]
    pub(crate) fn new(
        path: PathBuf,
        listener: UnixListener,
        tell: impl Fn(Result<(), String>) + Send + Sync + 'static,
    ) -> Self {
        Self {
            bound: Mutex::new(Bound::at(&path, listener)),
            path,
            told: Mutex::default(),
            tell: Box::new(tell),
        }
    }

    /// The next connection.
    ///
    /// # Errors
    /// As accept(2).
    pub(crate) async fn accept(&self) -> io::Result<UnixStream> {
        loop {
            let listener = {
                let bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
                Arc::clone(&bound.listener)
            };
            tokio::select! {
                accepted = listener.accept() => return accepted.map(|(stream, _)| stream),
                () = self.until_lost() => self.renew().await,
            }
        }
    }

    async fn until_lost(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            if !self.leads_here() {
                return;
            }
            self.told(None);
        }
    }

    /// Whether the path leads to this socket, by a link too.
    fn leads_here(&self) -> bool {
        let bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        bound.file.is_some() && file_at(&self.path) == bound.file
    }

    /// Binds it again, unless somebody else has the path.
    async fn renew(&self) {
        match bind_unix(&self.path).await {
            Ok(listener) => {
                let what = format!("{} was removed, and is made anew", self.path.display());
                let hint = "restart what has the removed one mounted in a container; under systemd, which still holds the removed one, \
                            `systemctl stop rootpind.socket; systemctl restart rootpind` has engines wait in this one while rootpind is restarted";
                log::warn!("{}", Problem::hinted(what, hint));
                *self.bound.lock().unwrap_or_else(PoisonError::into_inner) =
                    Bound::at(&self.path, listener);
                self.told(None);
            }
            Err(error) => self.told(Some(error.to_string())),
        }
    }

    /// Tells what is new.
    fn told(&self, why: Option<String>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if *told == why {
            return;
        }
        told.clone_from(&why);
        drop(told);
        let path = self.path.display();
        (self.tell)(why.map_or(Ok(()), |why| {
            let what = format!(
                "{path} does not lead to rootpind any more, and can't be made anew: {why}; it is tried again every {LOOK:?}"
            );
            let hint = "if its folder was removed under systemd, `systemctl restart rootpind` makes both";
            log::error!("{}", Problem::hinted(what, hint));
            Err(format!(
                "{path} was removed or replaced, and can't be made anew: {why}"
            ))
        }));
    }
}

impl fmt::Debug for KeptSocket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("KeptSocket")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// What a path leads to: device and inode.
fn file_at(path: &Path) -> Option<(u64, u64)> {
    let found = fs::metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A socket, and what it told.
    async fn kept(path: &Path) -> (KeptSocket, Arc<Mutex<Vec<bool>>>) {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let tell = Arc::clone(&heard);
        let tell = move |result: Result<(), String>| tell.lock().unwrap().push(result.is_ok());
        let listener = bind_unix(path).await.unwrap();
        (KeptSocket::new(path.to_owned(), listener, tell), heard)
    }

    fn heard(heard: &Mutex<Vec<bool>>) -> Vec<bool> {
        std::mem::take(&mut *heard.lock().unwrap())
    }

    #[tokio::test]
    async fn a_removed_socket_is_made_anew_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gate.sock");
        let (kept, told) = kept(&path).await;
        for _ in 0..2 {
            assert!(kept.leads_here());
            fs::remove_file(&path).unwrap();
            assert!(!kept.leads_here());
            kept.renew().await;
            let (accepted, connected) = tokio::join!(kept.accept(), UnixStream::connect(&path));
            assert!(accepted.is_ok() && connected.is_ok());
        }
        assert!(heard(&told).is_empty(), "it was never away for long");
    }

    #[tokio::test]
    async fn one_that_nobody_listens_at_takes_no_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gate.sock");
        let (kept, _) = kept(&path).await;
        fs::remove_file(&path).unwrap();
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists() && !kept.leads_here());
        kept.renew().await;
        assert!(kept.leads_here());
    }

    #[tokio::test]
    async fn a_path_that_somebody_else_has_meanwhile_is_left_to_them_and_told_of() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gate.sock");
        let away = dir.path().join("away.sock");
        let (kept, told) = kept(&path).await;
        fs::rename(&path, &away).unwrap();
        fs::write(&path, "another's").unwrap();
        for _ in 0..2 {
            assert!(!kept.leads_here());
            kept.renew().await;
        }
        assert_eq!(fs::read(&path).unwrap(), b"another's");
        assert_eq!(heard(&told), [false], "once");
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&away, &path).unwrap();
        assert!(kept.leads_here(), "by a link");
        fs::remove_file(&path).unwrap();
        let other = std::os::unix::net::UnixListener::bind(&path).unwrap();
        kept.renew().await;
        assert_eq!(heard(&told), [false], "another reason");
        drop(other);
        kept.renew().await;
        assert!(kept.leads_here());
        assert_eq!(heard(&told), [true]);
    }

    #[tokio::test]
    async fn a_socket_whose_folder_is_gone_is_made_once_the_folder_is_back() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("run");
        fs::create_dir(&folder).unwrap();
        let path = folder.join("gate.sock");
        let (kept, told) = kept(&path).await;
        fs::remove_dir_all(&folder).unwrap();
        kept.renew().await;
        assert!(!kept.leads_here());
        assert_eq!(heard(&told), [false]);
        fs::create_dir(&folder).unwrap();
        kept.renew().await;
        assert!(UnixStream::connect(&path).await.is_ok());
        assert_eq!(heard(&told), [true]);
    }
}

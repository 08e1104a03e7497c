//! Sockets that systemd passes (`sd_listen_fds(3)`): it holds them while rootpind is restarted or
//! upgraded, so that engines wait in the queue in place of failing, and nobody else can have them
//! meanwhile.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use listenfd::ListenFd;

use super::unix::nobody_listens;
use crate::trusted_path::restrict_socket;

/// After a failure to accept.
const PAUSE: Duration = Duration::from_millis(100);
/// So many that wait are sent away at the end.
const MAX_WAITING: usize = 8192;

/// What systemd passed and no door has taken yet.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    unix: Vec<(PathBuf, UnixListener)>,
    tcp: Vec<(SocketAddr, TcpListener)>,
}

impl Passed {
    /// Takes what was passed to this process. To be called once, before there is another thread: it
    /// takes the variables out of the environment.
    #[must_use]
    pub(crate) fn take() -> Self {
        let ours =
            std::env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
        let mut given = if ours {
            ListenFd::from_env()
        } else {
            ListenFd::empty()
        };
        let mut passed = Self::default();
        for at in 0..given.len() {
            if let Ok(Some(listener)) = given.take_unix_listener(at) {
                passed.add_unix(listener);
            } else if let Ok(Some(listener)) = given.take_tcp_listener(at) {
                passed.add_tcp(listener);
            } else {
                log::warn!(
                    "systemd passes a descriptor that is no listening socket of a kind that is known here: it is not used"
                );
            }
        }
        passed
    }

    fn add_unix(&mut self, listener: UnixListener) {
        let path = listener
            .local_addr()
            .ok()
            .and_then(|address| address.as_pathname().map(Path::to_owned));
        match (path, listener.set_nonblocking(true)) {
            // It was removed, and systemd holds what nobody can come to.
            (Some(path), Ok(())) if nobody_listens(&path) => log::warn!(
                "{} was removed: systemd's socket is not used, and one is bound in its place",
                path.display()
            ),
            (Some(path), Ok(())) => {
                // Only root may connect, whatever the unit says.
                let mode = fs::metadata(&path)
                    .map(|about| about.permissions().mode())
                    .unwrap_or_default();
                if mode & 0o077 != 0
                    && let Err(error) = restrict_socket(&path)
                {
                    log::error!("{} is open to others than root: {error}", path.display());
                }
                self.unix.push((path, listener));
            }
            (None, _) => log::warn!("systemd passes a Unix socket without a path: it is not used"),
            (_, Err(error)) => log::warn!("a socket that systemd passes is not used: {error}"),
        }
    }

    fn add_tcp(&mut self, listener: TcpListener) {
        match (listener.local_addr(), listener.set_nonblocking(true)) {
            (Ok(at), Ok(())) => self.tcp.push((at, listener)),
            (Err(error), _) | (_, Err(error)) => {
                log::warn!("a socket that systemd passes is not used: {error}");
            }
        }
    }

    /// The socket at that path, if it was passed.
    pub(crate) fn unix(&mut self, path: &Path) -> Option<tokio::net::UnixListener> {
        let at = self.unix.iter().position(|(known, _)| same(known, path))?;
        tokio::net::UnixListener::from_std(self.unix.swap_remove(at).1).ok()
    }

    /// The socket at that address, if it was passed.
    pub(crate) fn tcp(&mut self, address: SocketAddr) -> Option<tokio::net::TcpListener> {
        let at = self.tcp.iter().position(|(known, _)| *known == address)?;
        tokio::net::TcpListener::from_std(self.tcp.swap_remove(at).1).ok()
    }

    /// Sends away whoever connects to what no door has taken, for as long as rootpind runs: systemd
    /// holds those sockets all the same, and an engine would wait there without end.
    pub(crate) fn send_away(self) {
        let told = |place: &dyn std::fmt::Display| {
            log::warn!(
                "systemd holds {place}, which rootpin.toml does not name: who connects there is sent away"
            );
        };
        for (path, listener) in self.unix {
            told(&path.display());
            if let Ok(listener) = tokio::net::UnixListener::from_std(listener) {
                tokio::spawn(async move {
                    loop {
                        pause(listener.accept().await.is_err()).await;
                    }
                });
            }
        }
        for (at, listener) in self.tcp {
            told(&at);
            if let Ok(listener) = tokio::net::TcpListener::from_std(listener) {
                tokio::spawn(async move {
                    loop {
                        pause(listener.accept().await.is_err()).await;
                    }
                });
            }
        }
    }

    /// Sends away who waits now, where there will be no rootpind: systemd starts the next one when
    /// somebody else connects.
    pub(crate) fn send_away_who_waits(&self) {
        for (_, listener) in &self.unix {
            let _ = (0..MAX_WAITING).find(|_| listener.accept().is_err());
        }
        for (_, listener) in &self.tcp {
            let _ = (0..MAX_WAITING).find(|_| listener.accept().is_err());
        }
    }
}

async fn pause(failed: bool) {
    if failed {
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether two paths are one socket, as below `/var/run` and `/run`.
fn same(one: &Path, other: &Path) -> bool {
    let folder = |path: &Path| path.parent().and_then(|folder| folder.canonicalize().ok());
    one == other
        || (one.file_name() == other.file_name()
            && folder(one).is_some_and(|known| Some(known) == folder(other)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_door_gets_the_socket_of_its_own_path_or_address_and_nobody_a_second_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gate.sock");
        let mut passed = Passed::default();
        passed.add_unix(UnixListener::bind(&path).unwrap());
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = tcp.local_addr().unwrap();
        passed.add_tcp(tcp);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(passed.unix(&dir.path().join("other.sock")).is_none());
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        assert!(
            passed.unix(&link.join("gate.sock")).is_some(),
            "by another way to the same folder"
        );
        assert!(passed.unix(&path).is_none());
        assert!(
            passed
                .tcp(SocketAddr::new(at.ip(), at.port() ^ 1))
                .is_none()
        );
        assert!(passed.tcp(at).is_some() && passed.tcp(at).is_none());
    }

    #[tokio::test]
    async fn a_socket_whose_file_was_removed_or_is_another_ones_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gate.sock");
        let mut passed = Passed::default();
        let listener = UnixListener::bind(&path).unwrap();
        passed.add_unix(listener.try_clone().unwrap());
        assert!(passed.unix(&path).is_some());
        fs::remove_file(&path).unwrap();
        passed.add_unix(listener.try_clone().unwrap());
        assert!(passed.unix(&path).is_none());
        // What rootpind bound in its place, before it ended.
        drop(UnixListener::bind(&path).unwrap());
        passed.add_unix(listener);
        assert!(passed.unix(&path).is_none());
        assert!(super::super::bind_unix(&path).await.is_ok());
    }

    #[test]
    fn who_waits_where_there_will_be_no_rootpind_is_sent_away() {
        let mut passed = Passed::default();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = std::net::TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
        passed.add_tcp(tcp);
        passed.send_away_who_waits();
        assert_eq!(std::io::Read::read(&mut client, &mut [0; 1]).unwrap(), 0);
    }
}

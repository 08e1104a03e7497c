//! A Unix socket that only root can connect to.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use tokio::net::{UnixListener, UnixStream};

use super::{Holder, SocketUnavailable};
use crate::trusted_path::{missing_folder, restrict_socket};

/// How soon a connection ends that nobody wants.
const AT_ONCE: Duration = Duration::from_millis(200);

/// Binds a socket of mode 0600. One that is left over from a daemon that died is replaced; anything
/// else in its place is an error.
///
/// # Errors
/// Somebody answers there, something that is no socket is there, or the directory does not let us.
pub(crate) async fn bind_unix(path: &Path) -> Result<UnixListener, SocketUnavailable> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(SocketUnavailable::plain(
                "something that is no socket is there; remove it",
            ));
        }
        Ok(_) => take_over(path).await?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(why) = missing_folder(path) {
                return Err(SocketUnavailable::plain(&why));
            }
        }
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

/// Removes a socket that nobody listens at. Only a connection, or a full queue, proves a listener.
async fn take_over(path: &Path) -> Result<(), SocketUnavailable> {
    let Err(error) = UnixStream::connect(path).await else {
        return Err(SocketUnavailable::by(Holder::of_unix(path)));
    };
    match error.kind() {
        io::ErrorKind::ConnectionRefused => fs::remove_file(path).map_err(denied),
        io::ErrorKind::WouldBlock => Err(SocketUnavailable::by(Holder::of_unix(path))),
        // Another process removed it meanwhile.
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(denied(error)),
    }
}

/// Why a socket that is there can't be replaced.
fn denied(error: io::Error) -> SocketUnavailable {
    if error.kind() == io::ErrorKind::PermissionDenied {
        SocketUnavailable::plain(&format!(
            "{error}; run rootpind as root, or as the user that the socket and its folder belong to"
        ))
    } else {
        error.into()
    }
}

/// Whether nobody listens at a socket any more. One whose queue is full has somebody there.
pub(crate) async fn is_dead(path: &Path) -> bool {
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
        && UnixStream::connect(path).await.is_err_and(refused)
}

/// Whether who connects to a path comes to nobody: nobody listens there, or the connection ends at
/// once, as where systemd holds a socket that the running rootpind does not know. A queue that is
/// full has somebody. It may wait for a moment.
pub(crate) fn nobody_comes(path: &Path) -> bool {
    match connected(path) {
        Ok(stream) => ends_at_once(stream),
        Err(error) => error == Errno::CONNREFUSED,
    }
}

/// Whether nobody listens at a path, as far as is known without waiting: a start of rootpind asks it
/// of each socket that systemd holds, while engines wait.
pub(super) fn nobody_listens(path: &Path) -> bool {
    connected(path).is_err_and(|error| error == Errno::CONNREFUSED)
}

/// A connection, if one can be had at once.
fn connected(path: &Path) -> Result<std::os::unix::net::UnixStream, Errno> {
    if fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return Err(Errno::CONNREFUSED);
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    SocketAddrUnix::new(path).and_then(|at| {
        let stream = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        connect(&stream, &at)?;
        Ok(std::os::unix::net::UnixStream::from(stream))
    })
}

/// Whether the other side ends a connection before anything is asked.
fn ends_at_once(mut stream: std::os::unix::net::UnixStream) -> bool {
    let waits = stream
        .set_nonblocking(false)
        .and_then(|()| stream.set_read_timeout(Some(AT_ONCE)));
    waits.is_ok() && matches!(stream.read(&mut [0]), Ok(0))
}

fn fresh_name(path: &Path) -> io::Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a path of a socket"))?;
    Ok(path.with_file_name(format!(".{}.new", name.to_string_lossy())))
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::fd::OwnedFd;

    use rustix::net::{
        AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
    };

    use super::*;

    /// A socket that takes no more connections, because nobody accepts those that wait.
    pub(in super::super) fn full(path: &Path) -> (OwnedFd, Vec<OwnedFd>) {
        let new = || {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap()
        };
        let (listener, at) = (new(), SocketAddrUnix::new(path).unwrap());
        bind(&listener, &at).unwrap();
        listen(&listener, 0).unwrap();
        let connected = || {
            let stream = new();
            connect(&stream, &at).ok().map(|()| stream)
        };
        (listener, std::iter::from_fn(connected).collect())
    }

    #[test]
    fn who_is_sent_away_at_once_comes_to_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        assert!(nobody_comes(&path), "there is none");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(!nobody_comes(&path), "whoever it is has not accepted yet");
        assert!(!nobody_listens(&path));
        std::thread::spawn(move || while listener.accept().is_ok() {});
        // On a busy machine it may take longer to be sent away.
        assert!((0..100).any(|_| nobody_comes(&path)));
    }

    #[tokio::test]
    async fn a_socket_that_refuses_a_connection_for_another_reason_is_said_to_have_no_listener() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        // A connection to it fails with EPROTOTYPE (connect(2)), also for root.
        let datagrams = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        let why = bind_unix(&path).await.unwrap_err();
        assert!(!why.to_string().contains("listens there"), "{why}");
        assert!(path.exists());
        drop(datagrams);
        let why = denied(io::ErrorKind::PermissionDenied.into()).to_string();
        assert!(
            why.contains("permission denied") && why.contains("as root"),
            "{why}"
        );
    }

    #[tokio::test]
    async fn a_socket_is_replaced_only_where_nobody_listens_any_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let full = full(&path);
        assert!(!full.1.is_empty());
        assert!(!nobody_comes(&path));
        let taken = bind_unix(&path).await.unwrap_err().to_string();
        assert!(taken.contains("listens there"), "{taken}");
        assert!(path.exists());
        drop(full);
        assert!(bind_unix(&path).await.is_ok());
    }
}

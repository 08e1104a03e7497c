//! Finds the process that has a socket of ours: the user, and as far as `/proc` shows it to us, the
//! process.

use std::fmt::{self, Display, Formatter};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::diag::SockDiag;

/// A host with more processes or descriptors is told the user only: whoever took the socket may have
/// a million of them, and they are looked through at each attempt to have it back.
const MAX_PROCESSES: usize = 20_000;
const MAX_DESCRIPTORS: usize = 100_000;

/// A process that listens somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    /// Its user.
    pub uid: u32,
    /// Its number and its name, where they can be seen.
    pub process: Option<(u32, String)>,
}

impl Holder {
    /// Who listens at an address; `None`: nobody, or the kernel doesn't say.
    #[must_use]
    pub(crate) fn of_port(at: SocketAddr) -> Option<Self> {
        let (uid, inode) = SockDiag::open().ok()?.listener(at).ok()??;
        Some(Self {
            uid,
            process: process_with(&format!("socket:[{inode}]"), MAX_DESCRIPTORS),
        })
    }

    /// Who listens at a Unix socket: the kernel keeps who called listen(2). `None`: nobody listens,
    /// or its queue is full.
    #[must_use]
    pub(crate) fn of_unix(path: &Path) -> Option<Self> {
        // A socket that blocks would wait for room in the queue, without end where nobody accepts.
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let stream = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).ok()?;
        connect(&stream, &SocketAddrUnix::new(path).ok()?).ok()?;
        let credentials = rustix::net::sockopt::socket_peercred(&stream).ok()?;
        let pid = u32::try_from(credentials.pid.as_raw_nonzero().get()).ok()?;
        Some(Self {
            uid: credentials.uid.as_raw(),
            process: name_of(pid).map(|name| (pid, name)),
        })
    }

    /// Whether it is rootpind, or systemd, which holds sockets for it.
    #[must_use]
    pub(crate) fn is_ours(&self) -> bool {
        let named = self
            .process
            .as_ref()
            .is_none_or(|(pid, name)| name == "rootpind" || *pid == 1);
        [0, rustix::process::geteuid().as_raw()].contains(&self.uid) && named
    }

    /// Whether it is another rootpind.
    #[must_use]
    pub(crate) fn is_rootpind(&self) -> bool {
        let own = rustix::process::geteuid().as_raw();
        self.uid == own
            && self
                .process
                .as_ref()
                .is_some_and(|(_, name)| name == "rootpind")
    }
}

impl Display for Holder {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.process {
            Some((pid, name)) => write!(
                f,
                "{} (process {pid}, user {})",
                name.escape_debug(),
                self.uid
            ),
            None => write!(
                f,
                "a process of user {} that can't be seen from here",
                self.uid
            ),
        }
    }
}

/// The process that has a descriptor of that link. rootpind is preferred to systemd, which holds
/// its sockets too.
fn process_with(link: &str, descriptors: usize) -> Option<(u32, String)> {
    let mut left = descriptors;
    let mut found: Option<(u32, String)> = None;
    for entry in fs::read_dir("/proc").ok()?.take(MAX_PROCESSES) {
        let Some(pid) = entry
            .ok()
            .and_then(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        else {
            continue;
        };
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            continue;
        };
        let mut looked = 0;
        let has = descriptors.flatten().take(left).any(|path| {
            looked += 1;
            fs::read_link(path.path()).is_ok_and(|target| target.as_os_str() == link)
        });
        left -= looked;
        if has && let Some(name) = name_of(pid) {
            if pid != 1 {
                return Some((pid, name));
            }
            found = Some((pid, name));
        }
    }
    found
}

fn name_of(pid: u32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    // A name of its own choice is told as it is, but a program of somebody else's is never
    // rootpind.
    let root_s = fs::metadata(format!("/proc/{pid}"))
        .is_ok_and(|about| about.uid() == rustix::process::geteuid().as_raw());
    let name = name.trim_end();
    Some(if name == "rootpind" && !root_s {
        format!("{name} of another user")
    } else {
        name.to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_is_named_by_process_and_user() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let holder = Holder::of_port(at).unwrap();
        assert_eq!(
            holder.process.as_ref().unwrap().0,
            std::process::id(),
            "{holder}"
        );
        assert!(!holder.is_rootpind(), "{holder}");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let unix = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert_eq!(Holder::of_unix(&path).unwrap(), holder);
        let link = format!(
            "socket:[{}]",
            SockDiag::open().unwrap().listener(at).unwrap().unwrap().1
        );
        assert!(process_with(&link, MAX_DESCRIPTORS).is_some());
        assert_eq!(process_with(&link, 0), None, "that many are not looked at");
        drop((listener, unix));
        assert_eq!((Holder::of_port(at), Holder::of_unix(&path)), (None, None));
    }

    #[test]
    fn a_socket_whose_queue_is_full_is_waited_for_by_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let (listener, waiting) = super::super::unix::tests::full(&path);
        let (told, answer) = std::sync::mpsc::channel();
        std::thread::spawn(move || told.send(Holder::of_unix(&path)));
        let answer = answer.recv_timeout(std::time::Duration::from_secs(20));
        assert_eq!(answer, Ok(None));
        drop((listener, waiting));
    }
}

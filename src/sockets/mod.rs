//! The sockets that rootpind listens on: those that systemd holds for it across restarts, and those
//! that it binds itself; and who has one that should be ours.

mod diag;
mod holder;
mod kept;
mod passed;
mod unix;

use std::fmt::{self, Display, Formatter};
use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

pub(crate) use diag::SockDiag;
pub(crate) use holder::Holder;
pub(crate) use kept::KeptSocket;
pub(crate) use passed::Passed;
pub(crate) use unix::{bind_unix, is_dead, nobody_comes};

/// As systemd has it: of a queue that is full the kernel drops connections, and whose they are it
/// doesn't know.
const BACKLOG: u32 = 4096;

/// Why a socket can't be had.
#[derive(Debug)]
pub(crate) struct SocketUnavailable {
    why: String,
    /// Whether another rootpind has it.
    pub(crate) by_rootpind: bool,
}

impl SocketUnavailable {
    fn plain(why: &str) -> Self {
        Self {
            why: why.to_owned(),
            by_rootpind: false,
        }
    }

    /// Somebody listens there already.
    fn by(holder: Option<Holder>) -> Self {
        let by_rootpind = holder.as_ref().is_some_and(Holder::is_rootpind);
        let who = holder.map_or_else(|| "another process".to_owned(), |holder| holder.to_string());
        let question = if by_rootpind {
            "; is rootpind running already?"
        } else {
            ""
        };
        Self {
            why: format!("{who} listens there{question}"),
            by_rootpind,
        }
    }
}

impl From<io::Error> for SocketUnavailable {
    fn from(error: io::Error) -> Self {
        Self {
            why: error.to_string(),
            by_rootpind: false,
        }
    }
}

impl Display for SocketUnavailable {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

/// Binds a port.
///
/// # Errors
/// Somebody has it, or the system does not let us.
pub(crate) fn bind_tcp(at: SocketAddr) -> Result<TcpListener, SocketUnavailable> {
    let bound = || {
        let socket = if at.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }?;
        socket.set_reuseaddr(true)?;
        socket.bind(at)?;
        socket.listen(BACKLOG)
    };
    bound().map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => SocketUnavailable::by(Holder::of_port(at)),
        _ => error.into(),
    })
}

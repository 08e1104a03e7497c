//! Asks the kernel about one TCP socket by `NETLINK_SOCK_DIAG` (`sock_diag(7)`): a
//! look-up by both ends, which costs the same on a host with one connection and on one with a
//! hundred thousand, never blocks, and needs no privilege.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with,
};

/// Of `linux/netlink.h`, `linux/sock_diag.h` and `linux/inet_diag.h`.
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const IPPROTO_TCP: u8 = 6;
/// Every state (`TCPF_ALL`).
const ALL_STATES: u32 = 0xFFF;
/// `INET_DIAG_NOCOOKIE`, twice.
const NO_COOKIE: [u8; 8] = [0xFF; 8];
/// `struct nlmsghdr`, and it with `struct inet_diag_req_v2`.
const HEADER: usize = 16;
const REQUEST: usize = HEADER + 56;
/// An answer has one message; attributes that nobody asked for may follow it.
const ANSWER: usize = 4096;
/// Answers to questions that were given up.
const MAX_STALE: usize = 16;

/// `TCP_ESTABLISHED` and `TCP_LISTEN` of `net/tcp_states.h`. In any other state a socket may have
/// lost its owner, and shows root.
const ESTABLISHED: u8 = 1;
const LISTEN: u8 = 10;

/// A socket as the kernel describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Described {
    state: u8,
    local: u16,
    remote: u16,
    uid: u32,
    inode: u32,
}

/// The way to ask. One question at a time.
#[derive(Debug)]
pub(crate) struct SockDiag {
    socket: OwnedFd,
    sequence: u32,
}

impl SockDiag {
    /// Opens the way.
    ///
    /// # Errors
    /// The kernel has no `NETLINK_SOCK_DIAG`, or a sandbox forbids `AF_NETLINK`.
    pub(crate) fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        Ok(Self {
            socket: socket_with(
                AddressFamily::NETLINK,
                SocketType::DGRAM,
                flags,
                Some(SOCK_DIAG),
            )?,
            sequence: 0,
        })
    }

    /// The user who made the connection that goes from `local` to `remote` on this host; `None`:
    /// there is none, or it is being closed.
    ///
    /// # Errors
    /// The kernel doesn't say.
    pub(crate) fn owner(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> io::Result<Option<u32>> {
        let same = |found: &Described| {
            found.state == ESTABLISHED
                && (found.local, found.remote) == (local.port(), remote.port())
        };
        Ok(self.ask(local, remote)?.filter(same).map(|found| found.uid))
    }

    /// The user and the inode of the socket that listens at an address; `None`: nobody does.
    ///
    /// # Errors
    /// The kernel doesn't say.
    pub(crate) fn listener(&mut self, at: SocketAddr) -> io::Result<Option<(u32, u32)>> {
        let nowhere = SocketAddr::new(
            if at.is_ipv4() {
                [0; 4].into()
            } else {
                [0; 16].into()
            },
            0,
        );
        let listens = |found: &Described| found.state == LISTEN && found.local == at.port();
        Ok(self
            .ask(at, nowhere)?
            .filter(listens)
            .map(|found| (found.uid, found.inode)))
    }

    fn ask(&mut self, local: SocketAddr, remote: SocketAddr) -> io::Result<Option<Described>> {
        self.sequence = self.sequence.wrapping_add(1);
        let request = request(self.sequence, local, remote);
        sendto(
            &self.socket,
            &request,
            SendFlags::empty(),
            &SocketAddrNetlink::new(0, 0),
        )?;
        // The kernel has answered by the time it has taken the question.
        let mut buffer = [0; ANSWER];
        for _ in 0..MAX_STALE {
            let (length, _) = recv(&self.socket, &mut buffer[..], RecvFlags::DONTWAIT)?;
            if let Some(answer) = answer(buffer.get(..length).unwrap_or_default(), self.sequence) {
                return answer;
            }
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "no answer to the question that was asked",
        ))
    }
}

/// `struct nlmsghdr`, `struct inet_diag_req_v2`.
fn request(sequence: u32, local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
    let family = if local.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let mut bytes = Vec::with_capacity(REQUEST);
    bytes.extend(u32::try_from(REQUEST).unwrap_or(0).to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend([family.as_raw().to_le_bytes()[0], IPPROTO_TCP, 0, 0]);
    bytes.extend(ALL_STATES.to_ne_bytes());
    bytes.extend(local.port().to_be_bytes());
    bytes.extend(remote.port().to_be_bytes());
    bytes.extend(address(local.ip()));
    bytes.extend(address(remote.ip()));
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend(NO_COOKIE);
    bytes
}

/// 16 bytes, whatever the family.
fn address(ip: IpAddr) -> [u8; 16] {
    let mut bytes = [0; 16];
    match ip {
        IpAddr::V4(ip) => bytes
            .iter_mut()
            .zip(ip.octets())
            .for_each(|(to, from)| *to = from),
        IpAddr::V6(ip) => bytes = ip.octets(),
    }
    bytes
}

/// What a message says; `None`: it answers another question.
fn answer(bytes: &[u8], sequence: u32) -> Option<io::Result<Option<Described>>> {
    if word(bytes, 8)? != sequence {
        return None;
    }
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let body = bytes.get(HEADER..)?;
    Some(match kind {
        SOCK_DIAG_BY_FAMILY => Ok(described(body)),
        NLMSG_ERROR => {
            let code = i32::from_ne_bytes(*body.first_chunk()?);
            let error = io::Error::from_raw_os_error(code.wrapping_neg());
            if error.kind() == io::ErrorKind::NotFound {
                Ok(None)
            } else {
                Err(error)
            }
        }
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "an answer of another kind",
        )),
    })
}

/// `struct inet_diag_msg`: four bytes, `struct inet_diag_sockid` of 48, and five words of which the
/// last two are the user and the inode.
fn described(body: &[u8]) -> Option<Described> {
    let port = |at: usize| Some(u16::from_be_bytes(*body.get(at..)?.first_chunk()?));
    Some(Described {
        state: *body.get(1)?,
        local: port(4)?,
        remote: port(6)?,
        uid: word(body, 64)?,
        inode: word(body, 68)?,
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn ours() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    #[test]
    fn the_kernel_says_whose_connection_it_is_and_who_listens() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                continue;
            };
            let here = listener.local_addr().unwrap();
            let mut diag = SockDiag::open().unwrap();
            assert_eq!(diag.listener(here).unwrap().unwrap().0, ours());
            let stream = TcpStream::connect(here).unwrap();
            let (accepted, peer) = listener.accept().unwrap();
            assert_eq!(diag.owner(peer, here).unwrap(), Some(ours()), "{peer}");
            drop(stream);
            assert_eq!(
                diag.owner(peer, here).unwrap(),
                None,
                "one that is being closed has no owner any more"
            );
            drop((accepted, listener));
            assert_eq!(diag.listener(here).unwrap(), None);
            assert_eq!(
                diag.owner(
                    "192.0.2.1:1".parse().unwrap(),
                    "192.0.2.2:2".parse().unwrap()
                )
                .unwrap(),
                None
            );
        }
    }

    #[test]
    fn a_listener_is_never_taken_for_the_connection_that_was_asked_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = listener.local_addr().unwrap();
        let mut diag = SockDiag::open().unwrap();
        assert_eq!(
            diag.owner(here, "127.0.0.1:1".parse().unwrap()).unwrap(),
            None
        );
    }

    #[test]
    fn an_answer_that_is_cut_short_or_of_another_question_says_nothing() {
        let whole = request(
            7,
            "127.0.0.1:1".parse().unwrap(),
            "127.0.0.1:2".parse().unwrap(),
        );
        assert_eq!(whole.len(), REQUEST);
        for length in 0..HEADER {
            assert!(answer(&whole[..length], 7).is_none_or(|found| !matches!(found, Ok(Some(_)))));
        }
        assert!(answer(&whole, 8).is_none());
        assert!(
            matches!(answer(&whole, 7), Some(Ok(None))),
            "shorter than a description of a socket"
        );
    }
}

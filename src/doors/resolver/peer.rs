//! Identifies the peer of a loopback connection, and whether there is a place for it. Private
//! images come with rootpin's own credentials, and a TCP port, unlike a socket file, is open to
//! every user of the host: so the kernel is asked whose connection it is, before anything else is
//! done for it.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::sockets::SockDiag;

/// A node that starts pulls two hundred images at once, each over a few connections.
const MAX_CONNECTIONS: usize = 1024;
/// So many more may wait for one of these to end.
const MAX_WAITING: usize = 1024;
/// Connections that are only told why they are not answered: no user of the host shall keep root's
/// engines waiting.
const MAX_STRANGERS: usize = 16;
/// Below so many free places nobody keeps one without asking.
const FEW: usize = MAX_CONNECTIONS / 4;

/// Asks the kernel whose connections there are.
#[derive(Debug, Default)]
pub(super) struct Owners {
    diag: Option<SockDiag>,
    failed: bool,
}

impl Owners {
    /// Whether the process that made a connection runs as root, or as whom this one does.
    pub(super) fn is_ours(&mut self, peer: SocketAddr, here: SocketAddr) -> bool {
        if !peer.ip().is_loopback() {
            return false;
        }
        match self.owner(peer, here) {
            Ok(owner) => {
                self.failed = false;
                owner.is_some_and(|owner| [0, rustix::process::geteuid().as_raw()].contains(&owner))
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failed, true) {
                    log::error!(
                        "whose connections to the resolver are cannot be told, so none is answered: the kernel's sock_diag: {error}"
                    );
                }
                self.diag = None;
                false
            }
        }
    }

    fn owner(&mut self, peer: SocketAddr, here: SocketAddr) -> std::io::Result<Option<u32>> {
        match &mut self.diag {
            Some(diag) => diag.owner(peer, here),
            None => self.diag.insert(SockDiag::open()?).owner(peer, here),
        }
    }
}

/// The places that connections have.
#[derive(Debug)]
pub(super) struct ConnectionSlots {
    ours: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
}

/// The place of one connection, which gives it back when it ends.
#[derive(Debug)]
pub(super) struct ConnectionSlot {
    /// Whether it is to be answered, or told why not.
    pub(super) ours: bool,
    queued: bool,
    _permit: OwnedSemaphorePermit,
}

impl ConnectionSlots {
    pub(super) fn new() -> Self {
        let of = |places| Arc::new(Semaphore::new(places));
        Self {
            ours: of(MAX_CONNECTIONS),
            waiting: of(MAX_WAITING),
            strangers: of(MAX_STRANGERS),
        }
    }

    /// A place for one more, at once; `None`: there is none.
    pub(super) fn one(&self, ours: bool) -> Option<ConnectionSlot> {
        let queues = if ours {
            &[(&self.ours, false), (&self.waiting, true)][..]
        } else {
            &[(&self.strangers, false)]
        };
        queues.iter().find_map(|(places, queued)| {
            let permit = Arc::clone(places).try_acquire_owned().ok()?;
            Some(ConnectionSlot {
                ours,
                queued: *queued,
                _permit: permit,
            })
        })
    }

    /// Waits until a connection in the queue has its turn.
    pub(super) async fn turn(&self, place: ConnectionSlot) -> Option<ConnectionSlot> {
        if !place.queued {
            return Some(place);
        }
        let permit = Arc::clone(&self.ours).acquire_owned().await.ok()?;
        Some(ConnectionSlot {
            queued: false,
            _permit: permit,
            ..place
        })
    }

    /// Whether places are few, so that a connection that asks nothing must give its own back.
    pub(super) fn are_few(&self) -> bool {
        self.ours.available_permits() < FEW
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_of_our_own_is_ours() {
        let mut owners = Owners::default();
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                continue;
            };
            let here = listener.local_addr().unwrap();
            let stream = TcpStream::connect(here).unwrap();
            let (_accepted, peer) = listener.accept().unwrap();
            assert!(owners.is_ours(peer, here), "{peer}");
            drop(stream);
            assert!(
                !owners.is_ours(peer, here),
                "one that is being closed shows root, whoever made it"
            );
        }
        assert!(!owners.is_ours(
            "192.0.2.1:1".parse().unwrap(),
            "127.0.0.1:2".parse().unwrap()
        ));
    }

    #[test]
    fn strangers_have_few_places_and_never_one_of_roots() {
        let places = ConnectionSlots::new();
        let strangers: Vec<_> = std::iter::from_fn(|| places.one(false)).collect();
        assert_eq!(strangers.len(), MAX_STRANGERS);
        let ours: Vec<_> = std::iter::from_fn(|| places.one(true)).collect();
        assert_eq!(ours.len(), MAX_CONNECTIONS + MAX_WAITING);
        assert!(places.are_few() && ours.last().is_some_and(|last| last.queued));
    }
}

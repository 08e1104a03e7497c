//! Takes connections to the resolver from the kernel's queue. Any user of the host may
//! fill that queue, and root's engines stand in it too: so a thread does nothing but empty it, and
//! what has no right here costs a look-up and is cut.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::sync::mpsc;

use super::peer::{ConnectionSlot, ConnectionSlots, Owners};

/// Between two looks whether to stop.
const AT_ONCE: usize = 256;
/// After a failure to accept, as when descriptors have run out.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection that has its place.
#[derive(Debug)]
pub(super) struct SlottedConnection {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) place: ConnectionSlot,
}

/// The thread, and what it has let in.
#[derive(Debug)]
pub(super) struct Entrance {
    taken: mpsc::UnboundedReceiver<SlottedConnection>,
    /// The thread ends when this is dropped.
    open: Option<UnixStream>,
}

impl Entrance {
    /// Begins to take connections.
    ///
    /// # Errors
    /// The system gives no thread, or no descriptor.
    pub(super) fn open(listener: TcpListener, places: Arc<ConnectionSlots>) -> io::Result<Self> {
        let (open, closed) = UnixStream::pair()?;
        // As many at most as there are places.
        let (sender, taken) = mpsc::unbounded_channel();
        let here = listener.local_addr()?;
        let admit = move || admit(&listener, here, &closed, &places, &sender);
        std::thread::Builder::new()
            .name("resolver-door".to_owned())
            .spawn(admit)?;
        Ok(Self {
            taken,
            open: Some(open),
        })
    }

    /// The next connection. `None`: it is closed, and those that were taken before have all come.
    pub(super) async fn next(&mut self) -> Option<SlottedConnection> {
        self.taken.recv().await
    }

    /// Takes no more: what waits in the kernel's queue is the next rootpind's.
    pub(super) fn close(&mut self) {
        self.open = None;
    }
}

fn admit(
    listener: &TcpListener,
    here: SocketAddr,
    closed: &UnixStream,
    places: &ConnectionSlots,
    sender: &mpsc::UnboundedSender<SlottedConnection>,
) {
    let mut owners = Owners::default();
    loop {
        let mut watched = [
            PollFd::new(listener, PollFlags::IN),
            PollFd::new(closed, PollFlags::IN),
        ];
        match poll(&mut watched, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return log::error!("the resolver takes no more connections: {error}"),
        }
        if !watched[1].revents().is_empty() {
            return;
        }
        for _ in 0..AT_ONCE {
            match listener.accept() {
                Ok((stream, peer)) => match places.one(owners.is_ours(peer, here)) {
                    Some(place) => {
                        if sender
                            .send(SlottedConnection {
                                stream,
                                peer,
                                place,
                            })
                            .is_err()
                        {
                            return;
                        }
                    }
                    None => cut(stream),
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // Its client has gone already.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    log::warn!("accepting a connection: {error}");
                    std::thread::sleep(PAUSE);
                    break;
                }
            }
        }
    }
}

/// Ends a connection at once, with nothing left of it in the kernel.
fn cut(stream: TcpStream) {
    let _ = rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
    drop(stream);
}

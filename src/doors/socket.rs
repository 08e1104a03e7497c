//! The connections to a door's Unix socket: root's, and never more than a host's engines need.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_stream::Stream;
use tonic::transport::server::{Connected, UdsConnectInfo};

use crate::sockets::KeptSocket;

/// An engine keeps one connection per proxy plugin; the command line and the verifier open short
/// ones.
const MAX_CONNECTIONS: usize = 256;
/// After a failure to accept.
const PAUSE: Duration = Duration::from_millis(100);

/// The connections that a listener takes, at most `MAX_CONNECTIONS` at a time: a further one waits
/// in the kernel's queue.
pub(crate) fn connections(listener: KeptSocket) -> impl Stream<Item = io::Result<Connection>> {
    connections_at_most(MAX_CONNECTIONS, listener)
}

/// The same, with another limit.
pub(crate) fn connections_at_most(
    limit: usize,
    listener: KeptSocket,
) -> impl Stream<Item = io::Result<Connection>> {
    let (listener, permits) = (Arc::new(listener), Arc::new(Semaphore::new(limit)));
    let next = Box::pin(next(Arc::clone(&listener), Arc::clone(&permits)));
    Connections {
        listener,
        permits,
        next,
    }
}

/// A connection is taken from the kernel's queue only once somebody wants it: at a restart those
/// that wait there are the next rootpind's.
struct Connections {
    listener: Arc<KeptSocket>,
    permits: Arc<Semaphore>,
    next: Pin<Box<dyn Future<Output = Option<Connection>> + Send>>,
}

impl Stream for Connections {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let taken = std::task::ready!(self.next.as_mut().poll(context));
        self.next = Box::pin(next(Arc::clone(&self.listener), Arc::clone(&self.permits)));
        Poll::Ready(taken.map(Ok))
    }
}

async fn next(listener: Arc<KeptSocket>, permits: Arc<Semaphore>) -> Option<Connection> {
    let permit = permits.acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            // The socket's mode keeps others out; so does this, should somebody have made it wider.
            Ok(stream) if is_ours(&stream) => {
                return Some(Connection {
                    stream,
                    _permit: permit,
                });
            }
            Ok(_) => {}
            // Out of descriptors or the like: the peer sees no answer, and we try the next one a
            // little later.
            Err(error) => {
                log::warn!("accepting a connection: {error}");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// What has connected and asked nothing yet gets so long when rootpind stops: its question may be
/// on the way.
const ON_THE_WAY: Duration = Duration::from_millis(500);

/// Ends a connection when rootpind stops: what was asked is answered, and so is a first question
/// that is on its way.
pub(super) async fn ended_after_stop<C: Future>(
    mut connection: Pin<&mut C>,
    asked: bool,
    stop: impl FnOnce(Pin<&mut C>),
) -> C::Output {
    if !asked && let Ok(ended) = tokio::time::timeout(ON_THE_WAY, connection.as_mut()).await {
        return ended;
    }
    stop(connection.as_mut());
    connection.await
}

/// Whether the process at the other end runs as root, or as whom this one does.
fn is_ours(stream: &UnixStream) -> bool {
    stream
        .peer_cred()
        .is_ok_and(|peer| [0, rustix::process::geteuid().as_raw()].contains(&peer.uid()))
}

/// One connection, which gives its place back when it ends.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    _permit: OwnedSemaphorePermit,
}

impl Connected for Connection {
    type ConnectInfo = UdsConnectInfo;

    fn connect_info(&self) -> UdsConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

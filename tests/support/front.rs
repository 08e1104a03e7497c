//! What stands between rootpind and a source: it passes everything on, or does what bad networks and
//! hostile servers do.

#![allow(
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    reason = "each test uses its part"
)]
#![allow(clippy::unwrap_used, reason = "a broken test should stop at once")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// What comes of a connection.
#[derive(Clone)]
pub enum Mode {
    /// The source itself, in TLS where there is one who accepts it.
    Pass(Option<TlsAcceptor>),
    /// As soon as something comes, a reset.
    Reset,
    /// An answer, one byte a second.
    ByteASecond(Option<TlsAcceptor>),
    /// A body without end, as fast as it is taken.
    Endless,
    /// Nothing, until the next mode decides.
    Hold,
    /// Nobody listens.
    Refuse,
}

/// A port on loopback. Must be made on a runtime.
pub struct Front {
    pub port: u16,
    mode: watch::Sender<Mode>,
    connections: Arc<AtomicUsize>,
}

impl Front {
    /// In front of that port of loopback.
    pub async fn listen(to: u16, mode: Mode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, modes) = watch::channel(mode);
        let connections = Arc::default();
        tokio::spawn(serve(listener, to, modes, Arc::clone(&connections)));
        Self {
            port,
            mode: sender,
            connections,
        }
    }

    /// From now on. Connections that are open end, but those that were on hold.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn serve(
    first: TcpListener,
    to: u16,
    mut modes: watch::Receiver<Mode>,
    connections: Arc<AtomicUsize>,
) {
    let (port, mut kept) = (first.local_addr().unwrap().port(), Some(first));
    loop {
        if matches!(&*modes.borrow_and_update(), Mode::Refuse) {
            kept = None;
            if modes.changed().await.is_err() {
                return;
            }
            continue;
        }
        let listener = match kept.take() {
            Some(listener) => listener,
            None => bind(port).await,
        };
        tokio::select! {
            accepted = listener.accept() => {
                connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(connection(accepted.unwrap().0, to, modes.clone()));
            }
            changed = modes.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
        kept = Some(listener);
    }
}

/// The port may be that of somebody's own connection for a moment.
async fn bind(port: u16) -> TcpListener {
    loop {
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)).await {
            return listener;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn connection(stream: TcpStream, to: u16, mut modes: watch::Receiver<Mode>) {
    let mut mode = modes.borrow_and_update().clone();
    while matches!(mode, Mode::Hold) {
        if modes.changed().await.is_err() {
            return;
        }
        mode = modes.borrow_and_update().clone();
    }
    tokio::select! {
        () = talk(stream, mode, to) => {}
        _ = modes.changed() => {}
    }
}

async fn talk(mut stream: TcpStream, mode: Mode, to: u16) {
    match mode {
        Mode::Pass(None) => pass(stream, to).await,
        Mode::Pass(Some(tls)) => {
            if let Ok(stream) = tls.accept(stream).await {
                pass(stream, to).await;
            }
        }
        Mode::Reset => {
            let _ = stream.read(&mut [0; 16]).await;
            rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        }
        Mode::ByteASecond(None) => drip(stream).await,
        Mode::ByteASecond(Some(tls)) => {
            if let Ok(stream) = tls.accept(stream).await {
                drip(stream).await;
            }
        }
        Mode::Endless => {
            let _ = stream.read(&mut [0; 4096]).await;
            let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            let chunk = [&b"10000\r\n"[..], &vec![b'{'; 0x1_0000], b"\r\n"].concat();
            let mut sent = stream.write_all(head).await;
            while sent.is_ok() {
                sent = stream.write_all(&chunk).await;
            }
        }
        Mode::Hold | Mode::Refuse => {}
    }
}

async fn pass(mut stream: impl AsyncRead + AsyncWrite + Unpin, to: u16) {
    if let Ok(mut source) = TcpStream::connect(("127.0.0.1", to)).await {
        let _ = copy_bidirectional(&mut stream, &mut source).await;
    }
}

async fn drip(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let _ = stream.read(&mut [0; 4096]).await;
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: 4096\r\n\r\n{}",
        "{".repeat(4096)
    );
    for byte in answer.as_bytes() {
        if stream.write_all(&[*byte]).await.is_err() || stream.flush().await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

//! Takes each door's socket from systemd, or binds it. A socket that somebody else has costs that
//! door only; it is reported, and tried again until it is free.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};

use crate::decide::Door;
use crate::observe::{self, Observer, StatusBoard};
use crate::sockets::{KeptSocket, Passed, SocketUnavailable, bind_tcp, bind_unix};

/// How often a socket that somebody else has is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// Where a door listens.
#[derive(Debug, Clone)]
pub(super) struct ListensAt<Place> {
    pub(super) door: Door,
    /// The engine's name in rootpin.toml, where the door is one engine's.
    pub(super) engine: Option<String>,
    pub(super) place: Place,
}

/// A kind of socket.
pub(super) trait Socket: Send + Sync + 'static {
    type Listener: Send + 'static;

    /// From what systemd passed.
    fn passed(&self, passed: &mut Passed) -> Option<Self::Listener>;
    fn bind(&self) -> impl Future<Output = Result<Self::Listener, SocketUnavailable>> + Send;
    fn shown(&self) -> String;
}

impl Socket for PathBuf {
    type Listener = UnixListener;

    fn passed(&self, passed: &mut Passed) -> Option<UnixListener> {
        passed.unix(self)
    }

    async fn bind(&self) -> Result<UnixListener, SocketUnavailable> {
        bind_unix(self).await
    }

    fn shown(&self) -> String {
        format!("socket {}", self.display())
    }
}

impl Socket for SocketAddr {
    type Listener = TcpListener;

    fn passed(&self, passed: &mut Passed) -> Option<TcpListener> {
        passed.tcp(*self)
    }

    async fn bind(&self) -> Result<TcpListener, SocketUnavailable> {
        bind_tcp(*self)
    }

    fn shown(&self) -> String {
        format!("port {self}")
    }
}

/// The socket that systemd holds, or one that is bound here.
///
/// # Errors
/// Somebody else has it, or it can't be made.
pub(super) async fn take<P: Socket>(
    place: &P,
    passed: &mut Passed,
) -> Result<P::Listener, SocketUnavailable> {
    match place.passed(passed) {
        Some(listener) => Ok(listener),
        None => place.bind().await,
    }
}

/// The control socket, which says whether another rootpind runs here.
///
/// # Errors
/// It does.
pub(super) async fn first(
    control: &PathBuf,
    passed: &mut Passed,
) -> Result<Result<UnixListener, SocketUnavailable>, String> {
    match take(control, passed).await {
        Err(taken) if taken.by_rootpind => Err(format!("{}: {taken}", control.shown())),
        taken => Ok(taken),
    }
}

/// Tells of doors that have no socket.
#[derive(Debug, Clone)]
pub(super) struct Told {
    pub(super) status: Arc<StatusBoard>,
    pub(super) observer: Arc<Observer>,
}

impl Told {
    /// That a door has its socket, or why not; in the log what is new.
    fn of<P: Socket>(
        &self,
        at: &ListensAt<P>,
        taken: Result<P::Listener, SocketUnavailable>,
        last: &mut Option<String>,
    ) -> Option<P::Listener> {
        let (door, engine) = (at.door.as_str(), at.engine.as_deref());
        match taken {
            Ok(listener) => {
                self.records(at.door, engine, Ok(()));
                Some(listener)
            }
            Err(taken) => {
                let why = format!("{}: {taken}", at.place.shown());
                if last.as_ref() != Some(&why) {
                    let of = engine.map_or_else(String::new, |engine| format!(" of {engine}"));
                    log::error!(
                        "the {door} door{of} does not listen: {why}; it is tried again every {AGAIN:?}"
                    );
                    *last = Some(why.clone());
                }
                self.records(at.door, engine, Err(why));
                None
            }
        }
    }

    /// For status and metrics.
    fn records(&self, door: Door, engine: Option<&str>, result: Result<(), String>) {
        let label = format!(
            "door=\"{}\",engine=\"{}\"",
            door.as_str(),
            observe::label_value(engine.unwrap_or_default())
        );
        self.observer.metrics().set(
            "rootpin_listening",
            label,
            f64::from(u8::from(result.is_ok())),
        );
        self.status.listening(door, engine, result);
    }
}

/// A door on its way to its socket.
pub(super) struct Doorway<P: Socket> {
    at: ListensAt<P>,
    got: Option<P::Listener>,
    /// Why it has none, as it was told last.
    last: Option<String>,
    told: Told,
}

impl<P: Socket> Doorway<P> {
    /// Takes the socket, or finds out why it can't be had.
    pub(super) async fn open(at: ListensAt<P>, passed: &mut Passed, told: &Told) -> Self {
        let taken = take(&at.place, passed).await;
        Self::with(at, taken, told)
    }

    /// One whose socket was tried before.
    pub(super) fn with(
        at: ListensAt<P>,
        taken: Result<P::Listener, SocketUnavailable>,
        told: &Told,
    ) -> Self {
        let mut last = None;
        let got = told.of(&at, taken, &mut last);
        Self {
            at,
            got,
            last,
            told: told.clone(),
        }
    }

    /// Its listener, once it has one. `None`: it was told to stop before.
    pub(super) async fn listener(self, stop: impl Future<Output = ()>) -> Option<P::Listener> {
        let Self {
            at,
            got,
            mut last,
            told,
        } = self;
        let again = async {
            loop {
                tokio::time::sleep(AGAIN).await;
                if let Some(listener) = told.of(&at, at.place.bind().await, &mut last) {
                    log::info!(
                        "the {} door listens on {} now",
                        at.door.as_str(),
                        at.place.shown()
                    );
                    return listener;
                }
            }
        };
        if got.is_some() {
            return got;
        }
        tokio::select! {
            listener = again => Some(listener),
            () = stop => None,
        }
    }
}

impl Doorway<PathBuf> {
    /// The same, and the socket stays where it is looked for.
    pub(super) async fn kept(self, stop: impl Future<Output = ()>) -> Option<KeptSocket> {
        let (at, told) = (self.at.clone(), self.told.clone());
        let listener = self.listener(stop).await?;
        let path = at.place.clone();
        let tell = move |result| told.records(at.door, at.engine.as_deref(), result);
        Some(KeptSocket::new(path, listener, tell))
    }
}

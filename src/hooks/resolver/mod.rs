//! A registry on loopback that engines find by `hosts.toml` and ask what a tag is. It answers with the digest that is signed for the tag,
//! whatever the registry says now.
//!
//! The closed form of a `hosts.toml` has no other host that may resolve, so every answer but 200 ends the resolution. Bytes by digest flow
//! through, for engines that have no other way to the registry; below `/resolve` they don't, and the engine asks its registry itself, with
//! credentials of its own. Nothing is asked of a host that the policy doesn't name.

mod answer;
mod asked;
mod manifests;
mod peer;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::Containerd;
use crate::config::Engine;
use crate::decide::{Decider, Decision, Door, too_slow};
use crate::image::{ImageRef, Repository};
use crate::observe::Observer;
use crate::sources::{SourceError, Sources, Wanted};
use crate::trust::Refusal;
use answer::{Answer, No};
use asked::Asked;
use manifests::Manifests;

/// A node that starts pulls two hundred images at once, each over a few connections.
const MAX_CONNECTIONS: usize = 1024;
/// So many streams of bytes at a time: what hangs in them never keeps a tag waiting.
const MAX_STREAMS: usize = 256;
/// Connections that are only told why they are not answered, and for how long: no user of the host shall keep root's engines waiting.
const MAX_STRANGERS: usize = 16;
const STRANGER_TIME: Duration = Duration::from_secs(2);
/// A request's head, and how long it may take to come, or the next one to follow.
const MAX_HEAD: usize = 16 << 10;
const MAX_HEADERS: usize = 64;
const HEAD_TIME: Duration = Duration::from_secs(60);

/// The resolver.
#[derive(Debug)]
pub struct Resolver {
    decider: Arc<Decider>,
    observer: Arc<Observer>,
    sources: Arc<Sources>,
    manifests: Manifests,
    streams: Arc<Semaphore>,
    places: Semaphore,
    strangers: Semaphore,
}

impl Resolver {
    /// One that answers by this decider. `engines` may hold the manifest of what they pulled before.
    #[must_use]
    pub fn new(decider: Arc<Decider>, observer: Arc<Observer>, sources: Arc<Sources>, engines: Vec<Containerd>) -> Self {
        let manifests = Manifests::new(Arc::clone(&sources), engines);
        let (streams, places) = (Arc::new(Semaphore::new(MAX_STREAMS)), Semaphore::new(MAX_CONNECTIONS));
        Self { decider, observer, sources, manifests, streams, places, strangers: Semaphore::new(MAX_STRANGERS) }
    }

    /// Takes its port, and the way to the content stores of this host's engines.
    ///
    /// # Errors
    /// The port is taken, or an engine's socket can't be an address.
    pub async fn bind(address: SocketAddr, engines: &[Engine]) -> Result<(TcpListener, Vec<Containerd>), String> {
        let listener = TcpListener::bind(address).await.map_err(|error| format!("resolver {address}: {error}"))?;
        let engine = |engine: &Engine| Containerd::at(&engine.containerd).map_err(|error| format!("engine {}: {error}", engine.name));
        Ok((listener, engines.iter().map(engine).collect::<Result<_, _>>()?))
    }

    /// Answers until told to stop, and then what was asked before.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, until: impl Future<Output = ()>) {
        let (stop, stopped) = watch::channel(());
        let mut connections = JoinSet::new();
        tokio::pin!(until);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = &mut until => break,
            };
            while connections.try_join_next().is_some() {}
            match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(Arc::clone(&self).connection(stream, peer, stopped.clone()));
                }
                Err(error) => {
                    log::warn!("accepting a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop((listener, stop));
        while connections.join_next().await.is_some() {}
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, mut stopped: watch::Receiver<()>) {
        let Ok(here) = stream.local_addr() else { return };
        let ours = tokio::task::spawn_blocking(move || peer::is_ours(peer, here)).await.unwrap_or(false);
        let place = if ours { self.places.acquire().await.ok() } else { self.strangers.try_acquire().ok() };
        let Some(_place) = place else { return };
        let service = hyper::service::service_fn(|request| {
            let this = Arc::clone(&self);
            async move { Ok::<_, Infallible>(this.counted(&request, ours).await) }
        });
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new()).max_buf_size(MAX_HEAD).max_headers(MAX_HEADERS);
        http.keep_alive(ours).header_read_timeout(if ours { HEAD_TIME } else { STRANGER_TIME });
        let connection = http.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            // The sender is gone: stop.
            _ = stopped.changed() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            log::debug!("a connection from {peer} to the resolver: {error}");
        }
    }

    /// The answer, and how long it took until its body can begin.
    async fn counted(&self, request: &Request<Incoming>, ours: bool) -> Answer {
        let begun = Instant::now();
        let answer = self.answer(request, ours).await;
        let metrics = self.observer.metrics();
        metrics.add("rootpin_resolver_requests_total", format!("status=\"{}\"", answer.status().as_u16()), 1.0);
        metrics.add("rootpin_resolver_seconds_sum", String::new(), begun.elapsed().as_secs_f64());
        answer
    }

    async fn answer(&self, request: &Request<Incoming>, ours: bool) -> Answer {
        let head = request.method() == Method::HEAD;
        if !ours {
            let message = "only root's processes are answered; hint: engines that run as another user need their own way to the registry";
            return No::new(StatusCode::FORBIDDEN, "DENIED", message).answer(head);
        }
        let answer = match asked::read(request) {
            Err(no) => Err(no),
            Ok(Asked::Version) => Ok(answer::version()),
            Ok(Asked::Tag(name)) => self.tag(&name, head).await,
            Ok(Asked::Bytes { passes: false, .. }) => {
                let message = "only tags are answered here: the engine asks the registry for what it knows by digest";
                Err(No::new(StatusCode::NOT_FOUND, "UNSUPPORTED", message))
            }
            Ok(Asked::Bytes { repository, manifest, digest, passes: true }) => {
                let (method, range) = (request.method().clone(), request.headers().get(http::header::RANGE).cloned());
                self.bytes(Wanted { method, repository, manifest, digest, range }).await
            }
        };
        answer.unwrap_or_else(|no| no.answer(head))
    }

    /// The manifest of the digest that is signed for a tag.
    async fn tag(&self, name: &ImageRef, head: bool) -> Result<Answer, No> {
        let (begun, deadline) = (Instant::now(), self.decider.deadline());
        let resolving = self.decider.resolve(Door::Resolver, name, Timestamp::now());
        let verdict = match tokio::time::timeout(deadline, resolving).await {
            Ok(verdict) => verdict,
            Err(_) => self.decider.unjudged_pull(Door::Resolver, Some(name.clone()), too_slow(deadline), begun),
        };
        self.observer.observe(&verdict);
        let digest = match (&verdict.decision, verdict.digest) {
            (Decision::Allow(_) | Decision::LetThrough(_), Some(digest)) => digest,
            // Audit mode lets through what the registry has; it can't let through what nobody names.
            (Decision::Deny(denial) | Decision::LetThrough(denial), _) if denial.refusal.code.judged() => {
                return Err(No::refused(verdict.reason()));
            }
            (Decision::Deny(_) | Decision::LetThrough(_) | Decision::Allow(_), _) => return Err(No::unavailable(verdict.reason())),
        };
        match self.manifests.of(name, digest, Instant::now() + deadline).await {
            Ok(found) => Ok(answer::manifest(&found, head)),
            Err(refusal) => {
                let reason = format!("rootpin: {name} is {digest}, and there is no manifest to go with it: {}", bare(&refusal));
                log::warn!("{}", reason.trim_start_matches("rootpin: "));
                Err(if refusal.code.judged() { No::refused(reason) } else { No::unavailable(reason) })
            }
        }
    }

    /// Bytes by their digest. Whoever asks hashes them; no name is decided here.
    async fn bytes(&self, wanted: Wanted) -> Result<Answer, No> {
        self.may_ask(&wanted.repository)?;
        let digest = wanted.digest;
        if let Some(known) = self.manifests.known(&digest).filter(|_| wanted.manifest && wanted.range.is_none()) {
            return Ok(answer::manifest(&known, wanted.method == Method::HEAD));
        }
        let deadline = Instant::now() + self.decider.deadline();
        let stream = tokio::time::timeout_at(deadline.into(), Arc::clone(&self.streams).acquire_owned()).await;
        let busy = || No::unavailable(format!("rootpin: {MAX_STREAMS} streams are open; hint: pull less at a time"));
        let stream = stream.ok().and_then(Result::ok).ok_or_else(busy)?;
        let no = |error: SourceError| match error {
            error if error.is_silent() => No::unavailable(told(&error.refusal())),
            other => No::unknown(told(&other.refusal())),
        };
        let passage = self.sources.pass(&wanted, deadline).await.map_err(no)?;
        let unknown = || No::unknown(format!("rootpin: {} has no {digest} at its registry", wanted.repository));
        Ok(answer::passed(passage.ok_or_else(unknown)?, &digest, stream))
    }

    /// Only registries that the policy names are asked, so that nobody makes this host ask another; in audit mode, which lets any name
    /// pass, any.
    fn may_ask(&self, repository: &Repository) -> Result<(), No> {
        let policy = self.decider.policy().map_err(|refusal| No::unavailable(told(&refusal)))?;
        let host = repository.host();
        if policy.may_ask(host) || self.decider.proving_at().as_deref() == Some(host) {
            return Ok(());
        }
        let message = format!("the policy names nothing of {host}; hint: add a [[rule]] for what is pulled from there");
        Err(No::new(StatusCode::NOT_FOUND, "NAME_UNKNOWN", &message))
    }
}

fn told(refusal: &Refusal) -> String {
    format!("rootpin: {}", bare(refusal))
}

fn bare(refusal: &Refusal) -> String {
    format!("{refusal}; hint: {}", refusal.hint)
}

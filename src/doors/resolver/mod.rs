//! A registry on loopback that engines find by `hosts.toml` and ask what a tag is. It answers with
//! the digest that is signed for the tag, whatever the registry says now.
//!
//! The closed form of a `hosts.toml` has no other host that may resolve, so every answer but 200
//! ends the resolution. Bytes by digest flow through, for engines that have no other way to the
//! registry; below `/resolve` they don't, and the engine asks its registry itself, with credentials
//! of its own. Nothing is asked of a host that the policy doesn't name.

mod answer;
mod asked;
mod entrance;
mod forms;
#[cfg(test)]
mod fuzz;
mod manifests;
mod peer;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::socket::ended_after_stop;
use crate::config::{Config, Engine};
use crate::decide::{Decider, Decision, Door, Pull, Verdict, too_slow};
use crate::engines::ContainerdClient;
use crate::observe::Observer;
use crate::problem::Problem;
use crate::sources::{SourceError, Sources, StreamRequest};
use answer::{No, RegistryAnswer};
use asked::RegistryRequest;
use entrance::{Entrance, SlottedConnection};
use forms::Forms;
use manifests::Manifests;
use peer::ConnectionSlots;
use rootpin_trust::Refusal;
use rootpin_trust::image::{Digest, ImageRef, Repository};

/// So many streams of bytes at a time: what hangs in them never keeps a tag waiting.
const MAX_STREAMS: usize = 256;
/// How long a connection may keep its place without asking anything, where places are few or it
/// isn't root's.
const SHORT: Duration = Duration::from_secs(2);
/// A request's head, and how long it may take to come, or the next one to follow.
const MAX_HEAD: usize = 16 << 10;
const MAX_HEADERS: usize = 64;
const HEAD_TIME: Duration = Duration::from_secs(60);

/// The resolver.
#[derive(Debug)]
pub(crate) struct ResolverDoor {
    decider: Arc<Decider>,
    observer: Arc<Observer>,
    sources: Arc<Sources>,
    manifests: Manifests,
    streams: Arc<Semaphore>,
    places: Arc<ConnectionSlots>,
    forms: Forms,
}

impl ResolverDoor {
    /// One that answers by this decider at that address. The engines may hold the manifest of what
    /// they pulled before.
    ///
    /// # Errors
    /// An engine's socket can't be an address.
    pub(crate) fn new(
        decider: Arc<Decider>,
        observer: Arc<Observer>,
        sources: Arc<Sources>,
        at: SocketAddr,
        config: &Config,
    ) -> Result<Self, String> {
        let engine = |engine: &Engine| {
            ContainerdClient::at(&engine.containerd)
                .map_err(|error| format!("engine {}: {error}", engine.name))
        };
        let manifests = Manifests::new(
            Arc::clone(&sources),
            config
                .engines
                .iter()
                .map(engine)
                .collect::<Result<_, _>>()?,
        );
        let (streams, places, forms) = (
            Arc::new(Semaphore::new(MAX_STREAMS)),
            Arc::new(ConnectionSlots::new()),
            Forms::new(at, config.hosts_dir.as_deref()),
        );
        Ok(Self {
            decider,
            observer,
            sources,
            manifests,
            streams,
            places,
            forms,
        })
    }

    /// Answers until told to stop, and then what was asked before.
    pub(crate) async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        until: impl Future<Output = ()>,
    ) {
        let (stop, stopped) = watch::channel(());
        let entrance = listener
            .into_std()
            .and_then(|listener| Entrance::open(listener, Arc::clone(&self.places)));
        let mut entrance = match entrance {
            Ok(entrance) => entrance,
            Err(error) => return log::error!("the resolver takes no connections: {error}"),
        };
        let mut connections = JoinSet::new();
        tokio::pin!(until);
        loop {
            tokio::select! {
                taken = entrance.next() => match taken {
                    Some(taken) => { connections.spawn(Arc::clone(&self).connection(taken, stopped.clone())); }
                    None => return,
                },
                () = &mut until => break,
            }
            while connections.try_join_next().is_some() {}
        }
        entrance.close();
        while let Some(taken) = entrance.next().await {
            connections.spawn(Arc::clone(&self).connection(taken, stopped.clone()));
        }
        drop(stop);
        while connections.join_next().await.is_some() {}
    }

    async fn connection(
        self: Arc<Self>,
        taken: SlottedConnection,
        mut stopped: watch::Receiver<()>,
    ) {
        let SlottedConnection {
            stream,
            peer,
            place,
        } = taken;
        let Some(place) = self.places.turn(place).await else {
            return;
        };
        let stream = match stream
            .set_nonblocking(true)
            .and_then(|()| TcpStream::from_std(stream))
        {
            Ok(stream) => stream,
            Err(error) => return log::warn!("a connection to the resolver: {error}"),
        };
        let ours = place.ours;
        let short = !ours || self.places.are_few();
        let asked = AtomicBool::new(false);
        let service = hyper::service::service_fn(|request| {
            let this = Arc::clone(&self);
            asked.store(true, Ordering::Relaxed);
            async move { Ok::<_, Infallible>(this.counted(&request, ours).await) }
        });
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new())
            .max_buf_size(MAX_HEAD)
            .max_headers(MAX_HEADERS);
        http.keep_alive(!short)
            .header_read_timeout(if short { SHORT } else { HEAD_TIME });
        let connection = http.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            // The sender is gone: stop.
            _ = stopped.changed() => {
                let asked = asked.load(Ordering::Relaxed);
                ended_after_stop(connection, asked, hyper::server::conn::http1::Connection::graceful_shutdown).await
            }
        };
        if let Err(error) = ended {
            log::debug!("a connection from {peer} to the resolver: {error}");
        }
        // Who comes again and again is told no oftener than this: to tell is most of what a
        // stranger can have done here.
        if !ours {
            tokio::select! {
                () = tokio::time::sleep(SHORT) => {}
                _ = stopped.changed() => {}
            }
        }
    }

    /// The answer, and how long it took until its body can begin.
    async fn counted(&self, request: &Request<Incoming>, ours: bool) -> RegistryAnswer {
        let begun = Instant::now();
        let answer = self.answer(request, ours).await;
        let metrics = self.observer.metrics();
        metrics.add(
            "rootpin_resolver_requests_total",
            format!("status=\"{}\"", answer.status().as_u16()),
            1.0,
        );
        metrics.add(
            "rootpin_resolver_seconds_sum",
            String::new(),
            begun.elapsed().as_secs_f64(),
        );
        answer
    }

    async fn answer(&self, request: &Request<Incoming>, ours: bool) -> RegistryAnswer {
        let head = request.method() == Method::HEAD;
        if !ours {
            let hint = "engines that run as another user need their own way to the registry";
            let problem = Problem::hinted("only root's processes are answered", hint);
            return No::new(StatusCode::FORBIDDEN, "DENIED", problem).answer(head);
        }
        let answer = match asked::read(request) {
            Err(no) => Err(no),
            Ok(RegistryRequest::Version) => Ok(answer::version()),
            Ok(RegistryRequest::Tag(name)) => self.tag(&name, head).await,
            Ok(RegistryRequest::Bytes { passes: false, .. }) => {
                let message = "only tags are answered here: the engine asks the registry for what it knows by digest";
                Err(No::new(StatusCode::NOT_FOUND, "UNSUPPORTED", message))
            }
            Ok(RegistryRequest::Referrers) => Err(No::new(
                StatusCode::NOT_FOUND,
                "UNSUPPORTED",
                "what refers to an image is not told here",
            )),
            Ok(RegistryRequest::Bytes {
                repository,
                manifest,
                digest,
                passes: true,
            }) => match self.may_pass(&repository) {
                Err(no) => Err(no),
                Ok(()) if manifest => self.manifest(repository, digest, head).await,
                Ok(()) => {
                    let (method, range) = (
                        request.method().clone(),
                        request.headers().get(http::header::RANGE).cloned(),
                    );
                    self.bytes(StreamRequest {
                        method,
                        repository,
                        manifest,
                        digest,
                        range,
                    })
                    .await
                }
            },
        };
        answer.unwrap_or_else(|no| no.answer(head))
    }

    /// The manifest of the digest that is signed for a tag.
    async fn tag(&self, name: &ImageRef, head: bool) -> Result<RegistryAnswer, No> {
        let (begun, deadline) = (Instant::now(), self.decider.deadline());
        let resolving = self.decider.resolve(Door::Resolver, name, Timestamp::now());
        let verdict = match tokio::time::timeout(deadline, resolving).await {
            Ok(verdict) => verdict,
            Err(_) => self.decider.unjudged_pull(
                Door::Resolver,
                Some(name.clone()),
                too_slow(deadline),
                begun,
            ),
        };
        self.observer.observe(&verdict);
        let digest = match (&verdict.decision, verdict.digest) {
            (Decision::Allow(_) | Decision::LetThrough(..), Some(digest)) => digest,
            // Audit mode lets through what the registry has; it can't let through what nobody
            // names.
            (Decision::Deny(denial) | Decision::LetThrough(denial, _), _)
                if denial.refusal.code.judged() =>
            {
                return Err(No::refused(verdict.reason()));
            }
            (Decision::Deny(_) | Decision::LetThrough(..) | Decision::Allow(_), _) => {
                return Err(No::unavailable(verdict.reason()));
            }
        };
        self.found(name, digest, head).await
    }

    async fn found(
        &self,
        name: &ImageRef,
        digest: Digest,
        head: bool,
    ) -> Result<RegistryAnswer, No> {
        match self
            .manifests
            .of(name, digest, Instant::now() + self.decider.deadline())
            .await
        {
            Ok(found) => Ok(answer::manifest(&found, head)),
            Err(refusal) => {
                let reason = format!(
                    "rootpin: {name} is {digest}, and there is no manifest to go with it: {}",
                    bare(&refusal)
                );
                log::warn!("{}", reason.trim_start_matches("rootpin: "));
                Err(if refusal.code.judged() {
                    No::refused(reason)
                } else {
                    No::unavailable(reason)
                })
            }
        }
    }

    /// An index or a manifest by its digest, which the policy must admit, itself or an index that
    /// lists it: else a builder that no other door sees would begin with what nobody signed.
    async fn manifest(
        &self,
        repository: Repository,
        digest: Digest,
        head: bool,
    ) -> Result<RegistryAnswer, No> {
        let name = ImageRef {
            repository,
            tag: None,
            digest: Some(digest),
        };
        if self.admits_one(&name, self.manifests.above(&digest)).await {
            return self.found(&name, digest, head).await;
        }
        let verdict = self.judged(&name, digest).await;
        if !verdict.decision.lets_through()
            && self
                .admits_one(&name, self.manifests.above_in_engines(digest).await)
                .await
        {
            return self.found(&name, digest, head).await;
        }
        self.observer.observe(&verdict);
        match verdict.decision.denial() {
            Some(denial) if !verdict.decision.lets_through() && denial.refusal.code.judged() => {
                Err(No::refused(verdict.reason()))
            }
            Some(_) if !verdict.decision.lets_through() => Err(No::unavailable(verdict.reason())),
            _ => self.found(&name, digest, head).await,
        }
    }

    /// Whether the policy admits one of these under the same repository.
    async fn admits_one(&self, name: &ImageRef, digests: Vec<Digest>) -> bool {
        for digest in digests {
            if self
                .judged(&name.with_digest(digest), digest)
                .await
                .decision
                .lets_through()
            {
                return true;
            }
        }
        false
    }

    async fn judged(&self, name: &ImageRef, digest: Digest) -> Verdict {
        let (begun, deadline) = (Instant::now(), self.decider.deadline());
        let pull = Pull {
            door: Door::Resolver,
            name: name.clone(),
            digest,
        };
        let judging = self.decider.pull(&pull, Timestamp::now());
        match tokio::time::timeout(deadline, judging).await {
            Ok(verdict) => verdict,
            Err(_) => self.decider.unjudged_pull(
                Door::Resolver,
                Some(pull.name.clone()),
                too_slow(deadline),
                begun,
            ),
        }
    }

    /// A blob by its digest. Whoever asks hashes it; no name is decided here.
    async fn bytes(&self, wanted: StreamRequest) -> Result<RegistryAnswer, No> {
        let digest = wanted.digest;
        let deadline = Instant::now() + self.decider.deadline();
        let stream =
            tokio::time::timeout_at(deadline.into(), Arc::clone(&self.streams).acquire_owned())
                .await;
        let busy = || {
            let what = format!("rootpin: {MAX_STREAMS} streams are open");
            No::unavailable(Problem::hinted(what, "pull less at a time").to_string())
        };
        let stream = stream.ok().and_then(Result::ok).ok_or_else(busy)?;
        let no = |error: SourceError| match error {
            error if error.is_silent() => No::unavailable(told(&error.refusal())),
            other => No::unknown(told(&other.refusal())),
        };
        let passage = self.sources.pass(&wanted, deadline).await.map_err(no)?;
        let unknown = || {
            No::unknown(format!(
                "rootpin: {} has no {digest} at its registry",
                wanted.repository
            ))
        };
        Ok(answer::passed(
            passage.ok_or_else(unknown)?,
            &digest,
            stream,
        ))
    }

    /// Bytes come with rootpin's own credentials, and whoever is root may ask: so only where an
    /// administrator has the engines fetch them here.
    fn may_pass(&self, repository: &Repository) -> Result<(), No> {
        self.may_ask(repository)?;
        let host = repository.host();
        if self.forms.pass(host) {
            return Ok(());
        }
        let what = format!(
            "bytes of {host} don't pass here: {} has no hosts.toml that fetches them so",
            self.forms
        );
        let hint = format!(
            "rootpin hosts write {host} has the engine fetch them from the registry, rootpin hosts write _default has it fetch all from here"
        );
        let problem = Problem::hinted(what, hint);
        Err(No::new(StatusCode::NOT_FOUND, "UNSUPPORTED", problem))
    }

    /// Only registries that the policy names are asked, so that nobody makes this host ask another;
    /// in audit mode, which lets any name pass, any; and what root's break-glass is for.
    fn may_ask(&self, repository: &Repository) -> Result<(), No> {
        let policy = self
            .decider
            .policy()
            .map_err(|refusal| No::unavailable(told(&refusal)))?;
        let host = repository.host();
        let now = self.decider.instant(Timestamp::now());
        let is_for = |pattern: &rootpin_policy::Pattern| pattern.matches(repository);
        let glass = self.decider.break_glass(Timestamp::now());
        let is_broken = glass.is_some_and(|glass| glass.pattern.as_ref().is_none_or(is_for));
        if is_broken
            || policy.may_ask(host, now)
            || self.decider.proving_at().as_deref() == Some(host)
        {
            return Ok(());
        }
        let problem = Problem::hinted(
            format!("the policy names nothing of {host}"),
            "add a [[rule]] for what is pulled from there",
        );
        Err(No::new(StatusCode::NOT_FOUND, "NAME_UNKNOWN", problem))
    }
}

fn told(refusal: &Refusal) -> String {
    format!("rootpin: {}", bare(refusal))
}

fn bare(refusal: &Refusal) -> String {
    Problem::hinted(refusal.to_string(), refusal.hint.as_str()).to_string()
}

//! dockerd's authorization plugin: every call of its API is shown here before dockerd does it
//! (moby, pkg/authorization).
//!
//! dockerd waits for an answer without end, so one comes within the deadline, whatever happens; and
//! it shows the plugin's own calls to the plugin too, so nothing that they are (GET) ever waits. An
//! answer that does not come at all is a "no" to dockerd.

mod action;
mod create;
#[cfg(test)]
mod fuzz;
mod lookup;
mod request;
mod self_check;
mod server;
mod target;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use jiff::Timestamp;
use tokio::sync::Semaphore;

use crate::config::Dockerd;
use crate::decide::{
    Call, DOCKER_NAMESPACE, Decider, Does, Door, HeldImage, Pull, Verdict, too_slow,
};
use crate::engines::DockerdClient;
use crate::observe::Observer;
use crate::sources::Sources;
use action::ApiAction;
use rootpin_trust::image::ImageRef;
use rootpin_trust::{Code, Refusal};
use self_check::SelfCheck;

/// Calls that are judged at once; each may hold a connection to dockerd, a trust server and a
/// registry. Others wait, within their deadline.
const MOST_JUDGED: usize = 64;

/// The plugin of one dockerd.
#[derive(Debug)]
pub(crate) struct AuthzPlugin {
    name: String,
    docker: DockerdClient,
    /// The containerds whose gates judge what this dockerd unpacks there.
    gated: Vec<PathBuf>,
    accept_grpc: bool,
    decider: Arc<Decider>,
    sources: Arc<Sources>,
    observer: Arc<Observer>,
    judged: Semaphore,
    self_check: SelfCheck,
}

/// What came of looking at a call: a verdict for each image of it. None: dockerd has nothing that
/// it could do it with.
type Verdicts = Vec<Verdict>;

impl AuthzPlugin {
    /// The plugin of that dockerd. `gated`: the containerds that have a gate here.
    #[must_use]
    pub(crate) fn new(
        dockerd: &Dockerd,
        gated: Vec<PathBuf>,
        decider: Arc<Decider>,
        sources: Arc<Sources>,
        observer: Arc<Observer>,
    ) -> Self {
        let docker = DockerdClient::at(&dockerd.socket, decider.deadline());
        Self {
            name: dockerd.name.clone(),
            docker,
            gated,
            accept_grpc: dockerd.accept_grpc,
            decider,
            sources,
            observer,
            judged: Semaphore::new(MOST_JUDGED),
            self_check: SelfCheck::default(),
        }
    }

    /// Answers on a listener until told to stop.
    pub(crate) async fn serve(
        self: Arc<Self>,
        listener: crate::sockets::KeptSocket,
        stop: impl Future<Output = ()>,
    ) {
        server::serve(self, listener, stop).await;
    }

    fn deadline(&self) -> Duration {
        self.decider.deadline()
    }

    /// Whether dockerd may go on; as the error, what its client is told.
    async fn decide(self: Arc<Self>, message: Bytes) -> Result<(), String> {
        let begun = Instant::now();
        let request = match request::read(&message) {
            Ok(request) => request,
            Err(refusal) => return self.tell(&[self.unclear("a call", refusal, begun).await]),
        };
        let shown = request.shown();
        let action = match action::read(&request) {
            Ok(ApiAction::Pass) => {
                self.self_check.shown(&request.uri);
                log::debug!("dockerd {}: {shown} brings nothing in", self.name);
                return Ok(());
            }
            Ok(action) => action,
            Err(refusal) => return self.tell(&[self.unclear(&shown, refusal, begun).await]),
        };
        let pulled = if let ApiAction::Pull(name) = &action {
            Some(name.clone())
        } else {
            None
        };
        // A task of its own: one that panics is one call that is refused.
        let (plugin, text, deadline) = (Arc::clone(&self), shown.clone(), self.deadline());
        let judging = tokio::spawn(async move {
            tokio::time::timeout(deadline, plugin.judge(action, &text, begun)).await
        });
        let refusal = match judging.await {
            Ok(Ok(Ok(verdicts))) => return self.tell(&verdicts),
            Ok(Ok(Err(refusal))) => refusal,
            Ok(Err(_)) => too_slow(deadline),
            Err(error) => failed(&error.to_string()),
        };
        let verdict = match pulled {
            Some(name) => {
                self.named(
                    self.decider
                        .unjudged_pull(Door::Authz, Some(name), refusal, begun),
                )
            }
            None => self.unclear(&shown, refusal, begun).await,
        };
        self.tell(&[verdict])
    }

    /// A message that could not be read to its end.
    async fn unread(&self, why: &str) -> Result<(), String> {
        let refusal = Refusal::new(
            Code::OverLimit,
            format!("a message on the plugin's socket that could not be read: {why}"),
            "one of at most 8 MiB",
            "send a smaller body; dockerd shows plugins 4 MiB of it",
        );
        self.tell(&[self.unclear("a call", refusal, Instant::now()).await])
    }

    async fn judge(
        &self,
        action: ApiAction,
        shown: &str,
        begun: Instant,
    ) -> Result<Verdicts, Refusal> {
        let _judged = self
            .judged
            .acquire()
            .await
            .map_err(|error| failed(&error.to_string()))?;
        let now = Timestamp::now();
        match action {
            ApiAction::Pass => Ok(Vec::new()),
            ApiAction::Pull(name) => self
                .pull(name, now, begun)
                .await
                .map(|verdict| vec![verdict]),
            ApiAction::Create(images) => {
                self.written(images.image.into_iter().chain(images.mounted), now, begun)
                    .await
            }
            ApiAction::Start(container) => self.start(&container, shown, now, begun).await,
            ApiAction::Tag(image, new) => {
                let Some(found) = lookup::image(&self.docker, &image).await? else {
                    return Ok(Vec::new());
                };
                let held = self.held(&found, Some(new), begun);
                Ok(vec![
                    self.call(
                        &format!("docker tag ({shown})"),
                        Does::Tag(held),
                        now,
                        begun,
                    )
                    .await,
                ])
            }
            ApiAction::Local(what, names) => Ok(vec![
                self.call(&format!("{what} ({shown})"), Does::Local(names), now, begun)
                    .await,
            ]),
            ApiAction::Swarm => Ok(vec![
                self.call(
                    &format!("a use of Swarm ({shown})"),
                    Does::Swarm,
                    now,
                    begun,
                )
                .await,
            ]),
            ApiAction::Plugin => Ok(vec![
                self.call(&format!("a plugin ({shown})"), Does::Plugin, now, begun)
                    .await,
            ]),
        }
    }

    /// A tag is what its registry says it is now. dockerd asks once more; what it then gets is
    /// judged where a container is made of it.
    async fn pull(
        &self,
        name: ImageRef,
        now: Timestamp,
        begun: Instant,
    ) -> Result<Verdict, Refusal> {
        let digest = match name.digest {
            Some(digest) => digest,
            None => {
                self.sources
                    .resolve(&name, begun + self.decider.deadline())
                    .await?
            }
        };
        let verdict = self
            .decider
            .pull(
                &Pull {
                    door: Door::Authz,
                    name,
                    digest,
                },
                now,
            )
            .await;
        Ok(self.named(self.decider.by_digest(verdict)))
    }

    /// Images as a client has written them. One that dockerd doesn't have is no reason to refuse:
    /// it answers so itself, and the client pulls.
    async fn written(
        &self,
        images: impl Iterator<Item = String>,
        now: Timestamp,
        begun: Instant,
    ) -> Result<Verdicts, Refusal> {
        let mut verdicts = Vec::new();
        for written in images {
            if let Some(found) = lookup::image(&self.docker, &written).await? {
                let held = self.held(&found, found.name_in(&written), begun);
                verdicts.push(self.decider.held(&held, now).await);
            }
        }
        Ok(verdicts)
    }

    /// A container's image is judged anew: it may have been revoked, or written past every door
    /// between its look-up and its making.
    async fn start(
        &self,
        name: &str,
        shown: &str,
        now: Timestamp,
        begun: Instant,
    ) -> Result<Verdicts, Refusal> {
        let Some(container) = lookup::container(&self.docker, name).await? else {
            return Ok(Vec::new());
        };
        let verdict = match container.image {
            Some(id) => {
                let found = lookup::image(&self.docker, &id.to_string())
                    .await?
                    .unwrap_or_else(|| lookup::InspectedImage::gone(id));
                let held = self.held(&found, found.name_in(&container.written), begun);
                self.decider.held(&held, now).await
            }
            None => {
                self.call(
                    &format!("a container of no image ({shown})"),
                    Does::Local(Vec::new()),
                    now,
                    begun,
                )
                .await
            }
        };
        let mut verdicts = self
            .written(container.mounted.into_iter(), now, begun)
            .await?;
        verdicts.push(verdict);
        Ok(verdicts)
    }

    fn held(
        &self,
        image: &lookup::InspectedImage,
        asked: Option<ImageRef>,
        begun: Instant,
    ) -> HeldImage {
        let (engine, namespace) = (self.name.clone(), DOCKER_NAMESPACE.to_owned());
        HeldImage {
            door: Door::Authz,
            engine,
            namespace,
            asked,
            known: image.known.clone(),
            id: image.id,
            begun,
        }
    }

    async fn call(&self, shown: &str, does: Does, now: Timestamp, begun: Instant) -> Verdict {
        self.decider
            .docker_call(
                Call {
                    engine: self.name.clone(),
                    shown: shown.to_owned(),
                    does,
                    begun,
                },
                now,
            )
            .await
    }

    async fn unclear(&self, shown: &str, refusal: Refusal, begun: Instant) -> Verdict {
        self.call(shown, Does::Unclear(refusal), Timestamp::now(), begun)
            .await
    }

    fn named(&self, verdict: Verdict) -> Verdict {
        Verdict {
            engine: Some(self.name.clone()),
            ..verdict
        }
    }

    /// Every verdict is recorded; the first "no" is told.
    fn tell(&self, verdicts: &[Verdict]) -> Result<(), String> {
        for verdict in verdicts {
            self.observer.observe(verdict);
        }
        verdicts
            .iter()
            .find(|verdict| !verdict.decision.lets_through())
            .map_or(Ok(()), |verdict| Err(verdict.reason()))
    }
}

/// A call that is written as no client writes it.
fn odd(found: String, wanted: &str, hint: &str) -> Refusal {
    Refusal::new(Code::Malformed, found, wanted, hint)
}

fn failed(why: &str) -> Refusal {
    Refusal::new(
        Code::Malformed,
        format!("a failure of rootpin's own: {why}"),
        "an answer",
        "see the log of rootpind, and report it",
    )
}

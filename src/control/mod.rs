//! Our own API on the control socket: what `rootpin` and `rootpin-verifier` ask the daemon.

mod ahead;
mod answer;
mod break_glass;
mod client;
mod credentials;
mod explain;
#[cfg(test)]
mod fuzz;
mod health;
mod import;
mod proof;
mod prove;
mod scrape;
mod status;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use serde_json::{Value, json};
use tonic::{Request, Response, Status};

pub(crate) use ahead::warn_ahead;
use answer::{failed, report};
pub(crate) use break_glass::{recall_break_glass, watch_break_glass};
pub use client::DaemonClient;
pub use explain::explain;
pub(crate) use import::import_report;
pub use proof::{FoundPath, ProofCall};
pub(crate) use scrape::scrape;

use crate::decide::survey::{ImageParts, SurveyQuestion, survey};
use crate::decide::{
    Decider, Door, InForce, Pull, SignatureDisplay, Verdict, is_spoken_of, too_slow,
};
use crate::observe::{self, Observer, StatusBoard};
use crate::problem::Problem;
use crate::sources::Sources;
use crate::state;
use rootpin_trust::image::{Digest, ImageRef};
use rootpin_trust::{Code, Refusal};

/// Generated from `proto/control.proto`.
pub(crate) mod wire {
    #![allow(
        clippy::all,
        clippy::as_conversions,
        clippy::pedantic,
        missing_docs,
        unreachable_pub
    )]
    tonic::include_proto!("rootpin.control.v1");
}

use wire::{
    BreakGlassRequest, CredentialsRequest, CredentialsResponse, DecideRequest, DecideResponse,
    Empty, ExplainRequest, ImportRequest, MetricsResponse, ProveRequest, ProveResponse, Report,
    StateRequest, SurveyRequest, SweepRequest,
};

/// A sweep that is wanted now.
#[derive(Debug)]
pub(crate) struct SweepOrder {
    /// Whether nothing is to be removed by it.
    pub dry_run: bool,
    /// Gets the object of `rootpin sweep --json`, and the exit code.
    pub answer: tokio::sync::oneshot::Sender<(Value, u32)>,
}

/// The server side.
#[derive(Debug)]
pub(crate) struct ControlService {
    /// Answers.
    pub decider: Arc<Decider>,
    /// Tells.
    pub(crate) observer: Arc<Observer>,
    /// Says what a tag is now.
    pub sources: Arc<Sources>,
    /// Doors, policy, engines.
    pub status: Arc<StatusBoard>,
    /// Wakes the task that looks at the policy.
    pub reload: tokio::sync::mpsc::Sender<tokio::sync::oneshot::Sender<Result<(), String>>>,
    /// Wakes the sweepers.
    pub sweep: tokio::sync::mpsc::Sender<SweepOrder>,
    /// One bundle at a time: each may take half a gigabyte of the state's disk while it is read.
    pub(crate) importing: tokio::sync::Mutex<()>,
}

impl ControlService {
    async fn decided(
        &self,
        door: Door,
        (name, digest): (&ImageRef, &str),
        begun: Instant,
        display: &SignatureDisplay,
    ) -> Result<Verdict, String> {
        let now = Timestamp::now();
        let (policy, deadline) = (self.decider.policy(), self.decider.deadline());
        match digest_of(&self.sources, &policy, (name, digest), now, deadline).await {
            Ok(digest) => {
                let pull = Pull {
                    door,
                    name: name.clone(),
                    digest,
                };
                let replies = (door == Door::Verify).then_some(&display.replies);
                let now = Timestamp::now();
                Ok(self.decider.pull_remembering(&pull, now, replies).await)
            }
            Err(Unresolved::Argument(why)) => Err(why),
            Err(Unresolved::Uncovered) => Ok(self.decider.without_digest(door, name, now).await),
            Err(Unresolved::Refusal(refusal)) => {
                Ok(self
                    .decider
                    .unjudged_pull(door, Some(name.clone()), refusal, begun))
            }
        }
    }
}

/// Why a name has no digest.
#[derive(Debug)]
pub(crate) enum Unresolved {
    /// The question itself is wrong.
    Argument(String),
    /// The policy says nothing of the name, so no registry was asked.
    Uncovered,
    /// The registry doesn't say.
    Refusal(Refusal),
}

/// The digest that is asked about: the one given, the one in the name, or what the registry says
/// the tag is. No registry is asked for a name that no digest helps.
///
/// # Errors
/// It is not a digest, or none is known.
pub(crate) async fn digest_of(
    sources: &Sources,
    policy: &InForce,
    (name, given): (&ImageRef, &str),
    now: Timestamp,
    deadline: std::time::Duration,
) -> Result<rootpin_trust::image::Digest, Unresolved> {
    if !given.is_empty() {
        return given
            .parse()
            .map_err(|error| Unresolved::Argument(format!("{error}")));
    }
    match name.digest {
        Some(digest) => Ok(digest),
        None if !is_spoken_of(policy, name, now) => Err(Unresolved::Uncovered),
        None => sources
            .resolve(name, Instant::now() + deadline)
            .await
            .map_err(Unresolved::Refusal),
    }
}

/// Adds what became of each signature beside the image, where the rule's roots look for any.
pub(crate) async fn add_signatures(
    judgement: &mut Value,
    decider: &Decider,
    verdict: &Verdict,
    display: &SignatureDisplay,
) {
    let (Some(name), Some(digest)) = (&verdict.name, verdict.digest) else {
        return;
    };
    let looking = decider.signatures(name, digest, verdict.at, display);
    // It is for people: what takes too long is left out.
    let found = tokio::time::timeout(decider.deadline(), looking).await;
    if let (Some(members), Ok(found)) = (judgement.as_object_mut(), found)
        && !found.is_empty()
    {
        members.insert("signatures".to_owned(), found.into());
    }
}

fn state_report(decider: &Decider) -> Result<Value, String> {
    decider
        .store()
        .show()
        .map(|overview| state::overview_json(&overview))
        .map_err(|error| error.to_string())
}

/// Which state this is, and how it stands to the mark beside the configuration.
fn identity(decider: &Decider, status: &StatusBoard) -> Result<Value, String> {
    let origin = decider
        .store()
        .identify()
        .map_err(|error| error.to_string())?;
    let standing = status.mark().standing(decider.store());
    Ok(json!({
        "version": 1,
        "id": origin.id,
        "begun": origin.begun.to_string(),
        "standing": standing.as_str(),
        "mark": status.mark().path().display().to_string(),
    }))
}

fn reset_contacts(decider: &Decider, dry_run: bool) -> Result<Value, Problem> {
    let now = Timestamp::now();
    if let Some(why) = decider.clock_trouble(now) {
        let hint = "set the host's clock first: what is after it is forgotten";
        return Err(Problem::hinted(why, hint));
    }
    let forgotten =
        state::forget_contacts(decider.store(), now, dry_run).map_err(|error| error.to_string())?;
    if !dry_run {
        decider.forget();
        log::warn!("state reset of contacts: {forgotten}");
    }
    Ok(forgotten)
}

fn reset(decider: &Decider, id: &str, dry_run: bool) -> Result<Value, Problem> {
    let policy = decider.policy().map_err(|refusal| refusal.to_string())?;
    let root = policy.roots.get(id).ok_or_else(|| {
        Problem::hinted(format!("the policy has no root {id:?}"), "rootpin pin list")
    })?;
    let forgotten = state::forget_root(
        decider.store(),
        &|floor| root.forgets(floor, &policy),
        dry_run,
    )
    .map_err(|error| error.to_string())?;
    if !dry_run {
        decider.forget();
        log::warn!("state reset for root {id}: {forgotten}");
    }
    Ok(forgotten)
}

/// What a survey is to look at; one that names something that is none is refused whole.
fn asked(request: &SurveyRequest) -> Result<SurveyQuestion, String> {
    let digest = |text: &String| text.parse::<Digest>().map_err(|error| error.to_string());
    let (mut images, mut parts) = (Vec::new(), ImageParts::new());
    for image in &request.images {
        let name = image.name.parse().map_err(|error| format!("{error}"))?;
        let top = digest(&image.digest)?;
        let of: BTreeSet<Digest> = image.parts.iter().map(digest).collect::<Result<_, _>>()?;
        parts.entry(top).or_default().extend(of);
        images.push((name, top));
    }
    let repository = |name: &String| {
        rootpin_trust::image::Repository::from_full(name).map_err(|error| error.to_string())
    };
    let repositories = request
        .repositories
        .iter()
        .map(repository)
        .collect::<Result<_, _>>()?;
    Ok(SurveyQuestion {
        images,
        parts,
        repositories,
        roots: request.roots,
    })
}

fn unreadable(why: &str) -> Refusal {
    Refusal::new(
        Code::Malformed,
        why,
        "an image name and a sha256 digest",
        "rootpin knows sha256 digests, and names in Docker's form",
    )
}

#[tonic::async_trait]
impl wire::control_server::Control for ControlService {
    async fn decide(
        &self,
        request: Request<DecideRequest>,
    ) -> Result<Response<DecideResponse>, Status> {
        let begun = Instant::now();
        let request = request.into_inner();
        let door = match request.door.as_str() {
            "verifier" => Door::Verifier,
            "verify" => Door::Verify,
            other => return Err(Status::invalid_argument(format!("no door {other:?}"))),
        };
        let deadline = self.decider.deadline();
        let display = SignatureDisplay {
            anew: request.anew,
            ..SignatureDisplay::default()
        };
        let verdict = match request.name.parse::<ImageRef>() {
            Err(error) => {
                self.decider
                    .unjudged_pull(door, None, unreadable(&error.to_string()), begun)
            }
            Ok(name) => match tokio::time::timeout(
                deadline,
                self.decided(door, (&name, &request.digest), begun, &display),
            )
            .await
            {
                Ok(Ok(verdict)) => verdict,
                Ok(Err(why)) => {
                    self.decider
                        .unjudged_pull(door, Some(name), unreadable(&why), begun)
                }
                Err(_) => self
                    .decider
                    .unjudged_pull(door, Some(name), too_slow(deadline), begun),
            },
        };
        self.observer.observe(&verdict);
        let mut json = observe::judgement(&verdict);
        if door == Door::Verify {
            add_signatures(&mut json, &self.decider, &verdict, &display).await;
        }
        Ok(Response::new(DecideResponse {
            let_through: verdict.decision.lets_through(),
            exit_code: verdict.decision.exit_code().into(),
            reason: verdict.reason(),
            json: json.to_string(),
        }))
    }

    async fn explain(&self, request: Request<ExplainRequest>) -> Result<Response<Report>, Status> {
        let policy = self
            .decider
            .policy()
            .map_err(|refusal| Status::failed_precondition(refusal.to_string()))?;
        let name: ImageRef = request
            .get_ref()
            .name
            .parse()
            .map_err(|error| Status::invalid_argument(format!("{error}")))?;
        let now = Timestamp::now();
        let mut explained = explain(&policy, &name, now);
        let glass = break_glass::shown(&self.decider, &state::HostTime::at(now));
        if let Some(members) = explained.as_object_mut() {
            members.insert("break_glass".to_owned(), glass);
        }
        report(&explained, 0)
    }

    async fn status(&self, _: Request<Empty>) -> Result<Response<Report>, Status> {
        self.status.check_now(status::CHECKED_WITHIN).await;
        let (value, exit) = status::report(&self.status, &self.decider, &self.observer);
        report(&value, exit)
    }

    async fn reload(&self, _: Request<Empty>) -> Result<Response<Report>, Status> {
        let (told, answer) = tokio::sync::oneshot::channel();
        self.reload
            .send(told)
            .await
            .map_err(|_| Status::unavailable("the daemon is stopping"))?;
        let result = answer
            .await
            .map_err(|_| Status::unavailable("the daemon is stopping"))?;
        let exit = u32::from(result.is_err());
        report(
            &json!({ "version": 1, "ok": result.is_ok(), "error": result.err() }),
            exit,
        )
    }

    async fn state(&self, request: Request<StateRequest>) -> Result<Response<Report>, Status> {
        let asked = request.into_inner();
        let (decider, status) = (Arc::clone(&self.decider), Arc::clone(&self.status));
        let work = move || match asked {
            StateRequest { identify: true, .. } => Ok(identity(&decider, &status)?),
            StateRequest {
                reset_contacts: true,
                dry_run,
                ..
            } => reset_contacts(&decider, dry_run),
            StateRequest {
                reset_root,
                dry_run,
                ..
            } if !reset_root.is_empty() => reset(&decider, &reset_root, dry_run),
            _ => Ok(state_report(&decider)?),
        };
        let done = tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| Status::internal(error.to_string()))?;
        report(&done.map_err(|problem| failed(&problem))?, 0)
    }

    async fn survey(&self, request: Request<SurveyRequest>) -> Result<Response<Report>, Status> {
        let request = request.into_inner();
        let asked = asked(&request).map_err(Status::invalid_argument)?;
        let onlooker = if request.online {
            self.decider.onlooker(Arc::clone(&self.sources))
        } else {
            self.decider.by_cache()
        };
        let mut found = survey(&onlooker, &asked, Timestamp::now()).await;
        found.trouble.extend(
            self.status
                .trouble(&self.decider)
                .filter(|_| found.policy.is_some()),
        );
        let value =
            serde_json::to_value(&found).map_err(|error| Status::internal(error.to_string()))?;
        report(&value, 0)
    }

    async fn sweep(&self, request: Request<SweepRequest>) -> Result<Response<Report>, Status> {
        let (answer, swept) = tokio::sync::oneshot::channel();
        let order = SweepOrder {
            dry_run: request.into_inner().dry_run,
            answer,
        };
        self.sweep
            .send(order)
            .await
            .map_err(|_| Status::unavailable("the daemon is stopping"))?;
        let (value, exit) = swept
            .await
            .map_err(|_| Status::unavailable("the daemon is stopping"))?;
        report(&value, exit)
    }

    async fn import(
        &self,
        request: Request<tonic::Streaming<ImportRequest>>,
    ) -> Result<Response<Report>, Status> {
        let importing = self.importing.try_lock();
        let _importing = importing.map_err(|_| {
            let problem = Problem::hinted("another bundle is being imported", "try again after it");
            answer::status(tonic::Code::ResourceExhausted, &problem)
        })?;
        let (bundle, root) =
            import::receive(request.into_inner(), self.decider.store().directory()).await?;
        let result = match bundle {
            Ok(bundle) => {
                self.decider
                    .import(Arc::new(bundle), root, Timestamp::now())
                    .await
            }
            Err(error) => Err(error.refusal()),
        };
        import::tell(&result);
        let (value, exit) = import_report(&result);
        report(&value, exit.into())
    }

    type ProveStream = tokio_stream::wrappers::ReceiverStream<Result<ProveResponse, Status>>;

    async fn prove(
        &self,
        request: Request<tonic::Streaming<ProveRequest>>,
    ) -> Result<Response<Self::ProveStream>, Status> {
        prove::prove(&self.decider, &self.observer, request).await
    }

    async fn credentials(
        &self,
        request: Request<CredentialsRequest>,
    ) -> Result<Response<CredentialsResponse>, Status> {
        self.credentials_for(request.get_ref())
            .await
            .map(Response::new)
    }

    async fn break_glass(
        &self,
        request: Request<BreakGlassRequest>,
    ) -> Result<Response<Report>, Status> {
        let (value, exit) = self.break_glass(request)?;
        report(&value, exit)
    }

    async fn metrics(&self, _: Request<Empty>) -> Result<Response<MetricsResponse>, Status> {
        let now = Timestamp::now();
        let text = scrape(&self.decider, &self.observer, &self.status, now);
        Ok(Response::new(MetricsResponse { text }))
    }
}

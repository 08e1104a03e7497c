//! `Prove`: a proof lasts as long as the call that began it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Code, Request, Response, Status, Streaming};

use super::answer::{failed, status};
use super::wire::prove_response::Asked;
use super::wire::{ProveRequest, ProveResponse};
use crate::decide::{self, Decider, Proof};
use crate::observe::{Observer, label_value};
use crate::problem::Problem;
use rootpin_trust::image::Digest;

/// Until a caller that has connected says what it wants.
const BEGIN: Duration = Duration::from_secs(5);
/// Every engine has a handful of paths.
const MAX_PATHS: usize = 256;
const MAX_PATH: usize = 128;

type Answers = ReceiverStream<Result<ProveResponse, Status>>;

/// Begins a proof and watches over it: it is over when the caller says so, goes away, or has had
/// its minute.
pub(super) async fn prove(
    decider: &Decider,
    observer: &Arc<Observer>,
    request: Request<Streaming<ProveRequest>>,
) -> Result<Response<Answers>, Status> {
    let peer = request
        .extensions()
        .get::<UdsConnectInfo>()
        .and_then(|info| info.peer_cred);
    let pid = root_only(peer.map(|peer| (peer.uid(), peer.pid())), "prove")?;
    let mut requests = request.into_inner();
    let first = tokio::time::timeout(BEGIN, requests.message()).await;
    let first = first
        .map_err(|_| Status::deadline_exceeded("no request"))??
        .ok_or_else(|| Status::invalid_argument("no request"))?;
    let port = u16::try_from(first.port).map_err(|_| Status::invalid_argument("no such port"))?;
    let root = Digest::of(&first.root);
    let proof = decider
        .prove(port, first.root)
        .map_err(|problem| failed(&problem))?;
    let names = proof.names().to_string();
    log::warn!("a proof begins: for a minute at most, root {root} speaks for {names}");
    observer.event(
        json!({ "event": "prove-begin", "names": names, "root": root.to_string(), "pid": pid }),
    );
    let (answers, told) = mpsc::channel(2);
    let _ = answers
        .send(Ok(ProveResponse {
            nonce: proof.nonce().to_owned(),
            asked: Vec::new(),
        }))
        .await;
    let observer = Arc::clone(observer);
    tokio::spawn(async move {
        let watched = tokio::time::timeout_at(
            proof.ends().into(),
            watch(&proof, &observer, &mut requests, &answers),
        );
        let late = Err(Status::deadline_exceeded(
            "the proof took longer than the minute that it is given",
        ));
        let (why, answer) = watched.await.unwrap_or(("timed out", late));
        // Gone before anybody is told so.
        drop(proof);
        log::warn!("the proof for {names} is over: {why}");
        observer.event(json!({ "event": "prove-end", "names": names, "root": root.to_string(), "pid": pid, "why": why }));
        let _ = answers.send(answer).await;
    });
    Ok(Response::new(ReceiverStream::new(told)))
}

/// The socket is root's alone; what only root may do wants to know it from the kernel too. The
/// caller's process ID, for the record.
pub(super) fn root_only(
    peer: Option<(u32, Option<i32>)>,
    what: &str,
) -> Result<Option<i32>, Status> {
    match peer {
        Some((0, pid)) => Ok(pid),
        Some((user, _)) => {
            let what = format!("only root may {what}, and this is user {user}");
            let problem = Problem::hinted(what, "run it as root");
            Err(status(Code::PermissionDenied, &problem))
        }
        None => Err(Status::permission_denied(format!(
            "only root may {what}, and the kernel doesn't say who asks"
        ))),
    }
}

/// Tells what was asked as often as the caller wants to know, until it says what came of it.
async fn watch(
    proof: &Proof,
    observer: &Observer,
    requests: &mut Streaming<ProveRequest>,
    answers: &mpsc::Sender<Result<ProveResponse, Status>>,
) -> (&'static str, Result<ProveResponse, Status>) {
    loop {
        let Ok(Some(request)) = requests.message().await else {
            return ("left", Err(Status::aborted("left")));
        };
        if !proof.is_live() {
            let problem = Problem::hinted(
                "the policy changed while it was being proved",
                "prove again, under the one in force now",
            );
            return ("cut short", Err(status(Code::Aborted, &problem)));
        }
        let asked = proof.asked().iter().map(told).collect();
        let answer = Ok(ProveResponse {
            nonce: proof.nonce().to_owned(),
            asked,
        });
        if request.end {
            count(observer, &request);
            return ("ended", answer);
        }
        if answers.send(answer).await.is_err() {
            return ("left", Err(Status::aborted("left")));
        }
    }
}

/// Takes what came of it into the metrics.
fn count(observer: &Observer, report: &ProveRequest) {
    for path in report
        .paths
        .iter()
        .take(MAX_PATHS)
        .filter(|path| path.name.len() <= MAX_PATH)
    {
        let ok = f64::from(u8::from(path.result == "shut"));
        observer.metrics().set(
            "rootpin_prove_ok",
            format!("path=\"{}\"", label_value(&path.name)),
            ok,
        );
    }
    let now = Timestamp::now().duration_since(Timestamp::UNIX_EPOCH);
    observer.metrics().set(
        "rootpin_prove_seconds",
        String::new(),
        Duration::try_from(now).unwrap_or_default().as_secs_f64(),
    );
}

fn told(asked: &decide::ProofQuestion) -> Asked {
    Asked {
        door: asked.door.to_string(),
        name: asked.name.to_string(),
        digest: asked
            .digest
            .map(|digest| digest.to_string())
            .unwrap_or_default(),
        outcome: asked.outcome.to_owned(),
        code: asked.code.unwrap_or_default().to_owned(),
        let_through: asked.let_through,
        microseconds: u64::try_from(asked.took.as_micros()).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_proves_and_only_where_the_kernel_says_so() {
        assert_eq!(root_only(Some((0, Some(7))), "prove").unwrap(), Some(7));
        for peer in [Some((1000, Some(7))), Some((u32::MAX, None)), None] {
            assert_eq!(
                root_only(peer, "prove").unwrap_err().code(),
                tonic::Code::PermissionDenied
            );
        }
    }
}

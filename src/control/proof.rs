//! The asking side of `Prove`: the proof is over when this is dropped.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::answer::{in_time, said};
use super::wire::control_client::ControlClient;
use super::wire::prove_request::Path;
use super::wire::prove_response::Asked;
use super::wire::{ProveRequest, ProveResponse};
use crate::problem::Problem;

/// A proof that the daemon has let begin.
#[derive(Debug)]
pub struct ProofCall {
    nonce: String,
    time: Duration,
    requests: mpsc::Sender<ProveRequest>,
    answers: Streaming<ProveResponse>,
}

/// How a path was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundPath {
    /// The path.
    pub path: String,
    /// `shut`, `open` or `unknown`.
    pub result: &'static str,
}

impl ProofCall {
    pub(super) async fn begin(
        client: &mut ControlClient<Channel>,
        time: Duration,
        port: u16,
        root: &[u8],
    ) -> Result<Self, Problem> {
        let (requests, sent) = mpsc::channel(2);
        let first = ProveRequest {
            port: port.into(),
            root: root.to_vec(),
            end: false,
            paths: Vec::new(),
        };
        let begun = async {
            requests
                .send(first)
                .await
                .map_err(|_| Status::internal("the call has ended"))?;
            let mut answers = client.prove(ReceiverStream::new(sent)).await?.into_inner();
            let nonce = answers
                .message()
                .await?
                .ok_or_else(|| Status::aborted("no answer"))?
                .nonce;
            Ok::<_, Status>((answers, nonce))
        };
        let (answers, nonce) =
            in_time(time, async { begun.await.map_err(|status| said(&status)) }).await?;
        Ok(Self {
            nonce,
            time,
            requests,
            answers,
        })
    }

    /// What the names are told by.
    #[must_use]
    pub fn nonce(&self) -> &str {
        &self.nonce
    }

    /// Every question about the proof's names so far.
    ///
    /// # Errors
    /// The proof is over.
    pub async fn asked(&mut self) -> Result<Vec<Asked>, Problem> {
        self.tell(ProveRequest::default()).await
    }

    /// Ends the proof with what came of it.
    ///
    /// # Errors
    /// It was over before.
    pub async fn end(mut self, found: &[FoundPath]) -> Result<(), Problem> {
        let paths = found
            .iter()
            .map(|found| Path {
                name: found.path.clone(),
                result: found.result.to_owned(),
            })
            .collect();
        self.tell(ProveRequest {
            end: true,
            paths,
            ..ProveRequest::default()
        })
        .await
        .map(|_| ())
    }

    async fn tell(&mut self, request: ProveRequest) -> Result<Vec<Asked>, Problem> {
        // Where it is over the answer says why.
        let answer = async {
            let _ = self.requests.send(request).await;
            self.answers.message().await.map_err(|status| said(&status))
        };
        let answer = in_time(self.time, answer).await?;
        answer
            .map(|answer| answer.asked)
            .ok_or_else(|| Problem::new("the proof was over before its end"))
    }
}

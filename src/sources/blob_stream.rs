//! Bytes of a registry by their digest, handed on as they come in. They are never held here as a
//! whole, and nothing is said of them: who asked for a digest hashes what arrives.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Body, Frame};
use reqwest::header::{
    ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap,
    HeaderName, HeaderValue,
};
use reqwest::{Method, Response, StatusCode};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep};

use super::SourceError;
use super::hosts::Capability;
use super::http::{self, Ask, HttpClient};
use super::registry::{self, Endpoint, REDIRECTS};
use super::threads::WaitingRequest;
use rootpin_trust::image::{Digest, Repository};

/// A registry that sends nothing for so long in the midst of an answer has stopped.
const IDLE: Duration = Duration::from_secs(30);
/// What of an answer's head is handed on.
const HEADERS: [HeaderName; 5] = [
    CONTENT_TYPE,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    ACCEPT_RANGES,
    // Nobody asked for one. Where a registry keeps a file packed, the engine unpacks it before it
    // hashes it.
    CONTENT_ENCODING,
];

/// What is asked for.
#[derive(Debug, Clone)]
pub struct StreamRequest {
    /// GET or HEAD.
    pub method: Method,
    /// Of which repository.
    pub repository: Repository,
    /// A manifest, or a blob.
    pub manifest: bool,
    /// By which digest.
    pub digest: Digest,
    /// `Range`, as it was asked with.
    pub range: Option<HeaderValue>,
}

/// A registry's answer, of which the head has come.
#[derive(Debug)]
pub struct BlobStream {
    /// 200, 206, or 416.
    pub status: StatusCode,
    /// What of its head is handed on.
    pub headers: HeaderMap,
    /// What is still to come.
    pub body: Flow,
}

/// A body that flows through.
pub struct Flow {
    body: reqwest::Body,
    idle: Pin<Box<Sleep>>,
    place: Option<OwnedSemaphorePermit>,
    /// The thread that it comes from lasts as long.
    _waiting: Option<Arc<WaitingRequest>>,
}

/// Why a body broke off: the one who reads it sees that it is not whole.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The registry sends nothing any more.
    #[error("the registry sent nothing for {IDLE:?}")]
    Idle,
    /// The connection ended.
    #[error(transparent)]
    Lost(#[from] reqwest::Error),
}

/// Asks the ways to a registry, one after the other. `None`: none of them has it.
pub(super) async fn pass(
    client: &HttpClient,
    wanted: &StreamRequest,
    deadline: Instant,
) -> Result<Option<BlobStream>, SourceError> {
    let mut by_http = None;
    let ways = registry::endpoints(client, &wanted.repository, Capability::Pull)?;
    for (endpoint, left) in registry::each_way(ways) {
        let until = registry::turn_of_way(deadline, left);
        let result = pass_from(&endpoint, wanted, until).await;
        if let Some(settled) = endpoint.settle(result, &mut by_http) {
            return settled;
        }
    }
    Ok(None)
}

async fn pass_from(
    endpoint: &Endpoint,
    wanted: &StreamRequest,
    deadline: Instant,
) -> Result<Option<BlobStream>, SourceError> {
    let StreamRequest {
        method,
        repository,
        digest,
        ..
    } = wanted;
    let (kind, accept) = if wanted.manifest {
        ("manifests", registry::ACCEPT)
    } else {
        ("blobs", "*/*")
    };
    let url = endpoint.url(repository, &format!("{kind}/{digest}"))?;
    let scope = endpoint.scope(repository);
    let ask = Ask {
        method: method.clone(),
        url,
        accept,
        cap: 0,
        scope: &scope,
        redirects: REDIRECTS,
        send: None,
    };
    let (url, response) = endpoint
        .client()
        .open(&ask, wanted.range.as_ref(), deadline)
        .await?;
    match response.status() {
        StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
            Ok(Some(BlobStream::of(response)))
        }
        StatusCode::NOT_FOUND => Ok(None),
        _ => Err(http::read(response, url, 0, deadline).await?.error()),
    }
}

impl BlobStream {
    pub(super) fn of(mut response: Response) -> Self {
        let waiting = response.extensions_mut().remove();
        let mut headers = HeaderMap::new();
        for name in HEADERS {
            for value in response.headers().get_all(&name) {
                headers.append(name.clone(), value.clone());
            }
        }
        let (status, body) = (
            response.status(),
            ::http::Response::<reqwest::Body>::from(response).into_body(),
        );
        Self {
            status,
            headers,
            body: Flow {
                body,
                idle: Box::pin(sleep(IDLE)),
                place: None,
                _waiting: waiting,
            },
        }
    }
}

impl Flow {
    /// Keeps a place among those that may flow at a time until it ends.
    #[must_use]
    pub(crate) fn keeping(self, place: OwnedSemaphorePermit) -> Self {
        Self {
            place: Some(place),
            ..self
        }
    }
}

impl Body for Flow {
    type Data = hyper::body::Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Broken>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(frame) => {
                self.idle.as_mut().reset(Instant::now() + IDLE);
                Poll::Ready(frame.map(|frame| frame.map_err(Broken::from)))
            }
            Poll::Pending => self
                .idle
                .as_mut()
                .poll(context)
                .map(|()| Some(Err(Broken::Idle))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

impl fmt::Debug for Flow {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Flow")
            .field("place", &self.place.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_an_engine_needs_to_read_a_body_goes_with_it_and_nothing_else() {
        let answer = ::http::Response::builder()
            .header("content-type", "application/octet-stream")
            .header("content-encoding", "identity")
            .header("content-encoding", "gzip")
            .header("set-cookie", "a=b")
            .body("packed")
            .unwrap();
        let passage = BlobStream::of(Response::from(answer));
        let codings: Vec<_> = passage.headers.get_all(CONTENT_ENCODING).iter().collect();
        assert_eq!(codings, ["identity", "gzip"]);
        assert!(!passage.headers.contains_key("set-cookie"));
    }
}

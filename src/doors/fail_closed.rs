//! The outermost layer of a gate's socket: an answer that an engine would take for "allowed" leaves
//! only with our own mark on it.
//!
//! To containerd, Unimplemented from a diff proxy means "ask the next differ", so it unpacks the
//! layer; and libraries say Unimplemented too, for a route or an encoding they don't know, as
//! grpc-go does for itself on an HTTP error. `AlreadyExists` makes containerd go on as if the layer
//! were there. So both, and everything that is no gRPC answer, become `FailedPrecondition` here,
//! unless the one branch that means it has put this process's secret beside it.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::Service;

/// The header that carries the mark from the branch to this layer; it never leaves the process.
const MARK: &str = "rootpin-fall-through";
const GRPC_STATUS: &str = "grpc-status";

/// This process's secret, without which no answer that means "allowed" leaves a gate.
#[derive(Clone)]
pub(super) struct ProcessMark(HeaderValue);

impl fmt::Debug for ProcessMark {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Mark")
    }
}

impl ProcessMark {
    /// A new secret.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub(super) fn new() -> std::io::Result<Self> {
        let secret = crate::nonce::random_hex()?;
        HeaderValue::from_str(&secret)
            .map(Self)
            .map_err(std::io::Error::other)
    }

    /// **The only place that says Unimplemented.** To containerd it means: allowed, ask the next
    /// differ.
    #[must_use]
    pub(super) fn fall_through(&self) -> Status {
        let mut status = Status::unimplemented("rootpin: allowed; the next differ does the work");
        let mut headers = HeaderMap::new();
        headers.insert(MARK, self.0.clone());
        *status.metadata_mut() = tonic::metadata::MetadataMap::from_headers(headers);
        status
    }

    /// Wraps everything that a gate answers.
    pub(super) fn guard<S>(&self, inner: S) -> FailClosed<S> {
        FailClosed {
            inner,
            mark: self.clone(),
        }
    }
}

/// See the module's text.
#[derive(Debug, Clone)]
pub(super) struct FailClosed<S> {
    inner: S,
    mark: ProcessMark,
}

impl<S> Service<Request<Body>> for FailClosed<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mark = self.mark.clone();
        // In a task of its own, so that a panic in a handler is a refusal of this one question. The
        // set ends it when the engine gives its question up.
        let mut answer = JoinSet::new();
        answer.spawn(self.inner.call(request));
        Box::pin(async move {
            Ok(match answer.join_next().await {
                Some(Ok(Ok(response))) => closed(response, &mark),
                Some(Ok(Err(never))) => match never {},
                Some(Err(_)) | None => refused("the question could not be answered"),
            })
        })
    }
}

fn closed(mut response: Response<Body>, mark: &ProcessMark) -> Response<Body> {
    let marked = response
        .headers_mut()
        .remove(MARK)
        .is_some_and(|found| found == mark.0);
    let grpc = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if response.status() != StatusCode::OK || !grpc {
        return refused("this socket answers containerd's Diff service and nothing else");
    }
    match response
        .headers()
        .get(GRPC_STATUS)
        .map(HeaderValue::as_bytes)
        .map(Code::from_bytes)
    {
        Some(Code::Unimplemented) if marked => response,
        Some(Code::Unimplemented | Code::AlreadyExists) => {
            refused("no such method, or not in this encoding")
        }
        Some(_) => response,
        None => response.map(|body| Body::new(body.map_frame(close_trailers))),
    }
}

/// An answer with a body has its status at the end of it.
fn close_trailers<D>(frame: http_body::Frame<D>) -> http_body::Frame<D> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            let status = trailers
                .get(GRPC_STATUS)
                .map(|status| Code::from_bytes(status.as_bytes()));
            if matches!(
                status,
                None | Some(Code::Unimplemented | Code::AlreadyExists)
            ) {
                trailers.insert(GRPC_STATUS, HeaderValue::from_static("9"));
            }
            http_body::Frame::trailers(trailers)
        }
        Err(frame) => frame,
    }
}

fn refused(why: &str) -> Response<Body> {
    Status::failed_precondition(format!("rootpin: {why}")).into_http()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(response: &Response<Body>) -> Code {
        Code::from_bytes(response.headers().get(GRPC_STATUS).unwrap().as_bytes())
    }

    #[test]
    fn only_a_marked_unimplemented_leaves_as_unimplemented() {
        let mark = ProcessMark::new().unwrap();
        let allowed = closed(mark.fall_through().into_http(), &mark);
        assert_eq!(code(&allowed), Code::Unimplemented);
        assert!(allowed.headers().get(MARK).is_none());
        let other = ProcessMark::new().unwrap();
        assert_eq!(
            code(&closed(other.fall_through().into_http(), &mark)),
            Code::FailedPrecondition
        );
        assert_eq!(
            code(&closed(Status::unimplemented("x").into_http(), &mark)),
            Code::FailedPrecondition
        );
        assert_eq!(
            code(&closed(Status::already_exists("x").into_http(), &mark)),
            Code::FailedPrecondition
        );
    }

    #[derive(Clone)]
    struct Panics;

    impl Service<Request<Body>> for Panics {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Body>) -> Self::Future {
            Box::pin(async { panic!("a bug in a handler") })
        }
    }

    #[tokio::test]
    async fn a_handler_that_panics_is_a_refusal_of_that_question() {
        let mut guarded = ProcessMark::new().unwrap().guard(Panics);
        for _ in 0..2 {
            assert_eq!(
                code(&guarded.call(Request::new(Body::empty())).await.unwrap()),
                Code::FailedPrecondition
            );
        }
    }

    #[test]
    fn what_is_no_grpc_answer_is_a_refusal() {
        let mark = ProcessMark::new().unwrap();
        for status in [
            StatusCode::NOT_FOUND,
            StatusCode::OK,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ] {
            let response = Response::builder()
                .status(status)
                .body(Body::empty())
                .unwrap();
            assert_eq!(code(&closed(response, &mark)), Code::FailedPrecondition);
        }
    }

    #[tokio::test]
    async fn a_status_at_the_end_of_a_body_is_closed_too() {
        let mark = ProcessMark::new().unwrap();
        for (inside, outside) in [("12", "9"), ("6", "9"), ("0", "0"), ("7", "7")] {
            let mut trailers = HeaderMap::new();
            trailers.insert(GRPC_STATUS, HeaderValue::from_static(inside));
            let body = http_body_util::Full::new(tonic::codegen::Bytes::from_static(b"x"))
                .with_trailers(std::future::ready(Some(Ok::<_, Infallible>(trailers))));
            let response = Response::builder()
                .header(CONTENT_TYPE, "application/grpc")
                .body(Body::new(body))
                .unwrap();
            let collected = closed(response, &mark).into_body().collect().await.unwrap();
            assert_eq!(
                collected.trailers().unwrap().get(GRPC_STATUS).unwrap(),
                outside
            );
        }
    }
}

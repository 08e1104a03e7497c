//! `GET /metrics` where rootpin.toml says so: for Prometheus on this host. It decides nothing, and
//! what it costs is bounded: connections, their time, and the size of a request. A place that can't
//! be had is told in the log, and keeps no door shut.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::MetricsAddress;
use crate::control::scrape;
use crate::decide::Decider;
use crate::observe::{Observer, StatusBoard};
use crate::sockets::{KeptSocket, bind_tcp, bind_unix};

/// A host has one or two Prometheus agents.
const MAX_CONNECTIONS: usize = 8;
/// How long a connection may last: one question, and its answer.
const MAX_TIME: Duration = Duration::from_secs(2);
/// For the head of a request.
const MAX_HEAD: usize = 16 << 10;
/// How often a place that somebody else has is tried again, and a listener that failed.
const AGAIN: Duration = Duration::from_secs(10);

/// What the metrics are made of.
#[derive(Debug, Clone)]
pub(super) struct MetricsDoor {
    pub(super) decider: Arc<Decider>,
    pub(super) observer: Arc<Observer>,
    pub(super) status: Arc<StatusBoard>,
}

enum Listener {
    Port(TcpListener),
    Socket(KeptSocket),
}

impl MetricsDoor {
    /// Serves as long as the daemon runs.
    pub(super) async fn serve(self, address: MetricsAddress) {
        let listener = listener(&address).await;
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            // A further connection waits in the kernel's queue.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let accepted = match &listener {
                Listener::Port(listener) => {
                    let accepted = listener.accept().await;
                    accepted.map(|(stream, _)| self.answer(stream, place))
                }
                Listener::Socket(listener) => {
                    let accepted = listener.accept().await;
                    accepted.map(|stream| self.answer(stream, place))
                }
            };
            if let Err(error) = accepted {
                log::warn!("metrics: accepting a connection: {error}");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    fn answer(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        place: OwnedSemaphorePermit,
    ) {
        let door = self.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let response = door.response(&request);
                async { Ok::<_, Infallible>(response) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(MAX_TIME)
                .max_buf_size(MAX_HEAD)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service);
            let _ = tokio::time::timeout(MAX_TIME, connection).await;
            drop(place);
        });
    }

    fn response(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let (status, text) = match (request.method(), request.uri().path()) {
            (&Method::GET | &Method::HEAD, "/metrics") => {
                let now = Timestamp::now();
                let text = scrape(&self.decider, &self.observer, &self.status, now);
                (StatusCode::OK, text)
            }
            (_, "/metrics") => (StatusCode::METHOD_NOT_ALLOWED, "GET /metrics\n".to_owned()),
            _ => (StatusCode::NOT_FOUND, "GET /metrics\n".to_owned()),
        };
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

/// The listener, once it can be had.
async fn listener(address: &MetricsAddress) -> Listener {
    let mut last = None;
    loop {
        let (bound, shown) = match address {
            MetricsAddress::Port(at) => (bind_tcp(*at).map(Listener::Port), at.to_string()),
            MetricsAddress::Socket(path) => {
                let bound = bind_unix(path).await;
                // No door of engines: the log tells of it.
                let bound = bound.map(|bound| KeptSocket::new(path.clone(), bound, |_| ()));
                (bound.map(Listener::Socket), path.display().to_string())
            }
        };
        match bound {
            Ok(listener) => {
                log::info!("metrics are served on {shown}");
                return listener;
            }
            Err(taken) => {
                let why = taken.to_string();
                if last.as_ref() != Some(&why) {
                    log::error!(
                        "metrics are not served on {shown}: {why}; it is tried again every {AGAIN:?}"
                    );
                    last = Some(why);
                }
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
}

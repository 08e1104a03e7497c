//! dockerd's own API, on its unix socket: one request a connection.

pub mod images;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::Deserialize;

/// The list of a hundred thousand images.
const MAX_BODY: usize = 64 << 20;
/// An event carries the labels of an image.
const MAX_LINE: usize = 1 << 20;

/// A call of BuildKit that changes nothing (moby/buildkit, api/services/control/control.proto).
pub(crate) const GRPC_CALL: &str = "/moby.buildkit.v1.Control/ListWorkers";
/// The message of a call without arguments: not compressed, and of no length (gRPC over HTTP/2,
/// "Length-Prefixed-Message").
const NO_ARGUMENTS: &[u8] = &[0; 5];
/// `PERMISSION_DENIED` and `UNAUTHENTICATED`: what a server answers that asked somebody (gRPC,
/// doc/statuscodes.md).
const DENIED: [&str; 2] = ["7", "16"];

/// What it means that a dockerd answers gRPC.
pub(crate) const GRPC_BYPASS: &str = "dockerd answers gRPC on its own socket (HTTP/2 without TLS) and shows it no authorization plugin: whoever may \
    use the socket builds images past the plugin";
/// And what holds all the same where a gate of ours is asked.
pub(crate) const GRPC_GATED: &str = "its images are in a containerd of rootpin.toml, whose gate judges each layer that is unpacked; names, and builds that \
    add no layer, pass";

/// What `BuildKit` may do past the plugins of a dockerd, by gRPC on its socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PastPlugins {
    /// Nothing: dockerd answers none there, or asks its plugins first.
    Nothing,
    /// It builds, and a gate judges each layer.
    Gated,
    /// It builds, and nobody is asked.
    Open,
}

/// What of `GET /info` says where images are.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ImageStore {
    driver_status: Option<Vec<(String, String)>>,
    containerd: Option<ContainerdAddress>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ContainerdAddress {
    address: String,
}

impl ImageStore {
    /// Whether they are in one of these containerds.
    fn is_in(&self, engines: &[PathBuf]) -> bool {
        let resolved = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let status = self.driver_status.as_deref().unwrap_or_default();
        let theirs = self
            .containerd
            .as_ref()
            .map(|told| resolved(told.address.as_ref()));
        is_containerd_store(status)
            && theirs.is_some_and(|theirs| engines.iter().any(|ours| resolved(ours) == theirs))
    }
}

/// Whether dockerd's images are in a containerd, by `DriverStatus` (moby,
/// daemon/containerd/service.go).
pub(crate) fn is_containerd_store(driver_status: &[(String, String)]) -> bool {
    driver_status
        .iter()
        .any(|(key, value)| key == "driver-type" && value.starts_with("io.containerd.snapshotter"))
}

/// One dockerd, by its socket.
#[derive(Debug, Clone)]
pub struct DockerdClient {
    socket: PathBuf,
    deadline: Duration,
}

/// What dockerd answered.
#[derive(Debug)]
pub struct DockerAnswer {
    /// Its status.
    pub status: StatusCode,
    /// Its whole body, which is not larger than 64 MiB.
    pub body: Bytes,
}

/// Why a dockerd gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum DockerdError {
    /// Nobody listens at its socket, or the socket can't be opened.
    #[error("{0}")]
    Unreachable(#[source] std::io::Error),
    /// The connection broke, or what came is no HTTP.
    #[error("{0}")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No answer came in time.
    #[error("no answer to {asked} within {within:?}")]
    Late {
        /// The call.
        asked: String,
        /// How long was waited.
        within: Duration,
    },
    /// It answered a question with another status than 200.
    #[error("answered {status} to GET {path}")]
    Status {
        /// The status.
        status: StatusCode,
        /// What was asked for.
        path: String,
    },
    /// A line of an answer without end is too long.
    #[error("a line of more than {MAX_LINE} bytes")]
    LongLine,
    /// The body is not what the API promises.
    #[error("GET {path}: {cause}")]
    Body {
        /// What was asked for.
        path: &'static str,
        /// What is wrong with it.
        cause: serde_json::Error,
    },
}

impl DockerdError {
    fn broken(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Broken(cause.into())
    }

    fn status(status: StatusCode, path: &str) -> Self {
        let path = path.to_owned();
        Self::Status { status, path }
    }
}

/// For callers that only pass it on to a person.
impl From<DockerdError> for String {
    fn from(error: DockerdError) -> Self {
        error.to_string()
    }
}

impl DockerdClient {
    /// The dockerd that listens there. Every call ends within `deadline`.
    #[must_use]
    pub fn at(socket: &Path, deadline: Duration) -> Self {
        Self {
            socket: socket.to_owned(),
            deadline,
        }
    }

    /// The body of a successful answer to a GET.
    ///
    /// # Errors
    /// There is none in time, it is no success, or it is too large.
    pub async fn get(&self, path: &str) -> Result<Bytes, DockerdError> {
        let answer = self
            .call(Method::GET, path, HeaderMap::new(), Bytes::new())
            .await?;
        if answer.status == StatusCode::OK {
            Ok(answer.body)
        } else {
            Err(DockerdError::status(answer.status, path))
        }
    }

    /// Any call. `path` has the query in it.
    ///
    /// # Errors
    /// There is no answer in time, or it is too large.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<DockerAnswer, DockerdError> {
        let asked = format!("{method} {path}");
        let answered =
            tokio::time::timeout(self.deadline, self.exchange(method, path, headers, body)).await;
        answered.map_err(|_| self.late(asked))?
    }

    /// What may be done past its plugins. `engines`: the containerds whose gates are asked.
    ///
    /// # Errors
    /// It can't be reached, or does not answer in time.
    pub async fn past_plugins(&self, engines: &[PathBuf]) -> Result<PastPlugins, DockerdError> {
        if !self.answers_grpc().await? {
            return Ok(PastPlugins::Nothing);
        }
        let info = self.get("/info").await.unwrap_or_default();
        // Where that can't be read, no gate is counted on.
        let store: ImageStore = serde_json::from_slice(&info).unwrap_or_default();
        Ok(if store.is_in(engines) {
            PastPlugins::Gated
        } else {
            PastPlugins::Open
        })
    }

    /// Whether dockerd answers gRPC to HTTP/2 without TLS. From 29.2 on it does, before it asks any
    /// authorization plugin (moby, daemon/command/httphandler.go).
    ///
    /// # Errors
    /// It can't be reached, or does not answer in time.
    pub async fn answers_grpc(&self) -> Result<bool, DockerdError> {
        let answered = tokio::time::timeout(self.deadline, self.ask_grpc()).await;
        answered.map_err(|_| self.late("a gRPC call".to_owned()))?
    }

    async fn ask_grpc(&self) -> Result<bool, DockerdError> {
        let stream = tokio::net::UnixStream::connect(&self.socket)
            .await
            .map_err(DockerdError::Unreachable)?;
        // A server of HTTP/1.1 alone answers HTTP/2's preface with words that are no HTTP/2.
        let handshake =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let Ok((mut sender, connection)) = handshake else {
            return Ok(false);
        };
        let _connection = AbortOnDrop(tokio::spawn(connection));
        let request = http::Request::post(format!("http://docker{GRPC_CALL}"))
            .header(http::header::CONTENT_TYPE, "application/grpc");
        let request = request
            .header(http::header::TE, "trailers")
            .body(Full::new(Bytes::from_static(NO_ARGUMENTS)));
        let Ok(answer) = sender
            .send_request(request.map_err(DockerdError::broken)?)
            .await
        else {
            return Ok(false);
        };
        let kind = answer
            .headers()
            .get(http::header::CONTENT_TYPE)
            .map(http::HeaderValue::as_bytes)
            .unwrap_or_default();
        if !kind.starts_with(b"application/grpc") {
            return Ok(false);
        }
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MAX_BODY)
            .collect()
            .await
            .map_err(DockerdError::broken)?;
        let status = |headers: &HeaderMap| {
            headers
                .get("grpc-status")
                .and_then(|status| status.to_str().ok())
                .map(str::to_owned)
        };
        let status = status(&head.headers).or_else(|| body.trailers().and_then(status));
        Ok(!status.is_some_and(|status| DENIED.contains(&status.as_str())))
    }

    /// Hands over the lines of an answer that goes on for as long as dockerd runs. `begun` is
    /// called when it begins.
    ///
    /// # Errors
    /// Why it ended.
    pub async fn follow(
        &self,
        path: &str,
        begun: impl FnOnce(),
        mut each: impl FnMut(&[u8]),
    ) -> Result<(), DockerdError> {
        let opened = tokio::time::timeout(
            self.deadline,
            self.open(Method::GET, path, HeaderMap::new(), Bytes::new()),
        )
        .await;
        let (_connection, mut answer) = opened.map_err(|_| self.late(format!("GET {path}")))??;
        if answer.status() != StatusCode::OK {
            return Err(DockerdError::status(answer.status(), path));
        }
        begun();
        let mut line = Vec::new();
        while let Some(frame) = answer.frame().await {
            let Ok(data) = frame.map_err(DockerdError::broken)?.into_data() else {
                continue;
            };
            for part in data.split_inclusive(|byte| *byte == b'\n') {
                line.extend_from_slice(part);
                if line.len() > MAX_LINE {
                    return Err(DockerdError::LongLine);
                }
                if part.ends_with(b"\n") {
                    each(&line);
                    line.clear();
                }
            }
        }
        Ok(())
    }

    fn late(&self, asked: String) -> DockerdError {
        let within = self.deadline;
        DockerdError::Late { asked, within }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<DockerAnswer, DockerdError> {
        let (_connection, answer) = self.open(method, path, headers, body).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_BODY)
            .collect()
            .await
            .map_err(DockerdError::broken)?
            .to_bytes();
        Ok(DockerAnswer { status, body })
    }

    async fn open(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<(AbortOnDrop, http::Response<Incoming>), DockerdError> {
        let stream = tokio::net::UnixStream::connect(&self.socket)
            .await
            .map_err(DockerdError::Unreachable)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(DockerdError::broken)?;
        let connection = AbortOnDrop(tokio::spawn(connection));
        let mut request = http::Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::HOST, "docker");
        request
            .headers_mut()
            .into_iter()
            .for_each(|known| known.extend(headers.clone()));
        let answer = sender
            .send_request(
                request
                    .body(Full::new(body))
                    .map_err(DockerdError::broken)?,
            )
            .await
            .map_err(DockerdError::broken)?;
        Ok((connection, answer))
    }
}

/// A connection must not outlive the call that made it, however that ends.
struct AbortOnDrop(tokio::task::JoinHandle<Result<(), hyper::Error>>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::Response;
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use hyper::service::service_fn;

    use super::*;

    /// A server on a unix socket, by HTTP/2 or by HTTP/1.1, whose every answer has this type and
    /// this `grpc-status`.
    async fn answers(
        http2: bool,
        kind: &'static str,
        status: &'static str,
    ) -> Result<bool, String> {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("docker.sock");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(move |_| async move {
                let trailers = HeaderMap::from_iter([(
                    "grpc-status".parse().unwrap(),
                    status.parse().unwrap(),
                )]);
                let frames = [
                    Frame::data(Bytes::from_static(NO_ARGUMENTS)),
                    Frame::trailers(trailers),
                ];
                let body = StreamBody::new(tokio_stream::iter(frames.map(Ok::<_, Infallible>)));
                Response::builder()
                    .header(http::header::CONTENT_TYPE, kind)
                    .body(body)
            });
            let io = TokioIo::new(stream);
            if http2 {
                let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(io, service)
                    .await;
            } else {
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(io, service)
                    .await;
            }
        });
        let answered = DockerdClient::at(&socket, Duration::from_secs(10))
            .answers_grpc()
            .await;
        server.abort();
        answered.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_dockerd_that_answers_grpc_past_its_plugins_is_told_from_one_that_does_not() {
        assert_eq!(answers(true, "application/grpc", "0").await, Ok(true));
        assert_eq!(
            answers(true, "application/grpc+proto", "12").await,
            Ok(true),
            "it has no such call, and looked without asking"
        );
        assert_eq!(
            answers(true, "application/grpc", "7").await,
            Ok(false),
            "somebody was asked, and said no"
        );
        assert_eq!(
            answers(true, "application/json", "0").await,
            Ok(false),
            "the API, which shows its calls to the plugins"
        );
        assert_eq!(
            answers(false, "application/grpc", "0").await,
            Ok(false),
            "docker 29.1 and before"
        );
        let gone = DockerdClient::at("/none/docker.sock".as_ref(), Duration::from_secs(10))
            .answers_grpc()
            .await;
        assert!(gone.is_err(), "{gone:?}");
    }
}

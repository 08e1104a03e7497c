//! dockerd's own API, on its unix socket: one request a connection.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;

/// The list of a hundred thousand images.
const MAX_BODY: usize = 64 << 20;
/// An event carries the labels of an image.
const MAX_LINE: usize = 1 << 20;

/// One dockerd, by its socket.
#[derive(Debug, Clone)]
pub struct Docker {
    socket: PathBuf,
    deadline: Duration,
}

/// What dockerd answered.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its whole body, which is not larger than 64 MiB.
    pub body: Bytes,
}

impl Docker {
    /// The dockerd that listens there. Every call ends within `deadline`.
    #[must_use]
    pub fn at(socket: &Path, deadline: Duration) -> Self {
        Self { socket: socket.to_owned(), deadline }
    }

    /// The body of a successful answer to a GET.
    ///
    /// # Errors
    /// There is none in time, it is no success, or it is too large.
    pub async fn get(&self, path: &str) -> Result<Bytes, String> {
        let answer = self.call(Method::GET, path, HeaderMap::new(), Bytes::new()).await?;
        if answer.status == StatusCode::OK { Ok(answer.body) } else { Err(format!("answered {} to GET {path}", answer.status)) }
    }

    /// Any call. `path` has the query in it.
    ///
    /// # Errors
    /// There is no answer in time, or it is too large.
    pub async fn call(&self, method: Method, path: &str, headers: HeaderMap, body: Bytes) -> Result<Answer, String> {
        let asked = format!("{method} {path}");
        let answered = tokio::time::timeout(self.deadline, self.exchange(method, path, headers, body)).await;
        answered.map_err(|_| format!("no answer to {asked} within {:?}", self.deadline))?
    }

    /// Hands over the lines of an answer that goes on for as long as dockerd runs. `begun` is called when it begins.
    ///
    /// # Errors
    /// Why it ended.
    pub async fn follow(&self, path: &str, begun: impl FnOnce(), mut each: impl FnMut(&[u8])) -> Result<(), String> {
        let opened = tokio::time::timeout(self.deadline, self.open(Method::GET, path, HeaderMap::new(), Bytes::new())).await;
        let (_connection, mut answer) = opened.map_err(|_| format!("no answer to GET {path} within {:?}", self.deadline))??;
        if answer.status() != StatusCode::OK {
            return Err(format!("answered {} to GET {path}", answer.status()));
        }
        begun();
        let mut line = Vec::new();
        while let Some(frame) = answer.frame().await {
            let Ok(data) = frame.map_err(|error| error.to_string())?.into_data() else { continue };
            for part in data.split_inclusive(|byte| *byte == b'\n') {
                line.extend_from_slice(part);
                if line.len() > MAX_LINE {
                    return Err(format!("a line of more than {MAX_LINE} bytes"));
                }
                if part.ends_with(b"\n") {
                    each(&line);
                    line.clear();
                }
            }
        }
        Ok(())
    }

    async fn exchange(&self, method: Method, path: &str, headers: HeaderMap, body: Bytes) -> Result<Answer, String> {
        let (_connection, answer) = self.open(method, path, headers, body).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_BODY).collect().await.map_err(|error| error.to_string())?.to_bytes();
        Ok(Answer { status, body })
    }

    async fn open(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<(AbortOnDrop, http::Response<Incoming>), String> {
        let said = |error: &dyn std::fmt::Display| error.to_string();
        let stream = tokio::net::UnixStream::connect(&self.socket).await.map_err(|error| said(&error))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| said(&error))?;
        let connection = AbortOnDrop(tokio::spawn(connection));
        let mut request = http::Request::builder().method(method).uri(path).header(http::header::HOST, "docker");
        request.headers_mut().into_iter().for_each(|known| known.extend(headers.clone()));
        let answer =
            sender.send_request(request.body(Full::new(body)).map_err(|error| said(&error))?).await.map_err(|error| said(&error))?;
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

//! The registry that a proof serves its images from, on loopback, and the metadata that signs them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{HeaderName, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::Offer;

/// Whoever is on this machine may connect, and must not be able to keep the engines out for long.
const MAX_CONNECTIONS: usize = 64;
const HEADERS_WITHIN: Duration = Duration::from_secs(5);
const DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// What stands under a path.
#[derive(Debug, Clone)]
pub(super) struct ServedFile {
    media_type: String,
    digest: String,
    bytes: Bytes,
}

/// Files by their paths. Fixed once the nonce is known; before, there are none.
pub(super) type ServedFiles = BTreeMap<String, ServedFile>;

/// A server that is gone when this is dropped.
#[derive(Debug)]
pub(super) struct Served {
    port: u16,
    files: Arc<OnceLock<ServedFiles>>,
    task: JoinHandle<()>,
}

impl Served {
    /// Listens on a port that the kernel picks.
    pub(super) async fn start() -> Result<Self, String> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await;
        let listener = listener
            .map_err(|error| format!("no port of 127.0.0.1 to serve the images on: {error}"))?;
        let port = listener
            .local_addr()
            .map_err(|error| error.to_string())?
            .port();
        let files: Arc<OnceLock<ServedFiles>> = Arc::default();
        let task = tokio::spawn(accept(listener, Arc::clone(&files)));
        Ok(Self { port, files, task })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn serve(&self, files: ServedFiles) {
        let _ = self.files.set(files);
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The images as a registry has them (OCI distribution-spec, "Pulling"), a line that builds on
/// each, and the metadata by its names.
pub(super) fn files(
    offers: &[Offer],
    place: &str,
    metadata: BTreeMap<String, Vec<u8>>,
) -> ServedFiles {
    let mut files = ServedFiles::new();
    for offer in offers {
        let path = format!("/v2/{}", offer.name.repository.path());
        for blob in offer.image.blobs() {
            let digest = blob.descriptor.digest.to_string();
            let bytes = Bytes::copy_from_slice(&blob.bytes);
            let file = ServedFile {
                media_type: blob.descriptor.media_type.clone(),
                digest: digest.clone(),
                bytes,
            };
            if blob.descriptor.digest == offer.image.digest() {
                files.insert(
                    format!("{path}/manifests/{}", offer.canary.tag()),
                    file.clone(),
                );
                files.insert(format!("{path}/manifests/{digest}"), file);
            } else {
                files.insert(format!("{path}/blobs/{digest}"), file);
            }
        }
    }
    for offer in offers {
        let line = format!("FROM {}\n", offer.name);
        let file = ServedFile {
            media_type: "text/plain".to_owned(),
            digest: String::new(),
            bytes: line.into(),
        };
        files.insert(
            format!("/{}/{}", offer.name.repository.path(), offer.canary.tag()),
            file,
        );
    }
    for (name, bytes) in metadata {
        let file = ServedFile {
            media_type: "application/json".to_owned(),
            digest: String::new(),
            bytes: bytes.into(),
        };
        files.insert(format!("/{place}/metadata/{name}"), file);
    }
    files
}

async fn accept(listener: TcpListener, files: Arc<OnceLock<ServedFiles>>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors or the like.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let files = Arc::clone(&files);
        tokio::spawn(async move {
            connection(stream, files).await;
            drop(place);
        });
    }
}

async fn connection(stream: TcpStream, files: Arc<OnceLock<ServedFiles>>) {
    let service = service_fn(move |request| {
        std::future::ready(Ok::<_, Infallible>(answer(&request, &files)))
    });
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS_WITHIN);
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

fn answer(request: &Request<Incoming>, files: &OnceLock<ServedFiles>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let is_head = request.method() == Method::HEAD;
    if !is_head && request.method() != Method::GET {
        return status(StatusCode::METHOD_NOT_ALLOWED);
    }
    if path == "/v2/" || path == "/v2" {
        return status(StatusCode::OK);
    }
    let Some(file) = files.get().and_then(|files| files.get(path)) else {
        return status(StatusCode::NOT_FOUND);
    };
    let body = if is_head {
        Bytes::new()
    } else {
        file.bytes.clone()
    };
    let mut response = Response::builder()
        .header(header::CONTENT_TYPE, &file.media_type)
        .header(header::CONTENT_LENGTH, file.bytes.len());
    if !file.digest.is_empty() {
        response = response.header(DIGEST, &file.digest);
    }
    response
        .body(Full::new(body))
        .unwrap_or_else(|_| status(StatusCode::INTERNAL_SERVER_ERROR))
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

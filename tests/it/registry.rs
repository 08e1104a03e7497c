//! A registry that stands in for real ones: over HTTP/1.1, or over TLS with HTTP/2 behind a private
//! CA, with whatever quirk a test gives it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode, Version};
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rootpin::publish::place::PublishPlace;
use rootpin::sources::Credentials;
use rootpin_policy::MetadataUrl;
use rootpin_trust::image::Digest;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::tls::Authority;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// What a registry has. Its repositories share it.
#[derive(Default)]
pub(crate) struct Held {
    pub(crate) blobs: BTreeMap<String, Vec<u8>>,
    pub(crate) tags: BTreeMap<String, Vec<u8>>,
    /// What was asked, as `METHOD PATH`.
    pub(crate) asked: Vec<String>,
    /// By which versions of HTTP.
    pub(crate) versions: Vec<Version>,
}

/// A question, before it is answered.
pub(crate) struct Asked<'a> {
    /// `METHOD PATH`.
    pub(crate) line: &'a str,
    pub(crate) authorization: Option<&'a str>,
}

type Quirk = Box<dyn Fn(&Asked<'_>, &mut Held) -> Option<Response> + Send + Sync>;

/// A registry. A test may look at each request before it is answered, change what there is, and
/// answer in its place.
#[derive(Clone)]
pub(crate) struct Registry {
    pub(crate) port: u16,
    pub(crate) held: Arc<Mutex<Held>>,
    quirk: Arc<Mutex<Option<Quirk>>>,
    /// The PEM of the CA that signed its certificate; empty, where it speaks plain http.
    pub(crate) ca: String,
}

impl Registry {
    /// One that speaks plain HTTP/1.1.
    pub(crate) async fn start() -> Self {
        Self::listen(None, String::new()).await
    }

    /// One that speaks these protocols over TLS.
    pub(crate) async fn start_tls(protocols: &[&str]) -> Self {
        let authority = Authority::new();
        Self::listen(Some(authority.server(protocols)), authority.pem()).await
    }

    /// One with this TLS.
    pub(crate) async fn listen(acceptor: Option<TlsAcceptor>, ca: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let registry = Self {
            port,
            held: Arc::default(),
            quirk: Arc::default(),
            ca,
        };
        let shared = registry.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, acceptor) = (shared.clone(), acceptor.clone());
                tokio::spawn(async move {
                    let Some(acceptor) = acceptor else {
                        return shared.serve(stream, false).await;
                    };
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    shared.serve(stream, http2).await;
                });
            }
        });
        registry
    }

    async fn serve(
        self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        http2: bool,
    ) {
        let service = service_fn(move |request| {
            let this = self.clone();
            async move { Ok::<_, Infallible>(this.reply(request).await) }
        });
        // A client that goes away is no fault of the test's.
        let _ = if http2 {
            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await
        } else {
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await
        };
    }

    async fn reply(&self, request: Request<Incoming>) -> Response {
        let (parts, body) = request.into_parts();
        let body = to_bytes(Body::new(body), 1 << 24).await.unwrap().to_vec();
        // Over HTTP/2 the whole address comes, and over HTTP/1.1 its path.
        let whole = parts.uri.path_and_query().unwrap().to_string();
        // Under another name it is told whose place it takes.
        let asked = whole.split("ns=").next().unwrap();
        let path = asked.trim_end_matches(['?', '&']).to_owned();
        let line = format!("{} {path}", parts.method);
        let authorization = parts
            .headers
            .get("authorization")
            .map(|value| value.to_str().unwrap());
        let mut held = self.held.lock().unwrap();
        held.asked.push(line.clone());
        held.versions.push(parts.version);
        let asked = Asked {
            line: &line,
            authorization,
        };
        if let Some(response) = self
            .quirk
            .lock()
            .unwrap()
            .as_ref()
            .and_then(|quirk| quirk(&asked, &mut held))
        {
            return response;
        }
        answer(&parts.method, &path, body, &mut held)
    }

    /// Its repository `trust/acme`.
    pub(crate) fn place(&self) -> PublishPlace {
        let url: MetadataUrl = format!("oci://127.0.0.1:{}/trust/acme", self.port)
            .parse()
            .unwrap();
        PublishPlace::of(&url, &Arc::new(Credentials::none())).unwrap()
    }

    /// Refuses a request with a status.
    pub(crate) fn before(
        &self,
        before: impl Fn(&str, &mut Held) -> Option<StatusCode> + Send + Sync + 'static,
    ) {
        self.quirk(move |asked, held| {
            before(asked.line, held).map(|status| response(status.as_u16(), &[], Vec::new()))
        });
    }

    /// Answers some requests in its place.
    pub(crate) fn quirk(
        &self,
        quirk: impl Fn(&Asked<'_>, &mut Held) -> Option<Response> + Send + Sync + 'static,
    ) {
        *self.quirk.lock().unwrap() = Some(Box::new(quirk));
    }

    pub(crate) fn calm(&self) {
        *self.quirk.lock().unwrap() = None;
    }

    pub(crate) fn tags(&self) -> Vec<String> {
        self.held.lock().unwrap().tags.keys().cloned().collect()
    }

    /// Writes into a `hosts-dir` that the registry of that name is this one.
    pub(crate) fn stands_for(&self, name: &str, hosts: &Path) {
        let folder = hosts.join(name);
        fs::create_dir_all(&folder).unwrap();
        let (scheme, ca) = if self.ca.is_empty() {
            ("http", "")
        } else {
            ("https", "ca = \"ca.crt\"\n")
        };
        fs::write(folder.join("ca.crt"), &self.ca).unwrap();
        fs::write(
            folder.join("hosts.toml"),
            format!("server = \"{scheme}://127.0.0.1:{}\"\n{ca}", self.port),
        )
        .unwrap();
        for file in ["ca.crt", "hosts.toml"] {
            fs::set_permissions(folder.join(file), fs::Permissions::from_mode(0o644)).unwrap();
        }
    }
}

/// A status with headers and a body.
pub(crate) fn response(
    status: u16,
    headers: &[(&str, &str)],
    body: impl Into<Vec<u8>>,
) -> Response {
    let response = Response::builder().status(status);
    let response = headers.iter().fold(response, |response, (name, value)| {
        response.header(*name, *value)
    });
    response.body(Body::from(body.into())).unwrap()
}

/// A registry's own words for why it does not do as asked.
pub(crate) fn error(status: u16, code: &str, message: &str) -> Response {
    let body = serde_json::json!({ "errors": [{ "code": code, "message": message }] }).to_string();
    response(status, &[("content-type", "application/json")], body)
}

fn answer(method: &Method, uri: &str, body: Vec<u8>, held: &mut Held) -> Response {
    let path = uri.strip_prefix("/v2/").unwrap();
    let begins = ["/tags/list", "/manifests/", "/blobs/"]
        .into_iter()
        .find_map(|kind| path.find(kind))
        .unwrap();
    let (repository, rest) = (&path[..begins], &path[begins + 1..]);
    // A HEAD tells the length of what a GET would send.
    let give = |kind: &str, bytes: &[u8]| {
        let (digest, length) = (Digest::of(bytes).to_string(), bytes.len().to_string());
        let headers = [
            ("content-type", kind),
            ("docker-content-digest", &digest),
            ("content-length", &length),
        ];
        response(
            200,
            &headers,
            if *method == Method::HEAD {
                Vec::new()
            } else {
                bytes.to_vec()
            },
        )
    };
    match (method.as_str(), rest) {
        ("GET", list) if list.starts_with("tags/list") => {
            // Two a page.
            let after = list.split("last=").nth(1).unwrap_or("");
            let all: Vec<_> = held
                .tags
                .keys()
                .filter(|tag| tag.as_str() > after)
                .collect();
            let page: Vec<_> = all.iter().take(2).collect();
            let next = (all.len() > 2).then(|| {
                format!(
                    "</v2/{repository}/tags/list?n=2&last={}>; rel=\"next\"",
                    page[1]
                )
            });
            let headers: Vec<_> = next.iter().map(|next| ("link", next.as_str())).collect();
            response(
                200,
                &headers,
                serde_json::json!({ "name": repository, "tags": page }).to_string(),
            )
        }
        ("GET" | "HEAD", manifest) if manifest.starts_with("manifests/") => {
            let wanted = &manifest[10..];
            let by_digest = || {
                held.tags
                    .values()
                    .find(|bytes| Digest::of(bytes).to_string() == wanted)
            };
            match held.tags.get(wanted).or_else(by_digest) {
                Some(bytes) => give(MANIFEST, bytes),
                None => error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
            }
        }
        ("PUT", manifest) if manifest.starts_with("manifests/") => {
            held.tags.insert(manifest[10..].to_owned(), body);
            response(201, &[], "")
        }
        ("POST", "blobs/uploads/") => response(
            202,
            &[(
                "location",
                &format!("/v2/{repository}/blobs/uploads/1?state=x"),
            )],
            "",
        ),
        ("PUT", upload) if upload.starts_with("blobs/uploads/1?state=x&digest=") => {
            let digest = upload[31..].replace("%3A", ":");
            assert_eq!(digest, Digest::of(&body).to_string());
            held.blobs.insert(digest, body);
            response(201, &[], "")
        }
        ("GET" | "HEAD", blob) if blob.starts_with("blobs/") => match held.blobs.get(&blob[6..]) {
            Some(bytes) => give("application/octet-stream", bytes),
            None => error(404, "BLOB_UNKNOWN", "blob unknown to registry"),
        },
        other => panic!("{other:?}"),
    }
}

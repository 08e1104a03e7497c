//! A containerd for tests: as much of it as the doors ask, and hostile to order.
//!
//! Content, image records and leases are what a test put there; its Diff service either asks the gate first, as the real one does with
//! a proxy plugin, or answers by itself.

#![allow(dead_code, unreachable_pub, missing_debug_implementations, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::must_use_candidate, reason = "a broken test should stop at once")]

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use containerd_client::services::v1::diff_client::DiffClient;
use containerd_client::services::v1::{
    ApplyRequest, ApplyResponse, Image, Info, InfoRequest, InfoResponse, Lease, ListContentRequest, ListContentResponse, ListImagesRequest,
    ListImagesResponse, ListNamespacesRequest, ListNamespacesResponse, ListRequest, ListResponse, Namespace, Plugin, PluginsRequest,
    PluginsResponse, ReadContentRequest, ReadContentResponse, VersionResponse,
};
use containerd_client::types::Descriptor;
use http::{HeaderMap, Request, Response};
use prost::Message;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

/// A blob in the content store.
#[derive(Clone, Default)]
pub struct Blob {
    pub digest: String,
    pub bytes: Vec<u8>,
    pub labels: HashMap<String, String>,
    /// Listed, and no longer there when it is read: garbage that was just collected.
    pub gone: bool,
}

/// What one namespace holds.
#[derive(Clone, Default)]
pub struct Held {
    pub blobs: Vec<Blob>,
    /// Name and digest of each image record.
    pub images: Vec<(String, String)>,
    pub leases: Vec<String>,
}

/// What its Diff service does when it is asked to unpack.
#[derive(Clone)]
pub enum Differ {
    /// Asks the gate that listens there, and unpacks when that says Unimplemented.
    AsksGate(PathBuf),
    /// Unpacks, whatever it is.
    Applies,
    /// Says this.
    Says(Code),
}

/// An unpack that it was asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    pub namespace: Option<String>,
    pub lease: Option<String>,
    pub message: ApplyRequest,
}

#[derive(Clone)]
pub struct Containerd {
    inner: Arc<Inner>,
}

struct Inner {
    held: Mutex<BTreeMap<String, Held>>,
    differ: Mutex<Differ>,
    proxies: Mutex<Vec<String>>,
    asked: Mutex<Vec<Asked>>,
    hung: AtomicBool,
}

impl Containerd {
    /// Starts to listen. Must be called on a runtime.
    pub fn listen(socket: &Path) -> Self {
        let inner = Inner {
            held: Mutex::default(),
            differ: Mutex::new(Differ::Applies),
            proxies: Mutex::default(),
            asked: Mutex::default(),
            hung: AtomicBool::new(false),
        };
        let this = Self { inner: Arc::new(inner) };
        let inner = Arc::clone(&this.inner);
        let router = axum::Router::new().fallback(move |request| answer(Arc::clone(&inner), request));
        let _ = std::fs::remove_file(socket);
        let connections = UnixListenerStream::new(UnixListener::bind(socket).unwrap());
        tokio::spawn(Server::builder().add_routes(Routes::from(router)).serve_with_incoming(connections));
        this
    }

    /// Changes what a namespace holds.
    pub fn hold(&self, namespace: &str, change: impl FnOnce(&mut Held)) {
        change(self.inner.held.lock().unwrap().entry(namespace.to_owned()).or_default());
    }

    /// Forgets every namespace.
    pub fn clear(&self) {
        self.inner.held.lock().unwrap().clear();
    }

    pub fn differ(&self, differ: Differ) {
        *self.inner.differ.lock().unwrap() = differ;
    }

    /// Has a differ that is a proxy, at this socket.
    pub fn proxy(&self, socket: &Path) {
        self.inner.proxies.lock().unwrap().push(socket.display().to_string());
    }

    /// From now on no question is answered, or all are.
    pub fn hang(&self, hung: bool) {
        self.inner.hung.store(hung, Ordering::Relaxed);
    }

    /// The unpacks asked for, without the daemon's self-check.
    pub fn asked(&self) -> Vec<Asked> {
        let asked = self.inner.asked.lock().unwrap();
        asked.iter().filter(|one| one.namespace.as_deref() != Some("rootpin-selftest")).cloned().collect()
    }
}

/// A channel to a socket, made when it is used.
pub fn channel(socket: &Path) -> Channel {
    Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap().connect_lazy()
}

async fn answer(inner: Arc<Inner>, request: Request<axum::body::Body>) -> Response<Body> {
    if inner.hung.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
    let namespace = header(request.headers(), "containerd-namespace");
    let lease = header(request.headers(), "containerd-lease");
    let known = inner.held.lock().unwrap().clone();
    let held = namespace.as_ref().and_then(|namespace| known.get(namespace)).cloned().unwrap_or_default();
    match request.uri().path().trim_start_matches("/containerd.services.") {
        "namespaces.v1.Namespaces/List" => {
            let name = |name: &String| Namespace { name: name.clone(), ..Namespace::default() };
            let namespaces = known.keys().map(name).collect();
            unary(request, |_: ListNamespacesRequest| Ok(ListNamespacesResponse { namespaces })).await
        }
        "version.v1.Version/Version" => {
            let answer = VersionResponse { version: "v2.1.9".to_owned(), revision: String::new() };
            unary(request, |(): ()| Ok(answer)).await
        }
        "introspection.v1.Introspection/Plugins" => {
            let address = |address: &String| HashMap::from([("address".to_owned(), address.clone())]);
            let plugin = |proxy| Plugin { r#type: "io.containerd.differ.v1".to_owned(), exports: address(proxy), ..Plugin::default() };
            let plugins = inner.proxies.lock().unwrap().iter().map(plugin).collect();
            unary(request, |_: PluginsRequest| Ok(PluginsResponse { plugins })).await
        }
        "leases.v1.Leases/List" => {
            let leases = held.leases.into_iter().map(|id| Lease { id, ..Lease::default() }).collect();
            unary(request, |_: ListRequest| Ok(ListResponse { leases })).await
        }
        "images.v1.Images/List" => {
            let target = |digest| Some(Descriptor { digest, ..Descriptor::default() });
            let image = |(name, digest)| Image { name, target: target(digest), ..Image::default() };
            let images = held.images.into_iter().map(image).collect();
            unary(request, |_: ListImagesRequest| Ok(ListImagesResponse { images })).await
        }
        "content.v1.Content/Info" => {
            unary(request, |asked: InfoRequest| {
                let found = held.blobs.iter().find(|blob| blob.digest == asked.digest).map(info);
                found.map(|info| InfoResponse { info: Some(info) }).ok_or_else(|| Status::not_found("no such content"))
            })
            .await
        }
        "content.v1.Content/List" => {
            // Two messages, as a store with many blobs sends.
            let half = held.blobs.len() / 2;
            let parts =
                [&held.blobs[..half], &held.blobs[half..]].map(|part| ListContentResponse { info: part.iter().map(info).collect() });
            stream(request, |_: ListContentRequest| Ok(parts.to_vec())).await
        }
        "content.v1.Content/Read" => {
            stream(request, |asked: ReadContentRequest| {
                let found = held.blobs.iter().find(|blob| blob.digest == asked.digest && !blob.gone);
                let bytes = &found.ok_or_else(|| Status::not_found("no such content"))?.bytes;
                let size = usize::try_from(asked.size).unwrap().min(bytes.len());
                let chunks = bytes[..size].chunks(100);
                Ok(chunks.map(|chunk| ReadContentResponse { offset: 0, data: chunk.to_vec() }).collect())
            })
            .await
        }
        "diff.v1.Diff/Apply" => {
            let service = tower::service_fn(|request: tonic::Request<ApplyRequest>| {
                let (inner, namespace, lease) = (Arc::clone(&inner), namespace.clone(), lease.clone());
                async move { apply(&inner, Asked { namespace, lease, message: request.into_inner() }).await.map(tonic::Response::new) }
            });
            Grpc::new(ProstCodec::<ApplyResponse, ApplyRequest>::default()).unary(service, request).await
        }
        _ => Status::unimplemented("not in this containerd").into_http(),
    }
}

async fn apply(inner: &Inner, asked: Asked) -> Result<ApplyResponse, Status> {
    let applied = Ok(ApplyResponse { applied: asked.message.diff.clone() });
    inner.asked.lock().unwrap().push(asked.clone());
    let differ = inner.differ.lock().unwrap().clone();
    match differ {
        Differ::Applies => applied,
        Differ::Says(code) => Err(Status::new(code, "containerd's own words")),
        Differ::AsksGate(gate) => {
            let mut request = tonic::Request::new(asked.message);
            if let Some(namespace) = asked.namespace {
                request.metadata_mut().insert("containerd-namespace", namespace.parse().unwrap());
            }
            match DiffClient::new(channel(&gate)).apply(request).await {
                Err(status) if status.code() == Code::Unimplemented => applied,
                other => other.map(tonic::Response::into_inner),
            }
        }
    }
}

async fn unary<Q: Message + Default + 'static, A: Message + Default + 'static>(
    request: Request<axum::body::Body>,
    answer: impl FnOnce(Q) -> Result<A, Status>,
) -> Response<Body> {
    let mut answer = Some(answer);
    let service = tower::service_fn(|request: tonic::Request<Q>| {
        let answered = answer.take().unwrap()(request.into_inner()).map(tonic::Response::new);
        std::future::ready(answered)
    });
    Grpc::new(ProstCodec::<A, Q>::default()).unary(service, request).await
}

async fn stream<Q: Message + Default + 'static, A: Message + Default + 'static>(
    request: Request<axum::body::Body>,
    answer: impl FnOnce(Q) -> Result<Vec<A>, Status>,
) -> Response<Body> {
    let mut answer = Some(answer);
    let service = tower::service_fn(|request: tonic::Request<Q>| {
        let answered = answer.take().unwrap()(request.into_inner());
        std::future::ready(answered.map(|all| tonic::Response::new(tokio_stream::iter(all.into_iter().map(Ok)))))
    });
    Grpc::new(ProstCodec::<A, Q>::default()).server_streaming(service, request).await
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| value.to_str().unwrap().to_owned())
}

fn info(blob: &Blob) -> Info {
    let size = i64::try_from(blob.bytes.len()).unwrap();
    Info { digest: blob.digest.clone(), size, labels: blob.labels.clone(), ..Info::default() }
}

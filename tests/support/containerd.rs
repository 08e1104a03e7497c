//! A containerd for tests: as much of it as the doors ask, and hostile to order.
//!
//! Content, image records and leases are what a test put there; its Diff service either asks the
//! gate first, as the real one does with a proxy plugin, or answers by itself.

#![allow(
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    reason = "each test uses its part"
)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::must_use_candidate,
    reason = "a broken test should stop at once"
)]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use containerd_client::events::ContentCreate;
use containerd_client::services::v1::diff_client::DiffClient;
use containerd_client::services::v1::snapshots::{
    Info as Snapshot, StatSnapshotRequest, StatSnapshotResponse,
};
use containerd_client::services::v1::{
    ApplyRequest, ApplyResponse, Container, DeleteImageRequest, GetContainerRequest,
    GetContainerResponse, GetImageRequest, GetImageResponse, Image, ImageCreate, Info, InfoRequest,
    InfoResponse, Lease, ListContainersRequest, ListContainersResponse, ListContentRequest,
    ListContentResponse, ListImagesRequest, ListImagesResponse, ListNamespacesRequest,
    ListNamespacesResponse, ListRequest, ListResponse, ListTasksRequest, ListTasksResponse,
    Namespace, Plugin, PluginsRequest, PluginsResponse, PublishRequest, ReadContentRequest,
    ReadContentResponse, SubscribeRequest, VersionResponse,
};
use containerd_client::types::v1::Process;
use containerd_client::types::{Descriptor, Envelope};
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt as _;
use prost::Message;
use tokio::net::UnixListener;
use tokio::sync::{Barrier, mpsc};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::{UnboundedReceiverStream, UnixListenerStream};
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
    /// Labels of image records, by name.
    pub image_labels: HashMap<String, HashMap<String, String>>,
    pub leases: Vec<String>,
    pub containers: Vec<Container>,
    /// Key and parent of each snapshot of "overlayfs".
    pub snapshots: Vec<(String, String)>,
    /// ID and image's name of each container that runs.
    pub running: Vec<(String, String)>,
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
    /// Unpacks once it may.
    Waits(Arc<tokio::sync::Notify>),
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
    held: Mutex<BTreeMap<String, Arc<Held>>>,
    differ: Mutex<Differ>,
    proxies: Mutex<Vec<String>>,
    asked: Mutex<Vec<Asked>>,
    hung: AtomicBool,
    listeners: Mutex<Vec<mpsc::UnboundedSender<Envelope>>>,
    deleted: Mutex<Vec<DeleteImageRequest>>,
    listed: AtomicUsize,
    blobs_listed: AtomicUsize,
    requests: AtomicUsize,
    sent: AtomicUsize,
    compares: AtomicBool,
    publishes: AtomicBool,
    moved: Mutex<HashMap<String, String>>,
    renamed: Mutex<Option<Renamed>>,
    hung_call: Mutex<Option<(&'static str, &'static str)>>,
    together: Mutex<Option<(&'static str, Arc<Barrier>)>>,
}

/// A record that gets another name while it is asked for.
struct Renamed {
    name: String,
    new: String,
    /// After so many requests for it.
    after: usize,
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
            listeners: Mutex::default(),
            deleted: Mutex::default(),
            listed: AtomicUsize::new(0),
            blobs_listed: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            sent: AtomicUsize::new(0),
            compares: AtomicBool::new(true),
            publishes: AtomicBool::new(false),
            moved: Mutex::default(),
            renamed: Mutex::default(),
            hung_call: Mutex::default(),
            together: Mutex::default(),
        };
        let this = Self {
            inner: Arc::new(inner),
        };
        let inner = Arc::clone(&this.inner);
        let router = axum::Router::new().fallback(move |request| {
            let inner = Arc::clone(&inner);
            async move {
                inner.requests.fetch_add(1, Ordering::Relaxed);
                let answer = answer(Arc::clone(&inner), request).await;
                answer.map(|body| {
                    Body::new(body.map_frame(move |frame| {
                        let length = frame.data_ref().map_or(0, bytes::Bytes::len);
                        inner.sent.fetch_add(length, Ordering::Relaxed);
                        frame
                    }))
                })
            }
        });
        let _ = std::fs::remove_file(socket);
        let connections = UnixListenerStream::new(UnixListener::bind(socket).unwrap());
        tokio::spawn(
            Server::builder()
                .add_routes(Routes::from(router))
                .serve_with_incoming(connections),
        );
        this
    }

    /// Changes what a namespace holds. If it publishes, it tells of each blob and record that is
    /// new, as 2.1 does.
    pub fn hold(&self, namespace: &str, change: impl FnOnce(&mut Held)) {
        let (before, after) = {
            let mut held = self.inner.held.lock().unwrap();
            let held = held.entry(namespace.to_owned()).or_default();
            let before = Arc::clone(held);
            change(Arc::make_mut(held));
            (before, Arc::clone(held))
        };
        if !self.inner.publishes.load(Ordering::Relaxed) {
            return;
        }
        let known: HashSet<_> = before.blobs.iter().map(|blob| &blob.digest).collect();
        for blob in after
            .blobs
            .iter()
            .filter(|blob| !known.contains(&blob.digest))
        {
            self.inner.publish(
                namespace,
                "/content/create",
                &ContentCreate {
                    digest: blob.digest.clone(),
                    size: i64::try_from(blob.bytes.len()).unwrap(),
                },
            );
        }
        for record in after
            .images
            .iter()
            .filter(|record| !before.images.contains(record))
        {
            self.tell(namespace, &record.0);
        }
    }

    /// Publishes what 2.1 publishes: also which blobs come, and what others have it publish.
    pub fn publishes(&self) {
        self.inner.publishes.store(true, Ordering::Relaxed);
    }

    /// Writes an image record as a client does: whoever listens hears of it.
    pub fn write(&self, namespace: &str, name: &str, digest: &str) {
        self.hold(namespace, |held| {
            held.images.retain(|(known, _)| known != name);
            held.images.push((name.to_owned(), digest.to_owned()));
        });
        self.tell(namespace, name);
    }

    /// Publishes an event as any client may: of these bytes, whatever they are.
    pub fn publish(&self, namespace: &str, topic: &str, value: Vec<u8>) {
        self.inner.publish_bytes(namespace, topic, value);
    }

    /// Tells that a record was written.
    pub fn tell(&self, namespace: &str, name: &str) {
        let image = ImageCreate {
            name: name.to_owned(),
            ..ImageCreate::default()
        };
        self.inner.publish(namespace, "/images/create", &image);
    }

    /// How many listen to events.
    pub fn listeners(&self) -> usize {
        let mut listeners = self.inner.listeners.lock().unwrap();
        listeners.retain(|listener| !listener.is_closed());
        listeners.len()
    }

    /// Ends every stream of events.
    pub fn cut(&self) {
        self.inner.listeners.lock().unwrap().clear();
    }

    /// Names of a namespace.
    pub fn names(&self, namespace: &str) -> Vec<String> {
        let held = self.inner.held.lock().unwrap();
        held.get(namespace)
            .map(|held| held.images.iter().map(|(name, _)| name.clone()).collect())
            .unwrap_or_default()
    }

    /// Every request to delete an image.
    pub fn deleted(&self) -> Vec<DeleteImageRequest> {
        self.inner.deleted.lock().unwrap().clone()
    }

    /// How often images were listed.
    pub fn listed(&self) -> usize {
        self.inner.listed.load(Ordering::Relaxed)
    }

    /// How often blobs were listed.
    pub fn blobs_listed(&self) -> usize {
        self.inner.blobs_listed.load(Ordering::Relaxed)
    }

    /// How many requests there were, and how many bytes were sent to answer them.
    pub fn load(&self) -> (usize, usize) {
        let read = |count: &AtomicUsize| count.load(Ordering::Relaxed);
        (read(&self.inner.requests), read(&self.inner.sent))
    }

    /// Whether it compares what a record stands for before it deletes it: 2.x does, 1.7 does not.
    pub fn compares(&self, compares: bool) {
        self.inner.compares.store(compares, Ordering::Relaxed);
    }

    /// Whoever looks at this record once more after the list finds that it has been given to other
    /// bytes.
    pub fn moves(&self, name: &str, digest: &str) {
        self.inner
            .moved
            .lock()
            .unwrap()
            .insert(name.to_owned(), digest.to_owned());
    }

    /// After so many requests for this record it gets another name, just before it is asked for
    /// again.
    pub fn renames(&self, name: &str, new: &str, after: usize) {
        let (name, new) = (name.to_owned(), new.to_owned());
        *self.inner.renamed.lock().unwrap() = Some(Renamed { name, new, after });
    }

    /// From now on this call is not answered in this namespace.
    pub fn hang_on(&self, namespace: &'static str, call: &'static str) {
        *self.inner.hung_call.lock().unwrap() = Some((namespace, call));
    }

    /// From now on this call is answered once so many of them wait for it.
    pub fn answers_together(&self, call: &'static str, count: usize) {
        *self.inner.together.lock().unwrap() = Some((call, Arc::new(Barrier::new(count))));
    }

    /// Whether the record of that name was renamed right now.
    fn is_renamed(&self, namespace: &str, name: &str) -> bool {
        let renamed = {
            let mut renamed = self.inner.renamed.lock().unwrap();
            if let Some(renamed) = renamed.as_mut().filter(|one| one.name == name)
                && renamed.after > 0
            {
                renamed.after -= 1;
                return false;
            }
            renamed.take_if(|one| one.name == name)
        };
        let Some(Renamed { new, .. }) = renamed else {
            return false;
        };
        self.hold(namespace, |held| {
            for record in held.images.iter_mut().filter(|record| record.0 == name) {
                record.0.clone_from(&new);
            }
        });
        true
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
        self.inner
            .proxies
            .lock()
            .unwrap()
            .push(socket.display().to_string());
    }

    /// From now on no question is answered, or all are.
    pub fn hang(&self, hung: bool) {
        self.inner.hung.store(hung, Ordering::Relaxed);
    }

    /// The unpacks asked for, without the daemon's self-check.
    pub fn asked(&self) -> Vec<Asked> {
        let asked = self.inner.asked.lock().unwrap();
        asked
            .iter()
            .filter(|one| one.namespace.as_deref() != Some("rootpin-selftest"))
            .cloned()
            .collect()
    }
}

impl Inner {
    fn publish(&self, namespace: &str, topic: &str, event: &impl Message) {
        self.publish_bytes(namespace, topic, event.encode_to_vec());
    }

    fn publish_bytes(&self, namespace: &str, topic: &str, value: Vec<u8>) {
        let event = prost_types::Any {
            type_url: "of.a.test".to_owned(),
            value,
        };
        let envelope = Envelope {
            namespace: namespace.to_owned(),
            topic: topic.to_owned(),
            event: Some(event),
            timestamp: None,
        };
        let mut listeners = self.listeners.lock().unwrap();
        listeners.retain(|listener| listener.send(envelope.clone()).is_ok());
    }
}

/// A channel to a socket, made when it is used.
pub fn channel(socket: &Path) -> Channel {
    Endpoint::from_shared(format!("unix://{}", socket.display()))
        .unwrap()
        .connect_lazy()
}

#[allow(clippy::too_many_lines, reason = "one arm for each call")]
async fn answer(inner: Arc<Inner>, request: Request<axum::body::Body>) -> Response<Body> {
    if inner.hung.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
    let namespace = header(request.headers(), "containerd-namespace");
    let hung_call = *inner.hung_call.lock().unwrap();
    if hung_call.is_some_and(|(hung, call)| {
        namespace.as_deref() == Some(hung) && request.uri().path().ends_with(call)
    }) {
        std::future::pending::<()>().await;
    }
    let together = inner.together.lock().unwrap().clone();
    let together = together.filter(|(call, _)| request.uri().path().ends_with(call));
    if let Some((_, waiting)) = together {
        waiting.wait().await;
    }
    let lease = header(request.headers(), "containerd-lease");
    let known = inner.held.lock().unwrap().clone();
    let held = namespace
        .as_ref()
        .and_then(|namespace| known.get(namespace))
        .cloned()
        .unwrap_or_default();
    match request
        .uri()
        .path()
        .trim_start_matches("/containerd.services.")
    {
        "namespaces.v1.Namespaces/List" => {
            let name = |name: &String| Namespace {
                name: name.clone(),
                ..Namespace::default()
            };
            let namespaces = known.keys().map(name).collect();
            unary(request, |_: ListNamespacesRequest| {
                Ok(ListNamespacesResponse { namespaces })
            })
            .await
        }
        "version.v1.Version/Version" => {
            let answer = VersionResponse {
                version: "v2.1.9".to_owned(),
                revision: String::new(),
            };
            unary(request, |(): ()| Ok(answer)).await
        }
        "introspection.v1.Introspection/Plugins" => {
            let address =
                |address: &String| HashMap::from([("address".to_owned(), address.clone())]);
            let plugin = |proxy| Plugin {
                r#type: "io.containerd.differ.v1".to_owned(),
                exports: address(proxy),
                ..Plugin::default()
            };
            let differs: Vec<_> = inner.proxies.lock().unwrap().iter().map(plugin).collect();
            let snapshotters = ["native", "overlayfs"].map(|id| Plugin {
                id: id.to_owned(),
                ..Plugin::default()
            });
            unary(request, |asked: PluginsRequest| {
                let of_snapshotters = asked
                    .filters
                    .iter()
                    .any(|filter| filter.contains("snapshotter"));
                Ok(PluginsResponse {
                    plugins: if of_snapshotters {
                        snapshotters.to_vec()
                    } else {
                        differs
                    },
                })
            })
            .await
        }
        "leases.v1.Leases/List" => {
            let leases = held
                .leases
                .iter()
                .cloned()
                .map(|id| Lease {
                    id,
                    ..Lease::default()
                })
                .collect();
            unary(request, |_: ListRequest| Ok(ListResponse { leases })).await
        }
        "images.v1.Images/Get" => {
            unary(request, |asked: GetImageRequest| {
                let this = Containerd {
                    inner: Arc::clone(&inner),
                };
                if this.is_renamed(&namespace.unwrap_or_default(), &asked.name) {
                    return Err(Status::not_found("no such image"));
                }
                let found = held
                    .images
                    .iter()
                    .find(|(name, _)| *name == asked.name)
                    .cloned();
                let (name, digest) = found.ok_or_else(|| Status::not_found("no such image"))?;
                let digest = inner
                    .moved
                    .lock()
                    .unwrap()
                    .get(&name)
                    .cloned()
                    .unwrap_or(digest);
                let target = Some(Descriptor {
                    digest,
                    ..Descriptor::default()
                });
                Ok(GetImageResponse {
                    image: Some(Image {
                        name,
                        target,
                        ..Image::default()
                    }),
                })
            })
            .await
        }
        "images.v1.Images/Delete" => {
            unary(request, |asked: DeleteImageRequest| {
                inner.deleted.lock().unwrap().push(asked.clone());
                let mut held = inner.held.lock().unwrap();
                let images = &mut Arc::make_mut(held.get_mut(&namespace.unwrap()).unwrap()).images;
                let compares = inner.compares.load(Ordering::Relaxed);
                let wanted = asked
                    .target
                    .map(|target| target.digest)
                    .filter(|_| compares);
                let same = |(name, digest): &(String, String)| {
                    *name == asked.name && wanted.as_ref().is_none_or(|wanted| wanted == digest)
                };
                let at = images
                    .iter()
                    .position(same)
                    .ok_or_else(|| Status::not_found("no such image"))?;
                images.remove(at);
                Ok(())
            })
            .await
        }
        "events.v1.Events/Subscribe" => {
            let (sender, receiver) = mpsc::unbounded_channel();
            inner.listeners.lock().unwrap().push(sender);
            let mut events = Some(UnboundedReceiverStream::new(receiver));
            let service = tower::service_fn(|asked: tonic::Request<SubscribeRequest>| {
                let filters = asked.into_inner().filters;
                let fits = move |event: &Envelope| {
                    let begins = |filter: &String| {
                        let beginning = filter.strip_prefix("topic~=\"^");
                        let beginning = beginning.map(|rest| rest.trim_end_matches('"'));
                        beginning.is_some_and(|beginning| event.topic.starts_with(beginning))
                    };
                    let whole = format!("topic==\"{}\"", event.topic);
                    filters.contains(&whole) || filters.iter().any(begins)
                };
                let events = events.take().unwrap().filter(fits).map(Ok);
                std::future::ready(Ok::<_, Status>(tonic::Response::new(events)))
            });
            Grpc::new(ProstCodec::<Envelope, SubscribeRequest>::default())
                .server_streaming(service, request)
                .await
        }
        "events.v1.Events/Publish" if inner.publishes.load(Ordering::Relaxed) => {
            unary(request, |asked: PublishRequest| {
                inner.publish(&namespace.unwrap(), &asked.topic, &());
                Ok(())
            })
            .await
        }
        "tasks.v1.Tasks/List" => {
            // RUNNING
            let task = |(id, _): (String, String)| Process {
                id,
                status: 2,
                ..Process::default()
            };
            let tasks = held.running.iter().cloned().map(task).collect();
            unary(request, |_: ListTasksRequest| {
                Ok(ListTasksResponse { tasks })
            })
            .await
        }
        "containers.v1.Containers/List" => {
            let container = |(id, image)| Container {
                id,
                image,
                ..Container::default()
            };
            let containers = held.running.iter().cloned().map(container).collect();
            unary(request, |_: ListContainersRequest| {
                Ok(ListContainersResponse { containers })
            })
            .await
        }
        "images.v1.Images/List" => {
            inner.listed.fetch_add(1, Ordering::Relaxed);
            let sizes: HashMap<&str, usize> = held
                .blobs
                .iter()
                .map(|blob| (blob.digest.as_str(), blob.bytes.len()))
                .collect();
            let size = |digest: &str| {
                i64::try_from(sizes.get(digest).copied().unwrap_or_default()).unwrap()
            };
            let target = |digest: String| {
                Some(Descriptor {
                    size: size(&digest),
                    digest,
                    ..Descriptor::default()
                })
            };
            let image = |(name, digest): (String, String)| {
                let labels = held.image_labels.get(&name).cloned().unwrap_or_default();
                Image {
                    name,
                    target: target(digest),
                    labels,
                    ..Image::default()
                }
            };
            let images: Vec<_> = held.images.iter().cloned().map(image).collect();
            unary(request, |asked: ListImagesRequest| {
                let wanted: Vec<_> = asked
                    .filters
                    .iter()
                    .map(|filter| filter.trim_start_matches("target.digest=="))
                    .collect();
                let fits = |image: &Image| {
                    wanted.is_empty()
                        || wanted.contains(&image.target.as_ref().unwrap().digest.as_str())
                };
                Ok(ListImagesResponse {
                    images: images.into_iter().filter(fits).collect(),
                })
            })
            .await
        }
        "content.v1.Content/Info" => {
            unary(request, |asked: InfoRequest| {
                let found = held
                    .blobs
                    .iter()
                    .find(|blob| blob.digest == asked.digest)
                    .map(info);
                found
                    .map(|info| InfoResponse { info: Some(info) })
                    .ok_or_else(|| Status::not_found("no such content"))
            })
            .await
        }
        "content.v1.Content/List" => {
            inner.blobs_listed.fetch_add(1, Ordering::Relaxed);
            stream(request, |asked: ListContentRequest| {
                let fits = |blob: &&Blob| {
                    asked.filters.is_empty()
                        || asked.filters.iter().any(|filter| has_label(blob, filter))
                };
                let found: Vec<_> = held.blobs.iter().filter(fits).map(info).collect();
                // Two messages, as a store with many blobs sends.
                let parts = [&found[..found.len() / 2], &found[found.len() / 2..]];
                Ok(parts
                    .map(|part| ListContentResponse {
                        info: part.to_vec(),
                    })
                    .to_vec())
            })
            .await
        }
        "content.v1.Content/Read" => {
            stream(request, |asked: ReadContentRequest| {
                let found = held
                    .blobs
                    .iter()
                    .find(|blob| blob.digest == asked.digest && !blob.gone);
                let bytes = &found
                    .ok_or_else(|| Status::not_found("no such content"))?
                    .bytes;
                let size = usize::try_from(asked.size).unwrap().min(bytes.len());
                let size = if size == 0 { bytes.len() } else { size };
                let chunks = bytes[..size].chunks(100);
                Ok(chunks
                    .map(|chunk| ReadContentResponse {
                        offset: 0,
                        data: chunk.to_vec(),
                    })
                    .collect())
            })
            .await
        }
        "diff.v1.Diff/Apply" => {
            let service = tower::service_fn(|request: tonic::Request<ApplyRequest>| {
                let (inner, namespace, lease) =
                    (Arc::clone(&inner), namespace.clone(), lease.clone());
                async move {
                    apply(
                        &inner,
                        Asked {
                            namespace,
                            lease,
                            message: request.into_inner(),
                        },
                    )
                    .await
                    .map(tonic::Response::new)
                }
            });
            Grpc::new(ProstCodec::<ApplyResponse, ApplyRequest>::default())
                .unary(service, request)
                .await
        }
        _ => answer_of_containers(held, request).await,
    }
}

async fn answer_of_containers(
    held: Arc<Held>,
    request: Request<axum::body::Body>,
) -> Response<Body> {
    match request
        .uri()
        .path()
        .trim_start_matches("/containerd.services.")
    {
        "containers.v1.Containers/Get" => {
            unary(request, |asked: GetContainerRequest| {
                let found = held
                    .containers
                    .iter()
                    .find(|container| container.id == asked.id)
                    .cloned();
                found
                    .map(|found| GetContainerResponse {
                        container: Some(found),
                    })
                    .ok_or_else(|| Status::not_found("no such container"))
            })
            .await
        }
        "snapshots.v1.Snapshots/Stat" => {
            unary(request, |asked: StatSnapshotRequest| {
                let found = held
                    .snapshots
                    .iter()
                    .find(|(key, _)| asked.snapshotter == "overlayfs" && *key == asked.key)
                    .cloned();
                let info = |(name, parent)| StatSnapshotResponse {
                    info: Some(Snapshot {
                        name,
                        parent,
                        ..Snapshot::default()
                    }),
                };
                found
                    .map(info)
                    .ok_or_else(|| Status::not_found("no such snapshot"))
            })
            .await
        }
        _ => Status::unimplemented("not in this containerd").into_http(),
    }
}

/// `labels."NAME"==VALUE`
fn has_label(blob: &Blob, filter: &str) -> bool {
    let (name, value) = filter
        .trim_start_matches("labels.")
        .split_once("==")
        .unwrap();
    blob.labels
        .get(name.trim_matches('"'))
        .is_some_and(|found| found == value)
}

async fn apply(inner: &Inner, asked: Asked) -> Result<ApplyResponse, Status> {
    let applied = Ok(ApplyResponse {
        applied: asked.message.diff.clone(),
    });
    inner.asked.lock().unwrap().push(asked.clone());
    let differ = inner.differ.lock().unwrap().clone();
    match differ {
        Differ::Applies => applied,
        Differ::Says(code) => Err(Status::new(code, "containerd's own words")),
        Differ::Waits(until) => {
            // The self-check's own unpack never waits.
            if asked.namespace.as_deref() != Some("rootpin-selftest") {
                until.notified().await;
            }
            applied
        }
        Differ::AsksGate(gate) => {
            let mut request = tonic::Request::new(asked.message);
            if let Some(namespace) = asked.namespace {
                request
                    .metadata_mut()
                    .insert("containerd-namespace", namespace.parse().unwrap());
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
    Grpc::new(ProstCodec::<A, Q>::default())
        .unary(service, request)
        .await
}

async fn stream<Q: Message + Default + 'static, A: Message + Default + 'static>(
    request: Request<axum::body::Body>,
    answer: impl FnOnce(Q) -> Result<Vec<A>, Status>,
) -> Response<Body> {
    let mut answer = Some(answer);
    let service = tower::service_fn(|request: tonic::Request<Q>| {
        let answered = answer.take().unwrap()(request.into_inner());
        std::future::ready(
            answered.map(|all| tonic::Response::new(tokio_stream::iter(all.into_iter().map(Ok)))),
        )
    });
    Grpc::new(ProstCodec::<A, Q>::default())
        .server_streaming(service, request)
        .await
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get(name)
        .map(|value| value.to_str().unwrap().to_owned())
}

fn info(blob: &Blob) -> Info {
    let size = i64::try_from(blob.bytes.len()).unwrap();
    Info {
        digest: blob.digest.clone(),
        size,
        labels: blob.labels.clone(),
        ..Info::default()
    }
}

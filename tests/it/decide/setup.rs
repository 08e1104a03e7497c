//! A trust server, a host, an image, and the questions about it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use jiff::Timestamp;
use rootpin::decide::{
    Claim, Decider, Decision, Door, NameSource, NamespaceView, Pull, Unpack, Verdict,
};
use rootpin::sources::{Credentials, Sources};
use rootpin::state::Store;
use rootpin_policy::Policy;
use rootpin_trust::image::{Blob, Chain, Descriptor, Digest, ImageRef, Repository};
use tokio::net::TcpSocket;
use tokio::sync::{Barrier, oneshot};
use tokio::task::JoinHandle;

use crate::publisher::{Key, Publisher, Tree};

pub(super) const APP: &str = "registry.test/team/app";
pub(super) const NOW: &str = "2030-01-01T00:00:00Z";
/// Time enough for every question that is meant to be answered.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a server answers what it is asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Manner {
    /// By the files that it has, else 404.
    Honest,
    /// With this status, whatever is asked.
    Status(u16),
    /// With bytes that are no metadata.
    Garbage,
    /// Never.
    Hangs,
    /// Never where the path has this in it, else by the files that it has.
    HangsAt(&'static str),
    /// By the files that it has, each answer so many milliseconds after its question.
    Late(u64),
    /// With this status where the path has that in it, else by the files that it has.
    StatusAt(u16, &'static str),
    /// Only where as many as [`TOGETHER`] are asked for at once, where the path has this in it.
    TogetherAt(&'static str),
}

/// So many requests wait for each other.
pub(super) const TOGETHER: usize = 8;

/// A Notary server on a loopback port.
pub(super) struct Server {
    port: u16,
    /// Keeps the port from everybody else, also after the server stopped: nothing answers there then.
    _held: TcpSocket,
    shared: Arc<Mutex<Shared>>,
    stop: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

struct Shared {
    files: BTreeMap<String, Vec<u8>>,
    /// The header `Link` of the answer to a path.
    links: BTreeMap<String, String>,
    manner: Manner,
    asked: Vec<String>,
    together: Arc<Barrier>,
    /// How many requests wait for others, and how many did at most.
    waiting: usize,
    most_waiting: usize,
}

impl Server {
    /// One that has nothing yet.
    pub(super) fn empty() -> Self {
        let socket = |port| {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_reuseport(true).unwrap();
            socket.bind((Ipv4Addr::LOCALHOST, port).into()).unwrap();
            socket
        };
        let listener = socket(0).listen(1024).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Mutex::new(Shared {
            files: BTreeMap::new(),
            links: BTreeMap::new(),
            manner: Manner::Honest,
            asked: Vec::new(),
            together: Arc::new(Barrier::new(TOGETHER)),
            waiting: 0,
            most_waiting: 0,
        }));
        let seen = Arc::clone(&shared);
        let app = axum::Router::new()
            .fallback(move |request: Request| answer(Arc::clone(&seen), request));
        let (sender, receiver) = oneshot::channel::<()>();
        let stopped = async move { receiver.await.unwrap_or_default() };
        let serving = tokio::spawn(async move {
            axum::serve(listener, app)
                .with_graceful_shutdown(stopped)
                .await
                .unwrap();
        });
        Self {
            port,
            _held: socket(port),
            shared,
            stop: Some((sender, serving)),
        }
    }

    /// One that serves this repository.
    #[expect(clippy::unused_async, reason = "its listener needs a runtime")]
    pub(super) async fn of(publisher: &Publisher) -> Self {
        let server = Self::empty();
        server.publish(publisher);
        server
    }

    /// Serves what the publisher has now, and nothing else of that repository.
    pub(super) fn publish(&self, publisher: &Publisher) {
        let base = format!("/v2/{}/_trust/tuf/", publisher.gun);
        let files = &mut self.shared.lock().unwrap().files;
        files.retain(|path, _| !path.starts_with(&base));
        files.extend(
            publisher
                .tree()
                .files
                .into_iter()
                .map(|(name, bytes)| (format!("{base}{name}"), bytes)),
        );
    }

    /// Has other bytes, or nothing, in place of the files whose paths have that in them.
    pub(super) fn replace(&self, part: &str, with: Option<&[u8]>) {
        let files = &mut self.shared.lock().unwrap().files;
        let all = files.len();
        files.retain(|path, bytes| match with {
            Some(with) if path.contains(part) => {
                with.clone_into(bytes);
                true
            }
            None => !path.contains(part),
            Some(_) => true,
        });
        assert!(with.is_some() || files.len() < all, "no {part}");
    }

    /// Serves files that a real server had, also by the names with hashes that they are asked for.
    pub(super) fn serve(&self, gun: &str, tree: &Tree) {
        let base = format!("/v2/{gun}/_trust/tuf/");
        let files = &mut self.shared.lock().unwrap().files;
        for (name, bytes) in &tree.files {
            let role = name.trim_end_matches(".json");
            files.insert(
                format!("{base}{role}.{}.json", Digest::of(bytes).hex()),
                bytes.clone(),
            );
            files.insert(format!("{base}{name}"), bytes.clone());
        }
    }

    /// Has these bytes at that path.
    pub(super) fn put_file(&self, path: &str, bytes: Vec<u8>) {
        let mut shared = self.shared.lock().unwrap();
        shared.files.insert(path.to_owned(), bytes);
    }

    /// What the answer to that path says of other pages.
    pub(super) fn link(&self, path: &str, link: &str) {
        let mut shared = self.shared.lock().unwrap();
        shared.links.insert(path.to_owned(), link.to_owned());
    }

    /// The bytes at that path.
    pub(super) fn file(&self, path: &str) -> Vec<u8> {
        self.shared.lock().unwrap().files[path].clone()
    }

    pub(super) fn behave(&self, manner: Manner) {
        self.shared.lock().unwrap().manner = manner;
    }

    /// The paths that were asked for, since the last call of this.
    pub(super) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.lock().unwrap().asked)
    }

    /// How many requests waited for each other at most.
    pub(super) fn most_at_once(&self) -> usize {
        self.shared.lock().unwrap().most_waiting
    }

    /// Closes the port and every connection.
    pub(super) async fn stop(&mut self) {
        let (sender, serving) = self.stop.take().unwrap();
        sender.send(()).unwrap();
        serving.await.unwrap();
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// `[[root]]` for this server with these keys pinned.
    pub(super) fn root(&self, id: &str, keys: &[Key]) -> String {
        let keys: Vec<_> = keys.iter().map(|key| format!("\"{}\"", key.id())).collect();
        let (url, keys) = (self.url(), keys.join(", "));
        format!(
            "[[root]]\nid = \"{id}\"\ntype = \"notary\"\nserver = \"{url}\"\nkeys = [{keys}]\nrole = \"targets/releases\"\n"
        )
    }
}

async fn answer(shared: Arc<Mutex<Shared>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let whole = request.uri().to_string();
    let together = {
        let mut shared = shared.lock().unwrap();
        shared.asked.push(path.clone());
        let waits = matches!(shared.manner, Manner::TogetherAt(part) if whole.contains(part));
        shared.waiting += usize::from(waits);
        shared.most_waiting = shared.most_waiting.max(shared.waiting);
        waits.then(|| Arc::clone(&shared.together))
    };
    if let Some(together) = together {
        together.wait().await;
        shared.lock().unwrap().waiting -= 1;
    }
    let (manner, file, link) = {
        let shared = shared.lock().unwrap();
        let file = shared.files.get(&whole).or(shared.files.get(&path));
        (
            shared.manner,
            file.cloned(),
            shared.links.get(&whole).cloned(),
        )
    };
    if let Manner::Late(time) = manner {
        tokio::time::sleep(Duration::from_millis(time)).await;
    }
    let status = |code: u16| {
        Response::builder()
            .status(code)
            .header("location", "/elsewhere")
            .body(Body::empty())
            .unwrap()
    };
    match (manner, file) {
        (Manner::HangsAt(part), _) if whole.contains(part) => std::future::pending().await,
        (Manner::StatusAt(code, part), _) if whole.contains(part) => status(code),
        (
            Manner::Honest
            | Manner::HangsAt(_)
            | Manner::StatusAt(..)
            | Manner::TogetherAt(_)
            | Manner::Late(_),
            Some(bytes),
        ) => {
            let mut response = Response::new(Body::from(bytes));
            if let Some(link) = link {
                let headers = response.headers_mut();
                headers.insert("link", link.parse().unwrap());
            }
            response
        }
        (
            Manner::Honest
            | Manner::HangsAt(_)
            | Manner::StatusAt(..)
            | Manner::TogetherAt(_)
            | Manner::Late(_),
            None,
        ) => status(404),
        (Manner::Status(code), _) => status(code),
        (Manner::Garbage, _) => Response::new(Body::from("<html>welcome</html>")),
        (Manner::Hangs, _) => std::future::pending().await,
    }
}

/// A host: what it has seen lies in a folder, and survives a restart.
pub(super) struct Host {
    folder: tempfile::TempDir,
    store: Option<Arc<Store>>,
}

impl Host {
    pub(super) fn new() -> Self {
        let mut host = Self {
            folder: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(),
            store: None,
        };
        host.restart();
        host
    }

    /// Ends the daemon and starts it again. Every decider must be gone by then.
    pub(super) fn restart(&mut self) {
        self.store = None;
        self.store = Some(Arc::new(Store::open(self.folder.path()).unwrap()));
    }

    pub(super) fn store(&self) -> &Arc<Store> {
        self.store.as_ref().unwrap()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A daemon under that policy.
    pub(super) fn decider(&self, policy: &str) -> Decider {
        decider(policy, Arc::clone(self.store()), PATIENCE, true)
    }

    /// `rootpin verify --at`: looks, and keeps nothing.
    pub(super) fn onlooker(&self, policy: &str) -> Decider {
        decider(policy, Arc::clone(self.store()), PATIENCE, false)
    }

    /// A daemon whose deadline is short, and long enough for servers that do answer.
    pub(super) fn unhurried(&self, policy: &str) -> Decider {
        decider(
            policy,
            Arc::clone(self.store()),
            Duration::from_secs(6),
            true,
        )
    }

    /// A daemon whose deadline is short, for servers that never answer.
    pub(super) fn hurried(&self, policy: &str) -> Decider {
        decider(
            policy,
            Arc::clone(self.store()),
            Duration::from_millis(400),
            true,
        )
    }
}

pub(super) fn decider(policy: &str, store: Arc<Store>, deadline: Duration, keeps: bool) -> Decider {
    let sources = Arc::new(Sources::new(Arc::new(Credentials::none())));
    Decider::new(Ok(load(policy)), sources, store, deadline, keeps)
}

/// A policy of this text below the two keys that every policy has.
pub(super) fn load(text: &str) -> Arc<Policy> {
    let text = format!("version = 1\ndefault = \"deny\"\n{text}");
    let files = BTreeMap::from([("policy.toml".to_owned(), text.into_bytes())]);
    match rootpin_policy::load(&files, at(NOW)) {
        Ok(policy) => Arc::new(policy),
        Err(errors) => panic!(
            "{}",
            errors.iter().map(ToString::to_string).collect::<String>()
        ),
    }
}

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// So much after [`NOW`], as `90s` or `2m`.
pub(super) fn after(span: &str) -> Timestamp {
    at(NOW) + span.parse::<jiff::SignedDuration>().unwrap()
}

/// An index over one manifest with one layer.
#[derive(Clone)]
pub(super) struct Image {
    pub(super) layer: Descriptor,
    pub(super) config: Digest,
    pub(super) manifest: Arc<Blob>,
    pub(super) index: Arc<Blob>,
}

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The image of that name: other names, other bytes.
pub(super) fn image(name: &str) -> Image {
    image_over(name, name)
}

/// An image with a configuration of its own over that layer, which others may have too.
pub(super) fn image_over(name: &str, layer: &str) -> Image {
    let bytes = format!("layer {layer}");
    let layer = Descriptor {
        media_type: LAYER.to_owned(),
        digest: Digest::of(bytes.as_bytes()),
        size: bytes.len().try_into().unwrap(),
    };
    let config = Digest::of(format!("config {name}").as_bytes());
    let entry = |kind: &str, digest: Digest, size: u64| {
        format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":{size}}}"#)
    };
    let listed = entry(LAYER, layer.digest, layer.size);
    let text = format!(
        r#"{{"mediaType":"{MANIFEST}","config":{},"layers":[{listed}]}}"#,
        entry("config", config, 6)
    );
    let manifest = Arc::new(Blob::read(text.as_bytes()).unwrap());
    let listed = entry(MANIFEST, manifest.digest(), text.len().try_into().unwrap());
    let index = Arc::new(Blob::read(format!(r#"{{"manifests":[{listed}]}}"#).as_bytes()).unwrap());
    Image {
        layer,
        config,
        manifest,
        index,
    }
}

impl Image {
    /// What a signed name stands for.
    pub(super) fn digest(&self) -> Digest {
        self.index.digest()
    }

    /// The layer in the manifest alone.
    pub(super) fn bare(&self) -> Chain {
        Chain::of_manifest(&self.layer, &self.manifest).unwrap()
    }

    /// The layer in the manifest in the index.
    pub(super) fn chain(&self) -> Chain {
        self.bare().under(&self.index).unwrap()
    }

    /// That teller says that this image is `name`; a name without a tag is a repository, as
    /// `rootpin` reads labels.
    pub(super) fn claim(&self, told_by: NameSource, name: &str) -> Claim {
        Claim {
            told_by,
            name: reference(name),
            chain: self.chain(),
        }
    }
}

/// A name in full form; without tag and digest it is a repository and nothing more.
pub(super) fn reference(name: &str) -> ImageRef {
    match Repository::from_full(name) {
        Ok(repository) => ImageRef {
            repository,
            tag: None,
            digest: None,
        },
        Err(_) => name.parse().unwrap(),
    }
}

/// A publisher of [`APP`] (or another repository) whose tag `v1` is that image.
pub(super) fn publisher(gun: &str, tag: &str, image: &Image) -> Publisher {
    let mut publisher = Publisher::new(gun);
    publisher.tag(tag, &image.digest().to_string(), 7);
    publisher
}

/// The usual host: [`APP`]'s tag `v1` is `image`, signed under the root `acme`, and a rule wants
/// just that.
pub(super) struct Usual {
    pub(super) server: Server,
    pub(super) publisher: Publisher,
    pub(super) image: Image,
    pub(super) host: Host,
}

impl Usual {
    pub(super) async fn new() -> Self {
        let image = image("signed");
        let publisher = publisher(APP, "v1", &image);
        Self {
            server: Server::of(&publisher).await,
            publisher,
            image,
            host: Host::new(),
        }
    }

    /// `[[root]]`, as the last table of what is returned: more of its keys may follow.
    pub(super) fn root(&self) -> String {
        self.server.root("acme", &[self.publisher.root_key()])
    }

    /// Root and rule, and whatever else; keys of the top level can't be among it.
    pub(super) fn policy(&self, more: &str) -> String {
        self.policy_with("", more)
    }

    /// The same with more keys in the root.
    pub(super) fn policy_with(&self, root: &str, more: &str) -> String {
        format!("{}{root}\n{}{more}", self.root(), rule(APP, &["acme"], ""))
    }
}

/// `[[rule]]` for these names, with more keys.
pub(super) fn rule(pattern: &str, roots: &[&str], more: &str) -> String {
    format!("[[rule]]\nmatch = \"{pattern}\"\nroots = {roots:?}\n{more}\n")
}

/// Asks the verifier's question at [`NOW`].
pub(super) async fn pull(decider: &Decider, name: &str, digest: Digest) -> Verdict {
    pull_at(decider, name, digest, at(NOW)).await
}

pub(super) async fn pull_at(
    decider: &Decider,
    name: &str,
    digest: Digest,
    now: Timestamp,
) -> Verdict {
    decider
        .pull(
            &Pull {
                door: Door::Verifier,
                name: name.parse().unwrap(),
                digest,
            },
            now,
        )
        .await
}

/// What one namespace of containerd knows: fetched from a registry.
pub(super) fn place(namespace: &str, claims: Vec<Claim>) -> NamespaceView {
    let chains = claims.iter().map(|claim| claim.chain.clone()).collect();
    NamespaceView {
        namespace: namespace.to_owned(),
        chains,
        claims,
        from_registry: true,
        is_cut_short: false,
        variants: Vec::new(),
    }
}

/// The same of bytes that came from no registry.
pub(super) fn built(namespace: &str, claims: Vec<Claim>) -> NamespaceView {
    NamespaceView {
        from_registry: false,
        ..place(namespace, claims)
    }
}

/// Asks the gate's question at [`NOW`].
pub(super) async fn unpack(
    decider: &Decider,
    layer: &Descriptor,
    places: Vec<NamespaceView>,
) -> Verdict {
    let unpack = Unpack {
        door: Door::Gate,
        engine: "containerd".to_owned(),
        layer: layer.clone(),
        places,
        begun: Instant::now(),
    };
    decider.unpack(&unpack, at(NOW)).await
}

/// The outcome in a word or three: `allowed signed`, `refused expired`, `unjudged clock`, `let
/// through: refused no-rule`.
pub(super) fn said(verdict: &Verdict) -> String {
    let outcome = verdict.decision.outcome();
    match &verdict.decision {
        Decision::Allow(admission) => format!("{outcome} {}", admission.ground.as_str()),
        Decision::Deny(denial) => format!("{outcome} {}", denial.refusal.code),
        Decision::LetThrough(denial, _) => {
            format!("let through: {outcome} {}", denial.refusal.code)
        }
    }
}

//! What one look at a source costs, counted at a server of files while a real decision is made.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use jiff::Timestamp;
use rootpin::decide::{Decider, Door, Pull};
use rootpin::sources::{Credentials, Sources};
use rootpin::state::Store;
use rootpin_trust::image::Digest;
use serde_json::json;
use tokio::net::TcpListener;

use crate::grid::folder_of_names;
use crate::publisher::Publisher;

const NAME: &str = "registry.test/team/app";
const NAMES: usize = 100;
const NOW: &str = "2030-01-01T00:00:00Z";

/// Requests, and bytes of their answers' bodies.
type Cost = (usize, usize);

#[derive(Clone, Copy)]
pub(super) struct SourceCost {
    pub(super) first: Cost,
    pub(super) later: Cost,
}

pub(super) struct Costs {
    pub(super) by_source: Vec<(&'static str, SourceCost)>,
}

impl Costs {
    pub(super) async fn count() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let names: Vec<_> = (0..NAMES)
            .map(|at| (format!("{NAME}:v{at}"), digest(at)))
            .collect();
        let root = folder_of_names(folder.path(), &names);
        let files: HashMap<String, Vec<u8>> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                (name, std::fs::read(&path).unwrap())
            })
            .collect();
        let tuf = |metadata: String| {
            format!(
                "type = \"tuf\"\nfile = \"root.json\"\nsha256 = \"{}\"\nmetadata = [{metadata:?}]",
                Digest::of(&root).hex()
            )
        };
        let web = Server::listen(below("/meta", &files)).await;
        let at = format!("http://127.0.0.1:{}/meta", web.port);
        let of_web = web.cost(&tuf(at), &root).await;
        let registry = Server::listen(as_artifact(&files)).await;
        let at = format!("oci://127.0.0.1:{}/meta", registry.port);
        let of_registry = registry.cost(&tuf(at), &root).await;
        let mut publisher = Publisher::new(NAME);
        for (at, (_, digest)) in names.iter().enumerate() {
            publisher.tag(&format!("v{at}"), &digest.to_string(), 7);
        }
        let files = publisher.tree().files.into_iter().collect();
        let notary = Server::listen(below(&format!("/v2/{NAME}/_trust/tuf"), &files)).await;
        let pinned = format!(
            "type = \"notary\"\nserver = \"http://127.0.0.1:{}\"\nkeys = [\"{}\"]\nrole = \"targets/releases\"",
            notary.port,
            publisher.root_key().id()
        );
        let of_notary = notary.cost(&pinned, &root).await;
        Self {
            by_source: vec![
                ("TUF, web server", of_web),
                ("TUF, registry", of_registry),
                ("Notary server", of_notary),
            ],
        }
    }

    pub(super) fn web(&self) -> SourceCost {
        self.by_source[0].1
    }

    pub(super) fn registry(&self) -> SourceCost {
        self.by_source[1].1
    }
}

fn digest(number: usize) -> Digest {
    Digest::of(format!("image {number}").as_bytes())
}

fn below(folder: &str, files: &HashMap<String, Vec<u8>>) -> HashMap<String, Vec<u8>> {
    let files = files.iter();
    files
        .map(|(name, bytes)| (format!("{folder}/{name}"), bytes.clone()))
        .collect()
}

/// The files as layers of one manifest, under the tag `latest`.
fn as_artifact(files: &HashMap<String, Vec<u8>>) -> HashMap<String, Vec<u8>> {
    let layer = |(name, bytes): (&String, &Vec<u8>)| {
        json!({"mediaType": "application/vnd.tuf.metadata+json", "digest": Digest::of(bytes).to_string(),
            "size": bytes.len(), "annotations": {"tuf.io/filename": name}})
    };
    let layers: Vec<_> = files.iter().map(layer).collect();
    let config = json!({"mediaType": "application/vnd.oci.image.config.v1+json",
        "digest": Digest::of(b"").to_string(), "size": 0});
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers}).to_string();
    let blob = |bytes: &Vec<u8>| {
        (
            format!("/v2/meta/blobs/{}", Digest::of(bytes)),
            bytes.clone(),
        )
    };
    let latest = (
        "/v2/meta/manifests/latest".to_owned(),
        manifest.into_bytes(),
    );
    files.values().map(blob).chain([latest]).collect()
}

struct Server {
    port: u16,
    sent: Arc<Mutex<Cost>>,
}

impl Server {
    async fn listen(files: HashMap<String, Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let sent: Arc<Mutex<Cost>> = Arc::default();
        let (files, counted) = (Arc::new(files), Arc::clone(&sent));
        let app = axum::Router::new().fallback(move |request: Request| {
            let file = files.get(request.uri().path()).cloned();
            let mut sent = counted.lock().unwrap();
            sent.0 += 1;
            sent.1 += file.as_ref().map_or(0, Vec::len);
            let status = if file.is_some() { 200 } else { 404 };
            let answer = Response::builder().status(status);
            std::future::ready(answer.body(Body::from(file.unwrap_or_default())).unwrap())
        });
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { port, sent }
    }

    fn take(&self) -> Cost {
        std::mem::take(&mut self.sent.lock().unwrap())
    }

    /// The first look at this root, and one after `recheck`.
    async fn cost(&self, root: &str, root_file: &[u8]) -> SourceCost {
        let text = format!(
            "version = 1\ndefault = \"deny\"\n[[root]]\nid = \"a\"\n{root}\n[[rule]]\nmatch = \"{NAME}\"\nroots = [\"a\"]\n"
        );
        let files = BTreeMap::from([
            ("policy.toml".to_owned(), text.into_bytes()),
            ("root.json".to_owned(), root_file.to_vec()),
        ]);
        let now: Timestamp = NOW.parse().unwrap();
        let policy = match rootpin_policy::load(&files, now) {
            Ok(policy) => Arc::new(policy),
            Err(errors) => panic!("{errors:?}"),
        };
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let store = Arc::new(Store::open(folder.path()).unwrap());
        let sources = Arc::new(Sources::new(Arc::new(Credentials::none())));
        let decider = Decider::new(Ok(policy), sources, store, Duration::from_secs(30), true);
        let pull = Pull {
            door: Door::Verifier,
            name: format!("{NAME}:v1").parse().unwrap(),
            digest: digest(1),
        };
        let cost = async |seconds| {
            let at = now + jiff::SignedDuration::from_secs(seconds);
            let verdict = decider.pull(&pull, at).await;
            assert!(verdict.decision.lets_through(), "{verdict}");
            self.take()
        };
        let first = cost(0).await;
        assert_eq!(cost(59).await, (0, 0), "within recheck");
        let later = cost(60).await;
        SourceCost { first, later }
    }
}

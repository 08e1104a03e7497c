//! A registry that does as told, and who asks the resolver about it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hyper::ext::ReasonPhrase;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::containerd::Blob;
use crate::publisher::Publisher;
use crate::world::{Daemon, Image, PATIENCE, World};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// How a registry answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// By what it has.
    Honest,
    /// Never.
    Hangs,
    /// With these bytes, whatever digest is asked for.
    Lies(Vec<u8>),
    /// With fewer bytes than it announces.
    Short,
    /// With bytes that never end.
    Endless,
    /// With a header of a megabyte.
    HugeHeader,
    /// With a redirect to there.
    Redirects(String),
    /// With this status.
    Status(u16),
}

#[derive(Clone)]
pub(super) struct Upstream {
    pub(super) port: u16,
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    files: BTreeMap<String, Vec<u8>>,
    tags: BTreeMap<String, String>,
    manner: Manner,
    asked: Vec<String>,
}

/// A world with a resolver, and a registry whose `team/*` images the policy covers.
pub(super) struct Setting {
    pub(super) world: World,
    pub(super) upstream: Upstream,
    pub(super) address: String,
    pub(super) publisher: Publisher,
}

/// What the resolver answered.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) reason: String,
    pub(super) headers: reqwest::header::HeaderMap,
    pub(super) body: Result<Vec<u8>, String>,
}

impl Upstream {
    async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Shared {
            files: BTreeMap::new(),
            tags: BTreeMap::new(),
            manner: Manner::Honest,
            asked: Vec::new(),
        };
        let this = Self {
            port,
            shared: Arc::new(Mutex::new(shared)),
        };
        let shared = Arc::clone(&this.shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        this
    }

    /// Lets a tag of `team/app` be this image, all of which it has.
    pub(super) fn push(&self, tag: &str, image: &Image) {
        let mut shared = self.shared.lock().unwrap();
        for (kind, blob) in [
            ("blobs", &image.layer),
            ("blobs", &image.config),
            ("manifests", &image.manifest),
            ("manifests", &image.index),
        ] {
            shared.files.insert(
                format!("/v2/team/app/{kind}/{}", blob.digest),
                blob.bytes.clone(),
            );
        }
        shared.tags.insert(
            format!("/v2/team/app/manifests/{tag}"),
            format!("/v2/team/app/manifests/{}", image.index.digest),
        );
    }

    pub(super) fn blob(&self, blob: &Blob) {
        self.shared.lock().unwrap().files.insert(
            format!("/v2/team/app/blobs/{}", blob.digest),
            blob.bytes.clone(),
        );
    }

    pub(super) fn behave(&self, manner: Manner) {
        self.shared.lock().unwrap().manner = manner;
    }

    /// What it was asked since the last call of this.
    pub(super) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.lock().unwrap().asked)
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Mutex<Shared>>) {
    let mut head = Vec::new();
    while let Ok(byte) = stream.read_u8().await {
        head.push(byte);
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let text = String::from_utf8(std::mem::take(&mut head)).unwrap();
        let mut words = text.split(' ');
        let (method, path) = (
            words.next().unwrap().to_owned(),
            words.next().unwrap().to_owned(),
        );
        let manner = {
            let mut shared = shared.lock().unwrap();
            shared.asked.push(format!("{method} {path}"));
            shared.manner.clone()
        };
        let head_only = method == "HEAD";
        let answer = match manner {
            Manner::Hangs => std::future::pending().await,
            Manner::Honest => by_what_it_has(&shared.lock().unwrap(), &path, &text),
            Manner::Lies(bytes) => found(INDEX, &bytes, None),
            Manner::Short => b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{}".to_vec(),
            Manner::Endless => b"HTTP/1.1 200 OK\r\n\r\n".to_vec(),
            Manner::HugeHeader => format!(
                "HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 0\r\n\r\n",
                "y".repeat(1 << 20)
            )
            .into_bytes(),
            Manner::Redirects(to) => {
                format!("HTTP/1.1 307 T\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
                    .into_bytes()
            }
            Manner::Status(status) => {
                format!("HTTP/1.1 {status} S\r\ncontent-length: 0\r\n\r\n").into_bytes()
            }
        };
        let end = answer
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap()
            + 4;
        if stream
            .write_all(if head_only { &answer[..end] } else { &answer })
            .await
            .is_err()
        {
            return;
        }
        match shared.lock().unwrap().manner {
            Manner::Short => return,
            Manner::Endless => {}
            _ => continue,
        }
        while stream.write_all(&[b' '; 8192]).await.is_ok() {}
    }
}

fn by_what_it_has(shared: &Shared, path: &str, request: &str) -> Vec<u8> {
    let path = shared.tags.get(path).map_or(path, String::as_str);
    let Some(bytes) = shared.files.get(path) else {
        return b"HTTP/1.1 404 N\r\ncontent-length: 0\r\n\r\n".to_vec();
    };
    let kind = if path.contains("/manifests/") {
        INDEX
    } else {
        "application/octet-stream"
    };
    let from = request
        .to_lowercase()
        .split_once("range: bytes=")
        .and_then(|(_, rest)| rest.split('-').next()?.parse().ok());
    let mut answer = found(kind, bytes, from);
    if path.contains("/manifests/") {
        let digest = path.rsplit('/').next().unwrap();
        let at = answer
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap();
        answer.splice(
            at..at,
            format!("\r\ndocker-content-digest: {digest}").into_bytes(),
        );
    }
    answer
}

fn found(kind: &str, bytes: &[u8], from: Option<usize>) -> Vec<u8> {
    let sent = &bytes[from.unwrap_or_default()..];
    let status = match from {
        None => "200 OK".to_owned(),
        Some(from) => format!(
            "206 P\r\ncontent-range: bytes {from}-{}/{}",
            bytes.len() - 1,
            bytes.len()
        ),
    };
    [
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
            sent.len()
        )
        .as_bytes(),
        sent,
    ]
    .concat()
}

impl Setting {
    pub(super) fn new(name: &str) -> Option<Self> {
        let world = World::new(name)?;
        let upstream = world.runtime.block_on(Upstream::listen());
        let publisher = Publisher::new(&format!("127.0.0.1:{}/team/app", upstream.port));
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let setting = Self {
            world,
            upstream,
            address: format!("127.0.0.1:{port}"),
            publisher,
        };
        setting.world.write_policy(&setting.policy(""));
        setting.fetch_here(true);
        Some(setting)
    }

    /// Has the registry's hosts.toml lead here for bytes, or only for tags.
    pub(super) fn fetch_here(&self, whole: bool) {
        let folder = self
            .world
            .path("certs.d")
            .join(format!("127.0.0.1:{}", self.upstream.port));
        std::fs::create_dir_all(&folder).unwrap();
        let path = if whole { "" } else { "/resolve" };
        let text = format!(
            "server = \"http://127.0.0.1:{}\"\ncapabilities = [\"pull\"]\n[host.\"http://{}{path}\"]\ncapabilities = [\"pull\", \"resolve\"]\n",
            self.upstream.port, self.address
        );
        std::fs::write(folder.join("hosts.toml"), text).unwrap();
    }

    /// A policy with `more` in front.
    pub(super) fn policy(&self, more: &str) -> String {
        let (head, rest) = ("version = 1\ndefault = \"deny\"\n", self.rules());
        if more.starts_with("mode") {
            format!("{head}{more}\n{rest}")
        } else {
            format!("{head}{rest}{more}\n")
        }
    }

    fn rules(&self) -> String {
        format!(
            "[[root]]\nid = \"acme\"\ntype = \"notary\"\nserver = \"http://127.0.0.1:{}\"\nkeys = [\"{}\"]\nrole = \"targets/releases\"\n\
             [[rule]]\nmatch = \"127.0.0.1:{}/team/*\"\nroots = [\"acme\"]\n",
            self.world.notary.port,
            self.publisher.root_key().id(),
            self.upstream.port
        )
    }

    /// The full name of a tag.
    pub(super) fn name(&self, tag: &str) -> String {
        format!("127.0.0.1:{}/team/app:{tag}", self.upstream.port)
    }

    /// Signs that a tag is this image, and lets the registry have it.
    pub(super) fn sign(&mut self, tag: &str, image: &Image) {
        self.publisher.tag(
            tag,
            &image.index.digest,
            u64::try_from(image.index.bytes.len()).unwrap(),
        );
        self.world.notary.publish(&self.publisher);
        self.upstream.push(tag, image);
    }

    pub(super) fn start(&self) -> Daemon {
        let hosts = self.world.path("certs.d");
        self.world.start_ready(&format!(
            "resolver = \"{}\"\nhosts-dir = \"{}\"\n{}",
            self.address,
            hosts.display(),
            self.world.config()
        ))
    }

    /// Asks as containerd does.
    pub(super) fn ask(&self, method: &str, path: &str) -> Answered {
        let url = format!(
            "http://{}{path}?ns=127.0.0.1%3A{}",
            self.address, self.upstream.port
        );
        self.world
            .runtime
            .block_on(ask(&reqwest::Client::new(), method, &url, &[]))
    }

    pub(super) fn tag(&self, method: &str, tag: &str) -> Answered {
        self.ask(method, &format!("/v2/team/app/manifests/{tag}"))
    }

    /// The same question by so many at once, and how long the last answer took.
    pub(super) fn at_once(&self, tags: &[String]) -> (Vec<Answered>, Duration) {
        let began = Instant::now();
        let client = reqwest::Client::new();
        let asking = tags.iter().map(|tag| {
            let client = client.clone();
            let url = format!(
                "http://{}/v2/team/app/manifests/{tag}?ns=127.0.0.1%3A{}",
                self.address, self.upstream.port
            );
            self.world
                .runtime
                .spawn(async move { ask(&client, "HEAD", &url, &[]).await })
        });
        let asking: Vec<_> = asking.collect();
        let answers = self.world.runtime.block_on(async {
            let mut answers = Vec::new();
            for one in asking {
                answers.push(one.await.unwrap());
            }
            answers
        });
        (answers, began.elapsed())
    }
}

pub(super) async fn ask(
    client: &reqwest::Client,
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
) -> Answered {
    let mut request = client
        .request(method.parse().unwrap(), url)
        .timeout(PATIENCE);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap();
    let reason = response
        .extensions()
        .get::<ReasonPhrase>()
        .map(|reason| String::from_utf8_lossy(reason.as_bytes()).into_owned());
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response
        .bytes()
        .await
        .map(|bytes| bytes.to_vec())
        .map_err(|error| error.to_string());
    Answered {
        status,
        reason: reason.unwrap_or_default(),
        headers,
        body,
    }
}

impl Answered {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub(super) fn digest(&self) -> &str {
        self.header("docker-content-digest")
    }

    /// Code and message of OCI's error body.
    pub(super) fn error(&self) -> (String, String) {
        let value: serde_json::Value = serde_json::from_slice(self.body.as_ref().unwrap()).unwrap();
        let text = |name: &str| value["errors"][0][name].as_str().unwrap().to_owned();
        (text("code"), text("message"))
    }
}

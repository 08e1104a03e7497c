//! A host for tests: the real daemon with a policy, a state and sockets of its own, a trust server,
//! and a containerd that is a fake.

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

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use containerd_client::services::v1::diff_client::DiffClient;
use containerd_client::services::v1::{ApplyRequest, ApplyResponse};
use containerd_client::types::Descriptor;
use rootpin_trust::image::Digest;
use serde_json::{Value, json};
use tonic::Status;

use crate::containerd::{Blob, Containerd, Held, channel};
use crate::publisher::Publisher;

pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// What the policy covers.
pub const GUN: &str = "r.test/team/app";
/// Longer than anything takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A directory, a trust server and a containerd. The daemon is started by [`World::start`].
pub struct World {
    pub dir: PathBuf,
    pub runtime: tokio::runtime::Runtime,
    pub notary: Notary,
    pub containerd: Containerd,
    /// `deadline` of rootpin.toml.
    pub deadline: &'static str,
}

/// A trust server on loopback.
#[derive(Clone)]
pub struct Notary {
    pub port: u16,
    inner: Arc<NotaryInner>,
}

#[derive(Default)]
struct NotaryInner {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    hung: AtomicBool,
    questions: AtomicUsize,
    asked: tokio::sync::Notify,
}

/// A running rootpind.
pub struct Daemon {
    pub child: Child,
    lines: mpsc::Receiver<String>,
    seen: Vec<String>,
    notices: UnixDatagram,
}

/// A program that ended: exit code (or minus the signal), standard output, standard error.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// One image: a layer, a config, a manifest, an index.
#[derive(Clone)]
pub struct Image {
    pub layer: Blob,
    pub config: Blob,
    pub manifest: Blob,
    pub index: Blob,
}

impl World {
    /// A new one below the build directory: a temporary directory is writable by all, and policies
    /// there are refused. `None`, with a message, where the tests don't run as root, as the daemon
    /// does.
    #[allow(clippy::disallowed_macros, reason = "a test that did not run says so")]
    pub fn new(name: &str) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        if fs::metadata("/proc/self").unwrap().uid() != 0 {
            eprintln!("not run: the daemon's policy must be root's");
            return None;
        }
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("policy/policy.d")).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let notary = runtime.block_on(Notary::listen());
        let containerd = {
            let _inside = runtime.enter();
            Containerd::listen(&dir.join("containerd"))
        };
        let world = Self {
            dir,
            runtime,
            notary,
            containerd,
            deadline: "5s",
        };
        world.write_policy(&world.policy());
        Some(world)
    }

    /// A policy that pins the root of [`GUN`]'s publisher.
    pub fn policy(&self) -> String {
        format!(
            "version = 1\ndefault = \"deny\"\n[[root]]\nid = \"acme\"\ntype = \"notary\"\nserver = \"http://127.0.0.1:{}\"\n\
             keys = [\"{}\"]\nrole = \"targets/releases\"\n[[rule]]\nmatch = \"r.test/team/*\"\nroots = [\"acme\"]\n",
            self.notary.port,
            Publisher::new(GUN).root_key().id()
        )
    }

    /// Puts a policy in place, by rename.
    pub fn write_policy(&self, text: &str) {
        let fresh = self.dir.join("policy/policy.new");
        fs::write(&fresh, text).unwrap();
        fs::rename(fresh, self.dir.join("policy/policy.toml")).unwrap();
    }

    /// Publishes that `v1` of [`GUN`] is this digest.
    pub fn sign(&self, digest: &str) -> Publisher {
        let mut publisher = Publisher::new(GUN);
        publisher.tag("v1", digest, 7);
        self.notary.publish(&publisher);
        publisher
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// rootpin.toml's text.
    pub fn config(&self) -> String {
        let at = |name: &str| self.path(name).display().to_string();
        format!(
            "state = {:?}\ncontrol = {:?}\npolicy = {:?}\naudit-log = {:?}\ndeadline = {:?}\n\
             [[engine]]\nname = \"main\"\ncontainerd = {:?}\ngate = {:?}\napply = {:?}\n",
            at("state"),
            at("control"),
            at("policy"),
            at("audit.jsonl"),
            self.deadline,
            at("containerd"),
            at("gate"),
            at("apply")
        )
    }

    /// Starts the daemon and waits until it says that it is ready.
    pub fn start(&self) -> Daemon {
        self.start_ready(&self.config())
    }

    /// The same with another configuration.
    pub fn start_ready(&self, config: &str) -> Daemon {
        let daemon = self.start_with(config);
        assert_eq!(daemon.notice(), "READY=1");
        daemon
    }

    /// Starts the daemon with this configuration.
    pub fn start_with(&self, config: &str) -> Daemon {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rootpind"));
        command.arg("--config").arg(self.path("rootpin.toml"));
        self.start_by(config, &mut command)
    }

    /// Starts the daemon with these sockets, as systemd passes them.
    pub fn start_passing(&self, config: &str, sockets: &[std::os::fd::RawFd]) -> Daemon {
        let passed = sockets
            .iter()
            .enumerate()
            .map(|(at, socket)| format!(" {}<&{socket}", at + 3))
            .collect::<Vec<_>>()
            .concat();
        let script = format!(
            "LISTEN_PID=$$ LISTEN_FDS={} exec \"$0\" --config \"$1\"{passed}",
            sockets.len()
        );
        // A small shell knows no descriptors of two digits.
        let mut command = Command::new("bash");
        command
            .args(["-c", &script, env!("CARGO_BIN_EXE_rootpind")])
            .arg(self.path("rootpin.toml"));
        self.start_by(config, &mut command)
    }

    /// Starts the daemon by that command.
    pub fn start_by(&self, config: &str, command: &mut Command) -> Daemon {
        fs::write(self.path("rootpin.toml"), config).unwrap();
        let notify = self.path("notify");
        let _ = fs::remove_file(&notify);
        let notices = UnixDatagram::bind(&notify).unwrap();
        notices.set_read_timeout(Some(PATIENCE)).unwrap();
        command
            .env("NOTIFY_SOCKET", &notify)
            .env_remove("JOURNAL_STREAM");
        let mut child = command
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = Vec::new();
            while stderr
                .read_until(b'\n', &mut line)
                .is_ok_and(|length| length > 0)
            {
                let _ = sender.send(
                    String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line)).into_owned(),
                );
                line.clear();
            }
        });
        Daemon {
            child,
            lines,
            seen: Vec::new(),
            notices,
        }
    }

    /// Runs `rootpin` against this daemon.
    pub fn rootpin(&self, words: &[&str]) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
        run(
            command
                .args(words)
                .arg("--control")
                .arg(self.path("control")),
            b"",
        )
    }

    /// `rootpin … --json`, which must be one object of version 1, and its exit code.
    pub fn rootpin_json(&self, words: &[&str]) -> (Value, i32) {
        let ended = self.rootpin(&[words, &["--json"]].concat());
        let value: Value =
            serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
        assert_eq!(value["version"], 1, "{ended:?}");
        (value, ended.code)
    }

    /// Runs `rootpin-verifier` as containerd does.
    pub fn verifier(&self, name: &str, digest: &str) -> Ended {
        let descriptor = json!({"mediaType": MANIFEST, "digest": digest, "size": 7}).to_string();
        run(
            &mut self.verifier_command(name, digest),
            descriptor.as_bytes(),
        )
    }

    pub fn verifier_command(&self, name: &str, digest: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin-verifier"));
        command.arg("--control").arg(self.path("control"));
        command.args([
            "-name",
            name,
            "-digest",
            digest,
            "-stdin-media-type",
            "application/vnd.oci.descriptor.v1+json",
        ]);
        command
    }

    /// Asks a gate (`gate` or `apply`) to unpack a layer, with those headers.
    pub fn unpack(
        &self,
        door: &str,
        message: ApplyRequest,
        headers: &[(&'static str, &str)],
    ) -> Result<ApplyResponse, Status> {
        let mut request = tonic::Request::new(message);
        for (name, value) in headers {
            request.metadata_mut().insert(*name, value.parse().unwrap());
        }
        self.runtime.block_on(async {
            let mut client = DiffClient::new(channel(&self.path(door)));
            let answer = tokio::time::timeout(PATIENCE, client.apply(request))
                .await
                .expect("the gate never answers");
            answer.map(tonic::Response::into_inner)
        })
    }

    /// The status' entry of a door, once it is checked.
    pub fn door(&self, door: &str) -> Value {
        self.door_when(door, |entry| {
            entry["state"] != "not checked" || !entry["detail"].is_null()
        })
    }

    /// The status' entry of a door, once it is as wanted.
    pub fn door_when(&self, door: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let (status, _) = self.rootpin_json(&["status"]);
            let entry = status["doors"]
                .as_array()
                .unwrap()
                .iter()
                .find(|entry| entry["door"] == door)
                .unwrap()
                .clone();
            if wanted(&entry) {
                return entry;
            }
            assert!(Instant::now() < until, "{status}");
        }
    }

    /// The lines of the audit file that questions made; sweeps come and go by themselves.
    pub fn audit(&self) -> Vec<Value> {
        self.records()
            .into_iter()
            .filter(|record| record["door"] != "sweep")
            .collect()
    }

    /// Those that sweeps made.
    pub fn swept(&self) -> Vec<Value> {
        self.records()
            .into_iter()
            .filter(|record| record["door"] == "sweep")
            .collect()
    }

    fn records(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("audit.jsonl")).unwrap();
        text.lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
            })
            .collect()
    }
}

impl Notary {
    pub async fn listen() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Self {
            port: listener.local_addr().unwrap().port(),
            inner: Arc::default(),
        };
        let inner = Arc::clone(&this.inner);
        let app = axum::Router::new().fallback(move |request: axum::extract::Request| {
            let inner = Arc::clone(&inner);
            async move {
                inner.questions.fetch_add(1, Ordering::Relaxed);
                inner.asked.notify_one();
                if inner.hung.load(Ordering::Relaxed) {
                    std::future::pending::<()>().await;
                }
                let found = inner
                    .files
                    .lock()
                    .unwrap()
                    .get(request.uri().path())
                    .cloned();
                let status = if found.is_some() { 200 } else { 404 };
                http::Response::builder()
                    .status(status)
                    .body(axum::body::Body::from(found.unwrap_or_default()))
                    .unwrap()
            }
        });
        tokio::spawn(async move { axum::serve(listener, app).await });
        this
    }

    /// Serves what a publisher has now.
    pub fn publish(&self, publisher: &Publisher) {
        let base = format!("/v2/{}/_trust/tuf/", publisher.gun);
        let mut files = self.inner.files.lock().unwrap();
        files.retain(|path, _| !path.starts_with(&base));
        files.extend(
            publisher
                .tree()
                .files
                .into_iter()
                .map(|(name, bytes)| (format!("{base}{name}"), bytes)),
        );
    }

    /// Serves one more file.
    pub fn serve(&self, path: &str, bytes: Vec<u8>) {
        self.inner
            .files
            .lock()
            .unwrap()
            .insert(path.to_owned(), bytes);
    }

    /// From now on no question is answered, or all are.
    pub fn hang(&self, hung: bool) {
        self.inner.hung.store(hung, Ordering::Relaxed);
    }

    pub fn questions(&self) -> usize {
        self.inner.questions.load(Ordering::Relaxed)
    }

    /// Waits until the next question has come in, or one that came since it was last waited for.
    pub async fn is_asked(&self) {
        assert!(
            self.is_asked_within(PATIENCE).await,
            "the trust server is never asked"
        );
    }

    /// Whether it is asked within that time.
    pub async fn is_asked_within(&self, time: Duration) -> bool {
        tokio::time::timeout(time, self.inner.asked.notified())
            .await
            .is_ok()
    }
}

impl Daemon {
    pub fn pid(&self) -> String {
        self.child.id().to_string()
    }

    pub fn signal(&self, name: &str) {
        // The shell's own: a small system has no program of that name.
        assert!(
            Command::new("sh")
                .args(["-c", "kill \"$0\" \"$1\"", name, &self.pid()])
                .status()
                .unwrap()
                .success()
        );
    }

    /// The next thing that it tells systemd.
    pub fn notice(&self) -> String {
        let mut buffer = [0; 1024];
        let length = self
            .notices
            .recv(&mut buffer)
            .expect("no word from the daemon");
        String::from_utf8_lossy(&buffer[..length]).trim().to_owned()
    }

    /// What it tells systemd, until nothing more has come for so long.
    pub fn notices_within(&self, time: Duration) -> Vec<String> {
        self.notices.set_read_timeout(Some(time)).unwrap();
        let mut buffer = [0; 1024];
        let mut next = || {
            self.notices
                .recv(&mut buffer)
                .ok()
                .map(|length| String::from_utf8_lossy(&buffer[..length]).trim().to_owned())
        };
        std::iter::from_fn(&mut next).collect()
    }

    /// Waits for a line of the log with that text in it.
    pub fn line(&mut self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let line = self
                .lines
                .recv_timeout(until.saturating_duration_since(Instant::now()));
            let line = line.unwrap_or_else(|_| panic!("no line with {text:?} in {:#?}", self.seen));
            self.seen.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Waits for its end. Returns the exit code (or minus the signal) and all lines of its log.
    pub fn end(mut self) -> (i32, Vec<String>) {
        let status = self.child.wait().unwrap();
        let mut lines = std::mem::take(&mut self.seen);
        lines.extend(self.lines.iter());
        (
            status
                .code()
                .or_else(|| status.signal().map(|signal| -signal))
                .unwrap(),
            lines,
        )
    }

    /// SIGTERM, and its end.
    pub fn stop(self) -> (i32, Vec<String>) {
        self.signal("-TERM");
        self.end()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end, with that on standard input.
pub fn run(command: &mut Command, input: &[u8]) -> Ended {
    ended(start(command, input).wait_with_output().unwrap())
}

/// Starts a program, with that on standard input.
pub fn start(command: &mut Command, input: &[u8]) -> Child {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that doesn't read to the end closes the pipe.
    let _ = child.stdin.take().unwrap().write_all(input);
    child
}

/// What is left of a program.
pub fn ended(output: Output) -> Ended {
    let code = output
        .status
        .code()
        .or_else(|| output.status.signal().map(|signal| -signal))
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended {
        code,
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

impl Image {
    /// The image of that name; no two names share a blob.
    pub fn named(name: &str) -> Self {
        let layer = blob(format!("layer of {name}").into_bytes());
        let config = blob(
            json!({"architecture": "amd64", "os": "linux", "comment": name})
                .to_string()
                .into_bytes(),
        );
        Self::of(layer, config, &json!({}))
    }

    /// An image of these, and an index over it with that annotation on its entry.
    pub fn of(layer: Blob, config: Blob, annotations: &Value) -> Self {
        let config_entry = entry("application/vnd.oci.image.config.v1+json", &config);
        let body = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config_entry, "layers": [entry(LAYER, &layer)]});
        let mut manifest = blob(body.to_string().into_bytes());
        manifest.labels = labels(&[
            ("containerd.io/gc.ref.content.config", &config),
            ("containerd.io/gc.ref.content.l.0", &layer),
        ]);
        let mut listed = entry(MANIFEST, &manifest);
        listed["annotations"] = annotations.clone();
        let mut index = blob(
            json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [listed]})
                .to_string()
                .into_bytes(),
        );
        index.labels = labels(&[("containerd.io/gc.ref.content.m.0", &manifest)]);
        Self {
            layer,
            config,
            manifest,
            index,
        }
    }

    /// The same image under an index that claims a name for it, as an archive does.
    pub fn claimed(&self, name: &str) -> Self {
        Self::of(
            self.layer.clone(),
            self.config.clone(),
            &json!({"io.containerd.image.name": name}),
        )
    }

    /// Without the labels that containerd's own clients set.
    pub fn without_labels(mut self) -> Self {
        for blob in [
            &mut self.layer,
            &mut self.config,
            &mut self.manifest,
            &mut self.index,
        ] {
            blob.labels.clear();
        }
        self
    }

    /// All of it in a namespace.
    pub fn hold(&self, held: &mut Held) {
        held.blobs.extend(
            [&self.layer, &self.config, &self.manifest, &self.index]
                .into_iter()
                .cloned(),
        );
    }

    /// All of it in a namespace, with an image record.
    pub fn hold_as(&self, held: &mut Held, name: &str) {
        self.hold(held);
        held.images
            .push((name.to_owned(), self.index.digest.clone()));
    }

    /// The request to unpack its layer.
    pub fn unpack(&self) -> ApplyRequest {
        self.unpack_with(&[])
    }

    /// The same with annotations on the layer.
    pub fn unpack_with(&self, annotations: &[(&str, &str)]) -> ApplyRequest {
        let annotations = annotations
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let size = i64::try_from(self.layer.bytes.len()).unwrap();
        let diff = Descriptor {
            media_type: LAYER.to_owned(),
            digest: self.layer.digest.clone(),
            size,
            annotations,
        };
        ApplyRequest {
            diff: Some(diff),
            ..ApplyRequest::default()
        }
    }
}

/// A blob of these bytes.
pub fn blob(bytes: Vec<u8>) -> Blob {
    Blob {
        digest: Digest::of(&bytes).to_string(),
        bytes,
        ..Blob::default()
    }
}

/// So many indexes, each over the one before it, the first over this one; the highest last. Every
/// second one is listed by Docker's media type.
pub fn indexes_over(index: &Blob, count: usize) -> Vec<Blob> {
    let mut indexes = vec![index.clone()];
    for level in 0..count {
        let below = indexes.last().unwrap();
        let kind = if level % 2 == 0 { INDEX } else { LIST };
        let body = json!({"schemaVersion": 2, "manifests": [entry(kind, below)]});
        let mut above = blob(body.to_string().into_bytes());
        above.labels = labels(&[("containerd.io/gc.ref.content.m.0", below)]);
        indexes.push(above);
    }
    indexes.split_off(1)
}

fn entry(media_type: &str, blob: &Blob) -> Value {
    json!({"mediaType": media_type, "digest": blob.digest, "size": blob.bytes.len()})
}

fn labels(pairs: &[(&str, &Blob)]) -> HashMap<String, String> {
    pairs
        .iter()
        .map(|(name, blob)| ((*name).to_owned(), blob.digest.clone()))
        .collect()
}

/// Whether a file is there; for waiting until it is.
pub fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

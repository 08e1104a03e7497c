//! `rootpin kubernetes` against a stand-in for an API server, which applies patches as RFC 6902 has
//! them.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use axum::serve::Listener;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::tls::Authority;
use crate::world::{Ended, run};

const TAINT: &str = "rootpin/not-ready";
const TOKEN: &str = "a-token-of-the-pod";

struct TlsListener {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// What the stand-in holds.
#[derive(Default)]
struct Cluster {
    taints: Vec<Value>,
    daemonset: Value,
    patches: usize,
    /// Somebody else's taint, which comes first into the list before so many patches are applied.
    intrusions: usize,
}

type Shared = Arc<Mutex<Cluster>>;

fn refused(status: u16, message: &str) -> (StatusCode, String) {
    let body = json!({ "kind": "Status", "status": "Failure", "message": message, "code": status });
    (StatusCode::from_u16(status).unwrap(), body.to_string())
}

fn allowed(headers: &HeaderMap) -> bool {
    headers
        .get("authorization")
        .and_then(|value| value.to_str().ok())
        == Some(&format!("Bearer {TOKEN}"))
}

async fn node(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> (StatusCode, String) {
    if !allowed(&headers) {
        return refused(403, "nodes \"one\" is forbidden");
    }
    if name != "one" {
        return refused(404, "nodes not found");
    }
    let shared = shared.lock().unwrap();
    (
        StatusCode::OK,
        json!({ "kind": "Node", "spec": { "taints": shared.taints } }).to_string(),
    )
}

async fn patch(
    State(shared): State<Shared>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    assert!(allowed(&headers));
    assert_eq!(headers["content-type"], "application/json-patch+json");
    let mut shared = shared.lock().unwrap();
    shared.patches += 1;
    if shared.intrusions > 0 {
        shared.intrusions -= 1;
        let number = shared.patches;
        shared.taints.insert(
            0,
            json!({ "key": format!("other-{number}"), "effect": "NoSchedule" }),
        );
    }
    let mut taints = shared.taints.clone();
    for change in serde_json::from_slice::<Vec<Value>>(&body).unwrap() {
        let path = change["path"].as_str().unwrap();
        let index: usize = path.strip_prefix("/spec/taints/").unwrap().parse().unwrap();
        match change["op"].as_str().unwrap() {
            "test" if taints.get(index) == Some(&change["value"]) => {}
            "remove" if index < taints.len() => {
                taints.remove(index);
            }
            _ => return refused(422, "testing value failed\u{1b}[2J"),
        }
    }
    shared.taints = taints;
    (StatusCode::OK, "{}".to_owned())
}

async fn daemonset(State(shared): State<Shared>, headers: HeaderMap) -> (StatusCode, String) {
    if !allowed(&headers) {
        return refused(403, "daemonsets is forbidden");
    }
    (StatusCode::OK, shared.lock().unwrap().daemonset.to_string())
}

async fn adopted(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> StatusCode {
    if !allowed(&headers) {
        return StatusCode::FORBIDDEN;
    }
    let changes: Vec<Value> = serde_json::from_slice(&body).unwrap();
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert_eq!(
        (&changes[0]["op"], &changes[0]["path"]),
        (&json!("add"), &json!("/metadata/ownerReferences"))
    );
    let mut shared = shared.lock().unwrap();
    shared.daemonset["metadata"]["ownerReferences"] = changes[0]["value"].clone();
    StatusCode::OK
}

/// A cluster, and a pod's folder in it.
struct Pod {
    shared: Shared,
    port: u16,
    account: tempfile::TempDir,
}

impl Pod {
    async fn new() -> Self {
        let authority = Authority::new();
        let shared = Shared::default();
        let app = Router::new()
            .route("/api/v1/nodes/{name}", get(node).patch(patch))
            .route(
                "/apis/apps/v1/namespaces/system/daemonsets/cleanup",
                get(daemonset).patch(adopted),
            )
            .with_state(shared.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let acceptor = authority.server(&["http/1.1"]);
        tokio::spawn(async move { axum::serve(TlsListener { listener, acceptor }, app).await });
        let account = tempfile::tempdir().unwrap();
        fs::write(account.path().join("ca.crt"), authority.pem()).unwrap();
        fs::write(account.path().join("token"), format!("{TOKEN}\n")).unwrap();
        Self {
            shared,
            port,
            account,
        }
    }

    fn taint(&self, key: &str) {
        let taint = json!({ "key": key, "effect": "NoSchedule" });
        self.shared.lock().unwrap().taints.push(taint);
    }

    fn keys(&self) -> Vec<String> {
        let shared = self.shared.lock().unwrap();
        let key = |taint: &Value| taint["key"].as_str().unwrap().to_owned();
        shared.taints.iter().map(key).collect()
    }

    async fn run(&self, words: &[&str]) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
        command
            .arg("kubernetes")
            .args(words)
            .arg("--account")
            .arg(self.account.path())
            .env("KUBERNETES_SERVICE_HOST", "127.0.0.1")
            .env("KUBERNETES_SERVICE_PORT", self.port.to_string())
            .env("HTTPS_PROXY", "http://127.0.0.1:1");
        tokio::task::spawn_blocking(move || run(&mut command, b""))
            .await
            .unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_startup_taint_goes_and_others_stay_also_when_others_write_at_the_same_time() {
    let pod = Pod::new().await;
    for key in ["a", TAINT, "b", TAINT] {
        pod.taint(key);
    }
    pod.shared.lock().unwrap().intrusions = 2;
    let ended = pod.run(&["untaint", "one", "--taint", TAINT]).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(pod.keys(), ["other-2", "other-1", "a", "b"]);
    let ended = pod
        .run(&["untaint", "one", "--taint", TAINT, "--json"])
        .await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let said: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(said["removed"], 0);
    assert_eq!(
        pod.shared.lock().unwrap().patches,
        3,
        "no patch without a taint"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_changes_all_the_time_keeps_the_taint_and_the_servers_words_are_made_safe() {
    let pod = Pod::new().await;
    pod.taint(TAINT);
    pod.shared.lock().unwrap().intrusions = 100;
    let ended = pod.run(&["untaint", "one", "--taint", TAINT]).await;
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(pod.keys().contains(&TAINT.to_owned()));
    assert!(
        ended.err.contains("422") && !ended.err.contains('\u{1b}'),
        "{ended:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_another_ca_is_given_no_token() {
    let pod = Pod::new().await;
    pod.taint(TAINT);
    fs::write(pod.account.path().join("ca.crt"), Authority::new().pem()).unwrap();
    let ended = pod.run(&["untaint", "one", "--taint", TAINT]).await;
    assert_eq!(ended.code, 2, "{ended:?}");
    assert_eq!(pod.keys(), [TAINT]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_of_the_api_server_is_told_with_its_words() {
    let pod = Pod::new().await;
    fs::write(pod.account.path().join("token"), "another").unwrap();
    let ended = pod.run(&["untaint", "one", "--taint", TAINT]).await;
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(
        ended.err.contains("403 nodes \"one\" is forbidden"),
        "{ended:?}"
    );
    for node in ["../one", "one/status", "ONE"] {
        let ended = pod.run(&["untaint", node, "--taint", TAINT]).await;
        assert_eq!(ended.code, 2, "{node}: {ended:?}");
        assert!(
            ended.err.contains("not the name of an object"),
            "{node}: {ended:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemonset_is_waited_for_until_it_is_ready_everywhere_or_the_time_is_over() {
    let pod = Pod::new().await;
    let words = [
        "wait",
        "cleanup",
        "--namespace",
        "system",
        "--timeout",
        "0s",
    ];
    let status = |ready| {
        json!({ "metadata": { "generation": 1 }, "status": {
            "observedGeneration": 1, "desiredNumberScheduled": 3, "numberReady": ready } })
    };
    for (ready, code) in [(2, 1), (3, 0)] {
        pod.shared.lock().unwrap().daemonset = status(ready);
        let ended = pod.run(&words).await;
        assert_eq!(ended.code, code, "{ended:?}");
        assert!(ended.out.contains(&format!("{ready} of 3")), "{ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemonset_of_a_clean_up_goes_with_its_job_whether_or_not_it_is_done_in_time() {
    let pod = Pod::new().await;
    pod.shared.lock().unwrap().daemonset = json!({ "metadata": { "generation": 1 }, "status": {
        "observedGeneration": 1, "desiredNumberScheduled": 3, "numberReady": 2 } });
    let words = "wait cleanup --namespace system --timeout 0s --owner cleanup";
    let mut words: Vec<&str> = words.split(' ').collect();
    let ended = pod.run(&words).await;
    assert_eq!(ended.code, 64, "a Job without its UID: {ended:?}");
    words.extend(["--owner-uid", "5f1c"]);
    let ended = pod.run(&words).await;
    assert_eq!(ended.code, 1, "{ended:?}");
    let owner =
        json!([{ "apiVersion": "batch/v1", "kind": "Job", "name": "cleanup", "uid": "5f1c" }]);
    let found = pod.shared.lock().unwrap().daemonset["metadata"]["ownerReferences"].clone();
    assert_eq!(found, owner);
}

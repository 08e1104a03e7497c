//! dockerd's authorization plugin: the daemon itself, asked as dockerd asks, by a dockerd that is a
//! fake and shows it the plugin's own calls.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Method};
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rootpin::engines::DockerdClient;
use rootpin_trust::image::Digest;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;

use crate::world::{GUN, PATIENCE, World};

const JSON: &str = "application/json";

/// A dockerd: what it answers to GET, each of which it shows to the plugin before.
#[derive(Clone, Default)]
struct Dockerd {
    answers: Arc<Mutex<BTreeMap<String, Value>>>,
    hung: Arc<AtomicBool>,
    /// Runs without the plugin.
    unplugged: Arc<AtomicBool>,
    /// Answers gRPC, as docker 29.2 does, without showing it to the plugin.
    grpc: Arc<AtomicBool>,
    /// Questions about images.
    asked: Arc<AtomicUsize>,
}

/// What the plugin said.
#[derive(Debug)]
struct Answer {
    allow: bool,
    words: String,
}

impl Dockerd {
    fn listen(world: &World) -> Self {
        let (this, plugin) = (Self::default(), world.path("authz"));
        let served = this.clone();
        let app = axum::Router::new().fallback(move |request: axum::extract::Request| {
            let (this, plugin) = (served.clone(), plugin.clone());
            async move {
                let path = request.uri().path().to_owned();
                if !this.unplugged.load(Ordering::Relaxed) {
                    // By HTTP/2 the URI has a host in it, which dockerd leaves out.
                    let uri = request.uri().path_and_query().unwrap().as_str();
                    let message = message(request.method().as_str(), uri, &[], "");
                    assert!(
                        ask(&plugin, message).await.allow,
                        "the plugin refuses its own question {path}"
                    );
                }
                this.asked
                    .fetch_add(usize::from(path.starts_with("/images/")), Ordering::Relaxed);
                if this.hung.load(Ordering::Relaxed) {
                    std::future::pending::<()>().await;
                }
                let found = this.answers.lock().unwrap().get(&path).cloned();
                let status = if found.is_some() { 200 } else { 404 };
                let body = found
                    .unwrap_or_else(|| json!({"message": "no such thing"}))
                    .to_string();
                http::Response::builder()
                    .status(status)
                    .body(axum::body::Body::from(body))
                    .unwrap()
            }
        });
        this.answers
            .lock()
            .unwrap()
            .insert("/_ping".to_owned(), json!("OK"));
        let _inside = world.runtime.enter();
        let api = world.path("dockerd-api");
        let listener = tokio::net::UnixListener::bind(&api).unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        let (front, served) = (
            tokio::net::UnixListener::bind(world.path("dockerd")).unwrap(),
            this.clone(),
        );
        tokio::spawn(async move {
            while let Ok((stream, _)) = front.accept().await {
                tokio::spawn(served.clone().connection(stream, api.clone()));
            }
        });
        this
    }

    /// HTTP/2 is gRPC, where that is answered; all else is the API's.
    async fn connection(self, stream: UnixStream, api: PathBuf) -> std::io::Result<()> {
        let (mut read, write) = stream.into_split();
        let mut first = [0; 3];
        read.read_exact(&mut first).await?;
        let mut stream = tokio::io::join(std::io::Cursor::new(first).chain(read), write);
        if &first == b"PRI" && self.grpc.load(Ordering::Relaxed) {
            let answer = service_fn(|_| async {
                let answer = http::Response::builder()
                    .header("content-type", "application/grpc")
                    .header("grpc-status", "0");
                answer.body(http_body_util::Empty::<Bytes>::new())
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            return server
                .serve_connection(TokioIo::new(stream), answer)
                .await
                .map_err(std::io::Error::other);
        }
        tokio::io::copy_bidirectional(&mut stream, &mut UnixStream::connect(api).await?)
            .await
            .map(drop)
    }

    /// An image of the classic store, by every way to name it.
    fn hold(&self, id: &str, tags: &[&str], digests: &[String]) {
        let inspect = json!({"Id": id, "RepoTags": tags, "RepoDigests": digests});
        let mut answers = self.answers.lock().unwrap();
        for name in tags
            .iter()
            .copied()
            .chain(digests.iter().map(String::as_str))
            .chain([id, &id[7..19]])
        {
            answers.insert(format!("/images/{name}/json"), inspect.clone());
        }
    }

    fn contain(&self, name: &str, image: &str, written: &str) {
        let inspect = json!({"Id": "c0", "Image": image, "Config": {"Image": written}, "HostConfig": {"Mounts": null}});
        self.answers
            .lock()
            .unwrap()
            .insert(format!("/containers/{name}/json"), inspect);
    }
}

/// As dockerd writes it.
fn message(method: &str, uri: &str, headers: &[(&str, &str)], body: &str) -> Value {
    let headers: BTreeMap<_, _> = headers.iter().copied().collect();
    let mut message =
        json!({"RequestMethod": method, "RequestUri": uri, "RequestHeaders": headers});
    if !body.is_empty() {
        message["RequestBody"] = STANDARD.encode(body).into();
    }
    message
}

async fn call(plugin: &Path, path: &str, body: Vec<u8>) -> (u16, Value) {
    let answer = DockerdClient::at(plugin, PATIENCE)
        .call(Method::POST, path, HeaderMap::new(), body.into())
        .await
        .unwrap();
    (
        answer.status.as_u16(),
        serde_json::from_slice(&answer.body).unwrap(),
    )
}

async fn ask(plugin: &Path, message: Value) -> Answer {
    let (status, answer) = call(
        plugin,
        "/AuthZPlugin.AuthZReq",
        message.to_string().into_bytes(),
    )
    .await;
    assert_eq!(status, 200);
    Answer {
        allow: answer["Allow"].as_bool().unwrap(),
        words: answer["Msg"].as_str().unwrap().to_owned(),
    }
}

/// A world with a dockerd; rootpin.toml's text for it.
fn world(name: &str) -> Option<(World, Dockerd, String)> {
    let mut world = World::new(name)?;
    world.deadline = "3s";
    let dockerd = Dockerd::listen(&world);
    let at = |name: &str| world.path(name).display().to_string();
    let config = format!(
        "{}[[docker]]\nname = \"docker\"\nsocket = {:?}\nauthz = {:?}\n",
        world.config(),
        at("dockerd"),
        at("authz")
    );
    Some((world, dockerd, config))
}

trait Asked {
    fn plugin(&self) -> PathBuf;
    fn asked(&self, method: &str, uri: &str, headers: &[(&str, &str)], body: &str) -> Answer;
    fn create(&self, image: &str) -> Answer;
    fn post(&self, uri: &str) -> Answer;
}

impl Asked for World {
    fn plugin(&self) -> PathBuf {
        self.path("authz")
    }

    fn asked(&self, method: &str, uri: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.runtime
            .block_on(ask(&self.plugin(), message(method, uri, headers, body)))
    }

    fn create(&self, image: &str) -> Answer {
        self.asked(
            "POST",
            "/v1.45/containers/create?name=x",
            &[("Content-Type", JSON)],
            &json!({"Image": image}).to_string(),
        )
    }

    fn post(&self, uri: &str) -> Answer {
        self.asked("POST", uri, &[("Content-Length", "0")], "")
    }
}

impl Answer {
    fn is_no(&self, code: &str) -> bool {
        !self.allow
            && self.words.starts_with("rootpin: ")
            && self.words.contains(&format!(": {code}: "))
            && self.words.contains("hint: ")
    }
}

fn of(repository: &str, digest: &str) -> String {
    format!("{repository}@{digest}")
}

fn digest(text: &str) -> String {
    Digest::of(text.as_bytes()).to_string()
}

#[test]
fn a_container_is_made_of_what_is_signed_for_the_name_that_was_written_and_of_nothing_else() {
    let Some((world, dockerd, config)) = world("authz-create") else {
        return;
    };
    let (signed, other) = (digest("signed"), digest("other"));
    world.sign(&signed);
    dockerd.hold(
        &digest("config"),
        &["r.test/team/app:v1", "alias:1"],
        &[of(GUN, &signed)],
    );
    let daemon = world.start_ready(&config);
    for name in [
        "r.test/team/app:v1",
        "alias:1",
        &digest("config"),
        &digest("config")[7..19],
        &of(GUN, &signed),
    ] {
        assert!(world.create(name).allow, "{name}: {:?}", world.create(name));
    }
    assert!(
        world.create("r.test/team/gone:1").allow,
        "dockerd says itself that it has no such image, and the client pulls"
    );
    // The same name now stands for other bytes: swapped at the registry, or given to them by docker
    // tag.
    dockerd.hold(
        &digest("evil config"),
        &["r.test/team/app:v1"],
        &[of(GUN, &other)],
    );
    assert!(world.create("r.test/team/app:v1").is_no("digest-mismatch"));
    dockerd.hold(
        &digest("evil config"),
        &["r.test/team/app:v1", "x.test/evil:1"],
        &[of("x.test/evil", &other)],
    );
    assert!(world.create("r.test/team/app:v1").is_no("digest-mismatch"));
    assert!(
        world.create("x.test/evil:1").is_no("no-rule")
            && world.create(&digest("evil config")).is_no("no-rule")
    );
    // Bytes that no registry had, under a name that stands for signed ones; and under one of their
    // own.
    dockerd.hold(&digest("built"), &["r.test/team/app:v1", "built:1"], &[]);
    assert!(world.create("r.test/team/app:v1").is_no("digest-mismatch"));
    assert!(world.create("built:1").is_no("not-local"));
    let record = world
        .audit()
        .into_iter()
        .find(|record| record["outcome"] == "allowed")
        .unwrap();
    assert_eq!(
        (&record["door"], &record["engine"], &record["digest"]),
        (&json!("authz"), &json!("docker"), &json!(signed))
    );
    daemon.stop();
}

#[test]
fn bytes_of_no_registry_run_where_the_policy_lets_them_and_never_as_what_a_rule_covers() {
    let Some((world, dockerd, config)) = world("authz-local") else {
        return;
    };
    world.write_policy(&format!(
        "{}[local]\ncontent = \"allow\"\nnamespaces = [\"moby\"]\n",
        world.policy()
    ));
    world.sign(&digest("signed"));
    let daemon = world.start_ready(&config);
    dockerd.hold(&digest("built"), &["built:1", "r.test/team/app:v1"], &[]);
    // The containerd store knows what was built here by its digest too.
    dockerd.hold(&digest("top"), &["made:1"], &[of("made", &digest("top"))]);
    dockerd.hold(
        &digest("config"),
        &["x.test/evil:1"],
        &[of("x.test/evil", &digest("evil"))],
    );
    for (name, wanted) in [
        ("built:1", ""),
        ("made:1", ""),
        ("r.test/team/app:v1", "digest-mismatch"),
        ("x.test/evil:1", "no-rule"),
    ] {
        let answer = world.create(name);
        assert!(
            if wanted.is_empty() {
                answer.allow
            } else {
                answer.is_no(wanted)
            },
            "{name}: {answer:?}"
        );
    }
    for (uri, wanted) in [
        ("/images/load", ""),
        ("/images/create?fromSrc=-&repo=made&tag=2", ""),
        (
            "/images/create?fromSrc=-&repo=r.test%2Fteam%2Fapp&tag=v1",
            "not-local",
        ),
        ("/commit?container=x&repo=r.test/team/app", "not-local"),
        ("/build?t=made:3", ""),
        ("/build?t=made:3&t=r.test/team/app:v1", "not-local"),
        ("/images/built:1/tag?repo=made&tag=4", ""),
        (
            "/images/built:1/tag?repo=r.test/team/app&tag=v1",
            "digest-mismatch",
        ),
        ("/swarm/init", "no-rule"),
        ("/plugins/pull?remote=x", "no-rule"),
    ] {
        let answer = world.post(uri);
        assert!(
            if wanted.is_empty() {
                answer.allow
            } else {
                answer.is_no(wanted)
            },
            "{uri}: {answer:?}"
        );
    }
    daemon.stop();
}

#[test]
fn without_a_word_of_the_policy_nothing_comes_in_but_by_its_signed_name() {
    let Some((world, dockerd, config)) = world("authz-deny") else {
        return;
    };
    let signed = digest("signed");
    world.sign(&signed);
    dockerd.hold(
        &digest("config"),
        &["r.test/team/app:v1"],
        &[of(GUN, &signed)],
    );
    let daemon = world.start_ready(&config);
    for (uri, code) in [
        ("/v1.52/images/load", "not-local"),
        ("/images/create?fromSrc=-", "not-local"),
        ("/commit?container=x", "not-local"),
        ("/build", "not-local"),
        ("/session", "not-local"),
        ("/grpc", "not-local"),
        ("/images/r.test/team/app:v1/tag?repo=other", "not-local"),
        (
            "/images/r.test/team/app:v1/tag?repo=r.test/team/app&tag=v2",
            "no-statement",
        ),
        ("/services/create", "no-rule"),
        ("/swarm/join", "no-rule"),
        ("/plugins/x/upgrade", "no-rule"),
        ("/images/create?fromImage=r.test/team/app", "no-rule"),
        (
            "/images/create?fromImage=x.test/evil:1@sha256:0000000000000000000000000000000000000000000000000000000000000000",
            "no-rule",
        ),
        ("/a/call/of/tomorrow", "no-rule"),
        (
            "/v1.43/%69mages/create?fromImage=r.test/team/app&tag=v1",
            "malformed",
        ),
    ] {
        let answer = world.post(uri);
        assert!(answer.is_no(code), "{uri}: {answer:?}");
    }
    for uri in [
        &format!("/images/create?fromImage=r.test/team/app&tag={signed}"),
        "/images/r.test/team/app:v1/tag?repo=r.test/team/app&tag=v1",
        "/containers/x/stop",
        "/images/gone/tag?repo=other",
    ] {
        assert!(world.post(uri).allow, "{uri}: {:?}", world.post(uri));
    }
    assert!(
        world
            .asked("DELETE", "/v1.45/images/r.test/team/app:v1", &[], "")
            .allow
    );
    daemon.stop();
}

#[test]
fn what_was_revoked_is_not_started_again() {
    let Some((world, dockerd, config)) = world("authz-start") else {
        return;
    };
    let signed = digest("signed");
    world.sign(&signed);
    dockerd.hold(
        &digest("config"),
        &["r.test/team/app:v1"],
        &[of(GUN, &signed)],
    );
    dockerd.contain("web", &digest("config"), "r.test/team/app:v1");
    dockerd.contain("orphan", &digest("deleted"), "r.test/team/app:v1");
    dockerd.contain("empty", "", "");
    let mut daemon = world.start_ready(&config);
    assert!(
        world.post("/v1.45/containers/web/start").allow
            && world.post("/containers/web/restart?t=1").allow
    );
    assert!(
        world.post("/containers/none/start").allow,
        "dockerd says itself that it has none"
    );
    assert!(
        world
            .post("/containers/orphan/start")
            .is_no("digest-mismatch")
    );
    assert!(world.post("/containers/empty/start").is_no("not-local"));
    assert!(
        world
            .post("/containers/web/start?checkpoint=x")
            .is_no("not-local")
    );
    for revoked in [&signed, &digest("config")] {
        world.write_policy(&format!(
            "{}[[revoked]]\ndigest = \"{revoked}\"\nreason = \"a hole\"\n",
            world.policy()
        ));
        daemon.line("is in force");
        assert!(world.post("/containers/web/start").is_no("revoked"));
        assert!(world.create("r.test/team/app:v1").is_no("revoked"));
    }
    daemon.stop();
}

#[test]
fn a_tag_is_judged_by_what_its_registry_says_and_may_have_to_be_a_digest() {
    let Some((world, _dockerd, config)) = world("authz-tag") else {
        return;
    };
    let (signed, served) = (digest("signed"), Arc::new(Mutex::new(digest("other"))));
    world.sign(&signed);
    let (answer, port) = (Arc::clone(&served), {
        let listener = world
            .runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer = Arc::clone(&served);
        let app = axum::Router::new().fallback(move |request: axum::extract::Request| {
            let found = request.uri().path() == "/v2/team/app/manifests/v1";
            let response = http::Response::builder().status(if found { 200 } else { 404 });
            let response = response.header("docker-content-digest", answer.lock().unwrap().clone());
            async move { response.body(axum::body::Body::empty()).unwrap() }
        });
        world
            .runtime
            .spawn(async move { axum::serve(listener, app).await });
        port
    });
    let policy = format!(
        "{}[[rule]]\nmatch = \"127.0.0.1:{port}/team/*\"\nsigned-as = \"r.test/team/*\"\nroots = [\"acme\"]\n",
        world.policy()
    );
    world.write_policy(&policy);
    let mut daemon = world.start_ready(&config);
    let pull = || {
        world.post(&format!(
            "/v1.45/images/create?fromImage=127.0.0.1:{port}%2Fteam%2Fapp&tag=v1"
        ))
    };
    assert!(pull().is_no("digest-mismatch"));
    answer.lock().unwrap().clone_from(&signed);
    assert!(pull().allow, "{:?}", pull());
    assert!(
        world
            .post(&format!(
                "/images/create?fromImage=127.0.0.1:{port}/team/app&tag=v2"
            ))
            .is_no("no-statement")
    );
    world.write_policy(&format!("{policy}[docker]\nrequire-digest = true\n"));
    daemon.line("is in force");
    let answer = pull();
    assert!(
        answer.is_no("no-rule")
            && answer
                .words
                .ends_with(&format!("docker pull 127.0.0.1:{port}/team/app@{signed}")),
        "{answer:?}"
    );
    assert!(
        world
            .post(&format!(
                "/images/create?fromImage=127.0.0.1:{port}/team/app&tag={signed}"
            ))
            .allow
    );
    daemon.stop();
}

#[test]
fn the_plugin_s_own_questions_are_answered_while_many_calls_wait_for_them() {
    let Some((world, dockerd, config)) = world("authz-many") else {
        return;
    };
    world.sign(&digest("signed"));
    dockerd.hold(
        &digest("config"),
        &["r.test/team/app:v1"],
        &[of(GUN, &digest("signed"))],
    );
    let daemon = world.start_ready(&config);
    let body = json!({"Image": "r.test/team/app:v1"}).to_string();
    let asked = message(
        "POST",
        "/containers/create",
        &[("Content-Type", JSON)],
        &body,
    );
    let allowed = world.runtime.block_on(async {
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..300 {
            let (plugin, asked) = (world.plugin(), asked.clone());
            calls.spawn(async move { ask(&plugin, asked).await });
        }
        calls
            .join_all()
            .await
            .iter()
            .filter(|answer| answer.allow)
            .count()
    });
    assert_eq!((allowed, dockerd.asked.load(Ordering::Relaxed)), (300, 300));
    daemon.stop();
}

#[test]
fn a_dockerd_or_a_trust_server_that_hangs_is_a_no_within_the_deadline() {
    let Some((world, dockerd, config)) = world("authz-hung") else {
        return;
    };
    world.sign(&digest("signed"));
    let daemon = world.start_ready(&config);
    dockerd.hung.store(true, Ordering::Relaxed);
    let began = Instant::now();
    let answer = world.create("r.test/team/app:v1");
    assert!(
        answer.is_no("over-limit") || answer.is_no("source-unreachable"),
        "{answer:?}"
    );
    assert!(
        began.elapsed() < Duration::from_secs(6),
        "{:?}",
        began.elapsed()
    );
    // What only reads waits for nobody.
    assert!(world.asked("GET", "/v1.45/containers/json", &[], "").allow);
    dockerd.hung.store(false, Ordering::Relaxed);
    world.notary.hang(true);
    let answer = world.post(&format!(
        "/images/create?fromImage=r.test/team/app&tag={}",
        digest("signed")
    ));
    assert!(answer.is_no("source-unreachable"), "{answer:?}");
    world.notary.hang(false);
    daemon.stop();
}

#[test]
fn what_is_no_message_of_dockerd_s_is_answered_with_a_no() {
    let Some((world, _dockerd, config)) = world("authz-odd") else {
        return;
    };
    let daemon = world.start_ready(&config);
    let plugin = world.plugin();
    let send = |path: &str, body: Vec<u8>| world.runtime.block_on(call(&plugin, path, body));
    assert_eq!(
        send("/Plugin.Activate", vec![]),
        (200, json!({"Implements": ["authz"]}))
    );
    assert_eq!(
        send("/AuthZPlugin.AuthZRes", vec![b' '; 20 << 20]).1["Allow"],
        true
    );
    assert_eq!(send("/VolumeDriver.Create", vec![]).0, 404);
    for body in [
        vec![],
        b"{}".to_vec(),
        b"null".to_vec(),
        b"{\"RequestMethod\":\"GET\"".to_vec(),
        vec![b'['; 100_000],
    ] {
        assert_eq!(send("/AuthZPlugin.AuthZReq", body).1["Allow"], false);
    }
    let long = message(
        "POST",
        "/containers/create",
        &[("Content-Type", JSON)],
        &" ".repeat(7 << 20),
    );
    let answer = send("/AuthZPlugin.AuthZReq", long.to_string().into_bytes());
    assert!(
        answer.1["Allow"] == false && answer.1["Msg"].as_str().unwrap().contains("over-limit"),
        "{answer:?}"
    );
    assert!(
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&plugin).unwrap().permissions())
            & 0o777
            == 0o600
    );
    daemon.stop();
}

#[test]
fn audit_mode_lets_calls_through_and_records_them_and_no_policy_lets_none() {
    let Some((world, dockerd, config)) = world("authz-audit") else {
        return;
    };
    world.write_policy(
        &world
            .policy()
            .replace("default = \"deny\"", "default = \"deny\"\nmode = \"audit\""),
    );
    dockerd.hold(
        &digest("config"),
        &["x.test/evil:1"],
        &[of("x.test/evil", &digest("evil"))],
    );
    let daemon = world.start_ready(&config);
    for answer in [
        world.create("x.test/evil:1"),
        world.post("/images/load"),
        world.post("/swarm/init"),
        world.post("/images//create"),
    ] {
        assert!(answer.allow, "{answer:?}");
    }
    let told: Vec<_> = world
        .audit()
        .iter()
        .map(|record| (record["outcome"].clone(), record["let_through"].clone()))
        .collect();
    let wanted =
        ["refused", "refused", "refused", "unjudged"].map(|outcome| (json!(outcome), json!(true)));
    assert_eq!(told, wanted);
    daemon.stop();
    world.write_policy("version = 2");
    std::fs::remove_file(world.path("state/policy.last")).unwrap();
    let daemon = world.start_ready(&config);
    for answer in [
        world.create("x.test/evil:1"),
        world.post("/images/load"),
        world.post("/images//create"),
    ] {
        assert!(answer.is_no("policy-unusable"), "{answer:?}");
    }
    assert!(world.post("/containers/x/stop").allow && world.asked("GET", "/info", &[], "").allow);
    daemon.stop();
}

#[test]
fn the_status_says_whether_dockerd_shows_the_plugin_its_calls() {
    let Some((world, dockerd, config)) = world("authz-status") else {
        return;
    };
    let daemon = world.start_ready(&config);
    let entry = world.door_when("authz", |entry| entry["state"] == "proven");
    assert_eq!(
        (&entry["engine"], &entry["detail"]),
        (&json!("docker"), &Value::Null)
    );
    daemon.stop();
    dockerd.unplugged.store(true, Ordering::Relaxed);
    let daemon = world.start_ready(&config);
    let entry = world.door_when("authz", |entry| !entry["detail"].is_null());
    assert!(
        entry["detail"].as_str().unwrap().contains("NOT ASKED") && entry["state"] == "not checked",
        "{entry}"
    );
    let (status, code) = world.rootpin_json(&["status"]);
    assert_eq!((&status["ok"], code), (&json!(false), 1));
    daemon.stop();
}

#[test]
fn a_way_past_the_plugin_is_shown_and_turns_nothing_red_where_a_gate_judges_or_a_person_accepted_it()
 {
    for (name, is_gated, more) in [
        ("docker-grpc-gate", true, ""),
        ("docker-grpc-known", false, "accept-grpc = true\n"),
        ("docker-grpc-other", false, ""),
    ] {
        let Some((world, dockerd, config)) = world(name) else {
            return;
        };
        let engine = if is_gated { "containerd" } else { "another" };
        dockerd.answers.lock().unwrap().insert(
            "/info".to_owned(),
            json!({"DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]],
                "Containerd": {"Address": world.path(engine)}}),
        );
        dockerd.grpc.store(true, Ordering::Relaxed);
        let daemon = world.start_ready(&(config + more));
        let entry = world.door_when("authz", |entry| entry["state"] == "bypassed");
        let detail = entry["detail"].as_str().unwrap();
        assert_eq!(
            detail.contains("whose gate judges each layer"),
            is_gated,
            "{detail}"
        );
        assert_eq!(
            detail.contains("accepted by `accept-grpc`"),
            !more.is_empty(),
            "{detail}"
        );
        let is_red = !is_gated && more.is_empty();
        let (status, _) = world.rootpin_json(&["status"]);
        let why = status["why"].as_array().unwrap();
        assert_eq!(
            why.contains(&json!("docker has a way past authz")),
            is_red,
            "{status}"
        );
        let metrics = world.rootpin(&["metrics"]).out;
        assert!(
            metrics.contains("\nrootpin_authz_bypassed{engine=\"docker\"} 1\n"),
            "{metrics}"
        );
        let ok = format!(
            "\nrootpin_canary_ok{{engine=\"docker\"}} {}\n",
            u8::from(!is_red)
        );
        assert!(metrics.contains(&ok), "{metrics}");
        daemon.stop();
    }
}

#[test]
fn a_dockerd_that_answers_grpc_past_the_plugin_is_never_called_proven() {
    let Some((world, dockerd, config)) = world("docker-grpc") else {
        return;
    };
    dockerd.grpc.store(true, Ordering::Relaxed);
    let daemon = world.start_ready(&config);
    let entry = world.door_when("authz", |entry| entry["state"] == "bypassed");
    assert!(
        entry["detail"]
            .as_str()
            .unwrap()
            .starts_with("BYPASSED at "),
        "{entry}"
    );
    let (status, code) = world.rootpin_json(&["status"]);
    assert!(
        code == 1
            && status["why"]
                .as_array()
                .unwrap()
                .contains(&json!("docker has a way past authz")),
        "{status}"
    );
    daemon.stop();
}

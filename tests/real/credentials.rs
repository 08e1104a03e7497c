//! Who gets credentials: real clients and engines against a registry behind token auth.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rootpin_trust::image::Digest;
use serde_json::{Value, json};

use crate::cri;
use crate::daemon::{Daemon, Policy};
use crate::image::Image;
use crate::lab::{Lab, run, write};

pub(crate) const USER: &str = "alice";
pub(crate) const SECRET: &str = "hunter2-first";

/// A question to the registry, and the `Authorization` that came along.
type AskedOfRegistry = (String, Option<String>);
/// Pulls a name, with a user's name and password.
type PullAs<'a> = &'a dyn Fn(&str, &str, Option<(String, String)>) -> Result<String, String>;

/// The lab's registry behind a token service, on a port of its own.
pub(crate) struct Private {
    port: u16,
    password: Arc<Mutex<String>>,
    /// What it was asked, and each `Authorization` that came along.
    asked: Arc<Mutex<Vec<AskedOfRegistry>>>,
}

impl Private {
    pub(crate) fn start(lab: &Lab) -> Self {
        let registry = lab.var("LAB_REGISTRY").to_owned();
        let listener = lab
            .runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let port = listener.local_addr().unwrap().port();
        let this = Self {
            port,
            password: Arc::new(Mutex::new(SECRET.to_owned())),
            asked: Arc::default(),
        };
        let (password, asked) = (Arc::clone(&this.password), Arc::clone(&this.asked));
        let http = reqwest::Client::new();
        let app = axum::Router::new().fallback(move |request: Request| {
            let password = password.lock().unwrap().clone();
            let authorization = request.headers().get("authorization");
            let authorization = authorization.map(|value| value.to_str().unwrap().to_owned());
            let line = format!("{} {}", request.method(), request.uri());
            asked.lock().unwrap().push((line, authorization.clone()));
            answer(
                request,
                port,
                password,
                authorization,
                registry.clone(),
                http.clone(),
            )
        });
        lab.runtime
            .spawn(async move { axum::serve(listener, app).await });
        this
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn name(&self, tag: &str) -> String {
        format!("{}/private/app:{tag}", self.host())
    }

    /// Whether anybody sent it a secret since it was last asked this, and whether it was asked.
    pub(crate) fn got_secrets(&self) -> (bool, bool) {
        let asked = std::mem::take(&mut *self.asked.lock().unwrap());
        let secret = asked
            .iter()
            .any(|(_, authorization)| authorization.is_some());
        (secret, !asked.is_empty())
    }
}

async fn answer(
    request: Request,
    port: u16,
    password: String,
    authorization: Option<String>,
    registry: String,
    http: reqwest::Client,
) -> Response {
    let built = |status: u16| Response::builder().status(status);
    let basic = format!("Basic {}", STANDARD.encode(format!("{USER}:{password}")));
    if request.uri().path() == "/token" {
        return if authorization == Some(basic) {
            let token = json!({"token": format!("token-{password}"), "expires_in": 60});
            built(200).body(Body::from(token.to_string())).unwrap()
        } else {
            built(401).body(Body::empty()).unwrap()
        };
    }
    if authorization != Some(format!("Bearer token-{password}")) {
        let challenge = format!(
            "Bearer realm=\"http://127.0.0.1:{port}/token\",service=\"lab\",scope=\"repository:private/app:pull\""
        );
        return built(401)
            .header("www-authenticate", challenge)
            .body(Body::empty())
            .unwrap();
    }
    let (head, body) = request.into_parts();
    let mut ask = http.request(head.method, format!("http://{registry}{}", head.uri));
    for name in ["accept", "content-type", "range"] {
        if let Some(value) = head.headers.get(name) {
            ask = ask.header(name, value);
        }
    }
    let body = to_bytes(body, 64 << 20).await.unwrap();
    let answered = ask.body(body).send().await.unwrap();
    let mut response = built(answered.status().as_u16());
    for (name, value) in answered.headers() {
        let text = value.to_str().unwrap();
        if name != "transfer-encoding" && name != "connection" {
            let here = text.replace(&registry, &format!("127.0.0.1:{port}"));
            response = response.header(name, here);
        }
    }
    let bytes = answered.bytes().await.unwrap();
    response.body(Body::from(bytes)).unwrap()
}

pub(crate) fn config(lab: &Lab) -> PathBuf {
    lab.root.join("rootpin/rootpin.toml")
}

/// A Docker client with a folder of its own, which asks rootpin's helper.
struct Docker {
    client: PathBuf,
    host: String,
    folder: PathBuf,
    config: PathBuf,
}

impl Docker {
    fn run(&self, words: &[&str], input: &str) -> (bool, String) {
        let helpers = Path::new(env!("CARGO_BIN_EXE_docker-credential-rootpin"))
            .parent()
            .unwrap();
        let path = format!("{}:{}", helpers.display(), std::env::var("PATH").unwrap());
        let script = "printf %s \"$INPUT\" | \"$0\" \"$@\" 2>&1";
        let output = Command::new("sh")
            .args(["-c", script])
            .arg(&self.client)
            .args(words)
            .env("INPUT", input)
            .env("PATH", path)
            .env("DOCKER_HOST", &self.host)
            .env("DOCKER_CONFIG", &self.folder)
            .env("ROOTPIN_CONFIG", &self.config)
            .output()
            .unwrap();
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    }
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn docker_sends_credentials_to_a_rooted_registry_and_none_to_a_look_alike() {
    let lab = Lab::start();
    lab.script(&["start", "dockerd26"]);
    let (rooted, alike) = (Private::start(&lab), Private::start(&lab));
    let image = Image::manifest("private app");
    lab.push(&image, &lab.name("private/app", "v1"));
    let bound = |private: &Private| {
        format!(
            "[[image]]\nname = \"{}\"\ndigest = \"{}\"\n",
            private.name("v1"),
            image.digest()
        )
    };
    let policy = format!(
        "version = 1\ndefault = \"deny\"\n[credentials]\nonly-to = \"rooted\"\n{}",
        bound(&rooted)
    );
    let files: Policy = vec![("policy.toml", policy)];
    let daemon = Daemon::start(&lab, &files);
    for (bin, host) in [
        ("LAB_BIN17", "LAB_DOCKERD26"),
        ("LAB_BIN2", "LAB_DOCKERD28"),
    ] {
        let folder = lab.root.join("rootpin/docker");
        let _ = fs::remove_dir_all(&folder);
        let own = json!({"credsStore": "rootpin", "cliPluginsExtraDirs": [lab.var("LAB_BUILDX")]});
        write(&folder.join("config.json"), own.to_string());
        let docker = Docker {
            client: lab.path(bin).join("docker"),
            host: lab.var(host).to_owned(),
            folder: folder.clone(),
            config: config(&lab),
        };
        docker.run(&["image", "rm", &rooted.name("v1")], "");
        for private in [&rooted, &alike] {
            let (done, words) = docker.run(
                &["login", "-u", USER, "--password-stdin", &private.host()],
                SECRET,
            );
            assert!(done, "{host}: {words}");
        }
        let text = fs::read_to_string(folder.join("config.json")).unwrap();
        assert!(
            !text.contains(&STANDARD.encode(format!("{USER}:{SECRET}"))),
            "{text}"
        );
        let _ = (rooted.got_secrets(), alike.got_secrets());
        let (done, words) = docker.run(&["pull", &rooted.name("v1")], "");
        assert!(done, "{host}: {words}");
        assert_eq!(rooted.got_secrets(), (true, true), "{host}");
        let (done, words) = docker.run(&["pull", &alike.name("v1")], "");
        assert!(!done, "{host}: {words}");
        assert!(words.contains("withheld"), "{host}: {words}");
        assert_eq!(
            alike.got_secrets(),
            (false, true),
            "{host}: no Authorization"
        );
        if bin == "LAB_BIN2" {
            plugins_ask_the_helper_too(&docker, &rooted, &alike);
        }
        for private in [&rooted, &alike] {
            let (done, words) = docker.run(&["logout", &private.host()], "");
            assert!(done, "{host}: {words}");
        }
        docker.run(&["image", "rm", &rooted.name("v1")], "");
        let (done, words) = docker.run(&["pull", &rooted.name("v1")], "");
        assert!(!done, "{host}: logged out, {words}");
    }
    let events = daemon.records();
    let withheld = events
        .iter()
        .filter(|record| record["event"] == "credentials-withheld");
    assert!(withheld.clone().count() > 1, "{events:?}");
    assert!(
        withheld
            .into_iter()
            .all(|record| record["server"] == alike.host())
    );
}

/// Compose and buildx, which are plugins of docker's.
fn plugins_ask_the_helper_too(docker: &Docker, rooted: &Private, alike: &Private) {
    let context = docker.folder.join("context");
    let text = |path: &Path| path.display().to_string();
    for (private, is_rooted) in [(rooted, true), (alike, false)] {
        let file = docker.folder.join("compose.yaml");
        let compose = format!("services:\n  app:\n    image: {}\n", private.name("v1"));
        write(&file, compose);
        write(
            &context.join("Dockerfile"),
            format!("FROM {}\nLABEL made=here\n", private.name("v1")),
        );
        let (file, folder) = (text(&file), text(&context));
        let output = ["--no-cache", "--output", "type=cacheonly"];
        for words in [
            vec!["compose", "-f", &file, "pull"],
            [&["buildx", "build"], &output[..], &[&folder]].concat(),
        ] {
            docker.run(&["image", "rm", &private.name("v1")], "");
            let _ = private.got_secrets();
            let (done, said) = docker.run(&words, "");
            assert_eq!(done, is_rooted, "{words:?}: {said}");
            assert_eq!(private.got_secrets(), (is_rooted, true), "{words:?}");
        }
    }
}

/// What the kubelet gets of rootpin's provider for an image's repository.
fn provided(lab: &Lab, version: &str, name: &str) -> Option<(String, String)> {
    let repository = name.rsplit_once(':').unwrap().0;
    let request =
        json!({"kind": "CredentialProviderRequest", "apiVersion": version, "image": repository});
    let mut command = Command::new("sh");
    command
        .args(["-c", "printf %s \"$REQUEST\" | \"$0\" --control \"$1\""])
        .arg(env!("CARGO_BIN_EXE_rootpin-credential-provider"))
        .arg(lab.sockets().join("control.sock"))
        .env("REQUEST", request.to_string());
    let answer: Value = serde_json::from_str(&run(&mut command)).unwrap();
    assert_eq!(answer["apiVersion"], version);
    let pair = answer["auth"].as_object().unwrap().values().next()?.clone();
    let text = |key: &str| pair[key].as_str().unwrap().to_owned();
    Some((text("username"), text("password")))
}

/// The cloud's provider, which knows the password that stands in a file, for two seconds.
fn cloud(lab: &Lab, private: &Private) -> (PathBuf, String) {
    let folder = lab.root.join("rootpin/cloud");
    let _ = fs::remove_dir_all(&folder);
    let version = "credentialprovider.kubelet.k8s.io/v1";
    let program = folder.join("cloud-credential-provider");
    write(
        &program,
        format!(
            "#!/bin/sh\ncat > /dev/null\necho '{{\"kind\":\"CredentialProviderResponse\",\"apiVersion\":\"{version}\",\"cacheKeyType\":\"Registry\",\"cacheDuration\":\"2s\",\"auth\":{{\"{}\":{{\"username\":\"{USER}\",\"password\":\"'$(cat {}/password)'\"}}}}}}'\n",
            private.host(),
            folder.display()
        ),
    );
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    write(
        &folder.join("config.yaml"),
        format!(
            "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n- name: cloud-credential-provider\n  matchImages: [\"{}\"]\n  defaultCacheDuration: 1h\n  apiVersion: {version}\n",
            private.host()
        ),
    );
    let tables = format!(
        "[credentials]\nkubelet-config = \"{0}/config.yaml\"\nkubelet-bin-dir = \"{0}\"\n",
        folder.display()
    );
    (folder, tables)
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn a_private_trust_repository_and_private_images_open_by_the_kubelet_s_provider_alone() {
    let lab = Lab::start();
    let private = Private::start(&lab);
    let publisher = lab.root.join("rootpin/publisher");
    let _ = fs::remove_dir_all(&publisher);
    let auth = STANDARD.encode(format!("{USER}:{SECRET}"));
    write(
        &publisher.join("docker/config.json"),
        json!({"auths": {private.host(): {"auth": auth}}}).to_string(),
    );
    fs::set_permissions(
        publisher.join("docker/config.json"),
        fs::Permissions::from_mode(0o600),
    )
    .unwrap();
    let images: Vec<Image> = (1..=4)
        .map(|at| Image::manifest(&format!("private {at}")))
        .collect();
    for (at, image) in images.iter().enumerate() {
        lab.push(image, &lab.name("private/app", &format!("v{}", at + 1)));
    }
    let place = format!(
        "oci://{}/private/trust-{}",
        private.host(),
        std::process::id()
    );
    let names = format!("{}/private/**", private.host());
    let rootpin = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
        run(command
            .args(words)
            .current_dir(&publisher)
            .env("ROOTPIN_PASSPHRASE", "a passphrase"))
    };
    let repo = |verb: &[&str]| {
        rootpin(
            &[
                &["repo", "--docker-config", "docker", "--repo", "team"],
                verb,
            ]
            .concat(),
        )
    };
    rootpin(&[
        "repo",
        "--docker-config",
        "docker",
        "init",
        "team",
        "--names",
        &names,
        "--publish",
        &place,
    ]);
    for at in 1..=3 {
        repo(&["sign", &private.name(&format!("v{at}"))]);
    }
    let root = publisher.join("team/root.json");
    let policy = publisher.join("policy");
    fs::create_dir_all(&policy).unwrap();
    let sha256 = Digest::of(&fs::read(&root).unwrap()).hex();
    let text = |path: &Path| path.display().to_string();
    rootpin(&[
        "pin",
        "add",
        "team",
        "--policy",
        &text(&policy),
        "--type",
        "tuf",
        "--from",
        &text(&root),
        "--metadata",
        &place,
        "--match",
        &names,
        "--fingerprint",
        &sha256,
        "--docker-config",
        "docker",
    ]);
    let pinned = fs::read_dir(policy.join("roots"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let pinned_name: &str = format!("roots/{}", pinned.file_name().display()).leak();
    let rooted = "\n[credentials]\nonly-to = \"rooted\"\n";
    let files: Policy = vec![
        (
            "policy.toml",
            fs::read_to_string(policy.join("policy.toml")).unwrap() + rooted,
        ),
        (pinned_name, fs::read_to_string(pinned.path()).unwrap()),
    ];
    let (folder, tables) = cloud(&lab, &private);
    write(&folder.join("password"), SECRET);
    let daemon = Daemon::start(&lab, &files);
    drop(daemon);
    let _ = fs::remove_dir_all(lab.root.join("rootpin/state"));
    let daemon = Daemon::with(&lab, &files, &tables);
    let control = text(&lab.sockets().join("control.sock"));
    let verify = |tag: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
        let output = command
            .args(["verify", &private.name(tag), "--control", &control])
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    let channel = |engine: &str| {
        let socket = lab.path(&format!("LAB_CONTAINERD{engine}"));
        lab.runtime
            .block_on(containerd_client::connect(socket))
            .unwrap()
    };
    let pull = |engine: &str, name: &str, pair: Option<(String, String)>| {
        let end = std::time::Instant::now() + Duration::from_secs(5);
        loop {
            let asked = cri::pull_image_as(channel(engine), name, pair.clone());
            match lab.runtime.block_on(asked) {
                Err(words) if words.contains("gate.sock: ") && std::time::Instant::now() < end => {}
                result => return result,
            }
        }
    };
    let (code, words) = verify("v1");
    assert_eq!(code, Some(0), "{words}");
    for (version, engine, tag) in [
        ("credentialprovider.kubelet.k8s.io/v1", "17", "v1"),
        ("credentialprovider.kubelet.k8s.io/v1beta1", "2", "v1"),
    ] {
        let pair = provided(&lab, version, &private.name(tag));
        assert_eq!(pair, Some((USER.to_owned(), SECRET.to_owned())));
        let pulled = pull(engine, &private.name(tag), pair.clone());
        assert!(pulled.is_ok(), "containerd {engine}: {pulled:?}");
        let unsigned = pull(engine, &private.name("v4"), pair);
        assert!(
            unsigned
                .as_ref()
                .is_err_and(|words| words.contains("no-statement")),
            "containerd {engine}: {unsigned:?}"
        );
        let without = pull(engine, &private.name("v2"), None);
        assert!(without.is_err(), "containerd {engine}: {without:?}");
    }
    let other = private.name("v1").replace("private/app", "other/app");
    assert_eq!(
        provided(&lab, "credentialprovider.kubelet.k8s.io/v1", &other),
        None,
        "no rule names it"
    );
    // The token is over, and the cloud has another one.
    "hunter2-second".clone_into(&mut private.password.lock().unwrap());
    write(&folder.join("password"), "hunter2-second");
    std::thread::sleep(Duration::from_secs(3));
    let (code, words) = verify("v2");
    assert_eq!(code, Some(0), "{words}");
    for engine in ["17", "2"] {
        let pair = provided(
            &lab,
            "credentialprovider.kubelet.k8s.io/v1",
            &private.name("v2"),
        );
        assert_eq!(pair, Some((USER.to_owned(), "hunter2-second".to_owned())));
        let pulled = pull(engine, &private.name("v2"), pair);
        assert!(pulled.is_ok(), "containerd {engine}: {pulled:?}");
    }
    by_the_resolver(&lab, &private, &pull);
    drop(daemon);
    no_secret_below(
        &lab.root.join("rootpin"),
        &[&folder, &publisher.join("docker")],
    );
}

/// The same where the engines ask the resolver for tags, and the registry for bytes.
fn by_the_resolver(lab: &Lab, private: &Private, pull: PullAs<'_>) {
    let certs = lab.root.join("etc/certs.d");
    let mut hosts = Command::new(env!("CARGO_BIN_EXE_rootpin"));
    run(hosts
        .args([
            "hosts",
            "write",
            &private.host(),
            "--resolver",
            lab.var("LAB_RESOLVER"),
            "--dir",
        ])
        .arg(&certs));
    for engine in ["17", "2"] {
        let pair = provided(
            lab,
            "credentialprovider.kubelet.k8s.io/v1",
            &private.name("v3"),
        );
        let pulled = pull(engine, &private.name("v3"), pair);
        assert!(
            pulled.is_ok(),
            "containerd {engine} by the resolver: {pulled:?}"
        );
    }
    let _ = fs::remove_dir_all(certs);
}

/// No file of rootpin's has a secret: state, audit file, log, policy.
fn no_secret_below(folder: &Path, except: &[&Path]) {
    let (mut folders, mut files) = (vec![folder.to_owned()], 0);
    let encoded = ["hunter2-first", "hunter2-second"]
        .map(|password| STANDARD.encode(format!("{USER}:{password}")));
    let secrets = [
        &b"hunter2"[..],
        encoded[0].as_bytes(),
        encoded[1].as_bytes(),
    ];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            if kind.is_dir() && !except.contains(&path.as_path()) {
                folders.push(path);
            } else if kind.is_file() {
                let bytes = fs::read(&path).unwrap();
                let has = |secret: &&[u8]| bytes.windows(secret.len()).any(|part| part == *secret);
                assert!(!secrets.iter().any(has), "{}", path.display());
                files += 1;
            }
        }
    }
    assert!(files > 5, "{files} files");
}

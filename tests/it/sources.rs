//! Sources against servers that answer whatever a test wants.

mod credentials;
mod hosts;
mod registries;
mod tls;
mod tuf;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request as Received;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rootpin::sources::{Credentials, HttpClient, NotaryServer, SourceError, Sources, registry};
use rootpin_trust::image::{Digest, ImageRef, Repository};
use rootpin_trust::{Answer, FetchFrom, Request, Want};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::tls::Authority;

/// What a server was asked: `METHOD PATH?QUERY`, `Authorization`, and the body.
#[derive(Debug, Clone, PartialEq)]
struct Asked {
    line: String,
    authorization: Option<String>,
    accept: String,
    body: String,
}

/// A server on a free loopback port.
#[derive(Clone)]
struct Fake {
    port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Fake {
    /// Answers each request by what the function makes of it.
    async fn start(answer: impl Fn(&Asked) -> Response + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Self {
            port: listener.local_addr().unwrap().port(),
            asked: Arc::default(),
        };
        let (asked, answer) = (fake.asked.clone(), Arc::new(answer));
        let app = axum::Router::new().fallback(move |request: Received| {
            let (asked, answer) = (asked.clone(), answer.clone());
            async move {
                let (head, body) = request.into_parts();
                let header = |name: &str| {
                    head.headers
                        .get(name)
                        .map(|value| value.to_str().unwrap().to_owned())
                };
                let received = Asked {
                    line: format!("{} {}", head.method, head.uri),
                    authorization: header("authorization"),
                    accept: header("accept").unwrap_or_default(),
                    body: String::from_utf8(to_bytes(body, 1 << 20).await.unwrap().to_vec())
                        .unwrap(),
                };
                asked.lock().unwrap().push(received.clone());
                answer(&received)
            }
        });
        tokio::spawn(async move { axum::serve(listener, app).await });
        fake
    }

    /// Sends these bytes to each who asks, and then closes or holds the connection.
    async fn raw(bytes: &'static [u8], hold: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Self {
            port: listener.local_addr().unwrap().port(),
            asked: Arc::default(),
        };
        tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(bytes).await;
                if hold {
                    open.push(stream);
                }
            }
        });
        fake
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    fn notary(&self, credentials: Credentials) -> NotaryServer {
        NotaryServer::new(&self.url(), client(credentials)).unwrap()
    }

    fn image(&self, rest: &str) -> ImageRef {
        format!("127.0.0.1:{}/team/app{rest}", self.port)
            .parse()
            .unwrap()
    }
}

const GUN: &str = "r.example:5000/team/app";
const TIMESTAMP: &str = "GET /v2/r.example:5000/team/app/_trust/tuf/timestamp.json";

fn status(code: u16) -> Response {
    Response::builder()
        .status(code)
        .body(Body::empty())
        .unwrap()
}

fn text(body: impl Into<String>) -> Response {
    Response::new(Body::from(body.into()))
}

fn with(code: u16, name: &str, value: &str) -> Response {
    Response::builder()
        .status(code)
        .header(name, value)
        .body(Body::empty())
        .unwrap()
}

fn client(credentials: Credentials) -> HttpClient {
    HttpClient::new(None, Arc::new(credentials)).unwrap()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

async fn get(server: &NotaryServer) -> Result<Answer, SourceError> {
    get_until(server, 100, soon()).await
}

async fn get_until(
    server: &NotaryServer,
    max_bytes: usize,
    deadline: Instant,
) -> Result<Answer, SourceError> {
    let want = Want {
        request: Request::newest("timestamp"),
        max_bytes,
        from: FetchFrom::Source,
    };
    server
        .get(&Repository::from_full(GUN).unwrap(), &want, deadline)
        .await
}

/// A folder with that `config.json`, and the credentials in it.
fn configured(json: &str) -> (tempfile::TempDir, Credentials) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), json).unwrap();
    fs::set_permissions(
        folder.path().join("config.json"),
        fs::Permissions::from_mode(0o600),
    )
    .unwrap();
    let credentials = Credentials::in_folder(folder.path());
    (folder, credentials)
}

/// `alice:hunter2` for that host, and whatever else.
fn alice(host: &str, more: &str) -> (tempfile::TempDir, Credentials) {
    configured(&format!(
        r#"{{"auths":{{"{host}":{{"auth":"{}"}}{more}}}}}"#,
        STANDARD.encode("alice:hunter2")
    ))
}

fn alice_header() -> String {
    format!("Basic {}", STANDARD.encode("alice:hunter2"))
}

/// A server that wants that bearer token, from a service at that URL.
async fn wants_token(realm: String, token: &'static str) -> Fake {
    Fake::start(move |asked| match asked.authorization.as_deref() {
        Some(given) if given == format!("Bearer {token}") => text("file"),
        _ => with(
            401,
            "www-authenticate",
            &format!(r#"Bearer realm="{realm}/token",service="notary",scope="ignored""#),
        ),
    })
    .await
}

#[tokio::test]
async fn a_file_is_its_bytes_and_404_is_no_file() {
    let fake = Fake::start(|_| text("file")).await;
    assert_eq!(
        get(&fake.notary(Credentials::none())).await,
        Ok(Answer::Bytes(b"file".to_vec()))
    );
    assert_eq!(fake.asked()[0].line, TIMESTAMP);
    let fake = Fake::start(|_| status(404)).await;
    assert_eq!(
        get(&fake.notary(Credentials::none())).await,
        Ok(Answer::Missing)
    );
}

#[tokio::test]
async fn each_status_means_what_the_policy_says_of_it() {
    for code in [429, 500, 502, 503, 504] {
        let fake = Fake::start(move |_| status(code)).await;
        let error = get(&fake.notary(Credentials::none())).await.unwrap_err();
        assert!(
            error.is_silent() && error.to_string().contains(&code.to_string()),
            "{error}"
        );
    }
    for code in [401, 403] {
        let fake = Fake::start(move |_| status(code)).await;
        let error = get(&fake.notary(Credentials::none())).await.unwrap_err();
        assert!(
            matches!(error, SourceError::Denied { status, .. } if status == code),
            "{error}"
        );
    }
    for code in [201, 204, 206, 400, 405, 410, 451] {
        let fake = Fake::start(move |_| status(code)).await;
        let error = get(&fake.notary(Credentials::none())).await.unwrap_err();
        assert!(
            matches!(error, SourceError::Answered { status, .. } if status == code)
                && !error.is_silent(),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_trust_server_s_redirect_is_an_answer_and_is_not_followed() {
    let other = Fake::start(|_| text("file")).await;
    for code in [301, 302, 303, 307, 308] {
        let to = format!("{}/x", other.url());
        let fake = Fake::start(move |_| with(code, "location", &to)).await;
        let error = get(&fake.notary(Credentials::none())).await.unwrap_err();
        assert!(
            matches!(&error, SourceError::Answered { said, .. } if said.text.contains("redirect to http")),
            "{error}"
        );
    }
    assert_eq!(other.asked(), []);
}

#[tokio::test]
async fn a_body_ends_at_its_cap() {
    let fake = Fake::start(|_| text("x".repeat(100))).await;
    assert!(
        get_until(&fake.notary(Credentials::none()), 100, soon())
            .await
            .is_ok()
    );
    assert!(matches!(
        get_until(&fake.notary(Credentials::none()), 99, soon()).await,
        Err(SourceError::TooLarge { limit: 99, .. })
    ));
    // Refused by its announced length, before a byte of it.
    let fake = Fake::raw(b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n", true).await;
    assert!(matches!(
        get(&fake.notary(Credentials::none())).await,
        Err(SourceError::TooLarge { limit: 100, .. })
    ));
    // Not announced, and never ending.
    let fake = Fake::raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n0123456789012345678901234567890123456789012345678901234567890123\r\n40\r\n0123456789012345678901234567890123456789012345678901234567890123\r\n", true).await;
    assert!(matches!(
        get(&fake.notary(Credentials::none())).await,
        Err(SourceError::TooLarge { limit: 100, .. })
    ));
}

#[tokio::test]
async fn an_answer_that_is_not_whole_at_the_deadline_is_none() {
    for part in [
        &b""[..],
        b"HTTP/1.1 200 O",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
    ] {
        let fake = Fake::raw(part, true).await;
        let error = get_until(
            &fake.notary(Credentials::none()),
            100,
            Instant::now() + Duration::from_millis(50),
        )
        .await
        .unwrap_err();
        assert!(
            error.is_silent() && error.to_string().contains("deadline"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_status_counts_even_where_its_body_never_ends() {
    let fake = Fake::raw(
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nhalf",
        true,
    )
    .await;
    assert_eq!(
        get_until(
            &fake.notary(Credentials::none()),
            100,
            Instant::now() + Duration::from_millis(200)
        )
        .await,
        Ok(Answer::Missing)
    );
}

#[tokio::test]
async fn a_connection_that_breaks_off_or_speaks_no_http_is_no_answer() {
    for part in [
        &b""[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ] {
        let fake = Fake::raw(part, false).await;
        let error = get(&fake.notary(Credentials::none())).await.unwrap_err();
        assert!(error.is_silent(), "{error}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = get(&NotaryServer::new(&url, client(Credentials::none())).unwrap())
        .await
        .unwrap_err();
    assert!(
        error.is_silent() && error.to_string().ends_with("connection refused"),
        "{error}"
    );
}

#[tokio::test]
async fn a_body_is_never_unpacked_and_one_that_is_packed_is_named() {
    let serve = |codings: &'static [&'static str]| {
        Fake::start(move |_| {
            let mut answer = Response::builder();
            for coding in codings {
                answer = answer.header("content-encoding", *coding);
            }
            answer.body(Body::from("file")).unwrap()
        })
    };
    for (codings, named) in [
        (&["gzip"][..], "gzip"),
        (&["X-Gzip"], "x-gzip"),
        (&["deflate"], "deflate"),
        (&["br"], "br"),
        (&["zstd"], "zstd"),
        (&["compress"], "compress"),
        (&["identity, gzip"], "identity, gzip"),
        (&["gzip,br"], "gzip,br"),
        (&["identity", "gzip"], "identity, gzip"),
        (&["aws-chunked, zstd"], "aws-chunked, zstd"),
    ] {
        let fake = serve(codings).await;
        let error = get(&fake.notary(Credentials::none())).await.unwrap_err();
        assert!(
            matches!(&error, SourceError::Other { cause, .. } if cause.contains(&format!("Content-Encoding {named},"))),
            "{error}"
        );
    }
    for plain in [&["Identity"][..], &["aws-chunked"], &["abroad"], &[""]] {
        let fake = serve(plain).await;
        assert!(
            get(&fake.notary(Credentials::none())).await.is_ok(),
            "{plain:?}"
        );
    }
}

#[tokio::test]
async fn a_page_or_an_edited_file_in_place_of_metadata_is_named() {
    let page = "<!DOCTYPE html><html><head><title>Sign in to\n the proxy</title></head></html>";
    for (body, words) in [
        (page, "an HTML page, \"Sign in to the proxy\""),
        ("\u{feff}{}", "byte order mark"),
    ] {
        let fake = Fake::start(move |_| text(body)).await;
        let error = get(&fake.notary(Credentials::none())).await.unwrap_err();
        assert!(
            matches!(&error, SourceError::Other { cause, .. } if cause.contains(words)),
            "{error}"
        );
        assert!(!error.is_silent());
    }
}

#[tokio::test]
async fn one_repository_s_failures_silence_no_other_of_the_same_trust_server() {
    let fake = Fake::start(|asked| {
        if asked.line.contains("/attacker/") {
            status(500)
        } else {
            text("file")
        }
    })
    .await;
    let server = fake.notary(Credentials::none());
    let ask = async |gun: &str| {
        let want = Want {
            request: Request::newest("timestamp"),
            max_bytes: 100,
            from: FetchFrom::Source,
        };
        server
            .get(&Repository::from_full(gun).unwrap(), &want, soon())
            .await
    };
    for _ in 0..5 {
        assert!(ask("r.example/attacker/app").await.unwrap_err().is_silent());
        assert!(ask("r.example/victim/app").await.is_ok());
    }
    assert_eq!(
        fake.asked()
            .iter()
            .filter(|asked| asked.line.contains("/attacker/"))
            .count(),
        1
    );
}

#[tokio::test]
async fn one_repository_that_hangs_silences_no_other_of_the_same_registry() {
    let digest = Digest::of(b"manifest");
    let (registry, folder) = (
        crate::registry::Registry::start().await,
        tempfile::tempdir().unwrap(),
    );
    registry.stands_for("r.example", folder.path());
    registry.quirk(move |asked, _| {
        let pending = Body::from_stream(tokio_stream::pending::<Result<Vec<u8>, std::io::Error>>());
        if asked.line.contains("/attacker/") {
            Some(Response::new(pending))
        } else {
            Some(with(200, "docker-content-digest", &digest.to_string()))
        }
    });
    let sources = Sources::new(Arc::new(
        Credentials::none().with_hosts(Some(folder.path().to_owned())),
    ));
    let resolve = async |name: &str, limit: Duration| {
        sources
            .resolve(&name.parse().unwrap(), std::time::Instant::now() + limit)
            .await
    };
    for _ in 0..3 {
        assert!(
            resolve("r.example/attacker/app:v1", Duration::from_millis(100))
                .await
                .is_err()
        );
        assert_eq!(
            resolve("r.example/victim/app:v1", Duration::from_secs(20))
                .await
                .unwrap(),
            digest
        );
    }
    let asked = registry.held.lock().unwrap().asked.clone();
    assert_eq!(
        asked
            .iter()
            .filter(|line| line.starts_with("HEAD") && line.contains("/attacker/"))
            .count(),
        1,
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_registry_s_5xx_silences_the_manifests_of_that_repository_and_no_blob_and_no_other() {
    let digest = Digest::of(b"manifest");
    let (registry, folder) = (
        crate::registry::Registry::start().await,
        tempfile::tempdir().unwrap(),
    );
    registry.stands_for("r.example", folder.path());
    registry
        .held
        .lock()
        .unwrap()
        .blobs
        .insert(Digest::of(b"{}").to_string(), b"{}".to_vec());
    registry.quirk(move |asked, _| {
        let manifest = asked.line.contains("/manifests/");
        let answer = || {
            if asked.line.contains("/attacker/") {
                status(500)
            } else {
                with(200, "docker-content-digest", &digest.to_string())
            }
        };
        manifest.then(answer)
    });
    let sources = Sources::new(Arc::new(
        Credentials::none().with_hosts(Some(folder.path().to_owned())),
    ));
    let attacker: ImageRef = "r.example/attacker/app:v1".parse().unwrap();
    for _ in 0..5 {
        assert!(sources.resolve(&attacker, soon().into_std()).await.is_err());
        assert_eq!(
            sources
                .resolve(
                    &"r.example/victim/app:v1".parse().unwrap(),
                    soon().into_std()
                )
                .await
                .unwrap(),
            digest
        );
        let (method, repository, digest) = (
            "GET".parse().unwrap(),
            attacker.repository.clone(),
            Digest::of(b"{}"),
        );
        let wanted = rootpin::sources::StreamRequest {
            method,
            repository,
            manifest: false,
            digest,
            range: None,
        };
        assert!(
            sources
                .pass(&wanted, soon().into_std())
                .await
                .unwrap()
                .is_some()
        );
    }
    let asked = registry.held.lock().unwrap().asked.clone();
    assert_eq!(
        asked
            .iter()
            .filter(|line| line.contains("/attacker/app/manifests/"))
            .count(),
        1,
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_left_alone_for_all_of_its_repositories() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let server = NotaryServer::new(&url, client(Credentials::none())).unwrap();
    let want = Want {
        request: Request::newest("timestamp"),
        max_bytes: 100,
        from: FetchFrom::Source,
    };
    let first = server
        .get(
            &Repository::from_full("r.example/one").unwrap(),
            &want,
            soon(),
        )
        .await
        .unwrap_err();
    assert!(matches!(first, SourceError::Unreachable { .. }), "{first}");
    let second = server
        .get(
            &Repository::from_full("r.example/two").unwrap(),
            &want,
            soon(),
        )
        .await
        .unwrap_err();
    assert!(
        matches!(&second, SourceError::Unreachable { cause, .. } if cause.contains("asked again in")),
        "{second}"
    );
}

#[tokio::test]
async fn a_server_that_did_not_answer_is_left_alone_for_a_while() {
    let fake = Fake::start(|_| status(503)).await;
    let server = fake.notary(Credentials::none());
    for _ in 0..10 {
        assert!(get(&server).await.unwrap_err().is_silent());
    }
    assert_eq!(fake.asked().len(), 1);
}

#[tokio::test]
async fn a_token_is_fetched_with_the_server_s_credentials_and_used_again() {
    let service = Fake::start(|_| {
        text(r#"{"token":"good","expires_in":300,"issued_at":"2026-01-01T00:00:00Z"}"#)
    })
    .await;
    let fake = wants_token(service.url(), "good").await;
    let (_folder, credentials) = alice(&format!("127.0.0.1:{}", fake.port), "");
    let server = fake.notary(credentials);
    for _ in 0..3 {
        assert_eq!(get(&server).await, Ok(Answer::Bytes(b"file".to_vec())));
    }
    let asked = service.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(
        asked[0].line,
        "GET /token?service=notary&scope=repository%3Ar.example%3A5000%2Fteam%2Fapp%3Apull&account=alice"
    );
    assert_eq!(asked[0].authorization, Some(alice_header()));
    // Anonymous first; and the password never goes where a token is wanted.
    let sent: Vec<_> = fake
        .asked()
        .into_iter()
        .map(|asked| asked.authorization)
        .collect();
    let token = Some("Bearer good".to_owned());
    assert_eq!(sent, [None, token.clone(), token.clone(), token]);
}

#[tokio::test]
async fn without_credentials_the_token_is_an_anonymous_one() {
    let service = Fake::start(|_| text(r#"{"access_token":"good"}"#)).await;
    let fake = wants_token(service.url(), "good").await;
    assert_eq!(
        get(&fake.notary(Credentials::none())).await,
        Ok(Answer::Bytes(b"file".to_vec()))
    );
    assert_eq!(service.asked()[0].authorization, None);
}

#[tokio::test]
async fn credentials_go_to_no_token_service_on_another_host_unless_the_file_names_it() {
    for named in [false, true] {
        let service = Fake::start(|asked| {
            if asked.authorization.is_some() {
                text(r#"{"token":"good"}"#)
            } else {
                status(401)
            }
        })
        .await;
        let fake = wants_token(format!("http://localhost:{}", service.port), "good").await;
        let more = if named {
            format!(r#","localhost:{}":{{}}"#, service.port)
        } else {
            String::new()
        };
        let (_folder, credentials) = alice(&format!("127.0.0.1:{}", fake.port), &more);
        let answer = get(&fake.notary(credentials)).await;
        let sent = service.asked()[0].authorization.clone();
        if named {
            assert!(answer.is_ok() && sent == Some(alice_header()));
        } else {
            let error = answer.unwrap_err();
            assert!(
                matches!(&error, SourceError::Denied { status: 401, .. }) && sent.is_none(),
                "{error}"
            );
            assert!(
                error
                    .to_string()
                    .contains("only if config.json names that host"),
                "{error}"
            );
            assert!(!format!("{error} {error:?} {:?}", error.refusal()).contains("hunter2"));
        }
    }
}

#[tokio::test]
async fn an_identity_token_is_traded_for_a_token_in_a_form() {
    let service = Fake::start(|_| text(r#"{"access_token":"good"}"#)).await;
    let fake = wants_token(service.url(), "good").await;
    let (_folder, credentials) = configured(&format!(
        r#"{{"auths":{{"127.0.0.1:{}":{{"identitytoken":"re&fresh"}}}}}}"#,
        fake.port
    ));
    assert!(get(&fake.notary(credentials)).await.is_ok());
    let asked = &service.asked()[0];
    let scope = "repository%3Ar.example%3A5000%2Fteam%2Fapp%3Apull";
    assert_eq!(
        (asked.line.as_str(), asked.authorization.as_deref()),
        ("POST /token", None)
    );
    assert_eq!(
        asked.body,
        format!(
            "grant_type=refresh_token&client_id=rootpin&scope={scope}&refresh_token=re%26fresh&service=notary"
        )
    );
}

#[tokio::test]
async fn a_token_service_that_fails_is_told_apart_from_one_that_denies() {
    for (code, body, denied, silent) in [
        (401, "", true, false),
        (400, "", true, false),
        (503, "", false, true),
        (302, "", false, false),
        (200, "{}", false, false),
        (200, "no", false, false),
    ] {
        let service = Fake::start(move |_| {
            Response::builder()
                .status(code)
                .body(Body::from(body))
                .unwrap()
        })
        .await;
        let fake = wants_token(service.url(), "good").await;
        let error = get(&fake.notary(Credentials::none())).await.unwrap_err();
        assert_eq!(
            (
                matches!(error, SourceError::Denied { .. }),
                error.is_silent()
            ),
            (denied, silent),
            "{error}"
        );
        assert!(error.to_string().contains(&service.url()), "{error}");
    }
    // A token that doesn't open: asked for once, not for ever.
    let service = Fake::start(|_| text(r#"{"token":"bad"}"#)).await;
    let fake = wants_token(service.url(), "good").await;
    assert!(matches!(
        get(&fake.notary(Credentials::none())).await,
        Err(SourceError::Denied { status: 401, .. })
    ));
    assert_eq!((service.asked().len(), fake.asked().len()), (1, 2));
}

#[tokio::test]
async fn a_token_that_is_no_longer_taken_is_replaced() {
    let round = Arc::new(AtomicUsize::new(0));
    let (given, wanted) = (round.clone(), round.clone());
    let service = Fake::start(move |_| {
        text(format!(
            r#"{{"token":"t{}"}}"#,
            given.load(Ordering::SeqCst)
        ))
    })
    .await;
    let realm = service.url();
    let fake = Fake::start(move |asked| {
        let good = format!("Bearer t{}", wanted.load(Ordering::SeqCst));
        if asked.authorization == Some(good) {
            text("file")
        } else {
            with(
                401,
                "www-authenticate",
                &format!("Bearer realm=\"{realm}/\""),
            )
        }
    })
    .await;
    let server = fake.notary(Credentials::none());
    for _ in 0..3 {
        assert!(get(&server).await.is_ok());
        round.fetch_add(1, Ordering::SeqCst);
    }
    assert_eq!(service.asked().len(), 3);
}

#[tokio::test]
async fn basic_is_answered_with_the_credentials_of_that_host_and_port_only() {
    let fake = Fake::start(|asked| {
        if asked.authorization == Some(alice_header()) {
            text("file")
        } else {
            with(401, "www-authenticate", "Basic realm=\"x\"")
        }
    })
    .await;
    let (_folder, credentials) = alice(&format!("127.0.0.1:{}", fake.port), "");
    assert!(get(&fake.notary(credentials)).await.is_ok());
    let (_folder, credentials) = alice("127.0.0.1:1", "");
    let error = get(&fake.notary(credentials)).await.unwrap_err();
    assert!(
        matches!(&error, SourceError::Denied { tried, .. } if tried.contains("config.json has none for 127.0.0.1:")),
        "{error}"
    );
    assert_eq!(fake.asked().last().unwrap().authorization, None);
}

#[tokio::test]
async fn a_credential_helper_opens_a_server_and_one_that_fails_is_named() {
    let fake = Fake::start(|asked| {
        if asked.authorization == Some(alice_header()) {
            text("file")
        } else {
            with(401, "www-authenticate", "Basic realm=\"x\"")
        }
    })
    .await;
    for (script, opens) in [
        (
            r#"cat >/dev/null; echo '{"Username":"alice","Secret":"hunter2"}'"#,
            true,
        ),
        ("echo hunter2; exit 1", false),
    ] {
        let (folder, credentials) = configured(&format!(
            r#"{{"credHelpers":{{"127.0.0.1:{}":"test"}}}}"#,
            fake.port
        ));
        let program = folder.path().join("docker-credential-test");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let server = fake.notary(credentials.search_path(folder.path()));
        let mut answer = get(&server).await;
        // "Text file busy": another test's fork still holds the fresh program open.
        while matches!(&answer, Err(error) if error.to_string().contains("busy")) {
            answer = get(&server).await;
        }
        assert_eq!(answer.is_ok(), opens, "{answer:?}");
        if let Err(error) = answer {
            assert!(
                error.to_string().contains("docker-credential-test failed")
                    && !error.to_string().contains("hunter2"),
                "{error}"
            );
        }
    }
}

#[tokio::test]
async fn a_tag_is_resolved_by_one_head_request() {
    let digest = Digest::of(b"manifest");
    let fake = Fake::start(move |_| with(200, "docker-content-digest", &digest.to_string())).await;
    let client = client(Credentials::none());
    assert_eq!(
        registry::resolve(&client, &fake.image(":v1"), soon()).await,
        Ok(Some(digest))
    );
    let asked = fake.asked();
    assert_eq!(
        (asked.len(), asked[0].line.as_str()),
        (1, "HEAD /v2/team/app/manifests/v1")
    );
    for kind in [
        "oci.image.index.v1",
        "oci.image.manifest.v1",
        "docker.distribution.manifest.list.v2",
        "docker.distribution.manifest.v2",
    ] {
        assert!(
            asked[0]
                .accept
                .contains(&format!("application/vnd.{kind}+json")),
            "{}",
            asked[0].accept
        );
    }
}

/// An index of nothing.
const INDEX: &str = "{\"schemaVersion\":2,\"manifests\":[]}";

#[tokio::test]
async fn a_web_page_in_place_of_a_manifest_has_no_digest_that_is_an_answer() {
    for page in [
        "<html>sign in</html>",
        "",
        "[]",
        "{\"errors\":[]}",
        "{\"manifests\":[",
    ] {
        let fake = Fake::start(move |_| text(page)).await;
        let client = client(Credentials::none());
        let answer = registry::resolve(&client, &fake.image(":v1"), soon()).await;
        let no = |error: &SourceError| !error.is_silent() && error.to_string().contains("no image");
        assert!(answer.as_ref().is_err_and(no), "{page}: {answer:?}");
    }
}

#[tokio::test]
async fn a_manifest_of_a_kind_that_is_not_known_here_has_a_digest_for_who_exempts_it() {
    let first = "{\"schemaVersion\":1,\"fsLayers\":[]}";
    let fake = Fake::start(move |_| text(first)).await;
    let client = client(Credentials::none());
    let answer = registry::resolve(&client, &fake.image(":v1"), soon()).await;
    assert_eq!(answer.unwrap(), Some(Digest::of(first.as_bytes())));
}

#[tokio::test]
async fn without_a_digest_header_the_manifest_is_fetched_and_hashed() {
    let fake = Fake::start(|_| text(INDEX)).await;
    let client = client(Credentials::none());
    assert_eq!(
        registry::resolve(&client, &fake.image(""), soon()).await,
        Ok(Some(Digest::of(INDEX.as_bytes())))
    );
    let lines: Vec<_> = fake.asked().into_iter().map(|asked| asked.line).collect();
    assert_eq!(
        lines,
        [
            "HEAD /v2/team/app/manifests/latest",
            "GET /v2/team/app/manifests/latest"
        ]
    );
}

#[tokio::test]
async fn where_a_registry_does_no_head_a_get_tells_the_digest() {
    for code in [400, 401, 403, 405, 415, 501] {
        let fake = Fake::start(move |asked| {
            if asked.line.starts_with("HEAD") {
                status(code)
            } else {
                text(INDEX)
            }
        })
        .await;
        let answer =
            registry::resolve(&client(Credentials::none()), &fake.image(":v1"), soon()).await;
        assert_eq!(answer, Ok(Some(Digest::of(INDEX.as_bytes()))), "{code}");
    }
    for code in [429, 500, 503] {
        let fake = Fake::start(move |asked| {
            if asked.line.starts_with("HEAD") {
                status(code)
            } else {
                text(INDEX)
            }
        })
        .await;
        assert!(
            registry::resolve(&client(Credentials::none()), &fake.image(":v1"), soon())
                .await
                .unwrap_err()
                .is_silent(),
            "{code}"
        );
    }
    // What denies a GET too is a denial, in the registry's words.
    let fake = Fake::start(|_| {
        let body = r#"{"errors":[{"code":"DENIED","message":"not for you"}]}"#;
        Response::builder()
            .status(403)
            .body(Body::from(body))
            .unwrap()
    })
    .await;
    let error = registry::resolve(&client(Credentials::none()), &fake.image(":v1"), soon())
        .await
        .unwrap_err();
    assert!(
        matches!(error, SourceError::Denied { status: 403, .. })
            && error.to_string().contains("DENIED: not for you"),
        "{error}"
    );
    assert!(error.refusal().found.contains("DENIED: not for you"));
}

#[tokio::test]
async fn a_tag_that_is_not_there_is_none_and_a_bound_name_asks_nobody() {
    let fake = Fake::start(|_| status(404)).await;
    let client = client(Credentials::none());
    assert_eq!(
        registry::resolve(&client, &fake.image(":v1"), soon()).await,
        Ok(None)
    );
    let before = fake.asked().len();
    let digest = Digest::of(b"x");
    assert_eq!(
        registry::resolve(&client, &fake.image(&format!(":v1@{digest}")), soon()).await,
        Ok(Some(digest))
    );
    assert_eq!(fake.asked().len(), before);
}

#[tokio::test]
async fn a_digest_of_another_kind_is_not_taken() {
    for digest in [
        "sha512:00",
        "nonsense",
        "SHA256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ] {
        let fake = Fake::start(move |_| with(200, "docker-content-digest", digest)).await;
        let answer =
            registry::resolve(&client(Credentials::none()), &fake.image(":v1"), soon()).await;
        assert!(
            matches!(&answer, Err(SourceError::Other { cause, .. }) if cause.contains("not sha256")),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn a_registry_s_redirect_is_followed_without_the_authorization_and_three_times_at_most() {
    let digest = Digest::of(b"manifest");
    let mirror =
        Fake::start(move |_| with(200, "docker-content-digest", &digest.to_string())).await;
    let to = format!("http://localhost:{}/elsewhere", mirror.port);
    let fake = Fake::start(move |asked| match &asked.authorization {
        Some(given) if *given == alice_header() => with(307, "location", &to),
        _ => with(401, "www-authenticate", "Basic realm=x"),
    })
    .await;
    let (_folder, credentials) = alice(&format!("127.0.0.1:{}", fake.port), "");
    assert_eq!(
        registry::resolve(&client(credentials), &fake.image(":v1"), soon()).await,
        Ok(Some(digest))
    );
    assert_eq!(
        (
            mirror.asked()[0].line.as_str(),
            mirror.asked()[0].authorization.as_deref()
        ),
        ("HEAD /elsewhere", None)
    );

    let circle = Fake::start(|_| with(302, "location", "/again")).await;
    assert!(
        registry::resolve(&client(Credentials::none()), &circle.image(":v1"), soon())
            .await
            .is_err()
    );
    assert_eq!(circle.asked().len(), 4);
}

#[tokio::test]
async fn a_redirect_s_target_gets_no_credentials_however_it_asks() {
    let thief = Fake::start(|_| with(401, "www-authenticate", "Basic realm=x")).await;
    let to = format!("http://localhost:{}/", thief.port);
    let fake = Fake::start(move |_| with(302, "location", &to)).await;
    let (_folder, credentials) = alice(
        &format!("127.0.0.1:{}", fake.port),
        &format!(r#","localhost:{}":{{"auth":"eDp5"}}"#, thief.port),
    );
    let error = registry::resolve(&client(credentials), &fake.image(":v1"), soon())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, SourceError::Denied { tried, .. } if tried.contains("redirect")),
        "{error}"
    );
    assert!(
        thief
            .asked()
            .iter()
            .all(|asked| asked.authorization.is_none())
    );
}

/// A CA and a TLS server whose certificate it signed, which answers everything with 200, a digest
/// and "file".
async fn tls_server() -> (String, u16) {
    let authority = Authority::new();
    let acceptor = authority.server(&[]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let _ = stream.read(&mut [0; 4096]).await;
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nDocker-Content-Digest: {}\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfile",
                    Digest::of(b"")
                );
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            });
        }
    });
    (authority.pem(), port)
}

#[tokio::test]
async fn a_private_ca_is_trusted_in_place_of_the_system_s_store_and_no_other_is() {
    let (pem, port) = tls_server().await;
    let (other, _) = tls_server().await;
    let ask = |ca: Option<String>| async move {
        let client = HttpClient::new(
            ca.as_deref().map(str::as_bytes),
            Arc::new(Credentials::none()),
        )
        .unwrap();
        get(&NotaryServer::new(&format!("https://127.0.0.1:{port}"), client).unwrap()).await
    };
    assert_eq!(
        ask(Some(pem.clone())).await,
        Ok(Answer::Bytes(b"file".to_vec()))
    );
    for ca in [None, Some(other)] {
        let error = ask(ca).await.unwrap_err();
        assert!(
            error.is_silent() && error.to_string().contains("certificate"),
            "{error}"
        );
        assert!(error.refusal().hint.contains("tls-ca"));
    }
    let client = HttpClient::new(Some(pem.as_bytes()), Arc::new(Credentials::none())).unwrap();
    let image = format!("127.0.0.1:{port}/a").parse().unwrap();
    assert_eq!(
        registry::resolve(&client, &image, soon()).await,
        Ok(Some(Digest::of(b"")))
    );
}

#[test]
fn debug_output_of_a_server_holds_no_secret() {
    let (_folder, credentials) = alice("n.example", "");
    let server = NotaryServer::new("https://n.example", client(credentials)).unwrap();
    assert!(!format!("{server:?}").contains("hunter2"));
}

#[tokio::test]
async fn an_image_is_described_by_the_bytes_that_its_registry_has() {
    let kind = "application/vnd.oci.image.index.v1+json";
    let child = Digest::of(b"child");
    let index = format!(
        r#"{{"schemaVersion":2,"mediaType":"{kind}","manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{child}","size":5}}]}}"#
    );
    let digest = Digest::of(index.as_bytes());
    let body = index.clone();
    let fake = Fake::start(move |asked| match asked.line.rsplit('/').next().unwrap() {
        "gone" => status(404),
        "lies" => Response::builder()
            .header("docker-content-digest", Digest::of(b"x").to_string())
            .body(body.clone().into())
            .unwrap(),
        "page" => text("<html>"),
        "mistyped" => {
            let manifest = "application/vnd.oci.image.manifest.v1+json";
            Response::builder()
                .header("content-type", manifest)
                .body(r#"{"schemaVersion":2,"manifests":[]}"#.into())
                .unwrap()
        }
        "untyped" => text(r#"{"schemaVersion":2,"manifests":[]}"#),
        _ => Response::builder()
            .header("content-type", kind)
            .body(body.clone().into())
            .unwrap(),
    })
    .await;
    let client = client(Credentials::none());
    let describe = async |rest: &str| registry::describe(&client, &fake.image(rest), soon()).await;
    let described = describe(":1").await.unwrap().unwrap();
    assert_eq!(
        (described.digest, described.length),
        (digest, u64::try_from(index.len()).unwrap())
    );
    assert_eq!(
        (described.media_type.as_str(), described.manifests),
        (kind, vec![child])
    );
    assert_eq!(
        describe(&format!("@{digest}"))
            .await
            .unwrap()
            .unwrap()
            .digest,
        digest
    );
    assert_eq!(describe(":gone").await.unwrap(), None);
    for wrong in [
        ":lies",
        ":page",
        ":untyped",
        ":mistyped",
        &format!("@{child}"),
    ] {
        assert!(
            matches!(describe(wrong).await, Err(SourceError::Other { .. })),
            "{wrong}"
        );
    }
}

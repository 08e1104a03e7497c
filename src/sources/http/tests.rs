use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::mpsc;

use http_body_util::BodyExt as _;
use tokio::sync::mpsc::UnboundedSender;

use super::setup::{looking_up, names_of};
use super::*;
use crate::sources::blob_stream::BlobStream;
use crate::sources::threads::use_threads;

fn reply(at: &str, location: &str) -> Reply {
    let headers = HeaderMap::from_iter([(LOCATION, location.parse().unwrap())]);
    Reply {
        url: at.parse().unwrap(),
        status: StatusCode::FOUND,
        headers,
        body: Vec::new(),
        said: ServerWords::default(),
    }
}

#[test]
fn a_redirect_leads_from_https_to_https_only() {
    assert_eq!(
        target(&reply("https://a.example/x", "/y"), None)
            .unwrap()
            .as_str(),
        "https://a.example/y"
    );
    assert_eq!(
        target(&reply("https://a.example/x", "https://b.example/y"), None)
            .unwrap()
            .as_str(),
        "https://b.example/y"
    );
    let local = reply("http://127.0.0.1:5000/x", "http://127.0.0.1:6000/y");
    assert!(target(&local, None).is_ok());
    for (at, location) in [
        ("https://a.example/x", "http://a.example/y"),
        ("https://a.example/x", "http://127.0.0.1/y"),
        ("http://127.0.0.1:5000/x", "http://a.example/y"),
        ("http://mirror.example:5000/x", "http://127.0.0.1:2375/y"),
        ("https://a.example/x", "https://u:p@b.example/y"),
        ("https://a.example/x", "file:///etc/passwd"),
        ("https://a.example/x", "//"),
    ] {
        assert!(
            matches!(
                target(&reply(at, location), None),
                Err(SourceError::Answered { status: 302, .. })
            ),
            "{location}"
        );
    }
}

#[test]
fn a_registry_that_is_asked_over_plain_http_sends_its_readers_to_itself_and_over_http_nowhere_else()
{
    let origin = Some("http://mirror.example:5000");
    let may = |at: &str, location: &str| target(&reply(at, location), origin).is_ok();
    let at = "http://mirror.example:5000/v2/x";
    assert!(may(at, "/v2/y?x=1"));
    assert!(may(at, "http://mirror.example:5000/y"));
    assert!(may(at, "https://storage.example/y"));
    for location in [
        "http://mirror.example/y",
        "http://other.example:5000/y",
        "http://127.0.0.1:2375/y",
        "http://u:p@mirror.example:5000/y",
    ] {
        assert!(!may(at, location), "{location}");
    }
    let origin = "http://mirror.example:5000/y";
    assert!(!may("https://storage.example/x", origin));
}

#[test]
fn plain_http_is_for_this_machine_only() {
    for (url, may) in [
        ("https://a.example/", true),
        ("http://127.0.0.1:5000/", true),
        ("http://[::1]:5000/", true),
        ("http://localhost:5000/", true),
        ("http://a.example/", false),
        ("http://127.0.0.1.a.example/", false),
        ("ftp://127.0.0.1/", false),
    ] {
        assert_eq!(may_ask(&url.parse().unwrap()), may, "{url}");
    }
}

#[test]
fn the_proxy_is_that_of_https_and_never_serves_loopback() {
    let with = |pairs: &'static [(&str, &str)]| {
        proxy(move |name| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        })
    };
    assert!(with(&[]).unwrap().is_none());
    assert!(
        with(&[("HTTP_PROXY", "http://p.example:3128")])
            .unwrap()
            .is_none()
    );
    assert_eq!(
        with(&[("HTTPS_PROXY", "http://")]).unwrap_err(),
        ClientError::Proxy("HTTPS_PROXY")
    );
    let proxy = with(&[
        ("https_proxy", "http://p.example:3128"),
        ("NO_PROXY", "in.example"),
    ])
    .unwrap()
    .unwrap();
    let shown = format!("{proxy:?}");
    assert!(
        shown.contains("in.example,localhost,127.0.0.0/8,::1"),
        "{shown}"
    );
    assert_eq!(
        names_of("*.in.example, b.example .c.example,*"),
        ".in.example,b.example,.c.example,*"
    );
    assert_eq!(
        names_of("r.example:5000,*.d.example:443,10.0.0.0/8,fd00::1,[fd00::2]:5000,x:y"),
        "r.example,.d.example,10.0.0.0/8,fd00::1,fd00::2,x:y"
    );
    assert!(
        with(&[("ALL_PROXY", "socks5h://p.example:1080")])
            .unwrap()
            .is_some()
    );
    for (written, used) in [
        (
            "socks5://u:p@p.example:1080",
            "socks5h://u:p@p.example:1080",
        ),
        ("SOCKS5://p.example", "socks5h://p.example"),
        ("socks5h://p.example", "socks5h://p.example"),
        ("http://p.example:3128", "http://p.example:3128"),
        ("p.example:3128", "p.example:3128"),
    ] {
        assert_eq!(looking_up(written), used);
    }
}

#[test]
fn a_private_ca_without_a_certificate_is_an_error_and_not_the_system_s_store() {
    for pem in [
        &b""[..],
        b"nonsense",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        let client = HttpClient::new(Some(pem), Arc::new(Credentials::none()));
        assert!(client.is_err(), "{}", String::from_utf8_lossy(pem));
    }
}

/// A server that sends one half of `/half`, and the other one when it is told to, and says when it is
/// asked for anything else, which it does not answer. Returns its address.
fn half_server(other_half: mpsc::Receiver<()>, unanswered: UnboundedSender<()>) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let other_half = Arc::new(Mutex::new(other_half));
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let (mut connection, other_half) = (connection.unwrap(), Arc::clone(&other_half));
            let unanswered = unanswered.clone();
            std::thread::spawn(move || {
                let mut lines = BufReader::new(connection.try_clone().unwrap()).lines();
                let asked = lines.next().unwrap().unwrap();
                for line in lines.by_ref() {
                    if line.unwrap().is_empty() {
                        break;
                    }
                }
                if asked.contains("/half") {
                    let begin =
                        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\nab";
                    connection.write_all(begin).unwrap();
                    other_half.lock().unwrap().recv().unwrap();
                    let _ = connection.write_all(b"cd");
                } else {
                    unanswered.send(()).unwrap();
                    // Until the client closes it.
                    lines.for_each(drop);
                }
            });
        }
    });
    url.parse().unwrap()
}

#[tokio::test]
async fn a_request_that_is_given_up_breaks_no_answer_of_its_server_that_is_still_read() {
    use_threads();
    let (tell, told) = mpsc::channel();
    let (unanswered, mut waits) = tokio::sync::mpsc::unbounded_channel();
    let server = half_server(told, unanswered);
    let client = HttpClient::new(None, Arc::new(Credentials::none())).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let ask = |path: &str| Ask {
        method: Method::GET,
        url: server.join(path).unwrap(),
        accept: "*/*",
        cap: 16,
        scope: "",
        redirects: 0,
        send: None,
    };
    for is_stream in [false, true] {
        let half = ask("half");
        let (url, response) = client.begin(&half, None, None, deadline).await.unwrap();
        let other = ask("other");
        tokio::select! {
            _ = client.begin(&other, None, None, deadline) => panic!("it was answered"),
            one = waits.recv() => one.unwrap(),
        }
        tell.send(()).unwrap();
        let body = if is_stream {
            let body = BlobStream::of(response).body;
            body.collect().await.unwrap().to_bytes().to_vec()
        } else {
            read(response, url, 16, deadline).await.unwrap().body
        };
        assert_eq!(body, b"abcd", "{is_stream}");
    }
}

use std::fmt::Write as _;

use proptest::prelude::*;

use super::super::request::of;
use super::*;
use rootpin_trust::image::Digest;

const JSON: (&str, &str) = ("Content-Type", "application/json");
const EMPTY: (&str, &str) = ("Content-Length", "0");

fn post(uri: &str) -> Result<ApiAction, Refusal> {
    read(&of("POST", uri, &[EMPTY], ""))
}

fn name(text: &str) -> ImageRef {
    text.parse().unwrap()
}

fn pull(query: &str) -> Result<String, String> {
    match post(&format!("/v1.45/images/create?{query}")) {
        Ok(ApiAction::Pull(name)) => Ok(name.to_string()),
        Ok(other) => Err(format!("{other:?}")),
        Err(refusal) => Err(refusal.found),
    }
}

#[test]
fn a_pull_is_of_one_tag_or_one_digest_however_the_client_writes_it() {
    let digest = Digest::of(b"x");
    for (query, wanted) in [
        (
            "fromImage=alpine&tag=3.20".to_owned(),
            "docker.io/library/alpine:3.20".to_owned(),
        ),
        (
            "fromImage=r.example%2Fapp:1".to_owned(),
            "r.example/app:1".to_owned(),
        ),
        (
            "fromImage=r.example:5000/app&tag=1&platform=linux%2Farm64".to_owned(),
            "r.example:5000/app:1".to_owned(),
        ),
        (
            format!("fromImage=r.example/app&tag={digest}"),
            format!("r.example/app@{digest}"),
        ),
        (
            format!("fromImage=r.example/app%40{digest}"),
            format!("r.example/app@{digest}"),
        ),
        (
            format!("fromImage=r.example/app:1@{digest}&tag="),
            format!("r.example/app:1@{digest}"),
        ),
    ] {
        assert_eq!(pull(&query).unwrap(), wanted, "{query}");
    }
}

#[test]
fn a_pull_without_tag_and_digest_is_one_of_every_tag_and_refused() {
    for query in [
        "fromImage=r.example/app",
        "fromImage=r.example/app&tag=",
        "fromImage=alpine&Tag=1",
    ] {
        assert!(pull(query).unwrap_err().contains("every tag"), "{query}");
    }
    // To dockerd a colon at the end is none.
    assert!(pull("fromImage=r.example/app:").is_err());
}

#[test]
fn a_pull_that_names_two_tags_or_says_a_thing_twice_is_refused() {
    let digest = Digest::of(b"x");
    for query in [
        "fromImage=app:1&tag=2".to_owned(),
        format!("fromImage=app@{digest}&tag=2"),
        format!("fromImage=app:1&tag={digest}"),
        format!("fromImage=app:&tag={digest}"),
        "fromImage=app&fromImage=evil&tag=1".to_owned(),
        "fromImage=app&tag=1&tag=2".to_owned(),
        "fromImage=app&tag=1&fromSrc=-".to_owned(),
        "fromImage=app&tag=sha512:00".to_owned(),
        "fromImage=APP&tag=1".to_owned(),
        "fromImage=%20&tag=1".to_owned(),
        "fromImage=app&tag=1@x".to_owned(),
    ] {
        assert!(pull(&query).is_err(), "{query}: {:?}", pull(&query));
    }
}

#[test]
fn without_from_image_in_that_very_case_it_is_an_import() {
    assert_eq!(
        post("/images/create?fromSrc=-&repo=app&tag=1").unwrap(),
        ApiAction::Local("docker import", vec![name("app:1")])
    );
    assert_eq!(
        post("/images/create?fromimage=app&tag=1").unwrap(),
        ApiAction::Local("docker import", vec![])
    );
    assert_eq!(
        post("/images/create").unwrap(),
        ApiAction::Local("docker import", vec![])
    );
}

#[test]
fn a_pull_whose_parameters_a_hidden_form_could_override_is_refused() {
    let uri = "/v1.43/images/create?fromImage=signed&tag=1";
    for headers in [
        vec![("Content-Type", "application/x-www-form-urlencoded")],
        vec![("Content-Type", "multipart/form-data; boundary=x"), EMPTY],
        vec![JSON],
        vec![("Content-Type", "text/plain"), ("Content-Length", "21")],
    ] {
        assert!(read(&of("POST", uri, &headers, "")).is_err(), "{headers:?}");
    }
    assert!(read(&of("POST", uri, &[], "")).is_ok());
    assert!(
        read(&of(
            "POST",
            uri,
            &[("Content-Type", "text/plain"), EMPTY],
            ""
        ))
        .is_ok()
    );
}

#[test]
fn a_container_is_judged_by_a_body_that_was_seen_or_not_made() {
    let create = |headers: &[(&str, &str)], body: &str| {
        read(&of("POST", "/containers/create?name=x", headers, body))
    };
    let images = create::CreateImages {
        image: Some("app:1".to_owned()),
        mounted: vec![],
    };
    assert_eq!(
        create(&[JSON], r#"{"image":"app:1"}"#).unwrap(),
        ApiAction::Create(images)
    );
    // Content-Length 0 (CVE-2024-41110), more than dockerd shows (CVE-2026-34040), chunks.
    for headers in [
        vec![JSON, EMPTY],
        vec![JSON, ("Content-Length", "1048577")],
        vec![JSON],
        vec![],
    ] {
        assert!(create(&headers, "").is_err(), "{headers:?}");
    }
    assert!(
        create(
            &[("Content-Type", "application/x-www-form-urlencoded")],
            r#"{"Image":"app:1"}"#
        )
        .is_err()
    );
    assert!(matches!(
        create(&[JSON], "{}"),
        Ok(ApiAction::Local("a container of no image", _))
    ));
}

#[test]
fn what_is_asked_for_does_not_hang_on_the_version_in_the_path() {
    for prefix in ["", "/v1.24", "/v1.43", "/v1.52", "/v9.9"] {
        let action = |rest: &str| post(&format!("{prefix}{rest}"));
        assert_eq!(
            action("/containers/abc/start").unwrap(),
            ApiAction::Start("abc".to_owned())
        );
        assert_eq!(
            action("/containers/abc/restart?t=1").unwrap(),
            ApiAction::Start("abc".to_owned())
        );
        assert_eq!(
            action("/images/load?quiet=1").unwrap(),
            ApiAction::Local("docker load", vec![])
        );
        assert_eq!(
            action("/images/r.example/app:1/tag?repo=b&tag=2").unwrap(),
            ApiAction::Tag("r.example/app:1".to_owned(), name("b:2"))
        );
        assert_eq!(
            action("/commit?container=x&repo=b").unwrap(),
            ApiAction::Local("docker commit", vec![name("b")])
        );
        assert_eq!(
            action("/build?t=a:1&t=b:2&t=&remote=x").unwrap(),
            ApiAction::Local("docker build", vec![name("a:1"), name("b:2")])
        );
        assert!(
            matches!(action("/session").unwrap(), ApiAction::Local(..))
                && matches!(action("/grpc").unwrap(), ApiAction::Local(..))
        );
        for swarm in [
            "/swarm/init",
            "/swarm/join",
            "/swarm/update",
            "/services/create",
            "/services/x/update",
            "/nodes/x/update",
        ] {
            assert_eq!(action(swarm).unwrap(), ApiAction::Swarm, "{swarm}");
        }
        for plugin in [
            "/plugins/pull?remote=x",
            "/plugins/create?name=x",
            "/plugins/a/b/upgrade",
            "/plugins/x/enable",
        ] {
            assert_eq!(action(plugin).unwrap(), ApiAction::Plugin, "{plugin}");
        }
        for harmless in [
            "/containers/abc/stop",
            "/containers/prune",
            "/exec/x/start",
            "/auth",
            "/swarm/leave",
            "/images/a/b/push",
            "/build/prune",
        ] {
            assert_eq!(action(harmless).unwrap(), ApiAction::Pass, "{harmless}");
        }
        for unknown in [
            "/images/pull",
            "/images/a/import",
            "/containers/start",
            "/containers/x/clone",
            "/",
            "/build/x",
            "/session/x",
        ] {
            assert!(action(unknown).is_err(), "{unknown}");
        }
    }
    assert!(read(&of("PATCH", "/images/create", &[EMPTY], "")).is_err());
    assert!(
        read(&of(
            "post",
            "/images/create?fromImage=a&tag=1",
            &[EMPTY],
            ""
        ))
        .is_err()
    );
}

#[test]
fn a_container_started_from_a_checkpoint_gets_bytes_of_no_registry() {
    assert!(matches!(
        post("/containers/x/start?checkpoint=c&checkpoint-dir=/tmp/x").unwrap(),
        ApiAction::Local(..)
    ));
}

#[test]
fn what_only_reads_or_removes_passes_however_it_is_written() {
    for method in ["GET", "HEAD", "OPTIONS", "DELETE"] {
        assert_eq!(
            read(&of(method, "http://x/%69mages//../create#;", &[], "")).unwrap(),
            ApiAction::Pass
        );
    }
}

/// dockerd's routes of the methods that change something, as moby's api/server/router writes them,
/// in the order in which they are tried.
const ROUTES: [(&str, &str); 55] = [
    ("POST", "/containers/{name:.*}/checkpoints"),
    ("POST", "/containers/create"),
    ("POST", "/containers/{name:.*}/kill"),
    ("POST", "/containers/{name:.*}/pause"),
    ("POST", "/containers/{name:.*}/unpause"),
    ("POST", "/containers/{name:.*}/restart"),
    ("POST", "/containers/{name:.*}/start"),
    ("POST", "/containers/{name:.*}/stop"),
    ("POST", "/containers/{name:.*}/wait"),
    ("POST", "/containers/{name:.*}/resize"),
    ("POST", "/containers/{name:.*}/attach"),
    ("POST", "/containers/{name:.*}/exec"),
    ("POST", "/exec/{name:.*}/start"),
    ("POST", "/exec/{name:.*}/resize"),
    ("POST", "/containers/{name:.*}/rename"),
    ("POST", "/containers/{name:.*}/update"),
    ("POST", "/containers/prune"),
    ("POST", "/commit"),
    ("PUT", "/containers/{name:.*}/archive"),
    ("POST", "/images/load"),
    ("POST", "/images/create"),
    ("POST", "/images/{name:.*}/push"),
    ("POST", "/images/{name:.*}/tag"),
    ("POST", "/images/prune"),
    ("POST", "/auth"),
    ("POST", "/volumes/create"),
    ("POST", "/volumes/prune"),
    ("PUT", "/volumes/{name:.*}"),
    ("POST", "/build"),
    ("POST", "/build/prune"),
    ("POST", "/build/cancel"),
    ("POST", "/session"),
    ("POST", "/swarm/init"),
    ("POST", "/swarm/join"),
    ("POST", "/swarm/leave"),
    ("POST", "/swarm/update"),
    ("POST", "/swarm/unlock"),
    ("POST", "/services/create"),
    ("POST", "/services/{id}/update"),
    ("POST", "/nodes/{id}/update"),
    ("POST", "/secrets/create"),
    ("POST", "/secrets/{id}/update"),
    ("POST", "/configs/create"),
    ("POST", "/configs/{id}/update"),
    ("POST", "/plugins/{name:.*}/enable"),
    ("POST", "/plugins/{name:.*}/disable"),
    ("POST", "/plugins/pull"),
    ("POST", "/plugins/{name:.*}/push"),
    ("POST", "/plugins/{name:.*}/upgrade"),
    ("POST", "/plugins/{name:.*}/set"),
    ("POST", "/plugins/create"),
    ("POST", "/grpc"),
    ("POST", "/networks/create"),
    ("POST", "/networks/{id:.*}/connect"),
    ("POST", "/networks/{id:.*}/disconnect"),
];

/// Where dockerd's router takes a URI: Go's net/url decodes the path, gorilla/mux redirects what is
/// not clean and matches the rest. `None`: to no handler.
fn routed(method: &str, uri: &str) -> Option<&'static str> {
    let path = uri.split('?').next().unwrap();
    let path = match path.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => path,
    };
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first == b'%' {
            let hex = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(
                u8::from_str_radix(hex, 16)
                    .ok()
                    .filter(|_| !hex.starts_with('+'))?,
            );
            rest = &tail[2..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    let path = String::from_utf8_lossy(&bytes).into_owned();
    let inner = path.strip_prefix('/')?;
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    if inner
        .split('/')
        .any(|segment| matches!(segment, "" | "." | ".."))
    {
        return None;
    }
    let version = inner.split_once('/').filter(|(version, _)| {
        version.strip_prefix('v').is_some_and(|digits| {
            !digits.is_empty()
                && digits
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || byte == b'.')
        })
    });
    let unversioned = version.map(|(version, _)| &path[version.len() + 1..]);
    let matches = |template: &str, path: &str| {
        let Some((before, rest)) = template.split_once('{') else {
            return template == path;
        };
        let (pattern, after) = rest.split_once('}').unwrap();
        let middle = path
            .strip_prefix(before)
            .and_then(|rest| rest.strip_suffix(after));
        middle.is_some_and(|name| {
            pattern.ends_with(".*") && !name.contains('\n')
                || !name.is_empty() && !name.contains('/')
        })
    };
    let of_method = ROUTES
        .iter()
        .filter(|(known, _)| *known == method)
        .map(|(_, route)| *route);
    of_method
        .into_iter()
        .find(|route| matches(route, &path) || unversioned.is_some_and(|path| matches(route, path)))
}

/// What the handler of a route must have been judged as.
fn fits(route: &str, action: &ApiAction) -> bool {
    match (route, action) {
        ("/containers/create", ApiAction::Create(_) | ApiAction::Local(..))
        | (
            "/containers/{name:.*}/start" | "/containers/{name:.*}/restart",
            ApiAction::Start(_) | ApiAction::Local(..),
        )
        | ("/images/create", ApiAction::Pull(_) | ApiAction::Local(..))
        | ("/images/{name:.*}/tag", ApiAction::Tag(..))
        | ("/images/load" | "/build" | "/commit" | "/session" | "/grpc", ApiAction::Local(..))
        | (
            "/plugins/pull"
            | "/plugins/create"
            | "/plugins/{name:.*}/upgrade"
            | "/plugins/{name:.*}/enable",
            ApiAction::Plugin,
        )
        | ("/swarm/leave", ApiAction::Pass) => true,
        (route, ApiAction::Swarm) => ["/swarm/", "/services/", "/nodes/", "/secrets/", "/configs/"]
            .iter()
            .any(|part| route.starts_with(part)),
        (route, ApiAction::Pass) => passes_in(route),
        _ => false,
    }
}

fn passes_in(route: &str) -> bool {
    let judged = ["/start", "/restart", "/tag", "/upgrade", "/enable"];
    let brings = [
        "/containers/create",
        "/images/create",
        "/images/load",
        "/build",
        "/commit",
        "/session",
        "/grpc",
        "/plugins/pull",
        "/plugins/create",
    ];
    let of_swarm = ["/swarm/", "/services/", "/nodes/", "/secrets/", "/configs/"]
        .iter()
        .any(|part| route.starts_with(part));
    let is_exec = route.starts_with("/exec/");
    !of_swarm
        && !brings.contains(&route)
        && (is_exec || !judged.iter().any(|end| route.ends_with(end)))
}

#[test]
fn every_route_of_dockerd_is_known_and_judged_as_what_it_does() {
    for (method, route) in ROUTES {
        let uri = route
            .replace("{name:.*}", "a/b")
            .replace("{id:.*}", "x")
            .replace("{id}", "x");
        assert_eq!(
            routed(method, &uri),
            Some(route),
            "the model of the router is wrong"
        );
        let query = if route.ends_with("/tag") {
            "?repo=x"
        } else {
            "?fromImage=a&tag=1"
        };
        let action = read(&of(
            method,
            &format!("{uri}{query}"),
            &[JSON],
            r#"{"Image":"a"}"#,
        ))
        .unwrap();
        assert!(fits(route, &action), "{route} is judged as {action:?}");
    }
}

/// Parts of URIs that lead somewhere, and what spells them otherwise.
fn spelled() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "images",
        "create",
        "load",
        "tag",
        "push",
        "containers",
        "start",
        "restart",
        "stop",
        "build",
        "prune",
        "commit",
        "session",
        "grpc",
        "plugins",
        "pull",
        "upgrade",
        "enable",
        "set",
        "swarm",
        "init",
        "leave",
        "services",
        "update",
        "exec",
        "v1.43",
        "v",
        "v1..2",
        "x",
        "a:1",
        ".",
        "..",
        "",
        "archive",
        "volumes",
        "networks",
        "auth",
    ]);
    let escape = |text: String, at: Vec<usize>, upper: bool| {
        let mut out = String::new();
        for (index, byte) in text.bytes().enumerate() {
            if at.contains(&index) {
                let _ = if upper {
                    write!(out, "%{byte:02X}")
                } else {
                    write!(out, "%{byte:02x}")
                };
            } else {
                out.push(char::from(byte));
            }
        }
        out
    };
    let path = prop::collection::vec(word, 1..5).prop_map(|words| format!("/{}", words.join("/")));
    let path = (
        path,
        prop::collection::vec(0_usize..30, 0..3),
        any::<bool>(),
    )
        .prop_map(move |(path, at, upper)| escape(path, at, upper));
    let host = prop::sample::select(vec!["", "", "", "http://docker", "/", "http://x/.."]);
    let end = prop::sample::select(vec![
        "",
        "",
        "/",
        "?",
        "?fromImage=a&tag=1",
        "?repo=x&tag=1",
        "#",
        "%00",
        "%0a",
        "%zz",
    ]);
    (host, path, end).prop_map(|(host, path, end)| format!("{host}{path}{end}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    /// A call that dockerd would carry out is judged as that call, or refused.
    #[test]
    fn no_spelling_of_a_uri_is_judged_as_a_weaker_call_than_the_one_that_dockerd_carries_out(
        uri in spelled(),
        method in prop::sample::select(vec!["POST", "PUT"]),
        body in prop::sample::select(vec!["", r#"{"Image":"a"}"#]),
    ) {
        let headers = if body.is_empty() { vec![EMPTY] } else { vec![JSON] };
        if let (Some(route), Ok(action)) = (routed(method, &uri), read(&of(method, &uri, &headers, body))) {
            prop_assert!(fits(route, &action), "{} {} goes to {}, judged as {:?}", method, uri, route, action);
        }
    }

    /// Whatever comes, an answer comes.
    #[test]
    fn no_call_makes_the_reader_stop(method in "[A-Z]{0,6}", uri in any::<String>(), kind in any::<String>(), body in any::<String>()) {
        let _ = read(&of(&method, &uri, &[("Content-Type", &kind)], &body));
        let _ = read(&of("POST", &format!("/images/create?{uri}"), &[EMPTY], &body));
        let _ = read(&of("POST", "/containers/create", &[JSON], &body));
    }
}

#[test]
fn an_import_from_an_address_hides_no_form_that_would_make_it_a_pull() {
    let read = |source: &str, headers: &[(&str, &str)]| {
        read(&of(
            "POST",
            &format!("/images/create?fromSrc={source}&repo=app"),
            headers,
            "",
        ))
    };
    let hidden = [("Content-Type", "text/plain"), ("Content-Length", "44")];
    for source in ["http://f.example/fs.tar", ""] {
        assert!(read(source, &hidden).is_err(), "{source}");
        for shown in [&[EMPTY][..], &[]] {
            assert!(
                matches!(read(source, shown), Ok(ApiAction::Local(..))),
                "{source}"
            );
        }
    }
    assert!(matches!(read("-", &hidden), Ok(ApiAction::Local(..))));
}

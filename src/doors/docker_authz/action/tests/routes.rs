//! Which action a request is, by every route of dockerd and however it is spelled.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

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

//! What registries answer, bundles and Docker's configuration, changed.

use std::io::Write as _;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, LINK, WWW_AUTHENTICATE};
use reqwest::Url;
use tokio::time::Instant;

use super::bundle::{Bundle, write_bundle};
use super::challenge::challenge;
use super::credentials::Credentials;
use super::hosts::{self, Capability};
use super::next_page::next_page;
use super::server_words::{ServerWords, in_place_of_json};
use super::signature_list::SignatureKind;
use super::signature_manifest::SignatureManifest;
use crate::fuzzing::try_reader;

fn headers(name: http::HeaderName, bytes: &[u8]) -> Option<HeaderMap> {
    let value = HeaderValue::from_bytes(bytes).ok()?;
    Some(HeaderMap::from_iter([(name, value)]))
}

#[test]
fn no_challenge_makes_a_client_panic() {
    let examples: [&[u8]; 2] = [
        br#"Bearer realm="https://auth.example/token",service="r.example",scope="a:b,c""#,
        br#"Negotiate, Basic realm="a\"b", Bearer realm=x"#,
    ];
    try_reader("challenge", &examples, |bytes| {
        let _ = headers(WWW_AUTHENTICATE, bytes).map(|headers| challenge(&headers));
    });
}

#[test]
fn no_link_to_a_next_page_makes_a_client_panic() {
    let examples: [&[u8]; 2] = [
        br#"</v2/a/tags/list?n=100&last=b>; rel="next""#,
        br#"<https://r.example/x>; a="<,>"; rel=prev, <?last=1>; rel="x next""#,
    ];
    let read: Url = "https://r.example/v2/a/tags/list".parse().unwrap();
    try_reader("link", &examples, |bytes| {
        let _ = headers(LINK, bytes).map(|headers| next_page(&headers, &read));
    });
}

#[test]
fn no_manifest_of_signatures_makes_a_client_panic() {
    const BUNDLE: &[u8] = include_bytes!("../../tests/data/signatures/bundle-p256/0.manifest.json");
    const JWS: &[u8] = include_bytes!("../../tests/data/signatures/jws-p256/0.manifest.json");
    try_reader("signature-manifest", &[BUNDLE, JWS], |bytes| {
        for wanted in [SignatureKind::Cosign, SignatureKind::Notation] {
            let _ = SignatureManifest::read(bytes, wanted, None);
        }
    });
}

#[test]
fn no_bundle_makes_its_reader_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.bundle");
    let names = ["1.root.json", "timestamp.json", "2.snapshot.json"];
    let files = names.map(|name| (name.to_owned(), name.as_bytes().repeat(40)));
    write_bundle(&path, &files.into()).unwrap();
    let example = std::fs::read(&path).unwrap();
    let read = |bytes: &[u8]| {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let bundle = Bundle::read(file, "a bundle").ok()?;
        let get = |name: &&str| bundle.get(name, 1 << 20).ok().flatten();
        Some(names.iter().filter_map(get).count())
    };
    assert_eq!(read(&example), Some(3));
    try_reader("bundle", &[&example], |bytes| {
        let _ = read(bytes);
    });
}

#[test]
fn no_configuration_of_docker_makes_the_look_for_credentials_panic() {
    let example = br#"{"auths":{"https://index.docker.io/v1/":{"auth":"dXNlcjpwYXNz"},"r.example:5000/team":{"username":"u","password":"p","identitytoken":"t"}},"credHelpers":{"h.example":"none"}}"#;
    let folder = tempfile::tempdir().unwrap();
    let credentials = Credentials::in_folder(folder.path()).search_path("/nowhere");
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    let find = |bytes: &[u8], host: &str| {
        std::fs::write(folder.path().join("config.json"), bytes).unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        let found = credentials.find(host, "team/app", deadline);
        runtime.block_on(found).is_ok_and(|found| found.is_some())
    };
    assert!(find(example, "r.example:5000"));
    try_reader("docker-config", &[example], |bytes| {
        for host in ["r.example:5000", "docker.io", "h.example"] {
            let _ = find(bytes, host);
        }
    });
}

#[test]
fn no_error_of_a_server_makes_a_client_panic_or_writes_a_line_of_its_own() {
    let examples: [&[u8]; 3] = [
        br#"{"errors":[{"code":"DENIED","message":"no \u001b[2J","detail":{"message":"more"}},{"code":"A"}]}"#,
        b"\xef\xbb\xbf<!DOCTYPE html><html><Title a=\"b\">502\nBad Gateway</title>",
        b"first line\r\nsecond",
    ];
    let kinds = ["application/json", "text/html", "text/plain"];
    let kinds = kinds.map(|kind| headers(CONTENT_TYPE, kind.as_bytes()).unwrap());
    try_reader("server-words", &examples, |bytes| {
        for headers in &kinds {
            let said = ServerWords::of(headers, bytes);
            let page = in_place_of_json(headers, bytes).unwrap_or_default();
            for text in [said.code, said.text, page] {
                assert!(!text.chars().any(char::is_control), "{text:?}");
            }
        }
    });
}

#[test]
fn no_hosts_toml_makes_a_client_panic_or_ask_by_another_scheme() {
    let folder = tempfile::tempdir().unwrap();
    let example = b"server = \"https://r.example\"\ncapabilities = [\"pull\", \"resolve\"]\n[host.\"https://m.example/v2/a\"]\noverride_path = true\n[host.\"http://127.0.0.1:505\"]\ncapabilities = [\"resolve\"]\n";
    let resolver = "127.0.0.1:505".parse().ok();
    let read = |bytes: &[u8]| {
        let (text, wanted) = (String::from_utf8_lossy(bytes), Capability::Resolve);
        let read = hosts::parse(&text, folder.path(), "r.example", wanted, resolver);
        read.ok()?.0
    };
    // The resolver's own entry is none.
    assert_eq!(read(example).map(|ways| ways.len()), Some(2));
    try_reader("hosts-toml-client", &[example], |bytes| {
        for way in read(bytes).into_iter().flatten() {
            let is_http = way.api.starts_with("https://") || way.api.starts_with("http://");
            assert!(is_http, "{}", way.api);
        }
    });
}

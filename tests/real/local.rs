//! `[local] content = "allow"` on real engines: what comes from a registry and has no mark of it.

use std::process::Command;

use axum::Router;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rootpin_trust::image::Digest;
use serde_json::json;

use crate::daemon::{Daemon, Policy};
use crate::door::{Door, words};
use crate::image::Image;
use crate::lab::Lab;

const SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

/// A registry that has one layer, under whatever name, as Docker had its images until 2015. Returns
/// its port.
fn old_registry(lab: &Lab, layer: &[u8]) -> u16 {
    let digest = Digest::of(layer).to_string();
    let history = json!({"id": "a".repeat(64), "created": "2020-01-01T00:00:00Z", "architecture": "amd64", "os": "linux", "config": {"Cmd": ["/hello"]}});
    let manifest = json!({
        "schemaVersion": 1, "name": "x/evil", "tag": "v1", "architecture": "amd64",
        "fsLayers": [{"blobSum": digest}], "history": [{"v1Compatibility": history.to_string()}],
    });
    let signed = serde_json::to_string_pretty(&manifest).unwrap();
    // What is signed is the text up to where the signatures were put in.
    let (head, tail) = signed.split_at(signed.len() - 2);
    let protected = json!({"formatLength": head.len(), "formatTail": BASE64_URL_SAFE_NO_PAD.encode(tail), "time": "2020-01-01T00:00:00Z"});
    let protected = BASE64_URL_SAFE_NO_PAD.encode(protected.to_string());
    let signature = json!([{"header": {"alg": "ES256", "jwk": {}}, "signature": "AAAA", "protected": protected}]);
    let (whole, told) = (
        format!("{head},\n   \"signatures\": {signature}\n}}"),
        Digest::of(signed.as_bytes()).to_string(),
    );
    let listener = lab
        .runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .unwrap();
    let port = listener.local_addr().unwrap().port();
    let layer = layer.to_vec();
    let router = Router::new().fallback(move |method: Method, uri: Uri| {
        let (path, whole, told, layer) = (
            uri.path().to_owned(),
            whole.clone(),
            told.clone(),
            layer.clone(),
        );
        let digest = digest.clone();
        async move {
            let answer = |kind: &str, body: Vec<u8>| {
                let headers = [
                    (header::CONTENT_TYPE, kind.to_owned()),
                    (header::CONTENT_LENGTH, body.len().to_string()),
                ];
                (
                    headers,
                    if method == Method::HEAD {
                        Vec::new()
                    } else {
                        body
                    },
                )
                    .into_response()
            };
            let mut response: Response = match path {
                path if path.contains("/manifests/") => answer(SCHEMA_1, whole.into_bytes()),
                path if path.ends_with(&digest) => answer("application/octet-stream", layer),
                path if path.trim_end_matches('/').ends_with("/v2") => {
                    answer("application/json", b"{}".to_vec())
                }
                _ => StatusCode::NOT_FOUND.into_response(),
            };
            if response
                .headers()
                .get(header::CONTENT_TYPE)
                .is_some_and(|kind| kind == SCHEMA_1)
            {
                response
                    .headers_mut()
                    .insert("docker-content-digest", told.parse().unwrap());
            }
            response
        }
    });
    lab.runtime
        .spawn(async move { axum::serve(listener, router).await });
    port
}

fn ctr(lab: &Lab, door: Door, arguments: &[&str]) -> Result<String, String> {
    let (bin, socket) = if door == Door::Local17 {
        ("LAB_BIN17", "LAB_CONTAINERD17")
    } else {
        ("LAB_BIN2", "LAB_CONTAINERD2")
    };
    words(
        Command::new(lab.path(bin).join("ctr"))
            .arg("-a")
            .arg(lab.path(socket))
            .args(["images"])
            .args(arguments),
    )
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn what_lost_its_registrys_mark_on_the_way_is_no_local_content() {
    let lab = Lab::start();
    let policy: Policy = vec![(
        "policy.toml",
        "version = 1\ndefault = \"deny\"\n[local]\ncontent = \"allow\"\n".to_owned(),
    )];
    let daemon = Daemon::start(&lab, &policy);
    // Docker schema 1, which containerd 1.7 still converts.
    let port = old_registry(
        &lab,
        &Image::manifest("of a schema 1 manifest").layers()[0].bytes,
    );
    Door::Local17.cool(&lab);
    let said = ctr(
        &lab,
        Door::Local17,
        &[
            "pull",
            "--plain-http",
            &format!("127.0.0.1:{port}/x/evil:v1"),
        ],
    )
    .unwrap_err();
    assert!(said.contains("no-rule"), "{said}");
    assert_eq!(Door::Local17.unpacked(&lab), 0);
    // Names without a host, and without a repository.
    let (registry, port) = (
        lab.var("LAB_REGISTRY").to_owned(),
        lab.var("LAB_REGISTRY")
            .rsplit_once(':')
            .unwrap()
            .1
            .to_owned(),
    );
    for (number, door) in [Door::Local17, Door::Local2].into_iter().enumerate() {
        let image = Image::manifest(&format!("pulled from nowhere, {number}"));
        let name = format!("{registry}/local/nowhere{number}:v1");
        lab.push(&image, &name);
        door.cool(&lab);
        let unnamed = name.replacen(&registry, &format!(":{port}"), 1);
        let local: &[&str] = if door == Door::Local2 {
            &["pull", "--local", "--plain-http", &unnamed]
        } else {
            &["pull", "--plain-http", &unnamed]
        };
        let said = ctr(&lab, door, local).unwrap_err();
        assert!(said.contains("no-rule"), "{door}: {said}");
        assert_eq!(door.unpacked(&lab), 0, "{door}");
        // What an archive brings is local, under whatever name nobody covers.
        door.cool(&lab);
        let archive = lab.root.join("local.tar");
        crate::lab::write(&archive, image.archive("elsewhere.test/local/app:v1"));
        let import: &[&str] = if door == Door::Local2 {
            &["import", "--local"]
        } else {
            &["import"]
        };
        let arguments: Vec<&str> = import
            .iter()
            .copied()
            .chain([archive.to_str().unwrap()])
            .collect();
        let said = ctr(&lab, door, &arguments);
        assert!(said.is_ok() && door.unpacked(&lab) > 0, "{door}: {said:?}");
    }
    drop(daemon);
    // An archive that names itself exempt is not the client's word for the name; a pull of the name
    // is.
    let exempt = format!(
        "version = 1\ndefault = \"deny\"\n[[exempt]]\nmatch = \"{registry}/local/vendor\"\nuntil = {}\nreason = \"vendor build\"\n",
        jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24)
    );
    let _daemon = Daemon::start(&lab, &vec![("policy.toml", exempt)]);
    let (image, name) = (
        Image::manifest("a vendor's"),
        format!("{registry}/local/vendor:v1"),
    );
    lab.push(&image, &name);
    for door in [Door::Local17, Door::Local2] {
        door.cool(&lab);
        let archive = lab.root.join("local.tar");
        crate::lab::write(&archive, Image::manifest("an impostor's").archive(&name));
        let import: &[&str] = if door == Door::Local2 {
            &["import", "--local"]
        } else {
            &["import"]
        };
        let arguments: Vec<&str> = import
            .iter()
            .copied()
            .chain([archive.to_str().unwrap()])
            .collect();
        let said = ctr(&lab, door, &arguments).unwrap_err();
        assert!(
            said.contains("rootpin: refused") && door.unpacked(&lab) == 0,
            "{door}: {said}"
        );
        door.cool(&lab);
        let said = door.bring_when_connected(&lab, &name, &image);
        assert!(said.is_ok() && door.unpacked(&lab) > 0, "{door}: {said:?}");
    }
}

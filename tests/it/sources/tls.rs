//! A registry that speaks TLS behind a private CA, and offers HTTP/2 beside HTTP/1.1.

use axum::http::Version;
use rootpin::sources::{Sources, StreamRequest};

use super::*;
use crate::registry::{Registry, response};

const MANIFEST: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[]}"#;

/// A registry that has `team/app:v1`, wants a token for it, and is called registry.test.
async fn registry() -> (Registry, tempfile::TempDir) {
    let registry = Registry::start_tls(&["h2", "http/1.1"]).await;
    registry
        .held
        .lock()
        .unwrap()
        .tags
        .insert("v1".to_owned(), MANIFEST.as_bytes().to_vec());
    registry
        .held
        .lock()
        .unwrap()
        .blobs
        .insert(Digest::of(b"{}").to_string(), b"{}".to_vec());
    let folder = tempfile::tempdir().unwrap();
    registry.stands_for("registry.test", folder.path());
    (registry, folder)
}

fn wants(registry: &Registry, token: &'static str) {
    let port = registry.port;
    registry.quirk(move |asked, _| {
        if asked.line.starts_with("GET /token?") {
            return Some(response(
                200,
                &[("content-type", "application/json")],
                format!(r#"{{"token":"{token}"}}"#),
            ));
        }
        let challenge = format!("Bearer realm=\"https://localhost:{port}/token\",service=\"r\"");
        (asked.authorization != Some(&format!("Bearer {token}")))
            .then(|| response(401, &[("www-authenticate", challenge.as_str())], "denied"))
    });
}

#[tokio::test]
async fn a_registry_that_offers_http_2_is_asked_for_everything_over_http_1() {
    let (registry, folder) = registry().await;
    let sources = Sources::new(Arc::new(
        Credentials::none().with_hosts(Some(folder.path().to_owned())),
    ));
    let image: ImageRef = "registry.test/team/app:v1".parse().unwrap();
    let digest = Digest::of(MANIFEST.as_bytes());
    for token in ["first", "second"] {
        wants(&registry, token);
        assert_eq!(
            sources.resolve(&image, soon().into_std()).await.unwrap(),
            digest
        );
        assert_eq!(
            sources
                .describe(&image, soon().into_std())
                .await
                .unwrap()
                .digest,
            digest
        );
    }
    for (manifest, digest, length) in [
        (true, digest, MANIFEST.len()),
        (false, Digest::of(b"{}"), 2),
    ] {
        for method in ["HEAD", "GET"] {
            // Each time the passage has to find a token first.
            wants(&registry, if method == "HEAD" { "third" } else { "fourth" });
            let repository = image.repository.clone();
            let wanted = StreamRequest {
                method: method.parse().unwrap(),
                repository,
                manifest,
                digest,
                range: None,
            };
            let passage = sources
                .pass(&wanted, soon().into_std())
                .await
                .unwrap()
                .unwrap();
            assert_eq!(
                passage.headers["content-length"],
                length.to_string(),
                "{method}"
            );
            let body = to_bytes(Body::new(passage.body), 4096).await.unwrap();
            assert_eq!(
                body.len(),
                if method == "HEAD" { 0 } else { length },
                "{method}"
            );
        }
    }
    assert!(
        registry
            .held
            .lock()
            .unwrap()
            .versions
            .iter()
            .all(|spoken| *spoken == Version::HTTP_11)
    );
}

#[tokio::test]
async fn a_server_that_is_not_trusted_is_told_by_the_refusal_alone() {
    let registry = Registry::start_tls(&["http/1.1"]).await;
    let policy = tempfile::tempdir().unwrap();
    let name = format!("localhost:{}/team/app:v1", registry.port);
    let folder = policy.path().to_owned();
    let scan = move || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rootpin"));
        let command = command.args(["pin", "scan", &name, "--policy"]);
        command.arg(folder).output().unwrap()
    };
    let ended = tokio::task::spawn_blocking(scan).await.unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.starts_with("rootpin: no trusted connection"), "{said}");
    assert_eq!(said.matches("rootpin: ").count(), 1, "{said}");
    // A command does not read rootpin.toml's folder.
    assert!(said.contains("they take --hosts-dir DIR"), "{said}");
}

#[tokio::test]
async fn a_scan_of_an_unsigned_image_leads_to_one_that_reaches_registries_in_the_same_way() {
    let (registry, hosts) = registry().await;
    registry.quirk(|asked, _| {
        let is_referrers = asked.line.contains("/referrers/");
        is_referrers.then(|| response(404, &[], ""))
    });
    let folder = hosts.path().to_owned();
    let scan = move || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rootpin"));
        let name = "registry.test/team/app:v1";
        let command = command.args(["pin", "scan", name, "--policy", "/none", "--hosts-dir"]);
        command.arg(folder).output().unwrap()
    };
    let ended = tokio::task::spawn_blocking(scan).await.unwrap();
    let said = String::from_utf8(ended.stdout).unwrap();
    let wanted = format!(
        "hint: if a Notary server signs it: rootpin pin scan --policy /none --hosts-dir {} registry.test/team/app --server https://…\n",
        hosts.path().display()
    );
    assert!(said.contains(&wanted), "{said}\n{:?}", ended.stderr);
}

#[tokio::test]
async fn a_head_that_tells_no_length_or_no_digest_is_answered_by_what_a_get_sends() {
    let (registry, folder) = registry().await;
    registry.quirk(|asked, _| {
        let endless = Body::from_stream(tokio_stream::pending::<Result<Vec<u8>, std::io::Error>>());
        let bare = asked.line.starts_with("HEAD").then(|| {
            Response::new(if asked.line.contains("manifests") {
                Body::empty()
            } else {
                endless
            })
        });
        bare.or_else(|| {
            asked
                .line
                .contains("/manifests/")
                .then(|| response(200, &[], MANIFEST))
        })
    });
    let sources = Sources::new(Arc::new(
        Credentials::none().with_hosts(Some(folder.path().to_owned())),
    ));
    let image: ImageRef = "registry.test/team/app:v1".parse().unwrap();
    assert_eq!(
        sources.resolve(&image, soon().into_std()).await.unwrap(),
        Digest::of(MANIFEST.as_bytes())
    );
}

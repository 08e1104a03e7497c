//! The resolver in front of a registry that speaks TLS behind a private CA.

use crate::publisher::Publisher;
use crate::registry::{Registry, response};
use crate::world::Image;

use super::upstream::{Setting, ask};

#[test]
fn manifests_and_blobs_pass_through_whole_from_a_registry_that_speaks_tls_and_wants_a_token() {
    let Some(mut setting) = Setting::new("r-tls") else {
        return;
    };
    let registry = setting
        .world
        .runtime
        .block_on(Registry::start_tls(&["h2", "http/1.1"]));
    let hosts = setting.world.path("certs.d");
    registry.stands_for("registry.test", &hosts);
    let port = registry.port;
    registry.quirk(move |asked, _| {
        if asked.line.starts_with("GET /token?") {
            return Some(response(
                200,
                &[("content-type", "application/json")],
                r#"{"token":"good"}"#,
            ));
        }
        let challenge = format!("Bearer realm=\"https://localhost:{port}/token\",service=\"r\"");
        (asked.authorization != Some("Bearer good"))
            .then(|| response(401, &[("www-authenticate", challenge.as_str())], ""))
    });
    let image = Image::named("signed");
    {
        let mut held = registry.held.lock().unwrap();
        held.tags.insert("v1".to_owned(), image.index.bytes.clone());
        held.tags
            .insert("linux".to_owned(), image.manifest.bytes.clone());
        for blob in [&image.layer, &image.config] {
            held.blobs.insert(blob.digest.clone(), blob.bytes.clone());
        }
    }
    setting.publisher = Publisher::new("registry.test/team/app");
    setting.sign("v1", &image);
    let covered = format!("127.0.0.1:{}/team", setting.upstream.port);
    setting
        .world
        .write_policy(&setting.policy("").replace(&covered, "registry.test/team"));
    // Which an administrator had to add for bytes to come by the resolver.
    let file = hosts.join("registry.test/hosts.toml");
    let here = format!(
        "[host.\"http://{}\"]\ncapabilities = [\"pull\", \"resolve\"]\n",
        setting.address
    );
    std::fs::write(&file, std::fs::read_to_string(&file).unwrap() + &here).unwrap();
    let config = format!(
        "resolver = \"{}\"\nhosts-dir = {:?}\n{}",
        setting.address,
        hosts,
        setting.world.config()
    );
    let _daemon = setting.world.start_ready(&config);
    let client = reqwest::Client::new();
    let asked = |method: &str, path: &str| {
        let url = format!("http://{}{path}?ns=registry.test", setting.address);
        setting
            .world
            .runtime
            .block_on(ask(&client, method, &url, &[]))
    };
    let tag = asked("GET", "/resolve/v2/team/app/manifests/v1");
    assert_eq!(
        (tag.status, tag.body.as_ref().unwrap()),
        (200, &image.index.bytes),
        "{tag:?}"
    );
    for (kind, blob) in [
        ("manifests", &image.index),
        ("manifests", &image.manifest),
        ("blobs", &image.layer),
        ("blobs", &image.config),
    ] {
        let path = format!("/v2/team/app/{kind}/{}", blob.digest);
        let head = asked("HEAD", &path);
        assert_eq!(
            (head.status, head.header("content-length")),
            (200, blob.bytes.len().to_string().as_str()),
            "{path}: {head:?}"
        );
        let get = asked("GET", &path);
        assert_eq!(
            (get.status, get.body.as_ref().unwrap()),
            (200, &blob.bytes),
            "{path}: {get:?}"
        );
    }
}

//! A repository in a registry that speaks TLS and offers HTTP/2, as those of the world do.

use std::fs;

use axum::http::Version;
use tempfile::TempDir;

use super::Org;
use crate::registry::Registry;

/// An organisation, its registry, and where it is said how that is reached.
async fn org() -> (Registry, Org, TempDir) {
    let registry = Registry::start_tls(&["h2", "http/1.1"]).await;
    let hosts = tempfile::tempdir().unwrap();
    registry.stands_for("registry.test", hosts.path());
    let folder = hosts.path().to_owned();
    let founded =
        move || Org::founded_by_hosts("oci://registry.test/trust/acme".to_owned(), folder);
    (
        registry,
        tokio::task::spawn_blocking(founded).await.unwrap(),
        hosts,
    )
}

/// Lets another machine sign with the same keys.
fn second(org: &Org) {
    org.clone("two", "r.test/**");
    for file in fs::read_dir(org.path("main/keys")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), org.path("two/keys").join(file.file_name())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_machines_sign_refresh_revoke_and_rotate_over_tls() {
    let (registry, org, _hosts) = org().await;
    second(&org);
    for number in 1..=4 {
        let machine = if number % 2 == 0 { "two" } else { "main" };
        let ended = org.sign(machine, &format!("r.test/tool:{number}"), "content");
        assert_eq!(ended.code, 0, "{ended:?}");
    }
    assert_eq!(org.verify("host", "r.test/tool:4", "content"), "allowed");
    for machine in ["main", "two"] {
        org.ok(machine, &["refresh"]);
    }
    org.ok("two", &["revoke", "r.test/tool:2"]);
    org.ok("main", &["rotate", "targets"]);
    org.delegated("team-a", "r.test/team/a/**");
    assert_eq!(org.sign("team-a", "r.test/team/a/app:1", "content").code, 0);
    org.ok("main", &["refresh"]);
    assert_eq!(
        org.verify("host", "r.test/tool:2", "content"),
        "no-statement"
    );
    assert_eq!(org.verify("host", "r.test/tool:3", "content"), "allowed");
    assert_eq!(
        org.verify("host", "r.test/team/a/app:1", "content"),
        "allowed"
    );
    let held = registry.held.lock().unwrap();
    assert!(
        held.versions
            .iter()
            .all(|spoken| *spoken == Version::HTTP_11)
    );
    assert!(
        held.asked
            .iter()
            .any(|line| line.starts_with("HEAD /v2/trust/acme/blobs/")),
        "the length of such an answer is no body's"
    );
}

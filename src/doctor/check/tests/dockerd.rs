//! The holes of dockerd.

use super::*;

fn docker(change: impl FnOnce(&mut Docker)) -> String {
    let mut facts = Docker {
        docker: Dockerd {
            name: "main".to_owned(),
            socket: "/run/docker.sock".into(),
            authz: Some("/run/docker/plugins/rootpin.sock".into()),
        },
        version: Version(29, 3, 1),
        containerd_store: true,
        driver: "overlayfs".to_owned(),
        containerd: Some("/run/containerd/containerd.sock".into()),
        authorization: vec!["rootpin".to_owned()],
        warnings: Vec::new(),
        config: "/etc/docker/daemon.json".into(),
        authorization_by_flag: false,
    };
    change(&mut facts);
    let holes = super::super::dockerd(&facts, &["/run/containerd/containerd.sock".into()]);
    let words: Vec<_> = holes.iter().map(|hole| format!("{} {}: {}", hole.severity.as_str(), hole.code.as_str(), hole.found)).collect();
    words.join("\n")
}

#[test]
fn a_dockerd_that_asks_the_plugin_and_uses_a_known_containerd_has_no_hole() {
    assert_eq!(docker(|_| {}), "");
}

#[test]
fn a_dockerd_that_asks_another_plugin_or_none_is_open_with_a_classic_store_and_weak_with_containerds() {
    for plugins in [vec![], vec!["opa".to_owned()]] {
        let classic = docker(|facts| {
            (facts.containerd_store, facts.driver, facts.authorization) = (false, "overlay2".to_owned(), plugins.clone());
        });
        assert!(classic.starts_with("open docker-no-authz: driver overlay2 (a classic store); it asks ["), "{classic}");
        assert!(docker(|facts| facts.authorization = plugins).starts_with("weak docker-no-authz: "));
    }
    assert!(docker(|facts| facts.docker.authz = None).starts_with("weak docker-no-authz: "));
}

#[test]
fn a_containerd_that_dockerd_started_by_itself_is_a_hole_with_its_store_only() {
    for own in ["/var/run/docker/containerd/containerd.sock", "/run/other.sock"] {
        let found = docker(|facts| facts.containerd = Some(own.into()));
        assert_eq!(found, format!("open docker-unknown-containerd: its containerd is at {own}"));
        let classic = docker(|facts| {
            facts.containerd = Some(own.into());
            facts.containerd_store = false;
        });
        assert_eq!(classic, "");
    }
}

#[test]
fn published_bypasses_of_authorization_plugins_are_told_by_version() {
    for (version, wanted) in [
        (Version(20, 10, 24), "CVE-2024-41110 and CVE-2026-34040"),
        (Version(24, 0, 9), "CVE-2024-41110 and CVE-2026-34040"),
        (Version(26, 1, 4), "CVE-2024-41110 and CVE-2026-34040"),
        (Version(26, 1, 5), ": CVE-2026-34040"),
        (Version(27, 1, 1), ": CVE-2026-34040"),
        (Version(29, 3, 0), ": CVE-2026-34040"),
    ] {
        let found = docker(|facts| facts.version = version);
        assert!(found.starts_with("weak docker-authz-bypass") && found.contains(wanted), "{found}");
    }
}

#[test]
fn an_api_that_the_network_reaches_is_a_hole() {
    let warning = "WARNING: API is accessible on http://0.0.0.0:2375 without encryption.";
    assert!(docker(|facts| facts.warnings.push(warning.to_owned())).starts_with("open docker-exposed: WARNING: API"));
}

//! The holes of dockerd.

use super::super::super::facts::SwarmRole;
use super::*;

fn docker(change: impl FnOnce(&mut DockerFacts)) -> String {
    in_words(&holes(change))
}

fn holes(change: impl FnOnce(&mut DockerFacts)) -> Vec<Hole> {
    let docker = Dockerd {
        name: "main".to_owned(),
        socket: "/run/docker.sock".into(),
        authz: Some("/run/docker/plugins/rootpin.sock".into()),
        accept_grpc: false,
    };
    let mut facts = DockerFacts {
        containerd: Some("/run/containerd/containerd.sock".into()),
        authorization: vec!["rootpin".to_owned()],
        ..DockerFacts::of_test(docker, Version(29, 3, 1))
    };
    change(&mut facts);
    super::super::dockerd(&facts, &["/run/containerd/containerd.sock".into()])
}

#[test]
fn a_dockerd_that_asks_the_plugin_and_uses_a_known_containerd_has_no_hole() {
    assert_eq!(docker(|_| {}), "");
}

#[test]
fn a_dockerd_that_asks_another_plugin_or_none_is_open_with_a_classic_store_and_weak_with_containerds()
 {
    for plugins in [vec![], vec!["opa".to_owned()]] {
        let classic = docker(|facts| {
            (facts.containerd_store, facts.driver, facts.authorization) =
                (false, "overlay2".to_owned(), plugins.clone());
        });
        assert!(
            classic
                .starts_with("open docker-no-authz: driver overlay2 (a classic store); it asks ["),
            "{classic}"
        );
        assert!(
            docker(|facts| facts.authorization = plugins).starts_with("weak docker-no-authz: ")
        );
    }
    assert!(docker(|facts| facts.docker.authz = None).starts_with("weak docker-no-authz: "));
}

#[test]
fn the_plugins_socket_that_is_advised_is_the_one_that_the_packaged_unit_holds() {
    let found =
        holes(|facts| (facts.docker.name, facts.docker.authz) = ("docker".to_owned(), None));
    let [hole] = &found[..] else {
        panic!("{found:?}")
    };
    let socket = hole.change.split('"').nth(1).unwrap();
    let unit = include_str!("../../../../../packaging/systemd/rootpind.socket");
    assert!(
        unit.contains(&format!("ListenStream={socket}\n")),
        "{hole:?}"
    );
}

#[test]
fn a_containerd_that_dockerd_started_by_itself_is_a_hole_with_its_store_only() {
    for own in [
        "/var/run/docker/containerd/containerd.sock",
        "/run/other.sock",
    ] {
        let found = docker(|facts| facts.containerd = Some(own.into()));
        assert_eq!(
            found,
            format!("open docker-unknown-containerd: its containerd is at {own}")
        );
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
        assert!(
            found.starts_with("weak docker-authz-bypass") && found.contains(wanted),
            "{found}"
        );
    }
}

#[test]
fn an_api_that_the_network_reaches_is_a_hole() {
    let warning = "WARNING: API is accessible on http://0.0.0.0:2375 without encryption.";
    assert!(
        docker(|facts| facts.warnings.push(warning.to_owned()))
            .starts_with("open docker-exposed: WARNING: API")
    );
}

#[test]
fn a_dockerd_that_answers_grpc_past_its_plugins_is_open_with_a_classic_store_and_weak_with_containerds()
 {
    let asked = |answers_grpc, version, classic: bool| {
        docker(|facts| {
            (facts.answers_grpc, facts.version, facts.containerd_store) =
                (answers_grpc, version, !classic);
        })
    };
    let of_29_7 = Version(29, 7, 2);
    assert!(
        asked(Some(true), of_29_7, true)
            .starts_with("open docker-authz-bypass: dockerd 29.7.2: dockerd answers gRPC")
    );
    assert!(
        asked(Some(true), of_29_7, false)
            .starts_with("weak docker-authz-bypass: dockerd 29.7.2: dockerd answers gRPC")
    );
    let accepted = docker(|facts| {
        (facts.answers_grpc, facts.version, facts.containerd_store) = (Some(true), of_29_7, false);
        facts.docker.accept_grpc = true;
    });
    assert!(accepted.starts_with("weak docker-authz-bypass") && accepted.contains("`accept-grpc`"));
    let of_another_containerd = docker(|facts| {
        (facts.answers_grpc, facts.version) = (Some(true), of_29_7);
        facts.containerd = Some("/run/docker/containerd/containerd.sock".into());
    });
    assert!(
        of_another_containerd.contains("open docker-authz-bypass"),
        "no gate of ours is asked there: {of_another_containerd}"
    );
    assert_eq!(
        asked(Some(false), of_29_7, true),
        "",
        "a later one that has closed it"
    );
    assert!(
        asked(None, of_29_7, true).starts_with("open docker-authz-bypass"),
        "it could not be tried"
    );
    assert!(!asked(None, Version(29, 1, 5), true).contains("gRPC"));
    let nobody = docker(|facts| {
        facts.answers_grpc = Some(true);
        facts.authorization.clear();
    });
    assert!(
        !nobody.contains("docker-authz-bypass"),
        "there is nothing to get past: {nobody}"
    );
}

#[test]
fn an_advice_for_one_bypass_does_not_lead_into_a_worse_one() {
    let changes = |containerd_store, version| {
        let found =
            holes(|facts| (facts.containerd_store, facts.version) = (containerd_store, version));
        found
            .into_iter()
            .map(|hole| hole.change)
            .collect::<String>()
    };
    assert_eq!(
        changes(true, Version(28, 5, 2)),
        "upgrade dockerd to 29.3.1 or later"
    );
    assert!(changes(false, Version(28, 5, 2)).contains("have a dockerd below 29.2.0"));
}

#[test]
fn an_embedded_containerd_is_a_hole_that_naming_another_one_does_not_close() {
    let warning = "WARNING: Running with experimental embedded-containerd mode.";
    for embedded in [
        holes(|facts| facts.features.push("embedded-containerd".to_owned())),
        holes(|facts| facts.warnings.push(warning.to_owned())),
    ] {
        assert!(
            matches!(&embedded[..], [hole] if hole.code == Code::DockerUnknownContainerd),
            "{embedded:?}"
        );
        assert_eq!(
            embedded[0].change,
            "in /etc/docker/daemon.json:\n\"features\": {\"embedded-containerd\": false}"
        );
        let off = Fix::Feature("embedded-containerd".to_owned());
        assert_eq!(embedded[0].fix, Some(off));
    }
    let by_flag = holes(|facts| {
        facts.features.push("embedded-containerd".to_owned());
        facts.features_by_flag.clone_from(&facts.features);
    });
    assert!(
        by_flag[0].fix.is_none() && by_flag[0].change.contains("--feature"),
        "{by_flag:?}"
    );
}

#[test]
fn what_comes_in_without_a_call_is_told_swarms_tasks_and_a_store_that_moves() {
    assert!(docker(|facts| facts.swarm = Some(SwarmRole::Worker)).starts_with("weak docker-swarm"));
    // A manager leaves by force only.
    for (role, command) in [
        (SwarmRole::Worker, "docker swarm leave  "),
        (SwarmRole::Manager, "docker swarm leave --force  "),
    ] {
        let found = holes(|facts| facts.swarm = Some(role));
        assert!(found[0].change.starts_with(command), "{found:?}");
    }
    assert!(
        docker(|facts| (facts.swarm, facts.containerd_store) = (Some(SwarmRole::Worker), false))
            .starts_with("open docker-swarm")
    );
    assert!(
        docker(|facts| facts.features.push("containerd-migration".to_owned()))
            .starts_with("weak docker-migration")
    );
}

#[test]
fn a_socket_that_dockerd_takes_for_the_plugin_is_open_and_removed_only_where_nobody_listens() {
    let docker = Dockerd {
        accept_grpc: false,
        name: "main".to_owned(),
        socket: "/run/docker.sock".into(),
        authz: Some("/run/rootpin/docker.authz.sock".into()),
    };
    let at = Path::new("/run/docker/plugins/rootpin.sock");
    let dead = super::super::shadowed(&docker, at, true);
    assert_eq!(
        (dead.code, dead.severity, dead.fix),
        (
            Code::DockerNoAuthz,
            HoleSeverity::Open,
            Some(Fix::DeadSocket(at.to_owned()))
        )
    );
    assert!(
        dead.change
            .starts_with("rm /run/docker/plugins/rootpin.sock\n")
    );
    assert_eq!(super::super::shadowed(&docker, at, false).fix, None);
}

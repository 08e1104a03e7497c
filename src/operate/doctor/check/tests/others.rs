//! Holes beside the engines' own configuration: other engines, the daemon, sockets.

use super::*;

#[test]
fn engines_that_nobody_named_are_told_and_weigh_less_in_containers_and_for_users() {
    let process = |pid, name: &str, uid, contained| Process {
        pid,
        name: name.to_owned(),
        uid,
        words: vec![name.to_owned(), "\u{1b}[2J".to_owned()],
        contained,
    };
    let all = [
        process(1, "containerd", 0, false),
        process(2, "crio", 0, false),
        process(3, "dockerd", 0, true),
        process(4, "podman", 7, false),
        process(5, "dockerd", 0, false),
        process(6, "containerd", 0, true),
    ];
    let found = super::super::processes(&all, &[1], &[], &[]);
    let severities: Vec<_> = found.iter().map(|hole| hole.severity).collect();
    assert_eq!(
        severities,
        [
            HoleSeverity::Open,
            HoleSeverity::Weak,
            HoleSeverity::Weak,
            HoleSeverity::Open,
            HoleSeverity::Weak
        ]
    );
    assert!(found.iter().all(|hole| !hole.found.contains('\u{1b}')));
    for contained in [&found[1], &found[4]] {
        assert!(
            !contained.change.contains("/run/"),
            "its socket is at no path of this host: {}",
            contained.change
        );
    }
    let lines = found[3].change.split_once(":\n").unwrap().1;
    let config: crate::config::Config = toml::from_str(lines).unwrap();
    assert_eq!(
        config.dockers[0].authz.as_deref(),
        Some(Path::new("/run/rootpin/docker.authz.sock")),
        "the socket that the packaged unit holds"
    );
}

#[test]
fn each_engine_that_nobody_named_is_given_a_name_that_none_has() {
    let process = |pid, name: &str| Process {
        pid,
        name: name.to_owned(),
        uid: 0,
        words: vec![name.to_owned()],
        contained: false,
    };
    let all = [
        process(1, "containerd"),
        process(2, "containerd"),
        process(3, "dockerd"),
        process(4, "dockerd"),
    ];
    let found = super::super::processes(&all, &[], &[], &["second", "main"]);
    let lines = found
        .iter()
        .map(|hole| hole.change.split_once(":\n").unwrap().1);
    let config: crate::config::Config =
        toml::from_str(&lines.collect::<Vec<_>>().join("\n")).unwrap();
    let engines = config.engines.iter().map(|engine| engine.name.as_str());
    let dockers = config.dockers.iter().map(|docker| docker.name.as_str());
    assert_eq!(
        engines.chain(dockers).collect::<Vec<_>>(),
        ["second2", "second3", "docker", "docker2"]
    );
}

#[test]
fn what_the_daemon_says_of_itself_is_told() {
    let status = json!({
        "policy": {"in_force": true, "mode": "audit"},
        "doors": [{"door": "gate", "engine": "main", "asked": false, "detail": "NOT ASKED at noon: it passed"}, {"door": "apply", "engine": "main", "detail": "no differ"}],
    });
    let found: Vec<_> = super::super::daemon(Some(&status), None)
        .iter()
        .map(|hole| hole.code)
        .collect();
    assert_eq!(found, [Code::DoorNotAsked, Code::PolicyAudit]);
    let none = json!({"policy": {"in_force": false, "trouble": "broken"}, "doors": []});
    assert_eq!(
        super::super::daemon(Some(&none), None)[0].code,
        Code::PolicyMissing
    );
    assert!(
        super::super::daemon(None, None).is_empty()
            && super::super::daemon(Some(&json!(null)), None).is_empty()
    );
}

#[test]
fn the_advice_for_a_door_without_its_socket_fits_each_reason_for_it() {
    let detail = "NOT LISTENING: /run/rootpin/gate.sock: something that is no socket is there";
    let status = json!({
        "policy": {"in_force": true, "mode": "enforce"},
        "doors": [{"door": "gate", "engine": "main", "state": "not listening", "detail": detail}],
    });
    let found = super::super::daemon(Some(&status), None);
    let hole = found
        .iter()
        .find(|hole| hole.code == Code::SocketTaken)
        .unwrap();
    for part in ["process", "file", "folder", "restart rootpind"] {
        assert!(hole.change.contains(part), "{part}: {}", hole.change);
    }
}

#[test]
fn sockets_that_others_may_use_are_holes() {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("containerd.sock");
    fs::write(&socket, "").unwrap();
    let mode = |mode| {
        fs::set_permissions(&socket, Permissions::from_mode(mode)).unwrap();
        let mut engine = in_order("2.1.9").engine;
        engine.containerd.clone_from(&socket);
        let mut config: crate::config::Config =
            toml::from_str("control = \"/run/control.sock\"").unwrap();
        config.engines.push(engine);
        super::super::sockets(&config)
            .into_iter()
            .filter(|hole| hole.code == Code::SocketOpen)
            .map(|hole| format!("{}\n{}", hole.found, hole.change))
            .collect::<Vec<_>>()
    };
    if std::os::unix::fs::chown(&socket, None, Some(12345)).is_ok() {
        assert!(
            mode(0o660)[0].contains("\ngpasswd -M '' 12345 "),
            "a command that empties the group"
        );
    }
    assert!(mode(0o666)[0].contains("mode 0666: every user can connect"));
    assert_eq!(mode(0o600), Vec::<String>::new());
    assert!(Path::new(&socket).exists());
}

#[test]
fn a_buildkitd_whose_only_worker_is_a_listed_containerd_is_no_hole() {
    let run = |words: &[&str]| {
        let words = [&["buildkitd", "--config", "/none"], words]
            .concat()
            .iter()
            .map(|&word| word.to_owned())
            .collect();
        let process = Process {
            pid: std::process::id(),
            name: "buildkitd".to_owned(),
            uid: 0,
            words,
            contained: false,
        };
        super::super::processes(&[process], &[], &["/run/listed.sock".into()], &[]).len()
    };
    assert_eq!(
        run(&[
            "--oci-worker=false",
            "--containerd-worker=true",
            "--containerd-worker-addr=/run/listed.sock"
        ]),
        0
    );
    assert_eq!(
        run(&[
            "--oci-worker=false",
            "--containerd-worker-addr",
            "/run/other.sock"
        ]),
        1
    );
    assert_eq!(
        run(&["--containerd-worker-addr=/run/listed.sock"]),
        1,
        "its own worker is on where nothing is said"
    );
    let config = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        &config,
        "[worker.oci]\nenabled = false\n[worker.containerd]\naddress = \"/run/listed.sock\"\n",
    )
    .unwrap();
    assert_eq!(run(&["--config", "/none"]), 1);
    let words = ["buildkitd", "--config", config.path().to_str().unwrap()]
        .map(str::to_owned)
        .to_vec();
    let process = Process {
        pid: std::process::id(),
        name: "buildkitd".to_owned(),
        uid: 0,
        words,
        contained: false,
    };
    assert_eq!(
        super::super::processes(&[process], &[], &["/run/listed.sock".into()], &[]),
        []
    );
}

#[test]
fn an_unlisted_containerd_is_named_by_the_socket_that_its_configuration_has() {
    let config = tempfile::NamedTempFile::new().unwrap();
    let change = |file: &str| {
        let words = ["containerd", "--config", file].map(str::to_owned).to_vec();
        let process = Process {
            pid: std::process::id(),
            name: "containerd".to_owned(),
            uid: 0,
            words,
            contained: false,
        };
        super::super::processes(&[process], &[], &[], &[])[0]
            .change
            .clone()
    };
    let file = config.path().to_str().unwrap();
    for text in [
        "[grpc]\naddress = \"/run/x.sock\"\n",
        "[plugins.'io.containerd.server.v1.grpc']\naddress = \"/run/x.sock\"\n",
    ] {
        std::fs::write(&config, text).unwrap();
        assert!(
            change(file).contains("containerd = \"/run/x.sock\"\n"),
            "{}",
            change(file)
        );
    }
    let own = change("/var/run/docker/containerd/containerd.toml");
    assert!(
        own.contains("dockerd with --containerd=") && !own.contains("[[engine]]"),
        "{own}"
    );
}

#[test]
fn a_socket_of_a_group_is_open_to_whoever_is_in_it() {
    let groups = "root:x:0:\ndocker:x:998:root,ann,bob\nempty:x:997:\nown:x:1000:\n";
    let users = "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n";
    let members = |gid| super::super::others::members(groups, users, gid);
    let some = |group: &str, who: &str| Some((group.to_owned(), who.to_owned()));
    assert_eq!(members(998), some("docker", " (ann, bob)"));
    assert_eq!(members(1000), some("own", " (ann)"));
    assert_eq!(members(997), None);
    // Another directory may know it.
    assert_eq!(members(5000), some("5000", ""));
}

//! By which program, in which command line or script, a unit is known to start an engine.

use super::search::{CONTAINERD, OTHER, service, told, units};
use super::*;

#[test]
fn a_unit_that_starts_the_engine_in_its_own_way_is_named_and_not_guessed() {
    for (command, wanted) in [
        (
            "/bin/sh -c 'exec containerd --config /x'",
            "it starts /bin/sh, which may",
        ),
        (
            "/usr/bin/nice -n 5 containerd",
            "it starts /usr/bin/nice, which may",
        ),
        (
            "/opt/run --with /usr/bin/containerd",
            "it starts /opt/run, which may",
        ),
        (
            "/usr/local/bin/start-cd",
            "it starts /usr/local/bin/start-cd, which may",
        ),
        ("/opt/containerd-2.1/bin/containerd-2.1", "which may"),
        (
            "/usr/bin/snap run microk8s.daemon-containerd",
            "it is of the snap microk8s",
        ),
        (
            "/usr/bin/containerd ; /bin/true",
            "it starts more than one command",
        ),
    ] {
        let root = root(&[
            ("etc/systemd/system/cd.service", &service(command)),
            (
                "usr/local/bin/start-cd",
                "#!/bin/sh\nset -e\nexec /usr/bin/containerd -c /x\n",
            ),
        ]);
        let found = told(&units(root.path(), &[]).start(&CONTAINERD, None, None));
        assert!(
            found.starts_with("cd.service unclear: ") && found.contains(wanted),
            "{command}: {found}"
        );
    }
    let unit = service("/usr/bin/snap run docker.dockerd");
    let root = root(&[("etc/systemd/system/snap.docker.dockerd.service", &unit)]);
    let found = told(&units(root.path(), &[]).start(&DOCKER, None, None));
    assert!(
        found.contains("it is of the snap docker, whose dockerd sees other files"),
        "{found}"
    );
}

#[test]
fn a_unit_that_only_names_the_engine_starts_none() {
    for command in [
        "/usr/bin/systemctl restart containerd",
        "/bin/sh -c 'systemctl is-active containerd || systemctl start containerd'",
        "/usr/bin/dockerd --containerd=/run/containerd/containerd.sock",
        "/usr/bin/kubelet --container-runtime-endpoint unix:///run/containerd/containerd.sock",
        "/usr/bin/containerd-shim-runc-v2",
        "/usr/bin/containerd-stargz-grpc --log-level=debug",
        "/usr/bin/docker run -v /usr/bin/containerd:/usr/bin/containerd x",
        "/usr/bin/containerd config default",
        "/usr/local/bin/check",
        "/usr/bin/snap run docker.dockerd",
    ] {
        let root = root(&[
            ("etc/systemd/system/x.service", &service(command)),
            (
                "usr/local/bin/check",
                "#!/bin/bash\n# containerd -c /x\ncontainerd --version && systemctl restart containerd\n",
            ),
        ]);
        let found = units(root.path(), &[]).start(&CONTAINERD, None, None);
        assert_eq!(found, UnitStart::Absent, "{command}");
    }
    let root = root(&[
        ("etc/systemd/system/x.service", &service("/bin/true")),
        ("etc/systemd/system/service.d/x.conf", &service(OTHER)),
    ]);
    let found = units(root.path(), &[]).start(&CONTAINERD, None, None);
    assert_eq!(found, UnitStart::Absent, "a drop-in of all services");
    // A link of another unit that leads nowhere, and one that is named like the engine.
    let empty = tempfile::tempdir().unwrap();
    let links = [("etc/systemd/system/x.service", "/none/x.service")];
    let found = units(empty.path(), &links).start(&CONTAINERD, None, None);
    assert_eq!(found, UnitStart::Absent);
    let links = [(
        "etc/systemd/system/my-containerd.service",
        "/none/y.service",
    )];
    let found = told(&units(empty.path(), &links).start(&CONTAINERD, None, None));
    assert!(found.contains("its files can't be found"), "{found}");
}

#[test]
fn a_unit_is_found_whose_comment_is_no_utf_8() {
    for (comment, command, wanted) in [
        (
            &b"# caf\xe9\n"[..],
            &b"/usr/bin/containerd -c /x"[..],
            "engine.service /x",
        ),
        (
            b"",
            b"/usr/bin/containerd -c /caf\xe9",
            "engine.service unclear: ",
        ),
    ] {
        let root = root(&[("etc/systemd/system/x", "")]);
        let text = [comment, b"[Service]\nExecStart=", command, b"\n"].concat();
        let file = root.path().join("etc/systemd/system/engine.service");
        fs::write(file, text).unwrap();
        let found = told(&units(root.path(), &[]).start(&CONTAINERD, None, None));
        assert!(found.starts_with(wanted), "{found}");
    }
}

#[test]
fn a_unit_is_found_by_a_scripts_variable_a_specifier_and_an_instances_drop_in() {
    let folder = "etc/systemd/system";
    let script = "#!/bin/sh\nBIN=/usr/bin/containerd\nexec \"$BIN\" --config /x\n";
    let drop_in = format!("[Service]\nExecStart=\nExecStart={OTHER}\n");
    for (unit, command, wanted) in [
        (
            "cd.service",
            "/usr/local/bin/start",
            "cd.service unclear: it starts /usr/local",
        ),
        (
            "cd.service",
            "/bin/sh -c 'exec ${CD:-/usr/bin/containerd} -c /x'",
            "cd.service unclear: it starts /bin/sh",
        ),
        (
            "containerd@.service",
            "/usr/bin/%p -c /x",
            "containerd@.service unclear: ",
        ),
        ("cd@.service", "/usr/bin/other-%i", "absent"),
    ] {
        let unit = format!("{folder}/{unit}");
        let root = root(&[(&unit, &service(command)), ("usr/local/bin/start", script)]);
        let found = told(&units(root.path(), &[]).start(&CONTAINERD, None, None));
        assert!(found.starts_with(wanted), "{unit} {command}: {found}");
    }
    // A script's variable is the service's own, or of one of its files.
    let script = (
        "usr/local/bin/start",
        "#!/bin/sh\nexec \"$BIN\" --config /x\n",
    );
    for (unit, variables) in [
        ("Environment=BIN=containerd\n", ""),
        ("EnvironmentFile=/etc/default/cd\n", "BIN=containerd\n"),
        ("Environment=BIN=kubelet\n", ""),
    ] {
        let is_one = !unit.contains("kubelet");
        let unit = service("/usr/local/bin/start") + unit;
        let root = root(&[
            (&format!("{folder}/cd.service"), &unit),
            script,
            ("etc/default/cd", variables),
        ]);
        let found = told(&units(root.path(), &[]).start(&CONTAINERD, None, None));
        assert_eq!(
            found.starts_with("cd.service unclear: "),
            is_one,
            "{unit}: {found}"
        );
        assert_eq!(found == "absent", !is_one, "{found}");
    }
    let root = root(&[
        (&format!("{folder}/cd@.service"), &service("/bin/true")),
        (&format!("{folder}/cd@a.service.d/x.conf"), &drop_in),
    ]);
    let found = told(&units(root.path(), &[]).start(&CONTAINERD, None, None));
    assert_eq!(found, "x.conf /etc/own.toml");
}

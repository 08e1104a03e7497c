//! Engines under other names, and what of other users is none.

use super::search::{CONTAINERD, service, told, units};
use super::*;

/// A host whose one unit has that command, with engines under other names.
fn host_of_other_names(command: &str) -> (tempfile::TempDir, HostUnits) {
    let of_go = |path: &str| {
        let head = [&b"\x7fELF"[..], &[0; 12], b"\xff Go buildinf:\x08\x02"].concat();
        [&head[..], format!("path\t{path}\nbuild\t").as_bytes()].concat()
    };
    let root = root(&[
        ("etc/systemd/system/engine.service", &service(command)),
        (
            "usr/local/bin/start",
            "#!/bin/sh\nexec /opt/cd/copy -c /x\n",
        ),
        ("opt/cd/containerd-2.1.9", ""),
        ("opt/plain", "\x7fELF, and not of Go"),
        ("usr/bin/containerd", ""),
    ]);
    for (path, package) in [
        (
            "opt/cd/copy",
            "github.com/containerd/containerd/v2/cmd/containerd",
        ),
        ("opt/dkr", "github.com/docker/docker/cmd/dockerd"),
        ("opt/other", "github.com/moby/buildkit/cmd/buildkitd"),
    ] {
        fs::write(root.path().join(path), of_go(package)).unwrap();
    }
    let links = [
        ("opt/cd/link", "/usr/bin/containerd"),
        ("usr/local/bin/link", "/opt/cd/link"),
        ("opt/cd/current", "containerd-2.1.9"),
        ("opt/cd/to-copy", "copy"),
    ];
    let units = units(root.path(), &links);
    (root, units)
}

#[test]
fn a_unit_is_found_that_starts_the_engine_by_a_link_or_a_copy_of_another_name() {
    for (engine, command, wanted) in [
        (
            &CONTAINERD,
            "/opt/cd/link -c /srv/cd/config.toml",
            "engine.service /srv/cd/config.toml",
        ),
        (&CONTAINERD, "link -c /x.toml", "engine.service /x.toml"),
        (
            &CONTAINERD,
            "/usr/bin/env A=b /opt/cd/link -c /x.toml",
            "engine.service /x.toml",
        ),
        (
            &CONTAINERD,
            "/opt/cd/current",
            "engine.service unclear: it starts /opt/cd/current, which",
        ),
        (
            &CONTAINERD,
            "/opt/cd/copy -c /x.toml",
            "engine.service unclear: it starts /opt/cd/copy, which",
        ),
        (
            &CONTAINERD,
            "/opt/cd/to-copy",
            "engine.service unclear: it starts /opt/cd/to-copy, which",
        ),
        (
            &CONTAINERD,
            "/usr/bin/nice /opt/cd/copy",
            "engine.service unclear: ",
        ),
        (
            &CONTAINERD,
            "/bin/sh -c 'exec /opt/cd/link -c /x'",
            "engine.service unclear: ",
        ),
        (
            &CONTAINERD,
            "/usr/local/bin/start",
            "engine.service unclear: ",
        ),
        (
            &CONTAINERD,
            "/opt/%p/gone --config=/srv/config.toml",
            "engine.service unclear: ",
        ),
        (&CONTAINERD, "/opt/gone --config=/srv/config.toml", "absent"),
        (
            &CONTAINERD,
            "/opt/containerd --config=/srv/config.toml",
            "engine.service /srv/config.toml",
        ),
        (
            &CONTAINERD,
            "/opt/other --config /srv/config.toml",
            "absent",
        ),
        (
            &CONTAINERD,
            "/opt/plain --config /srv/config.toml",
            "absent",
        ),
        (&CONTAINERD, "/opt/cd/link --version", "absent"),
        (
            &CONTAINERD,
            "/opt/dkr --config-file /srv/d/daemon.json",
            "absent",
        ),
        (
            &DOCKER,
            "/opt/dkr --config-file /srv/d/daemon.json",
            "engine.service unclear: it starts /opt/dkr",
        ),
        (
            &DOCKER,
            "/opt/gone --config-file /srv/d/daemon.json",
            "absent",
        ),
        (&DOCKER, "/opt/cd/copy -c /x.toml", "absent"),
    ] {
        let (_root, units) = host_of_other_names(command);
        let found = units.start(engine, None, None);
        assert!(
            told(&found).starts_with(wanted),
            "{command}: {}",
            told(&found)
        );
    }
}

#[test]
fn a_name_that_another_user_gave_a_program_and_a_service_of_another_user_are_no_engine() {
    let (unit, usual) = (
        "etc/systemd/system/app.service",
        "etc/systemd/system/containerd.service",
    );
    let run = "/srv/app/run --config /x.toml";
    let link = [("srv/app/run", "x/containerd")];
    let program = ("srv/app/x/containerd", "\x7fELF");
    for (file, command, user, mode, wanted) in [
        (unit, run, "", 0o755, "app.service /x.toml"),
        (unit, run, "User=root\n", 0o755, "app.service /x.toml"),
        (unit, run, "User=0\n", 0o755, "app.service /x.toml"),
        (unit, run, "User=a\nUser=\n", 0o755, "app.service /x.toml"),
        (
            unit,
            run,
            "",
            0o777,
            "app.service unclear: it starts /srv/app/run, which",
        ),
        (unit, run, "User=app\n", 0o755, "absent"),
        (unit, "/usr/bin/containerd", "User=app\n", 0o755, "absent"),
        (
            usual,
            "/usr/bin/containerd",
            "User=app\n",
            0o755,
            "containerd.service unclear: it runs as app, and",
        ),
    ] {
        let text = service(command) + user;
        let root = root(&[(file, &text), program]);
        let folder = root.path().join("srv/app/x");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(folder, mode).unwrap();
        let found = told(&units(root.path(), &link).start(&CONTAINERD, None, None));
        assert!(found.starts_with(wanted), "{text}: {found}");
    }
}

#[test]
fn a_pipe_that_a_unit_names_keeps_nobody_waiting() {
    for text in [
        service("/srv/pipe --config /x.toml"),
        service("/bin/true") + "EnvironmentFile=-/srv/pipe\n",
    ] {
        let root = root(&[("etc/systemd/system/app.service", &text), ("srv/x", "")]);
        let (pipe, kind) = (root.path().join("srv/pipe"), rustix::fs::FileType::Fifo);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, 0o644.into(), 0).unwrap();
        let (done, wait) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let found = told(&units(root.path(), &[]).start(&CONTAINERD, None, None));
            let _ = done.send(found);
        });
        let found = wait.recv_timeout(std::time::Duration::from_secs(20));
        assert_eq!(found.as_deref(), Ok("absent"), "{text}");
    }
}

//! Of several units that start an engine, which count.

use super::search::{CONTAINERD, service, told, units};
use super::*;

#[test]
fn of_units_those_count_that_may_listen_where_the_engine_is_wanted() {
    let (a, b) = (
        service("/usr/bin/containerd --config /a.toml"),
        service("/usr/bin/containerd --config /b.toml --address /run/b.sock"),
    );
    let root = root(&[
        ("etc/systemd/system/a.service", &a),
        ("etc/systemd/system/b.service", &b),
    ]);
    let units = units(root.path(), &[]);
    let at = |socket: &str| told(&units.start(&CONTAINERD, Some(Path::new(socket)), None));
    assert_eq!(at("/run/containerd/containerd.sock"), "a.service /a.toml");
    // The first one's configuration may have it listen there.
    assert_eq!(at("/run/b.sock"), "several: a.service b.service");
    assert_eq!(
        told(&units.start(&CONTAINERD, None, None)),
        "several: a.service b.service"
    );
}

#[test]
fn a_socket_on_one_units_command_line_hides_no_unit_that_may_listen_there_too() {
    let usual = "usr/lib/systemd/system/";
    for (engine, socket, commands, wanted) in [
        (
            &CONTAINERD,
            "/run/containerd/containerd.sock",
            [
                "/usr/bin/containerd",
                "/usr/bin/containerd --address /run/containerd/containerd.sock -c /x",
            ],
            "several: containerd.service old.service",
        ),
        (
            &DOCKER,
            "/run/docker.sock",
            [
                "/usr/bin/dockerd -H fd://",
                "/usr/bin/dockerd -H unix:///run/docker.sock --config-file /x",
            ],
            "several: docker.service old.service",
        ),
        (
            &DOCKER,
            "/run/docker.sock",
            [
                "/usr/bin/dockerd -H fd://",
                "/usr/bin/dockerd -H unix:///run/docker.sock -H unix:///run/o.sock --config-file /x",
            ],
            "several: docker.service old.service",
        ),
        (
            &DOCKER,
            "/run/docker.sock",
            [
                "/usr/bin/dockerd -H fd://",
                "/usr/bin/dockerd -H unix:///run/o.sock --config-file /x",
            ],
            "docker.service ",
        ),
    ] {
        let [first, second] = commands.map(service);
        let root = root(&[
            (&format!("{usual}{}", engine.unit), &first),
            (&format!("{usual}old.service"), &second),
        ]);
        let start = units(root.path(), &[]).start(engine, Some(Path::new(socket)), None);
        assert_eq!(told(&start), wanted, "{commands:?}");
    }
}

#[test]
fn units_are_one_only_with_one_program_and_one_place_of_their_files() {
    let (usual, other) = (
        "usr/lib/systemd/system/containerd.service",
        "etc/systemd/system/cd.service",
    );
    let (plain, relative) = (
        service("/usr/bin/containerd -c /x"),
        service("/usr/bin/containerd -c x"),
    );
    let newer = service("/opt/cd17/containerd -c /x");
    let (in_a, in_b) = (
        format!("{relative}WorkingDirectory=/a\n"),
        format!("{relative}WorkingDirectory=/b\n"),
    );
    let several = "several: containerd.service cd.service";
    for (first, second, wanted) in [
        (&plain, &plain, "containerd.service /x"),
        (&plain, &newer, several),
        (&in_a, &in_b, several),
        (&in_a, &in_a, "containerd.service /a/x"),
    ] {
        let root = root(&[(usual, first), (other, second)]);
        let found = told(&units(root.path(), &[]).start(&CONTAINERD, None, None));
        assert_eq!(found, wanted, "{first}{second}");
    }
}

#[test]
fn a_link_of_an_instance_to_a_unit_without_one_is_no_second_unit() {
    let unit = service("/usr/bin/containerd -c ${UNKNOWN}") + "EnvironmentFile=/none\n";
    let root = root(&[("usr/lib/systemd/system/containerd.service", &unit)]);
    let links = [(
        "etc/systemd/system/cd@a.service",
        "/usr/lib/systemd/system/containerd.service",
    )];
    let found = told(&units(root.path(), &links).start(&CONTAINERD, None, None));
    assert!(found.starts_with("containerd.service unclear: "), "{found}");
}

#[test]
fn a_units_socket_is_the_usual_one_where_it_names_no_path() {
    let usual = Path::new("/run/docker.sock");
    for (line, wanted) in [
        ("dockerd", true),
        ("dockerd -H fd:// -H tcp://127.0.0.1:2376", true),
        ("dockerd -H unix:///run/o.sock", false),
        (
            "dockerd -H unix:///run/o.sock -H unix:///run/docker.sock",
            true,
        ),
    ] {
        let command = UnitCommand {
            words: line.split(' ').map(str::to_owned).collect(),
            ..UnitCommand::of("docker.service")
        };
        assert_eq!(
            command.will_listen(&["host", "H"], usual, usual),
            wanted,
            "{line}"
        );
    }
}

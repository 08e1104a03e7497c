//! Where a unit or a script that starts an engine is found.

use super::*;

pub(super) const CONTAINERD: EngineUnit = EngineUnit {
    unit: "containerd.service",
    program: "containerd",
    options: &["config", "c", "address", "a"],
    extension: ".toml",
    sockets: &["address", "a"],
};

pub(super) fn units(root: &Path, links: &[(&str, &str)]) -> HostUnits {
    for (link, target) in links {
        let link = root.join(link);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, link).unwrap();
    }
    HostUnits::in_root(root, false)
}

pub(super) fn service(command: &str) -> String {
    format!("[Service]\nType=notify\nExecStart={command}\n")
}

/// The files of what was found, and its configuration where that is known.
pub(super) fn told(start: &UnitStart) -> String {
    let file = |command: &UnitCommand| {
        let name = command.file.file_name().unwrap().to_string_lossy();
        name.into_owned()
    };
    match start {
        UnitStart::Absent => "absent".to_owned(),
        UnitStart::Known(command) => format!(
            "{} {}",
            file(command),
            command.path(&CONFIG_OPTIONS).unwrap_or_default().display()
        ),
        UnitStart::Unclear(command, why) => format!("{} unclear: {why}", file(command)),
        UnitStart::Several(all) => {
            let all: Vec<_> = all.iter().map(file).collect();
            format!("several: {}", all.join(" "))
        }
    }
}

pub(super) const OTHER: &str = "/usr/bin/containerd --config /etc/own.toml";

#[test]
fn a_unit_that_starts_the_engine_is_found_by_whatever_name_and_in_whatever_folder() {
    let (null, link) = ("/dev/null", "/usr/lib/systemd/system/k8s-cd.service");
    let usual = "usr/lib/systemd/system/containerd.service";
    let masked = ("etc/systemd/system/containerd.service", null);
    for (files, links, wanted) in [
        (
            &[("etc/systemd/system/k8s-cd.service", OTHER)][..],
            &[][..],
            "k8s-cd.service /etc/own.toml",
        ),
        (
            &[("usr/local/lib/systemd/system/cd.service", OTHER)],
            &[],
            "cd.service /etc/own.toml",
        ),
        (
            &[("run/systemd/generator/cd.service", OTHER)],
            &[],
            "cd.service /etc/own.toml",
        ),
        (
            &[(
                "etc/systemd/system/cd.service",
                "/usr/bin/env A=b /opt/containerd -c /x",
            )],
            &[],
            "cd.service /x",
        ),
        // A link, and a second name of one unit.
        (
            &[("usr/lib/systemd/system/k8s-cd.service", OTHER)],
            &[("etc/systemd/system/engine.service", link)],
            "k8s-cd.service /etc/own.toml",
        ),
        (
            &[("srv/cd.service", OTHER)],
            &[(
                "etc/systemd/system/engine.service",
                "../../../srv/cd.service",
            )],
            "engine.service /etc/own.toml",
        ),
        // What is masked starts nothing.
        (
            &[
                (usual, "/usr/bin/containerd"),
                ("etc/systemd/system/k8s-cd.service", OTHER),
            ],
            &[masked],
            "k8s-cd.service /etc/own.toml",
        ),
        (&[(usual, "/usr/bin/containerd")], &[masked], "absent"),
        (&[], &[("etc/systemd/system/cd.service", null)], "absent"),
        // Templates, by themselves and with instances.
        (
            &[("etc/systemd/system/containerd@.service", OTHER)],
            &[],
            "containerd@.service /etc/own.toml",
        ),
        (
            &[("etc/systemd/system/containerd@.service", OTHER)],
            &[(
                "etc/systemd/system/multi-user.target.wants/containerd@a.service",
                "/etc/systemd/system/containerd@.service",
            )],
            "containerd@.service /etc/own.toml",
        ),
        (
            &[(
                "etc/systemd/system/containerd@.service",
                "/usr/bin/containerd -c /etc/%i.toml",
            )],
            &[],
            "containerd@.service unclear: its command line has specifiers",
        ),
        // Two that say the same are as good as one; two that don't are not.
        (
            &[(usual, OTHER), ("etc/systemd/system/cd.service", OTHER)],
            &[],
            "containerd.service /etc/own.toml",
        ),
        (
            &[
                (usual, "/usr/bin/containerd"),
                ("etc/systemd/system/cd.service", OTHER),
            ],
            &[],
            "several: containerd.service cd.service",
        ),
    ] {
        let texts: Vec<_> = files
            .iter()
            .map(|(path, command)| (*path, service(command)))
            .collect();
        let texts: Vec<_> = texts
            .iter()
            .map(|(path, text)| (*path, text.as_str()))
            .collect();
        let root = root(&texts);
        let found = told(&units(root.path(), links).start(&CONTAINERD, None, None));
        assert!(found.starts_with(wanted), "{files:?} {links:?}: {found}");
    }
}

#[test]
fn an_instance_has_the_drop_ins_of_its_template_and_its_own() {
    let drop_in = |config: &str| {
        format!("[Service]\nExecStart=\nExecStart=/usr/bin/containerd --config {config}\n")
    };
    let (of_all, own) = (drop_in("/all.toml"), drop_in("/own.toml"));
    let service: &str = &service("/usr/bin/containerd");
    let unit = ("etc/systemd/system/k8s-cd@.service", service);
    let wanted_by = (
        "etc/systemd/system/multi-user.target.wants/k8s-cd@a-b.service",
        "/etc/systemd/system/k8s-cd@.service",
    );
    for folder in ["k8s-cd@.service.d", "k8s-@.service.d", "k8s-@a-b.service.d"] {
        let path = format!("etc/systemd/system/{folder}/10.conf");
        let root = root(&[unit, (&path, &of_all)]);
        let found = told(&units(root.path(), &[wanted_by]).start(&CONTAINERD, None, None));
        assert_eq!(found, "10.conf /all.toml", "{folder}");
    }
    let root = root(&[
        unit,
        ("etc/systemd/system/k8s-cd@.service.d/10.conf", &of_all),
        ("etc/systemd/system/k8s-cd@a-b.service.d/10.conf", &own),
    ]);
    let found = told(&units(root.path(), &[wanted_by]).start(&CONTAINERD, None, None));
    assert_eq!(found, "10.conf /own.toml");
}

#[test]
fn an_option_that_a_script_of_another_service_manager_gives_makes_it_unclear() {
    let openrc = "#!/sbin/openrc-run\ncommand=\"${command:-/usr/bin/containerd}\"\ncommand_args=\"${containerd_opts}\"\n";
    let sysv = "#!/bin/sh\nDAEMON=/usr/bin/dockerd\nstart-stop-daemon --start --exec $DAEMON -- $DOCKER_OPTS\n";
    let runit = "#!/bin/sh\nexec containerd --config /etc/own.toml 2>&1\n";
    let plain = "# containerd_opts=\"--config /x\"\n";
    for (files, engine, wanted) in [
        (
            &[("etc/init.d/containerd", openrc)][..],
            &CONTAINERD,
            "absent",
        ),
        (
            &[
                ("etc/init.d/containerd", openrc),
                ("etc/conf.d/containerd", plain),
            ],
            &CONTAINERD,
            "absent",
        ),
        (
            &[
                ("etc/init.d/containerd", openrc),
                ("etc/conf.d/containerd", "containerd_opts='--config /x'\n"),
            ],
            &CONTAINERD,
            "containerd unclear: it has --config,",
        ),
        (
            &[
                ("etc/init.d/containerd", openrc),
                (
                    "etc/conf.d/containerd",
                    "CONTAINERD_OPTS=\"-c /srv/x.toml\"\n",
                ),
            ],
            &CONTAINERD,
            "containerd unclear: it has -c,",
        ),
        (
            &[
                ("etc/init.d/containerd", openrc),
                (
                    "etc/conf.d/containerd",
                    "CONTAINERD_OPTS=-config=/srv/x.toml\n",
                ),
            ],
            &CONTAINERD,
            "containerd unclear: it has -config,",
        ),
        (
            &[("etc/init.d/x", "#!/bin/sh\nsh -c 'exec containerd'\n")],
            &CONTAINERD,
            "absent",
        ),
        (&[("etc/init.d/docker", sysv)], &DOCKER, "absent"),
        (
            &[
                ("etc/init.d/docker", sysv),
                ("etc/default/docker", "DOCKER_OPTS=--config-file=/x\n"),
            ],
            &DOCKER,
            "docker unclear: it has --config-file,",
        ),
        (
            &[("etc/sv/cd/run", runit)],
            &CONTAINERD,
            "run unclear: it has --config,",
        ),
        (&[("etc/sv/cd/run", runit)], &DOCKER, "absent"),
    ] {
        let root = root(files);
        let units = HostUnits::in_root(root.path(), true);
        assert!(units.by_scripts, "there is no systemd");
        let found = told(&units.start(engine, None, None));
        assert!(found.starts_with(wanted), "{files:?}: {found}");
    }
    let with_systemd = root(&[("etc/sv/cd/run", runit), ("usr/lib/systemd/systemd", "")]);
    let units = HostUnits::in_root(with_systemd.path(), true);
    assert_eq!(units.start(&CONTAINERD, None, None), UnitStart::Absent);
}

#[test]
fn an_empty_word_ends_containerds_options_in_a_unit_too() {
    let unit = format!(
        "{}Environment=O=\n",
        service("/usr/bin/containerd ${O} --config /x")
    );
    let root = root(&[("etc/systemd/system/containerd.service", &unit)]);
    let found = units(root.path(), &[]).start(&CONTAINERD, None, None);
    assert_eq!(found.command().unwrap().option(&CONFIG_OPTIONS), None);
    assert_eq!(told(&found), "containerd.service ");
}

#[test]
fn a_mask_below_run_is_gone_at_the_next_boot_and_does_not_count() {
    let usual = ("usr/lib/systemd/system/containerd.service", service(OTHER));
    let drop_in = "[Service]\nExecStart=\nExecStart=/usr/bin/containerd -c /x\n";
    let root = root(&[
        (usual.0, &usual.1),
        (
            "usr/lib/systemd/system/containerd.service.d/x.conf",
            drop_in,
        ),
    ]);
    let null = "/dev/null";
    let links = [
        ("run/systemd/system/containerd.service", null),
        ("run/systemd/system/containerd.service.d/x.conf", null),
    ];
    let found = told(&units(root.path(), &links).start(&CONTAINERD, None, None));
    assert_eq!(found, "x.conf /x");
    let links = [("etc/systemd/system/containerd.service", null)];
    let found = units(root.path(), &links).start(&CONTAINERD, None, None);
    assert_eq!(found, UnitStart::Absent);
}

#[test]
fn a_script_without_a_unit_of_its_name_makes_it_unclear_under_systemd_too() {
    let script = "#!/bin/sh\nstart-stop-daemon --exec /usr/bin/containerd\n";
    let (systemd, unit) = (
        ("usr/lib/systemd/systemd", ""),
        ("usr/lib/systemd/system/cd.service", &*service(OTHER)),
    );
    for (files, wanted) in [
        (
            &[systemd, ("etc/init.d/containerd", script)][..],
            "containerd unclear: it is a script",
        ),
        (
            &[systemd, ("etc/init.d/cd", script), unit],
            "cd.service /etc/own.toml",
        ),
        (
            &[systemd, ("etc/init.d/other", script), unit],
            "several: cd.service other",
        ),
        (
            &[systemd, ("etc/init.d/x", "#!/bin/sh\n# containerd\n")],
            "absent",
        ),
    ] {
        let root = root(files);
        let found = told(&HostUnits::in_root(root.path(), true).start(&CONTAINERD, None, None));
        assert!(found.starts_with(wanted), "{files:?}: {found}");
    }
}

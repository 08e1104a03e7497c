mod by_program;
mod choice;
mod other_names;
mod search;

use std::fs;

use super::*;

fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn started(files: &[(&str, &str)]) -> Option<Vec<String>> {
    match in_root(root(files).path()) {
        UnitStart::Known(command) => Some(command.words),
        UnitStart::Absent => None,
        other => panic!("{other:?}"),
    }
}

fn in_root(root: &Path) -> UnitStart {
    HostUnits::in_root(root, false).start(&DOCKER, None, None)
}

const DOCKER: EngineUnit = EngineUnit {
    unit: "docker.service",
    program: "dockerd",
    options: &OPTIONS,
    extension: ".json",
    sockets: &["host", "H"],
};
const OPTIONS: [&str; 2] = ["config-file", "authorization-plugin"];
const USUAL: (&str, &str) = (
    "usr/lib/systemd/system/docker.service",
    "[Unit]\nExecStart=/no\n[Service]\nType=notify\nExecStart=/usr/bin/dockerd -H fd:// \\\n  $OPTIONS\n",
);

#[test]
fn a_command_line_is_read_with_its_drop_ins_and_variables_as_systemd_reads_it() {
    let of =
        |more: &[(&str, &str)]| started(&[&[USUAL], more].concat()).map(|words| words.join(" "));
    assert_eq!(of(&[]).as_deref(), Some("/usr/bin/dockerd -H fd://"));
    for (path, text, wanted) in [
        (
            "etc/systemd/system/docker.service.d/o.conf",
            "[Service]\nExecStart=\nExecStart=/usr/bin/dockerd --authorization-plugin=opa\n",
            "/usr/bin/dockerd --authorization-plugin=opa",
        ),
        (
            "etc/systemd/system/docker.service",
            "[Service]\nExecStart=-@/usr/bin/dockerd docker \"--config-file=/a b\"\n",
            "/usr/bin/dockerd --config-file=/a b",
        ),
        (
            "usr/lib/systemd/system/docker.service.d/e.conf",
            "[Service]\nEnvironment='OPTIONS=-l debug --config-file /x' A=b\n",
            "/usr/bin/dockerd -H fd:// -l debug --config-file /x",
        ),
        (
            "etc/systemd/system/service.d/e.conf",
            "[Service]\nEnvironment=D=/y\nExecStart=\nExecStart=/usr/bin/dockerd --config-file=${D}/z $$\n",
            "/usr/bin/dockerd --config-file=/y/z $",
        ),
        (
            "etc/systemd/system/docker.service.d/e.conf",
            "[Service]\nEnvironmentFile=-/none\n# no\n;ExecStart=/no\nExecStart=\nExecStart=:/d/dockerd $OPTIONS\n",
            "/d/dockerd $OPTIONS",
        ),
        (
            "etc/systemd/system/docker.service.d/e.conf",
            "[Service]\nExecStart=\nExecStart=/d/dockerd --config-file=/a%%b \"/c\\\\d\"\n",
            "/d/dockerd --config-file=/a%b /c\\d",
        ),
        (
            "etc/systemd/system/docker.service.d/e.conf",
            "[Service]\nExecStart=\nExecStart=/usr/bin/env -u B A=b dockerd --config-file /x\n",
            "dockerd --config-file /x",
        ),
        (
            "etc/systemd/system/docker.service.d/e.conf",
            "\u{feff}[Service]\nExecStart=\nExecStart=env - /opt/dockerd\n",
            "/opt/dockerd",
        ),
    ] {
        assert_eq!(of(&[(path, text)]).as_deref(), Some(wanted), "{text}");
    }
    let by_file = of(&[
        (
            "etc/systemd/system/docker.service.d/e.conf",
            "[Service]\nEnvironmentFile=/etc/default/docker\n",
        ),
        ("etc/default/docker", "# x\nOPTIONS=\"--config-file /x\"\n"),
    ]);
    assert_eq!(
        by_file.as_deref(),
        Some("/usr/bin/dockerd -H fd:// --config-file /x")
    );
}

#[test]
fn a_later_drop_in_counts_and_of_one_name_the_administrators() {
    let drop_in = |text: &str| format!("[Service]\nExecStart=\nExecStart=/{text}\n");
    let all = [
        (
            "usr/lib/systemd/system/docker.service.d/20.conf",
            drop_in("b/dockerd"),
        ),
        (
            "usr/lib/systemd/system/docker.service.d/10.conf",
            drop_in("a/dockerd"),
        ),
        (
            "etc/systemd/system/docker.service.d/10.conf",
            drop_in("c/dockerd"),
        ),
    ];
    let files: Vec<_> = all
        .iter()
        .map(|(path, text)| (*path, text.as_str()))
        .collect();
    assert_eq!(
        started(&[&[USUAL], &files[..2]].concat()).unwrap(),
        ["/b/dockerd"]
    );
    let two: Vec<_> = [USUAL, files[1], files[2]].to_vec();
    assert_eq!(started(&two).unwrap(), ["/c/dockerd"]);
}

#[test]
fn a_unit_that_is_masked_starts_nothing() {
    assert_eq!(started(&[]), None);
    let masked = root(&[USUAL]);
    fs::create_dir_all(masked.path().join("etc/systemd/system")).unwrap();
    std::os::unix::fs::symlink(
        "/dev/null",
        masked.path().join("etc/systemd/system/docker.service"),
    )
    .unwrap();
    assert_eq!(in_root(masked.path()), UnitStart::Absent);
}

const OWN: &str = "etc/systemd/system/docker.service.d/e.conf";

#[test]
fn what_is_not_known_of_words_that_count_makes_a_unit_unclear() {
    let lines = |lines: &str| format!("[Service]\n{lines}\n");
    let command = |line: &str| lines(&format!("ExecStart=\nExecStart={line}"));
    for (text, wanted) in [
        (lines("EnvironmentFile=/none"), "/none, which can't be read"),
        (
            lines("ExecStartPre=/opt/env\nEnvironmentFile=-/run/cd/env"),
            "/run/cd/env, which can't be read",
        ),
        (
            lines("EnvironmentFile=-/var/run/cd/env"),
            "/var/run/cd/env, which can't be read",
        ),
        (
            lines("EnvironmentFile=/etc/*.env"),
            "/etc/*.env, which is a pattern",
        ),
        (
            lines("EnvironmentFile=-/etc/*.env"),
            "/etc/*.env, which is a pattern",
        ),
        (lines("EnvironmentFile=%E/x"), "%E/x, which is a pattern"),
        (
            lines("Environment=OPTIONS=-D\nEnvironmentFile=/none"),
            "/none",
        ),
        (
            lines("Environment=OPTIONS=--config-file=%E/x"),
            "specifiers",
        ),
        (
            command("/d/dockerd --config-file=${A}/x") + "EnvironmentFile=/none\n",
            "/none",
        ),
        (command("/d/dockerd --config-file %E/x"), "specifiers"),
        (command("/d/dockerd --config-file=%E/x"), "specifiers"),
        (
            command("/d/dockerd --authorization-plugin=%i"),
            "specifiers",
        ),
        (command("/d/dockerd --config-file=/a\\x20b"), "escapes"),
        (command("/d/dockerd \\x2d-config-file=/a"), "escapes"),
        (command("/d/dockerd --%p=/a"), "specifiers"),
        (command("%h/dockerd"), "specifiers"),
        (
            command("/usr/local/bin/start-docker"),
            "which may start dockerd with another",
        ),
        (
            command("/bin/sh -c 'exec dockerd -D'"),
            "which may start dockerd with another",
        ),
        (
            command("/w --root /srv/x/dockerd --config-file /x"),
            "which may start dockerd",
        ),
        (
            command("/usr/bin/env -C /srv /usr/bin/dockerd"),
            "which may start dockerd",
        ),
        (command("|/usr/bin/dockerd"), "has a shell start it"),
        (
            command("/usr/bin/dockerd ; /bin/true"),
            "more than one command",
        ),
        (lines("ExecStart=/usr/bin/dockerd"), "more than one command"),
        (
            command("/usr/bin/dockerd --config-file ${A:-/x}"),
            "no value for --config-file",
        ),
        (lines("PassEnvironment=OPTIONS"), "its environment sets"),
        (
            command("/d/dockerd --config-file=${HOME}/x"),
            "its environment sets",
        ),
        (
            lines("RootDirectory=/srv"),
            "RootDirectory=/srv has it see other files",
        ),
        (lines("RootImage=/i.raw"), "RootImage="),
        (lines("BindPaths=/srv:/etc/docker"), "BindPaths="),
        (
            lines("BindReadOnlyPaths=/srv:/etc/docker"),
            "BindReadOnlyPaths=",
        ),
        (lines("WorkingDirectory=~"), "WorkingDirectory=~"),
    ] {
        let root = root(&[USUAL, (OWN, &text)]);
        match in_root(root.path()) {
            UnitStart::Unclear(command, why) => {
                assert!(why.contains(wanted), "{text}: {why}");
                assert!(command.file.ends_with(USUAL.0) || command.file.ends_with(OWN));
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    let unreadable = root(&[USUAL]);
    fs::create_dir_all(unreadable.path().join(OWN)).unwrap();
    let found = in_root(unreadable.path());
    assert!(matches!(found, UnitStart::Unclear(..)), "{found:?}");
}

#[test]
fn what_is_not_known_of_other_words_leaves_a_unit_known() {
    for (line, wanted) in [
        ("/d/dockerd --authorization-plugin=opa", "opa"),
        (
            "/d/dockerd --data-root=${A} --authorization-plugin opa",
            "opa",
        ),
        (
            "/d/dockerd --data-root=%S/d --authorization-plugin opa",
            "opa",
        ),
        (
            "/d/dockerd --data-root %S/d --label=\\x20 --authorization-plugin=opa",
            "opa",
        ),
    ] {
        let text = format!("[Service]\nEnvironmentFile=/none\nExecStart=\nExecStart={line}\n");
        let root = root(&[USUAL, (OWN, &text)]);
        match in_root(root.path()) {
            UnitStart::Known(command) => {
                assert_eq!(command.option(&OPTIONS).as_deref(), Some(wanted), "{line}");
            }
            other => panic!("{line}: {other:?}"),
        }
    }
    // A later file sets the variable anew.
    let text = "[Service]\nEnvironmentFile=/none\nEnvironmentFile=/o\n";
    let words = started(&[USUAL, (OWN, text), ("o", "OPTIONS=--config-file=/50%/x\n")]);
    assert_eq!(words.unwrap().last().unwrap(), "--config-file=/50%/x");
}

#[test]
fn a_value_over_two_lines_of_an_environment_file_is_read_whole() {
    for (file, wanted) in [
        ("OPTIONS='-D \\\n  --authorization-plugin=opa'\n", "opa"),
        ("OPTIONS=\"-D \\\n  --authorization-plugin=opa\"\n", "opa"),
        ("OPTIONS=-D \\\n  --authorization-plugin=opa\n", "opa"),
        ("OPTIONS=\"-D\n --authorization-plugin=opa\"\n", "opa"),
    ] {
        let text = "[Service]\nEnvironmentFile=-/etc/sysconfig/docker\n";
        let root = root(&[USUAL, (OWN, text), ("etc/sysconfig/docker", file)]);
        let UnitStart::Known(command) = in_root(root.path()) else {
            panic!("{file}")
        };
        assert_eq!(command.option(&OPTIONS).as_deref(), Some(wanted), "{file}");
    }
}

#[test]
fn drop_ins_of_every_name_of_a_unit_count() {
    let real = (
        "usr/lib/systemd/system/my-docker.service",
        "[Service]\nExecStart=/usr/bin/dockerd\n",
    );
    let drop_in = "[Service]\nExecStart=\nExecStart=/usr/bin/dockerd --config-file /x\n";
    for folder in [
        "etc/systemd/system/my-docker.service.d/a.conf",
        "usr/lib/systemd/system/docker.service.d/a.conf",
        "run/systemd/system/third.service.d/a.conf",
        "etc/systemd/system/my-.service.d/a.conf",
        "run/systemd/generator/service.d/a.conf",
    ] {
        let root = root(&[real, (folder, drop_in)]);
        let units = root.path().join("etc/systemd/system");
        fs::create_dir_all(&units).unwrap();
        for name in ["docker.service", "third.service"] {
            let to = format!("/{}", real.0);
            std::os::unix::fs::symlink(to, units.join(name)).unwrap();
        }
        match in_root(root.path()) {
            UnitStart::Known(command) => {
                assert_eq!(command.words.last().unwrap(), "/x", "{folder}");
                assert!(command.names.contains(&"my-docker.service".to_owned()));
            }
            other => panic!("{folder}: {other:?}"),
        }
    }
    // A link to a file that is no unit has one name.
    let linked = root(&[
        ("srv/my.service", real.1),
        ("etc/systemd/system/my.service.d/a.conf", drop_in),
    ]);
    let at = linked.path().join("etc/systemd/system/docker.service");
    std::os::unix::fs::symlink(linked.path().join("srv/my.service"), at).unwrap();
    let found = in_root(linked.path());
    assert_eq!(found.command().unwrap().words, ["/usr/bin/dockerd"]);
}

#[test]
fn of_one_name_a_units_own_drop_in_hides_that_of_all_services() {
    let drop_in = |file: &str| {
        format!("[Service]\nExecStart=\nExecStart=/usr/bin/dockerd --config-file {file}\n")
    };
    let (own, of_all) = (drop_in("/own"), drop_in("/all"));
    let words = started(&[
        USUAL,
        ("etc/systemd/system/service.d/10.conf", &of_all),
        ("usr/lib/systemd/system/docker.service.d/10.conf", &own),
        ("etc/systemd/system/docker.service.d/.20.conf", &of_all),
    ]);
    assert_eq!(words.unwrap().last().unwrap(), "/own");
    // Folder by folder: the administrator's for more units hides the package's own.
    let root = root(&[
        (
            "usr/lib/systemd/system/my-docker.service",
            "[Service]\nExecStart=/usr/bin/dockerd\n",
        ),
        ("etc/systemd/system/my-.service.d/10.conf", &of_all),
        ("usr/lib/systemd/system/my-docker.service.d/10.conf", &own),
    ]);
    let found = in_root(root.path());
    assert_eq!(found.command().unwrap().words.last().unwrap(), "/all");
}

#[test]
fn a_relative_path_begins_at_the_working_directory() {
    let command = |text: &str| {
        let text = format!(
            "[Service]\n{text}\nExecStart=\nExecStart=/usr/bin/dockerd --config-file d.json\n"
        );
        let root = root(&[USUAL, (OWN, &text), ("srv/d/x", "")]);
        let found = in_root(root.path());
        found.command().unwrap().path(&["config-file"]).unwrap()
    };
    for (text, wanted) in [
        ("", "/d.json"),
        ("WorkingDirectory=/srv/d", "/srv/d/d.json"),
        ("WorkingDirectory=-/srv/d", "/srv/d/d.json"),
        ("WorkingDirectory=-/srv/none", "/d.json"),
        ("WorkingDirectory=/srv/d\nWorkingDirectory=", "/d.json"),
    ] {
        assert_eq!(command(text), Path::new(wanted), "{text}");
    }
}

#[test]
fn variables_come_from_systemds_own_configuration_and_go_as_the_unit_says() {
    let manager = (
        "etc/systemd/system.conf.d/e.conf",
        "[Manager]\nDefaultEnvironment=OPTIONS=--config-file=/m \"OTHER=x y\"\n",
    );
    for (unit, wanted) in [
        ("", Some("--config-file=/m")),
        (
            "[Service]\nEnvironment=OPTIONS=--config-file=/u\n",
            Some("--config-file=/u"),
        ),
        ("[Service]\nUnsetEnvironment=OPTIONS\n", None),
        (
            "[Service]\nUnsetEnvironment=OPTIONS=other\n",
            Some("--config-file=/m"),
        ),
        (
            "[Service]\nPassEnvironment=OPTIONS\nEnvironment=OPTIONS=-D\n",
            Some("-D"),
        ),
    ] {
        let words = started(&[USUAL, manager, (OWN, unit)]).unwrap();
        assert_eq!(words.get(3).map(String::as_str), wanted, "{unit}");
    }
}

#[test]
fn a_script_that_systemd_finds_on_its_path_is_a_wrapper_too() {
    for line in ["dockerd", "/usr/bin/env A=b dockerd -D"] {
        let unit = format!("[Service]\nExecStart=\nExecStart={line}\n");
        let script = ("usr/local/sbin/dockerd", "#!/bin/sh\nexec /opt/dockerd\n");
        let root = root(&[USUAL, (OWN, &unit), script]);
        match in_root(root.path()) {
            UnitStart::Unclear(_, why) => assert!(why.contains("is a script"), "{why}"),
            other => panic!("{line}: {other:?}"),
        }
    }
}

#[test]
fn a_script_by_the_programs_name_is_a_wrapper() {
    let root = root(&[
        USUAL,
        ("usr/bin/dockerd", "#!/bin/sh\nexec /opt/dockerd -D\n"),
    ]);
    match in_root(root.path()) {
        UnitStart::Unclear(_, why) => assert!(why.contains("is a script"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_unit_that_is_masked_by_an_empty_file_starts_nothing_by_a_drop_in() {
    let empty = ("etc/systemd/system/docker.service", "");
    let drop_in = (OWN, "[Service]\nExecStart=/usr/bin/dockerd\n");
    assert_eq!(started(&[USUAL, empty, drop_in]), None);
}

#[test]
fn a_backslash_that_is_escaped_ends_a_line() {
    let text = "[Service]\nEnvironment=A=\\\\\nExecStart=\nExecStart=/usr/bin/dockerd \\\n# no\n --config-file=/x\n";
    let words = started(&[USUAL, (OWN, text)]).unwrap();
    assert_eq!(words, ["/usr/bin/dockerd", "--config-file=/x"]);
}

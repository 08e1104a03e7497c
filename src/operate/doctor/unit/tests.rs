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
    match start_in(root(files).path(), DOCKER, &OPTIONS) {
        UnitStart::Known(command) => Some(command.words),
        UnitStart::Absent => None,
        UnitStart::Unclear(command, why) => panic!("{command:?}: {why}"),
    }
}

const DOCKER: (&str, &str) = ("docker.service", "dockerd");
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
            "[Service]\nEnvironmentFile=-/none\n# no\n;ExecStart=/no\nExecStart=\nExecStart=:/d $OPTIONS\n",
            "/d $OPTIONS",
        ),
        (
            "etc/systemd/system/docker.service.d/e.conf",
            "[Service]\nExecStart=\nExecStart=/d --config-file=/a%%b \"/c\\\\d\"\n",
            "/d --config-file=/a%b /c\\d",
        ),
        (
            "etc/systemd/system/docker.service.d/e.conf",
            "[Service]\nExecStart=\nExecStart=/usr/bin/env -u B A=b dockerd --config-file /x\n",
            "dockerd --config-file /x",
        ),
        (
            "etc/systemd/system/docker.service.d/e.conf",
            "[Service]\nExecStart=\nExecStart=/w --root /srv/x/dockerd --config-file /x\n",
            "/w --root /srv/x/dockerd --config-file /x",
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
            drop_in("b"),
        ),
        (
            "usr/lib/systemd/system/docker.service.d/10.conf",
            drop_in("a"),
        ),
        ("etc/systemd/system/docker.service.d/10.conf", drop_in("c")),
    ];
    let files: Vec<_> = all
        .iter()
        .map(|(path, text)| (*path, text.as_str()))
        .collect();
    assert_eq!(started(&[&[USUAL], &files[..2]].concat()).unwrap(), ["/b"]);
    let two: Vec<_> = [USUAL, files[1], files[2]].to_vec();
    assert_eq!(started(&two).unwrap(), ["/c"]);
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
    assert_eq!(start_in(masked.path(), DOCKER, &OPTIONS), UnitStart::Absent);
}

const OWN: &str = "etc/systemd/system/docker.service.d/e.conf";

#[test]
fn what_is_not_known_of_words_that_count_makes_a_unit_unclear() {
    let lines = |lines: &str| format!("[Service]\n{lines}\n");
    let command = |line: &str| lines(&format!("ExecStart=\nExecStart={line}"));
    for (text, wanted) in [
        (lines("EnvironmentFile=/none"), "/none, which can't be read"),
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
            command("/d --config-file=${A}/x") + "EnvironmentFile=/none\n",
            "/none",
        ),
        (command("/d --config-file %E/x"), "specifiers"),
        (command("/d --config-file=%E/x"), "specifiers"),
        (command("/d --authorization-plugin=%i"), "specifiers"),
        (command("/d --config-file=/a\\x20b"), "escapes"),
        (command("/d \\x2d-config-file=/a"), "escapes"),
        (command("/d --%p=/a"), "specifiers"),
        (command("%h/dockerd"), "specifiers"),
        (lines("PassEnvironment=A OPTIONS"), "PassEnvironment="),
        (command("/d --config-file=${HOME}/x"), "systemd's own"),
        (
            lines("PassEnvironment=OPTIONS\nUnsetEnvironment=OPTIONS=-D"),
            "PassEnvironment=",
        ),
    ] {
        let root = root(&[USUAL, (OWN, &text)]);
        match start_in(root.path(), DOCKER, &OPTIONS) {
            UnitStart::Unclear(command, why) => {
                assert!(why.contains(wanted), "{text}: {why}");
                assert!(command.file.ends_with(USUAL.0) || command.file.ends_with(OWN));
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    let unreadable = root(&[USUAL]);
    fs::create_dir_all(unreadable.path().join(OWN)).unwrap();
    let found = start_in(unreadable.path(), DOCKER, &OPTIONS);
    assert!(matches!(found, UnitStart::Unclear(..)), "{found:?}");
}

#[test]
fn what_is_not_known_of_other_words_leaves_a_unit_known() {
    for (line, wanted) in [
        ("/d --authorization-plugin=opa", "opa"),
        ("/d --data-root=${A} --authorization-plugin opa", "opa"),
        ("/d --data-root=%S/d --authorization-plugin opa", "opa"),
        (
            "/d --data-root %S/d --label=\\x20 --authorization-plugin=opa",
            "opa",
        ),
    ] {
        let text = format!("[Service]\nEnvironmentFile=/none\nExecStart=\nExecStart={line}\n");
        let root = root(&[USUAL, (OWN, &text)]);
        match start_in(root.path(), DOCKER, &OPTIONS) {
            UnitStart::Known(command) => {
                assert_eq!(command.option(&OPTIONS).as_deref(), Some(wanted), "{line}");
            }
            other => panic!("{line}: {other:?}"),
        }
    }
    for (lines, wanted) in [
        ("PassEnvironment=OPTIONS\nEnvironment=OPTIONS=-D", "-D"),
        (
            "PassEnvironment=A OPTIONS\nPassEnvironment=\nPassEnvironment=A",
            "fd://",
        ),
        (
            "PassEnvironment=OPTIONS\nUnsetEnvironment=A OPTIONS",
            "fd://",
        ),
        ("Environment=OPTIONS=-D\nUnsetEnvironment=OPTIONS", "fd://"),
        (
            "Environment=OPTIONS=-D\nUnsetEnvironment=OPTIONS=-D",
            "fd://",
        ),
        ("Environment=OPTIONS=-D\nUnsetEnvironment=OPTIONS=-l", "-D"),
        (
            "Environment=OPTIONS=-D\nUnsetEnvironment=OPTIONS\nUnsetEnvironment=",
            "-D",
        ),
        ("EnvironmentFile=/o\nUnsetEnvironment=OPTIONS", "fd://"),
        ("Environment=HOME=/x OPTIONS=-D", "-D"),
    ] {
        let text = format!("[Service]\n{lines}\n");
        let words = started(&[USUAL, (OWN, &text), ("o", "OPTIONS=-D\n")]).unwrap();
        assert_eq!(words.last().unwrap(), wanted, "{lines}");
    }
    // A later file sets the variable anew.
    let text = "[Service]\nEnvironmentFile=/none\nEnvironmentFile=/o\n";
    let words = started(&[USUAL, (OWN, text), ("o", "OPTIONS=--config-file=/50%/x\n")]);
    assert_eq!(words.unwrap().last().unwrap(), "--config-file=/50%/x");
}

//! Shapes of a unit that starts containerd: `rootpin install` finds the file that a real systemd
//! starts it with, or leaves the engine alone with the reason.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::systemd::Host;

/// One shape: the commands that make it, and the reason where nothing may be written.
struct Shape {
    name: &'static str,
    unit: &'static str,
    made: String,
    why: Option<&'static str>,
}

const UNIT: &str = "/etc/systemd/system/containerd.service";
const COMMAND: &str = "ExecStart=/usr/bin/containerd --config /srv/cd/config.toml";
const CLEAN: &str = "systemctl stop containerd 'k8s-cd*' 2>/dev/null; systemctl reset-failed 2>/dev/null\n\
    rm -rf /{etc,usr/local/lib,run}/systemd/system/k8s-cd* /etc/systemd/system/multi-user.target.wants/k8s-cd* /etc/systemd/system/*containerd.service* /etc/systemd/system/service.d /usr/lib/systemd/system/mycd.service /etc/systemd/system/mycd.service.d \
    /usr/lib/systemd/system/containerd.service.d /srv/cd /etc/containerd /etc/rootpin /usr/libexec/rootpin /etc/default/containerd /usr/local/bin/start-containerd\n\
    systemctl unset-environment OPTIONS\nmkdir -p /srv/cd /etc/containerd /etc/systemd/system\n\
    for file in /srv/cd/config.toml /etc/containerd/config.toml; do printf 'version = 3\\n' >$file; done\n";

fn file(path: &str, text: &str) -> String {
    let folder = Path::new(path).parent().unwrap().display();
    format!("mkdir -p {folder}; cat >{path} <<'END'\n{text}\nEND\n")
}

fn service(lines: &str) -> String {
    file(UNIT, &format!("[Service]\nType=exec\n{lines}"))
}

fn shapes() -> Vec<Shape> {
    let reload = "systemctl daemon-reload\n";
    let known = |name, made: String| Shape {
        name,
        unit: "containerd",
        made: made + reload,
        why: None,
    };
    let unclear = |name, made: String, why| Shape {
        name,
        unit: "containerd",
        made: made + reload,
        why: Some(why),
    };
    let drop_in = |folder: &str, config: &str| {
        let text =
            format!("[Service]\nExecStart=\nExecStart=/usr/bin/containerd --config {config}");
        file(&format!("{folder}/10.conf"), &text)
    };
    let with_options =
        "EnvironmentFile=-/etc/default/containerd\nExecStart=/usr/bin/containerd $OPTIONS";
    vec![
        known("plain", service(COMMAND)),
        known(
            "no-path",
            service("ExecStart=containerd --config /srv/cd/config.toml"),
        ),
        known(
            "two-lines",
            service(with_options)
                + &file(
                    "/etc/default/containerd",
                    "OPTIONS=\"--log-level=info \\\n  --config /srv/cd/config.toml\"",
                ),
        ),
        known(
            "two-lines-in-quotes",
            service(with_options)
                + &file(
                    "/etc/default/containerd",
                    "OPTIONS='--log-level=info\n --config /srv/cd/config.toml'",
                ),
        ),
        known(
            "environment",
            service(
                "Environment=\"OPTIONS=--log-level info --config /srv/cd/config.toml\" 'X=a \"b\" $c'\nExecStart=/usr/bin/containerd $OPTIONS",
            ),
        ),
        known(
            "alias",
            file(
                "/usr/lib/systemd/system/mycd.service",
                "[Service]\nType=exec\nExecStart=/usr/bin/containerd",
            ) + &format!("ln -s /usr/lib/systemd/system/mycd.service {UNIT}\n")
                + &drop_in("/etc/systemd/system/mycd.service.d", "/srv/cd/config.toml"),
        ),
        known(
            "own-drop-in-before-all",
            service("ExecStart=/usr/bin/containerd")
                + &drop_in(
                    "/etc/systemd/system/service.d",
                    "/etc/containerd/config.toml",
                )
                + &drop_in(
                    "/usr/lib/systemd/system/containerd.service.d",
                    "/srv/cd/config.toml",
                ),
        ),
        known(
            "working-directory",
            service("WorkingDirectory=/srv/cd\nExecStart=/usr/bin/containerd --config config.toml"),
        ),
        known(
            "environment-of-systemd",
            service("ExecStart=/usr/bin/containerd $OPTIONS")
                + "systemctl set-environment OPTIONS=--config=/srv/cd/config.toml\n",
        ),
        known(
            "byte-order-mark",
            service(COMMAND) + &format!("sed -i '1s/^/\\xef\\xbb\\xbf/' {UNIT}\n"),
        ),
        known(
            "address",
            service("ExecStart=/usr/bin/containerd -a /run/cd.sock --config /srv/cd/config.toml"),
        ),
        unclear(
            "wrapper",
            service("ExecStart=/usr/local/bin/start-containerd")
                + &file(
                    "/usr/local/bin/start-containerd",
                    "#!/bin/sh\nexec /usr/bin/containerd --config /srv/cd/config.toml",
                )
                + "chmod +x /usr/local/bin/start-containerd\n",
            "it starts /usr/local/bin/start-containerd",
        ),
        unclear(
            "script-with-a-bare-name",
            service("Environment=BIN=containerd\nExecStart=/usr/local/bin/start-containerd")
                + &file(
                    "/usr/local/bin/start-containerd",
                    "#!/bin/sh\nexec \"$BIN\" --config /srv/cd/config.toml",
                )
                + "chmod +x /usr/local/bin/start-containerd\n",
            "it starts /usr/local/bin/start-containerd",
        ),
        unclear(
            "shell",
            service("ExecStart=/bin/sh -c 'exec containerd --config /srv/cd/config.toml'"),
            "it starts /bin/sh",
        ),
        unclear(
            "other-files",
            service("BindReadOnlyPaths=/srv/cd:/etc/containerd\nExecStart=/usr/bin/containerd"),
            "BindReadOnlyPaths=",
        ),
        unclear(
            "passed",
            service("PassEnvironment=OPTIONS\nExecStart=/usr/bin/containerd $OPTIONS"),
            "its environment sets",
        ),
        Shape {
            name: "not-reloaded",
            unit: "containerd",
            made: service(COMMAND)
                + reload
                + "systemctl show containerd >/dev/null; systemctl start containerd; sleep 0.01\n"
                + "kill -9 $(systemctl show -p MainPID --value containerd)\nuntil ! systemctl -q is-active containerd; do :; done\n"
                + &service("ExecStart=/usr/bin/containerd"),
            why: Some("systemctl daemon-reload"),
        },
    ]
}

/// Units by other names than the usual one.
fn other_names() -> Vec<Shape> {
    let unit = |folder: &str, name: &str, command: &str| {
        let text = format!("[Service]\nType=exec\n{command}");
        file(&format!("{folder}/systemd/system/{name}.service"), &text)
    };
    let own = |folder: &str| unit(folder, "k8s-cd", COMMAND);
    let shape = |name, unit, made: String, why| Shape {
        name,
        unit,
        made: made + "systemctl daemon-reload\n",
        why,
    };
    vec![
        shape("other-name", "k8s-cd", own("/etc"), None),
        shape("local-unit", "k8s-cd", own("/usr/local/lib"), None),
        shape("run-time-unit", "k8s-cd", own("/run"), None),
        shape(
            "usual-masked",
            "k8s-cd",
            own("/etc") + &format!("ln -s /dev/null {UNIT}\n"),
            None,
        ),
        shape(
            "own-drop-in",
            "k8s-cd",
            unit("/etc", "k8s-cd", "ExecStart=/usr/bin/containerd")
                + &file(
                    "/run/systemd/system/k8s-cd.service.d/x.conf",
                    &format!("[Service]\nExecStart=\n{COMMAND}"),
                ),
            None,
        ),
        shape(
            "instance",
            "k8s-cd@one",
            unit("/etc", "k8s-cd@", COMMAND)
                + "mkdir -p /etc/systemd/system/multi-user.target.wants\n\
                   ln -s ../k8s-cd@.service /etc/systemd/system/multi-user.target.wants/k8s-cd@one.service\n",
            None,
        ),
        shape(
            "instance-with-its-own-file",
            "k8s-cd@one",
            unit(
                "/etc",
                "k8s-cd@",
                "ExecStart=/usr/bin/containerd --config /etc/%i.toml",
            ),
            Some("specifiers"),
        ),
        shape(
            "two-units",
            "k8s-cd",
            service("ExecStart=/usr/bin/containerd") + &own("/etc"),
            Some("several units start containerd"),
        ),
        shape(
            "other-name-and-a-script",
            "k8s-cd",
            unit(
                "/etc",
                "k8s-cd",
                "ExecStart=/usr/local/bin/start-containerd",
            ) + &file(
                "/usr/local/bin/start-containerd",
                "#!/bin/sh\nBIN=containerd\nexec \"$BIN\" --config /srv/cd/config.toml",
            ) + "chmod +x /usr/local/bin/start-containerd\n",
            Some("it starts /usr/local/bin/start-containerd"),
        ),
        shape(
            "snap",
            "k8s-cd",
            unit(
                "/etc",
                "k8s-cd",
                "ExecStart=/usr/bin/snap run microk8s.daemon-containerd",
            ),
            Some("it is of the snap microk8s"),
        ),
    ]
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn what_systemd_starts_is_what_install_writes_for_or_nothing_is_written() {
    let host = Host::bare("unit-shapes");
    for program in [
        env!("CARGO_BIN_EXE_rootpin"),
        env!("CARGO_BIN_EXE_rootpin-verifier"),
    ] {
        let name = Path::new(program).file_name().unwrap().to_str().unwrap();
        host.program(&format!("usr/bin/{name}"), &fs::read(program).unwrap());
    }
    let engine = Path::new(&crate::lab::variable("LAB_BIN2")).join("containerd");
    host.program("usr/bin/containerd", &fs::read(engine).unwrap());
    let mut script = String::from(
        "install() { rootpin install --platform containerd --dry-run 2>&1 | tr '\\n' '|'; }\n",
    );
    let all = || shapes().into_iter().chain(other_names());
    for shape in all() {
        let (name, unit) = (shape.name, shape.unit);
        let _ = writeln!(
            script,
            "{CLEAN}{}echo \"{name}.idle=$(install)\"\nsystemctl start {unit}\n\
             pid=$(systemctl show -p MainPID --value {unit})\n\
             for ((i = 0; i < 100 && pid; i++)); do [[ $(tr '\\0' ' ' </proc/$pid/cmdline) != *containerd* ]] || break; sleep 0.1; done\n\
             echo \"{name}.argv=$(tr '\\0' ' ' </proc/$pid/cmdline)\"",
            shape.made
        );
    }
    // One that runs with another file than its unit has by now.
    let _ = writeln!(
        script,
        "{CLEAN}{}systemctl daemon-reload; systemctl start containerd\n\
         for ((i = 0; i < 100; i++)); do [[ ! -S /run/containerd/containerd.sock ]] || break; sleep 0.1; done\n\
         echo \"runs.as-its-unit=$(install)\"\n{}systemctl daemon-reload\necho \"runs.as-another=$(install)\"\nsystemctl stop containerd",
        service(COMMAND),
        service("ExecStart=/usr/bin/containerd")
    );
    let own = format!(
        "{}{}",
        service("ExecStart=/usr/bin/containerd"),
        file(
            "/etc/systemd/system/k8s-cd.service",
            &format!("[Service]\nType=exec\n{COMMAND}")
        )
    );
    let doctor = include_str!("../../packaging/systemd/rootpin-doctor.service");
    host.unit("rootpin-doctor.service", doctor);
    host.unit(
        "rootpin-doctor.service.d/x.conf",
        "[Service]\nStandardOutput=file:/run/doctor\n",
    );
    let _ = writeln!(
        script,
        "listens() {{ for ((i = 0; i < 100; i++)); do [[ ! -S /run/containerd/containerd.sock ]] || break; sleep 0.1; done; }}\n\
         said() {{ \"$@\" 2>&1 | tr '\\n' '|'; echo \" ended ${{PIPESTATUS[0]}}\"; }}\n\
         {CLEAN}{own}systemctl daemon-reload; systemctl start k8s-cd; listens\n\
         echo \"two.installed=$(said rootpin install --platform containerd --yes)\"\nsystemctl stop k8s-cd\n\
         echo \"two.unclear=$(said rootpin install --uninstall --yes)\"; echo \"two.kept=$(grep -c imports /srv/cd/config.toml)\"\n\
         echo \"two.named=$(said rootpin install --uninstall --containerd-config /srv/cd/config.toml --yes)\"\n\
         echo \"two.left=$(grep -c imports /srv/cd/config.toml)\"\n\
         {CLEAN}{}systemctl daemon-reload; systemctl start containerd; listens\n\
         rootpin install --platform containerd --yes >/dev/null; own=$(ls /srv/cd/conf.d/rootpin.toml /etc/containerd/conf.d/rootpin.toml 2>/dev/null)\n\
         sed -i 's/^version = .*/version = 99/' $own; systemctl start rootpin-doctor; echo \"unit.doctor=$(tr '\\n' '|' </run/doctor)\"\nsystemctl stop containerd",
        service(COMMAND)
    );
    let told = host.boot(&script, 240);
    for shape in all() {
        let (name, idle) = (shape.name, told.text(&format!("{}.idle", shape.name)));
        let argv = told.text(&format!("{name}.argv"));
        if let Some(why) = shape.why {
            assert!(idle.contains(why), "{name}: {idle}");
            assert!(!idle.contains("+++"), "{name}: {idle}");
            continue;
        }
        // What systemd starts, by its own doing, is what is written for.
        assert!(argv.contains("config.toml"), "{name}: {argv}");
        assert!(
            idle.contains("+++ /srv/cd/config.toml"),
            "{name}: {argv}: {idle}"
        );
        assert!(!idle.contains("+++ /etc/containerd"), "{name}: {idle}");
        let address = if argv.contains("-a ") {
            "/run/cd.sock"
        } else {
            "/run/containerd/containerd.sock"
        };
        let line = format!("containerd = \"{address}\"");
        assert!(idle.contains(&line), "{name}: {idle}");
    }
    // Of two units that don't run it is not known whose file is taken back, unless that is named.
    let two = |name: &str| told.text(&format!("two.{name}")).to_owned();
    assert!(
        two("installed").ends_with(" ended 0"),
        "{}",
        two("installed")
    );
    let unclear = two("unclear");
    assert!(
        unclear.contains("several units start containerd") && unclear.ends_with(" ended 1"),
        "{unclear}"
    );
    assert!(two("named").ends_with(" ended 0"), "{}", two("named"));
    assert_eq!([two("kept"), two("left")], ["1", "0"]);
    // The packaged unit has a place for the copies by which a refused configuration is tried.
    let doctor = told.text("unit.doctor");
    assert!(
        doctor.contains("config-refused") && doctor.contains("change (--fix does it)"),
        "{doctor}"
    );
    let same = told.text("runs.as-its-unit");
    assert!(same.contains("+++ /srv/cd/config.toml"), "{same}");
    let other = told.text("runs.as-another");
    assert!(
        other.contains("containerd runs with /srv/cd/config.toml"),
        "{other}"
    );
    assert!(!other.contains("+++"), "{other}");
}

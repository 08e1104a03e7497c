//! What the packaged unit lets a process do, tried from within by systemd itself: no more than
//! rootpind needs.

use std::collections::BTreeMap;
use std::fs;

use crate::systemd::Host;

const UNIT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/packaging/systemd/rootpind.service"
);

/// The unit with another program in rootpind's place, which ends; every line of the sandbox is the
/// package's.
fn with_probe() -> String {
    let unit = fs::read_to_string(UNIT).unwrap();
    let mut lines = Vec::new();
    for line in unit.lines() {
        let key = line.split('=').next().unwrap_or_default();
        lines.push(match key {
            "Type" => "Type=oneshot".to_owned(),
            "ExecStart" => {
                "ExecStart=/usr/bin/python3 /usr/bin/probe /run/rootpin/said /var/lib/rootpin"
                    .to_owned()
            }
            "ExecReload" | "Restart" | "RestartSec" | "WatchdogSec" | "WatchdogSignal"
            | "Wants" | "Before" | "Also" | "WantedBy" => continue,
            _ => line.to_owned(),
        });
    }
    lines.join("\n")
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn the_unit_lets_rootpind_write_its_own_folders_and_have_no_right_but_one() {
    let host = Host::bare("least-privilege");
    host.unit("probe.service", &with_probe());
    host.program("usr/bin/probe", include_bytes!("least_privilege.py"));
    let script = "mkdir -p /run/containerd; touch /run/of-nobody; chmod 600 /run/of-nobody; chown 65534 /run/of-nobody\n\
         setpriv --reuid 65534 --regid 65534 --clear-groups sleep 100 & echo $! >/run/of-nobody.pid\n\
         systemctl start probe; echo started=$?; sed 's/^/probe /' /run/rootpin/said\n";
    let told = host.boot(script, 60);
    let said: BTreeMap<&str, &str> = told
        .log
        .lines()
        .filter_map(|line| line.strip_prefix("probe ")?.split_once('='))
        .collect();
    assert_eq!(said.get("ended"), Some(&"yes"), "{}", told.log);
    let writable: Vec<_> = said["writable"].split(' ').collect();
    assert_eq!(
        writable,
        [
            "/dev/mqueue",
            "/dev/shm",
            "/run/rootpin",
            "/tmp",
            "/var/lib/rootpin",
            "/var/log/rootpin",
            "/var/tmp"
        ],
        "{}",
        told.log
    );
    let written: Vec<_> = said
        .iter()
        .filter(|(name, value)| name.starts_with("in ") && **value != "no")
        .collect();
    assert!(written.is_empty(), "{written:?}");
    // CAP_NET_BIND_SERVICE, and nothing else.
    for (name, value) in [
        ("CapEff", "0000000000000400"),
        ("CapBnd", "0000000000000400"),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
    ] {
        assert_eq!(said[name], value, "{name}");
    }
    let may: Vec<_> = said
        .iter()
        .filter(|(name, value)| !name.starts_with("in ") && **value == "done")
        .map(|(name, _)| *name)
        .collect();
    assert_eq!(may, ["a port below 1024"], "{}", told.log);
}

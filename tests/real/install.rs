//! The installers for containerd and dockerd, against programs that only tell a version.

use std::fs;
use std::process::{Command, Output};

use crate::lab::{INSTALL, run};

struct Installed {
    output: Output,
    drop_in: Option<toml::Table>,
}

/// Runs the installer for a containerd that says it is `version`.
fn install(version: &str, arguments: &[&str]) -> Installed {
    let folder = tempfile::tempdir().unwrap();
    let containerd = folder.path().join("containerd");
    fs::write(&containerd, format!("#!/bin/sh\necho containerd github.com/containerd/containerd {version} 1234abcd\n")).unwrap();
    run(Command::new("chmod").arg("+x").arg(&containerd));
    let (to, config) = (folder.path().join("conf.d"), folder.path().join("config.toml"));
    let mut command = Command::new(INSTALL);
    command.arg("--containerd").arg(containerd).arg("--to").arg(&to).arg("--config").arg(config).args(arguments);
    let output = command.output().unwrap();
    let drop_in = fs::read_to_string(to.join("rootpin.toml")).ok().map(|text| text.parse().unwrap());
    Installed { output, drop_in }
}

fn at<'a>(drop_in: &'a toml::Table, keys: &[&str]) -> Option<&'a toml::Value> {
    let (last, tables) = keys.split_last().unwrap();
    let mut table = drop_in;
    for key in tables {
        table = table.get(*key)?.as_table()?;
    }
    table.get(*last)
}

#[test]
fn nothing_is_written_for_a_containerd_that_would_panic_on_it() {
    for version in ["0.9.1", "1.6.20~ds1", "1.7.0", "v1.7.3"] {
        let installed = install(version, &[]);
        assert_eq!(installed.output.status.code(), Some(1), "{version}");
        assert!(installed.drop_in.is_none(), "{version}");
        assert!(String::from_utf8_lossy(&installed.output.stderr).contains("hint: upgrade containerd to 1.7.4"), "{version}");
    }
}

#[test]
fn each_containerd_gets_the_drop_in_that_it_can_read() {
    for (version, wanted) in [("1.7.4", 2), ("1.7.24~ds1", 2), ("v2.0.0", 3), ("2.1.9+unknown", 3), ("2.3.4", 3)] {
        let drop_in = install(version, &[]).drop_in.unwrap_or_else(|| panic!("no drop-in for {version}"));
        assert_eq!(at(&drop_in, &["version"]).and_then(toml::Value::as_integer), Some(wanted), "{version}");
        let order = at(&drop_in, &["plugins", "io.containerd.service.v1.diff-service", "default"]).and_then(toml::Value::as_array);
        assert_eq!(order.and_then(|order| order.first()).and_then(toml::Value::as_str), Some("rootpin"), "{version}");
        let unpack = at(&drop_in, &["plugins", "io.containerd.transfer.v1.local", "unpack_config"]).and_then(toml::Value::as_array);
        let differs: Vec<_> = unpack.unwrap().iter().map(|entry| entry["differ"].as_str().unwrap()).collect();
        assert_eq!(differs, ["rootpin-apply", "rootpin-apply"], "{version}");
    }
}

#[test]
fn cri_of_containerd_2_0_is_left_to_the_gate_and_told_to_name_the_image() {
    let annotations = ["plugins", "io.containerd.cri.v1.images", "disable_snapshot_annotations"];
    let local = ["plugins", "io.containerd.cri.v1.images", "use_local_image_pull"];
    let drop_in = install("v2.0.4", &[]).drop_in.unwrap();
    assert_eq!((at(&drop_in, &annotations), at(&drop_in, &local)), (Some(&false.into()), None));
    let drop_in = install("v2.1.0", &[]).drop_in.unwrap();
    assert_eq!((at(&drop_in, &annotations), at(&drop_in, &local)), (Some(&true.into()), Some(&false.into())));
}

#[test]
fn other_places_and_more_snapshotters_reach_the_drop_in() {
    let more = ["--sockets", "/other/run", "--engine", "second", "--verifier", "/other/verifier", "--snapshotter", "zfs"];
    let drop_in = install("2.1.9", &more).drop_in.unwrap();
    assert_eq!(at(&drop_in, &["proxy_plugins", "rootpin", "address"]), Some(&"/other/run/second.gate.sock".into()));
    assert_eq!(at(&drop_in, &["proxy_plugins", "rootpin-apply", "address"]), Some(&"/other/run/second.apply.sock".into()));
    assert_eq!(at(&drop_in, &["plugins", "io.containerd.image-verifier.v1.bindir", "bin_dir"]), Some(&"/other/verifier".into()));
    let unpack = at(&drop_in, &["plugins", "io.containerd.transfer.v1.local", "unpack_config"]).and_then(toml::Value::as_array).unwrap();
    assert_eq!(unpack.last().unwrap()["snapshotter"].as_str(), Some("zfs"));
}

#[test]
fn a_value_that_would_be_more_than_a_name_is_refused() {
    let installed = install("2.1.9", &["--engine", "a\"\nb"]);
    assert_eq!(installed.output.status.code(), Some(1));
    assert!(installed.drop_in.is_none());
}

const DOCKER_INSTALL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/docker/install");

/// Runs dockerd's installer over a daemon.json, if there is one. What it says, and what daemon.json then is.
fn install_plugin(version: &str, settings: Option<&str>, arguments: &[&str]) -> (Output, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("dockerd"), format!("#!/bin/sh\necho Docker version {version}, build 1234abc\n")).unwrap();
    run(Command::new("chmod").arg("+x").arg(at("dockerd")));
    if let Some(settings) = settings {
        fs::write(at("daemon.json"), settings).unwrap();
    }
    let mut command = Command::new(DOCKER_INSTALL);
    command.arg("--dockerd").arg(at("dockerd")).arg("--config").arg(at("daemon.json"));
    command.arg("--to").arg(at("plugins")).arg("--units").arg(at("units")).args(arguments);
    (command.output().unwrap(), folder)
}

#[test]
fn dockerd_is_told_where_its_plugin_is_and_to_start_after_it() {
    let (output, folder) = install_plugin("29.3.1", None, &[]);
    assert!(output.status.success(), "{output:?}");
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!(read("plugins/rootpin.spec"), "unix:///run/rootpin/docker.authz.sock\n");
    assert!(read("units/docker.service.d/rootpin.conf").contains("After=rootpind.service"));
    let settings: serde_json::Value = serde_json::from_str(&read("daemon.json")).unwrap();
    assert_eq!(settings, serde_json::json!({"authorization-plugins": ["rootpin"]}));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("CVE-2026-34040"));
}

#[test]
fn a_daemon_json_that_is_there_is_left_as_it_is_and_what_it_lacks_is_told() {
    for (settings, lacks) in [
        ("{\n  \"debug\": true\n}", true),
        ("{\"authorization-plugins\": [\"other\"]}", true),
        ("{\n\"authorization-plugins\" : [\n\"other\", \"rootpin\"]}", false),
    ] {
        let (output, folder) = install_plugin("26.1.5+dfsg1", Some(settings), &[]);
        assert_eq!(fs::read_to_string(folder.path().join("daemon.json")).unwrap(), settings);
        assert_eq!(!output.stdout.is_empty(), lacks, "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("CVE-2026-34040"));
    }
    let (output, folder) = install_plugin("28.5.2", None, &["--socket", "/x\n"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!folder.path().join("plugins").exists());
}

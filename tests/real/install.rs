//! The installer of containerd's drop-in, against programs that only tell a version.

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

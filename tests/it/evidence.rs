//! `rootpin evidence`: one folder that a checklist points at.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use rootpin::publish::key::KeyKind;
use rootpin::publish::keyring::generate;
use rootpin_trust::image::Digest;
use serde_json::Value;

use crate::world::{Ended, World, run};

/// Runs it on a host without a daemon, with a key that signs.
fn evidence(world: &World, name: &str) -> Ended {
    let at = |name: &str| world.path(name).display().to_string();
    let mut rootpin = Command::new(env!("CARGO_BIN_EXE_rootpin"));
    rootpin
        .env("ROOTPIN_PASSPHRASE", "correct horse")
        .env("HOME", world.path("home"))
        .args([
            "evidence",
            &at(name),
            "--no-prove",
            "--config",
            &at("rootpin.toml"),
        ])
        .args([
            "--key",
            &at("keys/auditor.pem"),
            "--control",
            &at("control"),
        ]);
    run(&mut rootpin, b"")
}

#[test]
fn the_folder_has_the_policy_each_commands_report_and_hashes_that_a_key_signed() {
    let Some(world) = World::new("evidence") else {
        return;
    };
    world.write_policy(&world.policy());
    fs::write(world.path("rootpin.toml"), world.config()).unwrap();
    fs::create_dir_all(world.path("keys")).unwrap();
    generate(
        &world.path("keys"),
        "auditor",
        KeyKind::P256,
        "correct horse",
    )
    .unwrap();
    let ended = evidence(&world, "evidence");
    // No daemon answers, which is said, and the folder is written all the same.
    assert!(
        ended.code == 2 && ended.out.contains("status.json: not known"),
        "{ended:?}"
    );
    let folder = world.path("evidence");
    let mode = fs::metadata(&folder).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);

    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    let sums = String::from_utf8(read("SHA256SUMS")).unwrap();
    let listed: BTreeMap<&str, &str> = sums
        .lines()
        .map(|line| line.split_once("  ").unwrap())
        .map(|(sum, name)| (name, sum))
        .collect();
    for (name, sum) in &listed {
        assert_eq!(Digest::of(&read(name)).hex(), **sum, "{name}");
    }
    for name in [
        "manifest.json",
        "status.json",
        "doctor.json",
        "audit.json",
        "policy-lint.json",
        "policy/policy.toml",
    ] {
        assert!(listed.contains_key(name), "{name}: {sums}");
    }
    assert_eq!(
        read("policy/policy.toml"),
        fs::read(world.path("policy/policy.toml")).unwrap()
    );
    let manifest: Value = serde_json::from_slice(&read("manifest.json")).unwrap();
    let checked: Value = serde_json::from_slice(&read("policy-check.json")).unwrap();
    assert_eq!(
        (&manifest["policy"], &checked["ok"]),
        (&checked["hash"], &Value::Bool(true))
    );
    let commands = manifest["commands"].as_array().unwrap();
    assert!(
        commands.len() == 5 && commands[0]["exit"] == 2 && commands[1]["exit"] == 0,
        "{manifest}"
    );

    let mut openssl = Command::new("openssl");
    openssl
        .current_dir(&folder)
        .args(["dgst", "-sha256", "-verify"]);
    openssl.arg(world.path("keys/auditor.pub")).args([
        "-signature",
        "SHA256SUMS.sig",
        "SHA256SUMS",
    ]);
    let verified = run(&mut openssl, b"");
    assert_eq!(verified.code, 0, "{verified:?}");

    let again = evidence(&world, "evidence");
    assert!(
        again.code == 64 && again.err.contains("is there already"),
        "{again:?}"
    );
}

#[test]
fn a_configuration_that_is_named_without_a_folder_has_its_policy_beside_it() {
    let Some(world) = World::new("evidence-beside") else {
        return;
    };
    world.write_policy(&world.policy());
    let policy = world.path("policy");
    let config = world.config();
    let config: Vec<_> = config
        .lines()
        .filter(|line| !line.starts_with("policy"))
        .collect();
    fs::write(policy.join("rootpin.toml"), config.join("\n")).unwrap();
    let mut rootpin = Command::new(env!("CARGO_BIN_EXE_rootpin"));
    rootpin
        .current_dir(&policy)
        .env("HOME", world.path("home"))
        .args([
            "evidence",
            "../written",
            "--no-prove",
            "--config",
            "rootpin.toml",
        ])
        .args(["--control", "../control"]);
    let ended = run(&mut rootpin, b"");
    assert!(
        ended.code == 2 && ended.out.contains("policy-check.json: in order"),
        "{ended:?}"
    );
    let written = world.path("written");
    assert!(written.join("policy/policy.toml").exists());
    let manifest: Value =
        serde_json::from_slice(&fs::read(written.join("manifest.json")).unwrap()).unwrap();
    assert!(manifest["policy"].is_string(), "{manifest}");
}

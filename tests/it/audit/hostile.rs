//! Trust directories that were made to lead an audit astray, or to stop it.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;

use super::{data, report_by_files, trusts};
use crate::world::World;

#[test]
fn links_pipes_and_odd_names_are_not_followed_and_each_is_named_and_the_rest_is_told() {
    let Some(world) = World::new("a-links") else {
        return;
    };
    let trust = world.path("trust");
    trusts(
        &trust,
        "registry.example.com/acme/app",
        &data("vectors/shared-root-key/app"),
    );
    let metadata = trust.join("tuf/registry.example.com/acme/app/metadata");
    let secret = world.path("secret");
    fs::write(&secret, "{\"top\":\"SECRET\"}").unwrap();
    symlink(&secret, metadata.join("linked.json")).unwrap();
    symlink(world.path("policy"), trust.join("tuf/elsewhere")).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(metadata.join("socket.json")).unwrap();
    fs::create_dir(
        trust
            .join("tuf")
            .join(std::ffi::OsStr::from_bytes(b"\xff\x1b[2J")),
    )
    .unwrap();
    let (report, code) = report_by_files(&world, &["--trust-dir", &trust.display().to_string()]);
    let untold: Vec<_> = report["untold"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["subject"].as_str().unwrap().rsplit('/').next().unwrap())
        .collect();
    assert_eq!(code, 2);
    for name in ["linked.json", "elsewhere", "socket.json"] {
        assert!(untold.contains(&name), "{name}: {untold:?}");
    }
    assert_eq!(untold.len(), 4, "{untold:?}");
    let text = report.to_string();
    assert!(
        !text.contains("SECRET") && !text.contains('\u{1b}') && !text.contains("\\u001b"),
        "{text}"
    );
    assert_eq!(
        report["trust_directories"][0]["repositories"][0]["repository"],
        "registry.example.com/acme/app"
    );
    drop(listener);
}

#[test]
fn files_that_are_too_large_too_deep_or_no_metadata_are_named_and_nothing_panics() {
    let Some(world) = World::new("a-hostile") else {
        return;
    };
    let trust = world.path("trust");
    let metadata = |name: &str| {
        let folder = trust.join("tuf/r.example").join(name).join("metadata");
        fs::create_dir_all(&folder).unwrap();
        folder
    };
    let real = fs::read(data("vectors/delegations/root.json")).unwrap();
    fs::File::create(metadata("large").join("root.json"))
        .unwrap()
        .set_len(9 << 20)
        .unwrap();
    fs::write(metadata("deep").join("root.json"), "[".repeat(1 << 20)).unwrap();
    fs::write(metadata("cut").join("root.json"), &real[..real.len() / 2]).unwrap();
    fs::write(
        metadata("twice").join("root.json"),
        String::from_utf8(real.clone()).unwrap().replacen(
            "\"signed\":{",
            "\"signed\":{\"version\":1,\"version\":2,",
            1,
        ),
    )
    .unwrap();
    fs::write(
        metadata("far").join("99999999999999999999.root.json"),
        &real,
    )
    .unwrap();
    fs::write(metadata("binary").join("root.json"), [0xff_u8; 100]).unwrap();
    let mut folder = trust.join("tuf");
    for _ in 0..200 {
        folder.push("d");
    }
    fs::create_dir_all(&folder).unwrap();
    let (report, code) = report_by_files(&world, &["--trust-dir", &trust.display().to_string()]);
    let untold = report["untold"].to_string();
    assert_eq!(code, 2);
    for name in [
        "large/metadata/root.json",
        "deep/metadata/root.json",
        "cut/metadata/root.json",
        "twice/metadata/root.json",
        "binary/metadata/root.json",
        "too deep",
    ] {
        assert!(untold.contains(name), "{name}: {untold}");
    }
    assert!(untold.len() < 20_000, "{}", untold.len());
}

#[test]
fn a_directory_that_cannot_be_read_is_named() {
    let Some(world) = World::new("a-unreadable") else {
        return;
    };
    let none = world.path("none").display().to_string();
    let (report, code) = report_by_files(&world, &["--trust-dir", &none]);
    assert_eq!(
        (report["untold"][0]["subject"].as_str(), code),
        (Some(none.as_str()), 2)
    );
}

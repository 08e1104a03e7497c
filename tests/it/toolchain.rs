//! Which Rust builds this: what Cargo.toml says of it, and how `packaging/toolchain` finds it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

const TOP: &str = env!("CARGO_MANIFEST_DIR");

/// Two or three numbers, as Cargo writes a version of Rust.
fn version(text: &str) -> Vec<u64> {
    text.split('.')
        .map(|part| part.parse().unwrap())
        .chain([0, 0])
        .take(3)
        .collect()
}

/// Whether `packaging/toolchain` would use a cargo and a rustc of these versions.
fn is_used(cargo: &str, rustc: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    for (name, version) in [("cargo", cargo), ("rustc", rustc)] {
        let path = folder.path().join(name);
        fs::write(
            &path,
            format!("#!/bin/sh\necho '{name} {version} (0123abcd 2026-01-01)'\n"),
        )
        .unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = Command::new("bash");
    command
        .args(["-c", ". packaging/toolchain; recent_rust"])
        .current_dir(TOP);
    command.env(
        "PATH",
        format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", folder.path().display()),
    );
    command.status().unwrap().success()
}

#[test]
fn a_rust_on_the_path_is_used_where_both_its_programs_are_recent_enough() {
    let wanted = env!("CARGO_PKG_RUST_VERSION");
    for version in [
        wanted,
        "1.100.0",
        "2.0.1",
        "1.98.0-nightly",
        "1.97.0-beta.3",
    ] {
        assert!(is_used(version, version), "{version}");
    }
    for version in ["0.66.0", "1.63.0", "1.9.0", "1.85.1", ""] {
        assert!(!is_used(version, version), "{version}");
        assert!(!is_used("1.100.0", version), "{version}");
        assert!(!is_used(version, "1.100.0"), "{version}");
    }
}

#[test]
fn no_dependency_wants_a_newer_rust_than_is_said() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--format-version", "1"])
        .current_dir(TOP)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 100);
    for package in packages {
        let wants = package["rust_version"].as_str().unwrap_or("1");
        assert!(
            version(wants) <= version(env!("CARGO_PKG_RUST_VERSION")),
            "{} wants Rust {wants}",
            package["name"]
        );
    }
}

#[test]
fn the_readme_names_the_rust_that_is_wanted() {
    let readme = fs::read_to_string(Path::new(TOP).join("README.md")).unwrap();
    assert!(readme.contains(&format!(
        "rustc {} or later",
        env!("CARGO_PKG_RUST_VERSION")
    )));
}

//! The scripts of this repository.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const TOP: &str = env!("CARGO_MANIFEST_DIR");

/// Every program below a folder that is a text with an interpreter.
fn scripts(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let about = fs::symlink_metadata(&path).unwrap();
        if about.is_dir() {
            scripts(&path, found);
        } else if about.is_file()
            && about.permissions().mode() & 0o111 != 0
            && fs::read(&path).unwrap().starts_with(b"#!")
        {
            found.push(path);
        }
    }
}

#[test]
fn a_script_that_is_asked_for_help_says_what_it_does_and_begins_no_work() {
    let mut all = Vec::new();
    for folder in ["benches", "fuzz", "packaging", "tests"] {
        scripts(&Path::new(TOP).join(folder), &mut all);
    }
    assert!(all.len() > 15, "{all:?}");
    let bare = tempfile::tempdir().unwrap();
    for script in all {
        let name = script.file_name().unwrap().to_str().unwrap();
        // From its own folder too; without cargo, and with nothing but what any system has.
        let own = (Path::new(".").join(name), script.parent().unwrap());
        for (program, folder) in [(script.clone(), bare.path()), own] {
            let output = Command::new(&program)
                .arg("--help")
                .env_clear()
                .env("PATH", "/usr/bin:/bin")
                .current_dir(folder)
                .output()
                .unwrap();
            let said = String::from_utf8(output.stdout).unwrap();
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success() && complaint.is_empty(),
                "{}: {:?} {complaint}",
                script.display(),
                output.status
            );
            assert!(
                said.contains(name) && !said.contains("set -e"),
                "{}: {said}",
                script.display()
            );
        }
    }
    assert_eq!(fs::read_dir(bare.path()).unwrap().count(), 0);
}

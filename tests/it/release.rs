//! What `packaging/release` refuses before it builds.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;

use crate::documents::top;
use crate::world::{Ended, run};

/// A checkout with a commit, and a folder with the few programs that a release finds there.
struct Checkout {
    folder: tempfile::TempDir,
}

impl Checkout {
    fn new() -> Self {
        let checkout = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        for file in ["Cargo.toml", "packaging/release", "packaging/toolchain"] {
            checkout.write(file, &fs::read(top().join(file)).unwrap());
        }
        checkout.write("docs/page.md", b"x");
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(checkout.path("packaging/release"), mode.clone()).unwrap();
        for words in [
            &["init", "-q"][..],
            &["add", "-A"],
            &["commit", "-q", "-m", "one"],
        ] {
            let mut git = Command::new("git");
            git.args(["-c", "user.name=a", "-c", "user.email=a@example"])
                .args(words)
                .env("GIT_CONFIG_GLOBAL", "/dev/null")
                .current_dir(checkout.folder.path());
            let ended = run(&mut git, b"");
            assert_eq!(ended.code, 0, "{ended:?}");
        }
        fs::create_dir(checkout.path(".git/bin")).unwrap();
        let path = std::env::var_os("PATH").unwrap();
        for name in [
            "bash", "dpkg", "git", "ls", "mkdir", "readlink", "dirname", "sed",
        ] {
            let mut files = std::env::split_paths(&path).map(|folder| folder.join(name));
            let found = files.find(|file| file.is_file()).unwrap();
            symlink(found, checkout.path(&format!(".git/bin/{name}"))).unwrap();
        }
        for name in ["cargo", "rustc"] {
            let program = format!(".git/bin/{name}");
            checkout.write(
                &program,
                format!("#!/bin/sh\necho '{name} 1.99.0'\n").as_bytes(),
            );
            fs::set_permissions(checkout.path(&program), mode.clone()).unwrap();
        }
        checkout
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.folder.path().join(path)
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs::write(self.path(path), bytes).unwrap();
    }

    fn release(&self) -> Ended {
        let out = tempfile::tempdir().unwrap();
        let mut command = Command::new(self.path("packaging/release"));
        command
            .arg(out.path())
            .env("PATH", self.path(".git/bin"))
            .env("GIT_CONFIG_GLOBAL", "/dev/null");
        run(&mut command, b"")
    }
}

#[test]
fn a_release_takes_no_file_that_is_in_no_commit() {
    let checkout = Checkout::new();
    for (file, is_refused) in [("notes", false), ("docs/new.md", true)] {
        checkout.write(file, b"x");
        let ended = checkout.release();
        assert_eq!(ended.code, 1, "{ended:?}");
        assert_eq!(
            ended.err.contains(&format!("?? {file};")),
            is_refused,
            "{ended:?}"
        );
    }
    fs::remove_file(checkout.path("docs/new.md")).unwrap();
    checkout.write("docs/page.md", b"changed");
    let ended = checkout.release();
    assert!(ended.err.contains("M docs/page.md"), "{ended:?}");
}

#[test]
fn a_release_names_the_programs_that_are_missing_before_it_builds() {
    let checkout = Checkout::new();
    let ended = checkout.release();
    assert_eq!(ended.code, 1, "{ended:?}");
    let wanted =
        "missing: python3 cc protoc readelf strip dpkg-deb rpmbuild xz; hint: apt-get install ";
    assert!(ended.err.contains(wanted), "{ended:?}");
    fs::remove_file(checkout.path(".git/bin/cargo")).unwrap();
    let ended = checkout.release();
    assert!(ended.err.contains("cargo and rustc of 1."), "{ended:?}");
}

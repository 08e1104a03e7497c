//! Whose files a policy is read from, on a real file system.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rootpin::policy_dir::{Owner, PolicyDir};
use rootpin_policy::{Diagnostic, Files, Policy, load};

const POLICY: &str = "version = 1\ndefault = \"deny\"\n";

/// A new directory with a policy in it, below the build directory: a temporary directory is
/// writable by all and so refused. `None`, with a message, where files can't be given to other
/// users.
#[allow(clippy::disallowed_macros, reason = "a test that did not run says so")]
fn policy_dir(name: &str) -> Option<PathBuf> {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        eprintln!("not run: only root can give files to other users");
        return None;
    }
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("policy-{name}"));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(dir.join("policy.d")).unwrap();
    fs::write(dir.join("policy.toml"), POLICY).unwrap();
    Some(dir)
}

fn try_load(dir: &Path) -> Result<Policy, Vec<Diagnostic>> {
    load(
        &PolicyDir::open(dir, Owner::Root),
        "2026-11-20T00:00:00Z".parse().unwrap(),
    )
}

/// The one finding, as `FILE:LINE:COLUMN: CODE: message`.
fn refusal(dir: &Path) -> String {
    let findings = try_load(dir).unwrap_err();
    assert_eq!(findings.len(), 1, "{findings:?}");
    findings[0]
        .to_string()
        .lines()
        .next()
        .unwrap()
        .replace(&*dir.to_string_lossy(), "DIR")
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_policy_of_root_alone_loads() {
    let Some(dir) = policy_dir("good") else {
        return;
    };
    fs::write(dir.join("policy.d/10.toml"), "").unwrap();
    fs::write(dir.join("policy.d/.10.toml.swp"), "x").unwrap();
    fs::write(dir.join("policy.d/.hidden.toml"), "x").unwrap();
    fs::write(dir.join("policy.d/10.toml~"), "x").unwrap();
    assert!(try_load(&dir).is_ok());
    fs::write(dir.join("policy.d/20.toml"), "x").unwrap();
    assert_eq!(
        refusal(&dir).split_whitespace().next(),
        Some("policy.d/20.toml:1:2:")
    );
}

#[test]
fn a_file_that_others_can_write_or_own_is_refused() {
    let Some(dir) = policy_dir("file") else {
        return;
    };
    let file = dir.join("policy.toml");
    for mode in [0o664, 0o646, 0o666] {
        chmod(&file, mode);
        let wanted = format!(
            "policy.toml:1:1: unreadable: DIR/policy.toml can be written by its group or by others (mode {mode:04o})"
        );
        assert_eq!(refusal(&dir), wanted);
    }
    chmod(&file, 0o644);
    chown(&file, Some(65534), None).unwrap();
    assert_eq!(
        refusal(&dir),
        "policy.toml:1:1: unreadable: DIR/policy.toml belongs to the user 65534, not to root"
    );
}

#[test]
fn a_directory_above_that_others_can_write_or_own_is_refused_unless_it_is_sticky() {
    let Some(dir) = policy_dir("above") else {
        return;
    };
    let inner = dir.join("a/b");
    fs::create_dir_all(&inner).unwrap();
    fs::write(inner.join("policy.toml"), POLICY).unwrap();
    assert!(try_load(&inner).is_ok());
    for mode in [0o775, 0o757, 0o777] {
        chmod(&dir.join("a"), mode);
        assert!(
            refusal(&inner).contains("/a can be written by its group or by others"),
            "{mode:o}"
        );
    }
    // As the system's temporary directory: what others put there is theirs, and what is ours they
    // can't move.
    chmod(&dir.join("a"), 0o1777);
    assert!(try_load(&inner).is_ok());
    chown(inner.join("policy.toml"), Some(65534), None).unwrap();
    assert!(refusal(&inner).contains("policy.toml belongs to the user 65534"));
    chown(inner.join("policy.toml"), Some(0), None).unwrap();
    chmod(&inner.join("policy.toml"), 0o1666);
    assert!(
        refusal(&inner).contains("policy.toml can be written by its group or by others"),
        "a file is not a directory"
    );
    chmod(&inner.join("policy.toml"), 0o644);
    chmod(&dir.join("a"), 0o755);
    chown(dir.join("a"), Some(65534), None).unwrap();
    assert!(refusal(&inner).contains("/a belongs to the user 65534"));
}

#[test]
fn a_fragment_directory_or_a_pinned_file_that_others_can_write_is_refused() {
    let Some(dir) = policy_dir("parts") else {
        return;
    };
    chmod(&dir.join("policy.d"), 0o777);
    assert!(refusal(&dir).starts_with("policy.d:1:1: unreadable: DIR/policy.d can be written"));
    chmod(&dir.join("policy.d"), 0o755);
    let root = "[[root]]\nid = \"a\"\ntype = \"notary\"\nserver = \"https://n.example\"\nkeys = [\"roots/a.pub\"]\nrole = \"targets\"\n";
    fs::write(
        dir.join("policy.toml"),
        format!("{POLICY}{root}[[rule]]\nmatch = \"h.example/**\"\nroots = [\"a\"]\n"),
    )
    .unwrap();
    fs::create_dir(dir.join("roots")).unwrap();
    fs::write(
        dir.join("roots/a.pub"),
        include_str!("../data/keys/ed25519.pub"),
    )
    .unwrap();
    assert!(try_load(&dir).is_ok());
    chmod(&dir.join("roots"), 0o775);
    assert_eq!(
        refusal(&dir),
        "policy.toml:7:9: unreadable: roots/a.pub: DIR/roots can be written by its group or by others (mode 0775)"
    );
}

#[test]
fn a_link_is_followed_only_along_a_way_that_is_roots_alone() {
    let Some(dir) = policy_dir("link") else {
        return;
    };
    let (good, open) = (dir.join("good"), dir.join("open"));
    for target in [&good, &open] {
        fs::create_dir(target).unwrap();
        fs::write(target.join("policy.toml"), POLICY).unwrap();
    }
    chmod(&open, 0o777);
    let link = dir.join("link");
    symlink("open/../good", &link).unwrap();
    assert!(refusal(&link).contains("/open can be written"));
    fs::remove_file(&link).unwrap();
    symlink(&good, &link).unwrap();
    assert!(try_load(&link).is_ok());
    fs::remove_file(good.join("policy.toml")).unwrap();
    symlink("../open/policy.toml", good.join("policy.toml")).unwrap();
    assert!(refusal(&link).contains("/open can be written"));
    fs::remove_file(&link).unwrap();
    symlink(&link, &link).unwrap();
    assert!(
        try_load(&link).unwrap_err()[0]
            .message
            .contains("too many symbolic links")
    );
}

#[test]
fn what_is_no_plain_file_is_refused_without_waiting_for_it() {
    let Some(dir) = policy_dir("special") else {
        return;
    };
    let file = dir.join("policy.toml");
    fs::remove_file(&file).unwrap();
    assert!(refusal(&dir).ends_with("there is no such file"));
    assert!(
        Command::new("mkfifo")
            .args(["-m", "644"])
            .arg(&file)
            .status()
            .unwrap()
            .success()
    );
    assert!(refusal(&dir).ends_with("not a plain file"));
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(refusal(&dir).ends_with("not a plain file"));
    fs::remove_dir(&file).unwrap();
    symlink("/dev/zero", &file).unwrap();
    assert!(refusal(&dir).contains("unreadable"));
}

#[test]
fn a_file_of_more_than_a_mebibyte_is_refused() {
    let Some(dir) = policy_dir("size") else {
        return;
    };
    let padded = |length: usize| format!("{POLICY}{}", "#".repeat(length - POLICY.len()));
    fs::write(dir.join("policy.toml"), padded(1 << 20)).unwrap();
    assert!(try_load(&dir).is_ok());
    fs::write(dir.join("policy.toml"), padded((1 << 20) + 1)).unwrap();
    assert!(refusal(&dir).ends_with("longer than 1 MiB"));
}

#[test]
fn a_caller_may_read_files_of_its_own_where_the_daemon_may_not() {
    let Some(dir) = policy_dir("caller") else {
        return;
    };
    // This process is root, so root's files are the caller's too; another user's are neither's.
    chown(dir.join("policy.toml"), Some(65534), None).unwrap();
    let error = PolicyDir::open(&dir, Owner::RootOrCaller)
        .read("policy.toml")
        .unwrap_err();
    assert!(
        error
            .message
            .ends_with("belongs to the user 65534, not to root or the caller")
    );
    let temporary = tempfile::tempdir().unwrap();
    fs::write(temporary.path().join("policy.toml"), POLICY).unwrap();
    assert!(
        PolicyDir::open(temporary.path(), Owner::RootOrCaller)
            .read("policy.toml")
            .is_ok()
    );
}

#[test]
fn a_look_sees_every_change_and_nothing_else() {
    let Some(dir) = policy_dir("look") else {
        return;
    };
    let read = || {
        let files = PolicyDir::open(&dir, Owner::Root);
        load(&files, "2026-11-20T00:00:00Z".parse().unwrap()).unwrap();
        files
    };
    let first = read();
    assert_eq!(first.look(), first.identity());
    fs::write(dir.join("unrelated"), "x").unwrap();
    assert_eq!(first.look(), first.identity());
    fs::write(dir.join("policy.d/10.toml"), "").unwrap();
    let with_fragment = read();
    assert_ne!(first.look(), first.identity());
    assert_eq!(first.look(), with_fragment.identity());
    chmod(&dir.join("policy.d/10.toml"), 0o600);
    assert_ne!(with_fragment.look(), with_fragment.identity());
    fs::remove_file(dir.join("policy.d/10.toml")).unwrap();
    assert_ne!(with_fragment.look(), with_fragment.identity());
    assert_eq!(first.look(), first.identity());
    // The same bytes under another inode, as a rename ships them.
    fs::write(dir.join("next"), POLICY).unwrap();
    fs::rename(dir.join("next"), dir.join("policy.toml")).unwrap();
    assert_ne!(first.look(), first.identity());
}

#[test]
fn the_documented_command_prints_the_hash_with_fragments_or_without() {
    let docs = include_str!("../../docs/policy.md");
    let line = docs
        .lines()
        .find_map(|line| line.strip_prefix("$ cd /etc/rootpin && sha256sum"))
        .unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut files = std::collections::BTreeMap::new();
    let mut put = |name: &str| {
        fs::create_dir_all(dir.path().join(name).parent().unwrap()).unwrap();
        fs::write(dir.path().join(name), name).unwrap();
        files.insert(name.to_owned(), name.as_bytes().to_vec());
        let command = format!("cd {} && sha256sum{line}", dir.path().display());
        let ended = Command::new("bash")
            .args(["-c", &command])
            .output()
            .unwrap();
        let hash = rootpin_policy::hash(&files).hex();
        (ended, hash)
    };
    put("policy.toml");
    for name in ["roots/team.pub", "policy.d/10.toml"] {
        let (ended, hash) = put(name);
        assert!(
            ended.stderr.is_empty() && String::from_utf8_lossy(&ended.stdout).starts_with(&hash),
            "{name}: {ended:?}, not {hash}"
        );
    }
}

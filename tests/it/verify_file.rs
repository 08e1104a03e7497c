//! A file, as of a release: signed by `rootpin repo sign --file`, verified by `rootpin verify-file`.

use std::fs;
use std::process::Command;

use rootpin_trust::image::Digest;

use crate::repo::Org;
use crate::world::{Ended, run};

const NAME: &str = "r.test/tool:1.0";

/// An organisation that has signed the file `tool.tar` as the tool's version 1.0.
fn released() -> Org {
    let org = Org::founded();
    fs::write(org.path("tool.tar"), b"a tool").unwrap();
    let file = org.path("tool.tar");
    let file = file.to_str().unwrap();
    org.ok("main", &["sign", NAME, "--file", file, "--yes"]);
    org
}

/// Verifies a file of the organisation under a name, with more words.
fn verify(org: &Org, name: &str, file: &str, words: &[&str]) -> Ended {
    let root = org.path("main/root.json");
    let sha256 = Digest::of(&fs::read(&root).unwrap()).hex();
    let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
    command
        .args(["verify-file", name])
        .arg(org.path(file))
        .args(["--metadata", &org.place()]);
    if !words.contains(&"--root") {
        command.arg("--root").arg(root);
    }
    if !words.contains(&"--sha256") {
        command.args(["--sha256", &sha256]);
    }
    run(command.args(words), b"")
}

#[test]
fn a_signed_file_is_allowed_and_other_bytes_or_another_name_are_refused() {
    let org = released();
    fs::write(org.path("other.tar"), b"a tooL").unwrap();
    for (name, file, code, word) in [
        (NAME, "tool.tar", 0, "allowed"),
        (NAME, "other.tar", 1, "digest-mismatch"),
        ("r.test/tool:1.1", "tool.tar", 1, "no-statement"),
        ("r.test/other:1.0", "tool.tar", 1, "no-statement"),
    ] {
        let ended = verify(&org, name, file, &[]);
        assert_eq!(ended.code, code, "{name} {file}: {ended:?}");
        assert!(ended.out.contains(word), "{name} {file}: {ended:?}");
    }
}

#[test]
fn a_root_file_of_another_fingerprint_verifies_nothing() {
    let org = released();
    let ended = verify(&org, NAME, "tool.tar", &["--sha256", &"0".repeat(64)]);
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(!ended.out.contains("allowed"), "{ended:?}");
    let root = fs::read(org.path("main/root.json")).unwrap();
    for words in [Digest::of(&root).hex(), "0".repeat(64)] {
        assert!(ended.err.contains(&words), "{ended:?}");
    }
    assert!(ended.err.contains("by another way"), "{ended:?}");
    assert!(!ended.err.contains("policy"), "{ended:?}");
}

#[test]
fn what_is_no_root_file_of_tuf_is_said_to_be_none_and_no_policy_is_advised() {
    let org = released();
    let notary = include_bytes!("../data/notary/vectors/shared-root-key/app/root.json");
    for (bytes, found) in [(&notary[..], "one of Notary"), (&b"{}"[..], "no root.json")] {
        let root = org.path("odd.json");
        fs::write(&root, bytes).unwrap();
        let (root, sha256) = (root.to_str().unwrap(), Digest::of(bytes).hex());
        let ended = verify(
            &org,
            NAME,
            "tool.tar",
            &["--root", root, "--sha256", &sha256],
        );
        assert_eq!(ended.code, 2, "{ended:?}");
        let said = "odd.json is no root file of TUF: ";
        assert!(
            ended.err.contains(said) && ended.err.contains(found),
            "{ended:?}"
        );
        assert!(!ended.err.contains("policy"), "{ended:?}");
    }
}

#[test]
fn a_part_of_a_fingerprint_is_wrong_usage() {
    let org = released();
    let ended = verify(&org, NAME, "tool.tar", &["--sha256", "12"]);
    assert_eq!(ended.code, 64, "{ended:?}");
    assert!(ended.err.contains("64 hexadecimal digits"), "{ended:?}");
}

#[test]
fn a_changed_file_is_not_the_one_that_was_signed_and_no_registry_serves_it() {
    let org = released();
    fs::write(org.path("other.tar"), b"a tooL").unwrap();
    let ended = verify(&org, NAME, "other.tar", &[]);
    let all = format!("{}{}", ended.out, ended.err);
    assert!(
        all.contains("not the one that the publisher signed"),
        "{all}"
    );
    assert!(!all.contains("registry serves"), "{all}");
}

#[test]
fn a_run_that_keeps_nothing_warns_of_no_new_state() {
    let org = released();
    let ended = verify(&org, NAME, "tool.tar", &[]);
    assert!(!ended.err.contains("a new state"), "{ended:?}");
    let state = org.path("state");
    let kept = ["--state", state.to_str().unwrap()];
    let ended = verify(&org, NAME, "tool.tar", &kept);
    assert!(ended.err.contains("a new state"), "{ended:?}");
}

#[test]
fn a_file_that_can_not_be_read_is_named_with_a_hint() {
    let org = released();
    let none = org.path("none.json");
    let none = none.to_str().unwrap();
    for (file, words, name) in [
        ("none.tar", vec![], "none.tar"),
        ("main", vec![], "main"),
        ("tool.tar", vec!["--root", none], "none.json"),
    ] {
        let ended = verify(&org, NAME, file, &words);
        assert_eq!(ended.code, 2, "{ended:?}");
        for word in [name, "hint: "] {
            assert!(ended.err.contains(word), "{word}: {ended:?}");
        }
    }
}

#[test]
fn older_metadata_than_was_seen_verifies_nothing() {
    let org = released();
    let state = org.path("state");
    let kept = ["--state", state.to_str().unwrap()];
    let before = org.path("before");
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        let _ = fs::remove_dir_all(to);
        let status = Command::new("cp").arg("-a").args([from, to]).status();
        assert!(status.unwrap().success());
    };
    copy(&org.path("place"), &before);
    org.ok("main", &["revoke", NAME, "--yes"]);
    let ended = verify(&org, NAME, "tool.tar", &kept);
    assert_eq!(ended.code, 1, "{ended:?}");
    copy(&before, &org.path("place"));
    let ended = verify(&org, NAME, "tool.tar", &kept);
    assert!(
        ended.code != 0 && !ended.out.contains("allowed"),
        "{ended:?}"
    );
    // Who has seen nothing can't know.
    assert_eq!(verify(&org, NAME, "tool.tar", &[]).code, 0);
}

#[test]
fn a_file_that_is_not_there_is_an_error_and_is_not_signed() {
    let org = Org::founded();
    let ended = org.repo("main", &["sign", NAME, "--file", "none.tar", "--yes"]);
    assert_ne!(ended.code, 0, "{ended:?}");
    assert!(ended.err.contains("none.tar"), "{ended:?}");
}

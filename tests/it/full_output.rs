//! Standard output that takes no answer: a full disk, or a reader that has gone.

use std::fs::OpenOptions;
use std::process::{Command, Output, Stdio};

fn rootpin(words: &[&str], stdout: impl Into<Stdio>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
    command.args(words).stdout(stdout).output().unwrap()
}

#[test]
fn an_answer_that_a_full_disk_refuses_ends_with_2_and_is_named_once() {
    for words in [
        &["policy", "schema"][..],
        &["help", "pin", "add"],
        &["--help"],
        &["policy", "check", "/nope", "--json"],
        &["policy", "no-such-verb", "--json"],
    ] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let ended = rootpin(words, full);
        let errors = String::from_utf8(ended.stderr).unwrap();
        let said = "rootpin: the answer could not be written to standard output: No space left";
        assert_eq!(ended.status.code(), Some(2), "{words:?}: {errors}");
        assert_eq!(errors.matches(said).count(), 1, "{words:?}: {errors}");
        assert!(errors.contains("hint: make room"), "{words:?}: {errors}");
    }
}

#[test]
fn a_reader_that_has_read_enough_is_no_failure() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = rootpin(&["policy", "schema"], writer);
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(ended.stderr.is_empty(), "{ended:?}");
}

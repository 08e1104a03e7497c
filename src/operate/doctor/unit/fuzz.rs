//! systemd's files, changed.

use super::command_line::CommandLine;
use super::settings::{pairs, settings};
use super::{assignments, split};
use crate::fuzzing::try_reader;

const UNIT: &[u8] = b"[Unit]\nDescription=a\n# no\n[Service]\nEnvironment=\"A=b c\" B=%i\nEnvironmentFile=-/etc/default/a\nExecStart=@-/usr/bin/containerd containerd \\\n  --config '/etc/a b' $A ${B}\nExecStart=\n";
const VARIABLES: &[u8] = b"A=b\n# no\nB=\"c \\\"d\\\n e\" 'f'\nC = x\\ y \n";

#[test]
fn no_file_of_a_unit_makes_its_reader_panic() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.service");
    let read = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        settings(&file).unwrap()
    };
    assert_eq!(read(UNIT).len(), 5);
    try_reader("unit", &[UNIT], |bytes| {
        for (_, _, value) in read(bytes) {
            let _ = (pairs(&value), split(&value, false));
            let _ = CommandLine::read(&value).map(|line| line.shown());
        }
    });
}

#[test]
fn no_file_of_variables_makes_its_reader_panic_or_gives_a_name_of_two_lines() {
    let read = |bytes: &[u8]| assignments(&String::from_utf8_lossy(bytes)).unwrap_or_default();
    assert_eq!(read(VARIABLES).len(), 3);
    try_reader("environment-file", &[VARIABLES], |bytes| {
        assert!(read(bytes).iter().all(|(name, _)| !name.contains('\n')));
    });
}

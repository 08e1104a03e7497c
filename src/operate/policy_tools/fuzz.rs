//! Reports and lines of audit files from other hosts, changed.

use jiff::Timestamp;

use super::fleet::read;
use crate::fuzzing::try_reader;

const RECORD: &[u8] = br#"{"version":1,"host":"h","time":"2026-11-30T10:00:00Z","policy":null,"name":"r.example/app:v1","digest":null,"outcome":"allowed","code":null,"ground":null,"rule":null,"roots":[],"found":null,"let_through":true}"#;
const EVENT: &[u8] = br#"{"version":1,"host":"h","time":"2026-11-30T10:00:00Z","event":"started"}"#;

#[test]
fn no_line_of_another_host_makes_its_reader_panic_or_writes_a_line_of_its_own() {
    let now: Timestamp = "2026-12-01T00:00:00Z".parse().unwrap();
    assert!(read(RECORD, now).is_ok() && read(EVENT, now).is_ok());
    try_reader("fleet-line", &[RECORD, EVENT], |bytes| {
        if let Ok(line) = read(bytes, now) {
            assert!(!line.host.chars().any(char::is_control));
        }
    });
}

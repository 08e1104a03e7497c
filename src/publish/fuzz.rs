//! What holders of keys and other publishers send, changed.

use super::ceremony::RootProposal;
use super::settings::Settings;
use super::upstream_list;
use crate::fuzzing::try_reader;

const ROOT: &str = include_str!("../../tests/data/tuf/1.root.json");
const SETTINGS: &[u8] = b"version = 1\nnames = [\"r.example/team/**\"]\nendorses = [\"docker.io/library/*\"]\npublish = [\"file:///srv/tuf\", \"oci://r.example/meta\"]\nmetadata = [\"https://t.example/meta\"]\n[expires]\ntargets = \"30d\"\ntimestamp = \"12h\"\n";
const LIST: &[u8] = b"# ours\ndocker.io/library/alpine:3.* as m.example/hub/alpine\nquay.io/team/*:* as m.example/team/*\nghcr.io/a/b:v1\n";

#[test]
fn no_proposal_of_a_root_makes_its_reader_panic_and_what_is_written_is_read_again() {
    let example =
        format!(r#"{{"kind":"rootpin root proposal","version":1,"old":null,"new":{ROOT}}}"#);
    let read = |bytes: &[u8]| RootProposal::read("proposal.json", bytes).ok();
    assert!(read(example.as_bytes()).is_some());
    try_reader("root-proposal", &[example.as_bytes()], |bytes| {
        if let Some(proposal) = read(bytes) {
            assert_eq!(read(&proposal.to_bytes()).as_ref(), Some(&proposal));
            for missing in proposal.missing() {
                for key in &missing.keys {
                    let _ = proposal.holder(key);
                }
            }
        }
    });
}

#[test]
fn no_repository_toml_makes_its_reader_panic() {
    let read = |bytes: &[u8]| {
        let settings = Settings::parse(&String::from_utf8_lossy(bytes)).ok()?;
        Some(settings.term("timestamp"))
    };
    assert!(read(SETTINGS).is_some());
    try_reader("repository-toml", &[SETTINGS], |bytes| {
        let _ = read(bytes);
    });
}

#[test]
fn no_list_of_others_names_makes_its_reader_panic_or_means_another_tag() {
    let lines = |bytes: &[u8]| {
        let lines = upstream_list::read(&String::from_utf8_lossy(bytes));
        lines.unwrap_or_default()
    };
    assert_eq!(lines(LIST).len(), 3);
    try_reader("upstream-list", &[LIST], |bytes| {
        for line in lines(bytes) {
            for (path, tag) in [("library/alpine", "3.20"), ("team/app", "v1")] {
                if let Some(name) = line.name(path, tag) {
                    assert_eq!((name.repository.path(), name.tag.as_str()), (path, tag));
                }
            }
        }
    });
}

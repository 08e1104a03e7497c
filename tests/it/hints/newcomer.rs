//! Commands of a newcomer's first hour, which work as they are printed.

use super::{folder, rootpin};

#[test]
fn the_command_that_pins_a_new_repository_names_its_root_file_from_here() {
    let dir = folder("hints-new-root");
    let place = format!("file://{}/other-place", dir.display());
    let made = rootpin(
        &dir,
        &[
            "repo",
            "init",
            "other",
            "--names",
            "r.test/other/**",
            "--publish",
            &place,
            "--passphrase-file",
            "passphrase",
        ],
    );
    assert!(
        made.code == 0 && made.out.contains(" --type tuf --from other/root.json "),
        "{made:?}"
    );
}

#[test]
fn a_key_without_a_type_is_offered_the_types_of_signatures_beside_images() {
    let dir = folder("hints-key-type");
    let key = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/signatures/keys/p384.pub"
    );
    let ended = rootpin(
        &dir,
        &[
            "pin",
            "add",
            "builder",
            "--policy",
            "policy",
            "--from",
            key,
            "--match",
            "r.test/builder/**",
            "--fingerprint",
            &"a".repeat(64),
        ],
    );
    assert!(
        ended.code == 64 && ended.err.contains("for a key of cosign: --type cosign"),
        "{ended:?}"
    );
}

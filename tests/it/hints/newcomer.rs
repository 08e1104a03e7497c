//! Commands of a newcomer's first hour, which work as they are printed.

use std::fs;

use super::{folder, rootpin};
use crate::registry::Registry;

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_is_not_trusted_at_the_first_request_leads_to_the_same_command_once_more() {
    let registry = Registry::start_tls(&["http/1.1"]).await;
    let dir = folder("hints-untrusted");
    let host = format!("127.0.0.1:{}", registry.port);
    let place = format!("oci://{host}/trust/own");
    let names = ["--names", "r.test/own/**"];
    let init = ["repo", "init", "own", "--publish", &place];
    let init = [&init[..], &["--passphrase-file", "passphrase"], &names].concat();
    let certificates = dir.join("hosts").join(&host);
    fs::create_dir_all(&certificates).unwrap();
    fs::write(certificates.join("ca.crt"), &registry.ca).unwrap();
    // What the hint says to type, with the folder in the place of its name.
    let hinted = |words: &[&str]| {
        let refused = rootpin(&dir, words);
        let hint = refused.err.split_once("\nhint: ").map(|(_, hint)| hint);
        let typed = hint.and_then(|hint| hint.split_once(", then rootpin "));
        let typed = typed.and_then(|(_, typed)| typed.split_once(';'));
        let (typed, _) = typed.unwrap_or_else(|| panic!("{refused:?}"));
        assert_eq!(refused.code, 2, "{refused:?}");
        typed.replace("--hosts-dir DIR", "--hosts-dir hosts")
    };
    let typed = |command: &str| {
        let words: Vec<&str> = command
            .split(' ')
            .map(|word| word.trim_matches('\''))
            .collect();
        rootpin(&dir, &words)
    };
    let again = hinted(&init);
    assert!(again.starts_with("repo init own "), "{again}");
    let made = typed(&again);
    assert!(
        made.code == 0 && made.out.contains(&format!("published at {place}")),
        "{made:?}"
    );
    let sha256 = rootpin_trust::image::Digest::of(&fs::read(dir.join("own/root.json")).unwrap());
    let sha256 = sha256.hex();
    let root = ["--root", "own/root.json", "--sha256", &sha256];
    let clone = ["repo", "clone", &place, "copy"];
    let again = hinted(&[&clone[..], &root, &names].concat());
    assert!(again.starts_with("repo clone oci://"), "{again}");
    let cloned = typed(&again);
    assert_eq!(cloned.code, 0, "{cloned:?}");
}

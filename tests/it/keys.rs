//! Keys as files and as metadata.

use std::fs;
use std::process::Command;

use rootpin_trust::key_file::public_keys;

use crate::publisher::{Key, Publisher};

#[test]
fn a_key_has_one_canonical_id_as_pem_and_in_every_certificate() {
    let key = Key::named("a");
    let id = key.id();
    assert_eq!(
        public_keys(key.public_pem().as_bytes()).unwrap()[0]
            .id()
            .to_string(),
        id
    );
    for name in ["registry.test/a", "docker.io/*"] {
        assert_eq!(
            public_keys(key.certificate(name).public_pem().as_bytes()).unwrap()[0]
                .id()
                .to_string(),
            id
        );
    }
}

#[test]
fn a_public_key_of_openssh_is_read_after_the_advice_was_followed_as_typed() {
    let dir = tempfile::tempdir().unwrap();
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let file = dir.path().join(kind).display().to_string();
        let made = ["-q", "-N", "", "-t", kind, "-f", &file];
        assert!(
            Command::new("ssh-keygen")
                .args(made)
                .status()
                .unwrap()
                .success()
        );
        let refused = public_keys(&fs::read(format!("{file}.pub")).unwrap()).unwrap_err();
        let advice = refused.0.split_once("convert it: ").unwrap().1;
        let command = advice
            .replace("FILE", &format!("{file}.pub"))
            .replace("NEW", &format!("{file}.pem"));
        let done = Command::new("sh").args(["-c", &command]).output().unwrap();
        assert!(done.status.success(), "{command}: {done:?}");
        let read = public_keys(&fs::read(format!("{file}.pem")).unwrap());
        assert_eq!(read.map(|keys| keys.len()), Ok(1), "{kind}");
    }
}

#[test]
fn a_published_tree_has_every_file_under_each_of_its_names() {
    let mut publisher = Publisher::new("registry.test/a");
    publisher.tag("v1", &"1".repeat(64), 7);
    publisher.rotate_root(&[Key::named("b")]);
    let tree = publisher.tree();
    for name in [
        "root.json",
        "1.root.json",
        "2.root.json",
        "timestamp.json",
        "snapshot.json",
        "targets.json",
        "targets/releases.json",
    ] {
        assert!(tree.files.contains_key(name), "{name}");
    }
    assert_eq!(tree.files.len(), 10);
    assert_eq!(tree, publisher.tree());
}

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use super::*;
use crate::publish::canonical_json::{material, signed_by};
use crate::publish::public_key::key_object;

const OPEN: &str = "passphrase";

fn made(kind: KeyKind) -> (tempfile::TempDir, std::path::PathBuf, PrivateKey) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("root.pem");
    let key = PrivateKey::generate(kind, &file, "correct horse").unwrap();
    (folder, file, key)
}

/// Whether hosts take what the key signs as its listing says.
fn signs(key: &PrivateKey, scheme: &str) -> bool {
    let (keyid, mut object) = key_object(key.public());
    object["scheme"] = scheme.into();
    let signature = key.sign(b"message", scheme).unwrap();
    let by = |message: &[u8]| signed_by(&keyid, &object, message, &signature);
    by(b"message") == Some(key.public().id()) && by(b"another").is_none()
}

#[test]
fn a_made_key_signs_what_hosts_verify_by_its_listing_after_a_round_through_its_file() {
    for (kind, scheme) in [
        (KeyKind::P256, "ecdsa-sha2-nistp256"),
        (KeyKind::Ed25519, "ed25519"),
    ] {
        let (_folder, file, made) = made(kind);
        let key = PrivateKey::load(&file, "correct horse").unwrap();
        assert_eq!(key.keyid(), made.keyid());
        assert!(signs(&key, scheme), "{scheme}");
        assert!(matches!(
            key.sign(b"message", "rsassa-pss-sha256"),
            Err(SigningError::Unusable(_))
        ));
    }
}

#[test]
fn a_key_file_is_encrypted_private_and_never_written_over() {
    let (_folder, file, _) = made(KeyKind::Ed25519);
    let written = fs::read_to_string(&file).unwrap();
    assert!(
        written.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"),
        "{written}"
    );
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
    assert!(matches!(
        PrivateKey::generate(KeyKind::P256, &file, "other"),
        Err(SigningError::File(..))
    ));
    assert_eq!(fs::read_to_string(&file).unwrap(), written);
    assert!(matches!(
        PrivateKey::load(&file, "wrong"),
        Err(SigningError::Locked(_))
    ));
}

#[test]
fn a_key_that_others_can_read_is_refused_and_so_is_an_empty_passphrase() {
    let (folder, file, _) = made(KeyKind::P256);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(
        PrivateKey::load(&file, "correct horse"),
        Err(SigningError::Exposed(..))
    ));
    let other = folder.path().join("other.pem");
    assert!(matches!(
        PrivateKey::generate(KeyKind::P256, &other, ""),
        Err(SigningError::NoPassphrase)
    ));
    assert!(!other.exists());
}

/// A private copy of a key file of the tests' data, all of which open by one passphrase.
fn private(name: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key.pem");
    fs::copy(
        format!(
            "{}/tests/data/keys/private/{name}",
            env!("CARGO_MANIFEST_DIR")
        ),
        &file,
    )
    .unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    (folder, file)
}

#[test]
fn a_private_key_is_read_in_every_form_that_tools_and_editors_leave() {
    let (_folder, file) = private("ec.pem");
    let plain = PrivateKey::load(&file, OPEN).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    let forms = [
        text.replace('\n', "\r\n"),
        text.replace('\n', " \n"),
        text.clone() + "\n \n# root key of team\n",
        format!("\u{feff}{text}"),
        text.replacen("-----\n", "-----\nrole: root\n\n", 1),
    ];
    for form in forms {
        fs::write(&file, &form).unwrap();
        assert_eq!(
            PrivateKey::load(&file, OPEN).unwrap().public().id(),
            plain.public().id(),
            "{form}"
        );
    }
    let der = pem::blocks(text.as_bytes()).unwrap().remove(0).bytes;
    fs::write(&file, &*der).unwrap();
    assert_eq!(
        PrivateKey::load(&file, OPEN).unwrap().public().id(),
        plain.public().id()
    );
}

#[test]
fn keys_of_notary_docker_and_openssl_sign_by_every_scheme_that_lists_them() {
    for (name, schemes) in [
        ("notary.key", &["ecdsa-sha2-nistp256"][..]),
        ("docker.key", &["ecdsa-sha2-nistp256"]),
        ("p384.pem", &["ecdsa-sha2-nistp384"]),
        (
            "rsa.pem",
            &[
                "rsassa-pss-sha256",
                "rsassa-pss-sha384",
                "rsassa-pss-sha512",
            ],
        ),
    ] {
        let (_folder, file) = private(name);
        let key = PrivateKey::load(&file, OPEN).unwrap();
        assert!(schemes.iter().all(|scheme| signs(&key, scheme)), "{name}");
        let (keyid, object) = key_object(key.public());
        assert_eq!(material(&keyid, &object), Some(key.public().id()));
        let wrong = PrivateKey::load(&file, "wrong").unwrap_err();
        assert!(matches!(wrong, SigningError::Locked(_)), "{name}: {wrong}");
    }
}

#[test]
fn what_is_not_read_is_named_with_a_command_that_makes_a_good_key_of_it_as_typed() {
    for (name, named) in [
        ("legacy.pem", "encrypted in the way of old OpenSSL"),
        (
            "des3.pem",
            "encrypted by PBES2 with PBKDF2, hmacWithSHA256 and des-ede3-cbc",
        ),
        ("pbes1-md5.pem", "encrypted by pbeWithMD5AndDES-CBC"),
        ("plain.pem", "not encrypted"),
        ("sec1.pem", "EC PRIVATE KEY, which is not encrypted"),
    ] {
        let (folder, file) = private(name);
        let error = PrivateKey::load(&file, OPEN).unwrap_err();
        assert!(
            matches!(&error, SigningError::Private(_, why, _) if why.contains(named)),
            "{name}: {error}"
        );
        let SigningError::Private(_, _, hint) = error else {
            panic!("{name}")
        };
        let command = hint.strip_prefix("convert it: ").unwrap().replace(
            "NEW.pem",
            &folder.path().join("new.pem").display().to_string(),
        );
        let mut shell = Command::new("sh");
        shell.args([
            "-c",
            &format!("{command} -passin pass:{OPEN} -passout pass:{OPEN}"),
        ]);
        assert!(shell.status().unwrap().success(), "{name}: {command}");
        PrivateKey::load(&folder.path().join("new.pem"), OPEN).unwrap();
    }
    let (_folder, file) = private("openssh.pem");
    let error = PrivateKey::load(&file, OPEN).unwrap_err().to_string();
    // No tool at hand converts it.
    assert!(error.contains("rootpin repo key generate NAME"), "{error}");
}

//! Signing with keys in a token, in `SoftHSM`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use std::path::PathBuf;

use super::super::key::Signer;
use super::super::public_key::only_key;
use super::*;
use crate::publish::keyring::{Keyring, add_of_token, generate_in_token};

/// Debian's package softhsm2.
const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const CONF: &str = "SOFTHSM2_CONF";

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?}: {error}; the Debian package softhsm2 is wanted")
    });
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

/// Runs a test of below in a process of its own: the module is told by its environment where
/// its tokens are.
fn in_a_token(test: &str) {
    let dir = tempfile::tempdir().unwrap();
    let conf = dir.path().join("softhsm2.conf");
    fs::create_dir(dir.path().join("tokens")).unwrap();
    fs::write(
        &conf,
        format!(
            "directories.tokendir = {}\n",
            dir.path().join("tokens").display()
        ),
    )
    .unwrap();
    let init = [
        "--init-token",
        "--free",
        "--label",
        "acme",
        "--so-pin",
        "12345678",
        "--pin",
        "4321",
    ];
    run(Command::new("softhsm2-util").env(CONF, &conf).args(init));
    let test = format!("publish::token::tests::{test}");
    let said = run(Command::new(std::env::current_exe().unwrap())
        .env(CONF, &conf)
        .args(["--exact", &test, "--ignored", "--nocapture"]));
    assert!(said.contains("1 passed"), "{said}");
}

/// The folder of the keys beside the token.
fn folder() -> PathBuf {
    Path::new(&std::env::var(CONF).unwrap())
        .parent()
        .unwrap()
        .join("keys")
}

fn at(pin: &str) -> TokenAddress<'_> {
    TokenAddress {
        module: Path::new(MODULE),
        token: "acme",
        pin,
    }
}

fn unlock(name: &str, pin: &str) -> Result<Box<dyn Signer>, SigningError> {
    let keyring = Keyring::open(&folder()).unwrap();
    let id = keyring
        .keys()
        .iter()
        .find(|entry| entry.name == name)
        .unwrap()
        .id();
    keyring.unlock(id, &mut |_| Ok(pin.to_owned()))
}

#[test]
fn keys_made_in_a_token_sign_and_never_leave_it() {
    in_a_token("makes_keys_and_signs");
}

#[test]
#[ignore = "run by the test above"]
fn makes_keys_and_signs() {
    for (name, kind) in [("root-1", KeyKind::P256), ("root-2", KeyKind::Ed25519)] {
        let made = generate_in_token(&folder(), name, kind, &at("4321")).unwrap();
        assert!(
            made.private
                && made
                    .token
                    .as_ref()
                    .is_some_and(|token| token.starts_with("acme (/"))
        );
        let signer = unlock(name, "4321").unwrap();
        assert_eq!(
            (signer.public().id(), signer.keyid()),
            (made.id(), made.keyid)
        );
        let scheme = if kind == KeyKind::P256 {
            "ecdsa-sha2-nistp256"
        } else {
            "ed25519"
        };
        // Each signature is verified as it is made. A hash's first bytes must not matter:
        // ECDSA's numbers are of any length in DER.
        for message in 0..64_u8 {
            signer.sign(&[message], scheme).unwrap();
        }
        let again = generate_in_token(&folder(), name, kind, &at("4321"));
        assert!(matches!(again, Err(SigningError::Name(_))));
    }
    let session = open(&at("4321")).unwrap().session;
    for private in session
        .find_objects(&[Attribute::Class(ObjectClass::PRIVATE_KEY)])
        .unwrap()
    {
        assert!(keeps_to_itself(&session, private).unwrap());
        let value = session
            .get_attributes(private, &[AttributeType::Value])
            .unwrap();
        assert!(value.is_empty(), "the private key can be read: {value:?}");
    }
}

#[test]
fn keys_that_a_token_has_already_are_taken_up_whatever_their_ids() {
    in_a_token("takes_keys_up");
}

/// Makes a key in the token as another tool would, with labels that differ.
fn made_elsewhere(
    session: &Session,
    label: &str,
    id: &[u8],
    mechanism: &Mechanism<'_>,
    public: &[Attribute],
    each: bool,
) {
    let named = |label: &str| {
        vec![
            Attribute::Token(true),
            Attribute::Label(label.into()),
            Attribute::Id(id.to_vec()),
        ]
    };
    let private = [
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Sign(true),
        Attribute::AlwaysAuthenticate(each),
    ];
    let public = [&named(&format!("Public {label}"))[..], public].concat();
    session
        .generate_key_pair(mechanism, &public, &[&named(label)[..], &private].concat())
        .unwrap();
}

/// Keys that another program made.
fn make_keys(session: &Session) {
    let curve = |params: &[u8]| {
        vec![
            Attribute::Verify(true),
            Attribute::EcParams(params.to_vec()),
        ]
    };
    let p384 = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
    let rsa = vec![
        Attribute::Verify(true),
        Attribute::ModulusBits(2048.into()),
        Attribute::PublicExponent(vec![1, 0, 1]),
    ];
    for (label, id, mechanism, public, each_time) in [
        (
            "one byte",
            &[2][..],
            &Mechanism::EccKeyPairGen,
            curve(&P256_PARAMS),
            false,
        ),
        (
            "long",
            &[7; 40],
            &Mechanism::EccKeyPairGen,
            curve(&p384),
            false,
        ),
        (
            "rsa",
            &[3, 4],
            &Mechanism::RsaPkcsKeyPairGen,
            rsa.clone(),
            false,
        ),
        ("each time", &[5], &Mechanism::RsaPkcsKeyPairGen, rsa, true),
        (
            "each time too",
            &[6],
            &Mechanism::EccKeyPairGen,
            curve(&P256_PARAMS),
            true,
        ),
    ] {
        made_elsewhere(session, label, id, mechanism, &public, each_time);
    }
}

#[test]
#[ignore = "run by the test above"]
fn takes_keys_up() {
    let session = open(&at("4321")).unwrap().session;
    make_keys(&session);
    let of_label = |label: &str| Which {
        label: Some(label.to_owned()),
        id: None,
    };
    let ambiguous = add_of_token(&folder(), "a", &at("4321"), &Which::default())
        .unwrap_err()
        .to_string();
    assert!(
        ambiguous.contains("\"one byte\" (id 02)") && ambiguous.contains("--token-key-id"),
        "{ambiguous}"
    );
    for (name, which, scheme) in [
        (
            "a",
            Which {
                label: None,
                id: id_from_hex("02"),
            },
            "ecdsa-sha2-nistp256",
        ),
        ("b", of_label("long"), "ecdsa-sha2-nistp384"),
        (
            "c",
            Which {
                label: None,
                id: id_from_hex("0x03:04"),
            },
            "rsassa-pss-sha512",
        ),
        ("d", of_label("each time"), "rsassa-pss-sha256"),
    ] {
        let added = add_of_token(&folder(), name, &at("4321"), &which).unwrap();
        assert!(added.private && added.token.is_some(), "{name}");
        let signer = unlock(name, "4321").unwrap();
        for message in 0..4_u8 {
            signer.sign(&[message], scheme).unwrap();
        }
    }
    add_of_token(&folder(), "e", &at("4321"), &of_label("each time too")).unwrap();
    // SoftHSM 2.6 has no mechanism of this curve that hashes by itself.
    let refused = unlock("e", "4321")
        .unwrap()
        .sign(b"", "ecdsa-sha2-nistp256")
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("wants its PIN before each signature"),
        "{refused}"
    );
}

#[test]
fn a_wrong_pin_another_key_or_an_absent_token_is_said() {
    in_a_token("refuses");
}

#[test]
#[ignore = "run by the test above"]
fn refuses() {
    let error = |result: Result<Box<dyn Signer>, SigningError>| result.unwrap_err().to_string();
    let wrong = generate_in_token(&folder(), "a", KeyKind::P256, &at("0000"))
        .unwrap_err()
        .to_string();
    assert!(
        wrong.contains("PIN is wrong") && !wrong.contains("0000"),
        "{wrong}"
    );
    let elsewhere = TokenAddress {
        token: "other",
        ..at("4321")
    };
    let absent = generate_in_token(&folder(), "a", KeyKind::P256, &elsewhere)
        .unwrap_err()
        .to_string();
    assert!(
        absent.contains("0 tokens there have this label"),
        "{absent}"
    );
    assert_eq!(
        fs::read_dir(folder()).unwrap().count(),
        0,
        "nothing is written of a key that was not made"
    );

    let made = generate_in_token(&folder(), "a", KeyKind::P256, &at("4321")).unwrap();
    generate_in_token(&folder(), "b", KeyKind::P256, &at("4321")).unwrap();
    // The file of a, with the label and id of b: the token's key is not the one whose public
    // part the file has.
    let (a, b) = (folder().join("a.token"), folder().join("b.token"));
    let read = |path: &Path| TokenFile::read(path).unwrap();
    fs::write(
        &a,
        TokenFile {
            key: made.public.clone(),
            ..read(&b)
        }
        .text(),
    )
    .unwrap();
    let other = error(unlock("a", "4321"));
    assert!(other.contains("not the one whose public part"), "{other}");
    fs::write(
        &a,
        TokenFile {
            key: made.public,
            id: vec![1],
            ..read(&b)
        }
        .text(),
    )
    .unwrap();
    let none = error(unlock("a", "4321"));
    assert!(none.contains("not one key"), "{none}");
}

#[test]
fn a_file_that_others_can_change_names_no_library_that_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.token");
    let key = only_key(
        &fs::read(format!(
            "{}/tests/data/keys/ed25519.pub",
            env!("CARGO_MANIFEST_DIR")
        ))
        .unwrap(),
    )
    .unwrap();
    let file = TokenFile {
        module: MODULE.into(),
        token: "acme".to_owned(),
        label: "a".to_owned(),
        id: vec![0xab, 1],
        key,
    };
    fs::write(&path, file.text()).unwrap();
    let read = TokenFile::read(&path).unwrap();
    assert_eq!(
        (read.module, read.id, read.key.id()),
        (file.module.clone(), file.id.clone(), file.key.id())
    );
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(matches!(
        TokenFile::read(&path),
        Err(SigningError::Token(..))
    ));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    for bad in [
        file.text().replace("/usr/lib", "usr/lib"),
        file.text().replace("ab01", "ab0"),
        file.text().replace("BEGIN PUBLIC", "BEGIN"),
        file.text() + "more = 1\n",
    ] {
        fs::write(&path, bad).unwrap();
        assert!(TokenFile::read(&path).is_err());
    }
}

#[test]
fn a_library_that_others_can_change_is_not_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let module = dir.path().join("module.so");
    fs::copy(MODULE, &module).unwrap();
    fs::set_permissions(&module, fs::Permissions::from_mode(0o777)).unwrap();
    let error = open(&TokenAddress {
        module: &module,
        ..at("4321")
    })
    .err()
    .unwrap()
    .to_string();
    assert!(error.contains("others can write it"), "{error}");
}

//! Repositories as other tools leave them: the same keys under other IDs, in other forms, with
//! other members.

use std::fs;
use std::path::Path;
use std::process::Command;

use rootpin::publish::key::{KeyKind, Signer};
use rootpin::publish::key_file::PrivateKey;
use rootpin::publish::key_object;
use rootpin::publish::keyring::generate;
use rootpin_trust::canonical::{Limits, rewrite};
use rootpin_trust::image::Digest;
use serde_json::{Value, json};

use super::{Org, digest};

const PASSPHRASE: &str = "correct horse";
const ROLES: [&str; 4] = ["root", "timestamp", "snapshot", "targets"];

/// The kind of the keys, and how a role's key is listed: given its object and the role, the ID and
/// the object.
type Shape = (&'static str, Make, fn(Value, &str) -> (String, Value));

#[derive(Clone, Copy)]
enum Make {
    Generated(KeyKind),
    /// A file of the tests' data.
    Of(&'static str),
}

const SHAPES: [Shape; 14] = [
    (
        "python-tuf, ed25519",
        Make::Generated(KeyKind::Ed25519),
        |key, _| (hashed(&key), key),
    ),
    (
        "python-tuf, ECDSA",
        Make::Generated(KeyKind::P256),
        |key, _| (hashed(&key), key),
    ),
    ("python-tuf, P-384", Make::Of("p384.pem"), |key, _| {
        (hashed(&key), key)
    }),
    (
        "python-tuf, RSA with SHA-512",
        Make::Of("rsa.pem"),
        |key, _| {
            let key = with(key, "scheme", json!("rsassa-pss-sha512"));
            (hashed(&key), key)
        },
    ),
    ("go-tuf", Make::Generated(KeyKind::Ed25519), |key, _| {
        let key = with(key, "keyid_hash_algorithms", json!(["sha256", "sha512"]));
        (hashed(&key), key)
    }),
    (
        "go-tuf, a point in hex",
        Make::Generated(KeyKind::P256),
        |key, _| {
            let key = with(key.clone(), "keyval", json!({ "public": point(&key) }));
            (hashed(&key), key)
        },
    ),
    (
        "Ed25519 in PEM",
        Make::Generated(KeyKind::Ed25519),
        |key, _| {
            let key = with(key.clone(), "keyval", json!({ "public": pem(&key) }));
            (hashed(&key), key)
        },
    ),
    (
        "tuf-on-ci, a person",
        Make::Generated(KeyKind::P256),
        |key, _| {
            let key = with(key, "x-tuf-on-ci-keyowner", json!("@alice"));
            (hashed(&key), key)
        },
    ),
    (
        "tuf-on-ci, a service",
        Make::Generated(KeyKind::P256),
        |key, _| {
            (
                hashed(&key),
                with(key, "x-tuf-on-ci-online-uri", json!("gcpkms://projects/x")),
            )
        },
    ),
    (
        "old python-tuf",
        Make::Generated(KeyKind::P256),
        |key, _| {
            let key = with(key, "keytype", json!("ecdsa-sha2-nistp256"));
            (hashed(&key), key)
        },
    ),
    (
        "securesystemslib with a private part",
        Make::Generated(KeyKind::Ed25519),
        |key, _| {
            let public = key["keyval"]["public"].clone();
            (
                hashed(&with(
                    key.clone(),
                    "keyval",
                    json!({ "private": "", "public": public }),
                )),
                key,
            )
        },
    ),
    (
        "tuftool, PEM without a last line feed",
        Make::Generated(KeyKind::P256),
        |key, _| {
            let public = key["keyval"]["public"]
                .as_str()
                .unwrap()
                .trim_end()
                .to_owned();
            let key = with(key, "keyval", json!({ "public": public }));
            (hashed(&key), key)
        },
    ),
    (
        "Windows, PEM with CRLF",
        Make::Generated(KeyKind::P256),
        |key, _| {
            let public = key["keyval"]["public"]
                .as_str()
                .unwrap()
                .replace('\n', "\r\n");
            let key = with(key, "keyval", json!({ "public": public }));
            (hashed(&key), key)
        },
    ),
    (
        "IDs that are names",
        Make::Generated(KeyKind::Ed25519),
        |key, role| (format!("{role}-key-2026"), key),
    ),
];

fn with(mut key: Value, member: &str, value: Value) -> Value {
    key[member] = value;
    key
}

pub(super) fn hashed(value: &Value) -> String {
    Digest::of(&canonical_bytes(value)).hex()
}

pub(super) fn canonical_bytes(value: &Value) -> Vec<u8> {
    let limits = Limits {
        bytes: 4 << 20,
        depth: 16,
        values: 100_000,
    };
    rewrite(value.to_string().as_bytes(), limits).unwrap()
}

/// The point of a P-256 key in PEM, in hex digits.
fn point(key: &Value) -> String {
    use base64::Engine as _;
    let body: String = key["keyval"]["public"]
        .as_str()
        .unwrap()
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect();
    let spki = base64::engine::general_purpose::STANDARD
        .decode(body)
        .unwrap();
    spki[26..]
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// An Ed25519 key, listed by its 32 bytes in hex digits, as PEM.
fn pem(key: &Value) -> String {
    use base64::Engine as _;
    let digits = key["keyval"]["public"].as_str().unwrap();
    let mut spki = vec![
        0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
    ];
    spki.extend(
        (0..64)
            .step_by(2)
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()),
    );
    let body = base64::engine::general_purpose::STANDARD.encode(spki);
    format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
}

fn made(folder: &Path, role: &str, make: Make) -> PrivateKey {
    let file = folder.join(format!("{role}.pem"));
    match make {
        Make::Generated(kind) => drop(generate(folder, role, kind, PASSPHRASE).unwrap()),
        Make::Of(name) => {
            let data = format!(
                "{}/tests/data/keys/private/{name}",
                env!("CARGO_MANIFEST_DIR")
            );
            let mut openssl = Command::new("openssl");
            openssl.args([
                "pkcs8",
                "-topk8",
                "-passin",
                "pass:passphrase",
                "-passout",
                &format!("pass:{PASSPHRASE}"),
                "-in",
                &data,
                "-out",
            ]);
            assert!(openssl.arg(&file).status().unwrap().success());
            let mut openssl = Command::new("openssl");
            openssl
                .args([
                    "pkey",
                    "-pubout",
                    "-passin",
                    &format!("pass:{PASSPHRASE}"),
                    "-in",
                ])
                .arg(&file)
                .arg("-out");
            assert!(
                openssl
                    .arg(folder.join(format!("{role}.pub")))
                    .status()
                    .unwrap()
                    .success()
            );
        }
    }
    PrivateKey::load(&file, PASSPHRASE).unwrap()
}

/// A repository of that shape at the organisation's place, its keys in `main`; the IDs of its
/// roles' keys.
fn publish(org: &Org, shape: Shape) -> Vec<String> {
    publish_with(org, shape, true, None)
}

/// The same, with or without versions in the names of its files, and with 2^`bits` hash bins.
fn publish_with(
    org: &Org,
    (_, make, list): Shape,
    consistent: bool,
    bits: Option<u32>,
) -> Vec<String> {
    let (keys, place) = (org.path("main/keys"), org.path("place"));
    fs::create_dir_all(&keys).unwrap();
    fs::create_dir_all(&place).unwrap();
    let listed: Vec<(PrivateKey, String, Value)> = ROLES
        .iter()
        .map(|role| {
            // Two roles may have one key, where a shape has but one file.
            let key = made(&keys, role, make);
            let (keyid, object) = list(
                key_object(key.public()).1,
                if matches!(make, Make::Of(_)) {
                    "one"
                } else {
                    role
                },
            );
            (key, keyid, object)
        })
        .collect();
    let head = |kind: &str| json!({ "_type": kind, "spec_version": "1.0.31", "version": 1, "expires": "2036-01-01T00:00:00Z" });
    let write = |role: usize, name: &str, signed: Value| {
        let (key, keyid, object) = &listed[role];
        let signature = key
            .sign(
                &canonical_bytes(&signed),
                object["scheme"].as_str().unwrap(),
            )
            .unwrap();
        let signature = signature
            .iter()
            .fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        let file =
            json!({ "signatures": [{ "keyid": keyid, "sig": signature }], "signed": signed });
        fs::write(place.join(name), serde_json::to_vec_pretty(&file).unwrap()).unwrap();
    };
    let mut root = head("root");
    root["consistent_snapshot"] = json!(consistent);
    for (role, (_, keyid, object)) in ROLES.iter().zip(&listed) {
        root["keys"][keyid] = object.clone();
        root["roles"][role] = json!({ "keyids": [keyid], "threshold": 1 });
    }
    write(0, "1.root.json", root);
    let named = |role: &str| format!("{}{role}.json", if consistent { "1." } else { "" });
    let target =
        json!({ "length": 7, "hashes": { "sha256": digest("one").trim_start_matches("sha256:") } });
    let mut targets = with(
        head("targets"),
        "targets",
        json!({ "r.test/tool:1": target }),
    );
    let mut meta = json!({ "targets.json": { "version": 1 }, "root.json": { "version": 1 } });
    if let Some(bits) = bits {
        let (_, keyid, object) = &listed[3];
        let succinct =
            json!({ "keyids": [keyid], "threshold": 1, "bit_length": bits, "name_prefix": "bin" });
        targets["delegations"] = json!({ "keys": { keyid: object }, "succinct_roles": succinct });
        let digits = usize::try_from(bits.div_ceil(4)).unwrap();
        for bin in (0..1_u32 << bits).map(|number| format!("bin-{number:0digits$x}")) {
            meta[format!("{bin}.json")] = json!({ "version": 1 });
            write(3, &named(&bin), with(head("targets"), "targets", json!({})));
        }
    }
    write(3, &named("targets"), targets);
    write(2, &named("snapshot"), with(head("snapshot"), "meta", meta));
    write(
        1,
        "timestamp.json",
        with(
            head("timestamp"),
            "meta",
            json!({ "snapshot.json": { "version": 1 } }),
        ),
    );
    listed.into_iter().map(|(_, keyid, _)| keyid).collect()
}

fn signed_by(org: &Org, file: &str) -> Vec<String> {
    let file: Value =
        serde_json::from_slice(&fs::read(org.path("place").join(file)).unwrap()).unwrap();
    file["signatures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|signature| signature["keyid"].as_str().unwrap().to_owned())
        .collect()
}

fn clone(org: &Org) -> String {
    let (root, dir) = (
        org.path("place/1.root.json"),
        org.path("main").display().to_string(),
    );
    let sha256 = Digest::of(&fs::read(&root).unwrap()).hex();
    let clone = [
        "clone",
        &org.place(),
        &dir,
        "--root",
        &root.display().to_string(),
        "--sha256",
        &sha256,
        "--names",
        "r.test/**",
    ];
    org.ok("main", &clone)
}

#[test]
fn a_repository_without_consistent_snapshots_keeps_its_files_names_and_is_gone_on_with() {
    let org = Org::new();
    publish_with(&org, SHAPES[0], false, None);
    let cloned = clone(&org);
    assert!(cloned.contains("its keys sign for targets"), "{cloned}");
    assert_eq!(org.verify("slept", "r.test/tool:1", "one"), "allowed");
    assert_eq!(org.sign("main", "r.test/tool:2", "two").code, 0);
    org.ok("main", &["refresh"]);
    let team = org.key("team", "team");
    let delegate = [
        "delegate",
        "add",
        "team",
        "--key",
        &team,
        "--paths",
        "r.test/team/**",
    ];
    org.ok("main", &delegate);
    org.ok("main", &["rotate", "root"]);
    org.ok("main", &["rotate", "online"]);
    assert_eq!(org.sign("main", "r.test/tool:3", "three").code, 0);
    let mut names: Vec<String> = fs::read_dir(org.path("place"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with(".root.json") && name.strip_suffix(".json").is_some())
        .collect();
    names.sort();
    assert_eq!(names, ["snapshot.json", "targets.json", "timestamp.json"]);
    for host in ["slept", "new"] {
        assert_eq!(org.verify(host, "r.test/tool:3", "three"), "allowed");
    }
}

#[test]
fn a_repository_of_hash_bins_is_cloned_and_gone_on_with_beside_them() {
    let org = Org::new();
    publish_with(&org, SHAPES[0], true, Some(9));
    let cloned = clone(&org);
    assert!(cloned.contains("its keys sign for targets"), "{cloned}");
    org.ok("main", &["refresh"]);
    assert_eq!(org.sign("main", "r.test/tool:2", "two").code, 0);
    assert_eq!(org.verify("host", "r.test/tool:2", "two"), "allowed");
}

#[test]
fn a_repository_of_every_tool_is_cloned_and_gone_on_with_under_the_ids_that_its_root_lists() {
    for shape in SHAPES {
        let (name, org) = (shape.0, Org::new());
        let ids = publish(&org, shape);
        let cloned = clone(&org);
        assert!(
            cloned.contains("its keys sign for targets"),
            "{name}: {cloned}"
        );
        assert_eq!(org.sign("main", "r.test/tool:2", "two").code, 0, "{name}");
        assert_eq!(
            (
                signed_by(&org, "2.targets.json"),
                signed_by(&org, "timestamp.json")
            ),
            (vec![ids[3].clone()], vec![ids[1].clone()])
        );
        org.ok("main", &["refresh"]);
        let team = org.key("team", "team");
        org.ok(
            "main",
            &[
                "delegate",
                "add",
                "team",
                "--key",
                &team,
                "--paths",
                "r.test/team/**",
            ],
        );
        let status = org.json("main", &["status"]);
        assert!(
            status["roles"]
                .as_array()
                .unwrap()
                .iter()
                .take(4)
                .all(|role| role["keys"][0]["here"] == true),
            "{name}: {status}"
        );
        org.ok("main", &["rotate", "root", "--renew", "--threshold", "1"]);
        assert_eq!(signed_by(&org, "2.root.json"), [ids[0].clone()], "{name}");
        org.ok("main", &["rotate", "root"]);
        org.ok("main", &["rotate", "targets", "--keep", "--key", &team]);
        org.ok("main", &["rotate", "online"]);
        for host in ["slept", "new"] {
            assert_eq!(
                org.verify(host, "r.test/tool:2", "two"),
                "allowed",
                "{name}"
            );
        }
    }
}

#[test]
fn a_key_that_the_root_lists_already_stays_one_key_whoever_gives_it_again() {
    let org = Org::new();
    let shape = SHAPES
        .into_iter()
        .find(|(name, ..)| *name == "IDs that are names")
        .unwrap();
    publish(&org, shape);
    let (root, dir) = (
        org.path("place/1.root.json"),
        org.path("main").display().to_string(),
    );
    let sha256 = Digest::of(&fs::read(&root).unwrap()).hex();
    let clone = [
        "clone",
        &org.place(),
        &dir,
        "--root",
        &root.display().to_string(),
        "--sha256",
        &sha256,
        "--names",
        "r.test/**",
    ];
    org.ok("main", &clone);
    let public = org.path("main/keys/root.pub").display().to_string();
    let again = org.repo(
        "main",
        &[
            "rotate",
            "root",
            "--keep",
            "--key",
            &public,
            "--threshold",
            "2",
        ],
    );
    assert!(
        again.code == 2 && again.err.contains("root would have 1 keys"),
        "{again:?}"
    );
    // A ceremony signs under every ID by which either root lists the key.
    let proposal = org.path("proposal.json").display().to_string();
    org.ok(
        "main",
        &[
            "rotate",
            "targets",
            "--key",
            &public,
            "--propose",
            &proposal,
        ],
    );
    let file = org.path("main/keys/root.pem").display().to_string();
    org.ok(
        "-",
        &["rotate", "root", "--sign", &proposal, "--key-file", &file],
    );
    org.ok("main", &["rotate", "root", "--finish", &proposal]);
    assert_eq!(signed_by(&org, "2.root.json"), ["root-key-2026"]);
    assert_eq!(org.verify("host", "r.test/tool:1", "one"), "allowed");
}

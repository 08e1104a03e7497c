//! Repositories of The Update Framework in folders, signed by keys that numbers stand for.

use std::path::Path;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use rootpin_trust::canonical::{Limits, rewrite};
use rootpin_trust::image::Digest;
use serde_json::{Map, Value, json};

/// Whose key signs the targets of the root that this number stands for.
pub(super) fn targets_key(root: u8) -> u8 {
    root + 100
}

/// How a repository is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    None,
    /// Its timestamp ended before the grid's time.
    Expired,
    /// A key that the root does not list signed its targets.
    BadSignature,
}

/// The key as metadata lists it.
pub(super) fn listed(number: u8) -> (String, Value) {
    let public = json!({ "public": hex(pair(number).public_key().as_ref()) });
    (
        format!("key-{number}"),
        json!({ "keytype": "ed25519", "scheme": "ed25519", "keyval": public }),
    )
}

/// Writes a repository in which each name is these digests: what it stands for, and the platforms'
/// manifests. Returns its first root.
pub(super) fn write(
    folder: &Path,
    root: u8,
    names: &[(String, Digest, Vec<Digest>)],
    flaw: Flaw,
) -> Vec<u8> {
    let target = |(name, digest, manifests): &(String, Digest, Vec<Digest>)| {
        let manifests: Vec<String> = manifests.iter().map(ToString::to_string).collect();
        let target = json!({
            "length": 7, "hashes": { "sha256": digest.hex() }, "custom": { "rootpin": { "manifests": manifests } }
        });
        (name.clone(), target)
    };
    let signer = if flaw == Flaw::BadSignature {
        99
    } else {
        targets_key(root)
    };
    let signer = Signer {
        listed: targets_key(root),
        signs: signer,
    };
    let expires = if flaw == Flaw::Expired {
        "2029-12-01T00:00:00Z"
    } else {
        "2040-01-01T00:00:00Z"
    };
    let root = Signer {
        listed: root,
        signs: root,
    };
    let targets = file(
        &signer,
        "targets",
        "2040-01-01T00:00:00Z",
        json!({ "targets": names.iter().map(target).collect::<Map<_, _>>() }),
    );
    let snapshot = file(
        &root,
        "snapshot",
        "2040-01-01T00:00:00Z",
        json!({ "meta": { "targets.json": meta(&targets) } }),
    );
    let timestamp = file(
        &root,
        "timestamp",
        expires,
        json!({ "meta": { "snapshot.json": meta(&snapshot) } }),
    );
    let role = |number: u8| json!({ "keyids": [listed(number).0], "threshold": 1 });
    let (top, of_targets) = (role(root.listed), role(signer.listed));
    let keys: Map<_, _> = [root.listed, signer.listed]
        .into_iter()
        .map(listed)
        .collect();
    let first = file(
        &root,
        "root",
        "2040-01-01T00:00:00Z",
        json!({
            "consistent_snapshot": true, "keys": keys,
            "roles": { "root": top, "timestamp": top, "snapshot": top, "targets": of_targets },
        }),
    );
    std::fs::create_dir_all(folder).unwrap();
    for (name, bytes) in [
        ("1.root.json", &first),
        ("1.targets.json", &targets),
        ("1.snapshot.json", &snapshot),
        ("timestamp.json", &timestamp),
    ] {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    first
}

/// The key that a role lists, and the one that signs in its name.
struct Signer {
    listed: u8,
    signs: u8,
}

fn file(signer: &Signer, kind: &str, expires: &str, more: Value) -> Vec<u8> {
    let mut body = json!({
        "_type": kind, "spec_version": "1.0.31", "version": 1, "expires": expires
    });
    let (Value::Object(members), Value::Object(more)) = (&mut body, more) else {
        panic!("no objects");
    };
    members.extend(more);
    let limits = Limits {
        bytes: 1 << 16,
        depth: 16,
        values: 1000,
    };
    let message = rewrite(body.to_string().as_bytes(), limits).unwrap();
    let signature = json!({
        "keyid": listed(signer.listed).0, "sig": hex(pair(signer.signs).sign(&message).as_ref())
    });
    json!({ "signed": body, "signatures": [signature] })
        .to_string()
        .into_bytes()
}

fn meta(bytes: &[u8]) -> Value {
    json!({ "version": 1, "length": bytes.len(), "hashes": { "sha256": Digest::of(bytes).hex() } })
}

fn pair(number: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[number; 32]).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

//! Pins by command: nothing is pinned without a fingerprint that a person gave, and nothing of a
//! policy changes but what was meant.

mod add;
mod diff;
mod edit;
mod quorum;
mod refused;
mod revoke;
mod scan;
pub(crate) mod terminal;

use std::fs;

use serde_json::Value;

use crate::publisher::{Key, Publisher};
use crate::world::{Ended, GUN, Image, World};

/// A host whose policy pins the publisher's root, and which the publisher has rotated away from.
fn rotated(name: &str) -> Option<(World, Image)> {
    let world = World::new(name)?;
    let image = Image::named("signed");
    let mut publisher = world.sign(&image.index.digest);
    publisher.rotate_root(&[Key::named("new root")]);
    publisher.edit("root", keep_former);
    world.notary.publish(&publisher);
    Some((world, image))
}

/// As Notary does, which keeps the former root key's certificate among the keys.
fn keep_former(signed: &mut Value) {
    let former: Value =
        serde_json::from_slice(&Publisher::new(GUN).tree().files["root.json"]).unwrap();
    for (id, key) in former["signed"]["keys"].as_object().unwrap() {
        signed["keys"][id] = key.clone();
    }
}

impl World {
    /// `rootpin pin … --policy DIR`.
    fn pin(&self, words: &[&str]) -> Ended {
        let policy = self.path("policy").display().to_string();
        self.rootpin(&[&["pin"], words, &["--policy", &policy]].concat())
    }

    /// The same with `--json`.
    fn pin_json(&self, words: &[&str]) -> (Value, i32) {
        let ended = self.pin(&[words, &["--json"]].concat());
        let value: Value =
            serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
        assert_eq!(value["version"], 1, "{ended:?}");
        (value, ended.code)
    }

    /// Every file of the policy's folder, with its text.
    fn policy_files(&self) -> Vec<(String, String)> {
        let mut files = Vec::new();
        for folder in ["policy", "policy/policy.d", "policy/roots"] {
            let Ok(entries) = fs::read_dir(self.path(folder)) else {
                continue;
            };
            for entry in entries
                .map(Result::unwrap)
                .filter(|entry| entry.file_type().unwrap().is_file())
            {
                let name = format!("{folder}/{}", entry.file_name().display());
                files.push((name, fs::read_to_string(entry.path()).unwrap()));
            }
        }
        files.sort();
        files
    }

    /// Judges v1 of [`GUN`] here, with what was seen kept: the code of the refusal, or nothing, and
    /// the hint.
    fn judge(&self, image: &Image) -> (Option<String>, String) {
        let (policy, state) = (
            self.path("policy").display().to_string(),
            self.path("ci").display().to_string(),
        );
        let name = format!("{GUN}:v1@{}", image.index.digest);
        let (value, _) =
            self.rootpin_json(&["verify", &name, "--policy", &policy, "--state", &state]);
        (
            value["code"].as_str().map(str::to_owned),
            value["hint"].as_str().unwrap_or_default().to_owned(),
        )
    }

    fn server(&self) -> String {
        format!("http://127.0.0.1:{}", self.notary.port)
    }
}

/// `SHA256:…` of a key, as openssl would give it.
fn fingerprint(key: &Key) -> String {
    use base64::Engine as _;
    let pem = key.public_pem();
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let spki = base64::engine::general_purpose::STANDARD
        .decode(body)
        .unwrap();
    format!(
        "SHA256:{}",
        base64::engine::general_purpose::STANDARD_NO_PAD
            .encode(rootpin_trust::image::Digest::of(&spki).as_bytes())
    )
}

/// TUF root files of ed25519 keys that numbers stand for.
mod tuf {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    use rootpin_trust::canonical::{Limits, rewrite};
    use serde_json::{Value, json};

    fn hex(bytes: &[u8]) -> String {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<Vec<_>>()
            .concat()
    }

    fn pair(number: u8) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[number; 32]).unwrap()
    }

    /// The root file of that version whose root role has these keys, signed by those.
    pub(super) fn root(version: u64, keys: &[u8], signers: &[u8]) -> Vec<u8> {
        let key = |number: &u8| {
            let public = json!({ "public": hex(pair(*number).public_key().as_ref()) });
            (
                format!("key-{number}"),
                json!({ "keytype": "ed25519", "scheme": "ed25519", "keyval": public }),
            )
        };
        let ids: Vec<String> = keys.iter().map(|number| format!("key-{number}")).collect();
        let role = json!({ "keyids": ids, "threshold": 1 });
        let signed = json!({
            "_type": "root", "spec_version": "1.0.31", "version": version, "expires": "2040-01-01T00:00:00Z", "consistent_snapshot": true,
            "keys": keys.iter().map(key).collect::<serde_json::Map<String, Value>>(),
            "roles": { "root": role, "timestamp": role, "snapshot": role, "targets": role },
        });
        let message = rewrite(
            signed.to_string().as_bytes(),
            Limits {
                bytes: 1 << 16,
                depth: 16,
                values: 1000,
            },
        )
        .unwrap();
        let sign = |number: &u8| json!({ "keyid": format!("key-{number}"), "sig": hex(pair(*number).sign(&message).as_ref()) });
        json!({ "signed": signed, "signatures": signers.iter().map(sign).collect::<Vec<_>>() })
            .to_string()
            .into_bytes()
    }
}

/// The publisher's root key, which the policy of [`World`] pins.
fn old_root() -> Key {
    Publisher::new(GUN).root_key()
}

//! A Notary v1 publisher for tests: makes good metadata, and hostile metadata to order.
//!
//! ```ignore
//! let mut publisher = Publisher::new("registry.test/team/app");       // root, targets, targets/releases, snapshot, timestamp: all version 1
//! publisher.tag("v1", "sha256:…", 1234);                              // into targets/releases
//! let tree = publisher.tree();                                        // every file by its name below _trust/tuf/
//! tree.write(&folder, "registry.test/team/app");                      // folder/v2/GUN/_trust/tuf/…: serve the folder, that's a Notary server
//! publisher.root_key().id()                                           // the canonical key ID to pin
//! publisher.root_key().public_pem()                                   // or the PEM file to pin
//! publisher.tick();                                                   // all but root a version higher
//! publisher.rotate_root(&[Key::named("new root")]);                // next root version, signed by old and new keys
//! publisher.role("targets/releases").expires = "2020-01-01T00:00:00Z"; // expired
//! publisher.role("targets").signers = Some(vec![]);                   // unsigned
//! publisher.remove("targets/releases");                               // vanished: not in targets, not in the snapshot
//! publisher.forget("targets/releases");                               // still delegated, but not in the snapshot
//! publisher.edit("targets", |signed| signed["version"] = "1".into()); // any other change, before it is signed
//! let mut tree = publisher.tree(); tree.files.remove("timestamp.json");
//! ```
//!
//! Everything is deterministic: a key is made of its name. Nothing here is secret.

#![allow(
    dead_code,
    unreachable_pub,
    missing_debug_implementations,
    reason = "each test binary uses its part"
)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::must_use_candidate,
    reason = "a broken test should stop at once"
)]

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256, Sha512};

/// When metadata expires unless told otherwise.
pub const FAR: &str = "2036-01-01T00:00:00Z";

/// A P-256 key pair.
#[derive(Clone)]
pub struct Key(SigningKey);

/// A key as roles list it: bare, or in a certificate.
#[derive(Clone)]
pub struct Listed {
    pub key: Key,
    json: Value,
}

/// One role: who may sign, and what its file says.
#[derive(Clone)]
pub struct Role {
    pub keys: Vec<Listed>,
    pub threshold: u64,
    pub version: u64,
    pub expires: &'static str,
    /// Who signs; `None`: all of `keys`.
    pub signers: Option<Vec<Listed>>,
    /// Of targets roles: tag to sha256 (hex) and length.
    pub targets: BTreeMap<String, (String, u64)>,
    /// Of delegations: the path prefixes.
    pub paths: Vec<&'static str>,
    in_snapshot: bool,
    edit: Option<fn(&mut Value)>,
}

/// One repository.
#[derive(Clone)]
pub struct Publisher {
    pub gun: String,
    /// `root`, `timestamp`, `snapshot`, `targets`, `targets/…`
    pub roles: BTreeMap<String, Role>,
    /// Former root files by version.
    pub old_roots: BTreeMap<u64, Vec<u8>>,
    /// Keys of the former root, which sign the present one too.
    pub former: Vec<Listed>,
}

/// The files of a repository by their names below `_trust/tuf/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Key {
    /// The key of that name.
    pub fn named(name: &str) -> Self {
        Self(SigningKey::from_slice(&Sha256::digest(name)).unwrap())
    }

    /// The key of which each byte is this one.
    #[allow(dead_code, reason = "few share a key with other signatures")]
    pub fn of_seed(seed: u8) -> Self {
        Self(SigningKey::from_slice(&[seed; 32]).unwrap())
    }

    /// Its canonical key ID.
    pub fn id(&self) -> String {
        self.bare().id()
    }

    /// PEM of its public part.
    pub fn public_pem(&self) -> String {
        pem("PUBLIC KEY", &self.spki())
    }

    /// As a bare `ecdsa` key.
    pub fn bare(&self) -> Listed {
        let public = STANDARD.encode(self.spki());
        Listed {
            key: self.clone(),
            json: json!({"keytype": "ecdsa", "keyval": {"private": null, "public": public}}),
        }
    }

    /// In a certificate of that common name, good until 2049.
    pub fn certificate(&self, common_name: &str) -> Listed {
        self.certificate_until(common_name, 1, "491231235959Z")
    }

    /// In a certificate of that common name, serial number and end (`YYMMDDhhmmssZ`).
    pub fn certificate_until(&self, common_name: &str, serial: u8, not_after: &str) -> Listed {
        let public = STANDARD.encode(pem(
            "CERTIFICATE",
            &self.certificate_der(common_name, serial, not_after),
        ));
        Listed {
            key: self.clone(),
            json: json!({"keytype": "ecdsa-x509", "keyval": {"private": null, "public": public}}),
        }
    }

    fn spki(&self) -> Vec<u8> {
        let algorithm = [
            0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
            0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07,
        ];
        der(
            0x30,
            &[
                &algorithm,
                &der(
                    0x03,
                    &[&[0], self.0.verifying_key().to_sec1_point(false).as_bytes()],
                ),
            ],
        )
    }

    fn certificate_der(&self, common_name: &str, serial: u8, not_after: &str) -> Vec<u8> {
        let algorithm = der(
            0x30,
            &[&[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02]],
        );
        let attribute = der(
            0x30,
            &[
                &[0x06, 0x03, 0x55, 0x04, 0x03],
                &der(0x0c, &[common_name.as_bytes()]),
            ],
        );
        let name = der(0x30, &[&der(0x31, &[&attribute])]);
        let validity = der(
            0x30,
            &[
                &der(0x17, &[b"200101000000Z"]),
                &der(0x17, &[not_after.as_bytes()]),
            ],
        );
        let version = der(0xa0, &[&[0x02, 0x01, 0x02]]);
        let body = der(
            0x30,
            &[
                &version,
                &[0x02, 0x01, serial],
                &algorithm,
                &name,
                &validity,
                &name,
                &self.spki(),
            ],
        );
        let signature: Signature = self.0.sign(&body);
        der(
            0x30,
            &[
                &body,
                &algorithm,
                &der(0x03, &[&[0], signature.to_der().as_bytes()]),
            ],
        )
    }
}

impl Listed {
    /// The Ed25519 key of a PEM file, which can't sign here.
    pub fn ed25519(public_pem: &str) -> Self {
        let body: String = public_pem
            .lines()
            .filter(|line| !line.starts_with('-'))
            .collect();
        let spki = STANDARD.decode(body).unwrap();
        let public = STANDARD.encode(&spki[spki.len() - 32..]);
        Self {
            key: Key::named("nobody"),
            json: json!({"keytype": "ed25519", "keyval": {"private": null, "public": public}}),
        }
    }

    /// The PEM text of a certificate.
    pub fn public_pem(&self) -> String {
        String::from_utf8(
            STANDARD
                .decode(self.json["keyval"]["public"].as_str().unwrap())
                .unwrap(),
        )
        .unwrap()
    }

    /// The ID that roles list and signatures name.
    pub fn id(&self) -> String {
        hex(&Sha256::digest(canonical(&self.json)))
    }
}

impl Role {
    /// A role with those keys, version 1, threshold 1.
    pub fn new(keys: Vec<Listed>) -> Self {
        Self {
            keys,
            threshold: 1,
            version: 1,
            expires: FAR,
            signers: None,
            targets: BTreeMap::new(),
            paths: vec![""],
            in_snapshot: true,
            edit: None,
        }
    }
}

impl Publisher {
    /// A repository with one key for each role, named `GUN ROLE`, and the root key in a certificate
    /// of the GUN.
    pub fn new(gun: &str) -> Self {
        let roles = ["timestamp", "snapshot", "targets", "targets/releases"];
        let mut roles: BTreeMap<_, _> = roles
            .into_iter()
            .map(|role| {
                (
                    role.to_owned(),
                    Role::new(vec![Key::named(&format!("{gun} {role}")).bare()]),
                )
            })
            .collect();
        roles.insert(
            "root".to_owned(),
            Role::new(vec![Key::named(&format!("{gun} root")).certificate(gun)]),
        );
        Self {
            gun: gun.to_owned(),
            roles,
            old_roots: BTreeMap::new(),
            former: Vec::new(),
        }
    }

    /// The first key of the root role.
    pub fn root_key(&self) -> Key {
        self.roles["root"].keys[0].key.clone()
    }

    /// A role, to change it.
    pub fn role(&mut self, name: &str) -> &mut Role {
        self.roles.get_mut(name).unwrap()
    }

    /// Adds a delegation, as `targets/releases/nightly`.
    pub fn delegate(&mut self, name: &str, keys: Vec<Listed>, paths: Vec<&'static str>) {
        self.roles.insert(
            name.to_owned(),
            Role {
                paths,
                ..Role::new(keys)
            },
        );
    }

    /// Maps a tag in `targets/releases`; `digest` is `sha256:…` or bare hex.
    pub fn tag(&mut self, tag: &str, digest: &str, length: u64) {
        self.tag_in("targets/releases", tag, digest, length);
    }

    /// Maps a tag in that role.
    pub fn tag_in(&mut self, role: &str, tag: &str, digest: &str, length: u64) {
        let hex = digest.trim_start_matches("sha256:").to_owned();
        assert_eq!(hex.len(), 64, "{digest}");
        self.role(role)
            .targets
            .insert(tag.to_owned(), (hex, length));
    }

    /// All roles but root get the next version.
    pub fn tick(&mut self) {
        self.roles
            .iter_mut()
            .filter(|(name, _)| *name != "root")
            .for_each(|(_, role)| role.version += 1);
    }

    /// Files the present root away and makes the next version; signed by the present keys as well
    /// as by its own. Snapshot and timestamp get their next version too, for they name it.
    pub fn next_root(&mut self) -> &mut Role {
        let bytes = self.root();
        self.role("snapshot").version += 1;
        self.role("timestamp").version += 1;
        let root = self.roles.get_mut("root").unwrap();
        self.old_roots.insert(root.version, bytes);
        self.former.clone_from(&root.keys);
        root.version += 1;
        root
    }

    /// The next version of root with these keys.
    pub fn rotate_root(&mut self, keys: &[Key]) {
        let gun = self.gun.clone();
        self.next_root().keys = keys.iter().map(|key| key.certificate(&gun)).collect();
    }

    /// The next version of root, with these keys for a role that it lists. The role's other state
    /// stays.
    pub fn rotate(&mut self, role: &str, keys: &[Key]) {
        self.next_root();
        self.role(role).keys = keys.iter().map(Key::bare).collect();
    }

    /// Takes a role away, from its delegator and from the snapshot.
    pub fn remove(&mut self, role: &str) {
        self.roles.remove(role);
    }

    /// Takes a role out of the snapshot only.
    pub fn forget(&mut self, role: &str) {
        self.role(role).in_snapshot = false;
    }

    /// Changes what a role signs, whatever it is; kept for all later trees.
    pub fn edit(&mut self, role: &str, edit: fn(&mut Value)) {
        self.role(role).edit = Some(edit);
    }

    /// All files, under their current, versioned and hash names.
    pub fn tree(&self) -> Tree {
        let mut files = BTreeMap::new();
        let root = self.root();
        let mut meta = serde_json::Map::new();
        meta.insert("root".to_owned(), file_meta(&root));
        files.extend(
            self.old_roots
                .iter()
                .map(|(version, bytes)| (format!("{version}.root.json"), bytes.clone())),
        );
        files.insert(
            format!("{}.root.json", self.roles["root"].version),
            root.clone(),
        );
        files.insert("root.json".to_owned(), root);
        for (name, role) in self
            .roles
            .iter()
            .filter(|(name, _)| name.starts_with("targets"))
        {
            let bytes = self.targets(name);
            if role.in_snapshot {
                meta.insert(name.clone(), file_meta(&bytes));
            }
            add(&mut files, name, bytes);
        }
        let snapshot = self.signed("snapshot", json!({"_type": "Snapshot", "meta": meta}), &[]);
        let timestamp = self.signed(
            "timestamp",
            json!({"_type": "Timestamp", "meta": {"snapshot": file_meta(&snapshot)}}),
            &[],
        );
        add(&mut files, "snapshot", snapshot);
        files.insert("timestamp.json".to_owned(), timestamp);
        Tree { files }
    }

    fn root(&self) -> Vec<u8> {
        let listed = |name: &str| &self.roles[name];
        let roles: serde_json::Map<_, _> = ["root", "timestamp", "snapshot", "targets"]
            .into_iter()
            .filter(|name| self.roles.contains_key(*name))
            .map(|name| {
                (
                    name.to_owned(),
                    json!({"keyids": ids(&listed(name).keys), "threshold": listed(name).threshold}),
                )
            })
            .collect();
        let keys = key_map(roles.keys().flat_map(|name| &listed(name).keys));
        self.signed(
            "root",
            json!({"_type": "Root", "consistent_snapshot": false, "keys": keys, "roles": roles}),
            &self.former,
        )
    }

    fn targets(&self, name: &str) -> Vec<u8> {
        let role = &self.roles[name];
        let targets: serde_json::Map<_, _> = role
            .targets
            .iter()
            .map(|(tag, (digest, length))| {
                (
                    tag.clone(),
                    json!({"hashes": {"sha256": STANDARD.encode(unhex(digest))}, "length": length}),
                )
            })
            .collect();
        let child = |other: &&String| {
            other
                .rsplit_once('/')
                .is_some_and(|(parent, _)| parent == name)
        };
        let children: Vec<_> = self.roles.keys().filter(child).collect();
        let roles: Vec<_> = children
            .iter()
            .map(|child| {
                let role = &self.roles[*child];
                json!({"name": child, "keyids": ids(&role.keys), "threshold": role.threshold, "paths": role.paths})
            })
            .collect();
        let keys = key_map(children.iter().flat_map(|child| &self.roles[*child].keys));
        self.signed(name, json!({"_type": "Targets", "delegations": {"keys": keys, "roles": roles}, "targets": targets}), &[])
    }

    fn signed(&self, name: &str, mut signed: Value, also: &[Listed]) -> Vec<u8> {
        let role = &self.roles[name];
        signed["version"] = role.version.into();
        signed["expires"] = role.expires.into();
        if let Some(edit) = role.edit {
            edit(&mut signed);
        }
        let mut signers: BTreeMap<String, &Listed> = role
            .signers
            .as_ref()
            .unwrap_or(&role.keys)
            .iter()
            .map(|key| (key.id(), key))
            .collect();
        signers.extend(also.iter().map(|key| (key.id(), key)));
        sign(&signed, signers.into_values())
    }
}

impl Tree {
    /// Writes the tree where a Notary server has it: `folder/v2/GUN/_trust/tuf/…`.
    pub fn write(&self, folder: &Path, gun: &str) {
        let base = folder.join("v2").join(gun).join("_trust/tuf");
        let _ = std::fs::remove_dir_all(&base);
        for (name, bytes) in &self.files {
            let path = base.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }
}

/// A file of these signed members with signatures of these keys.
pub fn sign<'a>(signed: &Value, keys: impl Iterator<Item = &'a Listed>) -> Vec<u8> {
    let message = canonical(signed);
    let signatures: Vec<_> = keys
        .map(|listed| {
            let signature: Signature = listed.key.0.sign(&message);
            json!({"keyid": listed.id(), "method": "ecdsa", "sig": STANDARD.encode(signature.to_bytes())})
        })
        .collect();
    [
        b"{\"signed\":",
        &message[..],
        b",\"signatures\":",
        &serde_json::to_vec(&signatures).unwrap(),
        b"}",
    ]
    .concat()
}

/// Length and hashes of a file.
pub fn file_meta(bytes: &[u8]) -> Value {
    json!({"length": bytes.len(), "hashes": {"sha256": STANDARD.encode(Sha256::digest(bytes)), "sha512": STANDARD.encode(Sha512::digest(bytes))}})
}

fn add(files: &mut BTreeMap<String, Vec<u8>>, role: &str, bytes: Vec<u8>) {
    files.insert(
        format!("{role}.{}.json", hex(&Sha256::digest(&bytes))),
        bytes.clone(),
    );
    files.insert(format!("{role}.json"), bytes);
}

fn ids(keys: &[Listed]) -> Vec<String> {
    keys.iter().map(Listed::id).collect()
}

fn key_map<'a>(keys: impl Iterator<Item = &'a Listed>) -> serde_json::Map<String, Value> {
    keys.map(|key| (key.id(), key.json.clone())).collect()
}

/// Canonical JSON; these values hold nothing but plain text and whole numbers.
fn canonical(value: &Value) -> Vec<u8> {
    let text = serde_json::to_vec(value).unwrap();
    let limits = rootpin_trust::canonical::Limits {
        bytes: usize::MAX,
        depth: 50,
        values: usize::MAX,
    };
    rootpin_trust::canonical::rewrite(&text, limits).unwrap()
}

/// Go's layout: lines of 64.
fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines = text
        .as_bytes()
        .chunks(64)
        .fold(String::new(), |lines, line| {
            lines + str::from_utf8(line).unwrap() + "\n"
        });
    format!("-----BEGIN {label}-----\n{lines}-----END {label}-----\n")
}

fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = match content.len() {
        short @ 0..0x80 => vec![u8::try_from(short).unwrap()],
        length => [&[0x82][..], &u16::try_from(length).unwrap().to_be_bytes()].concat(),
    };
    // Two length bytes where one would do is not DER.
    let length = if let [0x82, 0, low] = length[..] {
        vec![0x81, low]
    } else {
        length
    };
    [&[tag][..], &length, &content].concat()
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

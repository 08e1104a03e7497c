//! A publisher that signs whatever a test wants signed, and a host that looks at it.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use rootpin_trust::canonical::{Limits, rewrite};
use rootpin_trust::image::Digest;

pub(crate) const NOW: &str = "2030-01-01T00:00:00Z";
pub(super) const EXPIRES: &str = "2030-02-01T00:00:00Z";

pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// Numbers stand for keys.
fn pair(key: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[key; 32]).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

pub(super) fn key(key: u8) -> Value {
    json!({ "keytype": "ed25519", "scheme": "ed25519", "keyval": { "public": hex(pair(key).public_key().as_ref()) } })
}

pub(super) fn keys(keys: &[u8]) -> Value {
    keys.iter()
        .map(|number| (format!("key-{number}"), key(*number)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

pub(super) fn role(keys: &[u8], threshold: u64) -> Value {
    json!({ "keyids": keys.iter().map(|key| format!("key-{key}")).collect::<Vec<_>>(), "threshold": threshold })
}

pub(super) fn sign(signed: &Value, keys: &[u8]) -> Vec<u8> {
    let limits = Limits {
        bytes: 1 << 24,
        depth: 32,
        values: 1 << 20,
    };
    let message = rewrite(signed.to_string().as_bytes(), limits).unwrap();
    let signature = |key: &u8| json!({ "keyid": format!("key-{key}"), "sig": hex(pair(*key).sign(&message).as_ref()) });
    let file =
        json!({ "signed": signed, "signatures": keys.iter().map(signature).collect::<Vec<_>>() });
    serde_json::to_vec_pretty(&file).unwrap()
}

pub(crate) fn target(content: &str) -> Value {
    json!({ "length": content.len(), "hashes": { "sha256": Digest::of(content.as_bytes()).hex() } })
}

/// Targets, delegations and keys of a delegated role.
type Delegated = (BTreeMap<String, Value>, Option<Value>, Vec<u8>);

/// A repository; change what a test is about, and publish.
#[derive(Clone)]
pub(crate) struct Publisher {
    pub(crate) root: Vec<u8>,
    pub(crate) timestamp: Vec<u8>,
    pub(super) snapshot: Vec<u8>,
    pub(super) targets: Vec<u8>,
    pub(crate) versions: BTreeMap<String, u64>,
    pub(super) expires: BTreeMap<String, String>,
    pub(super) consistent: bool,
    pub(crate) names: BTreeMap<String, Value>,
    pub(super) delegations: Option<Value>,
    pub(super) delegated: BTreeMap<String, Delegated>,
    pub(crate) files: Files,
    /// What the newest snapshot lists.
    listed: serde_json::Map<String, Value>,
}

impl Publisher {
    pub(crate) fn new() -> Self {
        let names = BTreeMap::from([("r.example/app:1".to_owned(), target("one"))]);
        let mut publisher = Self {
            root: vec![1],
            timestamp: vec![2],
            snapshot: vec![3],
            targets: vec![4],
            versions: BTreeMap::new(),
            expires: BTreeMap::new(),
            consistent: true,
            names,
            delegations: None,
            delegated: BTreeMap::new(),
            files: Files::new(),
            listed: serde_json::Map::new(),
        };
        publisher.publish_root(&[]);
        publisher.publish();
        publisher
    }

    fn head(&mut self, role: &str, kind: &str) -> Value {
        let version = self
            .versions
            .entry(role.to_owned())
            .and_modify(|version| *version += 1)
            .or_insert(1);
        let expires = self.expires.get(role).map_or(EXPIRES, String::as_str);
        json!({ "_type": kind, "spec_version": "1.0.34", "version": *version, "expires": expires })
    }

    /// The next root file, signed by its own keys and by those.
    pub(crate) fn publish_root(&mut self, also: &[u8]) {
        let mut signed = self.head("root", "root");
        let all: Vec<u8> = [&self.root, &self.timestamp, &self.snapshot, &self.targets]
            .into_iter()
            .flatten()
            .copied()
            .collect();
        let all = all
            .into_iter()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>();
        signed["keys"] = keys(&all);
        signed["consistent_snapshot"] = self.consistent.into();
        signed["roles"] = json!({
            "root": role(&self.root, 1), "timestamp": role(&self.timestamp, 1), "snapshot": role(&self.snapshot, 1), "targets": role(&self.targets, 1),
        });
        let signers: Vec<u8> = self
            .root
            .iter()
            .chain(also)
            .copied()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        self.files.insert(
            format!("{}.root.json", self.versions["root"]),
            sign(&signed, &signers),
        );
    }

    fn versioned(&self, role: &str) -> String {
        if self.consistent {
            format!("{}.{role}.json", self.versions[role])
        } else {
            format!("{role}.json")
        }
    }

    /// The next version of everything below the root.
    pub(crate) fn publish(&mut self) {
        self.listed.clear();
        let mut roles: Vec<_> = self.delegated.clone().into_iter().collect();
        roles.push((
            "targets".to_owned(),
            (
                self.names.clone(),
                self.delegations.clone(),
                self.targets.clone(),
            ),
        ));
        for (name, role) in roles {
            self.sign_role(&name, role);
        }
        self.publish_snapshot(&self.listed.clone().into());
    }

    /// The next version of one delegated role, of the snapshot and of the timestamp.
    pub(crate) fn publish_delegated(&mut self, name: &str) {
        let role = self.delegated[name].clone();
        self.sign_role(name, role);
        self.publish_snapshot(&self.listed.clone().into());
    }

    fn sign_role(&mut self, name: &str, (targets, delegations, signers): Delegated) {
        let mut signed = self.head(name, "targets");
        signed["targets"] = json!(targets);
        if let Some(delegations) = delegations {
            signed["delegations"] = delegations;
        }
        let bytes = sign(&signed, &signers);
        self.listed.insert(
            format!("{name}.json"),
            json!({ "version": self.versions[name], "length": bytes.len(), "hashes": { "sha256": Digest::of(&bytes).hex() } }),
        );
        self.files.insert(self.versioned(name), bytes);
    }

    /// The next snapshot with that `meta`, and its timestamp.
    pub(super) fn publish_snapshot(&mut self, meta: &Value) {
        let mut snapshot = self.head("snapshot", "snapshot");
        snapshot["meta"] = meta.clone();
        let bytes = sign(&snapshot, &self.snapshot.clone());
        self.files.insert(self.versioned("snapshot"), bytes);
        self.publish_timestamp();
    }

    pub(super) fn publish_timestamp(&mut self) {
        let mut timestamp = self.head("timestamp", "timestamp");
        timestamp["meta"] = json!({ "snapshot.json": { "version": self.versions["snapshot"] } });
        self.files.insert(
            "timestamp.json".to_owned(),
            sign(&timestamp, &self.timestamp.clone()),
        );
    }

    /// Delegates to a role of one key, which names one tag.
    pub(crate) fn delegate(
        &mut self,
        name: &str,
        key_of_role: u8,
        patterns: &[&str],
        tag: (&str, &str),
        terminating: bool,
    ) {
        let delegations = self
            .delegations
            .get_or_insert_with(|| json!({ "keys": {}, "roles": [] }));
        delegations["keys"][format!("key-{key_of_role}")] = key(key_of_role);
        let mut listing = role(&[key_of_role], 1);
        listing["name"] = name.into();
        listing["paths"] = json!(patterns);
        listing["terminating"] = terminating.into();
        delegations["roles"].as_array_mut().unwrap().push(listing);
        let targets = BTreeMap::from([(tag.0.to_owned(), target(tag.1))]);
        self.delegated
            .insert(name.to_owned(), (targets, None, vec![key_of_role]));
    }
}

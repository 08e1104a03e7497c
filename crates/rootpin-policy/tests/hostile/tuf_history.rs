//! An honest repository of The Update Framework, with one tenant who is not.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rootpin_trust::canonical::{Limits, rewrite};
use rootpin_trust::image::Digest;
use serde_json::{Value, json};

use crate::history::{Files, History, HonestFile, Publication, later, time};
use crate::steps::Random;
use crate::tuf_publisher::{key, keys, role, sign, target};

/// Numbers of keys.
pub(crate) const FIRST_ROOT_KEYS: [u8; 3] = [1, 2, 3];
pub(crate) const FIRST_TARGETS_KEYS: [u8; 2] = [11, 12];
pub(crate) const TENANT_KEY: u8 = 51;
pub(crate) const ATTACKER_KEY: u8 = 91;
const FIRST_TIMESTAMP_KEY: u8 = 21;
const FIRST_SNAPSHOT_KEY: u8 = 31;
const FIRST_TEAM_KEY: u8 = 41;

pub(crate) const APP: &str = "r.example/app:1";
pub(crate) const BOTH: &str = "both.example/app:1";
pub(crate) const TEAM: &str = "r.example/team/app:1";
pub(crate) const TENANT: &str = "r.example/tenant/app:1";
pub(crate) const EVIL: &str = "evil";

const PUBLICATIONS: usize = 10;

/// The repository while its history is made.
struct Publisher {
    random: Random,
    consistent: bool,
    /// Whether length and hash are listed too.
    hashes: bool,
    root: Vec<u8>,
    targets: Vec<u8>,
    timestamp: u8,
    snapshot: u8,
    team: u8,
    versions: BTreeMap<String, u64>,
    names: BTreeMap<String, Value>,
    team_names: BTreeMap<String, Value>,
    /// What the tenant publishes.
    tenant: usize,
    /// What the snapshot lists.
    listed: serde_json::Map<String, Value>,
    files: Files,
    history: History,
    contents: usize,
}

/// The history of a seed.
pub(crate) fn history(seed: u64) -> History {
    let mut random = Random::new(seed);
    let mut publisher = Publisher {
        consistent: random.chance(60),
        hashes: random.chance(50),
        random,
        root: FIRST_ROOT_KEYS.to_vec(),
        targets: FIRST_TARGETS_KEYS.to_vec(),
        timestamp: FIRST_TIMESTAMP_KEY,
        snapshot: FIRST_SNAPSHOT_KEY,
        team: FIRST_TEAM_KEY,
        versions: BTreeMap::new(),
        names: BTreeMap::new(),
        team_names: BTreeMap::new(),
        tenant: 0,
        listed: serde_json::Map::new(),
        files: Files::new(),
        history: History::default(),
        contents: 0,
    };
    publisher.begin();
    while publisher.history.publications.len() < PUBLICATIONS {
        publisher.next();
    }
    publisher.history
}

/// A file's members that every role has.
pub(crate) fn head(kind: &str, version: u64, expires: Timestamp) -> Value {
    json!({ "_type": kind, "spec_version": "1.0.34", "version": version, "expires": expires.to_string() })
}

/// What a snapshot lists of a file.
pub(crate) fn listing(version: u64, bytes: Option<&[u8]>) -> Value {
    match bytes {
        Some(bytes) => {
            json!({ "version": version, "length": bytes.len(), "hashes": { "sha256": Digest::of(bytes).hex() } })
        }
        None => json!({ "version": version }),
    }
}

impl Publisher {
    fn begin(&mut self) {
        self.move_tag();
        self.team_names.insert(TEAM.to_owned(), target("team-0"));
        self.sign_root(&[]);
        self.sign_targets();
        self.sign_team();
        self.sign_tenant();
        self.end();
    }

    fn next(&mut self) {
        match self.random.below(10) {
            0 | 1 => {
                self.move_tag();
                self.sign_targets();
            }
            2 => {
                self.names.remove(APP);
                self.sign_targets();
            }
            3 => {
                let content = self.content("team");
                self.team_names.insert(TEAM.to_owned(), target(&content));
                self.sign_team();
            }
            4 => {
                self.timestamp += 1;
                self.snapshot += 1;
                self.sign_root(&[]);
            }
            5 => {
                let (former, next) = (self.root.clone(), self.root[2] + 1);
                self.root = vec![former[1], former[2], next];
                self.sign_root(&former[..2]);
            }
            6 => {
                self.targets = self.targets.iter().map(|key| key + 2).collect();
                self.move_tag();
                self.sign_root(&[]);
                self.sign_targets();
            }
            7 => {
                self.team += 1;
                self.sign_targets();
                self.sign_team();
            }
            8 => {
                self.tenant = self.random.below(9);
                self.sign_tenant();
            }
            // The timestamp alone.
            _ => {
                self.sign_timestamp();
                self.record();
                return;
            }
        }
        self.end();
    }

    fn content(&mut self, kind: &str) -> String {
        self.contents += 1;
        format!("{kind}-{}", self.contents)
    }

    fn move_tag(&mut self) {
        let content = self.content("app");
        self.names.insert(APP.to_owned(), target(&content));
        self.names.insert(BOTH.to_owned(), target(&content));
    }

    fn now(&self) -> Timestamp {
        time(self.history.publications.len())
    }

    fn version(&mut self, name: &str) -> u64 {
        let version = self.versions.entry(name.to_owned()).or_insert(0);
        *version += 1;
        *version
    }

    /// Some files expire soon: an answer must end with them.
    fn expiry(&mut self) -> Timestamp {
        later(
            self.now(),
            if self.random.chance(30) {
                6 * 24
            } else {
                60 * 24
            },
        )
    }

    fn sign_root(&mut self, also: &[u8]) {
        let version = self.version("root");
        let expires = later(self.now(), 400 * 24);
        let mut signed = head("root", version, expires);
        let all = [
            &self.root,
            &self.targets,
            &vec![self.timestamp, self.snapshot],
        ];
        let all: BTreeSet<u8> = all.into_iter().flatten().copied().collect();
        signed["keys"] = keys(&all.into_iter().collect::<Vec<_>>());
        signed["consistent_snapshot"] = self.consistent.into();
        signed["roles"] = json!({
            "root": role(&self.root, 2), "targets": role(&self.targets, 2),
            "timestamp": role(&[self.timestamp], 1), "snapshot": role(&[self.snapshot], 1),
        });
        let signers: BTreeSet<u8> = self.root[..2]
            .iter()
            .chain(&self.root[1..])
            .chain(also)
            .copied()
            .collect();
        let bytes = sign(&signed, &signers.into_iter().collect::<Vec<_>>());
        self.keep("root", version, &signed, expires);
        self.files.insert(format!("{version}.root.json"), bytes);
    }

    fn sign_targets(&mut self) {
        let mut delegations = json!({ "keys": keys(&[self.team, TENANT_KEY]), "roles": [] });
        let roles = [
            ("tenant", TENANT_KEY, "r.example/tenant/*"),
            ("team", self.team, "r.example/team/*"),
        ];
        for (name, key, pattern) in roles {
            let mut listing = role(&[key], 1);
            listing["name"] = name.into();
            listing["paths"] = json!([pattern]);
            listing["terminating"] = false.into();
            delegations["roles"].as_array_mut().unwrap().push(listing);
        }
        let (names, signers) = (self.names.clone(), self.targets.clone());
        self.sign_names("targets", &names, Some(delegations), &signers);
    }

    fn sign_team(&mut self) {
        let (names, signers) = (self.team_names.clone(), [self.team]);
        self.sign_names("team", &names, None, &signers);
    }

    fn sign_names(
        &mut self,
        name: &str,
        names: &BTreeMap<String, Value>,
        delegations: Option<Value>,
        signers: &[u8],
    ) {
        let (version, expires) = (self.version(name), self.expiry());
        let mut signed = head("targets", version, expires);
        signed["targets"] = json!(names);
        if let Some(delegations) = delegations {
            signed["delegations"] = delegations;
        }
        self.keep(name, version, &signed, expires);
        self.put(name, version, sign(&signed, signers));
    }

    /// The tenant has its own key, and the publisher takes what it sends.
    fn sign_tenant(&mut self) {
        let content = self.content("tenant");
        let mut names = json!({ TENANT: target(&content) });
        let others = json!({ APP: target(EVIL), TEAM: target(EVIL), BOTH: target(EVIL), TENANT: target(EVIL) });
        let mut version = self.version("tenant");
        let (mut expires, mut key_of_file, mut delegations) =
            (later(self.now(), 90 * 24), TENANT_KEY, None);
        match self.tenant {
            1 => names = others,
            2 => {
                // Further roles, which claim everything, and the names of others.
                let mut roles = Vec::new();
                for name in ["team", "targets", "sub", "tenant"] {
                    let mut listing = role(&[TENANT_KEY], 1);
                    listing["name"] = name.into();
                    listing["paths"] = json!(["*", "*/*", "r.example/*", "r.example/team/*"]);
                    listing["terminating"] = true.into();
                    roles.push(listing);
                }
                delegations = Some(json!({ "keys": keys(&[TENANT_KEY]), "roles": roles }));
            }
            3 => key_of_file = ATTACKER_KEY,
            4 => expires = later(self.now(), -24),
            // Another file under the same version.
            5 => {
                version = version.saturating_sub(1).max(1);
                self.versions.insert("tenant".to_owned(), version);
            }
            6 => {
                names = json!(
                    (0..300)
                        .map(|n| (format!("{TENANT}{n}"), target(EVIL)))
                        .collect::<BTreeMap<_, _>>()
                );
            }
            _ => {}
        }
        let mut signed = head("targets", version, expires);
        signed["targets"] = names;
        if let Some(delegations) = delegations {
            signed["delegations"] = delegations;
        }
        let bytes = match self.tenant {
            7 => b"{\"signed\":{},\"signatures\":[]}".to_vec(),
            8 => vec![b'['; 4000],
            _ => sign(&signed, &[key_of_file]),
        };
        self.put("tenant", version, bytes);
    }

    fn put(&mut self, name: &str, version: u64, bytes: Vec<u8>) {
        let listed = listing(version, self.hashes.then_some(&bytes[..]));
        self.listed.insert(format!("{name}.json"), listed);
        let file = self.name_of(name, version);
        self.files.insert(file, bytes);
    }

    fn name_of(&self, name: &str, version: u64) -> String {
        if self.consistent {
            format!("{version}.{name}.json")
        } else {
            format!("{name}.json")
        }
    }

    fn sign_snapshot(&mut self) {
        let (version, expires) = (self.version("snapshot"), later(self.now(), 12 * 24));
        let mut signed = head("snapshot", version, expires);
        signed["meta"] = self.listed.clone().into();
        self.keep("snapshot", version, &signed, expires);
        let file = self.name_of("snapshot", version);
        self.files.insert(file, sign(&signed, &[self.snapshot]));
    }

    fn sign_timestamp(&mut self) {
        let (version, expires) = (self.version("timestamp"), later(self.now(), 4 * 24));
        let mut signed = head("timestamp", version, expires);
        let snapshot = self.versions["snapshot"];
        signed["meta"] = json!({ "snapshot.json": { "version": snapshot } });
        self.keep("timestamp", version, &signed, expires);
        let bytes = sign(&signed, &[self.timestamp]);
        self.files.insert("timestamp.json".to_owned(), bytes);
    }

    fn end(&mut self) {
        self.sign_snapshot();
        self.sign_timestamp();
        self.record();
    }

    fn record(&mut self) {
        let publication = Publication {
            at: self.now(),
            files: self.files.clone(),
            versions: self.versions.clone(),
            snapshot_keys: usize::from(self.snapshot - FIRST_SNAPSHOT_KEY),
            timestamp_keys: usize::from(self.timestamp - FIRST_TIMESTAMP_KEY),
        };
        self.history.publications.push(publication);
    }

    fn keep(&mut self, role: &str, version: u64, signed: &Value, expires: Timestamp) {
        let targets = signed["targets"].as_object();
        let digest = |value: &Value| {
            let hex = value["hashes"]["sha256"].as_str().unwrap();
            format!("sha256:{hex}").parse().unwrap()
        };
        let names = targets
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.clone(), digest(value)));
        let file = HonestFile {
            names: names.collect(),
            expires,
            statement: statement(signed),
        };
        self.history.signed.insert((role.to_owned(), version), file);
    }
}

/// SHA-256 of the canonical form.
pub(crate) fn statement(signed: &Value) -> Digest {
    let limits = Limits {
        bytes: 1 << 24,
        depth: 32,
        values: 1 << 20,
    };
    Digest::of(&rewrite(signed.to_string().as_bytes(), limits).unwrap())
}

/// The key of a role at a number of rotations.
pub(crate) fn timestamp_key(rotations: usize) -> u8 {
    FIRST_TIMESTAMP_KEY + u8::try_from(rotations).unwrap()
}

pub(crate) fn snapshot_key(rotations: usize) -> u8 {
    FIRST_SNAPSHOT_KEY + u8::try_from(rotations).unwrap()
}

/// One key, as a root or a delegation lists it under an ID of its own.
pub(crate) fn key_as(id: &str, number: u8) -> (String, Value) {
    (id.to_owned(), key(number))
}

//! Files of The Update Framework that an adversary signs, with the keys that it has and with those
//! that nobody gave it.

use rootpin_trust::image::Digest;
use serde_json::{Value, json};

use crate::history::{Files, History, Publication, later};
use crate::steps::Random;
use crate::tuf_history::{
    APP, ATTACKER_KEY, BOTH, EVIL, TEAM, TENANT, TENANT_KEY, head, key_as, listing, snapshot_key,
    timestamp_key,
};
use crate::tuf_publisher::{keys, role, sign, target};

/// The keys that an adversary has, besides the tenant's and its own.
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "any subset of the keys")]
pub(crate) struct Held {
    pub(crate) timestamp: bool,
    pub(crate) snapshot: bool,
    /// Whether it has those of after a rotation too.
    pub(crate) rotated: bool,
    /// One of the three root keys, of which two must sign.
    pub(crate) root: bool,
    /// One of the two targets keys, of which both must sign.
    pub(crate) targets: bool,
    /// One of the three root keys, with which it signs its own root only.
    pub(crate) lent: bool,
    /// One of the two keys of cosign that must both sign.
    pub(crate) cosign: bool,
}

impl Held {
    /// The keys by the bits of a sequence.
    pub(crate) fn of(bits: u8) -> Self {
        let bit = |at: u8| bits & (1 << at) != 0;
        Self {
            timestamp: bit(0),
            snapshot: bit(1),
            rotated: bit(2),
            root: bit(3),
            targets: bit(4),
            lent: bit(5),
            cosign: bit(6),
        }
    }

    fn timestamp_key(self, rotations: usize) -> u8 {
        if self.timestamp && (rotations == 0 || self.rotated) {
            timestamp_key(rotations)
        } else {
            ATTACKER_KEY
        }
    }

    fn snapshot_key(self, rotations: usize) -> u8 {
        if self.snapshot && (rotations == 0 || self.rotated) {
            snapshot_key(rotations)
        } else {
            ATTACKER_KEY
        }
    }

    /// Every key that there is, for a file that none of them may sign.
    fn all(self, random: &mut Random) -> Vec<u8> {
        let mut all = vec![TENANT_KEY, ATTACKER_KEY];
        all.extend(self.timestamp.then_some(timestamp_key(0)));
        all.extend(self.snapshot.then_some(snapshot_key(0)));
        all.extend(self.root.then_some(1));
        all.extend(self.targets.then_some(11));
        let by = random.below(all.len());
        all.rotate_left(by);
        all
    }
}

fn evil_names() -> Value {
    json!({ APP: target(EVIL), TEAM: target(EVIL), BOTH: target(EVIL), TENANT: target(EVIL) })
}

fn is_consistent(publication: &Publication) -> bool {
    !publication.files.contains_key("snapshot.json")
}

fn name_of(publication: &Publication, role: &str, version: u64) -> String {
    if is_consistent(publication) {
        format!("{version}.{role}.json")
    } else {
        format!("{role}.json")
    }
}

/// Snapshot and timestamp over the files of a publication: versions that are raised, an older
/// publication's listing, a role less.
pub(crate) fn online(history: &History, at: usize, held: Held, choice: u32) -> Files {
    let random = &mut Random::new(choice.into());
    let publication = &history.publications[at];
    let older = &history.publications[random.below(at + 1)];
    let far = later(publication.at, 9000);
    let mut meta = serde_json::Map::new();
    for name in ["targets", "team", "tenant"] {
        let of = if random.chance(50) {
            older
        } else {
            publication
        };
        let version = of.versions[name] + if random.chance(15) { 1000 } else { 0 };
        if random.chance(90) {
            meta.insert(format!("{name}.json"), listing(version, None));
        }
    }
    let raised = |random: &mut Random, version: u64| {
        let by = *random.one_of(&[0, 1, 1, 1, 50, 1_000_000]);
        version + by
    };
    let mut files = if random.chance(50) {
        publication.files.clone()
    } else {
        older.files.clone()
    };
    files.extend(
        publication
            .files
            .iter()
            .filter(|(name, _)| name.contains("root"))
            .map(|(name, bytes)| (name.clone(), bytes.clone())),
    );
    let mut version = publication.versions["snapshot"];
    if held.snapshot || random.chance(30) {
        version = raised(random, version);
        let mut snapshot = head("snapshot", version, far);
        snapshot["meta"] = meta.into();
        let bytes = sign(&snapshot, &[held.snapshot_key(publication.snapshot_keys)]);
        files.insert(name_of(publication, "snapshot", version), bytes);
    } else if random.chance(50) {
        version = older.versions["snapshot"];
    }
    let mut timestamp = head(
        "timestamp",
        raised(random, publication.versions["timestamp"]),
        far,
    );
    timestamp["meta"] = json!({ "snapshot.json": { "version": version } });
    let bytes = sign(
        &timestamp,
        &[held.timestamp_key(publication.timestamp_keys)],
    );
    files.insert("timestamp.json".to_owned(), bytes);
    files
}

/// A role's file with evil names, signed by everybody who may not, in a way that somebody may count.
pub(crate) fn names(publication: &Publication, name: &str, held: Held, choice: u32) -> Files {
    let random = &mut Random::new(choice.into());
    let version = publication.versions[name];
    let mut signed = head("targets", version, later(publication.at, 9000));
    signed["targets"] = evil_names();
    let signers = held.all(random);
    let mut file: Value = serde_json::from_slice(&sign(&signed, &signers)).unwrap();
    spread(&mut file, random);
    let bytes = serde_json::to_vec(&file).unwrap();
    let mut files = publication.files.clone();
    files.insert(name_of(publication, name, version), bytes);
    files
}

/// Signatures that stand twice, or under other keys' IDs.
fn spread(file: &mut Value, random: &mut Random) {
    let signatures = file["signatures"].as_array_mut().unwrap();
    let mut more = signatures.clone();
    for signature in &mut more {
        let id = *random.one_of(&[
            "key-11", "key-12", "key-1", "key-2", "key-41", "key-31", "key-21",
        ]);
        if random.chance(70) {
            signature["keyid"] = id.into();
        }
    }
    signatures.extend(more);
}

/// A root of the next version, whose keys are the adversary's, and a repository below it.
pub(crate) fn root(publication: &Publication, held: Held, choice: u32) -> Files {
    let random = &mut Random::new(choice.into());
    let version = publication.versions["root"] + u64::try_from(random.below(2)).unwrap();
    let version = if random.chance(80) {
        publication.versions["root"] + 1
    } else {
        version
    };
    let mut files = publication.files.clone();
    let mut listed = keys(&[1, 2, 3, 11, 12, ATTACKER_KEY]);
    let root_keys = match random.below(3) {
        0 => vec![ATTACKER_KEY],
        1 => vec![1, ATTACKER_KEY],
        _ => vec![1, 2, 3, ATTACKER_KEY],
    };
    let mut of_root = role(&root_keys, 1);
    // One key under two IDs.
    if random.chance(50) {
        let (id, key) = key_as("another", 1);
        listed[&id] = key;
        of_root["keyids"].as_array_mut().unwrap().push(id.into());
    }
    let own = role(&[ATTACKER_KEY], 1);
    let mut signed = head("root", version, later(publication.at, 9000));
    signed["keys"] = listed;
    signed["consistent_snapshot"] = is_consistent(publication).into();
    signed["roles"] = json!({ "root": of_root, "targets": own, "timestamp": own, "snapshot": own });
    let signers = held.all(random);
    let mut file: Value = serde_json::from_slice(&sign(&signed, &signers)).unwrap();
    spread(&mut file, random);
    files.insert(
        format!("{version}.root.json"),
        serde_json::to_vec(&file).unwrap(),
    );
    let below = whole(
        publication,
        &evil_names(),
        ATTACKER_KEY,
        publication.versions["timestamp"] + 1,
    );
    files.extend(below);
    files
}

/// Everything below a root that lists one key for each role.
fn whole(publication: &Publication, names: &Value, key: u8, version: u64) -> Files {
    let far = later(publication.at, 9000);
    let mut files = Files::new();
    let mut targets = head("targets", version, far);
    targets["targets"] = names.clone();
    files.insert(
        name_of(publication, "targets", version),
        sign(&targets, &[key]),
    );
    let mut snapshot = head("snapshot", version, far);
    snapshot["meta"] = json!({ "targets.json": listing(version, None) });
    files.insert(
        name_of(publication, "snapshot", version),
        sign(&snapshot, &[key]),
    );
    let mut timestamp = head("timestamp", version, far);
    timestamp["meta"] = json!({ "snapshot.json": { "version": version } });
    files.insert("timestamp.json".to_owned(), sign(&timestamp, &[key]));
    files
}

/// The adversary's own repository: its root of version 1 is pinned for its own names.
pub(crate) const OWN_KEY: u8 = 61;

pub(crate) fn own_root() -> Vec<u8> {
    let at = later(crate::history::time(0), 90_000);
    let own = role(&[OWN_KEY], 1);
    let mut signed = head("root", 1, at);
    signed["keys"] = keys(&[OWN_KEY]);
    signed["consistent_snapshot"] = true.into();
    signed["roles"] = json!({ "root": own, "targets": own, "timestamp": own, "snapshot": own });
    sign(&signed, &[OWN_KEY])
}

/// The adversary's repository as it shows itself to be trusted: what the victim signed, it signs too.
pub(crate) fn own_first(history: &History, at: usize) -> Files {
    let publication = &history.publications[at];
    let mut names = json!({ "evil.example/app:1": target(EVIL) });
    if let Some(digest) = history.digest(at, "targets", BOTH) {
        names[BOTH] = json!({ "length": 1, "hashes": { "sha256": digest.hex() } });
    }
    let version = publication.versions["timestamp"];
    let mut files = whole_consistent(publication, &names, version);
    files.insert("1.root.json".to_owned(), own_root());
    files
}

/// The same repository with further roots, which list whatever may touch the victim's floors.
pub(crate) fn own(history: &History, head_at: usize, held: Held, choice: u32) -> Files {
    let random = &mut Random::new(choice.into());
    let publication = &history.publications[head_at];
    let far = later(publication.at, 9000);
    let mut names = evil_names();
    names["evil.example/app:1"] = target(EVIL);
    let version = *random.one_of(&[1, 2, 5, 1_000_000, u64::MAX - 1]);
    let mut files = whole_consistent(publication, &names, version);
    files.insert("1.root.json".to_owned(), own_root());
    if random.chance(60) {
        let mut signed = head("root", 2, far);
        let ids = [OWN_KEY, 1, 2, 3];
        signed["keys"] = keys(&[OWN_KEY, 1, 2, 3, timestamp_key(0), snapshot_key(0), 11, 12]);
        signed["consistent_snapshot"] = true.into();
        let own = role(&[OWN_KEY], 1);
        let borrowed = role(&[OWN_KEY, timestamp_key(0), snapshot_key(0)], 1);
        signed["roles"] = json!({ "root": role(&ids, 1), "targets": own, "timestamp": borrowed, "snapshot": borrowed });
        let mut signers = vec![OWN_KEY];
        signers.extend(held.lent.then_some(1));
        files.insert("2.root.json".to_owned(), sign(&signed, &signers));
        match random.below(3) {
            0 => {}
            // It hands over to the victim, whose next root its own keys' threshold lets in.
            1 => {
                let roots = publication.files.iter().filter(|(name, _)| {
                    name.ends_with(".root.json")
                        && !matches!(name.as_str(), "1.root.json" | "2.root.json")
                });
                files.extend(roots.map(|(name, bytes)| (name.clone(), bytes.clone())));
            }
            // It goes on by itself, past every version of the victim's.
            _ => {
                for version in 3..=9 {
                    signed["version"] = version.into();
                    files.insert(format!("{version}.root.json"), sign(&signed, &signers));
                }
            }
        }
    }
    if random.chance(20) {
        files.insert(
            "timestamp.json".to_owned(),
            publication.files["timestamp.json"].clone(),
        );
    }
    files
}

/// Everything below the adversary's root, whose files have their versions in their names.
fn whole_consistent(publication: &Publication, names: &Value, version: u64) -> Files {
    let placed = |(name, bytes): (String, Vec<u8>)| {
        let has_version = name.starts_with(|first: char| first.is_ascii_digit());
        if has_version || name == "timestamp.json" {
            (name, bytes)
        } else {
            (format!("{version}.{name}"), bytes)
        }
    };
    whole(publication, names, OWN_KEY, version)
        .into_iter()
        .map(placed)
        .collect()
}

/// What nobody honest signed.
pub(crate) fn evil() -> Digest {
    Digest::of(EVIL.as_bytes())
}

//! An honest repository of Notary, and what an adversary signs in its place.

use std::collections::BTreeMap;

use rootpin_trust::image::Digest;
use serde_json::Value;

use crate::history::{Files, History, HonestFile, Publication, later, time};
use crate::notary_publisher::{Key, Listed, Publisher};
use crate::steps::Random;
use crate::tuf_forgery::{Held, evil};
use crate::tuf_history::statement;

pub(crate) const GUN: &str = "n.example/team/app";
pub(crate) const OTHER_GUN: &str = "n.example/evil/app";
pub(crate) const RELEASES: &str = "targets/releases";
pub(crate) const TAG: &str = "v1";

const PUBLICATIONS: usize = 8;

/// A repository, and its publisher as it was at each publication.
pub(crate) struct NotaryHistory {
    pub(crate) history: History,
    states: Vec<Publisher>,
}

/// The IDs of the root keys that a host pins: the present one and the next.
pub(crate) fn pinned(gun: &str) -> Vec<String> {
    let keys = [format!("{gun} root"), format!("{gun} next root")];
    keys.iter().map(|name| Key::named(name).id()).collect()
}

fn date(publication: usize, days: i64) -> &'static str {
    // Few, and for as long as the tests run.
    later(time(publication), 24 * days).to_string().leak()
}

/// The history of a seed.
pub(crate) fn history(gun: &str, seed: u64) -> NotaryHistory {
    let mut random = Random::new(seed);
    let mut publisher = Publisher::new(gun);
    publisher.tag(TAG, &Digest::of(gun.as_bytes()).hex(), 1);
    let mut made = NotaryHistory {
        history: History::default(),
        states: Vec::new(),
    };
    for number in 0..PUBLICATIONS {
        let root = publisher.roles["root"].version;
        if number > 0 {
            next(&mut publisher, &mut random, number);
        }
        if number == 0 || publisher.roles["root"].version > root {
            publisher.role("root").expires = date(number, 400);
        }
        for (role, days) in [("snapshot", 12), ("timestamp", 4)] {
            publisher.role(role).expires = date(number, days);
        }
        made.record(&publisher, number);
    }
    made
}

fn next(publisher: &mut Publisher, random: &mut Random, number: usize) {
    let gun = publisher.gun.clone();
    let fresh = |role: &str| [Key::named(&format!("{gun} {role} {number}"))];
    match random.below(7) {
        0..=2 => {
            let content = format!("{gun} {number}");
            publisher.tag(TAG, &Digest::of(content.as_bytes()).hex(), 1);
            raise(publisher, RELEASES);
            let days = if random.chance(30) { 6 } else { 60 };
            publisher.role(RELEASES).expires = date(number, days);
        }
        3 => {
            publisher.role(RELEASES).targets.remove(TAG);
            raise(publisher, RELEASES);
        }
        4 => publisher.rotate("timestamp", &fresh("timestamp")),
        5 => publisher.rotate("snapshot", &fresh("snapshot")),
        _ => publisher.rotate_root(&[Key::named(&format!("{gun} next root"))]),
    }
    raise(publisher, "snapshot");
    raise(publisher, "timestamp");
}

fn raise(publisher: &mut Publisher, role: &str) {
    publisher.role(role).version += 1;
}

impl NotaryHistory {
    fn record(&mut self, publisher: &Publisher, number: usize) {
        let files = publisher.tree().files;
        let mut versions = BTreeMap::new();
        for role in publisher.roles.keys() {
            let file: Value = serde_json::from_slice(&files[&format!("{role}.json")]).unwrap();
            let signed = &file["signed"];
            let version = signed["version"].as_u64().unwrap();
            versions.insert(role.clone(), version);
            let names = publisher.roles[role].targets.iter();
            let honest = HonestFile {
                names: names
                    .map(|(tag, (hex, _))| (tag.clone(), format!("sha256:{hex}").parse().unwrap()))
                    .collect(),
                expires: signed["expires"].as_str().unwrap().parse().unwrap(),
                statement: statement(signed),
            };
            self.history.signed.insert((role.clone(), version), honest);
        }
        let rotations = |role: &str| {
            let key = publisher.roles[role].keys[0].id();
            let mut former: Vec<String> = self
                .states
                .iter()
                .map(|state| state.roles[role].keys[0].id())
                .collect();
            former.push(key);
            former.dedup();
            former.len() - 1
        };
        // The server has former files under their hashes.
        let mut all: Files = self
            .history
            .publications
            .last()
            .map_or_else(Files::new, |last| last.files.clone());
        all.extend(files);
        let publication = Publication {
            at: time(number),
            files: all,
            versions,
            snapshot_keys: rotations("snapshot"),
            timestamp_keys: rotations("timestamp"),
        };
        self.history.publications.push(publication);
        self.states.push(publisher.clone());
    }

    /// Snapshot and timestamp, signed with the online keys that the adversary has: an older
    /// publication's roles under raised versions.
    pub(crate) fn online(&self, at: usize, held: Held, choice: u32) -> Files {
        let random = &mut Random::new(choice.into());
        let mut forged = self.states[at].clone();
        let older = &self.states[random.below(at + 1)];
        let publication = &self.history.publications[at];
        if random.chance(50) {
            let role = older.roles[RELEASES].clone();
            forged.roles.insert(RELEASES.to_owned(), role);
        }
        if random.chance(20) {
            forged.forget(RELEASES);
        }
        let has = |kept: bool, rotations: usize| kept && (rotations == 0 || held.rotated);
        for (role, has) in [
            ("snapshot", has(held.snapshot, publication.snapshot_keys)),
            ("timestamp", has(held.timestamp, publication.timestamp_keys)),
        ] {
            let role = forged.role(role);
            role.version += *random.one_of(&[0, 1, 1, 1, 50, 1_000_000]);
            role.expires = "2036-01-01T00:00:00Z";
            role.signers = (!has).then(attacker);
        }
        forged.tree().files
    }

    /// What another publisher signed under its own keys, signed by this one's.
    pub(crate) fn copy(&self, another: &Self, at: usize) -> Files {
        let mut own = self.states[at].clone();
        for (name, role) in &mut own.roles {
            let copied = &another.states[at].roles[name];
            if name != "root" {
                role.version = copied.version;
                role.expires = copied.expires;
                role.targets.clone_from(&copied.targets);
            }
        }
        own.tree().files
    }

    /// A role that names evil, signed by others than may sign.
    pub(crate) fn names(&self, role: &str, at: usize, held: Held, choice: u32) -> Files {
        let random = &mut Random::new(choice.into());
        let mut forged = self.states[at].clone();
        for tag in [TAG, "v2"] {
            forged.tag_in(role, tag, &evil().hex(), 1);
        }
        let mut signers = attacker();
        for role in ["snapshot", "timestamp"] {
            signers.extend(forged.roles[role].keys.clone());
        }
        forged.role(role).signers = Some(signers);
        if random.chance(50) {
            raise(&mut forged, role);
        }
        for (role, kept) in [("snapshot", held.snapshot), ("timestamp", held.timestamp)] {
            let kept = kept && held.rotated;
            raise(&mut forged, role);
            forged.role(role).signers = (!kept).then(attacker);
        }
        forged.tree().files
    }

    /// A next root whose keys are the adversary's, beside the pinned one or without it, and a
    /// repository below it.
    pub(crate) fn root(&self, at: usize, choice: u32) -> Files {
        let random = &mut Random::new(choice.into());
        let mut forged = self.states[at].clone();
        let own = || Key::named("attacker").certificate(GUN);
        let pinned = forged.roles["root"].keys.clone();
        let listed = match random.below(3) {
            0 => vec![own()],
            1 => [pinned.clone(), vec![own()]].concat(),
            // The pinned key twice, in certificates that the adversary made.
            _ => pinned
                .iter()
                .map(|listed| listed.key.certificate_until(GUN, 7, "491231235959Z"))
                .collect(),
        };
        let root = forged.next_root();
        root.keys = listed;
        root.signers = Some(vec![own()]);
        forged.former = attacker();
        for role in ["timestamp", "snapshot", "targets", RELEASES] {
            forged.role(role).keys = attacker();
            forged.role(role).signers = None;
        }
        forged.tag_in(RELEASES, TAG, &evil().hex(), 1);
        forged.tree().files
    }
}

fn attacker() -> Vec<Listed> {
    vec![Key::named("attacker").bare()]
}

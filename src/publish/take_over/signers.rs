//! The signers of Notary repositories: their roles here, and the holders of their keys.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::super::Authority;
use super::super::changes::{Edits, EntryEdit, RoleEntry, present};
use super::super::document::Document;
use super::super::metadata::{Metadata, delegated, name};
use super::super::public_key::key_object;
use super::super::taken_out::SIGNERS;
use super::TakeOver;
use rootpin_trust::image::{Digest, Repository};

/// How the signers of one role here compare with those of its Notary role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignersDifference {
    /// The role here.
    pub role: String,
    /// The keys that may sign at Notary alone, by their IDs here, each with its holder.
    pub only_notary: BTreeMap<String, Option<String>>,
    /// The keys that may sign here alone.
    pub only_here: BTreeMap<String, Option<String>>,
    /// The names that they may sign by Notary, where these are others than here.
    pub paths: Option<Vec<String>>,
}

impl TakeOver {
    /// The roles whose signers, or the names that these may sign, are others than at the Notary
    /// server. Signers that were taken out here by hand are no difference.
    #[must_use]
    pub fn signers_differences(&self, metadata: &Metadata) -> Vec<SignersDifference> {
        let Some(authority) = metadata.authority("targets") else {
            return Vec::new();
        };
        let targets = metadata.newest("targets").map(|file| &file.document);
        let edits = self.delegations(targets, &authority, &self.taken_out(metadata));
        let member = |side: Option<&Value>, member: &str| -> BTreeSet<String> {
            let listed = side.and_then(|side| side.get("role")?.get(member)?.as_array());
            let texts = listed.into_iter().flatten().filter_map(Value::as_str);
            texts.map(str::to_owned).collect()
        };
        let holder = |keyid: &String| {
            let edit = edits.get(&RoleEntry::Holder(keyid.clone()));
            let new = edit.and_then(|edit| edit.after.as_ref()?.as_str());
            new.map(str::to_owned).or_else(|| metadata.holder(keyid))
        };
        // The keys of `targets` sign each role here beside the signers.
        let is_own = |keyid: &String| authority.keys.iter().any(|key| key.keyid == *keyid);
        let without = |some: &BTreeSet<String>, others: &BTreeSet<String>| {
            let keys = some.difference(others).filter(|keyid| !is_own(keyid));
            keys.map(|keyid| (keyid.clone(), holder(keyid))).collect()
        };
        let difference = |(entry, edit): (&RoleEntry, &EntryEdit)| {
            let RoleEntry::Delegation(role) = entry else {
                return None;
            };
            let (here, notary) = (edit.before.as_ref(), edit.after.as_ref());
            let (own, others) = (member(here, "keyids"), member(notary, "keyids"));
            let paths = member(notary, "paths");
            let found = SignersDifference {
                role: role.clone(),
                only_notary: without(&others, &own),
                only_here: without(&own, &others),
                paths: (member(here, "paths") != paths).then(|| paths.into_iter().collect()),
            };
            let is_some = !found.only_notary.is_empty() || !found.only_here.is_empty();
            (is_some || found.paths.is_some()).then_some(found)
        };
        edits.iter().filter_map(difference).collect()
    }

    /// The edits of delegations and of their keys' holders. A role whose signers Notary does not
    /// list any more keeps its names, and only the keys of `targets` sign it.
    pub(super) fn delegations(
        &self,
        targets: Option<&Document>,
        authority: &Authority,
        taken_out: &BTreeSet<&str>,
    ) -> Edits {
        let own_keys = || {
            let keys = authority.keys.iter();
            keys.map(|key| (key.keyid.clone(), key.key.clone()))
        };
        let mut edits = Edits::new();
        let mut set = |entry: RoleEntry, after: Value| {
            let before = targets.and_then(|document| present(document, &entry));
            let after = Some(after);
            if before != after {
                edits.insert(entry, EntryEdit { before, after });
            }
        };
        let mut wanted = BTreeSet::new();
        let mut holders: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for repository in &self.repositories {
            for signers in &repository.signers {
                let role = signers_role(&repository.gun, &signers.role);
                if taken_out.contains(role.as_str()) {
                    continue;
                }
                let mut keys: BTreeMap<String, Value> = own_keys().collect();
                for (key, names) in &signers.keys {
                    let (keyid, key) = key_object(key);
                    let known = holders.entry(keyid.clone()).or_default();
                    known.extend(names.iter().cloned());
                    keys.insert(keyid, key);
                }
                let prefixes = signers.prefixes.iter();
                let paths: BTreeSet<String> = prefixes
                    .map(|prefix| format!("{}:{prefix}*", repository.gun))
                    .collect();
                set(
                    RoleEntry::Delegation(role.clone()),
                    listed(&role, &keys, &json!(paths)),
                );
                wanted.insert(role);
            }
        }
        for (keyid, names) in holders.into_iter().filter(|(_, names)| !names.is_empty()) {
            let entry = RoleEntry::Holder(keyid);
            let known = targets.and_then(|document| present(document, &entry));
            let known = known.as_ref().and_then(Value::as_str);
            let holder = with_names(known, &names);
            set(entry, json!(holder));
        }
        for old in targets.into_iter().flat_map(delegated) {
            let role = name(old);
            if role.starts_with(SIGNERS) && !wanted.contains(role) && self.is_of_these(old) {
                let paths = old.get("paths").cloned().unwrap_or_default();
                let keys = own_keys().collect();
                set(
                    RoleEntry::Delegation(role.to_owned()),
                    listed(role, &keys, &paths),
                );
            }
        }
        edits
    }

    /// Whether a delegation is for one of these repositories.
    fn is_of_these(&self, delegation: &Value) -> bool {
        let paths = delegation.get("paths").and_then(Value::as_array);
        let mut paths = paths.into_iter().flatten().filter_map(Value::as_str);
        paths.any(|path| {
            path.rsplit_once(':').is_some_and(|(repository, _)| {
                let mut all = self.repositories.iter();
                all.any(|known| known.gun.as_str() == repository)
            })
        })
    }
}

/// The name of the role for the signers of a Notary role: always the same, and readable. It is that
/// of a file too, and in a registry that of a tag.
#[must_use]
pub fn signers_role(gun: &Repository, role: &str) -> String {
    let plain = |text: &str, most: usize| -> String {
        let plain = text.chars().map(|c| match c {
            'a'..='z' | '0'..='9' | '_' | '.' => c,
            _ => '-',
        });
        plain.take(most).collect()
    };
    let hex = Digest::of(format!("{gun} {role}").as_bytes()).hex();
    let short: String = hex.chars().take(8).collect();
    let role = plain(role.trim_start_matches("targets/"), 24);
    format!("{SIGNERS}{role}-{}-{short}", plain(gun.path(), 48))
}

/// A key's holder as it is listed here, with the names that another repository has for it: each run
/// adds those that are new, so that one repository's name never takes the place of another's.
fn with_names(known: Option<&str>, names: &BTreeSet<String>) -> String {
    let is_new = |name: &&str| {
        let mut listed = known.into_iter().flat_map(|known| known.split(", "));
        !listed.any(|one| one == *name)
    };
    let new = names.iter().map(String::as_str).filter(is_new);
    let all: Vec<&str> = known.into_iter().chain(new).collect();
    all.join(", ")
}

/// A delegation with its keys, of which one must sign.
fn listed(name: &str, keys: &BTreeMap<String, Value>, paths: &Value) -> Value {
    let keyids: Vec<&String> = keys.keys().collect();
    let role = json!({ "name": name, "keyids": keyids, "threshold": 1, "paths": paths, "terminating": false });
    json!({ "role": role, "keys": keys })
}

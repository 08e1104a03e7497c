//! The three-way merge of a targets role: its entries that differ between two states, and the same
//! changes to a third.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::PublishError;
use super::document::Document;
use super::metadata::{HOLDERS, TAKEN_OUT, delegated, keyids, name};
use super::paths::specificity;
use crate::problem::Problem;

/// What one entry of a targets file is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum RoleEntry {
    /// A target, by its path: `HOST/REPOSITORY:TAG`.
    Target(String),
    /// A delegation, by its role: the role as it is listed, and its keys.
    Delegation(String),
    /// Who holds a key, by its ID.
    Holder(String),
    /// That a path or a role was taken out by hand: no change of many names at once brings it again.
    TakenOut(String),
}

/// What an entry was and what it is to be; none where there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryEdit {
    /// Before.
    pub before: Option<Value>,
    /// After.
    pub after: Option<Value>,
}

/// The edits of one role.
pub type Edits = BTreeMap<RoleEntry, EntryEdit>;

/// What leads from one state of a role to another.
#[must_use]
pub fn diff(before: Option<&Document>, after: &Document) -> Edits {
    let (old, new) = (before.map(entries).unwrap_or_default(), entries(after));
    let all: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let differs = |entry: &&&RoleEntry| old.get(**entry) != new.get(**entry);
    let owned = |value: Option<&Cow<'_, Value>>| value.map(|value| value.clone().into_owned());
    let edit = |entry: &RoleEntry| EntryEdit {
        before: owned(old.get(entry)),
        after: owned(new.get(entry)),
    };
    all.iter()
        .filter(differs)
        .map(|entry| ((*entry).clone(), edit(entry)))
        .collect()
}

/// The entry as it stands.
#[must_use]
pub fn present(document: &Document, entry: &RoleEntry) -> Option<Value> {
    match entry {
        RoleEntry::Target(path) => document.members("targets")?.get(path).cloned(),
        RoleEntry::Delegation(role) => delegated(document)
            .find(|listed| name(listed) == role)
            .map(|listed| delegation(document, listed)),
        RoleEntry::Holder(keyid) => document.members(HOLDERS)?.get(keyid).cloned(),
        RoleEntry::TakenOut(what) => document.members(TAKEN_OUT)?.get(what).cloned(),
    }
}

/// Makes the edits in a document that may have changed since. What already is as it should be is
/// left. Of an entry that is neither as it was nor as it is to be, `overruled` says whether it is
/// set all the same.
///
/// # Errors
/// An entry was changed on both sides, differently: then nothing is changed.
pub fn apply(
    document: &mut Document,
    edits: &Edits,
    overruled: impl Fn(&RoleEntry) -> bool,
) -> Result<(), PublishError> {
    let mut next = document.clone();
    for (entry, edit) in edits {
        let now = present(document, entry);
        if now == edit.after {
            continue;
        }
        if now != edit.before && !overruled(entry) {
            return Err(PublishError::Conflict(conflict(
                entry,
                now.as_ref(),
                edit.after.as_ref(),
            )));
        }
        set(&mut next, entry, edit.after.as_ref());
    }
    forget_unused_keys(&mut next);
    *document = next;
    Ok(())
}

/// A target as people read it: its digest.
#[must_use]
pub fn shown(value: Option<&Value>) -> String {
    let digest = value.and_then(|value| value.get("hashes")?.get("sha256")?.as_str());
    match (value, digest) {
        (None, _) => "nothing".to_owned(),
        (_, Some(digest)) => format!("sha256:{digest}"),
        (Some(other), None) => other
            .get("role")
            .map_or_else(|| other.to_string(), ToString::to_string),
    }
}

fn conflict(entry: &RoleEntry, now: Option<&Value>, wanted: Option<&Value>) -> Problem {
    match entry {
        RoleEntry::Target(path) => {
            let done = if now.is_some() {
                format!("signed as {}", shown(now))
            } else {
                "revoked".to_owned()
            };
            let again = if wanted.is_some() { "sign" } else { "revoke" };
            Problem::hinted(
                format!("{path} was {done} by another machine meanwhile"),
                format!("to overrule that, {again} it again"),
            )
        }
        RoleEntry::Delegation(role) => Problem::hinted(
            format!("the delegation to {role} was changed by another machine meanwhile"),
            "look at it with rootpin repo delegate list, and change it again",
        ),
        RoleEntry::Holder(keyid) => Problem::hinted(
            format!("the holder of key {keyid} was changed by another machine meanwhile"),
            "do it again",
        ),
        RoleEntry::TakenOut(what) => Problem::hinted(
            format!("{what} was taken out by another machine meanwhile"),
            "do it again",
        ),
    }
}

fn entries(document: &Document) -> BTreeMap<RoleEntry, Cow<'_, Value>> {
    let targets = document
        .members("targets")
        .into_iter()
        .flatten()
        .map(|(path, value)| (RoleEntry::Target(path.clone()), Cow::Borrowed(value)));
    let delegations = delegated(document).map(|listed| {
        (
            RoleEntry::Delegation(name(listed).to_owned()),
            Cow::Owned(delegation(document, listed)),
        )
    });
    let holders = document.members(HOLDERS).into_iter().flatten();
    let holders =
        holders.map(|(keyid, holder)| (RoleEntry::Holder(keyid.clone()), Cow::Borrowed(holder)));
    let taken_out = document.members(TAKEN_OUT).into_iter().flatten();
    let taken_out =
        taken_out.map(|(what, by)| (RoleEntry::TakenOut(what.clone()), Cow::Borrowed(by)));
    let all = targets.chain(delegations).chain(holders);
    all.chain(taken_out).collect()
}

/// A listed role with its keys.
fn delegation(document: &Document, listed: &Value) -> Value {
    let keys = document
        .members("delegations")
        .and_then(|delegations| delegations.get("keys"));
    let own: Map<String, Value> = keyids(listed)
        .filter_map(|id| Some((id.to_owned(), keys?.get(id)?.clone())))
        .collect();
    json!({ "role": listed, "keys": own })
}

fn set(document: &mut Document, entry: &RoleEntry, value: Option<&Value>) {
    match entry {
        RoleEntry::Target(path) => {
            document.edit("targets", |targets| set_member(targets, path, value));
        }
        RoleEntry::Holder(keyid) => {
            document.edit(HOLDERS, |holders| set_member(holders, keyid, value));
        }
        RoleEntry::TakenOut(what) => {
            document.edit(TAKEN_OUT, |all| set_member(all, what, value));
        }
        RoleEntry::Delegation(role) => document.edit("delegations", |delegations| {
            let mut keys = match delegations.remove("keys") {
                Some(Value::Object(keys)) => keys,
                _ => Map::new(),
            };
            let mut roles = match delegations.remove("roles") {
                Some(Value::Array(roles)) => roles,
                _ => Vec::new(),
            };
            let at = roles.iter().position(|listed| name(listed) == role);
            let listed = value.and_then(|value| value.get("role")).cloned();
            match (at, listed) {
                (Some(at), Some(listed)) => {
                    if let Some(place) = roles.get_mut(at) {
                        *place = listed;
                    }
                }
                (Some(at), None) => drop(roles.remove(at)),
                (None, Some(listed)) => {
                    let at = roles
                        .iter()
                        .position(|other| rank(&listed) < rank(other))
                        .unwrap_or(roles.len());
                    roles.insert(at, listed);
                }
                (None, None) => {}
            }
            if let Some(Value::Object(own)) = value.and_then(|value| value.get("keys")) {
                keys.extend(own.clone());
            }
            delegations.insert("keys".to_owned(), Value::Object(keys));
            delegations.insert("roles".to_owned(), Value::Array(roles));
        }),
    }
}

/// The order of delegations: the most specific first, which so is asked before a broader one that
/// ends the search; then by name, so that the order in which they are made tells nothing.
fn rank(listed: &Value) -> (std::cmp::Reverse<usize>, &str) {
    let paths = listed
        .get("paths")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    (std::cmp::Reverse(specificity(paths)), name(listed))
}

fn set_member(members: &mut Map<String, Value>, name: &str, value: Option<&Value>) {
    match value {
        Some(value) => drop(members.insert(name.to_owned(), value.clone())),
        None => drop(members.remove(name)),
    }
}

/// Drops the keys that no delegation lists any more, and the whole where there is no delegation.
fn forget_unused_keys(document: &mut Document) {
    // Hash bins (TAP 15), which another tool made, list their keys elsewhere.
    if document
        .members("delegations")
        .is_none_or(|delegations| delegations.contains_key("succinct_roles"))
    {
        return;
    }
    let used: BTreeSet<String> = delegated(document)
        .flat_map(keyids)
        .map(str::to_owned)
        .collect();
    document.edit("delegations", |delegations| {
        if let Some(Value::Object(keys)) = delegations.get_mut("keys") {
            keys.retain(|id, _| used.contains(id));
        }
    });
    if delegated(document).next().is_none() {
        document.signed.remove("delegations");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::publish::draft::new_targets;

    /// A document that signs these: name to content.
    fn document(signed: &BTreeMap<u8, u8>, delegations: &BTreeMap<u8, u8>) -> Document {
        let mut document = new_targets();
        let targets = signed.iter().map(|(name, content)| {
            (
                RoleEntry::Target(format!("r.example/a:{name}")),
                Some(json!({ "length": content })),
            )
        });
        let roles = delegations.iter().map(|(role, keys)| {
            let (name, key) = (format!("team-{role}"), format!("key-{keys}"));
            let listed = json!({ "name": name, "keyids": [key], "paths": [format!("r.example/{role}/*")], "threshold": 1 });
            (RoleEntry::Delegation(name), Some(json!({ "role": listed, "keys": { key: { "keytype": "x" } } })))
        });
        let edits = targets.chain(roles).map(|(entry, after)| {
            (
                entry,
                EntryEdit {
                    before: None,
                    after,
                },
            )
        });
        apply(&mut document, &edits.collect(), |_| false).unwrap();
        document
    }

    fn some() -> impl Strategy<Value = Document> {
        let map = || prop::collection::btree_map(0..6_u8, 0..3_u8, 0..5);
        (map(), map()).prop_map(|(signed, delegations)| document(&signed, &delegations))
    }

    fn merged(
        base: &Document,
        ours: &Document,
        theirs: &Document,
    ) -> Result<Document, PublishError> {
        let mut merged = theirs.clone();
        apply(&mut merged, &diff(Some(base), ours), |_| false).map(|()| merged)
    }

    proptest! {
        #[test]
        fn what_leads_from_one_state_to_another_does(one in some(), other in some()) {
            let mut document = one.clone();
            apply(&mut document, &diff(Some(&one), &other), |_| false).unwrap();
            prop_assert_eq!(document, other);
        }

        #[test]
        fn two_that_change_different_entries_are_merged_the_same_either_way_and_nothing_is_lost(
            base in some(), ours in some(), theirs in some()
        ) {
            let (here, there) = (diff(Some(&base), &ours), diff(Some(&base), &theirs));
            let clash = here.iter().any(|(entry, edit)| there.get(entry).is_some_and(|other| other.after != edit.after));
            match (merged(&base, &ours, &theirs), merged(&base, &theirs, &ours)) {
                (Ok(one), Ok(other)) => {
                    prop_assert!(!clash);
                    prop_assert_eq!(&one, &other);
                    for (entry, edit) in here.iter().chain(&there) {
                        prop_assert_eq!(&present(&one, entry), &edit.after);
                    }
                    let untouched = |entry: &&RoleEntry| !here.contains_key(entry) && !there.contains_key(entry);
                    for entry in entries(&base).keys().filter(untouched) {
                        prop_assert_eq!(present(&one, entry), present(&base, entry));
                    }
                }
                (Err(_), Err(_)) => prop_assert!(clash),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }

    #[test]
    fn a_clash_changes_nothing_and_names_what_it_is_about() {
        let with = |content: u8| document(&[(1, content)].into(), &BTreeMap::new());
        let (base, ours, mut theirs) = (with(0), with(1), with(2));
        let before = theirs.clone();
        let error = apply(&mut theirs, &diff(Some(&base), &ours), |_| false)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("r.example/a:1") && error.contains("hint: "),
            "{error}"
        );
        assert_eq!(theirs, before);
        apply(&mut theirs, &diff(Some(&base), &ours), |entry| {
            *entry == RoleEntry::Target("r.example/a:1".to_owned())
        })
        .unwrap();
        assert_eq!(theirs, ours);
    }

    #[test]
    fn the_most_specific_delegation_is_asked_first_in_whatever_order_they_were_made() {
        let edit = |role: &str, path: &str| {
            let listed = json!({ "name": role, "keyids": [], "paths": [path], "threshold": 1 });
            Edits::from([(
                RoleEntry::Delegation(role.to_owned()),
                EntryEdit {
                    before: None,
                    after: Some(json!({ "role": listed, "keys": {} })),
                },
            )])
        };
        let all = [
            edit("broad", "r.example/*/*"),
            edit("app", "r.example/team/app:*"),
            edit("team", "r.example/team/*"),
        ];
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2]] {
            let mut document = new_targets();
            for at in order {
                apply(&mut document, &all[at], |_| false).unwrap();
            }
            assert_eq!(
                delegated(&document).map(name).collect::<Vec<_>>(),
                ["app", "team", "broad"]
            );
        }
    }
}

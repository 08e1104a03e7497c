//! What was taken out of this repository by hand, although a change of many names at once (a
//! take-over, or a list of endorsements) may bring it: no later one of that kind brings it again.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::changes::{EntryEdit, RoleEntry};
use super::delegation_path::roles_for;
use super::document::Document;
use super::metadata::{Metadata, TAKEN_OUT};

/// How the names of the roles of Notary's signers begin.
pub(super) const SIGNERS: &str = "notary-";

/// The record that an entry was taken out by hand; none for an entry that no change of many names
/// brings. `is_listed` says that one may bring the name although it was signed by hand.
#[must_use]
pub fn record(
    entry: &RoleEntry,
    before: Option<&Value>,
    is_listed: impl FnOnce() -> bool,
) -> Option<(RoleEntry, Value)> {
    let (what, by) = match entry {
        RoleEntry::Target(path) => {
            let source = before.and_then(|value| notary_source(value).or(upstream_source(value)));
            (path, source.or_else(|| is_listed().then_some("hand"))?)
        }
        RoleEntry::Delegation(role) if role.starts_with(SIGNERS) => (role, "notary"),
        _ => return None,
    };
    Some((RoleEntry::TakenOut(what.clone()), json!(by)))
}

/// The Notary server from which an entry came.
pub(super) fn notary_source(value: &Value) -> Option<&str> {
    value.pointer("/custom/rootpin/source/notary")?.as_str()
}

/// The name from which an entry was endorsed.
fn upstream_source(value: &Value) -> Option<&str> {
    value.pointer("/custom/rootpin/source/name")?.as_str()
}

/// Whether names of a repository come by changes of many names: some are here.
#[must_use]
pub fn comes_in_bulk(metadata: &Metadata, repository: &str) -> bool {
    let documents = metadata
        .roles
        .keys()
        .filter_map(|role| metadata.newest(role));
    let mut entries = documents
        .filter_map(|file| file.document.members("targets"))
        .flatten();
    entries.any(|(path, value)| {
        let of = path.rsplit_once(':').map(|(repository, _)| repository);
        of == Some(repository) && notary_source(value).or(upstream_source(value)).is_some()
    })
}

fn records(document: &Document) -> impl Iterator<Item = (&String, &Value)> {
    document.members(TAKEN_OUT).into_iter().flat_map(Map::iter)
}

/// The paths and roles that were taken out by hand. The holder of a delegated role can say it only
/// of names that the role may sign.
#[must_use]
pub fn all(metadata: &Metadata) -> BTreeSet<&str> {
    let mut all = BTreeSet::new();
    for role in metadata.roles.keys() {
        let newest = metadata.newest(role);
        let said = newest.into_iter().flat_map(|file| records(&file.document));
        let may_say = |what: &&String| {
            role == "targets"
                || !what.starts_with(SIGNERS) && roles_for(metadata, what).contains(role)
        };
        all.extend(
            said.map(|(what, _)| what)
                .filter(may_say)
                .map(String::as_str),
        );
    }
    all
}

/// The edits that drop records: role, entry and edit.
pub(super) fn forgotten(
    metadata: &Metadata,
    again: &BTreeSet<String>,
) -> Vec<(String, RoleEntry, EntryEdit)> {
    let mut edits = BTreeMap::new();
    for role in metadata.roles.keys() {
        let newest = metadata.newest(role);
        let said = newest.into_iter().flat_map(|file| records(&file.document));
        for (what, by) in said.filter(|(what, _)| again.contains(*what)) {
            let edit = EntryEdit {
                before: Some(by.clone()),
                after: None,
            };
            edits.insert((role.clone(), what.clone()), edit);
        }
    }
    let edit = |((role, what), edit)| (role, RoleEntry::TakenOut(what), edit);
    edits.into_iter().map(edit).collect()
}

//! Root documents: the first one, and how another follows.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::PublishError;
use super::canonical_json::material;
use super::ceremony::RootProposal;
use super::document::Document;
use super::draft::{Draft, new_targets};
use super::metadata::{HOLDERS, Metadata, MetadataFile, keyids};
use crate::problem::Problem;

/// Which keys a role is to have.
#[derive(Debug, Clone)]
pub struct RoleKeys {
    /// The keys: ID, key object, and the name of whoever holds it.
    pub keys: Vec<(String, Value, String)>,
    /// How many of them sign.
    pub threshold: u64,
}

/// A root document with these roles, which lists no key that no role uses. It has no version yet.
///
/// # Errors
/// A role has fewer keys than must sign, or the same one twice.
pub fn root_document(roles: &BTreeMap<String, RoleKeys>) -> Result<Document, PublishError> {
    let mut document = Document::new("root");
    document
        .signed
        .insert("consistent_snapshot".to_owned(), json!(true));
    document.signed.insert("keys".to_owned(), json!({}));
    document.signed.insert("roles".to_owned(), json!({}));
    for (role, keys) in roles {
        set_role(&mut document, role, keys)?;
    }
    Ok(document)
}

/// Gives a role other keys.
///
/// # Errors
/// As [`root_document`].
pub fn set_role(
    document: &mut Document,
    role: &str,
    RoleKeys { keys, threshold }: &RoleKeys,
) -> Result<(), PublishError> {
    let ids: Vec<&str> = keys.iter().map(|(keyid, ..)| keyid.as_str()).collect();
    let listed = json!({ "keyids": ids, "threshold": threshold });
    // By material: another tool's ID for a key that is here already makes no second key of it.
    let distinct: BTreeSet<_> = keys
        .iter()
        .map(|(keyid, key, _)| material(keyid, key).ok_or(keyid))
        .collect();
    if distinct.len() < keys.len() {
        return Err(PublishError::Wrong(
            format!("one key twice for {role}").into(),
        ));
    }
    if u64::try_from(keys.len()).map_or(true, |count| count < *threshold) || *threshold < 1 {
        return Err(PublishError::wrong(
            format!(
                "{role} would have {} keys, of which {threshold} must sign",
                keys.len()
            ),
            "give more keys, or a threshold from 1 to their number",
        ));
    }
    document.edit("keys", |listed| {
        listed.extend(
            keys.iter()
                .map(|(keyid, key, _)| (keyid.clone(), key.clone())),
        );
    });
    document.edit(HOLDERS, |holders| {
        holders.extend(
            keys.iter()
                .map(|(keyid, _, holder)| (keyid.clone(), json!(holder))),
        );
    });
    document.edit("roles", |roles| drop(roles.insert(role.to_owned(), listed)));
    let used: Vec<String> = roles_of(document)
        .flat_map(|listed| keyids(listed).map(str::to_owned))
        .collect();
    let unused = |members: &mut Map<String, Value>| members.retain(|id, _| used.contains(id));
    document.edit("keys", unused);
    document.edit(HOLDERS, unused);
    Ok(())
}

/// A key as a file lists it already, or as given: one key under two IDs in one file would be two to
/// other tools.
#[must_use]
pub fn as_listed(keys: Option<&Map<String, Value>>, keyid: String, key: Value) -> (String, Value) {
    let id = material(&keyid, &key);
    let same = |(known, listed): &(&String, &Value)| id.is_some() && material(known, listed) == id;
    let listed = keys
        .filter(|keys| !keys.contains_key(&keyid))
        .and_then(|keys| keys.iter().find(same));
    listed.map_or((keyid, key), |(known, listed)| {
        (known.clone(), listed.clone())
    })
}

/// What a repository begins as: its first root, signed, and targets without any.
#[must_use]
pub fn founded(root: Document) -> Draft {
    let mut draft = Draft::on(Metadata::founded(MetadataFile::of(root)));
    draft.edited.insert("targets".to_owned(), new_targets());
    draft
}

/// The newest root's file.
#[must_use]
pub fn newest(metadata: &Metadata) -> Option<&MetadataFile> {
    metadata.roots.values().next_back()
}

/// Puts a proposed root that has all signatures on top of the others.
///
/// # Errors
/// It does not follow the newest root.
pub fn with_root(draft: &mut Draft, proposal: &RootProposal) -> Result<(), PublishError> {
    let last = newest(&draft.next).map(|file| &file.document.signed);
    if last == Some(&proposal.new.signed) {
        return Ok(());
    }
    if last != proposal.old.as_ref().map(|old| &old.signed) {
        return Err(PublishError::Conflict(Problem::hinted(
            "another root was published since this one was proposed",
            "propose it again (rotate --propose)",
        )));
    }
    draft.next.roots.insert(
        proposal.new.version(),
        MetadataFile::of(proposal.new.clone()),
    );
    Ok(())
}

fn roles_of(document: &Document) -> impl Iterator<Item = &Value> {
    document.members("roles").into_iter().flat_map(Map::values)
}

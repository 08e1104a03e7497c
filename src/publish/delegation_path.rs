//! The roles that clients ask for a path, and that so may sign it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::metadata::{Metadata, delegated, name};
use rootpin_trust::image::Digest;
use rootpin_trust::tuf::path_matches;

/// The roles that hosts ask for a path, in their order (TUF 1.0.34, section 5.6.7): one that lists
/// it ends the search.
#[must_use]
pub fn roles_for(metadata: &Metadata, path: &str) -> Vec<String> {
    let hash = Digest::of(path.as_bytes()).hex();
    let mut way = Vec::new();
    let mut left = vec!["targets".to_owned()];
    let mut visited = BTreeSet::new();
    while let Some(role) = left.pop() {
        if !visited.insert(role.clone()) {
            continue;
        }
        way.push(role.clone());
        let Some(file) = metadata.roles.get(&role) else {
            continue;
        };
        let mut edges: Vec<&Value> = delegated(&file.document)
            .filter(|listed| covers(listed, path, &hash))
            .collect();
        if let Some(end) = edges
            .iter()
            .position(|listed| listed.get("terminating").and_then(Value::as_bool) == Some(true))
        {
            edges.truncate(end + 1);
            left.clear();
        }
        left.extend(
            edges
                .into_iter()
                .rev()
                .map(|listed| name(listed).to_owned()),
        );
    }
    way
}

/// The role that decides a path, of those that list it.
#[must_use]
pub fn deciding_role(metadata: &Metadata, path: &str) -> Option<String> {
    roles_for(metadata, path)
        .into_iter()
        .find(|role| lists(metadata, role, path))
}

/// Whether a role lists a path.
#[must_use]
pub fn lists(metadata: &Metadata, role: &str, path: &str) -> bool {
    let file = metadata.newest(role);
    file.and_then(|file| file.document.members("targets"))
        .is_some_and(|targets| targets.contains_key(path))
}

fn covers(listed: &Value, path: &str, hash: &str) -> bool {
    let any = |member: &str, matches: &dyn Fn(&str) -> bool| {
        let list = listed
            .get(member)
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        list.filter_map(Value::as_str).any(matches)
    };
    any("paths", &|pattern| path_matches(pattern, path))
        || any("path_hash_prefixes", &|prefix| hash.starts_with(prefix))
}

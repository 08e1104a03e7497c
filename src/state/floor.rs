//! Floors: the highest version seen of each role, kept by the root keys under which it was seen.

use std::cmp::Ordering;

use crate::trust::Floor;

/// Two files of one version.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Conflict {
    pub(super) role: String,
    pub(super) version: u64,
}

/// The floors after a verification that ends in `seen`, where `known` was recorded.
///
/// `trust` has judged `seen` against the history it was given, but another decision may have recorded more since. So each new
/// floor takes the place of all recorded ones of its role that share a root key, with all their root keys, and:
/// * under the same keys of the role, the higher version stands;
/// * under other keys, the later word stands: that of the higher version of the root, then of the roles between the root and
///   this one. This is the only way down, and the way for a role's new keys to begin anew.
pub(super) fn merge(known: &[Floor], seen: &[Floor]) -> Result<Vec<Floor>, Conflict> {
    let mut merged: Vec<Floor> = known.to_vec();
    for new in seen {
        let (sharing, mut rest): (Vec<_>, Vec<_>) = merged.into_iter().partition(|old| shares(old, new));
        let mut standing = new.clone();
        for old in sharing {
            let mut root_keys = std::mem::take(&mut standing.root_keys);
            root_keys.extend(&old.root_keys);
            let newer = if same_keys(&old, &standing) { Ordering::Equal } else { later(seen, new, known, &old) };
            if newer.then(standing.version.cmp(&old.version)).is_eq() && standing.signed != old.signed {
                return Err(Conflict { role: new.role.clone(), version: new.version });
            }
            if newer.then(standing.version.cmp(&old.version)).is_lt() {
                standing = old;
            }
            standing.root_keys = root_keys;
        }
        rest.push(standing);
        merged = rest;
    }
    merged.sort_by(|a, b| (&a.role, &a.root_keys).cmp(&(&b.role, &b.root_keys)));
    Ok(merged)
}

/// Whether a record is about the same role under the same root.
fn shares(old: &Floor, new: &Floor) -> bool {
    old.role == new.role && !old.root_keys.is_disjoint(&new.root_keys)
}

fn same_keys(old: &Floor, new: &Floor) -> bool {
    old.keys == new.keys && old.threshold == new.threshold
}

/// Compares whose word `new` is with whose word `old` is, from the root down.
fn later(seen: &[Floor], new: &Floor, known: &[Floor], old: &Floor) -> Ordering {
    above(&new.role)
        .map(|role| version(seen, &role, new).cmp(&version(known, &role, old)))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// The highest version of a role among floors that share a root key with this one.
fn version(floors: &[Floor], role: &str, with: &Floor) -> Option<u64> {
    floors.iter().filter(|floor| floor.role == role && !floor.root_keys.is_disjoint(&with.root_keys)).map(|floor| floor.version).max()
}

/// The roles that say which keys a role has, the root first: `root`, `targets` and `targets/a` for `targets/a/b`.
fn above(role: &str) -> impl Iterator<Item = String> {
    let root = (role != "root").then(|| "root".to_owned());
    root.into_iter().chain(role.match_indices('/').filter_map(|(at, _)| role.get(..at).map(str::to_owned)))
}

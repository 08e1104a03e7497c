//! The rule for recorded floors: what a verification raised replaces what was recorded, and nothing
//! goes back.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::{Code, Floor, KeyId, Progress, Refusal, Subject};

/// Two different files of one version of a role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{subject}: {role} {version} was seen over other bytes")]
pub struct FloorConflict {
    /// The repository.
    pub subject: Subject,
    /// The role.
    pub role: String,
    /// The version.
    pub version: u64,
}

impl Progress {
    /// The floors to keep after this verification, where `known` are recorded now.
    ///
    /// The verification was judged by the floors that it was given: it replaces each of its role
    /// and owner that shares a root key, and takes over their root keys. What its root left behind
    /// under another pinned file goes, unless another id of the policy pinned that too. All other
    /// floors stay. Another verification may have recorded more since. Then
    /// * a higher recorded floor stays, unless the role's floor fell and this verification is the
    ///   later one;
    /// * a lower recorded floor under other keys of the role stays, if that is the later one.
    ///
    /// The later one has the higher version of the root, then of the roles between the root and
    /// this role, which list its keys.
    ///
    /// # Errors
    /// Two different files have the same version.
    pub fn merge_into(&self, known: &[Floor]) -> Result<Vec<Floor>, FloorConflict> {
        merge(known, &self.floors, &self.fallen).map_err(|(role, version)| FloorConflict {
            subject: self.subject.clone(),
            role,
            version,
        })
    }
}

impl From<FloorConflict> for Refusal {
    fn from(conflict: FloorConflict) -> Self {
        let FloorConflict { role, version, .. } = &conflict;
        let wanted = format!("the bytes that this host saw as {role} {version}");
        let hint = "ask the publisher why one version was signed twice";
        Self::new(Code::Rollback, conflict.to_string(), wanted, hint)
    }
}

/// A role and a version with two files.
type Twice = (String, u64);

fn merge(known: &[Floor], seen: &[Floor], fallen: &[Floor]) -> Result<Vec<Floor>, Twice> {
    let own = |floor: &Floor| seen.iter().any(|new| new.pin() == floor.pin());
    let mut merged: Vec<Floor> = known
        .iter()
        .filter(|floor| !(own(floor) && fallen.contains(floor)))
        .cloned()
        .collect();
    for new in seen {
        let (sharing, rest): (Vec<_>, Vec<_>) =
            merged.into_iter().partition(|old| shares(old, new));
        let fell = fallen.iter().any(|floor| shares(floor, new));
        let root_keys = root_keys(&sharing, new);
        let owners = sharing.iter().chain([new]).map(|floor| &floor.owner);
        let ids = owners
            .flatten()
            .flat_map(|owner| owner.ids.iter().cloned())
            .collect();
        let mut outdone = false;
        for old in &sharing {
            let newer = later(seen, new, known, old);
            let rekeyed = fell || old.keys != new.keys || old.threshold != new.threshold;
            if old.version == new.version && old.signed != new.signed && !(rekeyed && newer.is_ne())
            {
                return Err((new.role.clone(), new.version));
            }
            outdone |= if old.version > new.version {
                !(fell && newer.is_gt())
            } else {
                rekeyed && newer.is_lt()
            };
        }
        let highest = sharing
            .iter()
            .max_by_key(|old| old.version)
            .filter(|_| outdone);
        let mut standing = highest.cloned().unwrap_or_else(|| new.clone());
        for one in sharing.iter().chain([new]) {
            if !fell && one.keys == standing.keys && one.threshold == standing.threshold {
                keep_listed(&mut standing, one).map_or(Ok(()), Err)?;
            }
        }
        let left = |old: Floor| {
            if old.version <= standing.version || fallen.contains(&old) {
                left_by(new, old)
            } else {
                Some(old)
            }
        };
        merged = rest.into_iter().filter_map(left).collect();
        if let Some(owner) = &mut standing.owner {
            owner.ids = ids;
        }
        merged.push(Floor {
            root_keys,
            ..standing
        });
    }
    merged.sort_by(|a, b| (&a.role, &a.root_keys, a.pin()).cmp(&(&b.role, &b.root_keys, b.pin())));
    Ok(merged)
}

/// The root keys of a floor and of those whose place it takes.
fn root_keys(sharing: &[Floor], new: &Floor) -> Arc<BTreeSet<KeyId>> {
    let others = sharing.iter().map(|old| &old.root_keys);
    let others = others.filter(|keys| !keys.is_subset(&new.root_keys));
    let more: BTreeSet<KeyId> = others.flat_map(|keys| keys.iter()).copied().collect();
    if more.is_empty() {
        Arc::clone(&new.root_keys)
    } else {
        Arc::new(more.union(&new.root_keys).copied().collect())
    }
}

/// Nothing that a floor under the same keys listed goes back, nor is a version first seen later
/// than it was. Returns what both list, as different files.
pub(super) fn keep_listed(standing: &mut Floor, old: &Floor) -> Option<Twice> {
    let mut twice = None;
    if old.version == standing.version {
        standing.since = [old.since, standing.since].into_iter().flatten().min();
    }
    for (role, before) in &old.listed {
        let listed = standing
            .listed
            .entry(role.clone())
            .or_insert_with(|| before.clone());
        if before.version > listed.version {
            listed.clone_from(before);
        } else if before.version == listed.version {
            if listed
                .signed
                .zip(before.signed)
                .is_some_and(|(one, other)| one != other)
            {
                twice.get_or_insert_with(|| (role.clone(), before.version));
            }
            listed.signed = listed.signed.or(before.signed);
        }
    }
    twice
}

/// Whether a record is about the same role under the same root.
fn shares(old: &Floor, new: &Floor) -> bool {
    old.role == new.role && same_root(old, new)
}

fn same_root(old: &Floor, new: &Floor) -> bool {
    old.pin() == new.pin() && !old.root_keys.is_disjoint(&new.root_keys)
}

/// A floor of another pinned file, once this one is in its place: the root's id leaves it, and
/// without any id it goes.
fn left_by(new: &Floor, mut old: Floor) -> Option<Floor> {
    let shares = old.role == new.role && !old.root_keys.is_disjoint(&new.root_keys);
    if let (Some(owner), Some(now)) = (&mut old.owner, &new.owner)
        && shares
        && owner.pin != now.pin
    {
        owner.ids.retain(|id| !now.ids.contains(id));
        if owner.ids.is_empty() {
            return None;
        }
    }
    Some(old)
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
    floors
        .iter()
        .filter(|floor| floor.role == role && same_root(floor, with))
        .map(|floor| floor.version)
        .max()
}

/// The roles that say which keys a role has, the root first: `root`, `targets` and `targets/a` for
/// `targets/a/b`.
fn above(role: &str) -> impl Iterator<Item = String> {
    let root = (role != "root").then(|| "root".to_owned());
    root.into_iter().chain(
        role.match_indices('/')
            .filter_map(|(at, _)| role.get(..at).map(str::to_owned)),
    )
}
#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Listed;
    use crate::image::Digest;
    use std::collections::BTreeMap;

    fn keys(numbers: &[u8]) -> BTreeSet<KeyId> {
        numbers
            .iter()
            .map(|number| KeyId::from_bytes([*number; 32]))
            .collect()
    }

    fn floor(role: &str, root_keys: &[u8], version: u64, own_keys: &[u8]) -> Floor {
        Floor {
            role: role.to_owned(),
            root_keys: keys(root_keys).into(),
            version,
            signed: Digest::of(format!("{role} {version} {own_keys:?}").as_bytes()),
            keys: keys(own_keys),
            threshold: 1,
            listed: BTreeMap::new(),
            since: None,
            owner: None,
        }
    }

    #[test]
    fn a_floor_takes_the_place_of_all_that_share_a_root_key_and_takes_their_root_keys() {
        let known = [
            floor("targets", &[1, 2], 3, &[9]),
            floor("targets", &[3], 4, &[9]),
            floor("targets", &[7], 8, &[9]),
        ];
        let merged = merge(&known, &[floor("targets", &[2, 3], 5, &[9])], &[]).unwrap();
        assert_eq!(
            merged,
            [
                floor("targets", &[1, 2, 3], 5, &[9]),
                floor("targets", &[7], 8, &[9])
            ]
        );
    }

    #[test]
    fn a_floor_that_fell_is_replaced_by_a_lower_one_also_when_only_its_delegator_was_given_new_keys()
     {
        let known = [
            floor("root", &[1], 1, &[1]),
            floor("targets", &[1], 7, &[4]),
            floor("targets/releases", &[1], 9, &[5]),
        ];
        let seen = [
            floor("root", &[1], 2, &[1]),
            floor("targets", &[1], 1, &[6]),
            floor("targets/releases", &[1], 1, &[5]),
        ];
        assert_eq!(merge(&known, &seen, &known[1..]).unwrap(), seen);
    }

    #[test]
    fn a_verification_that_a_newer_root_has_overtaken_does_not_bring_the_old_keys_back() {
        let known = [
            floor("root", &[1], 2, &[1]),
            floor("targets", &[1], 1, &[6]),
        ];
        let stale = [
            floor("root", &[1], 1, &[1]),
            floor("targets", &[1], 7, &[4]),
        ];
        assert_eq!(merge(&known, &stale, &[]).unwrap(), known);
    }

    #[test]
    fn a_floor_that_fell_and_was_raised_meanwhile_still_falls_before_a_newer_root() {
        let known = [
            floor("root", &[1], 1, &[1]),
            floor("targets", &[1], 8, &[4]),
        ];
        let seen = [
            floor("root", &[1], 2, &[1]),
            floor("targets", &[1], 1, &[6]),
        ];
        assert_eq!(
            merge(&known, &seen, &[floor("targets", &[1], 7, &[4])]).unwrap(),
            seen
        );
    }

    #[test]
    fn two_files_of_one_version_are_a_conflict() {
        let mut twin = floor("timestamp", &[1], 5, &[2]);
        twin.signed = Digest::of(b"twin");
        let conflict = merge(&[floor("timestamp", &[1], 5, &[2])], &[twin], &[]).unwrap_err();
        assert_eq!(conflict, ("timestamp".to_owned(), 5));
    }

    fn snapshot(version: u64, listed: &[(&str, u64, Option<&str>)]) -> Floor {
        let listed = listed.iter().map(|(role, version, signed)| {
            let signed = signed.map(|content| Digest::of(content.as_bytes()));
            let listed = Listed {
                signed,
                ..Listed::version(*version)
            };
            ((*role).to_owned(), listed)
        });
        Floor {
            listed: listed.collect(),
            ..floor("snapshot", &[1], version, &[3])
        }
    }

    #[test]
    fn nothing_that_was_listed_goes_back_or_vanishes_where_two_looks_at_a_time_are_merged() {
        // Both began with nothing seen. The one that is written last saw the higher snapshot, which
        // whoever holds its key had list less.
        let known = [snapshot(
            5,
            &[("targets", 5, Some("five")), ("team", 3, None)],
        )];
        let seen = [snapshot(6, &[("targets", 4, Some("four"))])];
        let both = snapshot(6, &[("targets", 5, Some("five")), ("team", 3, None)]);
        let both = vec![both];
        assert_eq!(merge(&known, &seen, &[]).as_ref(), Ok(&both));
        assert_eq!(merge(&seen, &known, &[]), Ok(both));
    }

    #[test]
    fn a_listed_file_that_was_verified_stays_verified_and_another_one_of_its_version_is_a_conflict()
    {
        let known = [snapshot(5, &[("targets", 5, Some("five"))])];
        let unread = snapshot(6, &[("targets", 5, None)]);
        let both = snapshot(6, &[("targets", 5, Some("five"))]);
        assert_eq!(merge(&known, &[unread], &[]).unwrap(), [both]);
        let twin = snapshot(6, &[("targets", 5, Some("another five"))]);
        let conflict = merge(&known, &[twin], &[]).unwrap_err();
        assert_eq!(conflict, ("targets".to_owned(), 5));
    }

    #[test]
    fn a_version_counts_as_first_seen_when_the_earlier_of_two_looks_saw_it() {
        let at = |second| Some(jiff::Timestamp::from_second(second).unwrap());
        let seen_at = |second| Floor {
            since: at(second),
            ..floor("timestamp", &[1], 5, &[2])
        };
        let merged = merge(&[seen_at(1)], &[seen_at(2)], &[]).unwrap();
        assert_eq!(merged, [seen_at(1)]);
        let merged = merge(&[seen_at(2)], &[seen_at(1)], &[]).unwrap();
        assert_eq!(merged, [seen_at(1)]);
    }

    prop_compose! {
        fn any_floor()(
            role in prop::sample::select(vec!["root", "timestamp", "targets", "targets/a", "targets/a/b"]),
            root_keys in prop::collection::btree_set(1_u8..6, 1..4),
            version in 1_u64..6,
            own_key in 1_u8..3,
        ) -> Floor {
            floor(role, &root_keys.into_iter().collect::<Vec<_>>(), version, &[own_key])
        }
    }

    fn highest(floors: &[Floor], role: &str, root_key: u8) -> Option<u64> {
        let of =
            |floor: &&Floor| floor.role == role && !floor.root_keys.is_disjoint(&keys(&[root_key]));
        floors.iter().filter(of).map(|floor| floor.version).max()
    }

    /// Floors as they come about: one verification after the other.
    fn grown(verifications: &[Floor]) -> Vec<Floor> {
        let add = |known: Vec<Floor>, new: &Floor| {
            merge(&known, std::slice::from_ref(new), &[]).unwrap_or(known)
        };
        verifications.iter().fold(Vec::new(), add)
    }

    proptest! {
        #[test]
        fn no_floor_is_lowered_for_any_root_key_unless_it_fell(
            known in prop::collection::vec(any_floor(), 0..12),
            seen in prop::collection::vec(any_floor(), 1..5),
        ) {
            let known = grown(&known);
            if let Ok(merged) = merge(&known, &seen, &[]) {
                for floor in &known {
                    for root_key in 1..6 {
                        prop_assert!(highest(&merged, &floor.role, root_key) >= highest(&known, &floor.role, root_key));
                    }
                }
            }
        }

        #[test]
        fn no_root_key_is_forgotten_and_a_floor_that_is_seen_again_changes_nothing(
            known in prop::collection::vec(any_floor(), 0..12),
            new in any_floor(),
        ) {
            let known = grown(&known);
            if let Ok(merged) = merge(&known, std::slice::from_ref(&new), &[]) {
                for floor in known.iter().chain([&new]) {
                    prop_assert!(merged.iter().any(|one| one.role == floor.role && one.root_keys.is_superset(&floor.root_keys)));
                }
                // One that did not come to stand may, once nothing later speaks against it.
                if merged.iter().any(|one| one.role == new.role && one.signed == new.signed) {
                    prop_assert_eq!(merge(&merged, std::slice::from_ref(&new), &[]), Ok(merged));
                }
            }
        }
    }
}

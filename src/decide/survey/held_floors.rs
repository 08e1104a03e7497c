//! What a report shows of floors.

use std::collections::{BTreeMap, BTreeSet};

use super::{HeldFloor, texts};
use rootpin_trust::image::Digest;
use rootpin_trust::{Floor, KeyId};

/// More pinned keys are not repeated for each role of each repository.
const MOST_PINS_SHOWN: usize = 8;

/// The floors with the highest version of their role. `pinned`: the keys of their root.
pub(super) fn highest(
    floors: &[&Floor],
    versions: &BTreeMap<String, u64>,
    pinned: &BTreeSet<KeyId>,
) -> Vec<HeldFloor> {
    let is_highest = |floor: &Floor| versions.get(&floor.role) == Some(&floor.version);
    let held = || floors.iter().filter(|floor| is_highest(floor));
    let of_root = held().filter(|floor| floor.role == "root");
    let listed: BTreeSet<KeyId> = of_root.flat_map(|floor| &floor.keys).copied().collect();
    held()
        .map(|floor| {
            let (root_keys, pinned_keys) = root_keys(&floor.root_keys, &listed, pinned);
            HeldFloor {
                role: floor.role.clone(),
                version: floor.version,
                signed: floor.signed.to_string(),
                since: floor.since.map(|since| since.to_string()),
                root_keys,
                pinned_keys,
                keys: texts(&floor.keys),
            }
        })
        .collect()
}

/// A floor belongs to every key that its root pins, and a root may pin a key for each of hundreds of
/// repositories. Hosts with the same pins still compare their histories across a rotation: by the
/// hash.
fn root_keys(
    all: &BTreeSet<KeyId>,
    listed: &BTreeSet<KeyId>,
    pinned: &BTreeSet<KeyId>,
) -> (Vec<String>, Option<String>) {
    if pinned.len() <= MOST_PINS_SHOWN {
        return (texts(all), None);
    }
    let is_shown = |key: &&KeyId| listed.contains(key) || !pinned.contains(key);
    let of_pins = texts(all.intersection(pinned)).join(" ");
    let hash = Digest::of(of_pins.as_bytes()).to_string();
    (texts(all.iter().filter(is_shown)), Some(hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(numbers: impl IntoIterator<Item = u8>) -> BTreeSet<KeyId> {
        let key = |number| KeyId::from_bytes([number; 32]);
        numbers.into_iter().map(key).collect()
    }

    #[test]
    fn of_very_many_pinned_keys_a_floor_shows_those_of_the_root_role_and_a_hash_over_all() {
        let shown = |all, listed, pinned| root_keys(&keys(all), &keys(listed), &keys(pinned));
        let few: Vec<u8> = (0..8).collect();
        assert_eq!(
            shown(few.clone(), vec![1], few.clone()),
            (texts(&keys(few)), None)
        );
        let many: Vec<u8> = (0..9).collect();
        // 100 was pinned once: nobody but this floor knows it.
        let with_former: Vec<u8> = many.iter().copied().chain([100]).collect();
        let (root_keys, hash) = shown(with_former, vec![1], many.clone());
        assert_eq!(root_keys, texts(&keys([1, 100])));
        // After a rotation, on another host: the same pins and another root role.
        let (others, same) = shown(many.clone(), vec![2], many.clone());
        assert_eq!((others, same), (texts(&keys([2])), hash.clone()));
        // A floor that was raised before the ninth key was pinned.
        let (_, earlier) = shown((0..8).collect(), vec![1], many);
        assert!(earlier.is_some() && earlier != hash);
    }
}

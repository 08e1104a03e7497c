//! Which of several roots speak for themselves: a key that signed for one of them speaks for no
//! other, whatever type of root lists it or certifies it.

use std::collections::{BTreeMap, BTreeSet};

use crate::KeyId;

/// The canonical IDs of the keys behind a root's yes, and how many of them it takes.
pub type Signers<'a> = (&'a BTreeSet<KeyId>, usize);

/// Which root a key speaks for, by the root's index.
type Owners = BTreeMap<KeyId, usize>;

/// Of more roots not each choice is tried.
const MOST_TRIED: usize = 10;

/// The indexes of as many roots as can each have as many keys as they need, and no key twice. Of very
/// many roots those that need the fewest keys come first.
#[must_use]
pub fn independent(roots: &[Signers<'_>]) -> BTreeSet<usize> {
    let mut known = BTreeSet::new();
    let mut all = roots.iter();
    if all.all(|(keys, needed)| *needed <= keys.len() && keys.iter().all(|key| known.insert(*key)))
    {
        return (0..roots.len()).collect();
    }
    let mut order: Vec<usize> = (0..roots.len()).collect();
    if roots.len() <= MOST_TRIED {
        let choices = (0..1_u32 << roots.len()).map(|choice| {
            let some = order.iter().filter(move |root| choice >> **root & 1 == 1);
            some.copied().collect::<BTreeSet<usize>>()
        });
        let possible = choices.filter(|some| {
            let mut owners = Owners::new();
            some.iter().all(|root| speaks(*root, roots, &mut owners))
        });
        return possible.max_by_key(BTreeSet::len).unwrap_or_default();
    }
    order.sort_by_key(|root| roots.get(*root).map(|(_, needed)| *needed));
    let (mut owners, mut chosen) = (Owners::new(), BTreeSet::new());
    for root in order {
        let mut with = owners.clone();
        if speaks(root, roots, &mut with) {
            owners = with;
            chosen.insert(root);
        }
    }
    chosen
}

/// Gives a root all the keys that it needs, if that can be beside those that have theirs.
fn speaks(root: usize, roots: &[Signers<'_>], owners: &mut Owners) -> bool {
    let needed = roots.get(root).map_or(0, |(_, needed)| *needed);
    (0..needed).all(|_| give_key(root, roots, owners, &mut BTreeSet::new()))
}

/// Gives a root one more key, if another root can take another key in its place.
fn give_key(
    root: usize,
    roots: &[Signers<'_>],
    owners: &mut Owners,
    asked: &mut BTreeSet<usize>,
) -> bool {
    let Some((keys, _)) = roots.get(root).filter(|_| asked.insert(root)) else {
        return false;
    };
    let free = |key: &&KeyId| !owners.contains_key(*key);
    if let Some(key) = keys.iter().find(free) {
        owners.insert(*key, root);
        return true;
    }
    for key in *keys {
        let owner = owners.get(key).copied();
        if let Some(owner) = owner
            && give_key(owner, roots, owners, asked)
        {
            owners.insert(*key, root);
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(digit: usize) -> KeyId {
        format!("{digit:064x}").parse().unwrap()
    }

    type Keys = BTreeSet<KeyId>;

    fn signers(roots: &[(Keys, usize)]) -> Vec<Signers<'_>> {
        roots.iter().map(|(keys, needed)| (keys, *needed)).collect()
    }

    fn roots() -> impl Strategy<Value = Vec<(Keys, usize)>> {
        let root = (prop::collection::btree_set(0..6_usize, 0..5), 0..4_usize);
        let root = root.prop_map(|(keys, needed)| {
            let needed = needed.min(keys.len());
            (keys.into_iter().map(key).collect(), needed)
        });
        prop::collection::vec(root, 0..5)
    }

    /// Whether keys can be given to all of these roots, by trying each way.
    fn can_all_speak(roots: &[Signers<'_>], used: &Keys) -> bool {
        let Some(((keys, needed), others)) = roots.split_first() else {
            return true;
        };
        let keys: Vec<KeyId> = keys.iter().copied().collect();
        (0..1_u32 << keys.len()).any(|mask| {
            let taken = (0..keys.len()).filter(|at| mask & (1 << at) != 0);
            let taken: Keys = taken.map(|at| keys[at]).collect();
            taken.len() == *needed
                && taken.is_disjoint(used)
                && can_all_speak(others, &used.union(&taken).copied().collect())
        })
    }

    fn most(roots: &[Signers<'_>]) -> usize {
        let sizes = (0..1_u32 << roots.len()).filter_map(|mask| {
            let some = (0..roots.len()).filter(|at| mask & (1 << at) != 0);
            let some: Vec<_> = some.map(|at| roots[at]).collect();
            can_all_speak(&some, &BTreeSet::new()).then_some(some.len())
        });
        sizes.max().unwrap_or(0)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn no_key_speaks_for_two_roots_and_each_root_has_as_many_as_it_needs(roots in roots()) {
            let roots = signers(&roots);
            let chosen = independent(&roots);
            let chosen: Vec<_> = chosen.iter().map(|at| roots[*at]).collect();
            prop_assert!(can_all_speak(&chosen, &BTreeSet::new()));
        }

        #[test]
        fn as_many_roots_speak_as_can(roots in roots()) {
            let roots = signers(&roots);
            prop_assert_eq!(independent(&roots).len(), most(&roots));
        }

        #[test]
        fn roots_that_share_no_key_all_speak(roots in roots()) {
            let apart = |(at, (keys, needed)): (usize, &(Keys, usize))| -> (Keys, usize) {
                ((0..keys.len()).map(|digit| key(at * 16 + digit)).collect(), *needed)
            };
            let roots: Vec<_> = roots.iter().enumerate().map(apart).collect();
            let roots = signers(&roots);
            prop_assert_eq!(independent(&roots).len(), roots.len());
        }
    }
}

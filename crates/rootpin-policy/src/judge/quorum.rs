//! Which roots of a quorum speak for themselves: a key that signed for one of them speaks for no
//! other, whatever type of root lists it or certifies it.

use std::collections::{BTreeMap, BTreeSet};

use rootpin_trust::{Collection, KeyId};

/// The keys behind a root's yes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Signers {
    /// Canonical IDs of the keys that signed.
    pub(super) keys: BTreeSet<KeyId>,
    /// How many of them it takes.
    pub(super) needed: usize,
}

/// Which root a key speaks for, by the root's index.
type Owners = BTreeMap<KeyId, usize>;

impl Signers {
    pub(super) fn of(collection: &Collection) -> Self {
        Self {
            keys: collection.signers.clone(),
            needed: collection.signers_needed,
        }
    }
}

/// Of more roots not each choice is tried.
const MOST_TRIED: usize = 10;

/// The indexes of as many roots as can each have as many keys as they need, and no key twice. Of very
/// many roots those that need the fewest keys come first.
pub(super) fn independent(roots: &[&Signers]) -> BTreeSet<usize> {
    let mut known = BTreeSet::new();
    let mut all = roots.iter();
    if all.all(|root| {
        root.needed <= root.keys.len() && root.keys.iter().all(|key| known.insert(*key))
    }) {
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
    order.sort_by_key(|root| roots.get(*root).map(|signers| signers.needed));
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
fn speaks(root: usize, roots: &[&Signers], owners: &mut Owners) -> bool {
    let needed = roots.get(root).map_or(0, |signers| signers.needed);
    (0..needed).all(|_| give_key(root, roots, owners, &mut BTreeSet::new()))
}

/// Gives a root one more key, if another root can take another key in its place.
fn give_key(
    root: usize,
    roots: &[&Signers],
    owners: &mut Owners,
    asked: &mut BTreeSet<usize>,
) -> bool {
    let Some(signers) = roots.get(root).filter(|_| asked.insert(root)) else {
        return false;
    };
    let free = |key: &&KeyId| !owners.contains_key(*key);
    if let Some(key) = signers.keys.iter().find(free) {
        owners.insert(*key, root);
        return true;
    }
    for key in &signers.keys {
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

    fn roots() -> impl Strategy<Value = Vec<Signers>> {
        let root = (prop::collection::btree_set(0..6_usize, 0..5), 0..4_usize);
        let root = root.prop_map(|(keys, needed)| Signers {
            needed: needed.min(keys.len()),
            keys: keys.into_iter().map(key).collect(),
        });
        prop::collection::vec(root, 0..5)
    }

    /// Whether keys can be given to all of these roots, by trying each way.
    fn can_all_speak(roots: &[&Signers], used: &BTreeSet<KeyId>) -> bool {
        let Some((first, others)) = roots.split_first() else {
            return true;
        };
        let keys: Vec<KeyId> = first.keys.iter().copied().collect();
        (0..1_u32 << keys.len()).any(|mask| {
            let taken = (0..keys.len()).filter(|at| mask & (1 << at) != 0);
            let taken: BTreeSet<KeyId> = taken.map(|at| keys[at]).collect();
            taken.len() == first.needed
                && taken.is_disjoint(used)
                && can_all_speak(others, &used.union(&taken).copied().collect())
        })
    }

    fn most(roots: &[&Signers]) -> usize {
        let sizes = (0..1_u32 << roots.len()).filter_map(|mask| {
            let some = (0..roots.len()).filter(|at| mask & (1 << at) != 0);
            let some: Vec<&Signers> = some.map(|at| roots[at]).collect();
            can_all_speak(&some, &BTreeSet::new()).then_some(some.len())
        });
        sizes.max().unwrap_or(0)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn no_key_speaks_for_two_roots_and_each_root_has_as_many_as_it_needs(roots in roots()) {
            let roots: Vec<&Signers> = roots.iter().collect();
            let chosen = independent(&roots);
            let chosen: Vec<&Signers> = chosen.iter().map(|at| roots[*at]).collect();
            prop_assert!(can_all_speak(&chosen, &BTreeSet::new()));
        }

        #[test]
        fn as_many_roots_speak_as_can(roots in roots()) {
            let roots: Vec<&Signers> = roots.iter().collect();
            prop_assert_eq!(independent(&roots).len(), most(&roots));
        }

        #[test]
        fn roots_that_share_no_key_all_speak(roots in roots()) {
            let apart = |(at, root): (usize, &Signers)| Signers {
                keys: (0..root.keys.len()).map(|digit| key(at * 16 + digit)).collect(),
                needed: root.needed,
            };
            let roots: Vec<Signers> = roots.iter().enumerate().map(apart).collect();
            let roots: Vec<&Signers> = roots.iter().collect();
            prop_assert_eq!(independent(&roots).len(), roots.len());
        }
    }
}

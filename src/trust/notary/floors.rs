//! Floors: no role goes back behind the highest version that this host has seen of it, whatever a cache still holds.
//!
//! Off-spec: Notary compares with cached files, not at all where the cached one is larger or where targets didn't change.

use std::collections::{BTreeMap, BTreeSet};

use crate::trust::{Code, Floor, KeyId, Refusal};

use super::envelope::Envelope;
use super::role::Role;

/// The floors that bind one verification, and those that it leaves behind.
#[derive(Debug)]
pub(super) struct Floors {
    applied: Vec<Floor>,
    root_keys: BTreeSet<KeyId>,
    fallen: Vec<Floor>,
    raised: Vec<Floor>,
}

impl Floors {
    /// The floors, of all that are kept for the repository, that share a root key with a chain of these root keys, or with
    /// another such floor: a chain that began late still meets what was seen under its older keys.
    pub(super) fn of(kept: &[Floor], chain: &BTreeSet<KeyId>) -> Self {
        let mut root_keys = chain.clone();
        let mut rest: Vec<&Floor> = kept.iter().collect();
        let mut applied = Vec::new();
        loop {
            let (shared, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(|floor| !floor.root_keys.is_disjoint(&root_keys));
            if shared.is_empty() {
                return Self { applied, root_keys, fallen: Vec::new(), raised: Vec::new() };
            }
            root_keys.extend(shared.iter().flat_map(|floor| floor.root_keys.iter().copied()));
            applied.extend(shared.into_iter().cloned());
            rest = others;
        }
    }

    /// Whether this is the very root file that the root's floor stands for.
    pub(super) fn confirm(&self, root: &Envelope) -> bool {
        let highest = self.applied.iter().filter(|floor| floor.role == "root").max_by_key(|floor| floor.version);
        highest.is_some_and(|floor| floor.version == root.version && floor.signed == root.statement())
    }

    /// Refuses a file below its role's floor; otherwise the file is the new floor. The root role's own floor never falls.
    pub(super) fn check(&mut self, role: &Role, file: &Envelope) -> Result<(), Refusal> {
        let keys = role.ids();
        // Fast-forward recovery (TUF 1.0.34, section 5.3.11), for every role and only where its own keys really changed: who can't
        // sign for the role any more has no say in how high its versions are. What its old keys signed doesn't verify any more
        // either, so no old file comes back by it; that is why other keys of a delegator alone let no floor fall.
        let falls = |floor: &&Floor| role.name != "root" && is_replaced(floor, &keys, role.threshold);
        let (fallen, standing): (Vec<_>, Vec<_>) = self.applied.iter().filter(|floor| floor.role == role.name).partition(falls);
        for floor in &standing {
            let same = floor.version == file.version && floor.signed == file.statement();
            if file.version <= floor.version && !same {
                return Err(rollback(file, floor));
            }
        }
        self.fallen.extend(fallen.into_iter().cloned());
        self.raised.push(Floor {
            role: role.name.clone(),
            root_keys: self.root_keys.clone(),
            version: file.version,
            signed: file.statement(),
            keys,
            threshold: role.threshold,
            listed: BTreeMap::new(),
            since: None,
        });
        Ok(())
    }

    /// The floors to keep, and those to forget.
    pub(super) fn into_parts(self) -> (Vec<Floor>, Vec<Floor>) {
        (self.raised, self.fallen)
    }
}

/// Whether so few of the old keys are left that they can't sign for the role, neither as they did nor as it is now.
fn is_replaced(floor: &Floor, keys: &BTreeSet<KeyId>, threshold: u64) -> bool {
    let left = floor.keys.intersection(keys).count();
    u64::try_from(left).unwrap_or(u64::MAX) < floor.threshold.min(threshold)
}

fn rollback(file: &Envelope, floor: &Floor) -> Refusal {
    let (found, wanted) = if file.version == floor.version {
        (
            format!("{} version {} with other content ({})", file.file, file.version, file.statement()),
            format!("version {} as it was seen ({}), or a later one", floor.version, floor.signed),
        )
    } else {
        (format!("{} version {}", file.file, file.version), format!("version {} or later, which this host has seen", floor.version))
    };
    let hint = "the trust server shows an old or a second history; if the publisher really started anew, forget this root's history with: rootpin state reset --root ID";
    Refusal::new(Code::Rollback, found, wanted, hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Digest;

    fn keys(numbers: &[u8]) -> BTreeSet<KeyId> {
        numbers.iter().map(|number| KeyId::from_bytes([*number; 32])).collect()
    }

    fn floor(role: &str, root_keys: &[u8]) -> Floor {
        Floor {
            role: role.to_owned(),
            root_keys: keys(root_keys),
            version: 3,
            signed: Digest::of(b""),
            keys: keys(&[9]),
            threshold: 1,
            listed: BTreeMap::new(),
            since: None,
        }
    }

    #[test]
    fn floors_that_share_a_root_key_apply_also_by_way_of_another_floor() {
        let kept = [floor("targets", &[1]), floor("root", &[1, 2]), floor("targets", &[5])];
        let floors = Floors::of(&kept, &keys(&[2]));
        assert_eq!(floors.applied.iter().map(|floor| floor.role.as_str()).collect::<Vec<_>>(), ["root", "targets"]);
        assert_eq!(floors.root_keys, keys(&[1, 2]));
        assert!(Floors::of(&kept, &keys(&[3])).applied.is_empty());
    }

    #[test]
    fn a_role_is_replaced_when_too_few_old_keys_are_left_to_sign_as_before() {
        let two = Floor { keys: keys(&[1, 2, 3]), threshold: 2, ..floor("targets", &[1]) };
        assert!(!is_replaced(&two, &keys(&[2, 3, 4]), 2));
        assert!(is_replaced(&two, &keys(&[3, 4, 5]), 2));
        // With a lower threshold the one that is left can sign alone, and files that it signed before verify still.
        assert!(!is_replaced(&two, &keys(&[3, 4, 5]), 1));
        assert!(is_replaced(&two, &keys(&[4, 5, 6]), 1));
    }
}

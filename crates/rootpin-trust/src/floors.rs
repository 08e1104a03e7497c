//! Floors: no role goes back behind the highest version that this host has seen of it, whatever a
//! cache still holds.
//!
//! Off-spec: Notary compares with cached files, not at all where the cached one is larger or where
//! targets didn't change.

mod merge;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::{Code, Floor, FloorOwner, KeyId, Listed, Refusal};
use crate::image::Digest;

pub use merge::FloorConflict;

/// A file that is to stand as its role's newest.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    pub(super) role: &'a str,
    /// The file's name, for people.
    pub(super) file: &'a str,
    pub(super) version: u64,
    /// SHA-256 of the canonical signed bytes.
    pub(super) signed: Digest,
    /// Canonical IDs of the role's keys as they are now.
    pub(super) keys: BTreeSet<KeyId>,
    pub(super) threshold: u64,
}

/// The floors that bind one verification, and those that it leaves behind.
#[derive(Debug)]
pub(super) struct Floors {
    applied: Vec<Floor>,
    root_keys: Arc<BTreeSet<KeyId>>,
    owner: Option<FloorOwner>,
    fallen: Vec<Floor>,
    raised: Vec<Floor>,
}

impl Floors {
    /// The floors, of all that are kept for the repository, that share a root key with a chain of
    /// these root keys, or with another such floor: a chain that began late still meets what was
    /// seen under its older keys.
    pub(super) fn of(kept: &[Floor], chain: &BTreeSet<KeyId>) -> Self {
        Self::of_related(kept.iter().collect(), chain, None)
    }

    /// Those of a TUF repository: of the owner's floors, of those that were its under another pinned
    /// file, and of those that are nobody's, the ones that share a root key so; and each that was
    /// seen under a file of the chain.
    ///
    /// Whose a floor is, the policy says: its ids and files. The keys that a chain names don't: one
    /// repository can hand over to another's keys, or be signed by one of them.
    pub(super) fn of_tuf(
        kept: &[Floor],
        chain: &BTreeSet<KeyId>,
        files: &BTreeSet<Digest>,
        owner: FloorOwner,
    ) -> Self {
        let (related, others): (Vec<&Floor>, Vec<&Floor>) = kept
            .iter()
            .partition(|floor| floor.owner.is_none() || floor.is_of(&owner));
        // A file of the same id that has no root key of the earlier one excuses the root role alone:
        // each other role's keys say themselves whether its floor falls.
        let own = related.iter().copied();
        let own = own.filter(|floor| floor.is_of(&owner) && floor.role != "root");
        let own: Vec<&Floor> = own.collect();
        let mut floors = Self::of_related(related, chain, Some(owner));
        for floor in own {
            if !floors.binds(floor) {
                floors.applied.push(floor.clone());
            }
        }
        let under = |floor: &Floor| floor.owner.as_ref().map(|owner| owner.under);
        let shown = others
            .into_iter()
            .filter(|floor| under(floor).is_some_and(|file| files.contains(&file)));
        floors.applied.extend(shown.cloned());
        floors
    }

    fn of_related(
        mut rest: Vec<&Floor>,
        chain: &BTreeSet<KeyId>,
        owner: Option<FloorOwner>,
    ) -> Self {
        let mut root_keys = chain.clone();
        let mut applied = Vec::new();
        loop {
            let (shared, others): (Vec<_>, Vec<_>) = rest
                .into_iter()
                .partition(|floor| !floor.root_keys.is_disjoint(&root_keys));
            if shared.is_empty() {
                return Self {
                    applied,
                    root_keys: Arc::new(root_keys),
                    owner,
                    fallen: Vec::new(),
                    raised: Vec::new(),
                };
            }
            root_keys.extend(
                shared
                    .iter()
                    .flat_map(|floor| floor.root_keys.iter().copied()),
            );
            applied.extend(shared.into_iter().cloned());
            rest = others;
        }
    }

    /// Whether the root's floor was raised by this very root file.
    pub(super) fn confirm(&self, version: u64, signed: &Digest) -> bool {
        let highest = self
            .applied
            .iter()
            .filter(|floor| floor.role == "root")
            .max_by_key(|floor| floor.version);
        highest.is_some_and(|floor| floor.version == version && floor.signed == *signed)
    }

    /// Refuses a file below its role's floor; otherwise the file is the new floor. The root role's
    /// own floor never falls.
    pub(super) fn check(&mut self, claim: Claim<'_>) -> Result<(), Refusal> {
        self.judge(&claim)?;
        self.raise(claim);
        Ok(())
    }

    /// Refuses a file below its role's floor.
    pub(super) fn judge(&self, claim: &Claim<'_>) -> Result<(), Refusal> {
        for floor in self.binding(claim) {
            let same = floor.version == claim.version && floor.signed == claim.signed;
            if claim.version <= floor.version && !same {
                return Err(rollback(claim, floor));
            }
        }
        Ok(())
    }

    /// Makes a file that was judged the floor of its role.
    ///
    /// Fast-forward recovery (TUF 1.0.34, section 5.3.11), for every role and only where its own
    /// keys really changed: who can't sign for the role any more has no say in how high its
    /// versions are. What its old keys signed doesn't verify any more either, so no old file comes
    /// back by it; that is why other keys of a delegator alone let no floor fall.
    pub(super) fn raise(&mut self, claim: Claim<'_>) {
        self.raise_listing(claim, BTreeMap::new(), None);
    }

    /// The same for a TUF file that lists others, or whose age counts.
    pub(super) fn raise_listing(
        &mut self,
        claim: Claim<'_>,
        listed: BTreeMap<String, Listed>,
        since: Option<Timestamp>,
    ) {
        let fallen: Vec<Floor> = self
            .of_role(claim.role)
            .filter(|floor| claim.is_replaced(floor) && self.is_own(floor))
            .cloned()
            .collect();
        self.fallen.extend(fallen);
        self.raised.push(Floor {
            role: claim.role.to_owned(),
            root_keys: Arc::clone(&self.root_keys),
            version: claim.version,
            signed: claim.signed,
            keys: claim.keys,
            threshold: claim.threshold,
            listed,
            since,
            owner: self.owner.clone(),
        });
    }

    /// The highest floor of a file's role that its keys don't let fall, with all that any of these
    /// lists. Where two pinned files of one repository were shown different files of one version, each
    /// keeps to its own: a delegate that signs one twice takes nothing else away.
    pub(super) fn standing(&self, claim: &Claim<'_>) -> Option<Floor> {
        let highest = self.binding(claim).max_by_key(|floor| floor.version)?;
        let mut standing = highest.clone();
        for floor in self.binding(claim) {
            merge::keep_listed(&mut standing, floor);
        }
        let own = self.binding(claim).filter(|floor| self.is_own(floor));
        for (role, seen) in own.flat_map(|floor| &floor.listed) {
            if let Some(listed) = standing.listed.get_mut(role)
                && listed.version == seen.version
                && seen.signed.is_some()
            {
                listed.clone_from(seen);
            }
        }
        Some(standing)
    }

    /// The floors of a role.
    pub(super) fn of_role(&self, role: &str) -> impl Iterator<Item = &Floor> {
        self.applied.iter().filter(move |floor| floor.role == role)
    }

    /// Whether a kept floor binds.
    pub(super) fn binds(&self, floor: &Floor) -> bool {
        self.applied.contains(floor)
    }

    /// Whether a floor is this root's to drop.
    fn is_own(&self, floor: &Floor) -> bool {
        match &self.owner {
            Some(owner) => floor.is_of(owner),
            None => floor.owner.is_none(),
        }
    }

    /// The floors of a file's role that its keys don't let fall.
    fn binding(&self, claim: &Claim<'_>) -> impl Iterator<Item = &Floor> {
        self.of_role(claim.role)
            .filter(|floor| !claim.is_replaced(floor))
    }

    /// The floor that was raised last, to say more of it.
    pub(super) fn last_raised(&mut self) -> Option<&mut Floor> {
        self.raised.last_mut()
    }

    /// The floors to keep, and those to forget.
    pub(super) fn parts(&self) -> (Vec<Floor>, Vec<Floor>) {
        (self.raised.clone(), self.fallen.clone())
    }
}

impl Floor {
    /// Whether it belongs to this root of the policy, as it is or as it was pinned before.
    fn is_of(&self, root: &FloorOwner) -> bool {
        let own = |own: &FloorOwner| own.pin == root.pin || !own.ids.is_disjoint(&root.ids);
        self.owner.as_ref().is_some_and(own)
    }

    /// The pinned file that it belongs to.
    fn pin(&self) -> Option<&Digest> {
        self.owner.as_ref().map(|owner| &owner.pin)
    }
}

/// Whether so few of the old keys are left that they can't sign for the role, neither as they did
/// nor as it is now.
fn is_replaced(floor: &Floor, keys: &BTreeSet<KeyId>, threshold: u64) -> bool {
    let left = floor.keys.intersection(keys).count();
    u64::try_from(left).unwrap_or(u64::MAX) < floor.threshold.min(threshold)
}

impl Claim<'_> {
    /// Whether the floor falls because the role's own keys were replaced. The root role's never
    /// does.
    fn is_replaced(&self, floor: &Floor) -> bool {
        self.role != "root" && is_replaced(floor, &self.keys, self.threshold)
    }
}

fn rollback(file: &Claim<'_>, floor: &Floor) -> Refusal {
    if file.version == floor.version {
        let hint = "the trust server shows a second history; if the publisher really started anew, forget this root's history with: rootpin state reset --root ID";
        return other_content(file.file, file.version, (file.signed, floor.signed), hint);
    }
    let found = format!("{} version {}", file.file, file.version);
    let seen = floor.version;
    let wanted = format!("version {seen} or later, which this host has seen");
    let refusal = Refusal::new(Code::Rollback, found, wanted, BEHIND);
    // No source needs to take a root back: the newer ones stay where they are.
    if file.role == "root" {
        refusal
    } else {
        refusal.of_source_behind()
    }
}

/// The refusal of another file of a version that was seen.
pub(super) fn other_content(
    file: &str,
    version: u64,
    (found, seen): (Digest, Digest),
    hint: &str,
) -> Refusal {
    let found = format!("{file} version {version} with other content ({found})");
    let wanted = format!("version {version} as it was seen ({seen}), or a later one");
    Refusal::new(Code::Rollback, found, wanted, hint)
}

/// The hint for a file that is older than one that was seen.
pub(super) const BEHIND: &str = "the source, or a mirror or cache before it, is behind: bring it up to date; a publisher who began anew publishes versions above the one that was seen";

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(numbers: &[u8]) -> BTreeSet<KeyId> {
        numbers
            .iter()
            .map(|number| KeyId::from_bytes([*number; 32]))
            .collect()
    }

    fn floor(role: &str, root_keys: &[u8]) -> Floor {
        Floor {
            role: role.to_owned(),
            root_keys: keys(root_keys).into(),
            version: 3,
            signed: Digest::of(b""),
            keys: keys(&[9]),
            threshold: 1,
            listed: BTreeMap::new(),
            since: None,
            owner: None,
        }
    }

    #[test]
    fn floors_that_share_a_root_key_apply_also_by_way_of_another_floor() {
        let kept = [
            floor("targets", &[1]),
            floor("root", &[1, 2]),
            floor("targets", &[5]),
        ];
        let floors = Floors::of(&kept, &keys(&[2]));
        assert_eq!(
            floors
                .applied
                .iter()
                .map(|floor| floor.role.as_str())
                .collect::<Vec<_>>(),
            ["root", "targets"]
        );
        assert_eq!(*floors.root_keys, keys(&[1, 2]));
        assert!(Floors::of(&kept, &keys(&[3])).applied.is_empty());
    }

    #[test]
    fn a_new_pinned_file_of_the_same_id_excuses_the_root_role_alone_and_binds_nobody_s_floors() {
        let statement = |text: &str| Digest::of(text.as_bytes());
        let owner = |pin: &str| FloorOwner {
            pin: statement(pin),
            ids: ["acme".to_owned()].into(),
            under: statement(pin),
        };
        let of = |role: &str, owner: Option<FloorOwner>| Floor {
            owner,
            ..floor(role, &[5])
        };
        let kept = [
            of("root", Some(owner("earlier"))),
            of("targets", Some(owner("earlier"))),
            of("snapshot", None),
        ];
        let files = [statement("later")].into();
        let floors = Floors::of_tuf(&kept, &keys(&[1]), &files, owner("later"));
        let bound = floors.applied.iter().map(|floor| floor.role.as_str());
        assert_eq!(bound.collect::<Vec<_>>(), ["targets"]);
        // By a root key in common all of them bind.
        let floors = Floors::of_tuf(&kept, &keys(&[5]), &files, owner("later"));
        assert_eq!(floors.applied.len(), 3);
    }

    #[test]
    fn a_root_is_confirmed_by_the_highest_root_floor_of_its_chain_over_its_very_bytes_alone() {
        let seen = |role: &str, version: u64, bytes: &str| Floor {
            version,
            signed: Digest::of(bytes.as_bytes()),
            ..floor(role, &[1])
        };
        let confirm = |kept: &[Floor], version: u64, bytes: &str| {
            Floors::of(kept, &keys(&[1])).confirm(version, &Digest::of(bytes.as_bytes()))
        };
        let kept = [
            seen("root", 3, "older root"),
            seen("root", 4, "root"),
            seen("timestamp", 9, "timestamp"),
        ];
        assert!(confirm(&kept, 4, "root"));
        assert!(!confirm(&kept, 4, "another root"));
        assert!(!confirm(&kept, 5, "root"));
        assert!(!confirm(&kept, 3, "older root"));
        assert!(!confirm(&kept, 9, "timestamp"));
        assert!(!confirm(&kept, 7, "never seen"));
        assert!(!confirm(&[], 4, "root"));
        assert!(!confirm(&[floor("root", &[2])], 3, ""));
        assert!(confirm(&[floor("root", &[1])], 3, ""));
    }

    #[test]
    fn a_role_is_replaced_when_too_few_old_keys_are_left_to_sign_as_before() {
        let two = Floor {
            keys: keys(&[1, 2, 3]),
            threshold: 2,
            ..floor("targets", &[1])
        };
        assert!(!is_replaced(&two, &keys(&[2, 3, 4]), 2));
        assert!(is_replaced(&two, &keys(&[3, 4, 5]), 2));
        // With a lower threshold the one that is left can sign alone, and files that it signed
        // before verify still.
        assert!(!is_replaced(&two, &keys(&[3, 4, 5]), 1));
        assert!(is_replaced(&two, &keys(&[4, 5, 6]), 1));
    }
}

//! The chain of root files: within the pins, each signed by the one before and by itself, for this
//! repository's name.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::budget::Budget;
use crate::format::Format;
use crate::image::Repository;
use crate::key::PublicKey;
use crate::refusal::shown;
use crate::role::Role;
use crate::root::Root;
use crate::{Certificate, Code, KeyId, Refusal, threshold};

use super::KeyPins;

/// A chain of root files that holds up to its last one, whose expiry has not been looked at.
#[derive(Debug)]
pub(super) struct RootChain {
    pub(super) last: Root,
    /// The bytes of the last file.
    pub(super) bytes: Vec<u8>,
    /// Canonical IDs of the root role's keys over all files of the chain.
    pub(super) keys: BTreeSet<KeyId>,
}

impl RootChain {
    /// Begins with a root file that nothing but the pins and its own signatures speak for.
    pub(super) fn begin(
        bytes: Vec<u8>,
        gun: &Repository,
        pins: &KeyPins,
        budget: &mut Budget,
    ) -> Result<Self, Refusal> {
        let last = Root::read(Format::Notary, "root.json", &bytes, budget)?;
        check_pins(&last, pins)?;
        check_signatures(&last, &last.role, gun, pins, budget)?;
        Ok(Self {
            keys: last.role.ids(),
            last,
            bytes,
        })
    }

    /// Goes on with the file of the next version. The expiry of a file in the middle doesn't count
    /// (TUF 1.0.34, section 5.3.6).
    pub(super) fn extend(
        self,
        bytes: Vec<u8>,
        gun: &Repository,
        pins: &KeyPins,
        budget: &mut Budget,
    ) -> Result<Self, Refusal> {
        let file = format!("{}.root.json", self.last.next_version());
        let next = Root::read(Format::Notary, &file, &bytes, budget)?;
        next.check_follows(&self.last)?;
        check_pins(&next, pins)?;
        check_signatures(&next, &self.last.role, gun, pins, budget)?;
        check_signatures(&next, &next.role, gun, pins, budget)?;
        let mut keys = self.keys;
        keys.append(&mut next.role.ids());
        Ok(Self {
            last: next,
            bytes,
            keys,
        })
    }

    /// Refuses a chain that ends in a file past its expiry, or, where the policy wants it, without
    /// enough certificates in force.
    pub(super) fn check_dates(
        &self,
        gun: &Repository,
        pins: &KeyPins,
        now: Timestamp,
        budget: &mut Budget,
    ) -> Result<(), Refusal> {
        let Root { envelope, role, .. } = &self.last;
        envelope.check_expiry(now)?;
        if !pins.certificate_dates {
            return Ok(());
        }
        let leaves = || {
            role.keys
                .iter()
                .filter_map(|key| Some((key, leaf_for(key, gun)?)))
        };
        let in_force = leaves().filter(|(_, leaf)| leaf.not_before <= now && now < leaf.not_after);
        let keys: Vec<&PublicKey> = in_force.map(|(key, _)| key.as_ref()).collect();
        let counted = threshold::signers(
            &keys,
            role.threshold,
            envelope.signed(),
            pins.counting(),
            budget,
        );
        match counted {
            Err(refusal) if refusal.code != Code::OverLimit => {
                let dates: Vec<_> = leaves()
                    .map(|(key, leaf)| {
                        format!(
                            "{} from {} to {}",
                            key.id(),
                            leaf.not_before,
                            leaf.not_after
                        )
                    })
                    .collect();
                let found = format!("root.json with certificates {}", dates.join(", "));
                let hint = "have the root key's certificate renewed, or set certificate-dates = \"ignore\" for the root: its key is what is pinned";
                let wanted = format!("certificates in force at {now:.0}");
                Err(Refusal::new(Code::Expired, found, wanted, hint))
            }
            counted => counted.map(|_| ()),
        }
    }
}

/// Off-spec: every key of the root role is one that is pinned, in every root, however it came here.
/// Notary asks for one such key in the first root, and never again.
fn check_pins(root: &Root, pins: &KeyPins) -> Result<(), Refusal> {
    root.check_revoked(&pins.revoked)?;
    let ids = root.role.ids();
    let unpinned = ids.difference(&pins.keys).collect::<Vec<_>>();
    if unpinned.is_empty() {
        return Ok(());
    }
    let found = format!(
        "{} (unverified) whose root role lists the key {}",
        root.envelope.shown(),
        KeyId::list(unpinned)
    );
    let wanted = format!("only keys of {}", KeyId::list(&pins.keys));
    let hint = "if the root key was changed, get the new key's ID from the publisher by another way than this server, and add it to the policy";
    let refusal = Refusal::new(Code::RootNotPinned, found, wanted, hint);
    if ids.is_disjoint(&pins.keys) {
        return Err(refusal.of_unpinned_root());
    }
    Err(refusal)
}

/// Whether enough keys of that root role signed the file, by certificates for this name.
fn check_signatures(
    root: &Root,
    role: &Role,
    gun: &Repository,
    pins: &KeyPins,
    budget: &mut Budget,
) -> Result<(), Refusal> {
    let (fitting, others): (Vec<&PublicKey>, Vec<_>) = role
        .keys
        .iter()
        .map(AsRef::as_ref)
        .partition(|key: &&PublicKey| leaf_for(key, gun).is_some());
    let signed = root.envelope.signed();
    match threshold::signers(&fitting, role.threshold, signed, pins.counting(), budget) {
        Err(refusal) if refusal.code == Code::BadSignature && !others.is_empty() => {
            let name = |key: &PublicKey| {
                let leaf = key.certificates().first();
                let name = leaf.and_then(|leaf| leaf.common_name.as_deref());
                name.map_or("none".to_owned(), shown)
            };
            let names: Vec<_> = others.into_iter().map(name).collect();
            Err(Refusal {
                found: format!(
                    "{}, and certificates for {}",
                    refusal.found,
                    names.join(", ")
                ),
                wanted: format!("{} in certificates for {gun}", refusal.wanted),
                ..refusal
            })
        }
        counted => counted.map(|_| ()),
    }
}

/// The certificate that lets this key sign for that repository: exactly one that is no authority's,
/// in the first place, not signed with a broken hash, in the repository's name.
fn leaf_for<'a>(key: &'a PublicKey, gun: &Repository) -> Option<&'a Certificate> {
    let (leaf, rest) = key.certificates().split_first()?;
    let alone = !leaf.authority && rest.iter().all(|certificate| certificate.authority);
    (alone && !leaf.weak && names(leaf.common_name.as_deref()?, gun.as_str())).then_some(leaf)
}

/// Off-spec: a wildcard is `/*` at the end. Notary takes `*` anywhere at the end, so that
/// `docker.io/acme*` is also for `docker.io/acme-evil`.
fn names(common_name: &str, gun: &str) -> bool {
    let below = |prefix: &str| {
        gun.strip_prefix(prefix)
            .is_some_and(|rest| rest.len() > 1 && rest.starts_with('/'))
    };
    common_name == gun
        || common_name
            .strip_suffix("/*")
            .is_some_and(|prefix| !prefix.is_empty() && below(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_for_its_exact_name_or_for_all_below_a_slash() {
        for good in ["docker.io/acme/app", "docker.io/acme/*", "docker.io/*"] {
            assert!(names(good, "docker.io/acme/app"), "{good}");
        }
        for bad in [
            "",
            "*",
            "/*",
            "docker.io/acme*",
            "docker.io/acme/app/*",
            "docker.io/acme/ap*",
            "docker.io/acme/**",
            "docker.io/acme",
            "docker.io/acme/app2",
            "docker.io/acme/",
        ] {
            assert!(!names(bad, "docker.io/acme/app"), "{bad}");
        }
        assert!(!names("docker.io/acme/*", "docker.io/acme-evil/app"));
    }
}

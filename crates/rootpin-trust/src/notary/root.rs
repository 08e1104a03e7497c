//! Root files: within the pins, each signed by the one before and by itself, for this repository's
//! name.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::budget::{Budget, ROOT_BYTES};
use crate::image::{Digest, Repository};
use crate::json::{Members, Value};
use crate::key::PublicKey;
use crate::refusal::shown;
use crate::root_file;
use crate::threshold;
use crate::{Code, Format, KeyId, Refusal, RootFile};

use super::KeyPins;
use super::envelope::{Envelope, malformed};
use super::role::Role;

/// One root file, read but not judged.
#[derive(Debug)]
struct Root {
    envelope: Envelope,
    role: Role,
    others: BTreeMap<&'static str, Role>,
}

/// A chain of root files that holds up to its last one, whose expiry has not been looked at.
#[derive(Debug)]
pub(super) struct Chain {
    last: Root,
    /// The bytes of the last file.
    pub(super) bytes: Vec<u8>,
    /// Canonical IDs of the root role's keys over all files of the chain.
    pub(super) keys: BTreeSet<KeyId>,
}

/// What a root file lists, for people; nothing of it is judged.
pub(crate) fn list_root(bytes: &[u8]) -> Result<RootFile, Refusal> {
    let budget = &mut Budget::new();
    let Root { envelope, role, .. } = Root::read("root.json", bytes, budget)?;
    // Former certificates stay among the keys, though no role lists them. One that stands under
    // another's ID is nobody's.
    let all = envelope
        .body
        .get("keys")
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(Members::iter);
    let all: Vec<_> = all
        .filter_map(|(id, key)| {
            PublicKey::from_json(key)
                .ok()
                .filter(|key| key.scoped_id() == id)
        })
        .collect();
    let signers = root_file::signers(&all, envelope.signed(), budget)?;
    let (version, expires, sha256) = (envelope.version, envelope.expires, Digest::of(bytes));
    Ok(RootFile {
        format: Format::Notary,
        version,
        expires,
        sha256,
        threshold: role.threshold,
        keys: role.keys,
        signers,
    })
}

impl Chain {
    /// Begins with a root file that nothing but the pins and its own signatures speak for.
    pub(super) fn begin(
        bytes: Vec<u8>,
        gun: &Repository,
        pins: &KeyPins,
        budget: &mut Budget,
    ) -> Result<Self, Refusal> {
        let last = Root::read("root.json", &bytes, budget)?;
        last.check_pins(pins)?;
        last.check_signatures_of(&last.role, gun, pins, budget)?;
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
        let version = self.next_version();
        let file = format!("{version}.root.json");
        let next = Root::read(&file, &bytes, budget)?;
        // Off-spec: Notary takes any version that is not lower.
        if next.envelope.version != version {
            return Err(malformed(
                &file,
                &format!("version {}, wanted {version}", next.envelope.version),
            ));
        }
        next.check_pins(pins)?;
        next.check_signatures_of(&self.last.role, gun, pins, budget)?;
        next.check_signatures_of(&next.role, gun, pins, budget)?;
        let mut keys = self.keys;
        keys.append(&mut next.role.ids());
        Ok(Self {
            last: next,
            bytes,
            keys,
        })
    }

    /// The version to ask for next.
    pub(super) fn next_version(&self) -> u64 {
        self.last.envelope.version.saturating_add(1)
    }

    /// The last file.
    pub(super) fn envelope(&self) -> &Envelope {
        &self.last.envelope
    }

    /// The root role as the last file lists it.
    pub(super) fn root(&self) -> &Role {
        &self.last.role
    }

    /// Another role as the last file lists it.
    pub(super) fn role(&self, name: &str) -> Result<&Role, Refusal> {
        self.last.others.get(name).ok_or_else(|| {
            let found = format!(
                "root.json version {} without it",
                self.last.envelope.version
            );
            Refusal::new(
                Code::RoleMissing,
                found,
                format!("the role {name}"),
                "the repository is not complete; ask its publisher",
            )
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
        self.last.envelope.check_expiry(now)?;
        if !pins.certificate_dates {
            return Ok(());
        }
        let in_force = |key: &&PublicKey| {
            leaf_for(key, gun).is_some_and(|leaf| leaf.not_before <= now && now < leaf.not_after)
        };
        let keys: Vec<_> = self.last.role.keys.iter().filter(in_force).collect();
        threshold::signers(&keys, self.last.role.threshold, self.last.envelope.signed(), pins.counting(), budget).map_err(|refusal| {
            if refusal.code == Code::OverLimit {
                return refusal;
            }
            let dates = self.last.role.keys.iter().filter_map(|key| Some((key.id(), leaf_for(key, gun)?)));
            let dates: Vec<_> = dates.map(|(id, leaf)| format!("{id} from {} to {}", leaf.not_before, leaf.not_after)).collect();
            let found = format!("root.json with certificates {}", dates.join(", "));
            let hint =
                "have the root key's certificate renewed, or set certificate-dates = \"ignore\" for the root: its key is what is pinned";
            Refusal::new(Code::Expired, found, format!("certificates in force at {now:.0}"), hint)
        })?;
        Ok(())
    }
}

impl Root {
    fn read(file: &str, bytes: &[u8], budget: &mut Budget) -> Result<Self, Refusal> {
        budget.take_root()?;
        let envelope = Envelope::read(file, "Root", bytes, ROOT_BYTES, budget)?;
        let keys = envelope.body.get("keys");
        let listing = |name: &str| envelope.body.get("roles").and_then(|roles| roles.get(name));
        let root = listing("root").ok_or_else(|| envelope.malformed("no root role"))?;
        let role = Role::read("root", root, keys, &envelope)?;
        if role.keys.is_empty() {
            return Err(envelope.malformed("a root role without keys"));
        }
        let mut others = BTreeMap::new();
        for name in ["timestamp", "snapshot", "targets"] {
            if let Some(listing) = listing(name) {
                others.insert(name, Role::read(name, listing, keys, &envelope)?);
            }
        }
        Ok(Self {
            envelope,
            role,
            others,
        })
    }

    /// Off-spec: every key of the root role is one that is pinned, in every root, however it came
    /// here. Notary asks for one such key in the first root, and never again.
    fn check_pins(&self, pins: &KeyPins) -> Result<(), Refusal> {
        let keys = self.role.ids();
        let revoked = keys.intersection(&pins.revoked).collect::<Vec<_>>();
        if !revoked.is_empty() {
            let found = format!(
                "{} whose root role lists the revoked key {}",
                self.envelope.file,
                threshold::list(revoked)
            );
            return Err(Refusal::new(
                Code::Revoked,
                found,
                "a root role without it",
                "have the publisher rotate the root key",
            ));
        }
        let unpinned = keys.difference(&pins.keys).collect::<Vec<_>>();
        if unpinned.is_empty() {
            return Ok(());
        }
        let found = format!(
            "{} version {} (unverified) whose root role lists the key {}",
            self.envelope.file,
            self.envelope.version,
            threshold::list(unpinned)
        );
        let hint = "if the root key was changed, get the new key's ID from the publisher by another way than this server, and add it to the policy";
        Err(Refusal::new(
            Code::RootNotPinned,
            found,
            format!("only keys of {}", threshold::list(&pins.keys)),
            hint,
        )
        .of_unpinned_root())
    }

    /// Whether enough keys of that root role signed this file, by certificates for this name.
    fn check_signatures_of(
        &self,
        role: &Role,
        gun: &Repository,
        pins: &KeyPins,
        budget: &mut Budget,
    ) -> Result<(), Refusal> {
        let keys: Vec<_> = role
            .keys
            .iter()
            .filter(|key| leaf_for(key, gun).is_some())
            .collect();
        threshold::signers(
            &keys,
            role.threshold,
            self.envelope.signed(),
            pins.counting(),
            budget,
        )
        .map_err(|mut refusal| {
            let names = role
                .keys
                .iter()
                .filter(|key| leaf_for(key, gun).is_none())
                .map(|key| {
                    let name = key
                        .certificates()
                        .first()
                        .and_then(|leaf| leaf.common_name.as_deref());
                    name.map_or("none".to_owned(), shown)
                });
            let names: Vec<_> = names.collect();
            if refusal.code == Code::BadSignature && !names.is_empty() {
                refusal.found = format!(
                    "{}, and certificates for {}",
                    refusal.found,
                    names.join(", ")
                );
                refusal.wanted = format!("{} in certificates for {gun}", refusal.wanted);
            }
            refusal
        })?;
        Ok(())
    }
}

/// The certificate that lets this key sign for that repository: exactly one that is no authority's,
/// in the first place, not signed with a broken hash, in the repository's name.
fn leaf_for<'a>(
    key: &'a PublicKey,
    gun: &Repository,
) -> Option<&'a crate::certificate::Certificate> {
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

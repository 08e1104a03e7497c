//! What the files of a repository say, for whoever audits a host: nothing is judged by pins here,
//! and no decision rests on it.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::budget::{Budget, ROOT_BYTES, SNAPSHOT_BYTES, TIMESTAMP_BYTES};
use crate::image::Digest;
use crate::json::{Members, Value};
use crate::key::PublicKey;
use crate::threshold::{self, Counting};
use crate::{KeyId, Refusal};

use super::envelope::{Envelope, list};
use super::role::Role;
use super::targets::Targets;

/// Reads the files of one repository, within one budget.
#[derive(Debug)]
pub struct Inspection {
    budget: Budget,
}

/// A role: its keys as they are listed, and how many must sign.
#[derive(Debug, Clone)]
pub struct ListedRole {
    /// `root`, `targets`, `targets/releases`, …
    pub name: String,
    /// Its keys.
    pub keys: Vec<PublicKey>,
    /// Its threshold.
    pub threshold: u64,
}

/// One root file.
#[derive(Debug)]
pub struct ListedRoot {
    /// The file.
    pub file: SeenFile,
    /// The root role first, then the others that it lists, by name.
    pub roles: Vec<ListedRole>,
    /// Keys that no role lists: Notary leaves former root certificates where they were.
    pub left_over: Vec<PublicKey>,
    envelope: Envelope,
}

/// A file, and whether enough keys of its role signed it.
#[derive(Debug, Clone)]
pub struct SeenFile {
    /// `version`
    pub version: u64,
    /// `expires`
    pub expires: Timestamp,
    /// Digest of the file.
    pub sha256: Digest,
    /// Canonical IDs of the role's keys that signed.
    pub signers: BTreeSet<KeyId>,
    /// Whether they are as many as the threshold.
    pub signed: bool,
}

/// The file of `targets` or of a role below it.
#[derive(Debug)]
pub struct ListedTargets {
    /// The file.
    pub file: SeenFile,
    /// How many names it gives.
    pub names: usize,
    /// Whom it delegates to, and which prefixes of names.
    pub delegations: Vec<(ListedRole, Vec<String>)>,
}

impl Default for Inspection {
    fn default() -> Self {
        Self {
            budget: Budget::new(),
        }
    }
}

impl Inspection {
    /// Reads a root file. Its signatures are held to its own root role.
    ///
    /// # Errors
    /// It is none, or too much.
    pub fn root(&mut self, name: &str, bytes: &[u8]) -> Result<ListedRoot, Refusal> {
        self.budget.take_root()?;
        let envelope = Envelope::read(name, "Root", bytes, ROOT_BYTES, &mut self.budget)?;
        let keys = envelope.body.get("keys");
        let listed = envelope
            .body
            .get("roles")
            .and_then(Value::as_object)
            .ok_or_else(|| envelope.malformed("no roles"))?;
        let mut roles = Vec::new();
        for (name, listing) in listed.iter() {
            roles.push(ListedRole::of(Role::read(name, listing, keys, &envelope)?));
        }
        // The root first; the others as they stand, by name.
        roles.sort_by_key(|role| role.name != "root");
        let root = roles
            .first()
            .filter(|role| role.name == "root")
            .ok_or_else(|| envelope.malformed("no root role"))?;
        let file = self.seen(bytes, &envelope, root)?;
        let in_roles: BTreeSet<&str> = roles
            .iter()
            .flat_map(|role| &role.keys)
            .map(PublicKey::scoped_id)
            .collect();
        let all = keys
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(Members::iter);
        let rest = all.filter(|(id, _)| !in_roles.contains(id));
        // One that stands under another's ID is nobody's.
        let left_over = rest
            .filter_map(|(id, key)| {
                PublicKey::from_json(key)
                    .ok()
                    .filter(|key| key.scoped_id() == id)
            })
            .collect();
        Ok(ListedRoot {
            file,
            roles,
            left_over,
            envelope,
        })
    }

    /// Whether enough of the root role's keys in `before` signed the root file that follows.
    ///
    /// # Errors
    /// Too many signatures.
    pub fn follows(&mut self, before: &ListedRoot, next: &ListedRoot) -> Result<bool, Refusal> {
        let Some(root) = before.roles.first() else {
            return Ok(false);
        };
        Ok(enough(&self.signers(root, &next.envelope)?, root.threshold))
    }

    /// Reads the file of `targets` or of a role below it.
    ///
    /// # Errors
    /// It is none, or too much.
    pub fn targets(&mut self, role: &ListedRole, bytes: &[u8]) -> Result<ListedTargets, Refusal> {
        let targets = Targets::read(&role.name, bytes, &mut self.budget)?;
        let delegations = targets.envelope.body.get("delegations");
        let listings =
            list(delegations.and_then(|delegations| delegations.get("roles"))).unwrap_or_default();
        let mut children = Vec::new();
        for listing in listings {
            let child = listing
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let delegation = targets.delegation(&role.name, child)?;
            children.push((ListedRole::of(delegation.role), delegation.paths));
        }
        let file = self.seen(bytes, &targets.envelope, role)?;
        Ok(ListedTargets {
            file,
            names: targets.targets.len(),
            delegations: children,
        })
    }

    /// Reads the snapshot or the timestamp file.
    ///
    /// # Errors
    /// It is none, or too much.
    pub fn plain(&mut self, role: &ListedRole, bytes: &[u8]) -> Result<SeenFile, Refusal> {
        let (kind, most) = if role.name == "timestamp" {
            ("Timestamp", TIMESTAMP_BYTES)
        } else {
            ("Snapshot", SNAPSHOT_BYTES)
        };
        let envelope = Envelope::read(
            &format!("{}.json", role.name),
            kind,
            bytes,
            most,
            &mut self.budget,
        )?;
        self.seen(bytes, &envelope, role)
    }

    fn seen(
        &mut self,
        bytes: &[u8],
        envelope: &Envelope,
        role: &ListedRole,
    ) -> Result<SeenFile, Refusal> {
        let signers = self.signers(role, envelope)?;
        let signed = enough(&signers, role.threshold);
        Ok(SeenFile {
            version: envelope.version,
            expires: envelope.expires,
            sha256: Digest::of(bytes),
            signers,
            signed,
        })
    }

    fn signers(
        &mut self,
        role: &ListedRole,
        envelope: &Envelope,
    ) -> Result<BTreeSet<KeyId>, Refusal> {
        let keys: Vec<&PublicKey> = role.keys.iter().collect();
        let counting = Counting {
            revoked: &BTreeSet::new(),
            allow_rsa_pkcs1v15: true,
        };
        threshold::signers(&keys, 0, envelope.signed(), counting, &mut self.budget)
    }
}

impl ListedRole {
    /// Canonical IDs of the keys.
    #[must_use]
    pub fn ids(&self) -> BTreeSet<KeyId> {
        self.keys.iter().map(PublicKey::id).collect()
    }

    fn of(role: Role) -> Self {
        Self {
            name: role.name,
            keys: role.keys,
            threshold: role.threshold,
        }
    }
}

impl ListedRoot {
    /// A role as the file lists it.
    #[must_use]
    pub fn role(&self, name: &str) -> Option<&ListedRole> {
        self.roles.iter().find(|role| role.name == name)
    }
}

fn enough(signers: &BTreeSet<KeyId>, threshold: u64) -> bool {
    u64::try_from(signers.len()).unwrap_or(u64::MAX) >= threshold
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(path: &str) -> Vec<u8> {
        std::fs::read(format!(
            "{}/../../tests/data/notary/{path}",
            env!("CARGO_MANIFEST_DIR")
        ))
        .unwrap()
    }

    #[test]
    fn a_chain_of_real_roots_is_followed_and_former_certificates_are_left_over() {
        let mut inspection = Inspection::default();
        let roots: Vec<_> = (1..=6)
            .map(|version| {
                inspection
                    .root(
                        "root.json",
                        &data(&format!("vectors/rotations/{version}.root.json")),
                    )
                    .unwrap()
            })
            .collect();
        for pair in roots.windows(2) {
            assert!(pair[1].file.signed && inspection.follows(&pair[0], &pair[1]).unwrap());
        }
        assert!(
            !inspection.follows(&roots[5], &roots[0]).unwrap(),
            "the first is not signed by the last one's keys"
        );
        let first = &roots[0].roles[0].keys[0];
        assert!(
            roots[5]
                .left_over
                .iter()
                .any(|key| key.scoped_id() == first.scoped_id())
        );
        assert!(roots[0].left_over.is_empty());
    }

    #[test]
    fn delegations_are_read_with_their_signers() {
        let mut inspection = Inspection::default();
        let root = inspection
            .root("root.json", &data("vectors/delegations/root.json"))
            .unwrap();
        let targets = inspection
            .targets(
                root.role("targets").unwrap(),
                &data("vectors/delegations/targets.json"),
            )
            .unwrap();
        assert!(targets.file.signed);
        let (releases, paths) = targets
            .delegations
            .iter()
            .find(|(role, _)| role.name == "targets/releases")
            .unwrap();
        assert_eq!(
            (releases.keys.len(), paths.as_slice()),
            (4, &[String::new()][..])
        );
        let file = inspection
            .targets(releases, &data("vectors/delegations/targets/releases.json"))
            .unwrap();
        assert!(file.file.signed && file.names > 0);
        assert_eq!(file.file.signers.len(), 4);
        let others = root.role("timestamp").unwrap().clone();
        let other_keys = ListedRole {
            name: releases.name.clone(),
            ..others
        };
        let file = inspection
            .targets(
                &other_keys,
                &data("vectors/delegations/targets/releases.json"),
            )
            .unwrap();
        assert!(!file.file.signed && file.file.signers.is_empty());
    }
}

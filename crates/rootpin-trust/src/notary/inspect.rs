//! The contents of a repository's files, for an audit. Nothing is judged by pins here, and no
//! decision rests on it.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::budget::{Budget, SNAPSHOT_BYTES, TIMESTAMP_BYTES};
use crate::envelope::Envelope;
use crate::format::Format;
use crate::image::Digest;
use crate::key::PublicKey;
use crate::role::Role;
use crate::root::Root;
use crate::root_file::signers;
use crate::{KeyId, Refusal};

use super::targets::TargetsFile;

/// Reads the files of one repository, within one budget.
#[derive(Debug)]
pub struct Inspection {
    budget: Budget,
}

/// One root file.
#[derive(Debug)]
pub struct ListedRoot {
    /// The file.
    pub file: SeenFile,
    /// The root role first, then the others that it lists, by name.
    pub roles: Vec<Role>,
    /// All keys that the file lists, also those that no role has: Notary leaves former root
    /// certificates where they were.
    pub listed: Vec<PublicKey>,
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
    /// The number of names that it gives.
    pub names: usize,
    /// Names whose entries have no SHA-256: they can be no images, and are not among those.
    pub without_sha256: Vec<String>,
    /// The roles that it delegates to, each with its prefixes of names.
    pub delegations: Vec<(Role, Vec<String>)>,
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
        let root = Root::read(Format::Notary, name, bytes, &mut self.budget)?;
        let file = self.seen(bytes, &root.envelope, &root.role)?;
        let listed = root.all_keys();
        let roles = [root.role].into_iter().chain(root.others.into_values());
        Ok(ListedRoot {
            file,
            roles: roles.collect(),
            listed,
            envelope: root.envelope,
        })
    }

    /// Whether enough of the root role's keys in `before` signed the root file that follows.
    ///
    /// # Errors
    /// Too many signatures.
    pub fn follows(&mut self, before: &ListedRoot, next: &ListedRoot) -> Result<bool, Refusal> {
        let Some(root) = before.role("root") else {
            return Ok(false);
        };
        Ok(enough(&self.signers(root, &next.envelope)?, root))
    }

    /// Reads the file of `targets` or of a role below it.
    ///
    /// # Errors
    /// It is none, or too much.
    pub fn targets(&mut self, role: &Role, bytes: &[u8]) -> Result<ListedTargets, Refusal> {
        let targets = TargetsFile::read(&role.name, bytes, &mut self.budget)?;
        Ok(ListedTargets {
            delegations: targets.delegations(&role.name)?,
            file: self.seen(bytes, &targets.envelope, role)?,
            names: targets.targets.len(),
            without_sha256: targets.without_sha256,
        })
    }

    /// Reads the snapshot or the timestamp file.
    ///
    /// # Errors
    /// It is none, or too much.
    pub fn plain(&mut self, role: &Role, bytes: &[u8]) -> Result<SeenFile, Refusal> {
        let (file, most) = match role.name.as_str() {
            "timestamp" => ("timestamp.json", TIMESTAMP_BYTES),
            _ => ("snapshot.json", SNAPSHOT_BYTES),
        };
        let budget = &mut self.budget;
        let envelope = Envelope::read(Format::Notary, file, &role.name, bytes, most, budget)?;
        self.seen(bytes, &envelope, role)
    }

    fn seen(&mut self, bytes: &[u8], file: &Envelope, role: &Role) -> Result<SeenFile, Refusal> {
        let signers = self.signers(role, file)?;
        Ok(SeenFile {
            version: file.version,
            expires: file.expires,
            sha256: Digest::of(bytes),
            signed: enough(&signers, role),
            signers,
        })
    }

    fn signers(&mut self, role: &Role, file: &Envelope) -> Result<BTreeSet<KeyId>, Refusal> {
        signers(role.keys.iter().map(AsRef::as_ref), file, &mut self.budget)
    }
}

impl ListedRoot {
    /// A role as the file lists it.
    #[must_use]
    pub fn role(&self, name: &str) -> Option<&Role> {
        self.roles.iter().find(|role| role.name == name)
    }
}

fn enough(signers: &BTreeSet<KeyId>, role: &Role) -> bool {
    u64::try_from(signers.len()).unwrap_or(u64::MAX) >= role.threshold
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
    fn a_chain_of_real_roots_is_followed_and_former_certificates_stay_listed_without_a_role() {
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
        let first = roots[0].roles[0].keys[0].scoped_id();
        let of_roles = |root: &ListedRoot| -> BTreeSet<String> {
            let keys = root.roles.iter().flat_map(|role| &role.keys);
            keys.map(|key| key.scoped_id().to_owned()).collect()
        };
        let last = &roots[5];
        assert!(last.listed.iter().any(|key| key.scoped_id() == first));
        assert!(!of_roles(last).contains(first));
        assert_eq!(of_roles(&roots[0]).len(), roots[0].listed.len());
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
        let other_keys = Role {
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

    #[test]
    fn a_file_of_many_delegations_is_read_once_and_not_once_for_each() {
        let key = r#"{"keytype":"ed25519","keyval":{"private":null,"public":"AAAA"}}"#;
        let id = Digest::of(key.as_bytes()).hex();
        let role = |number| {
            format!(r#"{{"keyids":["{id}"],"name":"targets/{number}","paths":[""],"threshold":1}}"#)
        };
        let roles: Vec<_> = (0..20_000).map(role).collect();
        let file = format!(
            r#"{{"signatures":[],"signed":{{"_type":"Targets","delegations":{{"keys":{{"{id}":{key}}},"roles":[{}]}},"expires":"2030-01-01T00:00:00Z","version":1}}}}"#,
            roles.join(",")
        );
        let targets = Role {
            name: "targets".to_owned(),
            keys: Vec::new(),
            threshold: 1,
        };
        let begun = std::time::Instant::now();
        let read = Inspection::default().targets(&targets, file.as_bytes());
        assert_eq!(read.unwrap().delegations.len(), roles.len());
        // Looked through anew for each, it would take the better part of an hour.
        assert!(begun.elapsed() < std::time::Duration::from_secs(60));
    }
}

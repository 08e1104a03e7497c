//! One repository of a trust directory: its roles, its keys, and whether its files hold by
//! themselves.

use std::collections::{BTreeMap, BTreeSet};

use super::report::{
    ChainLink, ListedCertificate, ListedKey, ReportedKey, TrustedFile, TrustedRepository,
    TrustedRole,
};
use crate::observe::plain;
use rootpin_trust::notary::{Inspection, ListedRoot, SeenFile};
use rootpin_trust::{Fingerprint, KeyId, PublicKey, Refusal, Role};

/// What the files of a repository say, and which of them could not be read.
#[derive(Debug)]
pub(super) struct InspectedRepository {
    pub(super) repository: TrustedRepository,
    pub(super) refused: Vec<(String, Refusal)>,
}

/// Reads the metadata files of a repository, by their paths below `metadata/`.
pub(super) fn inspect(name: &str, files: &BTreeMap<String, Vec<u8>>) -> InspectedRepository {
    let repository = TrustedRepository {
        repository: plain(name),
        ..TrustedRepository::default()
    };
    let mut this = Reading {
        inspection: Inspection::default(),
        files,
        found: InspectedRepository {
            repository,
            refused: Vec::new(),
        },
    };
    if let Some(root) = this.roots() {
        this.take_root(&root);
        for role in ["snapshot", "timestamp"] {
            if let Some((role, bytes)) = root.role(role).zip(files.get(&format!("{role}.json"))) {
                let seen = this.inspection.plain(role, bytes);
                this.file(&role.name, seen);
            }
        }
        if let Some(targets) = root.role("targets") {
            this.targets(targets);
        }
    }
    this.found
}

struct Reading<'a> {
    inspection: Inspection,
    files: &'a BTreeMap<String, Vec<u8>>,
    found: InspectedRepository,
}

impl Reading<'_> {
    /// Every root file that is there, as a chain; the newest of them, or `root.json` where it is as
    /// new.
    fn roots(&mut self) -> Option<ListedRoot> {
        let mut roots: BTreeMap<u64, ListedRoot> = BTreeMap::new();
        let versioned = |name: &String| {
            name.strip_suffix(".root.json")
                .is_some_and(|version| version.bytes().all(|byte| byte.is_ascii_digit()))
        };
        for (name, bytes) in self
            .files
            .iter()
            .filter(|(name, _)| *name == "root.json" || versioned(name))
        {
            match self.inspection.root(name, bytes) {
                Ok(root) => {
                    if name == "root.json" || !roots.contains_key(&root.file.version) {
                        roots.insert(root.file.version, root);
                    }
                }
                Err(refusal) => self.found.refused.push((name.clone(), refusal)),
            }
        }
        let mut before: Option<&ListedRoot> = None;
        for root in roots.values() {
            let link = self.link(before, root);
            self.found.repository.chain.push(link);
            before = Some(root);
        }
        roots.pop_last().map(|(_, root)| root)
    }

    fn link(&mut self, before: Option<&ListedRoot>, root: &ListedRoot) -> ChainLink {
        let keys = |root: &ListedRoot| -> BTreeSet<ReportedKey> {
            let of = |role: &Role| {
                role.ids()
                    .into_iter()
                    .map(|key| ReportedKey {
                        role: plain(&role.name),
                        key: key.to_string(),
                    })
                    .collect::<Vec<_>>()
            };
            root.roles.iter().flat_map(of).collect()
        };
        let (now, then) = (keys(root), before.map(keys).unwrap_or_default());
        let next_to =
            before.filter(|before| before.file.version.checked_add(1) == Some(root.file.version));
        let linked = next_to.map(|before| self.inspection.follows(before, root));
        let linked = linked.transpose().unwrap_or_else(|refusal| {
            self.found
                .refused
                .push((format!("{}.root.json", root.file.version), refusal));
            None
        });
        ChainLink {
            version: root.file.version,
            sha256: root.file.sha256.to_string(),
            linked,
            introduced: now.difference(&then).cloned().collect(),
            dropped: then.difference(&now).cloned().collect(),
        }
    }

    fn take_root(&mut self, root: &ListedRoot) {
        self.file("root", Ok(root.file.clone()));
        let repository = &mut self.found.repository;
        repository.roles = root
            .roles
            .iter()
            .map(|role| trusted_role(role, None))
            .collect();
        let has_role = |key: &PublicKey| {
            let mut all = root.roles.iter().flat_map(|role| &role.keys);
            all.any(|known| known.scoped_id() == key.scoped_id())
        };
        let left_over = root.listed.iter().filter(|key| !has_role(key));
        repository.left_over = left_over.map(listed_key).collect();
    }

    /// `targets`, and all that is delegated from there as far as its files are here.
    fn targets(&mut self, targets: &Role) {
        let mut waiting = vec![targets.clone()];
        let mut seen = BTreeSet::new();
        while let Some(role) = waiting.pop() {
            let Some(bytes) = self
                .files
                .get(&format!("{}.json", role.name))
                .filter(|_| seen.insert(role.name.clone()))
            else {
                continue;
            };
            match self.inspection.targets(&role, bytes) {
                Ok(listed) => {
                    self.file(&role.name, Ok(listed.file));
                    for (child, paths) in listed.delegations {
                        let paths = paths.iter().map(|path| plain(path)).collect();
                        self.found
                            .repository
                            .roles
                            .push(trusted_role(&child, Some(paths)));
                        waiting.push(child);
                    }
                }
                Err(refusal) => self.file(&role.name, Err(refusal)),
            }
        }
    }

    fn file(&mut self, role: &str, seen: Result<SeenFile, Refusal>) {
        let name = format!("{role}.json");
        match seen {
            Ok(seen) => {
                let file = TrustedFile {
                    version: seen.version,
                    expires: seen.expires.to_string(),
                    sha256: seen.sha256.to_string(),
                    signed: seen.signed,
                    signers: seen.signers.iter().map(KeyId::to_string).collect(),
                };
                self.found.repository.files.insert(plain(&name), file);
            }
            Err(refusal) => self.found.refused.push((name, refusal)),
        }
    }
}

fn trusted_role(role: &Role, paths: Option<Vec<String>>) -> TrustedRole {
    TrustedRole {
        name: plain(&role.name),
        threshold: role.threshold,
        keys: role.keys.iter().map(|key| listed_key(key)).collect(),
        paths,
    }
}

fn listed_key(key: &PublicKey) -> ListedKey {
    let certificate = key
        .certificates()
        .first()
        .map(|certificate| ListedCertificate {
            subject: certificate.common_name.as_deref().map(plain),
            not_before: certificate.not_before.to_string(),
            not_after: certificate.not_after.to_string(),
        });
    ListedKey {
        id: key.id().to_string(),
        listed_as: key.scoped_id().to_owned(),
        fingerprint: Fingerprint::of(key).map(|fingerprint| fingerprint.to_string()),
        certificate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &str, names: &[&str]) -> BTreeMap<String, Vec<u8>> {
        let read = |name: &str| {
            std::fs::read(format!(
                "{}/tests/data/notary/{folder}/{name}",
                env!("CARGO_MANIFEST_DIR")
            ))
            .unwrap()
        };
        names
            .iter()
            .map(|name| ((*name).to_owned(), read(name)))
            .collect()
    }

    #[test]
    fn a_rotation_is_followed_to_the_version_that_introduced_each_key() {
        let names = [
            "1.root.json",
            "2.root.json",
            "3.root.json",
            "4.root.json",
            "5.root.json",
            "6.root.json",
            "root.json",
        ];
        let InspectedRepository {
            repository,
            refused,
        } = inspect(
            "registry.example.com/acme/rot",
            &files("vectors/rotations", &names),
        );
        assert!(refused.is_empty(), "{refused:?}");
        let changed: Vec<_> = repository
            .chain
            .iter()
            .map(|link| {
                link.introduced
                    .iter()
                    .map(|one| one.role.as_str())
                    .collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(
            changed[1..],
            [
                vec!["targets"],
                vec!["root"],
                vec!["root"],
                vec!["timestamp"],
                vec!["snapshot"]
            ]
        );
        assert_eq!(repository.chain[0].linked, None);
        assert!(
            repository.chain[1..]
                .iter()
                .all(|link| link.linked == Some(true))
        );
        // The root key of the third version went with the fourth.
        assert_eq!(repository.chain[2].introduced, repository.chain[3].dropped);
        assert!(!repository.left_over.is_empty());
        let first = inspect("r.example/a", &files("vectors/rotations", &names[..1]));
        assert!(first.repository.left_over.is_empty());
    }

    #[test]
    fn a_chain_with_a_gap_says_so_and_a_root_of_another_chain_does_not_follow() {
        let gap = inspect(
            "r.example/a",
            &files("vectors/rotations", &["1.root.json", "3.root.json"]),
        );
        assert_eq!(gap.repository.chain[1].linked, None);
        let mut mixed = files("vectors/rotations", &["1.root.json"]);
        mixed.insert(
            "2.root.json".to_owned(),
            files("server/rotated/served2", &["2.root.json"])
                .remove("2.root.json")
                .unwrap(),
        );
        let mixed = inspect("r.example/a", &mixed);
        assert_eq!(mixed.repository.chain[1].linked, Some(false));
    }

    #[test]
    fn what_is_no_metadata_is_told_by_file() {
        let mut bad = files("vectors/delegations", &["root.json", "targets.json"]);
        bad.insert("targets/alice.json".to_owned(), b"{}".to_vec());
        bad.insert("snapshot.json".to_owned(), vec![b'['; 100_000]);
        let inspected = inspect("r.example/a", &bad);
        let refused: Vec<_> = inspected
            .refused
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(refused, ["snapshot.json", "targets/alice.json"]);
        assert!(inspected.repository.files["root.json"].signed);
        assert!(
            inspect(
                "r.example/a",
                &BTreeMap::from([("root.json".to_owned(), Vec::new())])
            )
            .repository
            .roles
            .is_empty()
        );
    }
}

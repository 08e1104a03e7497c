//! Brings what verified Notary repositories name into this repository, and says what differs.
//!
//! A tag that nobody but the holder of `targets` may sign goes into `targets`. Where the Notary
//! repository lets other keys sign a tag, it goes into a role for these keys and this repository
//! ([`signers_role`]), which the keys of `targets` may sign too: so the role is published with the
//! tags, and a signer's next signature takes their place, as it did at Notary. What was signed here
//! by hand is never overwritten, and what was taken out by hand ([`taken_out`]) is not brought again.

mod signers;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::PublishError;
use super::changes::{Edits, EntryEdit, RoleEntry, present};
use super::delegation_path::{deciding_role, lists, roles_for};
use super::draft::Draft;
use super::metadata::{Metadata, MetadataFile, delegated, name};
use super::taken_out::{self, SIGNERS};
use rootpin_trust::PublicKey;
use rootpin_trust::image::{Digest, Repository};
pub use signers::{SignersDifference, signers_role};

/// A verified repository of a Notary server.
#[derive(Debug, Clone)]
pub struct NotaryRepository {
    /// Its name.
    pub gun: Repository,
    /// Its tags.
    pub tags: BTreeMap<String, NotaryTag>,
    /// The keys that may sign tags of it beside those of `targets`.
    pub signers: Vec<NotarySigners>,
}

/// The image of a tag.
#[derive(Debug, Clone)]
pub struct NotaryTag {
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub length: u64,
    /// The role that names it.
    pub role: String,
}

/// The keys of a Notary role that names tags.
#[derive(Debug, Clone)]
pub struct NotarySigners {
    /// The role, as `targets/releases`.
    pub role: String,
    /// Its keys, each with the names that its holder has there.
    pub keys: Vec<(PublicKey, BTreeSet<String>)>,
    /// The tags that they may sign: those that begin with one of these, which are beginnings of tags
    /// and nothing else.
    pub prefixes: Vec<String>,
}

/// How one name here compares with Notary's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameDifference {
    /// `HOST/REPOSITORY:TAG`.
    pub name: String,
    /// The digest there.
    pub notary: Option<Digest>,
    /// The digest here, as the metadata has it.
    pub here: Option<String>,
    /// The role that decides the name here.
    pub role: Option<String>,
    /// Whether a take-over leaves it as it is: it was signed here by other hands, or taken out.
    pub kept: bool,
    /// What was taken out here by hand, and keeps it out: its name, or its role.
    pub taken_out: Option<String>,
}

/// What takes over one server's repositories.
#[derive(Debug)]
pub struct TakeOver {
    /// The server's URL, by which what was taken over is known again.
    pub server: String,
    /// The repositories that are taken over whole.
    pub repositories: Vec<NotaryRepository>,
    /// What was taken out here by hand, and is taken over again: names and roles.
    pub again: BTreeSet<String>,
}

impl TakeOver {
    /// The repositories of which something is signed here, or was taken out by hand, in full form.
    #[must_use]
    pub fn known(metadata: &Metadata) -> BTreeSet<String> {
        let repository_of = |path: &str| {
            let (repository, _) = path.rsplit_once(':')?;
            Some(repository.to_owned())
        };
        let documents = metadata
            .roles
            .keys()
            .filter_map(|role| Some(&metadata.newest(role)?.document));
        let mut known = BTreeSet::new();
        for document in documents {
            let names = document.members("targets").into_iter().flatten();
            known.extend(names.filter_map(|(path, _)| repository_of(path)));
            let signers = delegated(document).filter(|old| name(old).starts_with(SIGNERS));
            let paths = signers.filter_map(|old| old.get("paths")?.as_array());
            let paths = paths.flatten().filter_map(Value::as_str);
            known.extend(paths.filter_map(repository_of));
        }
        let taken_out = taken_out::all(metadata).into_iter();
        known.extend(taken_out.filter_map(repository_of));
        known
    }

    /// Every name that is another one here than at the Notary server, or only at one of the two.
    #[must_use]
    pub fn differences(&self, metadata: &Metadata) -> Vec<NameDifference> {
        let mut found = Vec::new();
        let taken_out = self.taken_out(metadata);
        let wanted = self.wanted(&taken_out);
        let names: BTreeSet<&String> = wanted.keys().chain(self.listed(metadata)).collect();
        for path in names {
            let notary = wanted.get(path).map(|(tag, _)| tag.digest);
            let decided = decided(metadata, path);
            let here = decided
                .as_ref()
                .map(|(_, value)| digest_of(value).unwrap_or_default());
            if notary.map(|digest| digest.hex()) == here {
                continue;
            }
            let out = wanted.get(path).and_then(|(_, role)| {
                let mut both = [path, role].into_iter();
                both.find(|what| taken_out.contains(what.as_str())).cloned()
            });
            found.push(NameDifference {
                name: path.clone(),
                notary,
                here: here.map(|hex| format!("sha256:{hex}")),
                kept: match &decided {
                    Some((_, value)) => !self.is_taken_over(value),
                    None => out.is_some(),
                },
                taken_out: out.filter(|_| decided.is_none()),
                role: decided.map(|(role, _)| role),
            });
        }
        found
    }

    /// The roles that are written: those of signers without what was taken out by hand.
    #[must_use]
    pub fn roles(&self, metadata: &Metadata) -> BTreeSet<String> {
        let signers = |repository: &NotaryRepository| {
            let role = |signers: &NotarySigners| signers_role(&repository.gun, &signers.role);
            repository.signers.iter().map(role).collect::<Vec<_>>()
        };
        let taken_out = self.taken_out(metadata);
        let of_signers = self.repositories.iter().flat_map(signers);
        of_signers
            .filter(|role| !taken_out.contains(role.as_str()))
            .chain(["targets".to_owned()])
            .collect()
    }

    /// Makes the change in a draft.
    ///
    /// # Errors
    /// The keys of `targets` can't sign alone, or a role of this repository ends the search for a name before it comes to where the name goes.
    pub fn edit(&self, draft: &mut Draft) -> Result<(), PublishError> {
        let authority = draft.next.authority("targets").ok_or_else(|| {
            PublishError::wrong("nothing may sign for targets", "rootpin repo status")
        })?;
        if authority.threshold > 1 && self.repositories.iter().any(|one| !one.signers.is_empty()) {
            return Err(PublishError::wrong(
                "targets wants several signatures here, and the signers of a Notary repository sign alone",
                "take these over into a repository whose targets role wants one signature, or delegate to their signers by hand",
            ));
        }
        let taken_out = self.taken_out(&draft.next);
        let mut edits = self.images(&draft.next, draft);
        let delegations = self.delegations(draft.document("targets"), &authority, &taken_out);
        for (role, record, edit) in taken_out::forgotten(&draft.next, &self.again) {
            edits.entry(role).or_default().insert(record, edit);
        }
        edits
            .entry("targets".to_owned())
            .or_default()
            .extend(delegations);
        let targets = edits.remove("targets").unwrap_or_default();
        draft.edit("targets", &targets, |_| false)?;
        // A role without a file would have hosts refuse every name that it may sign.
        for role in self.roles(&draft.next) {
            edits.entry(role).or_default();
        }
        for (role, edits) in &edits {
            draft.edit(role, edits, |_| false)?;
        }
        self.check_seen(draft)
    }

    /// The tags by their names, each with the role that it goes into. Where that was taken out here,
    /// what Notary's `targets` names goes into `targets`.
    fn wanted(&self, taken_out: &BTreeSet<&str>) -> BTreeMap<String, (&NotaryTag, String)> {
        let mut wanted = BTreeMap::new();
        for repository in &self.repositories {
            for (tag, image) in &repository.tags {
                let mut role = repository.role_of(tag);
                if taken_out.contains(role.as_str()) && image.role == "targets" {
                    "targets".clone_into(&mut role);
                }
                wanted.insert(format!("{}:{tag}", repository.gun), (image, role));
            }
        }
        wanted
    }

    /// The names of these repositories that a role here lists.
    fn listed<'a>(&self, metadata: &'a Metadata) -> impl Iterator<Item = &'a String> {
        let guns: BTreeSet<String> = self
            .repositories
            .iter()
            .map(|repository| repository.gun.to_string())
            .collect();
        metadata
            .roles
            .keys()
            .filter_map(|role| metadata.newest(role)?.document.members("targets"))
            .flat_map(Map::keys)
            .filter(move |path| {
                path.rsplit_once(':')
                    .is_some_and(|(repository, _)| guns.contains(repository))
            })
    }

    /// What was taken out here by hand, and stays out.
    fn taken_out<'a>(&self, metadata: &'a Metadata) -> BTreeSet<&'a str> {
        let mut all = taken_out::all(metadata);
        all.retain(|what| !self.again.contains(*what));
        all
    }

    /// Whether an entry came from this server.
    fn is_taken_over(&self, value: &Value) -> bool {
        taken_out::notary_source(value) == Some(&self.server)
    }

    /// The edits of names, by role.
    fn images(&self, metadata: &Metadata, draft: &Draft) -> BTreeMap<String, Edits> {
        let mut edits: BTreeMap<String, Edits> = BTreeMap::new();
        let taken_out = self.taken_out(metadata);
        let wanted = self.wanted(&taken_out);
        let mut set = |role: &str, path: &str, after: Option<Value>| {
            let entry = RoleEntry::Target(path.to_owned());
            let before = draft
                .document(role)
                .and_then(|document| present(document, &entry));
            if before != after {
                let edit = EntryEdit { before, after };
                edits
                    .entry(role.to_owned())
                    .or_default()
                    .insert(entry, edit);
            }
        };
        let names: BTreeSet<&String> = wanted.keys().chain(self.listed(metadata)).collect();
        for path in names {
            let decided = decided(metadata, path);
            let by_hand = decided
                .as_ref()
                .is_some_and(|(_, value)| !self.is_taken_over(value));
            let is_out = |what: &str| taken_out.contains(what);
            let wanted = wanted
                .get(path)
                .filter(|(_, role)| !by_hand && !is_out(path) && !is_out(role));
            // Where the tag was put when it was taken over before, if it goes elsewhere now.
            let own = metadata.roles.keys();
            for role in own.filter(|role| is_own(role) && !is_out(role)) {
                let stays = wanted.is_some_and(|(_, to)| to == role);
                let old = draft
                    .document(role)
                    .and_then(|document| document.members("targets")?.get(path));
                if !stays && old.is_some_and(|value| self.is_taken_over(value)) {
                    set(role, path, None);
                }
            }
            if let Some((tag, role)) = wanted {
                set(role, path, Some(self.target(tag)));
            }
        }
        edits
    }

    /// A tag as it is listed here.
    fn target(&self, tag: &NotaryTag) -> Value {
        json!({
            "length": tag.length,
            "hashes": { "sha256": tag.digest.hex() },
            "custom": { "rootpin": { "source": { "notary": self.server, "role": tag.role } } },
        })
    }

    /// Refuses what no host would see: a name in a role that is not asked for it.
    fn check_seen(&self, draft: &Draft) -> Result<(), PublishError> {
        let mut preview = draft.next.clone();
        for (role, document) in &draft.edited {
            let file = MetadataFile::of(document.clone());
            preview.waiting.remove(role);
            preview.roles.insert(role.clone(), file);
        }
        let taken_out = self.taken_out(&preview);
        for (path, (_, role)) in self.wanted(&taken_out) {
            if taken_out.contains(path.as_str()) || taken_out.contains(role.as_str()) {
                continue;
            }
            if !lists(&preview, &role, &path) {
                continue; // Signed here by hand.
            }
            let asked = roles_for(&preview, &path);
            if !asked.contains(&role) {
                let ends = asked.last().map_or("targets", String::as_str);
                return Err(PublishError::wrong(
                    format!("hosts would not ask {role} for {path}: {ends} ends the search"),
                    format!(
                        "rootpin repo delegate list shows its names; delegate to it again with --not-terminating, or rootpin repo delegate remove {ends}"
                    ),
                ));
            }
        }
        Ok(())
    }
}

impl NotaryRepository {
    /// The role that a tag goes into: of the first signers who may sign it.
    fn role_of(&self, tag: &str) -> String {
        let may = |signers: &&NotarySigners| {
            let mut prefixes = signers.prefixes.iter();
            prefixes.any(|prefix| tag.starts_with(prefix.as_str()))
        };
        let signers = self.signers.iter().find(may);
        signers.map_or("targets".to_owned(), |signers| {
            signers_role(&self.gun, &signers.role)
        })
    }
}

/// Whether a take-over writes a role.
fn is_own(role: &str) -> bool {
    role == "targets" || role.starts_with(SIGNERS)
}

/// The entry that decides a name here, and its role.
fn decided(metadata: &Metadata, path: &str) -> Option<(String, Value)> {
    let role = deciding_role(metadata, path)?;
    let file = metadata.newest(&role)?;
    let value = file.document.members("targets")?.get(path)?.clone();
    Some((role, value))
}

fn digest_of(value: &Value) -> Option<String> {
    let digest = value.get("hashes")?.get("sha256")?.as_str()?;
    Some(digest.to_owned())
}

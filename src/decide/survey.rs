//! What the policy, the state and the cache say of what is here already, for an audit: nothing of
//! it is kept, and nobody is admitted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Decider, Decision, Door, Ground, Pull, Verdict};
use crate::state::cache::Cache;
use crate::state::{Overview, StateError};
use rootpin_policy::judge::Statement;
use rootpin_policy::{Policy, Root, RootKind, Rule};
use rootpin_trust::image::{Digest, ImageRef, Repository};
use rootpin_trust::{Fingerprint, KeyId, RootFile, Subject};

/// The answer to one survey.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Survey {
    /// The policy in force; none where there is none.
    pub policy: Option<PolicyInForce>,
    /// What stands in the way of a whole answer, each with what to do.
    pub trouble: Vec<String>,
    /// The pinned roots.
    pub roots: Vec<PinnedRoot>,
    /// The judgements, in the order of the images that were asked about.
    pub images: Vec<Judgement>,
    /// What the policy says of the repositories that were asked about, in their order.
    pub repositories: Vec<Covered>,
    /// Canonical IDs of the keys whose signatures count nowhere.
    pub revoked_keys: Vec<String>,
    /// Repositories with a Notary root that the policy names without a wildcard, by the name that
    /// is signed.
    pub named: Vec<String>,
}

/// The policy in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyInForce {
    /// Its hash.
    pub hash: String,
    /// `enforce` or `audit`
    pub mode: String,
    /// What is legal in it and yet hardly meant.
    pub warnings: Vec<String>,
}

/// A pinned root, and what is held of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedRoot {
    /// Its id in the policy.
    pub id: String,
    /// `notary` or `tuf`
    #[serde(rename = "type")]
    pub kind: String,
    /// Where its metadata is read.
    pub sources: Vec<String>,
    /// The role that must name the image (Notary).
    pub role: Option<String>,
    /// The pinned keys.
    pub keys: Vec<PinnedKey>,
    /// Version and SHA-256 of the pinned file (TUF).
    pub pinned: Option<PinnedFile>,
    /// What this host has seen, by repository.
    pub held: Vec<Held>,
}

/// A pinned key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedKey {
    /// Its canonical ID.
    pub id: String,
    /// Its fingerprint; none where nothing here but its ID is known.
    pub fingerprint: Option<String>,
}

/// A pinned file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedFile {
    /// Its version.
    pub version: u64,
    /// Its digest.
    pub sha256: String,
}

/// What this host has seen of one repository under a root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// The repository; `tuf` for a repository of names of all images.
    pub repository: String,
    /// The last good contact.
    pub contact: Option<String>,
    /// The highest version seen of each role.
    pub versions: BTreeMap<String, u64>,
    /// When the newest root file ends.
    pub root_expires: Option<String>,
    /// Digest of each cached file, by name.
    pub files: BTreeMap<String, String>,
}

/// What the policy says of a name and its bytes now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judgement {
    /// `allowed`, `refused` or `unjudged`, whatever the mode.
    pub outcome: String,
    /// Whether an engine would go on: allowed, or audit mode.
    pub let_through: bool,
    /// The code of a refusal.
    pub code: Option<String>,
    /// What an admission rests on.
    pub ground: Option<String>,
    /// The policy's entry.
    pub rule: Option<String>,
    /// The roots that were asked, each with what it says where the answer is yes.
    pub roots: Vec<Word>,
    /// What was found.
    pub found: Option<String>,
    /// What was wanted.
    pub wanted: Option<String>,
    /// What to do.
    pub hint: Option<String>,
}

/// What one root says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Word {
    /// Its id in the policy.
    pub root: String,
    /// The repository that the metadata is signed for.
    pub repository: Option<String>,
    /// The role that names the image.
    pub role: Option<String>,
    /// Canonical IDs of the root role's keys.
    pub root_keys: Vec<String>,
    /// Canonical IDs of the keys whose signatures counted.
    pub signers: Vec<String>,
    /// Version by role.
    pub versions: BTreeMap<String, u64>,
    /// The earliest expiry of all that was used.
    pub expires: Option<String>,
    /// The last good contact.
    pub contact: Option<String>,
}

/// What the policy says of a repository's metadata.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Covered {
    /// The entry that covers it.
    pub rule: Option<String>,
    /// The roots that may sign it.
    pub roots: Vec<String>,
    /// Canonical IDs of the pinned keys of those that are of Notary: a TUF root's are in no trust
    /// directory.
    pub keys: Vec<String>,
}

/// What is asked.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// Names, and the digests that they stand for.
    pub images: Vec<(ImageRef, Digest)>,
    /// Repositories by the names that their metadata is signed for.
    pub repositories: Vec<Repository>,
    /// Whether the pinned roots are wanted.
    pub roots: bool,
}

/// More in one cached folder is not looked at.
const MAX_CACHED: usize = 32 << 20;

/// Looks through what is asked, by a decider that keeps nothing.
pub async fn survey(onlooker: &Decider, asked: &Asked, now: Timestamp) -> Survey {
    let mut survey = Survey::default();
    let policy = match onlooker.policy() {
        Ok(policy) => policy,
        Err(refusal) => {
            survey
                .trouble
                .push(format!("{}; hint: {}", refusal.found, refusal.hint));
            survey.repositories = vec![Covered::default(); asked.repositories.len()];
            survey.images = judgements(onlooker, asked, now).await;
            return survey;
        }
    };
    survey.images = judgements(onlooker, asked, now).await;
    survey.repositories = asked
        .repositories
        .iter()
        .map(|repository| covered(&policy, repository))
        .collect();
    survey.revoked_keys = policy
        .revoked_keys()
        .iter()
        .map(ToString::to_string)
        .collect();
    survey.named = named(&policy);
    if asked.roots {
        match held_roots(onlooker, &policy) {
            Ok(roots) => survey.roots = roots,
            Err(error) => survey.trouble.push(format!(
                "{}; hint: {}",
                error.refusal().found,
                error.refusal().hint
            )),
        }
    }
    let warnings = policy.warnings.iter().map(ToString::to_string).collect();
    survey.policy = Some(PolicyInForce {
        hash: policy.hash.to_string(),
        mode: policy.mode.as_str().to_owned(),
        warnings,
    });
    survey
}

/// The pinned roots of a policy, without what any host holds of them.
#[must_use]
pub fn pinned(policy: &Policy) -> Vec<PinnedRoot> {
    policy
        .roots
        .values()
        .map(|root| pinned_root(root, &BTreeMap::new()))
        .collect()
}

async fn judgements(onlooker: &Decider, asked: &Asked, now: Timestamp) -> Vec<Judgement> {
    let mut judged = Vec::with_capacity(asked.images.len());
    for (name, digest) in &asked.images {
        let verdict = onlooker
            .pull(
                &Pull {
                    door: Door::Verify,
                    name: name.clone(),
                    digest: *digest,
                },
                now,
            )
            .await;
        judged.push(judgement(&verdict));
    }
    judged
}

fn judgement(verdict: &Verdict) -> Judgement {
    let refusal = verdict.decision.denial().map(|denial| &denial.refusal);
    let (rule, roots, ground) = match &verdict.decision {
        Decision::Allow(admission) => {
            let roots = match &admission.ground {
                Ground::Signed(signed) => signed
                    .iter()
                    .map(|(id, evidence)| word(id, evidence))
                    .collect(),
                Ground::PolicyPin | Ground::Exempt | Ground::Local | Ground::PolicyKey => {
                    Vec::new()
                }
            };
            (
                Some(admission.rule.clone()),
                roots,
                Some(admission.ground.as_str().to_owned()),
            )
        }
        Decision::Deny(denial) | Decision::LetThrough(denial) => {
            let roots = denial.roots.iter().map(|id| Word {
                root: id.clone(),
                ..Word::default()
            });
            (denial.rule.clone(), roots.collect(), None)
        }
    };
    Judgement {
        outcome: verdict.decision.outcome().to_owned(),
        let_through: verdict.decision.lets_through(),
        code: refusal.map(|refusal| refusal.code.as_str().to_owned()),
        ground,
        rule,
        roots,
        found: refusal.map(|refusal| refusal.found.clone()),
        wanted: refusal.map(|refusal| refusal.wanted.clone()),
        hint: refusal.map(|refusal| refusal.hint.clone()),
    }
}

fn word(id: &str, statement: &Statement) -> Word {
    let collection = statement.verified.get();
    Word {
        root: id.to_owned(),
        repository: Some(collection.gun.to_string()),
        role: Some(collection.role.clone()),
        root_keys: texts(&collection.root_keys),
        signers: texts(&collection.signers),
        versions: collection.versions.clone(),
        expires: Some(collection.expires.to_string()),
        contact: Some(statement.contact.to_string()),
    }
}

/// What covers a repository's metadata: the rule for its name, or one that carries another name
/// over to it.
fn covered(policy: &Policy, repository: &Repository) -> Covered {
    let carried = |rule: &&Rule| {
        rule.signed_as
            .as_ref()
            .is_some_and(|signed_as| signed_as.matches(repository))
    };
    let direct = policy
        .rule_for(repository)
        .filter(|rule| rule.signed_as.is_none());
    let rules: Vec<&Rule> = direct
        .into_iter()
        .chain(policy.rules.iter().filter(carried))
        .collect();
    let roots: BTreeMap<_, _> = rules
        .iter()
        .flat_map(|rule| &rule.roots)
        .map(|root| (root.id.as_str(), root))
        .collect();
    let notary = roots
        .values()
        .filter(|root| matches!(root.kind, RootKind::Notary(_)));
    let keys: BTreeSet<KeyId> = notary.flat_map(|root| root.keys()).copied().collect();
    let bound = || {
        policy
            .images_of(repository)
            .next()
            .map(|_| format!("[[image]] of {repository}"))
    };
    let exempt = || {
        policy
            .exempts_for(repository)
            .next()
            .map(ToString::to_string)
    };
    Covered {
        rule: rules
            .first()
            .map(ToString::to_string)
            .or_else(bound)
            .or_else(exempt),
        roots: roots.into_keys().map(str::to_owned).collect(),
        keys: texts(&keys),
    }
}

fn named(policy: &Policy) -> Vec<String> {
    let of_notary = |rule: &&Rule| {
        rule.roots
            .iter()
            .any(|root| matches!(root.kind, RootKind::Notary(_)))
    };
    let exact = policy
        .rules
        .iter()
        .filter(of_notary)
        .map(|rule| rule.signed_as.as_ref().unwrap_or(&rule.pattern));
    exact
        .filter(|pattern| pattern.is_exact())
        .map(|pattern| pattern.as_str().to_owned())
        .collect()
}

fn held_roots(onlooker: &Decider, policy: &Policy) -> Result<Vec<PinnedRoot>, StateError> {
    let seen = onlooker.store().show()?;
    let cache = Cache::new(onlooker.store().directory()).ok();
    let root = |root: &Arc<Root>| {
        let mut fingerprints = BTreeMap::new();
        let held = held(root, &seen, cache.as_ref(), &mut fingerprints);
        PinnedRoot {
            held,
            ..pinned_root(root, &fingerprints)
        }
    };
    Ok(policy.roots.values().map(root).collect())
}

/// `known`: fingerprints of keys that stand in files of this host.
fn pinned_root(root: &Root, known: &BTreeMap<KeyId, Fingerprint>) -> PinnedRoot {
    let mut fingerprints = known.clone();
    let (kind, sources, role, pinned) = match &root.kind {
        RootKind::Notary(notary) => {
            let told = notary.entries.iter().flat_map(|entry| &entry.keys);
            fingerprints.extend(told.filter_map(|(id, fingerprint)| Some((*id, (*fingerprint)?))));
            (
                "notary",
                vec![notary.server.clone()],
                Some(notary.role.clone()),
                None,
            )
        }
        RootKind::Tuf(tuf) => {
            fingerprints.extend(fingerprints_of(tuf.pinned.bytes()));
            let pinned = PinnedFile {
                version: tuf.pinned.version(),
                sha256: tuf.sha256.to_string(),
            };
            (
                "tuf",
                tuf.metadata.iter().map(ToString::to_string).collect(),
                None,
                Some(pinned),
            )
        }
    };
    let key = |id: &KeyId| PinnedKey {
        id: id.to_string(),
        fingerprint: fingerprints.get(id).map(ToString::to_string),
    };
    let keys = root.keys().iter().map(key).collect();
    PinnedRoot {
        id: root.id.clone(),
        kind: kind.to_owned(),
        sources,
        role,
        keys,
        pinned,
        held: Vec::new(),
    }
}

fn held(
    root: &Root,
    seen: &Overview,
    cache: Option<&Cache>,
    fingerprints: &mut BTreeMap<KeyId, Fingerprint>,
) -> Vec<Held> {
    let (source, of_tuf) = match &root.kind {
        RootKind::Notary(notary) => (notary.server.clone(), false),
        RootKind::Tuf(_) => (format!("root {}", root.id), true),
    };
    let mut all = Vec::new();
    for one in seen
        .repositories
        .iter()
        .filter(|one| matches!(one.subject, Subject::Tuf) == of_tuf)
    {
        let floors = one
            .floors
            .iter()
            .filter(|floor| !floor.root_keys.is_disjoint(root.floor_keys()));
        let mut versions = BTreeMap::new();
        for floor in floors {
            let highest: &mut u64 = versions.entry(floor.role.clone()).or_default();
            *highest = floor.version.max(*highest);
        }
        if versions.is_empty() {
            continue;
        }
        let contact = seen
            .contacts
            .iter()
            .find(|contact| contact.source == source && contact.subject == one.subject);
        let files = cache
            .map(|cache| cache.files(&source, &one.subject, MAX_CACHED))
            .unwrap_or_default();
        let roots = files
            .iter()
            .filter(|(name, _)| name == "root.json" || name.ends_with(".root.json"));
        let newest = roots
            .filter_map(|(_, bytes)| RootFile::read(bytes).ok())
            .max_by_key(|file| file.version);
        fingerprints.extend(
            newest
                .iter()
                .flat_map(|file| &file.keys)
                .filter_map(|key| Some((key.id(), Fingerprint::of(key)?))),
        );
        all.push(Held {
            repository: one.subject.to_string(),
            contact: contact.map(|contact| contact.at.to_string()),
            versions,
            root_expires: newest.map(|file| file.expires.to_string()),
            files: files
                .into_iter()
                .map(|(name, bytes)| (name, Digest::of(&bytes).to_string()))
                .collect(),
        });
    }
    all
}

fn fingerprints_of(root_file: &[u8]) -> Vec<(KeyId, Fingerprint)> {
    let keys = RootFile::read(root_file)
        .map(|file| file.keys)
        .unwrap_or_default();
    keys.iter()
        .filter_map(|key| Some((key.id(), Fingerprint::of(key)?)))
        .collect()
}

fn texts<'a>(ids: impl IntoIterator<Item = &'a KeyId>) -> Vec<String> {
    ids.into_iter().map(KeyId::to_string).collect()
}

//! Judges for an audit the images that are here already, by policy, state and cache. It keeps
//! nothing and admits nothing.

mod answer;
mod held_floors;
mod shown_root;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use super::{Decider, Decision, Door, Ground, Pull, Verdict};
use crate::evidence::source_of;
use crate::problem::Problem;
use crate::state::cache::Cache;
use crate::state::{Contact, Overview, StateError};
use rootpin_policy::judge::Statement;
use rootpin_policy::{NotaryRoot, Policy, Root, RootKind, Rule, TufRoot};
use rootpin_trust::cosign::CosignPins;
use rootpin_trust::image::{Digest, Repository};
use rootpin_trust::notation::{NotationPins, PinnedCertificate};
use rootpin_trust::{Fingerprint, KeyId, Refusal, RootFile, Subject};

use held_floors::highest;
pub(crate) use shown_root::shown_root;

pub(crate) use answer::{
    Covered, HeldFloor, HeldMetadata, ImageParts, PinnedFile, PinnedKey, PinnedRoot, PolicyInForce,
    ReportedBinding, RootWord, Survey, SurveyJudgement, SurveyQuestion,
};

/// More in one cached folder is not looked at.
const MAX_CACHED: usize = 32 << 20;

fn shown(refusal: &Refusal) -> String {
    Problem::hinted(refusal.found.as_str(), refusal.hint.as_str()).to_string()
}

/// Looks through what is asked, by a decider that keeps nothing.
pub(crate) async fn survey(onlooker: &Decider, asked: &SurveyQuestion, now: Timestamp) -> Survey {
    let mut survey = Survey::default();
    let policy = match onlooker.policy() {
        Ok(policy) => policy,
        Err(refusal) => {
            survey.trouble.push(shown(&refusal));
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
    let digests = policy.revoked_digests();
    survey.revoked_digests = digests.map(|(digest, _)| digest.to_string()).collect();
    survey.named = named(&policy);
    if asked.roots {
        match held_roots(onlooker, &policy) {
            Ok(roots) => survey.roots = roots,
            Err(error) => survey.trouble.push(shown(&error.refusal())),
        }
    }
    let warnings = policy.warnings.iter().map(ToString::to_string).collect();
    survey.policy = Some(PolicyInForce {
        hash: policy.hash.to_string(),
        mode: policy.mode_at(onlooker.instant(now)).as_str().to_owned(),
        warnings,
        revoked_keys: Some(survey.revoked_keys.clone()),
    });
    survey
}

/// The pinned roots of a policy, without what any host holds of them.
#[must_use]
pub(crate) fn pinned(policy: &Policy) -> Vec<PinnedRoot> {
    policy
        .roots
        .values()
        .map(|root| pinned_root(root, &BTreeMap::new()))
        .collect()
}

async fn judgements(
    onlooker: &Decider,
    asked: &SurveyQuestion,
    now: Timestamp,
) -> Vec<SurveyJudgement> {
    let mut judged = Vec::with_capacity(asked.images.len());
    for (name, digest) in &asked.images {
        let pull = Pull {
            door: Door::Verify,
            name: name.clone(),
            digest: *digest,
        };
        let parts = asked.parts.get(digest).into_iter().flatten();
        let parts: Vec<Digest> = parts.copied().collect();
        let verdict = onlooker.pull_of(&pull, &parts, now).await;
        let mut judged_here = judgement(&verdict);
        // A no names the roots that were asked; about which repository, the rule says.
        if let Ok(policy) = onlooker.policy()
            && let Some(rule) = policy.rule_for(&name.repository)
        {
            judged_here.index = Some(rule.index.as_str().to_owned());
            for root in &mut judged_here.roots {
                let pinned = policy.roots.get(&root.root);
                let of_rule = || {
                    rule.asked_name(pinned?, &name.repository)
                        .map(|of| of.to_string())
                };
                root.repository = root.repository.take().or_else(of_rule);
            }
        }
        judged.push(judged_here);
    }
    judged
}

fn judgement(verdict: &Verdict) -> SurveyJudgement {
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
        Decision::Deny(denial) | Decision::LetThrough(denial, _) => {
            let roots = denial.roots.iter().map(|id| RootWord {
                root: id.clone(),
                ..RootWord::default()
            });
            (denial.rule.clone(), roots.collect(), None)
        }
    };
    let by = verdict.decision.let_through_by();
    SurveyJudgement {
        outcome: verdict.decision.outcome().to_owned(),
        let_through: verdict.decision.lets_through(),
        let_through_by: by.map(|by| by.as_str().to_owned()),
        code: refusal.map(|refusal| refusal.code.as_str().to_owned()),
        ground,
        rule,
        index: None,
        roots,
        found: refusal.map(|refusal| refusal.found.clone()),
        wanted: refusal.map(|refusal| refusal.wanted.clone()),
        hint: refusal.map(|refusal| refusal.hint.clone()),
    }
}

fn word(id: &str, statement: &Statement) -> RootWord {
    let collection = statement.verified.get();
    RootWord {
        root: id.to_owned(),
        repository: Some(collection.gun.to_string()),
        role: Some(collection.role.clone()),
        root_keys: texts(&collection.root_keys),
        signers: texts(&collection.signers),
        versions: collection.versions.clone(),
        expires: (collection.expires < Timestamp::MAX).then(|| collection.expires.to_string()),
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
    let keys: BTreeSet<KeyId> = notary.flat_map(|root| &root.keys).copied().collect();
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
    let told = root.entries.iter().flat_map(|entry| &entry.keys);
    fingerprints.extend(told.filter_map(|(id, fingerprint)| Some((*id, (*fingerprint)?))));
    let (kind, sources, role, pinned) = match &root.kind {
        RootKind::Notary(notary) => (
            "notary",
            vec![notary.server.clone()],
            Some(notary.role.clone()),
            None,
        ),
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
        RootKind::Cosign(_) => ("cosign", Vec::new(), None, None),
        RootKind::Notation(_) => ("notation", Vec::new(), None, None),
    };
    let key = |id: &KeyId| PinnedKey {
        id: id.to_string(),
        fingerprint: fingerprints.get(id).map(ToString::to_string),
    };
    let keys = root.keys.iter().map(key).collect();
    PinnedRoot {
        id: root.id.clone(),
        kind: kind.to_owned(),
        sources,
        role,
        keys,
        pinned,
        held: Vec::new(),
        terms: Some(terms(root)),
        binds: Some(ReportedBinding::of(root)),
        max_age: root
            .max_age
            .and_then(|age| u64::try_from(age.as_secs()).ok()),
    }
}

fn held(
    root: &Root,
    seen: &Overview,
    cache: Option<&Cache>,
    fingerprints: &mut BTreeMap<KeyId, Fingerprint>,
) -> Vec<HeldMetadata> {
    let (source, of_tuf) = match &root.kind {
        RootKind::Notary(notary) => (notary.server.clone(), false),
        RootKind::Tuf(_) => (format!("root {}", root.id), true),
        RootKind::Cosign(_) | RootKind::Notation(_) => return found_beside(root, seen),
    };
    let mut all = Vec::new();
    for one in seen
        .repositories
        .iter()
        .filter(|one| matches!(one.subject, Subject::Tuf) == of_tuf)
    {
        let floors = root.floors(&one.floors);
        let mut versions = BTreeMap::new();
        for floor in &floors {
            let highest: &mut u64 = versions.entry(floor.role.clone()).or_default();
            *highest = floor.version.max(*highest);
        }
        if versions.is_empty() {
            continue;
        }
        let floors = highest(&floors, &versions, &root.keys);
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
        let timestamp = files.iter().find(|(name, _)| name == "timestamp.json");
        let timestamp_expires =
            timestamp.and_then(|(_, bytes)| expiry_of(bytes, *versions.get("timestamp")?));
        all.push(HeldMetadata {
            repository: one.subject.to_string(),
            contact: contact.map(|contact| contact.at.to_string()),
            versions,
            root_expires: newest.map(|file| file.expires.to_string()),
            timestamp_expires,
            files: files
                .into_iter()
                .map(|(name, bytes)| (name, Digest::of(&bytes).to_string()))
                .collect(),
            floors,
        });
    }
    all
}

/// The repositories in which signatures of images counted under a root.
fn found_beside(root: &Root, seen: &Overview) -> Vec<HeldMetadata> {
    let source = source_of(root);
    let contacts = seen.contacts.iter();
    let contacts = contacts.filter(|contact| contact.source == source);
    let of = |contact: &Contact| HeldMetadata {
        repository: contact.subject.to_string(),
        contact: Some(contact.at.to_string()),
        versions: BTreeMap::new(),
        root_expires: None,
        timestamp_expires: None,
        files: BTreeMap::new(),
        floors: Vec::new(),
    };
    contacts.map(of).collect()
}

/// When a cached timestamp ends, if it is of that version. It was verified when it was kept.
fn expiry_of(timestamp: &[u8], version: u64) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Envelope {
        signed: Signed,
    }
    #[derive(serde::Deserialize)]
    struct Signed {
        version: u64,
        expires: String,
    }
    let Envelope { signed } = serde_json::from_slice(timestamp).ok()?;
    let expires: Timestamp = signed.expires.parse().ok()?;
    (signed.version == version).then(|| expires.to_string())
}

/// A hash over all of a root that decides what is verified under it: kind, keys, role, floors and
/// ages, but not how it is called. A Notary server is part of it, because another one may hold other
/// repositories; where TUF metadata is read decides nothing, nor does by which certificate.
pub(crate) fn terms(root: &Root) -> String {
    // Without `..`: a key that is new does not build before it is decided on which side it is.
    let Root {
        id: _,
        kind,
        keys,
        entries: _,
        max_age,
        recheck: _,
        location: _,
    } = root;
    let max_age = max_age.map(|age| age.as_secs());
    let text = match kind {
        RootKind::Notary(NotaryRoot {
            server,
            tls_ca: _,
            role,
            certificate_dates,
            allow_rsa_pkcs1v15,
        }) => format!(
            "notary {server} {:?} {role} {certificate_dates} {allow_rsa_pkcs1v15} {max_age:?}",
            texts(keys),
        ),
        RootKind::Tuf(TufRoot {
            pinned,
            sha256,
            metadata: _,
            tls_ca: _,
            floor,
        }) => format!(
            "tuf {sha256} {floor:?} {} {max_age:?}",
            pinned.allows_rsa_pkcs1v15(),
        ),
        RootKind::Notation(NotationPins {
            certificates,
            subjects,
            ignore_validity,
            binds_tag,
        }) => format!(
            "notation {:?} {:?} {subjects:?} {ignore_validity} {binds_tag:?}",
            digests(certificates),
            texts(keys),
        ),
        RootKind::Cosign(CosignPins {
            // Those of the root.
            keys: _,
            threshold,
            format,
            binds_tag,
        }) => format!(
            "cosign {:?} {threshold:?} {format:?} {binds_tag:?}",
            texts(keys),
        ),
    };
    Digest::of(text.as_bytes()).to_string()
}

fn digests(certificates: &[PinnedCertificate]) -> Vec<Digest> {
    let all = certificates.iter();
    all.map(|pin| pin.certificate.sha256).collect()
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

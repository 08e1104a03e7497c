//! One host, from end to end: images, trust directories, who judges, findings.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::check;
use super::findings::{AuditFinding, Untold};
use super::images::{self, EngineSocket, ResidentRecord, Residents};
use super::judgement_source::JudgementSource;
use super::places::{self, TrustPlace};
use super::report::{HostReport, KeyUse, ResidentImage, RootKey};
use crate::decide::survey::{Covered, ImageParts, Survey, SurveyQuestion};
use crate::observe::plain;
use crate::problem::Problem;
use rootpin_trust::image::{Digest, ImageRef, Repository};

/// What is looked at.
#[derive(Debug)]
pub struct AuditScope {
    /// The host's name.
    pub host: String,
    /// Its engines.
    pub engines: Vec<EngineSocket>,
    /// Where trust directories may be.
    pub places: Vec<TrustPlace>,
    /// Who judges, or why nobody does.
    pub judgement_source: Result<JudgementSource, Problem>,
    /// Whether sources are asked.
    pub online: bool,
    /// What could not be looked at for another reason.
    pub untold: Vec<Untold>,
}

/// Looks at a host.
pub async fn look(mut look: AuditScope, now: Timestamp) -> HostReport {
    let mut residents = images::resident(&look.engines).await;
    look.untold.append(&mut residents.untold);
    Box::pin(reported(look, &residents, now)).await
}

/// The report of a host that has exactly these names and digests, of images without parts.
pub async fn look_at(
    host: &str,
    images: Vec<(ImageRef, Digest)>,
    judgement_source: JudgementSource,
    now: Timestamp,
) -> HostReport {
    let resident = |(name, digest): (ImageRef, Digest)| ResidentRecord {
        engine: "none".to_owned(),
        namespace: None,
        record: name.to_string(),
        name: Some(name),
        digest: Some(digest),
    };
    let parts = images.iter().map(|(_, digest)| (*digest, BTreeSet::new()));
    let residents = Residents {
        parts: parts.collect(),
        images: images.into_iter().map(resident).collect(),
        untold: Vec::new(),
    };
    let scope = AuditScope {
        host: host.to_owned(),
        engines: Vec::new(),
        places: Vec::new(),
        judgement_source: Ok(judgement_source),
        online: false,
        untold: Vec::new(),
    };
    Box::pin(reported(scope, &residents, now)).await
}

async fn reported(look: AuditScope, residents: &Residents, now: Timestamp) -> HostReport {
    let AuditScope {
        host,
        engines: _,
        places,
        judgement_source,
        online,
        mut untold,
    } = look;
    let (trust_directories, unread) = places::read(&places);
    untold.extend(unread);
    let names = trust_directories
        .iter()
        .flat_map(|one| &one.repositories)
        .filter_map(|one| Repository::from_full(&one.repository).ok());
    let repositories: Vec<Repository> = names.collect::<BTreeSet<_>>().into_iter().collect();
    let images = judged(&residents.images);
    let asked = SurveyQuestion {
        images: images.into_iter().collect(),
        parts: residents.parts.clone(),
        repositories,
        roots: true,
    };
    let judged_by = judgement_source
        .as_ref()
        .ok()
        .map(|judgement_source| judgement_source.name().to_owned());
    let survey = match judgement_source {
        Ok(mut judgement_source) => judgement_source.survey(&asked, online, now).await,
        Err(why) => Err(why),
    };
    let survey = survey.unwrap_or_else(|why| {
        untold.push(Untold::new("the policy", plain(&why.to_string())));
        Survey::default()
    });
    untold.extend(
        survey
            .trouble
            .iter()
            .map(|why| Untold::new("the policy", plain(why))),
    );
    let report = HostReport {
        version: 1,
        rootpin: env!("CARGO_PKG_VERSION").to_owned(),
        host: plain(&host),
        at: second(now).to_string(),
        outcome: String::new(),
        online,
        judged_by,
        policy: survey.policy.clone(),
        roots: survey.roots.clone(),
        images: Vec::new(),
        parts: listed(&residents.parts),
        trust_directories,
        root_keys: Vec::new(),
        findings: Vec::new(),
        untold,
    };
    filled(report, &residents.images, &asked, &survey, now).told()
}

/// So many parts are listed, some 20 MB of them. The judgements rest on all.
const MOST_PARTS: usize = 250_000;

/// The parts as a report has them. An image whose parts have no room is left out whole.
fn listed(parts: &ImageParts) -> BTreeMap<String, Vec<String>> {
    let mut room = MOST_PARTS;
    let mut listed = BTreeMap::new();
    for (top, parts) in parts {
        if let Some(rest) = room.checked_sub(parts.len()) {
            room = rest;
            let parts = parts.iter().map(ToString::to_string);
            listed.insert(top.to_string(), parts.collect());
        }
    }
    listed
}

/// Fractions of it mean nothing to those who read it.
pub(super) fn second(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// What is to be judged: each name and digest once.
fn judged(residents: &[ResidentRecord]) -> BTreeSet<(ImageRef, Digest)> {
    residents
        .iter()
        .filter_map(|resident| Some((resident.name.clone()?, resident.digest?)))
        .collect()
}

fn filled(
    mut report: HostReport,
    residents: &[ResidentRecord],
    asked: &SurveyQuestion,
    survey: &Survey,
    now: Timestamp,
) -> HostReport {
    let mut findings = check::policy(survey, now);
    let judgements: BTreeMap<_, _> = asked.images.iter().zip(&survey.images).collect();
    for resident in residents {
        let key = resident.name.clone().zip(resident.digest);
        let judgement =
            key.and_then(|key| judgements.get(&key).map(|judgement| (*judgement).clone()));
        let name = resident
            .name
            .as_ref()
            .map_or_else(|| plain(&resident.record), ToString::to_string);
        let (engine, namespace) = (
            plain(&resident.engine),
            resident.namespace.as_deref().map(plain),
        );
        let image = ResidentImage {
            engine,
            namespace,
            name,
            digest: resident.digest.map(|digest| digest.to_string()),
            judgement,
        };
        findings.extend(check::image(&image, resident.name.is_some()));
        if let Some(judgement) = image
            .judgement
            .as_ref()
            .filter(|judgement| judgement.outcome == "unjudged")
        {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            let why = format!(
                "{}: {}; wanted {}",
                text(&judgement.code),
                text(&judgement.found),
                text(&judgement.wanted)
            );
            report
                .untold
                .push(Untold::new(format!("image {}", image.name), why));
        }
        report.images.push(image);
    }
    report.images.sort_by(|one, other| {
        (&one.engine, &one.namespace, &one.name, &one.digest).cmp(&(
            &other.engine,
            &other.namespace,
            &other.name,
            &other.digest,
        ))
    });
    let covered: BTreeMap<&str, &Covered> = asked
        .repositories
        .iter()
        .map(Repository::as_str)
        .zip(&survey.repositories)
        .collect();
    let nothing = Covered::default();
    for directory in &mut report.trust_directories {
        for one in &mut directory.repositories {
            let covered = covered
                .get(one.repository.as_str())
                .copied()
                .unwrap_or(&nothing);
            one.rule.clone_from(&covered.rule);
            one.pinned_roots.clone_from(&covered.roots);
            let policy = survey
                .policy
                .as_ref()
                .map(|_| (covered, survey.revoked_keys.as_slice()));
            findings.extend(check::repository(&directory.path, one, policy, now));
        }
        findings.extend(check::directory(directory));
    }
    findings.extend(check::absent(&report, &survey.named));
    report.root_keys = root_keys(&report);
    report.findings = findings.into_iter().map(escaped).collect();
    report
        .untold
        .sort_by(|one, other| (&one.subject, &one.why).cmp(&(&other.subject, &other.why)));
    report.untold.dedup();
    report
}

/// What refusals quote was escaped where they were made; names of files were where they were read.
fn escaped(finding: AuditFinding) -> AuditFinding {
    AuditFinding {
        subject: plain(&finding.subject),
        detail: plain(&finding.detail),
        ..finding
    }
}

/// Each root key once, with all that it vouches for: that two repositories share one shows here,
/// whatever their certificates are.
fn root_keys(report: &HostReport) -> Vec<RootKey> {
    let mut keys: BTreeMap<String, RootKey> = BTreeMap::new();
    let mut entry =
        |id: &str, fingerprint: &Option<String>, change: &mut dyn FnMut(&mut RootKey)| {
            let key = keys.entry(id.to_owned()).or_insert_with(|| RootKey {
                id: id.to_owned(),
                ..RootKey::default()
            });
            key.fingerprint = key.fingerprint.take().or_else(|| fingerprint.clone());
            change(key);
        };
    for root in &report.roots {
        for key in &root.keys {
            entry(&key.id, &key.fingerprint, &mut |known| {
                known.pinned_by.push(root.id.clone());
            });
        }
    }
    for directory in &report.trust_directories {
        for one in &directory.repositories {
            for key in check::root_role(one)
                .into_iter()
                .flat_map(|role| &role.keys)
            {
                let seen = KeyUse {
                    directory: Some(directory.path.clone()),
                    repository: one.repository.clone(),
                    listed_as: Some(key.listed_as.clone()),
                };
                entry(&key.id, &key.fingerprint, &mut |known| {
                    known.repositories.push(seen.clone());
                });
            }
        }
    }
    let words = report
        .images
        .iter()
        .filter_map(|image| image.judgement.as_ref())
        .flat_map(|judgement| &judgement.roots);
    for word in words {
        let Some(repository) = &word.repository else {
            continue;
        };
        let seen = KeyUse {
            directory: None,
            repository: repository.clone(),
            listed_as: None,
        };
        for id in &word.root_keys {
            entry(id, &None, &mut |known| {
                known.repositories.push(seen.clone());
            });
        }
    }
    let mut keys: Vec<RootKey> = keys.into_values().collect();
    for key in &mut keys {
        key.repositories.sort();
        key.repositories.dedup();
    }
    keys
}

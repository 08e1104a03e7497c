//! Looks at images, by the cache alone or with the sources asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use tokio::task::JoinSet;

use super::engine::SweptEngine;
use super::swept_image::{LookUpError, SweptImage};
use crate::decide::{Decider, NameStanding};
use rootpin_trust::Code;

/// Repositories that are asked about at one time: each may be of another server, which may be slow.
const AT_ONCE: usize = 8;

/// Looks by the cache at one time: most of it is waiting for the engine, where images are taken
/// apart.
const PARTS: usize = 4;

/// An image with what came of each of its names.
#[derive(Debug)]
pub(super) struct JudgedImage {
    pub(super) image: SweptImage,
    pub(super) standings: Vec<Option<NameStanding>>,
    /// Why not all of it could be looked at.
    pub(super) trouble: Option<String>,
    /// Whether that is the engine's failure, so that the next image has it, too.
    engine_failed: bool,
}

impl JudgedImage {
    /// Whether newer metadata may say otherwise of some name.
    pub(super) fn rests_on_roots(&self) -> bool {
        self.standings
            .iter()
            .flatten()
            .any(NameStanding::rests_on_roots)
    }

    /// The same of a name that is not admitted.
    pub(super) fn may_be_mended(&self) -> bool {
        self.standings
            .iter()
            .flatten()
            .any(|standing| standing.rests_on_roots() && !standing.is_admitted())
    }

    /// Whether nobody answered. What is odd beside one image says nothing of the others: anybody who
    /// may push there makes it.
    fn is_silent(&self) -> bool {
        let denials = self
            .standings
            .iter()
            .flatten()
            .filter_map(|standing| standing.verdict.decision.denial());
        denials.into_iter().any(|denial| {
            let code = denial.refusal.code;
            !code.judged() && !matches!(code, Code::Malformed | Code::OverLimit)
        })
    }
}

/// By what is cached: each repository's metadata is read and verified once.
pub(super) async fn by_cache(
    engine: &Arc<SweptEngine>,
    decider: &Decider,
    mut images: Vec<SweptImage>,
) -> Vec<JudgedImage> {
    let (onlooker, now) = (Arc::new(decider.by_cache()), Timestamp::now());
    let mut parts = JoinSet::new();
    let part = images.len().div_ceil(PARTS).max(1);
    while !images.is_empty() {
        let rest = images.split_off(part.min(images.len()));
        let (engine, onlooker) = (Arc::clone(engine), Arc::clone(&onlooker));
        parts.spawn(async move {
            let (mut judged, mut trouble) = (Vec::with_capacity(images.len()), None);
            for image in images {
                let one = one(&engine, &onlooker, image, now, trouble.take()).await;
                if one.engine_failed {
                    trouble.clone_from(&one.trouble);
                }
                judged.push(one);
            }
            judged
        });
        images = rest;
    }
    parts.join_all().await.into_iter().flatten().collect()
}

/// By what the sources say now; what is verified on the way is kept, as for any other question.
pub(super) async fn by_sources(
    engine: Arc<SweptEngine>,
    decider: Arc<Decider>,
    images: Vec<SweptImage>,
) -> Vec<JudgedImage> {
    let mut groups: BTreeMap<String, Vec<SweptImage>> = BTreeMap::new();
    for image in images {
        let repository = image
            .resident
            .names
            .iter()
            .find_map(|named| named.name.as_ref())
            .map(|name| name.repository.to_string());
        groups
            .entry(repository.unwrap_or_default())
            .or_default()
            .push(image);
    }
    let (mut running, mut judged) = (JoinSet::new(), Vec::new());
    for group in groups.into_values() {
        if running.len() >= AT_ONCE {
            judged.extend(
                running
                    .join_next()
                    .await
                    .into_iter()
                    .filter_map(Result::ok)
                    .flatten(),
            );
        }
        running.spawn(of_repository(
            Arc::clone(&engine),
            Arc::clone(&decider),
            group,
        ));
    }
    while let Some(done) = running.join_next().await {
        judged.extend(done.into_iter().flatten());
    }
    judged
}

async fn of_repository(
    engine: Arc<SweptEngine>,
    decider: Arc<Decider>,
    images: Vec<SweptImage>,
) -> Vec<JudgedImage> {
    let mut judged: Vec<JudgedImage> = Vec::new();
    for image in images {
        let one = one(&engine, &decider, image, Timestamp::now(), None).await;
        let silent = one.is_silent();
        judged.push(one);
        if silent {
            // Nobody answers for this repository: what the cache said of the others stands.
            break;
        }
    }
    judged
}

/// `trouble`: what the engine failed of a moment ago. It is not asked again for each of thousands.
async fn one(
    engine: &SweptEngine,
    decider: &Decider,
    mut image: SweptImage,
    now: Timestamp,
    trouble: Option<String>,
) -> JudgedImage {
    let mut trouble = trouble.map(LookUpError::Engine);
    // Only where bytes are revoked does an image that is admitted by name have to be taken apart.
    if decider.revokes_digests() && trouble.is_none() {
        trouble = engine.look_up(&mut image, false).await.err();
    }
    let mut standings = decider.resident(&image.resident, now).await;
    if trouble.is_none() && standings.iter().flatten().any(|standing| standing.by_bytes) {
        // A platform's manifest that the policy names, or where nameless bytes came from, may say
        // otherwise.
        trouble = engine.look_up(&mut image, true).await.err();
        standings = decider.resident(&image.resident, now).await;
    }
    let (trouble, engine_failed) = match trouble {
        None => (None, false),
        Some(LookUpError::Engine(why)) => (Some(why), true),
        Some(LookUpError::Image(why)) => (Some(why), false),
    };
    JudgedImage {
        image,
        standings,
        trouble,
        engine_failed,
    }
}

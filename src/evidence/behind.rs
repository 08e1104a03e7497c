//! Sources that show less than this host has verified: what was verified answers as if they were
//! silent, and people are told.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use super::{Repositories, later};
use crate::problem::Problem;
use rootpin_trust::Refusal;

/// A source that stays behind is logged again after this time.
const LOG_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// More than this and those that are known the longest are forgotten.
const MAX_SOURCES: usize = 1024;

/// A source that is behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceBehind {
    /// The root of the policy, or the server's URL; with the repository, where it is about one.
    pub source: String,
    /// When it was first seen to be behind.
    pub since: Timestamp,
    /// How often a question met it since then.
    pub times: u64,
    /// What it showed last: code, file, version and address.
    pub refusal: Refusal,
    /// Until when what was verified answers.
    pub until: Timestamp,
    logged: Timestamp,
}

/// The sources that are behind, by name.
#[derive(Debug, Default)]
pub(super) struct Laggards(Mutex<BTreeMap<String, SourceBehind>>);

impl Laggards {
    /// A source showed less than was verified, and what was verified answers.
    pub(super) fn add(&self, source: String, refusal: &Refusal, until: Timestamp, now: Timestamp) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_SOURCES && !known.contains_key(&source) {
            let oldest = known
                .values()
                .min_by_key(|behind| behind.since)
                .map(|behind| behind.source.clone());
            oldest.map(|oldest| known.remove(&oldest));
        }
        let behind = known.entry(source.clone()).or_insert_with(|| SourceBehind {
            source,
            since: now,
            times: 0,
            refusal: refusal.clone(),
            until,
            logged: Timestamp::MIN,
        });
        behind.times += 1;
        behind.refusal = refusal.clone();
        behind.until = until;
        if later(behind.logged, LOG_EVERY) <= now {
            behind.logged = now;
            let what = format!(
                "{} is behind since {:.0}: {refusal}; what was verified answers until {until:.0}",
                behind.source, behind.since
            );
            log::warn!("{}", Problem::hinted(what, refusal.hint.as_str()));
        }
    }

    /// A source showed metadata that holds as a whole.
    pub(super) fn remove(&self, source: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(behind) = known.remove(source) {
            log::info!("{} is no longer behind", behind.source);
        }
    }
}

impl Repositories {
    /// The sources that show less than this host has verified.
    pub(crate) fn sources_behind(&self) -> Vec<SourceBehind> {
        let known = &self.laggards.0;
        known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }
}

/// Keeps the more telling of two refusals: one that a source which is behind explains is of less
/// weight than any other.
pub(super) fn keep_worst(worst: &mut Option<Refusal>, refusal: Refusal) {
    let weight = |refusal: &Refusal| (!refusal.source_behind, refusal.code.rank());
    if worst
        .as_ref()
        .is_none_or(|known| weight(&refusal) > weight(known))
    {
        *worst = Some(refusal);
    }
}

//! Sources that do not answer while what was verified does: nothing is refused yet, so people are
//! told before it is.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use super::{Repositories, later};
use crate::problem::Problem;

/// A source that stays silent is logged again after this time.
const LOG_EVERY: SignedDuration = SignedDuration::from_hours(1);
/// More are counted together: a policy names few.
const MAX_SOURCES: usize = 256;

/// A source that does not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SilentSource {
    /// The root of the policy, or the server's URL.
    pub source: String,
    /// When a question first found it silent.
    pub since: Timestamp,
    /// Why there was no answer last.
    pub why: String,
    logged: Timestamp,
}

impl SilentSource {
    /// One line.
    #[must_use]
    pub fn told(&self) -> String {
        let what = format!(
            "{} does not answer since {:.0}: {}; what was verified answers, for `[limits] offline` at most",
            self.source, self.since, self.why
        );
        Problem::hinted(what, "see docs/outage.md").to_string()
    }
}

/// The sources that are silent, by name.
#[derive(Debug, Default)]
pub(super) struct SilentSources(Mutex<BTreeMap<String, SilentSource>>);

impl SilentSources {
    /// A source did not answer, and what was verified does.
    pub(super) fn add(&self, source: &str, why: &str, now: Timestamp) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_SOURCES && !known.contains_key(source) {
            return;
        }
        let silent = known
            .entry(source.to_owned())
            .or_insert_with(|| SilentSource {
                source: source.to_owned(),
                since: now,
                why: String::new(),
                logged: Timestamp::MIN,
            });
        why.clone_into(&mut silent.why);
        if later(silent.logged, LOG_EVERY) <= now {
            silent.logged = now;
            log::warn!("{}", silent.told());
        }
    }

    /// A source answered.
    pub(super) fn remove(&self, source: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(silent) = known.remove(source) {
            log::info!("{} answers again", silent.source);
        }
    }
}

impl Repositories {
    /// The sources that do not answer while what was verified does.
    pub(crate) fn silent_sources(&self) -> Vec<SilentSource> {
        let known = self.silent.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().cloned().collect()
    }

    /// Nobody is told of a look at the cache alone, which asks no source.
    pub(super) fn found_silent(&self, source: &str, why: &str, now: Timestamp) {
        if self.keeps() {
            self.silent.add(source, why, now);
        }
    }
}

//! A source that does not answer: left alone for a while, and each question in that while gets its last silence.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::SourceError;
use super::backoff::Backoff;

/// How long one source is left alone, and what it last failed of.
#[derive(Debug, Default)]
pub(super) struct Silence(Mutex<(Backoff, String)>);

impl Silence {
    /// The error for a question that is not asked yet, where the source is to be left alone.
    pub(super) fn of(&self, url: &str) -> Option<SourceError> {
        let silence = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = silence.0.wait(Instant::now())?;
        let cause = format!("{} (asked again in {} s)", silence.1, wait.as_secs().saturating_add(1));
        Some(SourceError::Silent { url: url.to_owned(), cause })
    }

    /// Takes note of how a question ended.
    pub(super) fn remember<T>(&self, answer: &Result<T, SourceError>) {
        let mut silence = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(SourceError::Silent { cause, .. }) = answer {
            // Chance for the jitter: the keys of a hasher, which differ each time.
            let [a, b, c, d, ..] = RandomState::new().hash_one(0).to_be_bytes();
            silence.0.failed(Instant::now(), u32::from_be_bytes([a, b, c, d]));
            silence.1.clone_from(cause);
        } else {
            silence.0.answered();
        }
    }
}

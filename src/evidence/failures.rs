//! Remembers what the cache alone could not verify: the cache is the same a moment later, and
//! hundreds of images ask the same.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use rootpin_trust::Refusal;
use rootpin_trust::image::Repository;

/// Refusals by root and, where a root has metadata for each, by repository. Where sources are asked
/// nothing is remembered: they may answer the next time.
#[derive(Debug, Default)]
pub(super) struct Failures(Option<Mutex<HashMap<Subject, Refusal>>>);

type Subject = (String, Option<Repository>);

impl Failures {
    pub(super) fn remembered() -> Self {
        Self(Some(Mutex::default()))
    }

    /// Whether no source is ever asked.
    pub(super) fn are_remembered(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn of(&self, root: &str, gun: Option<&Repository>) -> Option<Refusal> {
        let known = self
            .0
            .as_ref()?
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        known.get(&(root.to_owned(), gun.cloned())).cloned()
    }

    pub(super) fn add(&self, root: &str, gun: Option<&Repository>, refusal: &Refusal) {
        if let Some(known) = &self.0 {
            known
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert((root.to_owned(), gun.cloned()), refusal.clone());
        }
    }
}

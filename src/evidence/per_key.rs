//! A cache with one slot for each key.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// More than this of one kind at hand and all of it is forgotten; everything can be fetched again.
const MAX_VALUES: usize = 4096;

/// What is at hand, by what it is of, each behind a lock of its own: those that wait for one find
/// its answer.
#[derive(Debug)]
pub(super) struct PerKeyCache<K, T>(Mutex<HashMap<K, Arc<tokio::sync::Mutex<T>>>>);

impl<K, T> Default for PerKeyCache<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + std::hash::Hash, T: Default> PerKeyCache<K, T> {
    pub(super) fn get(&self, key: K) -> Arc<tokio::sync::Mutex<T>> {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if values.len() >= MAX_VALUES {
            values.clear();
        }
        Arc::clone(values.entry(key).or_default())
    }

    /// Forgets what is at hand of these.
    pub(super) fn forget(&self, is_meant: impl Fn(&K) -> bool) {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        values.retain(|key, _| !is_meant(key));
    }

    pub(super) fn clear(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

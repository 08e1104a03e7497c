//! The present step of a change, shown to people who wait.

use std::sync::{Arc, Mutex, PoisonError};

/// What a change does at the moment. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Activity(Arc<Mutex<String>>);

impl Activity {
    /// What it is; empty while a person is asked.
    #[must_use]
    pub fn now(&self) -> String {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Sets it, and returns what it was.
    pub fn set(&self, what: impl Into<String>) -> String {
        std::mem::replace(
            &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner),
            what.into(),
        )
    }
}

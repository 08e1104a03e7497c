//! A state that could not be opened.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, RwLock};

use super::seen::SeenState;
use super::write_watch::WriteWatch;
use super::{StateError, Store, directory, file};

/// A state that could not be opened.
pub(super) struct BrokenState {
    pub(super) found: String,
    pub(super) hint: String,
    /// Whether there was a file. Where it is gone since, another process or a person has it, and
    /// its floors are not to be forgotten for that.
    pub(super) had_file: bool,
}

impl BrokenState {
    pub(super) fn of(error: &StateError, had_file: bool) -> Self {
        let refusal = error.refusal();
        Self {
            found: refusal.found,
            hint: refusal.hint,
            had_file,
        }
    }
}

impl Store {
    /// A state that could not be opened, as one that answers every call with why: a daemon that
    /// serves with it refuses, and says so. `try_again` opens it: a disk that is given room,
    /// or mounted, is enough.
    #[must_use]
    pub fn broken(dir: &Path, error: &StateError) -> Self {
        let had_file = file::path(dir).exists();
        let broken = RwLock::new(Some(BrokenState::of(error, had_file)));
        let seen = RwLock::new(Arc::new(SeenState::default()));
        Self {
            path: file::path(dir),
            database: RwLock::new(None),
            write_failed: AtomicBool::new(false),
            writing: WriteWatch::default(),
            proved: Mutex::new(None),
            unnamed: Mutex::new(None),
            held: Mutex::new(None),
            seen,
            broken,
            pruned: Mutex::new(None),
        }
    }

    /// That the state was opened, or why it could not be.
    pub(super) fn whole(&self) -> Result<(), StateError> {
        let broken = self.broken.read().map_err(|_| self.poisoned())?;
        match broken.as_ref() {
            None => Ok(()),
            Some(known) => Err(directory::unusable(&self.path, &known.found, &known.hint)),
        }
    }

    /// Opens a state that could not be opened, if that works by now, and says whether it is open.
    /// Once it was opened it is never broken again. For a thread that may wait: who asks meanwhile
    /// hears at once why the last try failed.
    pub(crate) fn try_again(&self) -> bool {
        let had_file = match self.broken.read().as_deref() {
            Ok(Some(known)) => known.had_file,
            Ok(None) => return true,
            Err(_) => return false,
        };
        let opened = if had_file && !self.path.exists() {
            Err(self.unusable(
                "the file that could not be opened is gone; a restart of rootpind begins a new state",
            ))
        } else {
            self.open_again()
        };
        let is_open = opened.is_ok();
        if let Ok(mut broken) = self.broken.write() {
            *broken = opened
                .err()
                .map(|error| BrokenState::of(&error, had_file || self.path.exists()));
        }
        if is_open {
            log::info!("{}: the state can be used now", self.path.display());
        }
        is_open
    }
}

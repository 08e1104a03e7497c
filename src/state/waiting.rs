//! Opening a state that another process may have, for a daemon's life or for one answer.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{StateError, Store, file};

impl Store {
    /// Opens the state, and waits for another process that has it open, up to the deadline.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub(crate) fn open_waiting(dir: &Path, deadline: Instant) -> Result<Self, StateError> {
        waiting(deadline, || Self::open(dir))
    }

    /// The same for a process that answers once and may commit nothing: then it leaves the file as
    /// it is, and waits for no disk.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub(crate) fn open_for_one_answer(dir: &Path, deadline: Instant) -> Result<Self, StateError> {
        let open = || Ok(Self::of(file::path(dir), file::open_or_create(dir, true)?));
        waiting(deadline, open)
    }

    /// Ends the process's use of the state without closing the file: all that was committed is
    /// written, and each open checks the whole file, closed or not.
    pub(crate) fn abandon(self: Arc<Self>) {
        std::mem::forget(self);
    }
}

/// Opens a state as soon as no other process has it, up to the deadline.
fn waiting(
    deadline: Instant,
    open: impl Fn() -> Result<Store, StateError>,
) -> Result<Store, StateError> {
    loop {
        match open() {
            Err(StateError::InUse { path }) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(StateError::InUse { path });
                }
                std::thread::sleep(left.min(Duration::from_millis(20)));
            }
            other => return other,
        }
    }
}

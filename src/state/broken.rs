//! A state that could not be opened.

use super::StateError;

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

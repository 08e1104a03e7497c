//! When everything on a host is looked at by itself. Pure: chance is an argument. docs/scale.md rests
//! on it.

use std::time::Duration;

const PERIOD: Duration = Duration::from_secs(3600);

/// From one sweep to the next that nothing asks for: an hour, ten percent more or less, so that a
/// fleet does not sweep at once. `chance` is any byte, evenly distributed.
pub(crate) fn until_next(chance: u32) -> Duration {
    PERIOD * 9 / 10 + PERIOD / 5 * chance.min(255) / 256
}

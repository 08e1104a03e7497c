//! How long a write to the state's file has lasted: a disk that hangs ends no write, and fails none.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A write takes milliseconds, and on a disk with much other work a second or two.
const HANGS: Duration = Duration::from_secs(5);

/// Since when a write is under way. There is one writer at a time.
#[derive(Debug, Default)]
pub(super) struct WriteWatch(Mutex<Option<Instant>>);

/// A write that is under way. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct UnderWay<'a>(&'a WriteWatch);

impl WriteWatch {
    pub(super) fn begin(&self, now: Instant) -> UnderWay<'_> {
        self.set(Some(now));
        UnderWay(self)
    }

    /// How long the write that is under way has lasted, if no disk that answers takes so long.
    pub(super) fn hangs(&self, now: Instant) -> Option<Duration> {
        let since = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lasted = now.saturating_duration_since(since?);
        (lasted >= HANGS).then_some(lasted)
    }

    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.set(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_hangs_once_it_has_lasted_too_long_and_no_more_when_it_has_ended() {
        let (watch, begun) = (WriteWatch::default(), Instant::now());
        let late = begun + HANGS;
        assert_eq!(watch.hangs(late), None, "none is under way");
        let write = watch.begin(begun);
        assert_eq!(
            watch.hangs(late.checked_sub(Duration::from_millis(1)).unwrap()),
            None
        );
        assert_eq!(watch.hangs(late), Some(HANGS));
        drop(write);
        assert_eq!(watch.hangs(late), None, "it has ended");
    }
}

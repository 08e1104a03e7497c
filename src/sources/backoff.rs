//! The time for which a source that does not answer is left alone. Pure: time and chance are
//! arguments.

use std::time::{Duration, Instant};

/// One source's back-off: 1 s, doubled with each failure in a row up to 60 s, each time ± 50 %, so
/// that a fleet does not return at once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Backoff {
    failures: u32,
    until: Option<Instant>,
}

const FIRST: u64 = 1_000;
const MOST: u64 = 60_000;

impl Backoff {
    /// How long the source is still to be left alone; `None`: ask.
    #[must_use]
    pub(crate) fn wait(&self, now: Instant) -> Option<Duration> {
        self.until?
            .checked_duration_since(now)
            .filter(|wait| !wait.is_zero())
    }

    /// The source did not answer. `random` is any number, evenly distributed.
    pub(crate) fn failed(&mut self, now: Instant, random: u32) {
        // A failure of a question that was under way when the pause began says nothing new.
        if self.wait(now).is_some() {
            return;
        }
        let base = FIRST.checked_shl(self.failures).unwrap_or(MOST).min(MOST);
        self.failures = self.failures.saturating_add(1).min(16);
        let pause = base / 2 + base.saturating_mul(u64::from(random)) / u64::from(u32::MAX);
        self.until = now.checked_add(Duration::from_millis(pause));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(random: u32) -> Vec<u64> {
        let mut backoff = Backoff::default();
        let mut now = Instant::now();
        (0..9)
            .map(|_| {
                backoff.failed(now, random);
                let wait = backoff.wait(now).unwrap();
                now += wait;
                u64::try_from(wait.as_millis()).unwrap()
            })
            .collect()
    }

    #[test]
    fn the_pause_doubles_from_one_second_to_sixty_with_half_of_it_left_to_chance() {
        assert_eq!(
            pauses(0),
            [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]
        );
        assert_eq!(
            pauses(u32::MAX),
            [1500, 3000, 6000, 12000, 24000, 48000, 90000, 90000, 90000]
        );
        assert_eq!(pauses(u32::MAX / 2)[..3], [999, 1999, 3999]);
    }

    #[test]
    fn a_pause_ends_when_its_time_is_over() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        assert_eq!(backoff.wait(now), None);
        backoff.failed(now, 0);
        assert_eq!(
            backoff.wait(now + Duration::from_millis(200)),
            Some(Duration::from_millis(300))
        );
        assert_eq!(backoff.wait(now + Duration::from_millis(500)), None);
    }

    #[test]
    fn many_questions_that_fail_together_count_as_one_failure() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        for _ in 0..50 {
            backoff.failed(now, 0);
        }
        assert_eq!(backoff.wait(now), Some(Duration::from_millis(500)));
    }
}

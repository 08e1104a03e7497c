//! A clock that can't be right: nothing that rests on time is judged by it, and nothing kept.

use std::sync::PoisonError;

use jiff::Timestamp;

use super::{Decider, Repositories};
use rootpin_trust::{Code, Refusal};

impl Decider {
    /// Says before when it can't be, and what shows that: by an earlier clock nothing that rests on
    /// time is judged, and nothing kept.
    pub fn set_earliest(&self, at: Timestamp, why: &str) {
        *self
            .repositories
            .earliest
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some((at, why.to_owned()));
    }

    /// Why the clock can't be right, if it can't.
    #[must_use]
    pub fn clock_trouble(&self, now: Timestamp) -> Option<String> {
        self.repositories
            .implausible(now)
            .map(|refusal| format!("{}; wanted {}", refusal.found, refusal.wanted))
    }
}

impl Repositories {
    /// Why nothing may be judged by a clock that shows this: it was later than that already.
    pub(super) fn implausible(&self, now: Timestamp) -> Option<Refusal> {
        let earliest = self.earliest.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, why) = earliest
            .as_ref()
            .filter(|(at, _)| self.present && now < *at)?;
        Some(Refusal::new(
            Code::Clock,
            format!("a clock at {now:.0}"),
            format!("a time after {at:.0}: {why}"),
            "set the host's clock (timedatectl); if that is right and a file is named whose date is wrong: touch FILE",
        ))
    }
}

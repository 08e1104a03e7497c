//! How a search beside an image divides its time.
//!
//! One rule: what is asked may take half of the time that is left while others wait for theirs, and
//! all of it where nobody does. So nothing that keeps us waiting takes the others' time, and whatever
//! is not used goes to those that come after. It holds among the ways to a registry, among the places
//! of a way, and among the parts of the list that is read.

use std::time::Instant;

use super::share;

/// Until when the present way is asked, and until when the list that is read now.
#[derive(Debug, Clone, Copy)]
pub(super) struct SearchTime {
    deadline: Instant,
    way_until: Instant,
    list_until: Instant,
}

/// Until when something is asked, which may take until `end`.
pub(super) fn turn(now: Instant, end: Instant, others_wait: bool) -> Instant {
    share(now, end, 1 + usize::from(others_wait))
}

impl SearchTime {
    /// A search that has no way yet.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            deadline: now,
            way_until: now,
            list_until: now,
        }
    }

    /// A way begins.
    pub(super) fn begin_way(&mut self, now: Instant, deadline: Instant, others_wait: bool) {
        self.deadline = deadline;
        self.way_until = turn(now, deadline, others_wait);
        self.list_until = self.way_until;
    }

    /// The way is the right one: no other one will be asked. `others_wait`: other places.
    pub(super) fn only_this_way(&mut self, now: Instant, others_wait: bool) {
        if self.way_until < self.deadline {
            self.way_until = self.deadline;
            self.list_until = turn(now, self.way_until, others_wait);
        }
    }

    /// Until when a place is asked, or what it lists.
    pub(super) fn begin_place(&mut self, now: Instant, others_wait: bool) -> Instant {
        self.list_until = turn(now, self.way_until, others_wait);
        self.list_until
    }

    /// What is left is of the last list: no other one waits.
    pub(super) fn begin_last(&mut self) {
        self.list_until = self.way_until;
    }

    /// Until when a part of the list is asked for. `goes_on`: whether there are more parts of it.
    pub(super) fn part(&self, now: Instant, goes_on: bool) -> Instant {
        turn(now, self.list_until, goes_on)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const AT_ONCE: usize = 8;

    /// A registry in simulated time: each request that it answers takes so long.
    struct Registry {
        now: Instant,
        delay: Duration,
    }

    impl Registry {
        /// Whether requests that are made at once are answered in time.
        fn ask(&mut self, until: Instant) -> bool {
            let answered = self.now + self.delay <= until;
            self.now = (self.now + self.delay).min(until);
            answered
        }

        fn hang(&mut self, until: Instant) {
            self.now = until;
        }
    }

    const DEADLINE: Duration = Duration::from_secs(8);

    /// Whether the signature is found in the tag that stands in for the list of referrers, among as
    /// many entries, at the last part of them. `ways`: those that are tried, the first one answers.
    fn found(entries: usize, delay: Duration, ways: usize) -> bool {
        let now = Instant::now();
        let (mut time, mut registry) = (SearchTime::new(now), Registry { now, delay });
        time.begin_way(now, now + DEADLINE, ways > 1);
        // There are no referrers, which does not say that somebody speaks plain http.
        let until = time.begin_place(registry.now, true);
        if !registry.ask(until) {
            return false;
        }
        let until = time.begin_place(registry.now, true);
        if !registry.ask(until) {
            return false;
        }
        time.only_this_way(registry.now, true);
        time.begin_place(registry.now, true);
        let parts = entries.div_ceil(AT_ONCE);
        (1..=parts).all(|part| {
            let goes_on = part < parts;
            let until = time.part(registry.now, goes_on);
            // The manifests, which leave time for the blobs.
            registry.ask(turn(registry.now, until, true))
                && registry.ask(time.part(registry.now, goes_on))
        })
    }

    #[test]
    fn a_slow_registry_is_given_up_only_where_others_need_the_time() {
        let ms = Duration::from_millis;
        for (entries, delay, ways, wanted) in [
            (1, ms(100), 2, true),
            (1, ms(400), 2, true),
            (1, ms(400), 1, true),
            (1, ms(900), 2, true),
            (1, ms(1200), 1, true),
            (11, ms(700), 1, true),
            (11, ms(250), 2, true),
            (11, ms(400), 2, true),
            (11, ms(400), 1, true),
            (96, ms(100), 2, true),
            // Six answers, one after the other, are not to be had in eight seconds.
            (11, ms(1600), 1, false),
            (1, ms(4000), 2, false),
        ] {
            let said = found(entries, delay, ways);
            assert_eq!(said, wanted, "{entries} entries, {delay:?}, {ways} ways");
        }
    }

    #[test]
    fn whatever_hangs_leaves_each_other_place_a_part_of_the_time() {
        let now = Instant::now();
        for (ways, least) in [(1, 1000), (2, 500)] {
            let delay = Duration::ZERO;
            let (mut time, mut registry) = (SearchTime::new(now), Registry { now, delay });
            time.begin_way(now, now + DEADLINE, ways > 1);
            let until = time.begin_place(registry.now, true);
            registry.hang(until);
            let until = time.begin_place(registry.now, true);
            assert!(registry.ask(until));
            time.begin_place(registry.now, true);
            // However many parts of a list hang.
            for part in 1..=12 {
                let until = time.part(registry.now, part < 12);
                registry.hang(until);
            }
            let until = time.begin_place(registry.now, false);
            let left = until - registry.now;
            assert!(left >= Duration::from_millis(least), "{ways} {left:?}");
        }
    }

    #[test]
    fn what_is_not_used_goes_to_those_that_come_after() {
        let now = Instant::now();
        let (mut time, end) = (SearchTime::new(now), now + DEADLINE);
        time.begin_way(now, end, false);
        time.begin_place(now, true);
        assert_eq!(time.begin_place(now, false), end);
        time.begin_way(now, end, true);
        time.begin_place(now, true);
        time.only_this_way(now, true);
        assert_eq!(time.part(now, false), now + DEADLINE / 2);
        time.begin_last();
        assert_eq!(time.part(now, false), end);
    }
}

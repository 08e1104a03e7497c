//! When a source is asked anew. Pure: what is at hand, and the time, are arguments. docs/scale.md
//! rests on it.

use jiff::{SignedDuration, Timestamp};

/// A source is asked before its time at most this often for names that it may not have: whoever
/// asks for such names must not choose how much work that is.
pub(crate) const AGAIN: SignedDuration = SignedDuration::from_secs(5);

/// The times of the metadata that is at hand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MetadataTimes {
    /// When a source last confirmed it.
    pub(crate) contact: Timestamp,
    /// When the source was last asked, with or without an answer.
    pub(crate) asked: Timestamp,
    /// Until when it answers without another look.
    pub(crate) valid_until: Timestamp,
}

/// What a question needs of the source before it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing: what is at hand answers.
    Nothing,
    /// Whether there is something newer; without an answer, what is at hand answers.
    Newer,
    /// An update: nothing at hand answers by itself.
    Update,
}

impl Due {
    /// `clock` is what the clock says by now: a contact after it was made under a clock that ran
    /// ahead. `again`: what is at hand doesn't have what was asked for.
    pub(crate) fn of(
        at_hand: Option<MetadataTimes>,
        now: Timestamp,
        clock: Timestamp,
        again: bool,
    ) -> Self {
        match at_hand {
            Some(known) if now < known.valid_until && known.contact <= clock => {
                if again && later(known.asked, AGAIN) <= now {
                    Self::Newer
                } else {
                    Self::Nothing
                }
            }
            _ => Self::Update,
        }
    }
}

/// That time and so much more.
pub(crate) fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_900_000_000 + seconds).unwrap()
    }

    #[test]
    fn a_source_is_asked_when_nothing_answers_and_before_its_time_once_in_five_seconds() {
        let known = Some(MetadataTimes {
            contact: at(0),
            asked: at(0),
            valid_until: at(60),
        });
        let due = |now: i64, again: bool| Due::of(known, at(now), at(now), again);
        assert_eq!(Due::of(None, at(0), at(0), false), Due::Update);
        assert_eq!((due(0, true), due(4, true)), (Due::Nothing, Due::Nothing));
        assert_eq!((due(5, true), due(5, false)), (Due::Newer, Due::Nothing));
        assert_eq!(
            (due(59, false), due(60, false)),
            (Due::Nothing, Due::Update)
        );
        assert_eq!(
            Due::of(known, at(1), at(-1), false),
            Due::Update,
            "a clock that went back"
        );
    }
}

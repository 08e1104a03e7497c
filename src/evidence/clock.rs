//! A clock that can't be right: nothing that rests on time is judged by it, and nothing is kept.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use super::{MetadataOrigin, Repositories, RootLook};
use rootpin_trust::{Code, Refusal};

/// How far a clock may go back without being called wrong: time servers set one that ran ahead.
const STEP: SignedDuration = SignedDuration::from_mins(1);

/// The earliest time that the present one can be, and what shows that. All who judge by the present
/// time share it.
#[derive(Debug)]
pub(super) struct Earliest {
    /// Whether questions are judged as of another time, which no clock shows.
    past: bool,
    known: Arc<Mutex<Option<(Timestamp, String)>>>,
}

impl Earliest {
    /// None is known yet.
    pub(super) fn of_past(past: bool) -> Self {
        Self {
            past,
            known: Arc::default(),
        }
    }

    /// The same, for who judges by the present time.
    pub(super) fn present(&self) -> Self {
        Self {
            past: false,
            known: Arc::clone(&self.known),
        }
    }

    /// Whether questions are judged by the present time.
    fn is_present(&self) -> bool {
        !self.past
    }
}

impl Repositories {
    /// The present time can't be before that one: by an earlier clock nothing that rests on time is
    /// judged, and nothing is kept.
    pub(crate) fn set_earliest(&self, at: Timestamp, why: &str) {
        *self
            .earliest
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some((at, why.to_owned()));
    }

    /// Why nothing may be judged by a clock that shows this: it was later than that already.
    pub(crate) fn implausible(&self, now: Timestamp) -> Option<Refusal> {
        let earliest = self
            .earliest
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (at, why) = earliest
            .as_ref()
            .filter(|(at, _)| self.earliest.is_present() && now < *at)?;
        Some(Refusal::new(
            Code::Clock,
            format!("a clock at {now:.0}"),
            format!("a time after {at:.0}: {why}"),
            "set the host's clock (timedatectl); if that is right and a file is named whose date is wrong: touch FILE",
        ))
    }

    /// The last good contact, unless it lies in the future by more than a step: then the clock went
    /// back, and no expiry can be judged by it.
    pub(super) fn contact(
        &self,
        origin: &MetadataOrigin,
        at_hand: Option<Timestamp>,
        clock: Timestamp,
    ) -> Result<Option<Timestamp>, Refusal> {
        if let Some(refusal) = self.implausible(clock) {
            return Err(refusal);
        }
        let contact = self
            .store
            .contact(&origin.source, &origin.subject)
            .map_err(|error| error.refusal())?
            .max(at_hand);
        match contact {
            Some(contact) if self.earliest.is_present() && contact.duration_since(clock) > STEP => {
                Err(Refusal::new(
                    Code::Clock,
                    format!("a clock at {clock:.0}"),
                    format!(
                        "a time after the last good contact with {}, {contact:.0}",
                        origin.source
                    ),
                    "set the host's clock; if the contact was made under a clock that ran ahead, and the clock is right by now, forget it with: rootpin state reset --contacts",
                ))
            }
            contact => Ok(contact),
        }
    }

    /// Until when what the cache holds answers without another look: where no source is asked, as
    /// long as it may serve at all.
    pub(super) fn cached_until(&self, look: RootLook<'_>, limit: Timestamp) -> Timestamp {
        if self.failures.are_remembered() {
            limit
        } else {
            look.recheck().min(limit)
        }
    }
}

//! The last good contact with a source, from which the policy's `offline` counts.

use jiff::{SignedDuration, Timestamp};

use super::{StateError, Store};

/// A contact is written when it is this much later than the one on file, so that a question that is
/// asked again writes nothing. The file is then behind by at most this, which shortens `offline`
/// (days) by as much and is slack for a clock that is set back.
const GRANULARITY: SignedDuration = SignedDuration::from_mins(5);

/// Whether a contact is to be written. An earlier one never is: a clock that went back is the
/// decision's to judge.
pub(super) fn is_news(known: Option<Timestamp>, now: Timestamp) -> bool {
    known.is_none_or(|known| now.duration_since(known) > GRANULARITY)
}

impl Store {
    /// The last good contact with a source, whatever it was about; a few minutes may be missing.
    ///
    /// # Errors
    /// The state is unusable.
    pub(crate) fn last_contact(&self, source: &str) -> Result<Option<Timestamp>, StateError> {
        let seen = self.seen()?;
        let contacts = seen.contacts.iter();
        let of_source = contacts.filter(|((known, _), _)| known == source);
        Ok(of_source.map(|(_, entry)| entry.value).max())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_is_news_only_when_it_is_much_later_than_the_one_on_file() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert!(is_news(None, at("2026-01-01T00:00:00Z")));
        let known = Some(at("2026-01-01T00:00:00Z"));
        assert!(!is_news(known, at("2026-01-01T00:05:00Z")));
        assert!(is_news(known, at("2026-01-01T00:05:01Z")));
        assert!(!is_news(known, at("2025-01-01T00:00:00Z")));
    }
}

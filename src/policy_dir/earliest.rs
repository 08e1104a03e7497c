//! The earliest time that this host's clock can rightly show: a clock at 1970, as a board without a
//! battery has it at boot, judges no expiry.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};

/// Time zones and clocks that are a little apart make nothing implausible.
const SLACK: SignedDuration = SignedDuration::from_hours(24);

/// A time before which it can't be, and what shows that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Earliest {
    /// The time.
    pub at: Timestamp,
    /// What shows it, for people.
    pub why: String,
}

impl Earliest {
    /// When this program was built.
    #[must_use]
    pub fn of_build() -> Self {
        let seconds = env!("ROOTPIN_BUILT").parse().unwrap_or_default();
        Self::less_slack(seconds, |at| format!("rootpin was built at {at}"))
    }

    /// The later one of this and the time when a file was written, in seconds since 1970.
    #[must_use]
    pub fn or(self, file: &Path, written: i64) -> Self {
        let other = Self::less_slack(written, |at| {
            format!("{} was written at {at}", file.display())
        });
        if other.at > self.at { other } else { self }
    }

    fn less_slack(seconds: i64, why: impl FnOnce(Timestamp) -> String) -> Self {
        let at = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
        Self {
            at: at.checked_sub(SLACK).unwrap_or(Timestamp::MIN),
            why: why(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_newer_than_the_program_says_that_it_is_later_still() {
        let built = Earliest::of_build();
        assert!(
            built.at > "2026-01-01T00:00:00Z".parse().unwrap() && built.at < Timestamp::now(),
            "{built:?}"
        );
        let day = 24 * 60 * 60;
        assert_eq!(
            built.clone().or(Path::new("/etc/rootpin/policy.toml"), 0),
            built
        );
        let newer = built.clone().or(
            Path::new("/etc/rootpin/policy.toml"),
            built.at.as_second() + 3 * day,
        );
        assert_eq!(newer.at.as_second(), built.at.as_second() + 2 * day);
        assert!(
            newer
                .why
                .starts_with("/etc/rootpin/policy.toml was written at "),
            "{newer:?}"
        );
    }
}

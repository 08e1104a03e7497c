//! Versions as engines tell them: `v1.7.24~ds1`, `2.1.9+unknown`, `28.5.2+dfsg4`.

use std::fmt;

/// Major, minor and patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

/// The image verifier came with this containerd.
pub(super) const VERIFIER: Version = Version(2, 0, 0);

impl Version {
    /// The first three numbers; a missing last one is nought.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.trim_start_matches('v').splitn(3, '.').map(|part| {
            let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
            digits.parse::<u32>().ok()
        });
        Some(Self(
            numbers.next()??,
            numbers.next()??,
            numbers.next().flatten().unwrap_or_default(),
        ))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_distributions_add_to_a_version_is_left_out() {
        for (text, version) in [
            ("v1.7.24~ds1", Version(1, 7, 24)),
            ("2.1.9+unknown", Version(2, 1, 9)),
            ("28.5.2+dfsg4", Version(28, 5, 2)),
            ("2.3.0-rc.1", Version(2, 3, 0)),
            ("1.6.20~ds1-1+deb12u1", Version(1, 6, 20)),
            ("29.3", Version(29, 3, 0)),
        ] {
            assert_eq!(Version::parse(text), Some(version), "{text}");
        }
        assert_eq!((Version::parse("master"), Version::parse("")), (None, None));
    }
}

//! Dates in metadata.

use jiff::Timestamp;

/// RFC 3339 with any offset and fraction, and none of the other forms that a lenient parser takes.
pub(super) fn date(text: &str) -> Option<Timestamp> {
    let form: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    let rest = form.strip_prefix("0000-00-00T00:00:00")?;
    let offset = match rest.strip_prefix('.') {
        Some(fraction) if fraction.starts_with('0') => fraction.trim_start_matches('0'),
        Some(_) => return None,
        None => rest,
    };
    if !matches!(offset, "Z" | "+00:00" | "-00:00") {
        return None;
    }
    // The last day of what a timestamp here can be is not a whole one, and what is never to expire
    // ends with the year 9999.
    let last = || {
        text.strip_prefix("9999-12-3")
            .and_then(|rest| format!("2000-12-3{rest}").parse::<Timestamp>().ok())
    };
    text.parse().ok().or_else(|| last().map(|_| Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_days_of_the_year_9999_are_dates_too() {
        for last in [
            "9999-12-31T23:59:59Z",
            "9999-12-31T23:59:59.999999999-14:00",
            "9999-12-31T00:00:00Z",
        ] {
            assert_eq!(date(last), Some(Timestamp::MAX), "{last}");
        }
        for bad in [
            "9999-12-32T00:00:00Z",
            "9999-12-31T24:00:00Z",
            "9999-12-31T23:59:59+99:00",
            "9999-13-31T00:00:00Z",
        ] {
            assert_eq!(date(bad), None, "{bad}");
        }
    }

    #[test]
    fn dates_are_rfc_3339_with_any_offset_and_fraction() {
        for good in [
            "2116-01-11T16:58:57.119711158-08:00",
            "2026-11-22T00:00:00Z",
            "2026-11-22T00:00:00.5+14:00",
        ] {
            assert!(date(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "2026-11-22",
            "2026-11-22 00:00:00Z",
            "2026-11-22t00:00:00z",
            "2026-11-22T00:00:00",
            "2026-11-22T00:00:00.Z",
            "2026-13-22T00:00:00Z",
            "2026-11-22T00:00:00Z[UTC]",
            "2026-11-22T00:00Z",
        ] {
            assert!(date(bad).is_none(), "{bad}");
        }
    }
}

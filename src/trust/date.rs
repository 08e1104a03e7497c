//! Dates in metadata.

use jiff::Timestamp;

/// RFC 3339 with any offset and fraction, and none of the other forms that a lenient parser takes.
pub(super) fn date(text: &str) -> Option<Timestamp> {
    let form: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let rest = form.strip_prefix("0000-00-00T00:00:00")?;
    let offset = match rest.strip_prefix('.') {
        Some(fraction) if fraction.starts_with('0') => fraction.trim_start_matches('0'),
        Some(_) => return None,
        None => rest,
    };
    if matches!(offset, "Z" | "+00:00" | "-00:00") { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_rfc_3339_with_any_offset_and_fraction() {
        for good in ["2116-01-11T16:58:57.119711158-08:00", "2026-11-22T00:00:00Z", "2026-11-22T00:00:00.5+14:00"] {
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

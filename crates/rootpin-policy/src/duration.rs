//! Durations: `[0-9]+(s|m|h|d)`.

use jiff::SignedDuration;

use super::finding::{Fault, FindingCode};

/// Reads a duration.
pub(super) fn parse(text: &str) -> Result<SignedDuration, Fault> {
    let fault = |why: &str| {
        Fault::new(
            FindingCode::BadDuration,
            format!("{text:?} is not a duration: {why}"),
            "write a whole number and s, m, h or d, as 72h",
        )
    };
    let unit = text.chars().last();
    let seconds: i64 = match unit {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3_600,
        Some('d') => 86_400,
        _ => return Err(fault("no unit")),
    };
    let digits = text.get(..text.len().saturating_sub(1)).unwrap_or("");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(fault("no whole number"));
    }
    let count: Option<i64> = digits.parse().ok();
    count
        .and_then(|count| count.checked_mul(seconds))
        .map(SignedDuration::from_secs)
        .ok_or_else(|| fault("too long"))
}

/// A duration that is more than nothing: `[0-9]+(s|m|h|d)`.
///
/// # Errors
/// It is no such text, or no time at all.
pub fn parse_positive(text: &str) -> Result<SignedDuration, Fault> {
    let duration = parse(text)?;
    if duration.is_zero() {
        return Err(Fault::new(
            FindingCode::BadDuration,
            format!("{text:?} is no time at all"),
            "write a longer time, as 72h",
        ));
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_whole_number_and_one_unit() {
        let seconds = |text| parse(text).map(|duration| duration.as_secs()).unwrap();
        assert_eq!(
            (
                seconds("0s"),
                seconds("60s"),
                seconds("5m"),
                seconds("72h"),
                seconds("14d")
            ),
            (0, 60, 300, 259_200, 1_209_600)
        );
    }

    #[test]
    fn anything_else_and_an_overflow_are_refused() {
        for bad in [
            "",
            "s",
            "5",
            "-5s",
            "+5s",
            "1.5h",
            "5 s",
            "5S",
            "5w",
            "5ms",
            "٥s",
            "1h30m",
            "99999999999999999999d",
            "9223372036854775807d",
            "5é",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let nothing = parse_positive("0d").unwrap_err();
        assert_eq!(
            (nothing.message.as_str(), nothing.hint.as_str()),
            ("\"0d\" is no time at all", "write a longer time, as 72h")
        );
    }
}

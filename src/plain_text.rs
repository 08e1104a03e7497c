//! Text of others made fit for a terminal, a log line, a report or a shell.

use std::io;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};

/// Longer text is no name, and no sentence for a table.
const MAX_CHARACTERS: usize = 2000;

/// The text with control characters and those that turn the direction of writing escaped, and cut.
#[must_use]
pub(crate) fn plain(text: &str) -> String {
    plain_start(text, MAX_CHARACTERS)
}

/// The same, cut after so many characters.
pub(crate) fn plain_start(text: &str, most: usize) -> String {
    text.chars().take(most).map(written(is_safe)).collect()
}

/// The same of a text of several lines, whole.
#[must_use]
pub(crate) fn plain_lines(text: &str) -> String {
    let safe = |character| is_safe(character) || matches!(character, '\n' | '\t');
    text.chars().map(written(safe)).collect()
}

/// One word of a command that is typed into a shell.
#[must_use]
pub(crate) fn shell_word(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/:@+,=%".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// An error's own words. `tempfile` adds the name of its draft, which nobody asked for.
#[must_use]
pub(crate) fn error_words(error: &io::Error) -> String {
    let words = error.to_string();
    match words.split_once(" at path ") {
        Some((own, _)) => own.to_owned(),
        None => words,
    }
}

/// The whole days until something ends, rounded up: all that show them count in the same way.
#[must_use]
pub(crate) fn days_left(left: SignedDuration) -> i64 {
    let begun = i64::from(left.as_secs() % 86_400 > 0 || left.subsec_nanos() > 0);
    left.as_secs() / 86_400 + begun
}

/// The same in words.
#[must_use]
pub(crate) fn time_left(left: SignedDuration) -> String {
    match days_left(left) {
        1 if left < SignedDuration::from_hours(24) => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

/// So many of something, as English has it.
#[must_use]
pub(crate) fn counted(count: usize, what: &str) -> String {
    let stem = what.strip_suffix('y');
    let stem = stem.filter(|stem| !stem.ends_with(['a', 'e', 'o', 'u']));
    match stem {
        _ if count == 1 => format!("1 {what}"),
        Some(stem) => format!("{count} {stem}ies"),
        None => format!("{count} {what}s"),
    }
}

/// A time as people read it, in whole seconds; the end of what never ends is "never".
#[must_use]
pub(crate) fn said_time(time: Timestamp) -> String {
    // Metadata that is never to expire ends with the year 9999, the last that a timestamp can have.
    if Timestamp::MAX.duration_since(time) < SignedDuration::from_hours(48) {
        "never".to_owned()
    } else {
        format!("{time:.0}")
    }
}

/// The command that shows each mistake of the policy in a folder.
#[must_use]
pub(crate) fn policy_check(dir: &Path) -> String {
    format!(
        "rootpin policy check {}",
        shell_word(&dir.to_string_lossy())
    )
}

fn written(is_safe: impl Fn(char) -> bool) -> impl Fn(char) -> String {
    move |character| {
        if is_safe(character) {
            character.to_string()
        } else {
            character.escape_unicode().to_string()
        }
    }
}

fn is_safe(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_is_left_is_said_in_days_that_are_rounded_up() {
        for (hours, seconds, said) in [
            (14 * 24, 0, "14 days"),
            (13 * 24 + 1, 0, "14 days"),
            (13 * 24, 1, "14 days"),
            (13 * 24, 0, "13 days"),
            (24, 1, "2 days"),
            (24, 0, "1 day"),
            (12, 0, "less than a day"),
            (0, 14, "less than a day"),
        ] {
            let left = SignedDuration::from_hours(hours) + SignedDuration::from_secs(seconds);
            assert_eq!(time_left(left), said, "{hours} h {seconds} s");
        }
    }

    #[test]
    fn one_is_counted_in_the_singular_and_every_other_number_in_the_plural() {
        for (count, what, said) in [
            (0, "name", "0 names"),
            (1, "name", "1 name"),
            (2, "name", "2 names"),
            (1, "repository", "1 repository"),
            (2, "repository", "2 repositories"),
            (2, "key", "2 keys"),
            (11, "other host", "11 other hosts"),
        ] {
            assert_eq!(counted(count, what), said);
        }
    }

    #[test]
    fn a_time_is_said_in_whole_seconds_and_what_never_ends_ends_never() {
        for (time, said) in [
            ("2026-11-26T10:00:00.123456789Z", "2026-11-26T10:00:00Z"),
            ("2116-01-11T16:58:57Z", "2116-01-11T16:58:57Z"),
            ("9999-12-30T00:00:00Z", "never"),
        ] {
            assert_eq!(said_time(time.parse().unwrap()), said);
        }
        assert_eq!(said_time(Timestamp::MAX), "never");
    }

    #[test]
    fn a_word_is_quoted_only_where_a_shell_would_read_more_into_it() {
        for plain in [
            "/etc/rootpin",
            "https://t.example:8/a",
            "oci://r.example/a:latest",
            "a@sha256:0",
        ] {
            assert_eq!(shell_word(plain), plain);
        }
        for (odd, quoted) in [
            ("", "''"),
            ("a b", "'a b'"),
            ("$(x)", "'$(x)'"),
            ("~root/x", "'~root/x'"),
            ("it's", r"'it'\''s'"),
            ("http://[::1]", "'http://[::1]'"),
        ] {
            assert_eq!(shell_word(odd), quoted);
        }
    }

    #[test]
    fn what_could_lead_a_reader_astray_is_written_out() {
        assert_eq!(plain("docker.io/a/é:1"), "docker.io/a/é:1");
        assert_eq!(
            plain("a\u{1b}[2J\n\u{202e}b"),
            "a\\u{1b}[2J\\u{a}\\u{202e}b"
        );
        assert_eq!(plain(&"x".repeat(9999)).len(), 2000);
        assert_eq!(plain_start(&"x".repeat(999), 300).len(), 300);
        assert_eq!(plain_lines("a\u{1b}[2J\n\u{9b}b"), "a\\u{1b}[2J\n\\u{9b}b");
    }
}

//! Text of others made fit for a terminal, a log line, a report or a shell.

use std::path::Path;

use jiff::SignedDuration;

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

//! Text of others made fit for a report: what a terminal or a reader could be led astray by is
//! written out.

/// Whatever is longer is nobody's name, and no sentence for a table.
const MAX_CHARACTERS: usize = 2000;

/// The text with control characters and those that turn the direction of writing escaped, and cut.
#[must_use]
pub fn plain(text: &str) -> String {
    text.chars()
        .take(MAX_CHARACTERS)
        .map(|c| {
            if is_safe(c) {
                c.to_string()
            } else {
                c.escape_unicode().to_string()
            }
        })
        .collect()
}

/// The same of a text of several lines, whole.
#[must_use]
pub(crate) fn plain_lines(text: &str) -> String {
    text.chars()
        .map(|c| {
            if is_safe(c) || matches!(c, '\n' | '\t') {
                c.to_string()
            } else {
                c.escape_unicode().to_string()
            }
        })
        .collect()
}

fn is_safe(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_lead_a_reader_astray_is_written_out() {
        assert_eq!(plain("docker.io/a/é:1"), "docker.io/a/é:1");
        assert_eq!(
            plain("a\u{1b}[2J\n\u{202e}b"),
            "a\\u{1b}[2J\\u{a}\\u{202e}b"
        );
        assert_eq!(plain(&"x".repeat(9999)).len(), 2000);
        assert_eq!(plain_lines("a\u{1b}[2J\n\u{9b}b"), "a\\u{1b}[2J\n\\u{9b}b");
    }
}

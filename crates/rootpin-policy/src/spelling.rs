//! Finds the known key that is nearest to an unknown one.

use strsim::levenshtein;

/// No key is longer.
const LONGEST_KEY: usize = 64;

/// The one of these words that was meant, if a slip or two lead from it to the text.
#[must_use]
pub fn nearest<'a>(text: &str, known: &[&'a str]) -> Option<&'a str> {
    let plain = |word: &str| -> String {
        let word = word.chars().take(LONGEST_KEY);
        word.collect::<String>()
            .to_ascii_lowercase()
            .replace('_', "-")
    };
    let meant = plain(text);
    let near = known
        .iter()
        .map(|word| (levenshtein(&meant, &plain(word)), *word))
        .min()?;
    let most = if meant.chars().count() < 4 { 1 } else { 2 };
    (near.0 <= most).then_some(near.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_with_a_slip_is_known_and_another_word_is_not() {
        let known = ["match", "roots", "quorum", "allow-rsa-pkcs1v15", "max-age"];
        for (text, meant) in [
            ("roost", "roots"),
            ("root", "roots"),
            ("max_age", "max-age"),
            ("Match", "match"),
            ("qorum", "quorum"),
        ] {
            assert_eq!(nearest(text, &known), Some(meant), "{text}");
        }
        assert_eq!(nearest("server", &known), None);
        assert_eq!(nearest(&"m".repeat(100_000), &known), None);
    }
}

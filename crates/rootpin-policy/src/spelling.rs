//! Which key was meant by one that is not known.

use serde::Deserialize;
use serde::de::value::Error;
use serde::de::{Deserializer, Visitor};

/// No key is longer.
const LONGEST_KEY: usize = 64;

/// The one of these words that was meant, if a slip or two lead from it to the text.
#[must_use]
pub fn nearest<'a>(text: &str, known: &[&'a str]) -> Option<&'a str> {
    let plain = |word: &str| word.to_ascii_lowercase().replace('_', "-");
    let meant = plain(text);
    let near = known
        .iter()
        .map(|word| (slips(&meant, &plain(word)), *word))
        .min()?;
    let most = if meant.chars().count() < 4 { 1 } else { 2 };
    (near.0 <= most).then_some(near.1)
}

/// `hint: did you mean "KEY"?` for the first key of a TOML table that such a value has not, if a
/// slip or two lead from one that it has.
#[must_use]
pub fn hint<T: Deserialize<'static>>(table: &toml::Table) -> Option<String> {
    let known = keys_of::<T>();
    table
        .keys()
        .filter(|key| !known.contains(&key.as_str()))
        .find_map(|key| nearest(key, known))
        .map(|near| format!("hint: did you mean {near:?}?"))
}

/// An error's text with such a hint below it.
#[must_use]
pub fn with(error: &str, hint: Option<String>) -> String {
    let lines = [Some(error.trim_end().to_owned()), hint];
    lines.into_iter().flatten().collect::<Vec<_>>().join("\n")
}

/// The keys that a value is read from, as its `Deserialize` lists them.
fn keys_of<T: Deserialize<'static>>() -> &'static [&'static str] {
    let mut keys: &[&str] = &[];
    // Ends without a value, once the keys are known.
    let _ = T::deserialize(Keys(&mut keys));
    keys
}

struct Keys<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Keys<'_> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        *self.0 = fields;
        visitor.visit_unit()
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// How many letters are added, left out or changed between two words (Levenshtein's distance).
fn slips(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().take(LONGEST_KEY).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.chars().take(LONGEST_KEY).enumerate() {
        let mut left = at + 1;
        let mut next = vec![left];
        for (above, known) in row.windows(2).zip(&other) {
            let (Some(diagonal), Some(up)) = (above.first(), above.last()) else {
                continue;
            };
            left = (diagonal + usize::from(letter != *known))
                .min(up + 1)
                .min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
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

    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case", deny_unknown_fields)]
    #[allow(dead_code, reason = "only its keys are looked at")]
    struct Example {
        audit_log: String,
        #[serde(rename = "engine")]
        engines: Vec<String>,
    }

    #[test]
    fn the_keys_are_those_that_are_read_under_their_names_in_the_file() {
        assert_eq!(keys_of::<Example>(), ["audit-log", "engine"]);
        assert_eq!(keys_of::<String>(), [""; 0]);
        let hint = |text: &str| hint::<Example>(&text.parse().unwrap());
        assert_eq!(
            hint("engine = []\nauditlog = 1").as_deref(),
            Some("hint: did you mean \"audit-log\"?")
        );
        assert_eq!(hint("audit-log = 1\nserver = 2"), None);
    }
}

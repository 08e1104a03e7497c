//! Finds the known key of a configuration file that is nearest to an unknown one.

use crate::problem::Problem;
use rootpin_policy::nearest;
use serde::Deserialize;
use serde::de::value::Error;
use serde::de::{Deserializer, Visitor};

/// `did you mean "KEY"?` for the first key of a TOML table that such a value has not, if a
/// slip or two lead from one that it has.
#[must_use]
pub(crate) fn hint<T: Deserialize<'static>>(table: &toml::Table) -> Option<String> {
    let known = keys_of::<T>();
    table
        .keys()
        .filter(|key| !known.contains(&key.as_str()))
        .find_map(|key| nearest(key, known))
        .map(|near| format!("did you mean {near:?}?"))
}

/// An error of the parser with such a hint.
#[must_use]
pub(crate) fn with(error: &toml::de::Error, hint: Option<String>) -> Problem {
    Problem {
        what: error.to_string().trim_end().to_owned(),
        hint,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

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
            Some("did you mean \"audit-log\"?")
        );
        assert_eq!(hint("audit-log = 1\nserver = 2"), None);
    }
}

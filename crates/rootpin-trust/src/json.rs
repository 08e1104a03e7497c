//! Strict JSON: a tree of values from hostile bytes, or an error that says where and why.
//!
//! Every signed or content-addressed document is read through here, so that two readers of the same
//! bytes can never see different values: exact member names, no duplicate members, no number that
//! is not an integer within 2^53, nothing after the end, and a limit on bytes, depth and number of
//! values.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

/// The largest magnitude a number may have: beyond it, readers that use doubles see other values.
pub const MAX_INTEGER: i64 = (1 << 53) - 1;

/// A JSON value. It takes no more room than it must: a hostile document of small objects is many
/// times its length as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `[…]`
    Array(Box<[Value]>),
    /// `true` or `false`
    Bool(bool),
    /// A whole number, |n| < 2^53
    Integer(i64),
    /// `null`
    Null,
    /// `{…}`
    Object(Members),
    /// `"…"`
    String(String),
}

/// The members of an object, sorted by the UTF-8 bytes of their names, each of which stands once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members(Box<[(String, Value)]>);

impl FromIterator<(String, Value)> for Members {
    /// Of members with the same name the last one stays.
    fn from_iter<T: IntoIterator<Item = (String, Value)>>(members: T) -> Self {
        Self(BTreeMap::from_iter(members).into_iter().collect())
    }
}

/// What one document may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Length of the document in bytes.
    pub bytes: usize,
    /// How many arrays and objects may be open at once.
    pub depth: usize,
    /// Number of values and member names.
    pub values: usize,
}

/// Why a document was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not JSON, or not strict JSON.
    #[error("{0}")]
    Malformed(String),
    /// One of [`Limits`] was reached: its name and its value.
    #[error("more than {limit} {what}")]
    OverLimit {
        /// `bytes`, `levels` or `values`
        what: &'static str,
        /// the limit
        limit: usize,
    },
}

/// Reads one document.
///
/// # Errors
/// [`JsonError::Malformed`] for anything but strict JSON, [`JsonError::OverLimit`] when a limit is
/// passed.
pub fn parse(bytes: &[u8], limits: Limits) -> Result<Value, JsonError> {
    if bytes.len() > limits.bytes {
        return Err(JsonError::OverLimit {
            what: "bytes",
            limit: limits.bytes,
        });
    }
    let mut left = Left {
        limits,
        values: limits.values,
        over: None,
    };
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let read = Seed {
        left: &mut left,
        depth: limits.depth,
    }
    .deserialize(&mut reader);
    let result = read.and_then(|value| reader.end().map(|()| value));
    match (result, left.over) {
        (_, Some(over)) => Err(over),
        (Ok(value), None) => Ok(value),
        (Err(error), None) => Err(JsonError::Malformed(error.to_string())),
    }
}

impl Value {
    /// The members, if this is an object.
    #[must_use]
    pub fn as_object(&self) -> Option<&Members> {
        if let Self::Object(members) = self {
            Some(members)
        } else {
            None
        }
    }

    /// The elements, if this is an array.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Value]> {
        if let Self::Array(elements) = self {
            Some(elements)
        } else {
            None
        }
    }

    /// The text, if this is a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self {
            Some(text)
        } else {
            None
        }
    }

    /// The number, if this is one that is not negative.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        if let Self::Integer(number) = self {
            u64::try_from(*number).ok()
        } else {
            None
        }
    }

    /// The member of that name, if this is an object that has it and it is not null.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.as_object()?
            .get(name)
            .filter(|value| **value != Self::Null)
    }

    /// The same as [`Value::get`], for whoever needs nothing else of this.
    #[must_use]
    pub fn into_member(self, name: &str) -> Option<Value> {
        let Self::Object(members) = self else {
            return None;
        };
        members
            .0
            .into_iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value)
            .filter(|value| *value != Self::Null)
    }
}

impl Members {
    /// These members; as the error, the name of one that stands twice.
    fn new(mut members: Vec<(String, Value)>) -> Result<Self, String> {
        members.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let twice = members.windows(2).find_map(|pair| match pair {
            [(one, _), (other, _)] if one == other => Some(one.clone()),
            _ => None,
        });
        twice.map_or_else(|| Ok(Self(members.into_boxed_slice())), Err)
    }

    /// The member of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        let at = self
            .0
            .binary_search_by(|(known, _)| known.as_str().cmp(name))
            .ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    /// All members, in the order of their names' bytes.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

/// What is left of the limits while a document is read.
struct Left {
    limits: Limits,
    values: usize,
    over: Option<JsonError>,
}

impl Left {
    fn take_value<E: serde::de::Error>(&mut self) -> Result<(), E> {
        if let Some(left) = self.values.checked_sub(1) {
            self.values = left;
            return Ok(());
        }
        self.over = Some(JsonError::OverLimit {
            what: "values",
            limit: self.limits.values,
        });
        Err(E::custom("too many values"))
    }
}

struct Seed<'a> {
    left: &'a mut Left,
    depth: usize,
}

impl Seed<'_> {
    fn inner_depth<E: serde::de::Error>(&mut self) -> Result<usize, E> {
        self.depth.checked_sub(1).ok_or_else(|| {
            self.left.over = Some(JsonError::OverLimit {
                what: "levels",
                limit: self.left.limits.depth,
            });
            E::custom("too deep")
        })
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.left.take_value()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("strict JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        if value.unsigned_abs() > MAX_INTEGER.unsigned_abs() {
            return Err(E::custom("number beyond 2^53"));
        }
        Ok(Value::Integer(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => Err(E::custom("number beyond 2^53")),
        }
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Value, E> {
        Err(E::custom("number that is not written as a whole number"))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut access: A) -> Result<Value, A::Error> {
        let depth = self.inner_depth()?;
        let mut elements = Vec::new();
        while let Some(element) = access.next_element_seed(Seed {
            left: self.left,
            depth,
        })? {
            elements.push(element);
        }
        Ok(Value::Array(elements.into_boxed_slice()))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut access: A) -> Result<Value, A::Error> {
        let depth = self.inner_depth()?;
        let mut members = Vec::new();
        while let Some(name) = access.next_key::<String>()? {
            self.left.take_value()?;
            let value = access.next_value_seed(Seed {
                left: self.left,
                depth,
            })?;
            members.push((name, value));
        }
        Members::new(members)
            .map(Value::Object)
            .map_err(|name| A::Error::custom(format!("member {name:?} stands twice")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        bytes: 4096,
        depth: 4,
        values: 100,
    };

    fn read(text: &str) -> Result<Value, JsonError> {
        parse(text.as_bytes(), LIMITS)
    }

    #[test]
    fn a_document_is_read_with_its_members_sorted() {
        let value = read(r#"{"b":[1,-2,true,null],"a":{"x":"\u00e9"}}"#).unwrap();
        let names: Vec<_> = value
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(
            value.get("a").unwrap().get("x").unwrap().as_str(),
            Some("é")
        );
    }

    #[test]
    fn a_member_that_stands_twice_is_refused_also_when_escaped() {
        assert!(read(r#"{"a":1,"a":1}"#).is_err());
        assert!(read(r#"{"a":1,"\u0061":2}"#).is_err());
    }

    #[test]
    fn a_value_is_small_for_hostile_documents_hold_a_million_of_them() {
        assert!(size_of::<Value>() <= 24, "{}", size_of::<Value>());
        assert!(
            size_of::<(String, Value)>() <= 48,
            "{}",
            size_of::<(String, Value)>()
        );
    }

    #[test]
    fn a_member_is_found_by_its_exact_name_and_null_is_none() {
        let value = read(r#"{"b":1,"a":2,"B":3,"n":null}"#).unwrap();
        assert_eq!(
            (
                value.get("b").unwrap().as_u64(),
                value.get("a").unwrap().as_u64()
            ),
            (Some(1), Some(2))
        );
        assert!(value.get("n").is_none() && value.get("c").is_none());
        assert_eq!(value.clone().into_member("B").unwrap().as_u64(), Some(3));
        assert!(value.clone().into_member("n").is_none() && value.into_member("c").is_none());
    }

    #[test]
    fn numbers_are_whole_and_within_two_to_the_53() {
        for bad in [
            "1.5",
            "1.0",
            "1e3",
            "-0",
            "9007199254740992",
            "-9007199254740992",
            "18446744073709551616",
        ] {
            assert!(read(&format!("[{bad}]")).is_err(), "{bad}");
        }
        assert!(read("[9007199254740991,-9007199254740991,0]").is_ok());
    }

    #[test]
    fn text_after_the_end_lone_surrogates_and_bad_utf8_are_refused() {
        for bad in [
            "{} {}",
            "[1]x",
            r#"["\ud800"]"#,
            "[01]",
            "",
            "{",
            "[\"\u{1}\"]",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(parse(b"[\"\xff\"]", LIMITS).is_err());
    }

    #[test]
    fn each_limit_is_named_when_it_is_passed() {
        let limit = |text: &str| match read(text) {
            Err(JsonError::OverLimit { what, .. }) => what,
            other => panic!("{other:?}"),
        };
        assert_eq!(limit("[[[[[1]]]]]"), "levels");
        assert_eq!(limit(&format!("[{}1]", "1,".repeat(200))), "values");
        assert_eq!(limit(&" ".repeat(5000)), "bytes");
    }
}

//! Reads canonical text in place: a value is its bytes, and nothing is built that isn't asked for.
//!
//! The signed bytes themselves are read. The text must come from [`super::rewrite()`]; of
//! anything else the reader makes something, but never a panic.

use std::borrow::Cow;
use std::fmt;

use super::plain;

/// One value inside canonical text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<'a>(&'a [u8]);

/// The members of an object, in the order of their names' bytes. The object's end need not be
/// known.
#[derive(Debug, Clone)]
pub struct Members<'a> {
    /// From the next member on.
    rest: &'a [u8],
    /// The length of the text that begins with the object.
    length: usize,
}

impl<'a> Text<'a> {
    /// The value that a whole canonical text is.
    #[must_use]
    pub fn of(canonical: &'a [u8]) -> Self {
        Self(canonical)
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// Whether it is an object.
    #[must_use]
    pub fn is_object(self) -> bool {
        self.0.first() == Some(&b'{')
    }

    /// The member of that name, if this is an object that has it and it is not null.
    #[must_use]
    pub fn get(self, name: &str) -> Option<Text<'a>> {
        let mut members = self.members()?;
        while let Some(known) = members.name() {
            let value = members.value();
            if known.is(name) {
                return Some(value).filter(|value| !value.is_null());
            }
        }
        None
    }

    /// The same member, if it is a string.
    pub(crate) fn get_str(self, name: &str) -> Option<Cow<'a, str>> {
        self.get(name)?.as_str()
    }

    /// The same member, if it is a number that [`Self::as_u64`] takes.
    pub(crate) fn get_u64(self, name: &str) -> Option<u64> {
        self.get(name)?.as_u64()
    }

    /// The members, if this is an object or begins with one.
    #[must_use]
    pub fn members(self) -> Option<Members<'a>> {
        Some(Members {
            rest: self.0.strip_prefix(b"{")?,
            length: self.0.len(),
        })
    }

    /// The member that begins at that place of an object ([`Members::place`]).
    pub(crate) fn member_at(self, place: usize) -> Option<(Cow<'a, str>, Text<'a>)> {
        Members {
            rest: self.0.get(place..)?,
            length: self.0.len(),
        }
        .next()
    }

    /// The elements, if this is an array.
    #[must_use]
    pub fn elements(self) -> Option<impl Iterator<Item = Text<'a>>> {
        let mut rest = self.0.strip_prefix(b"[")?.strip_suffix(b"]")?;
        Some(std::iter::from_fn(move || {
            let (element, after) = rest
                .split_at_checked(length(rest))
                .filter(|(element, _)| !element.is_empty())?;
            rest = after.strip_prefix(b",").unwrap_or_default();
            Some(Text(element))
        }))
    }

    /// The elements, if this is an array of strings.
    pub(crate) fn texts(self) -> Option<Vec<String>> {
        self.elements()?
            .map(|text| text.as_str().map(Cow::into_owned))
            .collect()
    }

    /// Whether it is null.
    #[must_use]
    pub fn is_null(self) -> bool {
        self.0 == b"null"
    }

    /// Whether it is a string.
    #[must_use]
    pub fn is_string(self) -> bool {
        self.0.first() == Some(&b'"')
    }

    /// Whether it is this string.
    #[must_use]
    pub fn is(self, text: &str) -> bool {
        match self.inside() {
            Some(inside) if !inside.contains(&b'\\') => inside == text.as_bytes(),
            _ => self.as_str().is_some_and(|known| known == text),
        }
    }

    /// The string without its quotes.
    pub(super) fn inside(self) -> Option<&'a [u8]> {
        self.0.strip_prefix(b"\"")?.strip_suffix(b"\"")
    }

    /// The text, if this is a string.
    #[must_use]
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        let inside = self.inside()?;
        if !inside.contains(&b'\\') {
            return str::from_utf8(inside).ok().map(Cow::Borrowed);
        }
        let unescaped = String::from_utf8(unescaped(inside).collect());
        unescaped.ok().map(Cow::Owned)
    }

    /// The number, if this is one that is not negative and fits.
    #[must_use]
    pub fn as_u64(self) -> Option<u64> {
        str::from_utf8(self.0)
            .ok()
            .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?
            .parse()
            .ok()
    }

    /// Whether it is `true`, if it is `true` or `false`.
    #[must_use]
    pub fn as_bool(self) -> Option<bool> {
        match self.0 {
            b"true" => Some(true),
            b"false" => Some(false),
            _ => None,
        }
    }
}

impl<'a> Members<'a> {
    /// Where in the object it is: before a member, before the value of the one that was named, or
    /// at the end.
    pub(crate) fn place(&self) -> usize {
        self.length.saturating_sub(self.rest.len())
    }

    /// The next member's name. Its value is to be taken, or entered and left, before the next one.
    pub(crate) fn name(&mut self) -> Option<Text<'a>> {
        let (name, after) = self
            .rest
            .split_at_checked(string(self.rest))
            .filter(|(name, _)| name.first() == Some(&b'"'))?;
        self.rest = after.strip_prefix(b":")?;
        Some(Text(name))
    }

    /// The value of the member that was named.
    pub(crate) fn value(&mut self) -> Text<'a> {
        let (value, after) = self
            .rest
            .split_at_checked(length(self.rest))
            .unwrap_or_default();
        self.rest = after.strip_prefix(b",").unwrap_or(after);
        Text(value)
    }

    /// The members of that value, if it is an object: so that it is not looked through twice.
    pub(crate) fn enter(&self) -> Option<Members<'a>> {
        Text(self.rest).members()
    }

    /// Goes on after an object whose last member was taken.
    pub(crate) fn leave(&mut self, inner: &Members<'a>) {
        let after = inner.rest.strip_prefix(b"}").unwrap_or_default();
        self.rest = after.strip_prefix(b",").unwrap_or(after);
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (Cow<'a, str>, Text<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let name = self.name()?;
        Some((name.as_str()?, self.value()))
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(self.0), formatter)
    }
}

/// The bytes of a string that is given without its quotes: an escape is its second byte.
pub(super) fn unescaped(inside: &[u8]) -> impl Iterator<Item = u8> {
    let mut bytes = inside.iter().copied();
    std::iter::from_fn(move || match bytes.next() {
        Some(b'\\') => bytes.next(),
        byte => byte,
    })
}

/// The length of the value with which the text begins.
fn length(text: &[u8]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => at += string(text.get(at..).unwrap_or_default()),
            b'{' | b'[' => (depth, at) = (depth + 1, at + 1),
            b',' | b':' | b'}' | b']' if depth == 0 => return at,
            b'}' | b']' => (depth, at) = (depth - 1, at + 1),
            _ => {
                at += 1;
                continue;
            }
        }
        if depth == 0 {
            return at.min(text.len());
        }
    }
    text.len()
}

/// The length of the string with which the text begins, quotes counted.
fn string(text: &[u8]) -> usize {
    let mut at = 1;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let run = plain(rest, 0);
        match rest.get(run) {
            Some(b'"') => return at + run + 1,
            Some(_) => at += run + 2,
            None => return text.len().max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::canonical::tests::{Value, any_value, encode};

    #[test]
    fn values_are_found_in_place() {
        let text = Text::of(r#"{"a":[1,"x,]}",{"k":"\"\\é"},[]],"b":null,"c":true,"d":{},"e":18446744073709551616}"#.as_bytes());
        let elements: Vec<_> = text.get("a").unwrap().elements().unwrap().collect();
        assert_eq!(elements.len(), 4);
        assert_eq!(
            (elements[0].as_u64(), elements[1].as_str().as_deref()),
            (Some(1), Some("x,]}"))
        );
        assert_eq!(elements[2].get("k").unwrap().as_str().unwrap(), "\"\\é");
        assert_eq!(elements[3].elements().unwrap().count(), 0);
        assert!(text.get("b").is_none() && text.get("x").is_none());
        assert_eq!(
            (
                text.get("c").unwrap().as_bool(),
                text.get("d").unwrap().members().unwrap().count()
            ),
            (Some(true), 0)
        );
        assert_eq!(
            (
                text.get("e").unwrap().as_u64(),
                text.get("d").unwrap().as_str()
            ),
            (None, None)
        );
        assert_eq!(
            text.members()
                .unwrap()
                .map(|(name, _)| name.into_owned())
                .collect::<String>(),
            "abcde"
        );
    }

    #[test]
    fn a_member_is_found_again_by_its_place() {
        let text = Text::of(br#"{"a":1,"b":{"c":2},"d":3}"#);
        let mut members = text.members().unwrap();
        loop {
            let place = members.place();
            let Some(member) = members.next() else { break };
            assert_eq!(text.member_at(place), Some(member));
        }
        assert_eq!(text.member_at(99), None);
    }

    #[test]
    fn an_object_is_gone_through_without_its_end_being_known() {
        let text = Text::of(br#"{"a":{"b":{},"c":2},"d":3},"e":4}"#);
        let mut outer = text.members().unwrap();
        assert!(outer.name().unwrap().is("a"));
        let mut inner = outer.enter().unwrap();
        assert!(inner.name().unwrap().is("b"));
        let mut empty = inner.enter().unwrap();
        assert!(empty.name().is_none());
        inner.leave(&empty);
        assert!(inner.name().unwrap().is("c") && inner.enter().is_none());
        assert_eq!((inner.value().as_u64(), inner.name()), (Some(2), None));
        outer.leave(&inner);
        assert!(outer.name().unwrap().is("d"));
        assert_eq!((outer.value().as_u64(), outer.name()), (Some(3), None));
        assert_eq!(&text.bytes()[outer.place()..], br#"},"e":4}"#);
    }

    /// What is read of the text is what the tree of values has.
    fn assert_same(text: Text<'_>, value: &Value) {
        match value {
            Value::Null => assert!(text.is_null()),
            Value::Bool(value) => assert_eq!(text.as_bool(), Some(*value)),
            Value::Integer(value) => assert_eq!(text.as_u64(), u64::try_from(*value).ok()),
            Value::String(value) => assert!(
                text.is_string() && text.is(value) && !text.is(&format!("{value}x")),
                "{value}"
            ),
            Value::Array(all) => {
                assert_eq!(text.elements().unwrap().count(), all.len());
                text.elements()
                    .unwrap()
                    .zip(all)
                    .for_each(|(text, value)| assert_same(text, value));
            }
            Value::Object(all) => {
                assert_eq!(text.members().unwrap().count(), all.iter().count());
                let (mut members, mut all) = (text.members().unwrap(), all.iter());
                while let Some(name) = members.name() {
                    let (place, found) = (members.place(), members.value());
                    let (known, value) = all.next().unwrap();
                    assert!(name.is(known));
                    assert_eq!(
                        text.bytes().get(place..place + found.bytes().len()),
                        Some(found.bytes())
                    );
                    assert_eq!(
                        text.get(known),
                        Some(found).filter(|found| !found.is_null())
                    );
                    assert_same(found, value);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn text_is_read_as_the_tree_of_values(value in any_value()) {
            assert_same(Text::of(&encode(&value)), &value);
        }

        #[test]
        fn text_that_is_not_canonical_does_no_harm(bytes in prop::collection::vec(prop::sample::select(b"{}[]\",:\\1a".to_vec()), 0..40)) {
            let text = Text::of(&bytes);
            let _ = (text.as_str(), text.as_u64(), text.get("a"), text.member_at(3));
            prop_assert!(text.members().is_none_or(|members| members.count() <= bytes.len()));
            prop_assert!(text.elements().is_none_or(|elements| elements.count() <= bytes.len()));
        }
    }
}

//! From the bytes of a document to its canonical text, in one pass and without a tree of values.
//!
//! The one reader of JSON here, so that two readers of the same bytes never see different values:
//! exact member names, no duplicate members, whole numbers only, nothing after the end, and limits.
//! Integers keep all their digits: what is signed as text is verified as text.

use std::cmp::Ordering;

use super::plain;
use super::text::{Text, unescaped};

/// Digits of an integer. The largest that a format in the field has is 20.
const DIGITS: usize = 40;

/// The limits on what one document may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Length of the document in bytes.
    pub bytes: usize,
    /// The most arrays and objects that may be open at once.
    pub depth: usize,
    /// Members of open objects: of other values none is remembered.
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

/// The canonical text of a document. Of the values only the members of open objects are remembered
/// while it is written; so many of these, `limits` allows.
///
/// # Errors
/// [`JsonError::Malformed`] for anything but strict JSON, [`JsonError::OverLimit`] beyond a limit.
pub fn rewrite(bytes: &[u8], limits: Limits) -> Result<Vec<u8>, JsonError> {
    rewrite_below(bytes, limits, None)
}

/// The same for documents of formats whose readers take numbers as doubles: beyond 2^53 these would
/// see other values, so such an integer is refused.
///
/// # Errors
/// As [`rewrite()`].
pub fn rewrite_doubles(bytes: &[u8], limits: Limits) -> Result<Vec<u8>, JsonError> {
    rewrite_below(bytes, limits, Some(1 << 53))
}

fn rewrite_below(bytes: &[u8], limits: Limits, end: Option<u64>) -> Result<Vec<u8>, JsonError> {
    if bytes.len() > limits.bytes {
        return Err(JsonError::OverLimit {
            what: "bytes",
            limit: limits.bytes,
        });
    }
    let text = str::from_utf8(bytes)
        .map_err(|error| JsonError::Malformed(format!("not UTF-8: {error}")))?;
    let mut writer = Writer {
        rest: text.as_bytes(),
        length: bytes.len(),
        out: Vec::with_capacity(bytes.len()),
        members: Vec::new(),
        limits,
        end,
    };
    writer.value(limits.depth)?;
    writer.space();
    if writer.rest.is_empty() {
        Ok(writer.out)
    } else {
        Err(writer.wrong("something after the end"))
    }
}

struct Writer<'a> {
    rest: &'a [u8],
    length: usize,
    out: Vec<u8>,
    /// Of all open objects, the members so far: where each begins in `out`, and where its name
    /// ends.
    members: Vec<(usize, usize)>,
    limits: Limits,
    /// The end of the integers that are taken, in either direction.
    end: Option<u64>,
}

impl Writer<'_> {
    fn value(&mut self, depth: usize) -> Result<(), JsonError> {
        self.space();
        match self.rest.first() {
            Some(b'{') => self.object(self.inner(depth)?),
            Some(b'[') => self.array(self.inner(depth)?),
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => {
                let word = ["true", "false", "null"]
                    .into_iter()
                    .find(|word| self.take(word.as_bytes()));
                self.out
                    .extend_from_slice(word.ok_or_else(|| self.wrong("no value"))?.as_bytes());
                Ok(())
            }
            None => Err(self.wrong("the end, where a value is wanted")),
        }
    }

    fn inner(&self, depth: usize) -> Result<usize, JsonError> {
        depth.checked_sub(1).ok_or(JsonError::OverLimit {
            what: "levels",
            limit: self.limits.depth,
        })
    }

    fn array(&mut self, depth: usize) -> Result<(), JsonError> {
        self.take(b"[");
        self.out.push(b'[');
        self.space();
        if !self.take(b"]") {
            loop {
                self.value(depth)?;
                self.space();
                if self.take(b"]") {
                    break;
                }
                if !self.take(b",") {
                    return Err(self.wrong("neither , nor ] after an element"));
                }
                self.out.push(b',');
            }
        }
        self.out.push(b']');
        Ok(())
    }

    fn object(&mut self, depth: usize) -> Result<(), JsonError> {
        self.take(b"{");
        self.out.push(b'{');
        let (begin, outer) = (self.out.len(), self.members.len());
        let mut sorted = true;
        self.space();
        if !self.take(b"}") {
            loop {
                self.space();
                let start = self.out.len();
                self.string()?;
                if self.members.len() >= self.limits.values {
                    return Err(JsonError::OverLimit {
                        what: "values",
                        limit: self.limits.values,
                    });
                }
                self.members.push((start, self.out.len()));
                sorted = sorted && self.last_two_in_order(outer);
                self.space();
                if !self.take(b":") {
                    return Err(self.wrong("no : after a member's name"));
                }
                self.out.push(b':');
                self.value(depth)?;
                self.space();
                if self.take(b"}") {
                    break;
                }
                if !self.take(b",") {
                    return Err(self.wrong("neither , nor } after a member"));
                }
                self.out.push(b',');
            }
        }
        if !sorted {
            self.sort(begin, outer)?;
        }
        self.members.truncate(outer);
        self.out.push(b'}');
        Ok(())
    }

    /// Whether the last member's name comes after the one before it, if there is one.
    fn last_two_in_order(&self, outer: usize) -> bool {
        match self.members.get(outer..).unwrap_or_default() {
            [.., before, last] => compare(self.name(*before), self.name(*last)).is_lt(),
            _ => true,
        }
    }

    fn name(&self, (start, end): (usize, usize)) -> &[u8] {
        self.out.get(start..end).unwrap_or_default()
    }

    /// Puts the members that begin at `begin` in order; a name that stands twice is refused.
    fn sort(&mut self, begin: usize, outer: usize) -> Result<(), JsonError> {
        let spans = self.members.get(outer..).unwrap_or_default();
        let ends = spans
            .iter()
            .skip(1)
            .map(|(next, _)| next.saturating_sub(1))
            .chain([self.out.len()]);
        let members: Option<Vec<(&[u8], &[u8])>> = spans
            .iter()
            .zip(ends)
            .map(|(span, end)| Some((self.name(*span), self.out.get(span.0..end)?)))
            .collect();
        let mut members = members.ok_or_else(|| self.wrong("members that overlap"))?;
        members.sort_by(|(one, _), (other, _)| compare(one, other));
        let twice = members.windows(2).find_map(|pair| match pair {
            [(one, _), (other, _)] if one == other => {
                Some(String::from_utf8_lossy(one).into_owned())
            }
            _ => None,
        });
        if let Some(name) = twice {
            return Err(JsonError::Malformed(format!("member {name} stands twice")));
        }
        let ordered: Vec<&[u8]> = members.into_iter().map(|(_, member)| member).collect();
        let ordered = ordered.join(&b',');
        self.out.truncate(begin);
        self.out.extend_from_slice(&ordered);
        Ok(())
    }

    fn number(&mut self) -> Result<(), JsonError> {
        let negative = self.take(b"-");
        let digits = self
            .rest
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let (number, rest) = self.rest.split_at_checked(digits).unwrap_or_default();
        let plain = match number {
            [b'0'] => !negative,
            [b'0', ..] | [] => false,
            _ => digits <= DIGITS,
        };
        if !plain || matches!(rest.first(), Some(b'.' | b'e' | b'E')) {
            return Err(self.wrong("a number that is not a plain whole one"));
        }
        if self
            .end
            .is_some_and(|end| value(number).is_none_or(|value| value >= end))
        {
            return Err(self.wrong("a number beyond 2^53"));
        }
        if negative {
            self.out.push(b'-');
        }
        self.out.extend_from_slice(number);
        self.rest = rest;
        Ok(())
    }

    fn string(&mut self) -> Result<(), JsonError> {
        let whole = self.rest;
        if !self.take(b"\"") {
            return Err(self.wrong("no text where it is wanted"));
        }
        let length = plain(self.rest, b' ');
        // Nearly all text is canonical as it is, quotes and all.
        if self.rest.get(length) == Some(&b'"')
            && let Some((written, rest)) = whole.split_at_checked(length + 2)
        {
            self.out.extend_from_slice(written);
            self.rest = rest;
            return Ok(());
        }
        self.out.push(b'"');
        loop {
            let (run, rest) = self
                .rest
                .split_at_checked(plain(self.rest, b' '))
                .unwrap_or_default();
            self.out.extend_from_slice(run);
            self.rest = rest;
            if self.take(b"\"") {
                self.out.push(b'"');
                return Ok(());
            }
            if !self.take(b"\\") {
                return Err(self.wrong(if self.rest.is_empty() {
                    "text without an end"
                } else {
                    "a control character in text"
                }));
            }
            let character = self
                .escape()
                .ok_or_else(|| self.wrong("an escape that stands for no character"))?;
            if matches!(character, '"' | '\\') {
                self.out.push(b'\\');
            }
            self.out
                .extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }

    /// The character of an escape, after its backslash (RFC 8259, section 7).
    fn escape(&mut self) -> Option<char> {
        let (letter, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(match letter {
            b'"' | b'\\' | b'/' => char::from(*letter),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.unit()?;
                if !(0xd800..0xdc00).contains(&first) {
                    // A low surrogate alone is no character.
                    return char::from_u32(first);
                }
                let second = if self.take(b"\\u") {
                    self.unit()?
                } else {
                    return None;
                };
                let pair = [u16::try_from(first).ok()?, u16::try_from(second).ok()?];
                char::decode_utf16(pair).next()?.ok()?
            }
            _ => return None,
        })
    }

    fn unit(&mut self) -> Option<u32> {
        let (digits, rest) = self.rest.split_at_checked(4)?;
        self.rest = rest;
        digits.iter().try_fold(0, |unit, digit| {
            Some(unit * 16 + char::from(*digit).to_digit(16)?)
        })
    }

    fn space(&mut self) {
        let blank = self
            .rest
            .iter()
            .position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
            .unwrap_or(self.rest.len());
        self.rest = self.rest.get(blank..).unwrap_or_default();
    }

    fn take(&mut self, token: &[u8]) -> bool {
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn wrong(&self, what: &str) -> JsonError {
        JsonError::Malformed(format!(
            "{what}, at byte {}",
            self.length.saturating_sub(self.rest.len())
        ))
    }
}

fn value(digits: &[u8]) -> Option<u64> {
    str::from_utf8(digits).ok()?.parse().ok()
}

/// Compares two names by their unescaped bytes: an escape is its second byte.
fn compare(one: &[u8], other: &[u8]) -> Ordering {
    let inside = [one, other].map(|name| Text::of(name).inside().unwrap_or_default());
    let [one, other] = inside;
    if one.contains(&b'\\') || other.contains(&b'\\') {
        unescaped(one).cmp(unescaped(other))
    } else {
        one.cmp(other)
    }
}

#[cfg(test)]
mod tests;

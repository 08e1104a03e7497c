//! Reads the CBOR of a COSE envelope (RFC 8949): integers, texts, byte strings, lists, maps and tags
//! of definite length, in their shortest form only, and nothing else.

/// A value. Text and bytes are where they stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Integer(i64),
    Bytes(&'a [u8]),
    Text(&'a str),
    List(Vec<Value<'a>>),
    Map(Vec<(Value<'a>, Value<'a>)>),
    Tag(u64, Box<Value<'a>>),
    /// `false`, `true` or `null`.
    Simple(u8),
}

/// Open lists, maps and tags. An envelope has four.
const DEPTH: usize = 8;
/// Values in one text.
const VALUES: usize = 1_000;

/// The one value that these bytes are.
pub(super) fn read(bytes: &[u8]) -> Option<Value<'_>> {
    let mut reader = Reader {
        rest: bytes,
        values: VALUES,
    };
    let value = reader.value(DEPTH)?;
    reader.rest.is_empty().then_some(value)
}

struct Reader<'a> {
    rest: &'a [u8],
    values: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Option<Value<'a>> {
        let depth = depth.checked_sub(1)?;
        self.values = self.values.checked_sub(1)?;
        let (kind, number) = self.head()?;
        Some(match kind {
            0 => Value::Integer(i64::try_from(number).ok()?),
            1 => Value::Integer(-1 - i64::try_from(number).ok()?),
            2 => Value::Bytes(self.take(number)?),
            3 => Value::Text(str::from_utf8(self.take(number)?).ok()?),
            4 => {
                let list = (0..number).map(|_| self.value(depth));
                Value::List(list.collect::<Option<_>>()?)
            }
            5 => {
                let mut map = Vec::new();
                for _ in 0..number {
                    let key = self.value(depth)?;
                    if map.iter().any(|(known, _)| *known == key) {
                        return None;
                    }
                    map.push((key, self.value(depth)?));
                }
                Value::Map(map)
            }
            6 => Value::Tag(number, Box::new(self.value(depth)?)),
            _ => Value::Simple(
                u8::try_from(number)
                    .ok()
                    .filter(|it| (20..=22).contains(it))?,
            ),
        })
    }

    /// The major type, and the argument in its shortest form.
    fn head(&mut self) -> Option<(u8, u64)> {
        let first = *self.take(1)?.first()?;
        let (kind, short) = (first >> 5, first & 0x1f);
        if short < 24 {
            return Some((kind, u64::from(short)));
        }
        // Of the last kind longer ones are floats.
        let (length, least) = match short {
            _ if kind == 7 => return None,
            24 => (1, 24),
            25 => (2, 1 << 8),
            26 => (4, 1 << 16),
            27 => (8, 1 << 32),
            _ => return None,
        };
        let bytes = self.take(length)?;
        let number = bytes
            .iter()
            .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        (number >= least).then_some((kind, number))
    }

    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(usize::try_from(length).ok()?)?;
        self.rest = rest;
        Some(taken)
    }
}

/// The head of a byte string or a list.
pub(super) fn head(kind: u8, length: usize) -> Vec<u8> {
    let length = u64::try_from(length).unwrap_or(u64::MAX);
    let bytes = length.to_be_bytes();
    let (short, used): (u8, usize) = match length {
        0..24 => return vec![kind << 5 | u8::try_from(length).unwrap_or_default()],
        24..0x100 => (24, 1),
        0x100..0x1_0000 => (25, 2),
        0x1_0000..0x1_0000_0000 => (26, 4),
        _ => (27, 8),
    };
    let mut head = vec![kind << 5 | short];
    head.extend(bytes.iter().skip(8 - used));
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_in_their_shortest_form_and_to_the_end() {
        let text = b"\xa2\x01\x26\x61a\x82\xd8\x18\x41x\xf6";
        let tag = Value::Tag(24, Box::new(Value::Bytes(b"x")));
        let map = vec![
            (Value::Integer(1), Value::Integer(-7)),
            (Value::Text("a"), Value::List(vec![tag, Value::Simple(22)])),
        ];
        assert_eq!(read(text), Some(Value::Map(map)));
        for odd in [
            &b""[..],
            b"\x18\x01",
            b"\x19\x00\xff",
            b"\x41",
            b"\x61\xff",
            b"\x01\x01",
            b"\x5f\x41x\xff",
            b"\xf9\x00\x00",
            b"\xa2\x01\x01\x01\x02",
            b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x81\x81\x81\x81\x81\x81\x81\x81\x81\x01",
            b"\x3b\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert_eq!(read(odd), None, "{odd:x?}");
        }
    }

    #[test]
    fn heads_are_written_as_they_are_read() {
        for length in [0, 23, 24, 255, 256, 65_535, 65_536] {
            let bytes = [head(2, length), vec![7; length]].concat();
            assert_eq!(read(&bytes), Some(Value::Bytes(&vec![7; length])));
        }
    }

    proptest::proptest! {
        #[test]
        fn hostile_bytes_do_no_harm(bytes in proptest::collection::vec(0_u8.., 0..60)) {
            let _ = read(&bytes);
        }
    }
}

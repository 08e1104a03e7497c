//! Canonical JSON as docker/go (`canonical/json`) writes it: what Notary signs and what key IDs are
//! hashed over.
//!
//! Members sorted by their UTF-8 bytes, no white space, only `"` and `\` escaped, no Unicode
//! normalisation.

mod rewrite;
mod text;

use crate::json::Value;

pub(super) use rewrite::rewrite;
pub(super) use text::{Members, Text};

/// The canonical text of a value.
#[must_use]
pub fn encode(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Integer(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Value::String(text) => write_string(text, out),
        Value::Array(elements) => {
            out.push(b'[');
            for (index, element) in elements.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(element, out);
            }
            out.push(b']');
        }
        // The members are sorted by the UTF-8 bytes of their names already.
        Value::Object(members) => {
            out.push(b'{');
            for (index, (name, member)) in members.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_string(name, out);
                out.push(b':');
                write(member, out);
            }
            out.push(b'}');
        }
    }
}

/// How many bytes come before a quote, a backslash or a byte below `least`; sixteen are looked at
/// in one step.
#[inline]
fn plain(bytes: &[u8], least: u8) -> usize {
    let ends = |byte: u8| u8::from(byte == b'"') | u8::from(byte == b'\\') | u8::from(byte < least);
    let chunks = bytes.as_chunks::<16>().0;
    let has_end = |chunk: &[u8; 16]| chunk.iter().fold(0, |found, byte| found | ends(*byte)) != 0;
    let begin = chunks.iter().position(has_end).unwrap_or(chunks.len()) * 16;
    let rest = bytes.get(begin..).unwrap_or_default();
    begin
        + rest
            .iter()
            .position(|byte| ends(*byte) != 0)
            .unwrap_or(rest.len())
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        if byte == b'"' || byte == b'\\' {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::{self, Limits};

    fn canonical(text: &str) -> String {
        let value = json::parse(
            text.as_bytes(),
            Limits {
                bytes: 4096,
                depth: 8,
                values: 100,
            },
        )
        .unwrap();
        String::from_utf8(encode(&value)).unwrap()
    }

    #[test]
    fn members_are_sorted_by_bytes_and_only_quote_and_backslash_are_escaped() {
        assert_eq!(
            canonical(r#" {"b":[1, -2], "Z":null, "a":"\"\\\/\u003c\u2028\n"} "#),
            "{\"Z\":null,\"a\":\"\\\"\\\\/<\u{2028}\n\",\"b\":[1,-2]}"
        );
        assert_eq!(
            canonical(r#"{"😀":1,"\uffee":2}"#),
            "{\"\u{ffee}\":2,\"😀\":1}"
        );
    }

    #[test]
    fn text_is_not_normalised() {
        assert_eq!(
            canonical("[\"e\u{301}\",\"\u{e9}\"]"),
            "[\"e\u{301}\",\"\u{e9}\"]"
        );
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            (-json::MAX_INTEGER..=json::MAX_INTEGER).prop_map(Value::Integer),
            // Control characters are left raw, which no JSON parser takes back: they can't be part
            // of a round trip.
            "[^\\x00-\\x1f]{0,12}".prop_map(Value::String),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6)
                    .prop_map(|elements| Value::Array(elements.into())),
                prop::collection::btree_map("[^\\x00-\\x1f]{0,8}", inner, 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// Values with names and text of every kind, some of it longer than what is looked at in one
    /// step.
    pub(super) fn any_value() -> impl Strategy<Value = Value> {
        let name = prop_oneof![
            "[a-c\"\\\\é\n/!#]{0,3}",
            "[a-c]{10,20}[\"\\\\é\n/!#]?[a-c]{10,20}"
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            (-9_007_199_254_740_991_i64..=9_007_199_254_740_991).prop_map(Value::Integer),
            name.clone().prop_map(Value::String),
        ];
        leaf.prop_recursive(4, 40, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(|all| Value::Array(all.into())),
                prop::collection::vec((name.clone(), inner), 0..5)
                    .prop_map(|all| Value::Object(all.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn plain_text_ends_before_the_first_byte_that_is_not(
            bytes in prop::collection::vec(prop_oneof![20 => b'a'..=b'z', 1 => 0_u8..=255], 0..80),
            least in prop::sample::select(vec![0_u8, 0x20]),
        ) {
            let first = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\') || *byte < least).unwrap_or(bytes.len());
            prop_assert_eq!(plain(&bytes, least), first);
        }

        #[test]
        fn canonical_text_reads_back_as_the_same_value(value in values()) {
            let text = encode(&value);
            let back = json::parse(&text, Limits { bytes: 1 << 20, depth: 16, values: 10_000 }).unwrap();
            prop_assert_eq!(&back, &value);
            prop_assert_eq!(encode(&back), text);
        }
    }
}

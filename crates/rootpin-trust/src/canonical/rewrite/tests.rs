use proptest::prelude::*;

use super::*;
use crate::canonical::tests::{Value, any_value, encode, parse};

const LIMITS: Limits = Limits {
    bytes: 1 << 16,
    depth: 8,
    values: 10_000,
};

fn text(document: &str) -> Option<String> {
    rewrite(document.as_bytes(), LIMITS)
        .ok()
        .map(|bytes| String::from_utf8(bytes).unwrap())
}

#[test]
fn members_are_sorted_where_they_are_not_and_only_quotes_and_backslashes_are_escaped() {
    let document = " {\"b\" : [1, -2 ,true,null,{}],\n\"a\":{\"z\":\"\\u00e9\\n\\\"\\\\\\/\",\"y\":[]}, \"\\\"\":0, \"!\":0, \"#\":0} ";
    let wanted = "{\"!\":0,\"\\\"\":0,\"#\":0,\"a\":{\"y\":[],\"z\":\"é\n\\\"\\\\/\"},\"b\":[1,-2,true,null,{}]}";
    assert_eq!(text(document).unwrap(), wanted);
    assert_eq!(text(r#""\ud83d\ude00""#).unwrap(), "\"😀\"");
}

#[test]
fn integers_keep_all_their_digits() {
    assert_eq!(
        text("[18446744073709551616,-9007199254740993]").unwrap(),
        "[18446744073709551616,-9007199254740993]"
    );
    assert_eq!(text(&format!("[{}]", "1".repeat(41))), None);
}

#[test]
fn for_readers_with_doubles_integers_are_within_two_to_the_53() {
    for bad in [
        "9007199254740992",
        "-9007199254740992",
        "18446744073709551616",
    ] {
        assert!(
            rewrite_doubles(format!("[{bad}]").as_bytes(), LIMITS).is_err(),
            "{bad}"
        );
    }
    let good = b"[9007199254740991,-9007199254740991,0]";
    assert_eq!(rewrite_doubles(good, LIMITS).unwrap(), good);
}

#[test]
fn what_is_not_strict_json_is_refused() {
    for bad in [
        "",
        "{",
        "[",
        "\"",
        "{}x",
        "{} {}",
        "[1,]",
        "[,1]",
        "{,}",
        "{\"a\":1,}",
        "{\"a\"}",
        "{\"a\":}",
        "{a:1}",
        "[01]",
        "[-0]",
        "[-]",
        "[1.0]",
        "[1e3]",
        "[+1]",
        "[tru]",
        "nul",
        "[\"\u{1}\"]",
        "[\"\\x\"]",
        r#"["\ud800"]"#,
        r#"["\ud800\u0041"]"#,
        r#"["\udc00"]"#,
        r#"["\u12"]"#,
        r#"{"a":1,"a":1}"#,
        r#"{"b":1,"a":1,"\u0062":2}"#,
        "[[[[[[[[[]]]]]]]]]",
        "\u{feff}{}",
    ] {
        assert_eq!(text(bad), None, "{bad}");
    }
    assert!(rewrite(b"[\"\xff\"]", LIMITS).is_err());
    assert_eq!(
        rewrite(b"[1]", Limits { bytes: 2, ..LIMITS }),
        Err(JsonError::OverLimit {
            what: "bytes",
            limit: 2
        })
    );
    let many = br#"{"a":{"b":1},"c":2}"#;
    assert!(
        rewrite(
            many,
            Limits {
                values: 2,
                ..LIMITS
            }
        )
        .is_ok(),
        "a closed object's members are forgotten"
    );
    assert_eq!(
        rewrite(
            many,
            Limits {
                values: 1,
                ..LIMITS
            }
        ),
        Err(JsonError::OverLimit {
            what: "values",
            limit: 1
        })
    );
}

/// As python-tuf writes it, indented; control characters are escaped there.
fn indented(value: &Value, margin: &str) -> String {
    let inner = format!("{margin} ");
    let lines = |all: Vec<String>, open: char, close: char| match all.len() {
        0 => format!("{open}{close}"),
        _ => format!(
            "{open}\n{inner}{}\n{margin}{close}",
            all.join(&format!(",\n{inner}"))
        ),
    };
    let quoted = |text: &str| serde_json::to_string(text).unwrap();
    match value {
        Value::String(text) => quoted(text),
        Value::Array(all) => lines(
            all.iter().map(|one| indented(one, &inner)).collect(),
            '[',
            ']',
        ),
        Value::Object(members) => {
            let member = |(name, value): (&str, &Value)| {
                format!("{}: {}", quoted(name), indented(value, &inner))
            };
            lines(members.iter().map(member).collect(), '{', '}')
        }
        plain => String::from_utf8(encode(plain)).unwrap(),
    }
}

/// As another writer may write it: members the other way round, with spaces and needless
/// escapes.
fn loose(value: &Value) -> String {
    let quoted = |text: &str| {
        let escaped = text.chars().map(|c| format!("\\u{:04x}", u32::from(c)));
        format!("\"{}\"", escaped.collect::<String>())
    };
    match value {
        Value::String(text) => quoted(text),
        Value::Array(all) => format!(
            "[ {} ]",
            all.iter().map(loose).collect::<Vec<_>>().join(" , ")
        ),
        Value::Object(members) => {
            let mut members: Vec<_> = members
                .iter()
                .map(|(name, value)| format!("{}:\t{}", quoted(name), loose(value)))
                .collect();
            members.reverse();
            format!("{{\n{}\r}}", members.join(" , "))
        }
        plain => String::from_utf8(encode(plain)).unwrap(),
    }
}

proptest! {
    #[test]
    fn it_is_the_text_that_the_tree_of_values_gives(value in any_value()) {
        let canonical = String::from_utf8(encode(&value)).unwrap();
        prop_assert_eq!(&text(&loose(&value)).unwrap(), &canonical);
        prop_assert_eq!(&text(&indented(&value, "")).unwrap(), &canonical);
    }

    #[test]
    fn a_document_is_taken_exactly_where_the_reader_of_values_takes_it(document in "[\\[\\]{}\":,\\\\u0-9a-e \n\\-tfn.]{0,40}") {
        let read = parse(document.as_bytes(), LIMITS);
        let ours = rewrite_doubles(document.as_bytes(), LIMITS);
        prop_assert_eq!(ours.ok().map(|text| String::from_utf8(text).unwrap()), read.ok().map(|value| String::from_utf8(encode(&value)).unwrap()));
    }
}

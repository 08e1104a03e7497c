//! Canonical JSON against a reader that makes a tree of values.

use std::collections::{BTreeMap, BTreeSet};

use rootpin_trust::canonical::{Limits, Text, rewrite, rewrite_doubles};
use serde_json::Value;

pub const LIMITS: Limits = Limits {
    bytes: 1 << 20,
    depth: 32,
    values: 10_000,
};

/// JSON: the one pass against a reader that makes a tree of values.
pub fn canonical(bytes: &[u8]) {
    let Ok(text) = rewrite(bytes, LIMITS) else {
        return;
    };
    // Control characters stand as they are in canonical text, which is then no JSON.
    if text.iter().all(|byte| *byte >= b' ') {
        assert_eq!(rewrite(&text, LIMITS).as_ref(), Ok(&text));
    }
    if let Ok(doubles) = rewrite_doubles(bytes, LIMITS) {
        assert_eq!(doubles, text);
    }
    // Integers of more digits than a machine has are left to the one that keeps them.
    if let Ok(value) = serde_json::from_slice::<Value>(bytes)
        && let Some(slow) = slowly(&value)
    {
        assert_eq!(String::from_utf8_lossy(&text), slow);
        compare(Text::of(&text), &value);
    }
}

/// The canonical text of a value, where all its numbers fit into 64 bits.
fn slowly(value: &Value) -> Option<String> {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    Some(match value {
        Value::Null | Value::Bool(_) => value.to_string(),
        Value::Number(number) if number.is_f64() => return None,
        Value::Number(number) => number.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(all) => format!(
            "[{}]",
            all.iter()
                .map(slowly)
                .collect::<Option<Vec<_>>>()?
                .join(",")
        ),
        Value::Object(members) => {
            let sorted: BTreeMap<&[u8], _> = members
                .iter()
                .map(|(name, value)| (name.as_bytes(), (name, value)))
                .collect();
            let member = |(name, value): (&String, &Value)| {
                Some(format!("{}:{}", quoted(name), slowly(value)?))
            };
            format!(
                "{{{}}}",
                sorted
                    .into_values()
                    .map(member)
                    .collect::<Option<Vec<_>>>()?
                    .join(",")
            )
        }
    })
}

fn compare(text: Text<'_>, value: &Value) {
    match value {
        Value::Object(members) => {
            let read: BTreeSet<String> = text
                .members()
                .unwrap()
                .map(|(name, _)| name.into_owned())
                .collect();
            assert_eq!(read, members.keys().cloned().collect());
            for (name, value) in members.iter().filter(|(_, value)| !value.is_null()) {
                compare(text.get(name).unwrap(), value);
            }
        }
        Value::Array(all) => {
            let read: Vec<_> = text.elements().unwrap().collect();
            assert_eq!(read.len(), all.len());
            read.into_iter()
                .zip(all)
                .for_each(|(text, value)| compare(text, value));
        }
        Value::String(written) => assert_eq!(text.as_str().as_deref(), Some(written.as_str())),
        Value::Bool(written) => assert_eq!(text.as_bool(), Some(*written)),
        Value::Null => assert!(text.is_null()),
        Value::Number(number) => assert_eq!(text.as_u64(), number.as_u64()),
    }
}

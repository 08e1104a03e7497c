//! As much of JSON Schema as the documented schemas use: types, required and further members,
//! items, constants, patterns of hex, references.

use serde_json::Value;

/// Every place where a value is not as its schema says; and it is an error for a schema to say what
/// is not understood here.
pub(crate) fn errors(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(schema, schema, value, "", &mut found);
    found
}

fn check(root: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    for (word, wanted) in schema.as_object().unwrap() {
        let mut tell = |what: &str| found.push(format!("{at}: {what}: {wanted} and not {value}"));
        match word.as_str() {
            "$ref" => {
                let target = wanted.as_str().unwrap().strip_prefix('#').unwrap();
                let target = root
                    .pointer(target)
                    .unwrap_or_else(|| panic!("{wanted} is nowhere"));
                check(root, target, value, at, found);
            }
            "type" if !is_of_type(wanted, value) => tell("type"),
            "const" if value != wanted => tell("const"),
            "enum" if !wanted.as_array().unwrap().contains(value) => tell("enum"),
            "minimum"
                if value
                    .as_i64()
                    .is_some_and(|value| value < wanted.as_i64().unwrap()) =>
            {
                tell("minimum");
            }
            "pattern" if !fits_pattern(wanted.as_str().unwrap(), value) => tell("pattern"),
            "$schema" | "title" | "description" | "$defs" | "const" | "enum" | "minimum"
            | "type" | "pattern" => {}
            "anyOf" => {
                let fits = |one: &Value| {
                    let mut inner = Vec::new();
                    check(root, one, value, at, &mut inner);
                    inner
                };
                let all: Vec<_> = wanted.as_array().unwrap().iter().map(fits).collect();
                if all.iter().all(|inner| !inner.is_empty()) {
                    found.extend(all.into_iter().next().unwrap());
                }
            }
            "required" => {
                let missing = |name: &&Value| {
                    value
                        .as_object()
                        .is_some_and(|members| !members.contains_key(name.as_str().unwrap()))
                };
                if let Some(name) = wanted.as_array().unwrap().iter().find(missing) {
                    tell(&format!("no {name}"));
                }
            }
            "properties" => {
                for (name, of) in wanted.as_object().unwrap() {
                    if let Some(member) = value.get(name) {
                        check(root, of, member, &format!("{at}/{name}"), found);
                    }
                }
            }
            "additionalProperties" => {
                let known = schema.get("properties").and_then(Value::as_object);
                for (name, member) in value
                    .as_object()
                    .into_iter()
                    .flatten()
                    .filter(|(name, _)| known.is_none_or(|known| !known.contains_key(*name)))
                {
                    match wanted {
                        Value::Bool(false) => found.push(format!("{at}/{name}: not in the schema")),
                        of => check(root, of, member, &format!("{at}/{name}"), found),
                    }
                }
            }
            "items" => {
                for (index, element) in value.as_array().into_iter().flatten().enumerate() {
                    check(root, wanted, element, &format!("{at}/{index}"), found);
                }
            }
            other => panic!("{other} is not understood"),
        }
    }
}

fn is_of_type(wanted: &Value, value: &Value) -> bool {
    let is = |name: &Value| match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("type {other}"),
    };
    wanted
        .as_array()
        .map_or_else(|| is(wanted), |all| all.iter().any(is))
}

/// Patterns are a prefix and 64 hex digits.
fn fits_pattern(pattern: &str, value: &Value) -> bool {
    let prefix = pattern
        .strip_prefix('^')
        .unwrap()
        .strip_suffix("[0-9a-f]{64}$")
        .unwrap();
    let hex = value.as_str().and_then(|text| text.strip_prefix(prefix));
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    hex.is_some_and(|hex| hex.len() == 64 && hex.bytes().all(is_digit))
}

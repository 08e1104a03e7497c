//! dockerd's daemon.json: one plugin more, every other byte as it was.

use std::path::Path;

use serde_json::{Value, json};

use super::Edit;

const KEY: &str = "authorization-plugins";

/// The file with `plugin` as the last of dockerd's authorization plugins.
pub(super) fn authorization(path: &Path, plugin: &str) -> Result<Edit, String> {
    let before = super::text(path)?;
    let after = with_plugin(before.as_deref().unwrap_or("{}"), plugin).map_err(|why| format!("{}: {why}", path.display()))?;
    Ok(Edit { path: path.to_owned(), before, after, mode: 0o644 })
}

fn with_plugin(text: &str, plugin: &str) -> Result<String, String> {
    let now: Value = serde_json::from_str(if text.trim().is_empty() { "{}" } else { text }).map_err(|error| error.to_string())?;
    let members = now.as_object().ok_or("it is no object")?;
    let mut plugins =
        members.get(KEY).map_or_else(|| Ok(Vec::new()), |list| list.as_array().cloned().ok_or(format!("{KEY} is no list")))?;
    plugins.push(json!(plugin));
    let mut wanted = now.clone();
    if let Some(members) = wanted.as_object_mut() {
        members.insert(KEY.to_owned(), Value::Array(plugins.clone()));
    }
    let line = format!("\"{KEY}\": {}", Value::Array(plugins));
    // By its text, so that the order, the blanks and the other members stay; and only if it then says what was meant.
    let edited = match members.get(KEY) {
        None if members.is_empty() => Some(format!("{{\n  {line}\n}}\n")),
        None => text.split_once('{').map(|(before, after)| format!("{before}{{\n  {line},{after}")),
        Some(_) => replaced(text, &line),
    };
    let edited = edited.filter(|text| serde_json::from_str::<Value>(text).is_ok_and(|value| value == wanted));
    edited.ok_or_else(|| format!("its text can't be changed safely; write by hand: {line}"))
}

/// The text with the list of the key, which holds names alone, replaced.
fn replaced(text: &str, line: &str) -> Option<String> {
    let (before, rest) = text.split_once(&format!("\"{KEY}\""))?;
    let (_, after) = rest.split_once(']')?;
    Some(format!("{before}{line}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_byte_of_daemon_json_stays() {
        let mixed = "{\n  \"z\": 1,\n  \"a\": {\"b\": [1]}\n}\n";
        assert_eq!(
            with_plugin(mixed, "rootpin").unwrap(),
            "{\n  \"authorization-plugins\": [\"rootpin\"],\n  \"z\": 1,\n  \"a\": {\"b\": [1]}\n}\n"
        );
        let other = "{\"authorization-plugins\" : [\n \"opa\" ], \"z\": 1}";
        assert_eq!(with_plugin(other, "rootpin").unwrap(), "{\"authorization-plugins\": [\"opa\",\"rootpin\"], \"z\": 1}");
        for empty in ["", "{}", "  "] {
            assert_eq!(with_plugin(empty, "rootpin").unwrap(), "{\n  \"authorization-plugins\": [\"rootpin\"]\n}\n");
        }
    }

    #[test]
    fn a_file_that_is_not_understood_is_left_alone() {
        for text in ["[]", "{", "{\"authorization-plugins\": 1}", "{\"x\": \"authorization-plugins\", \"authorization-plugins\": \"\"}"] {
            assert!(with_plugin(text, "rootpin").is_err(), "{text}");
        }
        let key_as_a_value = "{\"x\": \"authorization-plugins\", \"y\": [1], \"authorization-plugins\": []}";
        assert!(with_plugin(key_as_a_value, "rootpin").unwrap_err().contains("by hand"));
    }
}

//! dockerd's daemon.json: one plugin more, every other byte as it was.

use std::path::Path;

use serde_json::{Value, json};

use super::FileEdit;
use crate::problem::Problem;

const KEY: &str = "authorization-plugins";
const MARK: &str = "\u{feff}";

/// The file with `plugin` as the last of dockerd's authorization plugins.
pub(super) fn authorization(path: &Path, plugin: &str) -> Result<FileEdit, Problem> {
    let before = super::text(path)?;
    let after = with_plugin(before.as_deref().unwrap_or("{}"), plugin)
        .map_err(|why| format!("{}: {why}", path.display()))?;
    Ok(FileEdit {
        path: path.to_owned(),
        before,
        after,
        mode: 0o644,
    })
}

fn with_plugin(text: &str, plugin: &str) -> Result<String, Problem> {
    // dockerd passes over a byte order mark.
    let (mark, text) = text
        .strip_prefix(MARK)
        .map_or(("", text), |rest| (MARK, rest));
    let now: Value = serde_json::from_str(if text.trim().is_empty() { "{}" } else { text })
        .map_err(|error| error.to_string())?;
    let members = now.as_object().ok_or("it is no object")?;
    let mut plugins = match members.get(KEY) {
        None | Some(Value::Null) => Vec::new(),
        Some(list) => list
            .as_array()
            .cloned()
            .ok_or(format!("{KEY} is no list"))?,
    };
    if plugins.iter().any(|known| known == plugin) {
        return Ok(format!("{mark}{text}"));
    }
    plugins.push(json!(plugin));
    let mut wanted = now.clone();
    if let Some(members) = wanted.as_object_mut() {
        members.insert(KEY.to_owned(), Value::Array(plugins.clone()));
    }
    let list = Value::Array(plugins).to_string();
    let line = format!("\"{KEY}\": {list}");
    // By its text, so that the order, the blanks and the other members stay; and only if it then
    // says what was meant.
    let edited = match members.get(KEY) {
        None if members.is_empty() => Some(format!("{{\n  {line}\n}}\n")),
        None => text
            .split_once('{')
            .map(|(before, after)| format!("{before}{{\n  {line},{after}")),
        Some(_) => value_of(text, KEY).map(|(before, after)| format!("{before}{list}{after}")),
    };
    let edited = edited
        .filter(|text| serde_json::from_str::<Value>(text).is_ok_and(|value| value == wanted));
    edited.map(|text| format!("{mark}{text}")).ok_or_else(|| {
        Problem::hinted(
            "its text can't be changed safely",
            format!("write by hand: {line}"),
        )
    })
}

/// What stands before and after the value of a key of the outermost object; of the last, where the
/// key stands twice.
fn value_of<'a>(text: &'a str, key: &str) -> Option<(&'a str, &'a str)> {
    let name = Value::from(key).to_string();
    let mut found = None;
    let (mut depth, mut began) = (0_usize, None);
    let mut signs = text.char_indices();
    // The value of the key begins after this colon.
    let (mut last, mut value) = ("", None);
    while let Some((at, sign)) = signs.next() {
        match sign {
            '"' => {
                began = Some(at);
                let mut escaped = false;
                let end = signs.by_ref().find(|(_, sign)| {
                    let is_end = *sign == '"' && !escaped;
                    escaped = *sign == '\\' && !escaped;
                    is_end
                })?;
                last = text.get(at..=end.0)?;
            }
            '{' | '[' => depth += 1,
            '}' | ']' => {
                if depth == 1 {
                    found = ended(text, value.take(), at).or(found);
                }
                depth = depth.checked_sub(1)?;
            }
            ':' if depth == 1 && last == name && began.is_some() => value = Some(at + 1),
            ',' if depth == 1 => found = ended(text, value.take(), at).or(found),
            _ => {}
        }
    }
    found
}

/// The text around a value that ends there, but for blanks.
fn ended(text: &str, value: Option<usize>, end: usize) -> Option<(&str, &str)> {
    let inner = text.get(value?..end)?;
    let begin = value? + (inner.len() - inner.trim_start().len());
    let end = begin + inner.trim().len();
    Some((text.get(..begin)?, text.get(end..)?))
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
        assert_eq!(
            with_plugin(other, "rootpin").unwrap(),
            "{\"authorization-plugins\" : [\"opa\",\"rootpin\"], \"z\": 1}"
        );
        for empty in ["", "{}", "  "] {
            assert_eq!(
                with_plugin(empty, "rootpin").unwrap(),
                "{\n  \"authorization-plugins\": [\"rootpin\"]\n}\n"
            );
        }
    }

    #[test]
    fn a_file_that_is_not_understood_is_left_alone() {
        for text in [
            "[]",
            "{",
            "{\"authorization-plugins\": 1}",
            "{\"x\": \"authorization-plugins\", \"authorization-plugins\": \"\"}",
        ] {
            assert!(with_plugin(text, "rootpin").is_err(), "{text}");
        }
    }

    #[test]
    fn every_shape_of_the_list_takes_one_more_and_none_takes_it_twice() {
        for (text, after) in [
            (
                "{\"x\": \"authorization-plugins\", \"y\": [1], \"authorization-plugins\": []}",
                "{\"x\": \"authorization-plugins\", \"y\": [1], \"authorization-plugins\": [\"rootpin\"]}",
            ),
            (
                "{\"authorization-plugins\": null, \"z\": {}}",
                "{\"authorization-plugins\": [\"rootpin\"], \"z\": {}}",
            ),
            (
                "{\"a\": {\"authorization-plugins\": [\"no\"]}, \"authorization-plugins\" :\n[ \"x]\" ] }",
                "{\"a\": {\"authorization-plugins\": [\"no\"]}, \"authorization-plugins\" :\n[\"x]\",\"rootpin\"] }",
            ),
            (
                "{\"authorization-plugins\": [\"a\"], \"authorization-plugins\": [\"b\"]}",
                "{\"authorization-plugins\": [\"a\"], \"authorization-plugins\": [\"b\",\"rootpin\"]}",
            ),
            (
                "\u{feff}{\"q\": \"\\\"\"}",
                "\u{feff}{\n  \"authorization-plugins\": [\"rootpin\"],\"q\": \"\\\"\"}",
            ),
            (
                "{\"authorization-plugins\": [\"rootpin\"]}",
                "{\"authorization-plugins\": [\"rootpin\"]}",
            ),
        ] {
            assert_eq!(with_plugin(text, "rootpin").unwrap(), after);
        }
    }
}

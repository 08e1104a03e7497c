//! dockerd's daemon.json: one plugin more or one feature off, every other byte as it was.

use std::path::Path;

use serde_json::{Value, json};

use super::FileEdit;
use crate::problem::Problem;

const KEY: &str = "authorization-plugins";
const FEATURES: &str = "features";
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

/// A text without the plugins that rootpin put there; none, where it is not understood.
pub(super) fn without_plugins(text: &str, ours: &[&str]) -> Option<String> {
    let (mark, text) = split_mark(text);
    let mut wanted = read(text).ok()?;
    let plugins = wanted.get_mut(KEY)?.as_array_mut()?;
    plugins.retain(|plugin| !plugin.as_str().is_some_and(|name| ours.contains(&name)));
    let list = Value::Array(plugins.clone()).to_string();
    let edited = value_of(text, KEY).map(|(before, after)| format!("{before}{list}{after}"));
    checked(mark, edited, &wanted, "").ok()
}

/// The plugins that a text names.
pub(super) fn plugins(text: &str) -> Vec<String> {
    let list = read(split_mark(text).1).ok().and_then(|now| {
        let names = now.get(KEY)?.as_array()?.iter();
        Some(
            names
                .filter_map(|name| name.as_str().map(str::to_owned))
                .collect(),
        )
    });
    list.unwrap_or_default()
}

/// The file with a feature turned off. `planned`: what it will say by an earlier edit.
pub(super) fn without_feature(
    path: &Path,
    planned: Option<&str>,
    feature: &str,
) -> Result<FileEdit, Problem> {
    let before = super::text(path)?;
    let text = planned.or(before.as_deref()).unwrap_or("{}");
    let after = feature_off(text, feature).map_err(|why| why.about(path.display()))?;
    Ok(FileEdit {
        path: path.to_owned(),
        before,
        after,
        mode: 0o644,
    })
}

fn feature_off(text: &str, feature: &str) -> Result<String, Problem> {
    let (mark, text) = split_mark(text);
    let now = read(text)?;
    let off = |object: &str| match value_of(object, feature) {
        Some((before, after)) => format!("{before}false{after}"),
        None => with_member(object, &format!("\"{feature}\": false")),
    };
    let edited = match now.get(FEATURES) {
        Some(Value::Object(_)) => value_of(text, FEATURES).and_then(|(before, after)| {
            let object = text.get(before.len()..text.len() - after.len())?;
            Some(format!("{before}{}{after}", off(object)))
        }),
        None => {
            let member = format!("\"{FEATURES}\": {{\"{feature}\": false}}");
            Some(with_member(text, &member))
        }
        Some(_) => return Err(format!("{FEATURES} is no object").into()),
    };
    let mut wanted = now.clone();
    if let Some(members) = wanted.as_object_mut() {
        let features = members.entry(FEATURES).or_insert_with(|| json!({}));
        if let Some(features) = features.as_object_mut() {
            features.insert(feature.to_owned(), json!(false));
        }
    }
    checked(mark, edited, &wanted, &format!("\"{feature}\": false"))
}

/// dockerd passes over a byte order mark.
fn split_mark(text: &str) -> (&str, &str) {
    text.strip_prefix(MARK)
        .map_or(("", text), |rest| (MARK, rest))
}

fn read(text: &str) -> Result<Value, Problem> {
    let text = if text.trim().is_empty() { "{}" } else { text };
    let now: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if now.is_object() {
        Ok(now)
    } else {
        Err("it is no object".into())
    }
}

/// An object's text with one member more, as the first.
fn with_member(text: &str, member: &str) -> String {
    match text.split_once('{') {
        Some((_, rest)) if rest.trim_start().starts_with('}') => {
            text.replacen('{', &format!("{{{member}"), 1)
        }
        Some((before, after)) => format!("{before}{{\n  {member},{after}"),
        None => format!("{{\n  {member}\n}}\n"),
    }
}

/// A text that was edited, if it says what was meant.
fn checked(
    mark: &str,
    edited: Option<String>,
    wanted: &Value,
    line: &str,
) -> Result<String, Problem> {
    edited
        .filter(|text| serde_json::from_str::<Value>(text).is_ok_and(|value| value == *wanted))
        .map(|text| format!("{mark}{text}"))
        .ok_or_else(|| {
            let hint = format!("write by hand: {line}");
            Problem::hinted("its text can't be changed safely", hint)
        })
}

fn with_plugin(text: &str, plugin: &str) -> Result<String, Problem> {
    let (mark, text) = split_mark(text);
    let now = read(text)?;
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
    checked(mark, edited, &wanted, &line)
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
    fn a_feature_is_turned_off_and_every_other_byte_stays() {
        for (text, after) in [
            (
                "{\n  \"features\": {\"x\": true, \"y\" : true },\n  \"z\": 1\n}\n",
                "{\n  \"features\": {\"x\": false, \"y\" : true },\n  \"z\": 1\n}\n",
            ),
            (
                "\u{feff}{\"features\": {\"y\": true}}",
                "\u{feff}{\"features\": {\n  \"x\": false,\"y\": true}}",
            ),
            ("{\"features\": {}}", "{\"features\": {\"x\": false}}"),
            (
                "{\"z\": {\"x\": true}}",
                "{\n  \"features\": {\"x\": false},\"z\": {\"x\": true}}",
            ),
            ("", "{\n  \"features\": {\"x\": false}\n}\n"),
            (
                "{\"features\": {\"x\": true}, \"features\": {}}",
                "{\"features\": {\"x\": true}, \"features\": {\"x\": false}}",
            ),
        ] {
            assert_eq!(feature_off(text, "x").unwrap(), after);
        }
        for text in ["[]", "{", "{\"features\": 1}"] {
            assert!(feature_off(text, "x").is_err(), "{text}");
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

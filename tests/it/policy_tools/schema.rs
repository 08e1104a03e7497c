//! `rootpin policy schema`: what editors know of policy files is what the loader takes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use rootpin_policy::{Diagnostic, FindingCode};
use serde_json::{Value, json};

use crate::schema::errors;
use crate::world::run;

pub(super) fn schema() -> Value {
    let top = env!("CARGO_MANIFEST_DIR");
    let text = fs::read_to_string(format!("{top}/docs/policy.schema.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// What the loader finds in `policy.toml` and one fragment.
fn findings(policy: &str, fragment: &str) -> Vec<Diagnostic> {
    let files = BTreeMap::from([
        ("policy.toml".to_owned(), policy.as_bytes().to_vec()),
        ("policy.d/a.toml".to_owned(), fragment.as_bytes().to_vec()),
    ]);
    let now = "2026-11-29T00:00:00Z".parse().unwrap();
    rootpin_policy::load(&files, now).unwrap_err()
}

/// The parts of a policy: where the schema has them, and the header that begins them.
pub(super) fn parts(schema: &Value) -> Vec<(Value, String)> {
    let definition = |name: &str| schema["$defs"][name].clone();
    let mut parts = vec![(definition("policy"), String::new())];
    for name in ["rule", "image", "exempt", "revoked", "allow-lint"] {
        parts.push((definition(name), format!("[[{name}]]\n")));
    }
    for root in definition("root")["anyOf"].as_array().unwrap() {
        let kind = root["properties"]["type"]["const"].as_str().unwrap();
        parts.push((root.clone(), format!("[[root]]\ntype = \"{kind}\"\n")));
        if let Some(floor) = root["properties"].get("floor") {
            parts.push((
                floor.clone(),
                format!("[[root]]\ntype = \"{kind}\"\n[root.floor]\n"),
            ));
        }
    }
    for name in ["local", "limits", "docker", "sweep", "credentials"] {
        let part = definition("policy")["properties"][name].clone();
        parts.push((part, format!("[{name}]\n")));
    }
    parts
}

fn texts(value: &Value) -> BTreeSet<String> {
    let texts = value.as_array().into_iter().flatten();
    texts
        .map(|text| text.as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn each_key_of_the_schema_is_one_that_the_loader_takes_and_the_other_way_round() {
    let schema = schema();
    for (part, header) in parts(&schema) {
        let found = findings(&format!("{header}zzz = 1\n"), "");
        let unknown = found
            .iter()
            .find(|one| one.code == FindingCode::UnknownKey && one.message.contains("\"zzz\""))
            .unwrap_or_else(|| panic!("{header}: {found:?}"));
        let keys = unknown.hint.rsplit_once("its keys are ").unwrap().1;
        // `[fragment]` is read in policy.toml to be refused there.
        let keys: BTreeSet<String> = keys
            .split(", ")
            .filter(|key| *key != "fragment")
            .map(str::to_owned)
            .collect();
        let known: BTreeSet<String> = part["properties"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        assert_eq!(known, keys, "{header}");

        let missing = found
            .iter()
            .filter(|one| one.code == FindingCode::MissingKey);
        let missing: BTreeSet<String> = missing
            .filter_map(|one| {
                let key = one.message.split(" has no \"").nth(1)?;
                let title = header.lines().next().unwrap_or("the policy");
                let is_of_part = one.message.starts_with(title) && !header.contains("floor");
                is_of_part.then(|| key.trim_end_matches('"').to_owned())
            })
            .collect();
        let mut required = texts(&part["required"]);
        // The header has it.
        required.remove("type");
        assert_eq!(required, missing, "{header}");

        for (key, property) in part["properties"].as_object().unwrap() {
            let Some(words) = property.get("enum") else {
                continue;
            };
            let found = findings(&format!("{header}{key} = \"zzz\"\n"), "");
            let refused = found
                .iter()
                .find(|one| one.message.contains("\"zzz\""))
                .unwrap_or_else(|| panic!("{key}: {found:?}"));
            let offered = refused.hint.matches('"').count() / 2;
            let all = texts(words)
                .iter()
                .all(|word| refused.hint.contains(&format!("{word:?}")));
            assert!(
                all && offered == words.as_array().unwrap().len(),
                "{key}: {refused:?}"
            );
        }
    }
}

/// A policy file as JSON, with its date-times as texts.
fn json_of(text: &str) -> Value {
    fn of(value: toml::Value) -> Value {
        match value {
            toml::Value::String(text) => json!(text),
            toml::Value::Integer(number) => json!(number),
            toml::Value::Float(number) => json!(number),
            toml::Value::Boolean(flag) => json!(flag),
            toml::Value::Datetime(at) => json!(at.to_string()),
            toml::Value::Array(list) => list.into_iter().map(of).collect(),
            toml::Value::Table(table) => table
                .into_iter()
                .map(|(key, value)| (key, of(value)))
                .collect(),
        }
    }
    of(toml::Value::Table(text.parse().unwrap()))
}

#[test]
fn the_examples_of_the_documents_are_as_the_schema_says_and_mistakes_are_not() {
    let schema = schema();
    let folder = format!("{}/docs", env!("CARGO_MANIFEST_DIR"));
    let mut looked_at = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "md") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for block in text.split("```toml\n").skip(1) {
            let block = block.split("```").next().unwrap();
            if !block.contains("[[rule]]") && !block.contains("[[root]]") {
                continue;
            }
            // Most show a part of policy.toml.
            let whole = if block.contains("version = 1") || block.contains("[fragment]") {
                block.to_owned()
            } else {
                format!("version = 1\ndefault = \"deny\"\n{block}")
            };
            let found = errors(&schema, &json_of(&whole));
            assert!(found.is_empty(), "{}: {found:?}\n{block}", path.display());
            looked_at += 1;
        }
    }
    assert!(looked_at >= 5, "{looked_at}");

    let good = "version = 1\ndefault = \"deny\"\n";
    let rule = "[[rule]]\nmatch = \"r.example/a\"\nroots = [\"a\"]\n";
    assert_eq!(errors(&schema, &json_of(&format!("{good}{rule}"))), [""; 0]);
    for mistake in [
        "default = \"deny\"\n".to_owned(),
        "version = 2\ndefault = \"deny\"\n".to_owned(),
        "version = 1\ndefault = \"allow\"\n".to_owned(),
        format!("{good}mod = \"audit\"\n"),
        format!("{good}mode = \"off\"\n"),
        format!("{good}[[rule]]\nmatch = \"r.example/a\"\n"),
        format!("{good}{rule}qourum = 2\n"),
        format!("{good}{rule}quorum = \"2\"\n"),
        format!("{good}{rule}final = \"yes\"\n"),
        format!("{good}[[root]]\nid = \"a\"\ntype = \"gpg\"\nkeys = [\"a\"]\n"),
        format!(
            "{good}[[root]]\nid = \"a\"\ntype = \"notary\"\nkeys = [\"a\"]\nrole = \"targets\"\n"
        ),
        format!("{good}[[image]]\nname = \"r.example/a:1\"\ndigest = \"sha256:00\"\n"),
        format!("{good}[limits]\noffline = 14\n"),
    ] {
        assert!(!errors(&schema, &json_of(&mistake)).is_empty(), "{mistake}");
    }
}

#[test]
fn the_command_prints_the_documented_schema() {
    let mut rootpin = Command::new(env!("CARGO_BIN_EXE_rootpin"));
    let ended = run(rootpin.args(["policy", "schema"]), b"");
    let printed: Value = serde_json::from_str(&ended.out).unwrap();
    assert!(ended.code == 0 && printed == schema(), "{ended:?}");
}

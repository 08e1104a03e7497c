//! Reports a change of a repository and its end, for people and for programs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::cli::output::{list, table, text};
use crate::observe::plain_lines;
use crate::publish::changes::{self, RoleEntry};
use crate::publish::keyring::Keyring;
use crate::publish::{FileToSign, Metadata, Missing, SigningPlan, material};

/// A plan, before anything is signed.
pub(super) fn plan_json(
    before: &Metadata,
    plan: &SigningPlan,
    keyring: &Keyring,
    about: &[String],
) -> Value {
    let steps: Vec<_> = plan
        .steps()
        .map(|step| step_json(before, plan.next(), step, keyring))
        .collect();
    let offline = plan
        .offline
        .as_ref()
        .map(|missing| missing_json(missing, before, keyring));
    json!({ "about": about, "files": steps, "waits_for": offline })
}

fn step_json(before: &Metadata, next: &Metadata, step: &FileToSign, keyring: &Keyring) -> Value {
    let last = before.roles.get(&step.role).map(|file| &file.document);
    let edits = if matches!(step.role.as_str(), "snapshot" | "timestamp") {
        BTreeMap::new()
    } else {
        changes::diff(last, &step.document)
    };
    let changes = edits.iter().map(|(entry, edit)| {
        let (kind, name) = match entry {
            RoleEntry::Target(path) => ("image", path),
            RoleEntry::Delegation(role) => ("delegation", role),
            RoleEntry::Holder(keyid) => ("holder", keyid),
            RoleEntry::TakenOut(what) => ("taken-out", what),
        };
        let mut change = json!({ "kind": kind, "name": name, "before": edit.before, "after": edit.after,
            "was": changes::shown(edit.before.as_ref()), "is": changes::shown(edit.after.as_ref()) });
        if kind == "delegation" {
            let (came, gone) = keys_of_change(edit.before.as_ref(), edit.after.as_ref());
            let named = |keys: &BTreeSet<String>, metadata: &Metadata| -> Vec<String> {
                let names = keys.iter();
                names.map(|keyid| key_name(keyid, metadata, keyring)).collect()
            };
            let keys = json!({ "keys_added": named(&came, next), "keys_removed": named(&gone, before) });
            if let (Some(change), Value::Object(keys)) = (change.as_object_mut(), keys) {
                change.extend(keys);
            }
        }
        change
    });
    let changes: Vec<Value> = changes.collect();
    let signers: Vec<String> = step
        .keys
        .iter()
        .map(|key| key_name(&key.keyid, next, keyring))
        .collect();
    json!({
        "role": step.role,
        "version": step.document.version(),
        "expires": step.document.signed.get("expires"),
        "signed_by": signers,
        "missing": step.missing.as_ref().map(|missing| missing_json(missing, next, keyring)),
        "changes": changes,
    })
}

/// The IDs of the keys that a delegation lists anew, and no more.
fn keys_of_change(
    before: Option<&Value>,
    after: Option<&Value>,
) -> (BTreeSet<String>, BTreeSet<String>) {
    let keys = |side: Option<&Value>| -> BTreeSet<String> {
        let listed = side.and_then(|side| side.get("role")?.get("keyids")?.as_array());
        let ids = listed.into_iter().flatten().filter_map(Value::as_str);
        ids.map(str::to_owned).collect()
    };
    let (before, after) = (keys(before), keys(after));
    (&after - &before, &before - &after)
}

/// The missing signatures, and who could give them.
pub(super) fn missing_json(missing: &Missing, metadata: &Metadata, keyring: &Keyring) -> Value {
    let holders: Vec<String> = missing
        .keys
        .iter()
        .map(|keyid| key_name(keyid, metadata, keyring))
        .collect();
    json!({ "role": missing.role, "signatures": missing.count, "holders": holders })
}

/// A key for people: who holds it, or its name here, and the beginning of its ID.
pub(super) fn key_name(keyid: &str, metadata: &Metadata, keyring: &Keyring) -> String {
    let id = metadata.key(keyid).and_then(|key| material(keyid, key));
    let here = id
        .and_then(|id| keyring.find(id))
        .map(|entry| entry.name.clone());
    let short = short_id(keyid);
    match metadata.holder(keyid).or(here) {
        Some(name) => format!("{name} ({short})"),
        None => short,
    }
}

/// A report for a terminal: names of others' stay within their line.
pub(super) fn of_others(report: &Value) -> Value {
    match report {
        Value::String(text) => plain_lines(text).replace('\n', "\\u{a}").into(),
        Value::Array(values) => values.iter().map(of_others).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), of_others(value)))
            .collect(),
        other => other.clone(),
    }
}

pub(super) fn plan_text(plan: &Value) -> String {
    let plan = &of_others(plan);
    let mut lines: Vec<String> = list(plan, "about")
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    for file in list(plan, "files") {
        let changes = list(file, "changes");
        for change in changes {
            if text(change, "kind") != "holder" {
                lines.push(change_text(text(file, "role"), change));
            } else if !is_of_new_key(changes, change) {
                lines.push(holder_text(text(file, "role"), change));
            }
        }
    }
    let rows: Vec<Vec<String>> = list(plan, "files").iter().map(file_row).collect();
    if !rows.is_empty() {
        lines.push(table(&rows));
    }
    if let Some(missing) = plan.get("waits_for").filter(|missing| missing.is_object()) {
        lines.push(format!(
            "it waits for {}, which signs the {}",
            holders(missing),
            text(missing, "role")
        ));
    }
    lines.join("\n")
}

fn short_id(keyid: &str) -> String {
    keyid.chars().take(8).collect()
}

/// Whether the key of a change of holder comes by a delegation of these changes, whose line names
/// the holder.
fn is_of_new_key(changes: &[Value], change: &Value) -> bool {
    let short = short_id(text(change, "name"));
    let added = changes.iter().flat_map(|one| list(one, "keys_added"));
    let mut added = added.filter_map(Value::as_str);
    change.get("before").is_none_or(Value::is_null)
        && added.any(|key| key == short || key.ends_with(&format!("({short})")))
}

fn holder_text(role: &str, change: &Value) -> String {
    let key = short_id(text(change, "name"));
    let side = |side: &str| change.get(side).and_then(Value::as_str);
    match (side("before"), side("after")) {
        (Some(before), Some(after)) => {
            format!("~ {role}: holder of key {key}: {after} (was {before})")
        }
        (None, Some(after)) => format!("+ {role}: holder of key {key}: {after}"),
        (before, None) => format!(
            "- {role}: holder of key {key} (was {})",
            before.unwrap_or_default()
        ),
    }
}

fn change_text(role: &str, change: &Value) -> String {
    let (before, after) = (
        change.get("before").is_some_and(Value::is_object),
        change.get("after").is_some_and(Value::is_object),
    );
    let sign = match (before, after) {
        (false, _) => '+',
        (true, false) => '-',
        (true, true) => '~',
    };
    let name = text(change, "name");
    if text(change, "kind") == "taken-out" {
        let is_out = change.get("after").is_some_and(|after| !after.is_null());
        let sign = if is_out { '+' } else { '-' };
        return format!("{sign} {role}: kept out of lists and take-overs: {name}");
    }
    if text(change, "kind") == "delegation" {
        let role_of = |side: &str| {
            change
                .get(side)
                .and_then(|side| side.get("role"))
                .cloned()
                .unwrap_or_default()
        };
        let shown = role_of(if after { "after" } else { "before" });
        let paths: Vec<_> = list(&shown, "paths")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let keys = |member: &str, sign: &'static str| {
            let keys = list(change, member).iter().filter_map(Value::as_str);
            keys.flat_map(|key| ["\n  ", sign, " key of ", key])
                .collect::<String>()
        };
        return format!(
            "{sign} {role}: delegation to {name}: {}{}{}",
            paths.join(" "),
            keys("keys_removed", "-"),
            keys("keys_added", "+")
        );
    }
    match (before, after) {
        (true, true) => format!(
            "{sign} {role}: {name}  {} (was {})",
            text(change, "is"),
            text(change, "was")
        ),
        (false, _) => format!("{sign} {role}: {name}  {}", text(change, "is")),
        (true, false) => format!("{sign} {role}: {name}  (was {})", text(change, "was")),
    }
}

fn file_row(file: &Value) -> Vec<String> {
    let signers: Vec<_> = list(file, "signed_by")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let mut by = if signers.is_empty() {
        String::new()
    } else {
        format!("signed by {}", signers.join(", "))
    };
    if let Some(missing) = file.get("missing").filter(|missing| missing.is_object()) {
        let count = missing
            .get("signatures")
            .and_then(Value::as_u64)
            .unwrap_or_default();
        let joint = if by.is_empty() { "" } else { "; " };
        by = format!("{by}{joint}waits for {count} of {}", holders(missing));
    }
    let version = file
        .get("version")
        .map(ToString::to_string)
        .unwrap_or_default();
    vec![
        format!("  {}", text(file, "role")),
        version,
        format!("until {}", text(file, "expires")),
        by,
    ]
}

fn holders(missing: &Value) -> String {
    list(missing, "holders")
        .iter()
        .filter_map(Value::as_str)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Whether nothing of it counts yet.
fn waits(report: &Value) -> bool {
    let files = list(report, "files");
    let missing = |file: &&Value| file.get("missing").is_some_and(Value::is_object);
    report.get("waits_for").is_some_and(Value::is_object)
        || !files.is_empty() && files.iter().filter(missing).count() == files.len()
}

/// How a change ended. `has_places`: whether the repository names places to publish to.
pub(super) fn ended_text(report: &Value, has_places: bool) -> String {
    let report = &of_others(report);
    let places: Vec<_> = list(report, "published")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let mut lines = vec![match text(report, "outcome") {
        "shown" => "nothing was signed (dry run)".to_owned(),
        "unchanged" => "nothing to do".to_owned(),
        "kept" if !has_places => {
            "kept here; rootpin repo publish file:///DIR brings it to a place; name lasting places in publish of repository.toml"
                .to_owned()
        }
        "kept" => "kept here; rootpin repo publish brings it to the places".to_owned(),
        _ if waits(report) => format!("it waits at {}", places.join(", ")),
        _ => format!("published at {}", places.join(", ")),
    }];
    lines.extend(list(report, "failed").iter().map(|one| {
        format!(
            "not published at {}: {}\nthe next change, or rootpin repo publish, brings it there",
            text(one, "place"),
            text(one, "error")
        )
    }));
    lines.extend(
        list(report, "notes")
            .iter()
            .filter_map(Value::as_str)
            .map(|note| format!("note: {note}")),
    );
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_is_kept_names_a_place_to_type_where_the_repository_has_none() {
        let kept = json!({ "outcome": "kept" });
        let command = "rootpin repo publish file:///DIR brings it to a place";
        assert!(ended_text(&kept, false).contains(command));
        assert_eq!(
            ended_text(&kept, true),
            "kept here; rootpin repo publish brings it to the places"
        );
    }
}

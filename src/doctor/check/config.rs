//! What stands in containerd's files and is not in force, and what a door needs of it.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use super::super::code::Code;
use super::super::config_files::{ConfigFile, at};
use super::super::facts::{Config, Containerd};
use super::super::hole::{Fix, Hole};
use super::super::version::Version;

/// Without them a door is not there. Each is looked for only where that containerd can have it.
const NEEDED: [&str; 5] = [
    "io.containerd.service.v1.diff-service",
    "io.containerd.transfer.v1.local",
    "io.containerd.image-verifier.v1.bindir",
    "io.containerd.grpc.v1.cri",
    "io.containerd.cri.v1.images",
];

/// Plugins that containerd should refuse to start without.
pub(super) fn required(facts: &Containerd, config: &Config) -> Option<Hole> {
    let differs = [&facts.engine.gate, &facts.engine.apply].into_iter().flat_map(|socket| facts.differs_at(socket));
    let mut wanted: Vec<String> = differs.map(|id| format!("io.containerd.differ.v1.{id}")).collect();
    if wanted.is_empty() {
        // `gate-missing` says it all.
        return None;
    }
    wanted.extend(NEEDED.iter().take(3).filter(|name| facts.plugin(name).is_some()).map(|name| (*name).to_owned()));
    let required = at(&config.effective, &["required_plugins"]).and_then(Value::as_array);
    let required: BTreeSet<&str> = required.into_iter().flatten().filter_map(Value::as_str).collect();
    let missing: Vec<&String> = wanted.iter().filter(|name| !required.contains(name.as_str())).collect();
    if missing.is_empty() {
        return None;
    }
    let hole = Hole::new(Code::RequiredPlugins, &facts.engine.name, format!("it lacks {missing:?}"));
    Some(hole.change(format!("required_plugins = {wanted:?}")).fix(Fix::DropIn))
}

/// Plugins that did not load.
pub(super) fn plugins(facts: &Containerd) -> Vec<Hole> {
    let broken = facts.plugins.iter().filter(|plugin| NEEDED.contains(&plugin.full().as_str()) && !plugin.full().contains("verifier"));
    let hole = |plugin: &super::super::facts::Plugin| {
        let error = plugin.error.as_deref()?;
        let found = format!("{}: {error}", plugin.full());
        Some(Hole::new(Code::PluginError, &facts.engine.name, found).change("mend what the error names, and restart containerd"))
    };
    broken.filter_map(hole).collect()
}

/// Keys that are in a file and not in what containerd makes of it. Only 2.x warns, and not of everything.
pub(super) fn ignored(facts: &Containerd, config: &Config) -> Vec<Hole> {
    let known: BTreeSet<String> = facts.plugins.iter().map(super::super::facts::Plugin::full).collect();
    let version = config.files.version();
    let migrated = facts.version >= Version(2, 0, 0) && version < 3;
    let mut holes = Vec::new();
    for (number, file) in config.files.files.iter().enumerate() {
        let mut lost: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (path, value) in leaves(&file.table) {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            let plugin = path.get(1).copied().filter(|_| path.first() == Some(&"plugins"));
            let replaced = facts.version < Version(2, 0, 0) && plugin.is_some_and(|id| later_has(&config.files.files, number, id));
            // The first version had other names for plugins.
            if says_nothing(value) || replaced || (version < 2 && plugin.is_some()) {
                continue;
            }
            let there = anyhow_at(&config.effective, &path).is_some() && plugin.is_none_or(|id| known.contains(id));
            let moved = migrated && plugin.is_some() && path.last().is_some_and(|key| stands_anywhere(&config.effective, key));
            if !there && !moved && !is_disabled(config, plugin) {
                lost.entry(plugin.unwrap_or_default().to_owned())
                    .or_default()
                    .push(path.get(2..).filter(|_| plugin.is_some()).unwrap_or(&path).join("."));
            }
        }
        for (plugin, keys) in lost {
            let what = if plugin.is_empty() { keys.join(", ") } else { format!("{} of [plugins.\"{plugin}\"]", keys.join(", ")) };
            let why = if plugin.is_empty() || known.contains(&plugin) {
                "containerd has no such key there"
            } else {
                "this containerd has no plugin of that name"
            };
            let found = format!("{}: {what}: {why}", file.path.display());
            let change = "take it out, or write it for this version: `containerd config default` shows each section and key";
            holes.push(Hole::new(Code::ConfigIgnored, &facts.engine.name, found).change(change));
        }
    }
    holes
}

/// In 1.7 an imported section takes the place of the whole one that was there.
pub(super) fn replaced(facts: &Containerd, config: &Config) -> Vec<Hole> {
    if facts.version >= Version(2, 0, 0) {
        return Vec::new();
    }
    let files = &config.files.files;
    let mut holes = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let sections = file.table.get("plugins").and_then(Value::as_table).into_iter().flatten();
        for (id, section) in sections {
            let Some(by) = files.iter().skip(number + 1).rev().find(|later| at(&later.table, &["plugins", id]).is_some()) else { continue };
            let lost: Vec<String> = section
                .as_table()
                .map(leaves)
                .unwrap_or_default()
                .into_iter()
                .filter(|(path, value)| {
                    let path: Vec<&str> = ["plugins", id].into_iter().chain(path.iter().map(String::as_str)).collect();
                    at(&by.table, &path).is_none() && !says_nothing(value) && anyhow_at(&config.effective, &path) != Some(*value)
                })
                .map(|(path, _)| path.join("."))
                .collect();
            if !lost.is_empty() {
                let found =
                    format!("{} replaces [plugins.\"{id}\"] of {}: lost {}", by.path.display(), file.path.display(), lost.join(", "));
                let change = format!("write these keys into {} as well, or its section into {}", by.path.display(), file.path.display());
                holes.push(Hole::new(Code::SectionReplaced, &facts.engine.name, found).change(change));
            }
        }
    }
    holes
}

fn later_has(files: &[ConfigFile], number: usize, id: &str) -> bool {
    files.iter().skip(number + 1).any(|later| at(&later.table, &["plugins", id]).is_some())
}

/// Every key that has a value which is no table, with its path. A list of tables is one value.
fn leaves(table: &Table) -> Vec<(Vec<String>, &Value)> {
    let mut out = Vec::new();
    let mut todo: Vec<(Vec<String>, &Table)> = vec![(Vec::new(), table)];
    while let Some((path, table)) = todo.pop() {
        for (key, value) in table {
            let mut path = path.clone();
            path.push(key.clone());
            match value.as_table() {
                Some(inner) => todo.push((path, inner)),
                None => out.push((path, value)),
            }
        }
    }
    out.sort_by(|(one, _), (other, _)| one.cmp(other));
    out
}

/// What stands there, whatever the case of the keys: containerd's reader doesn't mind it.
fn anyhow_at<'a>(table: &'a Table, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    let (_, value) = table.iter().find(|(key, _)| key.eq_ignore_ascii_case(first))?;
    if rest.is_empty() { Some(value) } else { anyhow_at(value.as_table()?, rest) }
}

/// A value that containerd may leave out of what it prints.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Table(table) => table.is_empty(),
        Value::Boolean(_) | Value::Datetime(_) | Value::Float(_) | Value::Integer(_) => false,
    }
}

fn stands_anywhere(effective: &Table, key: &str) -> bool {
    let plugins = effective.get("plugins").and_then(Value::as_table);
    plugins.is_some_and(|plugins| leaves(plugins).iter().any(|(path, _)| path.last().is_some_and(|last| last == key)))
}

fn is_disabled(config: &Config, plugin: Option<&str>) -> bool {
    let disabled = at(&config.effective, &["disabled_plugins"]).and_then(Value::as_array);
    // "cri" alone is a name of old.
    plugin.is_some_and(|id| {
        disabled.into_iter().flatten().filter_map(Value::as_str).any(|name| id == name || id.ends_with(&format!(".{name}")))
    })
}

//! Checks containerd's files: settings that are not in force, and settings that a door needs.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use super::super::code::Code;
use super::super::config_files::{ConfigFile, at, is_ours};
use super::super::facts::{ContainerdFacts, EngineConfig};
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
pub(super) fn required(facts: &ContainerdFacts, config: &EngineConfig) -> Option<Hole> {
    let differs = [&facts.engine.gate, &facts.engine.apply]
        .into_iter()
        .flat_map(|socket| facts.differs_at(socket));
    let mut wanted: Vec<String> = differs
        .map(|id| format!("io.containerd.differ.v1.{id}"))
        .collect();
    if wanted.is_empty() {
        // `gate-missing` says it all.
        return None;
    }
    wanted.extend(
        NEEDED
            .iter()
            .take(3)
            .filter(|name| facts.plugin(name).is_some())
            .map(|name| (*name).to_owned()),
    );
    let required = at(&config.effective, &["required_plugins"]).and_then(Value::as_array);
    let required: BTreeSet<&str> = required
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    // By version 1, 1.x has the last parts of the names.
    let has = |name: &String| {
        required.contains(name.as_str())
            || name
                .rsplit('.')
                .next()
                .is_some_and(|last| required.contains(last))
    };
    let missing: Vec<&String> = wanted.iter().filter(|name| !has(name)).collect();
    if missing.is_empty() {
        return None;
    }
    let hole = Hole::new(
        Code::RequiredPlugins,
        &facts.engine.name,
        format!("it lacks {missing:?}"),
    );
    Some(
        hole.change(format!("required_plugins = {wanted:?}"))
            .fix(Fix::DropIn),
    )
}

/// Plugins that did not load.
pub(super) fn plugins(facts: &ContainerdFacts) -> Vec<Hole> {
    let broken = facts.plugins.iter().filter(|plugin| {
        NEEDED.contains(&plugin.full().as_str()) && !plugin.full().contains("verifier")
    });
    let hole = |plugin: &super::super::facts::PluginFacts| {
        let error = plugin.error.as_deref()?;
        let found = format!("{}: {error}", plugin.full());
        Some(
            Hole::new(Code::PluginError, &facts.engine.name, found)
                .change("mend what the error names, and restart containerd"),
        )
    };
    broken.filter_map(hole).collect()
}

/// Keys that are in a file and not in what containerd makes of it. Only 2.x warns, and not of
/// everything.
pub(super) fn ignored(facts: &ContainerdFacts, config: &EngineConfig) -> Vec<Hole> {
    let known: BTreeSet<String> = facts
        .plugins
        .iter()
        .map(super::super::facts::PluginFacts::full)
        .collect();
    let in_force: Vec<(Vec<String>, &Value)> = leaves(&config.effective);
    let mut holes = Vec::new();
    for (number, file) in config.files.files.iter().enumerate() {
        let version = version_of(facts, config, file);
        let mut lost: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (path, value) in leaves(&file.table) {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            let plugin = path
                .get(1)
                .copied()
                .filter(|_| path.first() == Some(&"plugins"));
            let replaced = facts.version < Version(2, 0, 0)
                && plugin.is_some_and(|id| later_has(&config.files.files, number, id));
            // The first version had other names for plugins.
            if says_nothing(value)
                || replaced
                || (plugin.is_some() && version.min(version_in(file)) < 2)
            {
                continue;
            }
            let there = anyhow_at(&config.effective, &path).is_some()
                && plugin.is_none_or(|id| known.contains(id));
            let moved = || {
                version < own_version(config)
                    && (moved(&in_force, &path, value) || said_later(config, number, &path))
            };
            if !there && !is_disabled(config, plugin) && !moved() {
                lost.entry(plugin.unwrap_or_default().to_owned())
                    .or_default()
                    .push(
                        path.get(2..)
                            .filter(|_| plugin.is_some())
                            .unwrap_or(&path)
                            .join("."),
                    );
            }
        }
        for (plugin, keys) in lost {
            let what = if plugin.is_empty() {
                keys.join(", ")
            } else {
                format!("{} of [plugins.\"{plugin}\"]", keys.join(", "))
            };
            let why = if plugin.is_empty() || known.contains(&plugin) {
                "containerd has no such key there"
            } else {
                "this containerd has no plugin of that name"
            };
            let change = "take it out, or write it for this version: `containerd config default` shows each section and key";
            // The main file's version is the one to follow.
            let (said, main) = (
                version_in(file),
                config.files.files.first().map_or(1, version_in),
            );
            let highest = config
                .files
                .files
                .iter()
                .find(|other| version_in(other) == version)
                .filter(|_| version > said && said == main);
            let hole = match highest {
                Some(other) => {
                    let (file, other) = (file.path.display(), other.path.display());
                    let found = format!(
                        "{file}: {what}: {file} has version {said}, and is read as version {version}, which {other} has"
                    );
                    let change =
                        format!("write {other} at version {said}, with the names of that version");
                    Hole::new(Code::ConfigIgnored, &facts.engine.name, found).change(change)
                }
                None => Hole::new(
                    Code::ConfigIgnored,
                    &facts.engine.name,
                    format!("{}: {what}: {why}", file.path.display()),
                )
                .change(change),
            };
            let ours = highest.is_some_and(|other| is_ours(&other.path));
            holes.push(if ours { hole.fix(Fix::DropIn) } else { hole });
        }
    }
    holes
}

/// The version by which containerd reads a file: from 2.3 on it translates each by itself, and
/// before that all as one.
fn version_of(facts: &ContainerdFacts, config: &EngineConfig, file: &ConfigFile) -> i64 {
    let each = facts.version >= Version(2, 3, 0);
    if each {
        version_in(file)
    } else {
        config.files.files.iter().map(version_in).max().unwrap_or(1)
    }
}

fn version_in(file: &ConfigFile) -> i64 {
    file.table
        .get("version")
        .and_then(Value::as_integer)
        .unwrap_or(1)
}

/// The version that this containerd writes itself.
fn own_version(config: &EngineConfig) -> i64 {
    config
        .effective
        .get("version")
        .and_then(Value::as_integer)
        .unwrap_or(2)
}

/// Whether what a file says in the words of an older version is in force under another name: the
/// value, alone or in a list, stands somewhere else, or the key does with that value.
fn moved(in_force: &[(Vec<String>, &Value)], path: &[&str], value: &Value) -> bool {
    let tells = match value {
        Value::String(text) => text.len() > 2,
        Value::Array(_) => true,
        Value::Boolean(_)
        | Value::Datetime(_)
        | Value::Float(_)
        | Value::Integer(_)
        | Value::Table(_) => false,
    };
    in_force.iter().any(|(known, found)| {
        let same_key = known.last().map(String::as_str) == path.last().copied();
        let within = found.as_array().is_some_and(|list| list.contains(value));
        *found == value && (same_key || tells) || within
    })
}

/// Whether a later file says the same key, wherever its version has it.
fn said_later(config: &EngineConfig, number: usize, path: &[&str]) -> bool {
    let later = config
        .files
        .files
        .iter()
        .skip(number + 1)
        .flat_map(|file| leaves(&file.table));
    later
        .into_iter()
        .any(|(other, _)| other.last().map(String::as_str) == path.last().copied())
}

/// In 1.7 an imported section takes the place of the whole one that was there.
pub(super) fn replaced(facts: &ContainerdFacts, config: &EngineConfig) -> Vec<Hole> {
    if facts.version >= Version(2, 0, 0) {
        return Vec::new();
    }
    let files = &config.files.files;
    let mut holes = Vec::new();
    for (number, file) in files.iter().enumerate() {
        let sections = file
            .table
            .get("plugins")
            .and_then(Value::as_table)
            .into_iter()
            .flatten();
        for (id, section) in sections {
            let Some(by) = files
                .iter()
                .skip(number + 1)
                .rev()
                .find(|later| at(&later.table, &["plugins", id]).is_some())
            else {
                continue;
            };
            let lost: Vec<String> = section
                .as_table()
                .map(leaves)
                .unwrap_or_default()
                .into_iter()
                .filter(|(path, value)| {
                    let path: Vec<&str> = ["plugins", id]
                        .into_iter()
                        .chain(path.iter().map(String::as_str))
                        .collect();
                    at(&by.table, &path).is_none()
                        && !says_nothing(value)
                        && anyhow_at(&config.effective, &path) != Some(*value)
                })
                .map(|(path, _)| path.join("."))
                .collect();
            if !lost.is_empty() {
                let found = format!(
                    "{} replaces [plugins.\"{id}\"] of {}: lost {}",
                    by.path.display(),
                    file.path.display(),
                    lost.join(", ")
                );
                let change = format!(
                    "write these keys into {} as well, or its section into {}",
                    by.path.display(),
                    file.path.display()
                );
                holes.push(
                    Hole::new(Code::SectionReplaced, &facts.engine.name, found).change(change),
                );
            }
        }
    }
    holes
}

fn later_has(files: &[ConfigFile], number: usize, id: &str) -> bool {
    files
        .iter()
        .skip(number + 1)
        .any(|later| at(&later.table, &["plugins", id]).is_some())
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
    let (_, value) = table
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(first))?;
    if rest.is_empty() {
        Some(value)
    } else {
        anyhow_at(value.as_table()?, rest)
    }
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

fn is_disabled(config: &EngineConfig, plugin: Option<&str>) -> bool {
    let disabled = at(&config.effective, &["disabled_plugins"]).and_then(Value::as_array);
    // "cri" alone is a name of old.
    plugin.is_some_and(|id| {
        disabled
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .any(|name| id == name || id.ends_with(&format!(".{name}")))
    })
}

//! rootpin's drop-in for one containerd: its settings at the version that the main file has, and
//! where it goes, so that nothing that is read later undoes it.

use crate::problem::Problem;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::super::config_files::{ConfigFiles, is_ours};
use super::super::facts::{ContainerdFacts, EngineConfig};
use super::super::version::VERIFIER;
use super::inclusion::{Edits, own_version};
use super::settings::{CRI, DIFF, IMAGES, NRI, PROXIES, REQUIRED, Setting, TRANSFER, VERIFIERS};
use super::{FileEdit, generated, inclusion};
use crate::operate::platform::{Inclusion, Platform};

/// Names for the drop-in, each later in order than the one before.
const NAMES: usize = 16;

/// How CRI's settings of images are called in a drop-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PluginNames {
    /// As version 3 has them.
    New,
    /// As version 2 has them.
    Old,
    /// Both: 2.3 translates each file by itself, and takes some of the old ones only where the file
    /// has runtimes too.
    Both,
}

/// A way to write the drop-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Style {
    pub(super) version: i64,
    names: PluginNames,
}

/// The styles in which a drop-in may fit, the likeliest first. A main file that says its version
/// gets that one: any other either takes the rest of the configuration out of force or keeps
/// containerd from starting.
pub(super) fn styles(
    facts: &ContainerdFacts,
    config: &EngineConfig,
    platform: Option<&Platform>,
) -> Vec<Style> {
    let one = facts.version < VERIFIER;
    let written = platform.filter(|_| !one).and_then(|platform| {
        let version = platform.version?;
        // k0s writes a main file of this version, whatever an earlier release has left there, and
        // takes no other in a drop-in.
        let always =
            matches!(platform.inclusion, Inclusion::Folder(_)) && inclusion::is_k0s_managed(config);
        (always || config.files.files.is_empty()).then_some(version)
    });
    let versions = match (written.or(config.files.version()), one) {
        (Some(version), _) => vec![version],
        (None, _) if config.files.files.is_empty() => vec![own_version(config)],
        (None, true) => vec![1],
        // It translates a file without a version by itself, so that the others may have any.
        (None, false) => vec![3, 2, 1],
    };
    let names = |version: i64| {
        if one || version >= 3 {
            vec![PluginNames::New]
        } else {
            vec![PluginNames::Old, PluginNames::Both, PluginNames::New]
        }
    };
    versions
        .into_iter()
        .flat_map(|version| {
            names(version)
                .into_iter()
                .map(move |names| Style { version, names })
        })
        .collect()
}

/// Everything that must change, in the order in which it is written, or why it can't be. Wherever
/// that is cut off, containerd starts: what a file imports is there before, and an earlier drop-in
/// is in force until the new one is.
///
/// # Errors
/// What a person must do first.
pub(super) fn edits(
    facts: &ContainerdFacts,
    config: &EngineConfig,
    text: &str,
    exactly: bool,
    platform: Option<&Platform>,
) -> Result<Edits, Problem> {
    let (mut edits, mut later) = (Vec::new(), Vec::new());
    let mut files = config.files.clone();
    let main = files.files.first();
    let folder = config
        .main
        .parent()
        .unwrap_or(Path::new("/"))
        .join("conf.d");
    let folder = inclusion::folder(platform, &folder).to_owned();
    let is_last = config
        .files
        .files
        .iter()
        .skip(1)
        .next_back()
        .is_some_and(|last| is_ours(&last.path));
    let mut patterns = files.patterns.iter();
    let imports_folder = patterns.any(|pattern| pattern.one_folder().is_some());
    let alone = folder.join("rootpin.toml");
    // What of the folder is not imported, as by `[a-q]*.toml`, is to stay so.
    let is_alone = exactly || imports_folder;
    let has_place = is_last || imports_folder && place(config, &files, &[], text)?.is_some();
    if !has_place {
        let (alone, all) = (alone.clone(), folder.join("*.toml"));
        let import = if is_alone { alone } else { all };
        let made = main.and_then(|main| {
            Some((
                generated::generated(&main.path, &main.text, Path::exists)?,
                main,
            ))
        });
        let advice = made.map(|(made, main)| {
            let imports = main.table.contains_key("imports");
            made.advice(&config.main, imports, &folder, text)
        });
        match (inclusion::edits(platform, facts, config, &import)?, advice) {
            (Some(own), _) => (edits, later) = (own.edits, own.generated),
            (None, Some(advice)) => return Err(advice),
            (None, None) => edits.push(inclusion::imported(config, &import, own_version(config))?),
        }
        let whole: Vec<_> = edits.iter().chain(&later).cloned().collect();
        files = ConfigFiles::read(&config.main, &super::proposed(&whole))
            .or_else(|error| if is_alone { Ok(files) } else { Err(error) })?;
    }
    // One that is there and read last keeps its place.
    let path = if let Some(last) = config.files.files.last().filter(|_| is_last) {
        last.path.clone()
    } else if files.patterns.is_empty() || !has_place && is_alone {
        alone
    } else {
        let whole: Vec<_> = edits.iter().chain(&later).cloned().collect();
        place(config, &files, &whole, text)?
            .ok_or("no folder that containerd imports has a place after all other files")?
    };
    let own = FileEdit {
        before: super::text(&path)?,
        path: path.clone(),
        after: text.to_owned(),
        mode: 0o644,
    };
    edits.insert(0, own);
    // An earlier one of ours, at another version or with other values, says nothing any more.
    for old in config
        .files
        .files
        .iter()
        .skip(1)
        .filter(|file| is_ours(&file.path) && file.path != path)
    {
        let after = format!("# rootpin's settings are in {}\n", path.display());
        edits.push(FileEdit {
            path: old.path.clone(),
            before: Some(old.text.clone()),
            after,
            mode: 0o644,
        });
    }
    Ok(Edits {
        edits,
        generated: later,
    })
}

/// The first name, in the folder that is read last, with which it is read as the last of all files.
/// None: no name is.
fn place(
    config: &EngineConfig,
    files: &ConfigFiles,
    others: &[FileEdit],
    text: &str,
) -> Result<Option<PathBuf>, Problem> {
    for pattern in files.patterns.iter().rev() {
        let Some(folder) = pattern.one_folder() else {
            continue;
        };
        for number in 0..NAMES {
            let name = if number == 0 {
                "rootpin.toml".to_owned()
            } else {
                format!("{}-rootpin.toml", "z".repeat(number + 1))
            };
            if !pattern.takes(&name) {
                continue;
            }
            let path = folder.join(name);
            let mut proposed = super::proposed(others);
            proposed.insert(path.clone(), text.to_owned());
            let read = ConfigFiles::read(&config.main, &proposed)?;
            // Later ones of our own will say nothing.
            if read
                .files
                .iter()
                .rev()
                .find(|file| file.path == path || !is_ours(&file.path))
                .is_some_and(|last| last.path == path)
            {
                return Ok(Some(path));
            }
        }
    }
    Ok(None)
}

/// The whole text.
pub(super) fn render(
    facts: &ContainerdFacts,
    config: &EngineConfig,
    settings: &[Setting],
    style: Style,
) -> String {
    let one = facts.version < VERIFIER;
    let short = one && style.version < 2;
    let mut sections: Vec<(Vec<String>, Table)> = vec![(Vec::new(), Table::new())];
    let mut put = |path: &[String], value: &Value| {
        let Some((key, table)) = path.split_last() else {
            return;
        };
        match sections.iter_mut().find(|(known, _)| known == table) {
            Some((_, keys)) => _ = keys.insert(key.clone(), value.clone()),
            None => sections.push((
                table.to_vec(),
                Table::from_iter([(key.clone(), value.clone())]),
            )),
        }
    };
    // What replaces a whole table or section says again what was in it.
    for setting in settings {
        if let [key, name, ..] = &setting.path[..] {
            let whole = key == PROXIES || one && key == "plugins";
            let now = config
                .effective
                .get(key)
                .and_then(|all| all.get(name))
                .and_then(Value::as_table);
            let ours = key == PROXIES && ["rootpin", "rootpin-apply"].contains(&name.as_str());
            for (path, value) in now
                .filter(|_| whole && !ours)
                .map(super::trial::leaves)
                .unwrap_or_default()
            {
                let path: Vec<String> = [key.clone(), name.clone()]
                    .into_iter()
                    .chain(path)
                    .collect();
                put(&path, value);
            }
        }
    }
    for setting in settings {
        for path in named(&setting.path, style, one) {
            put(&path, &setting.value);
        }
    }
    let mut out = format!("{}version = {}\n", head(facts), style.version);
    for (path, keys) in sections {
        let mut path = path;
        if short
            && let [first, plugin, ..] = &mut path[..]
            && first == "plugins"
        {
            *plugin = last_part(plugin).to_owned();
        }
        if let Some(why) = comment(&path) {
            let _ = write!(out, "\n{why}");
        } else {
            out.push('\n');
        }
        let quoted: Vec<String> = path.iter().map(|key| quoted_key(key)).collect();
        if !path.is_empty() {
            let _ = writeln!(out, "[{}]", quoted.join("."));
        }
        let (lists, plain): (Vec<_>, Vec<_>) = keys.iter().partition(|(_, value)| {
            value
                .as_array()
                .is_some_and(|list| list.iter().any(Value::is_table))
        });
        for (key, value) in plain {
            let value = if short && key == REQUIRED {
                short_names(value)
            } else {
                value.clone()
            };
            let indent = if path.is_empty() { "" } else { "  " };
            let _ = writeln!(out, "{indent}{} = {}", quoted_key(key), shown(&value));
        }
        for (key, list) in lists {
            for entry in list
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_table)
            {
                let _ = writeln!(out, "  [[{}.{}]]", quoted.join("."), quoted_key(key));
                for (key, value) in entry {
                    let _ = writeln!(out, "    {} = {value}", quoted_key(key));
                }
            }
        }
    }
    out
}

/// Where a drop-in of that style has a setting; nowhere, where the style has no name for it.
fn named(path: &[String], style: Style, one: bool) -> Vec<Vec<String>> {
    let [plugins, plugin, rest @ ..] = path else {
        return vec![path.to_vec()];
    };
    if one || plugin != IMAGES || style.names == PluginNames::New {
        return vec![path.to_vec()];
    }
    let deeper = rest.first().is_some_and(|key| {
        [
            "disable_snapshot_annotations",
            "discard_unpacked_layers",
            "snapshotter",
        ]
        .contains(&key.as_str())
    });
    let known = rest
        .first()
        .is_some_and(|key| key != "use_local_image_pull");
    let old = [plugins.clone(), CRI.to_owned()]
        .into_iter()
        .chain(deeper.then(|| "containerd".to_owned()))
        .chain(rest.iter().cloned());
    let old = known.then(|| old.collect());
    old.into_iter()
        .chain((style.names == PluginNames::Both).then(|| path.to_vec()))
        .collect()
}

fn head(facts: &ContainerdFacts) -> String {
    let merged = if facts.version < VERIFIER {
        "containerd 1.7 replaces a plugin's whole section by the one of a drop-in: what was in force in it is said again here."
    } else {
        "containerd merges it into its own configuration, key by key; a list replaces the list that was there."
    };
    format!(
        "# Written by rootpin, at the version of the main file: run `rootpin install` again after that changes.\n# {merged}\n"
    )
}

fn comment(table: &[String]) -> Option<&'static str> {
    let [_, plugin, ..] = table else {
        let top = "# without one of these containerd refuses to start, and so it can't run unguarded after a mistaken edit\n";
        return table.is_empty().then_some(top);
    };
    let of = [
        (
            DIFF,
            "# for whatever is not pulled by the transfer service: the gate is asked first, and the others unpack what it lets pass\n",
        ),
        (
            VERIFIERS,
            "# for each pull by the transfer service: name and digest, before anything is fetched. containerd asks nobody where the folder\n\
             # is missing or empty, so it is rootpin's own and holds one file\n",
        ),
        (
            TRANSFER,
            "# for what the transfer service unpacks, imports among it: one entry for each snapshotter\n",
        ),
        (
            IMAGES,
            "# any of these set otherwise makes CRI pull past the verifier, with no more than a warning in the log\n",
        ),
        (CRI, "# CRI: what keeps it from pulling past the verifier\n"),
        (NRI, "# the run time: see docs/runtime.md\n"),
    ];
    of.into_iter()
        .find(|(name, _)| *name == plugin || last_part(name) == plugin)
        .map(|(_, why)| why)
        .filter(|_| table.len() == 2)
}

/// A plugin's name in version 1 of 1.x.
fn last_part(plugin: &str) -> &str {
    plugin.rsplit('.').next().unwrap_or(plugin)
}

fn short_names(list: &Value) -> Value {
    Value::Array(
        list.as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(|name| last_part(name).into())
            .collect(),
    )
}

/// A value; a long list with a line for each entry.
fn shown(value: &Value) -> String {
    match value.as_array().filter(|list| list.len() > 2) {
        Some(list) => format!(
            "[\n{}]",
            list.iter().fold(String::new(), |lines, entry| lines
                + &format!("  {entry},\n"))
        ),
        None => value.to_string(),
    }
}

/// A key, bare where TOML takes it so.
fn quoted_key(key: &str) -> String {
    let bare = !key.is_empty()
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if bare {
        key.to_owned()
    } else {
        Value::from(key).to_string()
    }
}

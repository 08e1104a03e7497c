//! rootpin's drop-in for one containerd: the packaged one with that engine's addresses, and what else its holes want; and where it goes,
//! so that nothing that is read later undoes it.

use std::path::{Path, PathBuf};

use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, Value, value};

use super::super::check::{SETTINGS, SHARED, VERIFIER, differs, entries, platform};
use super::super::config_files::{ConfigFiles, at};
use super::super::facts::{Config, Containerd};
use super::{Edit, toml_file};

/// The packaged drop-ins: `packaging/containerd/install` writes the same.
const ONE: &str = include_str!("../../../packaging/containerd/rootpin-1.7.toml");
const TWO: &str = include_str!("../../../packaging/containerd/rootpin-2.toml");

const DIFF: &str = "io.containerd.service.v1.diff-service";
const TRANSFER: &str = "io.containerd.transfer.v1.local";
const VERIFIERS: &str = "io.containerd.image-verifier.v1.bindir";
const IMAGES: &str = "io.containerd.cri.v1.images";
const NRI: &str = "io.containerd.nri.v1.nri";
/// Names for the drop-in, each later in order than the one before.
const NAMES: usize = 16;

/// The drop-in, and the main file if that does not import it yet.
pub(super) fn edits(facts: &Containerd, folder: &Path) -> Result<Vec<Edit>, String> {
    let config = facts.config.as_ref().map_err(Clone::clone)?;
    let text = render(facts, config, folder)?;
    let mut before_it = Vec::new();
    let mut files = config.files.clone();
    if files.patterns.is_empty() {
        let folder = config.main.parent().unwrap_or(Path::new("/")).join("conf.d");
        let edit = toml_file::imports(config, &folder.join("*.toml"))?;
        before_it.push(edit);
        files = ConfigFiles::read(&config.main, &super::proposed(&before_it))?;
    }
    let path = place(config, &files, &before_it, &text)?;
    let drop_in = Edit { before: super::text(&path)?, path, after: text, mode: 0o644 };
    before_it.push(drop_in);
    Ok(before_it)
}

/// The first name, in the folder that is read last, with which it is read as the last of all files.
fn place(config: &Config, files: &ConfigFiles, others: &[Edit], text: &str) -> Result<PathBuf, String> {
    for pattern in files.patterns.iter().rev() {
        for number in 0..NAMES {
            let name = if number == 0 { "rootpin.toml".to_owned() } else { format!("{}-rootpin.toml", "z".repeat(number + 1)) };
            if !pattern.takes(&name) {
                continue;
            }
            let path = pattern.folder.join(name);
            let mut proposed = super::proposed(others);
            if let Some(main) = files.files.first() {
                // It may be what containerd has without a file.
                proposed.entry(main.path.clone()).or_insert_with(|| main.text.clone());
            }
            proposed.insert(path.clone(), text.to_owned());
            let read = ConfigFiles::read(&config.main, &proposed)?;
            if read.files.last().is_some_and(|last| last.path == path) {
                return Ok(path);
            }
        }
    }
    Err("no folder that containerd imports has a place after all other files; write the lines into the file that is named".to_owned())
}

/// The whole text.
fn render(facts: &Containerd, config: &Config, folder: &Path) -> Result<String, String> {
    let one = facts.version < VERIFIER;
    let template = if one { ONE } else { TWO };
    let mut document: DocumentMut = template.parse().map_err(|error: toml_edit::TomlError| error.to_string())?;
    let top = document.as_table_mut();
    let set = |top: &mut Table, path: &[&str], to: Item| {
        toml_file::put(top, path, to).ok_or_else(|| format!("the packaged drop-in has no place for {}", path.join(".")))
    };
    let text = |path: &Path| value(path.display().to_string());
    set(top, &["proxy_plugins", "rootpin", "address"], text(&facts.engine.gate))?;
    set(top, &["proxy_plugins", "rootpin-apply", "address"], text(&facts.engine.apply))?;
    let ours = ["rootpin", "rootpin-apply"];
    let known = facts.differs_at(&facts.engine.gate).into_iter().chain(facts.differs_at(&facts.engine.apply)).chain(ours);
    let known: Vec<&str> = known.collect();
    let others: Vec<&str> = differs(config).into_iter().filter(|differ| !known.contains(differ)).collect();
    let others = if others.is_empty() { vec!["walking"] } else { others };
    set(top, &["plugins", DIFF, "default"], value(["rootpin"].into_iter().chain(others).collect::<Array>()))?;
    let mut entries = unpack(facts, config);
    let packaged = top.get("plugins").and_then(|plugins| plugins.get(TRANSFER)?.get("unpack_config")?.as_array_of_tables()?.get(0));
    if let (Some(first), Some(packaged)) = (entries.get_mut(0), packaged) {
        // The comment above it.
        *first.decor_mut() = packaged.decor().clone();
    }
    set(top, &["plugins", TRANSFER, "unpack_config"], Item::ArrayOfTables(entries))?;
    if facts.engine.nri.is_some() {
        set(top, &["plugins", NRI, "disable"], value(false))?;
    }
    if one {
        // The whole section is replaced in 1.7: what was set in it is said again.
        for section in [DIFF, TRANSFER, NRI] {
            keep(top, section, config)?;
        }
        return Ok(document.to_string());
    }
    let own = facts.verifier.as_ref().map(|folder| folder.path.as_path()).filter(|path| *path != Path::new(SHARED));
    set(top, &["plugins", VERIFIERS, "bin_dir"], text(own.unwrap_or(folder)))?;
    let images = ["plugins", IMAGES];
    if facts.cri_may_transfer() {
        for (key, off) in SETTINGS {
            let other = facts.cri().and_then(|cri| cri.get(key).cloned()).is_some_and(|now| now != off.value());
            if other {
                set(top, &[images[0], images[1], key], Item::Value(edit_value(&off.value())))?;
            }
        }
        let list = facts.cri().and_then(|cri| cri.get("registry.config_path")?.as_str().map(str::to_owned));
        if let Some(first) = list.as_ref().and_then(|list| list.split_once(':')).map(|(first, _)| first) {
            set(top, &[images[0], images[1], "registry", "config_path"], value(first))?;
        }
    } else if let Some(images) = top.get_mut(images[0]).and_then(|plugins| plugins.get_mut(images[1])).and_then(Item::as_table_mut) {
        // CRI of 2.0 doesn't pull by the transfer service: the gate guards it, and the annotations tell it the name.
        images.remove("use_local_image_pull");
        images.insert("disable_snapshot_annotations", value(false));
    }
    Ok(document.to_string())
}

/// An entry for every snapshotter that works and was listed, is in use, or is one of containerd's usual two.
fn unpack(facts: &Containerd, config: &Config) -> ArrayOfTables {
    let used = facts.cri().map(|cri| cri.snapshotters()).unwrap_or_default();
    let listed = entries(config).map(|(snapshotter, _)| snapshotter);
    let mut names: Vec<&str> = Vec::new();
    for name in ["overlayfs", "native"].into_iter().chain(listed).chain(used) {
        if !names.contains(&name) && facts.works(&format!("io.containerd.snapshotter.v1.{name}")) {
            names.push(name);
        }
    }
    let tables = names.into_iter().map(|name| {
        let mut table = Table::new();
        table.insert("platform", value(platform()));
        table.insert("snapshotter", value(name));
        table.insert("differ", value("rootpin-apply"));
        table
    });
    tables.collect()
}

/// Says again what is in force in a section that the drop-in has, where that doesn't say it itself.
fn keep(top: &mut Table, section: &str, config: &Config) -> Result<(), String> {
    let said = top.get("plugins").and_then(|plugins| plugins.get(section)).is_some();
    let Some(now) = at(&config.effective, &["plugins", section]).and_then(toml::Value::as_table).filter(|_| said) else { return Ok(()) };
    for (key, found) in now.iter().filter(|(_, found)| !found.is_table()) {
        if ["default", "unpack_config", "disable"].contains(&key.as_str()) {
            continue;
        }
        let kept = toml_file::put(top, &["plugins", section, key], Item::Value(edit_value(found)));
        kept.ok_or_else(|| format!("{key} of {section} can't be kept"))?;
    }
    Ok(())
}

/// A value of one reader for the other.
fn edit_value(value: &toml::Value) -> Value {
    value.to_string().parse().unwrap_or_else(|_| Value::from(value.to_string()))
}

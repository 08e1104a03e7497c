//! The files of a unit: its own, and its drop-ins (systemd.unit(5), "Unit File Load Path").

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::service::{is_null, pairs, settings};

/// Where units are, the first one counts.
const FOLDERS: [&str; 13] = [
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/etc/systemd/system",
    "/etc/systemd/system.attached",
    "/run/systemd/system",
    "/run/systemd/system.attached",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.late",
];
/// Where systemd's own configuration is, the first one counts (systemd-system.conf(5)).
const OWN_FOLDERS: [&str; 4] = [
    "/etc/systemd",
    "/run/systemd",
    "/usr/local/lib/systemd",
    "/usr/lib/systemd",
];
/// More links than lead to a unit.
const MAX_LINKS: usize = 8;

/// The files of one unit.
#[derive(Debug)]
pub(super) struct UnitFiles {
    pub(super) main: PathBuf,
    /// In the order in which they count, the last one most.
    pub(super) drop_ins: Vec<PathBuf>,
    /// All of its names.
    pub(super) names: BTreeSet<String>,
}

impl UnitFiles {
    /// None: there is no such unit, or it is masked.
    ///
    /// # Errors
    /// A folder can't be read, or a link leads nowhere.
    pub(super) fn find(root: &Path, unit: &str) -> io::Result<Option<Self>> {
        let folders: Vec<PathBuf> = FOLDERS.iter().map(|folder| below(root, folder)).collect();
        let mut all = folders.iter().map(|folder| folder.join(unit));
        let Some(first) = all.find(|path| path.symlink_metadata().is_ok()) else {
            return Ok(None);
        };
        let main = end(root, &folders, &first);
        if is_masked(&main)? {
            return Ok(None);
        }
        // Only a link to another file that is a unit itself gives it a second name.
        let names: BTreeSet<String> = aliases(root, &folders, &main)?
            .chain([unit.to_owned()])
            .chain(is_unit(&folders, &main).then(|| file_name(&main)))
            .collect();
        let drop_ins = drop_ins(&folders, unit, &names)?;
        Ok(Some(Self {
            main,
            drop_ins,
            names,
        }))
    }
}

/// What systemd's configuration gives to every service: `DefaultEnvironment=`.
pub(super) fn default_environment(root: &Path) -> io::Result<BTreeMap<String, String>> {
    let folders = OWN_FOLDERS.map(|folder| below(root, folder));
    let mains = folders.iter().map(|folder| folder.join("system.conf"));
    let main = mains.into_iter().find(|path| path.exists());
    let drop_ins = by_name(folders.iter().map(|folder| folder.join("system.conf.d")))?;
    let mut found = BTreeMap::new();
    for path in main.into_iter().chain(drop_ins) {
        for (section, key, value) in settings(&path)? {
            match (section.as_str(), key.as_str(), value.as_str()) {
                ("Manager", "DefaultEnvironment", "") => found.clear(),
                ("Manager", "DefaultEnvironment", _) => found.extend(pairs(&value)),
                _ => {}
            }
        }
    }
    Ok(found)
}

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// An empty file masks a unit as a link to /dev/null does.
fn is_masked(main: &Path) -> io::Result<bool> {
    Ok(is_null(main) || fs::metadata(main)?.len() == 0)
}

fn is_unit(folders: &[PathBuf], path: &Path) -> bool {
    folders
        .iter()
        .any(|folder| path.parent() == Some(folder.as_path()))
}

/// The file that a unit's path leads to: links are followed as long as they lead to units.
fn end(root: &Path, folders: &[PathBuf], path: &Path) -> PathBuf {
    let mut at = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(target) = fs::read_link(&at) else {
            break;
        };
        let target = if target.is_absolute() {
            root.join(target.strip_prefix("/").unwrap_or(&target))
        } else {
            at.parent().unwrap_or(root).join(target)
        };
        // /lib may be /usr/lib, and `..` may stand in it.
        let folder = target
            .parent()
            .and_then(|folder| fs::canonicalize(folder).ok());
        let same = folders
            .iter()
            .find(|known| folder.is_some() && fs::canonicalize(known).ok() == folder);
        match (same, target.file_name()) {
            (Some(folder), Some(name)) => at = folder.join(name),
            _ => break,
        }
    }
    at
}

/// The names of the links that lead to this unit.
fn aliases(
    root: &Path,
    folders: &[PathBuf],
    main: &Path,
) -> io::Result<impl Iterator<Item = String>> {
    let mut found = BTreeSet::new();
    for folder in folders {
        for path in entries(folder)? {
            if path.extension().is_some_and(|end| end == "service")
                && path.is_symlink()
                && end(root, folders, &path) == main
            {
                found.insert(file_name(&path));
            }
        }
    }
    Ok(found.into_iter())
}

fn drop_ins(folders: &[PathBuf], unit: &str, names: &BTreeSet<String>) -> io::Result<Vec<PathBuf>> {
    let others = names.iter().filter(|name| *name != unit);
    let kinds = std::iter::once(unit)
        .chain(others.map(String::as_str))
        .flat_map(with_prefixes)
        .chain(["service".to_owned()]);
    by_name(kinds.flat_map(|kind| {
        folders
            .iter()
            .map(move |folder| folder.join(format!("{kind}.d")))
    }))
}

/// A unit's name, and for `a-b.service` also `a-.service`.
fn with_prefixes(name: &str) -> Vec<String> {
    let stem = name.strip_suffix(".service").unwrap_or(name);
    let mut found = vec![name.to_owned()];
    let dashes = stem
        .match_indices('-')
        .map(|(at, _)| at)
        .collect::<Vec<_>>();
    for at in dashes.into_iter().rev() {
        let prefix = stem.get(..=at).filter(|prefix| *prefix != stem);
        found.extend(prefix.map(|prefix| format!("{prefix}.service")));
    }
    found
}

/// The drop-ins of these folders in the order of their names; of one name the first folder's.
fn by_name(folders: impl Iterator<Item = PathBuf>) -> io::Result<Vec<PathBuf>> {
    let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
    for folder in folders {
        for path in entries(&folder)? {
            let name = file_name(&path);
            if path.extension().is_some_and(|end| end == "conf") && !name.starts_with('.') {
                found.entry(name).or_insert(path);
            }
        }
    }
    Ok(found.into_values().collect())
}

fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}

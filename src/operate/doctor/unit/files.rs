//! The files of a unit: its own, and its drop-ins (systemd.unit(5), "Unit File Load Path").

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::settings::{is_null, pairs, settings};

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

/// The services of a host, by the folders of units.
#[derive(Debug)]
pub(super) struct UnitFolders {
    root: PathBuf,
    folders: Vec<PathBuf>,
    /// Each name of a service, and the file that its first path leads to.
    mains: BTreeMap<String, PathBuf>,
    /// Instances of templates that another unit wants, or that have drop-ins.
    wanted: BTreeSet<String>,
}

impl UnitFolders {
    /// Reads what is there, and no unit yet.
    ///
    /// # Errors
    /// A folder can't be read.
    pub(super) fn read(root: &Path) -> io::Result<Self> {
        let folders: Vec<PathBuf> = FOLDERS.iter().map(|folder| below(root, folder)).collect();
        let real: Vec<Option<PathBuf>> = folders
            .iter()
            .map(|folder| fs::canonicalize(folder).ok())
            .collect();
        let (mut mains, mut wanted) = (BTreeMap::new(), BTreeSet::new());
        for folder in &folders {
            for path in entries(folder)? {
                let name = file_name(&path);
                if is_masked_until_boot(root, &path) {
                    continue;
                }
                if name.ends_with(".service") && !mains.contains_key(&name) {
                    let main = end(root, (&folders, &real), &path);
                    if !is_invalid_alias(&folders, &name, &main) {
                        mains.insert(name, main);
                    }
                } else if [".wants", ".requires", ".upholds"]
                    .iter()
                    .any(|kind| name.ends_with(kind))
                {
                    let all = entries(&path)?.into_iter();
                    let names = all.map(|path| file_name(&path));
                    wanted.extend(names.filter(|name| template(name).is_some()));
                } else if let Some(unit) = name.strip_suffix(".d") {
                    // An instance that only a command starts.
                    wanted.extend(template(unit).map(|_| unit.to_owned()));
                }
            }
        }
        Ok(Self {
            root: root.to_owned(),
            folders,
            mains,
            wanted,
        })
    }

    /// The names of all services; of a template those of its instances, as far as there are any.
    pub(super) fn services(&self) -> BTreeSet<&str> {
        let all = self.mains.keys().chain(&self.wanted);
        let mut all: BTreeSet<&str> = all.map(String::as_str).collect();
        let of_instances: Vec<String> = all.iter().filter_map(|name| template(name)).collect();
        all.retain(|name| !of_instances.iter().any(|template| template == name));
        all
    }

    /// The files of a unit. None: there is no such unit, or it is masked.
    ///
    /// # Errors
    /// A folder can't be read, or a link leads nowhere.
    pub(super) fn find(&self, unit: &str) -> io::Result<Option<UnitFiles>> {
        let of_template = || self.mains.get(&template(unit)?);
        let Some(main) = self.mains.get(unit).or_else(of_template) else {
            return Ok(None);
        };
        if is_masked(main)? {
            return Ok(None);
        }
        let mut names = BTreeSet::from([unit.to_owned()]);
        // Only a link to another file that is a unit itself gives it a second name.
        if template(unit).is_none() {
            let same = self.mains.iter().filter(|(_, other)| *other == main);
            let same = same.map(|(name, _)| name.clone());
            names.extend(same.filter(|name| template(name).is_none()));
            names.extend(is_unit(&self.folders, main).then(|| file_name(main)));
        }
        let drop_ins = drop_ins(&self.root, &self.folders, (unit, &names))?;
        Ok(Some(UnitFiles {
            main: main.clone(),
            drop_ins,
            names,
        }))
    }

    /// Whether a file has that unit's name, or masks it.
    pub(super) fn has(&self, unit: &str) -> bool {
        self.mains.contains_key(unit)
    }

    /// Where these folders are.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }
}

/// The template that an instance is made of: of `a@b.service` it is `a@.service`.
fn template(name: &str) -> Option<String> {
    let (prefix, instance) = name.strip_suffix(".service")?.split_once('@')?;
    (!instance.is_empty()).then(|| format!("{prefix}@.service"))
}

/// What systemd's configuration gives to every service: `DefaultEnvironment=`.
pub(super) fn default_environment(root: &Path) -> io::Result<BTreeMap<String, String>> {
    let folders = OWN_FOLDERS.map(|folder| below(root, folder));
    let mains = folders.iter().map(|folder| folder.join("system.conf"));
    let main = mains.into_iter().find(|path| path.exists());
    let drop_ins = by_name(
        root,
        folders.iter().map(|folder| folder.join("system.conf.d")),
    )?;
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

/// Whether it masks something by a file below /run, which the next boot takes away.
fn is_masked_until_boot(root: &Path, path: &Path) -> bool {
    path.starts_with(root.join("run")) && is_null(path)
}

/// An instance can't be another name of a unit without one: systemd passes over such a link
/// (`unit_validate_alias_symlink_or_warn` in src/shared/install.c).
fn is_invalid_alias(folders: &[PathBuf], name: &str, main: &Path) -> bool {
    name.contains('@') && !file_name(main).contains('@') && is_unit(folders, main)
}

fn is_unit(folders: &[PathBuf], path: &Path) -> bool {
    folders
        .iter()
        .any(|folder| path.parent() == Some(folder.as_path()))
}

/// The file that a unit's path leads to: links are followed as long as they lead to units.
/// `folders`: those of units, and what each of them really is.
fn end(root: &Path, (folders, real): (&[PathBuf], &[Option<PathBuf>]), path: &Path) -> PathBuf {
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
        let mut known = folders.iter().zip(real);
        let same = known.find(|(_, real)| folder.is_some() && **real == folder);
        match (same, target.file_name()) {
            (Some((folder, _)), Some(name)) => at = folder.join(name),
            _ => break,
        }
    }
    at
}

/// For each of the unit's names folder by folder, and last what is for all services
/// (`unit_file_find_dropin_paths` in src/shared/dropin.c).
fn drop_ins(
    root: &Path,
    folders: &[PathBuf],
    (unit, names): (&str, &BTreeSet<String>),
) -> io::Result<Vec<PathBuf>> {
    let others = names.iter().filter(|name| *name != unit);
    let kinds = std::iter::once(unit)
        .chain(others.map(String::as_str))
        .map(with_prefixes)
        .chain([vec!["service".to_owned()]]);
    let of_kinds = |kinds: Vec<String>| {
        folders.iter().flat_map(move |folder| {
            let kinds = kinds.clone().into_iter();
            kinds.map(move |kind| folder.join(format!("{kind}.d")))
        })
    };
    by_name(root, kinds.flat_map(of_kinds))
}

/// A unit's name, and for `a-b.service` also `a-.service`; of an instance also its template's.
fn with_prefixes(name: &str) -> Vec<String> {
    let stem = name.strip_suffix(".service").unwrap_or(name);
    let (prefix, instance) = stem.find('@').map_or((stem, ""), |at| stem.split_at(at));
    let mut found = vec![name.to_owned()];
    let dashes: Vec<usize> = prefix.match_indices('-').map(|(at, _)| at).collect();
    for at in dashes.into_iter().rev() {
        let shorter = prefix.get(..=at).filter(|shorter| *shorter != prefix);
        found.extend(shorter.map(|shorter| format!("{shorter}{instance}.service")));
    }
    found.extend(
        template(name)
            .into_iter()
            .flat_map(|name| with_prefixes(&name)),
    );
    found
}

/// The drop-ins of these folders in the order of their names; of one name the first folder's.
fn by_name(root: &Path, folders: impl Iterator<Item = PathBuf>) -> io::Result<Vec<PathBuf>> {
    let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
    for folder in folders {
        for path in entries(&folder)? {
            let name = file_name(&path);
            let is_one = path.extension().is_some_and(|end| end == "conf");
            if is_one && !name.starts_with('.') && !is_masked_until_boot(root, &path) {
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

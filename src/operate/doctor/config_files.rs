//! containerd's configuration as files, in the order in which containerd reads them: what is read
//! later wins.

mod glob;
mod plugin_names;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use glob::{glob, has_signs};
use toml::de::{DeTable, DeValue};
use toml_edit::{Array, DocumentMut, value};

/// Nobody writes a longer one by hand.
const MAX_FILE: u64 = 1 << 20;

/// The byte order mark.
const MARK: char = '\u{feff}';
/// More than a host's drop-ins.
const MAX_FILES: usize = 200;

/// One file.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// The same, understood.
    pub table: toml::Table,
}

/// What a file imports by a pattern: drop-ins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// The folder.
    pub folder: PathBuf,
    /// The name, with `*` for any characters.
    pub name: String,
}

impl ConfigFile {
    /// The line where a key's value begins, counted from 1.
    pub(super) fn line(&self, path: &[&str]) -> usize {
        line(&self.text, path)
    }
}

/// Whether a file is by its name a drop-in of rootpin's.
pub(super) fn is_ours(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name == "rootpin.toml"
        || name
            .strip_suffix("-rootpin.toml")
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte == b'z'))
}

/// The main file and all that it imports.
#[derive(Debug, Clone, Default)]
pub struct ConfigFiles {
    /// In the order of reading.
    pub files: Vec<ConfigFile>,
    /// In the order of reading.
    pub patterns: Vec<Pattern>,
}

impl ConfigFiles {
    /// Reads them as containerd does (`LoadConfig` in cmd/containerd/server/config): first the main
    /// file, then what it imports in the order of its `imports`, then what those import. `proposed`
    /// are texts that take the place of files, or are not there yet.
    ///
    /// # Errors
    /// A file cannot be read or is no TOML.
    pub fn read(main: &Path, proposed: &BTreeMap<PathBuf, String>) -> Result<Self, String> {
        let mut this = Self::default();
        let mut pending = VecDeque::from([main.to_owned()]);
        let mut loaded = BTreeSet::new();
        while let Some(path) = pending.pop_front() {
            if !loaded.insert(path.clone()) {
                continue;
            }
            if loaded.len() > MAX_FILES {
                return Err(format!(
                    "{} imports more than {MAX_FILES} files",
                    main.display()
                ));
            }
            let text = match proposed.get(&path) {
                Some(text) => text.clone(),
                None => read(&path).map_err(|error| format!("{}: {error}", path.display()))?,
            };
            let table: toml::Table = text
                .parse()
                .map_err(|error| format!("{}: {error}", path.display()))?;
            let imports = table
                .get("imports")
                .and_then(toml::Value::as_array)
                .map(Vec::as_slice)
                .unwrap_or_default();
            for import in imports.iter().filter_map(toml::Value::as_str) {
                let import = clean(&path.parent().unwrap_or(Path::new("/")).join(import));
                if import.to_string_lossy().contains('*') {
                    let pattern = Pattern::new(&import);
                    pending.extend(
                        pattern
                            .matches(proposed)
                            .map_err(|error| format!("{}: {error}", import.display()))?,
                    );
                    this.patterns.push(pattern);
                } else {
                    pending.push_back(import);
                }
            }
            this.files.push(ConfigFile { path, text, table });
        }
        Ok(this)
    }

    /// Copies the files into a folder, so that an engine which reads the copy makes the same of it;
    /// those that are not wanted stay away. Returns the main file's place, where nothing is if
    /// there is no main file.
    ///
    /// # Errors
    /// A file can't be written.
    pub(super) fn copy(
        &self,
        folder: &Path,
        wanted: impl Fn(&Path) -> bool,
    ) -> Result<PathBuf, String> {
        let main = folder.join("config.toml");
        let write = |path: &Path, text: String| {
            fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
        };
        let mut imports = Array::new();
        for (number, file) in self
            .files
            .iter()
            .enumerate()
            .skip(1)
            .filter(|(_, file)| wanted(&file.path))
        {
            let path = folder.join(format!("{number:04}.toml"));
            let mut document = document(file)?;
            document.remove("imports");
            write(&path, with_mark(&file.text, document.to_string()))?;
            imports.push(path.display().to_string());
        }
        let Some(first) = self.files.first() else {
            return Ok(main);
        };
        let mut document = document(first)?;
        document.remove("imports");
        document.insert("imports", value(imports));
        write(&main, with_mark(&first.text, document.to_string()))?;
        Ok(main)
    }

    /// The last file that has this key, under whichever of its names, with the key's line.
    #[must_use]
    pub fn who_sets(&self, path: &[&str]) -> Option<(&ConfigFile, usize)> {
        let names = plugin_names::all(path);
        self.files.iter().rev().find_map(|file| {
            let name = names.iter().find(|name| at(&file.table, name).is_some())?;
            Some((file, line(&file.text, name)))
        })
    }

    /// The same for people: `FILE:LINE`, or that nobody does.
    #[must_use]
    pub fn setter(&self, path: &[&str]) -> String {
        self.who_sets(path)
            .map_or("not set in any file".to_owned(), |(file, line)| {
                format!("set by {}:{line}", file.path.display())
            })
    }

    /// Every file whose list at this key has the entry, as `FILE:LINE`: containerd adds up the lists
    /// of all files.
    #[must_use]
    pub fn who_lists(&self, key: &str, entry: &str) -> Vec<String> {
        let lists = |file: &&ConfigFile| {
            at(&file.table, &[key])
                .and_then(toml::Value::as_array)
                .into_iter()
                .flatten()
                .any(|known| known.as_str() == Some(entry))
        };
        self.files
            .iter()
            .filter(lists)
            .map(|file| format!("{}:{}", file.path.display(), line(&file.text, &[key])))
            .collect()
    }

    /// `version` of the main file, where it says one.
    #[must_use]
    pub fn version(&self) -> Option<i64> {
        self.files
            .first()
            .and_then(|file| file.table.get("version")?.as_integer())
    }
}

impl Pattern {
    fn new(path: &Path) -> Self {
        let (folder, name) = (
            path.parent().unwrap_or(Path::new("/")),
            path.file_name().unwrap_or_default().to_string_lossy(),
        );
        Self {
            folder: folder.to_owned(),
            name: name.into_owned(),
        }
    }

    /// The files that match, in the order of their names.
    fn matches(&self, proposed: &BTreeMap<PathBuf, String>) -> io::Result<BTreeSet<PathBuf>> {
        let mut found = BTreeSet::new();
        for folder in folders(&self.folder)? {
            found.extend(names(&folder)?.into_iter().map(|name| folder.join(name)));
        }
        let within = |path: &&PathBuf| {
            path.parent().is_some_and(|folder| {
                glob(&self.folder.to_string_lossy(), &folder.to_string_lossy())
            })
        };
        found.extend(proposed.keys().filter(within).cloned());
        found.retain(|path| {
            path.file_name()
                .is_some_and(|name| self.takes(&name.to_string_lossy()))
        });
        Ok(found)
    }

    /// Whether a file of that name is one of its drop-ins.
    #[must_use]
    pub fn takes(&self, name: &str) -> bool {
        glob(&self.name, name)
    }

    /// Its folder, where it is one.
    #[must_use]
    pub fn one_folder(&self) -> Option<&Path> {
        (!has_signs(&self.folder.to_string_lossy())).then_some(&self.folder)
    }
}

/// The folders that a path with signs of a pattern stands for.
fn folders(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = vec![PathBuf::new()];
    for part in path.components() {
        let name = part.as_os_str().to_string_lossy();
        let mut next = Vec::new();
        for folder in found {
            if has_signs(&name) {
                next.extend(
                    names(&folder)?
                        .into_iter()
                        .filter(|entry| glob(&name, &entry.to_string_lossy()))
                        .map(|entry| folder.join(entry)),
                );
            } else {
                next.push(folder.join(part));
            }
        }
        found = next;
    }
    Ok(found)
}

/// The names in a folder; none, where there is no such folder.
fn names(folder: &Path) -> io::Result<Vec<OsString>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error)
            if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory].contains(&error.kind()) =>
        {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut found = entries
        .map(|entry| Ok(entry?.file_name()))
        .collect::<io::Result<Vec<_>>>()?;
    found.sort();
    Ok(found)
}

/// The text that was made of another, with the byte order mark and the ends of lines of that one:
/// some engines refuse the mark, and what they read must be what is there.
pub(super) fn with_mark(from: &str, made: String) -> String {
    let ends = from.matches('\n').count();
    let made = if ends > 0 && from.matches("\r\n").count() == ends {
        made.replace("\r\n", "\n").replace('\n', "\r\n")
    } else {
        made
    };
    if from.starts_with(MARK) && !made.starts_with(MARK) {
        format!("{MARK}{made}")
    } else {
        made
    }
}

fn document(file: &ConfigFile) -> Result<DocumentMut, String> {
    file.text
        .parse()
        .map_err(|error: toml_edit::TomlError| format!("{}: {error}", file.path.display()))
}

/// The path without `.` and `..`, by its text alone, as Go's `filepath.Clean` has it.
fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            Component::Normal(_) | Component::Prefix(_) | Component::RootDir => out.push(part),
        }
    }
    out
}

/// A plain text file of no more than a configuration's length. The path may stand on a stranger's
/// command line: a pipe there keeps nobody waiting.
pub(super) fn read(path: &Path) -> io::Result<String> {
    crate::plain_file::read_text(path, MAX_FILE)
}

/// What stands at this path of keys.
#[must_use]
pub(super) fn at<'a>(table: &'a toml::Table, path: &[&str]) -> Option<&'a toml::Value> {
    let (last, tables) = path.split_last()?;
    let inner = tables
        .iter()
        .try_fold(table, |table, key| table.get(*key)?.as_table())?;
    inner.get(*last)
}

/// The line where a key's value begins, counted from 1.
fn line(text: &str, path: &[&str]) -> usize {
    let place = || {
        let table = DeTable::parse(text).ok()?.into_inner();
        let (last, tables) = path.split_last()?;
        let mut inner = &table;
        for key in tables {
            let DeValue::Table(next) = inner.get(*key)?.get_ref() else {
                return None;
            };
            inner = next;
        }
        Some(inner.get(*last)?.span().start)
    };
    let start = place().unwrap_or_default();
    text.get(..start).unwrap_or_default().matches('\n').count() + 1
}

#[cfg(test)]
mod tests;

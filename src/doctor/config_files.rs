//! containerd's configuration as files, in the order in which containerd reads them: what is read later wins.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};

use toml::de::{DeTable, DeValue};

/// Nobody writes a longer one by hand.
const MAX_FILE: u64 = 1 << 20;
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

/// The main file and all that it imports.
#[derive(Debug, Clone, Default)]
pub struct ConfigFiles {
    /// In the order of reading.
    pub files: Vec<ConfigFile>,
    /// In the order of reading.
    pub patterns: Vec<Pattern>,
}

impl ConfigFiles {
    /// Reads them as containerd does (`LoadConfig` in cmd/containerd/server/config): first the main file, then what it imports in the
    /// order of its `imports`, then what those import. `proposed` are texts that take the place of files, or are not there yet.
    ///
    /// # Errors
    /// A file cannot be read or is no TOML, or a pattern is of a kind that is not understood here.
    pub fn read(main: &Path, proposed: &BTreeMap<PathBuf, String>) -> Result<Self, String> {
        let mut this = Self::default();
        let mut pending = VecDeque::from([main.to_owned()]);
        let mut loaded = BTreeSet::new();
        while let Some(path) = pending.pop_front() {
            if !loaded.insert(path.clone()) {
                continue;
            }
            if loaded.len() > MAX_FILES {
                return Err(format!("{} imports more than {MAX_FILES} files", main.display()));
            }
            let text = match proposed.get(&path) {
                Some(text) => text.clone(),
                None => read(&path).map_err(|error| format!("{}: {error}", path.display()))?,
            };
            let table: toml::Table = text.parse().map_err(|error| format!("{}: {error}", path.display()))?;
            let imports = table.get("imports").and_then(toml::Value::as_array).map(Vec::as_slice).unwrap_or_default();
            for import in imports.iter().filter_map(toml::Value::as_str) {
                let import = clean(&path.parent().unwrap_or(Path::new("/")).join(import));
                if import.to_string_lossy().contains('*') {
                    let pattern = Pattern::new(&import)?;
                    pending.extend(pattern.matches(proposed).map_err(|error| format!("{}: {error}", import.display()))?);
                    this.patterns.push(pattern);
                } else {
                    pending.push_back(import);
                }
            }
            this.files.push(ConfigFile { path, text, table });
        }
        Ok(this)
    }

    /// The last file that has this key, with the key's line.
    #[must_use]
    pub fn who_sets(&self, path: &[&str]) -> Option<(&ConfigFile, usize)> {
        self.files.iter().rev().find(|file| at(&file.table, path).is_some()).map(|file| (file, line(&file.text, path)))
    }

    /// The same for people: `FILE:LINE`, or that nobody does.
    #[must_use]
    pub fn setter(&self, path: &[&str]) -> String {
        self.who_sets(path).map_or("not set in any file".to_owned(), |(file, line)| format!("set by {}:{line}", file.path.display()))
    }

    /// `version` of the main file; without one it is the first.
    #[must_use]
    pub fn version(&self) -> i64 {
        self.files.first().and_then(|file| file.table.get("version")?.as_integer()).unwrap_or(1)
    }
}

impl Pattern {
    fn new(path: &Path) -> Result<Self, String> {
        let (folder, name) = (path.parent().unwrap_or(Path::new("/")), path.file_name().unwrap_or_default().to_string_lossy());
        let odd = |text: &str, signs: &[char]| text.contains(signs);
        if odd(&folder.to_string_lossy(), &['*', '?', '[', '\\']) || odd(&name, &['?', '[', '\\']) {
            return Err(format!(
                "the pattern {} in imports is not understood here: wanted FOLDER/NAME with * in NAME only",
                path.display()
            ));
        }
        Ok(Self { folder: folder.to_owned(), name: name.into_owned() })
    }

    /// The files that match, in the order of their names.
    fn matches(&self, proposed: &BTreeMap<PathBuf, String>) -> io::Result<BTreeSet<PathBuf>> {
        let mut found: BTreeSet<PathBuf> = proposed.keys().filter(|path| path.parent() == Some(&self.folder)).cloned().collect();
        match fs::read_dir(&self.folder) {
            Ok(entries) => {
                for entry in entries {
                    found.insert(self.folder.join(entry?.file_name()));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        found.retain(|path| path.file_name().is_some_and(|name| self.takes(&name.to_string_lossy())));
        Ok(found)
    }

    /// Whether a file of that name is one of its drop-ins.
    #[must_use]
    pub fn takes(&self, name: &str) -> bool {
        let parts: Vec<&str> = self.name.split('*').collect();
        let Some((first, rest)) = parts.split_first() else { return false };
        let Some((last, middle)) = rest.split_last() else { return name == *first };
        let Some(mut left) = name.strip_prefix(first) else { return false };
        for part in middle {
            let Some((_, after)) = left.split_once(part) else { return false };
            left = after;
        }
        left.ends_with(last)
    }
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

/// A text file of no more than a configuration's length.
pub(super) fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if u64::try_from(text.len()).is_ok_and(|length| length > MAX_FILE) {
        return Err(io::Error::other(format!("longer than {MAX_FILE} bytes")));
    }
    Ok(text)
}

/// What stands at this path of keys.
#[must_use]
pub(super) fn at<'a>(table: &'a toml::Table, path: &[&str]) -> Option<&'a toml::Value> {
    let (last, tables) = path.split_last()?;
    let inner = tables.iter().try_fold(table, |table, key| table.get(*key)?.as_table())?;
    inner.get(*last)
}

/// The line where a key's value begins, counted from 1.
fn line(text: &str, path: &[&str]) -> usize {
    let place = || {
        let table = DeTable::parse(text).ok()?.into_inner();
        let (last, tables) = path.split_last()?;
        let mut inner = &table;
        for key in tables {
            let DeValue::Table(next) = inner.get(*key)?.get_ref() else { return None };
            inner = next;
        }
        Some(inner.get(*last)?.span().start)
    };
    let start = place().unwrap_or_default();
    text.get(..start).unwrap_or_default().matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn names(files: &ConfigFiles) -> Vec<String> {
        files.files.iter().map(|file| file.path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn files_are_read_in_the_order_of_imports_and_what_they_import_comes_last() {
        let folder = folder(&[
            ("main.toml", "imports = [\"e/*.toml\", \"d/*.toml\", \"one.toml\"]\n"),
            ("d/b.toml", ""),
            ("d/a.toml", "imports = [\"../last.toml\", \"../main.toml\"]"),
            ("d/a.txt", "no toml ["),
            ("e/z.toml", ""),
            ("one.toml", ""),
            ("last.toml", ""),
        ]);
        let read = ConfigFiles::read(&folder.path().join("main.toml"), &BTreeMap::new()).unwrap();
        assert_eq!(names(&read), ["main.toml", "z.toml", "a.toml", "b.toml", "one.toml", "last.toml"]);
    }

    #[test]
    fn a_proposed_file_is_read_as_if_it_were_there() {
        let folder = folder(&[("main.toml", "imports = [\"d/*.toml\"]\n"), ("d/m.toml", "a = 1")]);
        let proposed = BTreeMap::from([(folder.path().join("d/z.toml"), "a = 2".to_owned())]);
        let read = ConfigFiles::read(&folder.path().join("main.toml"), &proposed).unwrap();
        assert_eq!(names(&read), ["main.toml", "m.toml", "z.toml"]);
        assert!(read.setter(&["a"]).ends_with("z.toml:1"));
    }

    #[test]
    fn a_star_stands_for_any_characters_of_a_name() {
        let takes = |pattern: &str, name: &str| Pattern::new(Path::new(pattern)).unwrap().takes(name);
        assert!(takes("/d/*.toml", "a.toml") && takes("/d/*", "a") && takes("/d/a*b*.toml", "axbx.toml"));
        assert!(!takes("/d/*.toml", "a.toml.bak") && !takes("/d/a*", "ba") && !takes("/d/a*b*c", "acb"));
        assert!(Pattern::new(Path::new("/*/a*.toml")).is_err() && Pattern::new(Path::new("/d/[ab]*.toml")).is_err());
    }

    #[test]
    fn the_line_of_a_key_is_where_its_value_begins() {
        let text = "version = 2\n\n[plugins.\"a.b\"]\n  x = 1\n  default = [\"walking\"]\n";
        assert_eq!(line(text, &["plugins", "a.b", "default"]), 5);
        assert_eq!(line(text, &["plugins", "other"]), 1);
    }

    #[test]
    fn files_that_import_each_other_without_end_are_an_end() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..=MAX_FILES {
            fs::write(folder.path().join(number.to_string()), format!("imports = [\"{}\"]", number + 1)).unwrap();
        }
        assert!(ConfigFiles::read(&folder.path().join("0"), &BTreeMap::new()).unwrap_err().contains("more than 200"));
    }
}

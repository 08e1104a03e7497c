//! What the files of a unit say of its service.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::super::config_files::read;
use super::words::split;

/// Settings by which a service sees other files than this program, or runs in another place.
pub(super) const ELSEWHERE: [&str; 10] = [
    "BindPaths",
    "BindReadOnlyPaths",
    "ExtensionDirectories",
    "ExtensionImages",
    "InaccessiblePaths",
    "MountImages",
    "RootDirectory",
    "RootImage",
    "TemporaryFileSystem",
    "WorkingDirectory",
];

/// The settings that count.
#[derive(Debug, Default)]
pub(super) struct Service {
    /// Each `ExecStart=`, with its file.
    pub(super) commands: Vec<(PathBuf, String)>,
    pub(super) environment: BTreeMap<String, String>,
    /// Each `EnvironmentFile=`, and whether it may be missing.
    pub(super) files: Vec<(String, bool)>,
    pub(super) passed: BTreeSet<String>,
    pub(super) unset: Vec<String>,
    /// Those of [`ELSEWHERE`] that are set.
    pub(super) elsewhere: BTreeMap<String, String>,
}

impl Service {
    /// Takes in one more file.
    pub(super) fn read(&mut self, path: &Path) -> io::Result<()> {
        for (section, key, value) in settings(path)? {
            if section == "Service" {
                self.set(path, &key, &value);
            }
        }
        Ok(())
    }

    fn set(&mut self, path: &Path, key: &str, value: &str) {
        let words = || split(value, true).into_iter().map(|(word, _)| word);
        match (key, value) {
            ("ExecStart", "") => self.commands.clear(),
            ("ExecStart", _) => self.commands.push((path.to_owned(), value.to_owned())),
            ("Environment", "") => self.environment.clear(),
            ("Environment", _) => self.environment.extend(pairs(value)),
            ("EnvironmentFile", "") => self.files.clear(),
            ("EnvironmentFile", _) => {
                let name = value.strip_prefix('-');
                // systemd passes over one that is not absolute.
                let file = name.unwrap_or(value);
                if file.starts_with(['/', '%']) {
                    self.files.push((file.to_owned(), name.is_some()));
                }
            }
            ("PassEnvironment", "") => self.passed.clear(),
            ("PassEnvironment", _) => self.passed.extend(words()),
            ("UnsetEnvironment", "") => self.unset.clear(),
            ("UnsetEnvironment", _) => self.unset.extend(words()),
            (_, "") => {
                self.elsewhere.remove(key);
            }
            _ if ELSEWHERE.contains(&key) => {
                self.elsewhere.insert(key.to_owned(), value.to_owned());
            }
            _ => {}
        }
    }

    /// The folder that its paths are seen from, or which setting keeps that from being known.
    pub(super) fn folder(&self, root: &Path) -> Result<PathBuf, String> {
        let mut folder = PathBuf::from("/");
        for (key, value) in &self.elsewhere {
            let path = value.strip_prefix('-').unwrap_or(value);
            if key != "WorkingDirectory" || !path.starts_with('/') || path.contains('%') {
                return Err(format!(
                    "its {key}={value} has it see other files than this program"
                ));
            }
            // A missing one is passed over, where it may be missing.
            let is_there = root.join(path.trim_start_matches('/')).is_dir();
            if is_there || path == value {
                folder = path.into();
            }
        }
        Ok(folder)
    }
}

/// `NAME=VALUE` of each word.
pub(super) fn pairs(value: &str) -> Vec<(String, String)> {
    let words = split(value, true).into_iter();
    let pairs = words.filter_map(|(word, _)| {
        let (name, value) = word.split_once('=')?;
        super::environment::is_name(name).then(|| (name.to_owned(), value.to_owned()))
    });
    pairs.collect()
}

/// Each line of a file of systemd's: section, key, value. A file that is masked or gone has none.
pub(super) fn settings(path: &Path) -> io::Result<Vec<(String, String, String)>> {
    let text = match read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(_) if is_null(path) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut found = Vec::new();
    let mut section = String::new();
    for line in logical_lines(text) {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[') {
            name.trim_end_matches(']').clone_into(&mut section);
        } else if let Some((key, value)) = line.split_once('=') {
            let (key, value) = (key.trim(), value.trim());
            found.push((section.clone(), key.to_owned(), value.to_owned()));
        }
    }
    Ok(found)
}

/// Whether a file leads to /dev/null, by which a unit or a drop-in is masked.
pub(super) fn is_null(path: &Path) -> bool {
    fs::canonicalize(path).is_ok_and(|at| at == Path::new("/dev/null"))
}

/// Lines without comments; one that ends with a backslash that is not escaped goes on in the next.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in text.lines() {
        if line.trim_start().starts_with(['#', ';']) {
            continue;
        }
        let bare = line.trim_end_matches('\\');
        let more = (line.len() - bare.len()) % 2 == 1;
        let part = line.get(..line.len() - usize::from(more)).unwrap_or(line);
        match lines.last_mut().filter(|_| goes_on) {
            Some(last) => {
                last.push(' ');
                last.push_str(part);
            }
            None => lines.push(part.to_owned()),
        }
        goes_on = more;
    }
    lines
}

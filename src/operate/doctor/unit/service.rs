//! What the files of a unit say of its service.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::files::UnitFiles;
use super::settings::{pairs, settings};
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
    /// `User=`, where it is set.
    pub(super) user: Option<String>,
    /// Those of [`ELSEWHERE`] that are set.
    pub(super) elsewhere: BTreeMap<String, String>,
}

impl Service {
    /// What a unit's files say together.
    ///
    /// # Errors
    /// One of them can't be read; which one.
    pub(super) fn of(files: &UnitFiles) -> Result<Self, (PathBuf, io::Error)> {
        let mut this = Self::default();
        for path in std::iter::once(&files.main).chain(&files.drop_ins) {
            let all = settings(path).map_err(|error| (path.clone(), error))?;
            for (section, key, value) in all {
                if section == "Service" {
                    this.set(path, &key, &value);
                }
            }
        }
        Ok(this)
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
            ("User", "") => self.user = None,
            ("User", _) => self.user = Some(value.to_owned()),
            (_, "") => {
                self.elsewhere.remove(key);
            }
            _ if ELSEWHERE.contains(&key) => {
                self.elsewhere.insert(key.to_owned(), value.to_owned());
            }
            _ => {}
        }
    }

    /// Whom it runs as, where that is surely another one than root.
    pub(super) fn other_user(&self) -> Option<&str> {
        let user = self.user.as_deref()?;
        (!["root", "0"].contains(&user) && !user.contains('%')).then_some(user)
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

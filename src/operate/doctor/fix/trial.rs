//! A plan is given to the very containerd that will read it, before anything is written: it must
//! take it, the plan must be in force then, and nothing else may have changed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::super::config_files::{ConfigFiles, at, is_ours};
use super::super::facts::EngineConfig;
use super::super::program::Program;
use super::FileEdit;
use super::settings::{REQUIRED, Setting};
use crate::operate::record::TextRecord;

/// More differences than this are not told.
const SHOWN: usize = 4;
/// What the dump says of the files themselves.
const OF_FILES: [&str; 2] = ["version", "imports"];

/// What containerd makes of its present files, with rootpin's own drop-ins and without.
#[derive(Debug)]
pub(super) struct PresentConfig {
    with: Table,
    pub(super) without: Table,
}

impl PresentConfig {
    /// Asks, by a copy of the files: the copy must be read as the files are, or nothing can be
    /// tried by it.
    pub(super) async fn ask(config: &EngineConfig) -> Result<Self, String> {
        let ask = async |wanted: fn(&Path) -> bool| dump(config, &config.files, wanted).await;
        let without = ask(|path| !is_ours(path)).await?;
        if config.refused.is_some() {
            return Ok(Self {
                with: without.clone(),
                without,
            });
        }
        let with = ask(|_| true).await?;
        let changed = changes(&config.effective, &with);
        if !changed.is_empty() {
            let shown = shown(&changed);
            return Err(format!(
                "a copy of its files is not read as they are: {shown}; so nothing can be tried out, and nothing is written"
            ));
        }
        Ok(Self { with, without })
    }

    /// Tries edits of files out. Returns what containerd would make of them.
    pub(super) async fn try_out(
        &self,
        config: &EngineConfig,
        edits: &[FileEdit],
        settings: &[Setting],
    ) -> Result<Table, String> {
        let files = ConfigFiles::read(&config.main, &super::proposed(edits))?;
        let after = dump(config, &files, |_| true).await?;
        self.check(&after, settings)?;
        Ok(after)
    }

    fn check(&self, after: &Table, settings: &[Setting]) -> Result<(), String> {
        let missing: Vec<String> = settings
            .iter()
            .filter(|setting| !in_force(after, setting))
            .map(|setting| setting.path.join("."))
            .collect();
        if !missing.is_empty() {
            return Err(format!(
                "containerd would not take over {}",
                shown(&missing)
            ));
        }
        let named = |path: &[String]| {
            settings
                .iter()
                .any(|setting| path.starts_with(&setting.path))
        };
        // What only rootpin's earlier drop-in took away may come back.
        let back = |path: &[String]| get(after, path) == get(&self.without, path);
        // What replaces a list of tables or a table of another process's plugin says it whole.
        let lost: Vec<String> = differences(&self.with, after)
            .into_iter()
            .filter(|path| !named(path) && !back(path))
            .map(|path| told(&path, &self.with, after))
            .collect();
        if lost.is_empty() {
            Ok(())
        } else {
            Err(format!(
                "settings that are in force would change: {}",
                shown(&lost)
            ))
        }
    }
}

/// The files with other texts, and without those that are gone; and what containerd makes of them.
///
/// # Errors
/// It would not start with them.
pub(in super::super) async fn after(
    config: &EngineConfig,
    texts: &BTreeMap<PathBuf, String>,
    gone: &BTreeSet<PathBuf>,
) -> Result<(ConfigFiles, Table), String> {
    let mut files = if gone.contains(&config.main) {
        ConfigFiles::default()
    } else {
        ConfigFiles::read(&config.main, texts)?
    };
    files.files.retain(|file| !gone.contains(&file.path));
    let table = dump(config, &files, |_| true).await?;
    Ok((files, table))
}

/// Which settings are not as they were, but for those whose last key is one of `own`.
pub(in super::super) fn lost(
    before: &Table,
    after: &Table,
    own: &BTreeSet<String>,
) -> Option<String> {
    let all: Vec<String> = differences(before, after)
        .into_iter()
        .filter(|path| path.last().is_none_or(|key| !own.contains(key)))
        .map(|path| told(&path, before, after))
        .collect();
    (!all.is_empty()).then(|| shown(&all))
}

/// The last keys of what rootpin changed in a file.
pub(in super::super) fn keys_of(text: &TextRecord) -> BTreeSet<String> {
    let table = |text: &str| text.parse::<Table>().unwrap_or_default();
    let (before, after) = (
        table(text.before.as_deref().unwrap_or_default()),
        table(&text.after),
    );
    let (before, after) = (map(&before), map(&after));
    let changed = after
        .iter()
        .filter(|(path, value)| before.get(*path) != Some(value));
    let gone = before.iter().filter(|(path, _)| !after.contains_key(*path));
    changed
        .chain(gone)
        .filter_map(|(path, _)| path.last().cloned())
        .collect()
}

/// What containerd makes of these files.
///
/// # Errors
/// It would not start with them.
pub(in super::super) async fn dump_of(
    config: &EngineConfig,
    files: &ConfigFiles,
) -> Result<Table, String> {
    dump(config, files, |_| true).await
}

/// What containerd makes of these files, by a copy of them.
async fn dump(
    config: &EngineConfig,
    files: &ConfigFiles,
    wanted: impl Fn(&Path) -> bool,
) -> Result<Table, String> {
    Ok(config.program.dump_copy(files, wanted).await?)
}

/// Whether the dump has the setting. What it says beyond that, as defaults of a list's entries,
/// doesn't matter.
fn in_force(after: &Table, setting: &Setting) -> bool {
    let path: Vec<&str> = setting.path.iter().map(String::as_str).collect();
    let Some(found) = at(after, &path) else {
        return false;
    };
    if path == [REQUIRED] {
        // Those of all files count, and version 1 of 1.x has the last parts of the names.
        let found: Vec<&str> = found
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let is_there = |name: &str| {
            found
                .iter()
                .any(|known| *known == name || name.rsplit('.').next() == Some(known))
        };
        return setting
            .value
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .all(is_there);
    }
    says(found, &setting.value)
}

fn says(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len()
                && found
                    .iter()
                    .zip(wanted)
                    .all(|(found, wanted)| says(found, wanted))
        }
        (Value::Table(found), Value::Table(wanted)) => {
            // An empty value is left out of some dumps.
            wanted.iter().all(|(key, wanted)| {
                found
                    .get(key)
                    .map_or_else(|| is_empty(wanted), |found| says(found, wanted))
            })
        }
        (found, wanted) => found == wanted,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Table(table) => table.is_empty(),
        Value::Boolean(on) => !on,
        Value::Integer(number) => *number == 0,
        Value::Datetime(_) | Value::Float(_) => false,
    }
}

/// Whether two dumps are the same but for what they say of the files; else where not.
pub(super) fn changes(before: &Table, after: &Table) -> Vec<String> {
    differences(before, after)
        .iter()
        .map(|path| told(path, before, after))
        .collect()
}

fn differences(before: &Table, after: &Table) -> Vec<Vec<String>> {
    let (before, after) = (map(before), map(after));
    let gone = before
        .iter()
        .filter(|(path, value)| after.get(*path) != Some(value))
        .map(|(path, _)| path.clone());
    let new = after
        .iter()
        .filter(|(path, value)| !before.contains_key(*path) && !is_empty(value))
        .map(|(path, _)| path.clone());
    gone.chain(new)
        .filter(|path| !matches!(&path[..], [key] if OF_FILES.contains(&key.as_str())))
        .collect()
}

fn map(table: &Table) -> BTreeMap<Vec<String>, &Value> {
    leaves(table).into_iter().collect()
}

/// Every key that has a value which is no table, with its path. A list of tables is one value.
pub(super) fn leaves(table: &Table) -> Vec<(Vec<String>, &Value)> {
    let mut found = Vec::new();
    let mut pending: Vec<(Vec<String>, &Table)> = vec![(Vec::new(), table)];
    while let Some((path, table)) = pending.pop() {
        for (key, value) in table {
            let path: Vec<String> = path.iter().cloned().chain([key.clone()]).collect();
            match value.as_table() {
                Some(inner) => pending.push((path, inner)),
                None => found.push((path, value)),
            }
        }
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    found
}

fn get<'a>(table: &'a Table, path: &[String]) -> Option<&'a Value> {
    at(table, &path.iter().map(String::as_str).collect::<Vec<_>>())
}

fn told(path: &[String], before: &Table, after: &Table) -> String {
    let value = |table| get(table, path).map_or("nothing".to_owned(), Value::to_string);
    format!(
        "{} from {} to {}",
        path.join("."),
        value(before),
        value(after)
    )
}

fn shown(all: &[String]) -> String {
    let more = all.len().saturating_sub(SHOWN);
    let first = all
        .iter()
        .take(SHOWN)
        .map(|one| crate::observe::plain(one))
        .collect::<Vec<_>>()
        .join(", ");
    if more > 0 {
        format!("{first}, and {more} more")
    } else {
        first
    }
}

/// Files that were tried out together, and what containerd makes of them.
#[derive(Debug, Clone)]
pub(crate) struct TriedEdits {
    /// The engine's name.
    pub(super) engine: String,
    pub(super) config: PathBuf,
    pub(super) program: Program,
    pub(super) after: Table,
    /// What another program will write into the engine's files by its own input.
    pub(super) generated: Vec<FileEdit>,
}

impl TriedEdits {
    /// Asks once more, by the files as they are now. What containerd says then must be what it said
    /// when they were tried out.
    pub(super) async fn ask_again(&self) -> Result<(), String> {
        let now = if self.generated.is_empty() {
            self.program.dump(&self.config).await?
        } else {
            let files = ConfigFiles::read(&self.config, &super::proposed(&self.generated))?;
            self.program.dump_copy(&files, |_| true).await?
        };
        let changed = changes(&self.after, &now);
        if changed.is_empty() {
            Ok(())
        } else {
            Err(format!(
                "containerd now makes something else of its files: {}",
                shown(&changed)
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Table {
        text.parse().unwrap()
    }

    fn setting(path: &[&str], value: impl Into<Value>) -> Setting {
        Setting {
            path: path.iter().map(|key| (*key).to_owned()).collect(),
            value: value.into(),
        }
    }

    fn check(before: &str, without: &str, after: &str, settings: &[Setting]) -> Result<(), String> {
        PresentConfig {
            with: table(before),
            without: table(without),
        }
        .check(&table(after), settings)
    }

    #[test]
    fn a_plan_that_is_in_force_and_changes_nothing_else_is_taken() {
        let before = "version = 2\nroot = '/r'\n[plugins.a]\nx = 1\nlist = []\n";
        let after = "version = 3\nimports = ['/x']\nroot = '/r'\n[plugins.a]\nx = 2\n[[plugins.a.list]]\nname = 'n'\nlayers = []\n";
        let entry: Value = Table::from_iter([("name".to_owned(), "n".into())]).into();
        let wanted = [
            setting(&["plugins", "a", "x"], 2),
            setting(&["plugins", "a", "list"], vec![entry]),
        ];
        assert_eq!(check(before, before, after, &wanted), Ok(()));
        let why = check(before, before, after, &wanted[..1]).unwrap_err();
        assert!(
            why.starts_with("settings that are in force would change: plugins.a.list from [] to "),
            "{why}"
        );
    }

    #[test]
    fn a_setting_that_would_go_or_come_or_change_is_named() {
        for (before, after, wanted) in [
            ("a = 1", "a = 2", "a from 1 to 2"),
            ("[t]\na = 1", "[t]", "t.a from 1 to nothing"),
            ("", "a = 1", "a from nothing to 1"),
        ] {
            let why = check(before, before, after, &[]).unwrap_err();
            assert_eq!(
                why,
                format!("settings that are in force would change: {wanted}")
            );
        }
        let five = "a = 1\nb = 1\nc = 1\nd = 1\ne = 1\n";
        assert!(
            check(five, five, "", &[])
                .unwrap_err()
                .ends_with(", and 1 more")
        );
    }

    #[test]
    fn what_an_earlier_drop_in_of_ours_took_away_may_come_back() {
        assert_eq!(
            check("a = 'default'", "a = 'mine'", "a = 'mine'", &[]),
            Ok(())
        );
        assert!(check("a = 'default'", "a = 'mine'", "a = 'other'", &[]).is_err());
    }

    #[test]
    fn a_setting_that_containerd_ignores_is_named() {
        let why = check("", "", "x = 2\n", &[setting(&["x"], 1)]).unwrap_err();
        assert_eq!(why, "containerd would not take over x");
    }

    #[test]
    fn a_key_that_rootpin_set_to_false_is_its_own_to_take_back() {
        let text = TextRecord {
            path: "/etc/c.toml".into(),
            before: Some("a = 1\nb = 2\n".to_owned()),
            after: "imports = ['/d']\na = 1\n[t]\noff = false\n".to_owned(),
            folders: Vec::new(),
            backups: Vec::new(),
            earlier: Vec::new(),
        };
        let own = keys_of(&text);
        assert_eq!(own.iter().collect::<Vec<_>>(), ["b", "imports", "off"]);
        let (before, after) = (
            table("t.off = false\nx = 1\n"),
            table("t.off = true\nx = 1\n"),
        );
        assert_eq!(lost(&before, &after, &own), None);
        assert!(lost(&before, &table("t.off = true\n"), &own).is_some());
    }

    #[test]
    fn required_plugins_of_all_files_count() {
        let after = "required_plugins = ['theirs', 'ours']";
        let list = |name: &str| Value::Array(vec![name.into()]);
        assert_eq!(
            check(
                "required_plugins = ['theirs']",
                "",
                after,
                &[setting(&[REQUIRED], list("ours"))]
            ),
            Ok(())
        );
        assert!(check("", "", after, &[setting(&[REQUIRED], list("missing"))]).is_err());
    }
}

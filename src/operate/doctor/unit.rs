//! The command line by which systemd starts an engine, read from its unit: one that doesn't run is
//! started with it, and may be given another configuration than the usual one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::config_files::read;

#[cfg(test)]
mod tests;

/// Where units are, the first one counts (systemd.unit(5), "Unit File Load Path").
const FOLDERS: [&str; 7] = [
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// Signs before the program's path (systemd.service(5), "Command Lines").
const PREFIXES: [char; 6] = ['@', '-', ':', '+', '!', '|'];

/// What stands in a word for what only systemd knows: its specifiers (systemd.unit(5)), escapes, and
/// variables of a file that can't be read.
const SPECIFIER: char = '\u{1}';
const ESCAPE: char = '\u{2}';
const VARIABLE: char = '\u{3}';
const MARKS: [char; 3] = [SPECIFIER, ESCAPE, VARIABLE];
/// Variables that systemd gives a service (systemd.exec(5), "Environment Variables in Spawned
/// Processes"), where nobody sets them otherwise.
const OF_SYSTEMD: [&str; 12] = [
    "PATH",
    "LANG",
    "USER",
    "LOGNAME",
    "HOME",
    "SHELL",
    "INVOCATION_ID",
    "RUNTIME_DIRECTORY",
    "STATE_DIRECTORY",
    "CACHE_DIRECTORY",
    "LOGS_DIRECTORY",
    "CONFIGURATION_DIRECTORY",
];

/// The command line of a unit's service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnitCommand {
    /// The program first.
    pub(crate) words: Vec<String>,
    /// The file that says so.
    pub(crate) file: PathBuf,
}

impl UnitCommand {
    /// Whether it starts this program, and no other one that may start it.
    pub(crate) fn is_of(&self, program: &str) -> bool {
        let first = self.words.first();
        first.is_some_and(|word| is_program(word, program))
    }

    /// The last value of an option, which is the one that counts.
    pub(crate) fn option(&self, names: &[&str]) -> Option<String> {
        super::probe::options(&self.words, names).pop()
    }
}

fn is_program(word: &str, name: &str) -> bool {
    Path::new(word).file_name().is_some_and(|last| last == name)
}

/// Leaves out what stands before the program, as in `/usr/bin/env A=b containerd`.
fn without_wrapper(words: &mut Vec<String>, program: &str) {
    let before = std::iter::once("").chain(words.iter().map(String::as_str));
    let at = before
        .zip(words.iter())
        .position(|(before, word)| !before.starts_with('-') && is_program(word, program));
    words.drain(..at.unwrap_or_default());
}

/// What a unit says of how its service is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UnitStart {
    /// There is no such unit, or it is masked.
    Absent,
    /// All that counts of its command line is known.
    Known(UnitCommand),
    /// There is one, and something that counts is not known: why. The command has what is.
    Unclear(UnitCommand, String),
}

impl UnitStart {
    /// The command line, as far as it is known.
    pub(crate) fn command(&self) -> Option<&UnitCommand> {
        match self {
            Self::Absent => None,
            Self::Known(command) | Self::Unclear(command, _) => Some(command),
        }
    }
}

/// What starts a unit's service, which is this program. `options`: those whose values count.
pub(crate) fn start(unit: &str, program: &str, options: &[&str]) -> UnitStart {
    start_in(Path::new("/"), (unit, program), options)
}

fn start_in(root: &Path, (unit, program): (&str, &str), options: &[&str]) -> UnitStart {
    let folders: Vec<PathBuf> = FOLDERS
        .iter()
        .map(|folder| root.join(folder.trim_start_matches('/')))
        .collect();
    let main = folders
        .iter()
        .map(|folder| folder.join(unit))
        .find(|path| path.symlink_metadata().is_ok());
    let Some(main) = main else {
        return UnitStart::Absent;
    };
    let mut service = Service::default();
    for path in std::iter::once(main).chain(drop_ins(&folders, unit)) {
        if let Err(error) = service.read(&path) {
            let words = Vec::new();
            return UnitStart::Unclear(UnitCommand { words, file: path }, error.to_string());
        }
    }
    let Some((file, line)) = service.command else {
        return UnitStart::Absent;
    };
    let mut variables = Variables {
        passed: service.passed,
        known: service.variables,
        unread: None,
        unset: Vec::new(),
    };
    for (path, optional) in &service.files {
        variables.read(root, path, *optional);
    }
    variables.unset(service.unset);
    let mut words = words(&line, &variables);
    without_wrapper(&mut words, program);
    if words.is_empty() {
        return UnitStart::Absent;
    }
    let why = unknown(&words, options).map(|mark| match variables.unread {
        Some(why) if mark == VARIABLE => format!("its command line has variables of {why}"),
        None if mark == VARIABLE => {
            "its command line has variables of systemd's own environment (PassEnvironment=)"
                .to_owned()
        }
        _ => "its command line has specifiers of systemd's (%), or escapes, that are not read"
            .to_owned(),
    });
    let command = UnitCommand { words, file };
    match why {
        Some(why) => UnitStart::Unclear(command, why),
        None => UnitStart::Known(command),
    }
}

/// What keeps a word from being known that is the program, an option's name, or the value of one of
/// these options.
fn unknown(words: &[String], options: &[&str]) -> Option<char> {
    let mark = |word: &str| word.chars().find(|sign| MARKS.contains(sign));
    let (program, rest) = words.split_first()?;
    let mut found = mark(program);
    let mut rest = rest.iter();
    while let (None, Some(word)) = (found, rest.next()) {
        let bare = word.trim_start_matches('-');
        if bare.len() == word.len() {
            // It may be an option all the same. No specifier begins with a dash.
            found = word
                .chars()
                .next()
                .filter(|sign| [ESCAPE, VARIABLE].contains(sign));
            continue;
        }
        let (name, value) = bare
            .split_once('=')
            .map_or((bare, None), |(name, value)| (name, Some(value)));
        found = mark(name);
        if options.contains(&name) {
            let value = value.or_else(|| rest.next().map(String::as_str));
            found = found.or_else(|| mark(value.unwrap_or_default()));
        }
    }
    found
}

/// The variables of a service, in the order in which systemd takes them: passed, set, of files; and
/// those that are taken away.
struct Variables {
    /// By `PassEnvironment=`: systemd alone knows their values.
    passed: BTreeSet<String>,
    known: BTreeMap<String, String>,
    /// The file that may set any other one, and why it isn't read.
    unread: Option<String>,
    unset: Vec<String>,
}

impl Variables {
    fn read(&mut self, root: &Path, name: &str, optional: bool) {
        let why = if name.contains(['*', '?', '[', '%']) {
            "is a pattern".to_owned()
        } else {
            match read(&root.join(name.trim_start_matches('/'))) {
                Ok(text) => return self.known.extend(text.lines().filter_map(assignment)),
                Err(error) if optional && error.kind() == ErrorKind::NotFound => return,
                Err(error) => format!("can't be read: {error}"),
            }
        };
        // It may set what was set before.
        self.known.clear();
        self.unread = Some(format!("{name}, which {why}"));
    }

    /// By `UnsetEnvironment=`, which comes last: names, and assignments that count where the value
    /// is this one.
    fn unset(&mut self, words: Vec<String>) {
        for word in words {
            match word.split_once('=') {
                None => self.unset.push(word),
                Some((name, value)) if self.known.get(name).is_some_and(|known| known == value) => {
                    self.unset.push(name.to_owned());
                }
                Some(_) => {}
            }
        }
    }

    fn value(&self, name: &str) -> String {
        if self.unset.iter().any(|unset| unset == name) {
            return String::new();
        }
        let is_unknown =
            self.unread.is_some() || self.passed.contains(name) || OF_SYSTEMD.contains(&name);
        let unknown = || is_unknown.then(|| VARIABLE.to_string());
        let known = self.known.get(name).cloned();
        known.or_else(unknown).unwrap_or_default()
    }
}

/// The drop-ins of a unit in the order of their names; of one name the first folder's.
fn drop_ins(folders: &[PathBuf], unit: &str) -> Vec<PathBuf> {
    let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
    for folder in folders {
        for kind in [unit, "service"] {
            let entries = fs::read_dir(folder.join(format!("{kind}.d")));
            let names: BTreeSet<_> = entries
                .into_iter()
                .flatten()
                .filter_map(|entry| Some(entry.ok()?.path()))
                .filter(|path| path.extension().is_some_and(|end| end == "conf"))
                .collect();
            for path in names {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                found.entry(name.into_owned()).or_insert(path);
            }
        }
    }
    found.into_values().collect()
}

/// What unit files say of the command.
#[derive(Default)]
struct Service {
    command: Option<(PathBuf, String)>,
    variables: BTreeMap<String, String>,
    files: Vec<(String, bool)>,
    passed: BTreeSet<String>,
    unset: Vec<String>,
}

impl Service {
    fn read(&mut self, path: &Path) -> io::Result<()> {
        let text = match read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            // Masked.
            Err(_) if fs::canonicalize(path).is_ok_and(|at| at == Path::new("/dev/null")) => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let mut section = String::new();
        for line in logical_lines(&text) {
            let line = line.trim();
            if let Some(name) = line.strip_prefix('[') {
                name.trim_end_matches(']').clone_into(&mut section);
                continue;
            }
            let Some((key, value)) = line.split_once('=').filter(|_| section == "Service") else {
                continue;
            };
            let value = value.trim();
            match (key.trim(), value) {
                ("ExecStart", "") => self.command = None,
                ("ExecStart", _) => self.command = Some((path.to_owned(), value.to_owned())),
                ("Environment", "") => self.variables.clear(),
                ("Environment", _) => {
                    let all = split(value, true).into_iter();
                    self.variables
                        .extend(all.filter_map(|(word, _)| assignment(&word)));
                }
                ("PassEnvironment", "") => self.passed.clear(),
                ("PassEnvironment", _) => self.passed.extend(plain_words(value)),
                ("UnsetEnvironment", "") => self.unset.clear(),
                ("UnsetEnvironment", _) => self.unset.extend(plain_words(value)),
                ("EnvironmentFile", "") => self.files.clear(),
                ("EnvironmentFile", _) => {
                    let path = value.strip_prefix('-');
                    self.files
                        .push((path.unwrap_or(value).to_owned(), path.is_some()));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Lines without comments; one that ends with a backslash goes on in the next.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in text.lines() {
        if line.trim_start().starts_with(['#', ';']) {
            continue;
        }
        let (part, more) = match line.strip_suffix('\\') {
            Some(part) => (part, true),
            None => (line, false),
        };
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

/// `KEY=VALUE`, as a file of an environment has it.
fn assignment(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    let (key, value) = line.split_once('=').filter(|_| !line.starts_with('#'))?;
    let value = value.trim();
    let inner = ['"', '\'']
        .iter()
        .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
    Some((key.trim().to_owned(), inner.unwrap_or(value).to_owned()))
}

/// Words, and whether each was in quotes. `specifiers`: as of a unit's file.
fn split(line: &str, specifiers: bool) -> Vec<(String, bool)> {
    let mut words = Vec::new();
    let mut word: Option<(String, bool)> = None;
    let mut quote = None;
    let mut signs = line.chars();
    while let Some(sign) = signs.next() {
        match (sign, quote) {
            ('\\', _) => {
                let entry = word.get_or_insert_default();
                entry.0.extend(signs.next().map(|sign| match sign {
                    '\\' | '"' | '\'' | ' ' | ';' => sign,
                    _ => ESCAPE,
                }));
            }
            ('%', _) if specifiers => {
                let is_sign = signs.next() == Some('%');
                let entry = word.get_or_insert_default();
                entry.0.push(if is_sign { '%' } else { SPECIFIER });
            }
            (sign, Some(open)) if sign == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(sign);
                word.get_or_insert_default().1 = true;
            }
            (sign, None) if sign.is_whitespace() => words.extend(word.take()),
            (sign, _) => word.get_or_insert_default().0.push(sign),
        }
    }
    words.extend(word);
    words
}

fn plain_words(line: &str) -> impl Iterator<Item = String> {
    split(line, true).into_iter().map(|(word, _)| word)
}

/// The words that the program gets, with the values of variables.
fn words(line: &str, variables: &Variables) -> Vec<String> {
    let program = line.trim_start_matches(PREFIXES);
    let prefix = line.get(..line.len() - program.len()).unwrap_or_default();
    let mut found = Vec::new();
    for (at, (word, quoted)) in split(program, true).into_iter().enumerate() {
        if at == 1 && prefix.contains('@') {
            // The name that it is called by.
            continue;
        }
        if prefix.contains(':') {
            found.push(word);
            continue;
        }
        let whole = word.strip_prefix('$').filter(|name| {
            !quoted
                && !name.is_empty()
                && name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric())
        });
        match whole {
            // Such a word is as many as its value has.
            Some(name) => {
                let value = split(&variables.value(name), false).into_iter();
                found.extend(value.map(|(word, _)| word));
            }
            None => found.push(substituted(&word, variables)),
        }
    }
    found
}

fn substituted(word: &str, variables: &Variables) -> String {
    let mut out = String::new();
    let mut rest = word;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = after
            .strip_prefix('{')
            .and_then(|inner| inner.split_once('}'))
        {
            out.push_str(&variables.value(name));
            rest = after;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

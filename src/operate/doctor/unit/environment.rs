//! The variables that a service is started with, in the order in which systemd merges them
//! (systemd.exec(5), "Environment").

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;

use super::super::config_files::read;
use super::service::Service;
use super::words::{VARIABLE, is_name};

/// What systemd sets itself, where nothing else does.
const OWN: [&str; 21] = [
    "CACHE_DIRECTORY",
    "CONFIGURATION_DIRECTORY",
    "CREDENTIALS_DIRECTORY",
    "HOME",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "LANG",
    "LISTEN_FDNAMES",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LOGNAME",
    "LOGS_DIRECTORY",
    "MAINPID",
    "NOTIFY_SOCKET",
    "PATH",
    "RUNTIME_DIRECTORY",
    "SHELL",
    "STATE_DIRECTORY",
    "SYSTEMD_EXEC_PID",
    "TERM",
    "USER",
];

/// The variables of a service.
#[derive(Debug, Default)]
pub(super) struct Variables {
    known: BTreeMap<String, String>,
    /// Those that have a value which is not known.
    unknown: BTreeSet<String>,
    /// The file that may set any other one, and why it isn't read.
    pub(super) unread: Option<String>,
}

impl Variables {
    /// Those of a service. `manager`: what systemd gives to every service.
    pub(super) fn of(root: &Path, service: &Service, manager: &BTreeMap<String, String>) -> Self {
        let mut this = Self {
            known: manager.clone(),
            unknown: OWN.iter().map(|name| (*name).to_owned()).collect(),
            unread: None,
        };
        // They are of systemd's own environment.
        for name in &service.passed {
            this.known.remove(name);
            this.unknown.insert(name.clone());
        }
        this.known.extend(service.environment.clone());
        for (path, optional) in &service.files {
            this.read(root, path, *optional);
        }
        for entry in &service.unset {
            let gone = match entry.split_once('=') {
                Some((name, value)) => {
                    let is_same = this.known.get(name).is_some_and(|now| now == value);
                    is_same.then_some(name)
                }
                None => Some(entry.as_str()),
            };
            if let Some(name) = gone {
                this.known.insert(name.to_owned(), String::new());
            }
        }
        this
    }

    fn read(&mut self, root: &Path, name: &str, optional: bool) {
        let why = if name.contains(['*', '?', '[', '%']) {
            "is a pattern".to_owned()
        } else {
            match read(&root.join(name.trim_start_matches('/'))) {
                Ok(text) => match assignments(&text) {
                    Some(found) => return self.known.extend(found),
                    None => {
                        "has a comment that ends with a backslash, which releases of systemd read differently"
                            .to_owned()
                    }
                },
                // What is below /run, the service or one before it may write at boot.
                Err(error)
                    if optional
                        && error.kind() == ErrorKind::NotFound
                        && !["/run/", "/var/run/"].iter().any(|run| name.starts_with(run)) =>
                {
                    return;
                }
                Err(error) => format!("can't be read: {error}"),
            }
        };
        // It may set what was set before.
        self.known.clear();
        self.unread = Some(format!("{name}, which {why}"));
    }

    pub(super) fn value(&self, name: &str) -> String {
        let unknown =
            || (self.unread.is_some() || self.unknown.contains(name)).then(|| VARIABLE.to_string());
        let known = self.known.get(name).cloned();
        known.or_else(unknown).unwrap_or_default()
    }
}

/// Where a reader of a file of variables stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ReaderState {
    LineStart,
    Name,
    ValueStart,
    Value,
    Quoted(char),
    Comment,
}

/// The assignments of an `EnvironmentFile=` as systemd reads it: quotes and backslashes carry a
/// value over lines (systemd.exec(5); `parse_env_file_internal` in src/basic/env-file.c). None:
/// releases of systemd read it differently.
pub(crate) fn assignments(text: &str) -> Option<Vec<(String, String)>> {
    const BLANKS: [char; 4] = [' ', '\t', '\n', '\r'];
    const LINE_ENDS: [char; 2] = ['\n', '\r'];
    let mut found = Vec::new();
    let (mut name, mut value) = (String::new(), String::new());
    // The length of the value up to its last sign that is no blank, or was escaped.
    let mut whole = 0;
    let mut at = ReaderState::LineStart;
    let mut signs = text.chars();
    while let Some(sign) = signs.next() {
        match at {
            ReaderState::LineStart if ['#', ';'].contains(&sign) => at = ReaderState::Comment,
            ReaderState::LineStart if BLANKS.contains(&sign) => {}
            ReaderState::LineStart => {
                name = String::from(sign);
                at = ReaderState::Name;
            }
            ReaderState::Name if LINE_ENDS.contains(&sign) => at = ReaderState::LineStart,
            ReaderState::Name if sign == '=' => {
                value.clear();
                whole = 0;
                at = ReaderState::ValueStart;
            }
            ReaderState::Name => name.push(sign),
            ReaderState::ValueStart | ReaderState::Value if LINE_ENDS.contains(&sign) => {
                value.truncate(whole.max(if at == ReaderState::ValueStart {
                    value.len()
                } else {
                    0
                }));
                found.push((name.trim_end().to_owned(), value.clone()));
                at = ReaderState::LineStart;
            }
            ReaderState::ValueStart if ['"', '\''].contains(&sign) => {
                at = ReaderState::Quoted(sign);
            }
            ReaderState::ValueStart if BLANKS.contains(&sign) => {}
            ReaderState::ValueStart | ReaderState::Value if sign == '\\' => {
                at = ReaderState::Value;
                if let Some(next) = signs.next().filter(|next| !LINE_ENDS.contains(next)) {
                    value.push(next);
                }
                whole = value.len();
            }
            ReaderState::ValueStart | ReaderState::Value => {
                at = ReaderState::Value;
                value.push(sign);
                if !BLANKS.contains(&sign) {
                    whole = value.len();
                }
            }
            ReaderState::Quoted(quote) if sign == quote => {
                whole = value.len();
                at = ReaderState::ValueStart;
            }
            ReaderState::Quoted('"') if sign == '\\' => match signs.next() {
                Some('\n') | None => {}
                Some(next) => {
                    if !['"', '\\', '`', '$'].contains(&next) {
                        value.push('\\');
                    }
                    value.push(next);
                }
            },
            ReaderState::Quoted(_) => value.push(sign),
            ReaderState::Comment if sign == '\\' => {
                if signs.next().is_some_and(|next| LINE_ENDS.contains(&next)) {
                    let next = signs.as_str().trim_start_matches([' ', '\t']);
                    if !next.is_empty() && !next.starts_with(['#', ';', '\n', '\r']) {
                        return None;
                    }
                    at = ReaderState::LineStart;
                }
            }
            ReaderState::Comment if LINE_ENDS.contains(&sign) => at = ReaderState::LineStart,
            ReaderState::Comment => {}
        }
    }
    if ![
        ReaderState::LineStart,
        ReaderState::Name,
        ReaderState::Comment,
    ]
    .contains(&at)
    {
        if at == ReaderState::Value {
            value.truncate(whole);
        }
        found.push((name.trim_end().to_owned(), value));
    }
    found.retain(|(name, _)| is_name(name));
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_variables_is_read_as_systemd_reads_it() {
        for (text, wanted) in [
            ("A=b\n", "b"),
            ("A=b", "b"),
            (" A = b c \n", "b c"),
            ("A=b # no comment\n", "b # no comment"),
            ("# A=x\n; A=y\nA=b\n", "b"),
            ("A='b c'\n", "b c"),
            ("A=\"b c\" \n", "b c"),
            ("A=b \\\n c\n", "b  c"),
            ("A=\"b \\\n c\"\n", "b  c"),
            ("A='b \\\n c'\n", "b \\\n c"),
            ("A=\"b\nc\"\n", "b\nc"),
            ("A=\"b\" 'c'\n", "bc"),
            ("A=\"\\\"\\\\\\n\"\n", "\"\\\\n"),
            ("A=\\ b\\ \n", " b "),
            ("A=x\nA=b\n", "b"),
            ("A='b\n", "b\n"),
            ("A=\r\nA=b\r\n", "b"),
            ("# a \\\n# b\nA=b\n", "b"),
            ("no assignment\nA=b\n", "b"),
        ] {
            let found = assignments(text).unwrap();
            let last = found.last().unwrap();
            assert_eq!(
                (last.0.as_str(), last.1.as_str()),
                ("A", wanted),
                "{text:?}"
            );
        }
        for text in ["", "\u{feff}A=b\n", "A B=c\n", "1A=b\n", "=b\n", "#A=b"] {
            assert_eq!(assignments(text), Some(Vec::new()), "{text:?}");
        }
        assert_eq!(assignments("# a \\\nA=b\n"), None);
    }
}

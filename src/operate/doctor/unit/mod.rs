//! The command line by which systemd starts an engine: one that doesn't run is started with it, and
//! may be given another configuration than the usual one.
//!
//! The unit's files tell it, in an image too. Where systemd runs it is asked as well, and both must
//! say the same. What can't be read whole is unclear, with the reason.

mod environment;
mod files;
mod service;
mod systemd;
#[cfg(test)]
mod tests;
mod words;

use std::path::{Path, PathBuf};

pub(crate) use environment::assignments;
pub(crate) use systemd::SystemdAnswers;

use environment::Variables;
use files::{UnitFiles, default_environment};
use service::Service;
use words::{CommandLine, VARIABLE, unknown};

/// The options that name containerd's main file.
pub(crate) const CONFIG_OPTIONS: [&str; 2] = ["config", "c"];
/// The options that name its socket.
pub(crate) const ADDRESS_OPTIONS: [&str; 2] = ["address", "a"];
/// The most of a program that is looked at: whether it is a script.
const SCRIPT: &[u8] = b"#!";

/// The command line of a unit's service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitCommand {
    /// The program first.
    pub(crate) words: Vec<String>,
    /// The file that says so.
    pub(crate) file: PathBuf,
    /// Where its paths begin.
    pub(crate) folder: PathBuf,
    /// The unit's names.
    pub(crate) names: Vec<String>,
}

impl UnitCommand {
    /// The last value of an option, which is the one that counts.
    pub(crate) fn option(&self, names: &[&str]) -> Option<String> {
        super::process::options(&self.words, names).pop()
    }

    /// The path that an option has.
    pub(crate) fn path(&self, names: &[&str]) -> Option<PathBuf> {
        Some(self.folder.join(self.option(names)?))
    }

    /// Whether systemd started that process as this unit's service.
    pub(super) fn runs(&self, pid: u32) -> bool {
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        groups
            .lines()
            .filter_map(|line| line.rsplit_once('/'))
            .any(|(_, group)| self.names.iter().any(|name| name == group))
    }
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
pub(crate) fn start(
    systemd: &SystemdAnswers,
    unit: &str,
    program: &str,
    options: &[&str],
) -> UnitStart {
    start_in(Path::new("/"), systemd, (unit, program), options)
}

fn start_in(
    root: &Path,
    systemd: &SystemdAnswers,
    (unit, program): (&str, &str),
    options: &[&str],
) -> UnitStart {
    let mut command = UnitCommand {
        words: Vec::new(),
        file: unit.into(),
        folder: "/".into(),
        names: vec![unit.to_owned()],
    };
    let files = match UnitFiles::find(root, unit) {
        Ok(files) => files,
        Err(error) => {
            let why = format!("its files can't be found: {error}");
            return UnitStart::Unclear(command, why);
        }
    };
    let Some(files) = files else {
        return match systemd.difference(unit, None) {
            Some(why) => UnitStart::Unclear(command, why),
            None => UnitStart::Absent,
        };
    };
    command.file.clone_from(&files.main);
    command.names = files.names.into_iter().collect();
    let mut service = Service::default();
    for path in std::iter::once(&files.main).chain(&files.drop_ins) {
        if let Err(error) = service.read(path) {
            command.file.clone_from(path);
            return UnitStart::Unclear(command, error.to_string());
        }
    }
    let Some((file, line)) = service.commands.first() else {
        return match systemd.difference(unit, None) {
            Some(why) => UnitStart::Unclear(command, why),
            None => UnitStart::Absent,
        };
    };
    command.file.clone_from(file);
    match read(root, systemd, (unit, program), options, (&service, line)) {
        Ok((words, folder, why)) => {
            command.words = words;
            command.folder = folder;
            match why {
                Some(why) => UnitStart::Unclear(command, why),
                None => UnitStart::Known(command),
            }
        }
        Err(why) => UnitStart::Unclear(command, why),
    }
}

/// The words, where their paths begin, and what keeps them from being known.
fn read(
    root: &Path,
    systemd: &SystemdAnswers,
    (unit, program): (&str, &str),
    options: &[&str],
    (service, line): (&Service, &str),
) -> Result<(Vec<String>, PathBuf, Option<String>), String> {
    let several = "it starts more than one command, or has a shell start it";
    let line = CommandLine::read(line).ok_or(several)?;
    if service.commands.len() > 1 {
        return Err(several.to_owned());
    }
    let manager = match systemd.environment() {
        Some(environment) => environment.clone(),
        None => default_environment(root)
            .map_err(|error| format!("systemd's own configuration can't be read: {error}"))?,
    };
    let variables = Variables::of(root, service, &manager);
    let mut words = line.expanded(&variables);
    without_env(&mut words);
    if words.is_empty() {
        return Err("it starts nothing".to_owned());
    }
    let (folder, elsewhere) = match service.folder(root) {
        Ok(folder) => (folder, None),
        Err(why) => (PathBuf::from("/"), Some(why)),
    };
    let mark = unknown(&words, options).map(|mark| match &variables.unread {
        Some(why) if mark == VARIABLE => format!("its command line has variables of {why}"),
        _ if mark == VARIABLE => {
            "its command line has variables that systemd or its environment sets".to_owned()
        }
        _ => "its command line has specifiers of systemd's (%), or escapes, that are not read"
            .to_owned(),
    });
    let why = mark
        .or_else(|| wrapped(root, &words, program))
        .or_else(|| empty(&words, options))
        .or(elsewhere)
        .or_else(|| systemd.difference(unit, Some((service, &line))));
    Ok((words, folder, why))
}

/// Leaves out `env` before the program, with the variables that it sets: engines read no
/// configuration from those.
fn without_env(words: &mut Vec<String>) {
    let is_env = |word: &str| ["env", "/usr/bin/env", "/bin/env"].contains(&word);
    if !words.first().is_some_and(|word| is_env(word)) {
        return;
    }
    let mut at = 1;
    while let Some(word) = words.get(at) {
        at += match word.as_str() {
            "-u" | "--unset" => 2,
            "-i" | "--ignore-environment" | "-" => 1,
            word if word.starts_with("--unset=") => 1,
            word if !word.starts_with('-') && word.contains('=') => 1,
            _ => break,
        };
    }
    // Any other option of it may mean anything: then it stays, as a program that is not known.
    if words.get(at).is_some_and(|word| !word.starts_with('-')) {
        words.drain(..at);
    }
}

/// Where systemd looks for a program without a folder, in this order.
const PROGRAMS: [&str; 4] = ["usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin"];

/// Why the first word is not the program itself, but something that may start it in its own way.
fn wrapped(root: &Path, words: &[String], program: &str) -> Option<String> {
    let first = words.first()?;
    let path = Path::new(first);
    if path.file_name().is_none_or(|name| name != program) {
        return Some(format!(
            "it starts {first}, which may start {program} with another command line"
        ));
    }
    let file = if path.is_absolute() {
        root.join(path.strip_prefix("/").unwrap_or(path))
    } else {
        let mut found = PROGRAMS.iter().map(|folder| root.join(folder).join(path));
        found.find(|file| file.is_file())?
    };
    let mut start = [0; SCRIPT.len()];
    let mut open = std::fs::File::open(file).ok()?;
    std::io::Read::read_exact(&mut open, &mut start).ok()?;
    (start == SCRIPT).then(|| {
        format!("{first} is a script, which may start {program} with another command line")
    })
}

/// Which option counts and has no value.
fn empty(words: &[String], options: &[&str]) -> Option<String> {
    let of = |name: &&&str| {
        let all = super::process::options(words, &[**name]);
        all.last().is_some_and(String::is_empty)
    };
    let name = options.iter().find(of)?;
    Some(format!("its command line has no value for --{name}"))
}

//! The command line by which systemd starts an engine: one that doesn't run is started with it, and
//! may be given another configuration than the usual one.
//!
//! All units of the host are looked through for those that start the engine, whatever their names
//! are. A unit's files tell its command line, in an image too. Where systemd runs it is asked as
//! well, and both must say the same. What can't be read whole is unclear, with the reason.

mod command_line;
mod engine_unit;
mod environment;
mod executable;
mod files;
#[cfg(test)]
mod fuzz;
mod init_script;
mod search;
mod service;
mod settings;
mod systemd;
#[cfg(test)]
mod tests;
mod words;

use std::path::{Path, PathBuf};

pub(crate) use engine_unit::EngineUnit;
pub(crate) use environment::assignments;
pub(super) use words::split;

use command_line::CommandLine;
use environment::Variables;
use executable::Executable;
use files::{UnitFolders, default_environment};
use service::Service;
use systemd::SystemdAnswers;
use words::{VARIABLE, unknown};

use crate::operate::platform::same_socket;
use crate::trusted_path::{Owner, check_way};

/// The options that name containerd's main file.
pub(crate) const CONFIG_OPTIONS: [&str; 2] = ["config", "c"];
/// The options that name its socket.
pub(crate) const ADDRESS_OPTIONS: [&str; 2] = ["address", "a"];

/// The command line of a unit's service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitCommand {
    /// The program first.
    pub(crate) words: Vec<String>,
    /// The file that says so.
    pub(crate) file: PathBuf,
    /// Where its paths begin.
    pub(crate) folder: PathBuf,
    /// The unit's names; first the one it was found by.
    pub(crate) names: Vec<String>,
}

impl UnitCommand {
    /// One of which nothing but the name is known.
    fn of(unit: &str) -> Self {
        Self {
            words: Vec::new(),
            file: unit.into(),
            folder: "/".into(),
            names: vec![unit.to_owned()],
        }
    }

    /// The last value of an option, which is the one that counts.
    pub(crate) fn option(&self, names: &[&str]) -> Option<String> {
        super::process::options(&self.words, names).pop()
    }

    /// The path that an option has.
    pub(crate) fn path(&self, names: &[&str]) -> Option<PathBuf> {
        Some(self.folder.join(self.option(names)?))
    }

    /// Whether this unit's service, once it is started, listens there. `usual`: where it does
    /// without an option.
    pub(crate) fn will_listen(&self, names: &[&str], usual: &Path, socket: &Path) -> bool {
        let given = super::process::options(&self.words, names);
        let mut paths = given
            .iter()
            .map(|given| Path::new(given.strip_prefix("unix://").unwrap_or(given)))
            .filter(|path| path.is_absolute())
            .peekable();
        if paths.peek().is_none() {
            return same_socket(usual, socket);
        }
        paths.any(|path| same_socket(path, socket))
    }

    /// Whether systemd started that process as this unit's service.
    pub(crate) fn runs(&self, pid: u32) -> bool {
        service_of(pid).is_some_and(|service| self.names.contains(&service))
    }

    /// The one of its names that people know: the engine's usual one, or the one it was found by.
    pub(crate) fn name<'a>(&'a self, usual: &'a str) -> &'a str {
        let is_usual = self.names.iter().any(|name| name == usual);
        let found = || self.names.first().map_or(usual, String::as_str);
        if is_usual { usual } else { found() }
    }

    /// What keeps two units from being the same for this program: the program, as two releases of
    /// one may read a file differently, and the values that count, from where the service begins.
    fn values(&self, engine: &EngineUnit) -> (Option<&String>, Vec<Option<PathBuf>>) {
        let value = |name: &&str| self.path(&[*name]);
        (
            self.words.first(),
            engine.options.iter().map(value).collect(),
        )
    }

    /// Whether its command line has it listen in other places only. Without an option, or with a
    /// socket of systemd's, it may listen anywhere.
    fn is_elsewhere(&self, engine: &EngineUnit, socket: &Path) -> bool {
        let given = super::process::options(&self.words, engine.sockets);
        let is_other = |given: &String| {
            let path = Path::new(given.strip_prefix("unix://").unwrap_or(given));
            path.is_absolute() && !same_socket(path, socket)
        };
        !given.is_empty() && given.iter().all(is_other)
    }
}

/// The service of systemd's that a process belongs to.
pub(super) fn service_of(pid: u32) -> Option<String> {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let last = groups.lines().filter_map(|line| line.rsplit_once('/'));
    let mut services = last.filter(|(_, group)| group.ends_with(".service"));
    services.next().map(|(_, group)| group.to_owned())
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
    /// There are several that start it in different ways.
    Several(Vec<UnitCommand>),
}

impl UnitStart {
    /// The command line, as far as it is known.
    pub(crate) fn command(&self) -> Option<&UnitCommand> {
        match self {
            Self::Absent | Self::Several(_) => None,
            Self::Known(command) | Self::Unclear(command, _) => Some(command),
        }
    }
}

/// The units of a host, and what the systemd that runs says of those that start engines.
#[derive(Debug)]
pub(crate) struct HostUnits {
    root: PathBuf,
    folders: Result<UnitFolders, String>,
    systemd: SystemdAnswers,
    /// Whether services are started by scripts, and not by systemd.
    by_scripts: bool,
}

impl HostUnits {
    /// Those of an image that is this program's root directory.
    pub(crate) fn of_image() -> Self {
        Self::in_root(Path::new("/"), true)
    }

    /// Those of this host. systemd is asked of those that start these engines.
    pub(crate) async fn of_this_host(engines: &[&EngineUnit]) -> Self {
        let mut this = Self::in_root(Path::new("/"), false);
        let units = engines.iter().flat_map(|engine| this.units(engine));
        this.systemd = SystemdAnswers::ask(&units.collect::<Vec<_>>()).await;
        this
    }

    fn in_root(root: &Path, is_image: bool) -> Self {
        Self {
            root: root.to_owned(),
            folders: UnitFolders::read(root).map_err(|error| error.to_string()),
            systemd: SystemdAnswers::default(),
            by_scripts: init_script::counts(root, is_image),
        }
    }

    /// The names of units that may start the engine, the usual one first, even if it isn't there.
    fn units(&self, engine: &EngineUnit) -> Vec<String> {
        let folders = self.folders.as_ref().ok();
        let mut found = folders.map_or_else(Vec::new, |folders| search::units(folders, engine));
        if !found.iter().any(|unit| unit == engine.unit) {
            found.insert(0, engine.unit.to_owned());
        }
        found
    }

    /// What starts an engine. `socket`: where it is looked for. `pid`: the process that listens
    /// there; the unit that runs it is the one.
    pub(crate) fn start(
        &self,
        engine: &EngineUnit,
        socket: Option<&Path>,
        pid: Option<u32>,
    ) -> UnitStart {
        if self.by_scripts
            && let Some((file, option)) = init_script::option(&self.root, engine)
        {
            let command = UnitCommand {
                file,
                ..UnitCommand::of(engine.unit)
            };
            let why = format!("it has {option}, and only units of systemd are read");
            return UnitStart::Unclear(command, why);
        }
        let units = self.units(engine);
        let all = units.iter().map(|unit| self.start_of(unit, engine));
        let all = all.filter(|start| *start != UnitStart::Absent);
        let all = all.chain(self.script(engine)).collect();
        choose(all, engine, socket, pid)
    }

    /// A script that systemd makes a unit of at boot.
    fn script(&self, engine: &EngineUnit) -> Option<UnitStart> {
        let has = |unit: &str| self.folders.as_ref().is_ok_and(|folders| folders.has(unit));
        let file = init_script::without_unit(&self.root, engine, has);
        let command = UnitCommand {
            file: file.filter(|_| !self.by_scripts)?,
            ..UnitCommand::of(engine.unit)
        };
        let why = "it is a script, and only units of systemd are read".to_owned();
        Some(UnitStart::Unclear(command, why))
    }

    fn start_of(&self, unit: &str, engine: &EngineUnit) -> UnitStart {
        let mut command = UnitCommand::of(unit);
        let files = match &self.folders {
            Ok(folders) => folders.find(unit).map_err(|error| error.to_string()),
            Err(why) => Err(why.clone()),
        };
        let without_files = |command| match self.systemd.difference(unit, None) {
            Some(why) => UnitStart::Unclear(command, why),
            None => UnitStart::Absent,
        };
        let files = match files {
            Ok(Some(files)) => files,
            Ok(None) => return without_files(command),
            Err(why) => {
                return UnitStart::Unclear(command, format!("its files can't be found: {why}"));
            }
        };
        command.file.clone_from(&files.main);
        command.names = std::iter::once(unit.to_owned())
            .chain(files.names.iter().filter(|name| *name != unit).cloned())
            .collect();
        let service = match Service::of(&files) {
            Ok(service) => service,
            Err((path, error)) => {
                command.file = path;
                return UnitStart::Unclear(command, error.to_string());
            }
        };
        let Some((file, line)) = service.commands.first() else {
            return without_files(command);
        };
        command.file.clone_from(file);
        let about = (self.root.as_path(), &self.systemd);
        match read(about, (unit, engine), (&service, line)) {
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
}

/// Of several units the one that counts.
fn choose(
    mut all: Vec<UnitStart>,
    engine: &EngineUnit,
    socket: Option<&Path>,
    pid: Option<u32>,
) -> UnitStart {
    let runs = |start: &UnitStart| Some(start.command()?.runs(pid?));
    if let Some(at) = all.iter().position(|start| runs(start) == Some(true)) {
        return all.swap_remove(at);
    }
    let may_listen = |start: &UnitStart| match (start.command(), socket) {
        (Some(command), Some(socket)) => !command.is_elsewhere(engine, socket),
        _ => true,
    };
    if all.iter().any(may_listen) {
        all.retain(may_listen);
    }
    // Those that say the same are one.
    let mut kept: Vec<UnitStart> = Vec::new();
    for start in all {
        let same = |other: &UnitStart| match (other, &start) {
            (UnitStart::Known(other), UnitStart::Known(command)) => {
                other.values(engine) == command.values(engine)
            }
            _ => false,
        };
        if !kept.iter().any(same) {
            kept.push(start);
        }
    }
    match (kept.pop(), kept.is_empty()) {
        (None, _) => UnitStart::Absent,
        (Some(one), true) => one,
        (Some(last), false) => {
            let all = kept.iter().chain([&last]);
            UnitStart::Several(all.filter_map(UnitStart::command).cloned().collect())
        }
    }
}

/// The words, where their paths begin, and what keeps them from being known.
fn read(
    (root, systemd): (&Path, &SystemdAnswers),
    (unit, engine): (&str, &EngineUnit),
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
    let Some(first) = words.first_mut() else {
        return Err("it starts nothing".to_owned());
    };
    // A link of another name leads to the program.
    let file = Executable::find(root, first);
    let is_named = |path: &Path| path.file_name().is_some_and(|name| name == engine.program);
    let is_ours = || check_way(&file.file, Owner::RootOrCaller).is_ok();
    if is_named(&file.end) && !is_named(Path::new(first)) && is_ours() {
        *first = file.end.display().to_string();
    }
    let (folder, elsewhere) = match service.folder(root) {
        Ok(folder) => (folder, None),
        Err(why) => (PathBuf::from("/"), Some(why)),
    };
    let mark = unknown(&words, engine.options).map(|mark| match &variables.unread {
        Some(why) if mark == VARIABLE => format!("its command line has variables of {why}"),
        _ if mark == VARIABLE => {
            "its command line has variables that systemd or its environment sets".to_owned()
        }
        _ => "its command line has specifiers of systemd's (%), or escapes, that are not read"
            .to_owned(),
    });
    let why = service
        .other_user()
        .map(|user| format!("it runs as {user}, and an engine of this host runs as root"))
        .or(mark)
        .or_else(|| wrapped(root, &words, engine.program))
        .or_else(|| empty(&words, engine.options))
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

/// Why the first word is not the program itself, but something that may start it in its own way.
fn wrapped(root: &Path, words: &[String], program: &str) -> Option<String> {
    let first = words.first()?;
    if let Some(snap) = search::snap(words, program) {
        return Some(format!(
            "it is of the snap {snap}, whose {program} sees other files than this host's"
        ));
    }
    if Path::new(first)
        .file_name()
        .is_none_or(|name| name != program)
    {
        return Some(format!(
            "it starts {first}, which may start {program} with another command line"
        ));
    }
    search::script(root, first).map(|_| {
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

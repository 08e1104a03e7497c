//! Hosts on which another program than systemd starts services: `OpenRC`, sysvinit, runit. Their
//! scripts are not run and not understood: they are looked through for an engine's options.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::config_files::read;
use super::engine_unit::EngineUnit;

/// systemd itself, on a host or in an image.
const SYSTEMD: [&str; 2] = ["usr/lib/systemd/systemd", "lib/systemd/systemd"];
/// Names of the first process that start services by scripts.
const OTHERS: [&str; 4] = ["init", "openrc-init", "runit", "s6-svscan"];
/// Scripts, one for each service.
const SCRIPTS: [&str; 2] = ["etc/init.d", "etc/rc.d/init.d"];
/// Folders of services, with a script `run` in each.
const FOLDERS: [&str; 4] = ["etc/sv", "etc/runit/sv", "etc/service", "var/service"];
/// What such a script reads, under its name.
const SETTINGS: [&str; 3] = ["etc/conf.d", "etc/default", "etc/sysconfig"];

/// Whether services of this host, or in an image, are started by scripts.
pub(super) fn counts(root: &Path, is_image: bool) -> bool {
    if is_image {
        return !SYSTEMD.iter().any(|path| root.join(path).exists());
    }
    let first = fs::read_to_string("/proc/1/comm").unwrap_or_default();
    OTHERS.contains(&first.trim_end())
}

/// The file by which an engine gets one of its options, and that option. None: it is started
/// without, or no script starts it.
pub(super) fn option(root: &Path, engine: &EngineUnit) -> Option<(PathBuf, String)> {
    let files_of = |folder: &str| {
        let entries = fs::read_dir(root.join(folder)).into_iter().flatten();
        entries
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .collect::<Vec<_>>()
    };
    let scripts = SCRIPTS.iter().flat_map(|folder| files_of(folder));
    let runs = FOLDERS
        .iter()
        .flat_map(|folder| files_of(folder))
        .map(|service| service.join("run"));
    let mut files: Vec<(String, PathBuf)> = Vec::new();
    for script in scripts.chain(runs) {
        let text = read(&script).unwrap_or_default();
        if !words(&text).any(|word| word.rsplit('/').next() == Some(engine.program)) {
            continue;
        }
        let named = match script.file_name() {
            Some(name) if name == "run" => script.parent().and_then(Path::file_name),
            name => name,
        };
        let name = named.unwrap_or_default().to_owned();
        let settings = SETTINGS.iter().map(|folder| root.join(folder).join(&name));
        for path in settings {
            files.push((read(&path).unwrap_or_default(), path));
        }
        files.push((text, script));
    }
    files.iter().find_map(|(text, path)| {
        let is_option = |word: &&str| {
            let name = word.strip_prefix("--");
            name.is_some_and(|name| engine.options.contains(&name))
        };
        let found = words(text).find(is_option)?;
        Some((path.clone(), found.to_owned()))
    })
}

/// The words of a script without its comments, apart from quotes and assignments.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    lines.flat_map(|line| {
        line.split(|sign: char| sign.is_ascii_whitespace() || "=\"';(){}|&".contains(sign))
    })
}

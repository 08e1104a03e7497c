//! Hosts on which another program than systemd starts services: `OpenRC`, sysvinit, runit. Their
//! scripts are not run and not understood: they are looked through for an engine's options.

use std::fs;
use std::path::{Path, PathBuf};

use super::engine_unit::EngineUnit;
use super::executable;
use crate::plain_file::read;

/// Nobody writes a longer one by hand.
const MAX_FILE: u64 = 1 << 20;

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

/// The script of sysvinit that starts an engine under systemd: no unit has its name.
pub(super) fn without_unit(
    root: &Path,
    engine: &EngineUnit,
    has: impl Fn(&str) -> bool,
) -> Option<PathBuf> {
    let scripts = names(root, SCRIPTS[0]).into_iter();
    let mut found = scripts.filter(|script| {
        let name = script.file_name().unwrap_or_default().to_string_lossy();
        !has(&format!("{name}.service")) && has_program(root, &text(script), engine)
    });
    found.next()
}

fn names(root: &Path, folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root.join(folder)).into_iter().flatten();
    entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .collect()
}

/// What is no UTF-8 in it mostly stands in a comment.
fn text(path: &Path) -> String {
    let read = read(path, MAX_FILE);
    read.map(|(bytes, _)| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

fn has_program(root: &Path, text: &str, engine: &EngineUnit) -> bool {
    words(text).any(|word| word.rsplit('/').next() == Some(engine.program))
        || executable::is_in_text(root, text, engine.program)
}

/// The file by which an engine gets one of its options, and that option. None: it is started
/// without, or no script starts it.
pub(super) fn option(root: &Path, engine: &EngineUnit) -> Option<(PathBuf, String)> {
    let scripts = SCRIPTS.iter().flat_map(|folder| names(root, folder));
    let runs = FOLDERS
        .iter()
        .flat_map(|folder| names(root, folder))
        .map(|service| service.join("run"));
    let mut files: Vec<(String, PathBuf)> = Vec::new();
    for script in scripts.chain(runs) {
        let text_of_it = text(&script);
        if !has_program(root, &text_of_it, engine) {
            continue;
        }
        let named = match script.file_name() {
            Some(name) if name == "run" => script.parent().and_then(Path::file_name),
            name => name,
        };
        let name = named.unwrap_or_default().to_owned();
        let settings = SETTINGS.iter().map(|folder| root.join(folder).join(&name));
        for path in settings {
            files.push((text(&path), path));
        }
        files.push((text_of_it, script));
    }
    files.iter().find_map(|(text, path)| {
        let all: Vec<&str> = words(text).filter(|word| !word.is_empty()).collect();
        let mut following = all.iter().skip(1);
        let found = all.iter().find(|word| {
            // Programs of a script have options of one letter, too, but none with a path.
            let next = following
                .next()
                .is_some_and(|next| next.starts_with(['/', '$']));
            let name = word.strip_prefix("--").or_else(|| word.strip_prefix('-'));
            name.is_some_and(|name| engine.options.contains(&name) && (name.len() > 1 || next))
        })?;
        Some((path.clone(), (*found).to_owned()))
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

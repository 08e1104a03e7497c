//! The image verifier of containerd 2: a folder of programs, and each of its ways to ask nobody
//! (pkg/imageverifier/bindir/bindir.go).

use std::path::Path;
use std::time::Duration;

use super::super::code::Code;
use super::super::config_files::{ConfigFile, at};
use super::super::facts::{ContainerdFacts, ProgramFolder};
use super::super::hole::{Fix, Hole};
use super::super::version::VERIFIER;
use super::WantedSettings;
use crate::operate::leftover::is_leftover;

const PLUGIN: &str = "io.containerd.image-verifier.v1.bindir";
/// The one program that the folder must hold.
pub(crate) const PROGRAM: &str = "rootpin-verifier";
/// Where containerd looks if nobody says otherwise: everyone's, so that rootpin's is another.
pub(crate) const SHARED: &str = "/opt/containerd/image-verifier/bin";

/// The lines that turn the plugin on, in each file that turns it off: containerd adds up the lists
/// of all.
fn enabled(facts: &ContainerdFacts) -> String {
    let files = facts.config.as_ref().map(|config| &config.files.files);
    let lines = |file: &ConfigFile| {
        let list = at(&file.table, &["disabled_plugins"])?.as_array()?;
        let is_this = |plugin: &&toml::Value| plugin.as_str() == Some(PLUGIN);
        list.iter().find(is_this)?;
        let rest: Vec<String> = list
            .iter()
            .filter(|plugin| !is_this(plugin))
            .map(ToString::to_string)
            .collect();
        Some(format!(
            "in {}:\ndisabled_plugins = [{}]",
            file.path.display(),
            rest.join(", ")
        ))
    };
    let all: Vec<String> = files.into_iter().flatten().filter_map(lines).collect();
    if all.is_empty() {
        return format!("have containerd load \"{PLUGIN}\": its log says why it does not");
    }
    all.join("\n")
}

pub(super) fn verifier(facts: &ContainerdFacts, wanted: WantedSettings<'_>) -> Vec<Hole> {
    if facts.version < VERIFIER {
        return Vec::new();
    }
    let name = &facts.engine.name;
    if !facts.works(PLUGIN) {
        let why = facts.plugin(PLUGIN).and_then(|plugin| plugin.error.clone());
        let found = why.unwrap_or_else(|| format!("the plugin {PLUGIN} is not loaded"));
        let change = enabled(facts);
        // Of some versions the transfer service does not load without it, and then nothing is
        // pulled by it.
        let weight = super::open_if(facts.works("io.containerd.transfer.v1.local"));
        return vec![
            Hole::new(Code::VerifierOff, name, found)
                .change(change)
                .weighing(weight),
        ];
    }
    let most = facts.config.as_ref().ok().and_then(|config| {
        let most = at(&config.effective, &["plugins", PLUGIN, "max_verifiers"]);
        most.and_then(toml::Value::as_integer)
    });
    let has_limit = most.is_none_or(|most| most >= 0);
    let mut holes = facts
        .verifier
        .as_ref()
        .map(|folder| in_folder(name, folder, has_limit, wanted))
        .unwrap_or_default();
    let Ok(config) = &facts.config else {
        return holes;
    };
    let deadline = wanted.deadline;
    let setting = |key| at(&config.effective, &["plugins", PLUGIN, key]);
    let setter = |key| config.files.setter(&["plugins", PLUGIN, key]);
    let lines = |line: &str| format!("[plugins.'{PLUGIN}']\n  {line}");
    if let Some(most) = most.filter(|_| has_limit) {
        let entries = facts
            .verifier
            .as_ref()
            .and_then(|folder| folder.entries.as_deref())
            .unwrap_or_default();
        // Those past the limit are left out in the order of names.
        let ours = entries
            .iter()
            .position(|entry| entry == PROGRAM)
            .and_then(|at| i64::try_from(at).ok())
            .unwrap_or_default();
        if ours >= most {
            let found = format!(
                "max_verifiers is {most} and rootpin-verifier is number {} in the folder, {}",
                ours + 1,
                setter("max_verifiers")
            );
            holes.push(
                Hole::new(Code::VerifierLimit, name, found)
                    .change(lines("max_verifiers = -1"))
                    .fix(Fix::DropIn),
            );
        }
    }
    if let Some(text) = setting("per_verifier_timeout").and_then(toml::Value::as_str)
        && let Some(limit) = go_duration(text)
        && limit <= deadline
    {
        let found = format!(
            "per_verifier_timeout is {text} and rootpin's deadline {}s, {}",
            deadline.as_secs(),
            setter("per_verifier_timeout")
        );
        let enough = lines(&format!(
            "per_verifier_timeout = \"{}s\"",
            deadline.as_secs() + 2
        ));
        holes.push(
            Hole::new(Code::VerifierTimeout, name, found)
                .change(enough)
                .fix(Fix::DropIn),
        );
    }
    holes
}

fn in_folder(
    engine: &str,
    folder: &ProgramFolder,
    has_limit: bool,
    wanted: WantedSettings<'_>,
) -> Vec<Hole> {
    let shown = folder.path.display();
    let shared = folder.path.as_path() == Path::new(SHARED);
    let to = if shared {
        wanted.verifier
    } else {
        &folder.path
    };
    let from = wanted.program.display();
    // The drop-in's own folder has it already where the package's steps were followed.
    let there = shared && wanted.program == to.join(PROGRAM);
    let mut install = if there {
        String::new()
    } else {
        format!("install -D -m 0755 {from} {}/{PROGRAM}\n", to.display())
    };
    if let Some(control) = wanted.control {
        // containerd gives it no arguments of ours.
        let (to, control) = (to.display(), control.display());
        install = format!(
            "an executable {to}/{PROGRAM} of these lines:\n#!/bin/sh\nexec {from} --control {control} \"$@\"\n"
        );
    }
    if shared {
        install = format!(
            "{install}[plugins.'{PLUGIN}']\n  bin_dir = \"{}\"",
            to.display()
        );
    }
    let install = install.trim_end();
    let hole = |code, found: String| {
        Hole::new(code, engine, found)
            .change(install)
            .fix(Fix::Verifier(to.to_owned()))
    };
    let mut holes = Vec::new();
    let entries = folder.entries.as_deref().map(|entries| {
        let (left, entries): (Vec<&String>, Vec<_>) =
            entries.iter().partition(|name| is_leftover(name));
        holes.extend(left.iter().map(|name| {
            let path = folder.path.join(name);
            let found = format!(
                "{} is left of a try to write; containerd runs it too, and refuses every pull where it can't",
                path.display()
            );
            Hole::new(Code::VerifierCrowded, engine, found)
                .change(format!("rm '{}'", path.display()))
                .fix(Fix::Leftover(path))
        }));
        entries
    });
    match entries.as_deref() {
        None => {
            return vec![hole(
                Code::VerifierMissing,
                format!("{shown} does not exist"),
            )];
        }
        Some([]) => holes.push(hole(Code::VerifierEmpty, format!("{shown} is empty"))),
        Some(entries) if !entries.iter().any(|entry| *entry == PROGRAM) => {
            holes.push(hole(
                Code::VerifierForeign,
                format!("{shown} holds {entries:?}"),
            ));
        }
        Some(entries) if entries.len() > 1 && has_limit => {
            let found = format!("{shown} holds {entries:?}");
            let others = entries
                .iter()
                .filter(|entry| **entry != PROGRAM)
                .map(|entry| format!("'{shown}/{}'", entry.replace('\'', "'\\''")));
            let others = others.collect::<Vec<_>>().join(" ");
            let change = format!(
                "mkdir -p '{shown}.others' && mv {others} '{shown}.others/'\n# or have them asked too, with no limit: max_verifiers = -1"
            );
            holes.push(Hole::new(Code::VerifierCrowded, engine, found).change(change));
        }
        Some(_) => {}
    }
    if let Some(hindrance) = &folder.hindrance {
        holes.push(match &hindrance.hint {
            Some(hint) => Hole::new(Code::VerifierUnusable, engine, &hindrance.why).change(hint),
            None => hole(Code::VerifierUnusable, hindrance.why.clone()),
        });
    }
    if let Some(writable) = &folder.writable {
        let hole = Hole::new(Code::VerifierWritable, engine, &writable.why);
        holes.push(match &writable.own {
            Some(path) => hole
                .change(format!(
                    "chown root:root {0}; chmod 0755 {0}",
                    path.display()
                ))
                .fix(Fix::Mode(path.clone(), 0o755)),
            None => hole.change(&writable.hint),
        });
    }
    holes
}

/// `1h2m3.5s`, as Go writes and reads it; the least of it is milliseconds.
fn go_duration(text: &str) -> Option<Duration> {
    let mut total = 0.0;
    let mut left = text;
    while !left.is_empty() {
        let digits = left.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, rest) = left.split_at_checked(digits)?;
        let end = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (unit, rest) = rest.split_at_checked(end)?;
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            "us" | "µs" | "ns" => 0.0,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * seconds;
        left = rest;
    }
    Duration::try_from_secs_f64(total).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, seconds) in [
            ("10s", 10.0),
            ("1m30s", 90.0),
            ("500ms", 0.5),
            ("1h0m0s", 3600.0),
            ("1.5s", 1.5),
        ] {
            assert_eq!(
                go_duration(text),
                Duration::try_from_secs_f64(seconds).ok(),
                "{text}"
            );
        }
        assert_eq!((go_duration("10"), go_duration("x")), (None, None));
    }
}

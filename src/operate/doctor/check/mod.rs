//! Finds the holes of an engine in the facts that are known of it. Asks nobody.

mod boot;
mod config;
mod cri;
mod differ;
mod dockerd;
pub(super) mod hosts;
mod others;
mod registry;
mod roads;
mod transfer;
mod verifier;

#[cfg(test)]
pub(super) mod tests;

use std::path::Path;
use std::time::Duration;

use super::code::{Code, HoleSeverity};
use super::facts::{ContainerdFacts, EngineConfig};
use super::hole::Hole;
use super::version::Version;
use crate::operate::platform::restart_of;

pub(super) use boot::at_boot;
pub(super) use cri::SETTINGS;
pub(super) use differ::differs;
pub(super) use dockerd::{dockerd, embedded, shadowed};
pub(super) use others::{daemon, processes, silent, sockets};
pub(super) use registry::one_folder;
pub(super) use transfer::platform;
pub(super) use verifier::{PROGRAM, SHARED};

const DONT_RESTART: &str = "don't restart it before config-refused is closed";
/// Diff plugins came with it.
pub(super) const OLDEST: Version = Version(1, 7, 4);

/// What rootpin.toml says that an engine's configuration must fit.
#[derive(Debug, Clone, Copy)]
pub(super) struct WantedSettings<'a> {
    /// For one question.
    pub(super) deadline: Duration,
    /// Whether there is a resolver, which engines find by hosts.toml.
    pub(super) resolver: bool,
    /// The folder for rootpin-verifier where containerd has none of rootpin's own.
    pub(super) verifier: &'a Path,
    /// rootpin-verifier, where it is on this host.
    pub(super) program: &'a Path,
    /// The daemon's socket, where that is not the usual one.
    pub(super) control: Option<&'a Path>,
}

/// Every hole of one containerd.
pub(super) fn containerd(facts: &ContainerdFacts, wanted: WantedSettings<'_>) -> Vec<Hole> {
    let name = &facts.engine.name;
    if facts.version < OLDEST {
        let found = format!(
            "containerd {} runs; no drop-in is written for it",
            facts.version
        );
        let change = "upgrade containerd to 1.7.4 or later: the one of Debian 13, or containerd.io from Docker";
        return vec![Hole::new(Code::ContainerdTooOld, name, found).change(change)];
    }
    let mut holes = in_force(facts, wanted);
    if let Ok(config) = &facts.config
        && let Some(changed) = &config.changed
    {
        holes = with_restart(holes, facts, (config, changed), wanted);
    }
    holes
}

/// The hole that a restart closes, in place of those that it closes with it: what the files say
/// already, nobody has to write.
fn with_restart(
    holes: Vec<Hole>,
    facts: &ContainerdFacts,
    (config, changed): (&EngineConfig, &Path),
    wanted: WantedSettings<'_>,
) -> Vec<Hole> {
    let mut found = format!("{} changed after containerd had started", changed.display());
    let (mut kept, mut change) = (holes, DONT_RESTART.to_owned());
    if facts.refused.is_none() {
        change = restart(facts);
        let after = in_force(&facts.restarted(config), wanted);
        let stays = |hole: &Hole| after.iter().any(|other| other.code == hole.code);
        let (open, closed): (Vec<Hole>, Vec<Hole>) = kept.into_iter().partition(stays);
        let mut codes: Vec<&str> = closed.iter().map(|hole| hole.code.as_str()).collect();
        codes.dedup();
        if !codes.is_empty() {
            found = format!("{found}; the restart closes {} too", codes.join(", "));
        }
        kept = open;
    }
    kept.push(Hole::new(Code::RestartPending, &facts.engine.name, found).change(change));
    kept
}

/// What restarts this containerd.
fn restart(facts: &ContainerdFacts) -> String {
    let socket = &facts.engine.containerd;
    restart_of(socket).map_or_else(
        || format!("restart the containerd at {}", socket.display()),
        str::to_owned,
    )
}

/// The holes by what the engine has loaded and its files say.
fn in_force(facts: &ContainerdFacts, wanted: WantedSettings<'_>) -> Vec<Hole> {
    let name = &facts.engine.name;
    let mut holes = differ::gate(facts);
    holes.extend(verifier::verifier(facts, wanted));
    holes.extend(refused(facts));
    let Ok(config) = &facts.config else {
        return holes;
    };
    holes.extend(differ::order(facts, config));
    holes.extend(transfer::transfer(facts, config));
    holes.extend(transfer::processors(facts, config));
    holes.extend(config::required(facts, config));
    holes.extend(config::plugins(facts));
    holes.extend(config::ignored(facts, config));
    holes.extend(config::replaced(facts, config));
    if let Some(cri) = facts.cri() {
        holes.extend(cri::cri(facts, config, &cri, wanted.resolver));
    }
    holes.extend(cri::nri(facts, config));
    holes.extend(roads::roads(facts, config));
    for path in &config.stray {
        let found = format!("{} is not imported", path.display());
        let hole = Hole::new(Code::DropInIgnored, name, found).change(imported(config, path));
        holes.push(hole.fix(super::hole::Fix::DropIn));
    }
    holes
}

/// A configuration with which containerd would not start; where the fault is in rootpin's own
/// drop-in, that can be written anew.
fn refused(facts: &ContainerdFacts) -> Option<Hole> {
    let hole = Hole::new(
        Code::ConfigRefused,
        &facts.engine.name,
        facts.refused.as_ref()?,
    );
    Some(if facts.config.is_ok() {
        hole.change(
            "`rootpin doctor --fix` writes its own drop-in anew; don't restart containerd before",
        )
        .fix(super::hole::Fix::DropIn)
    } else {
        hole.change("mend what it names; don't restart containerd before")
    })
}

/// How a drop-in comes to be read. A second `imports` would keep containerd from starting.
fn imported(config: &EngineConfig, path: &Path) -> String {
    let main = config.main.display();
    let pattern = format!("{}/*.toml", path.parent().unwrap_or(path).display());
    let Some(first) = config.files.files.first() else {
        let version = config
            .effective
            .get("version")
            .and_then(toml::Value::as_integer)
            .unwrap_or(2);
        return format!(
            "make {main}, without which containerd reads no drop-in:\nversion = {version}\nimports = [\"{pattern}\"]"
        );
    };
    if first.table.contains_key("imports") {
        return format!("add \"{pattern}\" to the list imports of {main}");
    }
    format!("put this line at the top of {main}:\nimports = [\"{pattern}\"]")
}

/// A hole whose weight is that of what is named in it.
fn open_if(open: bool) -> HoleSeverity {
    if open {
        HoleSeverity::Open
    } else {
        HoleSeverity::Weak
    }
}

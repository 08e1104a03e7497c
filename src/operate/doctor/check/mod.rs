//! Finds the holes of an engine in the facts that are known of it. Asks nobody.

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

pub(super) use cri::SETTINGS;
pub(super) use differ::differs;
pub(super) use dockerd::{dockerd, embedded, shadowed};
pub(super) use others::{daemon, processes, silent, sockets};
pub(super) use registry::one_folder;
pub(super) use transfer::platform;
pub(super) use verifier::{PROGRAM, SHARED};

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
    if let Some(changed) = &config.changed {
        let found = format!("{} changed after containerd had started", changed.display());
        let change = "systemctl restart containerd";
        let change = if facts.refused.is_some() {
            "don't restart it before config-refused is closed"
        } else {
            change
        };
        holes.push(Hole::new(Code::RestartPending, name, found).change(change));
    }
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

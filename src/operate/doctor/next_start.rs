//! Whether an engine that runs will be started with the same files again, and one that doesn't run
//! will listen where rootpin.toml has it: what is written for the one must count for the other.

use std::path::Path;

use super::facts::{ContainerdFacts, DockerFacts, Idle};
use super::process::Process;
use super::unit::{ADDRESS_OPTIONS, CONFIG_OPTIONS, UnitCommand};
use super::{AUTHORIZATION, fix, probe};
use crate::operate::platform::{DAEMON_JSON, MAIN, same_socket};
use crate::problem::Problem;

/// Compares a containerd with its unit, or with its configuration.
///
/// # Errors
/// They differ.
pub(super) async fn containerd(facts: &ContainerdFacts, idle: Idle<'_>) -> Result<(), Problem> {
    let socket = &facts.engine.containerd;
    let Ok(config) = &facts.config else {
        return Ok(());
    };
    let by_unit = idle
        .containerd_unit
        .and_then(|unit| unit.path(&ADDRESS_OPTIONS));
    if !facts.runs {
        let address = by_unit.as_deref().or_else(|| config.address());
        return match address.filter(|_| idle.tells_socket) {
            Some(address) if !same_socket(address, socket) => Err(elsewhere(address, facts)),
            _ => Ok(()),
        };
    }
    let Some(unit) = idle.containerd_unit else {
        return Ok(());
    };
    let is_of_unit = probe::listener(socket)
        .await
        .is_ok_and(|process| unit.runs(process.pid));
    if !is_of_unit {
        return Ok(());
    }
    let main = unit.path(&CONFIG_OPTIONS).unwrap_or_else(|| MAIN.into());
    if main != config.main {
        return Err(differs("containerd", unit, &config.main, &main));
    }
    match by_unit {
        Some(address) if !same_socket(&address, socket) => {
            Err(differs("containerd", unit, socket, &address))
        }
        _ => Ok(()),
    }
}

/// The same of a dockerd and its unit. `plugin`: rootpin's name there.
///
/// # Errors
/// They differ.
pub(super) fn dockerd(
    facts: &DockerFacts,
    process: Option<&Process>,
    idle: Idle<'_>,
    plugin: &str,
) -> Result<(), Problem> {
    let of_unit = |unit: &&UnitCommand| process.is_some_and(|process| unit.runs(process.pid));
    let Some(unit) = idle.docker_unit.filter(of_unit) else {
        return Ok(());
    };
    let config = unit
        .path(&["config-file"])
        .unwrap_or_else(|| DAEMON_JSON.into());
    if config != facts.config {
        return Err(differs("dockerd", unit, &facts.config, &config));
    }
    if unit.option(&AUTHORIZATION).is_some() && !facts.authorization_by_flag {
        return Err(fix::by_flag_of(&unit.file, plugin));
    }
    Ok(())
}

fn differs(engine: &str, unit: &UnitCommand, now: &Path, then: &Path) -> Problem {
    let file = unit.file.display();
    Problem::hinted(
        format!(
            "{engine} runs with {}, and {file} starts it with {} the next time",
            now.display(),
            then.display()
        ),
        format!("restart {engine}, or mend {file}, and run this again"),
    )
}

fn elsewhere(address: &Path, facts: &ContainerdFacts) -> Problem {
    let (address, socket) = (address.display(), facts.engine.containerd.display());
    Problem::hinted(
        format!("it will listen at {address}, and rootpin.toml has {socket}"),
        format!(
            "write containerd = \"{address}\" into its [[engine]] in rootpin.toml, or name its own configuration by --containerd-config FILE, and run this again"
        ),
    )
}

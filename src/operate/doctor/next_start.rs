//! Whether an engine that runs will be started with the same files again, and one that doesn't run
//! will listen where rootpin.toml has it: what is written for the one must count for the other.

use std::path::Path;

use super::facts::{ContainerdFacts, DockerFacts, Idle};
use super::process::Process;
use super::unit::{ADDRESS_OPTIONS, CONFIG_OPTIONS, UnitCommand};
use super::{AUTHORIZATION, fix, probe};
use crate::operate::platform::{CONTAINERD, DAEMON_JSON, DOCKER, MAIN, same_socket};
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
    // Whoever started this one: the unit is what starts it at the next boot.
    let is_of_unit = probe::listener(socket)
        .await
        .is_ok_and(|process| unit.runs(process.pid));
    if !is_of_unit && !unit.will_listen(&ADDRESS_OPTIONS, Path::new(CONTAINERD), socket) {
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
    let of_unit = |unit: &&UnitCommand| {
        process.is_some_and(|process| unit.runs(process.pid))
            || unit.will_listen(&["host", "H"], Path::new(DOCKER), &facts.docker.socket)
    };
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

#[cfg(test)]
mod tests {
    use super::super::check::tests::in_order;
    use super::super::version::Version;
    use super::*;
    use crate::config::Dockerd;

    fn unit(line: &str) -> UnitCommand {
        UnitCommand {
            words: line.split(' ').map(str::to_owned).collect(),
            file: "/u.service".into(),
            folder: "/".into(),
            names: vec!["u.service".to_owned()],
        }
    }

    fn idle<'a>(containerd: Option<&'a UnitCommand>, docker: Option<&'a UnitCommand>) -> Idle<'a> {
        Idle {
            containerd: Path::new("containerd"),
            main: Path::new(MAIN),
            daemon_json: Path::new(DAEMON_JSON),
            authorization_by_flag: None,
            containerd_unclear: None,
            docker_unclear: None,
            containerd_unit: containerd,
            docker_unit: docker,
            tells_socket: true,
            is_image: false,
        }
    }

    #[tokio::test]
    async fn a_containerd_that_somebody_started_is_compared_with_the_unit_of_its_socket() {
        let mut facts = in_order("2.1.9");
        facts.runs = true;
        facts.engine.containerd = CONTAINERD.into();
        facts.config.as_mut().unwrap().main = MAIN.into();
        for (line, wanted) in [
            ("containerd", None),
            (
                "containerd -c /srv/x",
                Some("/u.service starts it with /srv/x"),
            ),
            ("containerd -c /srv/x -a /run/other.sock", None),
        ] {
            let unit = unit(line);
            let found = containerd(&facts, idle(Some(&unit), None)).await;
            let why = found.err().map(|why| why.to_string()).unwrap_or_default();
            assert_eq!(why.is_empty(), wanted.is_none(), "{line}: {why}");
            assert!(why.contains(wanted.unwrap_or_default()), "{line}: {why}");
        }
    }

    #[test]
    fn a_dockerd_that_somebody_started_is_compared_with_the_unit_of_its_socket() {
        let docker = Dockerd {
            accept_grpc: false,
            name: "docker".to_owned(),
            socket: DOCKER.into(),
            authz: None,
        };
        let facts = DockerFacts {
            config: DAEMON_JSON.into(),
            ..DockerFacts::of_test(docker, Version(28, 5, 2))
        };
        for (line, is_same) in [
            ("dockerd -H fd://", true),
            ("dockerd -H fd:// --config-file /srv/d.json", false),
            ("dockerd -H fd:// --authorization-plugin=opa", false),
            (
                "dockerd -H unix:///run/o.sock --config-file /srv/d.json",
                true,
            ),
        ] {
            let unit = unit(line);
            let found = dockerd(&facts, None, idle(None, Some(&unit)), "rootpin");
            assert_eq!(found.is_ok(), is_same, "{line}: {found:?}");
        }
    }
}

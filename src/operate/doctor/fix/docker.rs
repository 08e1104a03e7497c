//! Makes dockerd ask rootpin's plugin: its name in daemon.json, the file by which dockerd finds
//! its socket, and the order of the two services. dockerd itself says whether it takes the
//! daemon.json.

use std::ffi::OsString;
use std::path::Path;

use super::super::facts::{DockerFacts, Idle};
use super::super::program::{self, Program};
use super::super::unit::service_of;
use super::super::version::Version;
use super::super::{plugin_name, probe};
use super::{FileEdit, daemon_json};
use crate::config::Dockerd;
use crate::problem::Problem;

/// From this one on dockerd says whether it takes a configuration.
const VALIDATES: Version = Version(23, 0, 0);
/// Where a host has services of systemd.
const UNITS: &str = "/etc/systemd/system";
/// systemd, in an image that does not run: `/lib` need not be `/usr/lib`.
const SYSTEMD: [&str; 2] = ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"];
const UNIT: &str = "docker.service";
const DROP_IN: &str = include_str!("../../../../packaging/docker/docker.service.d/rootpin.conf");

/// Whether systemd must be told that this file changed.
pub(in super::super) fn is_of_unit(path: &Path) -> bool {
    path.starts_with(UNITS)
}

/// The edits, once the dockerd that runs said that it takes them.
pub(super) async fn edits(facts: &DockerFacts, plugin: &str) -> Result<Vec<FileEdit>, Problem> {
    if facts.authorization_by_flag {
        return Err(by_flag("dockerd's command line", plugin));
    }
    let process = probe::dockerd_at(&facts.docker.socket).await;
    if process.as_ref().is_some_and(|process| process.contained) {
        return Err(Problem::hinted(
            "it runs in a root directory of its own, as in a container or a snap: it reads another /etc/docker than this host's, and may not reach rootpin's socket",
            "run Docker on this host itself, by Docker's or the distribution's packages",
        ));
    }
    let unit = process.and_then(|process| service_of(process.pid));
    let (mut edits, edit) = (
        around(
            &facts.docker,
            plugin,
            unit.as_deref().unwrap_or(UNIT),
            false,
        )?,
        daemon_json::authorization(&facts.config, plugin)?,
    );
    validate(facts, &edit).await?;
    edits.push(edit);
    Ok(edits)
}

fn by_flag(place: &str, plugin: &str) -> Problem {
    Problem::hinted(
        format!(
            "its plugins are named on {place}, and dockerd does not start where daemon.json names some too"
        ),
        format!("add --authorization-plugin={plugin} there"),
    )
}

/// The edit that turns a feature off, once the dockerd that runs said that it takes it. `planned`:
/// what the file will say by an earlier edit.
pub(super) async fn without_feature(
    facts: &DockerFacts,
    planned: Option<&str>,
    feature: &str,
) -> Result<FileEdit, Problem> {
    let edit = daemon_json::without_feature(&facts.config, planned, feature)?;
    validate(facts, &edit).await?;
    Ok(edit)
}

/// Whether a daemon.json names that plugin already.
pub(in super::super) fn names_plugin(daemon_json: &Path, plugin: &str) -> bool {
    let text = super::text(daemon_json).ok().flatten();
    text.is_some_and(|text| {
        daemon_json::plugins(&text)
            .iter()
            .any(|name| name == plugin)
    })
}

/// Why nothing is written where a unit's command line names the plugins.
pub(in super::super) fn by_flag_of(unit: &Path, plugin: &str) -> Problem {
    by_flag(&format!("the command line in {}", unit.display()), plugin)
}

/// The same for one that does not run.
pub(in super::super) async fn idle_docker(
    docker: &Dockerd,
    idle: Idle<'_>,
    plugin: &str,
) -> Result<Vec<FileEdit>, Problem> {
    if let Some(why) = idle.docker_unclear {
        return Err(why.clone());
    }
    if let Some(unit) = idle.authorization_by_flag {
        return Err(by_flag_of(unit, plugin));
    }
    let unit = idle.docker_unit.map_or(UNIT, |unit| unit.name(UNIT));
    let boots = idle.is_image && SYSTEMD.iter().any(|path| Path::new(path).exists());
    let mut edits = around(docker, plugin, unit, boots)?;
    let edit = daemon_json::authorization(idle.daemon_json, plugin)?;
    if !idle.is_image {
        let unit = idle.docker_unit.map(|unit| unit.words.as_slice());
        validate_idle(unit.unwrap_or_default(), &edit).await?;
    }
    edits.push(edit);
    Ok(edits)
}

/// What dockerd finds the plugin by, and what orders the two services. `unit`: dockerd's. `boots`: an
/// image with systemd.
fn around(
    docker: &Dockerd,
    plugin: &str,
    unit: &str,
    boots: bool,
) -> Result<Vec<FileEdit>, Problem> {
    let socket = docker
        .authz
        .as_deref()
        .ok_or("rootpin.toml gives it no authz")?;
    let mut edits = Vec::new();
    if plugin_name::of(socket).is_none() {
        let path = Path::new(plugin_name::SPECS).join(format!("{plugin}.spec"));
        edits.push(FileEdit {
            before: super::text(&path)?,
            path,
            after: format!("unix://{}\n", socket.display()),
            mode: 0o644,
        });
    }
    let booted = boots || Path::new("/run/systemd/system").is_dir();
    if booted && Path::new(UNITS).is_dir() {
        let path = Path::new(UNITS).join(format!("{unit}.d/rootpin.conf"));
        edits.push(FileEdit {
            before: super::text(&path)?,
            path,
            after: DROP_IN.to_owned(),
            mode: 0o644,
        });
    }
    Ok(edits)
}

/// Has the dockerd that runs look at the new daemon.json, with its own command line: what stands in
/// both keeps it from starting.
async fn validate(facts: &DockerFacts, edit: &FileEdit) -> Result<(), Problem> {
    let process = probe::dockerd_at(&facts.docker.socket).await;
    let Some(process) = process.filter(|_| facts.version >= VALIDATES) else {
        return Ok(());
    };
    ask(&Program::of(&process)?, &process.words, edit).await
}

/// The same of a dockerd that does not run, by the command line of its unit, where it can be run and
/// takes the present one.
async fn validate_idle(words: &[String], edit: &FileEdit) -> Result<(), Problem> {
    let file = words.first().map_or("dockerd", String::as_str);
    let program = Program::file(Path::new(file));
    let version = program.version().await.unwrap_or_default();
    let version = version.split_ascii_whitespace().find_map(Version::parse);
    if version.is_none_or(|version| version < VALIDATES) {
        return Ok(());
    }
    let taken = ask(&program, words, edit).await;
    // What it refuses already, or here, where something else is missing, is not rootpin's doing.
    let present = FileEdit {
        after: edit.before.clone().unwrap_or_else(|| "{}".to_owned()),
        ..edit.clone()
    };
    if taken.is_err() && ask(&program, words, &present).await.is_err() {
        return Ok(());
    }
    taken
}

async fn ask(program: &Program, words: &[String], edit: &FileEdit) -> Result<(), Problem> {
    let folder = program::private_folder()?;
    let copy = folder.path().join("daemon.json");
    std::fs::write(&copy, &edit.after).map_err(|error| format!("{}: {error}", copy.display()))?;
    let mut arguments = vec![
        OsString::from("--validate"),
        "--config-file".into(),
        copy.into(),
    ];
    arguments.extend(own_arguments(words));
    let taken = program.run(&arguments).await?;
    taken.map(|_| ()).map_err(|why| {
        Problem::new(format!(
            "dockerd would not start with the new {}, so it stays as it is: {why}",
            edit.path.display()
        ))
    })
}

/// The command line without the program and its own daemon.json.
fn own_arguments(words: &[String]) -> Vec<OsString> {
    let mut words = words.iter().skip(1);
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        if word == "--config-file" {
            words.next();
        } else if !word.starts_with("--config-file=") {
            kept.push(word.into());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_keeps_all_but_its_own_file() {
        let words = [
            "dockerd",
            "-H",
            "fd://",
            "--config-file",
            "/a",
            "--debug",
            "--config-file=/b",
        ]
        .map(str::to_owned);
        assert_eq!(own_arguments(&words), ["-H", "fd://", "--debug"]);
    }
}

//! Where an engine that doesn't run has its parts: by its unit, the command line or the platform.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::{Arguments, image};
use crate::cli::fix;
use crate::operate::doctor::unit::{
    self, ADDRESS_OPTIONS, CONFIG_OPTIONS, SystemdAnswers, UnitCommand, UnitStart,
};
use crate::operate::doctor::{self, AUTHORIZATION, Idle};
use crate::operate::platform::{self, DAEMON_JSON, MAIN, Platform};
use crate::problem::Problem;

/// Where containerd is on the search path.
const CONTAINERD: &str = "containerd";
const CONTAINERD_UNIT: &str = "containerd.service";
const DOCKER_UNIT: &str = "docker.service";
/// Options of engines that say where their parts are.
const CONTAINERD_OPTIONS: [&str; 4] = [
    CONFIG_OPTIONS[0],
    CONFIG_OPTIONS[1],
    ADDRESS_OPTIONS[0],
    ADDRESS_OPTIONS[1],
];
const DOCKER_OPTIONS: [&str; 3] = ["config-file", AUTHORIZATION[0], AUTHORIZATION[1]];

/// What the systemd that runs says of the engines' units; of an image's nothing.
pub(super) fn ask_systemd(is_image: bool) -> Result<SystemdAnswers, Problem> {
    if is_image {
        return Ok(SystemdAnswers::default());
    }
    crate::cli::block_on(async { Ok(SystemdAnswers::ask(&[CONTAINERD_UNIT, DOCKER_UNIT]).await) })
}

/// Where an engine that doesn't run has its parts.
pub(super) struct Place {
    containerd: PathBuf,
    main: PathBuf,
    pub(super) daemon_json: PathBuf,
    /// The file that names authorization plugins on dockerd's command line.
    authorization_by_flag: Option<PathBuf>,
    /// Why an engine's unit doesn't tell how it is started, unless its file is given.
    containerd_unclear: Option<Problem>,
    docker_unclear: Option<Problem>,
    /// How each is started by its unit, where that counts and is known.
    containerd_unit: Option<UnitCommand>,
    docker_unit: Option<UnitCommand>,
    tells_socket: bool,
    pub(super) verifier: PathBuf,
    is_image: bool,
}

impl Place {
    pub(super) fn of(
        arguments: &Arguments,
        platform: Option<&Platform>,
        is_image: bool,
        systemd: &SystemdAnswers,
    ) -> Self {
        let whole = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        // The system's containerd is started by its unit, which may name other files.
        let is_system = platform.is_none_or(|platform| platform.main == MAIN);
        let started = if is_system {
            unit::start(systemd, CONTAINERD_UNIT, CONTAINERD, &CONTAINERD_OPTIONS)
        } else {
            UnitStart::Absent
        };
        let containerd_unclear = unclear(
            &started,
            arguments.containerd_config.as_deref(),
            "--containerd-config",
        );
        let docker = unit::start(systemd, DOCKER_UNIT, "dockerd", &DOCKER_OPTIONS);
        let docker_unclear = unclear(
            &docker,
            arguments.docker_config.as_deref(),
            "--docker-config",
        );
        let (known_docker, unit) = (known(&docker), known(&started));
        let docker = docker.command();
        let named = |unit: Option<&UnitCommand>, names: &[&str]| unit?.path(names);
        let of_unit = |unit: Option<&UnitCommand>, given: &Option<PathBuf>| {
            unit.filter(|_| given.is_none()).cloned()
        };
        let program = || {
            let there = |path: &&&str| Path::new(path).exists();
            let own = platform.and_then(|platform| platform.programs.iter().find(there));
            unit.and_then(program_of)
                .filter(|path| path.exists())
                .unwrap_or_else(|| PathBuf::from(own.map_or(CONTAINERD, |path| *path)))
        };
        let main = || {
            named(unit, &CONFIG_OPTIONS)
                .unwrap_or_else(|| platform.map_or(MAIN, |platform| platform.main).into())
        };
        let daemon_json = || named(docker, &["config-file"]).unwrap_or_else(|| DAEMON_JSON.into());
        let own = platform.and_then(|platform| platform.verifier);
        let usual = if image::is_read_only(Path::new("/usr")) {
            fix::VERIFIER_IN_OPT
        } else {
            fix::VERIFIER
        };
        let given = arguments.verifier.clone();
        Self {
            containerd: arguments.containerd.clone().unwrap_or_else(program),
            main: whole(arguments.containerd_config.clone().unwrap_or_else(main)),
            daemon_json: whole(arguments.docker_config.clone().unwrap_or_else(daemon_json)),
            authorization_by_flag: docker
                .filter(|docker| docker.option(&AUTHORIZATION).is_some())
                .map(|docker| docker.file.clone()),
            containerd_unclear,
            docker_unclear,
            containerd_unit: of_unit(unit, &arguments.containerd_config),
            docker_unit: of_unit(known_docker, &arguments.docker_config),
            tells_socket: is_system && arguments.containerd_config.is_none(),
            verifier: given.unwrap_or_else(|| own.unwrap_or(usual).into()),
            is_image,
        }
    }

    /// containerd's socket: the platform's, if somebody listens there; else where the system's
    /// containerd will listen.
    pub(super) fn socket(&self, platform: &Platform) -> Result<PathBuf, Problem> {
        let usual = PathBuf::from(platform.socket);
        let is_system = platform.socket == platform::CONTAINERD && platform.main == MAIN;
        let runs = !self.is_image && UnixStream::connect(&usual).is_ok();
        if !is_system || runs || self.containerd_unclear.is_some() {
            return Ok(usual);
        }
        let by_unit = self.containerd_unit.as_ref();
        if let Some(address) = by_unit.and_then(|unit| unit.path(&ADDRESS_OPTIONS)) {
            return Ok(address);
        }
        let by_config =
            crate::cli::block_on(async { Ok(doctor::idle_address(self.idle()).await) })?;
        Ok(by_config.unwrap_or(usual))
    }

    pub(super) fn idle(&self) -> Idle<'_> {
        Idle {
            containerd: &self.containerd,
            main: &self.main,
            daemon_json: &self.daemon_json,
            authorization_by_flag: self.authorization_by_flag.as_deref(),
            containerd_unclear: self.containerd_unclear.as_ref(),
            docker_unclear: self.docker_unclear.as_ref(),
            containerd_unit: self.containerd_unit.as_ref(),
            docker_unit: self.docker_unit.as_ref(),
            tells_socket: self.tells_socket,
            is_image: self.is_image,
        }
    }
}

/// Why nothing is written for an engine by its unit; none, where its file is given by this option.
fn unclear(start: &UnitStart, given: Option<&Path>, option: &str) -> Option<Problem> {
    match (start, given) {
        (UnitStart::Unclear(command, why), None) => Some(Problem::hinted(
            format!(
                "{}: {why}, so it is not known which configuration it starts with",
                command.file.display()
            ),
            format!("start the engine, mend its unit, or give {option} FILE, and run this again"),
        )),
        _ => None,
    }
}

/// containerd's program, where its path is known.
fn program_of(unit: &UnitCommand) -> Option<PathBuf> {
    let first = unit.words.first().map(PathBuf::from);
    first.filter(|path| path.is_absolute())
}

/// The command line of a unit that tells all that counts.
fn known(start: &UnitStart) -> Option<&UnitCommand> {
    match start {
        UnitStart::Known(command) => Some(command),
        UnitStart::Absent | UnitStart::Unclear(..) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unclear_unit_is_named_with_the_option_that_says_it() {
        let command = UnitCommand {
            words: vec!["/usr/bin/containerd".to_owned()],
            file: "/u.service".into(),
            folder: "/".into(),
            names: Vec::new(),
        };
        let start = UnitStart::Unclear(command.clone(), "why".to_owned());
        let told = unclear(&start, None, "--containerd-config").unwrap();
        let told = told.to_string();
        assert!(
            told.contains("/u.service: why") && told.contains("--containerd-config FILE"),
            "{told}"
        );
        let given = Some(Path::new("/c.toml"));
        assert!(unclear(&start, given, "--containerd-config").is_none());
        assert!(unclear(&UnitStart::Known(command), None, "").is_none());
        assert!(unclear(&UnitStart::Absent, None, "").is_none());
    }
}

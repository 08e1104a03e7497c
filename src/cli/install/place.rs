//! Where an engine that doesn't run has its parts: by its unit, the command line or the platform.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::{Arguments, image};
use crate::cli::fix;
use crate::config::Config;
use crate::operate::doctor::unit::{
    ADDRESS_OPTIONS, CONFIG_OPTIONS, EngineUnit, HostUnits, UnitCommand, UnitStart,
};
use crate::operate::doctor::{self, AUTHORIZATION, Idle};
use crate::operate::platform::{self, DAEMON_JSON, DOCKER, MAIN, Platform};
use crate::problem::Problem;

/// The option that says what a unit doesn't.
const CONTAINERD_CONFIG: &str = "--containerd-config";
const DOCKER_CONFIG: &str = "--docker-config";
const CONTAINERD: EngineUnit = EngineUnit {
    unit: "containerd.service",
    program: "containerd",
    options: &[
        CONFIG_OPTIONS[0],
        CONFIG_OPTIONS[1],
        ADDRESS_OPTIONS[0],
        ADDRESS_OPTIONS[1],
    ],
    extension: ".toml",
    sockets: &ADDRESS_OPTIONS,
};
const DOCKERD: EngineUnit = EngineUnit {
    unit: "docker.service",
    program: "dockerd",
    options: &["config-file", AUTHORIZATION[0], AUTHORIZATION[1]],
    extension: ".json",
    sockets: &["host", "H"],
};

/// The units of this host, or of an image, that start engines.
pub(super) fn read_units(is_image: bool) -> Result<HostUnits, Problem> {
    if is_image {
        return Ok(HostUnits::of_image());
    }
    crate::cli::block_on(async { Ok(HostUnits::of_this_host(&[&CONTAINERD, &DOCKERD]).await) })
}

/// Where the engines listen that are wanted, as far as it is one of each kind.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Sockets<'a> {
    pub(super) containerd: Option<&'a Path>,
    pub(super) docker: Option<&'a Path>,
}

impl<'a> Sockets<'a> {
    pub(super) fn of(config: &'a Config) -> Self {
        let containerd = match &config.engines[..] {
            [one] => Some(one.containerd.as_path()),
            _ => None,
        };
        let docker = match &config.dockers[..] {
            [one] => Some(one.socket.as_path()),
            _ => None,
        };
        Self { containerd, docker }
    }

    pub(super) fn of_platform(platform: &'static Platform) -> Self {
        Self {
            containerd: Some(Path::new(platform.socket)),
            docker: Some(Path::new(DOCKER)),
        }
    }

    /// The processes of containerd and dockerd.
    fn processes(self, is_image: bool) -> (Option<u32>, Option<u32>) {
        if is_image {
            return (None, None);
        }
        let containerd = self.containerd.and_then(|socket| {
            crate::cli::block_on(async { Ok(doctor::listener_at(socket).await) }).ok()?
        });
        (containerd, doctor::dockerd_pid())
    }
}

/// The services that engines run as.
#[derive(Debug, Clone)]
pub(super) struct EngineServices {
    containerd: String,
    docker: String,
}

impl EngineServices {
    /// A command that restarts the usual services, for these.
    pub(super) fn in_command(&self, usual: &str) -> String {
        let words = usual.split(' ').map(|word| match word {
            "containerd" => self.containerd.as_str(),
            "docker" => self.docker.as_str(),
            word => word,
        });
        words.collect::<Vec<_>>().join(" ")
    }

    /// How these engines of rootpin.toml are restarted; any other name stays as it is.
    pub(super) fn restarts(&self, config: &Config, names: &[String]) -> String {
        let engines = config.engines.iter();
        let engines = engines.map(|engine| (&engine.name, &engine.containerd));
        let dockers = config.dockers.iter();
        let dockers = dockers.map(|docker| (&docker.name, &docker.socket));
        let all: Vec<(&String, &PathBuf)> = engines.chain(dockers).collect();
        let restart = |name: &String| {
            let mut of_name = all.iter().filter(|(known, _)| *known == name);
            match of_name
                .next()
                .map(|(_, socket)| platform::restart_of(socket))
            {
                Some(Some(command)) => self.in_command(command),
                Some(None) => format!("what restarts the engine {name:?}"),
                None => format!("what restarts {name}"),
            }
        };
        names.iter().map(restart).collect::<Vec<_>>().join(", ")
    }
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
    pub(super) services: EngineServices,
    pub(super) verifier: PathBuf,
    is_image: bool,
}

impl Place {
    pub(super) fn of(
        arguments: &Arguments,
        platform: Option<&Platform>,
        is_image: bool,
        (units, sockets): (&HostUnits, Sockets<'_>),
    ) -> Self {
        let whole = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        let (containerd_pid, docker_pid) = sockets.processes(is_image);
        // The system's containerd is started by its unit, which may name other files.
        let is_system = platform.is_none_or(|platform| platform.main == MAIN);
        let started = if is_system {
            units.start(&CONTAINERD, sockets.containerd, containerd_pid)
        } else {
            UnitStart::Absent
        };
        let containerd_unclear = unclear(
            &started,
            arguments.containerd_config.as_deref(),
            (&CONTAINERD, CONTAINERD_CONFIG),
        );
        let docker = units.start(&DOCKERD, sockets.docker, docker_pid);
        let docker_unclear = unclear(
            &docker,
            arguments.docker_config.as_deref(),
            (&DOCKERD, DOCKER_CONFIG),
        );
        let services = EngineServices {
            containerd: service(&started, &CONTAINERD),
            docker: service(&docker, &DOCKERD),
        };
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
                .unwrap_or_else(|| PathBuf::from(own.map_or(CONTAINERD.program, |path| *path)))
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
            services,
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
fn unclear(
    start: &UnitStart,
    given: Option<&Path>,
    (engine, option): (&EngineUnit, &str),
) -> Option<Problem> {
    if given.is_some() {
        return None;
    }
    match start {
        UnitStart::Absent | UnitStart::Known(_) => None,
        UnitStart::Unclear(command, why) => Some(Problem::hinted(
            format!(
                "{}: {why}, so it is not known which configuration it starts with",
                command.file.display()
            ),
            format!("start the engine, mend its unit, or give {option} FILE, and run this again"),
        )),
        UnitStart::Several(all) => {
            let files = all.iter().map(|command| {
                let config = command.path(engine.options.get(..1).unwrap_or_default());
                let with =
                    config.map_or_else(String::new, |path| format!(" with {}", path.display()));
                format!("{}{with}", command.file.display())
            });
            Some(Problem::hinted(
                format!(
                    "several units start {}, so it is not known which configuration counts: {}",
                    engine.program,
                    files.collect::<Vec<_>>().join(", ")
                ),
                format!(
                    "start the one that is used, `systemctl mask` the others, or give {option} FILE, and run this again"
                ),
            ))
        }
    }
}

/// The service that an engine runs as, or will.
fn service(start: &UnitStart, engine: &EngineUnit) -> String {
    let name = start
        .command()
        .map_or(engine.unit, |command| command.name(engine.unit));
    name.strip_suffix(".service").unwrap_or(name).to_owned()
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
        UnitStart::Absent | UnitStart::Unclear(..) | UnitStart::Several(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(file: &str, config: &str) -> UnitCommand {
        UnitCommand {
            words: ["/usr/bin/containerd", "--config", config]
                .map(str::to_owned)
                .to_vec(),
            file: file.into(),
            folder: "/".into(),
            names: vec!["a.service".to_owned()],
        }
    }

    #[test]
    fn an_unclear_unit_and_each_of_several_are_named_with_the_option_that_says_it() {
        let of = |start: &UnitStart, given: Option<&Path>| {
            unclear(start, given, (&CONTAINERD, CONTAINERD_CONFIG)).map(|told| told.to_string())
        };
        let one = command("/u.service", "/x.toml");
        let unclear = UnitStart::Unclear(one.clone(), "why".to_owned());
        let told = of(&unclear, None).unwrap();
        assert!(
            told.contains("/u.service: why") && told.contains("--containerd-config FILE"),
            "{told}"
        );
        let several = UnitStart::Several(vec![one.clone(), command("/v.service", "/y.toml")]);
        let told = of(&several, None).unwrap();
        assert!(
            told.contains("/u.service with /x.toml, /v.service with /y.toml")
                && told.contains("--containerd-config FILE"),
            "{told}"
        );
        for start in [unclear, several, UnitStart::Known(one), UnitStart::Absent] {
            assert_eq!(of(&start, Some(Path::new("/c.toml"))), None, "{start:?}");
        }
    }

    #[test]
    fn the_command_that_restarts_engines_names_the_services_that_they_run_as() {
        let known = UnitStart::Known(command("/u.service", "/x.toml"));
        let services = EngineServices {
            containerd: service(&known, &CONTAINERD),
            docker: service(&UnitStart::Absent, &DOCKERD),
        };
        for (usual, wanted) in [
            ("systemctl restart containerd", "systemctl restart a"),
            (
                "systemctl restart containerd docker",
                "systemctl restart a docker",
            ),
            (
                "systemctl restart k3s, or k3s-agent",
                "systemctl restart k3s, or k3s-agent",
            ),
        ] {
            assert_eq!(services.in_command(usual), wanted);
        }
    }
}

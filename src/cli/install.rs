//! `rootpin install`: has this host's engines ask rootpin, or takes that back.

mod image;
mod uninstall;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::output::Output;
use super::{EXIT_USAGE, fix};
use crate::config::{self, Config, DEFAULT_CONFIG};
use crate::operate::doctor::kubelet::{self, KubeletPlan, OWN_PROVIDER};
use crate::operate::doctor::unit::{self, UnitCommand, UnitStart};
use crate::operate::doctor::{self, AUTHORIZATION, FileEdit, Idle, RepairPlan};
use crate::operate::platform::{
    Entries, HostSigns, PLATFORMS, Platform, SHIPPED, detect, with_entries,
};
use crate::operate::record::{InstallLock, InstallRecord};
use crate::problem::Problem;
use image::Image;

pub(super) const EXAMPLES: &str = "examples:\n  rootpin install --dry-run   (shows what would be written)\n  rootpin install --platform auto\n  \
    rootpin install --uninstall --yes\n\n\
    exit codes: 0 all is in place, 1 something was left and is named, 2 no rootpin.toml to read";
/// `--platform` that looks for itself.
const AUTO: &str = "auto";
/// Where containerd is on the search path.
const CONTAINERD: &str = "containerd";
const MAIN: &str = "/etc/containerd/config.toml";
const DAEMON_JSON: &str = "/etc/docker/daemon.json";
/// Options of engines that say where their parts are.
const CONFIG_OPTIONS: [&str; 2] = ["config", "c"];
const DOCKER_OPTIONS: [&str; 3] = ["config-file", AUTHORIZATION[0], AUTHORIZATION[1]];

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The kind of host, whose engines are added to rootpin.toml and whose own writing the result
    /// survives
    #[arg(long, value_name = "PLATFORM", value_parser = names(), conflicts_with = "engine")]
    platform: Option<String>,
    /// Prepare an image of a host, of which nothing runs
    #[arg(long, value_name = "DIR", requires = "run_image_programs")]
    root: Option<PathBuf>,
    /// Its containerd is run: trust its maker with this machine
    #[arg(long, requires = "root")]
    run_image_programs: bool,
    /// Have the kubelet ask rootpin's credential provider in place of its own ones, too
    #[arg(long, requires = "platform")]
    credentials: bool,
    /// Take back what rootpin wrote
    #[arg(long, conflicts_with_all = ["engine", "platform"])]
    uninstall: bool,
    /// Where the daemon's engines are listed
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// The name of an engine or a dockerd in that file; may stand several times. None: all
    #[arg(long, value_name = "NAME")]
    engine: Vec<String>,
    #[command(flatten)]
    consent: Consent,
    /// The folder for rootpin-verifier, where containerd has none of rootpin's own; it must hold
    /// nothing else [default: /usr/libexec/rootpin/verifier, or where the platform can have it]
    #[arg(long, value_name = "DIR")]
    verifier: Option<PathBuf>,
    /// containerd's program, of an engine that doesn't run yet [default: as its unit has it, or the
    /// platform's]
    #[arg(long, value_name = "PROGRAM")]
    containerd: Option<PathBuf>,
    /// Its main configuration [default: as its unit has it, the platform's, or
    /// /etc/containerd/config.toml]
    #[arg(long, value_name = "FILE")]
    containerd_config: Option<PathBuf>,
    /// The configuration of a dockerd that doesn't run yet [default: as its unit has it, or
    /// /etc/docker/daemon.json]
    #[arg(long, value_name = "FILE")]
    docker_config: Option<PathBuf>,
}

/// Whether a person is asked.
#[derive(Debug, clap::Args)]
struct Consent {
    /// Show it, and write nothing
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Don't ask
    #[arg(long)]
    yes: bool,
}

fn names() -> clap::builder::PossibleValuesParser {
    let names = PLATFORMS.iter().map(|platform| platform.name);
    clap::builder::PossibleValuesParser::new(std::iter::once(AUTO).chain(names))
}

/// What the engines are asked by, and which of them.
struct Host {
    config: Config,
    /// rootpin.toml: where it is, what it says, and what it will say.
    path: PathBuf,
    before: Option<String>,
    text: String,
    /// What puts the kubelet's part in force.
    kubelet: Option<&'static str>,
    names: Vec<String>,
    platform: Option<&'static Platform>,
    /// Other engines that there are signs of.
    also: Vec<&'static str>,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<u8, Problem> {
    let image = arguments.root.as_deref().map(Image::enter).transpose()?;
    let whole = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let record = InstallRecord::beside(&arguments.config);
    let lock = if arguments.consent.dry_run {
        None
    } else {
        InstallLock::take(&record)?
    };
    if arguments.uninstall {
        return uninstall::run(arguments, image.is_some(), lock, output);
    }
    let mut host = match &arguments.platform {
        Some(name) => on_platform(name, &whole(&arguments.config), image.is_some())?,
        None => listed(arguments)?,
    };
    let known = |name: &String| {
        host.config
            .engines
            .iter()
            .any(|engine| engine.name == *name)
            || host
                .config
                .dockers
                .iter()
                .any(|docker| docker.name == *name)
    };
    if let Some(name) = host.names.iter().find(|name| !known(name)) {
        return Ok(output.misused(Problem::hinted(
            format!(
                "{} has no [[engine]] or [[docker]] named {name:?}",
                arguments.config.display()
            ),
            "name one that it has, or add it there",
        )));
    }
    let place = Place::of(arguments, host.platform, image.is_some());
    let staged = |name: &str| image.as_ref().map(|image| image.program(name));
    let tools = fix::tools(
        &host.config,
        &place.verifier,
        host.platform,
        staged(fix::PROGRAM),
    )?;
    let config = (arguments.config.as_path(), &host.config);
    let mut plan = super::block_on(async {
        Ok(doctor::install(config, &host.names, place.idle(), &tools).await)
    })?;
    if let (true, Some(platform)) = (arguments.credentials, host.platform) {
        let own = staged(OWN_PROVIDER).map_or_else(|| fix::beside(OWN_PROVIDER), Ok)?;
        let file = (host.path.as_path(), host.text.as_str());
        match kubelet::plan(platform, file, &tools, &own, image.is_some()) {
            Ok(of_it) => host.with_kubelet(of_it, &mut plan),
            Err(why) => plan.left.push(why.about("the kubelet")),
        }
    }
    host.add_to(&mut plan);
    let consent = fix::Consent {
        dry_run: arguments.consent.dry_run,
        yes: arguments.consent.yes,
    };
    let done = fix::carry_out(&plan, (&record, lock.as_ref()), consent, "", output)?;
    if done.nobody_to_ask("install", output) {
        return Ok(EXIT_USAGE);
    }
    Ok(report(&plan, &done, &host, image.is_some(), output))
}

fn report(plan: &RepairPlan, done: &fix::Done, host: &Host, is_image: bool, output: Output) -> u8 {
    let mut told = done.json(plan);
    if let (Some(platform), Some(members)) = (host.platform, told.as_object_mut()) {
        members.insert("platform".to_owned(), json!(platform.name));
        let then = host.kubelet.map_or_else(
            || platform.restart.to_owned(),
            |kubelet| format!("{}; for the kubelet: {kubelet}", platform.restart),
        );
        members.insert("then".to_owned(), json!(then));
        members.insert("also".to_owned(), json!(host.also));
        members.insert("undoes".to_owned(), json!(platform.undoes));
        members.insert("image".to_owned(), json!(is_image));
    }
    let failed =
        !plan.left.is_empty() || told.get("failed").is_some_and(serde_json::Value::is_string);
    let value = json!({ "version": 1, "outcome": if failed { "left" } else { "installed" }, "install": told });
    let refused = done.refused();
    output.value(&value, |value| {
        if refused {
            "nothing is written".to_owned()
        } else {
            value
                .get("install")
                .map(fix::text_of)
                .unwrap_or_default()
                .trim_start()
                .to_owned()
        }
    });
    u8::from(failed || refused)
}

impl Host {
    /// rootpin.toml comes first, unless nothing can be done for the engines that it would name.
    fn add_to(&self, plan: &mut RepairPlan) {
        let edit = FileEdit {
            path: self.path.clone(),
            before: self.before.clone(),
            after: self.text.clone(),
            mode: 0o644,
        };
        let wanted = plan.left.is_empty() || !plan.is_empty();
        if self.platform.is_some() && wanted && edit.before.as_ref() != Some(&edit.after) {
            plan.texts.insert(0, edit);
        }
    }

    fn with_kubelet(&mut self, kubelet: KubeletPlan, plan: &mut RepairPlan) {
        if !kubelet.texts.is_empty() || kubelet.program.is_some() {
            self.kubelet = Some(kubelet.restart);
        }
        self.config = kubelet.config;
        self.text = kubelet.text;
        plan.texts.extend(kubelet.texts);
        plan.programs.extend(kubelet.program);
    }
}

/// The engines of rootpin.toml.
fn listed(arguments: &Arguments) -> Result<Host, Problem> {
    Ok(Host {
        config: config::load(&arguments.config)?,
        path: arguments.config.clone(),
        before: None,
        text: String::new(),
        kubelet: None,
        names: arguments.engine.clone(),
        platform: None,
        also: Vec::new(),
    })
}

/// The engines of a kind of host, which rootpin.toml is to name.
fn on_platform(name: &str, path: &Path, is_image: bool) -> Result<Host, Problem> {
    let (platform, also) = if let Some(platform) = Platform::named(name) {
        (platform, Vec::new())
    } else {
        let processes = if is_image {
            Vec::new()
        } else {
            doctor::process_names()
        };
        let found = detect(&HostSigns {
            exists: &|path| fs::symlink_metadata(path).is_ok(),
            processes: &processes,
        })?;
        (found.platform, found.also)
    };
    let before = match fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(format!("{}: {error}", path.display()).into()),
    };
    let entries = with_entries(before.as_deref().unwrap_or(SHIPPED), platform)
        .map_err(|why| why.about(path.display()))?;
    let Entries {
        text,
        config,
        names,
    } = entries;
    Ok(Host {
        config,
        path: path.to_owned(),
        before,
        text,
        kubelet: None,
        names,
        platform: Some(platform),
        also,
    })
}

/// Where an engine that doesn't run has its parts.
struct Place {
    containerd: PathBuf,
    main: PathBuf,
    daemon_json: PathBuf,
    /// The file that names authorization plugins on dockerd's command line.
    authorization_by_flag: Option<PathBuf>,
    /// Why an engine's unit doesn't tell how it is started, unless its file is given.
    containerd_unclear: Option<Problem>,
    docker_unclear: Option<Problem>,
    verifier: PathBuf,
    is_image: bool,
}

impl Place {
    fn of(arguments: &Arguments, platform: Option<&Platform>, is_image: bool) -> Self {
        let whole = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        // The system's containerd is started by its unit, which may name other files.
        let started = if platform.is_none_or(|platform| platform.main == MAIN) {
            unit::start("containerd.service", CONTAINERD, &CONFIG_OPTIONS)
        } else {
            UnitStart::Absent
        };
        let containerd_unclear = unclear(
            &started,
            arguments.containerd_config.as_deref(),
            "--containerd-config",
        );
        let docker = unit::start("docker.service", "dockerd", &DOCKER_OPTIONS);
        let docker_unclear = unclear(
            &docker,
            arguments.docker_config.as_deref(),
            "--docker-config",
        );
        let (unit, docker) = (known(&started), docker.command());
        let named = |unit: Option<&UnitCommand>, names: &[&str]| {
            let path = unit?.option(names)?;
            Some(Path::new("/").join(path))
        };
        let program = || {
            let there = |path: &&&str| Path::new(path).exists();
            let own = platform.and_then(|platform| platform.programs.iter().find(there));
            unit.and_then(program_of)
                .filter(|path| path.exists())
                .unwrap_or_else(|| PathBuf::from(own.map_or(CONTAINERD, |path| *path)))
        };
        let main = || {
            named(unit, config_options(unit))
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
            verifier: given.unwrap_or_else(|| own.unwrap_or(usual).into()),
            is_image,
        }
    }

    fn idle(&self) -> Idle<'_> {
        Idle {
            containerd: &self.containerd,
            main: &self.main,
            daemon_json: &self.daemon_json,
            authorization_by_flag: self.authorization_by_flag.as_deref(),
            containerd_unclear: self.containerd_unclear.as_ref(),
            docker_unclear: self.docker_unclear.as_ref(),
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

/// containerd's program, unless another one starts it.
fn program_of(unit: &UnitCommand) -> Option<PathBuf> {
    let first = unit.words.first().filter(|_| unit.is_of(CONTAINERD));
    first.map(PathBuf::from).filter(|path| path.is_absolute())
}

/// The options that name its main file; of another program, -c may be anything.
fn config_options(unit: Option<&UnitCommand>) -> &'static [&'static str] {
    match unit {
        Some(unit) if !unit.is_of(CONTAINERD) => &CONFIG_OPTIONS[..1],
        _ => &CONFIG_OPTIONS,
    }
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

    #[test]
    fn only_a_first_word_that_is_containerd_is_run_as_containerd() {
        let c = Some("/opt/bin/containerd");
        for (line, program, config) in [
            ("/opt/bin/containerd -c /c", c, Some("/c")),
            ("/opt/bin/containerd", c, None),
            ("containerd --config /c", None, Some("/c")),
            ("/usr/bin/env A=b", None, None),
            ("/usr/local/bin/start-engine --config /c", None, Some("/c")),
            ("/bin/sh -c exec-containerd", None, None),
            ("/usr/bin/containerd-shim", None, None),
        ] {
            let unit = UnitCommand {
                words: line.split(' ').map(str::to_owned).collect(),
                file: "/u".into(),
            };
            let found = program_of(&unit);
            assert_eq!(found.as_deref(), program.map(Path::new), "{line}");
            let found = unit.option(config_options(Some(&unit)));
            assert_eq!(found.as_deref(), config, "{line}");
        }
    }
}

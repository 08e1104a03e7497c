//! `rootpin install`: has this host's engines ask rootpin, or takes that back.

mod image;
mod place;
mod uninstall;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::output::Output;
use super::{EXIT_USAGE, fix};
use crate::config::{self, Config, DEFAULT_CONFIG};
use crate::operate::doctor::kubelet::{self, KubeletPlan, OWN_PROVIDER};
use crate::operate::doctor::{self, FileEdit, RepairPlan};
use crate::operate::platform::{
    Entries, HostSigns, PLATFORMS, Platform, SHIPPED, detect, with_entries,
};
use crate::operate::record::{InstallLock, InstallRecord};
use crate::problem::Problem;
use image::Image;
use place::{EngineServices, Place, Sockets, read_units};

pub(super) const EXAMPLES: &str = "examples:\n  rootpin install --dry-run   (shows what would be written)\n  rootpin install --platform auto\n  \
    rootpin install --uninstall --yes\n\n\
    exit codes: 0 all is in place, 1 something was left and is named, 2 no rootpin.toml to read";
/// `--platform` that looks for itself.
const AUTO: &str = "auto";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The kind of host: auto, k3s, rke2, k0s, microk8s, kind, eks, aks, gke, kubeadm, docker or
    /// containerd
    ///
    /// Its engines are added to rootpin.toml, and what is written survives the platform's own
    /// writing.
    #[arg(long, value_name = "PLATFORM", value_parser = names(), hide_possible_values = true, conflicts_with = "engine")]
    platform: Option<String>,
    /// Prepare an image of a host, of which nothing runs
    #[arg(long, value_name = "DIR", requires = "run_image_programs")]
    root: Option<PathBuf>,
    /// Its containerd is run: trust its maker with this machine
    #[arg(long, requires = "root")]
    run_image_programs: bool,
    /// Have the kubelet ask rootpin's credential provider alone
    #[arg(long, requires = "platform")]
    credentials: bool,
    /// Take back what rootpin wrote
    #[arg(long, conflicts_with_all = ["engine", "platform"])]
    uninstall: bool,
    /// The daemon's rootpin.toml
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// An engine or dockerd of that file; may be repeated
    ///
    /// By its name. None: all.
    #[arg(long, value_name = "NAME")]
    engine: Vec<String>,
    #[command(flatten)]
    consent: Consent,
    /// The folder for rootpin-verifier, and nothing else
    ///
    /// Where containerd has none of rootpin's own. Default: /usr/libexec/rootpin/verifier, or where
    /// the platform can have it.
    #[arg(long, value_name = "DIR")]
    verifier: Option<PathBuf>,
    /// The program of a containerd that doesn't run yet
    ///
    /// Default: as its unit has it, or the platform's.
    #[arg(long, value_name = "PROGRAM")]
    containerd: Option<PathBuf>,
    /// Its main configuration
    ///
    /// Default: as its unit has it, the platform's, or /etc/containerd/config.toml.
    #[arg(long, value_name = "FILE")]
    containerd_config: Option<PathBuf>,
    /// The daemon.json of a dockerd that doesn't run yet
    ///
    /// Default: as its unit has it, or /etc/docker/daemon.json.
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
    services: EngineServices,
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
    let units = read_units(image.is_some())?;
    let (mut host, place) = if let Some(name) = &arguments.platform {
        let (platform, also) = kind(name, image.is_some())?;
        let known = (&units, Sockets::of_platform(platform));
        let place = Place::of(arguments, Some(platform), image.is_some(), known);
        let path = whole(&arguments.config);
        (on_platform((platform, also), &path, &place)?, place)
    } else {
        let config = config::load(&arguments.config)?;
        if let Some(why) = no_engine(&config, &arguments.config) {
            return Ok(output.misused(why));
        }
        let known = (&units, Sockets::of(&config));
        let place = Place::of(arguments, None, image.is_some(), known);
        (listed(arguments, config, place.services.clone()), place)
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
    let staged = |name: &str| image.as_ref().map(|image| image.program(name));
    let mut tools = fix::tools(
        &host.config,
        &place.verifier,
        host.platform,
        staged(fix::PROGRAM),
    )?;
    tools.is_folder_named = arguments.verifier.is_some();
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
        let engines = host.services.in_command(platform.restart);
        let then = match host.kubelet {
            Some(kubelet) => format!("{engines}; for the kubelet: {kubelet}"),
            None => engines,
        };
        members.insert("then".to_owned(), json!(then));
        members.insert("also".to_owned(), json!(host.also));
        members.insert("undoes".to_owned(), json!(platform.undoes));
        members.insert("image".to_owned(), json!(is_image));
    }
    if let (None, Some(members)) = (host.platform, told.as_object_mut()) {
        members.insert(
            "then".to_owned(),
            json!(host.services.restarts(&host.config, &plan.restart)),
        );
    }
    if let Some(members) = told.as_object_mut() {
        let is_stale = !is_image && doctor::is_stale(&host.config);
        members.insert("rootpind-is-stale".to_owned(), json!(is_stale));
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
fn listed(arguments: &Arguments, config: Config, services: EngineServices) -> Host {
    Host {
        config,
        path: arguments.config.clone(),
        before: None,
        text: String::new(),
        kubelet: None,
        names: arguments.engine.clone(),
        platform: None,
        also: Vec::new(),
        services,
    }
}

/// What is wrong with a rootpin.toml that has nothing to do anything for.
fn no_engine(config: &Config, path: &Path) -> Option<Problem> {
    let is_empty = config.engines.is_empty() && config.dockers.is_empty();
    (is_empty && config.credentials.kubelet_config.is_none()).then(|| {
        Problem::hinted(
            format!("{} has no [[engine]] and no [[docker]]", path.display()),
            "rootpin install --platform auto   # adds those of this host",
        )
    })
}

/// A kind of host, and what else there are signs of.
fn kind(name: &str, is_image: bool) -> Result<(&'static Platform, Vec<&'static str>), Problem> {
    if let Some(platform) = Platform::named(name) {
        return Ok((platform, Vec::new()));
    }
    let processes = if is_image {
        Vec::new()
    } else {
        doctor::process_names()
    };
    let found = detect(&HostSigns {
        exists: &|path| fs::symlink_metadata(path).is_ok(),
        processes: &processes,
    })?;
    Ok((found.platform, found.also))
}

/// The engines of a kind of host, which rootpin.toml is to name.
fn on_platform(
    (platform, also): (&'static Platform, Vec<&'static str>),
    path: &Path,
    place: &Place,
) -> Result<Host, Problem> {
    let before = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        _ => Some(config::text(path)?),
    };
    let socket = place.socket(platform)?;
    let entries = with_entries(before.as_deref().unwrap_or(SHIPPED), platform, &socket)
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
        services: place.services.clone(),
    })
}

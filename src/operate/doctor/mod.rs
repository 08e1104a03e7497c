//! Finds the doors of this host that stand open: it asks the running engines, and reports each hole
//! with the change that closes it.
//!
//! `probe` asks, `check` judges what was told, `fix` plans and writes. Nothing is written unless
//! that is asked for, and no engine is ever restarted.

mod check;
mod code;
mod config_files;
mod credentials;
mod facts;
mod fix;
mod hole;
mod install;
pub(crate) mod kubelet;
mod metrics;
mod next_start;
mod plugin_name;
mod probe;
mod process;
mod program;
mod provider;
mod report;
mod runnable;
pub(crate) mod uninstall;
pub(crate) mod unit;
mod unpack_config;
mod version;

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::config::{Config, Dockerd, Engine};
use crate::control::DaemonClient;
use crate::policy_dir::{Owner, PolicyDir};
use crate::problem::Problem;
use crate::sockets::{is_dead, nobody_comes};
use rootpin_policy::{CredentialsTo, Policy};

pub use code::{Code, HoleSeverity};
pub use facts::{ContainerdFacts, DockerFacts, Idle};
pub use fix::{FileEdit, RepairPlan, Tools, WrittenFile, plan};
pub use hole::{Fix, Hole};
pub(crate) use install::idle_address;
pub use install::install;
pub(crate) use probe::{AUTHORIZATION, process_names};
pub use report::{Accepted, AnsweringEngine, DoctorReport, Untold};

/// What was found, and what it was found by.
#[derive(Debug)]
pub struct Examination {
    /// For people and programs.
    pub report: DoctorReport,
    /// The containerds that answered.
    pub containerds: Vec<ContainerdFacts>,
    /// The dockerds that answered.
    pub dockers: Vec<DockerFacts>,
}

/// Looks at everything that rootpin.toml names, and for what it doesn't name.
///
pub async fn examine(
    config_path: &Path,
    config: &Config,
    tools: &Tools,
    daemon: Result<DaemonClient, Problem>,
) -> Examination {
    let wanted = wanted(config, tools);
    let policy = read_policy(config_path, config);
    let registries = policy.as_ref().map(Policy::hosts).unwrap_or_default();
    let resolver = config.resolver.map(|at| check::hosts::ResolverAddress {
        at,
        registries,
        config: config_path,
    });
    let running = probe::engines();
    let mut known = Vec::new();
    let mut found = Examination {
        report: DoctorReport::default(),
        containerds: Vec::new(),
        dockers: Vec::new(),
    };
    for engine in &config.engines {
        known.extend(found.containerd(engine, wanted, resolver.as_ref()).await);
    }
    let engines = config.engines.iter();
    let sockets: Vec<_> = engines.map(|engine| engine.containerd.clone()).collect();
    for docker in &config.dockers {
        known.extend(found.docker(docker, &sockets, resolver.as_ref()).await);
    }
    let of_containerd = config.engines.iter().map(|engine| engine.name.as_str());
    let of_docker = config.dockers.iter().map(|docker| docker.name.as_str());
    let names: Vec<_> = of_containerd.chain(of_docker).collect();
    let holes = &mut found.report.holes;
    holes.extend(check::processes(&running, &known, &sockets, &names));
    holes.extend(check::sockets(config));
    holes.extend(check::at_boot(Path::new("/"), config));
    let rooted = policy
        .as_ref()
        .is_some_and(|policy| policy.credentials_to == CredentialsTo::Rooted);
    holes.extend(credentials::Places::of_host(config).holes(rooted));
    found.daemon(config, daemon, policy.as_ref()).await;
    found.report.finish();
    found
}

impl Examination {
    /// Asks a containerd. Returns its process, where somebody listens at its socket.
    async fn containerd(
        &mut self,
        engine: &Engine,
        wanted: check::WantedSettings<'_>,
        resolver: Option<&check::hosts::ResolverAddress<'_>>,
    ) -> Option<u32> {
        let process = match probe::listener(&engine.containerd).await {
            Ok(process) => process,
            Err(why) => {
                self.report.untold(&engine.name, &why);
                return None;
            }
        };
        if let Some(hole) = check::embedded(engine, &process) {
            self.report.holes.push(hole);
            return Some(process.pid);
        }
        match probe::containerd(engine, &process).await {
            Ok(facts) => {
                let version = facts.version.to_string();
                self.report
                    .engine("containerd", &engine.name, &version, process.pid);
                let holes = &mut self.report.holes;
                holes.extend(check::containerd(&facts, wanted));
                holes.extend(
                    resolver
                        .into_iter()
                        .flat_map(|resolver| check::hosts::cri(&facts, resolver)),
                );
                if let Err(why) = &facts.config {
                    self.report.untold(&engine.name, why);
                }
                self.containerds.push(facts);
            }
            Err(why) => self.report.untold(&engine.name, &why),
        }
        Some(process.pid)
    }

    /// Asks a dockerd. Returns its process, where it has one. `containerds` are the sockets of those
    /// in rootpin.toml.
    async fn docker(
        &mut self,
        docker: &Dockerd,
        containerds: &[PathBuf],
        resolver: Option<&check::hosts::ResolverAddress<'_>>,
    ) -> Option<u32> {
        self.report.holes.extend(shadowed(docker).await);
        let (facts, process) = match probe::docker(docker).await {
            Ok(answer) => answer,
            Err(why) => {
                let why = format!("{}: {why}", docker.socket.display());
                self.report.untold(&docker.name, &why);
                // One that hangs is listed all the same.
                let process = probe::dockerd_at(&docker.socket).await;
                return process.map(|process| process.pid);
            }
        };
        let pid = process.map(|process| process.pid);
        let version = facts.version.to_string();
        self.report
            .engine("dockerd", &docker.name, &version, pid.unwrap_or_default());
        let holes = &mut self.report.holes;
        holes.extend(check::dockerd(&facts, containerds));
        holes.extend(
            resolver
                .into_iter()
                .flat_map(|resolver| check::hosts::dockerd(&facts, resolver)),
        );
        self.dockers.push(facts);
        pid
    }

    /// Asks rootpind.
    async fn daemon(
        &mut self,
        config: &Config,
        daemon: Result<DaemonClient, Problem>,
        policy: Option<&Policy>,
    ) {
        let status = match daemon {
            Ok(mut client) => client.status().await,
            Err(why) => Err(why),
        };
        let status = status.and_then(|report| {
            serde_json::from_str(&report.json).map_err(|error| Problem::new(error.to_string()))
        });
        match &status {
            Ok(_) => self.report.holes.extend(check::silent(config)),
            Err(why) => self.report.untold("rootpind", &why.to_string()),
        }
        let holes = check::daemon(status.as_ref().ok(), policy);
        self.report.holes.extend(holes);
    }
}

/// Whether rootpind runs, and not by this rootpin.toml: nobody listens at a socket of it.
pub(crate) fn is_stale(config: &Config) -> bool {
    !nobody_comes(&config.control) && config.doors().any(|(_, socket)| nobody_comes(socket))
}

/// The process that listens at a containerd's socket.
pub(crate) async fn listener_at(socket: &Path) -> Option<u32> {
    Some(probe::listener(socket).await.ok()?.pid)
}

/// The only dockerd that root runs on this host. Its socket is not asked: that may start it.
pub(crate) fn dockerd_pid() -> Option<u32> {
    Some(probe::only_dockerd()?.pid)
}

/// A socket that keeps dockerd from rootpin's plugin.
async fn shadowed(docker: &Dockerd) -> Option<Hole> {
    let socket = docker.authz.as_deref()?;
    let at = plugin_name::shadow(&plugin_name::to_be(socket), socket)?;
    let dead = is_dead(&at).await;
    Some(check::shadowed(docker, &at, dead))
}

fn wanted<'a>(config: &Config, tools: &'a Tools) -> check::WantedSettings<'a> {
    check::WantedSettings {
        deadline: config.deadline,
        resolver: config.resolver.is_some(),
        verifier: &tools.folder,
        program: &tools.verifier,
        control: tools.control.as_deref(),
    }
}

/// The policy as it stands on disk. What is wrong with it is the daemon's to tell.
fn read_policy(config_path: &Path, config: &Config) -> Option<Policy> {
    let beside = std::path::absolute(config_path).ok()?.parent()?.to_owned();
    let files = PolicyDir::open(config.policy.as_deref().unwrap_or(&beside), Owner::Root);
    files.load(Timestamp::now()).0.ok()
}

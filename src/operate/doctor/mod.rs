//! Which doors of this host stand open: the running engines are asked, and each hole is told with
//! what closes it.
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
mod plugin_name;
mod probe;
mod program;
mod provider;
mod report;
pub(crate) mod uninstall;
mod unpack_config;
mod version;

use std::path::Path;

use jiff::Timestamp;

use crate::config::{Config, Dockerd};
use crate::control::DaemonClient;
use crate::policy_dir::{Owner, PolicyDir};
use crate::sockets::is_dead;
use rootpin_policy::{CredentialsTo, Policy};

pub use code::{Code, HoleSeverity};
pub use facts::{ContainerdFacts, DockerFacts, Idle};
pub use fix::{FileEdit, RepairPlan, Tools, WrittenFile, plan};
pub use hole::{Fix, Hole};
pub use install::install;
pub(crate) use probe::process_names;
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
    daemon: Result<DaemonClient, String>,
) -> Examination {
    let mut found = Examination {
        report: DoctorReport::default(),
        containerds: Vec::new(),
        dockers: Vec::new(),
    };
    let mut known = Vec::new();
    let running = probe::engines();
    let wanted = wanted(config, tools);
    let policy = read_policy(config_path, config);
    let registries = policy.as_ref().map(Policy::hosts).unwrap_or_default();
    let resolver = config.resolver.map(|at| check::hosts::ResolverAddress {
        at,
        registries,
        config: config_path,
    });
    for engine in &config.engines {
        let asked = async {
            let process = probe::listener(&engine.containerd).await?;
            known.push(process.pid);
            if let Some(hole) = check::embedded(engine, &process) {
                return Ok((process, Err(hole)));
            }
            let facts = probe::containerd(engine, &process).await?;
            Ok::<_, String>((process, Ok(facts)))
        };
        match asked.await {
            Ok((_, Err(hole))) => found.report.holes.push(hole),
            Ok((process, Ok(facts))) => {
                found.report.engine(
                    "containerd",
                    &engine.name,
                    &facts.version.to_string(),
                    process.pid,
                );
                found.report.holes.extend(check::containerd(&facts, wanted));
                found.report.holes.extend(
                    resolver
                        .iter()
                        .flat_map(|resolver| check::hosts::cri(&facts, resolver)),
                );
                if let Err(why) = &facts.config {
                    found.report.untold(&engine.name, why);
                }
                found.containerds.push(facts);
            }
            Err(why) => found.report.untold(&engine.name, &why),
        }
    }
    let engines: Vec<_> = config
        .engines
        .iter()
        .map(|engine| engine.containerd.clone())
        .collect();
    for docker in &config.dockers {
        found.report.holes.extend(shadowed(docker).await);
        match probe::docker(docker).await {
            Ok((facts, process)) => {
                known.extend(process.as_ref().map(|process| process.pid));
                let pid = process.map(|process| process.pid).unwrap_or_default();
                found
                    .report
                    .engine("dockerd", &docker.name, &facts.version.to_string(), pid);
                found.report.holes.extend(check::dockerd(&facts, &engines));
                found.report.holes.extend(
                    resolver
                        .iter()
                        .flat_map(|resolver| check::hosts::dockerd(&facts, resolver)),
                );
                found.dockers.push(facts);
            }
            Err(why) => {
                // One that hangs is listed all the same.
                let process = probe::dockerd_at(&docker.socket).await;
                known.extend(process.map(|process| process.pid));
                found
                    .report
                    .untold(&docker.name, &format!("{}: {why}", docker.socket.display()));
            }
        }
    }
    let of_containerd = config.engines.iter().map(|engine| engine.name.as_str());
    let of_docker = config.dockers.iter().map(|docker| docker.name.as_str());
    let names: Vec<_> = of_containerd.chain(of_docker).collect();
    found
        .report
        .holes
        .extend(check::processes(&running, &known, &engines, &names));
    found.report.holes.extend(check::sockets(config));
    let rooted = policy
        .as_ref()
        .is_some_and(|policy| policy.credentials_to == CredentialsTo::Rooted);
    found
        .report
        .holes
        .extend(credentials::Places::of_host(config).holes(rooted));
    let status = match daemon {
        Ok(mut client) => client.status().await,
        Err(why) => Err(why),
    };
    let status = status
        .and_then(|report| serde_json::from_str(&report.json).map_err(|error| error.to_string()));
    if let Err(why) = &status {
        found.report.untold("rootpind", why);
    }
    found
        .report
        .holes
        .extend(check::daemon(status.as_ref().ok(), policy.as_ref()));
    found.report.finish();
    found
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

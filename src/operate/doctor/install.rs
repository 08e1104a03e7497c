//! The first time: what has the engines of rootpin.toml ask rootpin, whether they run already or
//! not.

use std::path::{Path, PathBuf};

use super::check::{self, OLDEST};
use super::facts::{ContainerdFacts, Idle};
use super::hole::{Fix, Hole};
use super::{
    Code, DockerFacts, HoleSeverity, RepairPlan, Tools, fix, next_start, plugin_name, probe,
    provider,
};
use crate::config::{Config, Engine};
use crate::problem::Problem;

/// Plans what the engines lack; those of these names, or all.
pub async fn install(
    (config_path, config): (&Path, &Config),
    names: &[String],
    idle: Idle<'_>,
    tools: &Tools,
) -> RepairPlan {
    let wanted = |name: &String| names.is_empty() || names.contains(name);
    let (mut holes, mut containerds, mut dockers, mut left) = (
        Vec::new(),
        Vec::<ContainerdFacts>::new(),
        Vec::<DockerFacts>::new(),
        Vec::new(),
    );
    for engine in config.engines.iter().filter(|engine| wanted(&engine.name)) {
        let facts = match found(engine, idle).await {
            Ok(facts) => next_start::containerd(&facts, idle).await.map(|()| facts),
            Err(why) => Err(why),
        };
        match facts {
            Ok(facts) if facts.version < OLDEST => left.push(Problem::hinted(format!("{}: containerd {} is too old: diff plugins came with {OLDEST}, and an older one panics when it reads of them", engine.name, facts.version), format!("upgrade \
                 containerd to {OLDEST} or later: the one of Debian 13, or containerd.io from Docker"))),
            Ok(facts) => {
                let (of_it, open): (Vec<Hole>, Vec<Hole>) = check::containerd(&facts, super::wanted(config, tools)).into_iter().partition(|hole| hole.fix.is_some());
                left.extend(open.iter().filter_map(stays_open));
                let of_it = of_it.into_iter();
                holes.extend(of_it.filter(|hole| !matches!(hole.fix, Some(Fix::Mode(..)))));
                // What is there may be of an earlier version of rootpin.
                holes.push(Hole::new(Code::GateMissing, &engine.name, "").fix(Fix::DropIn));
                containerds.push(facts);
            }
            Err(why) => left.push(why.about(&engine.name)),
        }
    }
    let mut edits = Vec::new();
    for docker in config.dockers.iter().filter(|docker| wanted(&docker.name)) {
        let Some(socket) = &docker.authz else {
            continue;
        };
        let shadow = if idle.is_image {
            None
        } else {
            super::shadowed(docker).await
        };
        match shadow {
            Some(hole) if hole.fix.is_none() => left.push(Problem::hinted(
                format!("{}: {}", docker.name, hole.found),
                hole.change.clone(),
            )),
            hole => holes.extend(hole),
        }
        let asked = if idle.is_image {
            Err(String::new())
        } else {
            probe::docker(docker).await
        };
        match asked {
            Ok((facts, process)) => {
                let plugin = plugin_name::to_be(socket);
                match next_start::dockerd(&facts, process.as_ref(), idle, &plugin) {
                    Ok(()) => {
                        holes.push(
                            Hole::new(Code::DockerNoAuthz, &docker.name, "")
                                .fix(Fix::Authorization(plugin)),
                        );
                        dockers.push(facts);
                    }
                    Err(why) => left.push(why.about(&docker.name)),
                }
            }
            Err(_) => match fix::idle_docker(docker, idle, &plugin_name::to_be(socket)).await {
                Ok(of_it) => edits.push((docker.name.clone(), of_it)),
                Err(why) => left.push(why.about(&docker.name)),
            },
        }
    }
    let mut plan = fix::plan(&holes, &containerds, &dockers, tools).await;
    for (name, edits) in edits {
        plan.add(&name, edits);
    }
    if names.is_empty() {
        match provider::install(config_path, config, tools.control.as_deref()) {
            Ok(Some((edit, told))) => {
                plan.texts.push(edit);
                left.push(told.into());
            }
            Ok(None) => {}
            Err(why) => left.push(why.into()),
        }
    }
    left.append(&mut plan.left);
    plan.left = left;
    plan
}

/// What a door is open by and nothing that is written can close: a person must. A restart, of which
/// is told anyway, is what this verb is followed by.
fn stays_open(hole: &Hole) -> Option<Problem> {
    let is_left = hole.severity == HoleSeverity::Open && hole.code != Code::RestartPending;
    let what = || format!("{}: {}: {}", hole.engine, hole.code.as_str(), hole.found);
    is_left.then(|| Problem::hinted(what(), hole.change.clone()))
}

/// Where a containerd that doesn't run will listen, as far as its configuration tells.
pub(crate) async fn idle_address(idle: Idle<'_>) -> Option<PathBuf> {
    let config = probe::idle_config(idle).await.ok()?;
    config.address().map(Path::to_owned)
}

pub(super) async fn found(engine: &Engine, idle: Idle<'_>) -> Result<ContainerdFacts, Problem> {
    let running = match probe::listener(&engine.containerd).await {
        Ok(process) if !idle.is_image => Some(process),
        _ => None,
    };
    match running {
        Some(process) => probe::containerd(engine, &process)
            .await
            .map_err(Problem::from),
        None => match idle.containerd_unclear {
            Some(why) => Err(why.clone()),
            None => probe::idle(engine, idle).await,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::tests::{in_order, set};
    use super::*;

    #[test]
    fn what_stays_open_is_left_to_a_person_and_a_restart_is_not() {
        let mut facts = in_order("2.1.9");
        for key in ["mirrors", "configs"] {
            let images = "io.containerd.cri.v1.images";
            set(
                &mut facts,
                &["plugins", images, "registry", key, "r.example", "x"],
                "y",
            );
        }
        let config = facts.config.as_mut().unwrap();
        config.changed = Some("/etc/containerd/config.toml".into());
        let tools = Tools {
            verifier: "/usr/bin/rootpin-verifier".into(),
            folder: "/usr/libexec/rootpin/verifier".into(),
            control: None,
            deadline: std::time::Duration::from_secs(8),
            platform: None,
        };
        let rootpin = crate::config::none().unwrap();
        let holes = check::containerd(&facts, super::super::wanted(&rootpin, &tools));
        assert!(
            holes.iter().any(|hole| hole.code == Code::RestartPending),
            "{holes:?}"
        );
        let left: Vec<String> = holes
            .iter()
            .filter_map(stays_open)
            .map(|why| why.to_string())
            .collect();
        assert_eq!(left.len(), 2, "{left:?}");
        for (left, key) in left.iter().zip(["registry.mirrors", "registry.configs"]) {
            let begin = format!(
                "main: cri-local-pull: {key} is not empty, set by /etc/containerd/conf.d/site.toml"
            );
            assert!(
                left.starts_with(&begin) && left.contains("hint: take"),
                "{left}"
            );
        }
        assert!(
            check::containerd(&in_order("2.1.9"), super::super::wanted(&rootpin, &tools))
                .iter()
                .find_map(stays_open)
                .is_none()
        );
    }
}

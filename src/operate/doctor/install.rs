//! The first time: what has the engines of rootpin.toml ask rootpin, whether they run already or
//! not.

use std::path::{Path, PathBuf};

use super::check::{self, OLDEST};
use super::facts::{ContainerdFacts, Idle};
use super::hole::{Fix, Hole};
use super::{
    Code, DockerFacts, FileEdit, HoleSeverity, RepairPlan, Tools, fix, next_start, plugin_name,
    probe, provider,
};
use crate::config::{Config, Dockerd, Engine};
use crate::problem::Problem;
use crate::trusted_path::{Owner, check_way};

/// Plans what the engines lack; those of these names, or all.
pub async fn install(
    (config_path, config): (&Path, &Config),
    names: &[String],
    idle: Idle<'_>,
    tools: &Tools,
) -> RepairPlan {
    let wanted = |name: &String| names.is_empty() || names.contains(name);
    let mut pending = Vec::new();
    let mut notes = Vec::new();
    let (mut holes, mut containerds, mut left) =
        (Vec::new(), Vec::<ContainerdFacts>::new(), Vec::new());
    for engine in config.engines.iter().filter(|engine| wanted(&engine.name)) {
        let facts = match found(engine, idle).await {
            Ok(facts) => next_start::containerd(&facts, idle).await.map(|()| facts),
            Err(why) => Err(why),
        };
        match facts {
            Ok(facts) if facts.version < OLDEST => left.push(Problem::hinted(format!("{}: containerd {} is too old: diff plugins came with {OLDEST}, and an older one panics when it reads of them", engine.name, facts.version), format!("upgrade \
                 containerd to {OLDEST} or later: the one of Debian 13, or containerd.io from Docker"))),
            Ok(facts) => {
                let all = check::containerd(&facts, super::wanted(config, tools));
                pending.extend(owes_restart(&all).then_some(&engine.name));
                let (of_it, open): (Vec<Hole>, Vec<Hole>) = all.into_iter().partition(is_mended);
                left.extend(open.iter().filter_map(stays_open));
                left.extend(writable_folder(&facts, &tools.folder));
                notes.extend(folder_not_taken(&facts, tools));
                holes.extend(of_it);
                // What is there may be of an earlier version of rootpin.
                holes.push(Hole::new(Code::GateMissing, &engine.name, "").fix(Fix::DropIn));
                containerds.push(facts);
            }
            Err(why) => left.push(why.about(&engine.name)),
        }
    }
    let engines = config.engines.iter();
    let sockets: Vec<PathBuf> = engines.map(|engine| engine.containerd.clone()).collect();
    let mut of_dockers = DockersPlan::default();
    for docker in config.dockers.iter().filter(|docker| wanted(&docker.name)) {
        of_dockers.add(docker, &sockets, idle).await;
    }
    holes.append(&mut of_dockers.holes);
    left.append(&mut of_dockers.left);
    let mut plan = fix::plan(&holes, &containerds, &of_dockers.facts, tools).await;
    for (name, edits) in of_dockers.edits {
        plan.add(&name, edits);
    }
    for name in pending.into_iter().chain(&of_dockers.pending) {
        plan.restart_too(name);
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
    plan.notes = notes;
    left.append(&mut plan.left);
    plan.left = left;
    plan
}

/// What dockerds lack.
#[derive(Default)]
struct DockersPlan {
    holes: Vec<Hole>,
    facts: Vec<DockerFacts>,
    /// Of those that don't run, each with its name.
    edits: Vec<(String, Vec<FileEdit>)>,
    pending: Vec<String>,
    left: Vec<Problem>,
}

impl DockersPlan {
    /// `engines` are the containerds of rootpin.toml.
    async fn add(&mut self, docker: &Dockerd, engines: &[PathBuf], idle: Idle<'_>) {
        let asked = if idle.is_image {
            Err(String::new())
        } else {
            probe::docker(docker).await
        };
        if let Ok((facts, _)) = &asked {
            self.left.extend(open_of_docker(facts, engines));
            self.pending
                .extend(docker_owes_restart(facts).then(|| docker.name.clone()));
        }
        let Some(socket) = &docker.authz else {
            return;
        };
        let shadow = if idle.is_image {
            None
        } else {
            super::shadowed(docker).await
        };
        match shadow {
            Some(hole) if hole.fix.is_none() => self.left.push(Problem::hinted(
                format!("{}: {}", docker.name, hole.found),
                hole.change.clone(),
            )),
            hole => self.holes.extend(hole),
        }
        let plugin = plugin_name::to_be(socket);
        let planned = match asked {
            Ok((facts, process)) => next_start::dockerd(&facts, process.as_ref(), idle, &plugin)
                .map(|()| {
                    let hole = Hole::new(Code::DockerNoAuthz, &docker.name, "");
                    self.holes.push(hole.fix(Fix::Authorization(plugin)));
                    self.facts.push(facts);
                }),
            Err(_) => fix::idle_docker(docker, idle, &plugin)
                .await
                .map(|edits| self.edits.push((docker.name.clone(), edits))),
        };
        if let Err(why) = planned {
            self.left.push(why.about(&docker.name));
        }
    }
}

/// Whether an engine runs by other files than there are, as after an earlier run without a restart.
fn owes_restart(holes: &[Hole]) -> bool {
    holes.iter().any(|hole| hole.code == Code::RestartPending)
}

/// The same of a dockerd: it doesn't ask the plugin that its daemon.json names.
fn docker_owes_restart(facts: &DockerFacts) -> bool {
    facts.docker.authz.as_ref().is_some_and(|socket| {
        let plugin = plugin_name::to_be(socket);
        !facts.authorization.contains(&plugin) && fix::names_plugin(&facts.config, &plugin)
    })
}

/// Whether the plan of this verb closes it: nobody's modes are changed without being asked.
fn is_mended(hole: &Hole) -> bool {
    hole.fix
        .as_ref()
        .is_some_and(|fix| !matches!(fix, Fix::Mode(..)))
}

/// A folder that a person named, where containerd has one already.
fn folder_not_taken(facts: &ContainerdFacts, tools: &Tools) -> Option<String> {
    let now = &facts.verifier.as_ref()?.path;
    let is_other = now != &tools.folder && now != Path::new(check::SHARED);
    (tools.is_folder_named && is_other).then(|| {
        format!(
            "{}: containerd asks the programs in {} already, so {} is not made: bin_dir in its configuration names the folder",
            facts.engine.name,
            now.display(),
            tools.folder.display()
        )
    })
}

/// A folder that rootpin-verifier will be asked in, where that is another one than now.
fn writable_folder(facts: &ContainerdFacts, folder: &Path) -> Option<Problem> {
    let now = facts.verifier.as_ref()?;
    let program = folder.join(check::PROGRAM);
    let present = [program.as_path(), folder]
        .into_iter()
        .find(|path| path.exists());
    let present = present.filter(|_| now.path == Path::new(check::SHARED))?;
    let fault = check_way(present, Owner::Root).err()?;
    let (engine, code) = (&facts.engine.name, Code::VerifierWritable.as_str());
    Some(Problem::hinted(
        format!("{engine}: {code}: {}", fault.message),
        fault.hint,
    ))
}

/// The same of a dockerd: of its holes this verb mends that it doesn't ask the plugin, and tells of
/// that where it can't. `engines` are the containerds of rootpin.toml.
fn open_of_docker(facts: &DockerFacts, engines: &[PathBuf]) -> Vec<Problem> {
    let holes = check::dockerd(facts, engines);
    let is_left = |hole: &&Hole| hole.code != Code::DockerNoAuthz || facts.docker.authz.is_none();
    holes
        .iter()
        .filter(is_left)
        .filter_map(stays_open)
        .collect()
}

/// What a door is open by and nothing that is written can close: a person must. A restart, of which
/// is told anyway, is what this verb is followed by. A snapshotter that is configured need not be used
/// (kind's `fuse`): the doctor names it, and who keeps it acknowledges it there.
fn stays_open(hole: &Hole) -> Option<Problem> {
    let is_apart = matches!(hole.code, Code::RestartPending | Code::RemoteSnapshotter);
    let is_left = hole.severity == HoleSeverity::Open && !is_apart;
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
    use super::super::facts::Writable;
    use super::super::version::Version;
    use super::*;

    fn tools() -> Tools {
        Tools {
            verifier: "/usr/bin/rootpin-verifier".into(),
            folder: "/usr/libexec/rootpin/verifier".into(),
            is_folder_named: true,
            control: None,
            deadline: std::time::Duration::from_secs(8),
            platform: None,
        }
    }

    #[test]
    fn a_verifier_that_others_can_change_is_left_to_a_person_too() {
        let mut facts = in_order("2.1.9");
        let folder = facts.verifier.as_mut().unwrap();
        folder.writable = Some(Writable {
            why: "others can write".to_owned(),
            hint: String::new(),
            own: Some(folder.path.clone()),
        });
        let (rootpin, tools) = (crate::config::none().unwrap(), tools());
        let holes = check::containerd(&facts, super::super::wanted(&rootpin, &tools));
        let (mended, left): (Vec<Hole>, Vec<Hole>) = holes.into_iter().partition(is_mended);
        let left: Vec<String> = left
            .iter()
            .filter_map(stays_open)
            .map(|why| why.to_string())
            .collect();
        assert!(
            matches!(&left[..], [one] if one.contains("verifier-writable: others can write") && one.contains("hint: chown root:root")),
            "{left:?}"
        );
        assert!(
            !mended
                .iter()
                .any(|hole| hole.code == Code::VerifierWritable)
        );
    }

    #[test]
    fn a_folder_that_was_named_and_is_not_taken_is_told() {
        let mut facts = in_order("2.1.9");
        let mut of = |now: &str| {
            facts.verifier.as_mut().unwrap().path = now.into();
            folder_not_taken(&facts, &tools())
        };
        let told = of("/srv/own").unwrap();
        assert!(
            told.starts_with("main: containerd asks the programs in /srv/own already"),
            "{told}"
        );
        for taken in [check::SHARED, "/usr/libexec/rootpin/verifier"] {
            assert_eq!(of(taken), None);
        }
        facts.verifier.as_mut().unwrap().path = "/srv/own".into();
        let unnamed = Tools {
            is_folder_named: false,
            ..tools()
        };
        assert_eq!(folder_not_taken(&facts, &unnamed), None);
    }

    #[test]
    fn a_folder_that_the_verifier_moves_to_is_looked_at_before() {
        let dir = tempfile::tempdir().unwrap();
        let mut facts = in_order("2.1.9");
        let now = facts.verifier.as_mut().unwrap();
        now.path = check::SHARED.into();
        assert_eq!(writable_folder(&facts, &dir.path().join("none")), None);
        let everybodys = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(dir.path(), everybodys).unwrap();
        let why = writable_folder(&facts, dir.path()).map(|why| why.to_string());
        assert!(
            why.as_ref()
                .is_some_and(|why| why.starts_with("main: verifier-writable: ")),
            "{why:?}"
        );
        facts.verifier.as_mut().unwrap().path = dir.path().to_owned();
        assert_eq!(writable_folder(&facts, dir.path()), None);
    }

    fn docker() -> DockerFacts {
        let docker = Dockerd {
            accept_grpc: false,
            name: "docker".to_owned(),
            socket: "/run/docker.sock".into(),
            authz: Some("/run/rootpin/docker.authz.sock".into()),
        };
        DockerFacts {
            containerd: Some("/run/docker/containerd/containerd.sock".into()),
            warnings: vec!["API is accessible on http://0.0.0.0:2375".to_owned()],
            ..DockerFacts::of_test(docker, Version(28, 5, 2))
        }
    }

    #[test]
    fn a_dockerd_owes_a_restart_only_for_a_plugin_that_its_file_names_and_it_does_not_ask() {
        let folder = tempfile::tempdir().unwrap();
        let mut facts = docker();
        facts.config = folder.path().join("daemon.json");
        let plugin = plugin_name::to_be(facts.docker.authz.as_ref().unwrap());
        assert!(!docker_owes_restart(&facts), "there is no file");
        std::fs::write(&facts.config, r#"{"authorization-plugins": ["opa"]}"#).unwrap();
        assert!(!docker_owes_restart(&facts), "it is yet to be written");
        let text = format!(r#"{{"authorization-plugins": ["opa", "{plugin}"]}}"#);
        std::fs::write(&facts.config, text).unwrap();
        assert!(docker_owes_restart(&facts));
        facts.authorization = vec![plugin];
        assert!(!docker_owes_restart(&facts), "it asks");
        facts.authorization.clear();
        facts.docker.authz = None;
        assert!(!docker_owes_restart(&facts), "nobody wants it to");
    }

    #[test]
    fn the_open_holes_of_a_dockerd_are_left_to_a_person_except_what_is_written() {
        let mut facts = docker();
        let engines = [PathBuf::from("/run/containerd/containerd.sock")];
        let codes = |facts: &DockerFacts| -> Vec<String> {
            let left = open_of_docker(facts, &engines).into_iter();
            left.map(|why| why.to_string().split(": ").nth(1).unwrap().to_owned())
                .collect()
        };
        assert_eq!(
            codes(&facts),
            ["docker-unknown-containerd", "docker-exposed"]
        );
        facts.containerd = Some(engines[0].clone());
        facts.warnings.clear();
        facts.containerd_store = false;
        assert_eq!(codes(&facts), [""; 0]);
        facts.docker.authz = None;
        assert_eq!(codes(&facts), ["docker-no-authz"]);
    }

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
        let tools = tools();
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

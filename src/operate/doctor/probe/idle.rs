//! A containerd that does not run yet: version and configuration by its program, plugins as far as
//! the configuration tells them.

use std::fs::{self, File};
use std::path::Path;

use rustix::fs::{Dir, FileType};

use super::super::facts::{ContainerdFacts, EngineConfig, Idle, PluginFacts, SNAPSHOTTER};
use super::super::program::{Program, ProgramFailure};
use super::super::unpack_config::entries;
use super::super::version::{VERIFIER, Version};
use crate::config::Engine;
use crate::problem::Problem;

fn program(idle: Idle<'_>) -> Program {
    if idle.is_image {
        Program::of_image(idle.containerd)
    } else {
        Program::file(idle.containerd)
    }
}

/// Its configuration alone.
pub(in super::super) async fn config(idle: Idle<'_>) -> Result<EngineConfig, ProgramFailure> {
    super::containerd::read(program(idle), idle.main).await
}

/// All that is to be known of a containerd before it runs.
pub(in super::super) async fn idle(
    engine: &Engine,
    idle: Idle<'_>,
) -> Result<ContainerdFacts, Problem> {
    let program = program(idle);
    let told = program.version().await.map_err(|problem| {
        problem.or_hint("start this containerd, or name its program by --containerd PROGRAM, and run this again")
    })?;
    let version = told
        .split_ascii_whitespace()
        .find_map(Version::parse)
        .ok_or_else(|| format!("no version in {told:?}"))?;
    let config =
        super::containerd::read(program, idle.main)
            .await
            .map_err(|failure| match failure {
                ProgramFailure::Refused(why) => {
                    Problem::hinted(why.clone(), "mend that first, and run this again")
                }
                ProgramFailure::Unknown(why) => why.into(),
            })?;
    let mut facts = ContainerdFacts {
        engine: engine.clone(),
        version,
        plugins: Vec::new(),
        runs: false,
        config: Ok(config),
        refused: None,
        verifier: None,
    };
    if let Ok(config) = &facts.config {
        facts.plugins = config.plugins();
        let snapshotters = snapshotters(&facts, config);
        facts.verifier = (version >= VERIFIER)
            .then(|| super::containerd::folder(config))
            .flatten();
        facts.plugins.extend(
            snapshotters
                .into_iter()
                .map(|id| PluginFacts::own(SNAPSHOTTER, &id)),
        );
    }
    Ok(facts)
}

/// Those of containerd's own that are surely there: native, and overlayfs where it is used, if the
/// file system is one for it. Every other one depends on what only containerd itself finds out: a
/// pool, a module of the kernel, a program.
fn snapshotters(facts: &ContainerdFacts, config: &EngineConfig) -> Vec<String> {
    let root = config
        .effective
        .get("root")
        .and_then(toml::Value::as_str)
        .unwrap_or("/");
    let used = facts
        .cri()
        .map(|cri| cri.snapshotters())
        .unwrap_or_default();
    // It has been there before; programs that name no snapshotter use it.
    let was = || {
        Path::new(root)
            .join(format!("{SNAPSHOTTER}.overlayfs"))
            .is_dir()
    };
    let overlayfs = used.contains(&"overlayfs")
        || entries(config)
            .iter()
            .any(|entry| entry.snapshotter == "overlayfs" && !entry.optional)
        || was();
    let is_proxy = |name: &str| {
        facts
            .plugins
            .iter()
            .any(|plugin| plugin.kind == SNAPSHOTTER && plugin.id == name)
    };
    let fits = |name: &str| match name {
        "overlayfs" => overlayfs && tells_kinds(Path::new(root)),
        _ => true,
    };
    ["overlayfs", "native"]
        .into_iter()
        .filter(|name| {
            config.disabled(&format!("{SNAPSHOTTER}.{name}")).is_none()
                && !is_proxy(name)
                && fits(name)
        })
        .map(str::to_owned)
        .collect()
}

/// Whether the file system of that folder, or of the one that it will be made in, tells the kind of
/// an entry in its folders: without that overlayfs does not work (xfs with ftype=0).
fn tells_kinds(folder: &Path) -> bool {
    let there = folder
        .ancestors()
        .find(|folder| fs::metadata(folder).is_ok_and(|found| found.is_dir()))
        .unwrap_or(Path::new("/"));
    let entries = File::open(there)
        .ok()
        .and_then(|open| Dir::read_from(open).ok());
    entries
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .all(|entry| entry.file_type() != FileType::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_to_be_made_is_judged_by_the_one_above() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(
            tells_kinds(&folder.path().join("deep/er")),
            tells_kinds(folder.path())
        );
    }
}

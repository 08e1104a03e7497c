//! From holes to the changes that close them: planned as a whole, shown, and only then written. No engine is restarted.

mod daemon_json;
mod drop_in;
mod toml_file;
mod write;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use similar::TextDiff;

use super::config_files;
use super::facts::{Containerd, Docker};
use super::hole::{Fix, Hole};

pub use write::Written;

/// What is to be done, in this order: texts, programs, modes.
#[derive(Debug, Default)]
pub struct Plan {
    /// Files whose text changes, or that are new.
    pub texts: Vec<Edit>,
    /// Programs that are copied: from, to.
    pub programs: Vec<(PathBuf, PathBuf)>,
    /// Files and folders that are given to root, with their mode.
    pub modes: Vec<(PathBuf, u32)>,
    /// Engines that must be restarted, or reload, before any of it is in force.
    pub restart: Vec<String>,
    /// What can't be done for a person, and why.
    pub left: Vec<String>,
}

/// One text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The file.
    pub path: PathBuf,
    /// Its text now; none: it is new.
    pub before: Option<String>,
    /// Its text then.
    pub after: String,
    /// The mode of a new file.
    pub mode: u32,
}

/// What fixes are made of besides what engines say.
#[derive(Debug, Clone)]
pub struct Tools {
    /// `rootpin-verifier`, as it is installed on this host.
    pub verifier: PathBuf,
    /// The folder for it where a containerd has none of rootpin's own.
    pub folder: PathBuf,
    /// The daemon's control socket, if it is another than the usual one.
    pub control: Option<PathBuf>,
}

impl Plan {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty() && self.programs.is_empty() && self.modes.is_empty()
    }

    /// Everything, as a unified diff and a line for what is no text.
    #[must_use]
    pub fn diff(&self) -> String {
        let mut out = String::new();
        for edit in &self.texts {
            let from = edit.before.as_ref().map_or("/dev/null".to_owned(), |_| edit.path.display().to_string());
            let diff = TextDiff::from_lines(edit.before.as_deref().unwrap_or_default(), &edit.after);
            out.push_str(&diff.unified_diff().header(&from, &edit.path.display().to_string()).to_string());
        }
        for (from, to) in &self.programs {
            let _ = writeln!(out, "copy {} to {}, mode 0755", from.display(), to.display());
        }
        for (path, mode) in &self.modes {
            let _ = writeln!(out, "give {} to root, mode {mode:04o}", path.display());
        }
        out
    }
}

/// Plans the changes that close these holes.
#[must_use]
pub fn plan(holes: &[Hole], containerds: &[Containerd], dockers: &[Docker], tools: &Tools) -> Plan {
    let mut plan = Plan::default();
    let wanted: BTreeSet<(&str, &Fix)> = holes.iter().filter_map(|hole| Some((hole.engine.as_str(), hole.fix.as_ref()?))).collect();
    for (engine, fix) in wanted {
        let containerd = containerds.iter().find(|facts| facts.engine.name == engine);
        let docker = dockers.iter().find(|facts| facts.docker.name == engine);
        let done = match (fix, containerd, docker) {
            (Fix::DropIn, Some(facts), _) => plan.drop_in(facts, tools),
            (Fix::CriAnnotations, Some(facts), _) => {
                toml_file::cri_annotations(facts, &plan.texts).map(|edit| plan.texts(engine, vec![edit]))
            }
            (Fix::Authorization(plugin), _, Some(facts)) => {
                daemon_json::authorization(&facts.config, plugin).map(|edit| plan.texts(engine, vec![edit]))
            }
            (Fix::Verifier(folder), Some(facts), _) => {
                let moves = facts.verifier.as_ref().is_some_and(|now| now.path != *folder);
                if moves { plan.drop_in(facts, tools) } else { plan.verifier(folder, tools) }
            }
            (Fix::Mode(path, mode), _, _) => {
                plan.modes.push((path.clone(), *mode));
                Ok(())
            }
            (Fix::DropIn | Fix::CriAnnotations | Fix::Authorization(_) | Fix::Verifier(_), _, _) => Ok(()),
        };
        if let Err(why) = done {
            plan.left.push(if engine.is_empty() { why } else { format!("{engine}: {why}") });
        }
    }
    plan
}

impl Plan {
    /// Takes edits up. A second one of the same file was made from what the first leaves.
    fn texts(&mut self, engine: &str, edits: Vec<Edit>) {
        for edit in edits.into_iter().filter(|edit| edit.before.as_ref() != Some(&edit.after)) {
            match self.texts.iter_mut().find(|known| known.path == edit.path) {
                Some(known) => known.after = edit.after,
                None => self.texts.push(edit),
            }
            if !self.restart.iter().any(|known| known == engine) {
                self.restart.push(engine.to_owned());
            }
        }
    }

    /// The drop-in; and the verifier, where the drop-in moves its folder: an empty one would let every pull pass.
    fn drop_in(&mut self, facts: &Containerd, tools: &Tools) -> Result<(), String> {
        let moves = facts.verifier.as_ref().is_some_and(|now| now.path == Path::new(super::check::SHARED));
        if moves {
            self.verifier(&tools.folder, tools)?;
        }
        self.texts(&facts.engine.name, drop_in::edits(facts, &tools.folder)?);
        Ok(())
    }

    /// The verifier, in a folder where containerd finds it. containerd gives it no arguments of ours, so that another control socket
    /// wants a script.
    fn verifier(&mut self, folder: &Path, tools: &Tools) -> Result<(), String> {
        let Tools { verifier, control, .. } = tools;
        if !verifier.is_file() {
            return Err(format!("{} is not there; install rootpin's package, and run this again", verifier.display()));
        }
        let to = folder.join(super::check::PROGRAM);
        match control {
            None if self.programs.iter().any(|(_, known)| *known == to) => {}
            None => self.programs.push((verifier.clone(), to)),
            Some(control) => {
                let quoted = |path: &Path| format!("'{}'", path.display().to_string().replace('\'', "'\\''"));
                let after = format!("#!/bin/sh\nexec {} --control {} \"$@\"\n", quoted(verifier), quoted(control));
                let edit = Edit { before: text(&to)?, path: to, after, mode: 0o755 };
                if !self.texts.contains(&edit) && edit.before.as_ref() != Some(&edit.after) {
                    self.texts.push(edit);
                }
            }
        }
        Ok(())
    }

    /// Writes it all. What is replaced stays beside it, under the name with `.bak-` and this time.
    ///
    /// # Errors
    /// Something could not be written; what was written before is told too.
    pub fn write(&self, time: &str) -> Result<Vec<Written>, (Vec<Written>, String)> {
        write::write(self, time)
    }
}

/// A file's text, or none where there is no such file.
fn text(path: &Path) -> Result<Option<String>, String> {
    if fs::symlink_metadata(path).is_err() {
        return Ok(None);
    }
    config_files::read(path).map(Some).map_err(|error| format!("{}: {error}", path.display()))
}

/// Texts by their paths, as if they were written.
fn proposed(edits: &[Edit]) -> BTreeMap<PathBuf, String> {
    edits.iter().map(|edit| (edit.path.clone(), edit.after.clone())).collect()
}

//! From holes to the changes that close them: planned as a whole, shown, and only then written. No
//! engine is restarted.

mod daemon_json;
mod docker;
mod drop_in;
mod generated;
mod inclusion;
mod own_lines;
mod settings;
mod startup;
mod taken_back;
mod template;
mod toml_file;
mod trial;
mod verifier;
mod write;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use similar::TextDiff;

use super::config_files;
use super::facts::{ContainerdFacts, DockerFacts, EngineConfig, ProgramFolder};
use super::hole::{Fix, Hole};
use crate::operate::leftover;
use crate::operate::platform::Platform;
use crate::operate::record::InstallRecord;
use crate::problem::Problem;

pub(super) use docker::{by_flag_of, idle_docker, is_of_unit, names_plugin};
pub(super) use own_lines::{OwnLines, own_lines};
pub(super) use taken_back::{with_imports_of, without_ours};
pub(super) use toml_file::set;
pub(crate) use trial::TriedEdits;
pub(super) use trial::{after, dump_of as dump, keys_of, lost};
use verifier::none_beside_the_verifier;
pub use write::WrittenFile;
pub(super) use write::{remove_leftovers, replace};

/// What is to be done, in this order: leftovers, programs, texts, modes, sockets.
#[derive(Debug, Default)]
pub struct RepairPlan {
    /// Files whose text changes, or that are new.
    pub texts: Vec<FileEdit>,
    /// Programs that are copied: from, to.
    pub programs: Vec<(PathBuf, PathBuf)>,
    /// Files and folders that are given to root, with their mode.
    pub modes: Vec<(PathBuf, u32)>,
    /// Sockets that are removed at the end, if nobody listens there.
    pub sockets: Vec<PathBuf>,
    /// Files that an earlier try to write has left.
    pub leftovers: Vec<PathBuf>,
    /// Engines that must be restarted, or reload, before any of it is in force.
    pub restart: Vec<String>,
    /// What can't be done for a person, and why.
    pub left: Vec<Problem>,
    /// What was asked for and is not done, because it needs no doing.
    pub notes: Vec<String>,
    /// The images of pods' sandboxes, which a policy must admit for any pod to start.
    pub sandboxes: Vec<String>,
    /// What each containerd made of its part, when it was tried out.
    pub(crate) tried: Vec<TriedEdits>,
}

/// One text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEdit {
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
    /// Whether a person named that folder.
    pub(crate) is_folder_named: bool,
    /// The daemon's control socket, if it is another than the usual one.
    pub control: Option<PathBuf>,
    /// For one question.
    pub deadline: Duration,
    /// The kind of host, where the platform's own inputs may be written.
    pub(crate) platform: Option<&'static Platform>,
}

impl RepairPlan {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
            && self.programs.is_empty()
            && self.modes.is_empty()
            && self.sockets.is_empty()
            && self.leftovers.is_empty()
    }

    /// Whether systemd must read its units anew.
    pub(crate) fn changes_units(&self) -> bool {
        self.texts.iter().any(|edit| is_of_unit(&edit.path))
    }

    /// Everything, as a unified diff and a line for what is no text.
    #[must_use]
    pub fn diff(&self) -> String {
        let mut out = String::new();
        for edit in &self.texts {
            let from = edit
                .before
                .as_ref()
                .map_or("/dev/null".to_owned(), |_| edit.path.display().to_string());
            let diff =
                TextDiff::from_lines(edit.before.as_deref().unwrap_or_default(), &edit.after);
            out.push_str(
                &diff
                    .unified_diff()
                    .header(&from, &edit.path.display().to_string())
                    .to_string(),
            );
        }
        for path in &self.leftovers {
            let _ = writeln!(out, "remove {}, left by an earlier try", path.display());
        }
        for (from, to) in &self.programs {
            // The draft beside an image's root directory is nothing that a person could look at.
            let is_draft = from
                .parent()
                .and_then(Path::file_name)
                .is_some_and(|folder| folder.to_str().is_some_and(leftover::is_leftover));
            let from = match from.file_name() {
                Some(name) if is_draft => format!("this release's {}", name.to_string_lossy()),
                _ => from.display().to_string(),
            };
            let _ = writeln!(out, "copy {from} to {}, mode 0755", to.display());
        }
        for (path, mode) in &self.modes {
            let _ = writeln!(out, "give {} to root, mode {mode:04o}", path.display());
        }
        for path in &self.sockets {
            let _ = writeln!(out, "remove the socket {}", path.display());
        }
        out
    }
}

/// Plans the changes that close these holes. What an engine would not take, or what would lose a
/// setting, is left, and why.
pub async fn plan(
    holes: &[Hole],
    containerds: &[ContainerdFacts],
    dockers: &[DockerFacts],
    tools: &Tools,
) -> RepairPlan {
    let mut plan = RepairPlan::default();
    let wanted: BTreeSet<(&str, &Fix)> = holes
        .iter()
        .filter_map(|hole| Some((hole.engine.as_str(), hole.fix.as_ref()?)))
        .collect();
    for facts in containerds {
        let of_it: Vec<&Fix> = wanted
            .iter()
            .filter(|(engine, _)| *engine == facts.engine.name)
            .map(|(_, fix)| *fix)
            .collect();
        let moves = facts.verifier.as_ref().map(|now| &now.path);
        let rewrites = of_it.iter().any(|fix| match fix {
            Fix::DropIn | Fix::CriAnnotations => true,
            Fix::Verifier(folder) => moves != Some(folder),
            Fix::Mode(..)
            | Fix::Authorization(_)
            | Fix::Feature(_)
            | Fix::DeadSocket(_)
            | Fix::Leftover(_) => false,
        });
        if rewrites
            && let Err(why) = plan
                .containerd(facts, of_it.contains(&&Fix::CriAnnotations), tools)
                .await
        {
            plan.left.push(why.about(&facts.engine.name));
        }
    }
    for (engine, fix) in wanted {
        let docker = dockers.iter().find(|facts| facts.docker.name == engine);
        let done = match (fix, docker) {
            (Fix::Feature(feature), Some(facts)) => {
                match docker::without_feature(facts, plan.after(&facts.config), feature).await {
                    Ok(edit) => {
                        plan.texts(engine, vec![edit]);
                        Ok(())
                    }
                    Err(why) => Err(why),
                }
            }
            (Fix::Authorization(plugin), Some(facts)) => match docker::edits(facts, plugin).await {
                Ok(edits) => {
                    plan.texts(engine, edits);
                    Ok(())
                }
                Err(why) => Err(why),
            },
            (Fix::Verifier(folder), _) => {
                let now = containerds
                    .iter()
                    .find(|facts| facts.engine.name == engine)
                    .and_then(|facts| facts.verifier.as_ref());
                if now.is_some_and(|now| now.path == *folder) {
                    plan.verifier(folder, tools)
                } else {
                    Ok(())
                }
            }
            (Fix::Mode(path, mode), _) => {
                plan.modes.push((path.clone(), *mode));
                Ok(())
            }
            (Fix::Leftover(path), _) => {
                plan.leftovers.push(path.clone());
                Ok(())
            }
            (Fix::DeadSocket(path), _) => {
                plan.sockets.push(path.clone());
                plan.restart_too(engine);
                Ok(())
            }
            (Fix::DropIn | Fix::CriAnnotations | Fix::Authorization(_) | Fix::Feature(_), _) => {
                Ok(())
            }
        };
        if let Err(why) = done {
            plan.left.push(if engine.is_empty() {
                why
            } else {
                why.about(engine)
            });
        }
    }
    plan
}

impl RepairPlan {
    /// More edits, for that engine.
    pub(super) fn add(&mut self, engine: &str, edits: Vec<FileEdit>) {
        self.texts(engine, edits);
    }

    /// What a file will say, if it is to be changed already.
    fn after(&self, path: &Path) -> Option<&str> {
        let edit = self.texts.iter().find(|edit| edit.path == path)?;
        Some(&edit.after)
    }

    /// Takes edits up. A second one of the same file was made from what the first leaves.
    fn texts(&mut self, engine: &str, edits: Vec<FileEdit>) {
        for edit in edits
            .into_iter()
            .filter(|edit| edit.before.as_ref() != Some(&edit.after))
        {
            match self.texts.iter_mut().find(|known| known.path == edit.path) {
                Some(known) => known.after = edit.after,
                None => self.texts.push(edit),
            }
            self.restart_too(engine);
        }
    }

    /// That engine must be restarted as well.
    pub(super) fn restart_too(&mut self, engine: &str) {
        if !self.restart.iter().any(|known| known == engine) {
            self.restart.push(engine.to_owned());
        }
    }

    /// The drop-in, as the engine takes it; and the verifier, where the drop-in moves its folder:
    /// an empty one would let every pull pass.
    async fn containerd(
        &mut self,
        facts: &ContainerdFacts,
        annotations: bool,
        tools: &Tools,
    ) -> Result<(), Problem> {
        let config = facts.config.as_ref().map_err(Clone::clone)?;
        let moves = |now: &ProgramFolder| now.path == Path::new(super::check::SHARED);
        if facts.verifier.as_ref().is_some_and(moves) {
            none_beside_the_verifier(&tools.folder)?;
        }
        own_lines::none_beside_a_drop_in(&config.files, &facts.engine, tools.platform)?;
        let before = trial::PresentConfig::ask(config).await?;
        // Planned from what is in force without rootpin, so that a second time comes to the same.
        let bare = EngineConfig {
            effective: before.without.clone(),
            ..config.clone()
        };
        let facts = &ContainerdFacts {
            config: Ok(bare.clone()),
            ..facts.clone()
        };
        let mut settings = settings::settings(facts, &bare, tools)?;
        startup::check(facts, &bare, &settings)?;
        let drafts = [false, true].into_iter().flat_map(|exactly| {
            drop_in::styles(facts, config, tools.platform)
                .into_iter()
                .map(move |style| (style, exactly))
        });
        let mut why = None;
        let mut tried: Vec<Vec<FileEdit>> = Vec::new();
        for (style, exactly) in drafts {
            let text = drop_in::render(facts, &bare, &settings, style);
            let inclusion::Edits {
                mut edits,
                generated,
            } = drop_in::edits(facts, config, &text, exactly, tools.platform)?;
            if annotations {
                let edit = toml_file::cri_annotations(config, &edits)?;
                add_annotations(&mut edits, edit);
            }
            if tried.contains(&edits) {
                continue;
            }
            let wanted_too = annotations.then(toml_file::annotations);
            settings.extend(wanted_too.clone());
            let whole: Vec<_> = edits.iter().chain(&generated).cloned().collect();
            let outcome = before.try_out(config, &whole, &settings).await;
            settings.truncate(settings.len() - usize::from(wanted_too.is_some()));
            match outcome {
                Ok(after) => {
                    if let Some(now) = &facts.verifier {
                        // Another release's program is replaced, too.
                        self.verifier(if moves(now) { &tools.folder } else { &now.path }, tools)?;
                    }
                    self.left.extend(
                        startup::unlisted(facts, &bare).map(|why| why.about(&facts.engine.name)),
                    );
                    let (engine, config, program) = (
                        facts.engine.name.clone(),
                        config.main.clone(),
                        config.program.clone(),
                    );
                    self.texts(&engine, edits);
                    self.sandboxes.extend(settings::sandbox(&bare));
                    self.tried.push(TriedEdits {
                        engine,
                        config,
                        program,
                        after,
                        generated,
                    });
                    return Ok(());
                }
                Err(error) => {
                    tried.push(edits);
                    why = why.or(Some(error));
                }
            }
        }
        let why = why.unwrap_or_default();
        let main = config.main.display();
        Err(Problem::hinted(
            format!("nothing is written: {why}"),
            format!("change {main} so that this is not so, and run this again"),
        ))
    }

    /// What [`write`](Self::write) is about to change, to be recorded first.
    pub(crate) fn record(&self, time: &str) -> Result<InstallRecord, Problem> {
        write::record(self, time)
    }

    /// Whether no text of it is written.
    pub(crate) fn is_untouched(&self) -> bool {
        let before = |edit: &FileEdit| text(&edit.path).is_ok_and(|now| now == edit.before);
        self.texts.iter().all(before)
    }

    /// Writes it all, and has each engine read it. What is replaced stays beside it, under the name
    /// with `.bak-` and this time.
    ///
    /// # Errors
    /// Something could not be written, or an engine would not start with what was written; then all
    /// is as it was.
    pub async fn write(&self, time: &str) -> Result<Vec<WrittenFile>, Problem> {
        let mut done = write::write(self, time)?;
        let taken_back = |done: &[WrittenFile]| {
            write::undo(done).map_or_else(
                |error| format!("and could not be taken back: {error}"),
                |()| "so it was taken back".to_owned(),
            )
        };
        for tried in &self.tried {
            if let Err(why) = tried.ask_again().await {
                return Err(format!(
                    "{}: what was written does not hold, {}: {why}",
                    tried.engine,
                    taken_back(&done)
                )
                .into());
            }
        }
        for path in &self.sockets {
            match write::remove_dead(path).await {
                Ok(removed) => done.push(removed),
                Err(why) => {
                    return Err(format!(
                        "{} is not removed, {}: {why}",
                        path.display(),
                        taken_back(&done)
                    )
                    .into());
                }
            }
        }
        Ok(done)
    }
}

/// Adds the edit that has CRI tell names. The file that imports the drop-in is written in its turn.
/// Any other one comes first: a gate that is asked before that can't bind a tag to its digest.
fn add_annotations(edits: &mut Vec<FileEdit>, edit: FileEdit) {
    match edits.iter_mut().find(|known| known.path == edit.path) {
        Some(known) => *known = edit,
        None => edits.insert(0, edit),
    }
}

/// A file's text, or none where there is no such file.
pub(super) fn text(path: &Path) -> Result<Option<String>, Problem> {
    if fs::symlink_metadata(path).is_err() {
        return Ok(None);
    }
    config_files::read(path)
        .map(Some)
        .map_err(|error| Problem::new(format!("{}: {error}", path.display())))
}

/// Texts by their paths, as if they were written.
fn proposed(edits: &[FileEdit]) -> BTreeMap<PathBuf, String> {
    edits
        .iter()
        .map(|edit| (edit.path.clone(), edit.after.clone()))
        .collect()
}

//! Takes back what rootpin changed on this host: each file gets its earlier text, with what others
//! changed since. All of it, or nothing.

mod engine;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rootpin_trust::image::Digest;
use similar::TextDiff;

use super::config_files::is_ours;
use super::facts::Idle;
use super::fix;
use crate::config::{Config, Engine};
use crate::operate::record::{InstallRecord, ModeRecord, ProgramRecord, TextRecord};
use crate::problem::Problem;
use crate::trusted_path::{self, FileOwner};

/// What is to be taken back.
#[derive(Debug, Default)]
pub(crate) struct UninstallPlan {
    texts: Vec<TextChange>,
    programs: Vec<ProgramRecord>,
    modes: Vec<ModeRecord>,
    /// Copies that rootpin made of earlier texts.
    backups: Vec<PathBuf>,
    /// Where rootpin wrote, or was about to, with the modes of new files: a try that was cut off may
    /// have left something there.
    places: Vec<(PathBuf, u32)>,
    /// Folders that rootpin made, the innermost first.
    folders: Vec<PathBuf>,
    /// What keeps all of it from being done.
    pub(crate) left: Vec<Problem>,
    /// What stays, and why.
    pub(crate) kept: Vec<String>,
    /// Engines, and the kubelet, that must be restarted before it is in force.
    pub(crate) restart: Vec<String>,
}

#[derive(Debug)]
struct TextChange {
    path: PathBuf,
    now: String,
    /// None: the file goes.
    then: Option<String>,
}

/// Plans it by what is recorded. The engines are asked whether they would start with what is left.
/// `config_path`: rootpin.toml, in which operators write. `idle`: where an engine that doesn't run
/// has its parts.
pub(crate) async fn plan<'a>(
    record: &InstallRecord,
    (config_path, config): (&Path, &Config),
    idle: impl Fn(&Engine) -> Idle<'a>,
    daemon_json: &Path,
) -> UninstallPlan {
    let mut plan = UninstallPlan::of_record(record, config_path);
    // A file that can't be taken back keeps all of it: what an engine would make of the others is
    // not to be known then.
    let can_be = plan.left.is_empty();
    for engine in config.engines.iter().filter(|_| can_be) {
        match engine::plan(&mut plan, record, engine, idle(engine)).await {
            Ok(true) => plan.restart.push(engine.name.clone()),
            Ok(false) => {}
            Err(why) => plan.left.push(why.about(&engine.name)),
        }
    }
    let of_docker = |change: &TextChange| {
        change.path == daemon_json || change.path.starts_with(super::plugin_name::SPECS)
    };
    if plan.texts.iter().any(of_docker) {
        let names = config.dockers.iter().map(|docker| docker.name.clone());
        plan.restart.extend(names);
    }
    let of_kubelet = |text: &str| {
        text.contains(crate::credentials::OWN_PROVIDER)
            || text.contains("image-credential-provider")
    };
    if plan.texts.iter().any(|change| of_kubelet(&change.now)) {
        plan.restart.push("the kubelet".to_owned());
    }
    if *record == InstallRecord::default() {
        for engine in &config.engines {
            let found = engine::unrecorded(engine, idle(engine)).await;
            plan.left.extend(found.map(|why| why.about(&engine.name)));
        }
    }
    plan
}

/// Whether a configuration says nothing but its version.
fn says_nothing(text: &str) -> bool {
    text.parse::<toml::Table>()
        .is_ok_and(|table| table.keys().all(|key| key == "version"))
}

/// Whether a file that others wrote anew has no line that rootpin wrote, as it was or changed.
fn has_nothing_of(text: &TextRecord, now: &str) -> bool {
    let lines = |text: &str| {
        let lines = text.lines().map(|line| line.trim().to_owned());
        lines
            .filter(|line| !line.is_empty())
            .collect::<BTreeSet<_>>()
    };
    let before = lines(text.before.as_deref().unwrap_or_default());
    let own = lines(&text.after);
    let mut own = own.difference(&before);
    let now_lines = lines(now);
    let mentions = ["rootpin", "/resolve"]
        .iter()
        .any(|word| now.contains(word));
    // Every configuration of a containerd has a version.
    !mentions && !own.any(|line| !line.starts_with("version") && now_lines.contains(line))
}

impl UninstallPlan {
    /// Whether there is nothing to take back.
    pub(crate) fn is_empty(&self) -> bool {
        self.texts.is_empty() && self.programs.is_empty() && self.modes.is_empty()
    }

    /// Whether systemd must read its units anew.
    pub(crate) fn changes_units(&self) -> bool {
        self.texts
            .iter()
            .any(|change| fix::is_of_unit(&change.path))
    }

    /// Everything, as a unified diff and a line for what is no text.
    pub(crate) fn diff(&self) -> String {
        let mut out = String::new();
        for change in &self.texts {
            let path = change.path.display().to_string();
            let to = change.then.as_ref().map_or("/dev/null", |_| &path);
            let then = change.then.as_deref().unwrap_or_default();
            let diff = TextDiff::from_lines(change.now.as_str(), then);
            out.push_str(&diff.unified_diff().header(&path, to).to_string());
        }
        for program in &self.programs {
            let _ = writeln!(out, "remove {}", program.path.display());
        }
        for mode in &self.modes {
            let _ = writeln!(out, "give {} back to whom it was", mode.path.display());
        }
        out
    }

    /// Plans what the record says, whatever engines make of the result.
    fn of_record(record: &InstallRecord, config_path: &Path) -> Self {
        let mut plan = UninstallPlan::default();
        let config_path =
            std::path::absolute(config_path).unwrap_or_else(|_| config_path.to_owned());
        for text in record.texts.iter().rev() {
            plan.text(text, text.path == config_path);
        }
        // An import by the drop-in's own name keeps containerd from starting once that is gone.
        plan.texts.sort_by_key(|change| is_ours(&change.path));
        for program in &record.programs {
            plan.program(program);
        }
        for mode in &record.modes {
            plan.mode(mode);
        }
        // What goes, or comes back from its copy, needs no mode.
        let (programs, texts) = (&plan.programs, &plan.texts);
        plan.modes.retain(|mode| {
            !programs.iter().any(|program| program.path == mode.path)
                && !texts
                    .iter()
                    .any(|text| text.path == mode.path && text.then.is_none())
        });
        let texts = record
            .texts
            .iter()
            .map(|text| (&text.backups, &text.folders));
        let programs = record.programs.iter().flat_map(|program| {
            [
                (&program.backups, &program.folders),
                (&program.own_backups, &program.folders),
            ]
        });
        plan.copies(texts.chain(programs));
        let programs = record.programs.iter().map(|program| &program.path);
        plan.places
            .extend(programs.map(|path| (path.clone(), 0o755)));
        plan
    }

    /// Plans to take back these texts alone, which are no engine's own configuration.
    pub(crate) fn of_texts(texts: &[TextRecord]) -> Self {
        let mut plan = Self::default();
        for text in texts.iter().rev() {
            plan.text(text, false);
        }
        plan.copies(texts.iter().map(|text| (&text.backups, &text.folders)));
        plan
    }

    /// Copies that were made, and folders.
    fn copies<'a>(&mut self, all: impl Iterator<Item = (&'a Vec<PathBuf>, &'a Vec<PathBuf>)>) {
        let mut folders = BTreeSet::new();
        for (backups, made) in all {
            self.backups.extend(backups.iter().cloned());
            folders.extend(made.iter().cloned());
        }
        // A folder stands before those in it.
        self.folders = folders.into_iter().rev().collect();
    }

    fn text(&mut self, text: &TextRecord, is_operators: bool) {
        let path = &text.path;
        self.places.push((path.clone(), 0o644));
        let now = match fix::text(path) {
            Ok(Some(now)) => now,
            Ok(None) => {
                if text.before.is_some() {
                    self.kept.push(format!("{} is gone", path.display()));
                }
                return;
            }
            Err(why) => return self.left.push(why),
        };
        // A file that is all rootpin's is no text that others have lines in: by its meaning alone it
        // is known what is theirs.
        let is_toml = path
            .extension()
            .is_some_and(|extension| extension == "toml");
        let by_lines = text.before.is_some() || text.after == now || !is_toml;
        let then = by_lines
            .then(|| text.without(&now))
            .flatten()
            .or_else(|| fix::without_ours(text, &now));
        let Some(then) = then else {
            let path = path.display();
            if is_operators {
                self.kept.push(format!(
                    "{path} was edited since: remove it yourself, if nothing reads it any more"
                ));
                return;
            }
            if has_nothing_of(text, &now) {
                self.kept.push(format!(
                    "{path} was written anew, without anything of rootpin's"
                ));
                return;
            }
            return self.left.push(Problem::hinted(
                format!("{path} was changed at the lines that rootpin wrote"),
                "take rootpin's lines out of it, or move yours to another file, and run this again",
            ));
        };
        let goes =
            text.before.is_none() && (then.trim().is_empty() || is_toml && says_nothing(&then));
        let then = (!goes).then_some(then);
        if then.as_ref() != Some(&now) {
            self.texts.push(TextChange {
                path: path.clone(),
                now,
                then,
            });
        }
    }

    fn program(&mut self, program: &ProgramRecord) {
        let path = &program.path;
        let is_ours = fs::symlink_metadata(path).is_ok_and(|about| about.is_file())
            && fs::read(path).is_ok_and(|bytes| program.is_own(&Digest::of(&bytes).to_string()));
        if is_ours {
            self.programs.push(program.clone());
        } else if path.exists() {
            let path = path.display();
            self.kept
                .push(format!("{path} is not the program that rootpin put there"));
        }
    }

    fn mode(&mut self, mode: &ModeRecord) {
        match FileOwner::at(&mode.path) {
            Ok(now) if now == mode.before.given_to_root(mode.mode) => {
                self.modes.push(mode.clone());
            }
            _ => {}
        }
    }

    /// Does all of it. Returns what was written and removed.
    ///
    /// # Errors
    /// Something could not be written. What was done before stays: run again, it does the rest.
    pub(crate) fn carry_out(&self) -> Result<Vec<PathBuf>, Problem> {
        let mut done = Vec::new();
        let failed = |path: &Path, error: &io::Error| {
            Problem::hinted(
                format!("{}: {error}", path.display()),
                "mend that, and run this again: it does the rest",
            )
        };
        for TextChange { path, now, then } in &self.texts {
            if fix::text(path)?.as_ref() != Some(now) {
                let what = format!("{} changed meanwhile", path.display());
                return Err(Problem::hinted(what, "run it again"));
            }
            match then {
                Some(then) => fix::replace(path, then.as_bytes()),
                None => trusted_path::place(path).and_then(fs::remove_file),
            }
            .map_err(|error| failed(path, &error))?;
            done.push(path.clone());
        }
        for program in &self.programs {
            let path = &program.path;
            let there = program.backups.iter().find(|backup| backup.exists());
            trusted_path::place(path)
                .and_then(|place| match there {
                    Some(backup) => fs::rename(backup, place),
                    None => fs::remove_file(place),
                })
                .map_err(|error| failed(path, &error))?;
            done.push(path.clone());
        }
        for mode in &self.modes {
            mode.before
                .restore(&mode.path)
                .map_err(|error| failed(&mode.path, &error))?;
            done.push(mode.path.clone());
        }
        for backup in &self.backups {
            match trusted_path::place(backup).and_then(fs::remove_file) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(failed(backup, &error));
                }
                _ => {}
            }
        }
        for (path, mode) in &self.places {
            // Where others may write since then, what is left is theirs to say.
            let _ = fix::remove_leftovers(path, *mode);
        }
        // What others put there keeps a folder.
        for folder in &self.folders {
            let _ = fs::remove_dir(folder);
        }
        Ok(done)
    }
}

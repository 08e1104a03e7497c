//! What a containerd makes of its files once rootpin's changes are taken back: it must start,
//! nothing of others may be out of force, and nothing of rootpin's may be in force.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::super::config_files::{ConfigFiles, is_ours};
use super::super::facts::{ContainerdFacts, EngineConfig, Idle};
use super::super::fix;
use super::super::install::found;
use super::super::probe;
use super::{TextChange, UninstallPlan};
use crate::config::Engine;
use crate::operate::record::{InstallRecord, TextRecord};
use crate::problem::Problem;

/// Where rootpin's programs are, whoever made the folder.
const OWN_FOLDERS: [&str; 2] = ["/usr/libexec/rootpin", "/opt/rootpin"];
const FIRST: &str = "nothing is taken back: mend that first";

/// Whether one of the engine's files is changed. Changes the plan where another file relies on what
/// rootpin wrote.
///
/// # Errors
/// It would not start any more, or not as it should.
pub(super) async fn plan(
    plan: &mut UninstallPlan,
    record: &InstallRecord,
    engine: &Engine,
    idle: Idle<'_>,
) -> Result<bool, Problem> {
    let runs = !idle.is_image && probe::listener(&engine.containerd).await.is_ok();
    let facts = match found(engine, idle).await {
        Ok(facts) => facts,
        // One that can't be asked any more is restarted in any case.
        Err(_) if runs || !has_program(idle.containerd) => return Ok(!plan.texts.is_empty()),
        Err(why) if idle.containerd_unclear.is_some() => return Err(why),
        Err(why) => {
            return Err(Problem::hinted(why.what, FIRST));
        }
    };
    let present = match (&facts.config, &facts.refused) {
        (Ok(present), _) => present,
        (Err(_), Some(why)) => return Err(Problem::hinted(why, FIRST)),
        (Err(_), None) => return Ok(!plan.texts.is_empty()),
    };
    let of_it = |change: &TextChange| {
        let mut files = present.files.files.iter();
        files.any(|file| file.path == change.path)
    };
    if !plan.texts.iter().any(of_it) {
        // Others may have brought what has it ask. Without any record, `unrecorded` tells.
        if *record != InstallRecord::default() {
            no_own_lines(plan, record, &facts, &present.files)?;
        }
        // Its files may be others by now, and it runs by what it read at its start.
        return Ok(runs && plan.texts.iter().any(|change| is_ours(&change.path)));
    }
    keep_imports(plan, present)?;
    let refused = |why: String| Problem::hinted(why, FIRST);
    let (texts, gone) = changed(&plan.texts);
    let (files, after) = fix::after(present, &texts, &gone).await.map_err(refused)?;
    if present.refused.is_none() {
        // The same, but for the main file: what that alone makes another is somebody else's.
        let base = with(&present.files, &plan.texts, &present.main);
        let base = fix::dump(present, &base).await.map_err(refused)?;
        let own = record
            .texts
            .iter()
            .find(|text| text.path == present.main)
            .map(fix::keys_of)
            .unwrap_or_default();
        if let Some(lost) = fix::lost(&base, &after, &own) {
            return Err(Problem::hinted(
                format!("settings of others would change: {lost}"),
                "nothing is taken back: write into the main file what is to stay, and run this again",
            ));
        }
    }
    no_own_lines(plan, record, &facts, &files)?;
    Ok(true)
}

/// Whether the program can be asked at all; one that is gone has been removed.
fn has_program(program: &Path) -> bool {
    if program.is_absolute() {
        return program.exists();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).exists())
}

fn changed(changes: &[TextChange]) -> (BTreeMap<PathBuf, String>, BTreeSet<PathBuf>) {
    let (mut texts, mut gone) = (BTreeMap::new(), BTreeSet::new());
    for change in changes {
        match &change.then {
            Some(then) => _ = texts.insert(change.path.clone(), then.clone()),
            None => _ = gone.insert(change.path.clone()),
        }
    }
    (texts, gone)
}

/// Files as they will be, but for the main one.
fn with(files: &ConfigFiles, changes: &[TextChange], main: &Path) -> ConfigFiles {
    let mut all = files.clone();
    let change = |path: &Path| {
        changes
            .iter()
            .find(|change| change.path == path && path != main)
    };
    all.files
        .retain(|file| change(&file.path).is_none_or(|change| change.then.is_some()));
    for file in &mut all.files {
        let then = change(&file.path).and_then(|change| change.then.as_deref());
        if let Some((text, table)) = then.and_then(|then| Some((then, then.parse().ok()?))) {
            (file.text, file.table) = (text.to_owned(), table);
        }
    }
    all
}

/// Others' files that containerd reads by an import of rootpin's stay in force: the import stays.
fn keep_imports(plan: &mut UninstallPlan, present: &EngineConfig) -> Result<(), Problem> {
    let main = &present.main;
    let Some(at) = plan.texts.iter().position(|change| change.path == *main) else {
        return Ok(());
    };
    let (texts, gone) = changed(&plan.texts);
    let after = if gone.contains(main) {
        ConfigFiles::default()
    } else {
        ConfigFiles::read(main, &texts)?
    };
    let is_read = |path: &Path| after.files.iter().any(|file| file.path == path);
    let orphans: Vec<String> = present
        .files
        .files
        .iter()
        .skip(1)
        .map(|file| file.path.as_path())
        .filter(|path| !gone.contains(*path) && !is_read(path) && !is_ours(path))
        .map(|path| path.display().to_string())
        .collect();
    if orphans.is_empty() {
        return Ok(());
    }
    let Some(change) = plan.texts.get_mut(at) else {
        return Ok(());
    };
    let kept = match &change.then {
        Some(then) => fix::with_imports_of(then, &change.now)?,
        None => change.now.clone(),
    };
    plan.kept.push(format!(
        "{} keeps the import by which containerd reads {}",
        main.display(),
        orphans.join(", ")
    ));
    if kept == change.now {
        plan.texts.remove(at);
    } else {
        change.then = Some(kept);
    }
    Ok(())
}

/// No file may have rootpin's settings then, but one that had them before rootpin wrote anything.
fn no_own_lines(
    plan: &mut UninstallPlan,
    record: &InstallRecord,
    facts: &ContainerdFacts,
    files: &ConfigFiles,
) -> Result<(), Problem> {
    let all: Vec<&Path> = plan
        .programs
        .iter()
        .filter_map(|program| {
            let folder = program.path.parent()?;
            // Another's folder of programs is another's setting.
            let is_own = program.folders.iter().any(|made| made == folder);
            let is_ours = OWN_FOLDERS.iter().any(|own| folder.starts_with(own));
            (is_own || is_ours).then_some(folder)
        })
        .collect();
    let (ours, others): (Vec<&Path>, Vec<&Path>) = all
        .iter()
        .copied()
        .partition(|folder: &&Path| OWN_FOLDERS.iter().any(|own| folder.starts_with(own)));
    let (lines, of_site) = lines_by_owner(files, &facts.engine, (&ours, &all));
    plan.kept.extend(of_site.iter().map(|lines| {
        let folders: Vec<String> = others.iter().map(|path| path.display().to_string()).collect();
        format!(
            "{} stays, as it was before rootpin install: containerd asks whatever is in {}, and nobody where that is missing",
            lines.shown(),
            folders.join(", ")
        )
    }));
    let had = |file: &Path| {
        let is_back = |text: &TextRecord| {
            let now = files.files.iter().find(|known| known.path == text.path);
            text.path == file && text.before.as_deref() == now.map(|now| now.text.as_str())
        };
        record.texts.iter().any(is_back)
    };
    let (own, left): (Vec<_>, Vec<_>) = lines.into_iter().partition(|lines| had(&lines.file));
    plan.kept.extend(own.iter().map(|lines| {
        format!(
            "{} had rootpin's settings before rootpin install wrote any",
            lines.file.display()
        )
    }));
    if left.is_empty() {
        return Ok(());
    }
    let shown: Vec<String> = left.iter().map(fix::OwnLines::shown).collect();
    Err(Problem::hinted(
        format!(
            "rootpin's settings would stay in force, as others brought them, or containerd config migrate did: {}",
            shown.join("; ")
        ),
        "nothing is taken back: take these lines out, of a list rootpin's entries only, and run this again",
    ))
}

/// Lines that are rootpin's, and those of a site that names a folder of its own for verifiers, and
/// nothing else of rootpin's: that one was in force before. `ours` are rootpin's folders of `all`.
fn lines_by_owner(
    files: &ConfigFiles,
    engine: &Engine,
    (ours, all): (&[&Path], &[&Path]),
) -> (Vec<fix::OwnLines>, Vec<fix::OwnLines>) {
    let surely = fix::own_lines(files, engine, ours);
    let is_ours = |lines: &fix::OwnLines| surely.iter().any(|known| known.file == lines.file);
    fix::own_lines(files, engine, all)
        .into_iter()
        .partition(is_ours)
}

/// Files that have a containerd ask rootpin although nothing is recorded.
pub(super) async fn unrecorded(engine: &Engine, idle: Idle<'_>) -> Option<Problem> {
    let facts = found(engine, idle).await.ok()?;
    let present = facts.config.as_ref().ok()?;
    let found: Vec<String> = fix::own_lines(&present.files, engine, &[])
        .iter()
        .map(fix::OwnLines::shown)
        .collect();
    (!found.is_empty()).then(|| {
        Problem::hinted(
            format!(
                "no installed.json says what was there before, and the engine asks rootpin by {}",
                found.join("; ")
            ),
            "remove rootpin's drop-in, or these lines, yourself, restart the engine, and stop rootpind then",
        )
    })
}

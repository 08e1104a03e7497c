//! rootpin-verifier, in a folder where containerd finds it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::super::{check, program, runnable};
use super::{FileEdit, RepairPlan, Tools, text};
use crate::operate::leftover::is_leftover;
use crate::problem::Problem;

impl RepairPlan {
    /// The verifier, in a folder where containerd finds it. containerd gives it no arguments of
    /// ours, so that another control socket wants a script.
    pub(super) fn verifier(&mut self, folder: &Path, tools: &Tools) -> Result<(), Problem> {
        let Tools {
            verifier, control, ..
        } = tools;
        let to = folder.join(check::PROGRAM);
        is_runnable(folder, runnable::is_noexec(folder))?;
        let is_to_be_copied = program::is_to_be_copied(verifier, &to)?;
        if control.is_none() && is_to_be_copied && program::is_same(verifier, &to) {
            self.make_executable(to);
            return Ok(());
        }
        if control.is_none() && !is_to_be_copied {
            return Ok(());
        }
        if !program::is_program(verifier) {
            return Err(Problem::hinted(
                format!("{} is not there", verifier.display()),
                "build rootpin, put rootpin-verifier beside rootpin, and run this again",
            ));
        }
        match control {
            None if self.programs.iter().any(|(_, known)| *known == to) => {}
            None => self.programs.push((verifier.clone(), to)),
            Some(control) => {
                let quoted = |path: &Path| {
                    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
                };
                let after = format!(
                    "#!/bin/sh\nexec {} --control {} \"$@\"\n",
                    quoted(verifier),
                    quoted(control)
                );
                let edit = FileEdit {
                    before: text(&to)?,
                    path: to,
                    after,
                    mode: 0o755,
                };
                if edit.before.as_ref() == Some(&edit.after) && !program::is_program(&edit.path) {
                    self.make_executable(edit.path);
                    return Ok(());
                }
                if !self.texts.contains(&edit) && edit.before.as_ref() != Some(&edit.after) {
                    self.texts.insert(0, edit);
                }
            }
        }
        Ok(())
    }

    fn make_executable(&mut self, path: PathBuf) {
        let mode = (path, 0o755);
        if !self.modes.contains(&mode) {
            self.modes.push(mode);
        }
    }
}

/// Whether containerd can run what is put there.
pub(super) fn is_runnable(folder: &Path, is_noexec: bool) -> Result<(), Problem> {
    if !is_noexec {
        return Ok(());
    }
    Err(Problem::hinted(
        format!(
            "nothing is written: {} is on a file system that is mounted noexec, and containerd refuses every pull where it can't run its verifier",
            folder.display()
        ),
        "name a folder of another file system: rootpin install --verifier DIR",
    ))
}

/// The folder that containerd is to run all programs of has no other than rootpin's.
pub(super) fn none_beside_the_verifier(folder: &Path) -> Result<(), Problem> {
    let shown = folder.display();
    let entries = match fs::read_dir(folder) {
        _ if folder == Path::new(check::SHARED) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|error| format!("{shown}: {error}"))?,
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut others: Vec<String> = names
        .filter(|name| name != check::PROGRAM && !is_leftover(name))
        .collect();
    others.sort();
    let more = match others.len() {
        0 => return Ok(()),
        1..=3 => "",
        _ => " and others",
    };
    others.truncate(3);
    Err(Problem::hinted(
        format!(
            "nothing is written: {shown} holds {}{more}, and containerd would run each of them as root for every pull",
            others.join(", ")
        ),
        "move them away, or name a folder that is new or empty: rootpin install --verifier DIR",
    ))
}

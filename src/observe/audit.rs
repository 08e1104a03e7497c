//! The audit file: one JSON object a line, one line a decision.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use crate::problem::Problem;
use crate::trusted_path::{append, missing_folder};

/// An open audit file.
#[derive(Debug)]
pub(super) struct AuditFile {
    path: PathBuf,
    state: Mutex<AuditFileState>,
}

#[derive(Debug)]
struct AuditFileState {
    /// None: it could not be opened yet.
    file: Option<File>,
    /// Whether a line was cut off and what there is of it could not be taken back.
    broken: bool,
    /// Why the last line is not there.
    trouble: Option<Problem>,
}

impl AuditFile {
    /// A file that can't be opened is trouble like one that can't be written: a host that refused
    /// every pull for want of a log would be down for nothing.
    pub(super) fn open(path: &Path) -> Self {
        let audit = Self {
            path: path.to_owned(),
            state: Mutex::new(AuditFileState {
                file: None,
                broken: false,
                trouble: None,
            }),
        };
        let mut state = audit.state.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = state.open(path).map(drop);
        audit.note(&mut state, opened);
        drop(state);
        audit
    }

    /// Writes one line at once, so that two decisions never share one; whether it is there. What a
    /// full disk takes of a line is taken back.
    pub(super) fn append(&self, record: &Value) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let written = state.append(&self.path, record);
        let good = written.is_ok();
        self.note(&mut state, written);
        good
    }

    /// Says a trouble once, and not for each of a thousand decisions: status and metrics say it as
    /// long as it lasts.
    fn note(&self, state: &mut AuditFileState, outcome: Result<(), Problem>) {
        let path = self.path.display();
        match outcome {
            Ok(()) => {
                if state.trouble.take().is_some() {
                    log::warn!("the audit log {path} can be written again");
                }
            }
            Err(why) => {
                if state.trouble.is_none() {
                    let outcome = "decisions stand, and are not recorded";
                    let problem = why.clone().so(outcome);
                    log::error!("cannot write to the audit log {path}: {problem}");
                }
                state.trouble = Some(why);
            }
        }
    }

    pub(super) fn reopen(&self) {
        match append(&self.path) {
            Ok(file) => {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                (state.file, state.broken) = (Some(file), ends_within_a_line(&self.path));
            }
            Err(error) => log::error!(
                "cannot reopen the audit log {}: {error}; going on with the old one",
                self.path.display()
            ),
        }
    }

    /// Why the last record could not be written, if it could not.
    pub(super) fn trouble(&self) -> Option<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.trouble.clone().map(|why| {
            let why = why.about(self.path.display());
            why.so("decisions are not recorded").to_string()
        })
    }
}

impl AuditFileState {
    fn open(&mut self, path: &Path) -> Result<&mut File, Problem> {
        if self.file.is_none() {
            let file = append(path).map_err(|error| problem(path, &error))?;
            self.file = Some(file);
            self.broken = ends_within_a_line(path);
        }
        self.file.as_mut().ok_or_else(|| Problem::new("not open"))
    }

    fn append(&mut self, path: &Path, record: &Value) -> Result<(), Problem> {
        self.open(path)?;
        let start = if self.broken { "\n" } else { "" };
        let line = format!("{start}{record}\n");
        let file = self.open(path)?;
        let before = file.metadata().map(|metadata| metadata.len());
        let Err(error) = file.write_all(line.as_bytes()) else {
            self.broken = false;
            return Ok(());
        };
        let taken_back = before.and_then(|length| file.set_len(length));
        self.broken |= taken_back.is_err();
        Err(problem(path, &error))
    }
}

/// What is wrong with the file, with the hint that cures it.
fn problem(path: &Path, error: &io::Error) -> Problem {
    if let Some(missing) = missing_folder(path) {
        let hint = "make that folder, or mend the path audit-log in rootpin.toml";
        return Problem::hinted(missing, hint);
    }
    let hint = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            "make room there, or name another place as audit-log in rootpin.toml"
        }
        ErrorKind::PermissionDenied => {
            "have rootpind run as root, or let its user write there: ls -ld the file and its folder"
        }
        ErrorKind::ReadOnlyFilesystem => {
            "mount it for writing, or name another place as audit-log in rootpin.toml"
        }
        _ => "mend the path audit-log in rootpin.toml",
    };
    Problem::from(error.to_string()).or_hint(hint)
}

/// Whether a machine that went down in the middle of a line left a part of it.
fn ends_within_a_line(path: &Path) -> bool {
    let last = || {
        let mut file = File::open(path)?;
        let mut last = [b'\n'];
        if file.metadata()?.is_file() && file.seek(SeekFrom::End(0))? > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        std::io::Result::Ok(last)
    };
    last().is_ok_and(|last| last != *b"\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_file_that_cannot_be_opened_is_trouble_that_names_the_cure_until_it_can() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("log");
        let path = folder.join("audit.jsonl");
        let audit = AuditFile::open(&path);
        let shown = folder.display();
        let trouble = audit.trouble().unwrap();
        assert!(
            trouble.contains(&format!(
                "there is no folder {shown}, which `mkdir -p {shown}` makes"
            )),
            "{trouble}"
        );
        assert!(!trouble.contains("make room"), "{trouble}");
        assert!(!audit.append(&json!({ "n": 1 })));
        std::fs::create_dir(&folder).unwrap();
        assert!(audit.append(&json!({ "n": 2 })));
        assert_eq!(audit.trouble(), None);
        assert_eq!(std::fs::read_to_string(path).unwrap(), "{\"n\":2}\n");
    }

    #[test]
    fn a_file_that_can_take_nothing_is_trouble_until_it_can() {
        // Every write to it fails as on a full disk (full(4)).
        let full = AuditFile::open(Path::new("/dev/full"));
        assert_eq!(full.trouble(), None);
        assert!(!full.append(&json!({ "n": 1 })));
        assert!(
            full.trouble()
                .unwrap()
                .starts_with("/dev/full: No space left on device")
        );
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let good = AuditFile {
            path: path.clone(),
            ..full
        };
        good.reopen();
        assert!(good.append(&json!({ "n": 2 })));
        assert_eq!(
            (good.trouble(), std::fs::read_to_string(path).unwrap()),
            (None, "{\"n\":2}\n".to_owned())
        );
    }

    #[test]
    fn each_kind_of_trouble_has_the_hint_that_cures_it() {
        let dir = tempfile::tempdir().unwrap();
        for (kind, cure) in [
            (ErrorKind::StorageFull, "make room there"),
            (ErrorKind::PermissionDenied, "run as root"),
            (ErrorKind::ReadOnlyFilesystem, "mount it for writing"),
            (ErrorKind::IsADirectory, "mend the path audit-log"),
        ] {
            let found = problem(&dir.path().join("audit.jsonl"), &kind.into());
            assert!(found.hint.unwrap().contains(cure), "{kind}");
        }
    }

    #[test]
    fn a_line_that_was_cut_off_is_ended_before_the_next_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        std::fs::write(&path, "{\"cut\":").unwrap();
        let audit = AuditFile::open(&path);
        audit.append(&json!({ "n": 1 }));
        audit.append(&json!({ "n": 2 }));
        assert_eq!(
            std::fs::read_to_string(path).unwrap(),
            "{\"cut\":\n{\"n\":1}\n{\"n\":2}\n"
        );
    }
}

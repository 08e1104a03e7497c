//! The audit file: one JSON object a line, one line a decision.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use crate::trusted_path::{append, missing_folder};

/// An open audit file.
#[derive(Debug)]
pub(super) struct AuditFile {
    path: PathBuf,
    state: Mutex<AuditFileState>,
}

#[derive(Debug)]
struct AuditFileState {
    file: File,
    /// Whether a line was cut off and what there is of it could not be taken back.
    broken: bool,
    /// Why the last line is not there.
    trouble: Option<String>,
}

impl AuditFile {
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let file = append(path).map_err(|error| {
            let why = missing_folder(path).unwrap_or_else(|| error.to_string());
            format!("audit-log {}: {why}", path.display())
        })?;
        Ok(Self {
            path: path.to_owned(),
            state: Mutex::new(AuditFileState {
                file,
                broken: ends_within_a_line(path),
                trouble: None,
            }),
        })
    }

    /// Writes one line at once, so that two decisions never share one; whether it is there. What a
    /// full disk takes of a line is taken back.
    pub(super) fn append(&self, record: &Value) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let line = if state.broken {
            format!("\n{record}\n")
        } else {
            format!("{record}\n")
        };
        let before = state.file.metadata().map(|metadata| metadata.len());
        match state.file.write_all(line.as_bytes()) {
            Ok(()) => {
                state.broken = false;
                if state.trouble.take().is_some() {
                    log::warn!("the audit log {} can be written again", self.path.display());
                }
                true
            }
            Err(error) => {
                let taken_back = before.and_then(|length| state.file.set_len(length));
                state.broken |= taken_back.is_err();
                // Once, and not for each of a thousand decisions: status and metrics say it as long
                // as it lasts.
                if state.trouble.replace(error.to_string()).is_none() {
                    log::error!(
                        "cannot write to the audit log {}: {error}; decisions stand, and are not recorded",
                        self.path.display()
                    );
                }
                false
            }
        }
    }

    pub(super) fn reopen(&self) {
        match append(&self.path) {
            Ok(file) => {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                (state.file, state.broken) = (file, ends_within_a_line(&self.path));
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
        state.trouble.as_ref().map(|why| {
            format!(
                "{}: {why}; decisions are not recorded; hint: make room there",
                self.path.display()
            )
        })
    }
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
    fn a_folder_that_is_missing_is_named_with_how_it_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("log").display().to_string();
        let why = AuditFile::open(&dir.path().join("log/audit.jsonl")).err();
        assert_eq!(
            why.unwrap(),
            format!(
                "audit-log {folder}/audit.jsonl: there is no folder {folder}, which `mkdir -p {folder}` makes"
            )
        );
    }

    #[test]
    fn a_file_that_can_take_nothing_is_trouble_until_it_can() {
        // Every write to it fails as on a full disk (full(4)).
        let full = AuditFile::open(Path::new("/dev/full")).unwrap();
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
    fn a_line_that_was_cut_off_is_ended_before_the_next_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        std::fs::write(&path, "{\"cut\":").unwrap();
        let audit = AuditFile::open(&path).unwrap();
        audit.append(&json!({ "n": 1 }));
        audit.append(&json!({ "n": 2 }));
        assert_eq!(
            std::fs::read_to_string(path).unwrap(),
            "{\"cut\":\n{\"n\":1}\n{\"n\":2}\n"
        );
    }
}

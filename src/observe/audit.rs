//! The audit file: one JSON object a line, one line a decision.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

/// An open audit file.
#[derive(Debug)]
pub(super) struct AuditFile {
    path: PathBuf,
    file: Mutex<File>,
}

impl AuditFile {
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let file = append_to(path).map_err(|error| format!("audit-log {}: {error}", path.display()))?;
        Ok(Self { path: path.to_owned(), file: Mutex::new(file) })
    }

    /// Writes one line at once, so that two decisions never share one.
    pub(super) fn append(&self, record: &Value) {
        let line = format!("{record}\n");
        let written = self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes());
        if let Err(error) = written {
            log::error!("cannot write to the audit log {}: {error}; the decision stands", self.path.display());
        }
    }

    pub(super) fn reopen(&self) {
        match append_to(&self.path) {
            Ok(file) => *self.file.lock().unwrap_or_else(PoisonError::into_inner) = file,
            Err(error) => log::error!("cannot reopen the audit log {}: {error}; going on with the old one", self.path.display()),
        }
    }
}

fn append_to(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

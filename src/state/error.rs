//! Why the state gives no answer.

use std::fmt;
use std::path::PathBuf;

use rootpin_trust::image::Digest;
use rootpin_trust::{Code, FloorConflict, Refusal, Subject};

/// Why the state gives no answer, or takes no addition.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// What was verified bears a version that is recorded already, over other bytes.
    #[error(transparent)]
    Conflict(#[from] FloorConflict),
    /// Another process (or another `Store` of this one) has the file open.
    #[error("{}: in use by another rootpin", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// Signed bytes of a targets role that were seen for another repository.
    #[error("{subject}: the signed bytes {statement} were seen for {owner}")]
    Replay {
        /// The repository they came for now.
        subject: Subject,
        /// SHA-256 of the signed bytes.
        statement: Digest,
        /// The repository they were first seen for.
        owner: Subject,
    },
    /// The file or its directory cannot be read, written or trusted.
    #[error("{}: {why}", path.display())]
    Unusable {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong.
        why: String,
        /// What a person can do.
        hint: String,
    },
}

impl StateError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Conflict(_) => Code::Rollback,
            Self::Replay { .. } => Code::BadSignature,
            Self::InUse { .. } | Self::Unusable { .. } => Code::StateUnusable,
        }
    }

    /// The "no" that follows.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        let (wanted, hint) = match self {
            Self::Conflict(conflict) => return conflict.clone().into(),
            Self::InUse { .. } => (
                "a state that no other process holds".to_owned(),
                "ask the running rootpind, or give another --state".to_owned(),
            ),
            Self::Replay { owner, .. } => (
                "metadata that was signed for this repository".to_owned(),
                format!("compare what the trust server serves for this repository with {owner}"),
            ),
            Self::Unusable { hint, .. } => {
                ("what this host has seen, whole".to_owned(), hint.clone())
            }
        };
        Refusal::new(self.code(), self.to_string(), wanted, hint)
    }
}

/// What is wrong with the file, before it is known which one.
#[derive(Debug)]
pub(super) struct FileFault(String);

impl FileFault {
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

impl fmt::Display for FileFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

macro_rules! fault_from {
    ($($error:ty),*) => {
        $(impl From<$error> for FileFault {
            fn from(error: $error) -> Self {
                Self(error.to_string())
            }
        })*
    };
}

fault_from!(
    std::io::Error,
    redb::CommitError,
    redb::DatabaseError,
    redb::SetDurabilityError,
    redb::StorageError,
    redb::TableError,
    redb::TransactionError
);

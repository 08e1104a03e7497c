//! A root's verified statement about one repository.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use rootpin_trust::{Collection, Progress, Refusal, Subject, Verified};

/// Metadata files by name.
pub(super) type NamedFiles = Vec<(String, Vec<u8>)>;

/// What a root says of one repository.
#[derive(Debug)]
pub(crate) struct Evidence {
    /// What was verified.
    pub(crate) verified: Arc<Verified<Collection>>,
    /// What the state is to keep of it.
    pub(crate) progress: Vec<Verified<Progress>>,
    /// Where it came from, and what the metadata is about.
    pub(crate) origin: MetadataOrigin,
    /// The last good contact that it rests on.
    pub(crate) contact: Timestamp,
    /// When its source was last asked, with or without an answer.
    pub(super) asked: Mutex<Timestamp>,
    /// Until when it answers without another look.
    pub(crate) valid_until: Timestamp,
    /// Which signers there may be that were not seen.
    pub(crate) unseen: Unseen,
    /// Whether a part of it is of what was at hand, so that its source may have more.
    pub(super) is_partly_at_hand: bool,
    /// What is still to be written: the files, once the floors are safe.
    pub(super) unsaved: UnsavedFiles,
}

/// Files that are still to be written. Doors ask whether there are any, so nobody holds the lock
/// while a disk takes its time.
#[derive(Debug)]
pub(super) struct UnsavedFiles(Mutex<Option<Arc<NamedFiles>>>);

impl UnsavedFiles {
    /// `None`: nothing has to be written.
    pub(super) fn new(files: Option<NamedFiles>) -> Self {
        Self(Mutex::new(files.map(Arc::new)))
    }

    pub(super) fn files(&self) -> Option<Arc<NamedFiles>> {
        self.locked().clone()
    }

    /// All of it is written.
    pub(super) fn clear(&self) {
        self.locked().take();
    }

    fn locked(&self) -> MutexGuard<'_, Option<Arc<NamedFiles>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why there may be signers that were not seen, where all of them were wanted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unseen {
    /// Something could not be read.
    pub(crate) refusal: Option<Refusal>,
    /// Lists are longer than what is looked at: how much was, as an end of what was found.
    pub(crate) cut: String,
}

impl Unseen {
    /// What was not seen of either.
    pub(super) fn or(self, other: Self) -> Self {
        let cut = if self.cut.is_empty() {
            other.cut
        } else {
            self.cut
        };
        Self {
            refusal: self.refusal.or(other.refusal),
            cut,
        }
    }
}

/// Whose metadata it is: contacts and cached files are kept by this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MetadataOrigin {
    /// The server's URL.
    pub(crate) source: String,
    /// What the metadata is about.
    pub(crate) subject: Subject,
}

impl Evidence {
    /// When its source was last asked.
    pub(crate) fn asked(&self) -> Timestamp {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its source was asked once more, in vain.
    pub(super) fn was_asked(&self, at: Timestamp) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// The files of it that are still to be written.
    pub(super) fn unsaved_files(&self) -> NamedFiles {
        let unsaved = self.unsaved.files();
        unsaved.map_or_else(NamedFiles::new, |files| files.to_vec())
    }

    /// Whether its source may have more than it.
    pub(crate) fn is_at_hand(&self) -> bool {
        self.is_partly_at_hand || self.unseen.refusal.is_some() || !self.is_unsaved()
    }

    /// Whether it has not been written yet.
    pub(crate) fn is_unsaved(&self) -> bool {
        self.unsaved.files().is_some()
    }
}

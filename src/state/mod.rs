//! The state of this host: rollback floors, replay index, last good contacts, and the ledger of
//! admitted digests.
//!
//! All of it is one redb file in a directory of its own; cached metadata lies beside it and means
//! nothing. Every call blocks.
//!
//! **A floor is never lost unseen.** Four things together have that property, and a test flips each
//! bit of a file to show it:
//! 1. redb's integrity check at each open compares the checksum of every page that is in use. It
//!    does not cover the choice between its two commit slots; so a raised floor is committed twice
//!    ([`Store::commit`]), and either slot holds it.
//! 2. redb trusts its pages between opens. So all floors are read once, at the open, and are then
//!    served from memory; and a page that rots and is copied by a later commit is caught at the
//!    next open by the checksum of each record (`record`).
//! 3. All floors of a repository are one record, and one summary record holds a digest over all
//!    records (`seen`): a record that is missing, or an older one in its place, doesn't match it.
//! 4. The file is only ever made in a new directory (`directory`), under another name until what
//!    was seen first is in it (`file`). Whatever else is wrong is an error that stops decisions,
//!    until a person resets the state (`Store::reset`, `start_anew`).
//!
//! Large sets of root keys are records of their own (`key_sets`), which floors name by their
//! content.
//!
//! It does not defend against a whole older file put in the place of this one: who can do that is
//! root.

mod backend;
mod break_glass;
mod broken;
pub mod cache;
mod contact;
mod directory;
mod error;
mod file;
mod form;
mod key_sets;
mod ledger;
mod mark;
mod record;
mod report;
mod reset;
mod seen;
mod show;
#[cfg(test)]
mod tests;
mod waiting;
mod write_watch;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock, RwLockReadGuard};
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use redb::Database;

use rootpin_trust::image::Digest;
use rootpin_trust::{Floor, KeyId, Progress, Subject, Verified};

use backend::Backend;
use broken::BrokenState;
use error::FileFault;
use file::{OpenFile, Unnamed};
use seen::{SeenDraft, SeenState, Trouble};
use write_watch::WriteWatch;

pub use break_glass::HostTime;
pub(crate) use break_glass::{GlassFile, GlassRecord, GlassStanding};
pub(crate) use error::StateError;
pub use ledger::Row;
pub(crate) use ledger::RowKind;
pub(crate) use mark::{MarkStanding, StateMark};
pub(crate) use report::{forget_contacts, forget_repository, forget_root, overview_json};
pub(crate) use reset::{ForgottenTimes, Scope, start_anew};
pub(crate) use seen::StateOrigin;
pub(crate) use show::{Contact, Overview};

/// No more often than this a write is tried that adds nothing.
const PROVE_AGAIN: SignedDuration = SignedDuration::from_secs(2);

/// The open state. One process has it at a time; its threads share it.
pub struct Store {
    /// The file; for messages, and to open it again.
    path: PathBuf,
    /// `None` after a failed write: what the file holds is then known only by opening it again.
    database: RwLock<Option<Database>>,
    /// Whether no write succeeded since one failed: a full disk lets the file be opened and read.
    write_failed: AtomicBool,
    writing: WriteWatch,
    /// When a write was last tried for nothing but to see whether there is room by now.
    proved: Mutex<Option<Timestamp>>,
    /// The name that a new file gets when the first thing is written to it.
    unnamed: Mutex<Option<Unnamed>>,
    /// What holds back, until the first commit, what opening the file writes.
    held: Mutex<Option<Backend>>,
    seen: RwLock<Arc<SeenState>>,
    /// Why the state could not be opened: until it is, nothing is read from it and nothing written.
    broken: RwLock<Option<BrokenState>>,
    /// Orders the writers, and holds when the ledger was last looked through for rows that are
    /// over.
    pruned: Mutex<Option<Timestamp>>,
}

/// What one decision adds: all of it is written, in one transaction, or nothing.
#[derive(Debug)]
pub struct Additions<'a> {
    /// The decision's point in time.
    pub now: Timestamp,
    /// What was verified.
    pub verified: Vec<&'a Verified<Progress>>,
    /// Sources that gave an answer which verified, by the server's URL and the repository, and
    /// when: what is at hand for long may be older than the decision.
    pub contacts: Vec<(&'a str, &'a Subject, Timestamp)>,
    /// What was admitted.
    pub rows: Vec<(Digest, Row)>,
}

/// What an addition came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Whether anything was written.
    pub wrote: bool,
    /// Keys that signed here for the first time, and have signed for these other repositories:
    /// worth a warning.
    pub shared_signers: Vec<(KeyId, Subject)>,
}

impl Store {
    /// Opens the state in a directory of its own. Only where that is missing or empty is a new
    /// state made, with a warning.
    ///
    /// # Errors
    /// `StateError::InUse` where another process has it; else it is unusable.
    pub fn open(dir: &Path) -> Result<Self, StateError> {
        Ok(Self::of(file::path(dir), file::open_or_create(dir, false)?))
    }

    /// A new state in an empty folder that will be gone in a moment: nobody has to know of it.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub(crate) fn passing(dir: &Path) -> Result<Self, StateError> {
        let (database, seen, unnamed) = file::create(dir)?;
        let opened = OpenFile::of(database, seen, Some(unnamed));
        Ok(Self::of(file::path(dir), opened))
    }

    fn of(path: PathBuf, opened: OpenFile) -> Self {
        Self {
            path,
            database: RwLock::new(Some(opened.database)),
            write_failed: AtomicBool::new(false),
            writing: WriteWatch::default(),
            proved: Mutex::new(None),
            unnamed: Mutex::new(opened.unnamed),
            held: Mutex::new(opened.held),
            seen: RwLock::new(Arc::new(opened.seen)),
            broken: RwLock::new(None),
            pruned: Mutex::new(None),
        }
    }

    /// Whether the state can be relied on, as far as is known without a look at the file.
    ///
    /// # Errors
    /// Why it can't be.
    pub fn usable(&self) -> Result<(), StateError> {
        self.seen()?;
        let is_lost = || {
            // Who opens the file again has the lock, for as long as a disk that hangs takes.
            let database = self.database.try_read();
            database.map_or(true, |database| database.is_none())
        };
        if self.write_failed.load(Ordering::Relaxed) || is_lost() {
            Err(self.unusable("a write failed; the next question tries again"))
        } else {
            Ok(())
        }
    }

    /// Why the state cannot be used, if it can't.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let unusable = self.usable().err().map(|error| error.to_string());
        let hangs = |lasted: std::time::Duration| {
            let (file, seconds) = (self.path.display(), lasted.as_secs());
            format!("{file}: a write has not ended for {seconds} s, so its disk hangs")
        };
        unusable.or_else(|| self.writing.hangs(Instant::now()).map(hangs))
    }

    /// The directory that it lies in.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// What tells this state from every other one; none in a state that an earlier rootpin made.
    ///
    /// # Errors
    /// The state is unusable.
    pub fn origin(&self) -> Result<Option<StateOrigin>, StateError> {
        Ok(self.seen()?.origin.clone())
    }

    /// The same, for good: a state that has none gets one, and one that is still without a file has
    /// it from now on.
    ///
    /// # Errors
    /// The state is unusable.
    pub(crate) fn identify(&self) -> Result<StateOrigin, StateError> {
        let _writing = self.pruned.lock().map_err(|_| self.poisoned())?;
        self.with_database(|database| {
            let mut draft = SeenDraft::of(&*self.seen()?);
            let origin = draft.identify()?;
            let unnamed = self.unnamed.lock().map_err(|_| self.poisoned())?.is_some();
            if unnamed || !draft.changes.is_empty() {
                self.write(database, draft, &[])?;
            }
            Ok(origin)
        })
    }

    /// All floors of a repository, under whatever root keys.
    ///
    /// # Errors
    /// The state is unusable.
    pub fn history(&self, subject: &Subject) -> Result<Vec<Floor>, StateError> {
        Ok(self
            .seen()?
            .repositories
            .get(subject)
            .map(|entry| entry.value.floors.clone())
            .unwrap_or_default())
    }

    /// The last good contact with a source about a repository, as it was written: a few minutes may
    /// be missing.
    ///
    /// # Errors
    /// The state is unusable.
    pub fn contact(
        &self,
        source: &str,
        subject: &Subject,
    ) -> Result<Option<Timestamp>, StateError> {
        Ok(self
            .seen()?
            .contacts
            .get(&(source.to_owned(), subject.clone()))
            .map(|entry| entry.value))
    }

    /// The sources whose names begin so, and which were asked about it with success.
    ///
    /// # Errors
    /// The state is unusable.
    pub(crate) fn sources_of(
        &self,
        subject: &Subject,
        prefix: &str,
    ) -> Result<Vec<String>, StateError> {
        let seen = self.seen()?;
        let sources = seen.contacts.keys();
        let sources = sources.filter(|(source, of)| of == subject && source.starts_with(prefix));
        Ok(sources.map(|(source, _)| source.clone()).collect())
    }

    /// What a source was asked about with success.
    ///
    /// # Errors
    /// The state is unusable.
    pub(crate) fn subjects_of(&self, source: &str) -> Result<Vec<Subject>, StateError> {
        let seen = self.seen()?;
        Ok(seen
            .contacts
            .keys()
            .filter(|(known, _)| known == source)
            .map(|(_, subject)| subject.clone())
            .collect())
    }

    /// Another repository for which one of these keys signed the very bytes of a targets role.
    ///
    /// # Errors
    /// The state is unusable.
    pub(crate) fn replayed(
        &self,
        subject: &Subject,
        statement: &Digest,
        signers: &BTreeSet<KeyId>,
    ) -> Result<Option<Subject>, StateError> {
        let seen = self.seen()?;
        Ok(seen.replayed(subject, statement, signers).cloned())
    }

    /// Whether another repository has a floor for the very same signed bytes, under one of the keys.
    ///
    /// # Errors
    /// The state is unusable.
    pub(crate) fn is_of_another(
        &self,
        subject: &Subject,
        floor: &Floor,
    ) -> Result<bool, StateError> {
        let seen = self.seen()?;
        let mut others = seen
            .repositories
            .iter()
            .filter(|(other, _)| *other != subject)
            .flat_map(|(_, entry)| &entry.value.floors);
        Ok(others.any(|other| {
            other.role == floor.role
                && other.signed == floor.signed
                && !other.keys.is_disjoint(&floor.keys)
        }))
    }

    /// The repositories whose tags a key has signed.
    ///
    /// # Errors
    /// The state is unusable.
    pub fn signer_repositories(&self, key: &KeyId) -> Result<Vec<Subject>, StateError> {
        Ok(self.seen()?.signer_repositories(key).cloned().collect())
    }

    /// The ledger's rows of a digest. The caller sees whether one still counts: it is an index,
    /// never a permission.
    ///
    /// # Errors
    /// The state is unusable.
    pub fn admitted(&self, digest: &Digest) -> Result<Vec<Row>, StateError> {
        self.with_database(|database| Ok(ledger::rows_of(database, digest)?))
    }

    /// Writes what one decision adds; nothing if all of it is there already. Only after this may
    /// the decision be told.
    ///
    /// # Errors
    /// `StateError::Replay` and `StateError::Conflict` where the addition contradicts what was
    /// seen; else it is unusable. In each case the decision is no.
    pub fn commit(&self, additions: &Additions<'_>) -> Result<Committed, StateError> {
        let mut pruned = self.pruned.lock().map_err(|_| self.poisoned())?;
        let committed = self.with_database(|database| {
            let mut draft = SeenDraft::of(&*self.seen()?);
            let mut shared_signers = Vec::new();
            for verified in &additions.verified {
                shared_signers.extend(draft.add(verified.get())?);
            }
            for (source, subject, at) in &additions.contacts {
                draft.touch(source, subject, *at)?;
            }
            let mut rows = ledger::changes(database, &additions.rows, additions.now)?;
            if rows.is_empty() && draft.changes.is_empty() {
                return Ok(Committed::default());
            }
            let mut changes = ledger::prune(database, &mut pruned, rows.len(), additions.now)?;
            changes.append(&mut rows);
            self.write(database, draft, &changes)?;
            Ok(Committed {
                wrote: true,
                shared_signers,
            })
        })?;
        if !committed.wrote && self.write_failed.load(Ordering::Relaxed) {
            self.prove_writable(additions.now);
        }
        Ok(committed)
    }

    /// After a failed write: writes what is known anew, which says whether there is room by now. No
    /// decision rests on it, and a full disk costs few of them a file that is opened again.
    fn prove_writable(&self, now: Timestamp) {
        let Ok(mut proved) = self.proved.lock() else {
            return;
        };
        if proved
            .is_some_and(|at| (SignedDuration::ZERO..PROVE_AGAIN).contains(&now.duration_since(at)))
        {
            return;
        }
        *proved = Some(now);
        let written = self.with_database(|database| {
            let draft = SeenDraft::of(&*self.seen()?);
            self.write(database, draft, &[])
        });
        if let Err(error) = written {
            log::debug!("{error}");
        }
    }

    /// Writes a draft; only then is it what was seen.
    fn write(
        &self,
        database: &Database,
        mut draft: SeenDraft,
        rows: &[ledger::RowChange],
    ) -> Result<(), Trouble> {
        let _under_way = self.writing.begin(Instant::now());
        if let Some(held) = self.held.lock().map_err(|_| self.poisoned())?.take() {
            held.write_through().map_err(FileFault::from)?;
        }
        file::write(database, &mut draft, rows)?;
        if let Some(unnamed) = self.unnamed.lock().map_err(|_| self.poisoned())?.take() {
            unnamed.name()?;
        }
        *self.seen.write().map_err(|_| self.poisoned())? = Arc::new(draft.seen);
        self.write_failed.store(false, Ordering::Relaxed);
        Ok(())
    }

    fn seen(&self) -> Result<Arc<SeenState>, StateError> {
        self.whole()?;
        Ok(Arc::clone(&*self.seen.read().map_err(|_| self.poisoned())?))
    }

    /// Runs something on the open file. When that fails on the file, the next caller opens it
    /// again.
    fn with_database<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, Trouble>,
    ) -> Result<T, StateError> {
        let guard = self.opened()?;
        let database = guard.as_ref().ok_or_else(|| self.unusable("not open"))?;
        let result = work(database);
        drop(guard);
        match result {
            Ok(value) => Ok(value),
            Err(Trouble::State(error)) => Err(error),
            Err(Trouble::File(fault)) => {
                self.write_failed.store(true, Ordering::Relaxed);
                self.database.write().map_err(|_| self.poisoned())?.take();
                Err(file::from_fault(&self.path, &fault))
            }
        }
    }

    /// The open file, after a failure opened again with all its checks. A full disk thus heals
    /// without a restart.
    fn opened(&self) -> Result<RwLockReadGuard<'_, Option<Database>>, StateError> {
        self.whole()?;
        let guard = self.database.read().map_err(|_| self.poisoned())?;
        if guard.is_some() {
            return Ok(guard);
        }
        drop(guard);
        self.open_again()?;
        self.database.read().map_err(|_| self.poisoned())
    }

    /// Opens the file with all its checks, unless it is open.
    fn open_again(&self) -> Result<(), StateError> {
        let mut guard = self.database.write().map_err(|_| self.poisoned())?;
        if guard.is_none() {
            // Nothing was told of what is in a file without a name, and its lock on the directory
            // would keep this process itself from making it anew.
            drop(self.unnamed.lock().map_err(|_| self.poisoned())?.take());
            let OpenFile {
                database,
                seen,
                unnamed,
                ..
            } = file::open_or_create(self.directory(), false)?;
            let mut current = self.seen.write().map_err(|_| self.poisoned())?;
            if seen.writes < current.writes {
                return Err(self.unusable("the file is older than what was read from it before"));
            }
            *self.unnamed.lock().map_err(|_| self.poisoned())? = unnamed;
            *self.held.lock().map_err(|_| self.poisoned())? = None;
            *current = Arc::new(seen);
            *guard = Some(database);
        }
        Ok(())
    }

    fn poisoned(&self) -> StateError {
        self.unusable("a thread failed while it held the state")
    }

    fn unusable(&self, why: &str) -> StateError {
        directory::unusable(
            &self.path,
            why,
            "restart rootpind; it checks the file when it opens it",
        )
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Store")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

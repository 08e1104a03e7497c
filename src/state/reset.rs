//! The explicit way to forget: `rootpin state reset`.

use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use jiff::Timestamp;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use rootpin_trust::{Floor, Subject};

use super::seen::SeenDraft;
use super::{StateError, Store, directory, file, ledger};

/// What to forget.
#[derive(Clone, Copy)]
pub enum Scope<'a> {
    /// These floors; and all of a repository that has no others.
    Floors(&'a dyn Fn(&Floor) -> bool),
    /// All of one repository.
    Repository(&'a Subject),
}

impl fmt::Debug for Scope<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Floors(_) => formatter.write_str("Floors"),
            Self::Repository(only) => formatter.debug_tuple("Repository").field(only).finish(),
        }
    }
}

/// What was forgotten.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// By repository.
    pub repositories: Vec<ForgottenRepository>,
    /// Rows of the ledger; all of them, where anything was forgotten, because they rest on what
    /// was.
    pub rows: usize,
}

/// What was forgotten of one repository.
#[derive(Debug, PartialEq, Eq)]
pub struct ForgottenRepository {
    /// The repository.
    pub subject: Subject,
    /// Its floors that are gone.
    pub floors: Vec<Floor>,
    /// How many of its signed files were remembered for the replay check; 0 if they still are.
    pub statements: usize,
    /// The sources whose last good contact is gone; their cached metadata should go too
    /// ([`super::cache::Cache::forget`]).
    pub contacts: Vec<String>,
}

/// Times that were forgotten, and nothing else.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ForgottenTimes {
    /// Contacts: their sources, and what the metadata is about.
    pub contacts: Vec<(String, Subject, Timestamp)>,
    /// When versions were first seen, by repository and role: they count as first seen when they
    /// are verified the next time.
    pub(crate) first_seen: Vec<(Subject, String, Timestamp)>,
}

/// rootpin is younger than this: what bears an earlier time was seen under a clock that was wrong.
const FIRST: Timestamp = Timestamp::constant(1_767_225_600, 0);

impl Store {
    /// Forgets the times that can't be right where the clock is right: those after now, and those
    /// before there was a rootpin. Floors stay. `dry_run`: only says which.
    ///
    /// # Errors
    /// The state is unusable.
    pub(crate) fn reset_contacts(
        &self,
        now: Timestamp,
        dry_run: bool,
    ) -> Result<ForgottenTimes, StateError> {
        let _writing = self.pruned.lock().map_err(|_| self.poisoned())?;
        let is_wrong = |at: &Timestamp| *at > now || *at < FIRST;
        self.with_database(|database| {
            let seen = self.seen()?;
            let mut draft = SeenDraft::of(&seen);
            let mut forgotten = ForgottenTimes::default();
            for ((source, subject), entry) in seen
                .contacts
                .iter()
                .filter(|(_, entry)| is_wrong(&entry.value))
            {
                draft.forget_contact(source, subject);
                forgotten
                    .contacts
                    .push((source.clone(), subject.clone(), entry.value));
            }
            for (subject, entry) in &seen.repositories {
                let mut record = entry.value.clone();
                for floor in &mut record.floors {
                    if let Some(since) = floor.since.take_if(|since| is_wrong(since)) {
                        forgotten
                            .first_seen
                            .push((subject.clone(), floor.role.clone(), since));
                    }
                }
                draft.put(subject, record)?;
            }
            if !dry_run && !draft.changes.is_empty() {
                self.write(database, draft, &[])?;
            }
            Ok(forgotten)
        })
    }

    /// Forgets, in one transaction, and says what. `dry_run`: only says what.
    ///
    /// # Errors
    /// The state is unusable.
    pub fn reset(&self, scope: Scope<'_>, dry_run: bool) -> Result<Forgotten, StateError> {
        let _writing = self.pruned.lock().map_err(|_| self.poisoned())?;
        self.with_database(|database| {
            let seen = self.seen()?;
            let mut draft = SeenDraft::of(&seen);
            let mut forgotten = Forgotten::default();
            for (subject, entry) in &seen.repositories {
                let mut record = entry.value.clone();
                let (floors, kept): (Vec<_>, Vec<_>) =
                    record.floors.into_iter().partition(|floor| match scope {
                        Scope::Floors(these) => these(floor),
                        Scope::Repository(only) => subject == only,
                    });
                record.floors = kept;
                let whole = record.floors.is_empty()
                    && matches!(scope, Scope::Floors(_))
                    && !floors.is_empty()
                    || matches!(scope, Scope::Repository(only) if subject == only);
                if whole {
                    let statements = record.statements.len();
                    let contacts = draft.forget(subject);
                    forgotten.repositories.push(ForgottenRepository {
                        subject: subject.clone(),
                        floors,
                        statements,
                        contacts,
                    });
                } else if !floors.is_empty() {
                    draft.put(subject, record)?;
                    // TUF repositories share a record; a contact made under a clock that ran ahead
                    // must not outlive the reset.
                    let contacts = if *subject == Subject::Tuf {
                        draft.forget_contacts(subject)
                    } else {
                        Vec::new()
                    };
                    forgotten.repositories.push(ForgottenRepository {
                        subject: subject.clone(),
                        floors,
                        statements: 0,
                        contacts,
                    });
                }
            }
            if !forgotten.repositories.is_empty() {
                let rows = ledger::clear(database)?;
                forgotten.rows = rows.len();
                if !dry_run {
                    self.write(database, draft, &rows)?;
                }
            }
            Ok(forgotten)
        })
    }
}

/// The way out of a damaged state: sets its file aside under a new name, and begins with nothing
/// seen. Returns where the old file is now, if there was one.
///
/// # Errors
/// The state is in use; its mode, its owner or the disk is at fault, which takes nothing from what
/// was seen; or it can be opened after all: then [`Store::reset`] is the way.
pub(crate) fn start_anew(dir: &Path) -> Result<Option<PathBuf>, StateError> {
    let path = file::path(dir);
    directory::check_access(dir, &path)?;
    // Nothing is written to the file, so that a full disk is not taken for damage.
    match file::open_or_create(dir, true) {
        Ok(_) => {
            return Err(directory::unusable(
                dir,
                "this state can be read",
                "reset it for one root or repository",
            ));
        }
        Err(error @ StateError::InUse { .. }) => return Err(error),
        Err(error) => log::warn!("{error}: all that this host has seen is forgotten"),
    }
    let moved = set_aside(&path).map_err(|error| directory::io_error(&path, &error))?;
    let (_database, _, unnamed) = file::create(dir)?;
    unnamed
        .name()
        .map_err(|fault| file::from_fault(&path, &fault))?;
    Ok(moved)
}

/// Renames the file to the first free of `state.redb.unusable`, `state.redb.unusable-1` and so on:
/// an older one may be the backup. `None`: there is no file.
fn set_aside(path: &Path) -> io::Result<Option<PathBuf>> {
    let rename = |aside: &Path| renameat_with(CWD, path, CWD, aside, RenameFlags::NOREPLACE);
    to_first_free(path, |aside| match rename(aside) {
        // Not every file system has a rename that takes no other's name.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => by_link(path, aside),
        done => done.map_err(io::Error::from),
    })
}

/// Gives the file another name, which it takes from no other, and then takes the first one away. In
/// between it has both: whoever ends there sets it aside once more.
fn by_link(path: &Path, aside: &Path) -> io::Result<()> {
    fs::hard_link(path, aside)?;
    fs::remove_file(path)
}

fn to_first_free(
    path: &Path,
    take: impl Fn(&Path) -> io::Result<()>,
) -> io::Result<Option<PathBuf>> {
    let mut number: u32 = 0;
    loop {
        let aside = if number == 0 {
            path.with_extension("redb.unusable")
        } else {
            path.with_extension(format!("redb.unusable-{number}"))
        };
        match take(&aside).map_err(|error| (error.kind(), error)) {
            Ok(()) => return Ok(Some(aside)),
            Err((io::ErrorKind::NotFound, _)) => return Ok(None),
            Err((io::ErrorKind::AlreadyExists, _)) => number = number.saturating_add(1),
            Err((_, error)) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_set_aside_by_a_link_where_a_rename_would_write_over_another_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.redb");
        let at = |name: &str| fs::read_to_string(dir.path().join(name)).ok();
        fs::write(&path, "broken").unwrap();
        fs::write(dir.path().join("state.redb.unusable"), "older").unwrap();
        let moved = to_first_free(&path, |aside| by_link(&path, aside)).unwrap();
        assert_eq!(moved, Some(dir.path().join("state.redb.unusable-1")));
        assert_eq!(at("state.redb"), None);
        assert_eq!(at("state.redb.unusable").as_deref(), Some("older"));
        assert_eq!(at("state.redb.unusable-1").as_deref(), Some("broken"));
        let none = to_first_free(&path, |aside| by_link(&path, aside)).unwrap();
        assert_eq!((none, at("state.redb.unusable-2")), (None, None));
    }
}

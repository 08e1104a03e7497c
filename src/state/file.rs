//! The one file: making it, opening it whole, writing to it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::{
    Builder, Database, DatabaseError, Durability, ReadableDatabase as _, ReadableTable as _,
    TableDefinition, TableError,
};

use super::backend::Backend;
use super::form::FLOORS;
use super::key_sets::KEY_SETS;
use super::seen::{CONTACTS, Changes, ORIGIN, ORIGIN_KEY, SeenDraft, SeenState, SeenSummary};
use super::{FileFault, StateError, directory, ledger, record};

type NamedTable = TableDefinition<'static, &'static str, &'static [u8]>;

/// By repository: floors, replay index. By source and repository: last good contact. And one record
/// that sums these up.
const TABLES: [NamedTable; 2] = [TableDefinition::new(FLOORS), TableDefinition::new(CONTACTS)];
/// The sets of keys that floors name. Only a state with such floors has this table.
const NAMED_KEYS: NamedTable = TableDefinition::new(KEY_SETS);
/// Which state this is. One that an earlier rootpin made has no such table.
const ORIGINS: NamedTable = TableDefinition::new(ORIGIN);
const SUMMARY: &str = "summary";
const SUMMARIES: NamedTable = TableDefinition::new(SUMMARY);
const SUMMARY_KEY: &str = "all";

/// What is read often is in memory; the cache serves the ledger.
const CACHE_BYTES: usize = 2 << 20;

/// Where the state is, in its directory.
pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join("state.redb")
}

/// Where it is made, before it gets its name.
pub(super) fn draft_path(dir: &Path) -> PathBuf {
    dir.join("state.redb.new")
}

/// A file that is made and open, and has no name yet: nothing that was seen is in it. Nobody else
/// makes one meanwhile.
#[derive(Debug)]
pub(super) struct Unnamed {
    path: PathBuf,
    draft: PathBuf,
    file: File,
    /// The directory, locked.
    making: File,
    backend: Backend,
}

/// Makes the file, with nothing in it, and opens it. It gets its name when it is whole.
pub(super) fn create(dir: &Path) -> Result<(Database, SeenState, Unnamed), StateError> {
    let (path, draft) = (path(dir), draft_path(dir));
    let io = |error: &io::Error| directory::io_error(&draft, error);
    let in_use = || StateError::InUse { path: path.clone() };
    // One process at a time makes it, or one would take the draft of another.
    let making = File::open(dir).map_err(|error| io(&error))?;
    making.try_lock().map_err(|error| {
        if let TryLockError::Error(error) = error {
            io(&error)
        } else {
            in_use()
        }
    })?;
    if fs::symlink_metadata(&path).is_ok() {
        return Err(in_use());
    }
    // What an earlier start left when it was cut short.
    let _ = fs::remove_file(&draft);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .map_err(|error| io(&error))?;
    let backend = file.try_clone().map_err(|error| io(&error))?;
    let backend = Backend::unsynced(backend).map_err(|error| from_open(&draft, error))?;
    let database = builder()
        .create_with_backend(backend.clone())
        .map_err(|error| from_open(&draft, error))?;
    let seen = initialise(&database).map_err(|fault| from_fault(&draft, &fault))?;
    Ok((
        database,
        seen,
        Unnamed {
            path,
            draft,
            file,
            making,
            backend,
        },
    ))
}

impl Unnamed {
    /// Syncs the file and gives it its name, which it takes from no other.
    pub(super) fn name(self) -> Result<(), FileFault> {
        let Self {
            path,
            draft,
            file,
            making,
            backend,
        } = self;
        backend.write_through()?;
        file.sync_all()?;
        // Unlike a rename, a link takes no other's name.
        fs::hard_link(&draft, &path)?;
        directory::remove(&draft)?;
        // The directory may be as new as the file. Its own name is synced last, when that costs
        // next to nothing.
        making.sync_all()?;
        path.parent()
            .and_then(Path::parent)
            .map_or(Ok(()), directory::sync)?;
        Ok(())
    }
}

/// An open file.
pub(super) struct OpenFile {
    pub(super) database: Database,
    pub(super) seen: SeenState,
    pub(super) unnamed: Option<Unnamed>,
    /// What holds the writes back until the first commit.
    pub(super) held: Option<Backend>,
}

impl OpenFile {
    /// One that is written as redb writes it.
    pub(super) fn of(database: Database, seen: SeenState, unnamed: Option<Unnamed>) -> Self {
        Self {
            database,
            seen,
            unnamed,
            held: None,
        }
    }
}

/// Opens the file that is there, or makes one where there can't be any yet. `holds`: whether the
/// file stays as it is until the first commit.
pub(super) fn open_or_create(dir: &Path, holds: bool) -> Result<OpenFile, StateError> {
    let path = path(dir);
    if directory::prepare(dir, &path, &draft_path(dir))? == directory::DirectoryKind::New {
        let (database, seen, unnamed) = create(dir)?;
        log::warn!(
            "{}: a new state: nothing that was seen before on this host protects it from rollback",
            path.display()
        );
        return Ok(OpenFile::of(database, seen, Some(unnamed)));
    }
    if holds {
        return open_held(&path);
    }
    let (database, seen) = open(&path)?;
    Ok(OpenFile::of(database, seen, None))
}

/// Opens the file and reads all that was seen, or says why that can't be had whole.
pub(super) fn open(path: &Path) -> Result<(Database, SeenState), StateError> {
    opened(path, || builder().open(path))
}

/// The same, and the file stays as it is until the first commit.
fn open_held(path: &Path) -> Result<OpenFile, StateError> {
    let io = |error: &io::Error| directory::io_error(path, error);
    let file = OpenOptions::new().read(true).write(true).open(path);
    let file = file.map_err(|error| io(&error))?;
    // redb would begin a new state in it.
    if file.metadata().map_err(|error| io(&error))?.len() == 0 {
        return Err(from_fault(path, &FileFault::new("the file is empty")));
    }
    let held = Backend::held(file).map_err(|error| from_open(path, error))?;
    let (database, seen) = opened(path, || builder().create_with_backend(held.clone()))?;
    Ok(OpenFile {
        held: Some(held),
        ..OpenFile::of(database, seen, None)
    })
}

fn opened(
    path: &Path,
    open: impl FnOnce() -> Result<Database, DatabaseError>,
) -> Result<(Database, SeenState), StateError> {
    guarded(|| {
        let database = open().map_err(|error| from_open(path, error))?;
        let seen = load(&database).map_err(|fault| from_fault(path, &fault))?;
        Ok((database, seen))
    })
    .unwrap_or_else(|| Err(from_fault(path, &FileFault::new("the file is damaged"))))
}

/// The first records of a new file.
pub(super) fn initialise(database: &Database) -> Result<SeenState, FileFault> {
    let mut draft = SeenDraft::of(&SeenState::default());
    draft.identify()?;
    write(database, &mut draft, &[])?;
    Ok(draft.seen)
}

/// Reads all that was seen, and checks it against the summary.
pub(super) fn load(database: &Database) -> Result<SeenState, FileFault> {
    let transaction = database.begin_read()?;
    let mut seen = SeenState::default();
    match transaction.open_table(NAMED_KEYS) {
        Ok(table) => {
            for row in table.iter()? {
                let (key, value) = row?;
                seen.take(KEY_SETS, key.value(), value.value())?;
            }
        }
        Err(TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(error.into()),
    }
    for table in TABLES {
        let name = redb::TableHandle::name(&table).to_owned();
        for row in transaction.open_table(table)?.iter()? {
            let (key, value) = row?;
            seen.take(&name, key.value(), value.value())?;
        }
    }
    match transaction.open_table(ORIGINS) {
        Ok(table) => {
            if let Some(value) = table.get(ORIGIN_KEY)? {
                seen.take(ORIGIN, ORIGIN_KEY, value.value())?;
            }
        }
        Err(TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let summary = transaction.open_table(SUMMARIES)?;
    let summary = summary
        .get(SUMMARY_KEY)?
        .ok_or_else(|| FileFault::new("the summary is missing"))?;
    let (summary, _) =
        record::decode::<SeenSummary>(SUMMARY, SUMMARY_KEY.as_bytes(), summary.value())?;
    seen.check(&summary)?;
    Ok(seen)
}

/// Writes a draft and the ledger's changes in one transaction, and a second one behind it if a
/// floor is raised.
///
/// redb's header names two commits, the last and the one before it, and a flipped bit there makes
/// it take the one before. So a raised floor counts as written only once both have it. (Opening the
/// file with its integrity check has the same effect: it commits.)
pub(super) fn write(
    database: &Database,
    draft: &mut SeenDraft,
    rows: &[ledger::RowChange],
) -> Result<(), FileFault> {
    write_once(database, &mut draft.seen, &draft.changes, rows)?;
    if draft.raises() {
        write_once(database, &mut draft.seen, &Changes::new(), &[])
    } else {
        Ok(())
    }
}

fn write_once(
    database: &Database,
    seen: &mut SeenState,
    changes: &Changes,
    rows: &[ledger::RowChange],
) -> Result<(), FileFault> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    // Its own checksums are no proof against chosen content; two phases do not rest on them after a
    // crash.
    transaction.set_two_phase_commit(true);
    seen.writes += 1;
    let has_key_sets = changes.keys().any(|(table, _)| *table == KEY_SETS);
    let key_sets = has_key_sets.then_some(NAMED_KEYS);
    for table in TABLES.into_iter().chain([ORIGINS]).chain(key_sets) {
        let name = redb::TableHandle::name(&table).to_owned();
        let mut table = transaction.open_table(table)?;
        for ((_, key), value) in changes.iter().filter(|((of, _), _)| *of == name) {
            match value {
                Some(value) => drop(table.insert(key.as_str(), value.as_slice())?),
                None => drop(table.remove(key.as_str())?),
            }
        }
    }
    let summary = record::encode(SUMMARY, SUMMARY_KEY.as_bytes(), &seen.summary())?;
    transaction
        .open_table(SUMMARIES)?
        .insert(SUMMARY_KEY, summary.bytes.as_slice())?;
    ledger::apply(&transaction, rows)?;
    transaction.commit()?;
    Ok(())
}

pub(super) fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .set_cache_size(CACHE_BYTES)
        .set_check_integrity_on_open(true);
    builder
}

/// redb may panic on a damaged file where its own checks do not reach; that is an answer too.
pub(super) fn guarded<T>(open: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(open)).ok()
}

pub(super) fn from_fault(path: &Path, fault: &FileFault) -> StateError {
    directory::unusable(
        path,
        &fault.to_string(),
        "restore the file, or forget all it held: `rootpin state reset --help`",
    )
}

fn from_open(path: &Path, error: DatabaseError) -> StateError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => StateError::InUse {
            path: path.to_owned(),
        },
        error => from_fault(path, &error.into()),
    }
}

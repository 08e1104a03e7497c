//! How writes reach the state's file: as redb makes them; without syncs, while the file is made; or
//! not before the first commit, where a process may end without one.

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend};

/// The file, shared by redb and by whoever changes how writes reach it.
#[derive(Debug, Clone)]
pub(super) struct Backend(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    file: FileBackend,
    writes: RwLock<Writes>,
}

#[derive(Debug)]
enum Writes {
    /// At once, synced where redb asks for it.
    Direct,
    /// At once, and never synced: the file has no name yet.
    Unsynced,
    /// Held back, in their order: what opening a file writes says only that it is open.
    Held(Vec<Write>),
    /// Some of what was held back could not be written. Nothing else is, until it is opened again.
    Failed,
}

#[derive(Debug)]
enum Write {
    Bytes(u64, Vec<u8>),
    Length(u64),
    Sync,
}

impl Backend {
    /// A file that is being made: it is synced as a whole, before it gets its name, and not a dozen
    /// times on the way there.
    pub(super) fn unsynced(file: File) -> Result<Self, DatabaseError> {
        Self::of(file, Writes::Unsynced)
    }

    /// A file that stays as it is, and waits for no disk, until [`Backend::write_through`].
    pub(super) fn held(file: File) -> Result<Self, DatabaseError> {
        Self::of(file, Writes::Held(Vec::new()))
    }

    fn of(file: File, writes: Writes) -> Result<Self, DatabaseError> {
        let file = FileBackend::new(file)?;
        let writes = RwLock::new(writes);
        Ok(Self(Arc::new(Shared { file, writes })))
    }

    /// From now on writes reach the file as redb makes them. What was held back is written first, in
    /// the same order and with the same syncs, so that a crash leaves what it would have left.
    pub(super) fn write_through(&self) -> io::Result<()> {
        let mut writes = self
            .0
            .writes
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let held = match std::mem::replace(&mut *writes, Writes::Failed) {
            Writes::Failed => return Err(failed()),
            Writes::Held(held) => held,
            Writes::Direct | Writes::Unsynced => Vec::new(),
        };
        let file = &self.0.file;
        for write in held {
            match write {
                Write::Bytes(offset, bytes) => file.write(offset, &bytes)?,
                Write::Length(length) => file.set_len(length)?,
                Write::Sync => file.sync_data()?,
            }
        }
        *writes = Writes::Direct;
        Ok(())
    }

    /// Whether a write is held back; else it is to be made now.
    fn holds(&self, write: impl FnOnce() -> Write) -> io::Result<bool> {
        match &mut *self
            .0
            .writes
            .write()
            .unwrap_or_else(PoisonError::into_inner)
        {
            Writes::Held(held) => {
                held.push(write());
                Ok(true)
            }
            Writes::Failed => Err(failed()),
            Writes::Direct | Writes::Unsynced => Ok(false),
        }
    }

    fn writes(&self) -> RwLockReadGuard<'_, Writes> {
        self.0.writes.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write {
    /// The length of a file of that length after it.
    fn length_after(length: u64, write: &Self) -> u64 {
        match write {
            Self::Bytes(at, bytes) => length.max(after(*at, bytes.len())),
            Self::Length(length) => *length,
            Self::Sync => length,
        }
    }
}

fn after(offset: u64, length: usize) -> u64 {
    offset.saturating_add(u64::try_from(length).unwrap_or(u64::MAX))
}

fn failed() -> io::Error {
    io::Error::other("an earlier write failed")
}

/// What a file holds at an offset, once these writes are made in their order.
fn overlaid(file: &FileBackend, writes: &[Write], offset: u64, out: &mut [u8]) -> io::Result<()> {
    let end = after(offset, out.len());
    let length = writes.iter().fold(file.len()?, Write::length_after);
    if end > length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let on_disk = file.len()?.clamp(offset, end) - offset;
    let (there, beyond) = out.split_at_mut(usize::try_from(on_disk).unwrap_or(usize::MAX));
    file.read(offset, there)?;
    beyond.fill(0);
    for write in writes {
        match write {
            Write::Bytes(at, bytes) => overlay(offset, out, *at, bytes),
            // What is cut off, and comes back, is zeros.
            Write::Length(length) => {
                let kept = (*length).clamp(offset, end) - offset;
                let kept = usize::try_from(kept).unwrap_or(usize::MAX);
                out.iter_mut().skip(kept).for_each(|byte| *byte = 0);
            }
            Write::Sync => {}
        }
    }
    Ok(())
}

/// Puts the part of some bytes that lies within what is read there.
fn overlay(offset: u64, out: &mut [u8], at: u64, bytes: &[u8]) {
    let skipped = usize::try_from(offset.saturating_sub(at)).unwrap_or(usize::MAX);
    let begin = usize::try_from(at.saturating_sub(offset)).unwrap_or(usize::MAX);
    let from = bytes.iter().skip(skipped);
    out.iter_mut()
        .skip(begin)
        .zip(from)
        .for_each(|(to, from)| *to = *from);
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        let length = self.0.file.len()?;
        Ok(match &*self.writes() {
            Writes::Held(held) => held.iter().fold(length, Write::length_after),
            Writes::Direct | Writes::Unsynced | Writes::Failed => length,
        })
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match &*self.writes() {
            Writes::Held(held) => overlaid(&self.0.file, held, offset, out),
            Writes::Direct | Writes::Unsynced | Writes::Failed => self.0.file.read(offset, out),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if self.holds(|| Write::Length(len))? {
            return Ok(());
        }
        self.0.file.set_len(len)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if self.holds(|| Write::Bytes(offset, data.to_vec()))? {
            return Ok(());
        }
        self.0.file.write(offset, data)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.holds(|| Write::Sync)? || matches!(&*self.writes(), Writes::Unsynced) {
            return Ok(());
        }
        self.0.file.sync_data()
    }

    fn close(&self) -> io::Result<()> {
        self.0.file.close()
    }

    // The locks keep a second process out; without these redb takes none.

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.0.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.file.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn bytes_of(backend: &Backend, offset: u64, length: usize) -> Vec<u8> {
        let mut out = vec![0xee; length];
        backend.read(offset, &mut out).unwrap();
        out
    }

    #[test]
    fn what_is_held_back_is_read_as_if_it_were_written_and_is_written_when_it_is_let_through() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let plain = dir.path().join("plain");
        for path in [&path, &plain] {
            std::fs::write(path, b"0123456789").unwrap();
        }
        let open = |path: &Path| File::options().read(true).write(true).open(path).unwrap();
        let held = Backend::held(open(&path)).unwrap();
        let direct = FileBackend::new(open(&plain)).unwrap();
        let both = |change: &dyn Fn(&dyn StorageBackend)| {
            change(&held);
            change(&direct);
            let length = usize::try_from(direct.len().unwrap()).unwrap();
            assert_eq!(held.len().unwrap(), direct.len().unwrap());
            for offset in 0..length {
                for end in offset..=length {
                    let at = u64::try_from(offset).unwrap();
                    let mut wanted = vec![0; end - offset];
                    direct.read(at, &mut wanted).unwrap();
                    assert_eq!(bytes_of(&held, at, end - offset), wanted, "{offset}..{end}");
                }
            }
            let mut beyond = [0; 1];
            let end = direct.len().unwrap();
            assert!(held.read(end, &mut beyond).is_err());
        };
        both(&|file| file.write(2, b"abc").unwrap());
        both(&|file| file.set_len(14).unwrap());
        both(&|file| file.write(4, b"XYZ").unwrap());
        both(&|file| file.sync_data().unwrap());
        both(&|file| file.write(11, b"end").unwrap());
        both(&|file| file.set_len(5).unwrap());
        both(&|file| file.set_len(9).unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"0123456789");
        held.write_through().unwrap();
        both(&|file| file.write(0, b"now").unwrap());
        assert_eq!(
            std::fs::read(&path).unwrap(),
            std::fs::read(&plain).unwrap()
        );
    }

    #[test]
    fn nothing_is_written_after_a_write_that_failed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, b"0123456789").unwrap();
        let held = Backend::held(File::open(&path).unwrap()).unwrap();
        held.write(0, b"no").unwrap();
        assert!(held.write_through().is_err());
        assert!(held.write(0, b"no").is_err() && held.sync_data().is_err());
        assert!(held.write_through().is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"0123456789");
    }
}

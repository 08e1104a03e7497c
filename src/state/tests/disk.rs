//! A disk in memory that stops when told to, and what it may hold after a power loss.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

use crate::state::{StateError, Store, file};

/// Shared by its clones, so that a test sees what the state did to it.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk(Arc<Mutex<Platter>>);

#[derive(Debug, Default)]
struct Platter {
    now: Vec<u8>,
    /// What the last sync left, and what was done since.
    synced: Vec<u8>,
    since: Vec<Change>,
    /// How many more writes and syncs it takes.
    left: Option<usize>,
    /// Which bytes were ever read.
    read: BTreeSet<usize>,
    watched: bool,
}

#[derive(Debug, Clone)]
enum Change {
    Bytes(usize, Vec<u8>),
    Length(usize),
}

impl Disk {
    pub(super) fn holding(bytes: &[u8]) -> Self {
        Self(Arc::new(Mutex::new(Platter {
            now: bytes.to_vec(),
            synced: bytes.to_vec(),
            ..Platter::default()
        })))
    }

    /// Takes so many more writes and syncs, and none after them. Of the one at which it stops, half
    /// is done.
    pub(super) fn stopping_after(self, operations: usize) -> Self {
        self.0.lock().unwrap().left = Some(operations);
        self
    }

    /// Which bytes of an image are read at all when it is opened and shown. The others can be
    /// anything.
    pub(super) fn bytes_read(image: &[u8]) -> Vec<usize> {
        let disk = Self::holding(image);
        disk.0.lock().unwrap().watched = true;
        open(&disk).unwrap().show().unwrap();
        disk.0.lock().unwrap().read.iter().copied().collect()
    }

    /// The database of the file as it is.
    pub(super) fn database(&self) -> redb::Database {
        file::builder().create_with_backend(self.clone()).unwrap()
    }

    /// Takes nothing more.
    pub(super) fn stop(&self) {
        self.0.lock().unwrap().left = Some(0);
    }

    pub(super) fn has_stopped(&self) -> bool {
        self.0.lock().unwrap().left == Some(0)
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().now.clone()
    }

    /// What a power loss may leave: all that was written, only what was synced, and some of what
    /// was not.
    pub(super) fn after_power_loss(&self) -> Vec<Vec<u8>> {
        let platter = self.0.lock().unwrap();
        let mut images = vec![platter.now.clone(), platter.synced.clone()];
        for seed in [0x5555_5555_u32, 0xaaaa_aaaa, 0x9e37_79b9, 0x0f0f_3335] {
            let mut image = platter.synced.clone();
            for (at, change) in platter.since.iter().enumerate() {
                if seed.rotate_left(u32::try_from(at % 32).unwrap()) & 1 == 1 {
                    change.apply(&mut image);
                }
            }
            images.push(image);
        }
        images
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Length(length) => bytes.resize(*length, 0),
            Self::Bytes(at, new) => {
                // A write whose growth of the file was lost is lost with it.
                if let Some(old) = bytes.get_mut(*at..at + new.len()) {
                    old.copy_from_slice(new);
                }
            }
        }
    }
}

impl Platter {
    fn change(&mut self, change: Change) -> io::Result<()> {
        if self.left == Some(0) {
            return Err(io::Error::other("the disk has stopped"));
        }
        self.left = self.left.map(|left| left - 1);
        let change = match change {
            Change::Bytes(at, bytes) if self.left == Some(0) => {
                Change::Bytes(at, bytes[..bytes.len() / 2].to_vec())
            }
            whole => whole,
        };
        change.apply(&mut self.now);
        self.since.push(change);
        if self.left == Some(0) {
            Err(io::Error::other("the disk stops"))
        } else {
            Ok(())
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(u64::try_from(self.0.lock().unwrap().now.len()).unwrap())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut platter = self.0.lock().unwrap();
        let at = usize::try_from(offset).unwrap();
        if platter.watched {
            platter.read.extend(at..at + out.len());
        }
        let bytes = platter
            .now
            .get(at..at + out.len())
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0
            .lock()
            .unwrap()
            .change(Change::Length(usize::try_from(len).unwrap()))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platter = self.0.lock().unwrap();
        if platter.left == Some(0) {
            return Err(io::Error::other("the disk has stopped"));
        }
        platter.left = platter.left.map(|left| left - 1);
        if platter.left == Some(0) {
            return Err(io::Error::other("the disk stops before the sync"));
        }
        platter.synced = platter.now.clone();
        platter.since.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.lock().unwrap().change(Change::Bytes(
            usize::try_from(offset).unwrap(),
            data.to_vec(),
        ))
    }
}

/// Opens a state on a disk as [`Store::open`] does on a file; on an empty one it makes a state.
pub(super) fn open(disk: &Disk) -> Result<Store, StateError> {
    let path = std::path::Path::new("disk");
    let unusable = |fault| file::from_fault(path, &fault);
    file::guarded(|| {
        let new = disk.bytes().is_empty();
        let database = file::builder()
            .create_with_backend(disk.clone())
            .map_err(|error| unusable(error.into()))?;
        if new {
            file::initialise(&database).map_err(unusable)?;
        }
        let seen = file::load(&database).map_err(unusable)?;
        let opened = file::OpenFile::of(database, seen, None);
        Ok(Store::of(path.to_owned(), opened))
    })
    .unwrap_or_else(|| Err(unusable(super::super::error::FileFault::new("panic"))))
}

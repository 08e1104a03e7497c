//! A repository's files in a folder: a web server's, or a publisher's own. The timestamp's rename
//! is the moment at which all is new.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Mode, OFlags, open, unlinkat};

use super::{MetadataFiles, PlaceState, PlaceVersion, WAITING, WriteOutcome};
use crate::problem::Problem;

/// One file; hosts take none above 32 MiB.
const FILE_BYTES: u64 = 64 << 20;
/// All of them.
const ALL_BYTES: u64 = 512 << 20;
/// More than any repository has: 16,384 hash bins in a few versions.
const FILES: usize = 65_536;
const LOCK: &str = ".rootpin.lock";
const TIMESTAMP: &str = "timestamp.json";
/// How a file is called that is not whole yet.
const NEW: &str = ".new";
/// How often a folder that is written to meanwhile is read.
const TRIES: u8 = 50;
/// How long somebody else may hold the lock: far longer than writing takes.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);
/// Others may write to the folder: what is opened there is no link to elsewhere, and no pipe that
/// holds who opens it.
const AS_IT_IS: OFlags = OFlags::NOFOLLOW
    .union(OFlags::NONBLOCK)
    .union(OFlags::CLOEXEC);

/// Every metadata file of the folder; none, where it is not there.
///
/// # Errors
/// Something in it can't be read, is no plain file, or is too much.
pub fn read_folder(folder: &Path) -> io::Result<MetadataFiles> {
    let mut tries = 0;
    loop {
        // Somebody may write meanwhile. What the timestamp leads to was there before it was, so it
        // is looked at before all else.
        let before = timestamp(folder)?;
        let read = read_once(folder);
        let torn = match &read {
            Ok(files) => files.get(TIMESTAMP) != before.as_ref(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        };
        tries += 1;
        if !torn || tries >= TRIES {
            return read;
        }
        std::thread::sleep(PAUSE);
    }
}

fn timestamp(folder: &Path) -> io::Result<Option<Vec<u8>>> {
    match read(&folder.join(TIMESTAMP)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(named(TIMESTAMP, &error)),
    }
}

fn read_once(folder: &Path) -> io::Result<MetadataFiles> {
    let mut files = MetadataFiles::new();
    let mut all = 0_u64;
    for prefix in ["", WAITING] {
        if !prefix.is_empty() && waiting(folder)?.is_none() {
            continue;
        }
        let entries = match fs::read_dir(folder.join(prefix)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| is_metadata(name)) else {
                continue;
            };
            if files.len() >= FILES {
                return Err(io::Error::other(format!("more than {FILES} files")));
            }
            let bytes = read(&entry.path()).map_err(|error| named(name, &error))?;
            all = all.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            if all > ALL_BYTES {
                return Err(io::Error::other(format!(
                    "files of more than {ALL_BYTES} bytes"
                )));
            }
            files.insert(format!("{prefix}{name}"), bytes);
        }
    }
    Ok(files)
}

/// Makes the folder hold these files. At every moment a reader finds the old state whole or the new
/// one: files with a version in their name come first, the timestamp takes the old one's place at
/// once, and new roots come last. (A root that names other keys for the timestamp follows a
/// timestamp that both have signed.) Of older files the version before is left for those who are
/// reading.
///
/// # Errors
/// A file can't be written; then the old state or the new one is there.
pub fn write_folder(folder: &Path, files: &MetadataFiles) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let waits = if let Some(there) = waiting(folder)? {
        there
    } else {
        fs::create_dir(folder.join(WAITING))?;
        waiting(folder)?.ok_or(io::ErrorKind::NotFound)?
    };
    for step in [
        WriteOrder::Versioned,
        WriteOrder::Timestamp,
        WriteOrder::Roots,
        WriteOrder::Waiting,
    ] {
        for (name, bytes) in files
            .iter()
            .filter(|(name, _)| WriteOrder::of(name) == step)
        {
            let path = folder.join(name);
            if !fs::read(&path).is_ok_and(|there| there == *bytes) {
                replace(&path, bytes).map_err(|error| named(name, &error))?;
            }
        }
        File::open(folder)?.sync_all()?;
    }
    File::open(folder.join(WAITING))?.sync_all()?;
    // What a write that broke off has left. Nobody else writes now.
    for entry in fs::read_dir(folder)?.chain(fs::read_dir(folder.join(WAITING))?) {
        let path = entry?.path();
        if path
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with(NEW))
            && fs::symlink_metadata(&path)?.is_file()
        {
            fs::remove_file(path)?;
        }
    }
    let newest = newest(files);
    for name in read_names(folder)? {
        match name.strip_prefix(WAITING) {
            _ if !is_over(&name, files, &newest) => {}
            // In the folder that was looked at, whatever has its name by now.
            Some(name) => unlinkat(&waits, name, AtFlags::empty())?,
            None => fs::remove_file(folder.join(&name))?,
        }
    }
    Ok(())
}

/// The files by which one state is told from another.
pub(super) fn in_place(files: &MetadataFiles) -> MetadataFiles {
    // A new root may come alone.
    let told = |name: &str| {
        matches!(
            WriteOrder::of(name),
            WriteOrder::Timestamp | WriteOrder::Waiting | WriteOrder::Roots
        )
    };
    files
        .iter()
        .filter(|(name, _)| told(name))
        .map(|(name, bytes)| (name.clone(), bytes.clone()))
        .collect()
}

/// Writes, if the folder still has the timestamp that was read, and what waited.
pub(super) async fn write(
    folder: &Path,
    before: &MetadataFiles,
    files: &MetadataFiles,
) -> io::Result<WriteOutcome> {
    fs::create_dir_all(folder)?;
    let _lock = locked(folder, PATIENCE)
        .await
        .map_err(|error| named(LOCK, &error))?;
    if in_place(&read_folder(folder)?) != *before {
        return Ok(WriteOutcome::Lost);
    }
    write_folder(folder, files)?;
    Ok(WriteOutcome::Done(PlaceState(PlaceVersion::Folder(
        in_place(files),
    ))))
}

/// Holds the folder's lock, once nobody else does.
async fn locked(folder: &Path, patience: Duration) -> io::Result<File> {
    let flags = AS_IT_IS.union(OFlags::CREATE).union(OFlags::WRONLY);
    let file = File::from(open(folder.join(LOCK), flags, Mode::from_raw_mode(0o666))?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a plain file"));
    }
    let end = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < end => {
                tokio::time::sleep(PAUSE).await;
            }
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::other(Problem::hinted(
                    format!(
                        "somebody else has held it for {} seconds",
                        patience.as_secs()
                    ),
                    "fuser shows who",
                )));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// The folder of what waits, if it is there. A link would lead to files of others, which would be
/// taken for what waits no longer.
fn waiting(folder: &Path) -> io::Result<Option<File>> {
    match open(
        folder.join(WAITING.trim_end_matches('/')),
        AS_IT_IS.union(OFlags::DIRECTORY),
        Mode::empty(),
    ) {
        Ok(there) => Ok(Some(File::from(there))),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR) => Err(named(
            WAITING,
            &io::Error::other("a link or a file, and no folder"),
        )),
        Err(error) => Err(named(WAITING, &error.into())),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum WriteOrder {
    Versioned,
    Timestamp,
    Roots,
    Waiting,
}

impl WriteOrder {
    fn of(name: &str) -> Self {
        match name {
            TIMESTAMP => Self::Timestamp,
            name if name.starts_with(WAITING) => Self::Waiting,
            name if name.ends_with(".root.json") && version(name).is_some() => Self::Roots,
            _ => Self::Versioned,
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let plain = |yes: bool| {
        if yes {
            Ok(())
        } else {
            Err(io::Error::other("not a plain file"))
        }
    };
    // A link is told so before it is opened, and one that came since is not followed.
    plain(fs::symlink_metadata(path)?.is_file())?;
    let file = File::from(open(path, AS_IT_IS, Mode::empty())?);
    plain(file.metadata()?.is_file())?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).map_or(true, |length| length > FILE_BYTES) {
        return Err(io::Error::other(format!("more than {FILE_BYTES} bytes")));
    }
    Ok(bytes)
}

/// Whole or not at all, and for everybody to read, as what is published is.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(NEW).tempfile_in(folder)?;
    file.write_all(bytes)?;
    // Whatever the umask is, which a service that signs has for the sake of its keys.
    file.as_file()
        .set_permissions(fs::Permissions::from_mode(0o644))?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

fn read_names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for prefix in ["", WAITING] {
        for entry in fs::read_dir(folder.join(prefix))? {
            names.extend(
                entry?
                    .file_name()
                    .to_str()
                    .filter(|name| is_metadata(name))
                    .map(|name| format!("{prefix}{name}")),
            );
        }
    }
    Ok(names)
}

/// Whether nobody needs a file any more: it waits no longer, or is two versions behind. Every root
/// stays, for hosts that slept.
fn is_over(name: &str, files: &MetadataFiles, newest: &HashMap<&str, u64>) -> bool {
    if files.contains_key(name) {
        return false;
    }
    if name.starts_with(WAITING) {
        return true;
    }
    let Some((version, role)) = version(name).filter(|(_, role)| *role != "root.json") else {
        return false;
    };
    let newest = newest.get(role);
    newest.is_some_and(|newest| version.saturating_add(1) < *newest)
}

/// The newest version of each file that has one in its name.
fn newest(files: &MetadataFiles) -> HashMap<&str, u64> {
    let mut newest = HashMap::new();
    for (version, role) in files.keys().filter_map(|name| version(name)) {
        let known = newest.entry(role).or_insert(version);
        *known = version.max(*known);
    }
    newest
}

fn is_metadata(name: &str) -> bool {
    name.strip_suffix(".json")
        .is_some_and(|rest| !rest.starts_with('.'))
}

/// `7.team.json` is version 7 of `team.json`.
fn version(name: &str) -> Option<(u64, &str)> {
    let (version, role) = name.split_once('.')?;
    Some((version.parse().ok()?, role))
}

fn named(name: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{name}: {error}"))
}

#[cfg(test)]
mod tests;

//! Finds who can change a file: its owner, and whoever may write to it or to a directory or link on
//! the way to it.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

mod attributes;
mod write;

pub use attributes::copy_attributes;
pub use write::{FileOwner, append, create_copy, give_to_root, place, restrict_socket};

/// Why a path is not to be trusted, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}; hint: {hint}")]
pub struct Untrusted {
    /// What was found.
    pub message: String,
    /// What to type.
    pub hint: String,
}

/// Whose a file, and the directories above it, must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Root's.
    Root,
    /// Root's, or those of the user that runs this program: a CI job is not root.
    RootOrCaller,
}

/// The kernel follows no more links in one path (`MAXSYMLINKS`).
const MAX_LINKS: usize = 40;

/// Group and others may not write.
const WRITABLE: u32 = 0o022;
/// In a directory with this bit, nobody can take away or rename what is another's. What others add
/// there is theirs, and is refused.
const STICKY: u32 = 0o1000;

/// Checks a plain file and the whole way to it; gives its path without links.
///
/// # Errors
/// Somebody else can change it, or it is no plain file; with what is at fault.
pub fn check(path: &Path, owner: Owner) -> Result<PathBuf, Untrusted> {
    let (resolved, metadata) = walk(path, owner)?;
    if metadata.is_file() {
        Ok(resolved)
    } else {
        Err(fault(
            "not a plain file".to_owned(),
            "put a plain file there".to_owned(),
        ))
    }
}

/// Checks whatever is at a path, and the whole way to it: nobody but its owner can change it or put
/// something else in its place.
///
/// # Errors
/// Somebody can, or there is nothing; with what is at fault.
pub fn check_way(path: &Path, owner: Owner) -> Result<(), Untrusted> {
    walk(path, owner).map(|_| ())
}

/// Checks a directory and the whole way to it; gives its path without links.
///
/// # Errors
/// Somebody else can change it, or it is no directory; with what is at fault.
pub fn check_directory(path: &Path, owner: Owner) -> Result<PathBuf, Untrusted> {
    let (resolved, metadata) = walk(path, owner)?;
    if metadata.is_dir() {
        Ok(resolved)
    } else {
        Err(fault(
            "not a directory".to_owned(),
            "make it a directory".to_owned(),
        ))
    }
}

fn walk(path: &Path, owner: Owner) -> Result<(PathBuf, Metadata), Untrusted> {
    let path = std::path::absolute(path).map_err(|error| failed(path, &error))?;
    let uids = owner.uids();
    let mut here = PathBuf::from("/");
    let mut metadata = inspect(&here, &uids)?;
    let mut todo: VecDeque<OsString> = parts(&path);
    let mut links: usize = 0;
    while let Some(part) = todo.pop_front() {
        if !metadata.is_dir() {
            return Err(fault(
                format!("{} is not a directory", here.display()),
                format!(
                    "name a folder, as {}",
                    here.parent().unwrap_or(Path::new("/")).display()
                ),
            ));
        }
        if part == ".." {
            // `here` holds no links, so its parent is the one that the kernel would go to.
            here.pop();
            metadata = inspect(&here, &uids)?;
            continue;
        }
        let next = here.join(&part);
        let found = inspect(&next, &uids)?;
        if !found.is_symlink() {
            (here, metadata) = (next, found);
            continue;
        }
        links = links.saturating_add(1);
        if links > MAX_LINKS {
            return Err(fault(
                format!("{}: too many symbolic links", next.display()),
                "take the links out".to_owned(),
            ));
        }
        let target = fs::read_link(&next).map_err(|error| failed(&next, &error))?;
        if target.is_absolute() {
            here = PathBuf::from("/");
            metadata = inspect(&here, &uids)?;
        }
        for part in parts(&target).into_iter().rev() {
            todo.push_front(part);
        }
    }
    Ok((here, metadata))
}

/// The parts of a path below `/`, or below the directory where it is met.
fn parts(path: &Path) -> VecDeque<OsString> {
    let part = |component: Component<'_>| match component {
        Component::Normal(part) => Some(part.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::Prefix(_) | Component::RootDir => None,
    };
    path.components().filter_map(part).collect()
}

/// What is at this path itself, if nobody else can change it.
fn inspect(path: &Path, uids: &[u32]) -> Result<Metadata, Untrusted> {
    let metadata = fs::symlink_metadata(path).map_err(|error| failed(path, &error))?;
    let shown = path.display();
    if !uids.contains(&metadata.uid()) {
        let wanted = if uids.len() > 1 {
            "root or the caller"
        } else {
            "root"
        };
        return Err(fault(
            format!(
                "{shown} belongs to the user {}, not to {wanted}",
                metadata.uid()
            ),
            format!("chown root {shown}"),
        ));
    }
    // A link has no mode of its own: who may write to its directory decides.
    let mode = metadata.mode() & 0o7777;
    let sticky = metadata.is_dir() && mode & STICKY != 0;
    if !metadata.is_symlink() && mode & WRITABLE != 0 && !sticky {
        return Err(fault(
            format!("{shown} can be written by its group or by others (mode {mode:04o})"),
            format!("chmod go-w {shown}"),
        ));
    }
    Ok(metadata)
}

/// The folder that a file wants and that is not there, with how it is made; else nothing.
pub(crate) fn missing_folder(path: &Path) -> Option<String> {
    let folder = path.parent()?;
    let missing =
        matches!(folder.metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound);
    missing.then(|| {
        let folder = folder.display();
        format!("there is no folder {folder}, which `mkdir -p {folder}` makes")
    })
}

fn failed(path: &Path, error: &io::Error) -> Untrusted {
    let hint = match error.kind() {
        io::ErrorKind::NotFound => format!("write {}", path.display()),
        _ => format!("make {} readable", path.display()),
    };
    let what = if error.kind() == io::ErrorKind::NotFound {
        "there is no such file".to_owned()
    } else {
        error.to_string()
    };
    fault(format!("{}: {what}", path.display()), hint)
}

fn fault(message: String, hint: String) -> Untrusted {
    Untrusted { message, hint }
}

impl Owner {
    fn uids(self) -> Vec<u32> {
        match self {
            Self::Root => vec![0],
            // The kernel gives a process's own directory to its effective user; if it can't be
            // asked, root alone remains.
            Self::RootOrCaller => std::iter::once(0)
                .chain(fs::metadata("/proc/self").map(|metadata| metadata.uid()))
                .collect(),
        }
    }
}

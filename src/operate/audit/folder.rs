//! Folders of others, read without being led out of them: no symbolic link is followed, and nothing
//! but a plain file is read.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fstat, openat, statat};

/// An open folder.
#[derive(Debug)]
pub(in crate::operate) struct OpenFolder {
    fd: OwnedFd,
    pub(in crate::operate) path: PathBuf,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::operate) enum FolderEntryKind {
    File,
    Folder,
    /// A link, a pipe, a device.
    Other,
}

/// What is left of what one audit reads from such folders.
#[derive(Debug)]
pub(in crate::operate) struct Allowance {
    pub(in crate::operate) entries: usize,
    pub(in crate::operate) bytes: usize,
    pub(in crate::operate) repositories: usize,
}

impl Default for Allowance {
    /// Ten thousand repositories with a dozen files each, of a quarter MiB on average.
    fn default() -> Self {
        Self {
            entries: 200_000,
            bytes: 2 << 30,
            repositories: 10_000,
        }
    }
}

const FOLDER: OFlags = OFlags::DIRECTORY
    .union(OFlags::CLOEXEC)
    .union(OFlags::RDONLY);

impl OpenFolder {
    /// The folder that a person named; links on the way there are theirs.
    pub(in crate::operate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            fd: rustix::fs::open(path, FOLDER, Mode::empty())?,
            path: path.to_owned(),
        })
    }

    /// A folder in it; none where there is no such entry.
    pub(in crate::operate) fn child(&self, name: &str) -> io::Result<Option<Self>> {
        match openat(
            &self.fd,
            name,
            FOLDER.union(OFlags::NOFOLLOW),
            Mode::empty(),
        ) {
            Ok(fd) => Ok(Some(Self {
                fd,
                path: self.path.join(name),
            })),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            // A link to a folder is no folder here.
            Err(rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => Err(io::Error::other(
                "not a folder, or a link to one, which is not followed",
            )),
            Err(error) => Err(error.into()),
        }
    }

    /// Its entries, by name. A name that is not UTF-8 comes as the lossy text of it, and as
    /// something that is not read.
    pub(in crate::operate) fn entries(
        &self,
        allowance: &mut Allowance,
    ) -> io::Result<Vec<(String, FolderEntryKind)>> {
        let mut entries = Vec::new();
        for entry in Dir::read_from(&self.fd)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            allowance.entries = allowance
                .entries
                .checked_sub(1)
                .ok_or_else(|| io::Error::other("too many entries for one audit"))?;
            let kind = name
                .to_str()
                .map(|_| statat(&self.fd, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW))
                .transpose()?;
            let kind = kind.map_or(
                FolderEntryKind::Other,
                |found| match FileType::from_raw_mode(found.st_mode) {
                    FileType::RegularFile => FolderEntryKind::File,
                    FileType::Directory => FolderEntryKind::Folder,
                    _ => FolderEntryKind::Other,
                },
            );
            entries.push((name.to_string_lossy().into_owned(), kind));
        }
        entries.sort();
        Ok(entries)
    }

    /// The bytes of a plain file in it.
    pub(in crate::operate) fn read(
        &self,
        name: &str,
        most: usize,
        allowance: &mut Allowance,
    ) -> io::Result<Vec<u8>> {
        // Opening a pipe would wait for whoever writes.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = openat(&self.fd, name, flags, Mode::empty())?;
        if FileType::from_raw_mode(fstat(&fd)?.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("not a plain file"));
        }
        let limit = most.min(allowance.bytes);
        let mut bytes = Vec::new();
        File::from(fd)
            .take(u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1))
            .read_to_end(&mut bytes)?;
        if bytes.len() > limit {
            return Err(io::Error::other(format!("longer than {limit} bytes")));
        }
        allowance.bytes -= bytes.len();
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_leads_out_of_a_folder_and_nothing_but_plain_files_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let (inside, outside) = (dir.path().join("in"), dir.path().join("out"));
        std::fs::create_dir_all(inside.join("folder")).unwrap();
        std::fs::create_dir_all(&outside).unwrap();
        std::fs::write(outside.join("secret"), "secret").unwrap();
        std::fs::write(inside.join("file"), "12345").unwrap();
        symlink(&outside, inside.join("link")).unwrap();
        symlink(outside.join("secret"), inside.join("linked")).unwrap();
        let pipe = std::os::unix::net::UnixListener::bind(inside.join("socket")).unwrap();
        let folder = OpenFolder::open(&inside).unwrap();
        let mut allowance = Allowance::default();
        let kinds: Vec<_> = folder
            .entries(&mut allowance)
            .unwrap()
            .into_iter()
            .map(|(name, kind)| format!("{name} {kind:?}"))
            .collect();
        assert_eq!(
            kinds,
            [
                "file File",
                "folder Folder",
                "link Other",
                "linked Other",
                "socket Other"
            ]
        );
        assert!(folder.child("link").is_err() && folder.child("file").is_err());
        assert!(
            folder.child("none").unwrap().is_none() && folder.child("folder").unwrap().is_some()
        );
        assert_eq!(folder.read("file", 5, &mut allowance).unwrap(), b"12345");
        for (name, most) in [
            ("file", 4),
            ("linked", 100),
            ("folder", 100),
            ("none", 100),
            ("socket", 100),
        ] {
            assert!(folder.read(name, most, &mut allowance).is_err(), "{name}");
        }
        drop(pipe);
        let mut spent = Allowance {
            entries: 4,
            bytes: 4,
            repositories: 1,
        };
        assert!(
            folder.entries(&mut spent).is_err() && folder.read("file", 100, &mut spent).is_err()
        );
    }
}

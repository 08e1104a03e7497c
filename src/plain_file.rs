//! Reads files that others may have put where they are: a pipe or a device keeps nobody waiting, and
//! nothing is read without end.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// A plain file, open for reading, and what the file system says of it.
///
/// # Errors
/// It can't be opened, or is no plain file.
pub(crate) fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::other("not a plain file"));
    }
    Ok((file, about))
}

/// A plain file's bytes, and what the file system says of it.
///
/// # Errors
/// As [`open`], or it is longer than `most` bytes.
pub(crate) fn read(path: &Path, most: u64) -> io::Result<(Vec<u8>, Metadata)> {
    let (file, about) = open(path)?;
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > most) {
        return Err(io::Error::other(format!("longer than {most} bytes")));
    }
    Ok((bytes, about))
}

/// The same of a file that is text.
///
/// # Errors
/// As [`read`], or it is no UTF-8.
pub(crate) fn read_text(path: &Path, most: u64) -> io::Result<String> {
    let (bytes, _) = read(path, most)?;
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "no UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_a_folder_and_a_file_that_is_too_long_are_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let (pipe, file) = (folder.path().join("pipe"), folder.path().join("file"));
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, 0o644.into(), 0).unwrap();
        std::fs::write(&file, "1234").unwrap();
        for (path, most) in [(&*pipe, 9), (folder.path(), 9), (&*file, 3)] {
            assert!(read(path, most).is_err(), "{}", path.display());
        }
        assert_eq!(read_text(&file, 4).unwrap(), "1234");
        std::fs::write(&file, [0xff]).unwrap();
        assert!(read_text(&file, 4).is_err());
    }
}

//! Writes a file that a person named: whole or not at all, and over nothing but an earlier one of the
//! same kind. A word too few in a command line (`--html *.json`) must not cost a report.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::output::unwritable;
use crate::operate::audit::PAGE_BEGIN;
use crate::problem::Problem;

/// A kind of files.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileKind {
    /// For people: `a page of rootpin audit`.
    what: &'static str,
    /// Each of them begins so, of whatever release.
    begin: &'static str,
}

pub(super) const PAGE: FileKind = FileKind {
    what: "a page of rootpin audit",
    begin: PAGE_BEGIN,
};
pub(super) const METRICS: FileKind = FileKind {
    what: "a file of rootpin's metrics",
    begin: "# HELP rootpin_",
};

/// Refuses another file in its place; before anything is asked of anybody.
pub(super) fn check(path: &Path, kind: FileKind) -> Result<(), Problem> {
    let shown = path.display();
    let about = match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        about => about.map_err(|error| unwritable(path, &error))?,
    };
    let mut begin = Vec::new();
    if about.is_file() {
        let length = u64::try_from(kind.begin.len()).unwrap_or_default();
        let read = File::open(path).and_then(|file| file.take(length).read_to_end(&mut begin));
        read.map_err(|error| unwritable(path, &error))?;
        if begin.is_empty() || begin == kind.begin.as_bytes() {
            return Ok(());
        }
    }
    Err(Problem::hinted(
        format!("{shown} is there already, and is not {}", kind.what),
        format!(
            "name a file that is new, or {}: nothing else is written over",
            kind.what
        ),
    ))
}

/// Whoever reads the file meanwhile sees the one before. All may read it.
pub(super) fn write(path: &Path, text: &str, kind: FileKind) -> Result<(), Problem> {
    check(path, kind)?;
    let folder = folder_of(path);
    let written = || {
        let mut draft = tempfile::Builder::new()
            .prefix(".rootpin-")
            .tempfile_in(folder)?;
        draft.write_all(text.as_bytes())?;
        draft
            .as_file()
            .set_permissions(Permissions::from_mode(0o644))?;
        draft.as_file().sync_all()?;
        draft.persist(path)?;
        File::open(folder)?.sync_all()
    };
    written().map_err(|error: io::Error| unwritable(path, &error))
}

/// Writes a file that is new, for its owner alone: whole or not at all, and in nobody's place.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Problem> {
    put_new(path, |draft| draft.write_all(bytes)).map_err(|error| unwritable(path, &error))
}

fn put_new(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let folder = folder_of(path);
    // Its mode is 0600. Where something fails, it goes.
    let mut draft = tempfile::Builder::new()
        .prefix(".rootpin-")
        .tempfile_in(folder)?;
    write(draft.as_file_mut())?;
    draft.as_file().sync_all()?;
    draft.persist_noclobber(path)?;
    File::open(folder)?.sync_all()
}

fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_is_whole_or_not_there_and_takes_nobodys_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rootpin.tar");
        let files = || fs::read_dir(folder.path()).unwrap().count();
        let half = |draft: &mut File| {
            draft.write_all(b"half")?;
            Err(io::Error::from(ErrorKind::StorageFull))
        };
        assert_eq!(
            put_new(&path, half).unwrap_err().kind(),
            ErrorKind::StorageFull
        );
        assert_eq!(files(), 0, "half a file is left");
        write_new(&path, b"whole").unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let why = write_new(&path, b"other").unwrap_err().to_string();
        assert!(why.contains("it is left as it is"), "{why}");
        assert_eq!((fs::read(&path).unwrap(), files()), (b"whole".to_vec(), 1));
    }

    #[test]
    fn only_an_earlier_file_of_the_same_kind_is_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let page = format!("{PAGE_BEGIN} and more");
        let metrics = "# HELP rootpin_up x\n";
        for (before, kind, is_taken) in [
            (None, PAGE, true),
            (Some(""), PAGE, true),
            (Some(page.as_str()), PAGE, true),
            (Some(metrics), METRICS, true),
            (Some("# HELP rootpin_doctor_x y\n"), METRICS, true),
            (Some(metrics), PAGE, false),
            (Some(page.as_str()), METRICS, false),
            (Some("{\"version\": 1}\n"), PAGE, false),
            (Some("version = 1\n"), PAGE, false),
            (
                Some("<!DOCTYPE html>\n<html>somebody's</html>\n"),
                PAGE,
                false,
            ),
            (Some("# HELP node_x y\n"), METRICS, false),
        ] {
            let path = folder.path().join("file");
            let _ = fs::remove_file(&path);
            if let Some(text) = before {
                fs::write(&path, text).unwrap();
            }
            let written = write(&path, "new", kind);
            assert_eq!(written.is_ok(), is_taken, "{before:?}: {written:?}");
            let now = fs::read_to_string(&path).unwrap();
            assert_eq!(now, if is_taken { "new" } else { before.unwrap() });
        }
        let why = write(folder.path(), "new", PAGE).unwrap_err().to_string();
        assert!(why.contains("is there already"), "{why}");
        let why = write(Path::new("/dev/null"), "new", METRICS).unwrap_err();
        assert!(why.to_string().contains("name a file that is new"), "{why}");
        let none = folder.path().join("none/file");
        assert!(write(&none, "new", PAGE).is_err());
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "no draft is left"
        );
    }
}

//! Bundles: the metadata of one TUF repository in one file, for hosts without a network. An
//! uncompressed tar with the files flat under their published names, so that what is in it can be
//! seen, and served as a folder, with any tar. It is read as hostile as any other source.

use std::collections::BTreeMap;
use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use tar::{Archive, Builder, EntryType, Header};

use super::{SourceError, escaped};

/// The metadata in one bundle: no sweep of a repository takes more.
const MAX_BYTES: u64 = 512 << 20;
/// No file of metadata is larger.
const MAX_FILE: u64 = 64 << 20;
/// More than all roots and roles that an update and a sweep may take.
const MAX_FILES: usize = 20_480;
/// The longest name that file systems take.
const MAX_NAME: usize = 255;
/// What the names of files of signatures begin with.
pub(crate) const SIGNATURES: &str = "signatures-";
/// What a tar is made of.
const BLOCK: u64 = 512;
/// Two blocks of zeros end it; tar's tools fill up to their record of twenty blocks.
const END: std::ops::RangeInclusive<u64> = 2 * BLOCK..=22 * BLOCK;
/// The largest file that can be a bundle: each member takes two headers, where its name is long,
/// and is filled up to a block.
pub(crate) const MAX_BUNDLE: u64 = MAX_BYTES + 20_480 * 4 * BLOCK + 22 * BLOCK;

/// An open bundle, of good form. What its files say was not looked at.
#[derive(Debug)]
pub(crate) struct Bundle {
    file: File,
    shown: String,
    /// Where each file begins, and its length.
    members: BTreeMap<String, (u64, u64)>,
}

impl Bundle {
    /// Opens a bundle.
    ///
    /// # Errors
    /// It can't be read, or is none.
    pub(crate) fn open(path: &Path) -> Result<Self, SourceError> {
        let shown = escaped(&path.display().to_string());
        let failed = |error: io::Error| SourceError::Other {
            url: shown.clone(),
            cause: error.to_string(),
        };
        // Before it is opened: a pipe would hold its reader.
        if !std::fs::metadata(path).map_err(failed)?.is_file() {
            return Err(failed(io::Error::other("not a plain file")));
        }
        Self::read(File::open(path).map_err(failed)?, &shown)
    }

    /// Reads where the files of a bundle are; `shown` is what people call it.
    ///
    /// # Errors
    /// It can't be read, or is none.
    pub(crate) fn read(file: File, shown: &str) -> Result<Self, SourceError> {
        match members(&file) {
            Ok(members) => Ok(Self {
                file,
                shown: shown.to_owned(),
                members,
            }),
            Err(error) => Err(SourceError::Other {
                url: shown.to_owned(),
                cause: format!("no bundle: {}", escaped(&error.to_string())),
            }),
        }
    }

    /// What people call it.
    #[must_use]
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Whether it is one of signatures, which has nothing else in it: a delegated role may have a
    /// name that begins as theirs do.
    pub(crate) fn is_of_signatures(&self) -> bool {
        let count = self.signatures().count();
        count > 0 && count == self.members.len()
    }

    /// The names of its files of signatures.
    pub(crate) fn signatures(&self) -> impl Iterator<Item = &str> {
        let names = self.members.keys().map(String::as_str);
        names.filter(|name| name.starts_with(SIGNATURES))
    }

    /// One file, or `None` where it is not there.
    ///
    /// # Errors
    /// It is larger than allowed, or can't be read.
    pub(crate) fn get(&self, name: &str, max_bytes: usize) -> Result<Option<Vec<u8>>, SourceError> {
        let Some((offset, length)) = self.members.get(name) else {
            return Ok(None);
        };
        let url = || format!("{} ({name})", self.shown);
        let length = usize::try_from(*length)
            .ok()
            .filter(|length| *length <= max_bytes);
        let mut bytes = vec![
            0;
            length.ok_or_else(|| SourceError::TooLarge {
                url: url(),
                limit: max_bytes
            })?
        ];
        match self.file.read_exact_at(&mut bytes, *offset) {
            Ok(()) => Ok(Some(bytes)),
            Err(error) => Err(SourceError::Other {
                url: url(),
                cause: error.to_string(),
            }),
        }
    }
}

/// Writes a bundle: whole or not at all. The same files give the same bytes.
///
/// # Errors
/// It can't be written, or no bundle can hold these files.
pub(crate) fn write_bundle(path: &Path, files: &BTreeMap<String, Vec<u8>>) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut draft = tempfile::NamedTempFile::new_in(folder)?;
    let mut builder = Builder::new(io::BufWriter::new(draft.as_file_mut()));
    for (name, bytes) in files {
        if !is_name(name) {
            return Err(io::Error::other(format!(
                "{name:?} is no name of a file of metadata"
            )));
        }
        let mut header = Header::new_gnu();
        header.set_size(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        header.set_mode(0o644);
        builder.append_data(&mut header, name, bytes.as_slice())?;
    }
    builder.into_inner()?.flush()?;
    // What can't be taken up again is no bundle.
    members(draft.as_file())?;
    draft
        .as_file()
        .set_permissions(Permissions::from_mode(0o644))?;
    draft.as_file().sync_all()?;
    draft.persist(path)?;
    File::open(folder)?.sync_all()
}

fn members(file: &File) -> io::Result<BTreeMap<String, (u64, u64)>> {
    let whole = file.metadata()?.len();
    if whole > MAX_BUNDLE {
        return Err(wrong("longer than any may be"));
    }
    let mut members = BTreeMap::new();
    let (mut end, mut total, mut long_name) = (0, 0, None);
    io::Seek::rewind(&mut &*file)?;
    let mut archive = Archive::new(file);
    // Raw: what changes the next member from the side (a longer name apart) is none of ours.
    for entry in archive.entries_with_seek()?.raw(true) {
        let mut entry = entry?;
        let (offset, length) = (entry.raw_file_position(), entry.size());
        end = length
            .checked_next_multiple_of(BLOCK)
            .and_then(|length| offset.checked_add(length))
            .unwrap_or(u64::MAX);
        if end > whole {
            return Err(wrong("cut short"));
        }
        match entry.header().entry_type() {
            EntryType::GNULongName if long_name.is_none() => {
                let mut name = Vec::new();
                entry.by_ref().take(4 * BLOCK).read_to_end(&mut name)?;
                long_name = Some(name.strip_suffix(b"\0").unwrap_or(&name).to_vec());
                continue;
            }
            EntryType::Regular => {}
            _ => return Err(wrong("something else than plain files in it")),
        }
        let name = long_name
            .take()
            .unwrap_or_else(|| entry.path_bytes().into_owned());
        let name = String::from_utf8(name)
            .ok()
            .filter(|name| is_name(name))
            .ok_or_else(|| wrong("a name that is none of metadata"))?;
        total += length;
        if length > MAX_FILE || total > MAX_BYTES || members.len() >= MAX_FILES {
            return Err(wrong(&format!(
                "over {MAX_FILES} files, {MAX_BYTES} bytes, or {MAX_FILE} bytes in one file"
            )));
        }
        if members.insert(name.clone(), (offset, length)).is_some() {
            return Err(wrong(&format!("{name} is in it twice")));
        }
    }
    let rest = whole.saturating_sub(end);
    let mut tail = vec![0; usize::try_from(rest.min(*END.end())).unwrap_or_default()];
    file.read_exact_at(&mut tail, end)?;
    if long_name.is_some() || rest < *END.start() {
        return Err(wrong("cut short"));
    }
    if rest > *END.end() || tail.iter().any(|byte| *byte != 0) {
        return Err(wrong("something after its end"));
    }
    Ok(members)
}

/// The names that metadata is published under (TUF 1.0.34, section 3): one segment of a path.
fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.~%".contains(&byte);
    let stem = name
        .strip_suffix(".json")
        .filter(|stem| !stem.is_empty() && !stem.starts_with('.'));
    name.len() <= MAX_NAME && stem.is_some_and(|stem| stem.bytes().all(plain))
}

fn wrong(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Seek;

    use super::*;

    fn files() -> BTreeMap<String, Vec<u8>> {
        let long = format!("1.{}.json", "a%2F".repeat(40));
        [
            ("1.root.json", "root"),
            ("timestamp.json", ""),
            (&long, "long"),
        ]
        .map(|(name, bytes)| (name.to_owned(), bytes.into()))
        .into()
    }

    fn read(bytes: &[u8]) -> Result<Bundle, SourceError> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        Bundle::read(file, "x")
    }

    fn refused(bytes: &[u8]) -> String {
        read(bytes).unwrap_err().to_string()
    }

    fn tar(members: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (name, kind, bytes) in members {
            let mut header = Header::new_gnu();
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(bytes.len().try_into().unwrap());
            header.set_entry_type(*kind);
            header.set_cksum();
            builder.append(&header, *bytes).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn what_is_written_is_read_again_whatever_the_length_of_its_names_and_twice_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("acme.tar");
        write_bundle(&path, &files()).unwrap();
        let bundle = Bundle::open(&path).unwrap();
        for (name, bytes) in files() {
            assert_eq!(bundle.get(&name, 4).unwrap(), Some(bytes), "{name}");
        }
        assert_eq!(bundle.get("2.root.json", 4).unwrap(), None);
        assert!(matches!(
            bundle.get("1.root.json", 3),
            Err(SourceError::TooLarge { .. })
        ));
        let first = fs::read(&path).unwrap();
        write_bundle(&path, &files()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), first);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn metadata_with_a_role_that_is_named_as_signatures_are_is_no_bundle_of_signatures() {
        let metadata = ("timestamp.json", EntryType::Regular, &b"x"[..]);
        let named = ("signatures-a.json", EntryType::Regular, &b"y"[..]);
        for (members, wanted) in [
            (&[named][..], true),
            (&[named, metadata], false),
            (&[metadata], false),
            (&[], false),
        ] {
            let bundle = read(&tar(members)).unwrap();
            assert_eq!(bundle.is_of_signatures(), wanted, "{members:?}");
        }
    }

    #[test]
    fn what_a_bundle_can_t_hold_is_not_written_and_leaves_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("acme.tar");
        write_bundle(&path, &files()).unwrap();
        let before = fs::read(&path).unwrap();
        for name in [
            "../x.json",
            "x",
            ".json",
            "a/b.json",
            &format!("{}.json", "a".repeat(251)),
        ] {
            assert!(
                write_bundle(&path, &[(name.to_owned(), Vec::new())].into()).is_err(),
                "{name}"
            );
        }
        assert_eq!(fs::read(&path).unwrap(), before);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn links_folders_other_names_duplicates_and_extensions_are_refused() {
        let file = ("1.root.json", EntryType::Regular, &b"root"[..]);
        read(&tar(&[file])).unwrap();
        for (members, why) in [
            (
                &[file, ("2.root.json", EntryType::Symlink, b"")][..],
                "something else than plain files",
            ),
            (
                &[("2.root.json", EntryType::Link, b""), file],
                "something else than plain files",
            ),
            (
                &[("d.json", EntryType::Directory, b"")],
                "something else than plain files",
            ),
            (
                &[("h.json", EntryType::XHeader, b"12 path=a\n"), file],
                "something else than plain files",
            ),
            (
                &[("h.json", EntryType::GNUSparse, b"")],
                "something else than plain files",
            ),
            (
                &[("f.json", EntryType::Fifo, b"")],
                "something else than plain files",
            ),
            (&[file, file], "1.root.json is in it twice"),
            (
                &[("../root.json", EntryType::Regular, b"")],
                "a name that is none of metadata",
            ),
            (
                &[("a/b.json", EntryType::Regular, b"")],
                "a name that is none of metadata",
            ),
            (
                &[("root.jsn", EntryType::Regular, b"")],
                "a name that is none of metadata",
            ),
            (
                &[("x", EntryType::GNULongName, b"../../root.json\0"), file],
                "a name that is none of metadata",
            ),
            (
                &[
                    ("x", EntryType::GNULongName, b"a.json\0"),
                    ("x", EntryType::GNULongName, b"b.json\0"),
                    file,
                ],
                "something else",
            ),
        ] {
            let error = refused(&tar(members));
            assert!(error.contains(why), "{members:?}: {error}");
        }
    }

    #[test]
    fn a_bundle_that_is_cut_short_anywhere_or_goes_on_after_its_end_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        write_bundle(&dir.path().join("a.tar"), &files()).unwrap();
        let whole = fs::read(dir.path().join("a.tar")).unwrap();
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).is_err(), "{length}");
        }
        read(&[&whole[..], &[0; 10_240]].concat()).unwrap();
        for more in [
            &[0; 12_000][..],
            b"x",
            &[&[0; 512][..], &whole].concat(),
            &whole,
        ] {
            assert!(read(&[&whole[..], more].concat()).is_err());
        }
        assert!(refused(b"").contains("cut short"));
        assert!(refused(&[b'x'; 2048]).contains("no bundle"));
    }

    #[test]
    fn sizes_that_are_not_there_or_too_much_are_refused_before_anything_is_read() {
        let mut header = Header::new_gnu();
        header.as_mut_bytes()[..6].copy_from_slice(b"a.json");
        header.set_entry_type(EntryType::Regular);
        for size in [512, MAX_FILE + 1, u64::MAX >> 1, u64::MAX - 100, u64::MAX] {
            header.set_size(size);
            header.set_cksum();
            read(&[header.as_bytes(), &[0; 1024][..]].concat()).unwrap_err();
        }
        // Sparse files: as large as they say, and nothing on the disk.
        let mut file = tempfile::tempfile().unwrap();
        header.set_size(MAX_FILE + 1);
        header.set_cksum();
        file.write_all(header.as_bytes()).unwrap();
        file.set_len(MAX_FILE + 10_240).unwrap();
        assert!(
            Bundle::read(file, "x")
                .unwrap_err()
                .to_string()
                .contains("over 20480 files")
        );
        let file = tempfile::tempfile().unwrap();
        file.set_len(MAX_BUNDLE + 1).unwrap();
        assert!(
            Bundle::read(file, "x")
                .unwrap_err()
                .to_string()
                .contains("longer than any may be")
        );
    }
}

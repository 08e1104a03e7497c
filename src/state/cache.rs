//! Cached metadata files. They spare requests and serve while a source is silent; what they say is
//! verified anew each time, and the floors hold whether they are there or not.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempPath};

use rootpin_trust::Subject;
use rootpin_trust::image::Digest;

use super::directory;

/// How many files are synced side by side.
const AT_ONCE: usize = 8;

/// The cache in a state directory.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: PathBuf,
    owner: u32,
}

impl Cache {
    /// The cache of an open state. It has the owner of the state directory, which the state has
    /// checked.
    ///
    /// # Errors
    /// The state directory is not there.
    pub fn new(state: &Path) -> io::Result<Self> {
        Ok(Self {
            folder: state.join("cache"),
            owner: fs::metadata(state)?.uid(),
        })
    }

    /// A cached file, by its role's path (`targets/releases.json`). What can't be read is as if it
    /// were not there.
    #[must_use]
    pub fn read(
        &self,
        server: &str,
        subject: &Subject,
        name: &str,
        max_bytes: usize,
    ) -> Option<Vec<u8>> {
        let path = self.folder_of(server, subject).join(file_name(name)?);
        match self.read_file(&path, max_bytes) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                log::warn!("{}: not used: {error}", path.display());
                None
            }
        }
    }

    /// All that is cached of one repository of one server: each file's name, as [`Cache::read`]
    /// takes it, and its bytes. What can't be read is as if it were not there.
    #[must_use]
    pub fn files(
        &self,
        server: &str,
        subject: &Subject,
        max_bytes: usize,
    ) -> Vec<(String, Vec<u8>)> {
        let folder = self.folder_of(server, subject);
        let names = fs::read_dir(&folder)
            .into_iter()
            .flatten()
            .filter_map(|entry| role_name(entry.ok()?.file_name().to_str()?));
        let mut files: Vec<_> = names
            .filter_map(|name| Some((name.clone(), self.read(server, subject, &name, max_bytes)?)))
            .collect();
        files.sort();
        files
    }

    /// Writes files of one verified whole; those that are there already are left alone.
    ///
    /// # Errors
    /// A file could not be written. What was verified holds all the same.
    pub fn write(
        &self,
        server: &str,
        subject: &Subject,
        files: &[(String, Vec<u8>)],
    ) -> io::Result<()> {
        self.draft(server, subject, files)?.keep()
    }

    /// The same without waiting for the disk, unless one of them is there with other bytes: a power cut may
    /// lose new files or leave them torn, which is as if they had never been written.
    ///
    /// # Errors
    /// A file could not be written.
    pub fn write_soon(
        &self,
        server: &str,
        subject: &Subject,
        files: &[(String, Vec<u8>)],
    ) -> io::Result<()> {
        let folder = self.folder_of(server, subject);
        let is_there = |name: &str| file_name(name).is_some_and(|name| folder.join(name).exists());
        if files.iter().any(|(name, _)| is_there(name)) {
            return self.write(server, subject, files);
        }
        for files in files.chunks(AT_ONCE) {
            for (draft, path) in self.write_some(&folder, files)? {
                draft.persist(path)?;
            }
        }
        Ok(())
    }

    /// Writes and syncs those that are not there already. They have no names yet, and are gone if
    /// they get none.
    ///
    /// # Errors
    /// A file could not be written.
    pub fn draft(
        &self,
        server: &str,
        subject: &Subject,
        files: &[(String, Vec<u8>)],
    ) -> io::Result<Drafts> {
        let folder = self.folder_of(server, subject);
        let mut drafts = Vec::new();
        for files in files.chunks(AT_ONCE) {
            let written = self.write_some(&folder, files)?;
            sync_all(&written)?;
            // An open file each is too many for a large repository.
            drafts.extend(
                written
                    .into_iter()
                    .map(|(draft, path)| (draft.into_temp_path(), path)),
            );
        }
        Ok(Drafts {
            cache: self.folder.clone(),
            folder,
            files: drafts,
        })
    }

    /// Writes those of a few files that are not there.
    fn write_some(
        &self,
        folder: &Path,
        files: &[(String, Vec<u8>)],
    ) -> io::Result<Vec<(NamedTempFile, PathBuf)>> {
        let mut drafts = Vec::new();
        for (name, bytes) in files {
            let path = folder.join(
                file_name(name).ok_or_else(|| refused("the role's name is too long for a file"))?,
            );
            if self
                .read_file(&path, bytes.len())
                .is_ok_and(|known| known == *bytes)
            {
                continue;
            }
            if drafts.is_empty() {
                self.make(folder)?;
            }
            let mut draft = tempfile::Builder::new()
                .prefix(".new-")
                .tempfile_in(folder)?;
            draft.write_all(bytes)?;
            draft
                .as_file()
                .set_permissions(Permissions::from_mode(0o600))?;
            drafts.push((draft, path));
        }
        Ok(drafts)
    }

    /// Removes what is cached of one repository of one server.
    ///
    /// # Errors
    /// It is there and can't be removed.
    pub fn forget(&self, server: &str, subject: &Subject) -> io::Result<()> {
        match fs::remove_dir_all(self.folder_of(server, subject)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn folder_of(&self, server: &str, subject: &Subject) -> PathBuf {
        self.folder
            .join(Digest::of(format!("{server}\n{subject}").as_bytes()).hex())
    }

    /// Makes the folders that are missing.
    fn make(&self, folder: &Path) -> io::Result<()> {
        for folder in [&self.folder, folder] {
            match DirBuilder::new().mode(0o700).create(folder) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    self.check(&fs::symlink_metadata(folder)?, Metadata::is_dir)?;
                }
                Err(error) => return Err(error),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    fn read_file(&self, path: &Path, max_bytes: usize) -> io::Result<Vec<u8>> {
        for folder in path.parent().into_iter().chain([self.folder.as_path()]) {
            self.check(&fs::symlink_metadata(folder)?, Metadata::is_dir)?;
        }
        self.check(&fs::symlink_metadata(path)?, Metadata::is_file)?;
        let file = File::open(path)?;
        self.check(&file.metadata()?, Metadata::is_file)?;
        let limit = u64::try_from(max_bytes)
            .unwrap_or(u64::MAX)
            .saturating_add(1);
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes)?;
        if bytes.len() > max_bytes {
            return Err(refused("longer than it may be"));
        }
        Ok(bytes)
    }

    fn check(&self, metadata: &Metadata, kind: fn(&Metadata) -> bool) -> io::Result<()> {
        if !kind(metadata) {
            return Err(refused("neither a plain file nor a folder"));
        }
        if metadata.uid() != self.owner {
            return Err(refused("owned by somebody else"));
        }
        if metadata.mode() & 0o022 != 0 {
            return Err(refused("others may write it"));
        }
        Ok(())
    }
}

/// Files that are written and synced, and wait for their names.
#[derive(Debug)]
pub struct Drafts {
    cache: PathBuf,
    folder: PathBuf,
    files: Vec<(TempPath, PathBuf)>,
}

impl Drafts {
    /// Gives them their names.
    ///
    /// # Errors
    /// A name could not be given or synced.
    pub fn keep(self) -> io::Result<()> {
        if self.files.is_empty() {
            return Ok(());
        }
        for (draft, path) in self.files {
            draft.persist(path)?;
        }
        directory::sync(&self.folder)?;
        // Where the folders were made just now; else there is nothing to sync, and it costs next to
        // nothing.
        directory::sync(&self.cache)?;
        self.cache.parent().map_or(Ok(()), directory::sync)
    }
}

/// Syncs all files side by side: a journal takes them up together, where one after the other would
/// wait for as many commits.
fn sync_all(drafts: &[(NamedTempFile, PathBuf)]) -> io::Result<()> {
    std::thread::scope(|scope| {
        let Some((first, others)) = drafts.split_first() else {
            return Ok(());
        };
        let syncing: Vec<_> = others
            .iter()
            .map(|(draft, _)| scope.spawn(|| draft.as_file().sync_all()))
            .collect();
        let mut result = first.0.as_file().sync_all();
        for one in syncing {
            result = result.and(
                one.join()
                    .unwrap_or_else(|_| Err(refused("syncing it failed"))),
            );
        }
        result
    })
}

/// A file's name for a role's path: what is not plain is written as `%` and two hex digits, so that
/// no role leaves the folder.
fn file_name(role: &str) -> Option<String> {
    let mut name = String::new();
    for (at, byte) in role.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => name.push(char::from(byte)),
            b'.' if at > 0 => name.push('.'),
            other => write!(name, "%{other:02x}").ok()?,
        }
    }
    // The longest name that file systems take is 255.
    (1..=255).contains(&name.len()).then_some(name)
}

/// The role's path for a file's name; none for a file that no role has.
fn role_name(file: &str) -> Option<String> {
    let mut parts = file.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (hex, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(hex, 16).ok()?);
        bytes.extend(rest.as_bytes());
    }
    let role = String::from_utf8(bytes).ok()?;
    (file_name(&role)? == file).then_some(role)
}

fn refused(why: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "https://notary.example";

    fn files() -> Vec<(String, Vec<u8>)> {
        vec![
            ("root.json".to_owned(), b"root".to_vec()),
            ("targets/releases.json".to_owned(), b"releases".to_vec()),
        ]
    }

    /// A cache that holds the files, and the one folder in it.
    fn written() -> (tempfile::TempDir, Cache, Subject, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path()).unwrap();
        let gun = Subject::parse("registry.example/app").unwrap();
        cache.write(SERVER, &gun, &files()).unwrap();
        let folder = cache.folder_of(SERVER, &gun);
        (dir, cache, gun, folder)
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_file_is_read_as_it_was_written_and_only_for_its_server_and_repository() {
        let (_dir, cache, gun, folder) = written();
        assert_eq!(
            cache
                .read(SERVER, &gun, "targets/releases.json", 100)
                .unwrap(),
            b"releases"
        );
        assert_eq!(
            cache.read("https://other.example", &gun, "root.json", 100),
            None
        );
        assert_eq!(
            cache.read(
                SERVER,
                &Subject::parse("registry.example/b").unwrap(),
                "root.json",
                100
            ),
            None
        );
        assert_eq!(cache.read(SERVER, &gun, "timestamp.json", 100), None);
        assert_eq!(cache.files(SERVER, &gun, 100), files());
        assert!(cache.files("https://other.example", &gun, 100).is_empty());
        let modes: Vec<_> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().metadata().unwrap().mode() & 0o777)
            .collect();
        assert_eq!(
            (modes, fs::metadata(&folder).unwrap().mode() & 0o777),
            (vec![0o600; 2], 0o700)
        );
        cache.forget(SERVER, &gun).unwrap();
        cache.forget(SERVER, &gun).unwrap();
        assert_eq!(cache.read(SERVER, &gun, "root.json", 100), None);
    }

    #[test]
    fn files_that_are_there_already_are_not_written_again() {
        let (_dir, cache, gun, folder) = written();
        let inode = || fs::metadata(folder.join("root.json")).unwrap().ino();
        let before = inode();
        cache.write(SERVER, &gun, &files()).unwrap();
        assert_eq!(inode(), before);
        cache
            .write(
                SERVER,
                &gun,
                &[("root.json".to_owned(), b"root 2".to_vec())],
            )
            .unwrap();
        assert_eq!(
            cache.read(SERVER, &gun, "root.json", 100).unwrap(),
            b"root 2"
        );
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
    }

    #[test]
    fn files_that_are_written_soon_have_their_names_and_take_the_place_of_older_ones() {
        let (_dir, cache, gun, folder) = written();
        let soon = |name: &str, bytes: &[u8]| {
            cache
                .write_soon(SERVER, &gun, &[(name.to_owned(), bytes.to_vec())])
                .unwrap();
            assert_eq!(cache.read(SERVER, &gun, name, 100).unwrap(), bytes);
        };
        soon("new.json", b"new");
        soon("new.json", b"newer");
        soon("root.json", b"root 2");
        let modes = fs::read_dir(&folder).unwrap();
        let modes = modes.map(|entry| entry.unwrap().metadata().unwrap().mode() & 0o777);
        assert_eq!(modes.collect::<Vec<_>>(), [0o600; 3]);
    }

    #[test]
    fn files_that_get_no_names_are_gone_and_the_old_ones_stay() {
        let (_dir, cache, gun, folder) = written();
        let drafts = cache
            .draft(
                SERVER,
                &gun,
                &[("root.json".to_owned(), b"root 2".to_vec())],
            )
            .unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 3);
        assert_eq!(cache.files(SERVER, &gun, 100), files());
        drop(drafts);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
        assert_eq!(cache.files(SERVER, &gun, 100), files());
    }

    #[test]
    fn a_file_or_folder_that_others_may_write_is_as_if_it_were_not_there() {
        let (_dir, cache, gun, folder) = written();
        let file = folder.join("root.json");
        set_mode(&file, 0o620);
        assert_eq!(cache.read(SERVER, &gun, "root.json", 100), None);
        cache.write(SERVER, &gun, &files()).unwrap();
        assert!(
            cache.read(SERVER, &gun, "root.json", 100).is_some(),
            "it was replaced"
        );
        for folder in [&folder, &cache.folder] {
            set_mode(folder, 0o702);
            assert_eq!(cache.read(SERVER, &gun, "root.json", 100), None);
            assert!(cache.write(SERVER, &gun, &files()).is_err());
            set_mode(folder, 0o700);
        }
        if std::os::unix::fs::chown(&file, Some(12345), None).is_ok() {
            assert_eq!(cache.read(SERVER, &gun, "root.json", 100), None);
        }
    }

    #[test]
    fn a_link_or_a_file_that_is_too_long_is_as_if_it_were_not_there() {
        let (dir, cache, gun, folder) = written();
        assert_eq!(cache.read(SERVER, &gun, "root.json", 3), None);
        assert!(cache.read(SERVER, &gun, "root.json", 4).is_some());
        fs::rename(folder.join("root.json"), dir.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), folder.join("root.json")).unwrap();
        assert_eq!(cache.read(SERVER, &gun, "root.json", 100), None);
    }

    #[test]
    fn no_role_leaves_its_folder_or_takes_the_place_of_another() {
        assert_eq!(
            file_name("targets/a_b-c.json").unwrap(),
            "targets%2fa_b-c.json"
        );
        assert_eq!(file_name("../root.json").unwrap(), "%2e.%2froot.json");
        assert_eq!(file_name("..").unwrap(), "%2e.");
        assert_eq!(file_name("targets%2fa").unwrap(), "targets%252fa");
        assert_eq!(file_name("A\0é").unwrap(), "%41%00%c3%a9");
        for role in ["targets/a_b-c.json", "../root.json", "targets%2fa", "A\0é"] {
            assert_eq!(role_name(&file_name(role).unwrap()).as_deref(), Some(role));
        }
        for bad in [".new-abc", "a%2", "A", "%41%zz", "%ff"] {
            assert_eq!(role_name(bad), None, "{bad}");
        }
        assert_eq!(file_name(""), None);
        assert_eq!(file_name(&"a/".repeat(100)), None);
    }
}

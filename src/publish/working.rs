//! A publisher's working folder, held by one process at a time.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::PublishError;
use super::document::Document;
use super::keyring::Keyring;
use super::metadata::Metadata;
use super::place::{MetadataFiles, read_folder, write_folder};
use super::role_key::role_keys;
use super::settings::{self, Settings};
use crate::problem::Problem;
use rootpin_trust::tuf::PinnedRoot;

/// The root file that all others must come from, as hosts pin it.
const PINNED: &str = "root.json";
const KEYS: &str = "keys";
const METADATA: &str = "metadata";
const PUBLISHED: &str = "published";
const PUBLISHER: &str = "publisher";
/// The file that is locked.
const LOCK: &str = ".lock";

/// An open working folder. Other processes that open it wait until this is dropped.
#[derive(Debug)]
pub struct Working {
    folder: PathBuf,
    /// What it is for.
    pub settings: Settings,
    /// The keys in it.
    pub keyring: Keyring,
    /// The root that hosts pin; none before the first one is signed.
    pub pinned: Option<Arc<PinnedRoot>>,
    /// Which publisher's tag of a registry this folder writes to: a hex digit, so that clones that
    /// come and go leave no more than 16. Folders may share one.
    pub publisher: String,
    _lock: File,
}

impl Working {
    /// Opens a folder, and waits for whoever has it open.
    ///
    /// # Errors
    /// It is no working folder, or not whole.
    pub fn open(folder: &Path) -> Result<Self, PublishError> {
        let settings = Settings::load(folder)?;
        let lock = lock(folder)?;
        let pinned = match fs::read(folder.join(PINNED)) {
            Ok(bytes) => Some(pinned_root(bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(&folder.join(PINNED), error)),
        };
        let id = folder.join(PUBLISHER);
        let publisher = match fs::read_to_string(&id) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read.map_err(|error| failed(&id, error))?.trim().to_owned(),
        };
        if publisher.len() != 1 || !publisher.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(PublishError::wrong(
                format!("{} is no hex digit", id.display()),
                "write any one into it",
            ));
        }
        let keyring = Keyring::open(&folder.join(KEYS))?;
        Ok(Self {
            folder: folder.to_owned(),
            settings,
            keyring,
            pinned,
            publisher,
            _lock: lock,
        })
    }

    /// Begins a folder, which may hold keys already. It is a working folder when it is
    /// [`Self::settle`]d. `root`: what is to be pinned, if that is known.
    ///
    /// # Errors
    /// It is a working folder already, holds a root of somebody else, or can't be written.
    pub fn begin(folder: &Path, settings: &str, root: Option<&[u8]>) -> Result<Self, PublishError> {
        let settings = Settings::parse(settings)?;
        make_folder(folder)?;
        make_folder(&folder.join(KEYS))?;
        let lock = lock(folder)?;
        if folder.join(settings::FILE).exists() {
            return Err(PublishError::wrong(
                format!("{} is a working folder already", folder.display()),
                "give another one",
            ));
        }
        let mut id = [0_u8];
        aws_lc_rs::rand::fill(&mut id).map_err(|_| {
            PublishError::Wrong("the system gives no random bytes".to_owned().into())
        })?;
        let publisher = format!("{:x}", id[0] % 16);
        let keyring = Keyring::open(&folder.join(KEYS))?;
        let pinned = folder.join(PINNED);
        // What an attempt that broke off has left is of the keys that it made.
        let ours = |there: &[u8]| root == Some(there) || root.is_none() && is_of(&keyring, there);
        if fs::read(&pinned).is_ok_and(|there| !ours(&there)) {
            return Err(PublishError::wrong(
                format!(
                    "{} is there already, and not of the keys in keys/",
                    pinned.display()
                ),
                "give another folder, or move it away",
            ));
        }
        Ok(Self {
            folder: folder.to_owned(),
            settings,
            keyring,
            pinned: None,
            publisher,
            _lock: lock,
        })
    }

    /// Ends what [`Self::begin`] began.
    ///
    /// # Errors
    /// It can't be written.
    pub fn settle(&self, settings: &str) -> Result<(), PublishError> {
        write(
            &self.folder.join(PUBLISHER),
            format!("{}\n", self.publisher).as_bytes(),
        )?;
        write(&self.folder.join(settings::FILE), settings.as_bytes())
    }

    /// Where the keys are.
    #[must_use]
    pub fn keys_folder(&self) -> PathBuf {
        self.folder.join(KEYS)
    }

    /// Where the pinned root is.
    #[must_use]
    pub fn pinned_file(&self) -> PathBuf {
        self.folder.join(PINNED)
    }

    /// Reads the keys again, of which some were made.
    ///
    /// # Errors
    /// One can't be read.
    pub fn reread_keys(&mut self) -> Result<(), PublishError> {
        self.keyring = Keyring::open(&self.keys_folder())?;
        Ok(())
    }

    /// Pins the root that everything is to come from.
    ///
    /// # Errors
    /// It is no root file, or can't be written.
    pub fn pin(&mut self, bytes: Vec<u8>) -> Result<(), PublishError> {
        write(&self.folder.join(PINNED), &bytes)?;
        self.pinned = Some(pinned_root(bytes)?);
        Ok(())
    }

    /// The root to verify by.
    ///
    /// # Errors
    /// There is none yet.
    pub fn root(&self) -> Result<&Arc<PinnedRoot>, PublishError> {
        let unsigned = || {
            PublishError::wrong(
                "the first root is not signed yet",
                "have it signed (rotate root --sign FILE), then: rootpin repo rotate root --finish FILE",
            )
        };
        self.pinned.as_ref().ok_or_else(unsigned)
    }

    /// What is here, and what of it was published last; none where there is nothing. `known` as for
    /// [`Metadata::read`].
    ///
    /// # Errors
    /// The files can't be read, or don't hold.
    pub fn ours(&self, known: Option<&Metadata>) -> Result<Option<Metadata>, PublishError> {
        self.read(METADATA, known)
    }

    /// What was last read from the first place or written to it.
    ///
    /// # Errors
    /// As [`Self::ours`].
    pub fn published(&self, known: Option<&Metadata>) -> Result<Option<Metadata>, PublishError> {
        self.read(PUBLISHED, known)
    }

    /// Keeps what is here now.
    ///
    /// # Errors
    /// It can't be written.
    pub fn keep(&self, metadata: &Metadata) -> Result<(), PublishError> {
        self.store(METADATA, &metadata.files())
    }

    /// Keeps what was published.
    ///
    /// # Errors
    /// It can't be written.
    pub fn keep_published(&self, metadata: &Metadata) -> Result<(), PublishError> {
        self.store(PUBLISHED, &metadata.files())
    }

    /// Reads a file of the caller's.
    ///
    /// # Errors
    /// It can't be read.
    pub fn read_file(path: &Path) -> Result<Vec<u8>, PublishError> {
        fs::read(path).map_err(|error| failed(path, error))
    }

    /// Writes a file that travels between machines; whole, or not at all.
    ///
    /// # Errors
    /// It can't be written.
    pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), PublishError> {
        write(path, bytes)
    }

    fn read(&self, name: &str, known: Option<&Metadata>) -> Result<Option<Metadata>, PublishError> {
        let folder = self.folder.join(name);
        let files = read_folder(&folder).map_err(|error| failed(&folder, error))?;
        if !files.contains_key("timestamp.json") {
            return Ok(None);
        }
        let read = Metadata::read(&files, self.root()?, &[], known).map_err(|error| {
            let why = error.problem().what;
            let hint = "it is damaged; restore the working folder, or clone the place to another one and take keys/ along";
            PublishError::State(Problem::hinted(format!("{}: {why}", folder.display()), hint.to_string()))
        });
        read.map(Some)
    }

    fn store(&self, name: &str, files: &MetadataFiles) -> Result<(), PublishError> {
        let folder = self.folder.join(name);
        make_folder(&folder)?;
        write_folder(&folder, files).map_err(|error| failed(&folder, error))
    }
}

/// Reads a root file that everything is to come from.
///
/// # Errors
/// It is no root file, or not signed by enough of its own keys.
pub fn pinned_root(bytes: Vec<u8>) -> Result<Arc<PinnedRoot>, PublishError> {
    PinnedRoot::read(bytes)
        .map(Arc::new)
        .map_err(PublishError::Refused)
}

/// Whether a root file lists no root keys but those of the keyring.
fn is_of(keyring: &Keyring, root: &[u8]) -> bool {
    let Ok(root) = Document::read(PINNED, root) else {
        return false;
    };
    let listed = root.members("roles").and_then(|roles| roles.get("root"));
    let keys = listed.and_then(|listed| role_keys(listed, root.members("keys")));
    keys.is_some_and(|keys| {
        keys.iter()
            .all(|key| key.id.is_some_and(|id| keyring.find(id).is_some()))
    })
}

fn lock(folder: &Path) -> Result<File, PublishError> {
    let path = folder.join(LOCK);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| failed(&path, error))?;
    if file.try_lock().is_err() {
        log::warn!(
            "another process works in {}: waiting for it …",
            folder.display()
        );
        file.lock().map_err(|error| failed(&path, error))?;
    }
    Ok(file)
}

fn make_folder(folder: &Path) -> Result<(), PublishError> {
    if folder.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| failed(folder, error))
}

/// Writes a file whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> Result<(), PublishError> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let written = || -> io::Result<()> {
        let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
        temporary.write_all(bytes)?;
        temporary.as_file().sync_all()?;
        temporary.persist(path)?;
        File::open(folder)?.sync_all()
    };
    written().map_err(|error| failed(path, error))
}

fn failed(path: &Path, error: io::Error) -> PublishError {
    PublishError::File(path.display().to_string(), error)
}

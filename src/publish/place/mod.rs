//! The places where a repository is published: a folder, or a registry. A place is read whole and
//! written whole. A write never covers another machine's change: the slower machine merges and
//! writes again.

mod folder;
mod registry;
mod registry_hint;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::problem::Problem;
use crate::sources::{Credentials, SourceError};
use rootpin_policy::MetadataUrl;
use rootpin_trust::image::{Repository, Tag};

pub use folder::{read_folder, write_folder};

/// Files by the names under which they are published; what waits for signatures is
/// `waiting/ROLE.json`.
pub type MetadataFiles = BTreeMap<String, Vec<u8>>;

/// What waits for signatures is kept below this.
pub(super) const WAITING: &str = "waiting/";

/// A place that can be written to.
#[derive(Debug, Clone)]
pub enum PublishPlace {
    /// Files in a folder of this host.
    Folder(PathBuf),
    /// Layers of a manifest in a registry.
    Registry {
        /// The repository that holds it.
        repository: Repository,
        /// The tag of the whole.
        tag: Tag,
        /// For the registry.
        credentials: Arc<Credentials>,
    },
}

/// What a place had when it was read.
#[derive(Debug)]
pub struct PlaceContent {
    /// Its files; none, where nothing was published yet.
    pub files: MetadataFiles,
    /// Which state that was.
    pub at: PlaceState,
    /// What other publishers wrote that the state does not have: they wrote at the same moment, or
    /// broke off. Read as hostile as the rest.
    pub unmerged: Vec<Unmerged>,
}

/// One write of a publisher that the state of a place does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmerged {
    /// What the publisher found, which with what it wrote tells what it changed; none, where that
    /// can't be told.
    pub found: Option<MetadataFiles>,
    /// What it wrote, whole.
    pub files: MetadataFiles,
}

/// Which state of a place was read.
#[derive(Debug, Clone)]
pub struct PlaceState(PlaceVersion);

#[derive(Debug, Clone)]
enum PlaceVersion {
    /// The files by which one state is told from another.
    Folder(MetadataFiles),
    Registry(registry::Top),
}

/// What came of writing.
#[derive(Debug)]
pub enum WriteOutcome {
    /// It is published.
    Done(PlaceState),
    /// Another machine published since the state was read, or at the same moment: read again,
    /// merge, and write again.
    Lost,
}

/// Why a place was not read or written.
#[derive(Debug)]
pub enum PlaceError {
    /// An address that can only be read.
    ReadOnly(String),
    /// A folder failed.
    Folder(String, std::io::Error),
    /// A registry failed.
    Registry(SourceError),
    /// A registry failed after it had taken what other publishers merge.
    Unfinished(SourceError),
    /// The tag has an image, or something else without metadata.
    Taken(String),
    /// The place has something that no publisher writes: the place, and what.
    Strange(String, String),
}

impl PlaceError {
    /// What went wrong apart from what helps.
    #[must_use]
    pub fn problem(&self) -> Problem {
        match self {
            Self::ReadOnly(place) => Problem::hinted(
                format!("{place} can only be read"),
                "publish to oci://REGISTRY/REPOSITORY[:TAG] or file:///FOLDER, and serve that",
            ),
            Self::Folder(folder, error) => Problem::new(format!("{folder}: {error}")),
            Self::Registry(error) => registry_problem(error),
            Self::Unfinished(error) => {
                const SENT: &str = "this was sent, and may be seen already: the next change, of whichever machine, takes it up; rootpin repo list shows it";
                let problem = registry_problem(error);
                let hint = match &problem.hint {
                    Some(hint) => format!("{hint}; {SENT}"),
                    None => SENT.to_owned(),
                };
                Problem::hinted(problem.what, hint)
            }
            Self::Taken(place) => Problem::hinted(
                format!("{place} is an image's, or of something else without metadata"),
                "give the metadata a repository or a tag of its own",
            ),
            Self::Strange(place, what) => Problem::hinted(
                format!("{place}: {what}"),
                "somebody else writes there, or it is no place of metadata; a place that was spoiled is emptied, the tags \
                 rootpin-… too, and filled again by `rootpin repo publish`",
            ),
        }
    }
}

fn registry_problem(error: &SourceError) -> Problem {
    Problem {
        what: error.to_string(),
        hint: registry_hint::of(error).map(str::to_owned),
    }
}

impl fmt::Display for PlaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem().fmt(f)
    }
}

impl std::error::Error for PlaceError {}

impl From<SourceError> for PlaceError {
    fn from(error: SourceError) -> Self {
        Self::Registry(error)
    }
}

impl PublishPlace {
    /// The place of that address.
    ///
    /// # Errors
    /// It can only be read.
    pub fn of(url: &MetadataUrl, credentials: &Arc<Credentials>) -> Result<Self, PlaceError> {
        match url {
            MetadataUrl::File(folder) => Ok(Self::Folder(folder.clone())),
            MetadataUrl::Oci { repository, tag } => Ok(Self::Registry {
                repository: repository.clone(),
                tag: tag.clone(),
                credentials: Arc::clone(credentials),
            }),
            MetadataUrl::Http(_) => Err(PlaceError::ReadOnly(url.to_string())),
        }
    }

    /// Reads all that is there. `known` files are not fetched again where they are the same.
    ///
    /// # Errors
    /// The place can't be read whole.
    pub async fn read(&self, known: &MetadataFiles) -> Result<PlaceContent, PlaceError> {
        match self {
            Self::Folder(folder) => {
                let files = read_folder(folder)
                    .map_err(|error| PlaceError::Folder(folder.display().to_string(), error))?;
                let at = PlaceState(PlaceVersion::Folder(folder::in_place(&files)));
                // The first write to it broke off, or it was emptied but for some: nothing leads to
                // the rest.
                let files = if files.contains_key("timestamp.json") {
                    files
                } else {
                    MetadataFiles::new()
                };
                Ok(PlaceContent {
                    files,
                    at,
                    unmerged: Vec::new(),
                })
            }
            Self::Registry {
                repository,
                tag,
                credentials,
            } => registry::read(repository, tag, credentials, known).await,
        }
    }

    /// What the publisher of a state that was read had found before; none, where the place doesn't
    /// tell. `known` as for [`Self::read`].
    ///
    /// # Errors
    /// The place can't be read.
    pub async fn found(
        &self,
        at: &PlaceState,
        known: &MetadataFiles,
    ) -> Result<Option<MetadataFiles>, PlaceError> {
        match (self, &at.0) {
            (
                Self::Registry {
                    repository,
                    tag,
                    credentials,
                },
                PlaceVersion::Registry(top),
            ) => registry::found(repository, tag, credentials, top, known).await,
            _ => Ok(None),
        }
    }

    /// Writes the whole new state, of which only what is new is sent. `publisher`: this machine's,
    /// of letters and digits.
    ///
    /// # Errors
    /// The place did not take it: it has the former state then.
    pub async fn write(
        &self,
        at: &PlaceState,
        files: &MetadataFiles,
        publisher: &str,
    ) -> Result<WriteOutcome, PlaceError> {
        match (self, &at.0) {
            (Self::Folder(folder), PlaceVersion::Folder(before)) => {
                folder::write(folder, before, files)
                    .await
                    .map_err(|error| PlaceError::Folder(folder.display().to_string(), error))
            }
            (
                Self::Registry {
                    repository,
                    tag,
                    credentials,
                },
                PlaceVersion::Registry(top),
            ) => registry::write(repository, tag, credentials, top, files, publisher).await,
            _ => Err(PlaceError::Strange(
                self.to_string(),
                "another place was read".to_owned(),
            )),
        }
    }
}

impl fmt::Display for PublishPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(formatter, "file://{}", folder.display()),
            Self::Registry {
                repository, tag, ..
            } => write!(formatter, "oci://{repository}:{tag}"),
        }
    }
}

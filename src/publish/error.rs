//! Why something was not published.

use std::io;

use super::key::SigningError;
use super::place::PlaceError;
use rootpin_trust::Refusal;

/// Why a verb of the publisher did not do what it should. Nothing was published then, unless it
/// says so.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// What was asked for, or what is set, makes no sense; with a hint.
    #[error("{0}")]
    Wrong(String),
    /// The folder is no working folder.
    #[error(
        "{0} is no working folder: {1}; hint: make one with: rootpin repo init DIR --names PATTERN, or give it with --repo DIR"
    )]
    NoFolder(String, io::Error),
    /// A file of a working folder or of a place can't be read or written.
    #[error("{0}: {1}")]
    File(String, io::Error),
    /// A file is no metadata.
    #[error("{0} is no metadata of The Update Framework 1.0")]
    Malformed(String),
    /// A repository without a file that it lists.
    #[error("the repository is not whole: {0} is missing")]
    Incomplete(String),
    /// The repository doesn't hold.
    #[error("the repository does not hold: {}: found {}; wanted {}; hint: {}", .0.code, .0.found, .0.wanted, .0.hint)]
    Refused(Refusal),
    /// Two machines changed one thing.
    #[error("{0}")]
    Conflict(String),
    /// A key did not sign.
    #[error(transparent)]
    Signing(#[from] SigningError),
    /// A place did not take part.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// What a place has is not what it should have.
    #[error("{0}")]
    State(String),
}

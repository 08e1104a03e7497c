//! Why a change was not published.

use std::fmt;
use std::io;

use super::key::SigningError;
use super::place::PlaceError;
use crate::plain_text::shell_word;
use crate::problem::Problem;
use rootpin_trust::Refusal;

/// Why a publishing command failed. Nothing was published, unless the text says so.
#[derive(Debug)]
pub enum PublishError {
    /// The request or a setting makes no sense.
    Wrong(Problem),
    /// The folder is no working folder, or can't be read.
    NoFolder(String, io::Error),
    /// A file of a working folder or of a place can't be read or written.
    File(String, io::Error),
    /// A file is not TUF metadata.
    Malformed(String),
    /// The repository lacks a file that it lists.
    Incomplete(String),
    /// The repository doesn't hold.
    Refused(Refusal),
    /// Two machines changed one thing.
    Conflict(Problem),
    /// A key did not sign.
    Signing(SigningError),
    /// A place failed.
    Place(PlaceError),
    /// A place does not have what it should have.
    State(Problem),
}

impl PublishError {
    /// A request or setting that makes no sense, with what to type instead.
    pub(crate) fn wrong(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Wrong(Problem::hinted(what, hint))
    }

    /// What went wrong apart from what helps.
    #[must_use]
    pub fn problem(&self) -> Problem {
        match self {
            Self::Wrong(problem) | Self::Conflict(problem) | Self::State(problem) => {
                problem.clone()
            }
            Self::NoFolder(folder, error) => unopened(folder, error),
            Self::Refused(refusal) => Problem::hinted(
                format!(
                    "the repository does not hold: {}: found {}; wanted {}",
                    refusal.code, refusal.found, refusal.wanted
                ),
                &refusal.hint,
            ),
            Self::Signing(error) => error.problem(),
            Self::Place(error) => error.problem(),
            Self::File(file, error) => Problem::new(format!("{file}: {error}")),
            Self::Malformed(file) => {
                Problem::new(format!("{file} is no metadata of The Update Framework 1.0"))
            }
            Self::Incomplete(file) => {
                Problem::new(format!("the repository is not whole: {file} is missing"))
            }
        }
    }
}

/// Only a folder that lacks the settings is no working folder.
fn unopened(folder: &str, error: &io::Error) -> Problem {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Problem::hinted(
            format!("{folder} is no working folder: {error}"),
            "make one with: rootpin repo init DIR --names PATTERN, or give it with --repo DIR",
        ),
        io::ErrorKind::PermissionDenied => Problem::hinted(
            format!("the working folder {folder} can't be read: {error}"),
            format!(
                "run this as the folder's owner or as root: ls -ld {} shows who may read it",
                shell_word(folder)
            ),
        ),
        _ => Problem::new(format!(
            "the working folder {folder} can't be read: {error}"
        )),
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem().fmt(f)
    }
}

impl std::error::Error for PublishError {}

impl From<SigningError> for PublishError {
    fn from(error: SigningError) -> Self {
        Self::Signing(error)
    }
}

impl From<PlaceError> for PublishError {
    fn from(error: PlaceError) -> Self {
        Self::Place(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_working_folder_that_may_not_be_read_is_read_by_its_owner_and_not_made_anew() {
        for (kind, word, makes_one) in [
            (io::ErrorKind::NotFound, "is no working folder", true),
            (io::ErrorKind::PermissionDenied, "can't be read", false),
            (io::ErrorKind::InvalidData, "can't be read", false),
        ] {
            let problem = PublishError::NoFolder("team".to_owned(), kind.into()).problem();
            assert!(problem.what.contains(word), "{problem}");
            let hint = problem.hint.unwrap_or_default();
            assert_eq!(hint.contains("repo init"), makes_one, "{hint}");
            let is_of_rights = kind == io::ErrorKind::PermissionDenied;
            assert_eq!(
                hint.contains("as the folder's owner"),
                is_of_rights,
                "{hint}"
            );
        }
    }
}

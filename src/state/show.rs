//! Everything that was seen, as plain values: `rootpin state show`.

use jiff::Timestamp;

use rootpin_trust::image::Digest;
use rootpin_trust::{Floor, KeyId, Subject};

use super::ledger::{self, Row};
use super::{StateError, Store};

/// Everything that was seen.
#[derive(Debug, PartialEq, Eq)]
pub struct Overview {
    /// By repository.
    pub repositories: Vec<SeenRepository>,
    /// By source and repository.
    pub contacts: Vec<Contact>,
    /// The ledger, by digest.
    pub rows: Vec<(Digest, Row)>,
}

/// What was seen of one repository.
#[derive(Debug, PartialEq, Eq)]
pub struct SeenRepository {
    /// The repository, by the name that the metadata is signed for.
    pub subject: Subject,
    /// Its floors.
    pub floors: Vec<Floor>,
    /// SHA-256 of the signed bytes of its targets roles, the oldest first.
    pub statements: Vec<Digest>,
    /// Whose signatures counted for its tags.
    pub signers: Vec<KeyId>,
}

/// The last good contact with a source about a repository.
#[derive(Debug, PartialEq, Eq)]
pub struct Contact {
    /// The source's URL.
    pub source: String,
    /// The repository.
    pub subject: Subject,
    /// When; a few minutes may be missing.
    pub at: Timestamp,
}

impl Store {
    /// Everything that was seen.
    ///
    /// # Errors
    /// The state is unusable.
    pub fn show(&self) -> Result<Overview, StateError> {
        let rows = self.with_database(|database| Ok(ledger::all(database)?))?;
        let seen = self.seen()?;
        let repositories = seen
            .repositories
            .iter()
            .map(|(subject, entry)| SeenRepository {
                subject: subject.clone(),
                floors: entry.value.floors.clone(),
                statements: entry.value.statements.clone(),
                signers: entry.value.signers.iter().copied().collect(),
            });
        let contacts = seen
            .contacts
            .iter()
            .map(|((source, subject), entry)| Contact {
                source: source.clone(),
                subject: subject.clone(),
                at: entry.value,
            });
        Ok(Overview {
            repositories: repositories.collect(),
            contacts: contacts.collect(),
            rows,
        })
    }
}

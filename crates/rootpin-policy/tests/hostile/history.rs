//! What honest publishers published, one publication after the other: the truth that answers are
//! compared with.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use rootpin_trust::image::Digest;

pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// A repository at one time.
pub(crate) struct Publication {
    pub(crate) at: Timestamp,
    /// All files that a source has, former ones too where they have names of their own.
    pub(crate) files: Files,
    /// The version of each role that the publication consists of.
    pub(crate) versions: BTreeMap<String, u64>,
    /// Which keys the snapshot's role has: a number that grows with each rotation.
    pub(crate) snapshot_keys: usize,
    pub(crate) timestamp_keys: usize,
}

/// A file as its honest signers made it.
pub(crate) struct HonestFile {
    /// The digest of each name, as the format writes the name.
    pub(crate) names: BTreeMap<String, Digest>,
    pub(crate) expires: Timestamp,
    /// SHA-256 of the canonical signed bytes.
    pub(crate) statement: Digest,
}

/// All publications of one repository.
#[derive(Default)]
pub(crate) struct History {
    pub(crate) publications: Vec<Publication>,
    pub(crate) signed: BTreeMap<(String, u64), HonestFile>,
}

/// When each publication is made.
pub(crate) fn time(publication: usize) -> Timestamp {
    let begin: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
    later(begin, 48 * i64::try_from(publication).unwrap())
}

pub(crate) fn later(time: Timestamp, hours: i64) -> Timestamp {
    time + SignedDuration::from_hours(hours)
}

impl History {
    /// The honest file of that role and version.
    pub(crate) fn file(&self, role: &str, version: u64) -> Option<&HonestFile> {
        self.signed.get(&(role.to_owned(), version))
    }

    /// What a name stood for at a publication, by a role.
    pub(crate) fn digest(&self, publication: usize, role: &str, name: &str) -> Option<Digest> {
        let version = self.publications[publication].versions.get(role)?;
        self.file(role, *version)?.names.get(name).copied()
    }

    /// Whether every file on the way to a role's answer is in force.
    pub(crate) fn in_force(&self, publication: usize, roles: &[&str], now: Timestamp) -> bool {
        let versions = &self.publications[publication].versions;
        roles.iter().all(|role| {
            let file = versions
                .get(*role)
                .and_then(|version| self.file(role, *version));
            file.is_some_and(|file| now < file.expires)
        })
    }

    /// The publications up to `head` that consist of files of these versions.
    pub(crate) fn with(
        &self,
        head: usize,
        versions: &BTreeMap<String, u64>,
        roles: &[&str],
    ) -> BTreeSet<usize> {
        let same = |at: &usize| {
            let of = &self.publications[*at].versions;
            roles
                .iter()
                .all(|role| of.get(*role) == versions.get(*role))
        };
        (0..=head).filter(same).collect()
    }
}

//! Everything that must never be lost, in memory: floors, replay index and contacts, as the file
//! holds them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::nonce;
use rootpin_trust::image::Digest;
use rootpin_trust::{KeyId, Progress, Subject};

use super::form::{FLOORS, FORMAT, RecordForm, SeenRecord};
use super::key_sets::{KEY_SETS, KeySets};
use super::record::{self, Checksum, Framed, Text};
use super::{FileFault, StateError, contact};

/// The table that the summary covers beside that of the floors.
pub(super) const CONTACTS: &str = "contacts";
/// The table of the one record that says which state this is. The summary does not cover it:
/// nothing is allowed by it.
pub(super) const ORIGIN: &str = "origin";
pub(super) const ORIGIN_KEY: &str = "this";

/// How many signed files of one repository are remembered for the replay check. A publisher who
/// signs each day is remembered for most of a year, which is longer than a targets file is valid in
/// practice.
const MAX_STATEMENTS: usize = 2048;

/// A value and the checksum under which it is in the file.
#[derive(Debug, Clone)]
pub(super) struct Checksummed<T> {
    pub(super) value: T,
    checksum: Checksum,
}

/// What tells one state from every other one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateOrigin {
    /// 32 lower-case hex digits.
    pub id: String,
    /// When it was made, by the clock of that time.
    pub begun: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OriginForm {
    id: String,
    begun: Text<Timestamp>,
}

/// All that was seen.
#[derive(Debug, Clone, Default)]
pub(super) struct SeenState {
    pub(super) repositories: BTreeMap<Subject, Arc<Checksummed<SeenRecord>>>,
    pub(super) contacts: BTreeMap<(String, Subject), Checksummed<Timestamp>>,
    pub(super) key_sets: KeySets,
    pub(super) origin: Option<StateOrigin>,
    /// Counts the writes.
    pub(super) writes: u64,
}

/// What is to be written, and what is seen afterwards.
#[derive(Debug)]
pub(super) struct SeenDraft {
    pub(super) seen: SeenState,
    pub(super) changes: Changes,
}

/// Records to write, by table and key; `None` removes.
pub(super) type Changes = BTreeMap<(&'static str, String), Option<Vec<u8>>>;

/// The one record that says which others there are.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SeenSummary {
    format: u8,
    writes: u64,
    records: usize,
    digest: String,
}

impl SeenState {
    /// Takes up one record of the file.
    pub(super) fn take(&mut self, table: &str, key: &str, bytes: &[u8]) -> Result<(), FileFault> {
        if table == ORIGIN {
            let (
                OriginForm {
                    id,
                    begun: Text(begun),
                },
                _,
            ) = record::decode(table, key.as_bytes(), bytes)?;
            self.origin = Some(StateOrigin { id, begun });
        } else if table == KEY_SETS {
            self.key_sets.take(key, bytes)?;
        } else if table == FLOORS {
            let (form, checksum) = record::decode::<RecordForm>(table, key.as_bytes(), bytes)?;
            let mut value = SeenRecord::from_form(form, &self.key_sets)?;
            self.share_with_last(&mut value);
            self.repositories
                .insert(subject(key)?, Arc::new(Checksummed { value, checksum }));
        } else {
            let (Text(value), checksum) = record::decode(table, key.as_bytes(), bytes)?;
            let (source, about) = key
                .rsplit_once('\n')
                .ok_or_else(|| FileFault::new(format!("{table}: an odd key")))?;
            self.contacts.insert(
                (source.to_owned(), subject(about)?),
                Checksummed { value, checksum },
            );
        }
        Ok(())
    }

    /// Records of an earlier rootpin have the same large set of keys in each floor.
    fn share_with_last(&self, record: &mut SeenRecord) {
        let last = self.repositories.values().next_back();
        let mut last = last
            .and_then(|entry| entry.value.floors.last())
            .map(|floor| &floor.root_keys)
            .cloned();
        for floor in &mut record.floors {
            match &last {
                Some(keys) if *keys == floor.root_keys => floor.root_keys = Arc::clone(keys),
                _ => last = Some(Arc::clone(&floor.root_keys)),
            }
        }
    }

    /// What the summary must say.
    pub(super) fn summary(&self) -> SeenSummary {
        let mut hash = Sha256::new();
        // Each checksum covers its table and key, so the list of checksums says it all.
        self.repositories
            .values()
            .for_each(|entry| hash.update(entry.checksum));
        self.contacts
            .values()
            .for_each(|entry| hash.update(entry.checksum));
        let digest = Digest::from_bytes(hash.finalize().into()).hex();
        SeenSummary {
            format: FORMAT,
            writes: self.writes,
            records: self.repositories.len() + self.contacts.len(),
            digest,
        }
    }

    /// Compares all records that were taken up with the file's summary.
    pub(super) fn check(&mut self, summary: &SeenSummary) -> Result<(), FileFault> {
        self.writes = summary.writes;
        let records = self.repositories.values();
        let floors = records.flat_map(|entry| &entry.value.floors);
        self.key_sets.note_unused(floors);
        if self.summary() == *summary {
            Ok(())
        } else {
            Err(FileFault::new(
                "a record is missing, or an older one stands in its place",
            ))
        }
    }

    /// Another repository whose signatures these are: it was seen with the same signed bytes, and one
    /// of these keys signed for it. Whoever signs a copy with a key of its own takes nothing away.
    pub(super) fn replayed(
        &self,
        subject: &Subject,
        statement: &Digest,
        signers: &BTreeSet<KeyId>,
    ) -> Option<&Subject> {
        // A server chooses which signatures it shows: the keys that its roles list count too.
        let is_of = |record: &SeenRecord| {
            let mut listed = record.floors.iter().map(|floor| &floor.keys);
            record.statements.contains(statement)
                && (!record.signers.is_disjoint(signers)
                    || listed.any(|keys| !keys.is_disjoint(signers)))
        };
        let mut others = self.repositories.iter().filter(|(one, _)| *one != subject);
        others
            .find(|(_, entry)| is_of(&entry.value))
            .map(|(owner, _)| owner)
    }

    /// The repositories whose tags a key has signed.
    pub(super) fn signer_repositories(&self, key: &KeyId) -> impl Iterator<Item = &Subject> {
        self.repositories
            .iter()
            .filter(|(_, entry)| entry.value.signers.contains(key))
            .map(|(subject, _)| subject)
    }
}

impl SeenDraft {
    pub(super) fn of(seen: &SeenState) -> Self {
        Self {
            seen: seen.clone(),
            changes: Changes::new(),
        }
    }

    /// Whether a floor or the replay index changes, so that the write must be sealed.
    pub(super) fn raises(&self) -> bool {
        self.changes.keys().any(|(table, _)| *table == FLOORS)
    }

    /// Which state this is: one that is not told from others yet is from now on.
    pub(super) fn identify(&mut self) -> Result<StateOrigin, FileFault> {
        if let Some(origin) = &self.seen.origin {
            return Ok(origin.clone());
        }
        let origin = StateOrigin {
            id: nonce::random_hex()?,
            begun: Timestamp::now(),
        };
        let form = OriginForm {
            id: origin.id.clone(),
            begun: Text(origin.begun),
        };
        let framed = record::encode(ORIGIN, ORIGIN_KEY.as_bytes(), &form)?;
        self.changes
            .insert((ORIGIN, ORIGIN_KEY.to_owned()), Some(framed.bytes));
        self.seen.origin = Some(origin.clone());
        Ok(origin)
    }

    /// Adds what a verification showed; returns the signers that are new here and known from
    /// another repository.
    pub(super) fn add(&mut self, progress: &Progress) -> Result<Vec<(KeyId, Subject)>, Trouble> {
        let subject = &progress.subject;
        let mut record = self
            .seen
            .repositories
            .get(subject)
            .map(|entry| entry.value.clone())
            .unwrap_or_default();
        record.floors = progress
            .merge_into(&record.floors)
            .map_err(StateError::from)?;
        for statement in &progress.statements {
            if let Some(owner) = self.seen.replayed(subject, statement, &progress.signers) {
                return Err(StateError::Replay {
                    subject: subject.clone(),
                    statement: *statement,
                    owner: owner.clone(),
                }
                .into());
            }
            if !record.statements.contains(statement) {
                record.statements.push(*statement);
            }
        }
        record
            .statements
            .drain(..record.statements.len().saturating_sub(MAX_STATEMENTS));
        let fresh: Vec<_> = progress
            .signers
            .iter()
            .copied()
            .filter(|key| record.signers.insert(*key))
            .collect();
        let shared = fresh
            .iter()
            .flat_map(|key| {
                self.seen
                    .signer_repositories(key)
                    .map(|other| (*key, other.clone()))
            })
            .collect();
        self.put(subject, record)?;
        Ok(shared)
    }

    /// Records a good answer of a source, if it is news.
    pub(super) fn touch(
        &mut self,
        source: &str,
        subject: &Subject,
        now: Timestamp,
    ) -> Result<(), FileFault> {
        let key = (source.to_owned(), subject.clone());
        let known = self.seen.contacts.get(&key).map(|entry| entry.value);
        if contact::is_news(known, now) {
            let text = format!("{source}\n{subject}");
            let Framed { bytes, checksum } = record::encode(CONTACTS, text.as_bytes(), &Text(now))?;
            self.changes.insert((CONTACTS, text), Some(bytes));
            self.seen.contacts.insert(
                key,
                Checksummed {
                    value: now,
                    checksum,
                },
            );
        }
        Ok(())
    }

    /// Forgets one contact.
    pub(super) fn forget_contact(&mut self, source: &str, subject: &Subject) {
        self.seen
            .contacts
            .remove(&(source.to_owned(), subject.clone()));
        self.changes
            .insert((CONTACTS, format!("{source}\n{subject}")), None);
    }

    /// Writes what is seen of one repository, if it differs; nothing at all where no floor is left.
    pub(super) fn put(
        &mut self,
        subject: &Subject,
        mut record: SeenRecord,
    ) -> Result<(), FileFault> {
        if self
            .seen
            .repositories
            .get(subject)
            .is_some_and(|entry| entry.value == record)
        {
            return Ok(());
        }
        let sets = &mut self.seen.key_sets;
        let unused = sets.take_unused().map(|name| ((KEY_SETS, name), None));
        self.changes.extend(unused);
        for floor in &mut record.floors {
            if let Some((name, bytes)) = sets.share(floor)? {
                self.changes.insert((KEY_SETS, name), Some(bytes));
            }
        }
        let key = subject.to_string();
        let Framed { bytes, checksum } = record::encode(FLOORS, key.as_bytes(), &record.form())?;
        self.changes.insert((FLOORS, key), Some(bytes));
        self.seen.repositories.insert(
            subject.clone(),
            Arc::new(Checksummed {
                value: record,
                checksum,
            }),
        );
        Ok(())
    }

    /// Forgets a repository and the contacts about it; returns the sources of these.
    pub(super) fn forget(&mut self, subject: &Subject) -> Vec<String> {
        self.seen.repositories.remove(subject);
        self.changes.insert((FLOORS, subject.to_string()), None);
        self.forget_contacts(subject)
    }

    /// Forgets the contacts about a repository; returns their sources.
    pub(super) fn forget_contacts(&mut self, subject: &Subject) -> Vec<String> {
        let sources: Vec<String> = self
            .seen
            .contacts
            .keys()
            .filter(|(_, about)| about == subject)
            .map(|(source, _)| source.clone())
            .collect();
        for source in &sources {
            self.forget_contact(source, subject);
        }
        sources
    }
}

/// Either kind of error, before the file's path is known.
#[derive(Debug)]
pub(super) enum Trouble {
    File(FileFault),
    State(StateError),
}

impl From<FileFault> for Trouble {
    fn from(fault: FileFault) -> Self {
        Self::File(fault)
    }
}

impl From<StateError> for Trouble {
    fn from(error: StateError) -> Self {
        Self::State(error)
    }
}

fn subject(key: &str) -> Result<Subject, FileFault> {
    Subject::parse(key).ok_or_else(|| FileFault::new(format!("{key:?} is no repository")))
}

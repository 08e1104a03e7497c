//! A role: the keys that may sign for it, and how many of them must.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::budget::Budget;
use crate::canonical::Text;
use crate::envelope::Envelope;
use crate::floors::Claim;
use crate::format::Format;
use crate::key::{KeyError, PublicKey};
use crate::refusal::shown;
use crate::threshold::{self, Counting};
use crate::{KeyId, Refusal};

/// The keys that a file lists, by ID. Each is read once, or a file of many roles that all have many
/// keys would cost too much.
pub(crate) struct ListedKeys<'a> {
    format: Format,
    listed: BTreeMap<Cow<'a, str>, Text<'a>>,
    read: BTreeMap<String, Arc<PublicKey>>,
}

/// A role as its delegator lists it.
#[derive(Debug, Clone)]
pub struct Role {
    /// `root`, `timestamp`, `snapshot`, `targets`, or a delegated role's name.
    pub name: String,
    /// Its keys.
    pub keys: Vec<Arc<PublicKey>>,
    /// The number of distinct keys that must sign.
    pub threshold: u64,
}

/// The keys and the threshold that a file was verified by: under others it is verified again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authority {
    keys: BTreeSet<KeyId>,
    threshold: u64,
}

impl<'a> ListedKeys<'a> {
    pub(crate) fn of(format: Format, listed: Option<Text<'a>>) -> Self {
        let listed = listed.and_then(Text::members);
        Self {
            format,
            listed: listed.into_iter().flatten().collect(),
            read: BTreeMap::new(),
        }
    }

    /// Every key that can be read, listed by a role or not, except keys under another key's ID.
    pub(crate) fn all(&self) -> Vec<PublicKey> {
        let read = |(id, key): (&Cow<'_, str>, &Text<'_>)| {
            let key = PublicKey::from_metadata(self.format, id, *key).ok()?;
            (key.scoped_id() == id).then_some(key)
        };
        self.listed.iter().filter_map(read).collect()
    }

    /// In TUF an ID may have no key, and is opaque (section 4.2, TAP 12). As Notary does, a
    /// missing key, or one under another's ID, spoils its file.
    fn get(&mut self, id: &str) -> Result<Option<Arc<PublicKey>>, KeyError> {
        if let Some(key) = self.read.get(id) {
            return Ok(Some(Arc::clone(key)));
        }
        let Some(listed) = self.listed.get(id) else {
            return match self.format {
                Format::Notary => Err(KeyError("not among the keys".to_owned())),
                Format::Tuf => Ok(None),
            };
        };
        let key = Arc::new(PublicKey::from_metadata(self.format, id, *listed)?);
        if key.scoped_id() != id {
            return Err(KeyError(format!("it hashes to {}", key.scoped_id())));
        }
        self.read.insert(id.to_owned(), Arc::clone(&key));
        Ok(Some(key))
    }
}

impl Role {
    /// Reads `{"keyids": […], "threshold": …}`, taking the keys from the map `keys`. A key that is
    /// not understood counts for nothing.
    pub(crate) fn read(
        name: &str,
        listing: Text<'_>,
        keys: &mut ListedKeys<'_>,
        file: &str,
    ) -> Result<Self, Refusal> {
        let format = keys.format;
        let wrong = |what: &str| format.malformed(file, &format!("role {}: {what}", shown(name)));
        let threshold = listing.get_u64("threshold");
        let threshold = threshold
            .filter(|threshold| *threshold >= 1)
            .ok_or_else(|| wrong("a threshold that is not a whole number above 0"))?;
        let ids = match (listing.get("keyids"), format) {
            // Go reads a list that is absent as an empty one.
            (None, Format::Notary) => Text::of(b"[]"),
            (ids, _) => ids.unwrap_or(Text::of(b"")),
        };
        let ids = ids
            .elements()
            .ok_or_else(|| wrong("key IDs that are no list"))?;
        let (mut listed, mut of_role) = (BTreeSet::new(), Vec::new());
        for id in ids {
            let id = id
                .as_str()
                .ok_or_else(|| wrong("a key ID that is not text"))?;
            if !listed.insert(id.clone().into_owned()) {
                match format {
                    Format::Notary => continue,
                    Format::Tuf => return Err(wrong(&format!("key {} twice", shown(&id)))),
                }
            }
            Budget::allow_keys(listed.len())?;
            let key = keys.get(&id);
            of_role.extend(key.map_err(|why| wrong(&format!("key {}: {why}", shown(&id))))?);
        }
        Ok(Self {
            name: name.to_owned(),
            keys: of_role,
            threshold,
        })
    }

    /// Canonical IDs of the keys.
    #[must_use]
    pub fn ids(&self) -> BTreeSet<KeyId> {
        self.keys.iter().map(|key| key.id()).collect()
    }

    pub(crate) fn authority(&self) -> Authority {
        Authority {
            keys: self.ids(),
            threshold: self.threshold,
        }
    }

    /// The keys that signed a file, if they are enough.
    pub(crate) fn signers(
        &self,
        file: &Envelope,
        counting: Counting<'_>,
        budget: &mut Budget,
    ) -> Result<BTreeSet<KeyId>, Refusal> {
        let keys: Vec<&PublicKey> = self.keys.iter().map(AsRef::as_ref).collect();
        threshold::signers(&keys, self.threshold, file.signed(), counting, budget)
    }

    /// The claim of this role's file, to be compared with the role's floors.
    pub(crate) fn claim<'a>(&'a self, file: &'a Envelope) -> Claim<'a> {
        Claim {
            role: &self.name,
            file: &file.file,
            version: file.version,
            signed: file.statement,
            keys: self.ids(),
            threshold: self.threshold,
        }
    }
}

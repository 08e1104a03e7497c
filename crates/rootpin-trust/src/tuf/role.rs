//! A role: which keys may sign for it, and how many must.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::budget::Budget;
use crate::canonical::Text;
use crate::key::{KeyError, PublicKey};
use crate::refusal::shown;
use crate::threshold::{self, Counting};
use crate::{KeyId, Refusal};

use super::envelope::{Envelope, malformed};

/// Keys as a file lists them, by ID. Each is read once, or a file of many roles that all have many
/// keys would cost too much.
pub(super) struct Keys<'a> {
    listed: BTreeMap<Cow<'a, str>, Text<'a>>,
    read: BTreeMap<String, Arc<PublicKey>>,
}

/// A role as its delegator lists it.
#[derive(Debug, Clone)]
pub(super) struct Role {
    pub(super) name: String,
    pub(super) keys: Vec<Arc<PublicKey>>,
    pub(super) threshold: u64,
}

/// Whose signatures a file was verified by: under another authority it is verified again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Authority {
    keys: BTreeSet<KeyId>,
    threshold: u64,
}

impl<'a> Keys<'a> {
    pub(super) fn of(listed: Text<'a>) -> Self {
        Self {
            listed: listed.members().into_iter().flatten().collect(),
            read: BTreeMap::new(),
        }
    }

    fn get(&mut self, id: &str) -> Result<Option<Arc<PublicKey>>, KeyError> {
        if let Some(key) = self.read.get(id) {
            return Ok(Some(Arc::clone(key)));
        }
        let Some(listed) = self.listed.get(id) else {
            return Ok(None);
        };
        let key = Arc::new(PublicKey::from_tuf(id, *listed)?);
        self.read.insert(id.to_owned(), Arc::clone(&key));
        Ok(Some(key))
    }
}

impl Role {
    /// Reads `{"keyids": […], "threshold": …}`, taking the keys from the map `keys`. A key ID that
    /// stands for no key, and a key that is not understood, count for nothing (section 4.2, and TAP
    /// 12: IDs are opaque).
    pub(super) fn read(
        name: &str,
        listing: Text<'_>,
        keys: &mut Keys<'_>,
        file: &str,
    ) -> Result<Self, Refusal> {
        let wrong = |what: &str| malformed(file, &format!("role {}: {what}", shown(name)));
        let threshold = listing
            .get("threshold")
            .and_then(Text::as_u64)
            .filter(|threshold| *threshold >= 1);
        let threshold =
            threshold.ok_or_else(|| wrong("a threshold that is not a whole number above 0"))?;
        let ids = listing
            .get("keyids")
            .and_then(Text::elements)
            .ok_or_else(|| wrong("key IDs that are no list"))?;
        let mut listed = BTreeSet::new();
        let mut of_role = Vec::new();
        for id in ids {
            let id = id
                .as_str()
                .ok_or_else(|| wrong("a key ID that is not text"))?
                .into_owned();
            if !listed.insert(id.clone()) {
                return Err(wrong(&format!("key {} twice", shown(&id))));
            }
            Budget::allow_keys(listed.len())?;
            of_role.extend(
                keys.get(&id)
                    .map_err(|error| wrong(&format!("key {}: {error}", shown(&id))))?,
            );
        }
        Ok(Self {
            name: name.to_owned(),
            keys: of_role,
            threshold,
        })
    }

    /// Canonical IDs of the keys.
    pub(super) fn ids(&self) -> BTreeSet<KeyId> {
        self.keys.iter().map(|key| key.id()).collect()
    }

    /// What signs for it.
    pub(super) fn authority(&self) -> Authority {
        Authority {
            keys: self.ids(),
            threshold: self.threshold,
        }
    }

    /// The keys that signed a file, if they are enough.
    pub(super) fn signers(
        &self,
        file: &Envelope,
        counting: Counting<'_>,
        budget: &mut Budget,
    ) -> Result<BTreeSet<KeyId>, Refusal> {
        let keys: Vec<&PublicKey> = self.keys.iter().map(AsRef::as_ref).collect();
        threshold::signers(&keys, self.threshold, file.signed(), counting, budget)
    }
}

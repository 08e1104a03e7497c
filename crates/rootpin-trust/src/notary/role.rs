//! A role: which keys may sign for it, and how many must.

use std::collections::BTreeSet;

use crate::budget::Budget;
use crate::floors::Claim;
use crate::json::Value;
use crate::key::PublicKey;
use crate::refusal::shown;
use crate::{KeyId, Refusal};

use super::envelope::{Envelope, list};

/// A role as its delegator lists it.
#[derive(Debug, Clone)]
pub(super) struct Role {
    /// `root`, `timestamp`, `snapshot`, `targets`, `targets/…`
    pub(super) name: String,
    pub(super) keys: Vec<PublicKey>,
    pub(super) threshold: u64,
}

impl Role {
    /// Reads `{"keyids": […], "threshold": …}`, taking the keys from the map `keys`. Keys that no
    /// role lists are not looked at.
    pub(super) fn read(
        name: &str,
        listing: &Value,
        keys: Option<&Value>,
        from: &Envelope,
    ) -> Result<Self, Refusal> {
        let malformed = |what: &str| from.malformed(&format!("role {}: {what}", shown(name)));
        let threshold = listing
            .get("threshold")
            .and_then(Value::as_u64)
            .filter(|threshold| *threshold >= 1);
        let threshold =
            threshold.ok_or_else(|| malformed("a threshold that is not a whole number above 0"))?;
        let ids =
            list(listing.get("keyids")).ok_or_else(|| malformed("key IDs that are no list"))?;
        Budget::allow_keys(ids.len())?;
        let key = |id: &Value| {
            let id = id
                .as_str()
                .ok_or_else(|| malformed("a key ID that is not text"))?;
            let key = keys.and_then(|keys| keys.get(id)).ok_or_else(|| {
                malformed(&format!("key {}, which is not among the keys", shown(id)))
            })?;
            let key = PublicKey::from_json(key)
                .map_err(|error| malformed(&format!("key {}: {error}", shown(id))))?;
            // As Notary does: a key that stands under another's ID spoils the file.
            if key.scoped_id() == id {
                Ok(key)
            } else {
                Err(malformed(&format!(
                    "key {}, which hashes to {}",
                    shown(id),
                    key.scoped_id()
                )))
            }
        };
        Ok(Self {
            name: name.to_owned(),
            keys: ids.iter().map(key).collect::<Result<_, _>>()?,
            threshold,
        })
    }

    /// What a file of this role is held to by its floors.
    pub(super) fn claim<'a>(&'a self, file: &'a Envelope) -> Claim<'a> {
        let (version, signed) = (file.version, file.statement());
        Claim {
            role: &self.name,
            file: &file.file,
            version,
            signed,
            keys: self.ids(),
            threshold: self.threshold,
        }
    }

    /// Canonical IDs of the keys.
    pub(super) fn ids(&self) -> BTreeSet<KeyId> {
        self.keys.iter().map(PublicKey::id).collect()
    }
}

//! Large sets of root keys, each written once: floors name them by their hash.
//!
//! A floor belongs to every key that its root pins, and a root may pin a key for each of hundreds of
//! repositories. Written within each floor, 500 keys of 500 repositories would take 81 MB.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rootpin_trust::image::Digest;
use rootpin_trust::{Floor, KeyId};

use super::FileFault;
use super::record::{self, Text};

/// The table of these sets. The summary does not cover it: the records of the floors, which it
/// covers, name each set by its content.
pub(super) const KEY_SETS: &str = "key_sets";

/// A larger set is written once. Smaller ones are written within each floor, as every rootpin reads
/// them.
const MOST_IN_PLACE: usize = 8;

/// The large sets that floors of this state belong to.
#[derive(Debug, Clone, Default)]
pub(super) struct KeySets {
    by_name: BTreeMap<Digest, Arc<BTreeSet<KeyId>>>,
    /// Sets in the file that no floor names any more. The next write removes them.
    unused: BTreeSet<Digest>,
}

/// The name of a set, where floors name it.
pub(super) fn name(keys: &BTreeSet<KeyId>) -> Option<Digest> {
    (keys.len() > MOST_IN_PLACE).then(|| content(keys))
}

/// SHA-256 over the IDs, one space between two.
fn content(keys: &BTreeSet<KeyId>) -> Digest {
    let texts: Vec<_> = keys.iter().map(ToString::to_string).collect();
    Digest::of(texts.join(" ").as_bytes())
}

impl KeySets {
    /// Takes up one record of the file.
    pub(super) fn take(&mut self, key: &str, bytes: &[u8]) -> Result<(), FileFault> {
        let (texts, _) = record::decode::<Vec<Text<KeyId>>>(KEY_SETS, key.as_bytes(), bytes)?;
        let keys: BTreeSet<KeyId> = texts.into_iter().map(|Text(id)| id).collect();
        let name = content(&keys);
        if name.to_string() != key {
            let why = format!("{KEY_SETS}: other keys than the name {key:?} says");
            return Err(FileFault::new(why));
        }
        self.by_name.insert(name, Arc::new(keys));
        Ok(())
    }

    /// The set of that name.
    pub(super) fn get(&self, name: &Digest) -> Result<Arc<BTreeSet<KeyId>>, FileFault> {
        self.by_name
            .get(name)
            .cloned()
            .ok_or_else(|| FileFault::new(format!("{KEY_SETS}: the set {name} is missing")))
    }

    /// Notes which sets no floor names, once all floors of the file were read.
    pub(super) fn note_unused<'a>(&mut self, floors: impl Iterator<Item = &'a Floor>) {
        let mut unused: BTreeSet<Digest> = self.by_name.keys().copied().collect();
        let mut last = None;
        for floor in floors {
            let keys = &floor.root_keys;
            if last.is_some_and(|last| Arc::ptr_eq(last, keys)) {
                continue;
            }
            last = Some(keys);
            if let Some(name) = name(keys) {
                unused.remove(&name);
            }
        }
        self.by_name.retain(|name, _| !unused.contains(name));
        self.unused = unused;
    }

    /// Has a floor share the one set of its root keys. Returns the record to write where the file
    /// does not have that set yet.
    pub(super) fn share(
        &mut self,
        floor: &mut Floor,
    ) -> Result<Option<(String, Vec<u8>)>, FileFault> {
        let Some(name) = name(&floor.root_keys) else {
            return Ok(None);
        };
        if let Some(known) = self.by_name.get(&name) {
            floor.root_keys = Arc::clone(known);
            return Ok(None);
        }
        let texts: Vec<_> = floor.root_keys.iter().copied().map(Text).collect();
        let key = name.to_string();
        let framed = record::encode(KEY_SETS, key.as_bytes(), &texts)?;
        self.by_name.insert(name, Arc::clone(&floor.root_keys));
        Ok(Some((key, framed.bytes)))
    }

    /// The names of the sets to remove from the file.
    pub(super) fn take_unused(&mut self) -> impl Iterator<Item = String> + use<> {
        std::mem::take(&mut self.unused)
            .into_iter()
            .map(|name| name.to_string())
    }
}

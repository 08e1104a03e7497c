//! A repository of one key that is written nowhere: with what a proof signs its control images, and
//! what is gone with it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::PublishError;
use super::ROLES;
use super::document::{Document, listing};
use super::draft::new_targets;
use super::key::{KeyKind, Signer as _};
use super::key_file::PrivateKey;
use super::metadata::{Metadata, MetadataFile};
use super::place::MetadataFiles;
use super::public_key::key_object;
use super::role_key::RoleKey;
use super::root::{RoleKeys, root_document};
use rootpin_trust::image::Digest;

/// The key and the root that lists it.
#[derive(Debug)]
pub struct OneOff {
    key: PrivateKey,
    root: MetadataFile,
    now: Timestamp,
    term: SignedDuration,
}

impl OneOff {
    /// A new key, and a root that ends after `term`, as all that it signs does.
    ///
    /// # Errors
    /// The cryptographic library fails, or the term ends after all time.
    pub fn new(now: Timestamp, term: SignedDuration) -> Result<Self, PublishError> {
        let key = PrivateKey::in_memory(KeyKind::Ed25519)?;
        let (keyid, object) = key_object(key.public());
        let only = RoleKeys {
            keys: vec![(keyid, object, "a proof".to_owned())],
            threshold: 1,
        };
        let root = root_document(&ROLES.map(|role| (role.to_owned(), only.clone())).into())?;
        let mut this = Self {
            key,
            root: MetadataFile::of(root.clone()),
            now,
            term,
        };
        this.root = this.signed(root)?;
        Ok(this)
    }

    /// The root to pin.
    #[must_use]
    pub fn root(&self) -> &[u8] {
        &self.root.bytes
    }

    /// All files of a repository in which these names (`HOST/REPOSITORY:TAG`) stand for these
    /// bytes.
    ///
    /// # Errors
    /// The cryptographic library fails.
    pub fn publish(
        &self,
        names: &BTreeMap<String, Vec<u8>>,
    ) -> Result<MetadataFiles, PublishError> {
        let mut metadata = Metadata::founded(self.root.clone());
        let mut targets = new_targets();
        let target = |bytes: &Vec<u8>| json!({ "length": bytes.len(), "hashes": { "sha256": Digest::of(bytes).hex() } });
        targets.edit("targets", |listed| {
            listed.extend(
                names
                    .iter()
                    .map(|(name, bytes)| (name.clone(), target(bytes))),
            );
        });
        metadata
            .roles
            .insert("targets".to_owned(), self.signed(targets)?);
        metadata.snapshot = self.lists("snapshot", Value::Object(metadata.meta()))?;
        let snapshot = &metadata.snapshot;
        metadata.timestamp = self.lists(
            "timestamp",
            json!({ "snapshot.json": listing(snapshot.document.version(), &snapshot.bytes) }),
        )?;
        Ok(metadata.files())
    }

    fn lists(&self, role: &str, meta: Value) -> Result<MetadataFile, PublishError> {
        let mut document = Document::new(role);
        document.signed.insert("meta".to_owned(), meta);
        self.signed(document)
    }

    fn signed(&self, mut document: Document) -> Result<MetadataFile, PublishError> {
        document.date(1, self.now, self.term)?;
        let (keyid, key) = key_object(self.key.public());
        document.sign(
            &self.key,
            &RoleKey {
                keyid,
                key,
                id: Some(self.key.public().id()),
            },
        )?;
        Ok(MetadataFile::of(document))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use rootpin_trust::tuf::PinnedRoot;

    #[test]
    fn what_it_publishes_holds_under_its_root_and_under_no_other() {
        let now = Timestamp::now();
        let make = || OneOff::new(now, SignedDuration::from_mins(10)).unwrap();
        let (one, other) = (make(), make());
        let files = one
            .publish(&BTreeMap::from([(
                "127.0.0.1:1/a:1".to_owned(),
                b"manifest".to_vec(),
            )]))
            .unwrap();
        let pinned = |of: &OneOff| Arc::new(PinnedRoot::read(of.root().to_vec()).unwrap());
        let read = Metadata::read(&files, &pinned(&one), &[], None).unwrap();
        let listed = read.roles["targets"].document.members("targets").unwrap();
        assert_eq!(
            listed["127.0.0.1:1/a:1"]["hashes"]["sha256"],
            Digest::of(b"manifest").hex()
        );
        assert!(Metadata::read(&files, &pinned(&other), &[], None).is_err());
    }
}

//! Names of revoked keys: a revocation may name a pinned key by each hash that tools print of it,
//! and then its canonical ID is revoked too.

use rootpin_trust::{Fingerprint, KeyId, PublicKey, RootFile};

use crate::{Policy, Root, RootKind};

impl Policy {
    /// Revokes each pinned key that a revocation names by another hash than its canonical ID, by
    /// that too.
    pub(super) fn revoke_by_canonical_id(&mut self) {
        // Who writes a file of TUF lists its keys by any ID, also by another key's: only what the
        // policy itself names counts.
        let named = self.revoked_key_reasons.clone();
        let roots = self.roots.values().filter(|_| !named.is_empty());
        for (name, id) in roots.flat_map(|root| root.key_names()) {
            if let Some(reason) = named.get(&name) {
                let known = self.revoked_key_reasons.entry(id);
                known.or_insert_with(|| reason.clone());
            }
        }
        self.revoked_keys = self.revoked_key_reasons.keys().copied().collect();
    }
}

impl Root {
    /// The names of its pinned keys, as far as it has the keys, each with the canonical ID.
    #[must_use]
    pub fn key_names(&self) -> Vec<(KeyId, KeyId)> {
        let of_key = |key: &PublicKey| {
            let names = key.names().into_iter();
            names.map(|name| (name, key.id())).collect::<Vec<_>>()
        };
        let of_entry = |(id, print): &(KeyId, Option<Fingerprint>)| {
            let print = print.map(|print| KeyId::from_bytes(*print.as_bytes()));
            [Some(*id), print].map(|name| Some((name?, *id)))
        };
        let entries = self.entries.iter().flat_map(|entry| &entry.keys);
        let mut names: Vec<_> = entries.flat_map(of_entry).flatten().collect();
        names.extend(self.entries.iter().flat_map(|entry| &entry.names));
        names.extend(self.listed_keys().iter().flat_map(of_key));
        if let RootKind::Notation(pins) = &self.kind {
            names.extend(pins.certificates.iter().map(|pin| {
                let certificate = pin.certificate.sha256;
                (KeyId::from_bytes(*certificate.as_bytes()), pin.key)
            }));
        }
        names
    }

    /// All keys that a TUF root's pinned file lists; none of another root.
    #[must_use]
    pub fn listed_keys(&self) -> Vec<PublicKey> {
        match &self.kind {
            // It was read when it was pinned.
            RootKind::Tuf(tuf) => RootFile::read(tuf.pinned.bytes())
                .map(|file| file.listed)
                .unwrap_or_default(),
            _ => Vec::new(),
        }
    }
}

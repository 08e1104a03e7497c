//! What a root file lists, for people to compare. Nothing here is judged: no decision rests on it.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::budget::{Budget, ROOT_BYTES};
use super::key::{KeyId, PublicKey};
use super::threshold::{self, Counting, Signed};
use super::{Code, Refusal, notary, tuf};
use crate::image::Digest;
use crate::json;

/// Whose format a root file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Notary v1.
    Notary,
    /// The Update Framework 1.0.
    Tuf,
}

/// A root file as it was found.
#[derive(Debug, Clone)]
pub struct RootFile {
    /// Its format.
    pub format: Format,
    /// `version`
    pub version: u64,
    /// `expires`
    pub expires: Timestamp,
    /// Digest of the file.
    pub sha256: Digest,
    /// How many of the root role's keys must sign.
    pub threshold: u64,
    /// The root role's keys.
    pub keys: Vec<PublicKey>,
    /// Canonical IDs of the keys that signed the file, of all that it lists for any role, past ones
    /// among them.
    pub signers: BTreeSet<KeyId>,
}

impl RootFile {
    /// No root file is larger.
    pub const MAX_BYTES: usize = ROOT_BYTES;

    /// Reads a root file of either format.
    ///
    /// # Errors
    /// It is none.
    pub fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        let limits = Budget::new().take_file(bytes.len(), ROOT_BYTES)?;
        let kind = json::parse(bytes, limits)
            .ok()
            .and_then(|file| Some(file.get("signed")?.get("_type")?.as_str()?.to_owned()));
        match kind.as_deref() {
            Some("Root") => notary::list_root(bytes),
            Some("root") => tuf::list_root(bytes),
            _ => Err(Refusal::new(
                Code::Malformed,
                "a file that is no root.json",
                "a root.json of Notary v1 or TUF 1.0",
                "give the file that the publisher hands out, or metadata/root.json of a trust directory",
            )),
        }
    }

    /// Canonical IDs of the root role's keys.
    #[must_use]
    pub fn ids(&self) -> BTreeSet<KeyId> {
        self.keys.iter().map(PublicKey::id).collect()
    }

    /// How many of the root role's keys signed it.
    #[must_use]
    pub fn own_signers(&self) -> usize {
        self.ids().intersection(&self.signers).count()
    }
}

/// Canonical IDs of those keys that signed, however many must.
pub(super) fn signers(
    keys: &[PublicKey],
    signed: Signed<'_>,
    budget: &mut Budget,
) -> Result<BTreeSet<KeyId>, Refusal> {
    let keys: Vec<&PublicKey> = keys.iter().collect();
    threshold::signers(
        &keys,
        0,
        signed,
        Counting {
            revoked: &BTreeSet::new(),
            allow_rsa_pkcs1v15: true,
        },
        budget,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str) -> RootFile {
        RootFile::read(
            &std::fs::read(format!(
                "{}/../../tests/data/{path}",
                env!("CARGO_MANIFEST_DIR")
            ))
            .unwrap(),
        )
        .unwrap()
    }

    #[test]
    fn two_repositories_under_one_key_show_it_though_their_entries_differ() {
        let (app, web) = (
            read("notary/vectors/shared-root-key/app/root.json"),
            read("notary/vectors/shared-root-key/web/root.json"),
        );
        assert_eq!(
            (app.format, app.threshold, app.own_signers()),
            (Format::Notary, 1, 1)
        );
        assert_eq!(app.ids(), web.ids());
        assert_ne!(app.keys[0].scoped_id(), web.keys[0].scoped_id());
        assert!(app.keys[0].certificates()[0].common_name.is_some());
    }

    #[test]
    fn a_rotated_root_shows_the_former_key_among_its_signers_but_not_in_its_role() {
        let (first, second) = (
            read("notary/vectors/rotations/1.root.json"),
            read("notary/vectors/rotations/2.root.json"),
        );
        let rotated = (1..=6)
            .map(|n| read(&format!("notary/vectors/rotations/{n}.root.json")))
            .collect::<Vec<_>>();
        assert!(
            rotated
                .windows(2)
                .any(|pair| pair[0].ids() != pair[1].ids()),
            "no rotation of the root key among them"
        );
        for pair in rotated.windows(2) {
            assert!(
                pair[1].signers.is_superset(&pair[0].ids()),
                "version {}",
                pair[1].version
            );
        }
        assert_eq!((first.version, second.version), (1, 2));
    }

    #[test]
    fn a_root_of_tuf_is_read_too_and_what_is_none_is_refused() {
        let root = read("tuf/1.root.json");
        assert_eq!(root.format, Format::Tuf);
        assert!(root.own_signers() > 0);
        for bad in [
            &b""[..],
            b"{}",
            b"[]",
            br#"{"signed":{"_type":"targets"}}"#,
            br#"{"signed":{"_type":"Root"}}"#,
        ] {
            assert_eq!(RootFile::read(bad).unwrap_err().code, Code::Malformed);
        }
    }
}

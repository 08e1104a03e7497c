//! Root files for people to compare. No decision rests on them.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::budget::{Budget, ROOT_BYTES};
use super::envelope::Envelope;
use super::format::Format;
use super::key::{KeyId, PublicKey};
use super::root::Root;
use super::threshold::{self, Counting};
use super::{Code, Refusal, canonical};
use crate::canonical::Text;
use crate::image::Digest;

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
    /// The number of the root role's keys that must sign.
    pub threshold: u64,
    /// The root role's keys.
    pub keys: Vec<PublicKey>,
    /// All keys that the file lists, of other roles and former ones too.
    pub listed: Vec<PublicKey>,
    /// Canonical IDs of the keys that signed the file, of all that it lists, former ones too.
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
        let text = canonical::rewrite(bytes, limits).unwrap_or_default();
        let kind = Text::of(&text)
            .get("signed")
            .and_then(|signed| signed.get("_type"));
        let format = match kind.and_then(Text::as_str).as_deref() {
            Some("Root") => Format::Notary,
            Some("root") => Format::Tuf,
            _ => {
                return Err(Refusal::new(
                    Code::Malformed,
                    "a file that is no root.json",
                    "a root.json of Notary v1 or TUF 1.0",
                    "give the file that the publisher hands out, or metadata/root.json of a trust directory",
                ));
            }
        };
        let budget = &mut Budget::new();
        let root = Root::read(format, "root.json", bytes, budget)?;
        let all = root.all_keys();
        let signers = signers(all.iter(), &root.envelope, budget)?;
        let keys = root.role.keys.iter().map(|key| PublicKey::clone(key));
        Ok(Self {
            format,
            version: root.envelope.version,
            expires: root.envelope.expires,
            sha256: Digest::of(bytes),
            threshold: root.role.threshold,
            keys: keys.collect(),
            listed: all,
            signers,
        })
    }

    /// Canonical IDs of the root role's keys.
    #[must_use]
    pub fn ids(&self) -> BTreeSet<KeyId> {
        self.keys.iter().map(PublicKey::id).collect()
    }

    /// The number of the root role's keys that signed it.
    #[must_use]
    pub fn own_signers(&self) -> usize {
        self.ids().intersection(&self.signers).count()
    }
}

/// Canonical IDs of those keys that signed, however many must.
pub(super) fn signers<'a>(
    keys: impl Iterator<Item = &'a PublicKey>,
    file: &Envelope,
    budget: &mut Budget,
) -> Result<BTreeSet<KeyId>, Refusal> {
    let keys: Vec<&PublicKey> = keys.collect();
    let counting = Counting {
        revoked: &BTreeSet::new(),
        allow_rsa_pkcs1v15: true,
    };
    threshold::signers(&keys, 0, file.signed(), counting, budget)
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

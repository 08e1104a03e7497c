//! `[[root]]`: a pinned root, and where its metadata is read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use jiff::SignedDuration;
use rootpin_trust::cosign::{CosignPins, TagBinding};
use rootpin_trust::image::{Digest, Repository};
use rootpin_trust::notary::KeyPins;
use rootpin_trust::notation::NotationPins;
use rootpin_trust::{Fingerprint, Floor, KeyId, PublicKey, tuf};

use crate::finding::Location;
use crate::metadata_url::MetadataUrl;

/// A pinned root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// The name that rules and people use.
    pub id: String,
    /// The kind of root.
    pub kind: RootKind,
    /// Canonical IDs of the pinned keys, at least one; of a TUF root those of the pinned file's root
    /// role, of Notation those of the certificates.
    pub keys: BTreeSet<KeyId>,
    /// The entries of `keys` or `certificates` as they are written; none for a root that is pinned by
    /// a file.
    pub entries: Vec<KeyEntry>,
    /// How old a timestamp may be, even if the publisher allows more.
    pub max_age: Option<SignedDuration>,
    /// How long a validated timestamp answers without asking the source again; zero: always ask.
    pub recheck: SignedDuration,
    /// Where it is defined.
    pub location: Location,
}

/// The kinds of root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootKind {
    /// A Notary v1 (Docker Content Trust) server.
    Notary(NotaryRoot),
    /// A repository of The Update Framework 1.0.
    Tuf(TufRoot),
    /// Keys that sign images by cosign. Their signatures are in the registry, beside the image.
    Cosign(CosignPins),
    /// Certificates under which images are signed by Notation. The signatures are in the registry,
    /// beside the image.
    Notation(NotationPins),
}

/// What a root's signatures bind to the bytes of an image. Each root binds the digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    /// Whether a signature is for one repository only.
    pub name: bool,
    /// Whether a signature is for one tag only: a tag that is moved is refused.
    pub tag: bool,
    /// Whether an older signature ends, so that old bytes can't come back under the name.
    pub freshness: bool,
}

/// A Notary v1 server and the keys that may stand in its root roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotaryRoot {
    /// `https://host[:port][/path]` without a slash at the end; http only for a loopback address.
    pub server: String,
    /// PEM certificates to trust for the server's TLS in place of the system's store.
    pub tls_ca: Option<Vec<u8>>,
    /// The role that must name the image.
    pub role: String,
    /// Whether the dates of root certificates count.
    pub certificate_dates: bool,
    /// Whether RSA signatures may be PKCS#1 v1.5.
    pub allow_rsa_pkcs1v15: bool,
}

/// An entry of `keys` or `certificates`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyEntry {
    /// As it is written: a canonical key ID, or a path relative to the policy's directory.
    pub text: String,
    /// The pinned keys, with the fingerprint where a file contains the key itself.
    pub keys: Vec<(KeyId, Option<Fingerprint>)>,
    /// The hashes by which tools name the keys of its file, each with the canonical ID.
    pub(crate) names: Vec<(KeyId, KeyId)>,
}

/// A repository of The Update Framework 1.0, known by its root file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TufRoot {
    /// The root file from which every chain of roots must come.
    pub pinned: Arc<tuf::PinnedRoot>,
    /// The digest of that file.
    pub sha256: Digest,
    /// Where metadata is read, in the order in which they are asked; none: nowhere.
    pub metadata: Vec<MetadataUrl>,
    /// PEM certificates to trust for TLS in place of the system's store.
    pub tls_ca: Option<Vec<u8>>,
    /// The oldest versions to accept, by top-level role.
    pub floor: BTreeMap<String, u64>,
}

impl Root {
    /// The repository that it is asked about: signatures that bind no name are looked for where the
    /// image itself is. `signed`: the name that its statement must carry.
    pub(crate) fn asked_name<'a>(
        &self,
        signed: &'a Repository,
        of_image: &'a Repository,
    ) -> &'a Repository {
        if self.binds().name { signed } else { of_image }
    }

    /// What its signatures bind.
    #[must_use]
    pub fn binds(&self) -> Binding {
        let (name, tag, freshness) = match &self.kind {
            RootKind::Notary(_) | RootKind::Tuf(_) => (true, true, true),
            RootKind::Cosign(cosign) => match cosign.binds_tag {
                None => (false, false, false),
                Some(TagBinding::Annotation(_)) => (false, true, false),
                Some(TagBinding::Reference) => (true, true, false),
            },
            RootKind::Notation(notation) => (false, notation.binds_tag.is_some(), false),
        };
        Binding {
            name,
            tag,
            freshness,
        }
    }

    /// Whether it lists the tags of a repository. One that does not is asked about a digest.
    #[must_use]
    pub fn lists_tags(&self) -> bool {
        match self.kind {
            RootKind::Notary(_) | RootKind::Tuf(_) => true,
            RootKind::Cosign(_) | RootKind::Notation(_) => false,
        }
    }

    /// Whether a kept floor is this root's to forget: under its id, its keys or its pinned file.
    #[must_use]
    pub fn owns(&self, floor: &Floor) -> bool {
        match (&self.kind, &floor.owner) {
            (RootKind::Tuf(tuf), Some(owner)) => {
                owner.pin == tuf.pinned.statement() || owner.ids.contains(&self.id)
            }
            (RootKind::Tuf(tuf), None) => !floor.root_keys.is_disjoint(tuf.pinned.signers()),
            (_, owner) => owner.is_none() && !floor.root_keys.is_disjoint(&self.keys),
        }
    }

    /// Whether `rootpin state reset` forgets a floor for this root: its own, and one that only former
    /// ids have, if it can bind this root.
    #[must_use]
    pub fn forgets(&self, floor: &Floor, policy: &crate::Policy) -> bool {
        let RootKind::Tuf(tuf) = &self.kind else {
            return self.owns(floor);
        };
        let is_former = floor.owner.as_ref().is_some_and(|owner| {
            let mut ids = owner.ids.iter();
            !ids.any(|id| policy.roots.contains_key(id.as_str()))
        });
        let is_related = !floor.root_keys.is_disjoint(tuf.pinned.signers());
        self.owns(floor) || (is_former && is_related)
    }

    /// Those of the kept floors that bind this root.
    #[must_use]
    pub fn floors<'a>(&self, kept: &'a [Floor]) -> Vec<&'a Floor> {
        let RootKind::Tuf(tuf) = &self.kind else {
            let shares = |floor: &&Floor| !floor.root_keys.is_disjoint(&self.keys);
            return kept.iter().filter(shares).collect();
        };
        tuf.pinned.binding(&self.id, kept)
    }
}

impl KeyEntry {
    /// One that names a file with these keys.
    pub(crate) fn of_file(text: String, keys: &[PublicKey]) -> Self {
        let names = |key: &PublicKey| {
            let (names, id) = (key.names(), key.id());
            names.into_iter().map(move |name| (name, id))
        };
        Self {
            text,
            names: keys.iter().flat_map(names).collect(),
            keys: keys
                .iter()
                .map(|key| (key.id(), Fingerprint::of(key)))
                .collect(),
        }
    }
}

impl NotaryRoot {
    /// The pins for the verification of its metadata, under the keys that the policy revokes.
    #[must_use]
    pub fn pins(&self, root: &Root, revoked: &BTreeSet<KeyId>) -> KeyPins {
        KeyPins {
            keys: root.keys.clone(),
            revoked: revoked.clone(),
            role: self.role.clone(),
            certificate_dates: self.certificate_dates,
            allow_rsa_pkcs1v15: self.allow_rsa_pkcs1v15,
            max_age: root.max_age,
        }
    }
}

impl TufRoot {
    /// The pins for the verification of its metadata, under the keys that the policy revokes.
    #[must_use]
    pub fn pins(&self, root: &Root, revoked: &BTreeSet<KeyId>) -> tuf::RootPins {
        tuf::RootPins {
            id: root.id.clone(),
            root: Arc::clone(&self.pinned),
            revoked: revoked.clone(),
            floor: self.floor.clone(),
            max_age: root.max_age,
        }
    }
}

impl fmt::Display for Binding {
    /// `binds digest, name, tag; not freshness`
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [
            ("digest", true),
            ("name", self.name),
            ("tag", self.tag),
            ("freshness", self.freshness),
        ];
        let those = |wanted: bool| {
            let some = all.iter().filter(|(_, binds)| *binds == wanted);
            some.map(|(what, _)| *what).collect::<Vec<_>>().join(", ")
        };
        write!(formatter, "binds {}", those(true))?;
        match those(false).as_str() {
            "" => Ok(()),
            unbound => write!(formatter, "; not {unbound}"),
        }
    }
}

//! The steps of a search for an image's signatures, and where each looks.

use std::collections::VecDeque;

use super::at_once::AT_ONCE;
use super::signature_list::SignatureKind;
use super::signature_manifest::Layer;
use rootpin_trust::image::{Digest, Document};

pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";
/// Bytes of one signature's manifest in a list. cosign's `.sig` manifest grows with each signature,
/// and is only one.
const MANIFEST_BYTES: usize = 512 << 10;

/// What a search looks at next.
#[derive(Debug)]
pub(super) enum Step {
    Referrers,
    IndexTag,
    SignatureTag,
    /// Manifests of a list, which are read at once.
    Manifests(ListPart<Digest>),
    /// Layers of manifests.
    Layers(ListPart<Layer>),
}

/// Entries of one list.
#[derive(Debug)]
pub(super) struct ListPart<T> {
    /// Which list it is, of those that the search came to.
    pub(super) list: usize,
    /// Whether they say that they are no signatures: they come after all other places.
    pub(super) is_late: bool,
    pub(super) entries: Vec<T>,
}

impl<T> ListPart<T> {
    pub(super) fn new(list: usize, is_late: bool, entries: Vec<T>) -> Self {
        Self {
            list,
            is_late,
            entries,
        }
    }

    /// Splits off the entries after so many, if there are any.
    pub(super) fn split_after(&mut self, count: usize) -> Option<Self> {
        let entries = self.entries.split_off(count.min(self.entries.len()));
        let rest = Self { entries, ..*self };
        (!rest.entries.is_empty()).then_some(rest)
    }
}

impl Step {
    /// The places where signatures are looked for, in their order.
    pub(super) fn first(without_list: bool, wanted: SignatureKind) -> VecDeque<Self> {
        let mut steps = VecDeque::from([Self::Referrers, Self::IndexTag, Self::SignatureTag]);
        // The tag is cosign's own.
        if wanted == SignatureKind::Notation {
            steps.pop_back();
        }
        if without_list {
            steps.pop_front();
        }
        steps
    }

    /// The steps that read the manifests of a list, in the order of looking: those that come next, and
    /// at the end those of entries that say that they are no signatures.
    pub(super) fn of_listed(
        list: usize,
        listed: &[(u8, Digest)],
    ) -> (VecDeque<Self>, VecDeque<Self>) {
        let (mut next, mut late) = (VecDeque::new(), VecDeque::new());
        for alike in listed.chunk_by(|(one, _), (other, _)| one == other) {
            for some in alike.chunks(AT_ONCE) {
                let is_late = some
                    .first()
                    .is_some_and(|(at, _)| SignatureKind::is_last(*at));
                let entries = some.iter().map(|(_, digest)| *digest).collect();
                let steps = if is_late { &mut late } else { &mut next };
                steps.push_back(Self::Manifests(ListPart::new(list, is_late, entries)));
            }
        }
        (next, late)
    }

    /// Whether it is a part of a list that was read, and then whether a late one.
    pub(super) fn of_list(&self) -> Option<bool> {
        match self {
            Self::Manifests(part) => Some(part.is_late),
            Self::Layers(part) => Some(part.is_late),
            Self::Referrers | Self::IndexTag | Self::SignatureTag => None,
        }
    }

    /// The document that it asks for beside an image; none where it is a part of a list.
    pub(super) fn place(&self, image: Digest) -> Option<Place> {
        let hex = image.hex();
        let index = |rest: String| Place {
            rest,
            accept: INDEX,
            cap: Document::LIMITS.bytes,
        };
        match self {
            Self::Referrers => Some(index(format!("referrers/{image}"))),
            Self::IndexTag => Some(index(format!("manifests/sha256-{hex}"))),
            Self::SignatureTag => Some(Place {
                rest: format!("manifests/sha256-{hex}.sig"),
                accept: MANIFEST,
                cap: Document::LIMITS.bytes,
            }),
            Self::Manifests(_) | Self::Layers(_) => None,
        }
    }
}

/// A document of a registry.
pub(super) struct Place {
    /// The path below the repository.
    pub(super) rest: String,
    pub(super) accept: &'static str,
    pub(super) cap: usize,
}

impl Place {
    /// A manifest that a list names.
    pub(super) fn of_manifest(digest: Digest) -> Self {
        Self {
            rest: format!("manifests/{digest}"),
            accept: MANIFEST,
            cap: MANIFEST_BYTES,
        }
    }
}

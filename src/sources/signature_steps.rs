//! The steps of a search for an image's signatures, and where each looks.

use super::signature_manifest::Layer;
use rootpin_trust::image::{Descriptor, Digest, Document};

pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";
/// Bytes of one signature's manifest in a list. cosign's `.sig` manifest grows with each signature,
/// and is only one.
const MANIFEST_BYTES: usize = 512 << 10;

/// A place to look next.
#[derive(Debug)]
pub(super) enum Step {
    Referrers,
    IndexTag,
    SignatureTag,
    Manifest(Descriptor),
    /// Layers of a manifest that says that it is no signature.
    Layers(Vec<Layer>),
}

impl Step {
    /// Whether it is a part of a list that is read now.
    pub(super) fn is_of_list(&self) -> bool {
        matches!(self, Self::Manifest(_) | Self::Layers(_))
    }

    /// The document that it asks for beside an image; none where it asks for blobs.
    pub(super) fn place(&self, image: Digest) -> Option<Place> {
        let hex = image.hex();
        let index = |rest: String| Place {
            rest,
            accept: INDEX,
            cap: Document::LIMITS.bytes,
        };
        let manifest = |rest: String, cap: usize| Place {
            rest,
            accept: MANIFEST,
            cap,
        };
        match self {
            Self::Referrers => Some(index(format!("referrers/{image}"))),
            Self::IndexTag => Some(index(format!("manifests/sha256-{hex}"))),
            Self::SignatureTag => {
                let rest = format!("manifests/sha256-{hex}.sig");
                Some(manifest(rest, Document::LIMITS.bytes))
            }
            Self::Manifest(descriptor) => {
                let rest = format!("manifests/{}", descriptor.digest);
                Some(manifest(rest, MANIFEST_BYTES))
            }
            Self::Layers(_) => None,
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

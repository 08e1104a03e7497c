//! One manifest of signatures: which of its layers are looked at.

use std::collections::HashSet;

use super::signature_list::SignatureKind;
use rootpin_trust::SIGNATURE_BYTES;
use rootpin_trust::canonical::{Text, rewrite_doubles};
use rootpin_trust::image::{Descriptor, Digest, Document};

/// Where cosign puts the signature over a payload.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// Signatures that one manifest of a list may have, so that one can't use up the whole list's: tools
/// write one or two.
const MOST_LAYERS: usize = 8;

/// A layer that may be a signature, and what its annotation says is that.
pub(super) type Layer = (Descriptor, Option<String>);

/// A manifest that was read.
pub(super) struct SignatureManifest {
    /// Its own place in the order of looking.
    pub(super) order: u8,
    /// The layers that are looked at.
    pub(super) layers: Vec<Layer>,
    /// How many more there are.
    pub(super) left_out: usize,
}

/// It is no manifest, or too long to be read.
pub(super) struct NotRead;

impl SignatureManifest {
    /// Reads a manifest. `subject`: the image that it must refer to; `None`: it is that of a tag, to
    /// which cosign adds at the end.
    pub(super) fn read(
        bytes: &[u8],
        wanted: SignatureKind,
        subject: Option<Digest>,
    ) -> Result<Self, NotRead> {
        let text = rewrite_doubles(bytes, Document::LIMITS).map_err(|_| NotRead)?;
        let manifest = Text::of(&text);
        let order = wanted.order(manifest);
        let of = manifest.get("subject").and_then(|of| of.get("digest"));
        let is_of = |image: Digest| of.is_some_and(|of| of.is(&image.to_string()));
        if subject.is_some_and(|image| !is_of(image)) {
            return Ok(Self {
                order,
                layers: Vec::new(),
                left_out: 0,
            });
        }
        let layers = manifest.get("layers").and_then(Text::elements);
        let layers = layers.into_iter().flatten();
        let mut layers: Vec<Layer> = layers.filter_map(|one| layer(one, wanted)).collect();
        if subject.is_none() {
            // The last signatures are by the keys of today.
            layers.reverse();
        }
        let mut known = HashSet::new();
        layers
            .retain(|(descriptor, signature)| known.insert((descriptor.digest, signature.clone())));
        // A signature is small. An attestation may be large, and is no signature.
        let all = layers.len();
        layers.retain(|(descriptor, _)| {
            usize::try_from(descriptor.size).is_ok_and(|size| size <= SIGNATURE_BYTES)
        });
        let mut left_out = if SignatureKind::is_last(order) {
            0
        } else {
            all - layers.len()
        };
        // No manifest of a list uses up the whole list's, nor what is read of it later.
        if subject.is_some() {
            left_out += layers.len().saturating_sub(MOST_LAYERS);
            layers.truncate(MOST_LAYERS);
        }
        Ok(Self {
            order,
            layers,
            left_out,
        })
    }
}

fn layer(layer: Text<'_>, wanted: SignatureKind) -> Option<Layer> {
    let descriptor = Descriptor::read(layer).ok()?;
    let signature = layer
        .get("annotations")
        .and_then(|annotations| annotations.get(SIGNATURE)?.as_str());
    let is_meant = wanted.takes(&descriptor.media_type);
    is_meant.then(|| (descriptor, signature.map(std::borrow::Cow::into_owned)))
}

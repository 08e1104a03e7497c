//! One manifest of signatures: which of its layers are looked at.

use std::collections::{BTreeMap, HashSet};

use super::signature_list::{SignatureKind, elements};
use rootpin_trust::canonical::{Text, rewrite_doubles};
use rootpin_trust::image::{Descriptor, Digest, Document};
use rootpin_trust::{SIGNATURE_BYTES, SignatureFile};

/// Where cosign puts the signature over a payload.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// Signatures that one manifest of a list may have, so that one can't use up the whole list's: tools
/// write one or two.
const MOST_LAYERS: usize = 8;

/// Bytes of a signature in an annotation: an RSA key of 8192 bits has 1368.
const MOST_SIGNATURE: usize = 2048;

/// Bytes of a layer's media type: a name has two parts of 127 at most (RFC 6838, section 4.2).
const MOST_MEDIA_TYPE: usize = 255;

/// Bytes of a blob that is kept while its list is read.
const SHARED_BYTES: usize = 16 << 10;

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
    /// Whether it lists one that can't be looked at.
    pub(super) has_unreadable: bool,
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
        let layers = elements(manifest, "layers");
        // At a tag nothing else says that it is what was asked for. What a list names is known by its
        // digest, and may be another kind of document.
        if !manifest.is_object() || subject.is_none() && layers.is_none() {
            return Err(NotRead);
        }
        let order = wanted.order(manifest);
        let of = manifest.get("subject").and_then(|of| of.get("digest"));
        let is_of = |image: Digest| of.is_some_and(|of| of.is(&image.to_string()));
        if subject.is_some_and(|image| !is_of(image)) {
            return Ok(Self {
                order,
                layers: Vec::new(),
                left_out: 0,
                has_unreadable: false,
            });
        }
        let layers = layers.into_iter().flatten();
        let meant = layers.filter_map(|one| layer(one, wanted));
        let (mut layers, mut has_unreadable) = (Vec::new(), false);
        for one in meant {
            match one {
                Ok(layer) => layers.push(layer),
                Err(NotRead) => has_unreadable = true,
            }
        }
        if subject.is_none() {
            // The last signatures are by the keys of today.
            layers.reverse();
        }
        let mut known = HashSet::new();
        layers
            .retain(|(descriptor, signature)| known.insert((descriptor.digest, signature.clone())));
        // A signature is small. An attestation may be large, and is no signature.
        let all = layers.len();
        let is_small = |signature: &String| signature.len() <= MOST_SIGNATURE;
        layers.retain(|(descriptor, signature)| {
            usize::try_from(descriptor.size).is_ok_and(|size| size <= SIGNATURE_BYTES)
                && descriptor.media_type.len() <= MOST_MEDIA_TYPE
                && signature.as_ref().is_none_or(is_small)
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
            has_unreadable,
        })
    }
}

/// A layer that may be a signature; `None`: it says that it is none.
fn layer(layer: Text<'_>, wanted: SignatureKind) -> Option<Result<Layer, NotRead>> {
    let media_type = layer.get("mediaType").and_then(Text::as_str)?;
    if !wanted.takes(&media_type) {
        return None;
    }
    let signature = layer
        .get("annotations")
        .and_then(|annotations| annotations.get(SIGNATURE)?.as_str());
    let signature = signature.map(std::borrow::Cow::into_owned);
    let descriptor = Descriptor::read(layer).map_err(|_| NotRead);
    Some(descriptor.map(|descriptor| (descriptor, signature)))
}

/// The files of layers whose blobs were read. Payloads of cosign are small, and several signatures
/// share one: they stay for later layers. A larger blob is there once, and read again for others.
pub(super) fn take_files(
    blobs: &mut BTreeMap<Digest, Vec<u8>>,
    layers: Vec<Layer>,
) -> Vec<SignatureFile> {
    let mut uses: BTreeMap<Digest, usize> = BTreeMap::new();
    for (descriptor, _) in &layers {
        *uses.entry(descriptor.digest).or_default() += 1;
    }
    let mut file = |(descriptor, signature): Layer| {
        let digest = descriptor.digest;
        let others = uses.get_mut(&digest)?;
        *others -= 1;
        let is_large = blobs.get(&digest)?.len() > SHARED_BYTES;
        let bytes = if is_large && *others == 0 {
            blobs.remove(&digest)
        } else {
            blobs.get(&digest).cloned()
        };
        Some(SignatureFile {
            bytes: bytes?,
            media_type: descriptor.media_type,
            signature,
        })
    };
    layers.into_iter().filter_map(&mut file).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SIMPLE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

    #[test]
    fn a_large_blob_is_kept_once_and_each_layer_that_shares_a_blob_has_it() {
        let (large, small) = (vec![1; SHARED_BYTES + 1], vec![2; SHARED_BYTES]);
        let digests = [&large, &small].map(|bytes| Digest::of(bytes));
        let mut blobs = BTreeMap::from([(digests[0], large.clone()), (digests[1], small.clone())]);
        let layer = |digest: Digest, signature: &str| -> Layer {
            let descriptor = Descriptor {
                media_type: SIMPLE.to_owned(),
                digest,
                size: 1,
            };
            (descriptor, Some(signature.to_owned()))
        };
        let layers = vec![
            layer(digests[0], "a"),
            layer(digests[1], "b"),
            layer(digests[0], "c"),
            layer(Digest::of(b"not read"), "d"),
        ];
        let files = take_files(&mut blobs, layers);
        let read: Vec<_> = files
            .iter()
            .map(|file| (file.signature.as_deref().unwrap(), &file.bytes))
            .collect();
        assert_eq!(read, [("a", &large), ("b", &small), ("c", &large)]);
        assert_eq!(blobs.into_keys().collect::<Vec<_>>(), [digests[1]]);
    }

    #[test]
    fn a_layer_with_a_signature_that_no_key_makes_is_left_out_and_hides_no_other_one() {
        let layer = |content: &str, length: usize| {
            let digest = Digest::of(content.as_bytes()).to_string();
            let annotations = json!({ SIGNATURE: "A".repeat(length) });
            json!({ "mediaType": SIMPLE, "digest": digest, "size": 9, "annotations": annotations })
        };
        let layers = [layer("one", 1368), layer("two", 62_000), layer("three", 96)];
        let image = Digest::of(b"image");
        let subject = json!({ "digest": image.to_string() });
        let manifest = json!({ "schemaVersion": 2, "subject": subject, "layers": layers });
        for subject in [Some(image), None] {
            let bytes = manifest.to_string().into_bytes();
            let read = SignatureManifest::read(&bytes, SignatureKind::Cosign, subject);
            let Ok(read) = read else { panic!("not read") };
            let lengths = read.layers.iter().map(|(_, signature)| {
                let signature = signature.as_ref().unwrap();
                signature.len()
            });
            let mut lengths: Vec<usize> = lengths.collect();
            lengths.sort_unstable();
            assert_eq!((lengths, read.left_out), (vec![96, 1368], 1));
        }
    }
}

//! Proof that a layer or a configuration belongs to an image: whole descriptors, in bytes that were
//! hashed here.

use std::collections::HashSet;
use std::sync::Arc;

use super::manifest::IndexEntry;
use super::{Descriptor, Digest, Document, ManifestError};

/// An index or a manifest together with the digest of the very bytes it was read from. Made only by
/// hashing them.
#[derive(Debug)]
pub struct Blob {
    digest: Digest,
    size: u64,
    document: Document,
}

/// The most indexes above a manifest in a chain. An archive puts one index over another at
/// most; deeper ones are not looked for, so that hostile nesting costs a bounded number of reads.
pub const MAX_INDEXES: usize = 4;

/// A layer or a configuration, the manifest that lists it, and the indexes above, up to the
/// document that a name leads to.
#[derive(Debug, Clone)]
pub struct Chain {
    manifest: Arc<Blob>,
    /// The image's configuration, as the manifest names it.
    config: Digest,
    /// Lowest first.
    indexes: Vec<Arc<Blob>>,
}

impl Blob {
    /// Hashes and reads a document.
    ///
    /// # Errors
    /// The bytes are neither an index nor a manifest.
    pub fn read(bytes: &[u8]) -> Result<Self, ManifestError> {
        let document = Document::parse(bytes)?;
        Ok(Self {
            digest: Digest::of(bytes),
            size: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            document,
        })
    }

    /// The digest of the bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The entries, if this is an index.
    #[must_use]
    pub fn entries(&self) -> &[IndexEntry] {
        match &self.document {
            Document::Index { manifests, .. } => manifests,
            Document::Manifest { .. } => &[],
        }
    }

    /// The configuration and the layers, if this is a manifest.
    #[must_use]
    pub fn content(&self) -> Vec<Digest> {
        match &self.document {
            Document::Manifest { config, layers, .. } => [config]
                .into_iter()
                .chain(layers)
                .map(|entry| entry.digest)
                .collect(),
            Document::Index { .. } => Vec::new(),
        }
    }

    /// The configuration, if this is a manifest.
    #[must_use]
    pub fn config(&self) -> Option<Digest> {
        match &self.document {
            Document::Manifest { config, .. } => Some(config.digest),
            Document::Index { .. } => None,
        }
    }

    /// Those of these digests that stand among the manifests or the layers: worth a closer look,
    /// and no proof.
    pub fn refers_to<'a>(
        &'a self,
        digests: &'a HashSet<Digest>,
    ) -> impl Iterator<Item = Digest> + 'a {
        let (manifests, layers) = match &self.document {
            Document::Index { manifests, .. } => (manifests.as_slice(), &[][..]),
            Document::Manifest { layers, .. } => (&[][..], layers.as_slice()),
        };
        let all = manifests
            .iter()
            .map(|entry| entry.descriptor.digest)
            .chain(layers.iter().map(|layer| layer.digest));
        all.filter(|digest| digests.contains(digest))
    }

    /// Whether this index lists that document, by its whole descriptor.
    #[must_use]
    pub fn lists(&self, child: &Blob) -> bool {
        self.entries()
            .iter()
            .any(|entry| child.is(&entry.descriptor))
    }

    /// Whether these are the bytes that a whole descriptor describes.
    #[must_use]
    pub fn is(&self, descriptor: &Descriptor) -> bool {
        let kind = self.document.media_type();
        self.digest == descriptor.digest
            && self.size == descriptor.size
            && kind.is_none_or(|kind| kind == descriptor.media_type)
    }
}

impl Chain {
    /// The chain that ends at the manifest itself: none, unless it lists the layer by its whole
    /// descriptor.
    #[must_use]
    pub fn of_manifest(layer: &Descriptor, manifest: &Arc<Blob>) -> Option<Self> {
        Self::over(manifest, |_, layers| layers.contains(layer))
    }

    /// The chain that ends at a manifest of that configuration: none, unless it names it by digest
    /// and size.
    #[must_use]
    pub fn of_config(config: Digest, size: u64, manifest: &Arc<Blob>) -> Option<Self> {
        Self::over(manifest, |named, _| {
            named.digest == config && named.size == size
        })
    }

    fn over(
        manifest: &Arc<Blob>,
        has: impl Fn(&Descriptor, &[Descriptor]) -> bool,
    ) -> Option<Self> {
        match &manifest.document {
            Document::Manifest { config, layers, .. } if has(config, layers) => Some(Self {
                manifest: Arc::clone(manifest),
                config: config.digest,
                indexes: Vec::new(),
            }),
            _ => None,
        }
    }

    /// The chain one index higher: none, unless that index lists the present top by its whole
    /// descriptor and the chain has room for it.
    #[must_use]
    pub fn under(&self, index: &Arc<Blob>) -> Option<Self> {
        let fits = self.indexes.len() < MAX_INDEXES && index.lists(self.top_blob());
        fits.then(|| {
            let mut chain = self.clone();
            chain.indexes.push(Arc::clone(index));
            chain
        })
    }

    /// The digest of the top document: the chain proves something about names with this digest.
    #[must_use]
    pub fn top(&self) -> Digest {
        self.top_blob().digest
    }

    fn top_blob(&self) -> &Blob {
        self.indexes.last().unwrap_or(&self.manifest)
    }

    /// The indexes between the top and the manifest, highest first.
    pub fn between(&self) -> impl Iterator<Item = Digest> {
        self.indexes.iter().rev().skip(1).map(|index| index.digest)
    }

    /// Every digest of the image: the top, the indexes below it, the manifest, its configuration
    /// and its layers.
    #[must_use]
    pub fn digests(&self) -> Vec<Digest> {
        let above = [self.top()].into_iter().chain(self.between());
        let below = [self.manifest()].into_iter().chain(self.manifest.content());
        above.chain(below).collect()
    }

    /// The platform's manifest.
    #[must_use]
    pub fn manifest(&self) -> Digest {
        self.manifest.digest
    }

    /// The image's configuration and layers.
    #[must_use]
    pub fn content(&self) -> (Digest, Vec<Digest>) {
        let layers = self.manifest.content().into_iter().skip(1);
        (self.config, layers.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    const INDEX: &str = "application/vnd.oci.image.index.v1+json";

    fn layer() -> Descriptor {
        Descriptor {
            media_type: LAYER.to_owned(),
            digest: Digest::of(b"layer"),
            size: 5,
        }
    }

    fn manifest() -> Arc<Blob> {
        let (layer, config) = (Digest::of(b"layer"), Digest::of(b"config"));
        let text = format!(
            r#"{{"mediaType":"{MANIFEST}","config":{{"mediaType":"c","digest":"{config}","size":6}},
            "layers":[{{"mediaType":"{LAYER}","digest":"{layer}","size":5}}]}}"#
        );
        Arc::new(Blob::read(text.as_bytes()).unwrap())
    }

    fn index(kind: &str, digest: Digest, size: u64) -> Arc<Blob> {
        let text = format!(
            r#"{{"manifests":[{{"mediaType":"{kind}","digest":"{digest}","size":{size}}}]}}"#
        );
        Arc::new(Blob::read(text.as_bytes()).unwrap())
    }

    #[test]
    fn a_layer_is_proved_through_its_manifest_and_an_index() {
        let manifest = manifest();
        let chain = Chain::of_manifest(&layer(), &manifest).unwrap();
        assert_eq!(chain.top(), manifest.digest());
        let index = index(MANIFEST, manifest.digest, manifest.size);
        assert_eq!(chain.under(&index).unwrap().top(), index.digest());
        assert_eq!(chain.under(&index).unwrap().manifest(), manifest.digest());
    }

    #[test]
    fn a_chain_over_several_indexes_names_each_of_them_and_has_an_end() {
        let manifest = manifest();
        let mut chain = Chain::of_manifest(&layer(), &manifest).unwrap();
        let mut documents = vec![Arc::clone(&manifest)];
        for _ in 0..MAX_INDEXES {
            let below = documents.last().unwrap();
            let above = index(INDEX, below.digest, below.size);
            // The lowest index lists a manifest.
            let above = if documents.len() == 1 {
                index(MANIFEST, below.digest, below.size)
            } else {
                above
            };
            chain = chain.under(&above).unwrap();
            documents.push(above);
        }
        let wanted: Vec<Digest> = documents.iter().rev().map(|blob| blob.digest).collect();
        assert_eq!(chain.digests()[..wanted.len()], wanted[..]);
        assert_eq!(chain.digests().len(), wanted.len() + 2);
        let top = documents.last().unwrap();
        assert!(chain.under(&index(INDEX, top.digest, top.size)).is_none());
    }

    #[test]
    fn a_configuration_is_proved_by_the_manifest_that_names_it() {
        let manifest = manifest();
        let config = Digest::of(b"config");
        assert_eq!(
            Chain::of_config(config, 6, &manifest).unwrap().content().0,
            config
        );
        assert!(Chain::of_config(config, 7, &manifest).is_none());
        assert!(Chain::of_config(Digest::of(b"layer"), 5, &manifest).is_none());
        assert!(
            Chain::of_config(
                manifest.digest,
                manifest.size,
                &index(MANIFEST, manifest.digest, manifest.size)
            )
            .is_none()
        );
    }

    #[test]
    fn membership_is_the_whole_descriptor() {
        let manifest = manifest();
        for other in [
            Descriptor { size: 6, ..layer() },
            Descriptor {
                media_type: "application/octet-stream".to_owned(),
                ..layer()
            },
            Descriptor {
                digest: Digest::of(b"other"),
                ..layer()
            },
        ] {
            assert!(Chain::of_manifest(&other, &manifest).is_none(), "{other:?}");
        }
        let chain = Chain::of_manifest(&layer(), &manifest).unwrap();
        for (kind, digest, size) in [
            (
                "application/vnd.docker.distribution.manifest.v2+json",
                manifest.digest,
                manifest.size,
            ),
            (MANIFEST, manifest.digest, manifest.size + 1),
            (MANIFEST, Digest::of(b"other"), manifest.size),
        ] {
            assert!(
                chain.under(&index(kind, digest, size)).is_none(),
                "{kind} {size}"
            );
        }
    }
}

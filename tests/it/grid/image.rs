//! The images that the grid asks about.

use std::sync::Arc;

use rootpin_trust::image::{Blob, Descriptor, Digest};

pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// An index over two platforms.
pub(super) struct Image {
    pub(super) platforms: [Platform; 2],
    pub(super) index: Arc<Blob>,
    pub(super) text: String,
}

/// A manifest with one layer.
pub(super) struct Platform {
    pub(super) layer: Descriptor,
    pub(super) config: Digest,
    pub(super) manifest: Arc<Blob>,
    pub(super) text: String,
}

fn entry(kind: &str, digest: Digest, size: usize) -> String {
    format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":{size}}}"#)
}

impl Platform {
    pub(super) fn named(name: &str) -> Self {
        let bytes = format!("layer of {name}");
        let layer = Descriptor {
            media_type: LAYER.to_owned(),
            digest: Digest::of(bytes.as_bytes()),
            size: bytes.len().try_into().unwrap(),
        };
        let config = Digest::of(format!("config of {name}").as_bytes());
        let text = format!(
            r#"{{"mediaType":"{MANIFEST}","config":{},"layers":[{}]}}"#,
            entry("config", config, 6),
            entry(LAYER, layer.digest, bytes.len())
        );
        let manifest = Arc::new(Blob::read(text.as_bytes()).unwrap());
        Self {
            layer,
            config,
            manifest,
            text,
        }
    }
}

impl Image {
    pub(super) fn named(name: &str) -> Self {
        let platforms = [name.to_owned(), format!("{name} 2nd")].map(|name| Platform::named(&name));
        let listed = platforms
            .each_ref()
            .map(|platform| entry(MANIFEST, platform.manifest.digest(), platform.text.len()));
        let text = format!(r#"{{"manifests":[{}]}}"#, listed.join(","));
        let index = Arc::new(Blob::read(text.as_bytes()).unwrap());
        Self {
            platforms,
            index,
            text,
        }
    }

    pub(super) fn first(&self) -> Digest {
        self.platforms[0].manifest.digest()
    }
}

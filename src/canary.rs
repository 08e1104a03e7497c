//! The images of a proof: a few bytes that do nothing. Who knows the name of one can make it, so
//! that nobody has to be believed what it is.

use serde_json::json;

use rootpin_trust::image::{Descriptor, Digest, Repository};

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// This machine's architecture, as images call it (OCI image-spec, "Image Configuration", after
/// Go's names).
pub const ARCHITECTURE: &str = match () {
    () if cfg!(target_arch = "x86_64") => "amd64",
    () if cfg!(target_arch = "aarch64") => "arm64",
    () if cfg!(target_arch = "arm") => "arm",
    () if cfg!(target_arch = "riscv64") => "riscv64",
    () if cfg!(target_arch = "s390x") => "s390x",
    () if cfg!(target_arch = "powerpc64") => "ppc64le",
    () => "unknown",
};

/// What an image of a proof stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Canary {
    /// The control, which is signed.
    Signed,
    /// Nobody has signed it, and its layer is its own.
    Unsigned,
    /// Nobody has signed it, and its layer is the control's: only its configuration differs.
    Known,
}

/// A blob with its descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanaryBlob {
    /// Media type, digest and size.
    pub descriptor: Descriptor,
    /// What it is.
    pub bytes: Vec<u8>,
}

/// A manifest, a configuration and one layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanaryImage {
    /// The manifest, for which the name stands.
    pub manifest: CanaryBlob,
    /// The configuration: no command, no user, no environment.
    pub config: CanaryBlob,
    /// The layer: an archive of one file.
    pub layer: CanaryBlob,
}

impl Canary {
    /// All, the control first: the others mean something only beside it.
    pub const ALL: [Self; 3] = [Self::Signed, Self::Unsigned, Self::Known];

    /// Its tag.
    #[must_use]
    pub fn tag(self) -> &'static str {
        match self {
            Self::Signed => "signed",
            Self::Unsigned => "unsigned",
            Self::Known => "known",
        }
    }

    /// The image that has this tag in a repository. Every repository has images and layers of its
    /// own.
    #[must_use]
    pub fn image(self, repository: &Repository) -> CanaryImage {
        let of = if self == Self::Unsigned {
            Self::Unsigned
        } else {
            Self::Signed
        };
        let layer = CanaryBlob::new(
            LAYER,
            archive(&format!("rootpin: {} in {repository}\n", of.tag())),
        );
        let config = json!({
            "architecture": ARCHITECTURE,
            "os": "linux",
            "author": format!("rootpin prove: {}", self.tag()),
            "config": {},
            "rootfs": { "type": "layers", "diff_ids": [layer.descriptor.digest.to_string()] },
        });
        let config = CanaryBlob::new(CONFIG, config.to_string().into_bytes());
        let listed = |blob: &CanaryBlob| {
            let Descriptor {
                media_type,
                digest,
                size,
            } = &blob.descriptor;
            json!({ "mediaType": media_type, "digest": digest.to_string(), "size": size })
        };
        let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": listed(&config), "layers": [listed(&layer)] });
        CanaryImage {
            manifest: CanaryBlob::new(MANIFEST, manifest.to_string().into_bytes()),
            config,
            layer,
        }
    }
}

impl CanaryBlob {
    fn new(media_type: &str, bytes: Vec<u8>) -> Self {
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Self {
            descriptor: Descriptor {
                media_type: media_type.to_owned(),
                digest: Digest::of(&bytes),
                size,
            },
            bytes,
        }
    }
}

impl CanaryImage {
    /// Everything, what is listed before what lists it.
    #[must_use]
    pub fn blobs(&self) -> [&CanaryBlob; 3] {
        [&self.layer, &self.config, &self.manifest]
    }

    /// What its name stands for.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.manifest.descriptor.digest
    }
}

/// A tar archive of one file that only root can read.
fn archive(content: &str) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_size(u64::try_from(content.len()).unwrap_or_default());
    header.set_mode(0o400);
    header.set_mtime(0);
    let mut builder = tar::Builder::new(Vec::new());
    // A Vec takes all bytes, and the name is short.
    let _ = builder.append_data(&mut header, "rootpin-prove", content.as_bytes());
    builder.into_inner().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rootpin_trust::image::Blob;

    fn repository(name: &str) -> Repository {
        Repository::from_full(name).unwrap()
    }

    #[test]
    fn the_same_name_gives_the_same_bytes_and_another_one_a_layer_of_its_own() {
        let (one, two) = (
            repository("127.0.0.1:1/rootpin-prove-a/x"),
            repository("127.0.0.1:1/rootpin-prove-a/y"),
        );
        let image = Canary::Signed.image(&one);
        assert_eq!(image, Canary::Signed.image(&one));
        assert_ne!(image.layer, Canary::Signed.image(&two).layer);
        assert!(
            image.layer.bytes.len() < 4096
                && image
                    .layer
                    .bytes
                    .windows(8)
                    .any(|bytes| bytes == b"rootpin:")
        );
        Blob::read(&image.manifest.bytes).unwrap();
    }

    #[test]
    fn the_known_one_shares_the_control_s_layer_and_nothing_else_and_the_unsigned_one_nothing() {
        let name = repository("127.0.0.1:1/rootpin-prove-a/x");
        let [signed, unsigned, known] = Canary::ALL.map(|canary| canary.image(&name));
        assert_eq!(known.layer, signed.layer);
        assert!(known.config != signed.config && known.digest() != signed.digest());
        assert!(unsigned.layer != signed.layer && unsigned.digest() != signed.digest());
    }
}

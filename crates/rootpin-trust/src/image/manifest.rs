//! The few fields of an image manifest and of an image index that prove membership.

use std::borrow::Cow;

use crate::canonical::{JsonError, Limits, Text, rewrite_doubles};

use super::{Digest, DigestError, member_names};

/// One entry of a manifest or an index (OCI image-spec, "Content Descriptors"). Membership is all
/// three, never the digest alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Descriptor {
    /// Its media type, as written.
    pub media_type: String,
    /// The digest of its bytes.
    pub digest: Digest,
    /// The number of its bytes.
    pub size: u64,
}

impl Descriptor {
    /// Reads a descriptor in a document's canonical text.
    ///
    /// # Errors
    /// It has no media type, digest or size.
    pub fn read(value: Text<'_>) -> Result<Self, ManifestError> {
        let (media_type, digest) = (value.get_str("mediaType"), value.get_str("digest"));
        let wrong = ManifestError::Shape;
        let media_type = media_type.ok_or(wrong("descriptor without mediaType"))?;
        let digest = digest.ok_or(wrong("descriptor without digest"))?;
        Ok(Self {
            media_type: media_type.into_owned(),
            digest: digest.parse()?,
            size: value
                .get_u64("size")
                .ok_or(wrong("descriptor without size"))?,
        })
    }

    /// Whether the entry says that its bytes are an index, by OCI's name or Docker's.
    #[must_use]
    pub fn is_of_index(&self) -> bool {
        self.media_type == OCI_INDEX || self.media_type == DOCKER_LIST
    }
}

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Docker's names of the two before they were OCI's (distribution, "Image Manifest Version 2,
/// Schema 2").
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// One document that an index lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEntry {
    /// The document.
    pub descriptor: Descriptor,
    /// The annotation `io.containerd.image.name`: the name that an imported archive claims for it.
    pub claimed_name: Option<String>,
}

/// A document that lists others by digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// An image index or Docker manifest list.
    Index {
        /// Its own `mediaType`.
        media_type: Option<String>,
        /// One per platform, and attestations beside them.
        manifests: Vec<IndexEntry>,
    },
    /// An image manifest.
    Manifest {
        /// Its own `mediaType`.
        media_type: Option<String>,
        /// The image's configuration.
        config: Descriptor,
        /// Its layers, lowest first.
        layers: Vec<Descriptor>,
    },
}

/// Why some bytes are no index and no manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// A digest of another kind than sha256.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// No strict JSON, or too much of it.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// JSON, but not such a document: what is wrong.
    #[error("{0}")]
    Shape(&'static str),
}

impl Document {
    /// 4 MiB is what registries and containerd accept for a manifest (OCI distribution-spec,
    /// "Pushing Manifests"); an image has at most 127 layers and an index few platforms, but
    /// attestations and annotations add up.
    pub const LIMITS: Limits = Limits {
        bytes: 4 << 20,
        depth: 16,
        values: 50_000,
    };

    /// Reads a document. Its members decide its kind, and must be of one kind only: no bytes are an
    /// index to one reader and a manifest to another.
    ///
    /// # Errors
    /// Not strict JSON, over the limits, or not exactly one of the two kinds.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let text = rewrite_doubles(bytes, Self::LIMITS)?;
        let value = Text::of(&text);
        if member_names::are_ambiguous(value) {
            return Err(ManifestError::Shape(
                "a member's name that engines take for another one",
            ));
        }
        let kind = value.get("mediaType").map(|kind| {
            kind.as_str()
                .ok_or(ManifestError::Shape("mediaType is not a string"))
        });
        let kind = kind.transpose()?;
        match (
            value.get("manifests"),
            value.get("config"),
            value.get("layers"),
        ) {
            (Some(manifests), None, None) => {
                wanted(kind.as_deref(), OCI_INDEX, DOCKER_LIST)?;
                let manifests = list(manifests)?.map(entry).collect::<Result<_, _>>()?;
                Ok(Self::Index {
                    media_type: kind.map(Cow::into_owned),
                    manifests,
                })
            }
            (None, Some(config), Some(layers)) => {
                wanted(kind.as_deref(), OCI_MANIFEST, DOCKER_MANIFEST)?;
                let layers = list(layers)?
                    .map(Descriptor::read)
                    .collect::<Result<_, _>>()?;
                Ok(Self::Manifest {
                    media_type: kind.map(Cow::into_owned),
                    config: Descriptor::read(config)?,
                    layers,
                })
            }
            _ => Err(ManifestError::Shape(
                "neither an index nor a manifest, or both",
            )),
        }
    }

    /// The document's own `mediaType`, if it has one.
    #[must_use]
    pub fn media_type(&self) -> Option<&str> {
        match self {
            Self::Index { media_type, .. } | Self::Manifest { media_type, .. } => {
                media_type.as_deref()
            }
        }
    }
}

/// A document need not state its type; one that does must state the one that its members have.
fn wanted(kind: Option<&str>, oci: &str, docker: &str) -> Result<(), ManifestError> {
    match kind {
        Some(kind) if kind != oci && kind != docker => {
            Err(ManifestError::Shape("mediaType contradicts the members"))
        }
        _ => Ok(()),
    }
}

fn list(value: Text<'_>) -> Result<impl Iterator<Item = Text<'_>>, ManifestError> {
    value
        .elements()
        .ok_or(ManifestError::Shape("not a list of descriptors"))
}

fn entry(value: Text<'_>) -> Result<IndexEntry, ManifestError> {
    let claimed = value
        .get("annotations")
        .and_then(|annotations| annotations.get("io.containerd.image.name"));
    Ok(IndexEntry {
        descriptor: Descriptor::read(value)?,
        claimed_name: claimed.and_then(Text::as_str).map(Cow::into_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(kind: &str) -> String {
        format!(
            r#"{{"mediaType":"{kind}","digest":"{}","size":1}}"#,
            Digest::of(b"x")
        )
    }

    #[test]
    fn a_manifest_and_an_index_are_told_by_their_members() {
        let manifest = format!(
            r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#,
            described("c"),
            described("l")
        );
        assert!(
            matches!(Document::parse(manifest.as_bytes()), Ok(Document::Manifest { layers, .. }) if layers.len() == 1)
        );
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, described("m"));
        assert!(
            matches!(Document::parse(index.as_bytes()), Ok(Document::Index { manifests, .. }) if manifests.len() == 1)
        );
    }

    #[test]
    fn a_document_of_both_kinds_or_of_a_contradicting_type_is_refused() {
        let both = format!(
            r#"{{"manifests":[],"config":{},"layers":[]}}"#,
            described("c")
        );
        assert!(Document::parse(both.as_bytes()).is_err());
        let lies = r#"{"mediaType":"application/vnd.oci.image.manifest.v1+json","manifests":[]}"#;
        assert!(Document::parse(lies.as_bytes()).is_err());
        let twice = r#"{"manifests":[],"manifests":[]}"#;
        assert!(Document::parse(twice.as_bytes()).is_err());
    }

    #[test]
    fn a_document_that_go_would_read_as_another_one_is_refused() {
        let (good, evil) = (described("m"), described("evil"));
        for document in [
            format!(r#"{{"manifests":[{good}],"Manifests":[{evil}]}}"#),
            format!(r#"{{"Manifests":[{evil}],"manifests":[{good}]}}"#),
            format!(r#"{{"manifests":[{good}],"manife\u017ft\u017f":[{evil}]}}"#),
            format!(r#"{{"manifests":[{good}],"MANIFESTS":null}}"#),
            format!(r#"{{"manifests":[{good}],"Config":{evil},"Layers":[]}}"#),
            format!(r#"{{"config":{good},"layers":[],"FSLAYERS":[]}}"#),
            format!(
                r#"{{"manifests":[{}]}}"#,
                good.replace("\"size\"", "\"Digest\":\"sha256:00\",\"size\"")
            ),
            format!(
                r#"{{"config":{good},"layers":[{}]}}"#,
                good.replace("\"size\"", "\"\u{17f}ize\":2,\"size\"")
            ),
        ] {
            assert!(Document::parse(document.as_bytes()).is_err(), "{document}");
        }
        // Annotations have names of their own, and another member is nobody's.
        let free = format!(
            r#"{{"manifests":[{good}],"annotations":{{"Digest":"x"}},"org.example.Other":1}}"#
        );
        assert!(Document::parse(free.as_bytes()).is_ok());
    }
}

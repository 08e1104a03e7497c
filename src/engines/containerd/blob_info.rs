//! Reads the labels of a blob and of an image record: whether a registry was asked for it.

use std::collections::{HashMap, HashSet};

use containerd_client::services::v1::Image;
use rootpin_trust::image::{Descriptor, Digest};

use super::MAX_DOCUMENT;

/// The label that clients of registries write on what they fetch, before a dot and the registry's
/// host. containerd writes it without a host where the name has none, as in `ctr images pull
/// :5000/app:v1` (core/remotes/docker/handler.go).
const SOURCE: &str = "containerd.io/distribution.source";
/// What containerd 1.7 writes on the layers of a Docker schema 1 manifest, and nothing else
/// (remotes/docker/schema1/converter.go).
const SCHEMA_1: &str = "containerd.io/docker.schema1.";
/// The label of the image record that containerd 1.7 makes of such a manifest (images/labels.go).
const CONVERTED: &str = "io.containerd.image/converted-docker-schema1";
/// `BuildKit` writes this on every blob that it has; and the next one, as containerd's differs do,
/// on those that it made itself. What has the first alone was fetched: a base image's layer, or one
/// of a remote cache, whose manifest it doesn't store (cache/refs.go, blobs.go).
const BUILDKIT: &str = "buildkit.io/blob/mediatype";
const MADE: &str = "containerd.io/uncompressed";
/// How `BuildKit` links blobs of the same files in several compressions (cache/refs.go,
/// `linkBlob`).
const VARIANT: &str = "containerd.io/gc.ref.content.blob-";
/// One layer has as many variants as there are kinds of compression.
const MAX_VARIANTS: usize = 8;
/// containerd writes no label whose key and value are longer together (pkg/labels/validate.go).
const MAX_LABEL: usize = 4096;

/// A blob as the content store lists it.
#[derive(Debug, Clone)]
pub(crate) struct BlobInfo {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: i64,
    /// Its labels: set by whoever has containerd's socket.
    pub labels: HashMap<String, String>,
}

impl BlobInfo {
    /// One of which the labels are not known.
    pub(crate) fn without_labels(digest: Digest, size: i64) -> Self {
        let labels = HashMap::new();
        Self {
            digest,
            size,
            labels,
        }
    }

    /// Whether this blob may be a document that lists one of these digests, by what the garbage
    /// collector's labels say: that it does, or nothing of layers and manifests. So it is with what
    /// `BuildKit` and imports write, and with manifests under CRI's `discard_unpacked_layers`,
    /// which have a label for their config only.
    pub(crate) fn may_list(&self, digests: &HashSet<String>) -> bool {
        self.referred().any(|(_, digest)| digests.contains(digest))
            || self.listed().next().is_none()
    }

    /// The layers and manifests that the garbage collector's labels say it lists.
    pub(crate) fn listed(&self) -> impl Iterator<Item = &str> {
        let lists = |kind: &str| kind.starts_with("l.") || kind.starts_with("m.");
        let listed = self.referred().filter(move |(kind, _)| lists(kind));
        listed.map(|(_, digest)| digest)
    }

    /// What the garbage collector's labels refer to: the kind of the reference, and the digest.
    pub(crate) fn referred(&self) -> impl Iterator<Item = (&str, &str)> {
        const REFERS: &str = "containerd.io/gc.ref.content.";
        let labels = self.labels.iter();
        labels.filter_map(|(name, digest)| Some((name.strip_prefix(REFERS)?, digest.as_str())))
    }

    /// Registry host (without port) and repository for each
    /// `containerd.io/distribution.source.HOST` label.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (&str, &str)> {
        self.labels.iter().flat_map(|(name, repositories)| {
            let host = name
                .strip_prefix(SOURCE)
                .and_then(|rest| rest.strip_prefix('.'))
                .unwrap_or_default();
            repositories
                .split(',')
                .filter(move |path| !host.is_empty() && !path.is_empty())
                .map(move |path| (host, path))
        })
    }

    /// Whether any sign says that these bytes were fetched, also one that names no repository.
    pub(crate) fn is_of_registry(&self) -> bool {
        let fetched_by_buildkit =
            self.labels.contains_key(BUILDKIT) && !self.labels.contains_key(MADE);
        fetched_by_buildkit
            || self
                .labels
                .keys()
                .any(|name| name.starts_with(SOURCE) || name.starts_with(SCHEMA_1))
    }

    /// Other blobs of the same files, of which `BuildKit` may have made this one. `None`: there are
    /// more, or one can't be read, so that it may have been made of anything.
    pub(crate) fn variants(&self) -> Option<Vec<Digest>> {
        let linked = self
            .labels
            .iter()
            .filter(|(name, _)| name.starts_with(VARIANT));
        let mut variants = linked
            .map(|(_, digest)| digest.parse().ok())
            .collect::<Option<Vec<Digest>>>()?;
        variants.retain(|digest| *digest != self.digest);
        (variants.len() <= MAX_VARIANTS).then_some(variants)
    }

    /// This blob as a manifest lists it, by what `BuildKit` wrote down.
    pub(crate) fn descriptor(&self) -> Option<Descriptor> {
        let media_type = self.labels.get(BUILDKIT)?.clone();
        Some(Descriptor {
            media_type,
            digest: self.digest,
            size: u64::try_from(self.size).ok()?,
        })
    }

    pub(super) fn may_be_document(&self) -> bool {
        self.size > 0 && self.size <= MAX_DOCUMENT
    }
}

/// An image record, as far as it tells of a layer.
#[derive(Debug, Clone)]
pub(crate) struct RecordedName {
    /// Its name, as it stands there.
    pub name: String,
    /// What it stands for.
    pub target: Digest,
    /// Whether the record itself shows that a registry was asked, though the blobs may not.
    pub(crate) is_of_registry: bool,
}

impl RecordedName {
    /// What an image record tells, where it stands for a sha256 digest.
    pub(super) fn of(image: Image) -> Option<Self> {
        let target = image.target?.digest.parse().ok()?;
        let is_of_registry = record_is_of_registry(&image.name, &image.labels);
        Some(Self {
            name: image.name,
            target,
            is_of_registry,
        })
    }
}

/// Whether a record shows that a registry was asked: by a label, or by a name of which a pull
/// leaves no mark on the blobs.
pub(crate) fn record_is_of_registry(name: &str, labels: &HashMap<String, String>) -> bool {
    labels.contains_key(CONVERTED) || leaves_no_mark(name)
}

/// containerd writes no label without a value, nor one that is too long; and it reads a name as an
/// address, so that characters which no repository has can make the path another one than it seems.
fn leaves_no_mark(name: &str) -> bool {
    let Some((host, rest)) = name.split_once('/') else {
        return false;
    };
    let path = rest.split([':', '@']).next().unwrap_or_default();
    let odd = name.contains(['%', '?', '#'])
        || path.split('/').any(|segment| matches!(segment, "." | ".."));
    let empty = path.trim_matches('/').is_empty();
    odd || empty || SOURCE.len() + 1 + host.len() + path.len() > MAX_LABEL
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(labels: &[(&str, &str)]) -> BlobInfo {
        let labels = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        BlobInfo {
            digest: Digest::of(b"x"),
            size: 1,
            labels,
        }
    }

    #[test]
    fn every_label_that_only_a_fetch_leaves_makes_bytes_a_registrys() {
        for fetched in [
            &[("containerd.io/distribution.source.r.example", "team/app")][..],
            &[("containerd.io/distribution.source.", "team/app")],
            &[("containerd.io/distribution.source", "team/app")],
            &[("containerd.io/distribution.source.::1", ",")],
            &[
                ("containerd.io/docker.schema1.empty-layer", "false"),
                ("containerd.io/uncompressed", "sha256:0"),
            ],
            &[(
                "buildkit.io/blob/mediatype",
                "application/vnd.oci.image.layer.v1.tar+gzip",
            )],
        ] {
            assert!(blob(fetched).is_of_registry(), "{fetched:?}");
        }
        for made in [
            &[][..],
            &[("containerd.io/uncompressed", "sha256:0")],
            &[
                ("buildkit.io/blob/mediatype", "x"),
                ("containerd.io/uncompressed", "sha256:0"),
            ],
            &[
                ("containerd.io/gc.ref.content.0", "sha256:0"),
                ("org.example.source", "r.example/team/app"),
            ],
        ] {
            assert!(!blob(made).is_of_registry(), "{made:?}");
        }
    }

    #[test]
    fn a_variant_is_another_blob_that_buildkit_links_to() {
        let other = Digest::of(b"other").to_string();
        let own = Digest::of(b"x").to_string();
        let link = |digest: &str| format!("containerd.io/gc.ref.content.blob-{digest}");
        let linked = blob(&[
            (&link(&other), &other),
            (&link(&own), &own),
            ("containerd.io/gc.ref.content.0", &other),
        ]);
        assert_eq!(linked.variants().unwrap(), [Digest::of(b"other")]);
        let odd = blob(&[(&link(&other), &other), (&link("sha512:0"), "sha512:0")]);
        assert_eq!(odd.variants(), None, "one of another kind");
        assert_eq!(linked.descriptor(), None);
        assert_eq!(
            blob(&[("buildkit.io/blob/mediatype", "gz")])
                .descriptor()
                .unwrap()
                .media_type,
            "gz"
        );
    }

    #[test]
    fn a_record_of_which_a_pull_leaves_no_mark_is_a_registrys() {
        let (none, converted) = (
            HashMap::new(),
            HashMap::from([(CONVERTED.to_owned(), "sha256:0".to_owned())]),
        );
        let long = format!("r.example/{}:v1", "a".repeat(4096));
        for name in [
            "h:5000/:v1",
            "h:5000//:v1",
            "h/..:v1",
            "h/a/../:v1",
            "h/%2e%2e:v1",
            "h/#a:v1",
            "h/?a:v1",
            "h/@sha256:0",
            &long,
        ] {
            assert!(record_is_of_registry(name, &none), "{name}");
        }
        for name in [
            "r.example/team/app:v1",
            "docker.io/library/app:v1",
            ":5000/app:v1",
            "import-2026-11-29@sha256:0",
            "sha256:0",
            "v1",
            "",
        ] {
            assert!(!record_is_of_registry(name, &none), "{name}");
            assert!(record_is_of_registry(name, &converted), "{name}");
        }
    }
}

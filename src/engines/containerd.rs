//! What one containerd has: its namespaces, blobs, image records and leases. Reads only, all of it
//! hints until hashed.

pub mod events;
pub mod images;
pub mod tasks;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::services::v1::introspection_client::IntrospectionClient;
use containerd_client::services::v1::leases_client::LeasesClient;
use containerd_client::services::v1::namespaces_client::NamespacesClient;
use containerd_client::services::v1::{
    InfoRequest, ListContentRequest, ListImagesRequest, ListNamespacesRequest, ListRequest,
    PluginsRequest, ReadContentRequest,
};
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use rootpin_trust::image::{Blob, Descriptor, Digest, Document, MAX_INDEXES};

/// containerd's own limit on a manifest is 4 MiB as well; a larger blob is a layer.
const MAX_DOCUMENT: i64 = 4 << 20;
/// A host with more blobs in one namespace than this is told so rather than served slowly.
const MAX_BLOBS: usize = 200_000;
/// How many bytes of documents are kept parsed: the layers of one image ask for the same ones again
/// and again.
const KEPT_DOCUMENTS: i64 = 32 << 20;
/// A blob up to this size is read in one go; of a larger one first its beginning, which tells
/// whether it can be a document.
const READ_WHOLE: i64 = 16 << 10;
/// containerd sends no larger message unless it is told to. The labels of a hundred blobs come in
/// one, and an index has one for each entry: what a registry puts into one index must not be what
/// makes the store unreadable.
pub(crate) const MAX_MESSAGE: usize = 16 << 20;
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

/// One containerd, by its socket. Connects when first asked, and again after it was restarted.
#[derive(Debug)]
pub struct Containerd {
    channel: Channel,
    documents: Mutex<Documents>,
}

/// What blobs were found to be. A digest says it for good.
#[derive(Debug, Default)]
struct Documents {
    known: HashMap<Digest, Option<Arc<Blob>>>,
    bytes: i64,
}

/// A blob as the content store lists it.
#[derive(Debug, Clone)]
pub struct BlobInfo {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: i64,
    /// Its labels: set by whoever has containerd's socket.
    pub labels: HashMap<String, String>,
}

impl BlobInfo {
    /// Whether this blob may be a document that lists one of these digests, by what the garbage
    /// collector's labels say: that it does, or nothing of layers and manifests. So it is with what
    /// `BuildKit` and imports write, and with manifests under CRI's `discard_unpacked_layers`,
    /// which have a label for their config only.
    pub fn may_list(&self, digests: &HashSet<String>) -> bool {
        const REFERS: &str = "containerd.io/gc.ref.content.";
        let referred = || {
            self.labels
                .iter()
                .filter_map(|(name, digest)| Some((name.strip_prefix(REFERS)?, digest)))
        };
        referred().any(|(_, digest)| digests.contains(digest))
            || !referred().any(|(kind, _)| kind.starts_with("l.") || kind.starts_with("m."))
    }

    /// Registry host (without port) and repository for each
    /// `containerd.io/distribution.source.HOST` label.
    pub fn sources(&self) -> impl Iterator<Item = (&str, &str)> {
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
    pub fn is_of_registry(&self) -> bool {
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

    fn may_be_document(&self) -> bool {
        self.size > 0 && self.size <= MAX_DOCUMENT
    }
}

/// An image record, as far as it tells of a layer.
#[derive(Debug, Clone)]
pub struct RecordedName {
    /// Its name, as it stands there.
    pub name: String,
    /// What it stands for.
    pub target: Digest,
    /// Whether the record itself shows that a registry was asked, though the blobs may not.
    pub is_of_registry: bool,
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

impl Containerd {
    /// The containerd that listens there.
    ///
    /// # Errors
    /// The path cannot be an address.
    pub fn at(socket: &Path) -> Result<Self, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))?;
        Ok(Self {
            channel: endpoint.connect_lazy(),
            documents: Mutex::default(),
        })
    }

    /// For calls that others make themselves.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// All namespaces.
    ///
    /// # Errors
    /// containerd's own.
    pub async fn namespaces(&self) -> Result<Vec<String>, Status> {
        let answer = NamespacesClient::new(self.channel())
            .list(ListNamespacesRequest {
                filter: String::new(),
            })
            .await?;
        Ok(answer
            .into_inner()
            .namespaces
            .into_iter()
            .map(|namespace| namespace.name)
            .collect())
    }

    /// The addresses of all differs that are proxies.
    ///
    /// # Errors
    /// containerd's own.
    pub async fn differ_addresses(&self) -> Result<Vec<String>, Status> {
        let request = PluginsRequest {
            filters: vec!["type==io.containerd.differ.v1".to_owned()],
        };
        let plugins = IntrospectionClient::new(self.channel())
            .plugins(request)
            .await?
            .into_inner()
            .plugins;
        Ok(plugins
            .into_iter()
            .filter_map(|mut plugin| plugin.exports.remove("address"))
            .collect())
    }

    /// The namespaces in which a lease of that ID lives.
    ///
    /// # Errors
    /// containerd's own.
    pub async fn namespaces_of_lease(&self, lease: &str) -> Result<Vec<String>, Status> {
        let mut found = Vec::new();
        for namespace in self.namespaces().await? {
            let request = within(
                &namespace,
                ListRequest {
                    filters: Vec::new(),
                },
            )?;
            let leases = LeasesClient::new(self.channel())
                .list(request)
                .await?
                .into_inner()
                .leases;
            if leases.iter().any(|known| known.id == lease) {
                found.push(namespace);
            }
        }
        Ok(found)
    }

    /// The namespaces that hold a blob.
    ///
    /// # Errors
    /// containerd's own.
    pub async fn namespaces_of_blob(&self, digest: &Digest) -> Result<Vec<String>, Status> {
        let mut found = Vec::new();
        for namespace in self.namespaces().await? {
            let request = within(
                &namespace,
                InfoRequest {
                    digest: digest.to_string(),
                },
            )?;
            match ContentClient::new(self.channel()).info(request).await {
                Ok(_) => found.push(namespace),
                Err(status) if status.code() == Code::NotFound => {}
                Err(status) => return Err(status),
            }
        }
        Ok(found)
    }

    /// All blobs of a namespace with a sha256 digest.
    ///
    /// # Errors
    /// containerd's own; or there are more than the limit.
    pub async fn blobs(&self, namespace: &str) -> Result<Vec<BlobInfo>, Status> {
        self.blobs_where(namespace, Vec::new()).await
    }

    /// Those of them that one of containerd's filters fits; all, where there is none.
    ///
    /// # Errors
    /// containerd's own; or there are more than the limit.
    pub(crate) async fn blobs_where(
        &self,
        namespace: &str,
        filters: Vec<String>,
    ) -> Result<Vec<BlobInfo>, Status> {
        let request = within(namespace, ListContentRequest { filters })?;
        let mut answers = self.content().list(request).await?.into_inner();
        let mut blobs = Vec::new();
        while let Some(answer) = answers.message().await? {
            let known = |info: containerd_client::services::v1::Info| {
                let digest = info.digest.parse().ok()?;
                Some(BlobInfo {
                    digest,
                    size: info.size,
                    labels: info.labels,
                })
            };
            blobs.extend(answer.info.into_iter().filter_map(known));
            if blobs.len() > MAX_BLOBS {
                return Err(Status::resource_exhausted(format!(
                    "more than {MAX_BLOBS} blobs in namespace {namespace}"
                )));
            }
        }
        Ok(blobs)
    }

    /// Every image record of a namespace that stands for a sha256 digest.
    ///
    /// # Errors
    /// containerd's own.
    pub async fn image_records(&self, namespace: &str) -> Result<Vec<RecordedName>, Status> {
        let request = within(
            namespace,
            ListImagesRequest {
                filters: Vec::new(),
            },
        )?;
        let answer = ImagesClient::new(self.channel())
            .max_decoding_message_size(MAX_MESSAGE)
            .list(request)
            .await?
            .into_inner();
        let record = |image: containerd_client::services::v1::Image| {
            let target = image.target?.digest.parse().ok()?;
            let is_of_registry = record_is_of_registry(&image.name, &image.labels);
            Some(RecordedName {
                name: image.name,
                target,
                is_of_registry,
            })
        };
        Ok(answer.images.into_iter().filter_map(record).collect())
    }

    /// Name and digest of every image record of a namespace, as they stand there.
    ///
    /// # Errors
    /// containerd's own.
    pub async fn resident_images(&self, namespace: &str) -> Result<Vec<(String, String)>, Status> {
        let request = within(
            namespace,
            ListImagesRequest {
                filters: Vec::new(),
            },
        )?;
        let answer = ImagesClient::new(self.channel())
            .max_decoding_message_size(MAX_MESSAGE)
            .list(request)
            .await?
            .into_inner();
        Ok(answer
            .images
            .into_iter()
            .map(|image| {
                (
                    image.name,
                    image.target.map(|target| target.digest).unwrap_or_default(),
                )
            })
            .collect())
    }

    /// Whether what that blob is need not be read any more.
    pub(crate) fn has_read(&self, digest: &Digest) -> bool {
        self.documents
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .known
            .contains_key(digest)
    }

    /// The index or manifest that a blob is, read from the bytes and hashed; none for every other
    /// blob.
    ///
    /// # Errors
    /// containerd's own.
    pub async fn document(
        &self,
        namespace: &str,
        info: &BlobInfo,
    ) -> Result<Option<Arc<Blob>>, Status> {
        if !info.may_be_document() {
            return Ok(None);
        }
        if let Some(known) = self
            .documents
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .known
            .get(&info.digest)
        {
            return Ok(known.clone());
        }
        // Gone since it was listed: garbage is collected at any time.
        let Some(mut bytes) = self
            .read(namespace, &info.digest, info.size.min(READ_WHOLE))
            .await?
        else {
            return Ok(None);
        };
        let json = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
        if json && info.size > READ_WHOLE {
            let Some(whole) = self.read(namespace, &info.digest, info.size).await? else {
                return Ok(None);
            };
            bytes = whole;
        }
        if json && Digest::of(&bytes) != info.digest {
            return Ok(None);
        }
        let document = if json {
            Blob::read(&bytes).ok().map(Arc::new)
        } else {
            None
        };
        let mut documents = self
            .documents
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if document.is_some() {
            documents.bytes += info.size;
        }
        if documents.bytes > KEPT_DOCUMENTS || documents.known.len() >= MAX_BLOBS {
            *documents = Documents::default();
        }
        documents.known.insert(info.digest, document.clone());
        Ok(document)
    }

    /// The bytes of an index or a manifest, from whichever namespace holds them, and hashed.
    ///
    /// # Errors
    /// containerd's own.
    pub async fn document_bytes(&self, digest: &Digest) -> Result<Option<Vec<u8>>, Status> {
        for namespace in self.namespaces_of_blob(digest).await? {
            let request = within(
                &namespace,
                InfoRequest {
                    digest: digest.to_string(),
                },
            )?;
            let size = self
                .content()
                .info(request)
                .await?
                .into_inner()
                .info
                .map_or(0, |info| info.size);
            if size > MAX_DOCUMENT {
                return Ok(None);
            }
            if let Some(bytes) = self
                .read(&namespace, digest, size)
                .await?
                .filter(|bytes| Digest::of(bytes) == *digest)
            {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// The indexes of any namespace that list a manifest, and those above them, each read and
    /// hashed.
    ///
    /// # Errors
    /// containerd's own.
    pub(crate) async fn indexes_above(&self, manifest: &Digest) -> Result<Vec<Digest>, Status> {
        let mut found = Vec::new();
        for namespace in self.namespaces().await? {
            let blobs = self.blobs(&namespace).await?;
            let mut children = HashSet::from([*manifest]);
            for _ in 0..MAX_INDEXES {
                let wanted = children.iter().map(ToString::to_string).collect();
                let mut higher = HashSet::new();
                for info in blobs.iter().filter(|info| info.may_list(&wanted)) {
                    let document = self.document(&namespace, info).await?;
                    higher.extend(
                        document
                            .filter(|document| document.refers_to(&children).next().is_some())
                            .map(|document| document.digest()),
                    );
                }
                higher.retain(|index| !found.contains(index));
                if higher.is_empty() {
                    break;
                }
                found.extend(&higher);
                children = higher;
            }
        }
        Ok(found)
    }

    /// The first bytes of a blob, if it is there. Not hashed here.
    pub(crate) async fn read(
        &self,
        namespace: &str,
        digest: &Digest,
        size: i64,
    ) -> Result<Option<Vec<u8>>, Status> {
        let request = within(
            namespace,
            ReadContentRequest {
                digest: digest.to_string(),
                offset: 0,
                size,
            },
        )?;
        let gone = |status: Status| {
            if status.code() == Code::NotFound {
                Ok(None)
            } else {
                Err(status)
            }
        };
        let mut answers = match self.content().read(request).await {
            Ok(answers) => answers.into_inner(),
            Err(status) => return gone(status),
        };
        let mut bytes = Vec::new();
        loop {
            match answers.message().await {
                Ok(Some(answer)) => bytes.extend(answer.data),
                Ok(None) => return Ok(Some(bytes)),
                Err(status) => return gone(status),
            }
            if bytes.len() > Document::LIMITS.bytes {
                return Err(Status::resource_exhausted(format!(
                    "{digest} is larger than its record says"
                )));
            }
        }
    }

    fn content(&self) -> ContentClient<Channel> {
        ContentClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE)
    }
}

/// A request in a namespace.
///
/// # Errors
/// The namespace cannot stand in a header.
pub(crate) fn within<T>(namespace: &str, message: T) -> Result<Request<T>, Status> {
    let mut request = Request::new(message);
    let value: AsciiMetadataValue = namespace
        .parse()
        .map_err(|_| Status::invalid_argument(format!("namespace {namespace:?}")))?;
    request.metadata_mut().insert("containerd-namespace", value);
    Ok(request)
}

/// The text of a header, if it is there.
#[must_use]
pub(crate) fn header<'a>(metadata: &'a MetadataMap, name: &str) -> Option<&'a str> {
    metadata.get(name).and_then(|value| value.to_str().ok())
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

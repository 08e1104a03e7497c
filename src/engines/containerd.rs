//! Reads one containerd's namespaces, blobs, image records and leases. All of it is a hint until it
//! is hashed.

mod blob_info;
pub mod events;
pub mod images;
pub mod tasks;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::introspection_client::IntrospectionClient;
use containerd_client::services::v1::leases_client::LeasesClient;
use containerd_client::services::v1::namespaces_client::NamespacesClient;
use containerd_client::services::v1::{
    Info, InfoRequest, ListContentRequest, ListNamespacesRequest, ListRequest, PluginsRequest,
    ReadContentRequest,
};
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use rootpin_trust::image::{Blob, Digest, Document, MAX_INDEXES};

pub(crate) use blob_info::record_is_of_registry;
pub(crate) use blob_info::{BlobInfo, RecordedName};

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
/// One containerd, by its socket. Connects when first asked, and again after it was restarted.
#[derive(Debug)]
pub(crate) struct ContainerdClient {
    endpoint: Endpoint,
    channel: Channel,
    documents: Mutex<Documents>,
    /// The namespace in which the last lease was found.
    of_last_lease: Mutex<String>,
}

/// What blobs were found to be. A digest says it for good.
#[derive(Debug, Default)]
struct Documents {
    known: HashMap<Digest, Option<Arc<Blob>>>,
    bytes: i64,
}

impl Documents {
    fn keep(&mut self, digest: Digest, size: i64, document: Option<Arc<Blob>>) {
        if document.is_some() {
            self.bytes += size;
        }
        if self.bytes > KEPT_DOCUMENTS || self.known.len() >= MAX_BLOBS {
            *self = Self::default();
        }
        self.known.insert(digest, document);
    }
}

impl ContainerdClient {
    /// The containerd that listens there.
    ///
    /// # Errors
    /// The path cannot be an address.
    pub(crate) fn at(socket: &Path) -> Result<Self, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))?;
        Ok(Self {
            channel: endpoint.connect_lazy(),
            endpoint,
            documents: Mutex::default(),
            of_last_lease: Mutex::default(),
        })
    }

    /// For calls that others make themselves.
    #[must_use]
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// A connection beside that of all other calls.
    fn another_channel(&self) -> Channel {
        self.endpoint.connect_lazy()
    }

    /// All namespaces.
    ///
    /// # Errors
    /// containerd's own.
    pub(crate) async fn namespaces(&self) -> Result<Vec<String>, Status> {
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
    pub(crate) async fn differ_addresses(&self) -> Result<Vec<String>, Status> {
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
    pub(crate) async fn namespaces_of_lease(&self, lease: &str) -> Result<Vec<String>, Status> {
        // Most are where the last one was, which is asked while the namespaces are listed.
        let last = self.of_last_lease().clone();
        let (namespaces, in_last) = tokio::join!(self.namespaces(), self.has_lease(&last, lease));
        let mut found = Vec::new();
        for namespace in namespaces? {
            let has_it = match in_last {
                Ok(has_it) if namespace == last => has_it,
                _ => self.has_lease(&namespace, lease).await?,
            };
            if has_it {
                found.push(namespace);
            }
        }
        if let Some(first) = found.first() {
            self.of_last_lease().clone_from(first);
        }
        Ok(found)
    }

    async fn has_lease(&self, namespace: &str, lease: &str) -> Result<bool, Status> {
        let filters = Vec::new();
        let request = within(namespace, ListRequest { filters })?;
        let answer = LeasesClient::new(self.channel()).list(request).await?;
        let mut leases = answer.into_inner().leases.into_iter();
        Ok(leases.any(|known| known.id == lease))
    }

    fn of_last_lease(&self) -> MutexGuard<'_, String> {
        self.of_last_lease
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The namespaces that hold a blob.
    ///
    /// # Errors
    /// containerd's own.
    pub(crate) async fn namespaces_of_blob(&self, digest: &Digest) -> Result<Vec<String>, Status> {
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
    pub(crate) async fn blobs(&self, namespace: &str) -> Result<Vec<BlobInfo>, Status> {
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
        let with_labels = |digest, info: Info| BlobInfo {
            digest,
            size: info.size,
            labels: info.labels,
        };
        self.list(namespace, filters, with_labels).await
    }

    /// The same without the labels, which are most of a listing.
    ///
    /// # Errors
    /// containerd's own; or there are more than the limit.
    pub(crate) async fn blob_sizes(&self, namespace: &str) -> Result<Vec<(Digest, i64)>, Status> {
        let size = |digest, info: Info| (digest, info.size);
        self.list(namespace, Vec::new(), size).await
    }

    async fn list<T>(
        &self,
        namespace: &str,
        filters: Vec<String>,
        known: impl Fn(Digest, Info) -> T,
    ) -> Result<Vec<T>, Status> {
        let request = within(namespace, ListContentRequest { filters })?;
        let mut answers = self.content().list(request).await?.into_inner();
        let mut blobs = Vec::new();
        while let Some(answer) = answers.message().await? {
            let infos = answer.info.into_iter();
            blobs.extend(infos.filter_map(|info| Some(known(info.digest.parse().ok()?, info))));
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
    pub(crate) async fn image_records(&self, namespace: &str) -> Result<Vec<RecordedName>, Status> {
        let images = self.listed_images(namespace).await?.into_iter();
        Ok(images.filter_map(RecordedName::of).collect())
    }

    /// Name and digest of every image record of a namespace, as they stand there.
    ///
    /// # Errors
    /// containerd's own.
    pub(crate) async fn resident_images(
        &self,
        namespace: &str,
    ) -> Result<Vec<(String, String)>, Status> {
        let images = self.listed_images(namespace).await?.into_iter();
        let named = images.map(|image| {
            let digest = image.target.map(|target| target.digest);
            (image.name, digest.unwrap_or_default())
        });
        Ok(named.collect())
    }

    /// Whether what that blob is need not be read any more.
    pub(crate) fn has_read(&self, digest: &Digest) -> bool {
        self.documents().known.contains_key(digest)
    }

    /// The index or manifest that a blob was found to be, if it was read.
    pub(crate) fn known_document(&self, digest: &Digest) -> Option<Arc<Blob>> {
        self.documents().known.get(digest).cloned().flatten()
    }

    /// The index or manifest that a blob is, read from the bytes and hashed; none for every other
    /// blob.
    ///
    /// # Errors
    /// containerd's own.
    pub(crate) async fn document(
        &self,
        namespace: &str,
        info: &BlobInfo,
    ) -> Result<Option<Arc<Blob>>, Status> {
        self.read_document(namespace, info, true).await
    }

    /// The same, for who doesn't need it again: only that a blob is none is kept.
    ///
    /// # Errors
    /// containerd's own.
    pub(crate) async fn glance(
        &self,
        namespace: &str,
        info: &BlobInfo,
    ) -> Result<Option<Arc<Blob>>, Status> {
        self.read_document(namespace, info, false).await
    }

    async fn read_document(
        &self,
        namespace: &str,
        info: &BlobInfo,
        keeps: bool,
    ) -> Result<Option<Arc<Blob>>, Status> {
        if !info.may_be_document() {
            return Ok(None);
        }
        let known = self.documents().known.get(&info.digest).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        // Gone since it was listed: garbage is collected at any time.
        let Some(mut bytes) = self
            .read(namespace, &info.digest, info.size.min(READ_WHOLE))
            .await?
        else {
            return Ok(None);
        };
        // No more than white space may be the beginning of one: the size may be less than the blob's.
        let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
        let json = first.is_none_or(|first| *first == b'{');
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
        if keeps || document.is_none() {
            self.documents()
                .keep(info.digest, info.size, document.clone());
        }
        Ok(document)
    }

    fn documents(&self) -> MutexGuard<'_, Documents> {
        self.documents
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The bytes of an index or a manifest, from whichever namespace holds them, and hashed.
    ///
    /// # Errors
    /// containerd's own.
    pub(crate) async fn document_bytes(&self, digest: &Digest) -> Result<Option<Vec<u8>>, Status> {
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

//! The image records of one containerd, with what they stand for; and the one thing that rootpin
//! may do to them.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::services::v1::{
    DeleteImageRequest, GetImageRequest, Image, InfoRequest, ListImagesRequest,
};
use containerd_client::types::Descriptor;
use tonic::{Code, Status};

use super::{BlobInfo, ContainerdClient, RecordedName, record_is_of_registry, within};
use crate::decide::ImageContents;
use crate::problem::Problem;
use rootpin_trust::image::{Blob, Digest, ImageRef, IndexEntry};

/// containerd itself sends no larger message unless it is told to, which makes some sixty thousand
/// records of one namespace.
const MAX_MESSAGE: usize = 64 << 20;
/// So many documents of an image are read: an index has a few platforms, and attestations beside
/// them.
const MAX_DOCUMENTS: usize = 1024;
/// An index of more is compared with a list of what is here, so that one that lists thousands which
/// are not costs no question for each.
const MANY: usize = 32;

/// An image record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageRecord {
    /// Its name, as it stands there.
    pub name: String,
    /// What it stands for.
    pub target: RecordTarget,
    /// Whether the record itself shows that a registry was asked, though the blobs may not.
    pub(crate) is_of_registry: bool,
}

/// An image lists more documents than are read of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", over_limit())]
pub struct OverLimit;

fn over_limit() -> Problem {
    let what = format!(
        "over-limit: it lists more than {MAX_DOCUMENTS} manifests that are here, so that a revoked one among the others would not be seen"
    );
    Problem::hinted(what, "remove it if you don't know why")
}

/// What a record stands for, as it stands there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RecordTarget {
    /// Its digest, of whatever kind.
    pub digest: String,
    /// Its size, as whoever wrote the record says.
    pub size: i64,
}

/// What an engine calls an image, if it is a name: `sha256:…` is an ID, though it looks like the
/// tag of an image that is called sha256.
#[must_use]
pub(crate) fn name_of_record(record: &str) -> Option<ImageRef> {
    if is_id(record) {
        None
    } else {
        record.parse().ok()
    }
}

/// Whether a record is one that engines make beside an image's name: no name, and none is missed.
#[must_use]
pub(crate) fn is_id(record: &str) -> bool {
    let internal = ["moby-dangling@", "overlayfs@", "import-"];
    record.parse::<Digest>().is_ok()
        || internal.iter().any(|prefix| {
            record
                .strip_prefix(prefix)
                .is_some_and(|rest| rest.contains("sha256:"))
        })
}

impl ContainerdClient {
    /// containerd's image records of a namespace.
    pub(super) async fn listed_images(&self, namespace: &str) -> Result<Vec<Image>, Status> {
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
        Ok(answer.images)
    }

    /// Every image record of a namespace.
    ///
    /// # Errors
    /// containerd's own.
    pub(crate) async fn records(&self, namespace: &str) -> Result<Vec<ImageRecord>, Status> {
        let images = self.listed_images(namespace).await?.into_iter();
        let records = images.map(|image| ImageRecord {
            is_of_registry: record_is_of_registry(&image.name, &image.labels),
            name: image.name,
            target: target(image.target),
        });
        Ok(records.collect())
    }

    /// What the platforms of an image are made of, as far as it is here, from documents that were
    /// hashed; and whether that is all, or the image lists more than the limit.
    ///
    /// # Errors
    /// containerd's own.
    pub(crate) async fn bytes(
        &self,
        namespace: &str,
        top: Digest,
        size: i64,
    ) -> Result<(ImageContents, Result<(), OverLimit>), Status> {
        self.bytes_among(namespace, top, size, &mut None).await
    }

    /// The same. `present`: the blobs of the namespace, which are listed for an index of many
    /// documents; for many images they are listed once.
    ///
    /// # Errors
    /// containerd's own.
    pub(crate) async fn bytes_among(
        &self,
        namespace: &str,
        top: Digest,
        size: i64,
        present: &mut Option<HashSet<Digest>>,
    ) -> Result<(ImageContents, Result<(), OverLimit>), Status> {
        let (mut bytes, mut whole) = (ImageContents::default(), Ok(()));
        let mut seen = HashSet::from([top]);
        let mut open = VecDeque::from([(top, size, None::<IndexEntry>, true)]);
        while let Some((digest, size, entry, proved)) = open.pop_front() {
            let Some(document) = self.document_of(namespace, digest, size).await? else {
                continue;
            };
            let contents = document.content();
            // A manifest stands for the top where each index down to it lists the next document by
            // its whole descriptor; what it holds is on this host in any case.
            let proved = proved && entry.is_none_or(|entry| document.is(&entry.descriptor));
            if !contents.is_empty() && proved {
                bytes.manifests.push(digest);
            }
            bytes.configs.extend(document.config());
            bytes.contents.extend([digest].into_iter().chain(contents));
            if present.is_none() && document.entries().len() > MANY {
                *present = Some(self.present(namespace).await?);
            }
            for entry in document.entries() {
                let IndexEntry { descriptor, .. } = entry;
                let is_absent = |present: &HashSet<_>| !present.contains(&descriptor.digest);
                if seen.contains(&descriptor.digest) || present.as_ref().is_some_and(is_absent) {
                    continue;
                }
                if seen.len() >= MAX_DOCUMENTS {
                    whole = Err(OverLimit);
                    break;
                }
                if seen.insert(descriptor.digest) {
                    let size = i64::try_from(descriptor.size).unwrap_or(i64::MAX);
                    open.push_back((descriptor.digest, size, Some(entry.clone()), proved));
                }
            }
        }
        Ok((bytes, whole))
    }

    /// The digests of the blobs of a namespace.
    ///
    /// # Errors
    /// containerd's own; or there are more than the limit.
    pub(crate) async fn present(&self, namespace: &str) -> Result<HashSet<Digest>, Status> {
        let blobs = self.blobs(namespace).await?;
        Ok(blobs.iter().map(|info| info.digest).collect())
    }

    /// Registries and repositories that these blobs are labelled with; empty ones where a blob was
    /// fetched and has no such label.
    ///
    /// # Errors
    /// containerd's own.
    pub(crate) async fn sources(
        &self,
        namespace: &str,
        digests: &[Digest],
    ) -> Result<Vec<(String, String)>, Status> {
        let mut sources = Vec::new();
        for digest in digests {
            let info = self.info(namespace, digest).await?;
            let Some(info) = info.filter(BlobInfo::is_of_registry) else {
                continue;
            };
            let before = sources.len();
            sources.extend(
                info.sources()
                    .map(|(host, path)| (host.to_owned(), path.to_owned())),
            );
            if sources.len() == before {
                sources.push((String::new(), String::new()));
            }
        }
        sources.sort();
        sources.dedup();
        Ok(sources)
    }

    /// What a record stands for now; none where it is gone.
    ///
    /// # Errors
    /// containerd's own.
    pub(crate) async fn target(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<RecordTarget>, Status> {
        let image = self.image(namespace, name).await?;
        Ok(image.map(|image| target(image.target)))
    }

    /// What a record of this name tells now; none where it is gone.
    ///
    /// # Errors
    /// containerd's own.
    pub(crate) async fn recorded_name(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<RecordedName>, Status> {
        let image = self.image(namespace, name).await?;
        Ok(image.and_then(RecordedName::of))
    }

    async fn image(&self, namespace: &str, name: &str) -> Result<Option<Image>, Status> {
        let request = within(
            namespace,
            GetImageRequest {
                name: name.to_owned(),
            },
        )?;
        match ImagesClient::new(self.channel())
            .max_decoding_message_size(MAX_MESSAGE)
            .get(request)
            .await
        {
            Ok(answer) => Ok(answer.into_inner().image),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// Deletes a record that stands for this. Since 2.0 containerd itself compares the digest;
    /// before, whoever asks has to have looked a moment ago. `sync`: wait until what nothing holds
    /// any more is gone.
    ///
    /// # Errors
    /// containerd's own; `NotFound` where the record is gone, or stands for something else.
    pub(crate) async fn delete(
        &self,
        namespace: &str,
        name: &str,
        target: &RecordTarget,
        sync: bool,
    ) -> Result<(), Status> {
        let target = Descriptor {
            digest: target.digest.clone(),
            size: target.size,
            ..Descriptor::default()
        };
        let request = within(
            namespace,
            DeleteImageRequest {
                name: name.to_owned(),
                sync,
                target: Some(target),
            },
        )?;
        ImagesClient::new(self.channel())
            .delete(request)
            .await
            .map(|_| ())
    }

    /// A document, with the size that the store knows where the one that was told does not fit.
    async fn document_of(
        &self,
        namespace: &str,
        digest: Digest,
        size: i64,
    ) -> Result<Option<Arc<Blob>>, Status> {
        let told = BlobInfo::without_labels(digest, size);
        match self.document(namespace, &told).await {
            Ok(Some(document)) => return Ok(Some(document)),
            Err(status) if status.code() != Code::OutOfRange => return Err(status),
            Ok(None) | Err(_) => {}
        }
        match self.info(namespace, &digest).await? {
            Some(info) if info.size != size => self.document(namespace, &info).await,
            _ => Ok(None),
        }
    }

    /// What the store says of one blob; none where it is not there.
    pub(crate) async fn info(
        &self,
        namespace: &str,
        digest: &Digest,
    ) -> Result<Option<BlobInfo>, Status> {
        let request = within(
            namespace,
            InfoRequest {
                digest: digest.to_string(),
            },
        )?;
        match ContentClient::new(self.channel())
            .max_decoding_message_size(MAX_MESSAGE)
            .info(request)
            .await
        {
            Ok(answer) => Ok(answer.into_inner().info.map(|info| BlobInfo {
                digest: *digest,
                size: info.size,
                labels: info.labels,
            })),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(status),
        }
    }
}

fn target(target: Option<Descriptor>) -> RecordTarget {
    target
        .map(|target| RecordTarget {
            digest: target.digest,
            size: target.size,
        })
        .unwrap_or_default()
}

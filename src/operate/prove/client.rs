//! Does the work of containerd's client library in a pull or an import: blobs, the image's
//! record, and each layer by the Diff service.

use std::collections::HashMap;

use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::diff_client::DiffClient;
use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::services::v1::leases_client::LeasesClient;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::snapshots::{
    CommitSnapshotRequest, PrepareSnapshotRequest, RemoveSnapshotRequest, StatSnapshotRequest,
};
use containerd_client::services::v1::{
    ApplyRequest, CreateImageRequest, CreateRequest, Image, WriteAction, WriteContentRequest,
};
use containerd_client::types;
use jiff::{SignedDuration, Timestamp};
use tonic::{Code, Status};

use super::Offer;
use super::archive;
use super::engine::{ProofEngine, within};
use crate::canary::CanaryImage;
use rootpin_trust::image::{Descriptor, Digest};

/// Whether the blobs come from a registry or from an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BlobOrigin {
    Registry,
    Archive,
}

type Labels = HashMap<String, String>;

/// Brings an image in. The record is written before anything is unpacked, as `ctr images pull
/// --local` and imports do.
pub(super) async fn bring(
    engine: &ProofEngine,
    namespace: &str,
    offer: &Offer,
    origin: BlobOrigin,
) -> Result<(), Status> {
    let client = ImportClient {
        engine,
        namespace,
        lease: namespace,
    };
    client.hold().await?;
    let image = &offer.image;
    for blob in image.blobs() {
        let mut labels = refers(image, blob.descriptor.digest);
        if origin == BlobOrigin::Registry {
            // As containerd's fetcher labels what it fetched: the host without its port.
            labels.insert(
                "containerd.io/distribution.source.127.0.0.1".to_owned(),
                offer.name.repository.path().to_owned(),
            );
        }
        client
            .write(&blob.descriptor.digest, &blob.bytes, labels)
            .await?;
    }
    if origin == BlobOrigin::Archive {
        let index = archive::index(offer).to_string().into_bytes();
        let labels = Labels::from([(
            "containerd.io/gc.ref.content.m.0".to_owned(),
            image.digest().to_string(),
        )]);
        client.write(&Digest::of(&index), &index, labels).await?;
    }
    let record = Image {
        name: offer.name.to_string(),
        target: Some(wire(&image.manifest.descriptor)),
        ..Image::default()
    };
    let request = within(
        namespace,
        Some(namespace),
        CreateImageRequest {
            image: Some(record),
            source_date_epoch: None,
        },
    )?;
    known(
        ImagesClient::new(engine.channel.clone())
            .create(request)
            .await,
    )?;
    client.unpack(image).await
}

struct ImportClient<'a> {
    engine: &'a ProofEngine,
    namespace: &'a str,
    lease: &'a str,
}

impl ImportClient<'_> {
    /// Should we be killed, containerd lets all of it go by itself.
    async fn hold(&self) -> Result<(), Status> {
        let end = Timestamp::now()
            .checked_add(SignedDuration::from_mins(10))
            .unwrap_or(Timestamp::MAX);
        let labels = Labels::from([(
            "containerd.io/gc.expire".to_owned(),
            end.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        )]);
        let request = within(
            self.namespace,
            None,
            CreateRequest {
                id: self.lease.to_owned(),
                labels,
            },
        )?;
        known(
            LeasesClient::new(self.engine.channel.clone())
                .create(request)
                .await,
        )
    }

    async fn write(&self, digest: &Digest, bytes: &[u8], labels: Labels) -> Result<(), Status> {
        let message = WriteContentRequest {
            action: WriteAction::Commit.into(),
            r#ref: format!("rootpin-prove-{digest}"),
            total: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
            expected: digest.to_string(),
            offset: 0,
            data: bytes.to_vec(),
            labels,
        };
        let request = within(
            self.namespace,
            Some(self.lease),
            tokio_stream::once(message),
        )?;
        let written = async {
            let mut answers = ContentClient::new(self.engine.channel.clone())
                .write(request)
                .await?
                .into_inner();
            while answers.message().await?.is_some() {}
            Ok(())
        };
        known(written.await)
    }

    /// Only what isn't there yet is unpacked: so are layers that another image brought.
    async fn unpack(&self, image: &CanaryImage) -> Result<(), Status> {
        let snapshotter = self.engine.snapshotter().to_owned();
        let mut snapshots = SnapshotsClient::new(self.engine.channel.clone());
        let layer = &image.layer.descriptor;
        // Of a first layer that is not compressed, digest, diff ID and chain ID are one (OCI
        // image-spec, "Layer ChainID").
        let chain = layer.digest.to_string();
        let stat = StatSnapshotRequest {
            snapshotter: snapshotter.clone(),
            key: chain.clone(),
        };
        match snapshots
            .stat(within(self.namespace, Some(self.lease), stat)?)
            .await
        {
            Ok(_) => return Ok(()),
            Err(status) if status.code() == Code::NotFound => {}
            Err(status) => return Err(status),
        }
        let key = format!("rootpin-prove-{chain}");
        let prepare = PrepareSnapshotRequest {
            snapshotter: snapshotter.clone(),
            key: key.clone(),
            ..PrepareSnapshotRequest::default()
        };
        let mounts = snapshots
            .prepare(within(self.namespace, Some(self.lease), prepare)?)
            .await?
            .into_inner()
            .mounts;
        let apply = ApplyRequest {
            diff: Some(wire(layer)),
            mounts,
            ..ApplyRequest::default()
        };
        let applied = DiffClient::new(self.engine.channel.clone())
            .apply(within(self.namespace, Some(self.lease), apply)?)
            .await;
        if let Err(status) = applied {
            let remove = RemoveSnapshotRequest { snapshotter, key };
            let _ = snapshots
                .remove(within(self.namespace, Some(self.lease), remove)?)
                .await;
            return Err(status);
        }
        let commit = CommitSnapshotRequest {
            snapshotter,
            name: chain,
            key,
            ..CommitSnapshotRequest::default()
        };
        known(
            snapshots
                .commit(within(self.namespace, Some(self.lease), commit)?)
                .await,
        )
    }
}

/// What a document refers to, as containerd's garbage collector wants it said.
fn refers(image: &CanaryImage, document: Digest) -> Labels {
    if document != image.digest() {
        return Labels::new();
    }
    let named = |kind: &str, descriptor: &Descriptor| {
        (
            format!("containerd.io/gc.ref.content.{kind}"),
            descriptor.digest.to_string(),
        )
    };
    [
        named("config", &image.config.descriptor),
        named("l.0", &image.layer.descriptor),
    ]
    .into()
}

fn wire(descriptor: &Descriptor) -> types::Descriptor {
    types::Descriptor {
        media_type: descriptor.media_type.clone(),
        digest: descriptor.digest.to_string(),
        size: i64::try_from(descriptor.size).unwrap_or(i64::MAX),
        annotations: HashMap::new(),
    }
}

/// What is there already is as good.
fn known<T>(result: Result<T, Status>) -> Result<(), Status> {
    match result {
        Err(status) if status.code() != Code::AlreadyExists => Err(status),
        _ => Ok(()),
    }
}

//! Takes away what a proof has brought into a containerd, or one that could not end has left there;
//! and says what would not go.

use std::time::{Duration, Instant};

use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::services::v1::leases_client::LeasesClient;
use containerd_client::services::v1::namespaces_client::NamespacesClient;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::snapshots::{ListSnapshotsRequest, RemoveSnapshotRequest};
use containerd_client::services::v1::{
    AbortRequest, CreateRequest, DeleteContentRequest, DeleteImageRequest, DeleteNamespaceRequest,
    DeleteRequest, ListContentRequest, ListImagesRequest, ListNamespacesRequest, ListRequest,
    ListStatusesRequest,
};
use tonic::Status;

use super::engine::{ProofEngine, within};
use super::{PREFIX, cri, is_ours};

/// The collector may be at work.
const PATIENCE: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(100);
/// By what a fetched blob tells its repository; the registry's port is not in it.
const SOURCE: &str = "containerd.io/distribution.source.127.0.0.1";

/// What is left after everything was tried, one line each.
pub(super) async fn everything(engine: &ProofEngine) -> Vec<String> {
    let end = Instant::now() + PATIENCE;
    loop {
        let left = match tokio::time::timeout(PATIENCE, once(engine)).await {
            Ok(Ok(left)) => left,
            Ok(Err(status)) => vec![format!(
                "whatever is left in it, for it says: {}",
                status.message()
            )],
            Err(_) => vec!["whatever is left in it, for it doesn't answer".to_owned()],
        };
        if left.is_empty() || Instant::now() > end {
            return left
                .into_iter()
                .map(|what| format!("{}: {what}", engine.name))
                .collect();
        }
        // A snapshot that another stands on, a blob that the collector holds: they go in the next
        // round.
        tokio::time::sleep(AGAIN).await;
    }
}

/// What there still is, after one round.
async fn once(engine: &ProofEngine) -> Result<Vec<String>, Status> {
    let mut left = Vec::new();
    let mut namespaces = NamespacesClient::new(engine.channel.clone());
    let listed = namespaces
        .list(ListNamespacesRequest::default())
        .await?
        .into_inner()
        .namespaces;
    for namespace in listed.iter().map(|namespace| namespace.name.as_str()) {
        if namespace.starts_with(PREFIX) {
            let place = EngineNamespace { engine, namespace };
            let inside = place.empty().await?;
            place.collect().await?;
            let gone = namespaces
                .delete(DeleteNamespaceRequest {
                    name: namespace.to_owned(),
                })
                .await;
            if gone.is_err() {
                left.push(format!(
                    "namespace {namespace} ({})",
                    inside.first().map_or("not empty", String::as_str)
                ));
            }
        } else if namespace == cri::NAMESPACE {
            left.extend(EngineNamespace { engine, namespace }.without_ours().await?);
        }
    }
    Ok(left)
}

struct EngineNamespace<'a> {
    engine: &'a ProofEngine,
    namespace: &'a str,
}

impl EngineNamespace<'_> {
    /// A namespace of a proof's own: all that is in it goes. Returns what was there.
    async fn empty(&self) -> Result<Vec<String>, Status> {
        let mut seen = Vec::new();
        for name in self.images().await? {
            self.delete_image(&name).await?;
            seen.push(format!("image {name}"));
        }
        let mut leases = LeasesClient::new(self.engine.channel.clone());
        for lease in leases
            .list(self.asked(ListRequest::default())?)
            .await?
            .into_inner()
            .leases
        {
            // Whatever refuses to go is seen by the namespace not going; so below.
            let _ = leases
                .delete(self.asked(DeleteRequest {
                    id: lease.id.clone(),
                    sync: false,
                })?)
                .await;
            seen.push(format!("lease {}", lease.id));
        }
        let mut snapshots = SnapshotsClient::new(self.engine.channel.clone());
        for snapshotter in self.engine.snapshotters() {
            let request = ListSnapshotsRequest {
                snapshotter: snapshotter.to_owned(),
                ..ListSnapshotsRequest::default()
            };
            let mut pages = snapshots.list(self.asked(request)?).await?.into_inner();
            let mut keys = Vec::new();
            while let Some(page) = pages.message().await? {
                keys.extend(page.info.into_iter().map(|info| info.name));
            }
            for key in keys {
                seen.push(format!("snapshot {key}"));
                let _ = snapshots
                    .remove(self.asked(RemoveSnapshotRequest {
                        snapshotter: snapshotter.to_owned(),
                        key,
                    })?)
                    .await;
            }
        }
        let mut content = ContentClient::new(self.engine.channel.clone());
        for status in content
            .list_statuses(self.asked(ListStatusesRequest::default())?)
            .await?
            .into_inner()
            .statuses
        {
            let _ = content
                .abort(self.asked(AbortRequest {
                    r#ref: status.r#ref.clone(),
                })?)
                .await;
            seen.push(format!("download {}", status.r#ref));
        }
        for digest in self.blobs(Vec::new()).await? {
            let _ = content
                .delete(self.asked(DeleteContentRequest {
                    digest: digest.clone(),
                })?)
                .await;
            seen.push(format!("blob {digest}"));
        }
        Ok(seen)
    }

    /// A namespace that others use: only images with a proof's name go, and the collector takes
    /// what belongs to nothing else. Returns what is left.
    async fn without_ours(&self) -> Result<Vec<String>, Status> {
        let ours = |names: Vec<String>| {
            names
                .into_iter()
                .filter(|name| is_ours(name))
                .collect::<Vec<_>>()
        };
        for name in ours(self.images().await?) {
            // CRI has records beside this one, and an index of its own; where it is not there or
            // knows nothing of it, the record is all.
            let _ = cri::remove(self.engine, &name).await;
            self.delete_image(&name).await?;
        }
        let filter = format!("labels.\"{SOURCE}\"~=^{PREFIX}");
        if self.blobs(vec![filter.clone()]).await?.is_empty() {
            return Ok(ours(self.images().await?)
                .into_iter()
                .map(|name| format!("image {name} in {}", self.namespace))
                .collect());
        }
        self.collect().await?;
        let images = ours(self.images().await?)
            .into_iter()
            .map(|name| format!("image {name} in {}", self.namespace));
        let blobs = self
            .blobs(vec![filter])
            .await?
            .into_iter()
            .map(|digest| format!("blob {digest} in {}", self.namespace));
        Ok(images.chain(blobs).collect())
    }

    async fn images(&self) -> Result<Vec<String>, Status> {
        let request = self.asked(ListImagesRequest::default())?;
        let client =
            ImagesClient::new(self.engine.channel.clone()).max_decoding_message_size(16 << 20);
        let answer = { client }.list(request).await?.into_inner();
        Ok(answer.images.into_iter().map(|image| image.name).collect())
    }

    async fn delete_image(&self, name: &str) -> Result<(), Status> {
        let request = DeleteImageRequest {
            name: name.to_owned(),
            ..DeleteImageRequest::default()
        };
        match ImagesClient::new(self.engine.channel.clone())
            .delete(self.asked(request)?)
            .await
        {
            Err(status) if status.code() != tonic::Code::NotFound => Err(status),
            _ => Ok(()),
        }
    }

    async fn blobs(&self, filters: Vec<String>) -> Result<Vec<String>, Status> {
        let request = self.asked(ListContentRequest { filters })?;
        let client =
            ContentClient::new(self.engine.channel.clone()).max_decoding_message_size(16 << 20);
        let mut pages = { client }.list(request).await?.into_inner();
        let mut digests = Vec::new();
        while let Some(page) = pages.message().await? {
            digests.extend(page.info.into_iter().map(|info| info.digest));
        }
        Ok(digests)
    }

    /// Returns when the collector has run: so containerd does when a lease is deleted with `sync`.
    async fn collect(&self) -> Result<(), Status> {
        let mut leases = LeasesClient::new(self.engine.channel.clone());
        let id = format!("{PREFIX}collect");
        let created = leases
            .create(self.asked(CreateRequest {
                id: id.clone(),
                ..CreateRequest::default()
            })?)
            .await;
        if let Err(status) = created
            && status.code() != tonic::Code::AlreadyExists
        {
            return Err(status);
        }
        leases
            .delete(self.asked(DeleteRequest { id, sync: true })?)
            .await
            .map(|_| ())
    }

    fn asked<T>(&self, message: T) -> Result<tonic::Request<T>, Status> {
        within(self.namespace, None, message)
    }
}

//! Makes an engine forget everything. The content store is shared between namespaces and known
//! layers ask nobody, so a door is only asked when no namespace knows the image.

use std::time::{Duration, Instant};

use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::services::v1::leases_client::LeasesClient;
use containerd_client::services::v1::namespaces_client::NamespacesClient;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::snapshots::{
    Info, Kind, ListSnapshotsRequest, RemoveSnapshotRequest,
};
use containerd_client::services::v1::{
    AbortRequest, CreateRequest, DeleteContentRequest, DeleteImageRequest, DeleteRequest,
    ListContentRequest, ListImagesRequest, ListNamespacesRequest, ListRequest, ListStatusesRequest,
};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

const SNAPSHOTTER: &str = "overlayfs";

/// Deletes the images, leases, downloads, snapshots and blobs of every namespace, and waits for the
/// collector.
pub(crate) async fn forget(channel: &Channel) {
    let namespaces = namespaces(channel).await;
    let end = Instant::now() + Duration::from_secs(90);
    loop {
        let mut left = Vec::new();
        for namespace in &namespaces {
            left.extend(delete_all(channel, namespace).await);
        }
        for namespace in &namespaces {
            collect(channel, namespace).await;
        }
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < end, "the engine does not forget: {left:?}");
    }
}

/// How many snapshots of unpacked layers there are, in all namespaces.
pub(crate) async fn unpacked(channel: &Channel) -> usize {
    let mut count = 0;
    for namespace in namespaces(channel).await {
        count += snapshots(channel, &namespace)
            .await
            .into_iter()
            .filter(|info| info.kind() == Kind::Committed)
            .count();
    }
    count
}

async fn namespaces(channel: &Channel) -> Vec<String> {
    let listed = NamespacesClient::new(channel.clone())
        .list(ListNamespacesRequest::default())
        .await
        .unwrap();
    listed
        .into_inner()
        .namespaces
        .into_iter()
        .map(|namespace| namespace.name)
        .collect()
}

async fn snapshots(channel: &Channel, namespace: &str) -> Vec<Info> {
    let request = ListSnapshotsRequest {
        snapshotter: SNAPSHOTTER.to_owned(),
        ..Default::default()
    };
    let mut stream = SnapshotsClient::new(channel.clone())
        .list(within(namespace, request))
        .await
        .unwrap()
        .into_inner();
    let mut all = Vec::new();
    while let Some(page) = stream.message().await.unwrap() {
        all.extend(page.info);
    }
    all
}

pub(crate) fn within<T>(namespace: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("containerd-namespace", namespace.parse().unwrap());
    request
}

/// What is gone already is fine; a parent of a snapshot goes in a later round.
fn gone<T>(result: Result<T, Status>) {
    if let Err(status) = result {
        assert!(
            matches!(status.code(), Code::NotFound | Code::FailedPrecondition),
            "{status}"
        );
    }
}

/// Returns what was there still.
async fn delete_all(channel: &Channel, namespace: &str) -> Vec<String> {
    let mut seen = Vec::new();
    let mut images = ImagesClient::new(channel.clone());
    for image in images
        .list(within(namespace, ListImagesRequest::default()))
        .await
        .unwrap()
        .into_inner()
        .images
    {
        gone(
            images
                .delete(within(
                    namespace,
                    DeleteImageRequest {
                        name: image.name.clone(),
                        ..Default::default()
                    },
                ))
                .await,
        );
        seen.push(image.name);
    }
    let mut leases = LeasesClient::new(channel.clone());
    for lease in leases
        .list(within(namespace, ListRequest::default()))
        .await
        .unwrap()
        .into_inner()
        .leases
    {
        gone(
            leases
                .delete(within(
                    namespace,
                    DeleteRequest {
                        id: lease.id.clone(),
                        sync: false,
                    },
                ))
                .await,
        );
        seen.push(lease.id);
    }
    for key in snapshots(channel, namespace)
        .await
        .into_iter()
        .map(|info| info.name)
    {
        let request = RemoveSnapshotRequest {
            snapshotter: SNAPSHOTTER.to_owned(),
            key: key.clone(),
        };
        gone(
            SnapshotsClient::new(channel.clone())
                .remove(within(namespace, request))
                .await,
        );
        seen.push(key);
    }
    seen.extend(delete_content(channel, namespace).await);
    seen
}

async fn delete_content(channel: &Channel, namespace: &str) -> Vec<String> {
    let mut seen = Vec::new();
    let mut content = ContentClient::new(channel.clone());
    for status in content
        .list_statuses(within(namespace, ListStatusesRequest::default()))
        .await
        .unwrap()
        .into_inner()
        .statuses
    {
        gone(
            content
                .abort(within(
                    namespace,
                    AbortRequest {
                        r#ref: status.r#ref.clone(),
                    },
                ))
                .await,
        );
        seen.push(status.r#ref);
    }
    let mut stream = content
        .list(within(namespace, ListContentRequest::default()))
        .await
        .unwrap()
        .into_inner();
    let mut digests = Vec::new();
    while let Some(page) = stream.message().await.unwrap() {
        digests.extend(page.info.into_iter().map(|info| info.digest));
    }
    for digest in digests {
        gone(
            content
                .delete(within(
                    namespace,
                    DeleteContentRequest {
                        digest: digest.clone(),
                    },
                ))
                .await,
        );
        seen.push(digest);
    }
    seen
}

/// Deleting a lease with `sync` returns when a collection has run.
async fn collect(channel: &Channel, namespace: &str) {
    let mut leases = LeasesClient::new(channel.clone());
    let id = "forget".to_owned();
    leases
        .create(within(
            namespace,
            CreateRequest {
                id: id.clone(),
                ..Default::default()
            },
        ))
        .await
        .unwrap();
    leases
        .delete(within(namespace, DeleteRequest { id, sync: true }))
        .await
        .unwrap();
}

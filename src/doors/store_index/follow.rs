//! Follows the events of one containerd, so that the index of a namespace knows all documents and
//! records that a listing would show.
//!
//! containerd broadcasts events in one order, each before the call that caused it returns. So a
//! question publishes a mark of its own and waits until that comes back: then all that whoever asks
//! had written before is in the index. What another client writes at the same time may be
//! missing, as it may be in a listing.

use std::time::Duration;

use tonic::Status;

use super::{MAX_NAMESPACES, StoreIndex};
use crate::engines::containerd::events::{StoreChange, StoreEvents, publish_mark, tells_of_blobs};
use crate::engines::containerd::{BlobInfo, ContainerdClient};
use crate::nonce;

/// Until the events are subscribed to again, at first and at last.
const AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// How long the first mark is waited for: the subscription may not stand yet.
const FIRST: Duration = Duration::from_millis(20);
/// A mark that takes longer to come back costs more than a listing.
const SOON: Duration = Duration::from_millis(500);

/// Keeps the index of one containerd up to date, for ever.
pub(in crate::doors) async fn follow(containerd: &ContainerdClient, index: &StoreIndex) {
    let (mut pause, mut has_read) = (AGAIN.0, false);
    loop {
        match tells_of_blobs(containerd).await {
            Ok(true) => {
                let mut has_stood = false;
                tokio::select! {
                    Err(status) = hear(containerd, index) => log::debug!("events: {status}"),
                    () = read_wanted(containerd, index, &mut has_stood) => {}
                }
                index.disconnect();
                if has_stood {
                    pause = AGAIN.0;
                }
            }
            // Before 2.1: nothing tells of blobs. But what was read once need not be read by the
            // first question.
            Ok(false) if !has_read => match read_before_asked(containerd).await {
                Ok(()) => has_read = true,
                Err(status) => log::debug!("reading what containerd has: {status}"),
            },
            Ok(false) => pause = AGAIN.1,
            Err(status) => log::debug!("the version of containerd: {status}"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(AGAIN.1);
    }
}

impl StoreIndex {
    /// Whether the index of that namespace has all that was written before this call. If it could
    /// have and has not, it will be followed from now on.
    pub(in crate::doors) async fn is_up_to_date(
        &self,
        containerd: &ContainerdClient,
        namespace: &str,
    ) -> bool {
        if !self.is_followed(namespace) {
            self.want(namespace);
            return false;
        }
        self.mark_comes_back(containerd, SOON).await
    }

    async fn mark_comes_back(&self, containerd: &ContainerdClient, within: Duration) -> bool {
        let Ok(mark) = nonce::random_hex() else {
            return false;
        };
        let heard = self.expect(&mark);
        let comes_back =
            async { publish_mark(containerd, &mark).await.is_ok() && heard.await.is_ok() };
        tokio::time::timeout(within, comes_back)
            .await
            .unwrap_or(false)
    }
}

/// Takes in each event, one after the other, until the stream ends: a mark comes after all that was
/// written before it.
async fn hear(containerd: &ContainerdClient, index: &StoreIndex) -> Result<(), Status> {
    let mut events = StoreEvents::subscribe(containerd).await?;
    loop {
        match events.next().await? {
            StoreChange::Mark(mark) => index.hear(&mark),
            StoreChange::Blob(namespace, info) => {
                if index.is_followed(&namespace)
                    && let Err(status) = read(containerd, index, &namespace, &info).await
                {
                    cannot(index, &namespace, &status);
                }
            }
            StoreChange::Record(namespace, name) => {
                if index.is_followed(&namespace) {
                    match containerd.recorded_name(&namespace, &name).await {
                        Ok(Some(record)) => index.add_record(&namespace, &record),
                        // Deleted since.
                        Ok(None) => {}
                        Err(status) => cannot(index, &namespace, &status),
                    }
                }
            }
        }
    }
}

fn cannot(index: &StoreIndex, namespace: &str, status: &Status) {
    log::debug!("namespace {namespace:?} is no longer followed: {status}");
    index.give_up(namespace);
}

/// Once the stream stands, reads what is in the namespaces that containerd has, and then in those
/// that are asked about.
async fn read_wanted(containerd: &ContainerdClient, index: &StoreIndex, has_stood: &mut bool) {
    let mut wait = FIRST;
    while !index.mark_comes_back(containerd, wait).await {
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(AGAIN.1);
    }
    *has_stood = true;
    index.connect();
    let namespaces = containerd.namespaces().await.unwrap_or_default();
    for namespace in namespaces.iter().take(MAX_NAMESPACES) {
        read_all(containerd, index, namespace).await;
    }
    loop {
        let namespace = index.wanted().await;
        read_all(containerd, index, &namespace).await;
    }
}

/// Begins to follow a namespace, and adds what is there already.
async fn read_all(containerd: &ContainerdClient, index: &StoreIndex, namespace: &str) {
    if !index.begin(namespace) {
        return;
    }
    let all = async {
        let (blobs, records) = tokio::try_join!(
            containerd.blob_sizes(namespace),
            containerd.image_records(namespace)
        )?;
        for record in &records {
            index.add_record(namespace, record);
        }
        // A question that lists the namespace meanwhile reads from the other end.
        for (digest, size) in blobs.into_iter().rev() {
            if !index.has(namespace, &digest) {
                let info = BlobInfo::without_labels(digest, size);
                read(containerd, index, namespace, &info).await?;
            }
        }
        Ok::<_, Status>(())
    };
    match all.await {
        Ok(()) => index.finish(namespace),
        Err(status) => cannot(index, namespace, &status),
    }
}

async fn read(
    containerd: &ContainerdClient,
    index: &StoreIndex,
    namespace: &str,
    info: &BlobInfo,
) -> Result<(), Status> {
    if let Some(document) = containerd.glance(namespace, info).await? {
        index.add(namespace, &document);
    }
    Ok(())
}

/// Reads each blob that may be a document and has no labels that say of what, which a listing would
/// have to.
async fn read_before_asked(containerd: &ContainerdClient) -> Result<(), Status> {
    for namespace in containerd.namespaces().await?.iter().take(MAX_NAMESPACES) {
        for info in containerd.blobs(namespace).await? {
            if info.listed().next().is_none() {
                containerd.document(namespace, &info).await?;
            }
        }
    }
    Ok(())
}

//! Follows the events of one containerd, so that the index of a namespace knows all documents and
//! records that a listing would show.
//!
//! containerd broadcasts events in one order, each before the call that caused it returns. So a
//! question publishes a mark of its own, after it has asked for what the index leads to, and waits
//! until that comes back: where the index leads to no more then, it led to all that whoever asks had
//! written before. What another client writes at the same time may be missing, as it may be in a
//! listing. So may a blob that whoever asks did not write itself, since it came first from another
//! client whose call has not returned: `AlreadyExists` can precede its event.

use std::time::Duration;

use tonic::Status;

use super::{MAX_NAMESPACES, StoreIndex};
use crate::engines::containerd::events::{StoreChange, StoreEvents, publish_mark, tells_of_blobs};
use crate::engines::containerd::{BlobInfo, ContainerdClient};
use crate::nonce;

/// Until the events are subscribed to again, at first and at last; or until the next question.
const AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(30));
/// Until a containerd that does not answer is looked for again, at most: it is being restarted, and
/// is to be followed before it asks.
const AWAY: Duration = Duration::from_millis(500);
/// How long the first mark is waited for: the subscription may not stand yet.
const FIRST: Duration = Duration::from_millis(5);
/// A mark that takes longer to come back costs more than a listing. And so long the follower stands
/// back for each blob that it reads while questions list.
const SOON: Duration = Duration::from_millis(500);
/// A read that takes longer must not hold up what follows.
const READ: Duration = Duration::from_secs(5);

/// Keeps the index of one containerd up to date, for ever.
pub(in crate::doors) async fn follow(containerd: &ContainerdClient, index: &StoreIndex) {
    let (mut pause, mut has_read) = (AGAIN.0, false);
    loop {
        let tells = tells_of_blobs(containerd).await;
        match &tells {
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
            Err(status) => {
                log::debug!("the version of containerd: {status}");
                pause = pause.min(AWAY);
            }
        }
        match tells {
            Ok(false) => tokio::time::sleep(pause).await,
            // A question shows that containerd is there again.
            Ok(true) | Err(_) => index.until_wanted(pause).await,
        }
        pause = (pause * 2).min(AGAIN.1);
    }
}

impl StoreIndex {
    /// Whether the index of that namespace may know all. If it could and does not, the namespace
    /// will be followed from now on.
    pub(in crate::doors) fn can_be_used(&self, namespace: &str) -> bool {
        let follows = self.is_followed(namespace);
        if !follows {
            self.want(namespace);
        }
        follows && !self.is_behind(AGAIN.1)
    }

    /// Whether the index of each namespace that is followed has all that was written before this
    /// call.
    pub(in crate::doors) async fn is_up_to_date(&self, containerd: &ContainerdClient) -> bool {
        self.mark_comes_back(containerd, SOON).await
    }

    /// So long, or until a question wants a namespace.
    async fn until_wanted(&self, pause: Duration) {
        let _ = tokio::time::timeout(pause, self.wants.notified()).await;
    }

    /// While it lives, a question lists a namespace.
    pub(in crate::doors) fn lists(&self) -> Listing<'_> {
        self.listings
            .send_modify(|listings| *listings = listings.saturating_add(1));
        Listing(self)
    }

    /// Stands back for questions that list, which need what the follower would read meanwhile, and
    /// have less time.
    async fn until_nothing_is_listed(&self) {
        let mut listings = self.listings.subscribe();
        let none = listings.wait_for(|listings| *listings == 0);
        let _ = tokio::time::timeout(SOON, none).await;
    }

    async fn mark_comes_back(&self, containerd: &ContainerdClient, within: Duration) -> bool {
        let Ok(mark) = nonce::random_hex() else {
            return false;
        };
        let heard = self.expect(&mark);
        let comes_back =
            async { publish_mark(containerd, &mark).await.is_ok() && heard.await.is_ok() };
        let came = tokio::time::timeout(within, comes_back).await;
        if came.is_err() {
            self.missed(&mark);
        }
        came.unwrap_or(false)
    }
}

/// A listing that is under way.
pub(in crate::doors) struct Listing<'a>(&'a StoreIndex);

impl Drop for Listing<'_> {
    fn drop(&mut self) {
        self.0
            .listings
            .send_modify(|listings| *listings = listings.saturating_sub(1));
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
            StoreChange::Unreadable(namespace, status) => {
                if index.is_followed(&namespace) {
                    cannot(index, &namespace, &status);
                }
            }
            StoreChange::Record(namespace, name) => {
                if index.is_followed(&namespace) {
                    match in_time(READ, containerd.recorded_name(&namespace, &name)).await {
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
    log::debug!("namespace {namespace:?} is not followed for a while: {status}");
    index.give_up(namespace, AGAIN.1);
}

/// An answer of containerd, if it comes in time.
async fn in_time<T>(
    time: Duration,
    answer: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    tokio::time::timeout(time, answer)
        .await
        .unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")))
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
        let (blobs, records) = in_time(AGAIN.1, async {
            tokio::try_join!(
                containerd.blob_sizes(namespace),
                containerd.image_records(namespace)
            )
        })
        .await?;
        for record in &records {
            index.add_record(namespace, record);
        }
        // A question that listed the namespace meanwhile has read from the other end.
        for (digest, size) in blobs.into_iter().rev() {
            if !index.has(namespace, &digest) {
                index.until_nothing_is_listed().await;
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
    if let Some(document) = in_time(READ, containerd.glance(namespace, info)).await? {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_follower_stands_back_until_no_question_lists_any_more() {
        let index = StoreIndex::default();
        index.until_nothing_is_listed().await;
        let (one, other) = (index.lists(), index.lists());
        let waiting = index.until_nothing_is_listed();
        tokio::pin!(waiting);
        let now = Duration::ZERO;
        assert!(tokio::time::timeout(now, &mut waiting).await.is_err());
        drop(one);
        assert!(tokio::time::timeout(now, &mut waiting).await.is_err());
        drop(other);
        assert!(tokio::time::timeout(now, &mut waiting).await.is_ok());
        // But not for ever.
        let _always = index.lists();
        index.until_nothing_is_listed().await;
    }

    #[tokio::test]
    async fn a_question_ends_the_pause_before_the_events_are_subscribed_to_again() {
        let index = StoreIndex::default();
        let waiting = index.until_wanted(Duration::from_secs(3600));
        tokio::pin!(waiting);
        let now = Duration::ZERO;
        assert!(tokio::time::timeout(now, &mut waiting).await.is_err());
        assert!(!index.can_be_used("default"), "no stream");
        assert!(tokio::time::timeout(now, &mut waiting).await.is_ok());
        // And its namespace is read then, although containerd may not list it yet.
        index.connect();
        let wanted = tokio::time::timeout(now, index.wanted()).await;
        assert_eq!(wanted.unwrap(), "default");
    }

    #[test]
    fn a_namespace_that_could_not_be_read_is_followed_again_after_a_while() {
        let index = StoreIndex::default();
        index.connect();
        assert!(index.begin("default"));
        cannot(&index, "default", &Status::unavailable("once"));
        assert!(!index.is_followed("default") && !index.begin("default"));
        for until in index.lock().given_up.values_mut() {
            *until = until.checked_sub(AGAIN.1).unwrap();
        }
        assert!(index.begin("default"));
    }
}

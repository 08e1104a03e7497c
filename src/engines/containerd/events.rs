//! containerd's events: the names that were written, on any path, and what came into the content
//! store. Events inform and can veto nothing.

use std::time::Duration;

use containerd_client::events::ContentCreate;
use containerd_client::services::v1::events_client::EventsClient;
use containerd_client::services::v1::version_client::VersionClient;
use containerd_client::services::v1::{ImageCreate, PublishRequest, SubscribeRequest};
use containerd_client::types::Envelope;
use prost::Message as _;
use tonic::{Status, Streaming};

use super::{BlobInfo, ContainerdClient, within};

/// containerd 1.7 publishes these from its image service only, 2.x for every way in
/// (core/metadata/images.go).
const TOPICS: [&str; 3] = ["/images/create", "/images/update", "/images/delete"];
/// containerd 2.1 and later publish it for each blob that comes into a namespace, whoever brings it
/// (core/metadata/content.go). Labels that are changed later cause no event.
const BLOB: &str = "/content/create";
/// An event of rootpin's own: the rest of the topic is the mark, so that `ctr events` can show it.
const MARK: &str = "/rootpin/mark/";
/// The type of its content, which every client of containerd knows.
const NOTHING: &str = "type.googleapis.com/google.protobuf.Empty";
/// The first version that tells of blobs.
const TELLS_OF_BLOBS: (u32, u32) = (2, 1);
/// An event carries the image's labels.
const MAX_MESSAGE: usize = 16 << 20;

/// After so long without a no the stream is there.
const NO_WORD: Duration = Duration::from_millis(500);

/// Follows the events of one containerd until its stream ends. `connected` is called once the
/// stream stands; `written` with the namespace and name of each image that was written, and without
/// where an event cannot be read.
///
/// # Errors
/// Why it ended.
pub(crate) async fn follow(
    containerd: &ContainerdClient,
    connected: impl FnOnce(),
    written: impl Fn(Option<(String, String)>),
) -> Result<(), Status> {
    let filters = TOPICS
        .iter()
        .map(|topic| format!("topic==\"{topic}\""))
        .collect();
    let mut client = EventsClient::new(containerd.channel()).max_decoding_message_size(MAX_MESSAGE);
    let subscribed = client.subscribe(SubscribeRequest { filters });
    tokio::pin!(subscribed);
    // containerd sends nothing before the first event, but says at once where it will send none.
    let begun = tokio::time::timeout(NO_WORD, &mut subscribed).await;
    if let Ok(Err(status)) = begun {
        return Err(status);
    }
    connected();
    let begun = match begun {
        Ok(begun) => begun,
        Err(_) => subscribed.await,
    };
    let mut events: Streaming<Envelope> = begun?.into_inner();
    while let Some(event) = events.message().await? {
        // Of all three the name is the first field.
        match event
            .event
            .map(|event| ImageCreate::decode(event.value.as_slice()))
        {
            Some(Ok(image)) => written(Some((event.namespace, image.name))),
            Some(Err(_)) | None => written(None),
        }
    }
    Ok(())
}

/// What changed in a store.
#[derive(Debug)]
pub(crate) enum StoreChange {
    /// A blob came into this namespace. Its labels are not told.
    Blob(String, BlobInfo),
    /// An image record of this namespace and name was written.
    Record(String, String),
    /// A mark came back.
    Mark(String),
    /// Something of this namespace that can't be read.
    Unreadable(String, Status),
}

/// The changes of a store, in the order in which containerd published them.
pub(crate) struct StoreEvents(Streaming<Envelope>);

impl StoreEvents {
    /// Subscribes, on a connection of its own: events that wait to be read must not hold up
    /// answers. Resolves at the first event.
    ///
    /// # Errors
    /// containerd's own.
    pub(crate) async fn subscribe(containerd: &ContainerdClient) -> Result<Self, Status> {
        let [created, updated, _] = TOPICS;
        let topics = [BLOB, created, updated].map(|topic| format!("topic==\"{topic}\""));
        let mut filters = topics.to_vec();
        filters.push(format!("topic~=\"^{MARK}\""));
        let mut client =
            EventsClient::new(containerd.another_channel()).max_decoding_message_size(MAX_MESSAGE);
        let subscribed = client.subscribe(SubscribeRequest { filters }).await?;
        Ok(Self(subscribed.into_inner()))
    }

    /// The next change.
    ///
    /// # Errors
    /// Why the stream ended.
    pub(crate) async fn next(&mut self) -> Result<StoreChange, Status> {
        loop {
            let envelope = self.0.message().await?;
            let envelope = envelope.ok_or_else(|| Status::unavailable("the stream ended"))?;
            if let Some(change) = change(envelope) {
                return Ok(change);
            }
        }
    }
}

/// None: a blob of another digest than sha256, which no listing shows either.
fn change(envelope: Envelope) -> Option<StoreChange> {
    let value = envelope.event.unwrap_or_default().value;
    let namespace = envelope.namespace;
    if let Some(mark) = envelope.topic.strip_prefix(MARK) {
        return Some(StoreChange::Mark(mark.to_owned()));
    }
    let unreadable = |error: prost::DecodeError| {
        let status = Status::data_loss(error.to_string());
        StoreChange::Unreadable(namespace.clone(), status)
    };
    match envelope.topic.as_str() {
        BLOB => match ContentCreate::decode(value.as_slice()) {
            Ok(blob) => blob.digest.parse().ok().map(|digest| {
                StoreChange::Blob(namespace, BlobInfo::without_labels(digest, blob.size))
            }),
            Err(error) => Some(unreadable(error)),
        },
        // Of both the name is the first field.
        _ => Some(match ImageCreate::decode(value.as_slice()) {
            Ok(image) => StoreChange::Record(namespace, image.name),
            Err(error) => unreadable(error),
        }),
    }
}

/// Publishes a mark of letters and digits, which comes back to whoever follows the events, after
/// all events that were published before.
///
/// # Errors
/// containerd's own.
pub(crate) async fn publish_mark(containerd: &ContainerdClient, mark: &str) -> Result<(), Status> {
    let event = prost_types::Any {
        type_url: NOTHING.to_owned(),
        value: Vec::new(),
    };
    let request = PublishRequest {
        topic: format!("{MARK}{mark}"),
        event: Some(event),
    };
    let mut client = EventsClient::new(containerd.channel());
    client.publish(within("rootpin", request)?).await?;
    Ok(())
}

/// Whether this containerd publishes an event for each blob.
///
/// # Errors
/// containerd's own.
pub(crate) async fn tells_of_blobs(containerd: &ContainerdClient) -> Result<bool, Status> {
    let answer = VersionClient::new(containerd.channel()).version(()).await?;
    Ok(version(&answer.into_inner().version) >= Some(TELLS_OF_BLOBS))
}

/// The first two numbers of `v2.1.9` or `1.7.24~ds1`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim_start_matches('v').split('.').map(|number| {
        let end = number.find(|digit: char| !digit.is_ascii_digit());
        number.get(..end.unwrap_or(number.len()))?.parse().ok()
    });
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fuzz_no_event_makes_the_index_panic() {
        let blob = ContentCreate {
            digest: format!("sha256:{}", "0".repeat(64)),
            size: 7,
        };
        let image = ImageCreate {
            name: "r.example/app:v1".to_owned(),
            labels: [("a".to_owned(), "b".to_owned())].into(),
        };
        let event = |topic: &str, value: Vec<u8>| Envelope {
            namespace: "tenant".to_owned(),
            topic: topic.to_owned(),
            event: Some(prost_types::Any {
                type_url: String::new(),
                value,
            }),
            ..Envelope::default()
        };
        let events = [
            event(BLOB, blob.encode_to_vec()),
            event("/images/create", image.encode_to_vec()),
            event("/rootpin/mark/a", Vec::new()),
        ];
        let examples = events.each_ref().map(Envelope::encode_to_vec);
        let examples = examples.each_ref().map(Vec::as_slice);
        crate::fuzzing::try_reader("containerd-event", &examples, |bytes| {
            let _ = Envelope::decode(bytes).map(change);
        });
    }

    #[test]
    fn an_event_that_cannot_be_read_is_of_its_namespace_alone() {
        for topic in [BLOB, "/images/create", "/images/update"] {
            let event = |value: &[u8]| Envelope {
                namespace: "tenant".to_owned(),
                topic: topic.to_owned(),
                event: Some(prost_types::Any {
                    type_url: String::new(),
                    value: value.to_vec(),
                }),
                ..Envelope::default()
            };
            let odd = change(event(&[0xff]));
            assert!(
                matches!(&odd, Some(StoreChange::Unreadable(namespace, _)) if namespace == "tenant"),
                "{odd:?}"
            );
            let empty = change(event(&[]));
            assert!(
                !matches!(empty, Some(StoreChange::Unreadable(..))),
                "{empty:?}"
            );
        }
    }

    #[test]
    fn versions_since_2_1_tell_of_blobs_and_no_text_that_is_no_version_does() {
        let tells = |text| version(text) >= Some(TELLS_OF_BLOBS);
        for text in [
            "v2.1.0",
            "2.1.9+unknown",
            "2.3.0-rc.1",
            "3.0",
            "v2.10.0-k3s1",
        ] {
            assert!(tells(text), "{text}");
        }
        for text in [
            "1.7.24~ds1",
            "v2.0.5",
            "1.6.20",
            "",
            "v",
            "2",
            "2.x",
            "devel",
        ] {
            assert!(!tells(text), "{text}");
        }
    }
}

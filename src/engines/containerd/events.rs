//! containerd's image events: the names that were written, on any path. Events inform and can
//! veto nothing.

use std::time::Duration;

use containerd_client::services::v1::events_client::EventsClient;
use containerd_client::services::v1::{ImageCreate, SubscribeRequest};
use containerd_client::types::Envelope;
use prost::Message as _;
use tonic::{Status, Streaming};

use super::ContainerdClient;

/// containerd 1.7 publishes these from its image service only, 2.x for every way in
/// (core/metadata/images.go).
const TOPICS: [&str; 3] = ["/images/create", "/images/update", "/images/delete"];
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

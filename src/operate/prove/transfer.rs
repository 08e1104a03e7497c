//! containerd's transfer service, which pulls and imports on the daemon's side.

use containerd_client::services::v1::streaming_client::StreamingClient;
use containerd_client::services::v1::transfer_client::TransferClient;
use containerd_client::services::v1::{StreamInit, TransferRequest};
use containerd_client::to_any;
use containerd_client::types::Platform;
use containerd_client::types::transfer::{
    Data, ImageImportStream, ImageStore, OciRegistry, RegistryResolver, UnpackConfiguration,
};
use prost_types::Any;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::Offer;
use super::archive;
use super::engine::{ProofEngine, within};
use crate::canary::ARCHITECTURE;

/// containerd takes 32 KiB at most in one message.
const CHUNK: usize = 16 << 10;

/// Has containerd pull an image and unpack it.
pub(super) async fn pull(
    engine: &ProofEngine,
    namespace: &str,
    offer: &Offer,
) -> Result<(), Status> {
    let source = OciRegistry {
        reference: offer.name.to_string(),
        resolver: Some(RegistryResolver::default()),
    };
    transfer(
        engine,
        namespace,
        to_any(&source),
        to_any(&destination(engine, offer)),
    )
    .await
}

/// Sends containerd an archive to import and unpack.
pub(super) async fn import(
    engine: &ProofEngine,
    namespace: &str,
    offer: &Offer,
) -> Result<(), Status> {
    let id = format!("rootpin-prove-{}", offer.name);
    let (messages, sent) = mpsc::channel(8);
    let lost = |_| Status::unavailable("containerd has closed the stream");
    messages
        .send(to_any(&StreamInit { id: id.clone() }))
        .await
        .map_err(lost)?;
    let mut streaming = StreamingClient::new(engine.channel.clone());
    let mut answers = streaming
        .stream(within(namespace, None, ReceiverStream::new(sent))?)
        .await?
        .into_inner();
    // The first answer says that the stream is known; the next that somebody reads.
    answers.message().await?;
    let feeding = async {
        answers.message().await?;
        for chunk in archive::archive(offer).chunks(CHUNK) {
            messages
                .send(to_any(&Data {
                    data: chunk.to_vec(),
                }))
                .await
                .map_err(lost)?;
        }
        drop(messages);
        while answers.message().await?.is_some() {}
        Ok::<(), Status>(())
    };
    let source = ImageImportStream {
        stream: id,
        ..ImageImportStream::default()
    };
    let transfer = transfer(
        engine,
        namespace,
        to_any(&source),
        to_any(&destination(engine, offer)),
    );
    // What the transfer says counts; the stream ends with it.
    let mut transfer = std::pin::pin!(transfer);
    tokio::select! {
        done = &mut transfer => done,
        fed = feeding => { fed?; transfer.await }
    }
}

fn destination(engine: &ProofEngine, offer: &Offer) -> ImageStore {
    let platform = Platform {
        os: "linux".to_owned(),
        architecture: ARCHITECTURE.to_owned(),
        ..Platform::default()
    };
    let unpack = UnpackConfiguration {
        platform: Some(platform.clone()),
        snapshotter: engine.snapshotter().to_owned(),
    };
    ImageStore {
        name: offer.name.to_string(),
        platforms: vec![platform],
        unpacks: vec![unpack],
        ..ImageStore::default()
    }
}

async fn transfer(
    engine: &ProofEngine,
    namespace: &str,
    source: Any,
    destination: Any,
) -> Result<(), Status> {
    let message = TransferRequest {
        source: Some(source),
        destination: Some(destination),
        options: None,
    };
    TransferClient::new(engine.channel.clone())
        .transfer(within(namespace, None, message)?)
        .await
        .map(|_| ())
}

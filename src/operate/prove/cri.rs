//! Kubernetes' way in: `PullImage` and `RemoveImage` of CRI, with the one field of each that they
//! need here.

use prost::Message;
use tonic::Status;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic_prost::ProstCodec;

use super::engine::ProofEngine;

/// The namespace of everything that CRI brings in.
pub(super) const NAMESPACE: &str = "k8s.io";

#[derive(Clone, PartialEq, Message)]
struct ImageSpec {
    #[prost(string, tag = "1")]
    image: String,
}

/// Of both requests the first field is the image (kubernetes/cri-api, `PullImageRequest`,
/// `RemoveImageRequest`).
#[derive(Clone, PartialEq, Message)]
struct OfImage {
    #[prost(message, optional, tag = "1")]
    image: Option<ImageSpec>,
}

/// The answers' one field is of no interest.
#[derive(Clone, PartialEq, Message)]
struct CriAnswer {}

pub(super) async fn pull(engine: &ProofEngine, name: &str) -> Result<(), Status> {
    call(engine, "/runtime.v1.ImageService/PullImage", name).await
}

pub(super) async fn remove(engine: &ProofEngine, name: &str) -> Result<(), Status> {
    call(engine, "/runtime.v1.ImageService/RemoveImage", name).await
}

async fn call(engine: &ProofEngine, method: &'static str, name: &str) -> Result<(), Status> {
    let mut client = Grpc::new(engine.channel.clone());
    client
        .ready()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let request = tonic::Request::new(OfImage {
        image: Some(ImageSpec {
            image: name.to_owned(),
        }),
    });
    let codec = ProstCodec::<OfImage, CriAnswer>::default();
    client
        .unary(request, PathAndQuery::from_static(method), codec)
        .await
        .map(|_| ())
}

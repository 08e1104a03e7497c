//! `PullImage` of Kubernetes' CRI, with the few fields that it takes.

use std::collections::HashMap;

use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;

#[derive(Clone, PartialEq, prost::Message)]
struct ImageSpec {
    #[prost(string, tag = "1")]
    image: String,
    #[prost(map = "string, string", tag = "2")]
    annotations: HashMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PullImageRequest {
    #[prost(message, optional, tag = "1")]
    image: Option<ImageSpec>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PullImageResponse {
    #[prost(string, tag = "1")]
    image_ref: String,
}

/// As a kubelet would.
pub(crate) async fn pull_image(channel: Channel, name: &str) -> Result<String, String> {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|error| error.to_string())?;
    let request = PullImageRequest { image: Some(ImageSpec { image: name.to_owned(), annotations: HashMap::new() }) };
    let codec = tonic_prost::ProstCodec::<PullImageRequest, PullImageResponse>::default();
    let path = PathAndQuery::from_static("/runtime.v1.ImageService/PullImage");
    match client.unary(tonic::Request::new(request), path, codec).await {
        Ok(response) => Ok(response.into_inner().image_ref),
        Err(status) => Err(format!("{}: {}", status.code(), status.message())),
    }
}

//! Kubernetes' CRI, with the few calls and fields that it takes.

use std::collections::HashMap;

use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;

#[derive(Clone, PartialEq, prost::Message)]
struct ImageSpec {
    #[prost(string, tag = "1")]
    image: String,
    #[prost(map = "string, string", tag = "2")]
    annotations: HashMap<String, String>,
    #[prost(string, tag = "18")]
    user_specified_image: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AuthConfig {
    #[prost(string, tag = "1")]
    username: String,
    #[prost(string, tag = "2")]
    password: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PullImageRequest {
    #[prost(message, optional, tag = "1")]
    image: Option<ImageSpec>,
    #[prost(message, optional, tag = "2")]
    auth: Option<AuthConfig>,
}

/// Each of the answers that are read has one text, the first.
#[derive(Clone, PartialEq, prost::Message)]
struct Answer {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ImageStatusResponse {
    #[prost(message, optional, tag = "1")]
    image: Option<Answer>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PodMetadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    namespace: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct NamespaceOption {
    #[prost(int32, tag = "1")]
    network: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SecurityContext {
    #[prost(message, optional, tag = "1")]
    namespace_options: Option<NamespaceOption>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PodLinux {
    #[prost(message, optional, tag = "2")]
    security_context: Option<SecurityContext>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PodConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<PodMetadata>,
    #[prost(message, optional, tag = "8")]
    linux: Option<PodLinux>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RunPodSandboxRequest {
    #[prost(message, optional, tag = "1")]
    config: Option<PodConfig>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ContainerMetadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint32, tag = "2")]
    attempt: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ContainerConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ContainerMetadata>,
    #[prost(message, optional, tag = "2")]
    image: Option<ImageSpec>,
    #[prost(map = "string, string", tag = "10")]
    annotations: HashMap<String, String>,
    #[prost(message, optional, tag = "15")]
    linux: Option<ContainerLinux>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ContainerLinux {
    #[prost(message, optional, tag = "2")]
    security_context: Option<ContainerSecurityContext>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ContainerSecurityContext {
    #[prost(message, optional, tag = "3")]
    namespace_options: Option<NamespaceOption>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CreateContainerRequest {
    #[prost(string, tag = "1")]
    pod_sandbox_id: String,
    #[prost(message, optional, tag = "2")]
    config: Option<ContainerConfig>,
    #[prost(message, optional, tag = "3")]
    sandbox_config: Option<PodConfig>,
}

/// The host's network, for there is no other one here.
const NODE: NamespaceOption = NamespaceOption { network: 2 };

/// As a kubelet would.
pub(crate) async fn pull_image(channel: Channel, name: &str) -> Result<String, String> {
    pull_image_as(channel, name, None).await
}

/// The same with that user and password, if there are any.
pub(crate) async fn pull_image_as(
    channel: Channel,
    name: &str,
    pair: Option<(String, String)>,
) -> Result<String, String> {
    let request = PullImageRequest {
        image: Some(ImageSpec {
            image: name.to_owned(),
            ..Default::default()
        }),
        auth: pair.map(|(username, password)| AuthConfig { username, password }),
    };
    call(channel, "/runtime.v1.ImageService/PullImage", request).await
}

/// Whether there is an image of that name, as a kubelet would ask.
pub(crate) async fn knows_image(channel: Channel, name: &str) -> bool {
    image_id(channel, name).await.is_some()
}

/// The ID of the image of that name, by which a kubelet then calls it.
pub(crate) async fn image_id(channel: Channel, name: &str) -> Option<String> {
    let request = PullImageRequest {
        image: Some(ImageSpec {
            image: name.to_owned(),
            ..Default::default()
        }),
        auth: None,
    };
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<PullImageRequest, ImageStatusResponse>::default();
    let path = PathAndQuery::from_static("/runtime.v1.ImageService/ImageStatus");
    client
        .unary(tonic::Request::new(request), path, codec)
        .await
        .unwrap()
        .into_inner()
        .image
        .map(|image| image.id)
}

/// A pod without containers. Returns its ID.
pub(crate) async fn run_pod(channel: Channel, name: &str) -> Result<String, String> {
    call(
        channel,
        "/runtime.v1.RuntimeService/RunPodSandbox",
        RunPodSandboxRequest {
            config: Some(pod(name)),
        },
    )
    .await
}

/// A container of `image`, a name or an ID; `asked` is what the pod says, where that is told.
/// Returns its ID.
pub(crate) async fn create_container(
    channel: Channel,
    pod_name: &str,
    id: &str,
    image: &str,
    asked: &str,
) -> Result<String, String> {
    // What a pod would like to be known as.
    let annotations = HashMap::from([(
        "io.kubernetes.cri.image-name".to_owned(),
        "registry.example.com/good:v1".to_owned(),
    )]);
    let security_context = Some(ContainerSecurityContext {
        namespace_options: Some(NODE),
    });
    let config = ContainerConfig {
        metadata: Some(ContainerMetadata {
            name: "main".to_owned(),
            attempt: next_attempt(),
        }),
        image: Some(ImageSpec {
            image: image.to_owned(),
            user_specified_image: asked.to_owned(),
            ..Default::default()
        }),
        annotations,
        linux: Some(ContainerLinux { security_context }),
    };
    let request = CreateContainerRequest {
        pod_sandbox_id: id.to_owned(),
        config: Some(config),
        sandbox_config: Some(pod(pod_name)),
    };
    call(
        channel,
        "/runtime.v1.RuntimeService/CreateContainer",
        request,
    )
    .await
}

/// Starts a container that was created.
pub(crate) async fn start_container(channel: Channel, id: &str) -> Result<(), String> {
    call(
        channel,
        "/runtime.v1.RuntimeService/StartContainer",
        Answer { id: id.to_owned() },
    )
    .await
    .map(|_| ())
}

/// Ends a pod with all of its containers.
pub(crate) async fn remove_pod(channel: Channel, id: &str) -> Result<(), String> {
    for method in [
        "/runtime.v1.RuntimeService/StopPodSandbox",
        "/runtime.v1.RuntimeService/RemovePodSandbox",
    ] {
        call(channel.clone(), method, Answer { id: id.to_owned() }).await?;
    }
    Ok(())
}

fn pod(name: &str) -> PodConfig {
    let (name, uid, namespace) = (
        name.to_owned(),
        format!("uid-of-{name}"),
        "default".to_owned(),
    );
    let linux = PodLinux {
        security_context: Some(SecurityContext {
            namespace_options: Some(NODE),
        }),
    };
    PodConfig {
        metadata: Some(PodMetadata {
            name,
            uid,
            namespace,
        }),
        linux: Some(linux),
    }
}

/// No two containers of a pod have the same name and attempt.
fn next_attempt() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

async fn call<Q: prost::Message + 'static>(
    channel: Channel,
    method: &'static str,
    request: Q,
) -> Result<String, String> {
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|error| error.to_string())?;
    let codec = tonic_prost::ProstCodec::<Q, Answer>::default();
    match client
        .unary(
            tonic::Request::new(request),
            PathAndQuery::from_static(method),
            codec,
        )
        .await
    {
        Ok(response) => Ok(response.into_inner().id),
        Err(status) => Err(format!("{}: {}", status.code(), status.message())),
    }
}

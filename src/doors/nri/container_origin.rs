//! Finds the image that a container was made from in containerd's records, and never in what a pod
//! says of itself.
//!
//! While CRI asks to create a container there is no record of it yet, but its snapshot is there,
//! under the container's ID, and stands on the image's last one: which layers it has is known, and
//! of images that have the same layers not which one is meant. When it asks to start the container,
//! the record is there too, and holds in CRI's own words which configuration was used and which
//! name was asked for.

use containerd_client::services::v1::containers_client::ContainersClient;
use containerd_client::services::v1::introspection_client::IntrospectionClient;
use containerd_client::services::v1::snapshots::StatSnapshotRequest;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::{Container, GetContainerRequest, PluginsRequest};
use serde::Deserialize;
use tonic::{Code, Status};

use super::NAMESPACE;
use super::wire::Image;
use crate::engines::containerd::{ContainerdClient, MAX_MESSAGE, within};
use rootpin_trust::image::{Digest, ImageRef};

/// Where CRI keeps what it knows of a container (containerd, internal/cri/labels/labels.go).
const METADATA: &str = "io.cri-containerd.container.metadata";

/// What a container was made of.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ContainerOrigin {
    /// The snapshotter that has its snapshot.
    pub(super) snapshotter: String,
    /// The committed snapshot that its own stands on: the chain ID of an image.
    pub(super) chain: Digest,
    /// The image's configuration, where CRI wrote it down.
    pub(super) config: Option<Digest>,
    /// One of the image's records, where the container has a record itself.
    pub(super) record: Option<String>,
    /// The name that was asked for, where there is one.
    pub(super) asked: Option<ImageRef>,
    /// The index or manifest that NRI names, where it does.
    pub(super) target: Option<Digest>,
}

/// The image of a container as NRI tells it, from containerd 2.4 on. It is no more than a claim: the
/// store must have the container stand on that very image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct StatedImage {
    target: Option<Digest>,
    config: Option<Digest>,
}

impl StatedImage {
    /// Reads it. An empty field says nothing.
    pub(super) fn read(image: Option<&Image>) -> Result<Self, OriginUnknown> {
        let digest = |text: &str| match text {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                OriginUnknown::Odd(format!("a container of the image {text:?}, as NRI says"))
            }),
        };
        let Some(image) = image else {
            return Ok(Self::default());
        };
        Ok(Self {
            target: digest(&image.digest)?,
            config: digest(&image.config_digest)?,
        })
    }
}

impl ContainerOrigin {
    /// Takes up what NRI says: which of several images with the same layers it is.
    pub(super) fn stated(mut self, image: StatedImage) -> Result<Self, OriginUnknown> {
        if let (Some(written), Some(stated)) = (self.config, image.config)
            && written != stated
        {
            return Err(OriginUnknown::Odd(format!(
                "a container of configuration {stated}, as NRI says, and of {written}, as CRI wrote down"
            )));
        }
        self.config = self.config.or(image.config);
        self.target = image.target;
        Ok(self)
    }
}

/// Why that is not known.
#[derive(Debug)]
pub(super) enum OriginUnknown {
    /// containerd's own error.
    Containerd(Status),
    /// What containerd has of it is not what it has of containers that were made of an image: what,
    /// in words.
    Odd(String),
}

impl From<Status> for OriginUnknown {
    fn from(status: Status) -> Self {
        Self::Containerd(status)
    }
}

/// By its snapshot, before there is a record of it.
pub(super) async fn by_snapshot(
    containerd: &ContainerdClient,
    id: &str,
) -> Result<ContainerOrigin, OriginUnknown> {
    let request = PluginsRequest {
        filters: vec!["type==io.containerd.snapshotter.v1".to_owned()],
    };
    let plugins = IntrospectionClient::new(containerd.channel())
        .plugins(request)
        .await?
        .into_inner()
        .plugins;
    let mut found = Vec::new();
    for plugin in plugins
        .into_iter()
        .filter(|plugin| plugin.init_err.is_none())
    {
        if let Some(parent) = parent(containerd, &plugin.id, id).await? {
            found.push((plugin.id, parent));
        }
    }
    let [(snapshotter, parent)] = found.as_slice() else {
        return Err(OriginUnknown::Odd(format!(
            "{} snapshots of container {id}",
            found.len()
        )));
    };
    Ok(ContainerOrigin {
        snapshotter: snapshotter.clone(),
        chain: chain(parent)?,
        config: None,
        record: None,
        asked: None,
        target: None,
    })
}

/// By its record; none where there is neither a record nor, for a pod's sandbox that its runtime
/// makes by itself, anything of an image.
pub(super) async fn by_record(
    containerd: &ContainerdClient,
    id: &str,
) -> Result<Option<ContainerOrigin>, OriginUnknown> {
    let mut client =
        ContainersClient::new(containerd.channel()).max_decoding_message_size(MAX_MESSAGE);
    let container = match client
        .get(within(
            NAMESPACE,
            GetContainerRequest { id: id.to_owned() },
        )?)
        .await
    {
        Ok(answer) => answer.into_inner().container,
        Err(status) if status.code() == Code::NotFound => None,
        Err(status) => return Err(status.into()),
    };
    let Some(Container {
        image,
        snapshotter,
        snapshot_key,
        mut extensions,
        ..
    }) = container
    else {
        return Ok(None);
    };
    let parent = parent(containerd, &snapshotter, &snapshot_key).await?;
    let parent =
        parent.ok_or_else(|| OriginUnknown::Odd(format!("no snapshot of container {id}")))?;
    let written = extensions
        .remove(METADATA)
        .map(|metadata| written(&metadata.value))
        .transpose()?;
    let (config, asked) = written.unzip();
    Ok(Some(ContainerOrigin {
        snapshotter,
        chain: chain(&parent)?,
        config,
        record: Some(image),
        asked: asked.flatten(),
        target: None,
    }))
}

/// What a snapshot stands on, if there is such a snapshot.
async fn parent(
    containerd: &ContainerdClient,
    snapshotter: &str,
    key: &str,
) -> Result<Option<String>, Status> {
    let request = StatSnapshotRequest {
        snapshotter: snapshotter.to_owned(),
        key: key.to_owned(),
    };
    match SnapshotsClient::new(containerd.channel())
        .stat(within(NAMESPACE, request)?)
        .await
    {
        Ok(answer) => Ok(answer.into_inner().info.map(|info| info.parent)),
        Err(status) if status.code() == Code::NotFound => Ok(None),
        Err(status) => Err(status),
    }
}

fn chain(parent: &str) -> Result<Digest, OriginUnknown> {
    parent
        .parse()
        .map_err(|_| OriginUnknown::Odd(format!("a container whose snapshot stands on {parent:?}")))
}

/// `Metadata` of containerd's internal/cri/store/container, as far as it is needed.
#[derive(Deserialize)]
struct StoredContainer {
    #[serde(rename = "Version")]
    version: String,
    #[serde(rename = "Metadata")]
    metadata: CriMetadata,
}

#[derive(Deserialize)]
struct CriMetadata {
    #[serde(rename = "ImageRef")]
    image_ref: String,
    #[serde(rename = "Config")]
    config: CriConfig,
}

#[derive(Deserialize)]
struct CriConfig {
    image: ImageSpec,
}

/// `ImageSpec` of CRI.
#[derive(Deserialize)]
struct ImageSpec {
    /// What CRI was asked for: by a kubelet, always an image ID.
    #[serde(default)]
    image: String,
    /// What the pod asked for. Kubelets tell it since 1.29; containerd keeps it where it knows that
    /// version of CRI, as 2.x does.
    #[serde(default)]
    user_specified_image: String,
}

/// The configuration that CRI used, and the name that it was asked for.
pub(super) fn written(metadata: &[u8]) -> Result<(Digest, Option<ImageRef>), OriginUnknown> {
    let odd = |why: &dyn std::fmt::Display| {
        OriginUnknown::Odd(format!(
            "CRI's metadata of a container, which rootpin can't read: {why}"
        ))
    };
    let StoredContainer { version, metadata } =
        serde_json::from_slice(metadata).map_err(|error| odd(&error))?;
    if version != "v1" {
        return Err(odd(&format!("version {version:?}")));
    }
    let ImageSpec {
        image,
        user_specified_image,
    } = metadata.config.image;
    let asked = if user_specified_image.is_empty() {
        image
    } else {
        user_specified_image
    };
    let config: Digest = metadata.image_ref.parse().map_err(|error| odd(&error))?;
    // CRI takes an image's ID, or the beginning of one, for a name too.
    let is_id = asked == config.to_string() || config.hex().starts_with(&asked);
    let name = if is_id {
        None
    } else {
        Some(asked.parse().map_err(|error| odd(&error))?)
    };
    Ok((config, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(image: &str) -> String {
        let config = Digest::of(b"config");
        format!(
            r#"{{"Version":"v1","Metadata":{{"ID":"c","Config":{{"metadata":{{"name":"c"}},"image":{image},"annotations":
            {{"io.kubernetes.cri.image-name":"evil.test/x:1"}},"linux":{{"resources":{{"memory_limit_in_bytes":9223372036854771712}}}}}},
            "ImageRef":"{config}","LogPath":""}}}}"#
        )
    }

    fn asked(image: &str) -> Option<String> {
        let (config, name) = written(metadata(image).as_bytes()).unwrap();
        assert_eq!(config, Digest::of(b"config"));
        name.map(|name| name.to_string())
    }

    #[test]
    fn the_name_is_the_pods_where_it_is_told_and_else_what_cri_was_asked_for() {
        let id = Digest::of(b"config");
        assert_eq!(
            asked(r#"{"image":"app:v1"}"#).unwrap(),
            "docker.io/library/app:v1"
        );
        assert_eq!(
            asked(&format!(
                r#"{{"image":"{id}","user_specified_image":"r.test/app"}}"#
            ))
            .unwrap(),
            "r.test/app:latest"
        );
    }

    #[test]
    fn an_image_id_is_no_name() {
        let id = Digest::of(b"config");
        for text in [&id.to_string(), &id.hex(), &id.hex()[..12], ""] {
            assert_eq!(asked(&format!(r#"{{"image":"{text}"}}"#)), None, "{text}");
        }
        assert!(
            asked(&format!(
                r#"{{"image":"{}"}}"#,
                Digest::of(b"another").hex()
            ))
            .is_some()
        );
    }

    #[test]
    fn metadata_of_another_kind_is_not_guessed_at() {
        let good = metadata(r#"{"image":"app:v1"}"#);
        for bad in [
            "",
            "{}",
            &good.replace("v1\",\"M", "v2\",\"M"),
            &good.replace("sha256:", "sha512:"),
            &good.replace("ImageRef", "imageRef"),
            &good.replace("\"image\":{", "\"picture\":{"),
            &good.replace("\"LogPath\":\"\"", "\"ImageRef\":\"x\""),
            &good.replace("app:v1", "APP:v1@x"),
        ] {
            assert!(written(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}

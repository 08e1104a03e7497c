//! A sweep of one dockerd: its classic store, and what runs in it.

use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode};
use hyper::body::Bytes;
use serde::Deserialize;

use super::pending::Pending;
use super::swept_image::{EngineImages, Removal, RunningContainer, SweptImage};
use crate::decide::{ImageContents as Known, ImageName, ResidentImage};
use crate::engines::{DockerImage, DockerdClient, docker_images, is_id};
use crate::sources::host_name;
use rootpin_trust::image::{Digest, ImageRef};

/// dockerd's namespace in containerd, and the one that `[local]` means for its classic store.
const MOBY: &str = "moby";
/// `{"type":["image"]}` (Docker Engine API, "Monitor events").
const EVENTS: &str = "/events?filters=%7B%22type%22%3A%5B%22image%22%5D%7D";

/// An entry of `GET /containers/json` (`ContainerSummary`).
#[derive(Debug, Deserialize)]
struct ContainerSummary {
    #[serde(rename = "Id")]
    id: String,
    #[serde(rename = "Image", default)]
    image: String,
    #[serde(rename = "ImageID", default)]
    image_id: String,
}

/// As much as is needed of `GET /images/NAME/json` (`ImageInspect`).
#[derive(Debug, Deserialize)]
struct ImageInspection {
    #[serde(rename = "Id")]
    id: String,
    #[serde(rename = "RepoDigests", default)]
    repo_digests: Option<Vec<String>>,
}

/// As much as is needed of `GET /info` (`SystemInfo`).
#[derive(Debug, Deserialize)]
struct SystemInfo {
    #[serde(rename = "DriverStatus", default)]
    driver_status: Option<Vec<Vec<String>>>,
}

/// `beside_containerd`: a containerd is swept, too. One that has dockerd's images tells them
/// better.
pub(super) async fn held(
    docker: &DockerdClient,
    engine: &str,
    beside_containerd: bool,
) -> Result<EngineImages, String> {
    let mut held = EngineImages::default();
    if in_containerd(docker).await? {
        let why = "its images are in a containerd, and rootpin.toml has no [[engine]]: add the one that dockerd uses";
        held.odd
            .extend((!beside_containerd).then(|| why.to_owned()));
        return Ok(held);
    }
    for image in docker_images(docker).await? {
        for (record, name, _) in &image.names {
            if name.is_none() && !is_id(record) {
                held.odd.push(format!(
                    "a name that rootpin can't read, and no policy covers: {record:?}"
                ));
            }
        }
        match image.id.parse() {
            Ok(id) => held.images.push(classic(engine, image, id)),
            Err(_) => held.odd.push(format!(
                "an image's ID is {}, which is no sha256 digest",
                image.id
            )),
        }
    }
    Ok(held)
}

/// An image of the classic store: its ID is its config's digest, and where it was pulled from
/// stands in its list of digests.
fn classic(engine: &str, image: DockerImage, id: Digest) -> SweptImage {
    // A name that no registry gave a digest for stands for the bytes that are here, and no root can
    // have signed those.
    let read = |(record, name, digest): (String, _, Option<Digest>)| ImageName {
        record,
        name,
        digest: digest.unwrap_or(id),
    };
    let names = image.names.into_iter().map(read).collect();
    let source = |name: &ImageRef| {
        (
            host_name(name.repository.host()).to_owned(),
            name.repository.path().to_owned(),
        )
    };
    // One that can't be read is a registry's all the same, and nothing of it is local.
    let sources =
        (!image.has_unread_repository).then(|| image.repositories.iter().map(source).collect());
    let bytes = Some(Known {
        manifests: Vec::new(),
        configs: vec![id],
        contents: vec![id],
        sources,
    });
    SweptImage {
        resident: ResidentImage {
            engine: engine.to_owned(),
            namespace: MOBY.to_owned(),
            names,
            bytes,
        },
        size: 0,
        is_of_registry: false,
    }
}

pub(super) async fn running(docker: &DockerdClient) -> Result<Vec<RunningContainer>, String> {
    let of = |ContainerSummary {
                  id,
                  image,
                  image_id,
              }| RunningContainer {
        namespace: MOBY.to_owned(),
        id,
        image,
        digest: image_id.parse().ok(),
    };
    Ok(containers(docker).await?.into_iter().map(of).collect())
}

/// The image of every container that one of these runs. One that does not answer tells nothing, and
/// its containers stay unknown.
pub(super) async fn images_by_container(dockers: &[DockerdClient]) -> HashMap<String, Digest> {
    let mut known = HashMap::new();
    for docker in dockers {
        let told = containers(docker).await.unwrap_or_default();
        known.extend(
            told.into_iter()
                .filter_map(|container| Some((container.id, container.image_id.parse().ok()?))),
        );
    }
    known
}

pub(super) async fn stands(docker: &DockerdClient, named: &ImageName) -> Result<bool, String> {
    let answer = docker
        .call(
            Method::GET,
            &format!("/images/{}/json", named.record),
            HeaderMap::new(),
            Bytes::new(),
        )
        .await?;
    match answer.status {
        StatusCode::OK => {
            let image: ImageInspection =
                serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
            let digest = named.digest.to_string();
            let known = image
                .repo_digests
                .iter()
                .flatten()
                .any(|name| name.rsplit('@').next() == Some(digest.as_str()));
            Ok(known || image.id == digest)
        }
        StatusCode::NOT_FOUND => Ok(false),
        status => Err(format!(
            "answered {status} to GET of image {:?}",
            named.record
        )),
    }
}

/// Untags. dockerd itself refuses where a container needs the image, and its API has no condition
/// on what a name stands for.
pub(super) async fn remove(docker: &DockerdClient, named: &ImageName) -> Result<Removal, String> {
    let path = format!("/images/{}?noprune=true", named.record);
    let answer = docker
        .call(Method::DELETE, &path, HeaderMap::new(), Bytes::new())
        .await?;
    Ok(match answer.status {
        StatusCode::OK => Removal::Removed,
        StatusCode::NOT_FOUND => Removal::Changed,
        status => Removal::Refused(format!(
            "dockerd answered {status}: {}",
            String::from_utf8_lossy(&answer.body)
        )),
    })
}

pub(super) async fn follow(
    docker: &DockerdClient,
    pending: &Arc<Pending>,
    connected: impl FnOnce(),
) -> Result<(), String> {
    let followed = docker.follow(EVENTS, connected, |_| pending.look());
    Ok(followed.await?)
}

/// Whether dockerd has its images in containerd.
async fn in_containerd(docker: &DockerdClient) -> Result<bool, String> {
    let info: SystemInfo = serde_json::from_slice(&docker.get("/info").await?)
        .map_err(|error| format!("GET /info: {error}"))?;
    let snapshotter = |pair: &Vec<String>| {
        pair.get(1)
            .is_some_and(|value| value.starts_with("io.containerd.snapshotter."))
    };
    Ok(info.driver_status.iter().flatten().any(snapshotter))
}

async fn containers(docker: &DockerdClient) -> Result<Vec<ContainerSummary>, String> {
    let body = docker.get("/containers/json").await?;
    serde_json::from_slice(&body).map_err(|error| format!("GET /containers/json: {error}"))
}

//! What a sweep asks of an engine: the images that it has, what runs, and to let go of a name.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode};
use hyper::body::Bytes;
use serde::Deserialize;
use tonic::Status;

use super::Pending;
use crate::decide::{Bytes as Known, Named, Resident};
use crate::hooks::containerd_events;
use crate::hooks::containerd_images::{self, ImageRecord, name_of_record};
use crate::hooks::{Containerd, Docker, DockerImage, docker_images};
use crate::image::Digest;

/// dockerd's namespace in containerd, and the one that `[local]` means for its classic store.
const MOBY: &str = "moby";

/// An engine whose images are swept.
#[derive(Debug)]
pub(super) enum Engine {
    /// One containerd, and the dockerds that may run containers in it.
    Containerd(Arc<Containerd>, Vec<Docker>),
    /// A dockerd. One whose images are in a containerd has none of its own.
    Docker(Docker),
}

/// One image, and what its record says of its size.
#[derive(Debug, Clone)]
pub(super) struct Image {
    pub(super) resident: Resident,
    size: i64,
}

/// A name of an image, as it is found or to go.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// Shared: nothing keeps an image from having a hundred thousand names.
    pub(super) image: Arc<Image>,
    pub(super) named: Named,
    /// Whether the same bytes have a name here that is admitted.
    pub(super) admitted_elsewhere: bool,
}

/// What an engine has.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) images: Vec<Image>,
    /// Records that stand for nothing that could be judged.
    pub(super) odd: Vec<String>,
}

/// A container that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Running {
    pub(super) namespace: String,
    pub(super) id: String,
    /// The image's name, as the engine has it; empty where it says none.
    pub(super) image: String,
    /// What that stood for, where it can be told.
    pub(super) digest: Option<Digest>,
}

/// What became of a name that was to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Removal {
    Removed,
    /// It is gone already, or stands for other bytes by now.
    Changed,
    Refused(String),
}

/// An entry of `GET /containers/json` (Docker Engine API, `ContainerSummary`).
#[derive(Debug, Deserialize)]
struct Container {
    #[serde(rename = "Id")]
    id: String,
    #[serde(rename = "Image", default)]
    image: String,
    #[serde(rename = "ImageID", default)]
    image_id: String,
}

/// As much as is needed of `GET /images/NAME/json` (`ImageInspect`).
#[derive(Debug, Deserialize)]
struct Inspected {
    #[serde(rename = "Id")]
    id: String,
    #[serde(rename = "RepoDigests", default)]
    repo_digests: Option<Vec<String>>,
}

/// As much as is needed of `GET /info` (`SystemInfo`).
#[derive(Debug, Deserialize)]
struct Info {
    #[serde(rename = "DriverStatus", default)]
    driver_status: Option<Vec<Vec<String>>>,
}

impl Engine {
    /// Every image that the engine has.
    pub(super) async fn held(&self, engine: &str) -> Result<Held, String> {
        match self {
            Self::Containerd(containerd, _) => {
                let mut held = Held::default();
                for namespace in containerd.namespaces().await.map_err(said)? {
                    held.group(engine, &namespace, containerd.records(&namespace).await.map_err(said)?);
                }
                Ok(held)
            }
            Self::Docker(docker) => {
                let images = if in_containerd(docker).await? { Vec::new() } else { docker_images(docker).await? };
                Ok(Held { images: images.into_iter().filter_map(|image| of_docker(engine, image)).collect(), odd: Vec::new() })
            }
        }
    }

    /// Every container that runs.
    pub(super) async fn running(&self) -> Result<Vec<Running>, String> {
        let mut running = Vec::new();
        match self {
            Self::Containerd(containerd, dockers) => {
                for namespace in containerd.namespaces().await.map_err(said)? {
                    let found = containerd.running(&namespace).await.map_err(said)?;
                    if found.is_empty() {
                        continue;
                    }
                    let records = containerd.records(&namespace).await.map_err(said)?;
                    let digests: HashMap<String, String> = records.into_iter().map(|record| (record.name, record.target.digest)).collect();
                    // dockerd tells containerd nothing of an image; its own ID for the container is the same.
                    let nameless = found.iter().any(|container| container.image.is_empty());
                    let told = if nameless { of_dockers(dockers).await } else { HashMap::new() };
                    running.extend(found.into_iter().map(|container| {
                        let recorded = digests.get(&container.image).and_then(|digest| digest.parse().ok());
                        let digest = recorded.or_else(|| told.get(&container.id).copied());
                        Running { namespace: namespace.clone(), id: container.id, image: container.image, digest }
                    }));
                }
            }
            Self::Docker(docker) => running.extend(containers(docker).await?.into_iter().map(|container| {
                let digest = container.image_id.parse().ok();
                Running { namespace: MOBY.to_owned(), id: container.id, image: container.image, digest }
            })),
        }
        Ok(running)
    }

    /// Looks up what an image is made of; and where from, if that is wanted too.
    pub(super) async fn look_up(&self, image: &mut Image, sources: bool) -> Result<(), String> {
        let Self::Containerd(containerd, _) = self else { return Ok(()) };
        let Some(top) = image.resident.names.first().map(|named| named.digest) else { return Ok(()) };
        let namespace = &image.resident.namespace;
        let mut bytes = match image.resident.bytes.take() {
            Some(bytes) => bytes,
            None => containerd.bytes(namespace, top, image.size).await.map_err(said)?,
        };
        if sources && bytes.sources.is_none() {
            // Layers of a registry's image are in what was built on it, too.
            let documents: Vec<Digest> = [top].into_iter().chain(bytes.manifests.iter().copied()).collect();
            bytes.sources = Some(containerd.sources(namespace, &documents).await.map_err(said)?);
        }
        image.resident.bytes = Some(bytes);
        Ok(())
    }

    /// Whether the name still stands for that.
    pub(super) async fn stands(&self, namespace: &str, named: &Named) -> Result<bool, String> {
        match self {
            Self::Containerd(containerd, _) => {
                let target = containerd.target(namespace, &named.record).await.map_err(said)?;
                Ok(target.is_some_and(|target| target.digest == named.digest.to_string()))
            }
            Self::Docker(docker) => {
                let answer = docker.call(Method::GET, &format!("/images/{}/json", named.record), HeaderMap::new(), Bytes::new()).await?;
                match answer.status {
                    StatusCode::OK => {
                        let image: Inspected = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
                        let digest = named.digest.to_string();
                        let known = image.repo_digests.iter().flatten().any(|name| name.rsplit('@').next() == Some(digest.as_str()));
                        Ok(known || image.id == digest)
                    }
                    StatusCode::NOT_FOUND => Ok(false),
                    status => Err(format!("answered {status} to GET of image {:?}", named.record)),
                }
            }
        }
    }

    /// Takes a name away, if it still stands for those bytes. `last` of several: wait for what is no longer held to go.
    pub(super) async fn remove(&self, namespace: &str, named: &Named, last: bool) -> Result<Removal, String> {
        if matches!(self, Self::Docker(_)) && named.name.is_none() {
            return Ok(Removal::Refused("it has no name that dockerd could untag".to_owned()));
        }
        if !self.stands(namespace, named).await? {
            return Ok(Removal::Changed);
        }
        match self {
            Self::Containerd(containerd, _) => {
                let target = containerd_images::Target { digest: named.digest.to_string(), size: 0 };
                match containerd.delete(namespace, &named.record, &target, last).await {
                    Ok(()) => Ok(Removal::Removed),
                    Err(status) if status.code() == tonic::Code::NotFound => Ok(Removal::Changed),
                    Err(status) => Err(said(status)),
                }
            }
            Self::Docker(docker) => {
                let path = format!("/images/{}?noprune=true", named.record);
                let answer = docker.call(Method::DELETE, &path, HeaderMap::new(), Bytes::new()).await?;
                Ok(match answer.status {
                    StatusCode::OK => Removal::Removed,
                    StatusCode::NOT_FOUND => Removal::Changed,
                    status => Removal::Refused(format!("dockerd answered {status}: {}", String::from_utf8_lossy(&answer.body))),
                })
            }
        }
    }

    /// Follows what the engine tells of its images, until it stops.
    pub(super) async fn follow(&self, pending: &Arc<Pending>, connected: impl FnOnce()) -> Result<(), String> {
        match self {
            Self::Containerd(containerd, _) => containerd_events::follow(containerd, pending, connected).await.map_err(said),
            // filters={"type":["image"]}
            Self::Docker(docker) => {
                docker.follow("/events?filters=%7B%22type%22%3A%5B%22image%22%5D%7D", connected, |_| pending.look()).await
            }
        }
    }
}

impl Running {
    /// Whether it runs from that name; or from its bytes, where those have no other name that is admitted.
    pub(super) fn is_of(&self, target: &Target) -> bool {
        let bytes = target.image.resident.bytes.as_ref();
        let part = |digest| digest == target.named.digest || bytes.is_some_and(|bytes| bytes.contents.contains(&digest));
        let by_bytes = !target.admitted_elsewhere && self.digest.is_some_and(part);
        self.namespace == target.image.resident.namespace && (self.image == target.named.record || by_bytes)
    }

    /// Whether it may: one that says nothing may run from any image of its namespace.
    pub(super) fn may_be_of(&self, target: &Target) -> bool {
        let silent = self.digest.is_none() && (self.image.is_empty() || self.image.parse::<Digest>().is_ok());
        self.is_of(target) || (silent && self.namespace == target.image.resident.namespace)
    }
}

impl Held {
    /// Records by what they stand for.
    fn group(&mut self, engine: &str, namespace: &str, records: Vec<ImageRecord>) {
        let mut images: BTreeMap<Digest, Image> = BTreeMap::new();
        for ImageRecord { name: record, target } in records {
            let Ok(digest) = target.digest.parse() else {
                self.odd.push(format!("{record} in namespace {namespace} stands for {}", target.digest));
                continue;
            };
            let image = images.entry(digest).or_insert_with(|| {
                let (engine, namespace) = (engine.to_owned(), namespace.to_owned());
                Image { resident: Resident { engine, namespace, names: Vec::new(), bytes: None }, size: target.size }
            });
            image.resident.names.push(Named { name: name_of_record(&record), record, digest });
        }
        self.images.extend(images.into_values());
    }
}

/// An image of the classic store: its ID is its config's digest, and where it was pulled from stands in its list of digests.
fn of_docker(engine: &str, image: DockerImage) -> Option<Image> {
    let id: Digest = image.id.parse().ok()?;
    // A name that no registry gave a digest for stands for the bytes that are here, and no root can have signed those.
    let read = |(record, name, digest): (String, _, Option<Digest>)| Named { record, name, digest: digest.unwrap_or(id) };
    let names = image.names.into_iter().map(read).collect();
    let source = |name: &crate::image::ImageRef| {
        let host = name.repository.host();
        (host.rsplit_once(':').map_or(host, |(host, _)| host).to_owned(), name.repository.path().to_owned())
    };
    let sources = Some(image.repositories.iter().map(source).collect());
    let bytes = Some(Known { manifests: Vec::new(), contents: vec![id], sources });
    Some(Image { resident: Resident { engine: engine.to_owned(), namespace: MOBY.to_owned(), names, bytes }, size: 0 })
}

/// Whether dockerd has its images in containerd, whose records tell them better.
async fn in_containerd(docker: &Docker) -> Result<bool, String> {
    let info: Info = serde_json::from_slice(&docker.get("/info").await?).map_err(|error| format!("GET /info: {error}"))?;
    let snapshotter = |pair: &Vec<String>| pair.get(1).is_some_and(|value| value.starts_with("io.containerd.snapshotter."));
    Ok(info.driver_status.iter().flatten().any(snapshotter))
}

async fn containers(docker: &Docker) -> Result<Vec<Container>, String> {
    let body = docker.get("/containers/json").await?;
    serde_json::from_slice(&body).map_err(|error| format!("GET /containers/json: {error}"))
}

/// The image of every container that one of these runs. One that does not answer tells nothing, and its containers stay unknown.
async fn of_dockers(dockers: &[Docker]) -> HashMap<String, Digest> {
    let mut known = HashMap::new();
    for docker in dockers {
        let told = containers(docker).await.unwrap_or_default();
        known.extend(told.into_iter().filter_map(|container| Some((container.id, container.image_id.parse().ok()?))));
    }
    known
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn said(status: Status) -> String {
    format!("{}: {}", status.code(), status.message())
}

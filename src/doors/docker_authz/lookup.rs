//! Asks dockerd for an image or a container, by GET, which the plugin answers at once, so that none
//! of these calls waits for itself.

use http::{HeaderMap, Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::odd;
use crate::engines::DockerdClient;
use rootpin_trust::image::{Digest, ImageRef};
use rootpin_trust::{Code, Refusal};

/// An image that dockerd has (Docker Engine API, `ImageInspect`).
#[derive(Debug)]
pub(super) struct InspectedImage {
    pub(super) id: Digest,
    /// Repositories with the digests that it is known under there.
    pub(super) known: Vec<ImageRef>,
    tags: Vec<ImageRef>,
}

/// A container that dockerd has (`ContainerInspect`).
#[derive(Debug)]
pub(super) struct InspectedContainer {
    /// The ID of its image; none: it is of no image.
    pub(super) image: Option<Digest>,
    /// What whoever made it wrote as its image.
    pub(super) written: String,
    /// The images that are mounted in it, as they were written.
    pub(super) mounted: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ImageInspect {
    id: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    repo_digests: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContainerInspect {
    #[serde(default)]
    image: String,
    #[serde(default)]
    config: Option<ContainerConfig>,
    #[serde(default)]
    host_config: Option<HostConfig>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContainerConfig {
    #[serde(default)]
    image: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    #[serde(default)]
    mounts: Option<Vec<Mount>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Mount {
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    source: String,
}

/// The image that dockerd takes these words for: a name, an ID or the beginning of one. `None`: it
/// has none.
///
/// # Errors
/// dockerd doesn't answer, or calls the image something that is no name with a sha256 digest.
pub(super) async fn image(
    docker: &DockerdClient,
    written: &str,
) -> Result<Option<InspectedImage>, Refusal> {
    let Some(found) = inspect::<ImageInspect>(docker, "images", written).await? else {
        return Ok(None);
    };
    let unclear = |what: &str| unreadable(&format!("an image that it calls {what:.200?}"));
    let id = found.id.parse().map_err(|_| unclear(&found.id))?;
    let digests = found
        .repo_digests
        .into_iter()
        .flatten()
        .filter(|name| !name.contains("<none>"));
    let known = digests
        .map(|name| name.parse().map_err(|_| unclear(&name)))
        .collect::<Result<_, _>>()?;
    let tags = found
        .repo_tags
        .into_iter()
        .flatten()
        .filter_map(|name| name.parse().ok())
        .collect();
    Ok(Some(InspectedImage { id, known, tags }))
}

/// A container by what the call names it. `None`: dockerd has none.
///
/// # Errors
/// dockerd doesn't answer, or not with the ID of an image.
pub(super) async fn container(
    docker: &DockerdClient,
    written: &str,
) -> Result<Option<InspectedContainer>, Refusal> {
    let Some(found) = inspect::<ContainerInspect>(docker, "containers", written).await? else {
        return Ok(None);
    };
    let id = Some(found.image).filter(|id| !id.is_empty());
    let image = id
        .map(|id| {
            id.parse()
                .map_err(|_| unreadable(&format!("a container of image {id:.200?}")))
        })
        .transpose()?;
    let mounts = found
        .host_config
        .and_then(|host| host.mounts)
        .unwrap_or_default();
    let mounted = mounts
        .into_iter()
        .filter(|mount| mount.r#type == "image")
        .map(|mount| mount.source)
        .collect();
    Ok(Some(InspectedContainer {
        image,
        written: found.config.map(|config| config.image).unwrap_or_default(),
        mounted,
    }))
}

impl InspectedImage {
    /// Where not even the image is there any more: what a container says of it.
    pub(super) fn gone(id: Digest) -> Self {
        Self {
            id,
            known: Vec::new(),
            tags: Vec::new(),
        }
    }

    /// The name that these words are; none: they are the image's ID or its beginning. dockerd, too,
    /// takes them for a name first.
    pub(super) fn name_in(&self, written: &str) -> Option<ImageRef> {
        let name = written.parse::<ImageRef>().ok();
        let digits = written.strip_prefix("sha256:").unwrap_or(written);
        let is_id = !digits.is_empty() && self.id.hex().starts_with(digits);
        name.filter(|name| !is_id || self.tags.contains(name))
    }
}

async fn inspect<T: DeserializeOwned>(
    docker: &DockerdClient,
    kind: &str,
    name: &str,
) -> Result<Option<T>, Refusal> {
    if name.is_empty()
        || !name
            .chars()
            .all(|plain| plain.is_ascii_alphanumeric() || "-._~/:@+".contains(plain))
    {
        let wanted = "a name or an ID as Docker has them";
        return Err(odd(
            format!("{name:.200?} among dockerd's {kind}"),
            wanted,
            "use a Docker client; no known one sends this",
        ));
    }
    let path = format!("/{kind}/{name}/json");
    let answer = docker
        .call(
            Method::GET,
            &path,
            HeaderMap::new(),
            hyper::body::Bytes::new(),
        )
        .await;
    let answer = answer.map_err(|why| silent(&why.to_string()))?;
    match answer.status {
        StatusCode::OK => serde_json::from_slice(&answer.body)
            .map(Some)
            .map_err(|error| unreadable(&format!("GET {path}: {error}"))),
        StatusCode::NOT_FOUND => Ok(None),
        other => Err(silent(&format!("answered {other} to GET {path}"))),
    }
}

fn silent(why: &str) -> Refusal {
    Refusal::new(
        Code::SourceUnreachable,
        format!("no word from dockerd on what it has: {why}"),
        "its answer",
        "see that `socket` under [[docker]] in rootpin.toml is dockerd's own, and dockerd's log",
    )
}

fn unreadable(what: &str) -> Refusal {
    Refusal::new(
        Code::Malformed,
        format!("dockerd's answer: {what}"),
        "an image with a sha256 ID and names with sha256 digests",
        "see `docker inspect`; remove what has no such name",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_a_name_unless_they_begin_the_image_s_id() {
        let id = Digest::of(b"image");
        let image = |tags: &[&str]| InspectedImage {
            id,
            known: vec![],
            tags: tags.iter().map(|tag| tag.parse().unwrap()).collect(),
        };
        for written in [
            id.to_string(),
            id.hex(),
            id.hex()[..12].to_owned(),
            format!("sha256:{}", &id.hex()[..5]),
        ] {
            assert_eq!(image(&[]).name_in(&written), None, "{written}");
        }
        for written in [
            "app:1",
            "r.example/app",
            "cafe",
            "sha256:cafe",
            &format!("app@{}", Digest::of(b"other")),
        ] {
            assert_eq!(
                image(&[]).name_in(written),
                Some(written.parse().unwrap()),
                "{written}"
            );
        }
        let short = &id.hex()[..4];
        assert_eq!(
            image(&[short]).name_in(short),
            Some(short.parse().unwrap()),
            "an image that is called as its own ID begins"
        );
    }
}

//! The images of a dockerd, in the classic store and in the containerd store: `GET /images/json` on
//! its socket.

use serde::Deserialize;

use super::{DockerdClient, DockerdError};
use rootpin_trust::image::{Digest, ImageRef};

/// What dockerd calls an image, its name in full form where it is one, and the digest that the name
/// stood for at its registry.
pub(crate) type DockerName = (String, Option<ImageRef>, Option<Digest>);

/// One image that dockerd has.
#[derive(Debug)]
pub(crate) struct DockerImage {
    /// Its ID: in the classic store the digest of its config.
    pub id: String,
    /// Every name and digest; the ID alone, where it has none.
    pub names: Vec<DockerName>,
    /// The repositories that dockerd knows it under: in the classic store those that it was pulled
    /// from or pushed to.
    pub repositories: Vec<ImageRef>,
    /// Whether it is known under a repository whose name can't be read.
    pub has_unread_repository: bool,
}

/// An entry of the list (Docker Engine API, `ImageSummary`).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ImageSummary {
    id: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    repo_digests: Option<Vec<String>>,
    /// Of the containerd store, since dockerd 28.
    #[serde(default)]
    descriptor: Option<Descriptor>,
}

#[derive(Debug, Deserialize)]
struct Descriptor {
    digest: String,
}

impl ImageSummary {
    /// What every tag stands for in the containerd store, which tells a digest for one of the
    /// repositories only. There the ID is that digest; in the classic store it is the config's, and
    /// no repository is known under it.
    fn target(&self) -> Option<Digest> {
        let told = self
            .descriptor
            .as_ref()
            .map_or(&self.id, |descriptor| &descriptor.digest);
        let is_known = || {
            self.repo_digests
                .iter()
                .flatten()
                .any(|known| known.rsplit('@').next() == Some(told.as_str()))
        };
        told.parse()
            .ok()
            .filter(|_| self.descriptor.is_some() || is_known())
    }
}

/// Every image that dockerd has.
///
/// # Errors
/// dockerd does not answer, or not with a list of images.
pub(crate) async fn images(docker: &DockerdClient) -> Result<Vec<DockerImage>, DockerdError> {
    let path = "/images/json";
    let body = docker.get(path).await?;
    let all: Vec<ImageSummary> =
        serde_json::from_slice(&body).map_err(|cause| DockerdError::Body { path, cause })?;
    Ok(all.into_iter().map(read).collect())
}

fn read(summary: ImageSummary) -> DockerImage {
    let names = named(&summary);
    let known = || {
        let known = summary.repo_digests.iter().flatten();
        known
            .filter(|name| !name.contains("<none>"))
            .map(|name| name.parse::<ImageRef>())
    };
    DockerImage {
        names,
        repositories: known().filter_map(Result::ok).collect(),
        has_unread_repository: known().any(|name| name.is_err()),
        id: summary.id,
    }
}

/// A tag stands for the digests that its repository is known under; one that has none was never
/// pulled from there or pushed.
fn named(summary: &ImageSummary) -> Vec<DockerName> {
    let names_of = |names: &Option<Vec<String>>| -> Vec<(String, Option<ImageRef>)> {
        // What has no name stands as <none>.
        let names = names
            .iter()
            .flatten()
            .filter(|name| !name.contains("<none>"));
        names
            .map(|name| (name.clone(), name.parse::<ImageRef>().ok()))
            .collect()
    };
    let (tags, digests) = (
        names_of(&summary.repo_tags),
        names_of(&summary.repo_digests),
    );
    let mut images = Vec::new();
    for (record, tag) in &tags {
        let of_same = |(_, known): &(String, Option<ImageRef>)| {
            known
                .as_ref()
                .filter(|known| {
                    tag.as_ref()
                        .is_some_and(|tag| tag.repository == known.repository)
                })
                .and_then(|known| known.digest)
        };
        let mut known: Vec<Digest> = digests.iter().filter_map(of_same).collect();
        if known.is_empty() {
            known.extend(summary.target());
        }
        if known.is_empty() {
            images.push((record.clone(), tag.clone(), None));
        }
        images.extend(
            known
                .into_iter()
                .map(|digest| (record.clone(), tag.clone(), Some(digest))),
        );
    }
    let has_tag = |name: &ImageRef| {
        tags.iter().any(|(_, tag)| {
            tag.as_ref()
                .is_some_and(|tag| tag.repository == name.repository)
        })
    };
    let untagged = digests
        .into_iter()
        .filter(|(_, name)| !name.as_ref().is_some_and(has_tag));
    images.extend(untagged.map(|(record, name)| {
        let digest = name.as_ref().and_then(|name| name.digest);
        (record, name, digest)
    }));
    if images.is_empty() {
        images.push((summary.id.clone(), None, None));
    }
    images
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzzing::try_reader;

    fn told(text: &str) -> Vec<(String, Option<String>, Option<String>)> {
        let all: Vec<ImageSummary> = serde_json::from_str(text).unwrap();
        let one = |(record, name, digest): DockerName| {
            (
                record,
                name.map(|name| name.to_string()),
                digest.map(|digest| digest.hex()[..4].to_owned()),
            )
        };
        all.iter().flat_map(named).map(one).collect()
    }

    #[test]
    fn each_name_comes_with_the_digest_of_its_own_repository() {
        let (one, two, config) = (
            Digest::of(b"one"),
            Digest::of(b"two"),
            Digest::of(b"config"),
        );
        let text = format!(
            r#"[{{"Id":"{config}","RepoTags":["alpine:3.20","r.example/mirror:1","local:dev"],"RepoDigests":["alpine@{one}","r.example/mirror@{two}","r.example/moved@{two}"],"Size":1}},
               {{"Id":"{two}","RepoTags":["<none>:<none>"],"RepoDigests":["<none>@<none>"]}},
               {{"Id":"{two}","RepoTags":null,"RepoDigests":["odd name@{two}"]}}]"#
        );
        let hex = |digest: Digest| Some(digest.hex()[..4].to_owned());
        let wanted = [
            (
                "alpine:3.20",
                Some("docker.io/library/alpine:3.20".to_owned()),
                hex(one),
            ),
            (
                "r.example/mirror:1",
                Some("r.example/mirror:1".to_owned()),
                hex(two),
            ),
            (
                "local:dev",
                Some("docker.io/library/local:dev".to_owned()),
                None,
            ),
            (
                &*format!("r.example/moved@{two}"),
                Some(format!("r.example/moved@{two}")),
                hex(two),
            ),
            (&*two.to_string(), None, None),
            (&*format!("odd name@{two}"), None, None),
        ]
        .map(|(record, name, digest)| (record.to_owned(), name, digest));
        assert_eq!(told(&text), wanted);
    }

    /// As dockerd 28.5 and 26.1 list an image of the containerd store that was pulled under one
    /// name and tagged with another.
    #[test]
    fn in_the_containerd_store_every_tag_stands_for_the_image_s_own_digest() {
        let one = Digest::of(b"one");
        for descriptor in [
            format!(r#","Descriptor":{{"mediaType":"x","digest":"{one}","size":882}}"#),
            String::new(),
        ] {
            let text = format!(
                r#"[{{"Id":"{one}","RepoDigests":["local@{one}"],"RepoTags":["r.example/app:1","local:dev"]{descriptor}}}]"#
            );
            let digests: Vec<_> = told(&text)
                .into_iter()
                .map(|(record, _, digest)| (record, digest))
                .collect();
            let hex = Some(one.hex()[..4].to_owned());
            assert_eq!(
                digests,
                [
                    ("r.example/app:1".to_owned(), hex.clone()),
                    ("local:dev".to_owned(), hex)
                ]
            );
        }
    }

    #[test]
    fn fuzz_no_list_of_images_makes_its_reader_panic_or_leaves_one_without_a_name() {
        let example = format!(
            r#"[{{"Id":"{0}","RepoTags":["a:1","<none>:<none>"],"RepoDigests":["r.example/a@{0}"],"Descriptor":{{"digest":"{0}"}}}}]"#,
            Digest::of(b"one")
        );
        let list = |bytes: &[u8]| -> Vec<DockerImage> {
            let all: Vec<ImageSummary> = serde_json::from_slice(bytes).unwrap_or_default();
            all.into_iter().map(read).collect()
        };
        assert_eq!(list(example.as_bytes()).len(), 1);
        try_reader("docker-images", &[example.as_bytes()], |bytes| {
            for image in list(bytes) {
                assert!(!image.names.is_empty());
            }
        });
    }
}

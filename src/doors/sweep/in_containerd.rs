//! A sweep of one containerd: every record of every namespace.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tonic::{Code, Status};

use super::in_docker;
use super::pending::Pending;
use super::swept_image::{EngineImages, LookUpError, Removal, RunningContainer, SweptImage};
use crate::decide::{ImageName, ResidentImage};
use crate::engines::containerd::images::{
    self as containerd_images, ImageRecord, is_id, name_of_record,
};
use crate::engines::{ContainerdClient, DockerdClient, containerd};
use rootpin_trust::image::Digest;

pub(super) async fn held(
    containerd: &ContainerdClient,
    engine: &str,
) -> Result<EngineImages, String> {
    let mut held = EngineImages::default();
    for namespace in containerd.namespaces().await.map_err(said)? {
        group(
            &mut held,
            engine,
            &namespace,
            containerd.records(&namespace).await.map_err(said)?,
        );
    }
    Ok(held)
}

/// Records by what they stand for.
fn group(held: &mut EngineImages, engine: &str, namespace: &str, records: Vec<ImageRecord>) {
    let mut images: BTreeMap<Digest, SweptImage> = BTreeMap::new();
    for ImageRecord {
        name: record,
        target,
        is_of_registry,
    } in records
    {
        let Ok(digest) = target.digest.parse() else {
            held.odd.push(format!(
                "{record} in namespace {namespace} stands for {}, which is no sha256 digest",
                target.digest
            ));
            continue;
        };
        let image = images.entry(digest).or_insert_with(|| {
            let (engine, namespace) = (engine.to_owned(), namespace.to_owned());
            SweptImage {
                resident: ResidentImage {
                    engine,
                    namespace,
                    names: Vec::new(),
                    bytes: None,
                },
                size: target.size,
                is_of_registry: false,
            }
        });
        image.is_of_registry |= is_of_registry;
        let name = name_of_record(&record);
        if name.is_none() && !is_id(&record) {
            held.odd.push(format!("a name that rootpin can't read, and no policy covers, in namespace {namespace}: {record:?}"));
        }
        image.resident.names.push(ImageName {
            record,
            name,
            digest,
        });
    }
    held.images.extend(images.into_values());
}

pub(super) async fn running(
    containerd: &ContainerdClient,
    dockers: &[DockerdClient],
) -> Result<Vec<RunningContainer>, String> {
    let mut running = Vec::new();
    for namespace in containerd.namespaces().await.map_err(said)? {
        let found = containerd.running(&namespace).await.map_err(said)?;
        if found.is_empty() {
            continue;
        }
        let records = containerd.records(&namespace).await.map_err(said)?;
        let digests: HashMap<String, String> = records
            .into_iter()
            .map(|record| (record.name, record.target.digest))
            .collect();
        // dockerd tells containerd nothing of an image; its own ID for the container is the same.
        let nameless = found.iter().any(|container| container.image.is_empty());
        let told = if nameless {
            in_docker::images_by_container(dockers).await
        } else {
            HashMap::new()
        };
        running.extend(found.into_iter().map(|container| {
            let recorded = digests
                .get(&container.image)
                .and_then(|digest| digest.parse().ok());
            let digest = recorded.or_else(|| told.get(&container.id).copied());
            RunningContainer {
                namespace: namespace.clone(),
                id: container.id,
                image: container.image,
                digest,
            }
        }));
    }
    Ok(running)
}

pub(super) async fn look_up(
    containerd: &ContainerdClient,
    image: &mut SweptImage,
    sources: bool,
) -> Result<(), LookUpError> {
    let Some(top) = image.resident.names.first().map(|named| named.digest) else {
        return Ok(());
    };
    let namespace = &image.resident.namespace;
    let (mut bytes, whole) = match image.resident.bytes.take() {
        Some(bytes) => (bytes, Ok(())),
        None => containerd
            .bytes(namespace, top, image.size)
            .await
            .map_err(said)?,
    };
    if sources && bytes.sources.is_none() {
        // Layers of a registry's image are in what was built on it, too.
        let documents: Vec<Digest> = [top]
            .iter()
            .chain(&bytes.manifests)
            .chain(&bytes.configs)
            .copied()
            .collect();
        let mut sources = containerd
            .sources(namespace, &documents)
            .await
            .map_err(said)?;
        if image.is_of_registry && sources.is_empty() {
            sources.push((String::new(), String::new()));
        }
        bytes.sources = Some(sources);
    }
    // A part that was seen may be revoked: it is judged by that, too.
    image.resident.bytes = Some(bytes);
    whole.map_err(|over| LookUpError::Image(over.to_string()))
}

pub(super) async fn stands(
    containerd: &ContainerdClient,
    namespace: &str,
    named: &ImageName,
) -> Result<bool, String> {
    let target = containerd
        .target(namespace, &named.record)
        .await
        .map_err(said)?;
    Ok(target.is_some_and(|target| target.digest == named.digest.to_string()))
}

pub(super) async fn remove(
    containerd: &ContainerdClient,
    namespace: &str,
    named: &ImageName,
    last: bool,
) -> Result<Removal, String> {
    let target = containerd_images::RecordTarget {
        digest: named.digest.to_string(),
        size: 0,
    };
    match containerd
        .delete(namespace, &named.record, &target, last)
        .await
    {
        Ok(()) => Ok(Removal::Removed),
        Err(status) if status.code() == Code::NotFound => Ok(Removal::Changed),
        Err(status) => Err(said(status)),
    }
}

pub(super) async fn follow(
    containerd: &ContainerdClient,
    pending: &Arc<Pending>,
    connected: impl FnOnce(),
) -> Result<(), String> {
    let written = |image| match image {
        Some((namespace, name)) => pending.add(namespace, name),
        None => pending.look(),
    };
    containerd::events::follow(containerd, connected, written)
        .await
        .map_err(said)
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn said(status: Status) -> String {
    format!("{}: {}", status.code(), status.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_the_same_bytes_are_one_image_and_one_for_no_sha256_digest_is_told() {
        let record = |name: &str, digest: String| ImageRecord {
            name: name.to_owned(),
            target: containerd_images::RecordTarget { digest, size: 1 },
            is_of_registry: false,
        };
        let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
        let mut held = EngineImages::default();
        let records = vec![
            record("r.example/a:1", one.to_string()),
            record(&Digest::of(b"config").to_string(), one.to_string()),
            record("r.example/b:1", other.to_string()),
            record("r.example/c:1", format!("sha512:{}", "0".repeat(128))),
        ];
        group(&mut held, "main", "k8s.io", records);
        assert_eq!(held.odd.len(), 1);
        group(
            &mut held,
            "main",
            "default",
            vec![record("HOST:x/A:1", other.to_string())],
        );
        let mut names: Vec<_> = held
            .images
            .iter()
            .map(|image| image.resident.names.len())
            .collect();
        names.sort_unstable();
        assert_eq!((names, held.odd.len()), (vec![1, 1, 2], 2));
        let ids: Vec<_> = held
            .images
            .iter()
            .flat_map(|image| &image.resident.names)
            .filter(|named| named.name.is_none())
            .collect();
        assert_eq!(ids.len(), 2, "an ID is no name, nor is what can't be read");
    }
}

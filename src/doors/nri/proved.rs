//! Configurations and manifests, proved from their bytes. What was proved stays true, so it is
//! kept: to look through the whole store takes the longer, the more images a node has.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tonic::Status;

use super::NAMESPACE;
use super::container_origin::ContainerOrigin;
use super::rootfs::chain_id;
use crate::engines::containerd::ContainerdClient;
use rootpin_trust::image::{Chain, Digest, Document};

/// Images that have all layers in common and not the configuration: rebuilds, of which a host has a
/// few.
const MAX_CONFIGS: usize = 64;
/// More are begun anew: a node has not as many images.
const MAX_KEPT: usize = 10_000;

/// How far to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SearchDepth {
    /// At what was proved before, and at the targets of the records that CRI keeps under a
    /// configuration's digest: it is enough for a yes.
    Near,
    /// Through the whole store. A node has thousands of images, and it takes a second to read their
    /// indexes for the first time.
    Everywhere,
}

/// What was proved.
#[derive(Debug, Default)]
pub(super) struct Proved(Mutex<ProvedManifests>);

#[derive(Debug, Default)]
struct ProvedManifests {
    /// Size and chain ID of each configuration.
    chain_ids: HashMap<Digest, (u64, Option<Digest>)>,
    /// The configurations of each chain ID that were here when it was last looked for them.
    configs: HashMap<Digest, Vec<Digest>>,
    /// The manifests of each configuration, likewise.
    manifests: HashMap<Digest, Vec<Manifest>>,
}

/// A manifest that names a configuration.
#[derive(Debug, Clone)]
pub(super) struct Manifest {
    /// The chain that ends at it.
    pub(super) chain: Chain,
    /// Whether it, or the configuration, was fetched from a registry.
    pub(super) from_registry: bool,
    /// Registry host without port and repository that it is labelled with.
    pub(super) sources: Vec<(String, String)>,
}

impl Proved {
    /// The configurations that the container can have: the one that CRI wrote down, or all of
    /// layers that give its chain ID.
    pub(super) async fn configs(
        &self,
        containerd: &ContainerdClient,
        made: &ContainerOrigin,
        look: SearchDepth,
    ) -> Result<Vec<Digest>, Status> {
        let kept = self
            .known()
            .configs
            .get(&made.chain)
            .cloned()
            .filter(|_| look == SearchDepth::Near);
        let candidates = match (made.config, kept) {
            (Some(config), _) => vec![config],
            (None, Some(kept)) => return Ok(kept),
            (None, None) => labelled(containerd, made).await?,
        };
        let mut configs = Vec::new();
        for config in candidates {
            if self
                .chain_id(containerd, config)
                .await?
                .is_some_and(|(_, chain)| chain == Some(made.chain))
            {
                configs.push(config);
            }
        }
        if made.config.is_none() {
            self.known().configs.insert(made.chain, configs.clone());
        }
        Ok(configs)
    }

    /// The manifests that name a configuration.
    pub(super) async fn manifests(
        &self,
        containerd: &ContainerdClient,
        config: Digest,
        look: SearchDepth,
    ) -> Result<Vec<Manifest>, Status> {
        let kept = self.known().manifests.get(&config).cloned();
        if let Some(kept) = kept.filter(|kept| look == SearchDepth::Near && !kept.is_empty()) {
            return Ok(kept);
        }
        let Some((size, _)) = self.chain_id(containerd, config).await? else {
            return Ok(Vec::new());
        };
        // What pulls and imports write, and what BuildKit does.
        let filters = ["config", "0"]
            .map(|kind| format!("labels.\"containerd.io/gc.ref.content.{kind}\"=={config}"));
        let config_info = containerd.info(NAMESPACE, &config).await?;
        let config_of_registry = config_info.is_some_and(|info| info.is_of_registry());
        let mut manifests = Vec::new();
        for info in containerd.blobs_where(NAMESPACE, filters.to_vec()).await? {
            let document = containerd.document(NAMESPACE, &info).await?;
            let from_registry = config_of_registry || info.is_of_registry();
            let sources: Vec<_> = info
                .sources()
                .map(|(host, path)| (host.to_owned(), path.to_owned()))
                .collect();
            let chain = document.and_then(|document| Chain::of_config(config, size, &document));
            manifests.extend(chain.map(|chain| Manifest {
                chain,
                from_registry,
                sources,
            }));
        }
        self.known().manifests.insert(config, manifests.clone());
        Ok(manifests)
    }

    /// A configuration's size and the chain ID of its layers, hashed and read here; none where it
    /// is no configuration, or not there.
    async fn chain_id(
        &self,
        containerd: &ContainerdClient,
        config: Digest,
    ) -> Result<Option<(u64, Option<Digest>)>, Status> {
        if let Some(known) = self.known().chain_ids.get(&config) {
            return Ok(Some(*known));
        }
        // A size of nothing asks for all of it; more than a document may have is refused there.
        let Some(bytes) = containerd.read(NAMESPACE, &config, 0).await? else {
            return Ok(None);
        };
        if bytes.len() > Document::LIMITS.bytes || Digest::of(&bytes) != config {
            return Ok(None);
        }
        let Ok(chain) = chain_id(&bytes) else {
            return Ok(None);
        };
        let proved = (u64::try_from(bytes.len()).unwrap_or(u64::MAX), chain);
        self.known().chain_ids.insert(config, proved);
        Ok(Some(proved))
    }

    fn known(&self) -> MutexGuard<'_, ProvedManifests> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.chain_ids.len() > MAX_KEPT {
            *known = ProvedManifests::default();
        }
        known
    }
}

/// The blobs that are said to be unpacked to the container's snapshot: without this label, it would
/// be collected as garbage.
async fn labelled(
    containerd: &ContainerdClient,
    made: &ContainerOrigin,
) -> Result<Vec<Digest>, Status> {
    let label = format!("containerd.io/gc.ref.snapshot.{}", made.snapshotter);
    let mut infos = containerd
        .blobs_where(NAMESPACE, vec![format!("labels.{label:?}=={}", made.chain)])
        .await?;
    infos
        .retain(|info| usize::try_from(info.size).is_ok_and(|size| size <= Document::LIMITS.bytes));
    if infos.len() > MAX_CONFIGS {
        return Err(Status::resource_exhausted(format!(
            "more than {MAX_CONFIGS} images of the same layers, {}",
            made.chain
        )));
    }
    Ok(infos.into_iter().map(|info| info.digest).collect())
}

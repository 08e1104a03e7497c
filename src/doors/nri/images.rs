//! Finds the images that unpack to a container's snapshot, proved from the bytes: a configuration
//! whose layers give that chain ID, a manifest that names the configuration, the indexes above it,
//! and the records whose target is one of these.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::services::v1::{GetImageRequest, Image, ListImagesRequest};
use tokio::task::JoinSet;
use tonic::{Code, Status};

use super::NAMESPACE;
use super::container_origin::ContainerOrigin;
use super::proved::{Proved, SearchDepth};
use crate::decide::{Claim, NameSource, NamespaceView};
use crate::doors::EngineGates;
use crate::engines::containerd::{BlobInfo, MAX_MESSAGE, record_is_of_registry, within};
use rootpin_trust::image::{Blob, Chain, Digest, ImageRef, IndexEntry, MAX_INDEXES, Repository};

/// So many indexes below one target are read. A record's target may list ten thousand.
const MAX_READS: usize = 256;
/// How many documents are read at once.
const AT_ONCE: usize = 32;

/// The images that a container can have been made of.
#[derive(Debug)]
pub(super) struct PossibleImages {
    /// With the names to be judged.
    pub(super) place: NamespaceView,
    /// Whether there are several configurations, and it is not known which one the container has.
    pub(super) ambiguous: bool,
}

/// What the way from a record's target to a manifest came to.
#[derive(Debug)]
enum Climbed {
    /// The target is above the manifest, by this chain.
    Above(Chain),
    /// It is not.
    Elsewhere,
    /// It lists more indexes than are read, or deeper ones.
    OverLimit,
}

/// What an image record points at, and the records of it.
type TargetRecord = (BlobInfo, RecordNames);

/// The names of all records of one target.
#[derive(Debug, Default)]
struct RecordNames {
    names: BTreeSet<String>,
    /// Whether one of the records shows that a registry was asked, though the blobs may not.
    is_of_registry: bool,
}

/// Looks for them.
#[derive(Debug)]
pub(super) struct ImageSearch<'a> {
    pub(super) engine: &'a Arc<EngineGates>,
    pub(super) proved: &'a Proved,
    pub(super) look: SearchDepth,
}

impl ImageSearch<'_> {
    /// Finds the images.
    ///
    /// # Errors
    /// containerd's own; or there are more than the limit.
    pub(super) async fn images(&self, made: &ContainerOrigin) -> Result<PossibleImages, Status> {
        let containerd = &self.engine.containerd;
        let configs = self.proved.configs(containerd, made, self.look).await?;
        let mut manifests = Vec::new();
        for config in &configs {
            manifests.extend(
                self.proved
                    .manifests(containerd, *config, self.look)
                    .await?,
            );
        }
        let mut is_cut_short = false;
        let mut from_registry = manifests.iter().any(|manifest| manifest.from_registry);
        let records = match self.look {
            SearchDepth::Near => {
                self.near(
                    made,
                    &configs,
                    manifests.iter().map(|manifest| manifest.chain.top()),
                )
                .await?
            }
            SearchDepth::Everywhere => self.records(Vec::new()).await?,
        };
        self.read(&records).await?;
        let mut found = Vec::new();
        for manifest in &manifests {
            let sources = manifest
                .sources
                .iter()
                .map(|(host, path)| (host.as_str(), path.as_str()));
            let fetched_from: BTreeSet<_> = self.engine.repositories(sources).into_iter().collect();
            for (target, names) in &records {
                match self.climb(&manifest.chain, target).await? {
                    Climbed::Above(chain) => {
                        from_registry |= names.is_of_registry;
                        found.push((chain, &names.names, fetched_from.clone()));
                    }
                    Climbed::Elsewhere => {}
                    // It may be above, and a rule may cover its name: nothing counts as local.
                    Climbed::OverLimit => is_cut_short = true,
                }
            }
        }
        // What NRI names must be above the container's configuration; where that is not known, it is
        // one that the image is above.
        if let Some(target) = made.target {
            let is_below = |chain: &Chain| chain.digests().contains(&target);
            if made.config.is_none() {
                found.retain(|(chain, ..)| is_below(chain));
            } else if !found.iter().any(|(chain, ..)| is_below(chain)) {
                found.clear();
            }
        }
        // Which one it is, where its record is known: all records of an image have the same
        // configuration in CRI's eyes.
        if let (None, Some(record)) = (made.config, &made.record) {
            let of_record = |names: &BTreeSet<String>| names.contains(record);
            let meant: BTreeSet<_> = found
                .iter()
                .filter(|(_, names, _)| of_record(names))
                .map(|(chain, ..)| chain.content().0)
                .collect();
            found.retain(|(chain, ..)| meant.contains(&chain.content().0));
        }
        let claims = found
            .iter()
            .flat_map(|(chain, names, from)| claims(chain, names, made.asked.as_ref(), from))
            .collect();
        let chains = found.into_iter().map(|(chain, ..)| chain).collect();
        let place = NamespaceView {
            namespace: NAMESPACE.to_owned(),
            chains,
            claims,
            from_registry,
            is_cut_short,
            variants: Vec::new(),
        };
        Ok(PossibleImages {
            place,
            ambiguous: configs.len() > 1,
        })
    }

    /// Reads what the image records point at, so that no question has to wait for it.
    pub(super) async fn warm(&self) -> Result<(), Status> {
        self.read(&self.records(Vec::new()).await?).await
    }

    /// Reads the targets that are not known yet, side by side.
    async fn read(&self, records: &[TargetRecord]) -> Result<(), Status> {
        let known = |target: &BlobInfo| self.engine.containerd.has_read(&target.digest);
        let unread: Vec<_> = records
            .iter()
            .map(|(target, _)| target)
            .filter(|target| !known(target))
            .collect();
        for some in unread.chunks(AT_ONCE) {
            let mut reads = JoinSet::new();
            for target in some {
                let (engine, target) = (Arc::clone(self.engine), (*target).clone());
                reads.spawn(async move {
                    engine
                        .containerd
                        .document(NAMESPACE, &target)
                        .await
                        .map(|_| ())
                });
            }
            while let Some(read) = reads.join_next().await {
                read.map_err(|error| Status::internal(error.to_string()))??;
            }
        }
        Ok(())
    }

    /// The records of the same targets as those that CRI keeps for the image, and of its manifests.
    async fn near(
        &self,
        made: &ContainerOrigin,
        configs: &[Digest],
        manifests: impl Iterator<Item = Digest>,
    ) -> Result<Vec<TargetRecord>, Status> {
        let mut targets: BTreeSet<String> =
            manifests.map(|manifest| manifest.to_string()).collect();
        for name in configs
            .iter()
            .map(ToString::to_string)
            .chain(made.record.clone())
        {
            match self
                .client()
                .get(within(NAMESPACE, GetImageRequest { name })?)
                .await
            {
                Ok(answer) => targets.extend(
                    answer
                        .into_inner()
                        .image
                        .and_then(|image| image.target)
                        .map(|target| target.digest),
                ),
                Err(status) if status.code() == Code::NotFound => {}
                Err(status) => return Err(status),
            }
        }
        // No filter at all would be one that all records fit.
        if targets.is_empty() {
            return Ok(Vec::new());
        }
        self.records(
            targets
                .into_iter()
                .map(|target| format!("target.digest=={target}"))
                .collect(),
        )
        .await
    }

    /// The records that one of the filters fits; all, where there is none.
    async fn records(&self, filters: Vec<String>) -> Result<Vec<TargetRecord>, Status> {
        let images = self
            .client()
            .list(within(NAMESPACE, ListImagesRequest { filters })?)
            .await?
            .into_inner()
            .images;
        let mut targets: HashMap<Digest, TargetRecord> = HashMap::new();
        for Image {
            name,
            target,
            labels,
            ..
        } in images
        {
            let Some(target) = target else { continue };
            let Ok(digest) = target.digest.parse() else {
                continue;
            };
            let fresh = || {
                (
                    BlobInfo {
                        digest,
                        size: target.size,
                        labels: HashMap::new(),
                    },
                    RecordNames::default(),
                )
            };
            let known = &mut targets.entry(digest).or_insert_with(fresh).1;
            known.is_of_registry |= record_is_of_registry(&name, &labels);
            known.names.insert(name);
        }
        Ok(targets.into_values().collect())
    }

    fn client(&self) -> ImagesClient<tonic::transport::Channel> {
        ImagesClient::new(self.engine.containerd.channel()).max_decoding_message_size(MAX_MESSAGE)
    }

    /// The chain from a document down to that manifest.
    async fn climb(&self, manifest: &Chain, target: &BlobInfo) -> Result<Climbed, Status> {
        if target.digest == manifest.top() {
            return Ok(Climbed::Above(manifest.clone()));
        }
        let containerd = &self.engine.containerd;
        let top = containerd.document(NAMESPACE, target).await?;
        // Each with the indexes above it, highest first.
        let mut level: Vec<Vec<Arc<Blob>>> = top.into_iter().map(|top| vec![top]).collect();
        let (mut seen, mut reads) = (HashSet::from([target.digest]), 0);
        for _ in 0..MAX_INDEXES {
            let mut lower = Vec::new();
            for path in &level {
                let under = |chain: Chain, index| chain.under(index);
                if let Some(chain) = path.iter().rev().try_fold(manifest.clone(), under) {
                    return Ok(Climbed::Above(chain));
                }
                let entries = path.last().into_iter().flat_map(|index| index.entries());
                for IndexEntry { descriptor, .. } in entries {
                    if !descriptor.is_of_index() || seen.contains(&descriptor.digest) {
                        continue;
                    }
                    reads += 1;
                    if reads > MAX_READS {
                        return Ok(Climbed::OverLimit);
                    }
                    let below = BlobInfo {
                        digest: descriptor.digest,
                        size: i64::try_from(descriptor.size).unwrap_or(i64::MAX),
                        labels: HashMap::new(),
                    };
                    let document = containerd.document(NAMESPACE, &below).await?;
                    if let Some(index) = document.filter(|document| document.is(descriptor)) {
                        seen.insert(descriptor.digest);
                        lower.push(path.iter().cloned().chain([index]).collect());
                    }
                }
            }
            level = lower;
        }
        Ok(if level.is_empty() {
            Climbed::Elsewhere
        } else {
            Climbed::OverLimit
        })
    }
}

/// The name that was asked for; else every record's name, and the repositories that the image was
/// fetched from. Clients write full names: what would first have to be made one (CRI's `sha256:…`)
/// is nobody's word on a repository. A pod's word for a name is no more than a record, unless the
/// image was fetched from there: an archive may have brought other bytes under it.
fn claims(
    chain: &Chain,
    names: &BTreeSet<String>,
    asked: Option<&ImageRef>,
    fetched_from: &BTreeSet<Repository>,
) -> Vec<Claim> {
    let claim = |told_by, name| Claim {
        told_by,
        name,
        chain: chain.clone(),
    };
    if let Some(name) = asked {
        let told_by = if fetched_from.contains(&name.repository) {
            NameSource::Client
        } else {
            NameSource::Record
        };
        return vec![claim(told_by, name.clone())];
    }
    let recorded = names
        .iter()
        .filter_map(|name| ImageRef::from_full(name).ok())
        .map(|name| claim(NameSource::Record, name));
    let bare = |repository: &Repository| ImageRef {
        repository: repository.clone(),
        tag: None,
        digest: None,
    };
    recorded
        .chain(
            fetched_from
                .iter()
                .map(|repository| claim(NameSource::Source, bare(repository))),
        )
        .collect()
}

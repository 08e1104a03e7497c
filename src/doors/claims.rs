//! Finds the images that a layer belongs to in containerd: chains proved by digest, and names that
//! are only hints.

mod gather;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::OnceCell;
use tonic::Status;

use crate::decide::{Claim, NameSource, NamespaceView};
use crate::engines::containerd::{BlobInfo, ContainerdClient, RecordedName};
use rootpin_trust::image::{Blob, Chain, Descriptor, Digest, ImageRef, MAX_INDEXES, Repository};

pub(super) use gather::LayerQuestion;

/// The reference that docker and CRI put on a layer, and the platform manifest that goes with it.
const IMAGE_REF: &str = "containerd.io/snapshot/cri.image-ref";
const MANIFEST_DIGEST: &str = "containerd.io/snapshot/cri.manifest-digest";
/// Every host has layers that many images share (the empty one of `WORKDIR`, a base image's), and
/// each of them makes two chains. Those with fewer indexes above come first, so that what indexes
/// over indexes add is cut off before what a pull brings.
const MAX_CHAINS: usize = 4096;
/// An archive has a few names for an image; one that has more has no need of the rest.
const MAX_IMPORTED: usize = 64;

/// What else can put a name to a digest.
pub(super) trait NameLookup {
    /// Names that the image verifier was asked about and that stood for this digest.
    fn admitted(&self, top: &Digest) -> Vec<ImageRef>;
    /// Registries that the policy names, `host[:port]`, whose host without port is this.
    fn registries(&self, host: &str) -> Vec<String>;
}

/// Why nothing can be said of a layer.
#[derive(Debug)]
pub(super) enum LayerUnknown {
    /// containerd's own error.
    Containerd(Status),
    /// The manifest that the layer's annotation names is here, and does not list the layer as
    /// rootpin reads it.
    Contradicted(Digest),
}

impl From<Status> for LayerUnknown {
    fn from(status: Status) -> Self {
        Self::Containerd(status)
    }
}

/// The name that a layer's annotation claims, and the manifest that it goes with.
fn annotation(annotations: &HashMap<String, String>) -> (Option<ImageRef>, Option<Digest>) {
    let name = annotations.get(IMAGE_REF);
    let name = name.and_then(|name| name.parse().ok());
    let manifest = annotations.get(MANIFEST_DIGEST);
    let manifest = manifest.filter(|_| name.is_some());
    (name, manifest.and_then(|digest| digest.parse().ok()))
}

/// Names of image records whose target is a chain's top. Clients write full names; what would first
/// have to be made one (CRI's `sha256:…`, docker's `moby-dangling@…`) is nobody's word on a
/// repository.
fn recorded(place: &mut NamespaceView, records: &[RecordedName]) {
    for RecordedName {
        name,
        target,
        is_of_registry,
    } in records
    {
        let chains: Vec<Chain> = place
            .chains
            .iter()
            .filter(|chain| chain.top() == *target)
            .cloned()
            .collect();
        if chains.is_empty() {
            continue;
        }
        place.from_registry |= is_of_registry;
        let Ok(name) = ImageRef::from_full(name) else {
            continue;
        };
        place.claims.extend(chains.into_iter().map(|chain| Claim {
            told_by: NameSource::Record,
            name: name.clone(),
            chain,
        }));
    }
}

struct ClaimSearch<'a> {
    containerd: &'a ContainerdClient,
    namespace: &'a str,
    blobs: &'a [BlobInfo],
    by_digest: HashMap<Digest, &'a BlobInfo>,
    /// What the collector's labels refer to, sorted, each with the place of the blob that has it.
    referred: Vec<(&'a str, usize)>,
    /// The documents among the blobs whose labels say nothing of layers and manifests, with their
    /// places: looked for once in a question.
    unlabelled: OnceCell<Vec<(usize, Arc<Blob>)>>,
}

impl<'a> ClaimSearch<'a> {
    fn of(containerd: &'a ContainerdClient, namespace: &'a str, blobs: &'a [BlobInfo]) -> Self {
        let referred = |(at, info): (usize, &'a BlobInfo)| {
            info.referred().map(move |(_, digest)| (digest, at))
        };
        let mut referred: Vec<_> = blobs.iter().enumerate().flat_map(referred).collect();
        referred.sort_unstable();
        Self {
            containerd,
            namespace,
            blobs,
            by_digest: blobs.iter().map(|info| (info.digest, info)).collect(),
            referred,
            unlabelled: OnceCell::new(),
        }
    }

    /// What the namespace knows of one layer.
    async fn place(
        &self,
        names: &(dyn NameLookup + Sync),
        records: &[RecordedName],
        layer: &Descriptor,
        annotations: &HashMap<String, String>,
    ) -> Result<NamespaceView, LayerUnknown> {
        let (chains, is_whole) = self.chains(layer).await?;
        if !is_whole {
            log::warn!(
                "layer {} in namespace {}: more images have it than are looked at ({MAX_CHAINS}), or one that lies \
                 under more indexes than are followed ({MAX_INDEXES}): it is not taken for local",
                layer.digest,
                self.namespace
            );
        }
        let namespace = self.namespace.to_owned();
        let mut place = NamespaceView {
            namespace,
            chains,
            claims: Vec::new(),
            from_registry: false,
            is_cut_short: !is_whole,
            variants: Vec::new(),
        };
        self.annotated(&mut place, annotations)?;
        if !place.chains.is_empty() {
            recorded(&mut place, records);
            self.imported(&mut place).await?;
            let mut known: HashMap<Digest, Vec<ImageRef>> = HashMap::new();
            for chain in &place.chains {
                let told = known
                    .entry(chain.top())
                    .or_insert_with(|| names.admitted(&chain.top()));
                place.claims.extend(told.iter().map(|name| Claim {
                    told_by: NameSource::Ledger,
                    name: name.clone(),
                    chain: chain.clone(),
                }));
            }
        }
        self.sourced(&mut place, names, layer);
        Ok(place)
    }

    /// The same of a blob that holds the layer's files in another compression. One that is gone, or
    /// of which no more is known than its digest, may have come from anywhere.
    async fn variant(
        &self,
        names: &(dyn NameLookup + Sync),
        records: &[RecordedName],
        digest: Digest,
    ) -> Result<NamespaceView, LayerUnknown> {
        match self
            .by_digest
            .get(&digest)
            .and_then(|info| info.descriptor())
        {
            Some(layer) => self.place(names, records, &layer, &HashMap::new()).await,
            None => Ok(NamespaceView {
                namespace: self.namespace.to_owned(),
                chains: Vec::new(),
                claims: Vec::new(),
                from_registry: true,
                is_cut_short: false,
                variants: Vec::new(),
            }),
        }
    }

    /// Every chain of documents in the namespace that ends in the layer, those with fewer indexes
    /// first; and whether these are all. A name that a rule covers may stand for the top of one
    /// that is left out, so that nothing under it counts as local.
    async fn chains(&self, layer: &Descriptor) -> Result<(Vec<Chain>, bool), Status> {
        let manifests = self.listing(&[layer.digest].into()).await?;
        let mut chains: Vec<Chain> = manifests
            .iter()
            .filter_map(|(_, manifest)| Chain::of_manifest(layer, manifest))
            .collect();
        let mut lower = 0..chains.len();
        for _ in 0..MAX_INDEXES {
            let mut below: HashMap<Digest, Vec<&Chain>> = HashMap::new();
            for chain in chains.get(lower.clone()).unwrap_or_default() {
                below.entry(chain.top()).or_default().push(chain);
            }
            let tops: HashSet<Digest> = below.keys().copied().collect();
            if tops.is_empty() {
                return Ok((chains, true));
            }
            if chains.len() >= MAX_CHAINS {
                chains.truncate(MAX_CHAINS);
                return Ok((chains, false));
            }
            let indexes = self.listing(&tops).await?;
            let room = MAX_CHAINS - chains.len();
            let mut higher = Vec::new();
            for (_, index) in &indexes {
                let listed: BTreeSet<Digest> = index.refers_to(&tops).collect();
                let chains = listed
                    .iter()
                    .flat_map(|top| below.get(top).into_iter().flatten());
                higher.extend(
                    chains
                        .filter_map(|chain| chain.under(index))
                        .take(room - higher.len()),
                );
            }
            lower = chains.len()..chains.len() + higher.len();
            chains.extend(higher);
        }
        let highest = chains.get(lower).unwrap_or_default();
        let tops = highest.iter().map(Chain::top).collect();
        let is_whole = chains.len() < MAX_CHAINS && self.listing(&tops).await?.is_empty();
        Ok((chains, is_whole))
    }

    /// The documents that list one of these digests, in the store's order: among those whose labels
    /// say so, and those whose labels say nothing of it.
    async fn listing(
        &self,
        children: &HashSet<Digest>,
    ) -> Result<Vec<(&'a BlobInfo, Arc<Blob>)>, Status> {
        let mut places = BTreeSet::new();
        for child in children {
            let child = child.to_string();
            let start = self.referred.partition_point(|(known, _)| **known < *child);
            let rest = self.referred.get(start..).unwrap_or_default();
            let own = rest.iter().take_while(|(known, _)| **known == *child);
            places.extend(own.map(|(_, at)| *at));
        }
        let mut documents: BTreeMap<usize, Arc<Blob>> = BTreeMap::new();
        for at in places {
            if let Some(info) = self.blobs.get(at)
                && let Some(document) = self.containerd.document(self.namespace, info).await?
            {
                documents.insert(at, document);
            }
        }
        documents.extend(self.unlabelled().await?.iter().cloned());
        documents.retain(|_, document| document.refers_to(children).next().is_some());
        let listing = documents.into_iter();
        Ok(listing
            .filter_map(|(at, document)| Some((self.blobs.get(at)?, document)))
            .collect())
    }

    /// Imports and `BuildKit` write no such labels, and CRI's `discard_unpacked_layers` leaves a
    /// manifest one for its config only.
    async fn unlabelled(&self) -> Result<&Vec<(usize, Arc<Blob>)>, Status> {
        let read = || async {
            let mut documents = Vec::new();
            for (at, info) in self.blobs.iter().enumerate() {
                if info.listed().next().is_none()
                    && let Some(document) = self.containerd.document(self.namespace, info).await?
                {
                    documents.push((at, document));
                }
            }
            Ok(documents)
        };
        self.unlabelled.get_or_try_init(read).await
    }

    /// The annotation's name, for every chain that its manifest digest fits. One whose manifest is
    /// not here is kept in mind all the same: a namespace in which the claim cannot be proved has
    /// no claim by annotation, and other tellers are asked.
    fn annotated(
        &self,
        place: &mut NamespaceView,
        annotations: &HashMap<String, String>,
    ) -> Result<(), LayerUnknown> {
        let (Some(name), manifest) = annotation(annotations) else {
            return Ok(());
        };
        for chain in &place.chains {
            if manifest.is_none_or(|manifest| manifest == chain.manifest()) {
                place.claims.push(Claim {
                    told_by: NameSource::Annotation,
                    name: name.clone(),
                    chain: chain.clone(),
                });
            }
        }
        // Else an image whose manifest only its engine can read would pass for another one that has
        // the same layer.
        match manifest
            .filter(|manifest| place.claims.is_empty() && self.by_digest.contains_key(manifest))
        {
            Some(manifest) => Err(LayerUnknown::Contradicted(manifest)),
            None => Ok(()),
        }
    }

    /// Names that an imported index claims for a chain's top. One that came from a registry was not
    /// imported, and its names are only what a stranger says of images that may be others'.
    async fn imported(&self, place: &mut NamespaceView) -> Result<(), Status> {
        let tops: HashSet<Digest> = place.chains.iter().map(Chain::top).collect();
        let mut names = BTreeSet::new();
        for (info, index) in self.listing(&tops).await? {
            let entries = index
                .entries()
                .iter()
                .filter(|entry| !info.is_of_registry() && tops.contains(&entry.descriptor.digest));
            names.extend(entries.filter_map(|entry| {
                Some((
                    entry.descriptor.digest,
                    entry.claimed_name.as_deref()?.parse::<ImageRef>().ok()?,
                ))
            }));
        }
        // One of the others may be a name that a rule covers.
        place.is_cut_short |= names.len() > MAX_IMPORTED;
        for (top, name) in names.into_iter().take(MAX_IMPORTED) {
            for chain in place.chains.iter().filter(|chain| chain.top() == top) {
                place.claims.push(Claim {
                    told_by: NameSource::Import,
                    name: name.clone(),
                    chain: chain.clone(),
                });
            }
        }
        Ok(())
    }

    /// Repositories that the blobs were fetched from, where the policy names such a registry; and
    /// whether any of them was fetched at all. The configuration tells it too: where containerd
    /// corrects an old manifest's media types, the new one has no label of its own.
    fn sourced(&self, place: &mut NamespaceView, names: &dyn NameLookup, layer: &Descriptor) {
        let mut seen = HashSet::new();
        let known = |digest: &Digest| self.by_digest.get(digest).copied();
        place.from_registry |= known(&layer.digest).is_some_and(BlobInfo::is_of_registry);
        for chain in &place.chains {
            let blobs = [
                chain.manifest(),
                chain.top(),
                chain.content().0,
                layer.digest,
            ];
            for info in blobs.iter().filter_map(known) {
                place.from_registry |= info.is_of_registry();
                for repository in repositories(names, info.sources()) {
                    if seen.insert((repository.clone(), chain.top(), chain.manifest())) {
                        let name = ImageRef {
                            repository,
                            tag: None,
                            digest: None,
                        };
                        place.claims.push(Claim {
                            told_by: NameSource::Source,
                            name,
                            chain: chain.clone(),
                        });
                    }
                }
            }
        }
    }
}

/// The repositories of the policy's registries that labels name. The labels have no port.
pub(super) fn repositories<'a>(
    names: &dyn NameLookup,
    sources: impl Iterator<Item = (&'a str, &'a str)>,
) -> Vec<Repository> {
    let full = |(host, path): (&str, &'a str)| {
        names
            .registries(host)
            .into_iter()
            .filter_map(move |registry| Repository::from_full(&format!("{registry}/{path}")).ok())
    };
    sources.flat_map(full).collect()
}

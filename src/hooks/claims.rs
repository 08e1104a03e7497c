//! Which image a layer belongs to, as far as containerd knows: chains proved by digest, and names that are only hints.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tonic::Status;

use super::containerd::{BlobInfo, Containerd};
use crate::decide::{Claim, Place, ToldBy};
use crate::image::{Blob, Chain, Descriptor, Digest, ImageRef, Repository};

/// The reference that docker and CRI put on a layer, and the platform manifest that goes with it.
const IMAGE_REF: &str = "containerd.io/snapshot/cri.image-ref";
const MANIFEST_DIGEST: &str = "containerd.io/snapshot/cri.manifest-digest";
/// Archives put an index over an index at most; what lies deeper is not looked for.
const MAX_DEPTH: usize = 4;
/// An image that is listed by more indexes than this has no need of the rest.
const MAX_CHAINS: usize = 64;

/// What else can put a name to a digest.
pub(super) trait Names {
    /// Names that the image verifier was asked about and that stood for this digest.
    fn admitted(&self, top: &Digest) -> Vec<ImageRef>;
    /// Registries that the policy names, `host[:port]`, whose host without port is this.
    fn registries(&self, host: &str) -> Vec<String>;
}

/// Gathers what a namespace knows of a layer.
///
/// # Errors
/// containerd's own.
pub(super) async fn gather(
    containerd: &Containerd,
    names: &(dyn Names + Sync),
    namespace: &str,
    layer: &Descriptor,
    annotations: &HashMap<String, String>,
) -> Result<Place, Status> {
    let blobs = containerd.blobs(namespace).await?;
    let search = Search { containerd, namespace, blobs: &blobs };
    let chains = search.chains(layer).await?;
    let mut place = Place { namespace: namespace.to_owned(), chains, claims: Vec::new(), from_registry: false };
    annotated(&mut place, annotations);
    if !place.chains.is_empty() {
        recorded(&mut place, containerd).await?;
        search.imported(&mut place).await?;
        for chain in &place.chains {
            let known = names.admitted(&chain.top()).into_iter();
            place.claims.extend(known.map(|name| Claim { told_by: ToldBy::Ledger, name, chain: chain.clone() }));
        }
    }
    search.sourced(&mut place, names, layer);
    Ok(place)
}

/// The annotation's name, for every chain that its manifest digest fits. One that fits none is kept in mind all the same: a
/// namespace in which the claim cannot be proved has no claim by annotation, and other tellers are asked.
fn annotated(place: &mut Place, annotations: &HashMap<String, String>) {
    let Some(name) = annotations.get(IMAGE_REF).and_then(|name| name.parse::<ImageRef>().ok()) else { return };
    let manifest: Option<Digest> = annotations.get(MANIFEST_DIGEST).and_then(|digest| digest.parse().ok());
    for chain in &place.chains {
        if manifest.is_none_or(|manifest| manifest == chain.manifest()) {
            place.claims.push(Claim { told_by: ToldBy::Annotation, name: name.clone(), chain: chain.clone() });
        }
    }
}

async fn recorded(place: &mut Place, containerd: &Containerd) -> Result<(), Status> {
    for (name, target) in containerd.image_records(&place.namespace).await? {
        let Ok(name) = name.parse::<ImageRef>() else { continue };
        for chain in place.chains.iter().filter(|chain| chain.top() == target) {
            place.claims.push(Claim { told_by: ToldBy::Record, name: name.clone(), chain: chain.clone() });
        }
    }
    Ok(())
}

struct Search<'a> {
    containerd: &'a Containerd,
    namespace: &'a str,
    blobs: &'a [BlobInfo],
}

impl Search<'_> {
    /// Every chain of documents in the namespace that ends in the layer.
    async fn chains(&self, layer: &Descriptor) -> Result<Vec<Chain>, Status> {
        let mut chains = Vec::new();
        for manifest in self.parents(&layer.digest).await? {
            chains.extend(Chain::of_manifest(layer, &manifest));
        }
        let mut lower = 0..chains.len();
        for _ in 1..MAX_DEPTH {
            let mut higher = Vec::new();
            for chain in chains.get(lower.clone()).unwrap_or_default() {
                let indexes = self.parents(&chain.top()).await?;
                higher.extend(indexes.iter().filter_map(|index| chain.under(index)));
            }
            lower = chains.len()..chains.len() + higher.len();
            chains.extend(higher);
            if lower.is_empty() || chains.len() > MAX_CHAINS {
                break;
            }
        }
        chains.truncate(MAX_CHAINS);
        Ok(chains)
    }

    /// The documents that may list a digest: those whose labels say so; where none does (BuildKit sets no such labels, and an
    /// imported archive's index gets none), all that have no such label.
    async fn parents(&self, child: &Digest) -> Result<Vec<Arc<Blob>>, Status> {
        let labelled = self.blobs.iter().filter(|info| info.children().any(|digest| digest == *child));
        let mut parents = self.documents(labelled).await?;
        let bare = self.blobs.iter().filter(|info| info.children().next().is_none());
        parents.extend(self.documents(bare).await?);
        Ok(parents)
    }

    async fn documents(&self, infos: impl Iterator<Item = &BlobInfo>) -> Result<Vec<Arc<Blob>>, Status> {
        let mut documents = Vec::new();
        for info in infos {
            documents.extend(self.containerd.document(self.namespace, info).await?);
        }
        Ok(documents)
    }

    /// Names that an imported index claims for a chain's top.
    async fn imported(&self, place: &mut Place) -> Result<(), Status> {
        let tops: Vec<Chain> = place.chains.clone();
        for chain in &tops {
            for index in self.parents(&chain.top()).await? {
                let entries = index.entries().iter().filter(|entry| entry.descriptor.digest == chain.top());
                for name in entries.filter_map(|entry| entry.claimed_name.as_deref()?.parse::<ImageRef>().ok()) {
                    place.claims.push(Claim { told_by: ToldBy::Import, name, chain: chain.clone() });
                }
            }
        }
        Ok(())
    }

    /// Repositories that the blobs were fetched from, where the policy names such a registry. The labels have no port.
    fn sourced(&self, place: &mut Place, names: &dyn Names, layer: &Descriptor) {
        let mut seen = HashSet::new();
        let labels =
            |digest: &Digest| self.blobs.iter().filter(|info| info.digest == *digest).flat_map(BlobInfo::sources).collect::<Vec<_>>();
        place.from_registry = !labels(&layer.digest).is_empty();
        for chain in &place.chains {
            let sources = [chain.manifest(), chain.top(), layer.digest];
            for (host, path) in sources.iter().flat_map(labels) {
                place.from_registry = true;
                for registry in names.registries(host) {
                    let Ok(repository) = Repository::from_full(&format!("{registry}/{path}")) else { continue };
                    if seen.insert((repository.clone(), chain.top())) {
                        let name = ImageRef { repository, tag: None, digest: None };
                        place.claims.push(Claim { told_by: ToldBy::Source, name, chain: chain.clone() });
                    }
                }
            }
        }
    }
}

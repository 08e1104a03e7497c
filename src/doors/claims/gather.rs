//! The three ways to what a namespace knows of a layer: by hints, by an index that follows
//! containerd's events, and by a listing of the whole namespace.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use tonic::Status;

use super::{ClaimSearch, LayerUnknown, NameLookup, annotation};
use crate::decide::{NameSource, NamespaceView};
use crate::doors::store_index::StoreIndex;
use crate::engines::containerd::{BlobInfo, ContainerdClient, RecordedName};
use crate::sources::at_once::{all, few_at_once};
use rootpin_trust::image::{Descriptor, Digest};

/// A layer in a namespace of a containerd, and what else tells of it.
pub(in crate::doors) struct LayerQuestion<'a> {
    pub(in crate::doors) containerd: &'a ContainerdClient,
    pub(in crate::doors) names: &'a (dyn NameLookup + Sync),
    pub(in crate::doors) index: &'a StoreIndex,
    pub(in crate::doors) namespace: &'a str,
    pub(in crate::doors) layer: &'a Descriptor,
    pub(in crate::doors) annotations: &'a HashMap<String, String>,
    /// What each shorter way may take of the question's time, so that the listing has the most.
    pub(in crate::doors) share: Duration,
}

/// So often what the index leads to is asked for, where it leads elsewhere than a moment ago.
const MAX_ROUNDS: usize = 3;

/// What containerd shows of a namespace.
type Shown = (Vec<BlobInfo>, Vec<RecordedName>);

impl LayerQuestion<'_> {
    /// Gathers what a namespace knows of a layer.
    ///
    /// # Errors
    /// containerd's own; or what it says contradicts itself.
    pub(in crate::doors) async fn gather(&self) -> Result<NamespaceView, LayerUnknown> {
        match self.gather_by_index().await {
            Some(Err(LayerUnknown::Containerd(_))) | None => self.gather_by_listing().await,
            Some(gathered) => gathered,
        }
    }

    async fn gather_by_listing(&self) -> Result<NamespaceView, LayerUnknown> {
        let Self {
            containerd,
            namespace,
            ..
        } = *self;
        let _listing = self.index.lists();
        // Both at once: most of a question's time is spent waiting for containerd.
        let (blobs, records) = tokio::try_join!(
            containerd.blobs(namespace),
            containerd.image_records(namespace)
        )?;
        let place = self.view(&blobs, &records).await?;
        let document = |digest: &Digest| containerd.known_document(digest);
        self.index.learn(namespace, &blobs, &records, document);
        Ok(place)
    }

    /// What a listing would give, from what the index leads to: all documents above the layer and
    /// its variants, the records that stand for them, and the blobs whose labels tell where they
    /// came from. The index knows these by the documents' bytes, so that it leads to no less than
    /// labels do; and of what it leads to, only what a listing would look at counts, since the same
    /// code looks at it, with labels asked for anew. `None`: the index doesn't follow the namespace,
    /// or leads to so much that a listing costs less, or elsewhere each time.
    async fn gather_by_index(&self) -> Option<Result<NamespaceView, LayerUnknown>> {
        if !self.index.can_be_used(self.namespace) {
            return None;
        }
        let shown = tokio::time::timeout(self.share, self.shown_by_index()).await;
        let (blobs, records) = shown.ok().flatten()?;
        Some(self.view(&blobs, &records).await)
    }

    async fn shown_by_index(&self) -> Option<Shown> {
        let (index, namespace, own) = (self.index, self.namespace, self.layer.digest);
        let (_, manifest) = annotation(self.annotations);
        let mut layers = vec![own];
        for _ in 0..MAX_ROUNDS {
            let way = index.way(namespace, &layers)?;
            let (documents, names) = &way;
            let wanted = layers.iter().chain(documents).chain(&manifest);
            let shown = self.shown(wanted.copied().collect(), names).await.ok()?;
            let info = shown.0.iter().find(|info| info.digest == own);
            let variants = info.and_then(BlobInfo::variants).into_iter().flatten();
            let found: BTreeSet<Digest> = variants.chain([own]).collect();
            let found: Vec<Digest> = found.into_iter().collect();
            if found == layers {
                // Afterwards: then nothing is missing that was written before the question, and no
                // record was renamed between two of these requests to a name that is not among them.
                if !index.is_up_to_date(self.containerd).await {
                    return None;
                }
                if index.way(namespace, &layers)? == way {
                    return Some(shown);
                }
            }
            layers = found;
        }
        None
    }

    /// These blobs, the configurations that they list, and these records, asked for at once, in the
    /// order of a listing, which is that of digests and names. Of the blobs a few at a time: a
    /// document has up to 4 MiB, and whoever may push can have many above one layer.
    async fn shown(&self, mut wanted: BTreeSet<Digest>, names: &[String]) -> Result<Shown, Status> {
        let (containerd, namespace) = (self.containerd, self.namespace);
        let config = |digest: &Digest| containerd.known_document(digest)?.config();
        let configs: Vec<Digest> = wanted.iter().filter_map(config).collect();
        wanted.extend(configs);
        let wanted = &wanted;
        let blob = |digest: Digest| async move {
            let Some(info) = containerd.info(namespace, &digest).await? else {
                return Ok::<_, Status>(Vec::new());
            };
            let document = containerd.document(namespace, &info).await?;
            let config = document.and_then(|document| document.config());
            let mut blobs = vec![info];
            if let Some(config) = config.filter(|config| !wanted.contains(config)) {
                blobs.extend(containerd.info(namespace, &config).await?);
            }
            Ok(blobs)
        };
        let blobs: Vec<_> = wanted.iter().copied().map(blob).collect();
        let (blobs, records) = tokio::join!(few_at_once(blobs), self.records(names));
        let mut by_digest = BTreeMap::new();
        for found in blobs {
            by_digest.extend(found?.into_iter().map(|info| (info.digest, info)));
        }
        Ok((by_digest.into_values().collect(), records?))
    }

    /// What the records of these names tell now.
    async fn records(&self, names: &[String]) -> Result<Vec<RecordedName>, Status> {
        let (containerd, namespace) = (self.containerd, self.namespace);
        let records = names.iter();
        let records = records.map(|name| containerd.recorded_name(namespace, name));
        let records = all(records.collect::<Vec<_>>()).await.into_iter();
        records.filter_map(Result::transpose).collect()
    }

    /// What these blobs and records say of the layer.
    async fn view(
        &self,
        blobs: &[BlobInfo],
        records: &[RecordedName],
    ) -> Result<NamespaceView, LayerUnknown> {
        let search = ClaimSearch::of(self.containerd, self.namespace, blobs);
        let place = search.place(self.names, records, self.layer, self.annotations);
        let mut place = place.await?;
        let variants = search
            .by_digest
            .get(&self.layer.digest)
            .map_or(Some(Vec::new()), |info| info.variants());
        place.is_cut_short |= variants.is_none();
        for variant in variants.unwrap_or_default() {
            let of_variant = search.variant(self.names, records, variant).await?;
            place.variants.push((variant, of_variant));
        }
        Ok(place)
    }

    /// A part of what a namespace knows of a layer: documents and names that the index hints at,
    /// asked for anew, and of the names those of the most believed source that there can be. None:
    /// the hints don't lead to such a name.
    pub(in crate::doors) async fn gather_by_hints(&self) -> Option<NamespaceView> {
        let Self {
            containerd,
            namespace,
            layer,
            annotations,
            ..
        } = *self;
        let (annotated, manifest) = annotation(annotations);
        let (documents, recorded) = self.index.hints(namespace, &layer.digest, manifest)?;
        // An annotation is believed before all else, and comes with the question; without one,
        // nothing is believed before a record.
        let (most_believed, recorded) = match annotated {
            Some(_) => (NameSource::Annotation, Vec::new()),
            None => (NameSource::Record, recorded),
        };
        if documents.is_empty() || most_believed == NameSource::Record && recorded.is_empty() {
            return None;
        }
        let blobs = documents.iter();
        let blobs = blobs.map(|digest| containerd.info(namespace, digest));
        let blobs = all(blobs.collect::<Vec<_>>());
        let (blobs, records) = tokio::join!(blobs, self.records(&recorded));
        let blobs = blobs.into_iter().filter_map(Result::transpose);
        let blobs = blobs.collect::<Result<Vec<_>, _>>().ok()?;
        let records = records.ok()?;
        let search = ClaimSearch::of(containerd, namespace, &blobs);
        let place = search.place(self.names, &records, layer, annotations).await;
        let mut place = place.ok()?;
        place.claims.retain(|claim| claim.told_by == most_believed);
        (!place.claims.is_empty()).then_some(place)
    }
}

//! Which images unpack to a container's snapshot, proved from the bytes: a configuration whose layers give that chain ID, a manifest that
//! names the configuration, the indexes above it, and the records whose target is one of these.

use std::collections::{BTreeSet, HashMap};
use std::pin::Pin;
use std::sync::Arc;

use containerd_client::services::v1::ListImagesRequest;
use containerd_client::services::v1::images_client::ImagesClient;
use oci_spec::image::MediaType;
use tonic::Status;

use super::NAMESPACE;
use super::made::Made;
use crate::decide::{Claim, Place, ToldBy};
use crate::hooks::containerd::{BlobInfo, Containerd, MAX_MESSAGE, within};
use crate::image::{Blob, Chain, Digest, Document, ImageRef, chain_id};

/// As for a layer: archives put an index over an index at most.
const MAX_DEPTH: usize = 3;
/// Images that have all layers in common and not the configuration: rebuilds, of which a host has a few.
const MAX_CONFIGS: usize = 64;

/// The images that a container can have been made of.
#[derive(Debug)]
pub(super) struct Images {
    /// With the names to be judged.
    pub(super) place: Place,
    /// Whether they have different configurations, and it is not known which one the container has.
    pub(super) ambiguous: bool,
}

/// Finds them.
///
/// # Errors
/// containerd's own; or there are more than the limit.
pub(super) async fn of(containerd: &Containerd, made: &Made) -> Result<Images, Status> {
    let search = Search { containerd };
    let (configs, records) = tokio::try_join!(search.configs(made), search.records())?;
    let mut from_registry = false;
    let mut manifests = Vec::new();
    for (config, size) in &configs {
        for (info, manifest) in search.manifests(*config).await? {
            from_registry |= info.sources().next().is_some();
            manifests.extend(Chain::of_config(*config, *size, &manifest));
        }
    }
    let mut found = Vec::new();
    for manifest in &manifests {
        for (target, names) in &records {
            if let Some(chain) = search.climb(manifest, target.clone(), MAX_DEPTH).await? {
                found.push((chain, names));
            }
        }
    }
    // Which one it is, where its record is known: all records of an image have the same configuration in CRI's eyes.
    if let (None, Some(record)) = (made.config, &made.record) {
        let of_record = |names: &BTreeSet<String>| names.contains(record);
        let meant: BTreeSet<_> = found.iter().filter(|(_, names)| of_record(names)).map(|(chain, _)| chain.content().0).collect();
        found.retain(|(chain, _)| meant.contains(&chain.content().0));
    }
    let told: BTreeSet<_> = found.iter().map(|(chain, _)| chain.content().0).collect();
    let claims = found.iter().flat_map(|(chain, names)| claims(chain, names, made.asked.as_ref())).collect();
    let chains = found.into_iter().map(|(chain, _)| chain).collect();
    Ok(Images { place: Place { namespace: NAMESPACE.to_owned(), chains, claims, from_registry }, ambiguous: told.len() > 1 })
}

/// The name that was asked for; else every record's name. Clients write full names: what would first have to be made one (CRI's
/// `sha256:…`) is nobody's word on a repository.
fn claims(chain: &Chain, names: &BTreeSet<String>, asked: Option<&ImageRef>) -> Vec<Claim> {
    if let Some(name) = asked {
        return vec![Claim { told_by: ToldBy::Client, name: name.clone(), chain: chain.clone() }];
    }
    let full = |name: &String| name.parse::<ImageRef>().ok().filter(|parsed| name.starts_with(parsed.repository.as_str()));
    let names = names.iter().filter_map(full);
    names.map(|name| Claim { told_by: ToldBy::Record, name, chain: chain.clone() }).collect()
}

struct Search<'a> {
    containerd: &'a Containerd,
}

impl Search<'_> {
    /// The configurations that the container can have, with their sizes: each hashed here, and of layers that give its chain ID.
    async fn configs(&self, made: &Made) -> Result<Vec<(Digest, u64)>, Status> {
        // Unpacking leaves this label on the configuration, or the snapshot would be collected as garbage.
        let label = format!("containerd.io/gc.ref.snapshot.{}", made.snapshotter);
        let chain = made.chain.to_string();
        let filter = format!("labels.{label:?}=={chain}");
        let mut infos = self.containerd.blobs_where(NAMESPACE, vec![filter]).await?;
        infos.retain(|info| info.labels.get(&label) == Some(&chain) && made.config.is_none_or(|config| config == info.digest));
        if infos.len() > MAX_CONFIGS {
            return Err(Status::resource_exhausted(format!("more than {MAX_CONFIGS} images of the same layers, {chain}")));
        }
        let mut configs = Vec::new();
        for info in infos {
            let within =
                u64::try_from(info.size).ok().filter(|size| usize::try_from(*size).is_ok_and(|size| size <= Document::LIMITS.bytes));
            let Some(size) = within else { continue };
            let Some(bytes) = self.containerd.read(NAMESPACE, &info.digest, info.size).await? else { continue };
            if Digest::of(&bytes) == info.digest && chain_id(&bytes).is_ok_and(|found| found == Some(made.chain)) {
                configs.push((info.digest, size));
            }
        }
        Ok(configs)
    }

    /// The documents that name a configuration.
    async fn manifests(&self, config: Digest) -> Result<Vec<(BlobInfo, Arc<Blob>)>, Status> {
        // What pulls and imports write, and what BuildKit does.
        let filters = ["config", "0"].map(|kind| format!("labels.\"containerd.io/gc.ref.content.{kind}\"=={config}"));
        let mut infos = self.containerd.blobs_where(NAMESPACE, filters.to_vec()).await?;
        let named = |info: &BlobInfo| info.labels.values().any(|digest| *digest == config.to_string());
        infos.retain(named);
        let mut manifests = Vec::new();
        for info in infos {
            let document = self.containerd.document(NAMESPACE, &info).await?;
            manifests.extend(document.map(|document| (info, document)));
        }
        Ok(manifests)
    }

    /// The targets of all image records, each with its names.
    async fn records(&self) -> Result<Vec<(BlobInfo, BTreeSet<String>)>, Status> {
        let mut client = ImagesClient::new(self.containerd.channel()).max_decoding_message_size(MAX_MESSAGE);
        let images = client.list(within(NAMESPACE, ListImagesRequest { filters: Vec::new() })?).await?.into_inner().images;
        let mut targets: HashMap<Digest, (BlobInfo, BTreeSet<String>)> = HashMap::new();
        for image in images {
            let Some(target) = image.target else { continue };
            let Ok(digest) = target.digest.parse() else { continue };
            let fresh = || (BlobInfo { digest, size: target.size, labels: HashMap::new() }, BTreeSet::new());
            targets.entry(digest).or_insert_with(fresh).1.insert(image.name);
        }
        Ok(targets.into_values().collect())
    }

    /// The chain from a document down to that manifest: none, where the manifest is not below it.
    fn climb<'a>(
        &'a self,
        manifest: &'a Chain,
        target: BlobInfo,
        depth: usize,
    ) -> Pin<Box<dyn Future<Output = Result<Option<Chain>, Status>> + Send + 'a>> {
        Box::pin(async move {
            if target.digest == manifest.top() {
                return Ok(Some(manifest.clone()));
            }
            let Some(document) = self.containerd.document(NAMESPACE, &target).await? else { return Ok(None) };
            if let Some(chain) = manifest.under(&document) {
                return Ok(Some(chain));
            }
            let index = MediaType::ImageIndex.to_string();
            for entry in document.entries().iter().filter(|entry| depth > 0 && entry.descriptor.media_type == index) {
                let Ok(size) = i64::try_from(entry.descriptor.size) else { continue };
                let below = BlobInfo { digest: entry.descriptor.digest, size, labels: HashMap::new() };
                if let Some(chain) = self.climb(manifest, below, depth - 1).await?.and_then(|below| below.under(&document)) {
                    return Ok(Some(chain));
                }
            }
            Ok(None)
        })
    }
}

//! A repository's files in a registry: the layers of one manifest under one tag, as Docker's own tools lay metadata out (docker/go-tuf-mirror).
//! The tag moves at once, so a reader sees a whole state.
//!
//! A registry can't be asked to move a tag only if nobody else has. So that no publisher's change is lost all the same:
//! * every publisher has a tag of its own, `rootpin-ID`, and puts its manifest there *before* it puts it under the tag that readers use;
//! * every manifest says in an annotation up to which write of which publisher it knows (a version vector);
//! * after it has put the readers' tag, a publisher looks at all the others' tags. One that its own manifest doesn't know wrote at the same
//!   moment, and is merged. Of two, the one that put the readers' tag last always finds the other's, for that was put before.
//! * what a publisher left that broke off is found in the same way by the next.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{At, Files, Found, PlaceError, State, WAITING, Written};
use crate::image::{Descriptor, Digest, Document, Repository, Tag, files_of};
use crate::sources::{Artifacts, Credentials};

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const METADATA: &str = "application/vnd.tuf.metadata+json";
/// No reader of metadata has a use for what waits: it has another type.
const WAITS: &str = "application/vnd.rootpin.waiting+json";
const FILE_NAME: &str = "tuf.io/filename";
const PUBLISHERS: &str = "dev.rootpin.publishers";
const TAG: &str = "rootpin-";
/// One file; hosts take none above 32 MiB.
const FILE_BYTES: u64 = 64 << 20;
/// All of a state's files.
const ALL_BYTES: u64 = 512 << 20;
/// Machines that publish to one place, and so tags that are looked at.
const MOST_PUBLISHERS: usize = 256;

/// What a tag had: its manifest's digest, if it was there, its files, and which writes it knew.
#[derive(Debug, Clone, Default)]
pub(super) struct Top {
    digest: Option<Digest>,
    files: BTreeMap<String, Descriptor>,
    known: Vector,
}

/// By publisher, how many writes of it are known.
type Vector = BTreeMap<String, u64>;

/// One registry's repository that is read or written.
struct Shelf {
    artifacts: Artifacts,
    tag: Tag,
    name: String,
}

pub(super) async fn read(repository: &Repository, tag: &Tag, credentials: &Arc<Credentials>, known: &Files) -> Result<Found, PlaceError> {
    let shelf = Shelf::open(repository, tag, credentials).await?;
    let mut top = shelf.top(tag).await?;
    let files = shelf.files(&top, known).await?;
    let mut unmerged = Vec::new();
    for other in shelf.publishers().await? {
        let left = shelf.top(&other).await?;
        if !left.is_known_to(&top.known) {
            unmerged.push(shelf.files(&left, &files).await?);
            // Shown from here on: whoever writes next has merged it. What is written after this look is not known by it.
            left.known.into_iter().for_each(|(publisher, count)| raise(&mut top.known, publisher, count));
        }
    }
    Ok(Found { files, at: At(State::Registry(top)), unmerged })
}

pub(super) async fn write(
    repository: &Repository,
    tag: &Tag,
    credentials: &Arc<Credentials>,
    read: &Top,
    files: &Files,
    publisher: &str,
) -> Result<Written, PlaceError> {
    let shelf = Shelf::open(repository, tag, credentials).await?;
    if shelf.top(tag).await?.digest != read.digest {
        return Ok(Written::Lost);
    }
    let mut top = Top { known: read.known.clone(), ..Top::default() };
    let mine = top.known.entry(publisher.to_owned()).or_default();
    *mine = mine.saturating_add(1);
    for (name, bytes) in files {
        let known = read.files.get(name).filter(|known| known.digest == Digest::of(bytes));
        let digest = match known {
            Some(known) => known.digest,
            None => shelf.artifacts.put_blob(bytes).await?,
        };
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let media_type = if name.starts_with(WAITING) { WAITS } else { METADATA };
        top.files.insert(name.clone(), Descriptor { media_type: media_type.to_owned(), digest, size });
    }
    let config =
        json!({ "architecture": "unknown", "os": "unknown", "config": {}, "rootfs": { "type": "layers", "diff_ids": [] } }).to_string();
    let config =
        Descriptor { media_type: CONFIG.to_owned(), digest: shelf.artifacts.put_blob(config.as_bytes()).await?, size: length(&config) };
    // Docker's readers look for a delegated role under a tag of its name.
    for (name, descriptor) in top.files.iter().filter(|(name, now)| read.files.get(*name) != Some(now)) {
        if let Some(role) = delegated(name) {
            let alone = Top { files: BTreeMap::from([(name.clone(), descriptor.clone())]), ..Top::default() };
            shelf.artifacts.put_manifest(&role, manifest(&config, &alone).as_bytes()).await?;
        }
    }
    let manifest = manifest(&config, &top);
    if manifest.len() > Document::LIMITS.bytes {
        return Err(shelf.strange(&format!("{} files are more than one manifest can list", files.len())));
    }
    top.digest = Some(Digest::of(manifest.as_bytes()));
    let own: Tag = format!("{TAG}{publisher}").parse().map_err(|_| shelf.strange("the publisher's id is no part of a tag"))?;
    shelf.artifacts.put_manifest(&own, manifest.as_bytes()).await?;
    shelf.artifacts.put_manifest(tag, manifest.as_bytes()).await?;
    for other in shelf.publishers().await? {
        if !shelf.top(&other).await?.is_known_to(&top.known) {
            return Ok(Written::Lost);
        }
    }
    Ok(Written::Done(At(State::Registry(top))))
}

impl Top {
    /// Whether nothing was written here that a manifest of that knowledge doesn't have.
    fn is_known_to(&self, known: &Vector) -> bool {
        self.known.iter().all(|(publisher, count)| known.get(publisher).is_some_and(|known| known >= count))
    }
}

impl Shelf {
    async fn open(repository: &Repository, tag: &Tag, credentials: &Arc<Credentials>) -> Result<Self, PlaceError> {
        let artifacts = Artifacts::open(repository, Arc::clone(credentials)).await?;
        Ok(Self { artifacts, tag: tag.clone(), name: format!("oci://{repository}:{tag}") })
    }

    fn strange(&self, what: &str) -> PlaceError {
        PlaceError::Strange(self.name.clone(), what.to_owned())
    }

    /// What is under a tag; nothing, where there is no such tag.
    async fn top(&self, tag: &Tag) -> Result<Top, PlaceError> {
        let Some(bytes) = self.artifacts.manifest(tag).await? else { return Ok(Top::default()) };
        let wrong = |what: &str| PlaceError::Strange(format!("{} (tag {tag})", self.name), what.to_owned());
        let mut files = files_of(&bytes, METADATA, FILE_NAME).map_err(|error| wrong(&error.to_string()))?;
        files.extend(files_of(&bytes, WAITS, FILE_NAME).map_err(|error| wrong(&error.to_string()))?);
        let value: Value = serde_json::from_slice(&bytes).map_err(|_| wrong("no manifest"))?;
        let known = match value.get("annotations").and_then(|annotations| annotations.get(PUBLISHERS)) {
            None => Vector::new(),
            Some(text) => text
                .as_str()
                .and_then(|text| serde_json::from_str::<Vector>(text).ok())
                .filter(|known| known.len() <= MOST_PUBLISHERS)
                .ok_or_else(|| wrong("a list of publishers that is not understood"))?,
        };
        Ok(Top { digest: Some(Digest::of(&bytes)), files, known })
    }

    /// The files themselves.
    async fn files(&self, top: &Top, known: &Files) -> Result<Files, PlaceError> {
        let all = top.files.values().fold(0_u64, |sum, file| sum.saturating_add(file.size));
        if all > ALL_BYTES || top.files.values().any(|file| file.size > FILE_BYTES) {
            return Err(self.strange(&format!("files of {all} bytes, which is more than any repository has")));
        }
        let mut files = Files::new();
        for (name, descriptor) in &top.files {
            let at_hand = known.get(name).filter(|bytes| Digest::of(bytes) == descriptor.digest);
            let bytes = match at_hand {
                Some(bytes) => bytes.clone(),
                None => self.artifacts.blob(&descriptor.digest, usize::try_from(descriptor.size).unwrap_or_default()).await?,
            };
            files.insert(name.clone(), bytes);
        }
        Ok(files)
    }

    /// The tags of all publishers.
    async fn publishers(&self) -> Result<Vec<Tag>, PlaceError> {
        let tags: Vec<_> =
            self.artifacts.tags().await?.into_iter().filter(|tag| tag.as_str().starts_with(TAG) && *tag != self.tag).collect();
        if tags.len() > MOST_PUBLISHERS {
            return Err(self.strange(&format!("{} tags {TAG}…, which is more publishers than anybody has", tags.len())));
        }
        Ok(tags)
    }
}

fn raise(known: &mut Vector, publisher: String, count: u64) {
    let there = known.entry(publisher).or_default();
    *there = count.max(*there);
}

fn length(text: &str) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}

/// The tag of a delegated role's own, from the name of its file.
fn delegated(name: &str) -> Option<Tag> {
    let (version, role) = name.split_once('.')?;
    version.parse::<u64>().ok()?;
    let role = role.strip_suffix(".json").filter(|role| !matches!(*role, "root" | "snapshot" | "targets") && !role.starts_with(TAG))?;
    role.parse().ok()
}

fn manifest(config: &Descriptor, top: &Top) -> String {
    let descriptor = |of: &Descriptor, annotations: Value| {
        let mut members = json!({ "mediaType": of.media_type, "digest": of.digest.to_string(), "size": of.size });
        if let Some(members) = members.as_object_mut().filter(|_| !annotations.is_null()) {
            members.insert("annotations".to_owned(), annotations);
        }
        members
    };
    let layers: Vec<_> = top.files.iter().map(|(name, file)| descriptor(file, json!({ FILE_NAME: name }))).collect();
    let known: Map<_, _> = top.known.iter().map(|(publisher, count)| (publisher.clone(), Value::from(*count))).collect();
    let annotations = if known.is_empty() { json!({}) } else { json!({ PUBLISHERS: Value::Object(known).to_string() }) };
    let config = descriptor(config, Value::Null);
    json!({ "schemaVersion": 2, "mediaType": Artifacts::MANIFEST, "config": config, "layers": layers, "annotations": annotations })
        .to_string()
}

//! A repository's files in a registry: the layers of one manifest under one tag, as Docker's own
//! tools lay metadata out (docker/go-tuf-mirror). The tag moves at once, so a reader sees a whole
//! state.
//!
//! A registry can't be asked to move a tag only if nobody else has. So that no publisher's change
//! is lost all the same:
//! * every publisher has a tag, `rootpin-ID`, and puts its manifest there *before* it puts it under
//!   the tag that readers use;
//! * every manifest says in an annotation up to which write under which publisher's tag it knows (a
//!   version vector);
//! * the one under a publisher's tag also lists the files that the publisher found, so that others
//!   can tell what it changed;
//! * after it has put the readers' tag, a publisher looks at all publishers' tags. What its own
//!   manifest doesn't know was written at the same moment, and is merged. Of two, the one that put
//!   the readers' tag last always finds the other's, for that was put before.
//! * there are few tags, however many machines come and go, so some share one. Each write has a
//!   number of its own as well, so of two at the same moment under one tag, the one that was
//!   written over finds the other's there, and merges it.
//! * what a publisher left that broke off is found in the same way by the next.

mod tags;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use tags::RegistryTags;

use super::{
    MetadataFiles, PlaceContent, PlaceError, PlaceState, PlaceVersion, Unmerged, WAITING,
    WriteOutcome,
};
use crate::sources::{Artifacts, Credentials};
use rootpin_trust::image::{Descriptor, Digest, Document, Repository, Tag};

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

const METADATA: &str = "application/vnd.tuf.metadata+json";

/// No reader of metadata has a use for what waits: it has another type.
const WAITS: &str = "application/vnd.rootpin.waiting+json";

/// What a publisher found before it wrote.
const FOUND: &str = "application/vnd.rootpin.found+json";

const FILE_NAME: &str = "tuf.io/filename";

const PUBLISHERS: &str = "dev.rootpin.publishers";

const TAG: &str = "rootpin-";

/// One file; hosts take none above 32 MiB.
const FILE_BYTES: u64 = 64 << 20;

/// All of a state's files.
const ALL_BYTES: u64 = 512 << 20;

/// Publishers' tags that are looked at: more than working folders take
/// ([`crate::publish::Working`]).
const MOST_PUBLISHERS: usize = 256;

/// Writes of one publisher: so far numbers in JSON are the same to all.
const MOST_WRITES: u64 = 1 << 53;

/// What a tag had: its manifest's digest, if it was there, its files, and which writes it knew.
#[derive(Debug, Clone, Default)]
pub(super) struct Top {
    digest: Option<Digest>,
    files: Listed,
    /// What its publisher had found, if it says so.
    found: Listed,
    known: Vector,
}

type Listed = BTreeMap<String, Descriptor>;

/// By publisher, the last write under its tag that is known: which one it was, and a random number,
/// for two may be the same one.
type Vector = BTreeMap<String, (u64, u32)>;

pub(super) async fn read(
    repository: &Repository,
    tag: &Tag,
    credentials: &Arc<Credentials>,
    known: &MetadataFiles,
) -> Result<PlaceContent, PlaceError> {
    let shelf = RegistryTags::open(repository, tag, credentials).await?;
    let mut top = shelf.top(tag).await?;
    let files = shelf.files(&top.files, known).await?;
    let mut others = Vec::new();
    for tag in shelf.publishers(&top.known).await? {
        let other = shelf.top(&tag).await?;
        if !other.is_known_to(&top.known) {
            others.push((tag, other));
        } else if other.known == top.known && other.files == top.files {
            top.found = other.found;
        }
    }
    let mut unmerged = Vec::new();
    for (tag, other) in in_order(others, &top.known) {
        let follows = other.follows(&tag, &top.known) && !other.found.is_empty();
        let found = if follows {
            Some(shelf.files(&other.found, &files).await?)
        } else {
            None
        };
        unmerged.push(Unmerged {
            found,
            files: shelf.files(&other.files, &files).await?,
        });
        // Shown from here on: whoever writes next has merged it. What is written after this look is
        // not known by it.
        other
            .known
            .into_iter()
            .for_each(|(publisher, write)| raise(&mut top.known, publisher, write));
    }
    Ok(PlaceContent {
        files,
        at: PlaceState(PlaceVersion::Registry(top)),
        unmerged,
    })
}

/// What the publisher of a state had found; none, where that is not told.
pub(super) async fn found(
    repository: &Repository,
    tag: &Tag,
    credentials: &Arc<Credentials>,
    top: &Top,
    known: &MetadataFiles,
) -> Result<Option<MetadataFiles>, PlaceError> {
    if top.found.is_empty() {
        return Ok(None);
    }
    let shelf = RegistryTags::open(repository, tag, credentials).await?;
    shelf.files(&top.found, known).await.map(Some)
}

/// In the order in which they were made, as far as it shows: each after those that its publisher
/// knew.
fn in_order(mut others: Vec<(Tag, Top)>, known: &Vector) -> Vec<(Tag, Top)> {
    let mut known = known.clone();
    let mut ordered = Vec::new();
    while !others.is_empty() {
        let next = others
            .iter()
            .position(|(tag, top)| top.follows(tag, &known))
            .unwrap_or_default();
        let (tag, top) = others.remove(next);
        top.known
            .iter()
            .for_each(|(publisher, write)| raise(&mut known, publisher.clone(), *write));
        ordered.push((tag, top));
    }
    ordered
}

pub(super) async fn write(
    repository: &Repository,
    tag: &Tag,
    credentials: &Arc<Credentials>,
    read: &Top,
    files: &MetadataFiles,
    publisher: &str,
) -> Result<WriteOutcome, PlaceError> {
    let shelf = RegistryTags::open(repository, tag, credentials).await?;
    if shelf.top(tag).await?.digest != read.digest {
        return Ok(WriteOutcome::Lost);
    }
    let known = vector(&shelf, read, publisher)?;
    let listed = put_files(&shelf, read, files).await?;
    let top = Top {
        known,
        files: listed,
        ..Top::default()
    };
    let config = put_config(&shelf).await?;
    tag_delegated(&shelf, read, tag, &top, &config).await?;
    let whole = manifest(&config, &top);
    if Document::parse(whole.as_bytes()).is_err() {
        return Err(shelf.strange(&format!(
            "{} files are more than one manifest can list",
            files.len()
        )));
    }
    let with_found = manifest(
        &config,
        &Top {
            found: read.files.clone(),
            ..top.clone()
        },
    );
    let of_own = if Document::parse(with_found.as_bytes()).is_ok() {
        &with_found
    } else {
        &whole
    };
    let own: Tag = format!("{TAG}{publisher}")
        .parse()
        .map_err(|_| shelf.strange("the publisher's id is no part of a tag"))?;
    if own == *tag {
        return Err(shelf.strange("the tag is one that a publisher keeps for itself"));
    }
    shelf
        .artifacts
        .put_manifest(&own, of_own.as_bytes())
        .await?;
    show(&shelf, read, top, &whole)
        .await
        .map_err(|error| match error {
            PlaceError::Registry(error) => PlaceError::Unfinished(error),
            error => error,
        })
}

/// The version vector that was read, with one more write of this publisher's.
fn vector(shelf: &RegistryTags, read: &Top, publisher: &str) -> Result<Vector, PlaceError> {
    let mut known = read.known.clone();
    let (before, _) = known.get(publisher).copied().unwrap_or_default();
    let mine = before.saturating_add(1);
    let number =
        number_of_its_own().ok_or_else(|| shelf.strange("the system gives no random bytes"))?;
    known.insert(publisher.to_owned(), (mine, number));
    if mine >= MOST_WRITES || known.len() > MOST_PUBLISHERS {
        return Err(shelf.strange(&format!(
            "more than {MOST_PUBLISHERS} publishers, or writes beyond all counting"
        )));
    }
    Ok(known)
}

/// Puts the files that are not there yet.
async fn put_files(
    shelf: &RegistryTags,
    read: &Top,
    files: &MetadataFiles,
) -> Result<Listed, PlaceError> {
    let mut listed = Listed::new();
    for (name, bytes) in files {
        let known = read
            .files
            .get(name)
            .filter(|known| known.digest == Digest::of(bytes));
        let digest = match known {
            Some(known) => known.digest,
            None => shelf.artifacts.put_blob(bytes).await?,
        };
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let media_type = if name.starts_with(WAITING) {
            WAITS
        } else {
            METADATA
        };
        let descriptor = Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size,
        };
        listed.insert(name.clone(), descriptor);
    }
    Ok(listed)
}

/// Puts the configuration that every manifest must have.
async fn put_config(shelf: &RegistryTags) -> Result<Descriptor, PlaceError> {
    let config =
        json!({ "architecture": "unknown", "os": "unknown", "config": {}, "rootfs": { "type": "layers", "diff_ids": [] } }).to_string();
    Ok(Descriptor {
        media_type: CONFIG.to_owned(),
        digest: shelf.artifacts.put_blob(config.as_bytes()).await?,
        size: length(&config),
    })
}

/// Puts each new file of a delegated role under a tag of the role's name, where Docker's readers
/// look for it; those who still have the old snapshot want the old file there.
async fn tag_delegated(
    shelf: &RegistryTags,
    read: &Top,
    tag: &Tag,
    top: &Top,
    config: &Descriptor,
) -> Result<(), PlaceError> {
    let is_new = |(name, now): &(&String, &Descriptor)| read.files.get(*name) != Some(now);
    for (name, descriptor) in top.files.iter().filter(is_new) {
        let Some((role, of)) = delegated(name).filter(|(role, _)| role != tag) else {
            continue;
        };
        let old = read
            .files
            .iter()
            .filter(|(name, _)| delegated(name).is_some_and(|(_, other)| other == of));
        let mut files: Listed = old.map(|(name, old)| (name.clone(), old.clone())).collect();
        files.insert(name.clone(), descriptor.clone());
        shelf.top(&role).await?;
        let of_role = Top {
            files,
            ..Top::default()
        };
        let manifest = manifest(config, &of_role);
        shelf
            .artifacts
            .put_manifest(&role, manifest.as_bytes())
            .await?;
    }
    Ok(())
}

/// Puts the readers' tag, where the state that was read is still there, and looks whether others
/// wrote at the same moment.
async fn show(
    shelf: &RegistryTags,
    read: &Top,
    mut top: Top,
    whole: &str,
) -> Result<WriteOutcome, PlaceError> {
    let tag = &shelf.tag;
    // Blobs take their time. Readers who saw a newer state meanwhile would refuse this one.
    if shelf.top(tag).await?.digest != read.digest {
        return Ok(WriteOutcome::Lost);
    }
    shelf.artifacts.put_manifest(tag, whole.as_bytes()).await?;
    top.digest = Some(Digest::of(whole.as_bytes()));
    for other in shelf.publishers(&top.known).await? {
        if !shelf.top(&other).await?.is_known_to(&top.known) {
            return Ok(WriteOutcome::Lost);
        }
    }
    Ok(WriteOutcome::Done(PlaceState(PlaceVersion::Registry(top))))
}

impl Top {
    /// Whether nothing was written here that a manifest of that knowledge doesn't have.
    fn is_known_to(&self, known: &Vector) -> bool {
        self.known
            .iter()
            .all(|(publisher, write)| covers(known, publisher, *write))
    }

    /// Whether this is one write of that tag's publisher on top of what is known: what it found is
    /// the state before it, then.
    fn follows(&self, tag: &Tag, known: &Vector) -> bool {
        let own = tag.as_str().strip_prefix(TAG).unwrap_or_default();
        self.known
            .iter()
            .all(|(publisher, write)| match known.get(publisher) {
                known if publisher == own => {
                    known.map_or(0, |known| known.0) >= write.0.saturating_sub(1)
                }
                _ => covers(known, publisher, *write),
            })
    }
}

fn covers(known: &Vector, publisher: &str, write: (u64, u32)) -> bool {
    known
        .get(publisher)
        .is_some_and(|known| known.0 > write.0 || *known == write)
}

fn raise(known: &mut Vector, publisher: String, write: (u64, u32)) {
    let there = known.entry(publisher).or_insert(write);
    if there.0 < write.0 {
        *there = write;
    } else if there.0 == write.0 && *there != write {
        // Both are known: the next one under that tag will be later than either.
        *there = (write.0 + 1, 0);
    }
}

fn number_of_its_own() -> Option<u32> {
    let mut bytes = [0; 4];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(u32::from_le_bytes(bytes))
}

fn length(text: &str) -> u64 {
    u64::try_from(text.len()).unwrap_or(u64::MAX)
}

/// The tag of a delegated role's own and the role's name, from that of its file.
fn delegated(name: &str) -> Option<(Tag, &str)> {
    let (version, role) = name.split_once('.')?;
    version.parse::<u64>().ok()?;
    let role = role.strip_suffix(".json").filter(|role| {
        !matches!(*role, "root" | "snapshot" | "targets") && !role.starts_with(TAG)
    })?;
    Some((role.parse().ok()?, role))
}

fn manifest(config: &Descriptor, top: &Top) -> String {
    let descriptor = |of: &Descriptor, annotations: Value| {
        let mut members =
            json!({ "mediaType": of.media_type, "digest": of.digest.to_string(), "size": of.size });
        if let Some(members) = members.as_object_mut().filter(|_| !annotations.is_null()) {
            members.insert("annotations".to_owned(), annotations);
        }
        members
    };
    let found = top.found.iter().map(|(name, file)| {
        (
            name,
            Descriptor {
                media_type: FOUND.to_owned(),
                ..file.clone()
            },
        )
    });
    let files = top
        .files
        .iter()
        .map(|(name, file)| (name, file.clone()))
        .chain(found);
    let layers: Vec<_> = files
        .map(|(name, file)| descriptor(&file, json!({ FILE_NAME: name })))
        .collect();
    let annotations = if top.known.is_empty() {
        json!({})
    } else {
        json!({ PUBLISHERS: json!(top.known).to_string() })
    };
    let config = descriptor(config, Value::Null);
    json!({ "schemaVersion": 2, "mediaType": Artifacts::MANIFEST, "config": config, "layers": layers, "annotations": annotations })
        .to_string()
}

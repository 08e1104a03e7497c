//! The signatures that counted, as the cache has them: one file for each image.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::MetadataOrigin;
use super::signature_room::{DecidingSignatures, SignatureRoom, in_turns, length, own_order};
use rootpin_trust::image::Digest;
use rootpin_trust::{KeyId, SignatureFile, SignatureFinding};

/// How the sources of signatures begin, before the root's ID.
pub(super) const SOURCE: &str = "signatures for root ";

/// Whether metadata is that of signatures beside images.
pub(super) fn is_of_signatures(origin: &MetadataOrigin) -> bool {
    origin.source.starts_with(SOURCE)
}

/// A cached file: the signatures that counted.
#[derive(Serialize, Deserialize)]
struct CachedSignatures {
    signatures: Vec<CachedSignature>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct CachedSignature {
    media_type: String,
    bytes: String,
    signature: Option<String>,
}

/// A file of the cache, by its name.
pub(super) enum CacheFile {
    /// Signatures of the image with this digest.
    Signatures(Digest),
    /// The index with this digest, whose manifests are signed.
    Index(Digest),
}

impl CacheFile {
    pub(super) fn of(name: &str) -> Option<Self> {
        let (kind, hex) = name.strip_suffix(".json")?.split_once('-')?;
        let digest = format!("sha256:{hex}").parse().ok()?;
        match kind {
            "sha256" => Some(Self::Signatures(digest)),
            "index" => Some(Self::Index(digest)),
            _ => None,
        }
    }
}

pub(super) fn file_name(digest: Digest) -> String {
    format!("sha256-{}.json", digest.hex())
}

/// The signatures that count, for all tags, as the cache has them.
pub(super) fn counted(files: &[SignatureFile], findings: &[SignatureFinding]) -> Vec<u8> {
    let best = best_of((files, findings), counts).into_values();
    cached_bytes(best.map(|(file, _)| file))
}

/// Signatures, and what was found of each of them.
type JudgedFiles<'f> = (&'f [SignatureFile], &'f [SignatureFinding]);

/// A signature, and what was found of it.
type JudgedFile<'f> = (&'f SignatureFile, &'f SignatureFinding);

/// What one signature counts for beside others: its key, its tag, its format.
type CountedFor<'f> = (Option<KeyId>, Option<&'f str>, &'static str);

fn counts(found: &SignatureFinding) -> bool {
    found.rejected.is_none()
}

/// Whether a signature ends later than another one, or at the same time and is smaller.
fn is_better((file, found): JudgedFile<'_>, (other, of_other): JudgedFile<'_>) -> bool {
    (found.expires, Reverse(length(file))) > (of_other.expires, Reverse(length(other)))
}

fn is_longer((_, found): JudgedFile<'_>, (_, of_other): JudgedFile<'_>) -> bool {
    found.expires > of_other.expires
}

/// Of each key, tag and format the signature that ends last, of equal ones the smallest: the others are
/// copies, which say no more.
fn best_of(
    (files, findings): JudgedFiles<'_>,
    is_wanted: impl Fn(&SignatureFinding) -> bool,
) -> BTreeMap<CountedFor<'_>, JudgedFile<'_>> {
    let mut best = BTreeMap::new();
    let wanted = files.iter().zip(findings);
    for (file, found) in wanted.filter(|(_, found)| is_wanted(found)) {
        let counts_for = (found.key, found.tag.as_deref(), found.format);
        let known = best.entry(counts_for).or_insert((file, found));
        if is_better((file, found), *known) {
            *known = (file, found);
        }
    }
    best
}

/// The order in which signatures of an image take the room of its cached file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum MemberRank {
    /// Cached, by a revoked key: without it a lasting no would become one that `audit-until` lets
    /// through.
    Revoked,
    /// Counts for the tag that was asked for.
    Asked,
    /// Counts for another tag that enough keys signed.
    Signed,
    /// Counts for a tag that too few keys signed.
    BySome,
    /// Cached, and counts for nothing.
    Rest,
}

/// Signatures in the order in which they take room: of each rank the keys in turns, and of a key those
/// that are cached first. Of each key, tag and format there is one that counts, and one that is revoked.
/// `replaces`: whether a new signature takes the place of a cached one that counts for the same.
fn ranked<'f>(
    known: JudgedFiles<'f>,
    new: JudgedFiles<'f>,
    deciding: DecidingSignatures<'_>,
    replaces: fn(JudgedFile<'_>, JudgedFile<'_>) -> bool,
) -> Vec<(MemberRank, &'f SignatureFile)> {
    let cached = best_of(known, counts).into_iter();
    let mut best: BTreeMap<CountedFor<'f>, (bool, JudgedFile<'f>)> = cached
        .map(|(counts_for, judged)| (counts_for, (false, judged)))
        .collect();
    for (counts_for, judged) in best_of(new, counts) {
        let member = best.entry(counts_for).or_insert((true, judged));
        if replaces(judged, member.1) {
            member.1 = judged;
        }
    }
    let signed_tags = deciding.signed_tags(best.values().map(|(_, (_, found))| *found));
    let rank = |found: &SignatureFinding| match (deciding.tag, &found.tag) {
        (Some(asked), Some(bound)) if asked.as_str() == bound => MemberRank::Asked,
        (_, None) => MemberRank::Asked,
        (_, Some(bound)) if signed_tags.contains(bound) => MemberRank::Signed,
        _ => MemberRank::BySome,
    };
    let mut members: Vec<(MemberRank, bool, JudgedFile<'f>)> = best
        .into_values()
        .map(|(is_new, judged)| (rank(judged.1), is_new, judged))
        .collect();
    let revoked = best_of(known, |found| found.revoked).into_values();
    members.extend(revoked.map(|judged| (MemberRank::Revoked, false, judged)));
    let rest = known.0.iter().zip(known.1);
    let rest = rest.filter(|(_, found)| !counts(found));
    members.extend(rest.map(|judged| (MemberRank::Rest, false, judged)));
    members.sort_by_key(|&(rank, is_new, (file, found))| (rank, is_new, own_order(file, found)));
    let mut members = in_turns(members, |(_, _, (file, found))| (found.key, length(file)));
    members.sort_by_key(|(rank, _, _)| *rank);
    let members = members.into_iter();
    members.map(|(rank, _, (file, _))| (rank, file)).collect()
}

/// The signatures of a cached file, within its limits.
#[derive(Default)]
struct CachedMembers<'f> {
    files: Vec<&'f SignatureFile>,
    room: SignatureRoom,
}

impl<'f> CachedMembers<'f> {
    /// Adds a signature once, if there is room for it. Returns whether it is a member now.
    fn add(&mut self, file: &'f SignatureFile) -> bool {
        if self.files.contains(&file) {
            return true;
        }
        let fits = self.room.take(length(file));
        if fits {
            self.files.push(file);
        }
        fits
    }
}

/// What is cached of an image after a search found more, as far as there is room: the cached signatures
/// by revoked keys, those that decided, and those that count for other tags. `known`: what was cached
/// before the search.
pub(super) fn with_found(
    known: JudgedFiles<'_>,
    new: JudgedFiles<'_>,
    deciding: DecidingSignatures<'_>,
) -> Vec<u8> {
    let mut members = CachedMembers::default();
    for (rank, file) in ranked(known, new, deciding, is_better) {
        // Of the rest, `merged_signatures` keeps what there is room for.
        if rank != MemberRank::Rest {
            members.add(file);
        }
    }
    cached_bytes(members.files)
}

/// A cached file with what a bundle brings of the same image, as a file that counts and what was found
/// of it. What is cached and counts stays, unless the same key signed the same tag for longer, and so
/// does what a revoked key signed. What else is cached and counts for nothing makes room.
///
/// # Errors
/// There is no room for all that counts.
pub(super) fn with_imported(
    known: JudgedFiles<'_>,
    new: JudgedFiles<'_>,
) -> Result<Vec<u8>, NoRoom> {
    let mut members = CachedMembers::default();
    // All that counts must fit, in whatever order.
    let any_tag = DecidingSignatures {
        tag: None,
        threshold: 1,
    };
    for (rank, file) in ranked(known, new, any_tag, is_longer) {
        if !members.add(file) && rank != MemberRank::Rest {
            return Err(NoRoom);
        }
    }
    Ok(cached_bytes(members.files))
}

/// A cached file would have more than there is room for.
#[derive(Debug)]
pub(super) struct NoRoom;

fn cached_bytes<'f>(files: impl IntoIterator<Item = &'f SignatureFile>) -> Vec<u8> {
    let signature = |file: &SignatureFile| CachedSignature {
        media_type: file.media_type.clone(),
        bytes: STANDARD.encode(&file.bytes),
        signature: file.signature.clone(),
    };
    let mut files: Vec<&SignatureFile> = files.into_iter().collect();
    // The same signatures give the same bytes, whichever came first.
    files.sort_by_key(|&file| (length(file), &file.bytes, &file.signature));
    let signatures = files.into_iter().map(signature).collect();
    // Text and base64 alone: it can't fail, and a file that is empty is fetched again.
    serde_json::to_vec(&CachedSignatures { signatures }).unwrap_or_default()
}

pub(super) fn read_cached(bytes: &[u8]) -> Option<Vec<SignatureFile>> {
    let cached: CachedSignatures = serde_json::from_slice(bytes).ok()?;
    let file = |one: CachedSignature| {
        Some(SignatureFile {
            media_type: one.media_type,
            bytes: STANDARD.decode(one.bytes).ok()?,
            signature: one.signature,
        })
    };
    cached.signatures.into_iter().map(file).collect()
}

/// Whether a file of the cache has signatures.
pub(super) fn is_signatures(name: &str) -> bool {
    matches!(CacheFile::of(name), Some(CacheFile::Signatures(_)))
}

/// A cached file of signatures with what another one has of the same image, the newer ones first, as far
/// as there is room; none where it is no such file, or the other one adds nothing.
pub(super) fn merged_signatures(new: &[u8], known: &[u8]) -> Option<Vec<u8>> {
    let (new, known) = (read_cached(new)?, read_cached(known)?);
    let mut members = CachedMembers::default();
    for file in &new {
        members.add(file);
    }
    let count = members.files.len();
    for file in &known {
        members.add(file);
    }
    (members.files.len() > count).then(|| cached_bytes(members.files))
}

#[cfg(test)]
mod tests;

//! The signatures that counted, as the cache has them: one file for each image.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::MetadataOrigin;
use rootpin_trust::image::{Digest, Tag};
use rootpin_trust::{KeyId, MOST_SIGNATURES, SignatureFile, SignatureFinding};

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

fn length(file: &SignatureFile) -> usize {
    file.bytes.len() + file.signature.as_ref().map_or(0, String::len)
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
    /// Cached, and counts for another tag.
    Known,
    /// Not cached yet, and counts for another tag.
    New,
    /// Cached, and counts for nothing.
    Rest,
}

/// Signatures in the order in which they take room, small ones first. Of each key, tag and format there
/// is one that counts, and one that is revoked. `tag`: the one that was asked for; `None`: each is.
/// `replaces`: whether a new signature takes the place of a cached one that counts for the same.
fn ranked<'f>(
    known: JudgedFiles<'f>,
    new: JudgedFiles<'f>,
    tag: Option<&Tag>,
    replaces: fn(JudgedFile<'_>, JudgedFile<'_>) -> bool,
) -> Vec<(MemberRank, &'f SignatureFile)> {
    let is_asked = |found: &SignatureFinding| match (tag, &found.tag) {
        (Some(asked), Some(bound)) => asked.as_str() == bound,
        _ => true,
    };
    let mut members = Vec::new();
    for (file, _) in best_of(known, |found| found.revoked).into_values() {
        members.push((MemberRank::Revoked, file));
    }
    let cached = best_of(known, counts).into_iter();
    let mut best: BTreeMap<CountedFor<'f>, (MemberRank, JudgedFile<'f>)> = cached
        .map(|(counts_for, judged)| (counts_for, (MemberRank::Known, judged)))
        .collect();
    for (counts_for, judged) in best_of(new, counts) {
        let member = best.entry(counts_for).or_insert((MemberRank::New, judged));
        if replaces(judged, member.1) {
            member.1 = judged;
        }
    }
    for (rank, (file, found)) in best.into_values() {
        let rank = if is_asked(found) {
            MemberRank::Asked
        } else {
            rank
        };
        members.push((rank, file));
    }
    for (file, found) in known.0.iter().zip(known.1) {
        if !counts(found) {
            members.push((MemberRank::Rest, file));
        }
    }
    members.sort_by_key(|(rank, file)| (*rank, length(file)));
    members
}

/// The signatures of a cached file, within its limits.
#[derive(Default)]
struct CachedMembers<'f> {
    files: Vec<&'f SignatureFile>,
    bytes: usize,
}

impl<'f> CachedMembers<'f> {
    /// Adds a signature once, if there is room for it. Returns whether it is a member now.
    fn add(&mut self, file: &'f SignatureFile) -> bool {
        if self.files.contains(&file) {
            return true;
        }
        let bytes = self.bytes + length(file);
        let fits = self.files.len() < MOST_SIGNATURES && bytes <= MOST_BYTES;
        if fits {
            self.files.push(file);
            self.bytes = bytes;
        }
        fits
    }
}

/// What is cached of an image after a search found more for a tag, as far as there is room: the cached
/// signatures by revoked keys, those that count for that tag, and those that count for others. `known`:
/// what was cached before the search.
pub(super) fn with_found(
    known: JudgedFiles<'_>,
    new: JudgedFiles<'_>,
    tag: Option<&Tag>,
) -> Vec<u8> {
    let mut members = CachedMembers::default();
    for (rank, file) in ranked(known, new, tag, is_better) {
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
    for (rank, file) in ranked(known, new, None, is_longer) {
        if !members.add(file) && rank != MemberRank::Rest {
            return Err(NoRoom);
        }
    }
    Ok(cached_bytes(members.files))
}

/// A cached file would have more than [`MOST_SIGNATURES`] or [`MOST_BYTES`].
#[derive(Debug)]
pub(super) struct NoRoom;

/// Bytes of signatures that an image's cached file has at most.
pub(super) const MOST_BYTES: usize = 2 << 20;

fn cached_bytes<'f>(files: impl IntoIterator<Item = &'f SignatureFile>) -> Vec<u8> {
    let signature = |file: &SignatureFile| CachedSignature {
        media_type: file.media_type.clone(),
        bytes: STANDARD.encode(&file.bytes),
        signature: file.signature.clone(),
    };
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
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn file(bytes: &str) -> SignatureFile {
        SignatureFile {
            media_type: "application/cose".to_owned(),
            bytes: bytes.into(),
            signature: None,
        }
    }

    /// What counts by a key for a tag, until so many seconds after the epoch.
    fn found(key: u8, tag: &str, until: i64) -> SignatureFinding {
        SignatureFinding {
            format: "notation-cose",
            key: Some(Digest::of(&[key]).hex().parse().unwrap()),
            claimed_key: None,
            predicate: None,
            tag: Some(tag.to_owned()),
            expires: Timestamp::from_second(until).unwrap(),
            rejected: None,
            is_of_image: true,
            revoked: false,
            is_over: false,
            lacks: None,
        }
    }

    /// The same by a key that is revoked.
    fn revoked(key: u8) -> SignatureFinding {
        SignatureFinding {
            tag: None,
            rejected: Some("its key is revoked".to_owned()),
            revoked: true,
            ..found(key, "", 0)
        }
    }

    fn padded(name: &str, length: usize) -> SignatureFile {
        file(&[name, &" ".repeat(length - name.len())].concat())
    }

    fn names(cached: &[u8]) -> Vec<String> {
        let files = read_cached(cached).unwrap().into_iter();
        let name = |file: SignatureFile| String::from_utf8(file.bytes).unwrap();
        let mut names: Vec<_> = files.map(|file| name(file).trim_end().to_owned()).collect();
        names.sort();
        names
    }

    /// What has no more than a cached file may have.
    fn within_limits(cached: &[u8]) -> Vec<String> {
        let files = read_cached(cached).unwrap();
        let bytes: usize = files.iter().map(length).sum();
        assert!(files.len() <= MOST_SIGNATURES && bytes <= MOST_BYTES);
        names(cached)
    }

    fn has(names: &[String], name: &str) -> bool {
        names.iter().any(|one| one == name)
    }

    #[test]
    fn of_each_key_and_tag_one_signature_is_cached_and_the_smallest_of_equal_ones() {
        let files = ["a, longer", "a", "b", "of v2", "over"].map(file);
        let mut findings = [
            found(1, "v1", 5),
            found(1, "v1", 5),
            found(2, "v1", 5),
            found(1, "v2", 5),
            found(3, "v1", 5),
        ];
        findings[4].rejected = Some("over".to_owned());
        let v1: Tag = "v1".parse().unwrap();
        for tag in [Some(&v1), None] {
            let all = with_found((&[], &[]), (&files, &findings), tag);
            assert_eq!(names(&all), ["a", "b", "of v2"], "{tag:?}");
        }
        assert_eq!(names(&counted(&files, &findings)), ["a", "b", "of v2"]);
        findings[0].expires = Timestamp::MAX;
        let longer = with_found((&[], &[]), (&files, &findings), Some(&v1));
        assert_eq!(names(&longer), ["a, longer", "b", "of v2"]);
    }

    #[test]
    fn neither_many_nor_large_new_signatures_put_one_by_a_revoked_key_out_of_the_cache() {
        let known = [file("revoked")];
        let of_known = [revoked(200)];
        let before = cached_bytes(&known);
        let v1: Tag = "v1".parse().unwrap();
        for (count, length) in [(64, 10), (8, 256 << 10)] {
            for by_many_keys in [true, false] {
                let new: Vec<_> = (0..count)
                    .map(|at| padded(&format!("new {at}"), length))
                    .collect();
                let of_new: Vec<_> = (0..count)
                    .map(|at| match at {
                        _ if by_many_keys => found(at, "v1", 5),
                        0 => found(1, "v1", 5),
                        _ => found(1, &format!("other {at}"), 5),
                    })
                    .collect();
                let pulled = with_found((&known, &of_known), (&new, &of_new), Some(&v1));
                let written = merged_signatures(&pulled, &before).unwrap_or(pulled);
                let all = within_limits(&written);
                assert!(has(&all, "revoked"), "{all:?}");
                // Of many keys any may be the one without room.
                assert!(by_many_keys || has(&all, "new 0"), "{all:?}");
                assert_eq!(all.len(), usize::from(count));

                let import = |new: &[SignatureFile], of_new: &[SignatureFinding]| {
                    with_imported((&known, &of_known), (new, of_new))
                };
                assert!(import(&new, &of_new).is_err());
                let fewer = import(&new[1..], &of_new[1..]).unwrap();
                let all = within_limits(&fewer);
                assert!(has(&all, "revoked") && all.len() == usize::from(count));
            }
        }
    }

    #[test]
    fn a_pull_keeps_other_tags_where_there_is_room_and_caches_its_own_where_there_is_none() {
        let v1: Tag = "v1".parse().unwrap();
        for (count, length, kept) in [
            (3_usize, 10, 5),
            (62, 10, 64),
            (64, 10, 64),
            (6, 256 << 10, 8),
            (8, 256 << 10, 8),
        ] {
            let known: Vec<_> = (0..count)
                .map(|at| padded(&format!("known {at}"), length))
                .collect();
            let of_known: Vec<_> = (0..count)
                .map(|at| found(1, &format!("other {at}"), 5))
                .collect();
            // A small one of yet another tag comes after all that was cached.
            let new = [padded("of v2", 10), padded("of v1", length)];
            let of_new = [found(1, "v2", 5), found(1, "v1", 5)];
            let pulled = with_found((&known, &of_known), (&new, &of_new), Some(&v1));
            let written = merged_signatures(&pulled, &cached_bytes(&known)).unwrap_or(pulled);
            let all = within_limits(&written);
            assert!(has(&all, "of v1"), "{all:?}");
            assert_eq!(all.len(), kept, "{count} of {length}");
            let of_cached = all.iter().filter(|one| one.starts_with("known"));
            let room = if length == 10 { 63 } else { 7 };
            assert_eq!(of_cached.count(), count.min(room), "{count} of {length}");
        }
    }

    #[test]
    fn two_cached_files_of_one_image_are_merged_within_the_limit_of_bytes() {
        let large = |name: &str| -> Vec<_> {
            (0..8)
                .map(|at| padded(&format!("{name} {at}"), 200 << 10))
                .collect()
        };
        let (new, known) = (large("new"), large("known"));
        let merged = merged_signatures(&cached_bytes(&new), &cached_bytes(&known)).unwrap();
        let all = within_limits(&merged);
        let of_new = all.iter().filter(|one| one.starts_with("new"));
        assert_eq!((of_new.count(), all.len()), (8, 10));
    }

    #[test]
    fn what_is_cached_and_counts_stays_and_what_counts_for_nothing_makes_room() {
        let known: Vec<_> = (0..MOST_SIGNATURES)
            .map(|at| file(&format!("known {at}")))
            .collect();
        let mut of_known: Vec<_> = (0..MOST_SIGNATURES)
            .map(|at| found(1, &at.to_string(), 5))
            .collect();
        let with = |of_known: &[SignatureFinding], of_new: SignatureFinding| {
            let new = [file("new")];
            let all = with_imported((&known, of_known), (&new, &[of_new]));
            all.map(|bytes| names(&bytes))
        };
        assert!(with(&of_known, found(1, "more", 5)).is_err());
        // The same once more brings nothing, and one that ends later is better.
        let same = with(&of_known, found(1, "0", 5)).unwrap();
        assert!(same.contains(&"known 0".to_owned()) && !same.contains(&"new".to_owned()));
        let later = with(&of_known, found(1, "0", 6)).unwrap();
        assert!(!later.contains(&"known 0".to_owned()) && later.contains(&"new".to_owned()));
        of_known[7].rejected = Some("it is over".to_owned());
        let all = with(&of_known, found(1, "more", 5)).unwrap();
        assert!(all.len() == MOST_SIGNATURES && all.contains(&"new".to_owned()));
        assert!(!all.contains(&"known 7".to_owned()));
        let large = [file(&" ".repeat(MOST_BYTES + 1))];
        assert!(with_imported((&[], &[]), (&large, &[found(1, "v1", 5)])).is_err());
    }
}

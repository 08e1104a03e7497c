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

/// The signatures that counted, as the cache has them. `tag`: the one that was asked for; those of others
/// were found beside it, and one key may have signed many.
pub(super) fn counted(
    files: &[SignatureFile],
    findings: &[SignatureFinding],
    tag: Option<&Tag>,
) -> Vec<u8> {
    let is_other = |found: &SignatureFinding| match (tag, &found.tag) {
        (Some(asked), Some(bound)) => asked.as_str() != bound,
        _ => false,
    };
    let best = best_of(files, findings).into_values();
    let asked = best.filter(|(_, found)| !is_other(found));
    cached_bytes(asked.map(|(file, _)| file))
}

/// What one signature counts for beside others: its key, its tag, its format.
type CountedFor<'f> = (Option<KeyId>, Option<&'f str>, &'static str);

/// Of each key, tag and format the signature that ends last, of equal ones the smallest: the others are
/// copies, which say no more.
fn best_of<'f>(
    files: &'f [SignatureFile],
    findings: &'f [SignatureFinding],
) -> BTreeMap<CountedFor<'f>, (&'f SignatureFile, &'f SignatureFinding)> {
    let mut best = BTreeMap::new();
    let counting = files.iter().zip(findings);
    for (file, found) in counting.filter(|(_, found)| found.rejected.is_none()) {
        let counts_for = (found.key, found.tag.as_deref(), found.format);
        let known = best.entry(counts_for).or_insert((file, found));
        let worth = |(file, found): (&SignatureFile, &SignatureFinding)| {
            (found.expires, Reverse(file.bytes.len()))
        };
        if worth((file, found)) > worth(*known) {
            *known = (file, found);
        }
    }
    best
}

/// A cached file with what a bundle brings of the same image, as a file that counts and what was found
/// of it. What is cached and counts stays, unless the same key signed the same tag for longer; what is
/// cached and counts for nothing makes room.
///
/// # Errors
/// There is no room for all that counts.
pub(super) fn with_imported(
    (known, of_known): (&[SignatureFile], &[SignatureFinding]),
    (new, of_new): (&[SignatureFile], &[SignatureFinding]),
) -> Result<Vec<u8>, NoRoom> {
    let mut best = best_of(known, of_known);
    for (counts_for, (file, found)) in best_of(new, of_new) {
        let longer = |known: &(&SignatureFile, &SignatureFinding)| found.expires > known.1.expires;
        if best.get(&counts_for).is_none_or(longer) {
            best.insert(counts_for, (file, found));
        }
    }
    let counting: Vec<_> = best.into_values().map(|(file, _)| file).collect();
    let bytes = |files: &[&SignatureFile]| files.iter().map(|file| file.bytes.len()).sum::<usize>();
    if counting.len() > MOST_SIGNATURES || bytes(&counting) > MOST_BYTES {
        return Err(NoRoom);
    }
    let mut all = counting;
    for (file, found) in known.iter().zip(of_known) {
        let fits = all.len() < MOST_SIGNATURES && bytes(&all) + file.bytes.len() <= MOST_BYTES;
        if found.rejected.is_some() && fits {
            all.push(file);
        }
    }
    Ok(cached_bytes(all))
}

/// A cached file would have more than [`MOST_SIGNATURES`] or [`MOST_BYTES`].
#[derive(Debug)]
pub(super) struct NoRoom;

/// Bytes of signatures that a bundle can fill an image's cached file with.
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

/// A cached file of signatures with what another one has of the same image, the newer ones first;
/// none where it is no such file, or the other one has nothing more.
pub(super) fn merged_signatures(new: &[u8], known: &[u8]) -> Option<Vec<u8>> {
    let (mut all, known) = (read_cached(new)?, read_cached(known)?);
    let count = all.len();
    let more: Vec<_> = known.into_iter().filter(|one| !all.contains(one)).collect();
    all.extend(more);
    all.truncate(MOST_SIGNATURES.max(count));
    (all.len() > count).then(|| cached_bytes(&all))
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

    fn names(cached: &[u8]) -> Vec<String> {
        let files = read_cached(cached).unwrap().into_iter();
        let mut names: Vec<_> = files
            .map(|file| String::from_utf8(file.bytes).unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn of_each_key_one_signature_of_the_tag_that_is_asked_for_is_cached() {
        let files = ["padded a", "a", "b", "of v2", "over"].map(file);
        let mut findings = [
            found(1, "v1", 5),
            found(1, "v1", 5),
            found(2, "v1", 5),
            found(1, "v2", 5),
            found(3, "v1", 5),
        ];
        findings[4].rejected = Some("over".to_owned());
        let v1: Tag = "v1".parse().unwrap();
        assert_eq!(names(&counted(&files, &findings, Some(&v1))), ["a", "b"]);
        assert_eq!(
            names(&counted(&files, &findings, None)),
            ["a", "b", "of v2"]
        );
        findings[0].expires = Timestamp::MAX;
        let longer = counted(&files, &findings, Some(&v1));
        assert_eq!(names(&longer), ["b", "padded a"]);
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
        of_known[7].rejected = Some("its key is revoked".to_owned());
        let all = with(&of_known, found(1, "more", 5)).unwrap();
        assert!(all.len() == MOST_SIGNATURES && all.contains(&"new".to_owned()));
        assert!(!all.contains(&"known 7".to_owned()));
        let large = [file(&" ".repeat(MOST_BYTES + 1))];
        assert!(with_imported((&[], &[]), (&large, &[found(1, "v1", 5)])).is_err());
    }
}

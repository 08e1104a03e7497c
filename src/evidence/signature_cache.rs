//! The signatures that counted, as the cache has them: one file for each image.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::MetadataOrigin;
use rootpin_trust::image::Digest;
use rootpin_trust::{MOST_SIGNATURES, SignatureFile, SignatureFinding};

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

/// The signatures that counted, as the cache has them.
pub(super) fn counted(files: &[SignatureFile], findings: &[SignatureFinding]) -> Vec<u8> {
    let files = files.iter().zip(findings);
    let files = files.filter(|(_, found)| found.rejected.is_none());
    cached_bytes(files.map(|(file, _)| file))
}

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

//! What signatures beside an image say of it. They are of a digest and never age, so what verified
//! once is cached by that digest, and answers without a registry.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::keep::lost;
use super::per_key::PerKeyCache;
use super::{Evidence, MetadataOrigin, NamedFiles, Repositories, RootLook, later};
use rootpin_policy::{Root, RootKind};
use rootpin_trust::cosign::{self, CosignPins};
use rootpin_trust::image::{Digest, Repository};
use rootpin_trust::notation::{self, NotationPins};
use rootpin_trust::{
    Code, MOST_SIGNATURES, Refusal, SignatureFile, SignatureFinding, SignatureOutcome, SignedImage,
    Subject,
};

/// The policy's hash is part of the key, so that another policy never sees what this one verified;
/// then root, repository and image.
pub(super) type SignatureCache =
    PerKeyCache<(Digest, String, Repository, Digest), Option<SignaturesAtHand>>;

/// What the last search ended with, and when.
#[derive(Debug, Clone)]
pub(super) struct SignaturesAtHand {
    asked: Timestamp,
    said: Result<Arc<Evidence>, Refusal>,
}

impl SignaturesAtHand {
    pub(super) fn new(look: RootLook<'_>, said: Result<Arc<Evidence>, Refusal>) -> Self {
        let asked = look.now;
        Self { asked, said }
    }

    /// What it says now, unless a registry is to be asked.
    pub(super) fn answer(&self, look: RootLook<'_>) -> Option<Result<Arc<Evidence>, Refusal>> {
        // A clock that ran ahead and was set back makes no answer recent until that time comes.
        let is_recent = self.asked <= look.now && look.now < later(self.asked, super::AGAIN);
        match &self.said {
            Ok(evidence) if look.now < evidence.valid_until && (!look.again || is_recent) => {
                Some(Ok(Arc::clone(evidence)))
            }
            Err(refusal) if is_recent => Some(Err(refusal.clone())),
            _ => None,
        }
    }
}

/// What an answer at hand is of.
pub(super) fn key(
    look: RootLook<'_>,
    repository: &Repository,
    digest: Digest,
) -> (Digest, String, Repository, Digest) {
    let root = look.root.id.clone();
    (look.policy.hash, root, repository.clone(), digest)
}

/// A signature, and what became of it.
type FoundSignature = (SignatureFile, SignatureFinding);

/// All that a search found.
#[derive(Debug)]
pub(crate) struct FoundSignatures {
    pub(crate) files: Vec<SignatureFile>,
    pub(crate) outcome: SignatureOutcome,
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

impl Repositories {
    /// What a root's signatures say of an image.
    pub(super) async fn of_signatures(
        &self,
        look: RootLook<'_>,
        repository: &Repository,
        digest: Digest,
    ) -> Result<Arc<Evidence>, Refusal> {
        let slot = self.signatures.get(key(look, repository, digest));
        // One question at a time: those that wait find the answer of the first.
        let mut slot = slot.lock().await;
        if let Some(known) = slot.as_ref().and_then(|known| known.answer(look)) {
            return known;
        }
        let image = SignedImage { repository, digest };
        if !look.again
            && let Some(files) = self.cached_signatures(look.root, image)
            && let Ok(verified) = verify(look, image, files).await?.1.result
        {
            let evidence = evidence(look, image, verified, None);
            *slot = Some(SignaturesAtHand::new(look, Ok(Arc::clone(&evidence))));
            return Ok(evidence);
        }
        let FoundSignatures { files, outcome } = self.search(look, image, false).await?;
        let said = outcome.result.map(|verified| {
            let files = vec![(file_name(digest), counted(&files, &outcome.findings))];
            evidence(look, image, verified, Some(files))
        });
        *slot = Some(SignaturesAtHand::new(look, said.clone()));
        said
    }

    /// Searches a registry until enough keys signed; or for `all` signatures.
    ///
    /// # Errors
    /// The registry did not answer, so that signatures may be there that were not seen.
    pub(crate) async fn search(
        &self,
        look: RootLook<'_>,
        image: SignedImage<'_>,
        all: bool,
    ) -> Result<FoundSignatures, Refusal> {
        let wanted = wanted_by(look.root);
        let search = self.sources.signatures(
            look.beside.unwrap_or(image.repository),
            image.digest,
            wanted,
        );
        let mut search = search.map_err(|error| error.refusal())?;
        let mut found = Vec::new();
        while let Some(mut more) = search.next(look.deadline).await {
            // The registry may list one signature at two places.
            more.retain(|file| found.iter().all(|(known, _)| known != file));
            let (more, alone) = verify(look, image, more).await?;
            let counts = alone.findings.iter().any(|one| one.rejected.is_none());
            found.extend(more.into_iter().zip(alone.findings));
            found = weightiest(found);
            if counts && !all {
                let files = found.iter().map(|(file, _)| file.clone()).collect();
                let (files, outcome) = verify(look, image, files).await?;
                if outcome.result.is_ok() {
                    return Ok(FoundSignatures { files, outcome });
                }
            }
        }
        let files = found.into_iter().map(|(file, _)| file).collect();
        let (files, outcome) = verify(look, image, files).await?;
        if outcome.result.is_err()
            && let Some(error) = search.failed()
        {
            return Err(error.refusal());
        }
        Ok(FoundSignatures { files, outcome })
    }

    fn cached_signatures(&self, root: &Root, image: SignedImage<'_>) -> Option<Vec<SignatureFile>> {
        let origin = origin(root, image.repository);
        read_cached(&self.cached(&origin, &file_name(image.digest))?)
    }
}

/// The signatures that may decide, no more than are looked at: of each key and tag the one that ends
/// last, and then what else there is. So no junk, and no copies of a good one, hide another one.
fn weightiest(mut all: Vec<FoundSignature>) -> Vec<FoundSignature> {
    all.sort_by_key(|(_, found)| (found.key.is_none(), Reverse(found.expires)));
    let mut known = BTreeSet::new();
    let mut is_first = |found: &SignatureFinding| {
        let of = (found.key, found.tag.clone(), found.rejected.is_none());
        found.key.is_some() && known.insert(of)
    };
    let (mut weightiest, others): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|(_, found)| is_first(found));
    weightiest.extend(others);
    weightiest.truncate(MOST_SIGNATURES);
    weightiest
}

/// What a root makes of signatures, without holding up the answers to others.
async fn verify(
    look: RootLook<'_>,
    image: SignedImage<'_>,
    files: Vec<SignatureFile>,
) -> Result<(Vec<SignatureFile>, SignatureOutcome), Refusal> {
    let pins = Pins::of(look)?;
    let (repository, digest) = (image.repository.clone(), image.digest);
    let work = move || {
        let repository = &repository;
        let image = SignedImage { repository, digest };
        let outcome = pins.verify(image, &files);
        (files, outcome)
    };
    let verified = tokio::task::spawn_blocking(work).await;
    verified.map_err(|error| lost(&error))
}

/// The pins of a root whose signatures are beside the image.
pub(super) enum Pins {
    Cosign(CosignPins),
    Notation(NotationPins),
}

impl Pins {
    pub(super) fn of(look: RootLook<'_>) -> Result<Self, Refusal> {
        let revoked = look.policy.revoked_keys();
        match &look.root.kind {
            RootKind::Cosign(root) => Ok(Self::Cosign(root.pins(revoked))),
            RootKind::Notation(root) => Ok(Self::Notation(root.pins(revoked, look.now))),
            RootKind::Notary(_) | RootKind::Tuf(_) => Err(not_of_digests()),
        }
    }

    /// What they make of signatures. It takes a while.
    pub(super) fn verify(
        &self,
        image: SignedImage<'_>,
        files: &[SignatureFile],
    ) -> SignatureOutcome {
        match self {
            Self::Cosign(pins) => cosign::verify(image, pins, files),
            Self::Notation(pins) => notation::verify(image, pins, files),
        }
    }
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

fn wanted_by(root: &Root) -> fn(&str) -> bool {
    match root.kind {
        RootKind::Cosign(_) => cosign::is_signature,
        RootKind::Notation(_) => notation::is_signature,
        RootKind::Notary(_) | RootKind::Tuf(_) => |_| false,
    }
}

fn evidence(
    look: RootLook<'_>,
    image: SignedImage<'_>,
    verified: rootpin_trust::Verified<rootpin_trust::Collection>,
    files: Option<NamedFiles>,
) -> Arc<Evidence> {
    let valid_until = verified.get().expires;
    Arc::new(Evidence {
        verified: Arc::new(verified),
        progress: Vec::new(),
        origin: origin(look.root, image.repository),
        contact: look.now,
        asked: Mutex::new(look.now),
        valid_until,
        unsaved: Mutex::new(files),
    })
}

pub(super) fn origin(root: &Root, repository: &Repository) -> MetadataOrigin {
    MetadataOrigin {
        source: format!("signatures for root {}", root.id),
        subject: Subject::Gun(repository.clone()),
    }
}

fn file_name(digest: Digest) -> String {
    format!("sha256-{}.json", digest.hex())
}

/// The signatures that counted, as the cache has them.
pub(super) fn counted(files: &[SignatureFile], findings: &[SignatureFinding]) -> Vec<u8> {
    let files = files.iter().zip(findings);
    let files = files.filter(|(_, found)| found.rejected.is_none());
    let files = files.map(|(file, _)| file);
    let signature = |file: &SignatureFile| CachedSignature {
        media_type: file.media_type.clone(),
        bytes: STANDARD.encode(&file.bytes),
        signature: file.signature.clone(),
    };
    let signatures = files.map(signature).collect();
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

/// A question about tags, which only another kind of root lists.
pub(super) fn not_of_digests() -> Refusal {
    Refusal::new(
        Code::NoStatement,
        "a question without a digest",
        "the digest of an image, which signatures are for",
        "name the image by tag or digest; its signatures do not list what else is signed",
    )
}

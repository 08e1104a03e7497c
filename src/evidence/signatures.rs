//! What signatures beside an image say of it. They are of a digest and never age, so what verified
//! once is cached by that digest, and answers without a registry.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::per_key::PerKeyCache;
use super::{Evidence, MetadataOrigin, NamedFiles, Repositories, RootLook, later};
use rootpin_policy::{Root, RootKind};
use rootpin_trust::image::{Digest, Repository};
use rootpin_trust::{
    Code, Refusal, SignatureFile, SignatureFinding, SignatureOutcome, SignedImage, Subject, cosign,
    notation,
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
        let key = (
            look.policy.hash,
            look.root.id.clone(),
            repository.clone(),
            digest,
        );
        let slot = self.signatures.get(key);
        // One question at a time: those that wait find the answer of the first.
        let mut slot = slot.lock().await;
        if let Some(known) = slot.as_ref() {
            let is_recent = look.now < later(known.asked, super::AGAIN);
            match &known.said {
                Ok(evidence) if look.now < evidence.valid_until && (!look.again || is_recent) => {
                    return Ok(Arc::clone(evidence));
                }
                Err(refusal) if is_recent => return Err(refusal.clone()),
                _ => {}
            }
        }
        let image = SignedImage { repository, digest };
        if !look.again
            && let Some(files) = self.cached_signatures(look.root, image)
            && let Ok(verified) = verify(look, image, &files).result
        {
            let evidence = evidence(look, image, verified, None);
            let said = Ok(Arc::clone(&evidence));
            *slot = Some(SignaturesAtHand {
                asked: look.now,
                said,
            });
            return Ok(evidence);
        }
        let FoundSignatures { files, outcome } = self.search(look, image, false).await?;
        let said = outcome.result.map(|verified| {
            let counted = files.iter().zip(&outcome.findings);
            let counted = counted.filter(|(_, found)| found.rejected.is_none());
            let kept = cached(counted.map(|(file, _)| file));
            let files = vec![(file_name(digest), kept)];
            evidence(look, image, verified, Some(files))
        });
        *slot = Some(SignaturesAtHand {
            asked: look.now,
            said: said.clone(),
        });
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
        let search = self
            .sources
            .signatures(image.repository, image.digest, wanted);
        let mut search = search.map_err(|error| error.refusal())?;
        let mut files: Vec<SignatureFile> = Vec::new();
        let mut outcome = verify(look, image, &files);
        while let Some(mut more) = search.next(look.deadline).await {
            // The registry may list one signature at two places.
            more.retain(|file| !files.contains(file));
            // Junk is looked at once here and once at the end, however many places list it.
            let alone = verify(look, image, &more);
            files.append(&mut more);
            if alone.findings.iter().any(|one| one.rejected.is_none()) {
                outcome = verify(look, image, &files);
                if outcome.result.is_ok() && !all {
                    break;
                }
            }
        }
        if outcome.result.is_err() || all {
            outcome = verify(look, image, &files);
        }
        if outcome.result.is_err()
            && let Some(error) = search.failed()
        {
            return Err(error.refusal());
        }
        Ok(FoundSignatures { files, outcome })
    }

    fn cached_signatures(&self, root: &Root, image: SignedImage<'_>) -> Option<Vec<SignatureFile>> {
        let origin = origin(root, image.repository);
        read(&self.cached(&origin, &file_name(image.digest))?)
    }
}

/// What a root makes of signatures.
fn verify(look: RootLook<'_>, image: SignedImage<'_>, files: &[SignatureFile]) -> SignatureOutcome {
    match &look.root.kind {
        RootKind::Cosign(root) => {
            cosign::verify(image, &root.pins(look.policy.revoked_keys()), files)
        }
        RootKind::Notation(root) => {
            let pins = root.pins(look.policy.revoked_keys(), look.now);
            notation::verify(image, &pins, files)
        }
        RootKind::Notary(_) | RootKind::Tuf(_) => SignatureOutcome {
            findings: Vec::<SignatureFinding>::new(),
            result: Err(not_of_digests()),
        },
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

fn origin(root: &Root, repository: &Repository) -> MetadataOrigin {
    MetadataOrigin {
        source: format!("signatures for root {}", root.id),
        subject: Subject::Gun(repository.clone()),
    }
}

fn file_name(digest: Digest) -> String {
    format!("sha256-{}.json", digest.hex())
}

fn cached<'a>(files: impl Iterator<Item = &'a SignatureFile>) -> Vec<u8> {
    let signature = |file: &SignatureFile| CachedSignature {
        media_type: file.media_type.clone(),
        bytes: STANDARD.encode(&file.bytes),
        signature: file.signature.clone(),
    };
    let signatures = files.map(signature).collect();
    // Text and base64 alone: it can't fail, and a file that is empty is fetched again.
    serde_json::to_vec(&CachedSignatures { signatures }).unwrap_or_default()
}

fn read(bytes: &[u8]) -> Option<Vec<SignatureFile>> {
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

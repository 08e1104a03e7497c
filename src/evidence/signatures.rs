//! What signatures beside an image say of it. They are of a digest and never age, so what verified
//! once is cached by that digest, and answers without a registry.

use std::sync::{Arc, Mutex};

use jiff::Timestamp;

use super::drive::revoked_beside;
use super::found_signatures::FoundSoFar;
use super::per_key::PerKeyCache;
use super::signature_cache::{SOURCE, file_name, read_cached, with_found};
use super::signature_pins::verify;
use super::signature_room::DecidingSignatures;
use super::signature_search::FoundSignatures;
use super::statement::{UnsavedFiles, Unseen};
use super::{Evidence, MetadataOrigin, NamedFiles, Repositories, RootLook};
use rootpin_policy::Root;
use rootpin_trust::image::{Digest, Repository, Tag};
use rootpin_trust::{Code, Refusal, SignatureFile, SignatureFinding, SignedImage, Subject};

/// The policy's hash is part of the key, so that another policy never sees what this one verified;
/// then root, the repository that is signed and the one that was searched, the image, the tag that was
/// asked for, and whether all signers were: an answer for one tag or of one registry is none for
/// another one.
pub(super) type SignatureCache = PerKeyCache<SignatureKey, Option<SignaturesAtHand>>;

type SignatureKey = (Digest, String, [Repository; 2], Digest, Option<Tag>, bool);

/// What the last search ended with, and when.
#[derive(Debug, Clone)]
pub(super) struct SignaturesAtHand {
    asked: Timestamp,
    said: Result<Arc<Evidence>, Refusal>,
    /// What a person's question found of cached signatures, which is shown with its answer.
    shown: Option<(Timestamp, Vec<SignatureFinding>)>,
}

impl SignaturesAtHand {
    pub(super) fn new(look: RootLook<'_>, said: Result<Arc<Evidence>, Refusal>) -> Self {
        // Its source may have more of it than was at hand.
        let asked = match &said {
            Ok(evidence) if evidence.is_partly_at_hand => Timestamp::MIN,
            _ => look.now,
        };
        Self {
            asked,
            said,
            shown: None,
        }
    }

    /// What it says now, unless a registry is to be asked.
    pub(super) fn answer(&self, look: RootLook<'_>) -> Option<Result<Arc<Evidence>, Refusal>> {
        let is_recent = look.is_recent(self.asked);
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
pub(super) fn key(look: RootLook<'_>, image: SignedImage<'_>) -> SignatureKey {
    let root = look.root.id.clone();
    let repositories = [image.repository, look.beside.unwrap_or(image.repository)];
    let repository = repositories.map(Repository::clone);
    let tag = image.tag.cloned();
    let every_signer = image.every_signer;
    (
        look.policy.hash,
        root,
        repository,
        image.digest,
        tag,
        every_signer,
    )
}

impl Repositories {
    /// What a root's signatures say of an image. `or_manifests`: whether those of the manifests that an
    /// index lists would do.
    pub(super) async fn of_signatures(
        &self,
        look: RootLook<'_>,
        image: SignedImage<'_>,
        or_manifests: bool,
    ) -> Result<Arc<Evidence>, Refusal> {
        let slot = self.signatures.get(key(look, image));
        // One question at a time: those that wait find the answer of the first.
        let mut slot = slot.lock().await;
        if let Some(known) = slot.as_ref().and_then(|known| known.answer(look)) {
            return known;
        }
        let (cached, others) = self.cached_signatures(look, image).await?;
        let (cached, outcome) = verify(look, image, cached, others).await?;
        let no_at_hand = outcome.result.as_ref().err().cloned();
        let no_at_hand = no_at_hand.filter(|_| !outcome.findings.is_empty());
        if !look.again
            && let Ok(verified) = outcome.result
        {
            let evidence = evidence(look, image, verified, None, Unseen::default());
            // No registry was asked for it.
            let asked = Timestamp::MIN;
            let said = Ok(Arc::clone(&evidence));
            let shown = look.replies.map(|_| (look.now, outcome.findings));
            *slot = Some(SignaturesAtHand { asked, said, shown });
            return Ok(evidence);
        }
        // A search may leave out what decides nothing for this tag, and the cache keeps it.
        let (before, of_before) = (cached.clone(), outcome.findings);
        // What counted before counts with what is found now, and is cached with it.
        let known = (cached, no_at_hand.as_ref());
        let found = match Box::pin(self.search(look, image, known, false)).await {
            Ok(found) => found,
            // What the registry can't give now it can't give a moment later either.
            Err(refusal) => {
                let refusal = match &no_at_hand {
                    Some(no) => revoked_beside(refusal, no),
                    None => refusal,
                };
                if refusal.code != Code::SourceUnreachable {
                    *slot = Some(SignaturesAtHand::new(look, Err(refusal.clone())));
                }
                return Err(refusal);
            }
        };
        let unseen = found.unseen(image);
        let FoundSignatures { files, outcome, .. } = found;
        let is_unsigned = outcome.findings.is_empty();
        let said = outcome.result;
        let said = said.map_err(|no| shown_where(no, look, image, is_unsigned));
        let said = said.map(|verified| {
            let new = (files.as_slice(), outcome.findings.as_slice());
            let deciding = DecidingSignatures::of(look.root, image.tag);
            let cached = with_found((&before, &of_before), new, deciding);
            let files = vec![(file_name(image.digest), cached)];
            evidence(look, image, verified, Some(files), unseen)
        });
        let said = match said {
            Err(no) if no.code == Code::NoStatement && !or_manifests => {
                Err(self.or_by_manifests(look, image, no).await)
            }
            said => said,
        };
        if lasts(&said) {
            *slot = Some(SignaturesAtHand::new(look, said.clone()));
        }
        said
    }

    /// What the cached signatures of an image come to, where they are enough.
    pub(crate) async fn enough_cached(
        &self,
        look: RootLook<'_>,
        image: SignedImage<'_>,
    ) -> Option<Vec<SignatureFinding>> {
        if let Some(findings) = self.shown(look, image) {
            return Some(findings);
        }
        let (cached, others) = self.cached_signatures(look, image).await.ok()?;
        let (_, outcome) = verify(look, image, cached, others).await.ok()?;
        outcome.result.is_ok().then_some(outcome.findings)
    }

    /// Why the cached signatures of an image are not enough, where that is for a revoked key.
    pub(super) async fn revoked_at_hand(
        &self,
        look: RootLook<'_>,
        image: SignedImage<'_>,
    ) -> Option<Refusal> {
        if look.policy.revoked_keys().is_empty() {
            return None;
        }
        let (cached, others) = self.cached_signatures(look, image).await.ok()?;
        let (_, outcome) = verify(look, image, cached, others).await.ok()?;
        outcome.result.err().filter(|no| no.code == Code::Revoked)
    }

    /// What this very question found already, unless another one holds the answer now.
    fn shown(&self, look: RootLook<'_>, image: SignedImage<'_>) -> Option<Vec<SignatureFinding>> {
        let slot = self.signatures.get(key(look, image));
        let known = slot.try_lock().ok()?;
        let (at, findings) = known.as_ref()?.shown.as_ref()?;
        (*at == look.now).then(|| findings.clone())
    }

    /// The signatures of an image that counted before. Of several roots' files, each may have as many
    /// as are looked at: those that count here come first, and of what is by no key that is pinned here
    /// the findings are enough. One file is in memory at a time.
    pub(crate) async fn cached_signatures(
        &self,
        look: RootLook<'_>,
        image: SignedImage<'_>,
    ) -> Result<(Vec<SignatureFile>, Vec<SignatureFinding>), Refusal> {
        let (own, name) = (origin(look.root, image.repository), file_name(image.digest));
        if let Some(bytes) = self.cached(&own, &name) {
            return Ok((read_cached(&bytes).unwrap_or_default(), Vec::new()));
        }
        let mut found = FoundSoFar::default();
        let deciding = DecidingSignatures::of(look.root, image.tag);
        for other in self.of_others(&own) {
            let bytes = self.cached(&other, &name);
            if let Some(files) = bytes.and_then(|bytes| read_cached(&bytes)) {
                let (files, outcome) = verify(look, image, files, Vec::new()).await?;
                found.add((&files, &outcome.findings), false, deciding);
            }
        }
        Ok(found.into_parts())
    }

    /// The file of that name that the cache has for this root, or else for another one.
    pub(super) fn cached_beside(
        &self,
        root: &Root,
        repository: &Repository,
        name: &str,
    ) -> Option<Vec<u8>> {
        let own = origin(root, repository);
        let of_others = || {
            let mut others = self.of_others(&own).into_iter();
            others.find_map(|other| self.cached(&other, name))
        };
        self.cached(&own, name).or_else(of_others)
    }

    /// Where the cache may have the same for other roots: one that has another ID now finds what it had.
    /// It is verified anew, whoever it was for.
    fn of_others(&self, own: &MetadataOrigin) -> Vec<MetadataOrigin> {
        let sources = self.store.sources_of(&own.subject, SOURCE);
        let of = |source: String| MetadataOrigin {
            source,
            subject: own.subject.clone(),
        };
        let all = sources.unwrap_or_default().into_iter().map(of);
        all.filter(|other| other != own).collect()
    }
}

/// The refusal of an image that is not signed, with where its signatures are looked for, and the command
/// that shows what is there, unless that is what asks. `is_unsigned`: whether there are none.
fn shown_where(
    mut no: Refusal,
    look: RootLook<'_>,
    image: SignedImage<'_>,
    is_unsigned: bool,
) -> Refusal {
    if no.code != Code::NoStatement {
        return no;
    }
    let (signed, digest) = (image.repository, image.digest);
    let beside = look.beside.unwrap_or(signed);
    if is_unsigned && beside != signed {
        no.found = format!(
            "no signature of {digest} in {beside}, where one that names {signed} is looked for"
        );
        "copy the signatures with the image (cosign copy), or have its publisher sign it under the name that signed-as gives".clone_into(&mut no.hint);
    }
    if look.replies.is_none() {
        let command = format!("; `rootpin verify {beside}@{digest}` shows what is there");
        no.hint.push_str(&command);
    }
    no
}

/// Whether an answer is still one a moment later: the registry may answer by then what it did not.
pub(super) fn lasts(said: &Result<Arc<Evidence>, Refusal>) -> bool {
    let refusal = match said {
        Ok(evidence) => evidence.unseen.refusal.as_ref(),
        Err(refusal) => Some(refusal),
    };
    refusal.is_none_or(|refusal| refusal.code != Code::SourceUnreachable)
}

fn evidence(
    look: RootLook<'_>,
    image: SignedImage<'_>,
    verified: rootpin_trust::Verified<rootpin_trust::Collection>,
    files: Option<NamedFiles>,
    unseen: Unseen,
) -> Arc<Evidence> {
    let valid_until = verified.get().expires;
    Arc::new(Evidence {
        verified: Arc::new(verified),
        progress: Vec::new(),
        origin: origin(look.root, image.repository),
        contact: look.now,
        asked: Mutex::new(look.now),
        valid_until,
        unseen,
        is_partly_at_hand: false,
        unsaved: UnsavedFiles::new(files),
    })
}

/// The source of what counted under a root whose signatures are beside images.
pub(crate) fn source_of(root: &Root) -> String {
    format!("{SOURCE}{}", root.id)
}

pub(super) fn origin(root: &Root, repository: &Repository) -> MetadataOrigin {
    MetadataOrigin {
        source: source_of(root),
        subject: Subject::Gun(repository.clone()),
    }
}

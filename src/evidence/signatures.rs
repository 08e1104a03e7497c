//! What signatures beside an image say of it. They are of a digest and never age, so what verified
//! once is cached by that digest, and answers without a registry.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use jiff::Timestamp;

use super::drive::revoked_beside;
use super::keep::lost;
use super::per_key::PerKeyCache;
use super::signature_cache::{counted, file_name, read_cached};
use super::unsigned::{beside_what_is_at_hand, shown_where};
use super::{Evidence, MetadataOrigin, NamedFiles, Repositories, RootLook, later};
use crate::sources::{CutLists, SignatureKind, SourceError};
use rootpin_policy::{Root, RootKind};
use rootpin_trust::cosign::{self, CosignPins};
use rootpin_trust::image::{Digest, Repository, Tag};
use rootpin_trust::notation::{self, NotationPins};
use rootpin_trust::{
    Code, KeyId, MOST_SIGNATURES, Refusal, SignatureFile, SignatureFinding, SignatureOutcome,
    SignedImage, Subject,
};

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
}

impl SignaturesAtHand {
    pub(super) fn new(look: RootLook<'_>, said: Result<Arc<Evidence>, Refusal>) -> Self {
        // Its source may have more of it than was at hand.
        let asked = match &said {
            Ok(evidence) if evidence.is_partly_at_hand => Timestamp::MIN,
            _ => look.now,
        };
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

/// A signature, and what became of it.
type FoundSignature = (SignatureFile, SignatureFinding);

/// All that a search found.
#[derive(Debug)]
pub(crate) struct FoundSignatures {
    pub(crate) files: Vec<SignatureFile>,
    pub(crate) outcome: SignatureOutcome,
    /// Why there may be more than was seen.
    pub(crate) failed: Option<SourceError>,
    /// What was left out of long lists.
    pub(crate) cut: Option<CutLists>,
}

impl Repositories {
    /// What a root's signatures say of an image.
    pub(super) async fn of_signatures(
        &self,
        look: RootLook<'_>,
        image: SignedImage<'_>,
    ) -> Result<Arc<Evidence>, Refusal> {
        let slot = self.signatures.get(key(look, image));
        // One question at a time: those that wait find the answer of the first.
        let mut slot = slot.lock().await;
        if let Some(known) = slot.as_ref().and_then(|known| known.answer(look)) {
            return known;
        }
        let cached = self.cached_signatures(look, image).await?;
        let (cached, outcome) = verify(look, image, cached).await?;
        let no_at_hand = outcome.result.as_ref().err().cloned();
        let no_at_hand = no_at_hand.filter(|_| !cached.is_empty());
        if !look.again
            && let Ok(verified) = outcome.result
        {
            let evidence = evidence(look, image, verified, (None, None));
            // No registry was asked for it.
            let asked = Timestamp::MIN;
            let said = Ok(Arc::clone(&evidence));
            *slot = Some(SignaturesAtHand { asked, said });
            return Ok(evidence);
        }
        // What counted before counts with what is found now, and is cached with it.
        let found = match Box::pin(self.search(look, image, cached, false)).await {
            Ok(found) => found,
            // What the registry can't give now it can't give a moment later either.
            Err(refusal) => {
                let refusal = beside_what_is_at_hand(refusal, no_at_hand.as_ref());
                if refusal.code != Code::SourceUnreachable {
                    *slot = Some(SignaturesAtHand::new(look, Err(refusal.clone())));
                }
                return Err(refusal);
            }
        };
        let FoundSignatures { files, outcome, .. } = found;
        let unseen = found.failed.filter(|_| image.every_signer);
        let unseen = unseen.map(|error| unseen_beside(&error, found.cut, None));
        let is_unsigned = outcome.findings.is_empty();
        let said = outcome.result;
        let said = said.map_err(|no| shown_where(no, look, image, is_unsigned));
        let said = said.map(|verified| {
            let files = vec![(file_name(image.digest), counted(&files, &outcome.findings))];
            evidence(look, image, verified, (Some(files), unseen))
        });
        if lasts(&said) {
            *slot = Some(SignaturesAtHand::new(look, said.clone()));
        }
        said
    }

    /// Searches a registry until enough keys signed the tag that is asked for; or for `all`
    /// signatures. `known`: signatures that are at hand.
    ///
    /// # Errors
    /// Not enough keys signed, and signatures may be there that were not seen.
    pub(crate) async fn search(
        &self,
        look: RootLook<'_>,
        image: SignedImage<'_>,
        known: Vec<SignatureFile>,
        all: bool,
    ) -> Result<FoundSignatures, Refusal> {
        let search = self.sources.signatures(
            look.beside.unwrap_or(image.repository),
            image.digest,
            kind_of(look.root),
            look.replies,
        );
        let mut search = search.map_err(|error| error.refusal())?;
        let mut found: Vec<FoundSignature> = Vec::new();
        let (mut more, mut is_cached) = (Some(known), true);
        while let Some(mut new) = more {
            // The registry may list one signature at two places.
            new.retain(|file| found.iter().all(|(known, _)| known != file));
            let (new, alone) = verify(look, image, new).await?;
            // Copies of what counted already can't make it enough.
            let known = counting(found.iter().map(|(_, one)| one));
            let counts = !counting(&alone.findings).is_subset(&known);
            let new = new.into_iter().zip(alone.findings);
            // The cache may have what is by other roots' keys.
            let is_own = |found: &FoundSignature| !is_cached || found.1.key.is_some();
            found.extend(new.filter(is_own));
            is_cached = false;
            found = weightiest(found, image.tag);
            if counts && !all && !image.every_signer {
                let files = found.iter().map(|(file, _)| file.clone()).collect();
                let (files, outcome) = verify(look, image, files).await?;
                if outcome.result.is_ok() {
                    return Ok(FoundSignatures {
                        files,
                        outcome,
                        failed: None,
                        cut: None,
                    });
                }
            }
            more = Box::pin(search.next(look.deadline)).await;
        }
        let files = found.into_iter().map(|(file, _)| file).collect();
        let (files, mut outcome) = verify(look, image, files).await?;
        let (failed, cut) = (search.failed(), search.cut());
        match (&mut outcome.result, failed) {
            (Err(no), Some(error)) if !all => {
                let unseen = unseen_beside(error, cut, Some((&*no, files.len())));
                return Err(revoked_beside(unseen, no));
            }
            (Err(no), _) => no.found.push_str(&of_longer_lists(cut)),
            (Ok(_), _) => {}
        }
        let failed = failed.cloned();
        Ok(FoundSignatures {
            files,
            outcome,
            failed,
            cut,
        })
    }

    /// What the cached signatures of an image come to, where they are enough.
    pub(crate) async fn enough_cached(
        &self,
        look: RootLook<'_>,
        image: SignedImage<'_>,
    ) -> Option<Vec<SignatureFinding>> {
        let cached = self.cached_signatures(look, image).await.ok()?;
        let (_, outcome) = verify(look, image, cached).await.ok()?;
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
        let cached = self.cached_signatures(look, image).await.ok()?;
        let (_, outcome) = verify(look, image, cached).await.ok()?;
        outcome.result.err().filter(|no| no.code == Code::Revoked)
    }

    /// The signatures of an image that counted before. Of several roots' files, each may have as many
    /// as are looked at: those that count here come first.
    pub(crate) async fn cached_signatures(
        &self,
        look: RootLook<'_>,
        image: SignedImage<'_>,
    ) -> Result<Vec<SignatureFile>, Refusal> {
        let cached = self.cached_beside(look.root, image.repository, &file_name(image.digest));
        let mut files: Vec<_> = cached
            .iter()
            .filter_map(|bytes| read_cached(bytes))
            .collect();
        if files.len() <= 1 {
            return Ok(files.pop().unwrap_or_default());
        }
        let mut found: Vec<FoundSignature> = Vec::new();
        for files in files {
            let (files, outcome) = verify(look, image, files).await?;
            found.extend(files.into_iter().zip(outcome.findings));
            found = weightiest(found, image.tag);
        }
        Ok(found.into_iter().map(|(file, _)| file).collect())
    }

    /// The file of that name that the cache has for this root, or else for others, in the files of each:
    /// a root that has another ID now finds what it had. It is verified anew, whoever it was for.
    pub(super) fn cached_beside(
        &self,
        root: &Root,
        repository: &Repository,
        name: &str,
    ) -> Vec<Vec<u8>> {
        let own = origin(root, repository);
        if let Some(bytes) = self.cached(&own, name) {
            return vec![bytes];
        }
        let others = self
            .store
            .sources_of(&own.subject, SOURCE)
            .unwrap_or_default();
        let of = |source: String| MetadataOrigin {
            source,
            subject: own.subject.clone(),
        };
        let others = others.into_iter().map(of);
        others
            .filter_map(|other| self.cached(&other, name))
            .collect()
    }
}

/// Why it can't be judged where something was not read that may be a signature. `no`: what the others
/// come to, and how many they are.
fn unseen_beside(
    error: &SourceError,
    cut: Option<CutLists>,
    no: Option<(&Refusal, usize)>,
) -> Refusal {
    let mut refusal = error.refusal();
    // A registry that gave other signatures answers, and not in time for all of them.
    let is_slow =
        matches!(error, SourceError::Silent { .. }) && no.is_some_and(|(_, count)| count > 0);
    if let Some((no, _)) = no.filter(|_| is_slow || !error.is_silent()) {
        let others = format!(
            "; it may be a signature, and the others come to: {}{}",
            no.found,
            of_longer_lists(cut)
        );
        refusal.found.push_str(&others);
        refusal.hint = if is_slow {
            "have the registry's owner remove what is beside the image and is no signature of it, or give the question more time: a longer deadline in rootpin.toml".to_owned()
        } else {
            format!(
                "have the registry's owner mend or remove what it lists and can't give, or the image signed again; {}",
                refusal.hint
            )
        };
    }
    refusal
}

/// How much of long lists was looked at, as an end of what was found.
fn of_longer_lists(cut: Option<CutLists>) -> String {
    let said = |cut| format!("; of what its registry lists beside it {cut}");
    cut.map(said).unwrap_or_default()
}

/// Whether an answer is still one a moment later: the registry may answer by then what it did not.
pub(super) fn lasts(said: &Result<Arc<Evidence>, Refusal>) -> bool {
    let refusal = match said {
        Ok(evidence) => evidence.unseen.as_ref(),
        Err(refusal) => Some(refusal),
    };
    refusal.is_none_or(|refusal| refusal.code != Code::SourceUnreachable)
}

/// Keys of signatures that count, and the tags that they bind.
fn counting<'a>(
    findings: impl IntoIterator<Item = &'a SignatureFinding>,
) -> BTreeSet<(Option<KeyId>, Option<String>)> {
    let counting = findings.into_iter().filter(|one| one.rejected.is_none());
    counting.map(|one| (one.key, one.tag.clone())).collect()
}

/// The signatures that may decide, no more than are looked at: of each key and tag the one that ends
/// last, and then what else there is; of the tag that is asked for before those of others. So no
/// junk, no copies of a good one and no other tags hide another one.
fn weightiest(mut all: Vec<FoundSignature>, tag: Option<&Tag>) -> Vec<FoundSignature> {
    let is_other = |found: &SignatureFinding| found.tag.as_deref() != tag.map(Tag::as_str);
    all.sort_by_key(|(_, found)| {
        let counts_less = (found.key.is_none(), found.rejected.is_some());
        (counts_less, is_other(found), Reverse(found.expires))
    });
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
    let (tag, every_signer) = (image.tag.cloned(), image.every_signer);
    let work = move || {
        let image = SignedImage {
            repository: &repository,
            digest,
            tag: tag.as_ref(),
            every_signer,
        };
        let outcome = pins.verify(image, &files);
        (files, outcome)
    };
    let verified = tokio::task::spawn_blocking(work).await;
    verified.map_err(|error| lost(&error))
}

/// The pins of a root whose signatures are beside the image.
pub(super) enum Pins {
    Cosign(CosignPins, BTreeSet<KeyId>),
    Notation(NotationPins, BTreeSet<KeyId>, Timestamp),
}

impl Pins {
    pub(super) fn of(look: RootLook<'_>) -> Result<Self, Refusal> {
        let revoked = look.policy.revoked_keys().clone();
        match &look.root.kind {
            RootKind::Cosign(pins) => Ok(Self::Cosign(pins.clone(), revoked)),
            RootKind::Notation(pins) => Ok(Self::Notation(pins.clone(), revoked, look.now)),
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
            Self::Cosign(pins, revoked) => cosign::verify(image, pins, revoked, files),
            Self::Notation(pins, revoked, now) => {
                notation::verify(image, pins, revoked, *now, files)
            }
        }
    }
}

fn kind_of(root: &Root) -> SignatureKind {
    match root.kind {
        RootKind::Notation(_) => SignatureKind::Notation,
        RootKind::Cosign(_) | RootKind::Notary(_) | RootKind::Tuf(_) => SignatureKind::Cosign,
    }
}

fn evidence(
    look: RootLook<'_>,
    image: SignedImage<'_>,
    verified: rootpin_trust::Verified<rootpin_trust::Collection>,
    (files, unseen): (Option<NamedFiles>, Option<Refusal>),
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
        unsaved: Mutex::new(files),
    })
}

/// How the sources of signatures begin, before the root's ID.
const SOURCE: &str = "signatures for root ";

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

/// A question about tags, which only another kind of root lists.
pub(super) fn not_of_digests() -> Refusal {
    Refusal::new(
        Code::NoStatement,
        "a question without a digest",
        "the digest of an image, which signatures are for",
        "name the image by tag or digest; its signatures do not list what else is signed",
    )
}

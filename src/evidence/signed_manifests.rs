//! What signatures of the manifests that an index lists say of the index, where the policy takes
//! them in place of a signature of the index itself.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::drive::revoked_beside;
use super::signatures::{SignaturesAtHand, lasts, origin};
use super::statement::{UnsavedFiles, Unseen};
use super::{Evidence, Repositories, RootLook, share};
use crate::sources::Description;
use rootpin_trust::image::{Digest, Document, ImageRef};
use rootpin_trust::{Code, Refusal, SignedImage, by_manifests, with_manifests};

/// Images have few platforms. Each manifest costs a search of its own.
const MOST_MANIFESTS: usize = 32;

impl Repositories {
    /// What a root's signatures say of an index, or else of each manifest in it.
    pub(super) async fn of_signed_manifests(
        &self,
        look: RootLook<'_>,
        image: SignedImage<'_>,
    ) -> Result<Arc<Evidence>, Refusal> {
        let slot = self
            .signed_manifests
            .get(super::signatures::key(look, image));
        let mut slot = slot.lock().await;
        if let Some(known) = slot.as_ref().and_then(|known| known.answer(look)) {
            return known;
        }
        let name = file_name(image.digest);
        let cached = self.cached_beside(look.root, image.repository, &name);
        let index = cached.filter(|_| !look.again);
        let is_signed = index.is_some() && self.enough_cached(look, image).await.is_some();
        let said = match index.filter(|_| !is_signed) {
            // It may come from a bundle that whoever brings it made: it hides no signature of the
            // index itself.
            Some(index) => {
                let half = RootLook {
                    deadline: share(Instant::now(), look.deadline, 2),
                    ..look
                };
                match self.each(half, image, index, None).await {
                    Ok(evidence) => Ok(evidence),
                    Err(no) => {
                        let said = self.signed_or_each(look, image, name).await;
                        said.map_err(|refusal| revoked_beside(refusal, &no))
                    }
                }
            }
            None => self.signed_or_each(look, image, name).await,
        };
        if lasts(&said) && said.as_ref().err().is_none_or(|no| no.code.judged()) {
            *slot = Some(SignaturesAtHand::new(look, said.clone()));
        }
        said
    }

    async fn signed_or_each(
        &self,
        look: RootLook<'_>,
        image: SignedImage<'_>,
        name: String,
    ) -> Result<Arc<Evidence>, Refusal> {
        let half = RootLook {
            deadline: share(Instant::now(), look.deadline, 2),
            ..look
        };
        let refusal = match Box::pin(self.of_signatures(half, image, true)).await {
            Ok(evidence) => return self.with_each(look, image, name, evidence).await,
            Err(refusal) => refusal,
        };
        // What could not be read beside the index hides no signatures of its manifests.
        if refusal.code == Code::Revoked {
            return Err(refusal);
        }
        let index = match self.described(look, image).await {
            Ok(index) => index,
            Err(no) if refusal.code.judged() => return Err(no),
            Err(_) => return Err(refusal),
        };
        // A manifest has no others to be signed in its place.
        if index.manifests.is_empty() {
            return Err(refusal);
        }
        let each = self.each(look, image, index.bytes, Some(name)).await;
        each.map_err(|no| {
            if refusal.code.judged() {
                no
            } else {
                revoked_beside(refusal, &no)
            }
        })
    }

    /// A signed index with its manifests' signers, where all signers are wanted: one key of either is
    /// enough, if one is.
    async fn with_each(
        &self,
        look: RootLook<'_>,
        image: SignedImage<'_>,
        name: String,
        index: Arc<Evidence>,
    ) -> Result<Arc<Evidence>, Refusal> {
        let is_asked = look.again || !index.is_at_hand();
        if !image.every_signer || !is_asked || index.verified.get().signers_needed > 1 {
            return Ok(index);
        }
        let each = match self.described(look, image).await {
            Ok(described) if described.manifests.is_empty() => return Ok(index),
            Ok(described) => self.each(look, image, described.bytes, Some(name)).await,
            Err(refusal) => Err(refusal),
        };
        let (verified, files, unseen, is_partly_at_hand) = match each {
            Ok(each) if each.verified.get().signers_needed == 1 => (
                Arc::new(with_manifests(&index.verified, &each.verified)),
                [index.unsaved_files(), each.unsaved_files()].concat(),
                index.unseen.clone().or(each.unseen.clone()),
                index.is_at_hand() || each.is_at_hand(),
            ),
            // The index is signed, whoever signed what could not be read.
            Err(refusal) if !refusal.code.judged() => (
                Arc::clone(&index.verified),
                index.unsaved_files(),
                Unseen {
                    refusal: Some(refusal),
                    cut: index.unseen.cut.clone(),
                },
                true,
            ),
            _ => return Ok(index),
        };
        Ok(Arc::new(Evidence {
            valid_until: verified.get().expires,
            verified,
            progress: Vec::new(),
            origin: origin(look.root, image.repository),
            contact: look.now,
            asked: Mutex::new(look.now),
            unseen,
            is_partly_at_hand,
            unsaved: UnsavedFiles::new(Some(files).filter(|files| !files.is_empty())),
        }))
    }

    /// `name`: the file as which the index is to be cached, if it is not yet.
    async fn each(
        &self,
        look: RootLook<'_>,
        image: SignedImage<'_>,
        index: Vec<u8>,
        name: Option<String>,
    ) -> Result<Arc<Evidence>, Refusal> {
        // Of an index that is cached, the index's own signers were not looked at.
        let is_of_part = image.every_signer && name.is_none();
        let Ok(Document::Index { manifests, .. }) = Document::parse(&index) else {
            return Err(super::signature_pins::not_of_digests());
        };
        if manifests.len() > MOST_MANIFESTS {
            return Err(Refusal::new(
                Code::OverLimit,
                format!("{} lists {} manifests", image.digest, manifests.len()),
                format!("at most {MOST_MANIFESTS} where each must be signed"),
                "have its publisher sign the index itself",
            ));
        }
        let (mut signed, mut files) = (Vec::new(), Vec::new());
        for (at, entry) in manifests.iter().enumerate() {
            let look = RootLook {
                deadline: share(Instant::now(), look.deadline, manifests.len() - at),
                ..look
            };
            let manifest = SignedImage {
                digest: entry.descriptor.digest,
                ..image
            };
            let evidence = match Box::pin(self.of_signatures(look, manifest, true)).await {
                Ok(evidence) => evidence,
                Err(mut refusal) => {
                    refusal.found = format!("of the index {}: {}", image.digest, refusal.found);
                    let rest = manifests.iter().skip(at + 1);
                    let rest = rest.map(|entry| entry.descriptor.digest);
                    return Err(self.or_later_revoked(look, image, refusal, rest).await);
                }
            };
            files.extend(evidence.unsaved_files());
            signed.push(evidence);
        }
        let all: Vec<_> = signed.iter().map(|one| Arc::clone(&one.verified)).collect();
        let verified = by_manifests(image, &index, &all)?;
        files.extend(name.map(|name| (name, index)));
        Ok(Arc::new(Evidence {
            valid_until: verified.get().expires,
            verified: Arc::new(verified),
            progress: Vec::new(),
            origin: origin(look.root, image.repository),
            contact: look.now,
            asked: Mutex::new(look.now),
            unseen: signed
                .iter()
                .fold(Unseen::default(), |all, one| all.or(one.unseen.clone())),
            is_partly_at_hand: is_of_part || signed.iter().any(|one| one.is_at_hand()),
            unsaved: UnsavedFiles::new(Some(files).filter(|files| !files.is_empty())),
        }))
    }

    /// Why a manifest of an index is not known to be signed; or that one after it rests on a revoked
    /// key, as far as that is at hand.
    async fn or_later_revoked(
        &self,
        look: RootLook<'_>,
        image: SignedImage<'_>,
        refusal: Refusal,
        rest: impl Iterator<Item = Digest>,
    ) -> Refusal {
        for digest in rest {
            let manifest = SignedImage { digest, ..image };
            if let Some(revoked) = self.revoked_at_hand(look, manifest).await {
                return revoked_beside(refusal, &revoked);
            }
        }
        refusal
    }

    /// The refusal of an image without a signature, where the rule takes no others: an index may have
    /// them.
    pub(super) async fn or_by_manifests(
        &self,
        look: RootLook<'_>,
        image: SignedImage<'_>,
        mut refusal: Refusal,
    ) -> Refusal {
        let half = RootLook {
            deadline: share(Instant::now(), look.deadline, 2),
            ..look
        };
        // What its registry does not describe may be one.
        let described = self.described(half, image).await;
        if described.map_or(true, |known| !known.manifests.is_empty()) {
            let hint = "; if it is an index whose manifests are all signed, index = \"by-manifests\" in the rule takes it";
            refusal.hint.push_str(hint);
        }
        refusal
    }

    async fn described(
        &self,
        look: RootLook<'_>,
        image: SignedImage<'_>,
    ) -> Result<Description, Refusal> {
        let index = ImageRef {
            repository: look.beside.unwrap_or(image.repository).clone(),
            tag: None,
            digest: Some(image.digest),
        };
        self.sources.describe(&index, look.deadline).await
    }

    /// The manifests that an index lists, as far as they are looked at; of a manifest, none.
    ///
    /// # Errors
    /// Its registry does not have it, or does not answer.
    pub(crate) async fn manifests_of(
        &self,
        look: RootLook<'_>,
        image: SignedImage<'_>,
    ) -> Result<Vec<Digest>, Refusal> {
        match self.cached_manifests(look, image) {
            Some(manifests) => Ok(manifests),
            None => Ok(listed(&self.described(look, image).await?.bytes)),
        }
    }

    /// The same of an index that is cached.
    pub(crate) fn cached_manifests(
        &self,
        look: RootLook<'_>,
        image: SignedImage<'_>,
    ) -> Option<Vec<Digest>> {
        let name = file_name(image.digest);
        let index = self.cached_beside(look.root, image.repository, &name)?;
        Some(listed(&index))
    }
}

fn listed(index: &[u8]) -> Vec<Digest> {
    let Ok(Document::Index { manifests, .. }) = Document::parse(index) else {
        return Vec::new();
    };
    let digests = manifests.iter().map(|entry| entry.descriptor.digest);
    digests.take(MOST_MANIFESTS).collect()
}

fn file_name(index: Digest) -> String {
    format!("index-{}.json", index.hex())
}

//! What the pins of a root make of signatures beside an image.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::RootLook;
use super::keep::lost;
use crate::sources::SignatureKind;
use rootpin_policy::{Root, RootKind};
use rootpin_trust::cosign::{self, CosignPins};
use rootpin_trust::notation::{self, NotationPins};
use rootpin_trust::{
    Code, KeyId, Refusal, SignatureFile, SignatureFinding, SignatureOutcome, SignedImage,
};

/// What a root makes of signatures, without holding up the answers to others. `others`: what was found
/// of those by no pinned key.
pub(super) async fn verify(
    look: RootLook<'_>,
    image: SignedImage<'_>,
    files: Vec<SignatureFile>,
    others: Vec<SignatureFinding>,
) -> Result<(Vec<SignatureFile>, SignatureOutcome), Refusal> {
    let pins = Pins::of(look)?;
    if files.is_empty() {
        let outcome = pins.verify(image, &files, others);
        return Ok((files, outcome));
    }
    let (repository, digest) = (image.repository.clone(), image.digest);
    let (tag, every_signer) = (image.tag.cloned(), image.every_signer);
    let work = move || {
        let image = SignedImage {
            repository: &repository,
            digest,
            tag: tag.as_ref(),
            every_signer,
        };
        let outcome = pins.verify(image, &files, others);
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
        others: Vec<SignatureFinding>,
    ) -> SignatureOutcome {
        match self {
            Self::Cosign(pins, revoked) => cosign::verify(image, pins, revoked, files, others),
            Self::Notation(pins, revoked, now) => {
                notation::verify(image, pins, (revoked, *now), files, others)
            }
        }
    }
}

pub(super) fn kind_of(root: &Root) -> SignatureKind {
    match root.kind {
        RootKind::Notation(_) => SignatureKind::Notation,
        RootKind::Cosign(_) | RootKind::Notary(_) | RootKind::Tuf(_) => SignatureKind::Cosign,
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

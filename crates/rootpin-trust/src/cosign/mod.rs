//! Signatures of images by cosign, under pinned keys: Sigstore bundles (v0.3) and simple signing,
//! the older form that podman and skopeo write too.
//!
//! Such a signature says that a key signed a digest. It binds no repository and no tag unless the
//! policy demands one of the signed texts in it ([`TagBinding`]), and it never ages. Logs,
//! certificates and timestamps beside it are not looked at: the key is pinned.

mod bundle;
mod simple;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::budget::Budget;
use crate::image::Tag;
use crate::image_signature::{MOST_SIGNATURES, SIGNATURE_BYTES, Wanted, judged};
use crate::key::SignedMessage;
use crate::refusal::shown;
use crate::{Fingerprint, KeyId, PublicKey};
use crate::{SignatureFile, SignatureFinding, SignatureOutcome, SignedImage};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD, URL_SAFE};

pub use bundle::MEDIA_TYPE as BUNDLE;
pub use bundle::SIGNATURE as PREDICATE;
pub use simple::MEDIA_TYPE as SIMPLE_SIGNING;

/// The pins for the verification of an image's signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CosignPins {
    /// The pinned keys.
    pub keys: Vec<PublicKey>,
    /// How many distinct ones must have signed.
    pub threshold: u64,
    /// The only format that counts; `None`: each in which images are signed.
    pub format: Option<CosignFormat>,
    /// The signed text that binds a tag; `None`: signatures bind no tag.
    pub binds_tag: Option<TagBinding>,
}

/// A format of signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CosignFormat {
    /// What cosign 3 writes: `application/vnd.dev.sigstore.bundle.v0.3+json`.
    Bundle,
    /// What cosign 2, podman and skopeo write: `application/vnd.dev.cosign.simplesigning.v1+json`.
    SimpleSigning,
    /// A bundle over bytes alone, as `cosign sign-blob` makes of an image's manifest. It says that
    /// its key signed a file, so it counts only where the policy names this format.
    MessageSignature,
}

/// The signed text of a signature that gives a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagBinding {
    /// The annotation of this name, as `cosign sign -a tag=v1` signs it.
    Annotation(String),
    /// The `docker-reference` of simple signing, in which podman and skopeo sign the whole name.
    Reference,
}

/// A signature that was read, and not verified yet.
struct Envelope<'a> {
    message: SignedMessage<'a>,
    signature: Vec<u8>,
    /// The key that it says it is by: base64 of the SHA-256 of its subject public key info.
    hint: Option<String>,
}

/// The signed texts of a signature for the image: name and value.
type SignedTexts = BTreeMap<String, String>;

/// What a signature says of the image, once its key is known.
#[derive(Default)]
struct Statement {
    annotations: SignedTexts,
    reference: Option<String>,
}

impl TagBinding {
    /// How a signature is made that gives the tag in the text.
    fn hint(&self, image: SignedImage<'_>) -> String {
        let tag = image.tag.map_or("TAG", Tag::as_str);
        let (repository, digest) = (image.repository, image.digest);
        match self {
            Self::Annotation(name) => format!(
                "have its publisher sign this tag too: cosign sign -a {name}={tag} … {repository}@{digest}"
            ),
            Self::Reference => format!(
                "have its publisher sign the whole name: cosign sign --sign-container-identity {repository}:{tag} … {repository}@{digest} (cosign 3 also with --new-bundle-format=false --use-signing-config=false: its bundles sign no name), or podman push --sign-by-sigstore-private-key; of a copy, signed-as in the policy's [[rule]] says which name it was signed under"
            ),
        }
    }
}

impl CosignFormat {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::Bundle, Self::SimpleSigning, Self::MessageSignature];

    /// The name that policies and reports use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bundle => "sigstore-bundle",
            Self::SimpleSigning => "simple-signing",
            Self::MessageSignature => "message-signature",
        }
    }
}

/// Whether a layer of that media type may be a signature of cosign.
#[must_use]
pub fn is_signature(media_type: &str) -> bool {
    is_bundle(media_type) || media_type == simple::MEDIA_TYPE
}

fn is_bundle(media_type: &str) -> bool {
    media_type.starts_with(bundle::MEDIA_TYPE_PREFIX)
}

/// Whether enough pinned keys signed an image. The signatures are looked at in their order, and no
/// more than [`MOST_SIGNATURES`] of them. `revoked`: names of the keys whose signatures count
/// for nothing. `others` were looked at before: a finding by no pinned key needs no bytes any more,
/// counts for nothing, and a refusal says why.
#[must_use]
pub fn verify(
    image: SignedImage<'_>,
    pins: &CosignPins,
    revoked: &BTreeSet<KeyId>,
    files: &[SignatureFile],
    others: Vec<SignatureFinding>,
) -> SignatureOutcome {
    // Each has a budget of its own, so that no other one takes what it needs.
    let look_at = |file| look_at(image, (pins, revoked), file, &mut Budget::new());
    let findings = files.iter().take(MOST_SIGNATURES).map(look_at).collect();
    let wanted = Wanted {
        role: "cosign",
        keys: pins.keys.iter().map(PublicKey::id).collect(),
        threshold: pins.threshold,
        binds_tag: pins.binds_tag.is_some(),
        command: "cosign sign",
    };
    judged(image, &wanted, findings, others)
}

/// One signature: its format, the pinned key that made it, what it says, in this order.
fn look_at(
    image: SignedImage<'_>,
    pins: (&CosignPins, &BTreeSet<KeyId>),
    file: &SignatureFile,
    budget: &mut Budget,
) -> SignatureFinding {
    if !is_signature(&file.media_type) {
        let kind = shown(&file.media_type);
        return SignatureFinding::rejected("", format!("{kind} is no format of cosign's"));
    }
    let format = if is_bundle(&file.media_type) {
        CosignFormat::Bundle
    } else {
        CosignFormat::SimpleSigning
    };
    let mut found = SignatureFinding::rejected(format.as_str(), "");
    let checked = check(image, pins, file, budget, &mut found);
    found.rejected = checked.err();
    found
}

fn check(
    image: SignedImage<'_>,
    (pins, revoked): (&CosignPins, &BTreeSet<KeyId>),
    file: &SignatureFile,
    budget: &mut Budget,
    found: &mut SignatureFinding,
) -> Result<(), String> {
    if file.bytes.len() > SIGNATURE_BYTES {
        return Err(format!("it has more than {SIGNATURE_BYTES} bytes"));
    }
    let signer;
    let statement = if is_bundle(&file.media_type) {
        let read = bundle::read(&file.bytes)?;
        found.format = read.format().as_str();
        found.predicate = read.predicate();
        is_taken(read.format(), pins, found)?;
        let (payload, envelope) = read.envelope(image.digest)?;
        found.claimed_key = envelope.hint.as_deref().and_then(claimed);
        signer = by(&envelope, pins, budget)?;
        found.key = Some(signer.id());
        if let Some(payload) = payload {
            bundle::statement(payload, image.digest, &mut found.is_of_image)?
        } else {
            // The signature is over the image's own digest, and says nothing more.
            found.is_of_image = true;
            Statement::default()
        }
    } else {
        is_taken(CosignFormat::SimpleSigning, pins, found)?;
        let envelope = simple::envelope(file)?;
        signer = by(&envelope, pins, budget)?;
        found.key = Some(signer.id());
        simple::statement(&file.bytes, image.digest, &mut found.is_of_image)?
    };
    // Only now: a signature of something else says nothing of this image, whoever made it.
    if signer.is_revoked(revoked) {
        found.revoked = true;
        return Err("its key is revoked by the policy".to_owned());
    }
    found.tag = tag(image, pins, &statement).inspect_err(|_| {
        found.lacks = pins.binds_tag.as_ref().map(|binding| binding.hint(image));
    })?;
    Ok(())
}

/// Whether the policy takes a format; of another one it is looked at no further.
fn is_taken(
    format: CosignFormat,
    pins: &CosignPins,
    found: &mut SignatureFinding,
) -> Result<(), String> {
    let (wanted, why) = match pins.format {
        None if format != CosignFormat::MessageSignature => return Ok(()),
        None => (
            "an image (cosign sign …)",
            "it is the signature of a file, as cosign sign-blob makes it: it counts for an image where the root has format = \"message-signature\"".to_owned(),
        ),
        Some(only) if only == format => return Ok(()),
        Some(only) => (only.as_str(), format!("the policy takes {} only", only.as_str())),
    };
    // Anybody may have put it there: the hint asks nobody to have the policy take more.
    found.lacks = Some(format!("have its publisher sign it as {wanted}"));
    Err(why)
}

/// The pinned key that made a signature. The hint says which one is tried first, and no more.
fn by<'p>(
    envelope: &Envelope<'_>,
    pins: &'p CosignPins,
    budget: &mut Budget,
) -> Result<&'p PublicKey, String> {
    let hinted = |key: &&PublicKey| envelope.hint.is_some() && hint_of(key) == envelope.hint;
    let (first, others): (Vec<_>, Vec<_>) = pins.keys.iter().partition(hinted);
    for key in first.iter().copied().chain(others) {
        budget.take_signature().map_err(|refusal| refusal.found)?;
        if key.verify_cosign(envelope.message, &envelope.signature) {
            return Ok(key);
        }
    }
    if first.iter().any(|key| key.is_ed25519()) {
        return Err(PREHASHED.to_owned());
    }
    let hint = envelope.hint.as_deref().map(shown);
    let mut ed25519 = "";
    // One of another kind has another length.
    let may_be_ed25519 = envelope.hint.is_none() && envelope.signature.len() == 64;
    if may_be_ed25519 && pins.keys.iter().any(PublicKey::is_ed25519) {
        ed25519 = "; cosign 3 signs by Ed25519 keys in a form that does not count";
    }
    let hint = hint.map_or_else(String::new, |hint| format!(" (it names the key {hint})"));
    Err(format!("it is by none of the pinned keys{hint}{ed25519}"))
}

/// Why a signature that names a pinned Ed25519 key, and is not by it as cosign 2 signs, counts for
/// nothing. cosign 3 signs by Ed25519ph (RFC 8032, section 5.1), and no `cosign verify` takes that.
const PREHASHED: &str = "it names a pinned Ed25519 key and does not verify: cosign 3 signs by Ed25519ph, which cosign verify refuses too; sign by cosign 2, or by an ECDSA key";

/// A key's hint in a bundle: base64 of the SHA-256 of its subject public key info.
fn hint_of(key: &PublicKey) -> Option<String> {
    Some(STANDARD.encode(Fingerprint::of(key)?.as_bytes()))
}

/// A hint as people compare fingerprints, if it is one.
fn claimed(hint: &str) -> Option<String> {
    let hash = STANDARD.decode(hint).ok()?;
    let shown = format!("SHA256:{}", hint.trim_end_matches('='));
    (hash.len() == 32).then_some(shown)
}

/// The tag that a signature binds, where the policy says which signed text gives it.
fn tag(
    image: SignedImage<'_>,
    pins: &CosignPins,
    statement: &Statement,
) -> Result<Option<String>, String> {
    match &pins.binds_tag {
        None => Ok(None),
        Some(TagBinding::Annotation(name)) => {
            let tag = statement.annotations.get(name).cloned();
            tag.map(Some)
                .ok_or_else(|| format!("it signs no annotation {name:?}, which is to give the tag"))
        }
        Some(TagBinding::Reference) => {
            let no = "it signs no docker-reference with repository and tag";
            let reference = statement.reference.as_deref().ok_or(no)?;
            let name: crate::image::ImageRef = reference.parse().map_err(|_| no)?;
            if name.repository != *image.repository {
                return Err(format!("it is for {}", shown(reference)));
            }
            let tag = name
                .tag
                .filter(|tag| reference.ends_with(&format!(":{tag}")));
            Ok(Some(tag.ok_or(no)?.to_string()))
        }
    }
}

/// A base64 text of an annotation, as Go's decoder takes it, by which cosign reads it: `base64` breaks
/// lines, and bits after the last byte don't count.
fn decoded_as_go(text: Option<&str>, what: &str) -> Result<Vec<u8>, String> {
    let text = text.ok_or_else(|| format!("it has no {what}"))?;
    let text = text.replace(['\r', '\n'], "");
    let lax = GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
    let decoded = GeneralPurpose::new(&alphabet::STANDARD, lax).decode(text);
    decoded.map_err(|_| format!("its {what} is no base64"))
}

/// A base64 text, in the standard alphabet or that of URLs, as protobuf's JSON takes either.
fn decoded(text: Option<&str>, what: &str) -> Result<Vec<u8>, String> {
    let text = text.ok_or_else(|| format!("it has no {what}"))?;
    let decoded = STANDARD.decode(text).or_else(|_| URL_SAFE.decode(text));
    decoded.map_err(|_| format!("its {what} is no base64"))
}

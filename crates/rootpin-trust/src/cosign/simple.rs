//! Simple signing (cosign, `specs/SIGNATURE_SPEC.md`; containers/image,
//! `docs/containers-signature.5.md`): a JSON payload, and its signature in an annotation.

use super::bundle::texts;
use super::{Envelope, Statement, decoded_as_go};
use crate::SignatureFile;
use crate::canonical::Text;
use crate::image::Digest;
use crate::image_signature::{OTHER_NAMES, has_other_names, json};
use crate::key::SignedMessage;
use crate::refusal::shown;

/// The media type of a payload.
pub const MEDIA_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const KIND: &str = "cosign container image signature";

/// The signature over a payload.
pub(super) fn envelope(file: &SignatureFile) -> Result<Envelope<'_>, String> {
    Ok(Envelope {
        message: SignedMessage::of(&file.bytes),
        signature: decoded_as_go(file.signature.as_deref(), "annotation with the signature")?,
        hint: None,
    })
}

/// What a payload signs of the image. `is_of_image` becomes whether it names the image at all.
pub(super) fn statement(
    payload: &[u8],
    image: Digest,
    is_of_image: &mut bool,
) -> Result<Statement, String> {
    let text = json(payload, "its payload")?;
    let payload = Text::of(&text);
    let critical = payload.get("critical").ok_or("it has no critical part")?;
    let digest = critical
        .get("image")
        .and_then(|image| image.get("docker-manifest-digest"));
    *is_of_image = digest.is_some_and(|digest| digest.is(&image.to_string()));
    let parts = [critical.get("image"), critical.get("identity")];
    let mut parts = parts.into_iter().flatten();
    if has_other_names(payload, &["critical", "optional"])
        || has_other_names(critical, &["identity", "image", "type"])
        || parts.any(|part| has_other_names(part, &["docker-reference", "docker-manifest-digest"]))
    {
        return Err(OTHER_NAMES.to_owned());
    }
    let kind = critical.get_str("type");
    if kind.as_deref() != Some(KIND) {
        let kind = kind.map_or("none".to_owned(), |kind| shown(&kind));
        return Err(format!("it is no signature: its type is {kind}"));
    }
    if !*is_of_image {
        return Err("it is for another digest".to_owned());
    }
    let reference = critical
        .get("identity")
        .and_then(|identity| identity.get("docker-reference")?.as_str());
    Ok(Statement {
        annotations: payload.get("optional").map(texts).unwrap_or_default(),
        reference: reference.map(std::borrow::Cow::into_owned),
    })
}

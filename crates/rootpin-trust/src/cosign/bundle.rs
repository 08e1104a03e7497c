//! Sigstore bundle v0.3 (cosign, `specs/BUNDLE_SPEC.md`; sigstore, `protobuf-specs`): a DSSE envelope
//! around an in-toto statement, or a signature over the image's own bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{CosignFormat, Envelope, SignedTexts, Statement, decoded};
use crate::canonical::Text;
use crate::image::Digest;
use crate::image_signature::json;
use crate::key::SignedMessage;
use crate::refusal::shown;

/// The media type of a bundle.
pub const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
/// The same version, as its first tools named it.
const OLD_MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle+json;version=0.3";
pub(super) const MEDIA_TYPE_PREFIX: &str = "application/vnd.dev.sigstore.bundle";

const IN_TOTO: &str = "application/vnd.in-toto+json";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
/// Off-spec: `cosign verify` takes any statement of the key about the digest. A signed report about
/// an image is not a signature of it (CVE-2022-35930), so only cosign's own predicate counts.
pub const SIGNATURE: &str = "https://sigstore.dev/cosign/sign/v1";

/// The members of a bundle that count.
pub(super) struct Bundle {
    hint: Option<String>,
    content: Content,
}

enum Content {
    /// The payload, the bytes that are signed, and the signature.
    Dsse(Vec<u8>, Vec<u8>, Vec<u8>),
    /// The digest of what was signed, and the signature.
    Message(Vec<u8>, Vec<u8>),
}

/// Reads a bundle.
pub(super) fn read(bytes: &[u8]) -> Result<Bundle, String> {
    let text = json(bytes, "it")?;
    let bundle = Text::of(&text);
    let kind = bundle.get_str("mediaType");
    if !matches!(kind.as_deref(), Some(MEDIA_TYPE | OLD_MEDIA_TYPE)) {
        let kind = kind.map_or("none".to_owned(), |kind| shown(&kind));
        return Err(format!("its own mediaType is {kind}, not {MEDIA_TYPE}"));
    }
    let hint = bundle
        .get("verificationMaterial")
        .and_then(|material| material.get("publicKey")?.get_str("hint"));
    let content = match (bundle.get("dsseEnvelope"), bundle.get("messageSignature")) {
        (Some(envelope), None) => dsse(envelope)?,
        (None, Some(message)) => message_signature(message)?,
        _ => return Err("it has not exactly one content".to_owned()),
    };
    Ok(Bundle {
        hint: hint.map(std::borrow::Cow::into_owned),
        content,
    })
}

fn dsse(envelope: Text<'_>) -> Result<Content, String> {
    let text = |name| envelope.get_str(name);
    let kind = text("payloadType");
    if kind.as_deref() != Some(IN_TOTO) {
        let kind = kind.map_or("none".to_owned(), |kind| shown(&kind));
        return Err(format!("its payload's type is {kind}, not {IN_TOTO}"));
    }
    let payload = decoded(text("payload").as_deref(), "payload")?;
    let mut signatures = envelope
        .get("signatures")
        .and_then(Text::elements)
        .into_iter()
        .flatten();
    let (Some(signature), None) = (signatures.next(), signatures.next()) else {
        return Err("its envelope has not exactly one signature".to_owned());
    };
    let signature = signature.get_str("sig");
    let signature = decoded(signature.as_deref(), "signature")?;
    let message = pre_authentication(IN_TOTO, &payload);
    Ok(Content::Dsse(payload, message, signature))
}

/// DSSE's pre-authentication encoding (DSSE v1, `protocol.md`).
fn pre_authentication(kind: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

fn message_signature(message: Text<'_>) -> Result<Content, String> {
    let digest = message.get("messageDigest");
    let text = |name| digest.and_then(|digest| digest.get(name)?.as_str());
    if text("algorithm").as_deref() != Some("SHA2_256") {
        return Err("its message's digest is no SHA2_256".to_owned());
    }
    let hash = decoded(text("digest").as_deref(), "message's digest")?;
    let signature = message.get_str("signature");
    let signature = decoded(signature.as_deref(), "signature")?;
    Ok(Content::Message(hash, signature))
}

impl Bundle {
    pub(super) fn format(&self) -> CosignFormat {
        match self.content {
            Content::Dsse(..) => CosignFormat::Bundle,
            Content::Message(..) => CosignFormat::MessageSignature,
        }
    }

    /// The type of its statement, as people are shown it, where that is no signature's. Nothing is
    /// verified.
    pub(super) fn predicate(&self) -> Option<String> {
        let Content::Dsse(payload, ..) = &self.content else {
            return None;
        };
        let text = json(payload, "its payload").ok()?;
        let kind = Text::of(&text).get_str("predicateType")?;
        let plain = || {
            kind.chars()
                .take(120)
                .flat_map(char::escape_debug)
                .collect()
        };
        (kind != SIGNATURE).then(plain)
    }

    /// The statement's bytes, if there is one, and what its signature is over.
    pub(super) fn envelope(&self, image: Digest) -> Result<(Option<&[u8]>, Envelope<'_>), String> {
        let (payload, message, signature) = match &self.content {
            Content::Dsse(payload, message, signature) => (
                Some(payload.as_slice()),
                SignedMessage::of(message),
                signature,
            ),
            Content::Message(hash, signature) => {
                if hash.as_slice() != image.as_bytes() {
                    let other = STANDARD.encode(hash);
                    return Err(format!("it is for other bytes: {}", shown(&other)));
                }
                let message = SignedMessage {
                    bytes: None,
                    sha256: Some(image),
                };
                (None, message, signature)
            }
        };
        let envelope = Envelope {
            message,
            signature: signature.clone(),
            hint: self.hint.clone(),
        };
        Ok((payload, envelope))
    }
}

/// What an in-toto statement signs of the image. `is_of_image` becomes whether it names the image at all.
pub(super) fn statement(
    payload: &[u8],
    image: Digest,
    is_of_image: &mut bool,
) -> Result<Statement, String> {
    let text = json(payload, "its payload")?;
    let statement = Text::of(&text);
    let subjects = statement.get("subject").and_then(Text::elements);
    let is_image = |subject: &Text<'_>| {
        let digest = subject.get("digest").and_then(|all| all.get("sha256"));
        digest.is_some_and(|digest| digest.is(&image.hex()))
    };
    let own: Vec<_> = subjects.into_iter().flatten().filter(is_image).collect();
    *is_of_image = !own.is_empty();
    let wanted = |name: &str, wanted: &str| {
        let found = statement.get_str(name);
        let shown = found.as_deref().map_or("none".to_owned(), shown);
        let is = found.as_deref() == Some(wanted);
        is.then_some(())
            .ok_or_else(|| format!("it is no signature: its {name} is {shown}, not {wanted}"))
    };
    wanted("predicateType", SIGNATURE)?;
    wanted("_type", STATEMENT)?;
    let [subject] = own.as_slice() else {
        let why = match own.len() {
            0 => "it is for another digest",
            _ => "it names the digest twice",
        };
        return Err(why.to_owned());
    };
    let annotations = subject.get("annotations").map(texts).unwrap_or_default();
    Ok(Statement {
        annotations,
        reference: None,
    })
}

/// The members of an object that are text.
pub(super) fn texts(object: Text<'_>) -> SignedTexts {
    let members = object.members().into_iter().flatten();
    let text = |(name, value): (std::borrow::Cow<'_, str>, Text<'_>)| {
        Some((name.into_owned(), value.as_str()?.into_owned()))
    };
    members.filter_map(text).collect()
}

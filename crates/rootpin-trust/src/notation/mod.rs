//! Signatures of images by Notation (Notary Project, `specifications` v1), under pinned
//! certificates: JWS and COSE envelopes.
//!
//! Such a signature says that a signer's certificate signed a digest, and may end at a date. It
//! binds no repository, and a tag only by an annotation that the policy names. Off-spec: nobody is
//! asked whether a certificate is revoked (the policy's `[[revoked]]` says so), and no time stamp
//! makes an expired certificate count.

mod cbor;
mod chain;
mod cose;
mod jws;
#[cfg(test)]
mod tests;
mod twin;

use std::collections::BTreeSet;

use jiff::Timestamp;
use x509_cert::der::asn1::ObjectIdentifier;

use crate::canonical::Text;
use crate::image::{Digest, Tag};
use crate::image_signature::{
    MOST_SIGNATURES, OTHER_NAMES, SIGNATURE_BYTES, Wanted, has_other_names, json, judged,
};
use crate::key::Scheme;
use crate::refusal::shown;
use crate::{KeyId, SignatureFile, SignatureFinding, SignatureOutcome, SignedImage};

pub use chain::PinnedCertificate;
pub use cose::MEDIA_TYPE as COSE;
pub use jws::MEDIA_TYPE as JWS;

/// The pins for the verification of an image's signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotationPins {
    /// The pinned certificates, of authorities or signers.
    pub certificates: Vec<PinnedCertificate>,
    /// What the signer's subject must have: all of one of these; none: any subject will do.
    pub subjects: Vec<Vec<SubjectAttribute>>,
    /// Whether the dates of a pinned signer's certificate do not count.
    pub ignore_validity: bool,
    /// The signed annotation that binds a tag; `None`: signatures bind no tag.
    pub binds_tag: Option<String>,
}

/// What signatures are held to.
#[derive(Clone, Copy)]
struct Terms<'a> {
    pins: &'a NotationPins,
    revoked: &'a BTreeSet<KeyId>,
    now: Timestamp,
}

/// An attribute of a certificate's subject: `CN=…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectAttribute {
    oid: ObjectIdentifier,
    value: String,
}

/// A signature that was read, and not verified yet.
struct Envelope {
    /// The bytes that were signed.
    message: Vec<u8>,
    payload: Vec<u8>,
    signature: Vec<u8>,
    /// DER of the certificates, the signer's first.
    chain: Vec<Vec<u8>>,
    attributes: Attributes,
}

/// The signed attributes.
struct Attributes {
    scheme: Scheme,
    content: String,
    signing_scheme: String,
    /// When its signer says that it was made.
    signed_at: Option<Timestamp>,
    expiry: Option<Timestamp>,
    /// The critical ones, and those of [`UNDONE`] that are there.
    critical: Vec<String>,
}

const PAYLOAD: &str = "application/vnd.cncf.notary.payload.v1+json";
const SCHEME: &str = "notary.x509";
const OTHER_SUBJECT: &str = "have it signed by a signer whose certificate has one of the root's subjects, or add this signer's subject to `subjects` of the policy's [[root]]";
/// Names of signed attributes, in both envelopes.
const SIGNING_SCHEME: &str = "io.cncf.notary.signingScheme";
const EXPIRY: &str = "io.cncf.notary.expiry";
const SIGNED_AT: &str = "io.cncf.notary.signingTime";
/// Attributes that ask for what is not done here: a plugin is to verify, or another scheme's time counts.
/// So they are critical, whether or not they are listed as that.
const UNDONE: [&str; 3] = [
    "io.cncf.notary.verificationPlugin",
    "io.cncf.notary.verificationPluginMinVersion",
    "io.cncf.notary.authenticSigningTime",
];

impl SubjectAttribute {
    /// Reads a subject as policies write it: `C=US, ST=WA, O=acme, CN=builder`, in any order and
    /// without any that may vary. A value is escaped as RFC 4514 has it: `O=Acme\\, Inc.`
    #[must_use]
    pub fn parse_all(text: &str) -> Option<Vec<Self>> {
        let mut parts = vec![String::new()];
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            match character {
                ',' => parts.push(String::new()),
                other => {
                    let part = parts.last_mut()?;
                    part.push(other);
                    part.extend((other == '\\').then(|| characters.next()).flatten());
                }
            }
        }
        parts
            .iter()
            .map(|part| Self::parse(part.trim_start()))
            .collect()
    }

    fn parse(text: &str) -> Option<Self> {
        let (name, value) = text.split_once('=')?;
        let oid = match name.trim().to_ascii_uppercase().as_str() {
            "CN" => "2.5.4.3",
            "SERIALNUMBER" => "2.5.4.5",
            "C" => "2.5.4.6",
            "L" => "2.5.4.7",
            "ST" | "S" => "2.5.4.8",
            "STREET" => "2.5.4.9",
            "O" => "2.5.4.10",
            "OU" => "2.5.4.11",
            "POSTALCODE" => "2.5.4.17",
            _ => return None,
        };
        let value = unescaped(value.trim_start())?;
        let oid = ObjectIdentifier::new(oid).ok()?;
        (!value.is_empty()).then_some(Self { oid, value })
    }
}

/// The value that an escaped one means (RFC 4514, section 2.4), without the space around it.
fn unescaped(text: &str) -> Option<String> {
    if text.starts_with('#') {
        return None;
    }
    let (mut value, mut end) = (Vec::new(), 0);
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => {
                let escaped = characters.next()?;
                match escaped.to_digit(16) {
                    Some(high) => {
                        let low = characters.next()?.to_digit(16)?;
                        value.push(u8::try_from(high * 16 + low).ok()?);
                    }
                    None if " \"#+,;<=>\\".contains(escaped) => {
                        value.extend(escaped.to_string().bytes());
                    }
                    None => return None,
                }
                end = value.len();
            }
            '"' | '+' | ';' | '<' | '>' | '\0' => return None,
            other => {
                value.extend(other.to_string().bytes());
                if other != ' ' {
                    end = value.len();
                }
            }
        }
    }
    value.truncate(end);
    String::from_utf8(value).ok()
}

/// Whether a layer of that media type may be a signature of Notation.
#[must_use]
pub fn is_signature(media_type: &str) -> bool {
    matches!(media_type, JWS | COSE)
}

/// Whether a signer under a pinned certificate signed an image. The signatures are looked at in
/// their order, and no more than [`MOST_SIGNATURES`] of them. `revoked`: names of the keys
/// whose signatures count for nothing. Certificates and signatures must be valid at `now`.
/// `others` were looked at before: a finding by no pinned key needs no bytes any more, counts for
/// nothing, and a refusal says why.
#[must_use]
pub fn verify(
    image: SignedImage<'_>,
    pins: &NotationPins,
    (revoked, now): (&BTreeSet<KeyId>, Timestamp),
    files: &[SignatureFile],
    others: Vec<SignatureFinding>,
) -> SignatureOutcome {
    let terms = Terms { pins, revoked, now };
    let look_at = |file| look_at(image, terms, file);
    let findings = files.iter().take(MOST_SIGNATURES).map(look_at).collect();
    let wanted = Wanted {
        role: "notation",
        keys: pins.certificates.iter().map(|pin| pin.key).collect(),
        threshold: 1,
        binds_tag: pins.binds_tag.is_some(),
        command: "notation sign",
    };
    judged(image, &wanted, findings, others)
}

fn look_at(image: SignedImage<'_>, terms: Terms<'_>, file: &SignatureFile) -> SignatureFinding {
    let format = match file.media_type.as_str() {
        JWS => "notation-jws",
        COSE => "notation-cose",
        kind => {
            let why = format!("{} is no format of Notation's", shown(kind));
            return SignatureFinding::rejected("", why);
        }
    };
    let mut found = SignatureFinding::rejected(format, "");
    found.rejected = check(image, terms, file, &mut found).err();
    found
}

/// The specification's order: what is signed, by whom, and what it says.
fn check(
    image: SignedImage<'_>,
    terms: Terms<'_>,
    file: &SignatureFile,
    found: &mut SignatureFinding,
) -> Result<(), String> {
    if file.bytes.len() > SIGNATURE_BYTES {
        return Err(format!("it has more than {SIGNATURE_BYTES} bytes"));
    }
    let envelope = match file.media_type.as_str() {
        JWS => jws::read(&file.bytes)?,
        _ => cose::read(&file.bytes)?,
    };
    found.claimed_key = envelope.chain.first().and_then(|leaf| chain::claimed(leaf));
    let signer = chain::signer(&envelope.chain, terms)?;
    let attributes = &envelope.attributes;
    if signer.key.notation_scheme() != Some(attributes.scheme) {
        return Err("its algorithm is not the one of its leaf's key".to_owned());
    }
    let (message, signature) = (&envelope.message, &envelope.signature);
    if !signer.key.verify_notation(message, signature) {
        return Err("it is not by the key of its own certificate".to_owned());
    }
    signer.subject.inspect_err(|_| {
        found.lacks = Some(OTHER_SUBJECT.to_owned());
    })?;
    found.key = Some(signer.revoked.unwrap_or(signer.key.id()));
    if attributes.content != PAYLOAD {
        return Err(format!("its payload is {}", shown(&attributes.content)));
    }
    let text = json(&envelope.payload, "its payload")?;
    let target = target(Text::of(&text), image.digest)?;
    found.is_of_image = true;
    // A good signature of this image under a revoked key: the refusal says so, and no audit lets it
    // through. One of something else says nothing of this image.
    if let Some(key) = signer.revoked {
        found.revoked = true;
        return Err(format!(
            "the policy revokes the key {key} of its certificates"
        ));
    }
    found.expires = signer.expires.map_err(|(why, is_over)| {
        found.is_over = is_over;
        why
    })?;
    check_attributes(attributes, terms.now, found)?;
    found.tag = tag(target, terms.pins).inspect_err(|_| {
        let name = terms.pins.binds_tag.as_deref().unwrap_or_default();
        let tag = image.tag.map_or("TAG", Tag::as_str);
        let (repository, digest) = (image.repository, image.digest);
        found.lacks = Some(format!(
            "have its publisher sign this tag too: notation sign --user-metadata {name}={tag} … {repository}@{digest}"
        ));
    })?;
    Ok(())
}

fn check_attributes(
    attributes: &Attributes,
    now: Timestamp,
    found: &mut SignatureFinding,
) -> Result<(), String> {
    let is_critical = |name: &str| attributes.critical.iter().any(|critical| critical == name);
    let is_known = |name: &&String| [SIGNING_SCHEME, EXPIRY].contains(&name.as_str());
    if let Some(unknown) = attributes.critical.iter().find(|name| !is_known(name)) {
        return Err(format!(
            "its critical attribute {} is not known here",
            shown(unknown)
        ));
    }
    // Off-spec: no signing authority is trusted, so its scheme is not taken.
    if attributes.signing_scheme != SCHEME || !is_critical(SIGNING_SCHEME) {
        let scheme = shown(&attributes.signing_scheme);
        return Err(format!(
            "its scheme is {scheme}, not {SCHEME} as a critical attribute"
        ));
    }
    // Nothing rests on it, and the specification wants it.
    let Some(signed_at) = attributes.signed_at else {
        return Err("it does not say when it was signed".to_owned());
    };
    if let Some(expiry) = attributes.expiry {
        if expiry <= signed_at {
            return Err(format!("it expires at {expiry}, before it was signed"));
        }
        if !is_critical(EXPIRY) {
            return Err("its expiry is not critical".to_owned());
        }
        if now >= expiry {
            found.is_over = true;
            return Err(format!("it expired at {expiry}"));
        }
        found.expires = found.expires.min(expiry);
    }
    Ok(())
}

/// The description of the image that a payload signs. Off-spec: size and media type must be there
/// and are not compared, for the digest is that of all bytes.
fn target(payload: Text<'_>, image: Digest) -> Result<Text<'_>, String> {
    let target = payload.get("targetArtifact").ok_or("it has no target")?;
    let fields = ["digest", "size", "mediaType", "annotations", "artifactType"];
    if has_other_names(payload, &["targetArtifact"]) || has_other_names(target, &fields) {
        return Err(OTHER_NAMES.to_owned());
    }
    if target.get_str("mediaType").is_none() || target.get_u64("size").is_none() {
        return Err("its target has no media type, or no size".to_owned());
    }
    if !target
        .get("digest")
        .is_some_and(|digest| digest.is(&image.to_string()))
    {
        return Err("it is for another digest".to_owned());
    }
    Ok(target)
}

/// The tag that the image's description binds, where an annotation is to give it.
fn tag(target: Text<'_>, pins: &NotationPins) -> Result<Option<String>, String> {
    let Some(name) = &pins.binds_tag else {
        return Ok(None);
    };
    let tag = target
        .get("annotations")
        .and_then(|all| all.get(name)?.as_str());
    tag.map(|tag| Some(tag.into_owned()))
        .ok_or_else(|| format!("it signs no annotation {name:?}, which is to give the tag"))
}

//! Certificates of signers (Notary Project, `signature-specification.md`, "Certificate
//! Requirements"): from the leaf to the root that signs itself, one of them pinned, each with the
//! usages that it must have.
//!
//! The list of certificates in an envelope is not signed. So it counts only if it is whole: whoever
//! may push could otherwise cut off the part of it that is revoked or over.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rustls_pki_types::SignatureVerificationAlgorithm;
use webpki::aws_lc_rs as algorithms;
use x509_cert::Certificate as X509;
use x509_cert::der::asn1::{AnyRef, BitStringRef, ObjectIdentifier};
use x509_cert::der::{Decode, Encode, Reader, SliceReader, Tag, Tagged};
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages};
use x509_cert::spki::SubjectPublicKeyInfoRef;

use super::twin::twins;
use super::{NotationPins, SubjectAttribute, Terms};
use crate::certificate::Certificate;
use crate::key::{KeyError, PublicKey};
use crate::refusal::shown;
use crate::{Fingerprint, KeyId, pem};

/// Certificates in one signature. The tools write three.
const MOST_CERTIFICATES: usize = 8;

const ANY_PURPOSE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");
const CODE_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3");

/// Purposes that a leaf must not have: any, server and client authentication, e-mail, time stamps.
/// Off-spec: `notation` refuses the last one as well, answers about revocation.
const EXCLUDED: [ObjectIdentifier; 6] = [
    ANY_PURPOSE,
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1"),
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2"),
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.4"),
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.8"),
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.9"),
];

/// Signatures of certificates: SHA-2 with the keys that are taken.
const ALGORITHMS: [&dyn SignatureVerificationAlgorithm; 15] = [
    algorithms::ECDSA_P256_SHA256,
    algorithms::ECDSA_P256_SHA384,
    algorithms::ECDSA_P256_SHA512,
    algorithms::ECDSA_P384_SHA256,
    algorithms::ECDSA_P384_SHA384,
    algorithms::ECDSA_P384_SHA512,
    algorithms::ECDSA_P521_SHA256,
    algorithms::ECDSA_P521_SHA384,
    algorithms::ECDSA_P521_SHA512,
    algorithms::RSA_PKCS1_2048_8192_SHA256,
    algorithms::RSA_PKCS1_2048_8192_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA512,
    algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
];

/// A pinned certificate: of a signer, or of an authority that issues signers'.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinnedCertificate {
    der: Vec<u8>,
    /// What is in it.
    pub certificate: Certificate,
    /// The canonical ID of its key.
    pub key: KeyId,
}

/// The signer of a signature, once its certificates verified.
pub(super) struct Signer {
    pub(super) key: PublicKey,
    /// Whether it is one that the policy lists, or who else it is.
    pub(super) subject: Result<(), String>,
    /// When the first of its certificates ends, or which one is not valid, and whether it is over.
    pub(super) expires: Result<Timestamp, (String, bool)>,
    /// The key of its certificates that the policy revokes, if it revokes one.
    pub(super) revoked: Option<KeyId>,
}

impl PinnedCertificate {
    /// Reads a PEM file of one certificate.
    ///
    /// # Errors
    /// It has none, or several, or one that no signature can verify under.
    pub fn read(file: &[u8]) -> Result<Self, KeyError> {
        let blocks = pem::file(file)?;
        let [block] = blocks.as_slice() else {
            let count = blocks.len();
            return Err(KeyError(format!(
                "{count} blocks: wanted one certificate alone"
            )));
        };
        if !matches!(block.label.as_str(), "CERTIFICATE" | pem::DER) {
            return Err(KeyError(format!(
                "a block {:?}: wanted CERTIFICATE",
                block.label
            )));
        }
        let der = block.bytes.to_vec();
        let (certificate, x509) = Certificate::read(&der).map_err(KeyError)?;
        let usages = if certificate.authority {
            check_authority(&x509, 0)
        } else {
            check_leaf(&x509)
        };
        usages.map_err(KeyError)?;
        let key = PublicKey::from_spki(&certificate.key, None);
        let key = key.ok_or_else(|| KeyError(PublicKey::why_not(&certificate.key).to_owned()))?;
        let may_sign = if certificate.authority {
            !key.is_ed25519()
        } else {
            key.notation_scheme().is_some()
        };
        if !may_sign {
            return Err(KeyError(
                "its key makes no signature that counts for Notation: wanted ECDSA P-256, P-384 or P-521, or RSA of 2048, 3072 or 4096 bits (an authority's may have any from 2048 to 8192)"
                    .to_owned(),
            ));
        }
        Ok(Self {
            key: key.id(),
            der,
            certificate,
        })
    }

    /// Whether it is an authority's whose purposes leave out code signing, as those of an authority
    /// for TLS do. Its signers count all the same: the specification wants no purpose of
    /// authorities.
    #[must_use]
    pub fn excludes_code_signing(&self) -> bool {
        let purposes = Certificate::read(&self.der).ok().and_then(|(_, x509)| {
            x509.tbs_certificate()
                .get_extension::<ExtendedKeyUsage>()
                .ok()?
        });
        let signs_code = |purposes: &[ObjectIdentifier]| {
            let mut purposes = purposes.iter();
            purposes.any(|purpose| [ANY_PURPOSE, CODE_SIGNING].contains(purpose))
        };
        self.certificate.authority
            && purposes.is_some_and(|(_, ExtendedKeyUsage(purposes))| !signs_code(&purposes))
    }

    /// Whether this authority issued the other certificate: its signers are this one's too.
    #[must_use]
    pub fn issued(&self, other: &Self) -> bool {
        match (Link::read(&self.der), Link::read(&other.der)) {
            (Ok(authority), Ok(below)) => {
                self.certificate.authority
                    && below.names_as_issuer(&authority)
                    && below.is_signed_by(&authority)
            }
            _ => false,
        }
    }
}

/// The name in a certificate, and the fingerprint of its key.
pub(super) fn claimed(leaf: &[u8]) -> Option<String> {
    let certificate = Certificate::from_der(leaf).ok()?;
    let name = certificate
        .common_name
        .as_deref()
        .map_or("-".to_owned(), shown);
    let key = Fingerprint::of_spki(&certificate.key);
    Some(format!("{key} (certificate {name})"))
}

/// One certificate of an envelope.
struct Link<'a> {
    der: &'a [u8],
    x509: X509,
    certificate: Certificate,
    key: PublicKey,
}

/// The signer whose certificates these are, the leaf first and the root last.
pub(super) fn signer(chain: &[Vec<u8>], terms: Terms<'_>) -> Result<Signer, String> {
    let pins = terms.pins;
    if chain.len() > MOST_CERTIFICATES {
        return Err(format!("it has more than {MOST_CERTIFICATES} certificates"));
    }
    let links = chain.iter().map(|der| Link::read(der));
    let links: Vec<Link<'_>> = links.collect::<Result<_, _>>()?;
    let Some(leaf) = links.first() else {
        return Err("it has no certificates".to_owned());
    };
    // Before any signature is verified, so that certificates of strangers cost nothing.
    check_pinned(&links, pins)?;
    check_leaf(&leaf.x509)?;
    check_order(&links)?;
    for (below, authority) in links.iter().skip(1).enumerate() {
        check_authority(&authority.x509, below)?;
    }
    let is_leaf = |pin: &PinnedCertificate| pin.der == leaf.der;
    let ignores_validity = pins.ignore_validity && pins.certificates.iter().any(is_leaf);
    let mut dated = links.iter().filter(|_| !ignores_validity);
    let expires = dated.try_fold(Timestamp::MAX, |earliest, link| {
        Ok(earliest.min(link.valid_until(terms.now)?))
    });
    let revoked = links.iter().find(|link| link.is_revoked(terms.revoked));
    let revoked = revoked.map(|link| link.key.id());
    let key = leaf.key.clone();
    Ok(Signer {
        key,
        subject: check_subject(&leaf.x509, &pins.subjects),
        expires,
        revoked,
    })
}

impl<'a> Link<'a> {
    fn read(der: &'a [u8]) -> Result<Self, String> {
        let (certificate, x509) = Certificate::read(der)?;
        let key = PublicKey::from_spki(&certificate.key, Some(certificate.clone()));
        let key = key.ok_or_else(|| {
            let name = certificate.common_name.as_deref();
            let name = name.map_or_else(String::new, |name| format!(" of {}", shown(name)));
            format!("the key of its certificate{name} is of a kind that does not count")
        })?;
        Ok(Self {
            der,
            x509,
            certificate,
            key,
        })
    }

    fn shown(&self) -> String {
        let subject = self.x509.tbs_certificate().subject().to_string();
        shown(&subject)
    }

    /// Whether the policy revokes its key, or this certificate with whichever of its signatures.
    fn is_revoked(&self, revoked: &BTreeSet<KeyId>) -> bool {
        let twins = || parts(self.der).map(twins).unwrap_or_default();
        self.key.is_revoked(revoked)
            || !revoked.is_empty() && twins().iter().any(|name| revoked.contains(name))
    }

    fn names_as_issuer(&self, issuer: &Self) -> bool {
        self.x509.tbs_certificate().issuer() == issuer.x509.tbs_certificate().subject()
    }

    /// Whether the other one's key made the signature of this certificate (RFC 5280, section 4.1.1).
    fn is_signed_by(&self, issuer: &Self) -> bool {
        // The outer algorithm is not signed, so it must be the inner one.
        let is_consistent =
            self.x509.signature_algorithm() == self.x509.tbs_certificate().signature();
        let verify = || {
            let (body, method, signature) = parts(self.der)?;
            let key = &issuer.certificate.key;
            let key = SubjectPublicKeyInfoRef::from_der(key).ok()?;
            let kind = key.algorithm.to_der().ok()?;
            let mut fitting = ALGORITHMS.iter().filter(|algorithm| {
                contents(method) == Some(algorithm.signature_alg_id().as_ref())
                    && contents(&kind) == Some(algorithm.public_key_alg_id().as_ref())
            });
            let point = key.subject_public_key.as_bytes()?;
            let is_good =
                fitting.any(|algorithm| algorithm.verify_signature(point, body, signature).is_ok());
            Some(is_good)
        };
        is_consistent && verify() == Some(true)
    }

    fn valid_until(&self, now: Timestamp) -> Result<Timestamp, (String, bool)> {
        let (from, until) = (self.certificate.not_before, self.certificate.not_after);
        let is_over = now >= until;
        if from > now || is_over {
            let name = self.shown();
            let why = format!("its certificate of {name} is valid from {from} to {until} only");
            return Err((why, is_over));
        }
        Ok(until)
    }
}

/// What is signed of a certificate, the method, and the signature, as they stand there.
fn parts(der: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let mut reader = SliceReader::new(der).ok()?;
    let parts = reader.sequence(|inner| {
        let (body, method) = (inner.tlv_bytes()?, inner.tlv_bytes()?);
        let signature = BitStringRef::decode(inner)?;
        Ok::<_, x509_cert::der::Error>((body, method, signature))
    });
    let (body, method, signature) = parts.ok()?;
    Some((body, method, signature.as_bytes()?))
}

/// The contents of a sequence, without tag and length.
fn contents(der: &[u8]) -> Option<&[u8]> {
    Some(AnyRef::from_der(der).ok()?.value())
}

/// Whether one of the certificates is pinned, the very same one.
fn check_pinned(links: &[Link<'_>], pins: &NotationPins) -> Result<(), String> {
    let mut all = links.iter();
    if all.any(|link| pins.certificates.iter().any(|pin| pin.der == link.der)) {
        return Ok(());
    }
    let is_renewed = |link: &&Link<'_>| {
        let mut pinned = pins.certificates.iter();
        pinned.any(|pin| pin.key == link.key.id())
    };
    match links.iter().find(is_renewed) {
        Some(link) => Err(format!(
            "its certificate of {} has a pinned key and is another certificate than the pinned one",
            link.shown()
        )),
        None => Err("its certificates lead to none that is pinned".to_owned()),
    }
}

/// Each certificate is issued by the next one, and the last one by itself. So there is one path, and
/// not as many as a hostile list has.
fn check_order(links: &[Link<'_>]) -> Result<(), String> {
    for (link, issuer) in links.iter().zip(links.iter().skip(1)) {
        if !link.names_as_issuer(issuer) {
            return Err("its certificates are not in order, each issued by the next".to_owned());
        }
        if link.names_as_issuer(link) && link.is_signed_by(link) {
            let name = link.shown();
            return Err(format!(
                "its certificate of {name} signs itself, and is not the last"
            ));
        }
        if !link.is_signed_by(issuer) {
            let (name, issuer) = (link.shown(), issuer.shown());
            return Err(format!(
                "its certificate of {name} is not signed by the next one's key, of {issuer}, in a way that counts"
            ));
        }
    }
    match links.last() {
        Some(root) if root.names_as_issuer(root) && root.is_signed_by(root) => Ok(()),
        _ => Err(
            "its certificates do not end with a root, which signs itself: a signature must have all of them"
                .to_owned(),
        ),
    }
}

/// A leaf signs code, and nothing else.
fn check_leaf(leaf: &X509) -> Result<(), String> {
    let body = leaf.tbs_certificate();
    let wrong = |what: &str| Err(format!("its leaf certificate {what}"));
    let Ok(Some((true, usage))) = body.get_extension::<KeyUsage>() else {
        return wrong("has no critical key usage");
    };
    let others = usage.0 - KeyUsages::DigitalSignature - KeyUsages::NonRepudiation;
    if !usage.digital_signature() || !others.is_empty() {
        return wrong("has another key usage than digital signatures");
    }
    match body.get_extension::<BasicConstraints>() {
        Ok(Some((_, constraints))) if constraints.ca => return wrong("is an authority's"),
        Err(_) => return wrong("has basic constraints that are not understood"),
        Ok(_) => {}
    }
    match body.get_extension::<ExtendedKeyUsage>() {
        Ok(None) => Ok(()),
        Ok(Some((_, ExtendedKeyUsage(purposes)))) => {
            let excluded = purposes.iter().find(|purpose| EXCLUDED.contains(purpose));
            excluded.map_or(Ok(()), |purpose| {
                wrong(&format!(
                    "is for another purpose than code signing: {purpose}"
                ))
            })
        }
        Err(_) => wrong("has purposes that are not understood"),
    }
}

/// An authority issues certificates. `below`: the authorities between it and the leaf.
fn check_authority(authority: &X509, below: usize) -> Result<(), String> {
    let body = authority.tbs_certificate();
    let wrong = |what: &str| {
        let subject = shown(&body.subject().to_string());
        Err(format!("the authority's certificate of {subject} {what}"))
    };
    let longest = match body.get_extension::<BasicConstraints>() {
        Ok(Some((true, constraints))) if constraints.ca => constraints.path_len_constraint,
        _ => return wrong("has no critical basic constraints of an authority"),
    };
    if longest.is_some_and(|longest| below > usize::from(longest)) {
        let what = format!("allows no path of {below} authorities below it");
        return wrong(&what);
    }
    match body.get_extension::<KeyUsage>() {
        Ok(Some((true, usage))) if usage.key_cert_sign() => Ok(()),
        _ => wrong("has no critical key usage for certificates"),
    }
}

/// Whether the leaf's subject has each attribute of one of the subjects, if the policy lists any.
/// Of several attributes of one kind, nobody could say which one the authority vouches for.
fn check_subject(leaf: &X509, subjects: &[Vec<SubjectAttribute>]) -> Result<(), String> {
    if subjects.is_empty() {
        return Ok(());
    }
    let subject = leaf.tbs_certificate().subject();
    let attributes: Vec<_> = subject.iter().collect();
    let mut kinds: Vec<_> = attributes.iter().map(|attribute| attribute.oid).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let is_plain = subject.iter_rdn().all(|names| names.len() == 1);
    if kinds.len() != attributes.len() || !is_plain {
        return Err(format!(
            "its signer is {}: a subject that the policy compares has each attribute once",
            shown(&subject.to_string())
        ));
    }
    let has = |wanted: &SubjectAttribute| {
        let mut known = attributes.iter();
        known.any(|attribute| {
            let is_text = matches!(
                attribute.value.tag(),
                Tag::Utf8String | Tag::PrintableString | Tag::Ia5String
            );
            let is_same = attribute.value.value() == wanted.value.as_bytes();
            is_text && attribute.oid == wanted.oid && is_same
        })
    };
    if subjects.iter().any(|subject| subject.iter().all(has)) {
        return Ok(());
    }
    Err(format!("its signer is {}", shown(&subject.to_string())))
}

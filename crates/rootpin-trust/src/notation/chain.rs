//! Certificates of signers (Notary Project, `signature-specification.md`, "Certificate
//! Requirements"): from the leaf to a pinned certificate, each with the usages that it must have.

use std::time::Duration;

use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use webpki::aws_lc_rs as algorithms;
use webpki::{EndEntityCert, KeyUsage as Purpose, anchor_from_trusted_cert};
use x509_cert::Certificate as X509;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Tag, Tagged};
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages};

use super::{NotationPins, SubjectAttribute};
use crate::certificate::Certificate;
use crate::key::{KeyError, PublicKey};
use crate::refusal::shown;
use crate::{Fingerprint, KeyId, pem};

/// Certificates in one signature. The tools write three.
const MOST_CERTIFICATES: usize = 8;

const CODE_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3");
/// The same, as webpki takes it.
const CODE_SIGNING_BYTES: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 3];
/// Purposes that a leaf must not have: any, server authentication, e-mail, time stamps.
const EXCLUDED: [ObjectIdentifier; 4] = [
    ObjectIdentifier::new_unwrap("2.5.29.37.0"),
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1"),
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.4"),
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.8"),
];

/// Signatures of certificates: SHA-2 with the keys that the specification takes.
const ALGORITHMS: [&dyn SignatureVerificationAlgorithm; 10] = [
    algorithms::ECDSA_P256_SHA256,
    algorithms::ECDSA_P256_SHA384,
    algorithms::ECDSA_P384_SHA256,
    algorithms::ECDSA_P384_SHA384,
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
    /// When the first of its certificates ends.
    pub(super) expires: Timestamp,
    /// The key of its certificates that the policy revokes, if it revokes one.
    pub(super) revoked: Option<KeyId>,
}

impl PinnedCertificate {
    /// Reads a PEM file of one certificate.
    ///
    /// # Errors
    /// It has none, or several, or one that no signature can verify under.
    pub fn read(file: &[u8]) -> Result<Self, KeyError> {
        let blocks = pem::file(file).map_err(KeyError)?;
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
        let certificate = Certificate::from_der(&der).map_err(KeyError)?;
        let x509 = x509(&der).map_err(KeyError)?;
        let usages = if certificate.authority {
            check_authority(&x509)
        } else {
            check_leaf(&x509)
        };
        usages.map_err(KeyError)?;
        let key = PublicKey::from_spki(&certificate.key, None);
        let key = key.ok_or_else(|| KeyError(PublicKey::why_not(&certificate.key).to_owned()))?;
        Ok(Self {
            key: key.id(),
            der,
            certificate,
        })
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

/// The signer whose certificates these are, the leaf first.
pub(super) fn signer(chain: &[Vec<u8>], pins: &NotationPins) -> Result<Signer, String> {
    let [leaf, issuers @ ..] = chain else {
        return Err("it has no certificates".to_owned());
    };
    if chain.len() > MOST_CERTIFICATES {
        return Err(format!("it has more than {MOST_CERTIFICATES} certificates"));
    }
    let (certificate, x509) = (Certificate::from_der(leaf)?, x509(leaf)?);
    let key = PublicKey::from_spki(&certificate.key, None)
        .ok_or("its leaf's key is of a kind that does not count")?;
    check_leaf(&x509)?;
    check_subject(&x509, &pins.subjects)?;
    let mut path = vec![key.id()];
    if let Some(pin) = pins.certificates.iter().find(|pin| pin.der == *leaf) {
        let expires = if pins.ignore_validity {
            Timestamp::MAX
        } else {
            valid_until(&pin.certificate, pins.now)?
        };
        let revoked = first_revoked(&path, pins);
        return Ok(Signer {
            key,
            expires,
            revoked,
        });
    }
    in_order(chain)?;
    let mut expires = valid_until(&certificate, pins.now)?;
    for issuer in issuers {
        let certificate = Certificate::from_der(issuer)?;
        check_authority(&self::x509(issuer)?)?;
        expires = expires.min(valid_until(&certificate, pins.now)?);
        path.extend(PublicKey::from_spki(&certificate.key, None).map(|key| key.id()));
    }
    let pinned = pins
        .certificates
        .iter()
        .find(|pin| leads_to(leaf, issuers, pin, pins.now));
    let pin = pinned.ok_or("its certificates lead to none that is pinned")?;
    path.push(pin.key);
    expires = expires.min(valid_until(&pin.certificate, pins.now)?);
    let revoked = first_revoked(&path, pins);
    Ok(Signer {
        key,
        expires,
        revoked,
    })
}

/// Each certificate is issued by the next one, as the specification orders them, and no two have
/// one subject: so there is one path to try, and not as many as a hostile chain has.
fn in_order(chain: &[Vec<u8>]) -> Result<(), String> {
    let all = chain.iter().map(|der| x509(der));
    let all: Vec<X509> = all.collect::<Result<_, _>>()?;
    let mut subjects = Vec::new();
    let mut wanted = None;
    for certificate in &all {
        let body = certificate.tbs_certificate();
        if wanted.is_some_and(|wanted| wanted != body.subject()) {
            return Err("its certificates are not in order, each issued by the next".to_owned());
        }
        if subjects.contains(&body.subject()) {
            return Err("two of its certificates have one subject".to_owned());
        }
        subjects.push(body.subject());
        wanted = Some(body.issuer());
    }
    Ok(())
}

/// Whether a path of certificates leads from a leaf to a pinned authority.
fn leads_to(leaf: &[u8], issuers: &[Vec<u8>], pin: &PinnedCertificate, now: Timestamp) -> bool {
    let path = || {
        let der = CertificateDer::from_slice(&pin.der);
        let anchors = [anchor_from_trusted_cert(&der).ok()?];
        let leaf = CertificateDer::from_slice(leaf);
        let issuers = issuers.iter().map(|der| CertificateDer::from_slice(der));
        let issuers: Vec<_> = issuers.collect();
        let seconds = u64::try_from(now.as_second()).ok()?;
        let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let purpose = Purpose::required_if_present(CODE_SIGNING_BYTES);
        let leaf = EndEntityCert::try_from(&leaf).ok()?;
        let path =
            leaf.verify_for_usage(&ALGORITHMS, &anchors, &issuers, time, purpose, None, None);
        path.is_ok().then_some(())
    };
    pin.certificate.authority && path().is_some()
}

fn x509(der: &[u8]) -> Result<X509, String> {
    X509::from_der(der).map_err(|error| format!("not a certificate: {error}"))
}

fn valid_until(certificate: &Certificate, now: Timestamp) -> Result<Timestamp, String> {
    if certificate.not_before > now || now >= certificate.not_after {
        let (from, until) = (certificate.not_before, certificate.not_after);
        return Err(format!(
            "a certificate of it is valid from {from} to {until} only"
        ));
    }
    Ok(certificate.not_after)
}

fn first_revoked(path: &[KeyId], pins: &NotationPins) -> Option<KeyId> {
    path.iter().find(|key| pins.revoked.contains(key)).copied()
}

/// A leaf signs code, and nothing else.
fn check_leaf(leaf: &X509) -> Result<(), String> {
    let body = leaf.tbs_certificate();
    let wrong = |what: &str| Err(format!("its leaf certificate {what}"));
    let Ok(Some((true, usage))) = body.get_extension::<KeyUsage>() else {
        return wrong("has no critical key usage");
    };
    if usage != KeyUsage(KeyUsages::DigitalSignature.into()) {
        return wrong("has another key usage than digital signatures alone");
    }
    match body.get_extension::<BasicConstraints>() {
        Ok(Some((_, constraints))) if constraints.ca => return wrong("is an authority's"),
        Err(_) => return wrong("has basic constraints that are not understood"),
        Ok(_) => {}
    }
    match body.get_extension::<ExtendedKeyUsage>() {
        Ok(None) => Ok(()),
        Ok(Some((_, ExtendedKeyUsage(purposes))))
            if purposes.contains(&CODE_SIGNING)
                && !purposes.iter().any(|purpose| EXCLUDED.contains(purpose)) =>
        {
            Ok(())
        }
        _ => wrong("is for another purpose than code signing"),
    }
}

/// An authority issues certificates.
fn check_authority(authority: &X509) -> Result<(), String> {
    let body = authority.tbs_certificate();
    let wrong = |what: &str| Err(format!("an authority's certificate of it {what}"));
    match body.get_extension::<BasicConstraints>() {
        Ok(Some((true, constraints))) if constraints.ca => {}
        _ => return wrong("has no critical basic constraints of an authority"),
    }
    match body.get_extension::<KeyUsage>() {
        Ok(Some((true, usage))) if usage.key_cert_sign() => Ok(()),
        _ => wrong("has no critical key usage for certificates"),
    }
}

/// Whether the leaf's subject has each attribute of one of the subjects, if the policy lists any.
fn check_subject(leaf: &X509, subjects: &[Vec<SubjectAttribute>]) -> Result<(), String> {
    let attributes = leaf
        .tbs_certificate()
        .subject()
        .iter()
        .filter_map(|attribute| {
            let is_text = matches!(
                attribute.value.tag(),
                Tag::Utf8String | Tag::PrintableString | Tag::Ia5String
            );
            let value = String::from_utf8(attribute.value.value().to_vec()).ok()?;
            is_text.then_some((attribute.oid, value))
        });
    let attributes: Vec<_> = attributes.collect();
    let has = |wanted: &SubjectAttribute| {
        let mut known = attributes.iter();
        known.any(|(oid, value)| *oid == wanted.oid && *value == wanted.value)
    };
    if subjects.is_empty() || subjects.iter().any(|subject| subject.iter().all(has)) {
        return Ok(());
    }
    let subject = leaf.tbs_certificate().subject().to_string();
    Err(format!("its signer is {}", shown(&subject)))
}

//! X.509 certificates: the key, the common name and the validity count.
//!
//! Nobody signs these certificates but their own key, so no chain is built; the key is what a
//! policy pins.

use jiff::Timestamp;
use x509_cert::Certificate as X509;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode, Encode, Tag, Tagged};
use x509_cert::ext::pkix::BasicConstraints;
use x509_cert::time::Time;

use crate::image::Digest;

/// `id-at-commonName` (RFC 5280, appendix A.1).
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// Signature algorithms over MD5 or SHA-1, which Notary's client refuses too (RFC 8017 appendix C,
/// RFC 3279 section 2.2).
const WEAK: [ObjectIdentifier; 4] = [
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.4"),
    ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.5"),
    ObjectIdentifier::new_unwrap("1.2.840.10040.4.3"),
    ObjectIdentifier::new_unwrap("1.2.840.10045.4.1"),
];

/// One certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// DER of its subject public key info.
    pub key: Vec<u8>,
    /// SHA-256 of its DER: what `openssl x509 -fingerprint -sha256` prints.
    pub sha256: Digest,
    /// The subject's only common name; none where there are several, or one that is not plain text.
    pub common_name: Option<String>,
    /// Start of its validity.
    pub not_before: Timestamp,
    /// End of its validity.
    pub not_after: Timestamp,
    /// Whether it may sign other certificates.
    pub authority: bool,
    /// Whether it was signed with MD5 or SHA-1.
    pub weak: bool,
}

impl Certificate {
    /// Reads one certificate.
    pub(super) fn from_der(der: &[u8]) -> Result<Self, String> {
        Self::read(der).map(|(certificate, _)| certificate)
    }

    /// The same, with all else that is in it.
    pub(super) fn read(der: &[u8]) -> Result<(Self, X509), String> {
        let unread = |error: &dyn std::fmt::Display| format!("not a certificate: {error}");
        let certificate = X509::from_der(der).map_err(|error| unread(&error))?;
        let body = certificate.tbs_certificate();
        let key = body
            .subject_public_key_info()
            .to_der()
            .map_err(|error| unread(&error))?;
        let constraints = body
            .get_extension::<BasicConstraints>()
            .map_err(|error| unread(&error))?;
        // What never ends has the last second of the year 9999 (RFC 5280, section 4.1.2.5), and a
        // timestamp here can't be that late.
        let time = |time: &Time| {
            let seconds = i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
            Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
        };
        let read = Self {
            key,
            sha256: Digest::of(der),
            common_name: common_name(&certificate),
            not_before: time(&body.validity().not_before),
            not_after: time(&body.validity().not_after),
            authority: constraints.is_some_and(|(_, constraints)| constraints.ca),
            weak: WEAK.contains(&certificate.signature_algorithm().oid),
        };
        Ok((read, certificate))
    }
}

fn common_name(certificate: &X509) -> Option<String> {
    let mut names = certificate
        .tbs_certificate()
        .subject()
        .iter()
        .filter(|attribute| attribute.oid == COMMON_NAME);
    let (Some(name), None) = (names.next(), names.next()) else {
        return None;
    };
    // Read by hand: common tools put `*` into a PrintableString, which the strict type has no place
    // for.
    if !matches!(name.value.tag(), Tag::Utf8String | Tag::PrintableString) {
        return None;
    }
    String::from_utf8(name.value.value().to_vec()).ok()
}

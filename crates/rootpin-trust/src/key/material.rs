//! The material of a public key, read from DER, PEM or hex, in one encoding only.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ECDSA_P521_SHA512_ASN1,
    EcdsaVerificationAlgorithm, ParsedPublicKey, RSA_PSS_2048_8192_SHA256,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x509_cert::der::asn1::{AnyRef, BitStringRef, ObjectIdentifier, UintRef};
use x509_cert::der::{Decode, Encode, Reader, SliceReader};
use x509_cert::spki::SubjectPublicKeyInfoRef;

use super::KeyId;
use crate::{hex, pem, weak_point};

/// The checked material of a key.
#[derive(Debug, Clone)]
pub(super) enum Material {
    /// An uncompressed point.
    P256(Vec<u8>),
    /// Likewise.
    P384(Vec<u8>),
    /// Likewise; for signatures of images alone, as no metadata is signed by such a key.
    P521(Vec<u8>),
    /// DER of an `RSAPublicKey`.
    Rsa(Vec<u8>),
    Ed25519([u8; 32]),
    /// One of a kind or scheme that is not known here, by its name in its metadata. It verifies
    /// nothing.
    Unknown(String),
}

pub(super) const EC_PUBLIC_KEY: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ID_ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

impl Material {
    /// Reads DER of a subject public key info. Only the one encoding that Go's marshaller writes is
    /// taken, so that one key can't stand under two IDs.
    pub(super) fn from_spki(der: &[u8]) -> Option<Self> {
        let spki = SubjectPublicKeyInfoRef::from_der(der).ok()?;
        let point = spki.subject_public_key.as_bytes()?;
        let material = match spki.algorithm.oid {
            EC_PUBLIC_KEY => Self::of_point(point)?,
            RSA_ENCRYPTION if is_strong_rsa(point) => Self::Rsa(point.to_vec()),
            ID_ED25519 => Self::ed25519(point)?,
            _ => return None,
        };
        // The parameters, a curve's name among them, are compared with the rest.
        (material.spki().as_deref() == Some(der)).then_some(material)
    }

    pub(super) fn ed25519(key: &[u8]) -> Option<Self> {
        key.try_into()
            .ok()
            .filter(|key| !weak_point::is_weak(key))
            .map(Self::Ed25519)
    }

    pub(super) fn of_point(bytes: &[u8]) -> Option<Self> {
        match bytes.len() {
            65 if is_point(&ECDSA_P256_SHA256_ASN1, bytes) => Some(Self::P256(bytes.to_vec())),
            97 if is_point(&ECDSA_P384_SHA384_ASN1, bytes) => Some(Self::P384(bytes.to_vec())),
            133 if is_point(&ECDSA_P521_SHA512_ASN1, bytes) => Some(Self::P521(bytes.to_vec())),
            _ => None,
        }
    }

    /// Reads a key's public part as TUF 1.0 writes it: PEM, or in hex the 32 bytes of Ed25519 or a
    /// point of a curve.
    pub(super) fn from_tuf(keytype: &str, public: &str) -> Option<Self> {
        let material = if public.contains("-----BEGIN") {
            match pem::blocks(public.as_bytes()).ok()?.as_slice() {
                [block] if block.label == "PUBLIC KEY" => Self::from_spki(&block.bytes)?,
                _ => return None,
            }
        } else {
            let bytes = hex::decode(public)?;
            if bytes.len() == 32 {
                Self::ed25519(&bytes)?
            } else {
                Self::of_point(&bytes)?
            }
        };
        let named = match keytype {
            "ecdsa-sha2-nistp256" | "ecdsa-sha2-nistp384" => "ecdsa",
            other => other,
        };
        (material.keytype() == named).then_some(material)
    }

    /// The key itself, as its algorithms take it; none for one that is not understood.
    pub(super) fn key(&self) -> Option<&[u8]> {
        match self {
            Self::P256(key) | Self::P384(key) | Self::P521(key) | Self::Rsa(key) => Some(key),
            Self::Ed25519(key) => Some(key),
            Self::Unknown(_) => None,
        }
    }

    /// DER of the subject public key info (RFC 8410, section 4, for Ed25519).
    pub(super) fn spki(&self) -> Option<Vec<u8>> {
        let (oid, parameters) = match self {
            Self::P256(_) => (EC_PUBLIC_KEY, Some(AnyRef::from(&P256))),
            Self::P384(_) => (EC_PUBLIC_KEY, Some(AnyRef::from(&P384))),
            Self::P521(_) => (EC_PUBLIC_KEY, Some(AnyRef::from(&P521))),
            Self::Rsa(_) => (RSA_ENCRYPTION, Some(AnyRef::NULL)),
            Self::Ed25519(_) | Self::Unknown(_) => (ID_ED25519, None),
        };
        let algorithm = x509_cert::spki::AlgorithmIdentifier { oid, parameters };
        SubjectPublicKeyInfoRef {
            algorithm,
            subject_public_key: BitStringRef::from_bytes(self.key()?).ok()?,
        }
        .to_der()
        .ok()
    }

    pub(super) fn keytype(&self) -> &'static str {
        match self {
            Self::P256(_) | Self::P384(_) | Self::P521(_) => "ecdsa",
            Self::Rsa(_) => "rsa",
            Self::Ed25519(_) => "ed25519",
            Self::Unknown(_) => "",
        }
    }

    /// The canonical key ID; none for a key that is not understood.
    pub(super) fn id(&self) -> Option<KeyId> {
        let public = match self {
            Self::Ed25519(key) => key.to_vec(),
            other => other.spki()?,
        };
        Some(KeyId::of(self.keytype(), &STANDARD.encode(public)))
    }
}

/// An `RSAPublicKey` (RFC 8017, appendix A.1.1) with a modulus of 2048 to 8192 bits, in its only
/// DER form.
fn is_strong_rsa(key: &[u8]) -> bool {
    rsa_bits(key).is_some_and(|bits| (2048..=8192).contains(&bits))
        && ParsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, key).is_ok()
}

/// The bits of the modulus of an `RSAPublicKey` in its only DER form.
pub(super) fn rsa_bits(key: &[u8]) -> Option<u32> {
    let mut reader = SliceReader::new(key).ok()?;
    let modulus = reader.sequence(|inner| {
        let modulus = UintRef::decode(inner)?;
        UintRef::decode(inner).map(|_| modulus)
    });
    let modulus: UintRef<'_> = modulus.ok()?;
    reader.finish().ok()?;
    let spare = modulus
        .as_bytes()
        .first()
        .map_or(0, |byte| byte.leading_zeros());
    u32::try_from(modulus.as_bytes().len())
        .ok()?
        .checked_mul(8)?
        .checked_sub(spare)
}

/// Whether these bytes are a point of the curve in the uncompressed form; in the hybrid one (SEC 1,
/// section 2.3.3) a key would stand under a second ID.
fn is_point(algorithm: &'static EcdsaVerificationAlgorithm, bytes: &[u8]) -> bool {
    bytes.first() == Some(&4) && ParsedPublicKey::new(algorithm, bytes).is_ok()
}

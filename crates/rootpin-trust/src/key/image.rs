//! Signatures of images by a key: in the encodings of cosign, and of JOSE and COSE.

use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA256_ASN1,
    ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    UnparsedPublicKey, VerificationAlgorithm,
};

use super::PublicKey;
use super::material::{Material, rsa_bits};
use crate::image::Digest;

/// What a signature is over.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SignedMessage<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// Bytes of which only the SHA-256 is known.
    Sha256(Digest),
}

/// An algorithm of JOSE and COSE (RFC 7518, section 3.1; RFC 9053, section 2; RFC 8230, section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Es256,
    Es384,
    Ps256,
    Ps384,
    Ps512,
}

impl Algorithm {
    /// By its name in JOSE.
    pub(crate) fn of_jws(name: &str) -> Option<Self> {
        Some(match name {
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            _ => return None,
        })
    }

    /// By its number in COSE.
    pub(crate) fn of_cose(number: i64) -> Option<Self> {
        Some(match number {
            -7 => Self::Es256,
            -35 => Self::Es384,
            -37 => Self::Ps256,
            -38 => Self::Ps384,
            -39 => Self::Ps512,
            _ => return None,
        })
    }
}

impl PublicKey {
    /// The only algorithm by which the key may sign for Notation (`signature-specification.md`,
    /// "Signature Algorithm Requirements").
    pub(crate) fn algorithm(&self) -> Option<Algorithm> {
        match &self.material {
            Material::P256(_) => Some(Algorithm::Es256),
            Material::P384(_) => Some(Algorithm::Es384),
            Material::Rsa(key) => match rsa_bits(key)? {
                2048 => Some(Algorithm::Ps256),
                3072 => Some(Algorithm::Ps384),
                4096 => Some(Algorithm::Ps512),
                _ => None,
            },
            Material::Ed25519(_) | Material::Unknown => None,
        }
    }

    /// Whether a signature is this key's by its own algorithm.
    pub(crate) fn verify_jose(&self, message: &[u8], signature: &[u8]) -> bool {
        let Some(algorithm) = self.algorithm() else {
            return false;
        };
        let by: &'static dyn VerificationAlgorithm = match algorithm {
            Algorithm::Es256 => &ECDSA_P256_SHA256_FIXED,
            Algorithm::Es384 => &ECDSA_P384_SHA384_FIXED,
            Algorithm::Ps256 => &RSA_PSS_2048_8192_SHA256,
            Algorithm::Ps384 => &RSA_PSS_2048_8192_SHA384,
            Algorithm::Ps512 => &RSA_PSS_2048_8192_SHA512,
        };
        let (Material::P256(key) | Material::P384(key) | Material::Rsa(key)) = &self.material
        else {
            return false;
        };
        let key = UnparsedPublicKey::new(by, key);
        key.verify(message, signature).is_ok()
    }

    /// Whether a signature is this key's as cosign makes them (sigstore, `pkg/signature`,
    /// `LoadVerifier`): ASN.1 for ECDSA, PKCS#1 v1.5 for RSA, Ed25519 over the bytes themselves.
    ///
    /// P-384 signs by SHA-256, and since cosign 3.1.3 by SHA-384: both are taken.
    pub(crate) fn verify_cosign(&self, message: SignedMessage<'_>, signature: &[u8]) -> bool {
        let by = |algorithm: &'static dyn VerificationAlgorithm, key: &[u8]| {
            let key = UnparsedPublicKey::new(algorithm, key);
            match message {
                SignedMessage::Bytes(bytes) => key.verify(bytes, signature).is_ok(),
                SignedMessage::Sha256(hash) => {
                    digest::Digest::import_less_safe(hash.as_bytes(), &digest::SHA256)
                        .is_ok_and(|hash| key.verify_digest(&hash, signature).is_ok())
                }
            }
        };
        let is_whole = matches!(message, SignedMessage::Bytes(_));
        match &self.material {
            Material::P256(point) => by(&ECDSA_P256_SHA256_ASN1, point),
            Material::P384(point) => {
                by(&ECDSA_P384_SHA256_ASN1, point) || is_whole && by(&ECDSA_P384_SHA384_ASN1, point)
            }
            Material::Ed25519(key) => is_whole && by(&ED25519, key),
            Material::Rsa(key) => by(&RSA_PKCS1_2048_8192_SHA256, key),
            Material::Unknown => false,
        }
    }
}

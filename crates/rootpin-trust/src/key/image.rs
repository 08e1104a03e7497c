//! Signatures of images by a key: in the encodings of cosign.

use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519,
    RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};

use super::PublicKey;
use super::material::Material;
use crate::image::Digest;

/// What a signature is over.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SignedMessage<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// Bytes of which only the SHA-256 is known.
    Sha256(Digest),
}

impl PublicKey {
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

//! Signatures of images by a key: in the encodings of cosign, and of JOSE and COSE.

use super::material::{Material, rsa_bits};
use super::{PublicKey, Scheme, SignedMessage};

impl Scheme {
    /// By its name in JOSE (RFC 7518, section 3.1).
    pub(crate) fn of_jws(name: &str) -> Option<Self> {
        Some(match name {
            "ES256" => Self::RawEcdsaP256Sha256,
            "ES384" => Self::RawEcdsaP384Sha384,
            "ES512" => Self::RawEcdsaP521Sha512,
            "PS256" => Self::RsaPssSha256,
            "PS384" => Self::RsaPssSha384,
            "PS512" => Self::RsaPssSha512,
            _ => return None,
        })
    }

    /// By its number in COSE (RFC 9053, section 2; RFC 8230, section 2).
    pub(crate) fn of_cose(number: i64) -> Option<Self> {
        Self::of_jws(match number {
            -7 => "ES256",
            -35 => "ES384",
            -36 => "ES512",
            -37 => "PS256",
            -38 => "PS384",
            -39 => "PS512",
            _ => return None,
        })
    }
}

impl PublicKey {
    /// The only scheme by which the key may sign for Notation (`signature-specification.md`,
    /// "Signature Algorithm Requirements").
    pub(crate) fn notation_scheme(&self) -> Option<Scheme> {
        match &self.material {
            Material::P256(_) => Some(Scheme::RawEcdsaP256Sha256),
            Material::P384(_) => Some(Scheme::RawEcdsaP384Sha384),
            Material::P521(_) => Some(Scheme::RawEcdsaP521Sha512),
            Material::Rsa(key) => match rsa_bits(key)? {
                2048 => Some(Scheme::RsaPssSha256),
                3072 => Some(Scheme::RsaPssSha384),
                4096 => Some(Scheme::RsaPssSha512),
                _ => None,
            },
            Material::Ed25519(_) | Material::Unknown(_) => None,
        }
    }

    /// Whether a signature is this key's by its only scheme for Notation.
    pub(crate) fn verify_notation(&self, message: &[u8], signature: &[u8]) -> bool {
        self.notation_scheme()
            .is_some_and(|scheme| self.verify_by(scheme, SignedMessage::of(message), signature))
    }

    pub(crate) fn is_ed25519(&self) -> bool {
        matches!(self.material, Material::Ed25519(_))
    }

    /// Whether a signature is this key's as cosign makes them (sigstore, `pkg/signature`,
    /// `LoadVerifier`): ASN.1 for ECDSA, PKCS#1 v1.5 for RSA, Ed25519 over the bytes themselves.
    ///
    /// P-384 signs by SHA-256, and since cosign 3.1.3 by SHA-384, P-521 by SHA-256 and by SHA-512:
    /// both are taken.
    pub(crate) fn verify_cosign(&self, message: SignedMessage<'_>, signature: &[u8]) -> bool {
        let schemes: &[Scheme] = match &self.material {
            Material::P256(_) => &[Scheme::EcdsaP256Sha256],
            Material::P384(_) => &[Scheme::EcdsaP384Sha256, Scheme::EcdsaP384Sha384],
            Material::P521(_) => &[Scheme::EcdsaP521Sha256, Scheme::EcdsaP521Sha512],
            Material::Ed25519(_) => &[Scheme::Ed25519],
            Material::Rsa(_) => &[Scheme::RsaPkcs1Sha256],
            Material::Unknown(_) => &[],
        };
        let mut schemes = schemes.iter();
        schemes.any(|scheme| self.verify_by(*scheme, message, signature))
    }
}

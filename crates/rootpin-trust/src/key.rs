//! Public keys: their IDs, and whether one of them made a signature. This file, `image` and
//! `material` are the only ones that call cryptography.

mod id;
mod image;
mod material;

use std::borrow::Cow;
use std::collections::BTreeSet;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA256_ASN1,
    ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA256_ASN1,
    ECDSA_P521_SHA512_ASN1, ECDSA_P521_SHA512_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use x509_cert::der::asn1::{AnyRef, ObjectIdentifier, UintRef};
use x509_cert::der::{Decode, Encode, Tag};
use x509_cert::spki::SubjectPublicKeyInfoRef;

use self::material::{EC_PUBLIC_KEY, Material};
use super::canonical::Text;
use super::certificate::Certificate;
use super::format::Format;
use super::pem;
use crate::image::Digest;

pub use id::{KeyError, KeyId};

/// A key as metadata lists it.
#[derive(Debug, Clone)]
pub struct PublicKey {
    id: KeyId,
    scoped: String,
    material: Material,
    certificates: Vec<Certificate>,
    /// The scheme that its metadata gives (TUF 1.0); in Notary each signature gives its method.
    scheme: Option<Scheme>,
}

/// A signature scheme: of TUF 1.0 (1.0.34, section 4.2, and securesystemslib), of a method of
/// Notary's, of cosign, or of JOSE and COSE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    EcdsaP256Sha256,
    EcdsaP384Sha256,
    EcdsaP384Sha384,
    /// As `r‖s`.
    RawEcdsaP256Sha256,
    /// Likewise, Notary's alone.
    RawEcdsaP384Sha256,
    /// Likewise.
    RawEcdsaP384Sha384,
    EcdsaP521Sha256,
    EcdsaP521Sha512,
    /// As `r‖s`.
    RawEcdsaP521Sha512,
    Ed25519,
    RsaPssSha256,
    RsaPssSha384,
    RsaPssSha512,
    /// In metadata it counts only where the policy allows it.
    RsaPkcs1Sha256,
}

/// What a signature is over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SignedMessage<'a> {
    /// These bytes, where they are known.
    pub(crate) bytes: Option<&'a [u8]>,
    /// Their SHA-256, where that is known: a large message is not hashed for each of its
    /// signatures.
    pub(crate) sha256: Option<Digest>,
}

impl<'a> SignedMessage<'a> {
    /// Bytes whose hash is not known.
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        Self {
            bytes: Some(bytes),
            sha256: None,
        }
    }
}

/// Two are equal where their canonical IDs are.
impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for PublicKey {}

impl PublicKey {
    /// A bare key, or the one in that certificate, by DER of its subject public key info; none
    /// where its kind is not known here.
    pub(super) fn from_spki(der: &[u8], certificate: Option<Certificate>) -> Option<Self> {
        let material = Material::from_spki(der)?;
        let id = material.id()?;
        Some(Self {
            id,
            scoped: id.to_string(),
            material,
            certificates: certificate.into_iter().collect(),
            scheme: None,
        })
    }

    /// DER of the subject public key info of an RSA key, by DER of its `RSAPublicKey` (RFC 8017,
    /// appendix A.1.1). Nothing is checked.
    pub(super) fn rsa_spki(der: &[u8]) -> Option<Vec<u8>> {
        Material::Rsa(der.to_vec()).spki()
    }

    /// Whether metadata may be signed by such a key; images may be by each.
    pub(super) fn signs_metadata(&self) -> bool {
        !matches!(self.material, Material::P521(_))
    }

    /// Whether these bytes are a subject public key info, of whatever kind.
    pub(super) fn is_spki(der: &[u8]) -> bool {
        SubjectPublicKeyInfoRef::from_der(der).is_ok()
    }

    /// Why [`Self::from_spki`] takes no key from these bytes, with what converts it.
    pub(super) fn why_not(der: &[u8]) -> &'static str {
        let other = "a public key of another kind: wanted ECDSA P-256, P-384 or (of images) P-521, RSA of 2048 to 8192 bits, or Ed25519";
        let Ok(spki) = SubjectPublicKeyInfoRef::from_der(der) else {
            return other;
        };
        if spki.algorithm.oid != EC_PUBLIC_KEY {
            return other;
        }
        if spki
            .algorithm
            .parameters
            .is_none_or(|parameters| parameters.decode_as::<ObjectIdentifier>().is_err())
        {
            return "a key that spells out its curve; convert it: openssl ec -pubin -in FILE -param_enc named_curve -out NEW";
        }
        match spki.subject_public_key.as_bytes().and_then(<[u8]>::first) {
            Some(2 | 3 | 6 | 7) => {
                "a compressed or hybrid point; convert it: openssl ec -pubin -in FILE -conv_form uncompressed -out NEW"
            }
            _ => other,
        }
    }

    /// Reads a key as metadata of that format lists it, under any ID.
    ///
    /// A key of an unknown kind, or with content that does not fit its kind, is one that verifies
    /// nothing.
    ///
    /// # Errors
    /// It is not of the format's form.
    pub fn from_metadata(format: Format, keyid: &str, key: Text<'_>) -> Result<Self, KeyError> {
        match format {
            Format::Notary => Self::from_notary(key),
            Format::Tuf => Self::from_tuf(keyid, key),
        }
    }

    /// `{"keytype": …, "keyval": {"public": …}}`
    fn from_notary(key: Text<'_>) -> Result<Self, KeyError> {
        let keytype = text(Some(key), "keytype")?;
        let public = text(key.get("keyval"), "public")?;
        let bytes = STANDARD
            .decode(&*public)
            .map_err(|error| KeyError(format!("keyval.public: {error}")))?;
        let scoped = KeyId::of(&keytype, &public);
        let (material, certificates) = match &*keytype {
            "ed25519" => (Material::ed25519(&bytes), Vec::new()),
            "ecdsa" | "rsa" => (Material::from_spki(&bytes), Vec::new()),
            "ecdsa-x509" | "rsa-x509" => {
                let certificates = certificates(&bytes);
                (
                    certificates
                        .first()
                        .and_then(|leaf| Material::from_spki(&leaf.key)),
                    certificates,
                )
            }
            _ => (None, Vec::new()),
        };
        let material = material
            .filter(|material| material.keytype() == keytype.trim_end_matches("-x509"))
            .filter(|material| !matches!(material, Material::P521(_)))
            .unwrap_or_else(|| Material::Unknown(keytype.into_owned()));
        Ok(Self {
            id: material.id().unwrap_or(scoped),
            scoped: scoped.to_string(),
            material,
            certificates,
            scheme: None,
        })
    }

    /// `{"keytype": …, "scheme": …, "keyval": {"public": …}}`
    fn from_tuf(keyid: &str, key: Text<'_>) -> Result<Self, KeyError> {
        let (keytype, scheme) = (text(Some(key), "keytype")?, text(Some(key), "scheme")?);
        let keyval = key.get("keyval").filter(|keyval| keyval.is_object());
        let public = keyval
            .ok_or_else(|| KeyError("a key without keyval".to_owned()))?
            .get_str("public");
        let material = public.and_then(|public| Material::from_tuf(&keytype, &public));
        let known = material.and_then(|known| Some((Scheme::of(&known, &scheme)?, known)));
        let (signs, material) = match known {
            Some((signs, material)) => (Some(signs), material),
            None if keytype == scheme => (None, Material::Unknown(scheme.into_owned())),
            None => (None, Material::Unknown(format!("{keytype} {scheme}"))),
        };
        // No other key has this ID: it is hashed over more than a key.
        let unknown = || KeyId(Digest::of(&[keyid.as_bytes(), b"\n", key.bytes()].concat()));
        let id = material.id().unwrap_or_else(unknown);
        Ok(Self {
            id,
            scoped: keyid.to_owned(),
            material,
            certificates: Vec::new(),
            scheme: signs,
        })
    }

    /// The names of its kind and scheme in its metadata, if they are not known here.
    pub(super) fn unknown(&self) -> Option<&str> {
        match &self.material {
            Material::Unknown(name) => Some(name),
            _ => None,
        }
    }

    /// Whether it signs by RSA PKCS#1 v1.5, which a policy must allow.
    pub(super) fn is_pkcs1v15(&self) -> bool {
        self.scheme == Some(Scheme::RsaPkcs1Sha256)
    }

    /// The canonical key ID: the same for a bare key and for every certificate over it.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The ID by which roles list it and signatures name it; a certificate's differs from every
    /// other's.
    #[must_use]
    pub fn scoped_id(&self) -> &str {
        &self.scoped
    }

    /// Whether a policy revokes it, by any of its names.
    #[must_use]
    pub fn is_revoked(&self, revoked: &BTreeSet<KeyId>) -> bool {
        // Its fingerprint is computed only where it is compared.
        revoked.contains(&self.id)
            || !revoked.is_empty() && self.names().iter().any(|name| revoked.contains(name))
    }

    /// The hashes by which tools name it: its canonical ID; the ID that its metadata lists it by,
    /// which is all that the tools of TUF show of a key; its fingerprint; and those of the
    /// certificates that it came in.
    #[must_use]
    pub fn names(&self) -> Vec<KeyId> {
        let hash = |spki: &[u8]| KeyId(Digest::of(spki));
        let certificates = self.certificates.iter();
        let certificates = certificates.flat_map(|one| [hash(&one.key), KeyId(one.sha256)]);
        let fingerprint = self.spki().map(|spki| hash(&spki));
        let names = [Some(self.id), self.scoped.parse().ok(), fingerprint];
        names.into_iter().flatten().chain(certificates).collect()
    }

    /// `ecdsa`, `rsa` or `ed25519`; empty where its kind is not known here.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.material.keytype()
    }

    /// DER of its subject public key info, which every tool knows it by; none where its kind is not
    /// known here.
    #[must_use]
    pub fn spki(&self) -> Option<Vec<u8>> {
        self.material.spki()
    }

    /// The certificates it came in, leaf first; none for a bare key.
    #[must_use]
    pub fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// Whether `signature` is this key's over `message`, made by a method that fits the key.
    #[must_use]
    pub fn verify(
        &self,
        method: &str,
        message: &[u8],
        signature: &[u8],
        allow_pkcs1: bool,
    ) -> bool {
        let message = SignedMessage {
            bytes: Some(message),
            sha256: Some(Digest::of(message)),
        };
        self.verify_metadata(method, message, signature, allow_pkcs1)
    }

    /// The same where the message's digest is known.
    pub(super) fn verify_metadata(
        &self,
        method: &str,
        message: SignedMessage<'_>,
        signature: &[u8],
        allow_pkcs1: bool,
    ) -> bool {
        let by_method = || Scheme::of_notary(&self.material, method);
        let scheme = self.scheme.or_else(by_method);
        scheme.is_some_and(|scheme| {
            (allow_pkcs1 || scheme != Scheme::RsaPkcs1Sha256)
                && self.verify_by(scheme, message, signature)
        })
    }

    /// Whether a signature is this key's by that scheme, which fits the key.
    fn verify_by(&self, scheme: Scheme, message: SignedMessage<'_>, signature: &[u8]) -> bool {
        let (algorithm, takes_sha256) = scheme.algorithm();
        let of_notary =
            (scheme == Scheme::RawEcdsaP384Sha256).then(|| der_signature(signature, 48));
        let signature = match &of_notary {
            Some(Some(der)) => der.as_slice(),
            Some(None) => return false,
            None => signature,
        };
        let Some(key) = self.material.key() else {
            return false;
        };
        let key = UnparsedPublicKey::new(algorithm, key);
        match message.sha256.filter(|_| takes_sha256) {
            Some(hash) => digest::Digest::import_less_safe(hash.as_bytes(), &digest::SHA256)
                .is_ok_and(|hash| key.verify_digest(&hash, signature).is_ok()),
            None => message
                .bytes
                .is_some_and(|bytes| key.verify(bytes, signature).is_ok()),
        }
    }
}

impl Scheme {
    /// What verifies by it, and whether it can by the message's SHA-256 alone.
    fn algorithm(self) -> (&'static dyn VerificationAlgorithm, bool) {
        match self {
            Self::EcdsaP256Sha256 => (&ECDSA_P256_SHA256_ASN1, true),
            Self::EcdsaP384Sha256 | Self::RawEcdsaP384Sha256 => (&ECDSA_P384_SHA256_ASN1, true),
            Self::EcdsaP384Sha384 => (&ECDSA_P384_SHA384_ASN1, false),
            Self::RawEcdsaP256Sha256 => (&ECDSA_P256_SHA256_FIXED, true),
            Self::RawEcdsaP384Sha384 => (&ECDSA_P384_SHA384_FIXED, false),
            Self::EcdsaP521Sha256 => (&ECDSA_P521_SHA256_ASN1, true),
            Self::EcdsaP521Sha512 => (&ECDSA_P521_SHA512_ASN1, false),
            Self::RawEcdsaP521Sha512 => (&ECDSA_P521_SHA512_FIXED, false),
            Self::Ed25519 => (&ED25519, false),
            Self::RsaPssSha256 => (&RSA_PSS_2048_8192_SHA256, true),
            Self::RsaPssSha384 => (&RSA_PSS_2048_8192_SHA384, false),
            Self::RsaPssSha512 => (&RSA_PSS_2048_8192_SHA512, false),
            Self::RsaPkcs1Sha256 => (&RSA_PKCS1_2048_8192_SHA256, true),
        }
    }

    /// The scheme of Notary's signing method, if it fits the key.
    fn of_notary(material: &Material, method: &str) -> Option<Self> {
        match (material, method) {
            (Material::P256(_), "ecdsa") => Some(Self::RawEcdsaP256Sha256),
            (Material::P384(_), "ecdsa") => Some(Self::RawEcdsaP384Sha256),
            (Material::Ed25519(_), "eddsa") => Some(Self::Ed25519),
            (Material::Rsa(_), "rsapss") => Some(Self::RsaPssSha256),
            (Material::Rsa(_), "rsapkcs1v15") => Some(Self::RsaPkcs1Sha256),
            _ => None,
        }
    }

    /// The scheme of that name in TUF, if it fits the key.
    fn of(material: &Material, name: &str) -> Option<Self> {
        match (material, name) {
            (Material::P256(_), "ecdsa-sha2-nistp256") => Some(Self::EcdsaP256Sha256),
            (Material::P384(_), "ecdsa-sha2-nistp384") => Some(Self::EcdsaP384Sha384),
            (Material::Ed25519(_), "ed25519") => Some(Self::Ed25519),
            (Material::Rsa(_), "rsassa-pss-sha256") => Some(Self::RsaPssSha256),
            (Material::Rsa(_), "rsassa-pss-sha384") => Some(Self::RsaPssSha384),
            (Material::Rsa(_), "rsassa-pss-sha512") => Some(Self::RsaPssSha512),
            (Material::Rsa(_), "rsa-pkcs1v15-sha256") => Some(Self::RsaPkcs1Sha256),
            _ => None,
        }
    }
}

/// A member of a listed key that is text.
fn text<'a>(object: Option<Text<'a>>, name: &str) -> Result<Cow<'a, str>, KeyError> {
    object
        .and_then(|object| object.get_str(name))
        .ok_or_else(|| KeyError(format!("a key without {name}")))
}

/// The certificates of a PEM text; none if there is one that can't be read, or anything else in it.
fn certificates(pem: &[u8]) -> Vec<Certificate> {
    let read = |block: &pem::Block| match block.label.as_str() {
        "CERTIFICATE" => Certificate::from_der(&block.bytes).ok(),
        _ => None,
    };
    let all = pem::blocks(pem).ok();
    all.and_then(|all| all.iter().map(read).collect())
        .unwrap_or_default()
}

/// Raw `r‖s`, each exactly `width` bytes, as a DER `ECDSA-Sig-Value` (RFC 3279, section 2.2.3).
fn der_signature(raw: &[u8], width: usize) -> Option<Vec<u8>> {
    let (r, s) = raw
        .split_at_checked(width)
        .filter(|(_, s)| s.len() == width)?;
    let (r, s) = (UintRef::new(r).ok()?, UintRef::new(s).ok()?);
    let numbers = [r.to_der().ok()?, s.to_der().ok()?].concat();
    AnyRef::new(Tag::Sequence, &numbers).ok()?.to_der().ok()
}

#[cfg(test)]
mod tests;

//! Private keys in files: encrypted PKCS#8.

use std::fmt;
use std::path::Path;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use pkcs8::der::pem::LineEnding;
use pkcs8::pkcs5;
use pkcs8::{EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef, SecretDocument};
use x509_cert::der::asn1::AnyRef;
use x509_cert::der::{Decode, Reader, TagNumber, Tagged};
use zeroize::Zeroizing;

use super::encryption;
use super::key::{KeyKind, Signer, SigningError};
use super::private_file::{read_private, write_new};
use super::public_key;
use rootpin_trust::{PublicKey, pem};

/// The label of an encrypted key's PEM block (RFC 7468, section 11).
const LABEL: &str = "ENCRYPTED PRIVATE KEY";
/// What a private key's file is converted by.
const CONVERT: &str = "convert it: openssl pkcs8 -topk8 -in FILE -out NEW.pem";

enum Pair {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Rsa(Box<RsaKeyPair>),
}

/// A private key in memory.
pub struct PrivateKey {
    pair: Pair,
    public: PublicKey,
}

/// A private key's file, read and in good form, and locked.
#[derive(Debug)]
pub(super) struct LockedKey {
    file: String,
    encrypted: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for PrivateKey {
    /// Only what is public.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PrivateKey").field(&self.keyid()).finish()
    }
}

/// The public key stands in it unencrypted (OpenSSH, `PROTOCOL.key`).
fn is_ed25519_of_openssh(bytes: &[u8]) -> bool {
    const KIND: &[u8] = b"\x00\x00\x00\x0bssh-ed25519";
    bytes.windows(KIND.len()).any(|window| window == KIND)
}

impl LockedKey {
    /// Reads a file that only the caller can read, and finds out whether a passphrase could open
    /// it.
    pub(super) fn read(file: &Path) -> Result<Self, SigningError> {
        let bytes = read_private(file)?;
        let shown = file.display().to_string();
        let wrong = |why: &str, hint: &str| {
            SigningError::Private(shown.clone(), why.to_owned(), hint.to_owned())
        };
        let mut blocks = pem::file(&bytes).map_err(|why| wrong(&why.to_string(), WANTED))?;
        // Others may stand beside it: the curve's parameters, a public key, a certificate.
        blocks.retain(|block| block.label == pem::DER || block.label.ends_with("PRIVATE KEY"));
        let (Some(block), true) = (blocks.pop(), blocks.is_empty()) else {
            return Err(wrong("not one private key in it", WANTED));
        };
        let convert = CONVERT.replace("FILE", &shown);
        match block.label.as_str() {
            LABEL | pem::DER => {}
            "PRIVATE KEY" => return Err(wrong("a key that is not encrypted", &convert)),
            "OPENSSH PRIVATE KEY" if is_ed25519_of_openssh(&block.bytes) => {
                return Err(wrong(
                    "an Ed25519 key in OpenSSH's own format, which ssh-keygen does not convert",
                    "make another key: rootpin repo key generate NAME",
                ));
            }
            "OPENSSH PRIVATE KEY" => {
                return Err(wrong(
                    "OpenSSH's own format",
                    &format!("convert a copy of it: ssh-keygen -p -m PKCS8 -f {shown}"),
                ));
            }
            "ENCRYPTED SIGSTORE PRIVATE KEY" | "ENCRYPTED COSIGN PRIVATE KEY" => {
                return Err(wrong(
                    "cosign's own format, which nothing converts",
                    "make another key: rootpin repo key generate NAME",
                ));
            }
            label
                if block
                    .headers
                    .iter()
                    .any(|header| header.starts_with("DEK-Info:")) =>
            {
                return Err(wrong(
                    &format!("{label}, encrypted in the way of old OpenSSL"),
                    &convert,
                ));
            }
            label => return Err(wrong(&format!("{label}, which is not encrypted"), &convert)),
        }
        if let Err(fault) = encryption::check(&block.bytes) {
            return Err(match fault {
                encryption::EncryptionFault::NotEncrypted => wrong("no encrypted PKCS#8", &convert),
                encryption::EncryptionFault::Scheme { name, old } => {
                    let old = if old {
                        " -provider legacy -provider default"
                    } else {
                        ""
                    };
                    wrong(
                        &format!("encrypted by {name}, which is not read here"),
                        &format!("{convert}{old}"),
                    )
                }
            });
        }
        Ok(Self {
            file: shown,
            encrypted: block.bytes,
        })
    }

    /// Unlocks it.
    pub(super) fn unlock(&self, passphrase: &str) -> Result<PrivateKey, SigningError> {
        let wrong = |why: &str, hint: &str| {
            SigningError::Private(self.file.clone(), why.to_owned(), hint.to_owned())
        };
        let encrypted = EncryptedPrivateKeyInfoRef::try_from(self.encrypted.as_slice())
            .map_err(|_| wrong("no encrypted PKCS#8", WANTED))?;
        let der = encrypted.decrypt(passphrase).map_err(|error| match error {
            pkcs8::Error::EncryptedPrivateKey(
                pkcs5::Error::UnsupportedAlgorithm { .. }
                | pkcs5::Error::AlgorithmParametersInvalid { .. },
            ) => wrong(&error.to_string(), &CONVERT.replace("FILE", &self.file)),
            // Also what is no DER: a wrong passphrase has one chance in some hundred to leave good
            // padding behind.
            _ => SigningError::Locked(self.file.clone()),
        })?;
        let der =
            normalized(der.as_bytes()).ok_or_else(|| SigningError::Locked(self.file.clone()))?;
        let wanted = "wanted P-256, P-384, RSA of 2048 to 8192 bits, or ed25519";
        PrivateKey::from_pkcs8(&der).map_err(|_| wrong("a key of another kind", wanted))
    }
}

/// PKCS#8 as it should be; none, where it is none. Notary and Docker write version 2 of RFC 5958,
/// section 2, without the public key that makes it that: it is read as version 1.
fn normalized(der: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut copy = Zeroizing::new(der.to_vec());
    let info = AnyRef::from_der(der).ok()?;
    let has_public = info.sequence(|inner| {
        let version = u8::decode(inner)?;
        AnyRef::decode(inner)?;
        AnyRef::decode(inner)?;
        let mut public = false;
        while !inner.is_finished() {
            public |= AnyRef::decode(inner)?.tag().number() == TagNumber(1);
        }
        Ok::<_, x509_cert::der::Error>(version == 0 || public)
    });
    if !has_public.ok()? {
        let at = der.len().checked_sub(info.value().len())?.checked_add(2)?;
        *copy.get_mut(at)? = 0;
    }
    Some(copy)
}

const WANTED: &str = "wanted an encrypted PKCS#8 key (PEM or DER), as `rootpin repo key generate`, OpenSSL, Notary and Docker write it";

impl PrivateKey {
    /// Makes a key and writes it, encrypted (PBES2: scrypt and AES-256), to a file that isn't there
    /// yet. The file appears whole or not at all.
    ///
    /// # Errors
    /// The passphrase is empty, or the file is there already or can't be written.
    pub fn generate(kind: KeyKind, file: &Path, passphrase: &str) -> Result<Self, SigningError> {
        if passphrase.is_empty() {
            return Err(SigningError::NoPassphrase);
        }
        let der = generate(kind)?;
        let key = Self::from_pkcs8(der.as_bytes())?;
        let info = PrivateKeyInfoRef::try_from(der.as_bytes())
            .map_err(|_| SigningError::Crypto("a new key is no PKCS#8"))?;
        let encrypted = info
            .encrypt(passphrase)
            .map_err(|_| SigningError::Crypto("encrypting a key"))?;
        let pem = encrypted
            .to_pem(LABEL, LineEnding::LF)
            .map_err(|_| SigningError::Crypto("writing a key as PEM"))?;
        write_new(file, pem.as_bytes())?;
        Ok(key)
    }

    /// Makes a key that is gone with this process.
    ///
    /// # Errors
    /// The cryptographic library fails.
    pub fn in_memory(kind: KeyKind) -> Result<Self, SigningError> {
        Self::from_pkcs8(generate(kind)?.as_bytes())
    }

    /// Reads a key from a file that only the caller can read.
    ///
    /// # Errors
    /// The file can't be read, others can read it, the passphrase is wrong, or it holds no key that
    /// can sign.
    pub fn load(file: &Path, passphrase: &str) -> Result<Self, SigningError> {
        LockedKey::read(file)?.unlock(passphrase)
    }

    /// Opens a key file, once it is one that a passphrase could open.
    ///
    /// # Errors
    /// The file is none, nobody gives a passphrase, or it is another.
    pub fn ask(
        file: &Path,
        passphrase: impl FnOnce() -> Result<String, SigningError>,
    ) -> Result<Self, SigningError> {
        let locked = LockedKey::read(file)?;
        locked.unlock(&passphrase()?)
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self, SigningError> {
        let of_curve = |algorithm| EcdsaKeyPair::from_pkcs8(algorithm, der).ok();
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der)
            .ok()
            .map(Pair::Ed25519);
        let pair = pair.or_else(|| of_curve(&ECDSA_P256_SHA256_ASN1_SIGNING).map(Pair::P256));
        let pair = pair.or_else(|| of_curve(&ECDSA_P384_SHA384_ASN1_SIGNING).map(Pair::P384));
        let pair = pair.or_else(|| {
            RsaKeyPair::from_pkcs8(der)
                .ok()
                .map(|pair| Pair::Rsa(Box::new(pair)))
        });
        let pair = pair.ok_or(SigningError::Crypto("a key of another kind"))?;
        let public = match &pair {
            Pair::Ed25519(pair) => public_key::of_point(pair.public_key().as_ref()),
            Pair::P256(pair) | Pair::P384(pair) => public_key::of_point(pair.public_key().as_ref()),
            Pair::Rsa(pair) => public_key::of_rsa(pair.public_key().as_ref()),
        };
        Ok(Self {
            pair,
            public: public.ok_or(SigningError::Crypto("a weak key"))?,
        })
    }
}

impl Signer for PrivateKey {
    fn public(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8], scheme: &str) -> Result<Vec<u8>, SigningError> {
        let random = SystemRandom::new();
        let signature = match (&self.pair, scheme) {
            (Pair::Ed25519(pair), "ed25519") => pair.try_sign(message),
            (Pair::P256(pair), "ecdsa-sha2-nistp256")
            | (Pair::P384(pair), "ecdsa-sha2-nistp384") => pair.sign(&random, message),
            (Pair::Rsa(pair), scheme) => return sign_rsa(pair, rsa_padding(scheme)?, message),
            _ => return Err(no_scheme(scheme)),
        };
        Ok(signature
            .map_err(|_| SigningError::Crypto("signing"))?
            .as_ref()
            .to_vec())
    }
}

fn rsa_padding(scheme: &str) -> Result<&'static dyn RsaEncoding, SigningError> {
    match scheme {
        "rsassa-pss-sha256" => Ok(&RSA_PSS_SHA256),
        "rsassa-pss-sha384" => Ok(&RSA_PSS_SHA384),
        "rsassa-pss-sha512" => Ok(&RSA_PSS_SHA512),
        other => Err(no_scheme(other)),
    }
}

fn sign_rsa(
    pair: &RsaKeyPair,
    padding: &'static dyn RsaEncoding,
    message: &[u8],
) -> Result<Vec<u8>, SigningError> {
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(padding, &SystemRandom::new(), message, &mut signature)
        .map_err(|_| SigningError::Crypto("signing"))?;
    Ok(signature)
}

/// The key is listed with a scheme that it is not signed by here.
pub(super) fn no_scheme(scheme: &str) -> SigningError {
    SigningError::Unusable(format!(
        "the metadata lists the key with the scheme {scheme:?}, by which nothing is signed here"
    ))
}

/// A new key as plain PKCS#8, wiped when dropped.
fn generate(kind: KeyKind) -> Result<SecretDocument, SigningError> {
    let random = SystemRandom::new();
    let der = match kind {
        KeyKind::Ed25519 => Ed25519KeyPair::generate_pkcs8v1(&random),
        KeyKind::P256 => EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random),
    };
    let der = der.map_err(|_| SigningError::Crypto("making a key"))?;
    SecretDocument::try_from(der.as_ref()).map_err(|_| SigningError::Crypto("a new key is no DER"))
}

#[cfg(test)]
mod tests;

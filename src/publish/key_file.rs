//! Private keys in files: encrypted PKCS#8.

use std::fmt;
use std::path::Path;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use pkcs8::der::pem::LineEnding;
use pkcs8::{EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef, SecretDocument};

use super::key::{Kind, Signer, SigningError};
use super::private_file::{read_private, write_new};
use super::public_key::key_object;
use crate::json::Value;

/// The label of an encrypted key's PEM block (RFC 7468, section 11).
const LABEL: &str = "ENCRYPTED PRIVATE KEY";

enum Pair {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
}

/// A private key in memory.
pub struct PrivateKey {
    pair: Pair,
}

impl fmt::Debug for PrivateKey {
    /// Only what is public.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PrivateKey").field(&self.keyid()).finish()
    }
}

impl PrivateKey {
    /// Makes a key and writes it, encrypted (PBES2: scrypt and AES-256), to a file that isn't there yet. The file appears whole or not
    /// at all.
    ///
    /// # Errors
    /// The passphrase is empty, or the file is there already or can't be written.
    pub fn generate(kind: Kind, file: &Path, passphrase: &str) -> Result<Self, SigningError> {
        if passphrase.is_empty() {
            return Err(SigningError::NoPassphrase);
        }
        let der = generate(kind)?;
        let key = Self::from_pkcs8(der.as_bytes())?;
        let info = PrivateKeyInfoRef::try_from(der.as_bytes()).map_err(|_| SigningError::Crypto("a new key is no PKCS#8"))?;
        let encrypted = info.encrypt(passphrase).map_err(|_| SigningError::Crypto("encrypting a key"))?;
        let pem = encrypted.to_pem(LABEL, LineEnding::LF).map_err(|_| SigningError::Crypto("writing a key as PEM"))?;
        write_new(file, pem.as_bytes())?;
        Ok(key)
    }

    /// Makes a key that is gone with this process.
    ///
    /// # Errors
    /// The cryptographic library fails.
    pub fn in_memory(kind: Kind) -> Result<Self, SigningError> {
        Self::from_pkcs8(generate(kind)?.as_bytes())
    }

    /// Reads a key from a file that only the caller can read.
    ///
    /// # Errors
    /// The file can't be read, others can read it, the passphrase is wrong, or it holds no key of [`Kind`].
    pub fn load(file: &Path, passphrase: &str) -> Result<Self, SigningError> {
        let pem = read_private(file)?;
        let wrong = |why| SigningError::Private(file.display().to_string(), why);
        let (label, encrypted) = SecretDocument::from_pem(&pem).map_err(|_| wrong("not PEM"))?;
        if label != LABEL {
            return Err(wrong("not encrypted"));
        }
        let encrypted = EncryptedPrivateKeyInfoRef::try_from(encrypted.as_bytes());
        let encrypted = encrypted.map_err(|_| wrong("no encrypted PKCS#8"))?;
        let der = encrypted.decrypt(passphrase).map_err(|_| SigningError::Locked(file.display().to_string()))?;
        Self::from_pkcs8(der.as_bytes()).map_err(|_| wrong("a key of another kind"))
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self, SigningError> {
        let pair = match Ed25519KeyPair::from_pkcs8_maybe_unchecked(der) {
            Ok(pair) => Pair::Ed25519(pair),
            Err(_) => match EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der) {
                Ok(pair) => Pair::P256(pair),
                Err(_) => return Err(SigningError::Unusable("the key is of another kind")),
            },
        };
        Ok(Self { pair })
    }
}

impl Signer for PrivateKey {
    fn key(&self) -> Value {
        match &self.pair {
            Pair::Ed25519(pair) => key_object(Kind::Ed25519, pair.public_key().as_ref()),
            Pair::P256(pair) => key_object(Kind::P256, pair.public_key().as_ref()),
        }
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SigningError> {
        let signature = match &self.pair {
            Pair::Ed25519(pair) => pair.try_sign(message),
            Pair::P256(pair) => pair.sign(&SystemRandom::new(), message),
        };
        Ok(signature.map_err(|_| SigningError::Crypto("signing"))?.as_ref().to_vec())
    }
}

/// A new key as plain PKCS#8, wiped when dropped.
fn generate(kind: Kind) -> Result<SecretDocument, SigningError> {
    let random = SystemRandom::new();
    let der = match kind {
        Kind::Ed25519 => Ed25519KeyPair::generate_pkcs8v1(&random),
        Kind::P256 => EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random),
    };
    let der = der.map_err(|_| SigningError::Crypto("making a key"))?;
    SecretDocument::try_from(der.as_ref()).map_err(|_| SigningError::Crypto("a new key is no DER"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
    use p256::ecdsa::signature::Verifier;
    use x509_cert::der::DecodePem;
    use x509_cert::spki::SubjectPublicKeyInfoOwned;

    use super::*;
    use crate::image::Digest;

    fn public(signer: &dyn Signer) -> String {
        signer.key().get("keyval").unwrap().get("public").unwrap().as_str().unwrap().to_owned()
    }

    fn made(kind: Kind) -> (tempfile::TempDir, std::path::PathBuf, PrivateKey) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("root.pem");
        let key = PrivateKey::generate(kind, &file, "correct horse").unwrap();
        (folder, file, key)
    }

    #[test]
    fn a_p256_key_signs_what_its_listed_pem_verifies_after_a_round_through_its_file() {
        let (_folder, file, made) = made(Kind::P256);
        let key = PrivateKey::load(&file, "correct horse").unwrap();
        assert_eq!(key.keyid(), made.keyid());
        let info = SubjectPublicKeyInfoOwned::from_pem(public(&key)).unwrap();
        assert_eq!(info.algorithm.oid.to_string(), "1.2.840.10045.2.1");
        let verifier = p256::ecdsa::VerifyingKey::from_sec1_bytes(info.subject_public_key.raw_bytes()).unwrap();
        let signature = p256::ecdsa::Signature::from_der(&key.sign(b"message").unwrap()).unwrap();
        verifier.verify(b"message", &signature).unwrap();
        assert!(verifier.verify(b"another", &signature).is_err());
    }

    #[test]
    fn an_ed25519_key_signs_what_its_listed_hex_verifies_after_a_round_through_its_file() {
        let (_folder, file, made) = made(Kind::Ed25519);
        let key = PrivateKey::load(&file, "correct horse").unwrap();
        assert_eq!(key.keyid(), made.keyid());
        let point = *Digest::from_hex(&public(&key)).unwrap().as_bytes();
        let verifier = UnparsedPublicKey::new(&ED25519, point);
        verifier.verify(b"message", &key.sign(b"message").unwrap()).unwrap();
    }

    #[test]
    fn a_key_file_is_encrypted_private_and_never_written_over() {
        let (_folder, file, _) = made(Kind::Ed25519);
        let written = fs::read_to_string(&file).unwrap();
        assert!(written.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"), "{written}");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
        assert!(matches!(PrivateKey::generate(Kind::P256, &file, "other"), Err(SigningError::File(..))));
        assert_eq!(fs::read_to_string(&file).unwrap(), written);
        assert!(matches!(PrivateKey::load(&file, "wrong"), Err(SigningError::Locked(_) | SigningError::Unusable(_))));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_and_so_is_an_empty_passphrase() {
        let (folder, file, _) = made(Kind::P256);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(PrivateKey::load(&file, "correct horse"), Err(SigningError::Exposed(..))));
        let other = folder.path().join("other.pem");
        assert!(matches!(PrivateKey::generate(Kind::P256, &other, ""), Err(SigningError::NoPassphrase)));
        assert!(!other.exists());
    }
}

//! Keys that sign: encrypted PKCS#8 files, and what any key, also one in a token, must be able to do.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use pkcs8::der::pem::LineEnding;
use pkcs8::{EncryptedPrivateKeyInfoRef, PrivateKeyInfoRef, SecretDocument};

use crate::image::Digest;
use crate::json::Value;
use crate::trust::canonical;

/// The label of an encrypted key's PEM block (RFC 7468, section 11).
const LABEL: &str = "ENCRYPTED PRIVATE KEY";
/// No key file is larger.
const MAX_FILE: u64 = 64 * 1024;
/// What stands before the point in the `SubjectPublicKeyInfo` of a P-256 key (RFC 5480).
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01,
    0x07, 0x03, 0x42, 0x00,
];

/// Something that signs: a key file, or a token that keeps the key to itself.
pub trait Signer: fmt::Debug {
    /// The public key as TUF metadata lists it (TUF 1.0.34, section 4.2): `keytype`, `scheme`, `keyval`.
    fn key(&self) -> Value;

    /// A signature of the message as TUF metadata carries it, before it is written as hex.
    ///
    /// # Errors
    /// The key is out of reach or refuses.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SigningError>;

    /// The key's ID (TUF 1.0.34, section 4.2): SHA-256 of the canonical form of [`Self::key`], as hex digits.
    fn keyid(&self) -> String {
        Digest::of(&canonical::encode(&self.key())).hex()
    }
}

/// Kinds of key that can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `ed25519`
    Ed25519,
    /// `ecdsa-sha2-nistp256`
    P256,
}

/// Why a key was not made, not read, or did not sign.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The key's file can't be read or written.
    #[error("the key file {0}: {1}")]
    File(String, io::Error),
    /// Others than its owner could read the key's file, or another than the caller owns it.
    #[error("the key file {0} {1}; hint: a key belongs to the user who signs, with mode 0600")]
    Exposed(String, String),
    /// A key without passphrase.
    #[error("an empty passphrase protects nothing")]
    NoPassphrase,
    /// Wrong passphrase, or a damaged file: the cipher can't tell one from the other.
    #[error("the key can't be decrypted; hint: the passphrase is wrong, or the file is damaged")]
    Locked,
    /// Neither an encrypted PKCS#8 key nor one of the kinds that can sign.
    #[error("{0}; hint: wanted an encrypted PKCS#8 key (PEM) of P-256 or ed25519")]
    Unusable(&'static str),
    /// The cryptographic library failed.
    #[error("the cryptographic library failed: {0}")]
    Crypto(&'static str),
}

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
        write_new(file, pem.as_bytes()).map_err(|error| SigningError::File(file.display().to_string(), error))?;
        Ok(key)
    }

    /// Reads a key from a file that only the caller can read.
    ///
    /// # Errors
    /// The file can't be read, others can read it, the passphrase is wrong, or it holds no key of [`Kind`].
    pub fn load(file: &Path, passphrase: &str) -> Result<Self, SigningError> {
        let pem = read_private(file)?;
        let (label, encrypted) = SecretDocument::from_pem(&pem).map_err(|_| SigningError::Unusable("the key file is not PEM"))?;
        if label != LABEL {
            return Err(SigningError::Unusable("the key file is not encrypted"));
        }
        let encrypted = EncryptedPrivateKeyInfoRef::try_from(encrypted.as_bytes());
        let encrypted = encrypted.map_err(|_| SigningError::Unusable("the key file holds no encrypted PKCS#8"))?;
        let der = encrypted.decrypt(passphrase).map_err(|_| SigningError::Locked)?;
        Self::from_pkcs8(der.as_bytes())
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
        let (keytype, scheme, public) = match &self.pair {
            Pair::Ed25519(pair) => ("ed25519", "ed25519", hex(pair.public_key().as_ref())),
            Pair::P256(pair) => ("ecdsa", "ecdsa-sha2-nistp256", p256_pem(pair.public_key().as_ref())),
        };
        let text = |text: &str| Value::String(text.to_owned());
        let keyval = Value::Object([("public".to_owned(), Value::String(public))].into_iter().collect());
        let members = [("keytype", text(keytype)), ("scheme", text(scheme)), ("keyval", keyval)];
        Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
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

fn write_new(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Mode 0600 from its first moment.
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    temporary.write_all(bytes)?;
    temporary.as_file().sync_all()?;
    temporary.persist_noclobber(file)?;
    File::open(folder)?.sync_all()
}

/// The checks are made on the file that is then read, not on its name.
fn read_private(path: &Path) -> Result<String, SigningError> {
    let name = || path.display().to_string();
    let failed = |error| SigningError::File(name(), error);
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(SigningError::Unusable("the key file is no regular file"));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(SigningError::Exposed(name(), format!("has mode {:04o}", metadata.mode() & 0o7777)));
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(SigningError::Exposed(name(), format!("belongs to user {}", metadata.uid())));
    }
    let mut pem = String::new();
    file.take(MAX_FILE).read_to_string(&mut pem).map_err(failed)?;
    Ok(pem)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// The PEM of a P-256 point, ending in a line feed as other tools of TUF write it.
fn p256_pem(point: &[u8]) -> String {
    let mut text = base64::engine::general_purpose::STANDARD.encode([&P256_SPKI, point].concat());
    // 91 bytes are 124 characters: two lines of at most 64 (RFC 7468, section 2).
    text.insert(64, '\n');
    format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
    use p256::ecdsa::signature::Verifier;
    use x509_cert::der::DecodePem;
    use x509_cert::spki::SubjectPublicKeyInfoOwned;

    use super::*;

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
        assert!(matches!(PrivateKey::load(&file, "wrong"), Err(SigningError::Locked | SigningError::Unusable(_))));
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

//! What any key can do that signs: one in a file, and one in a token that keeps it to itself.

use std::fmt;
use std::io;

use crate::image::Digest;
use crate::json::Value;
use crate::trust::canonical;

/// Something that signs: a key file, or a token that keeps the key to itself.
pub trait Signer: fmt::Debug {
    /// The public key as TUF metadata lists it (TUF 1.0.34, section 4.2): `keytype`, `scheme`, `keyval`.
    fn key(&self) -> Value;

    /// A signature of the message as TUF metadata carries it, before it is written as hex.
    ///
    /// # Errors
    /// The key is out of reach or refuses.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SigningError>;

    /// The key's ID (TUF 1.0.34, section 4.2).
    fn keyid(&self) -> String {
        keyid(&self.key())
    }
}

/// The ID of a key (TUF 1.0.34, section 4.2): SHA-256 of the canonical form of its object, as hex digits.
#[must_use]
pub fn keyid(key: &Value) -> String {
    Digest::of(&canonical::encode(key)).hex()
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
    /// A file of a key, a passphrase or a token can't be read or written.
    #[error("{0}: {1}")]
    File(String, io::Error),
    /// Others than its owner could read the key's file, or another than the caller owns it.
    #[error("{0} {1}; hint: what signs belongs to the user who signs, with mode 0600")]
    Exposed(String, String),
    /// A key without passphrase.
    #[error("an empty passphrase protects nothing")]
    NoPassphrase,
    /// There is no passphrase to be had, and why.
    #[error("{0}")]
    Passphrase(String),
    /// Wrong passphrase, or a damaged file: the cipher can't tell one from the other.
    #[error("the key {0} can't be decrypted; hint: the passphrase is wrong, or the file is damaged")]
    Locked(String),
    /// Neither an encrypted PKCS#8 key nor one of the kinds that can sign.
    #[error("{0}; hint: wanted an encrypted PKCS#8 key (PEM) of P-256 or ed25519")]
    Unusable(&'static str),
    /// A private key's file that holds none, or one in the open.
    #[error("{0}: {1}; hint: wanted an encrypted PKCS#8 key (PEM) of P-256 or ed25519, as `rootpin repo key generate` writes it")]
    Private(String, &'static str),
    /// A public key's file that holds none, or not the one of the private key.
    #[error("{0}: {1}; hint: wanted one public key (PEM) of P-256 or ed25519, as `rootpin repo key generate` writes it")]
    Public(String, &'static str),
    /// A name that no key can have, or one that is taken.
    #[error("{0}")]
    Name(String),
    /// A token, or the file that names a key in it.
    #[error("{0}: {1}")]
    Token(String, String),
    /// The cryptographic library failed.
    #[error("the cryptographic library failed: {0}")]
    Crypto(&'static str),
}

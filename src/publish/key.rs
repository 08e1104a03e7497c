//! What any key can do that signs: one in a file, and one in a token that keeps it to itself.

use std::fmt;
use std::io;

use super::public_key::key_object;
use rootpin_trust::PublicKey;

/// Something that signs: a key file, or a token that keeps the key to itself.
pub trait Signer: fmt::Debug {
    /// The public key.
    fn public(&self) -> &PublicKey;

    /// A signature of the message by that scheme of TUF metadata (TUF 1.0.34, section 4.2), before
    /// it is written as hex.
    ///
    /// # Errors
    /// The key is out of reach, refuses, or has no such scheme.
    fn sign(&self, message: &[u8], scheme: &str) -> Result<Vec<u8>, SigningError>;

    /// The key's ID in metadata that is made here (TUF 1.0.34, section 4.2). Other tools list the
    /// same key under others.
    fn keyid(&self) -> String {
        key_object(self.public()).0
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
    #[error(
        "the key {0} can't be decrypted; hint: the passphrase is wrong, or the file is damaged"
    )]
    Locked(String),
    /// No key that can sign, or not here.
    #[error("{0}")]
    Unusable(String),
    /// A private key's file that can't be used: the file, why, and what to type.
    #[error("{0}: {1}; hint: {2}")]
    Private(String, String, String),
    /// A public key's file that holds none, or not the one of the private key.
    #[error(
        "{0}: {1}; hint: wanted one public key or certificate: PEM or DER of P-256, P-384, RSA or ed25519"
    )]
    Public(String, String),
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

//! A key that signs, in a file or in a token, and why one does not.

use std::fmt;
use std::io;

use super::public_key::key_object;
use crate::problem::Problem;
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
pub enum KeyKind {
    /// `ed25519`
    Ed25519,
    /// `ecdsa-sha2-nistp256`
    P256,
}

/// Why a key was not made, not read, or did not sign.
#[derive(Debug)]
pub enum SigningError {
    /// A file of a key, a passphrase or a token can't be read or written.
    File(String, io::Error),
    /// Others than its owner could read the key's file, or another user owns it: the file, and why.
    Exposed(String, String),
    /// An empty passphrase.
    NoPassphrase,
    /// No passphrase was given, or none that can be used.
    Passphrase(Problem),
    /// Wrong passphrase, or a damaged file: the cipher can't tell one from the other. The key's
    /// name.
    Locked(String),
    /// The key can't sign, or is not here.
    Unusable(String),
    /// A private key's file that can't be used: the file, why, and what to type.
    Private(String, String, String),
    /// A public key's file without a key, or not with that of the private key: the file, and why.
    Public(String, String),
    /// A name that no key can have, or one that is taken.
    Name(Problem),
    /// A token, or the file that names a key in it: which, and why.
    Token(String, Problem),
    /// The cryptographic library failed.
    Crypto(&'static str),
}

impl SigningError {
    /// What went wrong apart from what helps.
    #[must_use]
    pub fn problem(&self) -> Problem {
        match self {
            Self::File(file, error) => Problem::new(format!("{file}: {error}")),
            Self::Exposed(file, why) => Problem::hinted(
                format!("{file} {why}"),
                "what signs belongs to the user who signs, with mode 0600",
            ),
            Self::NoPassphrase => Problem::new("an empty passphrase protects nothing"),
            Self::Passphrase(problem) | Self::Name(problem) => problem.clone(),
            Self::Locked(name) => Problem::hinted(
                format!("the key {name} can't be decrypted"),
                "the passphrase is wrong, or the file is damaged",
            ),
            Self::Unusable(why) => Problem::new(why),
            Self::Private(file, why, hint) => Problem::hinted(format!("{file}: {why}"), hint),
            Self::Public(file, why) => Problem::hinted(
                format!("{file}: {why}"),
                "wanted one public key or certificate: PEM or DER of P-256, P-384, RSA or ed25519",
            ),
            Self::Token(token, problem) => problem.clone().about(token),
            Self::Crypto(why) => Problem::new(format!("the cryptographic library failed: {why}")),
        }
    }
}

impl fmt::Display for SigningError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem().fmt(f)
    }
}

impl std::error::Error for SigningError {}

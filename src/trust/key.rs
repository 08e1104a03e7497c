//! Public keys.

use std::fmt;
use std::str::FromStr;

use crate::image::Digest;

/// A canonical key ID: SHA-256 over the canonical JSON of the bare key (Notary's private key files are named by it).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 32]);

/// Why a PEM file gives no keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyError(pub String);

impl KeyId {
    /// A key ID from its 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&Digest::from_bytes(self.0).hex())
    }
}

impl FromStr for KeyId {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let digest = Digest::from_hex(text).ok_or_else(|| KeyError("not a key ID: wanted 64 lower-case hex digits".to_owned()))?;
        Ok(Self(*digest.as_bytes()))
    }
}

/// The canonical IDs of all public keys and certificates in a PEM file.
///
/// # Errors
/// No key in it, or one that is not understood.
pub fn keys_in_pem(_pem: &[u8]) -> Result<Vec<KeyId>, KeyError> {
    Err(KeyError("to come".to_owned()))
}

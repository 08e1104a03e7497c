//! Public keys.

/// A canonical key ID: SHA-256 over the canonical JSON of the bare key (Notary's private key files are named by it).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 32]);

/// Why a PEM file gives no keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyError(pub String);

/// The canonical IDs of all public keys and certificates in a PEM file.
///
/// # Errors
/// No key in it, or one that is not understood.
pub fn keys_in_pem(_pem: &[u8]) -> Result<Vec<KeyId>, KeyError> {
    Err(KeyError("to come".to_owned()))
}

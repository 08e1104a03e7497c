//! Fingerprints, which people compare over another way than the one the key came by.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::key::PublicKey;
use crate::image::Digest;

/// SHA-256 over DER of a key's subject public key info: what `openssl pkey -pubin -outform DER |
/// sha256sum` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint(Digest);

impl Fingerprint {
    /// That of a key; none where its kind is not known here.
    #[must_use]
    pub fn of(key: &PublicKey) -> Option<Self> {
        Some(Self(Digest::of(&key.spki()?)))
    }

    /// That of the key with this DER of its subject public key info.
    #[must_use]
    pub fn of_spki(der: &[u8]) -> Self {
        Self(Digest::of(der))
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// In hexadecimal digits.
    #[must_use]
    pub fn hex(&self) -> String {
        self.0.hex()
    }
}

impl fmt::Display for Fingerprint {
    /// `SHA256:` and base64 without padding, as OpenSSH writes it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "SHA256:{}",
            STANDARD_NO_PAD.encode(self.0.as_bytes())
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::key_file::public_keys;
    use super::*;

    fn key(name: &str) -> PublicKey {
        let pem = std::fs::read(format!(
            "{}/../../tests/data/keys/{name}",
            env!("CARGO_MANIFEST_DIR")
        ))
        .unwrap();
        public_keys(&pem).unwrap().remove(0)
    }

    #[test]
    fn ed25519_has_the_public_key_info_that_openssl_writes() {
        let pem = std::fs::read(format!(
            "{}/../../tests/data/keys/ed25519.pub",
            env!("CARGO_MANIFEST_DIR")
        ))
        .unwrap();
        let der = super::super::pem::blocks(&pem).unwrap().remove(0).bytes;
        assert_eq!(key("ed25519.pub").spki(), Some(der.to_vec()));
    }
}

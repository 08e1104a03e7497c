//! Fingerprints, which people compare over another way than the one the key came by.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::key::{KeyId, PublicKey};
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

/// A name of a key as tools write it: 64 hex digits of its canonical ID or of a fingerprint, `SHA256:` and
/// base64 as OpenSSH writes it, or pairs of hex digits with colons as `openssl x509 -fingerprint -sha256` does.
#[must_use]
pub fn key_name(text: &str) -> Option<KeyId> {
    if let Some(base64) = text.strip_prefix("SHA256:") {
        let bytes = STANDARD_NO_PAD.decode(base64.trim_end_matches('=')).ok()?;
        return Some(KeyId::from_bytes(bytes.try_into().ok()?));
    }
    let pairs: Vec<&str> = text.split(':').collect();
    if pairs.len() == 32 && pairs.iter().all(|pair| pair.len() == 2) {
        return pairs.concat().to_ascii_lowercase().parse().ok();
    }
    text.parse().ok()
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
    fn a_key_is_named_by_each_hash_that_tools_print_of_it() {
        let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data");
        let read = |name: &str| std::fs::read(format!("{data}/signatures/{name}")).unwrap();
        let key = public_keys(&read("certificates/p384.crt"))
            .unwrap()
            .remove(0);
        // openssl x509 -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum
        let spki = "9d7dd64a0c3c78000e003da3f3882793ea88cf9e71118af24bf95ee330886cb8";
        let certificate = key.certificates()[0].sha256.hex();
        let pairs: Vec<&str> = (0..32).map(|at| &certificate[2 * at..2 * at + 2]).collect();
        let print = Fingerprint::of(&key).unwrap();
        assert_eq!(print.hex(), spki);
        let texts = [
            key.id().to_string(),
            spki.to_owned(),
            print.to_string(),
            format!("{print}="),
            certificate.clone(),
            pairs.join(":"),
            pairs.join(":").to_ascii_uppercase(),
        ];
        for text in texts {
            let name = key_name(&text).unwrap();
            assert!(key.is_revoked(&[name].into()), "{text}");
        }
        assert!(!key.is_revoked(&[KeyId::from_bytes([7; 32])].into()));
        for text in [
            "",
            "SHA256:",
            "SHA256:AAAA",
            &spki[1..],
            spki.to_ascii_uppercase().as_str(),
            pairs[1..].join(":").as_str(),
        ] {
            assert!(key_name(text).is_none(), "{text}");
        }
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

//! Canonical key IDs.

use std::fmt;
use std::str::FromStr;

use crate::image::Digest;
use crate::pem::PemError;

/// A canonical key ID: SHA-256 over the canonical JSON of the bare key (Notary's private key files
/// are named by it).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub(super) Digest);

/// Why a PEM file gives no keys, or text is no key ID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyError(pub String);

impl From<PemError> for KeyError {
    fn from(error: PemError) -> Self {
        Self(error.to_string())
    }
}

impl KeyId {
    /// An ID from its 32 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Digest::from_bytes(bytes))
    }

    /// The 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// notary-v1 key ID: SHA-256 of the canonical JSON of type and public part, with a private part
    /// of null.
    pub(super) fn of(keytype: &str, public: &str) -> Self {
        let [keytype, public] =
            [keytype, public].map(|text| text.replace('\\', "\\\\").replace('"', "\\\""));
        let key =
            format!(r#"{{"keytype":"{keytype}","keyval":{{"private":null,"public":"{public}"}}}}"#);
        Self(Digest::of(key.as_bytes()))
    }

    /// Key IDs for people: the first four.
    pub fn list<'a>(ids: impl IntoIterator<Item = &'a Self>) -> String {
        let ids: Vec<_> = ids.into_iter().map(Self::to_string).collect();
        match ids.len() {
            0 => "(none)".to_owned(),
            1..=4 => ids.join(", "),
            more => format!(
                "{} and {} more",
                ids.get(..4).unwrap_or_default().join(", "),
                more - 4
            ),
        }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.hex())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for KeyId {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let wrong = || KeyError("not a key ID: wanted 64 lower-case hex digits".to_owned());
        Digest::from_hex(text).map(Self).ok_or_else(wrong)
    }
}

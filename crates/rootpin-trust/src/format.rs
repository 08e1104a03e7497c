//! The two formats of metadata files, and how they differ.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::{Code, Refusal, hex};

/// The format of a metadata file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Notary v1.
    Notary,
    /// The Update Framework 1.0.
    Tuf,
}

impl Format {
    /// A refusal because of a file's form.
    pub(crate) fn malformed(self, file: &str, what: &str) -> Refusal {
        let (wanted, hint) = match self {
            Self::Notary => (
                "strict Notary v1 metadata",
                "the file is not as a Notary v1 publisher writes it; ask who runs the trust server",
            ),
            Self::Tuf => (
                "metadata of The Update Framework 1.0",
                "this is not what the publisher's tools write; find out who answers in the source's place",
            ),
        };
        Refusal::new(Code::Malformed, format!("{file} with {what}"), wanted, hint)
    }

    /// `_type` of a role's file.
    pub(crate) fn kind(self, role: &str) -> &'static str {
        match (self, role) {
            (Self::Notary, "root") => "Root",
            (Self::Notary, "timestamp") => "Timestamp",
            (Self::Notary, "snapshot") => "Snapshot",
            (Self::Notary, _) => "Targets",
            (Self::Tuf, "root") => "root",
            (Self::Tuf, "timestamp") => "timestamp",
            (Self::Tuf, "snapshot") => "snapshot",
            (Self::Tuf, _) => "targets",
        }
    }

    /// The bytes of a hash or a signature: base64 in Notary's files, hexadecimal digits in TUF's.
    pub(crate) fn bytes(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Self::Notary => STANDARD.decode(text).ok(),
            Self::Tuf => hex::decode(text),
        }
    }
}

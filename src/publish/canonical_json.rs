//! The canonical form of JSON, which is what metadata's signatures and key IDs are made of.

use serde_json::Value;

use rootpin_trust::canonical::{self, Limits, Text};
use rootpin_trust::{Format, KeyId, PublicKey};

/// A publisher's own files: above what any host takes.
const LIMITS: Limits = Limits {
    bytes: 64 << 20,
    depth: 32,
    values: 8_000_000,
};

/// The canonical ID of a key as metadata lists it, whatever tool made the listing; none, where its
/// kind or scheme is not known here.
#[must_use]
pub fn material(keyid: &str, key: &Value) -> Option<KeyId> {
    let key = listed(keyid, key)?;
    (!key.kind().is_empty()).then(|| key.id())
}

/// The canonical ID of a key (as for [`material`]), if it made this signature of the message.
pub(super) fn signed_by(
    keyid: &str,
    key: &Value,
    message: &[u8],
    signature: &[u8],
) -> Option<KeyId> {
    let key = listed(keyid, key)?;
    // A key of TUF 1.0 says itself how it signs; one of an unknown kind verifies nothing.
    key.verify("", message, signature, false).then(|| key.id())
}

/// A key as metadata lists it.
fn listed(keyid: &str, key: &Value) -> Option<PublicKey> {
    PublicKey::from_metadata(Format::Tuf, keyid, Text::of(&canonical_text(key)?)).ok()
}

/// The canonical text of JSON that is written already.
pub(super) fn canonical_bytes(json: &[u8]) -> Option<Vec<u8>> {
    canonical::rewrite_doubles(json, LIMITS).ok()
}

/// The canonical text of a value.
pub(super) fn canonical_text(value: &Value) -> Option<Vec<u8>> {
    canonical_bytes(&serde_json::to_vec(value).ok()?)
}

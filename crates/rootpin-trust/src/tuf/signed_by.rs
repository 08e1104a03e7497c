//! Single signatures, for whoever collects them. Whether they are enough is judged by
//! [`super::Update`] and [`super::Sweep`] alone.

use crate::KeyId;
use crate::canonical::Text;
use crate::format::Format;
use crate::key::PublicKey;

/// The canonical ID of a key, from the canonical text of what metadata lists under that key ID: the
/// same whatever tool lists it, in whatever form. None, where its kind or scheme is not known here.
#[must_use]
pub fn key_id(keyid: &str, key: &[u8]) -> Option<KeyId> {
    let key = PublicKey::from_metadata(Format::Tuf, keyid, Text::of(key)).ok()?;
    (!key.kind().is_empty()).then(|| key.id())
}

/// The canonical ID of a key (as for [`key_id`]), if it made this signature of the message.
#[must_use]
pub fn signed_by(keyid: &str, key: &[u8], message: &[u8], signature: &[u8]) -> Option<KeyId> {
    let key = PublicKey::from_metadata(Format::Tuf, keyid, Text::of(key)).ok()?;
    // A key of TUF 1.0 says itself how it signs; one of an unknown kind verifies nothing.
    key.verify("", message, signature, false).then(|| key.id())
}

//! Digests as a policy writes them.

use super::diagnostic::Fault;
use rootpin_trust::image::Digest;

/// What to write.
pub(super) const FORM: &str = "write sha256: and 64 lower-case hex digits";

/// Reads a digest.
pub(super) fn parse(text: &str) -> Result<Digest, Fault> {
    text.parse()
        .map_err(|_| Fault::new("bad-digest", format!("{text:?} is not a digest"), FORM))
}

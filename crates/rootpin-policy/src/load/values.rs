//! Values as a policy writes them.

use rootpin_trust::KeyId;
use rootpin_trust::image::Digest;

use super::mandatory::{DIGEST, REASON};
use crate::finding::Fault;
use crate::finding::FindingCode::{BadDigest, BadKey, BadValue};

pub(super) fn digest(text: &str) -> Result<Digest, Fault> {
    let bad = |_| Fault::new(BadDigest, format!("{text:?} is not a digest"), DIGEST);
    text.parse().map_err(bad)
}

/// A digest as sha256sum prints it.
pub(super) fn sha256(text: &str) -> Result<Digest, Fault> {
    let hint = "write 64 lower-case hex digits, as sha256sum prints them";
    let bad = || Fault::new(BadDigest, format!("{text:?} is not a sha256"), hint);
    Digest::from_hex(text).ok_or_else(bad)
}

/// A key as a revocation names it.
pub(super) fn key_name(text: &str) -> Result<KeyId, Fault> {
    let hint = "rootpin pin revoke KEY writes the entry: KEY is its file, its fingerprint SHA256:…, or 64 lower-case hex digits of its fingerprint, its certificate's or its key ID";
    let message = format!("{text:?} names no key");
    rootpin_trust::key_name(text).ok_or_else(|| Fault::new(BadKey, message, hint))
}

/// The reason of an exemption or a revocation: one line that is not empty.
pub(super) fn reason(text: &str) -> Result<String, Fault> {
    if text.trim().is_empty() || text.chars().any(char::is_control) {
        let message = "the reason is empty, or more than a line of text";
        return Err(Fault::new(BadValue, message, REASON));
    }
    Ok(text.to_owned())
}

/// The ID of a root.
pub(super) fn id(text: &str) -> Result<(), Fault> {
    let message = format!("{text:?} can't be an id");
    let bad = || Fault::new(BadValue, message, "use letters, digits, . _ and -");
    is_plain(text).then_some(()).ok_or_else(bad)
}

/// A namespace of containerd.
pub(super) fn namespace(text: &str) -> Result<String, Fault> {
    let message = format!("{text:?} is not a containerd namespace");
    let bad = || Fault::new(BadValue, message, "as moby, k8s.io or buildkit");
    let is_namespace = text.len() <= 76 && is_plain(text);
    is_namespace.then(|| text.to_owned()).ok_or_else(bad)
}

fn is_plain(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !text.is_empty() && text.chars().all(is_plain)
}

//! The names and digests that reports and audit files have, as a pull would mean them.

use rootpin_trust::image::{Digest, ImageRef};

/// An image of a report, as a pull would mean it.
pub(super) enum Pulled {
    /// By this name and digest.
    Image(ImageRef, Digest),
    /// It has no name or no digest of a registry, and its host did not judge it.
    Nothing,
    /// Its host judged it, and what the report says of it is not understood.
    Unread(String),
}

/// The image that a report names.
pub(super) fn pulled(name: &str, digest: Option<&str>, is_judged: bool) -> Pulled {
    let parsed = (name.parse(), digest.map(str::parse));
    match parsed {
        (Ok(name), Some(Ok(digest))) => Pulled::Image(name, digest),
        (_, None) => Pulled::Nothing,
        _ if !is_judged => Pulled::Nothing,
        (Err(_), _) => Pulled::Unread(format!("{name:?} is no image name")),
        (_, Some(Err(_))) => {
            let digest = digest.unwrap_or_default();
            Pulled::Unread(format!("{digest:?} is no digest, of {name}"))
        }
    }
}

/// Whether a line has a repository alone, which is all that a label of the bytes tells. As a name it
/// would be its tag `latest`.
pub(super) fn is_bare(text: Option<&str>, name: &ImageRef) -> bool {
    let is_latest = name
        .tag
        .as_ref()
        .is_some_and(|tag| tag.as_str() == "latest");
    is_latest && name.digest.is_none() && text.is_some_and(|text| !text.ends_with(":latest"))
}

//! What the images of a report are made of, as far as a newly revoked digest may be one of it.

use std::borrow::Cow;
use std::collections::HashMap;

use rootpin_policy::Policy;
use rootpin_trust::image::Digest;
use serde::Deserialize;

use super::borrowed_text::Text;

/// By an image's digest: what it is made of.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct ReportedParts<'a>(#[serde(borrow)] HashMap<Text<'a>, Vec<Text<'a>>>);

/// The digests that the policies at hand revoke. No other part of an image changes an answer.
#[derive(Debug, Default)]
pub(super) struct RevokedDigests(HashMap<String, Digest>);

impl RevokedDigests {
    pub(super) fn of<'a>(policies: impl IntoIterator<Item = &'a Policy>) -> Self {
        let all = policies.into_iter().flat_map(Policy::revoked_digests);
        Self(
            all.map(|(digest, _)| (digest.to_string(), *digest))
                .collect(),
        )
    }

    /// Those that are parts of an image; `None` where the report does not list its parts.
    pub(super) fn among(&self, parts: &ReportedParts<'_>, top: &str) -> Option<Vec<Digest>> {
        if self.0.is_empty() {
            return Some(Vec::new());
        }
        let parts = parts.0.get(&Text(Cow::Borrowed(top)))?;
        let revoked = parts.iter().filter_map(|part| self.0.get(&**part));
        Some(revoked.copied().collect())
    }
}

//! Texts that are read from reports without a copy.

use std::borrow::Cow;
use std::ops::Deref;

use serde::Deserialize;

/// A text of a report, which is borrowed from its bytes; of an `Option<Cow<str>>` serde would make a
/// copy.
#[derive(Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Text<'_> {
    pub(super) fn into_owned(self) -> String {
        self.0.into_owned()
    }
}

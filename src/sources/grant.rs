//! A token, and how long it opens its server.

use std::fmt;

use reqwest::Url;
use reqwest::header::HeaderValue;
use tokio::time::Instant;

use crate::credentials::Credential;

/// What a grant is good for: a server's origin and a scope.
pub(super) type Realm = (String, String);

/// A header `Authorization`, and the only origin that is sent it.
#[derive(Clone)]
pub(super) struct Authorization {
    pub(super) header: HeaderValue,
    pub(super) origin: String,
}

impl Authorization {
    /// A header for the server of that URL.
    pub(super) fn to(server: &Url, header: HeaderValue) -> Self {
        Self {
            header,
            origin: server.origin().ascii_serialization(),
        }
    }

    /// Whether the server of that URL may be sent it.
    pub(super) fn is_for(&self, url: &Url) -> bool {
        url.origin().ascii_serialization() == self.origin
    }
}

/// Something that opens a server for a while.
#[derive(Clone)]
pub(super) struct Grant {
    pub(super) authorization: Authorization,
    pub(super) until: Instant,
    /// What of this host's credentials opened it, if anything did.
    pub(super) credential: Option<Credential>,
    /// For the error, where it doesn't open it after all.
    pub(super) tried: String,
}

impl fmt::Debug for Grant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Grant")
            .field("tried", &self.tried)
            .finish_non_exhaustive()
    }
}

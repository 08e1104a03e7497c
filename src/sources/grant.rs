//! A token, and how long it opens its server.

use std::fmt;

use reqwest::header::HeaderValue;
use tokio::time::Instant;

use crate::credentials::Credential;

/// What a grant is good for: a server's origin and a scope.
pub(super) type Realm = (String, String);

/// Something that opens a server for a while.
#[derive(Clone)]
pub(super) struct Grant {
    pub(super) header: HeaderValue,
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

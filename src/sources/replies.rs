//! What registries answered while one question was decided, so that none is asked twice for it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use reqwest::Url;

use super::SourceError;
use super::http::Reply;

/// Bytes that are remembered for one question: some four hundred signatures.
const MOST_BYTES: usize = 4 << 20;

/// The replies of one question's searches for signatures.
#[derive(Debug, Default)]
pub(crate) struct RegistryReplies(Mutex<Replies>);

#[derive(Debug, Default)]
struct Replies {
    by_url: HashMap<Url, Result<Reply, SourceError>>,
    bytes: usize,
    asked: bool,
}

impl RegistryReplies {
    /// Whether a registry was asked for anything.
    pub(crate) fn asked(&self) -> bool {
        self.lock().asked
    }

    pub(super) fn get(&self, url: &Url) -> Option<Result<Reply, SourceError>> {
        self.lock().by_url.get(url).cloned()
    }

    /// Remembers an answer. Silence is none: whoever has more time may hear one.
    pub(super) fn add(&self, url: Url, reply: &Result<Reply, SourceError>) {
        let mut replies = self.lock();
        replies.asked = true;
        let is_silent = match reply {
            Ok(reply) => reply.status.as_u16() != 200 && reply.error().is_silent(),
            Err(error) => error.is_silent(),
        };
        if is_silent {
            return;
        }
        let bytes = replies.bytes + reply.as_ref().map_or(0, |reply| reply.body.len());
        if bytes <= MOST_BYTES {
            replies.bytes = bytes;
            replies.by_url.insert(url, reply.clone());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Replies> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;
    use reqwest::header::HeaderMap;

    use super::*;
    use crate::sources::ServerWords;

    #[test]
    fn answers_are_remembered_within_a_bound_and_silence_is_asked_again() {
        let replies = RegistryReplies::default();
        let url = |path: &str| Url::parse("https://r.example/v2/").unwrap().join(path);
        let answer = |path: &str, status: StatusCode, length: usize| {
            let url = url(path).unwrap();
            let reply = Reply {
                url: url.clone(),
                status,
                headers: HeaderMap::new(),
                body: vec![0; length],
                said: ServerWords::default(),
            };
            replies.add(url.clone(), &Ok(reply));
            replies.get(&url).is_some()
        };
        assert!(!replies.asked());
        assert!(!answer("busy", StatusCode::TOO_MANY_REQUESTS, 0));
        assert!(!answer("broken", StatusCode::BAD_GATEWAY, 0));
        assert!(replies.asked());
        let silent = url("silent").unwrap();
        let cause = "timed out".to_owned();
        let error = SourceError::Silent {
            url: silent.to_string(),
            cause,
        };
        replies.add(silent.clone(), &Err(error));
        assert!(replies.get(&silent).is_none());
        assert!(answer("manifest", StatusCode::OK, MOST_BYTES - 1));
        assert!(answer("none", StatusCode::NOT_FOUND, 0));
        assert!(!answer("blob", StatusCode::OK, 2));
        assert!(answer("small", StatusCode::OK, 1));
    }
}

//! One look at one source: what it shows, and what the host's cache has.

use std::collections::{BTreeMap, BTreeSet};

use rootpin_trust::{Answer, Code, FetchFrom, Refusal, Subject, Want};

use crate::client::Host;
use crate::history::Files;

/// What a source shows.
#[derive(Clone, Default)]
pub(crate) struct View {
    pub(crate) files: Files,
    /// Names of files for which it sends nothing, or no answer that counts as one.
    pub(crate) silent: BTreeSet<String>,
    /// Names of files for which it wants credentials.
    pub(crate) denied: BTreeSet<String>,
    /// Whether it can't be reached at all.
    pub(crate) is_cut_off: bool,
}

/// What the network shows, by the ID of the root, for Notary with the repository's name.
pub(crate) type Network = BTreeMap<String, View>;

/// Why a look ended.
pub(crate) enum Failure {
    Silent,
    No(Refusal),
}

/// One look at one source.
pub(crate) struct Look<'a> {
    pub(crate) host: &'a Host,
    pub(crate) view: &'a View,
    /// The source's name in [`Network`] and in the host's cache.
    pub(crate) source: &'a str,
    pub(crate) subject: Subject,
    pub(crate) offline: bool,
    /// Roots of an update that broke off.
    pub(crate) roots: Files,
    pub(crate) fetched: usize,
    pub(crate) bytes: usize,
}

impl Failure {
    /// What 401 and 403 are.
    pub(crate) fn denied() -> Self {
        Self::No(Refusal::new(Code::SourceDenied, "403", "an answer", "ask"))
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::No(refusal)
    }
}

impl Look<'_> {
    /// What the source shows, or what is in the cache.
    pub(crate) fn fetch(&mut self, want: &Want) -> Result<Answer, Failure> {
        let name = want.request.cache_name();
        let cached = || {
            let cache = self.host.caches.get(self.source);
            let root = self.roots.get(&name);
            root.or_else(|| cache?.get(&name)).cloned()
        };
        if want.from == FetchFrom::Cache {
            return Ok(cached().into());
        }
        let request = &want.request;
        if self.offline {
            return match cached() {
                // Whether there is a newer root can't be known.
                _ if request.is_root_version() => Ok(Answer::Missing),
                Some(bytes) if self.subject != Subject::Tuf || request.role == "timestamp" => {
                    Ok(Answer::Bytes(bytes))
                }
                _ => Err(Failure::Silent),
            };
        }
        let name = request.file_name();
        self.fetched += 1;
        if self.view.is_cut_off || self.view.silent.contains(&name) {
            return Err(Failure::Silent);
        }
        if self.view.denied.contains(&name) {
            return Err(Failure::denied());
        }
        // Bytes past the limit are handed on: a source would not read them.
        let bytes = self.view.files.get(&name).cloned();
        self.bytes += bytes.as_ref().map_or(0, Vec::len);
        Ok(bytes.into())
    }
}

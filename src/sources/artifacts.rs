//! One repository of a registry, read and written (OCI distribution-spec, "Pull" and "Push").
//! Nothing is ever deleted.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::LOCATION;
use reqwest::{Method, Url};
use tokio::time::Instant;

use rootpin_trust::image::{Digest, Document, Repository, Tag};

use super::hosts::Capability;
use super::http::{Ask, HttpClient, Reply};
use super::registry::{self, Endpoint, REDIRECTS};
use super::{Credentials, SourceError, escaped, listing, shown};

/// For one request, an upload of a large file among them.
const DEADLINE: Duration = Duration::from_secs(120);
/// How often a request is made that the registry could not take at the moment.
const TRIES: u32 = 5;
/// The longest wait before the second of these; each further one is up to twice as long.
const WAIT: Duration = Duration::from_millis(30);
/// The longest wait that a registry can ask for.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// A repository that may be written to.
#[derive(Debug, Clone)]
pub(crate) struct Artifacts {
    endpoint: Endpoint,
    repository: Repository,
    /// What is asked of a token service.
    scope: String,
}

impl Artifacts {
    /// The media type of the manifests that are written.
    pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

    /// The repository, asked with these credentials.
    ///
    /// # Errors
    /// No client can be made, or a registry on this machine does not answer.
    pub(crate) async fn open(
        repository: &Repository,
        credentials: Arc<Credentials>,
    ) -> Result<Self, SourceError> {
        let other = |error: super::ClientError| SourceError::Other {
            url: repository.to_string(),
            cause: error.to_string(),
        };
        let client = HttpClient::new(None, credentials).map_err(other)?;
        let endpoints = registry::endpoints(&client, repository, Capability::Push)?;
        let at = |endpoint: &Endpoint| Self {
            endpoint: endpoint.clone(),
            repository: repository.clone(),
            scope: format!("{},push", endpoint.scope(repository)),
        };
        // Any answer to a question for a tag tells where the registry is.
        let tag = latest()?;
        again(SourceError::is_silent, async || {
            for endpoint in &endpoints {
                let asked = at(endpoint).under(&tag).await.map(Some);
                if endpoint.settle(asked, &mut None).is_some() {
                    return Ok(at(endpoint));
                }
            }
            Err(SourceError::Unreachable {
                url: repository.to_string(),
                cause: "no way to this registry answers".to_owned(),
            })
        })
        .await
    }

    /// The manifest under a tag; `None` where there is no such tag or repository.
    ///
    /// # Errors
    /// See [`SourceError`].
    pub(crate) async fn manifest(&self, tag: &Tag) -> Result<Option<Vec<u8>>, SourceError> {
        again(SourceError::is_silent, async || self.under(tag).await).await
    }

    async fn under(&self, tag: &Tag) -> Result<Option<Vec<u8>>, SourceError> {
        let reply = self
            .get(
                &format!("manifests/{tag}"),
                Self::MANIFEST,
                Document::LIMITS.bytes,
            )
            .await?;
        Ok(if registry::missing(&reply)? {
            None
        } else {
            Some(reply.body)
        })
    }

    /// A blob of at most so many bytes.
    ///
    /// # Errors
    /// It is not there, or the registry sends other bytes.
    pub(crate) async fn blob(
        &self,
        digest: &Digest,
        max_bytes: usize,
    ) -> Result<Vec<u8>, SourceError> {
        let reply = again(SourceError::is_silent, async || {
            let reply = self
                .get(&format!("blobs/{digest}"), "*/*", max_bytes)
                .await?;
            if reply.status.as_u16() == 200 {
                Ok(reply)
            } else {
                Err(reply.error())
            }
        });
        let reply = reply.await?;
        if Digest::of(&reply.body) == *digest {
            Ok(reply.body)
        } else {
            Err(SourceError::Other {
                url: shown(&reply.url),
                cause: "sent other bytes than those of the digest".to_owned(),
            })
        }
    }

    /// All tags; `None`: this registry lists none, or not to us.
    ///
    /// # Errors
    /// It does not answer, or lists too many.
    pub(crate) async fn tags(&self) -> Result<Option<Vec<Tag>>, SourceError> {
        match again(SourceError::is_silent, async || self.all_tags().await).await {
            Err(
                SourceError::Denied { .. }
                | SourceError::Answered {
                    status: 400 | 405 | 501,
                    ..
                },
            ) => Ok(None),
            tags => tags.map(Some),
        }
    }

    async fn all_tags(&self) -> Result<Vec<Tag>, SourceError> {
        let url = self.endpoint.url(&self.repository, "tags/list?n=1000")?;
        let pages = listing::pages(&self.endpoint, url, &self.scope, DEADLINE).await?;
        let tags = pages
            .unwrap_or_default()
            .into_iter()
            .flat_map(|page| page.tags.unwrap_or_default());
        Ok(tags.filter_map(|tag| tag.parse().ok()).collect())
    }

    /// Uploads a blob that is not there yet, whole (distribution-spec, "POST then PUT").
    ///
    /// # Errors
    /// See [`SourceError`].
    pub(crate) async fn put_blob(&self, bytes: &[u8]) -> Result<Digest, SourceError> {
        again(may_pass, async || self.upload(bytes).await).await
    }

    async fn upload(&self, bytes: &[u8]) -> Result<Digest, SourceError> {
        let digest = Digest::of(bytes);
        let there = self
            .endpoint
            .url(&self.repository, &format!("blobs/{digest}"))?;
        // A registry may send the question on to a storage that takes none of this kind. What is not
        // known to be there is sent.
        match self.ask(Method::HEAD, there, "*/*", 0, None).await {
            Ok(head) if head.status.as_u16() == 200 => return Ok(digest),
            Err(error) if error.is_silent() => return Err(error),
            Ok(_) | Err(_) => {}
        }
        let begin = self.endpoint.url(&self.repository, "blobs/uploads/")?;
        let started = self
            .ask(
                Method::POST,
                begin,
                "*/*",
                0,
                Some(("application/octet-stream", &[])),
            )
            .await?;
        if !started.status.is_success() {
            return Err(started.error());
        }
        let mut to = location(&started)?;
        to.query_pairs_mut()
            .append_pair("digest", &digest.to_string());
        let put = self
            .ask(
                Method::PUT,
                to,
                "*/*",
                0,
                Some(("application/octet-stream", bytes)),
            )
            .await?;
        if put.status.is_success() {
            Ok(digest)
        } else {
            Err(put.error())
        }
    }

    /// Puts a manifest under a tag, in place of what is there.
    ///
    /// # Errors
    /// See [`SourceError`].
    pub(crate) async fn put_manifest(&self, tag: &Tag, bytes: &[u8]) -> Result<(), SourceError> {
        let to = self
            .endpoint
            .url(&self.repository, &format!("manifests/{tag}"))?;
        again(may_pass, async || {
            let put = self
                .ask(
                    Method::PUT,
                    to.clone(),
                    "*/*",
                    0,
                    Some((Self::MANIFEST, bytes)),
                )
                .await?;
            if put.status.is_success() {
                Ok(())
            } else {
                Err(put.error())
            }
        })
        .await
    }

    async fn get(&self, rest: &str, accept: &str, cap: usize) -> Result<Reply, SourceError> {
        self.ask(
            Method::GET,
            self.endpoint.url(&self.repository, rest)?,
            accept,
            cap,
            None,
        )
        .await
    }

    async fn ask(
        &self,
        method: Method,
        url: Url,
        accept: &str,
        cap: usize,
        send: Option<(&str, &[u8])>,
    ) -> Result<Reply, SourceError> {
        // What is sent goes where it was meant to, and nowhere else.
        let redirects = if send.is_some() { 0 } else { REDIRECTS };
        let ask = Ask {
            method,
            url,
            accept,
            cap,
            scope: &self.scope,
            redirects,
            send,
        };
        self.endpoint.ask(&ask, Instant::now() + DEADLINE).await
    }
}

/// Makes a request until it does something else than `passes` says may pass. Each machine waits
/// another time.
async fn again<T>(
    passes: fn(&SourceError) -> bool,
    ask: impl AsyncFn() -> Result<T, SourceError>,
) -> Result<T, SourceError> {
    for tries in 1..TRIES {
        match ask().await {
            Err(error) if passes(&error) => {
                log::info!("{error}; trying again ({tries} of {})", TRIES - 1);
                tokio::time::sleep(wait(
                    &error,
                    tries,
                    RandomState::new().hash_one(0).to_be_bytes()[0],
                ))
                .await;
            }
            done => return done,
        }
    }
    ask().await
}

/// How long to wait after so many tries, by chance: as long as the registry wants, if that is not
/// too long.
fn wait(error: &SourceError, tries: u32, chance: u8) -> Duration {
    let own = WAIT * (1 << (tries - 1)) * (128 + u32::from(chance)) / 384;
    match error {
        SourceError::Answered {
            again_in: Some(seconds),
            ..
        } => own + Duration::from_secs(*seconds).min(MAX_WAIT),
        _ => own,
    }
}

/// Where several machines write at one moment, a registry that keeps files answers 400 or 404 to
/// one of them, for a file that is half there.
fn may_pass(error: &SourceError) -> bool {
    error.is_silent()
        || matches!(
            error,
            SourceError::Answered { .. } | SourceError::Other { .. }
        )
}

fn latest() -> Result<Tag, SourceError> {
    "latest".parse().map_err(|_| SourceError::Other {
        url: "latest".to_owned(),
        cause: "is no tag".to_owned(),
    })
}

/// Where an upload goes on: at the same registry, for the credentials go along.
fn location(reply: &Reply) -> Result<Url, SourceError> {
    let to = reply
        .headers
        .get(LOCATION)
        .and_then(|value| value.to_str().ok());
    let url = to
        .and_then(|to| reply.url.join(to).ok())
        .filter(|url| url.origin() == reply.url.origin());
    let url = url.filter(|url| url.username().is_empty() && url.password().is_none());
    url.ok_or_else(|| {
        let to = escaped(to.unwrap_or("nothing"));
        SourceError::Other {
            url: shown(&reply.url),
            cause: format!("an upload that goes on elsewhere than at this registry: {to}"),
        }
    })
}

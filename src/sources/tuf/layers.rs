//! Metadata in a registry, as Docker's own tools lay it out (docker/go-tuf-mirror): one layer for
//! each file.

use std::collections::BTreeMap;

use reqwest::Method;
use tokio::time::Instant;

use crate::sources::http::Ask;
use crate::sources::manifest_files::files_of;
use crate::sources::registry::{self, Endpoint, REDIRECTS};
use crate::sources::{SourceError, shown};
use rootpin_trust::image::{Descriptor, Digest, Document, Repository, Tag};

const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";
const MEDIA_TYPE: &str = "application/vnd.tuf.metadata+json";
const FILE_NAME: &str = "tuf.io/filename";

/// The files of the tag of the top-level roles.
#[derive(Debug)]
pub(super) struct Layers {
    repository: Repository,
    /// Where the tag was found: its files are read there too.
    endpoint: Endpoint,
    files: BTreeMap<String, Descriptor>,
}

/// Looks the tag up, by the first of these ways that answers.
pub(super) async fn open(
    ways: &[Endpoint],
    repository: &Repository,
    tag: &Tag,
    deadline: Instant,
) -> Result<Option<Layers>, SourceError> {
    for endpoint in ways {
        match files(endpoint, repository, tag, deadline).await {
            Err(error) if endpoint.was_guessed_wrong(&error) => {}
            found => {
                return Ok(found?.map(|files| Layers {
                    repository: repository.clone(),
                    endpoint: endpoint.clone(),
                    files,
                }));
            }
        }
    }
    Ok(None)
}

impl Layers {
    /// One file: of the top-level roles' tag, or else of the tag that has the role's name.
    pub(super) async fn get(
        &self,
        name: &str,
        role: Option<&str>,
        max_bytes: usize,
        deadline: Instant,
    ) -> Result<Option<Vec<u8>>, SourceError> {
        if let Some(descriptor) = self.files.get(name) {
            return self.blob(descriptor, max_bytes, deadline).await.map(Some);
        }
        // A role whose name is no tag can have none.
        let Some(tag) = role.and_then(|role| role.parse::<Tag>().ok()) else {
            return Ok(None);
        };
        match files(&self.endpoint, &self.repository, &tag, deadline)
            .await?
            .unwrap_or_default()
            .get(name)
        {
            Some(descriptor) => self.blob(descriptor, max_bytes, deadline).await.map(Some),
            None => Ok(None),
        }
    }

    async fn blob(
        &self,
        descriptor: &Descriptor,
        max_bytes: usize,
        deadline: Instant,
    ) -> Result<Vec<u8>, SourceError> {
        let url = self
            .endpoint
            .url(&self.repository, &format!("blobs/{}", descriptor.digest))?;
        let place = shown(&url);
        if usize::try_from(descriptor.size).map_or(true, |size| size > max_bytes) {
            return Err(SourceError::TooLarge {
                url: place,
                limit: max_bytes,
            });
        }
        let scope = self.endpoint.scope(&self.repository);
        let ask = Ask {
            method: Method::GET,
            url,
            accept: "*/*",
            cap: max_bytes,
            scope: &scope,
            redirects: REDIRECTS,
            send: None,
        };
        let reply = self.endpoint.ask(&ask, deadline).await?;
        if reply.status.as_u16() != 200 {
            return Err(reply.error());
        }
        // Metadata is verified by its own signatures; this tells a broken registry from a forged
        // file.
        if Digest::of(&reply.body) != descriptor.digest {
            return Err(SourceError::Other {
                url: place,
                cause: "sent other bytes than those of the digest".to_owned(),
            });
        }
        Ok(reply.body)
    }
}

/// What a tag carries; `None` where it is not there.
async fn files(
    endpoint: &Endpoint,
    repository: &Repository,
    tag: &Tag,
    deadline: Instant,
) -> Result<Option<BTreeMap<String, Descriptor>>, SourceError> {
    let url = endpoint.url(repository, &format!("manifests/{tag}"))?;
    let scope = endpoint.scope(repository);
    let cap = Document::LIMITS.bytes;
    let ask = Ask {
        method: Method::GET,
        url,
        accept: MANIFESTS,
        cap,
        scope: &scope,
        redirects: REDIRECTS,
        send: None,
    };
    let reply = endpoint.ask(&ask, deadline).await?;
    if registry::missing(&reply)? {
        return Ok(None);
    }
    let files = files_of(&reply.body, MEDIA_TYPE, FILE_NAME);
    files.map(Some).map_err(|error| SourceError::Other {
        url: shown(&reply.url),
        cause: format!("no manifest of metadata: {error}"),
    })
}

//! Metadata in a registry, as Docker's own tools lay it out (docker/go-tuf-mirror): one layer for each file.

use std::collections::BTreeMap;

use reqwest::Method;
use tokio::time::Instant;

use crate::image::{Descriptor, Digest, Document, Repository, Tag, files_of};
use crate::sources::http::{Ask, Client};
use crate::sources::registry::{self, REDIRECTS};
use crate::sources::{SourceError, shown};

const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";
const MEDIA_TYPE: &str = "application/vnd.tuf.metadata+json";
const FILE_NAME: &str = "tuf.io/filename";

/// The files of the tag of the top-level roles.
#[derive(Debug)]
pub(super) struct Layers {
    repository: Repository,
    scheme: &'static str,
    files: BTreeMap<String, Descriptor>,
}

/// Looks the tag up.
pub(super) async fn open(client: &Client, repository: &Repository, tag: &Tag, deadline: Instant) -> Result<Layers, SourceError> {
    let layers = |scheme, files| Layers { repository: repository.clone(), scheme, files };
    if registry::may_speak_plain(repository) {
        match files(client, "http", repository, tag, deadline).await {
            Err(error) if !registry::speaks_plain(&error) => {}
            plain => return Ok(layers("http", plain?)),
        }
    }
    Ok(layers("https", files(client, "https", repository, tag, deadline).await?))
}

impl Layers {
    /// One file: of the top-level roles' tag, or else of the tag that has the role's name.
    pub(super) async fn get(
        &self,
        client: &Client,
        name: &str,
        role: Option<&str>,
        max_bytes: usize,
        deadline: Instant,
    ) -> Result<Option<Vec<u8>>, SourceError> {
        if let Some(descriptor) = self.files.get(name) {
            return self.blob(client, descriptor, max_bytes, deadline).await.map(Some);
        }
        // A role whose name is no tag can have none.
        let Some(tag) = role.and_then(|role| role.parse::<Tag>().ok()) else { return Ok(None) };
        match files(client, self.scheme, &self.repository, &tag, deadline).await?.get(name) {
            Some(descriptor) => self.blob(client, descriptor, max_bytes, deadline).await.map(Some),
            None => Ok(None),
        }
    }

    async fn blob(&self, client: &Client, descriptor: &Descriptor, max_bytes: usize, deadline: Instant) -> Result<Vec<u8>, SourceError> {
        let url = registry::url(self.scheme, &self.repository, &format!("blobs/{}", descriptor.digest))?;
        let place = shown(&url);
        if usize::try_from(descriptor.size).map_or(true, |size| size > max_bytes) {
            return Err(SourceError::TooLarge { url: place, limit: max_bytes });
        }
        let scope = registry::scope(&self.repository);
        let ask = Ask { method: Method::GET, url, accept: "*/*", cap: max_bytes, scope: &scope, redirects: REDIRECTS, send: None };
        let reply = client.ask(&ask, deadline).await?;
        if reply.status.as_u16() != 200 {
            return Err(reply.error());
        }
        // Metadata is verified by its own signatures; this tells a broken registry from a forged file.
        if Digest::of(&reply.body) != descriptor.digest {
            return Err(SourceError::Other { url: place, cause: "sent other bytes than those of the digest".to_owned() });
        }
        Ok(reply.body)
    }
}

/// What a tag carries; a tag that is not there carries nothing.
async fn files(
    client: &Client,
    scheme: &str,
    repository: &Repository,
    tag: &Tag,
    deadline: Instant,
) -> Result<BTreeMap<String, Descriptor>, SourceError> {
    let url = registry::url(scheme, repository, &format!("manifests/{tag}"))?;
    let scope = registry::scope(repository);
    let cap = Document::LIMITS.bytes;
    let ask = Ask { method: Method::GET, url, accept: MANIFESTS, cap, scope: &scope, redirects: REDIRECTS, send: None };
    let reply = client.ask(&ask, deadline).await?;
    if registry::missing(&reply)? {
        return Ok(BTreeMap::new());
    }
    files_of(&reply.body, MEDIA_TYPE, FILE_NAME)
        .map_err(|error| SourceError::Other { url: shown(&reply.url), cause: format!("no manifest of metadata: {error}") })
}

//! The readers of TUF metadata: static files over http, layers in a registry, or a folder of
//! this host.

mod folder;
mod layers;
mod web;

use std::sync::Arc;

use tokio::time::Instant;

use super::hosts::Capability;
use super::registry::{self, Endpoint};
use super::server_backoff::ServerBackoff;
use super::{HttpClient, SourceError};
use rootpin_policy::MetadataUrl;

/// One place of metadata. While it does not answer it is left alone for a while.
#[derive(Debug)]
pub struct TufLocation {
    url: MetadataUrl,
    client: HttpClient,
    /// To a registry: the ways that are tried one after the other.
    ways: Vec<Endpoint>,
    backoff: ServerBackoff,
}

/// A place that is being read: in a registry, one state of the tag of its top-level roles.
#[derive(Debug)]
pub struct TufReader {
    location: Arc<TufLocation>,
    layers: Option<layers::Layers>,
}

impl TufLocation {
    /// The places at that URL: one, or where a registry has mirrors one for each, for the first
    /// that answers may be behind or lie.
    ///
    /// # Errors
    /// What [`MetadataUrl`] took for an address is none, or what is said of the registry's mirrors
    /// is not understood.
    pub fn all(url: &MetadataUrl, client: &HttpClient) -> Result<Vec<Self>, SourceError> {
        let place = |ways| Self {
            url: url.clone(),
            client: client.clone(),
            ways,
            backoff: ServerBackoff::default(),
        };
        match url {
            MetadataUrl::Http(base) => {
                web::file(base, "timestamp.json")?;
                Ok(vec![place(Vec::new())])
            }
            MetadataUrl::File(_) => Ok(vec![place(Vec::new())]),
            MetadataUrl::Oci { repository, .. } => {
                let endpoints = registry::endpoints(client, repository, Capability::Pull)?;
                let (mirrors, own): (Vec<_>, Vec<_>) =
                    endpoints.into_iter().partition(Endpoint::is_mirror);
                Ok(mirrors
                    .into_iter()
                    .map(|mirror| vec![mirror])
                    .chain([own])
                    .map(place)
                    .collect())
            }
        }
    }

    /// The URL, as it may be shown, and by which mirror.
    #[must_use]
    pub fn url(&self) -> String {
        match self.ways.first().filter(|way| way.is_mirror()) {
            Some(mirror) => format!("{} by {}", self.url, mirror.api()),
            None => self.url.to_string(),
        }
    }

    /// Whether another one is reached by the same ways.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        self.url == other.url
            && self.ways.len() == other.ways.len()
            && self
                .ways
                .iter()
                .zip(&other.ways)
                .all(|(one, other)| one.is_as(other))
    }

    /// Begins to read: in a registry the tag is looked up here, once, so that all of its files are
    /// of one state.
    ///
    /// # Errors
    /// See [`SourceError`]. A repository or a tag that is not there has no files, which is none.
    pub async fn open(self: &Arc<Self>, deadline: Instant) -> Result<TufReader, SourceError> {
        let layers = match &self.url {
            MetadataUrl::Oci { repository, tag } => {
                self.unless_silent(layers::open(&self.ways, repository, tag, deadline))
                    .await?
            }
            MetadataUrl::File(folder) => folder::open(folder, deadline).await.map(|()| None)?,
            MetadataUrl::Http(_) => None,
        };
        if layers.is_none() && self.ways.first().is_some_and(Endpoint::is_mirror) {
            // A mirror need not have what its registry has: that is no answer about the repository.
            return Err(SourceError::Silent {
                url: self.url(),
                cause: "the mirror has no such tag".to_owned(),
            });
        }
        Ok(TufReader {
            location: Arc::clone(self),
            layers,
        })
    }

    async fn unless_silent<T>(
        &self,
        asked: impl Future<Output = Result<T, SourceError>>,
    ) -> Result<T, SourceError> {
        // Each place is one repository.
        if let Some(silence) = self.backoff.of("", &self.url()) {
            return Err(silence);
        }
        let answer = asked.await;
        self.backoff.remember("", &answer);
        answer
    }
}

impl TufReader {
    /// The URL of the place, as it may be shown, and by which mirror.
    #[must_use]
    pub fn url(&self) -> String {
        self.location.url()
    }

    /// One file, or `None` where it is not there. `role`: the delegated role that it belongs to,
    /// which in a registry may have a tag of its own.
    ///
    /// # Errors
    /// See [`SourceError`].
    pub async fn get(
        &self,
        file_name: &str,
        role: Option<&str>,
        max_bytes: usize,
        deadline: Instant,
    ) -> Result<Option<Vec<u8>>, SourceError> {
        let location = &*self.location;
        let client = &location.client;
        match (&location.url, &self.layers) {
            (MetadataUrl::File(folder), _) => {
                folder::get(folder, file_name, max_bytes, deadline).await
            }
            (MetadataUrl::Http(base), _) => {
                location
                    .unless_silent(web::get(client, base, file_name, max_bytes, deadline))
                    .await
            }
            (MetadataUrl::Oci { .. }, Some(layers)) => {
                location
                    .unless_silent(layers.get(file_name, role, max_bytes, deadline))
                    .await
            }
            // There is no such tag.
            (MetadataUrl::Oci { .. }, None) => Ok(None),
        }
    }
}

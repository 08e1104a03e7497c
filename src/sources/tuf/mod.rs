//! Where TUF metadata is read from: static files over http, layers in a registry, or a folder of this host.

mod folder;
mod layers;
mod web;

use std::sync::Arc;

use tokio::time::Instant;

use super::silence::Silence;
use super::{Client, SourceError};
use crate::policy::MetadataUrl;

/// One place of metadata. While it does not answer it is left alone for a while.
#[derive(Debug)]
pub struct TufLocation {
    url: MetadataUrl,
    client: Client,
    silence: Silence,
}

/// A place that is being read: in a registry, one state of the tag of its top-level roles.
#[derive(Debug)]
pub struct TufReader {
    location: Arc<TufLocation>,
    layers: Option<layers::Layers>,
}

impl TufLocation {
    /// The place at that URL.
    ///
    /// # Errors
    /// What [`MetadataUrl`] took for an address is none.
    pub fn new(url: &MetadataUrl, client: Client) -> Result<Self, SourceError> {
        if let MetadataUrl::Http(base) = url {
            web::file(base, "timestamp.json")?;
        }
        Ok(Self { url: url.clone(), client, silence: Silence::default() })
    }

    /// The URL, as it may be shown.
    #[must_use]
    pub fn url(&self) -> String {
        self.url.to_string()
    }

    /// Begins to read: in a registry the tag is looked up here, once, so that all of its files are of one state.
    ///
    /// # Errors
    /// See [`SourceError`]. A repository or a tag that is not there has no files, which is none.
    pub async fn open(self: &Arc<Self>, deadline: Instant) -> Result<TufReader, SourceError> {
        let layers = match &self.url {
            MetadataUrl::Oci { repository, tag } => {
                let opened = layers::open(&self.client, repository, tag, deadline);
                Some(self.unless_silent(opened).await?)
            }
            MetadataUrl::Http(_) | MetadataUrl::File(_) => None,
        };
        Ok(TufReader { location: Arc::clone(self), layers })
    }

    async fn unless_silent<T>(&self, asked: impl Future<Output = Result<T, SourceError>>) -> Result<T, SourceError> {
        if let Some(silence) = self.silence.of(&self.url()) {
            return Err(silence);
        }
        let answer = asked.await;
        self.silence.remember(&answer);
        answer
    }
}

impl TufReader {
    /// One file, or `None` where it is not there. `role`: the delegated role that it belongs to, which in a registry may have a tag of
    /// its own.
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
            (MetadataUrl::File(folder), _) => folder::get(folder, file_name, max_bytes, deadline).await,
            (MetadataUrl::Http(base), _) => location.unless_silent(web::get(client, base, file_name, max_bytes, deadline)).await,
            (MetadataUrl::Oci { .. }, Some(layers)) => {
                location.unless_silent(layers.get(client, file_name, role, max_bytes, deadline)).await
            }
            // open() makes no such reader.
            (MetadataUrl::Oci { .. }, None) => Ok(None),
        }
    }
}

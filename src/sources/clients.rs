//! One HTTP client for each set of trusted certificates, for the daemon's life.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::{Client, Credentials, NotaryServer, SourceError, TufLocation, registry};
use crate::image::{Digest, ImageRef};
use crate::policy::{MetadataUrl, NotaryRoot};
use crate::trust::{Code, Refusal};

/// URL, and the digest of the private CA.
type ServerKey = (String, Option<Digest>);
type LocationKey = (MetadataUrl, Option<Digest>);

/// Everything outside that can be asked.
#[derive(Debug)]
pub struct Sources {
    credentials: Arc<Credentials>,
    /// By the digest of the private CA's file; none: the system's store.
    clients: Mutex<HashMap<Option<Digest>, Client>>,
    /// Each holds the back-off of its server.
    servers: Mutex<HashMap<ServerKey, Arc<NotaryServer>>>,
    locations: Mutex<HashMap<LocationKey, Arc<TufLocation>>>,
}

impl Sources {
    /// Sources that are asked with these credentials.
    #[must_use]
    pub fn new(credentials: Arc<Credentials>) -> Self {
        Self { credentials, clients: Mutex::default(), servers: Mutex::default(), locations: Mutex::default() }
    }

    /// The server of a root.
    ///
    /// # Errors
    /// Its URL or its CA is not usable.
    pub fn notary(&self, root: &NotaryRoot) -> Result<Arc<NotaryServer>, SourceError> {
        let key = (root.server.clone(), root.tls_ca.as_deref().map(Digest::of));
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = servers.get(&key) {
            return Ok(Arc::clone(server));
        }
        let client = self.client(&root.server, root.tls_ca.as_deref())?;
        let server = Arc::new(NotaryServer::new(&root.server, client)?);
        servers.insert(key, Arc::clone(&server));
        Ok(server)
    }

    /// A place of a root's metadata.
    ///
    /// # Errors
    /// Its URL or its CA is not usable.
    pub fn tuf(&self, url: &MetadataUrl, tls_ca: Option<&[u8]>) -> Result<Arc<TufLocation>, SourceError> {
        let key = (url.clone(), tls_ca.map(Digest::of));
        let mut locations = self.locations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(location) = locations.get(&key) {
            return Ok(Arc::clone(location));
        }
        let location = Arc::new(TufLocation::new(url, self.client(&url.to_string(), tls_ca)?)?);
        locations.insert(key, Arc::clone(&location));
        Ok(location)
    }

    /// What a registry says a tag is now.
    ///
    /// # Errors
    /// It doesn't answer, or doesn't know the tag.
    pub async fn resolve(&self, name: &ImageRef, deadline: Instant) -> Result<Digest, Refusal> {
        let client = self.client(name.repository.host(), None).map_err(|error| error.refusal())?;
        let found = registry::resolve(&client, name, deadline.into()).await.map_err(|error| error.refusal())?;
        found.ok_or_else(|| unknown(name))
    }

    /// What is under a name at its registry.
    ///
    /// # Errors
    /// It doesn't answer, or doesn't know the name, or what is there is no image.
    pub async fn describe(&self, name: &ImageRef, deadline: Instant) -> Result<registry::Description, Refusal> {
        let client = self.client(name.repository.host(), None).map_err(|error| error.refusal())?;
        let found = registry::describe(&client, name, deadline.into()).await.map_err(|error| error.refusal())?;
        found.ok_or_else(|| unknown(name))
    }

    fn client(&self, url: &str, tls_ca: Option<&[u8]>) -> Result<Client, SourceError> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let key = tls_ca.map(Digest::of);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let client = Client::new(tls_ca, Arc::clone(&self.credentials));
        let client = client.map_err(|error| SourceError::Other { url: url.to_owned(), cause: error.to_string() })?;
        clients.insert(key, client.clone());
        Ok(client)
    }
}

fn unknown(name: &ImageRef) -> Refusal {
    Refusal::new(
        Code::NoStatement,
        format!("no {name} at the registry"),
        "a tag that the registry knows",
        "check the name, or give the digest as NAME@sha256:…",
    )
}

//! One HTTP client for each set of trusted certificates, for the daemon's life.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::blob_stream::{self, BlobStream, StreamRequest};
use super::image_signatures::SignatureSearch;
use super::replies::RegistryReplies;
use super::search_turns::SearchTurns;
use super::server_backoff::ServerBackoff;
use super::signature_list::SignatureKind;
use super::without_referrers::WithoutReferrers;
use super::{Credentials, HttpClient, NotaryServer, SourceError, TufLocation, listing, registry};
use rootpin_policy::{MetadataUrl, NotaryRoot};
use rootpin_trust::image::{Digest, ImageRef, Repository};
use rootpin_trust::{Code, Refusal};

/// URL, and the digest of the private CA.
type ServerKey = (String, Option<Digest>);

/// More registries, and the silences of the one that was asked longest ago are forgotten.
const MAX_REGISTRIES: usize = 4096;

/// Everything outside that can be asked.
#[derive(Debug)]
pub struct Sources {
    credentials: Arc<Credentials>,
    /// Whether nothing is asked.
    silent: bool,
    /// By the digest of the private CA's file; none: the system's store.
    clients: Mutex<HashMap<Option<Digest>, HttpClient>>,
    /// Each holds the back-off of its server.
    servers: Mutex<HashMap<ServerKey, Arc<NotaryServer>>>,
    locations: Mutex<HashMap<ServerKey, Arc<TufLocation>>>,
    /// By host, what gave no answer when it was last asked for an image.
    registries: Mutex<HashMap<String, (Instant, Arc<ServerBackoff>)>>,
    without_referrers: WithoutReferrers,
    search_turns: SearchTurns,
}

impl Sources {
    /// Sources that are asked with these credentials.
    #[must_use]
    pub fn new(credentials: Arc<Credentials>) -> Self {
        Self {
            credentials,
            silent: false,
            clients: Mutex::default(),
            servers: Mutex::default(),
            locations: Mutex::default(),
            registries: Mutex::default(),
            without_referrers: WithoutReferrers::default(),
            search_turns: SearchTurns::default(),
        }
    }

    /// Sources of which none is asked, so that what is cached has to do.
    #[must_use]
    pub fn silent() -> Self {
        Self {
            silent: true,
            ..Self::new(Arc::new(Credentials::none()))
        }
    }

    /// What they are asked with.
    #[must_use]
    pub fn credentials(&self) -> &Arc<Credentials> {
        &self.credentials
    }

    /// The server of a root.
    ///
    /// # Errors
    /// Its URL or its CA is not usable.
    pub fn notary(&self, root: &NotaryRoot) -> Result<Arc<NotaryServer>, SourceError> {
        self.notary_at(&root.server, root.tls_ca.as_deref())
    }

    /// The Notary server at that URL.
    ///
    /// # Errors
    /// The URL or the CA is not usable.
    pub(crate) fn notary_at(
        &self,
        url: &str,
        tls_ca: Option<&[u8]>,
    ) -> Result<Arc<NotaryServer>, SourceError> {
        let key = (url.to_owned(), tls_ca.map(Digest::of));
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = servers.get(&key) {
            return Ok(Arc::clone(server));
        }
        let server = Arc::new(NotaryServer::new(url, self.client(url, tls_ca)?)?);
        servers.insert(key, Arc::clone(&server));
        Ok(server)
    }

    /// The places of a root's metadata at that URL, in the order in which they are asked.
    ///
    /// # Errors
    /// Its URL, its CA, or what is said of a registry's mirrors is not usable.
    pub fn tuf(
        &self,
        url: &MetadataUrl,
        tls_ca: Option<&[u8]>,
    ) -> Result<Vec<Arc<TufLocation>>, SourceError> {
        let found = TufLocation::all(url, &self.client(&url.to_string(), tls_ca)?)?;
        let mut known = self
            .locations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Each holds the backoff of its place: what was known of it stays, and what `hosts.toml`
        // says now counts.
        let keep = |location: TufLocation| {
            let key = (location.url(), tls_ca.map(Digest::of));
            let kept = known
                .get(&key)
                .filter(|kept| kept.is_as(&location))
                .cloned();
            let kept = kept.unwrap_or_else(|| Arc::new(location));
            known.insert(key, Arc::clone(&kept));
            kept
        };
        Ok(found.into_iter().map(keep).collect())
    }

    /// What a registry says a tag is now.
    ///
    /// # Errors
    /// It doesn't answer, or doesn't know the tag.
    pub async fn resolve(&self, name: &ImageRef, deadline: Instant) -> Result<Digest, Refusal> {
        let client = self
            .client(name.repository.host(), None)
            .map_err(|error| error.refusal())?;
        let asking = registry::resolve(&client, name, deadline.into());
        let found = self
            .unless_silent(&name.repository, true, asking)
            .await
            .map_err(|error| error.refusal())?;
        found.ok_or_else(|| unknown(name))
    }

    /// What is under a name at its registry.
    ///
    /// # Errors
    /// It doesn't answer, or doesn't know the name, or what is there is no image.
    pub async fn describe(
        &self,
        name: &ImageRef,
        deadline: Instant,
    ) -> Result<registry::Description, Refusal> {
        let client = self
            .client(name.repository.host(), None)
            .map_err(|error| error.refusal())?;
        let asking = registry::describe(&client, name, deadline.into());
        let found = self
            .unless_silent(&name.repository, true, asking)
            .await
            .map_err(|error| error.refusal())?;
        found.ok_or_else(|| unknown(name))
    }

    /// The tags of a repository; `None`: its registry knows no such one. `time`: for each page of
    /// the list.
    ///
    /// # Errors
    /// It doesn't answer, or lists too many.
    pub(crate) async fn tags(
        &self,
        repository: &Repository,
        time: Duration,
    ) -> Result<Option<Vec<String>>, SourceError> {
        let client = self.client(repository.host(), None)?;
        listing::tags(&client, repository, time).await
    }

    /// The paths of all repositories of the registry that `some` is of; `None`: it lists none.
    ///
    /// # Errors
    /// It doesn't answer, or lists too many.
    pub(crate) async fn repositories(
        &self,
        some: &Repository,
        time: Duration,
    ) -> Result<Option<Vec<String>>, SourceError> {
        let client = self.client(some.host(), None)?;
        listing::repositories(&client, some, time).await
    }

    /// A search for the signatures of a kind that a registry keeps beside an image. `replies`: where
    /// all of them are looked for, what is known of this question's registries.
    ///
    /// # Errors
    /// No way to the registry is usable, or other searches there take all the time.
    pub(crate) async fn signatures<'a>(
        &'a self,
        repository: &'a Repository,
        (digest, wanted): (Digest, SignatureKind),
        replies: Option<&'a RegistryReplies>,
        deadline: Instant,
    ) -> Result<SignatureSearch<'a>, SourceError> {
        let client = self.client(repository.host(), None)?;
        let turn = self.search_turns.take(repository, deadline).await?;
        let known = (&self.without_referrers, replies);
        SignatureSearch::start(&client, known, repository, (digest, wanted), turn)
    }

    /// Bytes by their digest, as they come in; `None`: the registry has none of them.
    ///
    /// # Errors
    /// It doesn't answer, or doesn't let us read.
    pub async fn pass(
        &self,
        wanted: &StreamRequest,
        deadline: Instant,
    ) -> Result<Option<BlobStream>, SourceError> {
        let host = wanted.repository.host();
        let client = self.client(host, None)?;
        self.unless_silent(
            &wanted.repository,
            false,
            blob_stream::pass(&client, wanted, deadline.into()),
        )
        .await
    }

    /// What asking a registry comes to, where neither it nor that repository gave no answer a
    /// moment ago. A status that counts as none silences the repository's manifests only: what
    /// fails with 500 may be one blob of many.
    async fn unless_silent<T>(
        &self,
        repository: &Repository,
        for_manifests: bool,
        asking: impl Future<Output = Result<T, SourceError>>,
    ) -> Result<T, SourceError> {
        let (host, path) = (repository.host(), repository.path());
        // No path has a colon.
        let manifests = format!("{path}:manifests");
        let backoff = {
            let mut registries = self
                .registries
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if registries.len() >= MAX_REGISTRIES && !registries.contains_key(host) {
                let asked = |(_, (asked, _)): &(&String, &(Instant, _))| *asked;
                let oldest = registries.iter().min_by_key(asked);
                if let Some(oldest) = oldest.map(|(host, _)| host.clone()) {
                    registries.remove(&oldest);
                }
            }
            let now = Instant::now();
            let entry = registries
                .entry(host.to_owned())
                .or_insert_with(|| (now, Arc::default()));
            entry.0 = now;
            Arc::clone(&entry.1)
        };
        let of_manifests = || backoff.of(&manifests, host).filter(|_| for_manifests);
        if let Some(silent) = backoff.of(path, host).or_else(of_manifests) {
            return Err(silent);
        }
        let answer = asking.await;
        let fails =
            matches!(&answer, Err(error @ SourceError::Answered { .. }) if error.is_silent());
        if !fails {
            backoff.remember(path, &answer);
        }
        if for_manifests && (fails || !matches!(&answer, Err(error) if error.is_silent())) {
            backoff.remember(&manifests, &answer);
        }
        answer
    }

    fn client(&self, url: &str, tls_ca: Option<&[u8]>) -> Result<HttpClient, SourceError> {
        if self.silent {
            return Err(SourceError::Silent {
                url: url.to_owned(),
                cause: "not asked".to_owned(),
            });
        }
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let key = tls_ca.map(Digest::of);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let client = HttpClient::new(tls_ca, Arc::clone(&self.credentials));
        let client = client.map_err(|error| SourceError::Other {
            url: url.to_owned(),
            cause: error.to_string(),
        })?;
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

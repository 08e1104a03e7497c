//! Credentials of this host for trust servers and registries: from files as Docker's
//! `config.json` and from the kubelet's providers, and where containerd's `hosts.toml` are.
//!
//! A file is read at each need, so a login takes effect without a reload. Nothing here needs a
//! home directory or writes a file. Our own reader, not `docker_credential`'s: that one waits for a
//! credential helper without end.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use tokio::time::Instant;

use super::credential_program::Helpers;
use crate::credentials::{Credential, Gate, Kind, Kubelet, Secret, Settings, path, place};
use crate::plain_file;
use rootpin_policy::Policy;

/// No config.json is longer.
const MOST: u64 = 1 << 20;
/// Where Docker keeps the Hub's credentials, and what its helpers are asked for.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// Where credentials come from, in order, and who may be given them.
#[derive(Debug)]
pub struct Credentials {
    origins: Vec<Origin>,
    gate: Gate,
    hosts: Option<PathBuf>,
    resolver: Option<SocketAddr>,
    helpers: Helpers,
    warned: AtomicBool,
}

/// One place that has credentials.
#[derive(Debug)]
enum Origin {
    /// A file as Docker's config.json, with the folder that its helpers are told of.
    File(PathBuf, Option<PathBuf>),
    /// The kubelet's providers.
    Kubelet(Arc<Kubelet>),
}

impl Default for Credentials {
    fn default() -> Self {
        Self {
            origins: Vec::new(),
            gate: Gate::default(),
            hosts: None,
            resolver: None,
            helpers: Helpers::new(HELPER_TIMEOUT),
            warned: AtomicBool::new(false),
        }
    }
}

/// How long a credential helper may take where nothing else is said.
pub(crate) const HELPER_TIMEOUT: Duration = Duration::from_secs(10);

/// A `config.json`, as far as it concerns us. Docker's own reader takes null for nothing
/// everywhere.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DockerConfig {
    auths: Option<BTreeMap<String, Option<AuthEntry>>>,
    cred_helpers: Option<BTreeMap<String, Option<String>>>,
    creds_store: Option<String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct AuthEntry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

impl Credentials {
    /// No credentials: everything is asked anonymously.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The credentials of `config.json` in this folder. It may come and go while the daemon runs.
    #[must_use]
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        Self {
            origins: vec![Origin::File(folder.join("config.json"), Some(folder))],
            ..Self::default()
        }
    }

    /// As rootpin.toml says: its `[credentials]`, its `docker-config`, and how long a program may
    /// take.
    #[must_use]
    pub fn configured(
        settings: &Settings,
        docker_config: Option<&Path>,
        timeout: Duration,
    ) -> Self {
        let passed = env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let origin = |kind| match kind {
            Kind::DockerConfig => {
                let folder = docker_config?.to_owned();
                Some(Origin::File(folder.join("config.json"), Some(folder)))
            }
            Kind::AuthFile => Some(Origin::File(settings.auth_file.clone()?, None)),
            Kind::Systemd => {
                let name = settings.systemd.as_ref()?;
                Some(Origin::File(passed.as_ref()?.join(name), None))
            }
            Kind::Kubelet => {
                let (config, programs) = settings
                    .kubelet_config
                    .clone()
                    .zip(settings.kubelet_bin_dir.clone())?;
                Some(Origin::Kubelet(Arc::new(Kubelet::new(
                    config, programs, timeout,
                ))))
            }
        };
        Self {
            origins: settings.kinds().filter_map(origin).collect(),
            ..Self::default()
        }
        .helper_timeout(timeout)
    }

    /// From now on credentials go only where this policy lets them.
    pub fn obey(&self, policy: Arc<Policy>) {
        self.gate.obey(policy);
    }

    /// Why a server gets no credentials for that repository (empty: for none in particular), if it
    /// gets none.
    #[must_use]
    pub fn withholds(&self, server: &str, repository: &str) -> Option<String> {
        self.gate.withholds(server, repository)
    }

    /// Why a client gets no credentials for a key that it asks its credential helper for, if it
    /// gets none.
    #[must_use]
    pub fn withholds_key(&self, key: &str) -> Option<String> {
        self.gate.withholds_key(key)
    }

    /// The kubelet's providers, if they are asked.
    #[must_use]
    pub fn kubelet(&self) -> Option<&Arc<Kubelet>> {
        self.origins.iter().find_map(|origin| match origin {
            Origin::Kubelet(kubelet) => Some(kubelet),
            Origin::File(..) => None,
        })
    }

    /// Reaches registries as the `hosts.toml` files below this folder say.
    #[must_use]
    pub fn with_hosts(self, folder: Option<PathBuf>) -> Self {
        Self {
            hosts: folder,
            ..self
        }
    }

    /// Passes over the resolver of this host, which engines find by the same files, and which asks
    /// by these.
    #[must_use]
    pub(crate) fn without_resolver(self, resolver: Option<SocketAddr>) -> Self {
        Self { resolver, ..self }
    }

    /// Where the resolver of this host listens.
    pub(super) fn resolver(&self) -> Option<SocketAddr> {
        self.resolver
    }

    /// Where the `hosts.toml` files are.
    pub(super) fn hosts(&self) -> Option<&Path> {
        self.hosts.as_deref()
    }

    /// Looks for credential helpers in these directories instead of those of `PATH`.
    #[must_use]
    pub fn search_path(mut self, path: impl Into<OsString>) -> Self {
        self.helpers.search_path = Some(path.into());
        self
    }

    /// Lets a credential helper take so long.
    #[must_use]
    pub(crate) fn helper_timeout(mut self, timeout: Duration) -> Self {
        self.helpers.timeout = timeout;
        self
    }

    /// A file as it stands now; empty where there is none.
    async fn read(&self, file: &Path) -> Result<DockerConfig, String> {
        let failed = |error: &dyn fmt::Display| format!("{}: {error}", file.display());
        let path = file.to_owned();
        let read = tokio::task::spawn_blocking(move || plain_file::read(&path, MOST));
        let (bytes, about) = match read.await.map_err(|error| failed(&error))? {
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(DockerConfig::default());
            }
            Err(error) => return Err(failed(&error)),
        };
        let mode = about.permissions().mode();
        if mode & 0o077 != 0 && !self.warned.swap(true, Ordering::Relaxed) {
            log::warn!(
                "{} holds credentials and is open to others (mode {:03o}): chmod 600 it",
                file.display(),
                mode & 0o777
            );
        }
        // The error of the parser may quote a value, which may be a password: only its place is
        // told.
        serde_json::from_slice(&bytes).map_err(|error| {
            failed(&format!(
                "no such JSON at line {} column {}",
                error.line(),
                error.column()
            ))
        })
    }

    /// The credential for that host's repository, of the first place that has one. `Ok(None)`:
    /// there is none.
    pub(super) async fn find(
        &self,
        host: &str,
        repository: &str,
        deadline: Instant,
    ) -> Result<Option<Credential>, String> {
        if let Some(why) = self.withholds(host, repository) {
            return Err(why);
        }
        let mut failed = None;
        for origin in &self.origins {
            let found = match origin {
                Origin::File(file, folder) => match self.read(file).await {
                    Ok(config) => {
                        self.find_in(&config, folder.as_deref(), host, repository, deadline)
                            .await
                    }
                    Err(why) => Err(why),
                },
                Origin::Kubelet(kubelet) => kubelet.credential(host, repository, deadline).await,
            };
            match found {
                Ok(Some(credential)) => return Ok(Some(credential)),
                Ok(None) => {}
                Err(why) => _ = failed.get_or_insert(why),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    /// A host refused this credential. Whether it was an answer that was kept, so that it is worth
    /// asking again.
    pub(super) fn refused(&self, host: &str, repository: &str, credential: &Credential) -> bool {
        let kubelet = self.kubelet();
        kubelet.is_some_and(|kubelet| kubelet.refused(host, repository, credential))
    }

    /// Whether a file names that host, even by an empty entry.
    pub(super) async fn names(&self, host: &str) -> Result<bool, String> {
        for origin in &self.origins {
            if let Origin::File(file, _) = origin
                && self.read(file).await?.names(host)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The same of one file, asking a helper program where one is configured.
    async fn find_in(
        &self,
        config: &DockerConfig,
        folder: Option<&Path>,
        host: &str,
        repository: &str,
        deadline: Instant,
    ) -> Result<Option<Credential>, String> {
        let place = place(host);
        let listed = best(config.auths.iter().flatten(), &place, repository);
        // A helper knows a server under the key that Docker logged in with, which stands in auths
        // beside it.
        let key = match listed {
            Some((key, _)) if fit(key, &place, repository) == Some(0) => key.clone(),
            _ if place == "docker.io" => HUB_KEY.to_owned(),
            _ => place.clone(),
        };
        let named = best(config.cred_helpers.iter().flatten(), &place, repository)
            .and_then(|(_, program)| program.as_ref());
        if let Some(program) = named {
            return self.helpers.get(program, &key, folder, deadline).await;
        }
        let entry = listed.and_then(|(_, entry)| entry.as_ref());
        if let Some(credential) = entry.map(AuthEntry::credential).transpose()?.flatten() {
            return Ok(Some(credential));
        }
        match config
            .creds_store
            .as_ref()
            .filter(|store| !store.is_empty())
        {
            Some(store) => self.helpers.get(store, &key, folder, deadline).await,
            None => Ok(None),
        }
    }
}

impl DockerConfig {
    fn names(&self, host: &str) -> bool {
        let place = place(host);
        let keys = self
            .auths
            .iter()
            .flatten()
            .map(|(key, _)| key)
            .chain(self.cred_helpers.iter().flatten().map(|(key, _)| key));
        keys.into_iter().any(|key| self::place(key) == place)
    }
}

/// The entry whose key fits best: that of the longest path.
fn best<'a, T>(
    entries: impl Iterator<Item = (&'a String, T)>,
    place: &str,
    repository: &str,
) -> Option<(&'a String, T)> {
    let fits = entries.filter_map(|(key, value)| Some((fit(key, place, repository)?, key, value)));
    fits.max_by_key(|(length, ..)| *length)
        .map(|(_, key, value)| (key, value))
}

/// How long the path of a key is that is for that repository too; 0: it is for all of the host;
/// `None`: for another place. Podman and Skopeo write such keys (containers-auth.json(5)). An
fn fit(key: &str, place: &str, repository: &str) -> Option<usize> {
    if self::place(key) != place {
        return None;
    }
    let path = self::path(key);
    if path.is_empty() {
        return Some(0);
    }
    let within = repository
        .strip_prefix(path)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    within.then_some(path.len())
}

impl AuthEntry {
    fn credential(&self) -> Result<Option<Credential>, String> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(token) = given(&self.identitytoken) {
            return Ok(Some(Credential::IdentityToken(Secret(token))));
        }
        if let Some(auth) = given(&self.auth) {
            let lenient = GeneralPurpose::new(
                &STANDARD,
                GeneralPurposeConfig::new()
                    .with_decode_padding_mode(DecodePaddingMode::Indifferent),
            );
            let text = lenient
                .decode(auth.trim())
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok());
            let pair = text.as_deref().and_then(|text| text.split_once(':'));
            let (user, password) =
                pair.ok_or("an auth entry of config.json is not user:password in base64")?;
            // Docker's own reader drops the NULs that an old version padded with.
            return Ok(Some(Credential::password(
                user,
                password.trim_end_matches('\0'),
            )));
        }
        let pair = given(&self.username).zip(given(&self.password));
        Ok(pair.map(|(user, password)| Credential::password(&user, &password)))
    }
}

#[cfg(test)]
mod tests;

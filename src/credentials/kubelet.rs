//! The kubelet's credential providers, asked as the kubelet asks them: a request on standard
//! input, an answer on standard output (KEP 2133, credentialprovider.kubelet.k8s.io).
//!
//! An answer is kept as long as it says, asked for again shortly before that, and never written
//! anywhere. One program runs once at a time for one registry, so that one which hangs costs that
//! registry alone.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::kubelet_config::{OWN_PROVIDER, Provider, go_duration, read};
use super::{Credential, Secret, glob, place, program};

/// More answers, and the one that ends first is forgotten.
const MOST: usize = 1024;
/// An answer that a registry refused is dropped before its end, once in so long for one registry: a
/// registry must not have a provider run at each question.
const DROP_AGAIN: Duration = Duration::from_secs(60);
/// However long an answer says that it holds.
const MAX_LIFE: Duration = Duration::from_secs(24 * 3600);
/// An answer is asked for again when so much of its life is left, or a tenth, where that is less.
const REFRESH: Duration = Duration::from_secs(60);

/// Credential providers, with what they answered.
#[derive(Debug)]
pub struct Kubelet {
    config: PathBuf,
    programs: PathBuf,
    timeout: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By the provider's name.
    kept: HashMap<(String, Scope), Kept>,
    running: HashMap<(String, Scope), watch::Receiver<Option<Ended>>>,
    /// What a provider's last answer was for.
    last: HashMap<String, KeyType>,
    /// When an answer was last dropped that a registry refused, by that registry.
    dropped: HashMap<String, Instant>,
}

#[derive(Debug, Clone)]
struct Kept {
    answer: Arc<Answer>,
    until: Instant,
    refresh: Instant,
}

/// How a run ended, and the image that it was for.
#[derive(Debug, Clone)]
struct Ended {
    image: String,
    result: Result<Kept, String>,
}

/// What an answer is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Scope {
    Image(String),
    Registry(String),
    Global,
}

/// `cacheKeyType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum KeyType {
    Image,
    Registry,
    Global,
}

#[derive(Debug)]
struct Answer {
    key_type: KeyType,
    auth: BTreeMap<String, Pair>,
}

/// A user's name and a password.
#[derive(Clone, Deserialize)]
struct Pair {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    api_version: String,
    kind: String,
    cache_key_type: KeyType,
    #[serde(default)]
    cache_duration: Option<String>,
    #[serde(default)]
    auth: Option<BTreeMap<String, Pair>>,
}

/// What providers give for an image.
#[derive(Debug, Clone)]
pub struct Given {
    /// By the pattern that a provider gave it under.
    pub auth: BTreeMap<String, Credential>,
    /// How long it holds; zero: for this once.
    pub life: Duration,
}

impl Kubelet {
    /// The providers of that configuration, whose programs are in that folder.
    #[must_use]
    pub fn new(config: PathBuf, programs: PathBuf, timeout: Duration) -> Self {
        Self {
            config,
            programs,
            timeout,
            state: Mutex::default(),
        }
    }

    /// The credential for a repository of a host (empty: for none in particular), if a provider
    /// has one.
    ///
    /// # Errors
    /// One line that has no secret in it.
    pub async fn credential(
        self: &Arc<Self>,
        host: &str,
        repository: &str,
        deadline: Instant,
    ) -> Result<Option<Credential>, String> {
        let image = match (place(host), repository) {
            (host, "") => host,
            (host, repository) => format!("{host}/{repository}"),
        };
        let given = self.given(&image, deadline).await?;
        // The kubelet takes the greatest key first, which of two beginnings is the longer one.
        Ok(given.auth.into_values().next_back())
    }

    /// Drops the answers for a repository of a host that have this credential, which the host
    /// refused. Whether one was dropped, so that it is worth asking again.
    #[must_use]
    pub fn refused(&self, host: &str, repository: &str, credential: &Credential) -> bool {
        let registry = place(host);
        let image = match repository {
            "" => registry.clone(),
            repository => format!("{registry}/{repository}"),
        };
        let mut state = self.state();
        let now = Instant::now();
        state
            .dropped
            .retain(|_, at| now.saturating_duration_since(*at) < DROP_AGAIN);
        let has = |pair: &Pair| matches!(credential, Credential::Password { user, password } if *user == pair.username && password.0 == pair.password);
        let refused = |(_, scope): &(String, Scope), kept: &Kept| {
            scope.covers(&image) && kept.answer.auth.values().any(has)
        };
        let was_dropped = state.dropped.contains_key(&registry);
        if !state.kept.iter().any(|(key, kept)| refused(key, kept)) {
            // Another question had it dropped.
            return was_dropped;
        }
        if was_dropped || state.dropped.len() >= MOST {
            return false;
        }
        state.kept.retain(|key, kept| !refused(key, kept));
        state.dropped.insert(registry, now);
        true
    }

    /// Everything that providers give for an image.
    ///
    /// # Errors
    /// One line that has no secret in it: no provider gives anything, and one of them failed.
    pub async fn given(self: &Arc<Self>, image: &str, deadline: Instant) -> Result<Given, String> {
        let config = self.config.clone();
        let providers = tokio::task::spawn_blocking(move || read(&config));
        let providers = providers.await.map_err(|error| error.to_string())??;
        let mut given = Given {
            auth: BTreeMap::new(),
            life: MAX_LIFE,
        };
        let mut failed = None;
        for provider in providers {
            if provider.name == OWN_PROVIDER || !provider.is_for(image) {
                continue;
            }
            if provider.wants_service_account() {
                failed = Some(format!(
                    "{} works for a pod's service account, which only the kubelet knows",
                    provider.name
                ));
                continue;
            }
            match self.of(provider, image, deadline).await {
                Ok(kept) => {
                    let left = kept.until.saturating_duration_since(Instant::now());
                    given.life = given.life.min(left);
                    for (key, pair) in &kept.answer.auth {
                        if is_for(key, image) {
                            let pair = Credential::Password {
                                user: pair.username.clone(),
                                password: Secret(pair.password.clone()),
                            };
                            given.auth.entry(bare(key)).or_insert(pair);
                        }
                    }
                }
                Err(why) => failed = Some(why),
            }
        }
        match failed {
            Some(why) if given.auth.is_empty() => Err(why),
            _ => Ok(given),
        }
    }

    /// What one provider answers for an image: what is kept, or what a run says.
    async fn of(
        self: &Arc<Self>,
        provider: Provider,
        image: &str,
        deadline: Instant,
    ) -> Result<Kept, String> {
        let now = Instant::now();
        // Half of the time is left for asking without credentials.
        let limit = now + deadline.saturating_duration_since(now) / 2;
        loop {
            let mut run = {
                let mut state = self.state();
                let kept = state.kept(&provider.name, image);
                if let Some(kept) = kept {
                    if kept.refresh <= Instant::now() {
                        drop(self.begin(&mut state, &provider, image));
                    }
                    return Ok(kept);
                }
                self.begin(&mut state, &provider, image)
            };
            let ended = timeout_at(limit, run.wait_for(Option::is_some)).await;
            let ended = ended
                .map_err(|_| {
                    format!(
                        "{} did not answer in time; its answer serves the next question",
                        provider.name
                    )
                })?
                .map_err(|_| format!("{} was given up", provider.name))?
                .clone();
            let Some(ended) = ended else { continue };
            let kept = ended.result?;
            let covers = match kept.answer.key_type {
                KeyType::Image => ended.image == image,
                KeyType::Registry => host(&ended.image) == host(image),
                KeyType::Global => true,
            };
            if covers {
                return Ok(kept);
            }
        }
    }

    /// The run that is on the way, or a new one. Whoever waits may go: the answer is kept.
    fn begin(
        self: &Arc<Self>,
        state: &mut State,
        provider: &Provider,
        image: &str,
    ) -> watch::Receiver<Option<Ended>> {
        let scope = match state.last.get(&provider.name) {
            Some(KeyType::Image) => Scope::Image(image.to_owned()),
            Some(KeyType::Global) => Scope::Global,
            // Not known yet: one of the kubelet's providers answers for its registry.
            Some(KeyType::Registry) | None => Scope::Registry(host(image).to_owned()),
        };
        let key = (provider.name.clone(), scope);
        if let Some(running) = state.running.get(&key) {
            return running.clone();
        }
        let (sender, receiver) = watch::channel(None);
        state.running.insert(key.clone(), receiver.clone());
        let (this, provider, image) = (Arc::clone(self), provider.clone(), image.to_owned());
        tokio::spawn(async move {
            let result = this.run(&provider, &image).await;
            let mut state = this.state();
            if let Ok(kept) = &result {
                state
                    .last
                    .insert(provider.name.clone(), kept.answer.key_type);
                state.keep(&provider.name, &image, kept.clone());
            }
            state.running.remove(&key);
            drop(state);
            let _ = sender.send(Some(Ended { image, result }));
        });
        receiver
    }

    async fn run(&self, provider: &Provider, image: &str) -> Result<Kept, String> {
        let name = &provider.name;
        let mut command = Command::new(self.programs.join(name));
        command.args(provider.args.iter().flatten());
        let variables = provider.env.iter().flatten();
        command.envs(variables.map(|variable| (&variable.name, &variable.value)));
        let request = json!({
            "apiVersion": provider.api_version,
            "kind": "CredentialProviderRequest",
            "image": image,
        });
        let limit = Instant::now() + self.timeout;
        let (status, said) =
            program::run(command, name, request.to_string().as_bytes(), limit).await?;
        if !status.success() {
            return Err(format!("{name} failed ({status})"));
        }
        // The parser's words may quote a secret.
        let response: Response = serde_json::from_slice(&said)
            .map_err(|_| format!("{name} gave no CredentialProviderResponse that is understood"))?;
        if response.kind != "CredentialProviderResponse"
            || response.api_version != provider.api_version
        {
            return Err(format!(
                "{name} answers in another version than the {} of its configuration",
                provider.api_version
            ));
        }
        let life = match response.cache_duration.as_deref() {
            None => provider.default_life(),
            Some(text) => go_duration(text)
                .ok_or_else(|| format!("{name} gave a cacheDuration that is none"))?,
        };
        let (now, life) = (Instant::now(), life.min(MAX_LIFE));
        Ok(Kept {
            answer: Arc::new(Answer {
                key_type: response.cache_key_type,
                auth: response.auth.unwrap_or_default(),
            }),
            until: now + life,
            refresh: now + life.saturating_sub(REFRESH.min(life / 10)),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scope {
    fn covers(&self, image: &str) -> bool {
        match self {
            Self::Image(name) => name == image,
            Self::Registry(registry) => registry == host(image),
            Self::Global => true,
        }
    }
}

impl State {
    fn kept(&self, provider: &str, image: &str) -> Option<Kept> {
        let now = Instant::now();
        let scopes = [
            Scope::Image(image.to_owned()),
            Scope::Registry(host(image).to_owned()),
            Scope::Global,
        ];
        scopes.into_iter().find_map(|scope| {
            let kept = self.kept.get(&(provider.to_owned(), scope))?;
            (kept.until > now).then(|| kept.clone())
        })
    }

    fn keep(&mut self, provider: &str, image: &str, kept: Kept) {
        let now = Instant::now();
        self.kept.retain(|_, kept| kept.until > now);
        if kept.until <= now {
            return;
        }
        if self.kept.len() >= MOST {
            let first = self.kept.iter().min_by_key(|(_, kept)| kept.until);
            if let Some(key) = first.map(|(key, _)| key.clone()) {
                self.kept.remove(&key);
            }
        }
        let scope = match kept.answer.key_type {
            KeyType::Image => Scope::Image(image.to_owned()),
            KeyType::Registry => Scope::Registry(host(image).to_owned()),
            KeyType::Global => Scope::Global,
        };
        self.kept.insert((provider.to_owned(), scope), kept);
    }
}

/// Whether a key of an answer is for an image, as the kubelet's keyring has it.
fn is_for(key: &str, image: &str) -> bool {
    let key = bare(key);
    let (host, path) = key.split_once('/').unwrap_or((&key, ""));
    // Docker Hub has several hosts; a path keeps the key to what is below it there too.
    let hub = place(host) == "docker.io";
    match (hub, path) {
        (false, _) => glob::matches(&key, image),
        (true, "") => glob::matches("docker.io", image),
        (true, path) => glob::matches(&format!("docker.io/{path}"), image),
    }
}

/// A key without its scheme, and without the version of an API in its path (kubernetes,
/// pkg/credentialprovider/keyring.go, `Add`).
fn bare(key: &str) -> String {
    let key = key.split_once("://").map_or(key, |(_, rest)| rest);
    match key.split_once('/') {
        None | Some((_, "")) => key.trim_end_matches('/').to_owned(),
        Some((host, path)) => {
            let version = path.strip_prefix("v1/").or(path.strip_prefix("v2/"));
            match version.unwrap_or(path) {
                "" => host.to_owned(),
                path => format!("{host}/{path}"),
            }
        }
    }
}

/// The registry of an image.
fn host(image: &str) -> &str {
    image.split('/').next().unwrap_or_default()
}

impl fmt::Debug for Pair {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("(secret)")
    }
}

#[cfg(test)]
mod tests;

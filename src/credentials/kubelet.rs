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
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    /// Providers whose programs are shell scripts; each writes a line to `runs` when it starts.
    struct Node {
        folder: tempfile::TempDir,
        kubelet: Arc<Kubelet>,
    }

    fn node(providers: &[(&str, &str, &str)]) -> Node {
        let folder = tempfile::tempdir().unwrap();
        let mut config =
            "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n"
                .to_owned();
        for (name, matches, script) in providers {
            let file = folder.path().join(name);
            let text = format!(
                "#!/bin/sh\ncd {}\nread -r request\necho \"{name} $request\" >> runs\n{script}\n",
                folder.path().display()
            );
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
            let provider = format!(
                "- name: {name}\n  matchImages: [\"{matches}\"]\n  defaultCacheDuration: 1h\n  apiVersion: credentialprovider.kubelet.k8s.io/v1\n"
            );
            config.push_str(&provider);
        }
        fs::write(folder.path().join("config"), config).unwrap();
        let kubelet = Kubelet::new(
            folder.path().join("config"),
            folder.path().to_owned(),
            Duration::from_secs(5),
        );
        Node {
            folder,
            kubelet: Arc::new(kubelet),
        }
    }

    fn says(key_type: &str, life: &str, auth: &str) -> String {
        format!(
            "echo '{{\"apiVersion\":\"credentialprovider.kubelet.k8s.io/v1\",\"kind\":\"CredentialProviderResponse\",\"cacheKeyType\":\"{key_type}\"{life},\"auth\":{auth}}}'"
        )
    }

    const AUTH: &str = r#"{"*.one.example":{"username":"u","password":"p"},"two.example":{"username":"v","password":"q"}}"#;

    fn runs(folder: &Path) -> usize {
        fs::read_to_string(folder.join("runs")).map_or(0, |text| text.lines().count())
    }

    impl Node {
        async fn ask(&self, host: &str, repository: &str) -> Result<Option<Credential>, String> {
            let deadline = Instant::now() + LONG;
            loop {
                let answer = self.kubelet.credential(host, repository, deadline).await;
                // Another test's fork may still hold the fresh program open.
                if !matches!(&answer, Err(why) if why.contains("busy")) {
                    return answer;
                }
            }
        }

        fn runs(&self) -> usize {
            runs(self.folder.path())
        }
    }

    #[tokio::test]
    async fn a_provider_is_asked_as_the_kubelet_asks_and_only_for_what_it_matches() {
        let node = node(&[("cloud", "*.one.example", &says("Registry", "", AUTH))]);
        let found = node.ask("a.one.example", "team/app").await;
        assert_eq!(found, Ok(Some(Credential::password("u", "p"))));
        let request = fs::read_to_string(node.folder.path().join("runs")).unwrap();
        assert!(
            request.contains(r#""image":"a.one.example/team/app""#)
                && request.contains(r#""kind":"CredentialProviderRequest""#),
            "{request}"
        );
        assert_eq!(
            node.ask("two.example", "x").await,
            Ok(None),
            "not matched: not asked"
        );
        assert_eq!(
            node.ask("a.one.example.evil.example", "team/app").await,
            Ok(None)
        );
        assert_eq!(node.runs(), 1);
    }

    #[tokio::test]
    async fn an_answer_serves_what_its_key_type_says() {
        for (key_type, runs) in [("Image", 3), ("Registry", 2), ("Global", 1)] {
            let node = node(&[("cloud", "*.one.example", &says(key_type, "", AUTH))]);
            for (host, repository) in [
                ("a.one.example", "x"),
                ("a.one.example", "y"),
                ("b.one.example", "x"),
                ("a.one.example", "x"),
            ] {
                assert!(node.ask(host, repository).await.unwrap().is_some());
            }
            assert_eq!(node.runs(), runs, "{key_type}");
        }
    }

    #[test]
    fn a_key_with_a_path_is_for_what_is_below_it_alone_at_docker_hub_too() {
        for (key, image, wanted) in [
            ("https://index.docker.io/v1/", "docker.io/team/app", true),
            ("docker.io", "docker.io/team/app", true),
            ("docker.io/team", "docker.io/team/app", true),
            ("index.docker.io/team", "docker.io/team/app", true),
            ("docker.io/team", "docker.io/other/app", false),
            ("index.docker.io/team", "docker.io/other/app", false),
            ("r.example/team", "r.example/other/app", false),
            ("docker.io", "docker.io.evil.example/team/app", false),
        ] {
            assert_eq!(is_for(key, image), wanted, "{key} {image}");
        }
    }

    #[tokio::test]
    async fn an_answer_that_is_not_to_be_kept_is_not() {
        let script = says("Global", ",\"cacheDuration\":\"0s\"", AUTH);
        let node = node(&[("cloud", "*.one.example", &script)]);
        for runs in 1..=2 {
            assert!(node.ask("a.one.example", "x").await.unwrap().is_some());
            assert_eq!(node.runs(), runs);
        }
    }

    #[tokio::test]
    async fn an_answer_is_asked_for_again_before_it_ends_and_serves_meanwhile() {
        let script = says("Global", ",\"cacheDuration\":\"1h\"", AUTH);
        let node = node(&[("cloud", "*.one.example", &script)]);
        assert!(node.ask("a.one.example", "x").await.unwrap().is_some());
        for kept in node.kubelet.state().kept.values_mut() {
            assert_eq!(kept.until - kept.refresh, REFRESH);
            kept.refresh = Instant::now();
        }
        assert!(node.ask("a.one.example", "x").await.unwrap().is_some());
        let end = Instant::now() + LONG;
        while node.runs() < 2 {
            assert!(Instant::now() < end, "it is never refreshed");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn a_thousand_at_once_cost_one_run_a_registry() {
        let script = format!("sleep 0.2\n{}", says("Registry", "", AUTH));
        let node = node(&[("cloud", "*.one.example", &script)]);
        // So that a busy program file doesn't count.
        assert!(node.ask("z.one.example", "x").await.unwrap().is_some());
        let mut asked = tokio::task::JoinSet::new();
        for at in 0..1000 {
            let kubelet = Arc::clone(&node.kubelet);
            let host = if at % 2 == 0 {
                "a.one.example"
            } else {
                "b.one.example"
            };
            asked.spawn(async move {
                let deadline = Instant::now() + LONG;
                kubelet
                    .credential(host, &format!("app{}", at % 50), deadline)
                    .await
            });
        }
        while let Some(answer) = asked.join_next().await {
            assert_eq!(answer.unwrap(), Ok(Some(Credential::password("u", "p"))));
        }
        assert_eq!(node.runs(), 3);
    }

    #[tokio::test]
    async fn a_provider_that_hangs_costs_its_own_registry_only() {
        let script = format!(
            "case \"$request\" in *hang.one.example*) sleep 600;; esac\n{}",
            says("Registry", "", AUTH)
        );
        let node = node(&[("cloud", "*.one.example", &script)]);
        assert!(node.ask("a.one.example", "x").await.unwrap().is_some());
        let soon = || Instant::now() + Duration::from_millis(200);
        let why = node
            .kubelet
            .credential("hang.one.example", "x", soon())
            .await;
        assert!(why.unwrap_err().contains("serves the next question"));
        assert!(node.ask("b.one.example", "x").await.unwrap().is_some());
        assert_eq!(node.runs(), 3);
        let why = node
            .kubelet
            .credential("hang.one.example", "y", soon())
            .await;
        assert!(why.is_err());
        assert_eq!(node.runs(), 3, "it is not run beside itself");
    }

    #[tokio::test]
    async fn one_that_fails_is_named_and_not_quoted_and_hides_no_other() {
        for script in [
            "echo hunter2; exit 3",
            "echo hunter2",
            "echo '{\"apiVersion\":\"credentialprovider.kubelet.k8s.io/v1beta1\",\"kind\":\"CredentialProviderResponse\",\"cacheKeyType\":\"Image\",\"auth\":{\"x\":{\"password\":\"hunter2\"}}}'",
            "yes hunter2",
        ] {
            let good = says("Image", "", AUTH);
            let node = node(&[
                ("bad", "*.one.example", script),
                ("good", "a.one.example", &good),
            ]);
            let why = node.ask("b.one.example", "x").await.unwrap_err();
            assert!(why.starts_with("bad ") && !why.contains("hunter2"), "{why}");
            assert!(node.ask("a.one.example", "x").await.unwrap().is_some());
        }
    }

    #[tokio::test]
    async fn an_answer_that_a_registry_refuses_is_dropped_once_in_a_while_and_no_other_is() {
        let script = says("Registry", "", AUTH);
        let node = node(&[("cloud", "*.one.example", &script)]);
        for host in ["a.one.example", "b.one.example"] {
            assert!(node.ask(host, "x").await.unwrap().is_some());
        }
        let refused = |host: &str, password: &str| {
            let credential = Credential::password("u", password);
            node.kubelet.refused(host, "y", &credential)
        };
        assert!(!refused("a.one.example", "another"), "it is not kept");
        assert!(!refused("c.one.example", "p"), "nothing is kept of it");
        assert!(refused("a.one.example", "p"));
        for (host, runs) in [("b.one.example", 2), ("a.one.example", 3)] {
            assert!(node.ask(host, "x").await.unwrap().is_some());
            assert_eq!(node.runs(), runs, "{host}");
        }
        assert!(!refused("a.one.example", "p"), "a moment ago it was");
        for at in node.kubelet.state().dropped.values_mut() {
            *at -= DROP_AGAIN;
        }
        assert!(refused("a.one.example", "p"));
    }

    #[tokio::test]
    async fn a_null_answer_is_none_and_is_kept_too() {
        let node = node(&[("cloud", "*.one.example", &says("Registry", "", "null"))]);
        for _ in 0..2 {
            assert_eq!(node.ask("a.one.example", "x").await, Ok(None));
        }
        assert_eq!(node.runs(), 1);
    }

    #[tokio::test]
    async fn our_own_provider_is_never_asked_by_ourselves() {
        let node = node(&[(OWN_PROVIDER, "*.one.example", "exit 1")]);
        assert_eq!(node.ask("a.one.example", "x").await, Ok(None));
        assert_eq!(node.runs(), 0);
    }

    #[test]
    fn keys_of_an_answer_are_read_as_the_kubelet_s_keyring_reads_them() {
        for (key, image, wanted) in [
            ("https://index.docker.io/v1/", "docker.io/library/x", true),
            ("docker.io", "docker.io/library/x", true),
            ("https://r.example/v2/", "r.example/team/x", true),
            ("r.example/team", "r.example/team/x", true),
            ("r.example/other", "r.example/team/x", false),
            ("https://r.example/v2/team", "r.example/team/x", true),
            ("https://r.example/v2/other", "r.example/team/x", false),
            ("r.example:5000", "r.example/team/x", false),
            ("r.example", "r.example:5000/team/x", false),
            ("*", "r.example/team/x", false),
            ("*.*", "r.example/team/x", true),
            ("*.example.evil", "r.example/team/x", false),
            ("R.example", "r.example/team/x", false),
            ("r\u{2024}example", "r.example/team/x", false),
            ("xn--r-xyz.example", "r.example/team/x", false),
            ("*.example", "r.example/team/x", true),
            ("docker.io", "docker.io.evil.example/x", false),
        ] {
            assert_eq!(is_for(key, image), wanted, "{key}");
        }
    }
}

//! The proof that each door is shut: on every way by which an image can come onto this host, one
//! that nobody signed has to be stopped, and one that somebody signed has to come in.
//!
//! ```text
//! rootpin prove ── root of one key, port ──▶ rootpind: a minute, a nonce, names 127.0.0.1:PORT/rootpin-prove-NONCE/** only
//!       │ images and metadata, on 127.0.0.1:PORT      │
//!       ▼                                             ▼
//!   containerd · dockerd ─────── each door ───────▶ decide: what was asked, and the answer
//! ```
//!
//! Safe where it matters: an image is a few bytes that do nothing, nothing is run, no other name is
//! touched, and all that came in is taken away again, also after an interruption.

mod archive;
mod client;
mod cri;
mod docker;
mod engine;
mod path;
mod remove;
mod resolver;
mod served;
mod transfer;
mod verdict;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::canary::{Canary, CanaryImage};
use crate::config::Config;
use crate::control::{DaemonClient, FoundPath, ProofCall};
use crate::engines::DockerdClient;
use crate::engines::dockerd::DockerdError;
use crate::problem::Problem;
use crate::publish::OneOff;
use engine::ProofEngine;
use path::Path;
use rootpin_trust::image::ImageRef;
use served::Served;
use verdict::Leniency;
pub use verdict::{DoorState, ImageOutcome, PathVerdict};

/// How everything begins that a proof makes: the first part of each image's path, and each
/// namespace.
const PREFIX: &str = "rootpin-prove-";
/// For one image on one way. An engine that takes longer says nothing.
const PATIENCE: Duration = Duration::from_secs(10);
/// The daemon gives a proof a minute.
const ALL: Duration = Duration::from_secs(50);
/// Much longer than a proof, for clocks that are a little apart.
const TERM: SignedDuration = SignedDuration::from_mins(30);

/// An image under its name.
#[derive(Debug, Clone)]
struct Offer {
    name: ImageRef,
    canary: Canary,
    image: CanaryImage,
}

/// What came of bringing one image in; nothing, where it was not tried.
#[derive(Debug, Clone)]
struct TriedImage {
    outcome: Option<Result<(), ProofFailure>>,
    took: Duration,
}

/// Why an image did not come in.
#[derive(Debug, Clone, PartialEq, Eq)]
enum ProofFailure {
    /// In the engine's words.
    Said(String),
    /// The engine has no such way.
    NoWay,
    /// The engine has it, and a gate that other paths prove judges what comes in by it.
    Gated,
}

impl From<DockerdError> for ProofFailure {
    fn from(error: DockerdError) -> Self {
        Self::Said(error.to_string())
    }
}

impl From<String> for ProofFailure {
    fn from(words: String) -> Self {
        Self::Said(words)
    }
}

/// The ways onto a host, and what they lead to.
#[derive(Debug, Default)]
pub struct ProvenHost {
    paths: Vec<Path>,
    engines: Vec<Arc<ProofEngine>>,
    dockers: Vec<(String, Arc<DockerdClient>)>,
    silent: Vec<(String, String)>,
    unproven: Vec<String>,
}

/// What a proof has shown.
#[derive(Debug)]
pub struct ProofReport {
    /// The proof's names.
    pub names: String,
    /// Every path.
    pub paths: Vec<PathVerdict>,
    /// Engines that did not answer, and why.
    pub silent: Vec<(String, String)>,
    /// What no proof shows.
    pub unproven: Vec<String>,
    /// What could not be taken away again.
    pub left: Vec<String>,
    /// Why it ended before its end.
    pub cut_short: Option<String>,
}

impl ProvenHost {
    /// Looks at what rootpin.toml names.
    pub async fn look(config: &Config) -> Self {
        let mut host = Self::default();
        for configured in &config.engines {
            match ProofEngine::at(&configured.name, &configured.containerd).await {
                Ok(engine) => host.engines.push(Arc::new(engine)),
                Err(why) => host.silent.push((configured.name.clone(), why)),
            }
            if host
                .engines
                .last()
                .is_some_and(|engine| engine.name == configured.name && engine.version < (2, 0))
            {
                // Its resolver knows no plain HTTP (containerd 1.7, pkg/transfer/registry); what it
                // unpacks is asked about as imports are.
                host.unproven.push(format!(
                    "{}: pulls by the transfer service, for which containerd 1.7 wants TLS",
                    configured.name
                ));
            }
            if configured.nri.is_some() {
                host.unproven.push(format!(
                    "{}: NRI, which is asked when a container is made: a proof runs nothing",
                    configured.name
                ));
            }
        }
        for configured in &config.dockers {
            let docker = Arc::new(DockerdClient::at(&configured.socket, PATIENCE));
            match docker.get("/info").await {
                Ok(info) => {
                    host.unproven
                        .extend(docker::unproven(&configured.name, &info));
                    let authz = configured.authz.is_some();
                    if authz && configured.accept_grpc {
                        host.unproven.push(format!(
                            "{}: gRPC past the plugin, which `accept-grpc` of rootpin.toml accepts",
                            configured.name
                        ));
                    }
                    host.paths.extend(path::of_docker(
                        &configured.name,
                        &docker,
                        authz,
                        (authz && !configured.accept_grpc).then(|| config.containerds()),
                    ));
                    host.dockers.push((configured.name.clone(), docker));
                }
                Err(why) => host.silent.push((configured.name.clone(), why.to_string())),
            }
        }
        let engines = host
            .engines
            .iter()
            .flat_map(path::of_engine)
            .collect::<Vec<_>>();
        host.paths.splice(0..0, engines);
        host.paths.extend(config.resolver.map(path::of_resolver));
        host
    }

    /// The names of its paths.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        self.paths.iter().map(|path| path.name.as_str()).collect()
    }

    /// Leaves these paths only, or all where none is named; and of them all but the others.
    ///
    /// # Errors
    /// There is no path of one of the names.
    pub fn pick(&mut self, only: &[String], except: &[String]) -> Result<(), Problem> {
        let known = self.names();
        if let Some(unknown) = only
            .iter()
            .chain(except)
            .find(|name| !known.contains(&name.as_str()))
        {
            let hint = if known.is_empty() {
                "rootpin.toml lists no engine that has one".to_owned()
            } else {
                format!("there are {}", known.join(", "))
            };
            return Err(Problem::hinted(
                format!("no path {unknown:?} on this host"),
                hint,
            ));
        }
        self.paths.retain(|path| {
            (only.is_empty() || only.contains(&path.name)) && !except.contains(&path.name)
        });
        Ok(())
    }

    /// Proves, until it is told to stop; and takes everything away again. `progress` is told each
    /// path before it is tried.
    ///
    /// # Errors
    /// The daemon does not let it begin. One line.
    pub async fn prove(
        self,
        client: &mut DaemonClient,
        stop: impl Future<Output = ()>,
        progress: impl FnMut(&str),
    ) -> Result<ProofReport, Problem> {
        let served = Served::start().await?;
        let key = OneOff::new(Timestamp::now(), TERM).map_err(|error| error.problem())?;
        let leniency = leniency(client).await?;
        let mut call = client.prove(served.port(), key.root()).await?;
        let place = format!("{PREFIX}{}", call.nonce());
        let names = format!("127.0.0.1:{}/{place}/**", served.port());
        let offers = self.offers(&names)?;
        let signed = offers
            .iter()
            .flatten()
            .filter(|offer| offer.canary == Canary::Signed);
        let signed: BTreeMap<_, _> = signed
            .map(|offer| (offer.name.to_string(), offer.image.manifest.bytes.clone()))
            .collect();
        let metadata = key.publish(&signed).map_err(|error| error.problem())?;
        served.serve(served::files(&offers.concat(), &place, metadata));

        // What one that was killed has left.
        self.clean().await;
        let concluded = match self.try_all(&place, &offers, stop, progress).await {
            Some(tried) => self.conclude(&mut call, &offers, &tried, leniency).await,
            None => Err("interrupted".into()),
        };
        let (paths, cut_short) = match concluded {
            Ok(verdicts) => {
                let found = verdicts.iter().map(|verdict| FoundPath {
                    path: verdict.path.clone(),
                    result: verdict.result.as_str(),
                });
                let ended = call.end(&found.collect::<Vec<_>>()).await;
                (verdicts, ended.err())
            }
            Err(why) => {
                drop(call);
                (Vec::new(), Some(why))
            }
        };
        let left = self.clean().await;
        Ok(ProofReport {
            names,
            paths,
            silent: self.silent,
            unproven: self.unproven,
            left,
            cut_short: cut_short.map(|why| why.to_string()),
        })
    }

    /// Every image on every path, the control first; its layers are the known ones. Told to stop,
    /// it does so when the engine is done with what it was told last, or something could come in
    /// after all was taken away.
    async fn try_all(
        &self,
        namespace: &str,
        offers: &[Vec<Offer>],
        stop: impl Future<Output = ()>,
        mut progress: impl FnMut(&str),
    ) -> Option<Vec<Vec<TriedImage>>> {
        let mut stop = std::pin::pin!(stop);
        let end = Instant::now() + ALL;
        let mut all = Vec::new();
        for (path, offers) in self.paths.iter().zip(offers) {
            progress(&path.name);
            let mut tried: Vec<TriedImage> = Vec::new();
            for offer in offers {
                tokio::select! {
                    biased;
                    () = &mut stop => return None,
                    () = std::future::ready(()) => {}
                }
                let control_is_in = tried
                    .first()
                    .is_some_and(|control| matches!(control.outcome, Some(Ok(()))));
                tried.push(if path.is_for(offer.canary, control_is_in) {
                    try_one(path, namespace, offer, end).await
                } else {
                    TriedImage {
                        outcome: None,
                        took: Duration::ZERO,
                    }
                });
            }
            all.push(tried);
        }
        Some(all)
    }

    /// Three images for each path, of a repository of its own.
    fn offers(&self, names: &str) -> Result<Vec<Vec<Offer>>, Problem> {
        let offers = self.paths.iter().enumerate().map(|(at, path)| {
            let way = path.name.rsplit('/').next().unwrap_or_default();
            let of = |canary: Canary| {
                let name: ImageRef = names
                    .replace("**", &format!("{at}-{way}:{}", canary.tag()))
                    .parse()
                    .map_err(|error| Problem::new(format!("{error}")))?;
                let image = canary.image(&name.repository);
                Ok::<_, Problem>(Offer {
                    name,
                    canary,
                    image,
                })
            };
            Canary::ALL.into_iter().map(of).collect()
        });
        offers.collect()
    }

    async fn conclude(
        &self,
        call: &mut ProofCall,
        offers: &[Vec<Offer>],
        tried: &[Vec<TriedImage>],
        leniency: Leniency,
    ) -> Result<Vec<PathVerdict>, Problem> {
        let asked = call.asked().await?;
        let verdict = |((path, offers), tried): ((&Path, &Vec<Offer>), &Vec<TriedImage>)| {
            let images = offers.iter().zip(tried).map(|(offer, tried)| {
                (
                    offer.canary,
                    verdict::fate(offer, tried, &asked),
                    tried.took,
                )
            });
            verdict::verdict(path, images.collect(), leniency)
        };
        Ok(self
            .paths
            .iter()
            .zip(offers)
            .zip(tried)
            .map(verdict)
            .collect())
    }

    /// Takes away whatever a proof brings in. What is left, one line each.
    async fn clean(&self) -> Vec<String> {
        let mut left = Vec::new();
        for (name, docker) in &self.dockers {
            left.extend(docker::remove(name, docker).await);
        }
        for engine in &self.engines {
            left.extend(remove::everything(engine).await);
        }
        left
    }
}

/// What the policy in force lets in although nobody signed it.
async fn leniency(client: &mut DaemonClient) -> Result<Leniency, Problem> {
    let status: Value =
        serde_json::from_str(&client.status().await?.json).map_err(|error| error.to_string())?;
    Ok(Leniency {
        local: status.pointer("/policy/local") == Some(&Value::Bool(true)),
        audit: status.pointer("/policy/mode").and_then(Value::as_str) == Some("audit"),
    })
}

async fn try_one(path: &Path, namespace: &str, offer: &Offer, end: Instant) -> TriedImage {
    let begun = Instant::now();
    let patience = PATIENCE.min(end.saturating_duration_since(begun));
    let brought = tokio::time::timeout(patience, path.bring(namespace, offer)).await;
    let outcome = brought.unwrap_or_else(|_| {
        Err(ProofFailure::Said(format!(
            "no answer within {:.1} s",
            patience.as_secs_f64()
        )))
    });
    TriedImage {
        outcome: Some(outcome),
        took: begun.elapsed(),
    }
}

/// Whether a name is one of some proof's: `127.0.0.1:PORT/rootpin-prove-NONCE/…`.
fn is_ours(name: &str) -> bool {
    let mut parts = name.splitn(3, '/');
    let port = parts
        .next()
        .and_then(|host| host.strip_prefix("127.0.0.1:"));
    let nonce = parts.next().and_then(|place| place.strip_prefix(PREFIX));
    let hex = |text: &str| {
        text.len() == 32
            && text
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    port.is_some_and(|port| port.parse::<u16>().is_ok())
        && nonce.is_some_and(hex)
        && parts.next().is_some()
}

impl ProofReport {
    /// 0 where every door is shut, 1 where one is open, 2 where neither was shown or something
    /// could not be taken away again.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let is = |result: DoorState| self.paths.iter().any(|path| path.result == result);
        let whole = !self.paths.is_empty()
            && self.silent.is_empty()
            && self.left.is_empty()
            && self.cut_short.is_none();
        match (is(DoorState::Open), is(DoorState::Unknown) || !whole) {
            (true, _) => 1,
            (false, true) => 2,
            (false, false) => 0,
        }
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let silent: Vec<_> = self
            .silent
            .iter()
            .map(|(engine, why)| json!({ "engine": engine, "why": why }))
            .collect();
        json!({
            "version": 1,
            "ok": self.exit_code() == 0,
            "names": self.names,
            "paths": self.paths.iter().map(PathVerdict::json).collect::<Vec<_>>(),
            "silent": silent,
            "unproven": self.unproven,
            "left": self.left,
            "cut_short": self.cut_short,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_proof_s_own_names_are_ever_taken_away() {
        let nonce = "0123456789abcdef0123456789abcdef";
        assert!(is_ours(&format!(
            "127.0.0.1:4711/rootpin-prove-{nonce}/0-pull:signed"
        )));
        assert!(is_ours(&format!(
            "127.0.0.1:4711/rootpin-prove-{nonce}/0-pull@sha256:00"
        )));
        for other in [
            format!("127.0.0.1:4711/rootpin-prove-{nonce}"),
            format!("127.0.0.1/rootpin-prove-{nonce}/0-pull:signed"),
            format!("127.0.0.1:x/rootpin-prove-{nonce}/0-pull:signed"),
            format!("registry.example/rootpin-prove-{nonce}/0-pull:signed"),
            "127.0.0.1:4711/rootpin-prove-tests/app:1".to_owned(),
            format!("127.0.0.1:4711/team/rootpin-prove-{nonce}/app:1"),
            "docker.io/library/alpine:3.20".to_owned(),
            String::new(),
        ] {
            assert!(!is_ours(&other), "{other}");
        }
    }
}

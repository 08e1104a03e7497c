//! The same facts as each door asks about them, and what it answers.

use std::time::{Duration, Instant};

use rootpin::decide::{
    Call, Claim, DOCKER_NAMESPACE, Decider, Decision, Does, Door as Asked, HeldImage,
    ImageContents as Known, ImageName, NameSource, NamespaceView, Pull, ResidentImage, Run, Unpack,
    Verdict,
};
use rootpin_trust::image::{Digest, ImageRef};

use super::host::{Host, NOW};
use super::model::{Door, Facts, Origin, Revoked, Source};

/// What a door says, in words that are the same in each run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// `allowed`, `refused`, `unjudged`, or `silent` where nothing is to be said.
    pub(super) outcome: &'static str,
    /// The ground of a yes, the code of a no.
    pub(super) why: String,
    /// Whether the engine may go on.
    pub(super) goes_on: bool,
    /// The policy's entry that decided.
    pub(super) entry: String,
    /// The name and the digest that the answer is about.
    pub(super) about: String,
}

pub(super) const HEADER: &str = "door\toutcome\twhy\tengine\tentry\tabout";

impl Answer {
    fn of(host: &Host, verdict: &Verdict) -> Self {
        let (why, entry) = match &verdict.decision {
            Decision::Allow(admission) => {
                (admission.ground.as_str(), Some(admission.rule.as_str()))
            }
            Decision::Deny(denial) | Decision::LetThrough(denial, _) => {
                (denial.refusal.code.as_str(), denial.rule.as_deref())
            }
        };
        Self {
            outcome: verdict.decision.outcome(),
            why: why.to_owned(),
            goes_on: verdict.decision.lets_through(),
            entry: of_entry(host, entry),
            about: host.readable(&verdict.subject()),
        }
    }

    /// No finding.
    fn silent() -> Self {
        Self {
            outcome: "silent",
            why: "-".to_owned(),
            goes_on: true,
            entry: "-".to_owned(),
            about: "-".to_owned(),
        }
    }

    pub(super) fn line(&self) -> String {
        let engine = if self.goes_on { "goes-on" } else { "stops" };
        [self.outcome, &self.why, engine, &self.entry, &self.about].join("\t")
    }

    /// What doors are compared by.
    pub(super) fn short(&self) -> String {
        let through = match (self.outcome, self.goes_on) {
            ("refused" | "unjudged", true) => " (let through)",
            _ => "",
        };
        format!("{} {}{through}", self.outcome, self.why)
    }
}

/// An entry without the place where it stands.
fn of_entry(host: &Host, entry: Option<&str>) -> String {
    let entry = entry.unwrap_or("-");
    let end = entry.find(" (policy.toml").unwrap_or(entry.len());
    host.readable(&entry[..end])
}

/// What the door answers.
pub(super) async fn ask(host: &mut Host, facts: &Facts, door: Door) -> Answer {
    let verdict = verdict(host, facts, door).await;
    if door == Door::Explain {
        let decider = host.decider(facts);
        return Question { host, facts }.explained(&decider);
    }
    verdict.map_or_else(Answer::silent, |verdict| Answer::of(host, &verdict))
}

/// The door's verdict; none where it says nothing, and for an explanation.
pub(super) async fn verdict(host: &mut Host, facts: &Facts, door: Door) -> Option<Verdict> {
    let decider = host.decider(facts);
    let host = &*host;
    let now = NOW.parse().unwrap();
    let question = Question { host, facts };
    Some(match door {
        Door::Pull => decider.pull(&question.pull(), now).await,
        Door::Resolve => {
            let name = question.pull().name;
            decider.resolve(Asked::Resolver, &name, now).await
        }
        Door::Unpack => decider.unpack(&question.unpack(), now).await,
        Door::Run => decider.run(&question.run(), now).await,
        Door::Create => {
            decider
                .held(&question.held(Engine::ContainerdStore, true), now)
                .await
        }
        Door::CreateId => {
            decider
                .held(&question.held(Engine::ContainerdStore, false), now)
                .await
        }
        Door::CreateClassic => {
            decider
                .held(&question.held(Engine::Classic, true), now)
                .await
        }
        Door::Tag => {
            let held = question.held(Engine::ContainerdStore, true);
            question.call(&decider, Does::Tag(held)).await
        }
        Door::Resident => return question.resident(&decider, 0).await,
        Door::ResidentNext => return question.resident(&decider, 1).await,
        Door::Explain => return None,
        Door::DockerPull => {
            let pull = Pull {
                door: Asked::Authz,
                ..question.pull()
            };
            decider.by_digest(decider.pull(&pull, now).await)
        }
        Door::DockerBuild => {
            question
                .call(&decider, Does::Local(host.names(facts)))
                .await
        }
        Door::Swarm => question.call(&decider, Does::Swarm).await,
        Door::Plugin => question.call(&decider, Does::Plugin).await,
    })
}

/// Which store dockerd has its images in.
#[derive(Clone, Copy)]
enum Engine {
    ContainerdStore,
    Classic,
}

/// The facts in the words of the doors.
struct Question<'a> {
    host: &'a Host,
    facts: &'a Facts,
}

impl Question<'_> {
    fn top(&self) -> Digest {
        self.host.top(self.facts.bytes)
    }

    fn pull(&self) -> Pull {
        Pull {
            door: Asked::Verifier,
            name: self.host.names(self.facts).remove(0),
            digest: self.top(),
        }
    }

    fn claims(&self, told_by: NameSource) -> Vec<Claim> {
        let claim = |told_by, name| Claim {
            told_by,
            name,
            chain: self.host.chain(self.facts.bytes),
        };
        let names = match self.facts.source {
            Source::Label | Source::Nothing => Vec::new(),
            _ => self.host.names(self.facts),
        };
        let labels = if self.is_labelled() {
            self.labels()
        } else {
            Vec::new()
        };
        let claimed = names.into_iter().map(|name| claim(told_by, name));
        let sourced = labels
            .into_iter()
            .map(|name| claim(NameSource::Source, name));
        claimed.chain(sourced).collect()
    }

    /// The repositories that the bytes were fetched from: those of their names.
    fn labels(&self) -> Vec<ImageRef> {
        let mut labels = self.host.names(self.facts);
        if labels.is_empty() {
            labels = self.host.labelled(self.facts);
        }
        let bare = |name: ImageRef| ImageRef {
            tag: None,
            digest: None,
            ..name
        };
        labels.into_iter().map(bare).collect()
    }

    /// Whether labels say from which registry of the policy the bytes came.
    fn is_labelled(&self) -> bool {
        self.facts.origin == Origin::Registry && self.facts.source != Source::Ledger
    }

    fn place(&self, claims: Vec<Claim>) -> NamespaceView {
        NamespaceView {
            namespace: DOCKER_NAMESPACE.to_owned(),
            chains: vec![self.host.chain(self.facts.bytes)],
            claims,
            from_registry: self.facts.origin != Origin::Local,
            is_cut_short: false,
            variants: Vec::new(),
        }
    }

    fn unpack(&self) -> Unpack {
        let told_by = match self.facts.source {
            Source::Asked => NameSource::Annotation,
            Source::Import => NameSource::Import,
            Source::Ledger => NameSource::Ledger,
            Source::Record | Source::Label | Source::Nothing => NameSource::Record,
        };
        Unpack {
            door: Asked::Gate,
            engine: "containerd".to_owned(),
            layer: self.host.platform(self.facts.bytes).layer.clone(),
            places: vec![self.place(self.claims(told_by))],
            begun: Instant::now(),
        }
    }

    /// A pod's word for a name counts as the client's where the image was fetched from there.
    fn run(&self) -> Run {
        let asked = self.facts.source == Source::Asked;
        let told_by = if asked && self.is_labelled() {
            NameSource::Client
        } else {
            NameSource::Record
        };
        let mut claims = self.claims(told_by);
        if asked {
            claims.retain(|claim| claim.told_by == told_by);
        }
        Run {
            engine: "containerd".to_owned(),
            bytes: self.host.platform(self.facts.bytes).config,
            place: self.place(claims),
            begun: Instant::now(),
            sources_until: Instant::now() + Duration::from_secs(20),
        }
    }

    fn held(&self, engine: Engine, by_name: bool) -> HeldImage {
        let names = self.host.names(self.facts);
        let (config, top) = (self.host.platform(self.facts.bytes).config, self.top());
        let known = |name: &ImageRef| ImageRef {
            tag: None,
            digest: Some(top),
            ..name.clone()
        };
        let (known, id): (Vec<ImageRef>, Digest) = match (self.facts.origin, engine) {
            (Origin::Elsewhere, _) => (
                vec![format!("mirror.test/app@{top}").parse().unwrap()],
                config,
            ),
            (Origin::Local, Engine::Classic) => (Vec::new(), config),
            (Origin::Local, Engine::ContainerdStore) => (names.iter().map(known).collect(), top),
            (Origin::Registry | Origin::Unknown, _) => (names.iter().map(known).collect(), config),
        };
        HeldImage {
            door: Asked::Authz,
            engine: "dockerd".to_owned(),
            namespace: DOCKER_NAMESPACE.to_owned(),
            asked: names.first().filter(|_| by_name).cloned(),
            known,
            id,
            begun: Instant::now(),
        }
    }

    async fn call(&self, decider: &Decider, does: Does) -> Verdict {
        let call = Call {
            engine: "dockerd".to_owned(),
            shown: "a call".to_owned(),
            does,
            begun: Instant::now(),
        };
        decider.docker_call(call, NOW.parse().unwrap()).await
    }

    /// As the sweep asks: by name, and with all that the image is made of where that may matter.
    async fn resident(&self, decider: &Decider, at: usize) -> Option<Verdict> {
        let mut image = ResidentImage {
            engine: "containerd".to_owned(),
            namespace: DOCKER_NAMESPACE.to_owned(),
            names: self.residents(),
            bytes: None,
        };
        if decider.revokes_digests() {
            image.bytes = Some(Known {
                sources: None,
                ..self.known()
            });
        }
        let now = NOW.parse().unwrap();
        let mut standings = decider.resident(&image, now).await;
        if standings.iter().flatten().any(|standing| standing.by_bytes) {
            image.bytes = Some(self.known());
            standings = decider.resident(&image, now).await;
        }
        standings.swap_remove(at).map(|standing| standing.verdict)
    }

    fn residents(&self) -> Vec<ImageName> {
        let names = match self.facts.source {
            Source::Label | Source::Nothing => vec![None],
            _ => self.host.names(self.facts).into_iter().map(Some).collect(),
        };
        let resident = |name: Option<ImageRef>| ImageName {
            record: name
                .as_ref()
                .map_or_else(|| self.top().to_string(), ToString::to_string),
            name,
            digest: self.top(),
        };
        names.into_iter().map(resident).collect()
    }

    fn known(&self) -> Known {
        let label = |name: ImageRef| {
            (
                self.host.host_name().to_owned(),
                name.repository.path().to_owned(),
            )
        };
        let sources = match self.facts.origin {
            Origin::Registry => Some(self.labels().into_iter().map(label).collect()),
            Origin::Elsewhere => Some(vec![("mirror.test".to_owned(), "app".to_owned())]),
            Origin::Local => Some(Vec::new()),
            Origin::Unknown => None,
        };
        let part = |part| self.host.part(self.facts.bytes, part);
        let parts = [
            Revoked::Top,
            Revoked::Manifest,
            Revoked::Config,
            Revoked::Layer,
        ];
        let mut contents: Vec<Digest> = parts.into_iter().filter_map(part).collect();
        contents.dedup();
        Known {
            manifests: self.host.manifests(self.facts.bytes),
            configs: part(Revoked::Config).into_iter().collect(),
            contents,
            sources,
        }
    }

    /// The entry that `rootpin policy explain` says decides of this name and digest.
    fn explained(&self, decider: &Decider) -> Answer {
        let pull = self.pull();
        let name = if pull.name.digest.is_some() {
            pull.name
        } else {
            pull.name.with_digest(pull.digest)
        };
        let policy = decider.policy().unwrap();
        let explained = rootpin::control::explain(&policy, &name, NOW.parse().unwrap());
        let mut steps = explained["steps"].as_array().unwrap().iter();
        let first = steps.find(|step| step["outcome"] == "applies");
        let mode = explained["mode"].as_str().unwrap();
        Answer {
            outcome: "explains",
            why: mode.to_owned(),
            goes_on: mode == "audit",
            entry: of_entry(self.host, first.and_then(|step| step["entry"].as_str())),
            about: self.host.readable(&name.to_string()),
        }
    }
}

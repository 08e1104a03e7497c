//! The findings of sweeps in one engine: images that are not admitted, each reported once, and what
//! became of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::judging::JudgedImage;
use super::swept_image::{RunningContainer, SweptImage, SweptName};
use crate::decide::{NameStanding, ResidentImage, Verdict};
use crate::observe::{judgement, plain};
use rootpin_trust::image::Digest;

/// As many are told by name of those that could not be looked at.
const MAX_UNTOLD: usize = 200;

/// By what a judgement was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Cache,
    Sources,
}

/// What was done about a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FindingAction {
    Reported,
    Removed,
    /// It was to go, and stays for this reason.
    Kept(String),
}

/// A name that is not admitted.
#[derive(Debug)]
struct SweepFinding {
    target: SweptName,
    judgement: Value,
    let_through: bool,
    /// Whether `[sweep] action = "remove"` takes it, if nothing runs from it.
    removable: bool,
    stage: Stage,
    rests_on_roots: bool,
    action: FindingAction,
    /// Until it is told.
    untold: Option<Verdict>,
}

/// What is known of one engine.
#[derive(Debug, Default)]
pub(super) struct EngineFindings {
    policy: Option<Digest>,
    /// How many names there are.
    pub(super) images: usize,
    findings: BTreeMap<Key, SweepFinding>,
    running: Vec<RunningContainer>,
    loud: BTreeSet<(String, String)>,
    /// What could not be looked at.
    untold: Vec<String>,
    /// How many more there are of these than are told by name.
    more_untold: usize,
    /// When all was last looked at.
    pub(super) at: Option<Timestamp>,
    /// How long that took, by the cache alone.
    pub(super) took: Duration,
}

/// Namespace and record.
type Key = (String, String);

/// How many there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) images: usize,
    pub(super) refused: usize,
    pub(super) unjudged: usize,
}

/// What is to be done after some were judged.
#[derive(Debug, Default)]
pub(super) struct Due {
    pub(super) tell: Vec<Verdict>,
    pub(super) remove: Vec<SweptName>,
}

impl EngineFindings {
    /// Everything is looked at anew; of what another policy said nothing is left.
    pub(super) fn begin(
        &mut self,
        policy: Option<Digest>,
        images: &[SweptImage],
        odd: &[String],
        running: Result<Vec<RunningContainer>, String>,
    ) {
        if self.policy != policy {
            self.findings.clear();
        }
        self.policy = policy;
        let keys: BTreeSet<Key> = images.iter().flat_map(keys_of).collect();
        self.findings
            .retain(|key, finding| keys.contains(key) && finding.action != FindingAction::Removed);
        self.untold = odd.iter().map(|record| plain(record)).collect();
        self.more_untold = 0;
        match running {
            Ok(running) => self.running = running,
            Err(why) => self.untold.push(format!("what runs: {}", plain(&why))),
        }
    }

    /// The engine did not say what it has: what was found before stays.
    pub(super) fn failed(&mut self, why: &str) {
        self.untold = vec![format!("images: {}", plain(why))];
        self.more_untold = 0;
    }

    /// These names are no longer there.
    pub(super) fn gone<'a>(&mut self, keys: impl IntoIterator<Item = &'a Key>) {
        for key in keys {
            if self
                .findings
                .get(key)
                .is_some_and(|finding| finding.action != FindingAction::Removed)
            {
                self.findings.remove(key);
            }
        }
    }

    /// Takes up what was judged. `removes`: whether anything may be removed now.
    pub(super) fn take(&mut self, judged: Vec<JudgedImage>, stage: Stage, removes: bool) -> Due {
        let mut due = Due::default();
        for JudgedImage {
            image,
            standings,
            trouble,
            ..
        } in judged
        {
            let whole = trouble.is_none();
            if let Some(why) = trouble {
                if self.untold.len() < MAX_UNTOLD {
                    self.untold
                        .push(format!("image {}: {}", plain(&image.title()), plain(&why)));
                } else {
                    self.more_untold += 1;
                }
            }
            let image = Arc::new(image);
            let admitted_elsewhere = standings.iter().flatten().any(NameStanding::is_admitted);
            for (named, standing) in image.resident.names.iter().zip(standings) {
                let target = SweptName {
                    image: Arc::clone(&image),
                    named: named.clone(),
                    admitted_elsewhere,
                };
                self.one(target, standing, (stage, removes, whole), &mut due);
            }
        }
        due
    }

    fn one(
        &mut self,
        target: SweptName,
        standing: Option<NameStanding>,
        (stage, removes, whole): (Stage, bool, bool),
        due: &mut Due,
    ) {
        let key = key(&target);
        let before = self
            .findings
            .get(&key)
            .filter(|before| before.target.named.digest == target.named.digest);
        let Some(no) = standing.filter(|standing| !standing.is_admitted()) else {
            // What the sources have refused stands until they are asked again: the cache may be
            // older. And so does all where it could not be seen what an image is made of.
            let by_sources =
                |before: &SweepFinding| before.stage == Stage::Sources && before.rests_on_roots;
            if whole && !before.is_some_and(|before| stage == Stage::Cache && by_sources(before)) {
                self.findings.remove(&key);
            }
            return;
        };
        // Where no source answers, what the cache has said stands: also a yes.
        let unjudged = no.verdict.decision.outcome() == "unjudged";
        if stage == Stage::Sources && unjudged && before.is_none_or(SweepFinding::is_refused) {
            return;
        }
        let (removable, at_once, let_through) = (
            no.is_removable(),
            no.is_told_at_once(),
            no.verdict.decision.lets_through(),
        );
        let judgement = judgement(&no.verdict);
        let told = before.filter(|before| {
            before.untold.is_none() && before.judgement.get("code") == judgement.get("code")
        });
        let action = told.map_or(FindingAction::Reported, |before| before.action.clone());
        let (removes, rests_on_roots) = (removes && no.removes && removable, no.rests_on_roots());
        let mut untold = if told.is_some() {
            None
        } else {
            Some(no.verdict)
        };
        if at_once || stage == Stage::Sources {
            due.tell.extend(untold.take());
        }
        if removes && (stage == Stage::Sources || !rests_on_roots) {
            due.remove.push(target.clone());
        }
        self.findings.insert(
            key,
            SweepFinding {
                target,
                judgement,
                let_through,
                removable,
                stage,
                rests_on_roots,
                action,
                untold,
            },
        );
    }

    /// What waited for newer metadata, and is to be told now that there is none.
    pub(super) fn waited(&mut self) -> Vec<Verdict> {
        self.findings
            .values_mut()
            .filter_map(|finding| finding.untold.take())
            .collect()
    }

    /// What became of a name that was to go.
    pub(super) fn acted(&mut self, target: &SweptName, action: FindingAction) {
        if let Some(finding) = self.findings.get_mut(&key(target)) {
            finding.action = action;
        }
    }

    /// Containers that run from what is refused, each once.
    pub(super) fn loud(&mut self) -> Vec<(String, String)> {
        let refused = self.running.iter().filter_map(|container| {
            let finding = self.findings.values().find(|finding| {
                finding.is_refused() && !finding.let_through && finding.is_used_by(container)
            })?;
            Some((container.id.clone(), finding.title()))
        });
        let refused: BTreeSet<_> = refused.collect();
        let fresh = refused.difference(&self.loud).cloned().collect();
        self.loud = refused;
        fresh
    }

    /// What could not be looked at, in words; of more than the limit, how many.
    pub(super) fn untold(&self) -> Vec<String> {
        let more = self.more_untold;
        let rest = (more > 0).then(|| format!("{more} more images could not be looked at"));
        self.untold.iter().cloned().chain(rest).collect()
    }

    pub(super) fn count(&self) -> Count {
        let there = || {
            self.findings
                .values()
                .filter(|finding| finding.action != FindingAction::Removed)
        };
        let refused = there().filter(|finding| finding.is_refused()).count();
        Count {
            images: self.images,
            refused,
            unjudged: there().count() - refused,
        }
    }

    /// The findings and the running containers, as `rootpin sweep --json` shows them.
    pub(super) fn json(&self, engine: &str) -> (Vec<Value>, Vec<Value>) {
        let findings = self
            .findings
            .values()
            .map(|finding| finding.json(engine, &self.running))
            .collect();
        let running = self.running.iter().map(|container| {
            let finding = self.findings.values().find(|finding| finding.is_used_by(container));
            let known = container.digest.is_some() || finding.is_some();
            let outcome = finding.map_or(if known { "allowed" } else { "unknown" }, |finding| finding.outcome());
            json!({
                "engine": plain(engine), "namespace": plain(&container.namespace), "id": plain(&container.id), "image": plain(&container.image),
                "digest": container.digest.map(|digest| digest.to_string()), "outcome": outcome,
            })
        });
        (findings, running.collect())
    }
}

impl SweepFinding {
    fn outcome(&self) -> &str {
        self.judgement
            .get("outcome")
            .and_then(Value::as_str)
            .unwrap_or("unjudged")
    }

    fn is_refused(&self) -> bool {
        self.outcome() == "refused"
    }

    /// Whether a container is known to run from it.
    fn is_used_by(&self, container: &RunningContainer) -> bool {
        container.is_of(&self.target)
    }

    fn title(&self) -> String {
        let (record, digest) = (plain(&self.target.named.record), self.target.named.digest);
        if record.contains('@') {
            record
        } else {
            format!("{record}@{digest}")
        }
    }

    fn json(&self, engine: &str, running: &[RunningContainer]) -> Value {
        let containers: Vec<String> = running
            .iter()
            .filter(|one| self.is_used_by(one))
            .map(|one| plain(&one.id))
            .collect();
        let (action, kept) = match &self.action {
            FindingAction::Reported => ("reported", None),
            FindingAction::Removed => ("removed", None),
            FindingAction::Kept(why) => ("kept", Some(plain(why))),
        };
        let of = |name: &str| self.judgement.get(name).cloned().unwrap_or_default();
        json!({
            "engine": plain(engine), "namespace": plain(&self.target.image.resident.namespace), "record": plain(&self.target.named.record),
            "name": of("name"), "digest": of("digest"), "outcome": of("outcome"), "code": of("code"), "rule": of("rule"), "roots": of("roots"),
            "found": of("found"), "wanted": of("wanted"), "hint": of("hint"), "let_through": self.let_through,
            "asked": if self.stage == Stage::Sources { "sources" } else { "cache" },
            "removable": self.removable, "action": action, "kept": kept, "containers": containers,
        })
    }
}

impl SweptImage {
    fn title(&self) -> String {
        let ResidentImage {
            namespace, names, ..
        } = &self.resident;
        let name = names
            .first()
            .map(|named| named.record.as_str())
            .unwrap_or_default();
        format!("{name} in namespace {namespace}")
    }
}

fn key(target: &SweptName) -> Key {
    (
        target.image.resident.namespace.clone(),
        target.named.record.clone(),
    )
}

/// The records of an image.
pub(super) fn keys_of(image: &SweptImage) -> impl Iterator<Item = Key> + '_ {
    image
        .resident
        .names
        .iter()
        .map(|named| (image.resident.namespace.clone(), named.record.clone()))
}

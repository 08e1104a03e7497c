//! One engine's sweeper: when it looks, at what, and what it does then.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::engine::SweptEngine;
use super::findings::{EngineFindings, FindingAction, Stage, keys_of};
use super::judging::{JudgedImage, by_cache, by_sources};
use super::pending::{Pending, Work};
use super::period::until_next;
use super::swept_image::{Removal, SweptImage, SweptName};
use crate::decide::{Decider, Verdict};
use crate::observe::{Observer, StatusBoard, Swept, label_value, plain};
use crate::problem::Problem;

/// What is written together is looked at together; and a storm of events costs no more than this.
const PAUSE: Duration = Duration::from_millis(250);
/// Until an engine that went away is looked for again, at first and at last.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// Names told one by one in one go; `rootpin sweep` shows all.
const MAX_TOLD: usize = 200;
/// Looks at sources that wait for an answer.
const MAX_ASKING: usize = 16;

/// A sweep that somebody waits for.
#[derive(Debug)]
pub(super) struct SweepRequest {
    pub(super) dry_run: bool,
    pub(super) done: oneshot::Sender<()>,
}

/// What one engine's sweeper has and knows.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) name: String,
    pub(super) engine: Arc<SweptEngine>,
    pub(super) decider: Arc<Decider>,
    pub(super) observer: Arc<Observer>,
    pub(super) status: Arc<StatusBoard>,
    pub(super) pending: Arc<Pending>,
    pub(super) known: Mutex<EngineFindings>,
}

/// What one look is to cover.
enum SweepScope {
    /// Everything, and all that rests on roots by what those say now.
    Whole,
    /// Everything by the cache, and by its sources what that does not admit.
    All,
    /// The same of these records and their aliases.
    Names(BTreeSet<(String, String)>),
}

impl Watch {
    pub(super) fn known(&self) -> MutexGuard<'_, EngineFindings> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sweeps for ever.
    pub(super) async fn run(self: Arc<Self>, mut wanted: mpsc::Receiver<SweepRequest>) {
        let mut changes = self.decider.changes();
        let mut asking: JoinSet<Vec<JudgedImage>> = JoinSet::new();
        let (mut waiting, mut removes) = (Vec::new(), true);
        let (mut next, mut not_before) = (Instant::now(), Instant::now());
        loop {
            let look = tokio::select! {
                biased;
                Ok(()) = changes.changed() => SweepScope::Whole,
                Some(SweepRequest { dry_run, done }) = wanted.recv() => {
                    waiting.push(done);
                    removes = !dry_run;
                    SweepScope::Whole
                }
                Some(done) = asking.join_next() => {
                    let judged = self.still_so(done.unwrap_or_default()).await;
                    self.settle(judged, Stage::Sources, removes).await;
                    if asking.is_empty() {
                        self.finish(&mut waiting, &mut removes);
                    }
                    continue;
                }
                work = async { tokio::time::sleep_until(not_before).await; self.pending.take().await } => match work {
                    Work::Names(names) if asking.len() < MAX_ASKING => SweepScope::Names(names),
                    Work::Names(_) | Work::All => SweepScope::All,
                    Work::Nothing => continue,
                },
                () = tokio::time::sleep_until(next) => SweepScope::Whole,
            };
            let whole = matches!(look, SweepScope::Whole);
            if whole {
                // What is being asked is asked again.
                asking.abort_all();
                while asking.join_next().await.is_some() {}
                next = Instant::now() + until_next(chance());
            }
            let doubted = self.look(look, removes).await;
            if !doubted.is_empty() {
                asking.spawn(by_sources(
                    Arc::clone(&self.engine),
                    Arc::clone(&self.decider),
                    doubted,
                ));
            } else if asking.is_empty() {
                self.finish(&mut waiting, &mut removes);
            }
            not_before = Instant::now() + PAUSE;
        }
    }

    /// Follows the engine's events for ever. Whatever was missed while there was no stream, a look
    /// at everything finds.
    pub(super) async fn follow(self: Arc<Self>) {
        let mut pause = RECONNECT.0;
        loop {
            let mut connected = false;
            let result = self.engine.follow(&self.pending, || {
                connected = true;
                self.status.watching(&self.name, Ok(()));
                self.pending.look();
            });
            let why = result
                .await
                .err()
                .unwrap_or_else(|| "the stream of events ended".to_owned());
            if connected || pause == RECONNECT.0 {
                log::warn!(
                    "engine {}: names that are written now are seen by the next sweep only: {}",
                    self.name,
                    plain(&why)
                );
            }
            pause = if connected {
                RECONNECT.0
            } else {
                (pause * 2).min(RECONNECT.1)
            };
            self.status.watching(&self.name, Err(why));
            if connected {
                self.observer.engine_ended(&self.name);
            }
            tokio::time::sleep(pause * (192 + chance() / 2) / 256).await;
        }
    }

    /// Judges by the cache and acts on it. Returns what is to be asked of sources.
    async fn look(&self, look: SweepScope, removes: bool) -> Vec<SweptImage> {
        let policy = match self.decider.policy() {
            Ok(policy) => policy.hash,
            Err(refusal) => {
                let nobody = format!("no image was judged: {refusal}");
                self.known().begin(None, &[], &[nobody], Ok(Vec::new()));
                self.told(&[], true);
                return Vec::new();
            }
        };
        let begun = Instant::now();
        let held = match self.engine.held(&self.name).await {
            Ok(held) => held,
            Err(why) => {
                log::warn!(
                    "engine {}: its images cannot be listed: {}",
                    self.name,
                    plain(&why)
                );
                self.known().failed(&why);
                self.told(&[], false);
                return Vec::new();
            }
        };
        self.known().images = held
            .images
            .iter()
            .map(|image| image.resident.names.len())
            .sum();
        let (images, whole) = match look {
            SweepScope::Whole | SweepScope::All => {
                let running = self.engine.running().await;
                self.known()
                    .begin(Some(policy), &held.images, &held.odd, running);
                (held.images, matches!(look, SweepScope::Whole))
            }
            SweepScope::Names(names) => {
                let images: Vec<SweptImage> = held
                    .images
                    .into_iter()
                    .filter(|image| keys_of(image).any(|key| names.contains(&key)))
                    .collect();
                let there: BTreeSet<_> = images.iter().flat_map(keys_of).collect();
                self.known().gone(names.difference(&there));
                (images, false)
            }
        };
        let count = images.len();
        let judged = by_cache(&self.engine, &self.decider, images).await;
        let doubted = judged.iter().filter(|one| {
            if whole {
                one.rests_on_roots()
            } else {
                one.may_be_mended()
            }
        });
        let doubted = doubted.map(|one| one.image.clone()).collect();
        self.settle(judged, Stage::Cache, removes).await;
        log::debug!(
            "engine {}: {count} images judged by the cache in {:?}",
            self.name,
            begun.elapsed()
        );
        if whole {
            let mut known = self.known();
            (known.at, known.took) = (Some(Timestamp::now()), begun.elapsed());
        }
        doubted
    }

    /// What sources were asked about takes time, in which a name may have been given to other
    /// bytes.
    async fn still_so(&self, judged: Vec<JudgedImage>) -> Vec<JudgedImage> {
        let mut still = Vec::with_capacity(judged.len());
        for one in judged {
            let names = one.image.resident.names.iter().zip(&one.standings);
            let mut so = true;
            for (named, _) in names.filter(|(_, standing)| {
                standing
                    .as_ref()
                    .is_some_and(|standing| !standing.is_admitted())
            }) {
                so &= self
                    .engine
                    .stands(&one.image.resident.namespace, named)
                    .await
                    .unwrap_or(false);
            }
            if so {
                still.push(one);
            } else {
                self.pending.look();
            }
        }
        still
    }

    /// Takes up judgements: tells what is new, and removes what is to go.
    async fn settle(&self, judged: Vec<JudgedImage>, stage: Stage, removes: bool) {
        let due = self.known().take(judged, stage, removes);
        self.told(&due.tell, true);
        self.remove(due.remove).await;
    }

    async fn remove(&self, targets: Vec<SweptName>) {
        if targets.is_empty() {
            return;
        }
        let running = self.engine.running().await;
        let last = targets.len() - 1;
        for (at, target) in targets.iter().enumerate() {
            let user = running
                .as_ref()
                .map(|running| running.iter().find(|container| container.may_be_of(target)));
            let action = match user {
                Err(why) => FindingAction::Kept(format!("what runs cannot be told: {why}")),
                Ok(Some(container)) => {
                    FindingAction::Kept(format!("container {} runs from it, or may", container.id))
                }
                Ok(None) => match self
                    .engine
                    .remove(&target.image.resident.namespace, &target.named, at == last)
                    .await
                {
                    Ok(Removal::Removed) => FindingAction::Removed,
                    Ok(Removal::Changed) => {
                        self.pending.look();
                        FindingAction::Reported
                    }
                    Ok(Removal::Refused(why)) | Err(why) => FindingAction::Kept(why),
                },
            };
            let title = format!(
                "{} of engine {}, namespace {}",
                plain(&target.named.record),
                self.name,
                target.image.resident.namespace
            );
            match &action {
                FindingAction::Removed => {
                    self.observer
                        .metrics()
                        .add("rootpin_removed_total", self.label(), 1.0);
                    log::warn!(
                        "removed {title}, which stood for {}: [sweep] action = \"remove\"",
                        target.named.digest
                    );
                }
                FindingAction::Kept(why) => {
                    log::error!("{title} was to be removed and is not: {}", plain(why));
                }
                FindingAction::Reported => {}
            }
            self.known().acted(target, action);
        }
        self.told(&[], true);
    }

    /// Nothing is being asked any more: what waited for that is told, and whoever waited.
    fn finish(&self, waiting: &mut Vec<oneshot::Sender<()>>, removes: &mut bool) {
        let waited = self.known().waited();
        self.told(&waited, true);
        *removes = true;
        for done in waiting.drain(..) {
            let _ = done.send(());
        }
    }

    /// Tells verdicts, and how things stand.
    fn told(&self, verdicts: &[Verdict], listed: bool) {
        let more = verdicts.len().saturating_sub(MAX_TOLD);
        for verdict in verdicts.iter().take(MAX_TOLD) {
            self.observer.observe(verdict);
        }
        if more > 0 {
            let what = format!("engine {}: {more} more names are not admitted", self.name);
            log::error!("{}", Problem::hinted(what, "`rootpin sweep` shows all"));
        }
        let (count, loud, at, untold) = {
            let mut known = self.known();
            (known.count(), known.loud(), known.at, known.untold())
        };
        for (container, image) in loud {
            let what = format!(
                "engine {}: container {} runs from {image}, which is not admitted",
                self.name,
                plain(&container)
            );
            log::error!("{}", Problem::hinted(what, "stop it"));
        }
        if listed {
            for (name, value) in [
                ("rootpin_resident_images", count.images),
                ("rootpin_resident_refused", count.refused),
                ("rootpin_resident_unjudged", count.unjudged),
            ] {
                self.observer.metrics().set(
                    name,
                    self.label(),
                    f64::from(u32::try_from(value).unwrap_or(u32::MAX)),
                );
            }
        }
        let swept = Swept {
            at,
            images: count.images,
            refused: count.refused,
            unjudged: count.unjudged,
            trouble: untold.into_iter().next(),
        };
        self.status.swept(&self.name, swept);
    }

    fn label(&self) -> String {
        format!("engine=\"{}\"", label_value(&self.name))
    }
}

/// One byte of chance, so that a fleet does not do everything at once: the keys of a hasher, which
/// differ each time.
fn chance() -> u32 {
    let [byte, ..] = RandomState::new().hash_one(0).to_be_bytes();
    byte.into()
}

//! The decision: one question in, one verdict out, and what was verified for it kept before it is
//! told.

mod decision;
mod docker;
mod held;
mod ledger_cache;
mod pin_hint;
mod prove;
mod question;
mod resident;
mod resolve;
mod run;
mod session;
pub mod survey;
mod upkeep;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::evidence::{Evidence, Repositories};
use crate::sources::Sources;
use crate::state::{Kind, Row, Store};
use rootpin_policy::judge::{Action, Judgement, Lookup, Question, entries};
use rootpin_policy::{Diagnostic, Mode, Policy};
use rootpin_trust::image::{Descriptor, Digest, ImageRef};
use rootpin_trust::{Code, Refusal};

pub use crate::evidence::SourceBehind;
pub use decision::{Decision, Verdict, signers};
pub use docker::{Call, DOCKER_NAMESPACE, Does};
pub use held::Held;
use ledger_cache::LedgerCache;
use prove::Proving;
pub use prove::{Asked, Proof};
pub use question::{Claim, Door, Place, Pull, Unpack};
pub use resident::{Bytes, Named, Resident, Standing};
pub use rootpin_policy::judge::{Admission, Basis, Denial, Ground, NameSource};
pub use run::Run;
use session::Session;

/// The policy in force, or why there is none.
pub type InForce = Result<Arc<Policy>, Refusal>;

/// Decides. Shared by every door.
#[derive(Debug)]
pub struct Decider {
    policy: RwLock<InForce>,
    repositories: Arc<Repositories>,
    store: Arc<Store>,
    deadline: Duration,
    shared_signers: AtomicU64,
    ledger: LedgerCache,
    changes: watch::Sender<()>,
    proving: Arc<Proving>,
}

impl Decider {
    /// A decider that keeps what it sees, or one that only looks.
    #[must_use]
    pub fn new(
        policy: InForce,
        sources: Arc<Sources>,
        store: Arc<Store>,
        deadline: Duration,
        keeps: bool,
    ) -> Self {
        let repositories = Repositories::new(sources, Arc::clone(&store), keeps);
        Self::of(policy, repositories, store, deadline)
    }

    /// One that judges by the same policy and the same state at the present time, and keeps
    /// nothing.
    #[must_use]
    pub fn onlooker(&self, sources: Arc<Sources>) -> Self {
        let proving = Arc::clone(&self.proving);
        Self {
            proving,
            ..self.keeping_nothing(self.policy(), sources)
        }
    }

    fn keeping_nothing(&self, policy: InForce, sources: Arc<Sources>) -> Self {
        let repositories = self.repositories.onlooker(sources);
        Self::of(policy, repositories, Arc::clone(&self.store), self.deadline)
    }

    /// One that judges by what is cached alone, and reads each piece of it once.
    #[must_use]
    pub fn by_cache(&self) -> Self {
        let (repositories, store) = (self.repositories.by_cache(), Arc::clone(&self.store));
        Self {
            proving: Arc::clone(&self.proving),
            ..Self::of(self.policy(), repositories, store, self.deadline)
        }
    }

    fn of(
        policy: InForce,
        repositories: Repositories,
        store: Arc<Store>,
        deadline: Duration,
    ) -> Self {
        Self {
            policy: RwLock::new(policy),
            repositories: Arc::new(repositories),
            store,
            deadline,
            shared_signers: AtomicU64::new(0),
            ledger: LedgerCache::default(),
            changes: watch::Sender::new(()),
            proving: Arc::default(),
        }
    }

    /// Wakes whoever holds decisions that another policy, or metadata that came otherwise than by a
    /// question, may have changed.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// The policy in force.
    ///
    /// # Errors
    /// There is none: the refusal of every question.
    pub fn policy(&self) -> InForce {
        self.policy
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Puts another policy in force. A proof ends with the one that allowed it.
    pub fn set_policy(&self, policy: Arc<Policy>) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Ok(policy);
        self.proving.end();
        self.changes.send_replace(());
    }

    /// How often a signer's key was first seen under a further repository.
    #[must_use]
    pub fn shared_signers(&self) -> u64 {
        self.shared_signers.load(Ordering::Relaxed)
    }

    /// Sources get less than the whole of it, so that there is time for the cache when they don't
    /// answer.
    fn for_sources(&self) -> Duration {
        self.deadline * 3 / 4
    }

    fn session<'a>(&'a self, policy: &'a Policy, now: Timestamp, begun: Instant) -> Session<'a> {
        let until = begun + self.for_sources();
        Session::new(policy, &self.repositories, now, begun, until)
    }

    /// Forgets what is at hand, after the state was reset.
    pub fn forget(&self) {
        self.ledger.clear();
        self.repositories.forget();
        self.changes.send_replace(());
    }

    /// What this host has seen.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// How long one question may take.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// May this name be pulled as this digest?
    pub async fn pull(&self, pull: &Pull, now: Timestamp) -> Verdict {
        let begun = Instant::now();
        let decision = match self.policy() {
            Err(refusal) => Decision::Deny(Denial::plain(refusal)),
            Ok(policy) => match self.proving.of_name(pull, &policy) {
                Some(proof) => proof.pull(pull, now, begun).await,
                None => self.pull_by(&policy, pull, now, begun).await,
            },
        };
        Verdict {
            name: Some(pull.name.clone()),
            digest: Some(pull.digest),
            ..Verdict::of(decision, pull.door, now, begun)
        }
    }

    async fn pull_by(
        &self,
        policy: &Policy,
        pull: &Pull,
        now: Timestamp,
        begun: Instant,
    ) -> Decision {
        let mut session = self.session(policy, now, begun);
        let judgement = session
            .judge(Question::pull(pull.name.clone(), pull.digest))
            .await;
        let subject = Some((&pull.name, pull.digest));
        self.conclude(session, judgement, subject, &[(pull.digest, Kind::Top)])
            .await
    }

    /// The verdict on a name that never came to be judged: its digest is not known, or time was
    /// over.
    pub fn unjudged_pull(
        &self,
        door: Door,
        name: Option<ImageRef>,
        refusal: Refusal,
        begun: Instant,
    ) -> Verdict {
        let mode = |policy: &Policy| {
            name.as_ref().map_or_else(
                || policy.strictest_mode(),
                |name| policy.mode_for(&name.repository),
            )
        };
        let mut decision = self.unjudged(refusal, mode);
        let entry = name
            .as_ref()
            .and_then(|name| first_entry(&*self.policy().ok()?, name));
        if let (Decision::Deny(denial) | Decision::LetThrough(denial), Some(entry)) =
            (&mut decision, entry)
        {
            denial.rule = Some(entry);
        }
        Verdict {
            name,
            ..Verdict::of(decision, door, Timestamp::now(), begun)
        }
    }

    /// The verdict on a layer that never came to be judged: containerd says nothing of it, or time
    /// was over.
    pub fn unjudged_layer(
        &self,
        door: Door,
        engine: &str,
        layer: Digest,
        refusal: Refusal,
        begun: Instant,
    ) -> Verdict {
        // Whose layer it is was not learned: it may be that of the strictest rule, and whoever
        // slows us down must not choose.
        let decision = self.unjudged(refusal, Policy::strictest_mode);
        Verdict {
            engine: Some(engine.to_owned()),
            layer: Some(layer),
            ..Verdict::of(decision, door, Timestamp::now(), begun)
        }
    }

    fn unjudged(&self, refusal: Refusal, mode: impl FnOnce(&Policy) -> Mode) -> Decision {
        let mode = self.policy().map_or(Mode::Enforce, |policy| mode(&policy));
        denied(Denial::plain(refusal), mode)
    }

    /// May this layer be unpacked? Every namespace that is meant must allow it.
    pub async fn unpack(&self, unpack: &Unpack, now: Timestamp) -> Verdict {
        let begun = unpack.begun;
        let mut named = None;
        let decision = match self.policy() {
            Err(refusal) => Decision::Deny(Denial::plain(refusal)),
            Ok(policy) => {
                let mut told = None;
                for place in &unpack.places {
                    let (decision, claim) =
                        match self.proving.of_place(place, &unpack.layer, &policy) {
                            Some((proof, own)) => {
                                proof
                                    .place(unpack.door, &own, &unpack.layer, now, begun)
                                    .await
                            }
                            None => {
                                self.place_by(&policy, place, &unpack.layer, now, begun)
                                    .await
                            }
                        };
                    let stops = !decision.lets_through();
                    // What audit mode lets through is told, whatever the next namespace says.
                    if stops || !matches!(told, Some(Decision::LetThrough(_))) {
                        named = claim.map(|claim| (claim.name, claim.chain.top()));
                        told = Some(decision);
                    }
                    if stops {
                        break;
                    }
                }
                told.unwrap_or_else(|| denied(nowhere(&unpack.layer.digest), policy.mode))
            }
        };
        let (name, digest) = named.unzip();
        let namespaces = unpack.places.iter();
        Verdict {
            engine: Some(unpack.engine.clone()),
            namespaces: namespaces.map(|place| place.namespace.clone()).collect(),
            name,
            digest,
            layer: Some(unpack.layer.digest),
            ..Verdict::of(decision, unpack.door, now, begun)
        }
    }

    /// What one namespace says of a layer, and the claim that decided.
    async fn place_by(
        &self,
        policy: &Policy,
        place: &Place,
        layer: &Descriptor,
        now: Timestamp,
        begun: Instant,
    ) -> (Decision, Option<Claim>) {
        let session = self.session(policy, now, begun);
        let shown = format!("layer {}", layer.digest);
        self.place_in(
            session,
            place,
            place.question(&Action::Unpack, layer.digest, shown),
        )
        .await
    }

    /// The decision on bytes in a namespace, and the claim that decided.
    async fn place_in(
        &self,
        mut session: Session<'_>,
        place: &Place,
        question: Question,
    ) -> (Decision, Option<Claim>) {
        let judgement = session.judge(question).await;
        let claim = judgement.decided_by.and_then(|at| place.claims.get(at));
        let rows = claim.map(|claim| rows_of(&claim.chain)).unwrap_or_default();
        let subject = claim.map(|claim| (&claim.name, claim.chain.top()));
        let decision = self.conclude(session, judgement, subject, &rows).await;
        (decision, claim.cloned())
    }

    /// Keeps what was verified and what is admitted, all or nothing, and only then lets it be an
    /// admission: a floor that is lost is an attack that succeeds later. A no keeps what was
    /// verified as well, or a server could go back to what it showed before.
    async fn conclude(
        &self,
        mut session: Session<'_>,
        judgement: Judgement,
        subject: Option<(&ImageRef, Digest)>,
        rows: &[(Digest, Kind)],
    ) -> Decision {
        let fresh = session.fresh_evidence();
        self.concluded(&session, fresh, judgement, subject, rows)
            .await
    }

    async fn concluded(
        &self,
        session: &Session<'_>,
        fresh: Vec<Arc<Evidence>>,
        judgement: Judgement,
        subject: Option<(&ImageRef, Digest)>,
        rows: &[(Digest, Kind)],
    ) -> Decision {
        let admission = match judgement.result {
            Ok(admission) => admission,
            Err(denial) => {
                self.keep_of_no(fresh, session.now).await;
                return denied(denial, judgement.mode);
            }
        };
        // Bytes of no registry have no name and so no row; a state that can't be used stops them
        // all the same. Nothing is kept by a clock that can't be right.
        let rows = match subject {
            Some(subject) if session.clock.is_none() => {
                let row = |(digest, kind): &(Digest, Kind)| {
                    let row = ledger_row(session.policy, &admission, subject, *kind);
                    (*digest, row)
                };
                rows.iter().map(row).collect()
            }
            _ => Vec::new(),
        };
        match self.keep(fresh, rows, session.now).await {
            Ok(()) => Decision::Allow(admission),
            Err(refusal) => {
                let roots = signers(&admission);
                let denial = Denial {
                    roots,
                    ..Denial::by(admission.rule, refusal)
                };
                denied(denial, judgement.mode)
            }
        }
    }

    /// Keeps what was verified for a question that lets nothing in.
    async fn keep_of_no(&self, fresh: Vec<Arc<Evidence>>, now: Timestamp) {
        if !fresh.is_empty()
            && let Err(refusal) = self.keep(fresh, Vec::new(), now).await
        {
            log::error!("what was verified for a refused question is not kept: {refusal}");
        }
    }

    async fn keep(
        &self,
        fresh: Vec<Arc<Evidence>>,
        rows: Vec<(Digest, Row)>,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        if !self.repositories.keeps() {
            return Ok(());
        }
        // All of it is written. A state that can't be relied on any more is asked all the same, and
        // opened again.
        if fresh.is_empty() && self.ledger.has(&rows) && self.store.usable().is_ok() {
            return Ok(());
        }
        let written = rows.clone();
        let committed = self.repositories.keep(fresh, rows, now).await?;
        self.ledger.add(written);
        for (key, repository) in committed.shared_signers {
            log::warn!(
                "signer key {key} has also signed for {repository}: one signature could be passed off as the other's"
            );
            self.shared_signers.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// A no, which audit mode lets through.
fn denied(denial: Denial, mode: Mode) -> Decision {
    match mode {
        Mode::Audit => Decision::LetThrough(denial),
        Mode::Enforce => Decision::Deny(denial),
    }
}

/// A row is kept as text, in which a bare repository, as a source label tells it, would be its tag
/// `latest`.
fn ledger_row(
    policy: &Policy,
    admission: &Admission,
    (name, top): (&ImageRef, Digest),
    kind: Kind,
) -> Row {
    let bare = name.tag.is_none() && name.digest.is_none();
    Row {
        name: if bare {
            name.with_digest(top)
        } else {
            name.clone()
        },
        top,
        kind,
        policy: policy.hash,
        valid_until: admission.valid_until,
        rule: admission.rule.clone(),
    }
}

/// A layer that no place holds.
fn nowhere(layer: &Digest) -> Denial {
    Denial::plain(Refusal::new(
        Code::NotLocal,
        format!("layer {layer} in no namespace of this containerd"),
        "a layer of an image that containerd holds",
        "pull the image by its signed name",
    ))
}

/// No decision came in time.
#[must_use]
pub fn too_slow(deadline: Duration) -> Refusal {
    Refusal::new(
        Code::OverLimit,
        format!("no decision within {deadline:?}"),
        "one within the deadline of rootpin.toml",
        "a trust server or containerd is slow: see `rootpin status` and the log",
    )
}

fn rows_of(chain: &rootpin_trust::image::Chain) -> Vec<(Digest, Kind)> {
    let (config, layers) = chain.content();
    [(chain.top(), Kind::Top)]
        .into_iter()
        .chain(chain.between().map(|index| (index, Kind::Manifest)))
        .chain([(chain.manifest(), Kind::Manifest), (config, Kind::Config)])
        .chain(layers.into_iter().map(|layer| (layer, Kind::Layer)))
        .collect()
}

/// The policy in that folder does not load, and its first finding.
#[must_use]
pub fn policy_refused(findings: &[Diagnostic], dir: &Path) -> Refusal {
    let first = findings
        .first()
        .map(ToString::to_string)
        .unwrap_or_default();
    let first = first.lines().next().unwrap_or_default();
    let found = match findings.len() {
        1 => format!("one error: {first}"),
        more => format!("{more} errors, of which the first is: {first}"),
    };
    Refusal {
        hint: format!(
            "`rootpin policy check {}` shows each error with its line and what to write",
            dir.display()
        ),
        ..policy_unusable(&found)
    }
}

/// The entry of the policy that would be asked first about a name, before its bytes are known.
fn first_entry(policy: &Policy, name: &ImageRef) -> Option<String> {
    let all = entries(policy, Lookup::of(name, Timestamp::now(), None));
    let (first, _) = all.iter().find(|(_, why)| why.applies())?;
    Some(first.to_string())
}

/// There is no policy in force, and why.
#[must_use]
pub fn policy_unusable(why: &str) -> Refusal {
    Refusal::new(
        Code::PolicyUnusable,
        why,
        "a policy that loads",
        "run `rootpin policy check` and mend what it shows; the daemon takes the policy as soon as it loads",
    )
}

//! The decision: one question in, one verdict out, and what was verified for it kept before it is
//! told.

mod break_glass;
mod credentials;
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
mod signatures;
pub(crate) mod survey;
mod unjudged;
mod unpack;
mod upkeep;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::evidence::{Evidence, Repositories};
use crate::sources::{RegistryReplies, Sources};
use crate::state::{Row, RowKind, Store};
use rootpin_policy::judge::{Judgement, Question};
use rootpin_policy::{Mode, Policy};
use rootpin_trust::Refusal;
use rootpin_trust::image::{Digest, ImageRef};

pub use crate::evidence::{RootExpiry, SignatureRoot, SilentSource, SourceBehind};
pub(crate) use break_glass::EndedGlass;
pub use break_glass::GlassRequest;
use break_glass::GlassSlot;
pub use decision::{Decision, LetThroughBy, Verdict, signers};
pub use docker::{Call, DOCKER_NAMESPACE, Does};
pub use held::HeldImage;
use ledger_cache::LedgerCache;
pub use prove::Proof;
pub(crate) use prove::ProofQuestion;
use prove::Proving;
pub(crate) use prove::is_of_proof;
pub use question::{Claim, Door, NamespaceView, Pull, Unpack};
pub(crate) use resident::NameStanding;
pub use resident::{ImageContents, ImageName, ResidentImage};
pub use rootpin_policy::judge::NameSource;
pub(crate) use rootpin_policy::judge::{Admission, Denial, Ground};
pub use run::Run;
use session::JudgeSession;
pub(crate) use signatures::SignatureDisplay;
pub(crate) use unjudged::{is_spoken_of, policy_refused};
pub use unjudged::{policy_unusable, too_slow};

/// The policy in force, or why there is none.
pub(crate) type InForce = Result<Arc<Policy>, Refusal>;

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
    glass: Arc<GlassSlot>,
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
        if let Ok(policy) = &policy {
            sources.credentials().obey(Arc::clone(policy));
        }
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
            glass: Arc::clone(&self.glass),
            ..self.keeping_nothing(self.policy(), sources)
        }
    }

    fn keeping_nothing(&self, policy: InForce, sources: Arc<Sources>) -> Self {
        let repositories = self.repositories.onlooker(sources);
        Self::of(policy, repositories, Arc::clone(&self.store), self.deadline)
    }

    /// One that judges by what is cached alone, and reads each piece of it once.
    #[must_use]
    pub(crate) fn by_cache(&self) -> Self {
        let (repositories, store) = (self.repositories.by_cache(), Arc::clone(&self.store));
        Self {
            proving: Arc::clone(&self.proving),
            glass: Arc::clone(&self.glass),
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
            glass: Arc::default(),
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
        let credentials = self.repositories.sources().credentials();
        credentials.obey(Arc::clone(&policy));
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Ok(policy);
        self.proving.end();
        self.changes.send_replace(());
    }

    /// Has every question refused with this reason, where no policy is in force.
    pub(crate) fn set_unusable(&self, refusal: Refusal) {
        let mut policy = self.policy.write().unwrap_or_else(PoisonError::into_inner);
        if policy.is_err() {
            *policy = Err(refusal);
        }
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

    fn session<'a>(
        &'a self,
        policy: &'a Policy,
        now: Timestamp,
        begun: Instant,
    ) -> JudgeSession<'a> {
        let until = begun + self.for_sources();
        JudgeSession::new(policy, &self.repositories, now, begun, until)
            .with_break_glass(self.break_glass(now))
    }

    /// That time, unless the clock can't be right.
    pub(crate) fn instant(&self, now: Timestamp) -> Option<Timestamp> {
        self.repositories.implausible(now).is_none().then_some(now)
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
        self.pull_with(pull, &[], now, None).await
    }

    /// The same of an image of which these parts are known too: one that is revoked is refused.
    pub(crate) async fn pull_of(&self, pull: &Pull, parts: &[Digest], now: Timestamp) -> Verdict {
        self.pull_with(pull, parts, now, None).await
    }

    /// The same for people, who are shown all signatures afterwards: what registries answer to the
    /// searches for them is remembered, and they are asked for all places at once.
    pub(crate) async fn pull_remembering(
        &self,
        pull: &Pull,
        now: Timestamp,
        replies: Option<&RegistryReplies>,
    ) -> Verdict {
        self.pull_with(pull, &[], now, replies).await
    }

    async fn pull_with(
        &self,
        pull: &Pull,
        parts: &[Digest],
        now: Timestamp,
        replies: Option<&RegistryReplies>,
    ) -> Verdict {
        let begun = Instant::now();
        let at = (now, begun);
        let decision = match self.policy() {
            Err(refusal) => Decision::Deny(Denial::plain(refusal)),
            Ok(policy) => match self.proving.of_name(pull, &policy) {
                Some(proof) => proof.pull(pull, now, begun).await,
                None => self.pull_by(&policy, (pull, parts), at, replies).await,
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
        (pull, parts): (&Pull, &[Digest]),
        (now, begun): (Timestamp, Instant),
        replies: Option<&RegistryReplies>,
    ) -> Decision {
        let mut session = self.session(policy, now, begun).remembering(replies);
        let mut question = Question::pull(pull.name.clone(), pull.digest);
        question.bytes.extend(parts);
        let judgement = session.judge(question).await;
        let subject = Some((&pull.name, pull.digest));
        self.conclude(session, judgement, subject, &[(pull.digest, RowKind::Top)])
            .await
    }

    /// Keeps what was verified and what is admitted, all or nothing, and only then lets it be an
    /// admission: a floor that is lost is an attack that succeeds later. A no keeps what was
    /// verified as well, or a server could go back to what it showed before.
    async fn conclude(
        &self,
        mut session: JudgeSession<'_>,
        judgement: Judgement,
        subject: Option<(&ImageRef, Digest)>,
        rows: &[(Digest, RowKind)],
    ) -> Decision {
        let fresh = session.fresh_evidence();
        self.concluded(&session, fresh, judgement, subject, rows)
            .await
    }

    async fn concluded(
        &self,
        session: &JudgeSession<'_>,
        fresh: Vec<Arc<Evidence>>,
        judgement: Judgement,
        subject: Option<(&ImageRef, Digest)>,
        rows: &[(Digest, RowKind)],
    ) -> Decision {
        let admission = match judgement.result {
            Ok(admission) => admission,
            Err(denial) => {
                self.keep_of_no(fresh, session.now).await;
                return session.no(denial, judgement.mode, judgement.breaks_glass);
            }
        };
        // Bytes of no registry have no name and so no row; a state that can't be used stops them
        // all the same. Nothing is kept by a clock that can't be right.
        let rows = match subject {
            Some(subject) if session.clock.is_none() => {
                let row = |(digest, kind): &(Digest, RowKind)| {
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
                session.no(denial, judgement.mode, judgement.breaks_glass)
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
        Mode::Audit => Decision::LetThrough(denial, LetThroughBy::Audit),
        Mode::Enforce => Decision::Deny(denial),
    }
}

/// A row is kept as text, in which a bare repository, as a source label tells it, would be its tag
/// `latest`.
fn ledger_row(
    policy: &Policy,
    admission: &Admission,
    (name, top): (&ImageRef, Digest),
    kind: RowKind,
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

//! A proof's own root: for its own names, for a minute, and for two kinds of bytes.
//!
//! `rootpin prove` shows that every door stops what nobody signed, and takes what somebody did. For
//! the latter there has to be somebody, whom the host's policy must not have to know: a root that
//! root itself sets over the control socket, and that speaks for the names
//! `127.0.0.1:PORT/rootpin-prove-NONCE/**` only. This is what keeps it from ever being more:
//!
//! - the nonce is made here, so that no name that anybody uses is among them; every other name is
//!   judged as if there were no proof;
//! - whatever the root signs, nothing is admitted but [`Canary::Signed`], whose bytes are made here
//!   from the name to compare;
//! - what the policy revokes stays revoked; `prove = false` forbids all of it, and any change of
//!   policy ends it;
//! - nothing of it is kept: no floor, no contact, no row of the ledger, no cached file.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::question::revocable;
use super::{Claim, Decider, Decision, Denial, Door, NamespaceView, Pull, Verdict};
use crate::canary::Canary;
use crate::nonce;
use crate::problem::Problem;
use crate::sources::{Credentials, Sources};
use rootpin_policy::{self, Pattern, Policy};
use rootpin_trust::image::{Descriptor, Digest, ImageRef, Repository};
use rootpin_trust::{Code, Refusal};

/// How long a proof may take.
const TERM: Duration = Duration::from_secs(60);
/// Many times what a root of one key has.
const MAX_ROOT: usize = 16 << 10;
/// A proof asks some questions for each of its paths; more of them are decided all the same, but
/// not listed.
const MAX_ASKED: usize = 4096;

/// The place for one proof at a time.
#[derive(Debug, Default)]
pub(super) struct Proving(RwLock<Option<Arc<ProofSession>>>);

/// One proof while it runs.
#[derive(Debug)]
pub(super) struct ProofSession {
    nonce: String,
    names: Pattern,
    /// One root, one rule for the names.
    policy: Arc<Policy>,
    /// Judges by it, and keeps nothing.
    decider: Decider,
    ends: Instant,
    asked: Mutex<Vec<ProofQuestion>>,
}

/// A question about one of a proof's names.
#[derive(Debug, Clone)]
pub struct ProofQuestion {
    /// Where it was asked.
    pub door: Door,
    /// The name that decided; without its tag where only the repository is known.
    pub name: ImageRef,
    /// What it would stand for, where that was asked.
    pub digest: Option<Digest>,
    /// `allowed`, `refused` or `unjudged`.
    pub outcome: &'static str,
    /// Of a no.
    pub code: Option<&'static str>,
    /// Whether the engine may go on, as it may under audit mode.
    pub let_through: bool,
    /// How long the decision took.
    pub took: Duration,
}

/// Whoever has this proves. The root is gone as soon as it is dropped.
#[derive(Debug)]
pub struct Proof {
    session: Arc<ProofSession>,
    proving: Arc<Proving>,
}

impl Decider {
    /// Begins a proof whose images are served on that port of 127.0.0.1, signed under this root.
    ///
    /// # Errors
    /// The policy forbids it, another proof runs, or the port or the root is none. One line.
    pub fn prove(&self, port: u16, root: Vec<u8>) -> Result<Proof, Problem> {
        let in_force = self.policy().map_err(|refusal| refusal.to_string())?;
        if !in_force.prove {
            return Err(Problem::hinted(
                "the policy has prove = false: no root but its own may be set, not even for a proof",
                "rootpin status and rootpin doctor look without one",
            ));
        }
        if port == 0 || root.len() > MAX_ROOT {
            return Err(Problem::new(
                "a proof needs the port that it serves its images on, and a root of one key",
            ));
        }
        let nonce = nonce::random_hex().map_err(|error| error.to_string())?;
        let session = Arc::new(ProofSession::new(self, &in_force, nonce, port, root)?);
        let mut slot = self
            .proving
            .0
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if slot.as_ref().is_some_and(|running| running.is_live()) {
            return Err(Problem::hinted(
                "another proof runs",
                "try again after it, at the latest in a minute",
            ));
        }
        *slot = Some(Arc::clone(&session));
        drop(slot);
        // A policy that was put in force meanwhile has ended a proof that it did not see.
        let proof = Proof {
            session,
            proving: Arc::clone(&self.proving),
        };
        let same = self.policy().is_ok_and(|now| Arc::ptr_eq(&now, &in_force));
        if same {
            Ok(proof)
        } else {
            Err(Problem::hinted("the policy has just changed", "try again"))
        }
    }

    /// The registry of the proof that runs, which no policy names.
    #[must_use]
    pub(crate) fn proving_at(&self) -> Option<String> {
        self.proving
            .live()
            .map(|session| session.names.host().to_owned())
    }
}

/// What the path of a proof's names begins with.
const PATH: &str = "rootpin-prove-";

/// Whether a name is one that a proof may have: the policy in force does not decide about it.
pub(crate) fn is_of_proof(repository: &Repository) -> bool {
    repository.host().starts_with("127.0.0.1:") && repository.path().starts_with(PATH)
}

impl Proving {
    fn live(&self) -> Option<Arc<ProofSession>> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .filter(|session| session.is_live())
    }

    /// The proof that this name is of. A revoked digest is the policy's to refuse.
    pub(super) fn of_name(&self, pull: &Pull, policy: &Policy) -> Option<Arc<ProofSession>> {
        let revoked = policy.revoked_digest(&pull.digest).is_some();
        self.live()
            .filter(|session| !revoked && session.names.matches(&pull.name.repository))
    }

    /// The proof that a repository is of.
    pub(super) fn of_repository(&self, repository: &Repository) -> Option<Arc<ProofSession>> {
        self.live()
            .filter(|session| session.names.matches(repository))
    }

    /// The proof that a layer is of, with what its own names claim: where those who are believed
    /// first tell one of them. Then the policy isn't asked, which may let in what has no name that
    /// it covers.
    pub(super) fn of_place(
        &self,
        place: &NamespaceView,
        layer: &Descriptor,
        policy: &Policy,
        now: Option<Timestamp>,
    ) -> Option<(Arc<ProofSession>, NamespaceView)> {
        let session = self.live()?;
        let teller = place.claims.iter().map(|claim| claim.told_by).min();
        let own = |claim: &&Claim| {
            Some(claim.told_by) == teller && session.names.matches(&claim.name.repository)
        };
        let claims: Vec<Claim> = place.claims.iter().filter(own).cloned().collect();
        let digests = claims
            .iter()
            .flat_map(|claim| revocable(&claim.chain))
            .chain([layer.digest]);
        let revoked = digests
            .into_iter()
            .any(|digest| policy.revoked_digest(&digest).is_some());
        // Under audit mode a name of the proof would let through what the rule of another name that
        // the layer has stops.
        let stricter = place.claims.iter().any(|claim| {
            !session.names.matches(&claim.name.repository)
                && policy.lasting_mode_for(&claim.name.repository, now) > policy.mode_at(now)
        });
        (!claims.is_empty() && !revoked && !stricter).then(|| {
            (
                session,
                NamespaceView {
                    claims,
                    ..place.clone()
                },
            )
        })
    }

    /// Whether these are names, all of them of the proof that runs.
    pub(super) fn is_of_names<'a>(&self, names: impl Iterator<Item = &'a ImageRef>) -> bool {
        let Some(session) = self.live() else {
            return false;
        };
        let mut names = names.peekable();
        names.peek().is_some() && names.all(|name| session.names.matches(&name.repository))
    }

    /// Ends whatever runs.
    pub(super) fn end(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl ProofSession {
    fn new(
        parent: &Decider,
        in_force: &Policy,
        nonce: String,
        port: u16,
        root: Vec<u8>,
    ) -> Result<Self, String> {
        // The root's ID as well is one that no policy has, because what is cached of a root is
        // found by its ID.
        let id = format!("{PATH}{nonce}");
        let place = format!("127.0.0.1:{port}/{id}");
        let names: Pattern = format!("{place}/**")
            .parse()
            .map_err(|fault: rootpin_policy::Fault| fault.message)?;
        let text = format!(
            "version = 1\ndefault = \"deny\"\nmode = \"{}\"\n[[root]]\nid = \"{id}\"\ntype = \"tuf\"\nfile = \"root.json\"\nsha256 = \"{}\"\n\
             metadata = [\"http://{place}/metadata\"]\n[[rule]]\nmatch = \"{names}\"\nroots = [\"{id}\"]\n",
            in_force.mode_at(parent.instant(Timestamp::now())).as_str(),
            Digest::of(&root).hex()
        );
        let files = BTreeMap::from([
            ("policy.toml".to_owned(), text.into_bytes()),
            ("root.json".to_owned(), root),
        ]);
        let loaded = rootpin_policy::load(&files, Timestamp::now());
        let mut policy = loaded.map_err(|errors| {
            errors
                .first()
                .map(|error| error.message.clone())
                .unwrap_or_default()
        })?;
        for rule in &mut policy.rules {
            // Nobody is to look for it in a file.
            rule.location.file = "rootpin prove".into();
        }
        let policy = Arc::new(policy);
        // No credential of this host is shown to whoever listens there.
        let sources = Arc::new(Sources::new(Arc::new(Credentials::none())));
        let decider = parent.keeping_nothing(Ok(Arc::clone(&policy)), sources);
        Ok(Self {
            nonce,
            names,
            policy,
            decider,
            ends: Instant::now() + TERM,
            asked: Mutex::default(),
        })
    }

    fn is_live(&self) -> bool {
        Instant::now() < self.ends
    }

    pub(super) async fn pull(&self, pull: &Pull, now: Timestamp, begun: Instant) -> Decision {
        let of = (pull, &[][..]);
        let decider = &self.decider;
        let decision = decider.pull_by(&self.policy, of, (now, begun), None).await;
        let decision = only_the_control(decision, Some((&pull.name, pull.digest)));
        self.note(
            pull.door,
            (&pull.name, Some(pull.digest)),
            &decision,
            begun.elapsed(),
        );
        decision
    }

    /// Which digest a tag is: asked of a decider under which no proof runs.
    pub(super) async fn resolve(&self, door: Door, name: &ImageRef, now: Timestamp) -> Verdict {
        let mut verdict = Box::pin(self.decider.resolve(door, name, now)).await;
        verdict.decision = only_the_control(
            verdict.decision,
            verdict.digest.map(|digest| (name, digest)),
        );
        self.note(
            door,
            (name, verdict.digest),
            &verdict.decision,
            verdict.took,
        );
        verdict
    }

    pub(super) async fn place(
        &self,
        door: Door,
        place: &NamespaceView,
        layer: &Descriptor,
        now: Timestamp,
        begun: Instant,
    ) -> (Decision, Option<Claim>) {
        let (decision, claim) = self
            .decider
            .place_by(&self.policy, place, layer, now, begun)
            .await;
        let decision = only_the_control(
            decision,
            claim.as_ref().map(|claim| (&claim.name, claim.chain.top())),
        );
        if let Some(claim) = &claim {
            self.note(
                door,
                (&claim.name, Some(claim.chain.top())),
                &decision,
                begun.elapsed(),
            );
        }
        (decision, claim)
    }

    fn note(
        &self,
        door: Door,
        (name, digest): (&ImageRef, Option<Digest>),
        decision: &Decision,
        took: Duration,
    ) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.len() < MAX_ASKED {
            asked.push(ProofQuestion {
                door,
                name: name.clone(),
                digest,
                outcome: decision.outcome(),
                code: decision.denial().map(|denial| denial.refusal.code.as_str()),
                let_through: decision.lets_through(),
                took,
            });
        }
    }
}

/// What the proof's root has signed is admitted only as the bytes that a control has.
fn only_the_control(decision: Decision, subject: Option<(&ImageRef, Digest)>) -> Decision {
    let Decision::Allow(admission) = decision else {
        return decision;
    };
    let control = subject.map(|(name, _)| Canary::Signed.image(&name.repository).digest());
    let found = subject.map(|(_, top)| top);
    if control.is_some() && control == found {
        return Decision::Allow(admission);
    }
    let said = |digest: Option<Digest>| {
        digest.map_or_else(|| "nothing".to_owned(), |digest| digest.to_string())
    };
    let refusal = Refusal::new(
        Code::DigestMismatch,
        said(found),
        format!("{}, the control image of that name", said(control)),
        "a proof brings in its own control images and nothing else",
    );
    Decision::Deny(Denial {
        stays: true,
        ..Denial::by(admission.rule, refusal)
    })
}

impl Proof {
    /// What its names are told by.
    #[must_use]
    pub fn nonce(&self) -> &str {
        &self.session.nonce
    }

    /// The names.
    #[must_use]
    pub fn names(&self) -> &Pattern {
        &self.session.names
    }

    /// When it ends at the latest.
    #[must_use]
    pub fn ends(&self) -> Instant {
        self.session.ends
    }

    /// Whether it has not come to its end: its time is not over, and the policy is the one that it
    /// began under.
    #[must_use]
    pub(crate) fn is_live(&self) -> bool {
        self.proving
            .live()
            .is_some_and(|session| Arc::ptr_eq(&session, &self.session))
    }

    /// Every question about its names so far.
    #[must_use]
    pub fn asked(&self) -> Vec<ProofQuestion> {
        self.session
            .asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Proof {
    fn drop(&mut self) {
        let mut slot = self
            .proving
            .0
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if slot
            .as_ref()
            .is_some_and(|session| Arc::ptr_eq(session, &self.session))
        {
            *slot = None;
        }
    }
}

#[cfg(test)]
mod tests;

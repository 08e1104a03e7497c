//! One repository's metadata from a Notary v1 server.

use std::sync::{Arc, Mutex};

use jiff::Timestamp;

use super::Evidence;
use super::evidence::{Failure, Files, Look, Origin, Repositories, Slots};
use super::tuf_evidence::source_for;
use crate::sources::NotaryServer;
use crate::state::StateError;
use rootpin_policy::NotaryRoot;
use rootpin_trust::image::{Digest, Repository};
use rootpin_trust::notary::GunUpdate;
use rootpin_trust::{
    Answer, Code, Collection, FetchFrom, Floor, Progress, Refusal, Step, Subject, Verification,
    Verified, Want,
};

/// The policy's hash is part of the key, so that another policy never sees what this one verified;
/// then root and repository.
pub(super) type NotarySlots = Slots<(Digest, String, Repository), Option<AtHand>>;

/// What answers.
#[derive(Debug, Clone)]
pub(super) struct AtHand {
    evidence: Arc<Evidence>,
    /// The floors of the update that it came from.
    floors: Vec<Floor>,
}

/// What a good update ends with.
struct Outcome {
    collection: Verified<Collection>,
    progress: Verified<Progress>,
    files: Files,
}

/// One look at one repository's metadata.
struct NotaryLook<'a> {
    look: Look<'a>,
    notary: &'a NotaryRoot,
    gun: &'a Repository,
    origin: Origin,
    repositories: &'a Repositories,
}

impl Repositories {
    /// What a Notary server says of a repository.
    pub(super) async fn of_notary(
        &self,
        look: Look<'_>,
        notary: &NotaryRoot,
        gun: &Repository,
    ) -> Result<Arc<Evidence>, Refusal> {
        let slot = self
            .notary
            .get((look.policy.hash, look.root.id.clone(), gun.clone()));
        // One question at a time: those that wait find the answer of the first.
        let mut slot = slot.lock().await;
        let clock = look.clock();
        let fresh = slot
            .as_ref()
            .map(|known| &known.evidence)
            .filter(|known| look.now < known.valid_until && known.contact <= clock)
            .cloned();
        let again = !self.failures.are_remembered()
            && fresh
                .as_ref()
                .is_some_and(|known| look.asks_again(known.asked()));
        if let Some(known) = fresh.as_ref().filter(|_| !again) {
            return Ok(Arc::clone(known));
        }
        if let Some(refusal) = self.failures.of(&look.root.id, Some(gun)) {
            return Err(refusal);
        }
        let origin = Origin {
            source: notary.server.clone(),
            subject: Subject::Gun(gun.clone()),
        };
        let contact = self.contact(
            &origin,
            slot.as_ref().map(|known| known.evidence.contact),
            clock,
        )?;
        let this = NotaryLook {
            look,
            notary,
            gun,
            origin,
            repositories: self,
        };
        let mut partly = None;
        match (
            this.verified(slot.as_ref(), contact, &mut partly).await,
            fresh,
        ) {
            (Ok(known), _) => {
                let evidence = Arc::clone(&known.evidence);
                *slot = Some(known);
                Ok(evidence)
            }
            // What was asked before its time takes nothing away from what holds; what was verified
            // binds all the same.
            (Err(_), Some(known)) => {
                this.keep_partly(partly).await;
                known.was_asked(look.now);
                Ok(known)
            }
            (Err(refusal), None) => {
                this.keep_partly(partly).await;
                self.failures.add(&look.root.id, Some(gun), &refusal);
                Err(refusal)
            }
        }
    }
}

impl NotaryLook<'_> {
    /// What the server says; what was verified earlier, where it says nothing or less than that.
    async fn verified(
        &self,
        known: Option<&AtHand>,
        contact: Option<Timestamp>,
        partly: &mut Option<Verified<Progress>>,
    ) -> Result<AtHand, Refusal> {
        let laggards = &self.repositories.laggards;
        let source = source_for(&self.origin, self.gun);
        match self.online(partly).await {
            Ok(outcome) => {
                laggards.remove(&source);
                Ok(self.at_hand(outcome, None, self.look.now, self.look.recheck()))
            }
            Err(Failure::No(refusal)) if refusal.source_behind => {
                let refusal = self.seen_at(refusal);
                let done = self.without_server(known, contact, &refusal.found, partly);
                // That the server is behind says more than that nothing else is at hand.
                let done = done.map_err(|_| refusal.clone())?;
                laggards.add(source, &refusal, done.evidence.valid_until, self.look.now);
                Ok(done)
            }
            Err(Failure::No(refusal)) => Err(refusal),
            Err(Failure::Silent(why)) => self.without_server(known, contact, &why, partly),
        }
    }

    /// What was verified earlier: the cache, or, where what broke off raised the floors above it,
    /// what this process has at hand.
    fn without_server(
        &self,
        known: Option<&AtHand>,
        contact: Option<Timestamp>,
        why: &str,
        partly: &mut Option<Verified<Progress>>,
    ) -> Result<AtHand, Refusal> {
        let (contact, limit) = self.look.offline_limit(&self.origin, contact, why)?;
        let seen = self.floors(partly.as_ref())?;
        let refusal = match self.offline(why, seen.clone()) {
            Ok(outcome) => {
                // The files are there already. The floors are confirmed all the same: what was
                // verified counts as seen, whatever was reset.
                let outcome = Outcome {
                    files: Files::new(),
                    ..outcome
                };
                let until = self.repositories.cached_until(self.look, limit);
                return Ok(self.at_hand(outcome, partly.take(), contact, until));
            }
            Err(refusal) => refusal,
        };
        let Some(known) = known.filter(|_| refusal.source_behind) else {
            return Err(refusal);
        };
        if is_overtaken(&known.floors, &seen) {
            return Err(refusal);
        }
        let evidence = &known.evidence;
        let (_, limit) = self
            .look
            .offline_limit(&self.origin, Some(evidence.contact), why)?;
        let expires = evidence.verified.get().expires;
        if expires <= self.look.now {
            return Err(refusal);
        }
        let progress: Vec<_> = partly.take().into_iter().collect();
        let unsaved = (!progress.is_empty()).then(Files::new);
        let until = self.repositories.cached_until(self.look, limit);
        Ok(AtHand {
            evidence: Arc::new(Evidence {
                verified: Arc::clone(&evidence.verified),
                progress,
                origin: self.origin.clone(),
                contact: evidence.contact,
                asked: Mutex::new(self.look.now),
                valid_until: until.min(expires),
                unsaved: Mutex::new(unsaved),
            }),
            floors: known.floors.clone(),
        })
    }

    fn at_hand(
        &self,
        outcome: Outcome,
        partly: Option<Verified<Progress>>,
        contact: Timestamp,
        until: Timestamp,
    ) -> AtHand {
        let Outcome {
            collection: verified,
            progress,
            files,
        } = outcome;
        let valid_until = until.min(verified.get().expires);
        let floors = progress.get().floors.clone();
        let progress = partly.into_iter().chain([progress]).collect();
        let origin = self.origin.clone();
        let (asked, unsaved) = (Mutex::new(self.look.now), Mutex::new(Some(files)));
        let evidence = Arc::new(Evidence {
            verified: Arc::new(verified),
            progress,
            origin,
            contact,
            asked,
            valid_until,
            unsaved,
        });
        AtHand { evidence, floors }
    }

    fn seen_at(&self, refusal: Refusal) -> Refusal {
        if refusal.found.contains("://") {
            return refusal;
        }
        let found = format!("{} (seen at {})", refusal.found, self.origin.source);
        Refusal { found, ..refusal }
    }

    /// What was seen, also a moment ago.
    fn floors(&self, partly: Option<&Verified<Progress>>) -> Result<Vec<Floor>, Refusal> {
        let mut floors = self
            .repositories
            .store
            .history(&self.origin.subject)
            .map_err(|error| error.refusal())?;
        if let Some(progress) = partly {
            floors = progress.get().merge_into(&floors)?;
        }
        Ok(floors)
    }

    /// Keeps what was verified before it failed, or cutting an update off would be a way to have
    /// the host forget what it saw.
    async fn keep_partly(&self, partly: Option<Verified<Progress>>) {
        self.repositories
            .keep_partly(&self.origin, partly.into_iter().collect(), self.look.now)
            .await;
    }

    fn start(&self, floors: Vec<Floor>) -> GunUpdate {
        let pins = self
            .notary
            .pins(self.look.root, self.look.policy.revoked_keys());
        GunUpdate::start(self.gun, &pins, floors, self.look.now)
    }

    /// What the server says; of an update that fails what was verified so far.
    async fn online(&self, partly: &mut Option<Verified<Progress>>) -> Result<Outcome, Failure> {
        let server = self.repositories.sources.notary(self.notary)?;
        let mut update = self.start(self.floors(None)?);
        let mut answer = None;
        let result = loop {
            match update.next(answer.take()) {
                Ok(Step::Done(collection)) => break Ok(collection),
                Ok(Step::Fetch(want)) => match self.fetch(&server, &want).await {
                    Ok(found) => answer = Some(found),
                    Err(failure) => break Err(failure),
                },
                Err(refusal) => break Err(refusal.into()),
            }
        };
        match result {
            Ok(collection) => {
                let outcome = ended(collection, &mut update)?;
                self.no_replay(outcome.progress.get())?;
                Ok(outcome)
            }
            Err(failure) => {
                let verified = update.progress();
                *partly = verified.filter(|verified| self.is_own(verified.get()));
                Err(failure)
            }
        }
    }

    async fn fetch(&self, server: &NotaryServer, want: &Want) -> Result<Answer, Failure> {
        match want.from {
            FetchFrom::Cache => Ok(self.cached(want).into()),
            FetchFrom::Source => Ok(server
                .get(self.gun, want, self.look.deadline.into())
                .await?),
        }
    }

    /// The same verification over what the cache holds.
    fn offline(&self, silence: &str, floors: Vec<Floor>) -> Result<Outcome, Refusal> {
        let mut update = self.start(floors);
        let collection = update.run(|want| {
            let name = want.request.cache_name();
            match self.cached(want) {
                // Whether there is a newer root can't be known.
                _ if want.request.is_root_version() => Ok(Answer::Missing),
                Some(bytes) => Ok(Answer::Bytes(bytes)),
                None if want.from == FetchFrom::Cache => Ok(Answer::Missing),
                None => Err(Refusal::new(
                    Code::SourceUnreachable,
                    format!(
                        "no answer from {}: {silence}; and no {name} in the cache",
                        self.origin.source
                    ),
                    "the server's answer, or complete cached metadata",
                    "check the server's address, its certificate and the network between",
                )),
            }
        })?;
        ended(collection, &mut update)
    }

    fn cached(&self, want: &Want) -> Option<Vec<u8>> {
        self.repositories
            .cached(&self.origin, &want.request.cache_name())
    }

    /// Whether none of what an update that broke off showed is another repository's.
    fn is_own(&self, progress: &Progress) -> bool {
        let store = &self.repositories.store;
        self.no_replay(progress).is_ok()
            && progress
                .floors
                .iter()
                .all(|floor| matches!(store.is_of_another(&progress.subject, floor), Ok(false)))
    }

    /// Notary names a repository in its root alone. A server could pass one repository's targets off
    /// as another's, so the same signed bytes are one repository's only.
    fn no_replay(&self, progress: &Progress) -> Result<(), Refusal> {
        let subject = &progress.subject;
        for statement in &progress.statements {
            let owner = self
                .repositories
                .store
                .statement_owner(statement)
                .map_err(|error| error.refusal())?;
            if let Some(owner) = owner.filter(|owner| owner != subject) {
                return Err(StateError::Replay {
                    subject: subject.clone(),
                    statement: *statement,
                    owner,
                }
                .refusal());
            }
        }
        Ok(())
    }
}

fn ended(collection: Verified<Collection>, update: &mut GunUpdate) -> Result<Outcome, Refusal> {
    let progress = update.progress().ok_or_else(|| {
        Refusal::new(
            Code::Malformed,
            "an update without floors",
            "the floors of every role",
            "this is a fault in rootpin: report it",
        )
    })?;
    Ok(Outcome {
        collection,
        progress,
        files: update.files(),
    })
}

/// Whether a newer root, or a newer role that names images or delegates, was verified than those
/// of these floors; or another one of the same version.
fn is_overtaken(own: &[Floor], seen: &[Floor]) -> bool {
    let decides = |role: &str| role == "root" || role == "targets" || role.starts_with("targets/");
    own.iter().filter(|floor| decides(&floor.role)).any(|own| {
        seen.iter().any(|seen| {
            seen.role == own.role
                && !seen.root_keys.is_disjoint(&own.root_keys)
                && (seen.version > own.version
                    || seen.version == own.version && seen.signed != own.signed)
        })
    })
}

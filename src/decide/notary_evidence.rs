//! One repository's metadata from a Notary v1 server.

use std::sync::{Arc, Mutex};

use jiff::Timestamp;

use super::Evidence;
use super::evidence::{Failure, Files, Look, Origin, Repositories, Slots};
use crate::sources::NotaryServer;
use crate::state::StateError;
use rootpin_policy::NotaryRoot;
use rootpin_trust::image::{Digest, Repository};
use rootpin_trust::notary::{Answer, History, Outcome, Request, Step, Update, Want};
use rootpin_trust::{Code, Progress, Refusal, Subject};

/// The policy's hash is part of the key, so that another policy never sees what this one verified;
/// then root and repository.
pub(super) type NotarySlots = Slots<(Digest, String, Repository), Option<Arc<Evidence>>>;

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
        let contact = self.contact(&origin, slot.as_ref().map(|known| known.contact), clock)?;
        *slot = None;
        let this = NotaryLook {
            look,
            notary,
            gun,
            origin,
            repositories: self,
        };
        let evidence = match (this.verified(contact).await, fresh) {
            (Ok(evidence), _) => evidence,
            // What was asked before its time takes nothing away from what holds.
            (Err(_), Some(known)) => {
                known.was_asked(look.now);
                known
            }
            (Err(refusal), None) => {
                self.failures.add(&look.root.id, Some(gun), &refusal);
                return Err(refusal);
            }
        };
        *slot = Some(Arc::clone(&evidence));
        Ok(evidence)
    }
}

impl NotaryLook<'_> {
    /// What the server says; what the cache holds, where it says nothing.
    async fn verified(&self, contact: Option<Timestamp>) -> Result<Arc<Evidence>, Refusal> {
        match self.online().await {
            Ok(outcome) => Ok(self.evidence(outcome, self.look.now, self.look.recheck())),
            Err(Failure::No(refusal)) => Err(refusal),
            Err(Failure::Silent(why)) => {
                let (contact, limit) = self.look.offline_limit(&self.origin, contact, &why)?;
                // The files are there already. The floors are confirmed all the same: what was
                // verified counts as seen, whatever was reset.
                let outcome = Outcome {
                    files: Files::new(),
                    ..self.offline(&why)?
                };
                Ok(self.evidence(
                    outcome,
                    contact,
                    self.repositories.cached_until(self.look, limit),
                ))
            }
        }
    }

    fn evidence(&self, outcome: Outcome, contact: Timestamp, until: Timestamp) -> Arc<Evidence> {
        let Outcome {
            collection: verified,
            progress,
            files,
        } = outcome;
        let valid_until = until.min(verified.get().expires);
        let (progress, origin) = (vec![progress], self.origin.clone());
        let (asked, unsaved) = (Mutex::new(self.look.now), Mutex::new(Some(files)));
        Arc::new(Evidence {
            verified: Arc::new(verified),
            progress,
            origin,
            contact,
            asked,
            valid_until,
            unsaved,
        })
    }

    fn start(&self) -> Result<Update, Refusal> {
        let floors = self
            .repositories
            .store
            .history(&self.origin.subject)
            .map_err(|error| error.refusal())?;
        let history = History {
            root: self.cached("root"),
            floors,
        };
        Ok(Update::start(
            self.gun,
            &self
                .notary
                .pins(self.look.root, self.look.policy.revoked_keys()),
            history,
            self.look.now,
        ))
    }

    async fn online(&self) -> Result<Outcome, Failure> {
        let server = self.repositories.sources.notary(self.notary)?;
        let mut update = self.start()?;
        let mut answer = None;
        let outcome = loop {
            match update.next(answer.take())? {
                Step::Done(outcome) => break *outcome,
                Step::Fetch(want) => answer = Some(self.fetch(&server, &want).await?),
            }
        };
        self.no_replay(outcome.progress.get())?;
        Ok(outcome)
    }

    /// A file that is named by its hash and lies in the cache need not be fetched.
    async fn fetch(&self, server: &NotaryServer, want: &Want) -> Result<Answer, Failure> {
        let kept = match &want.request {
            Request::Snapshot(digest) => self
                .cached("snapshot")
                .filter(|bytes| Digest::of(bytes) == *digest),
            Request::Role(role, digest) => self
                .cached(role)
                .filter(|bytes| Digest::of(bytes) == *digest),
            Request::LatestRoot | Request::Root(_) | Request::Timestamp => None,
        };
        match kept {
            Some(bytes) => Ok(Answer::Bytes(bytes)),
            None => Ok(server
                .get(self.gun, want, self.look.deadline.into())
                .await?),
        }
    }

    /// The same verification over what the cache holds.
    fn offline(&self, silence: &str) -> Result<Outcome, Refusal> {
        let mut update = self.start()?;
        let mut answer = None;
        loop {
            match update.next(answer.take())? {
                Step::Done(outcome) => return Ok(*outcome),
                Step::Fetch(want) => {
                    let role = match &want.request {
                        Request::Root(_) => {
                            answer = Some(Answer::Missing);
                            continue;
                        }
                        Request::LatestRoot => "root",
                        Request::Timestamp => "timestamp",
                        Request::Snapshot(_) => "snapshot",
                        Request::Role(role, _) => role,
                    };
                    let bytes = self.cached(role).ok_or_else(|| {
                        Refusal::new(
                            Code::SourceUnreachable,
                            format!(
                                "no answer from {}: {silence}; and no {role}.json in the cache",
                                self.origin.source
                            ),
                            "the server's answer, or complete cached metadata",
                            "check the server's address, its certificate and the network between",
                        )
                    })?;
                    answer = Some(Answer::Bytes(bytes));
                }
            }
        }
    }

    fn cached(&self, role: &str) -> Option<Vec<u8>> {
        self.repositories
            .cached(&self.origin, &format!("{role}.json"))
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

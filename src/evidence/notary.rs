//! One repository's metadata from a Notary v1 server.

use std::sync::{Arc, Mutex};

use jiff::Timestamp;

use super::drive::{Fetch, VerifiedUpdates, or_revoked};
use super::due::{Due, MetadataTimes};
use super::look::SourceFailure;
use super::per_key::PerKeyCache;
use super::statement::{UnsavedFiles, Unseen};
use super::tuf::source_for;
use super::{Evidence, MetadataOrigin, NamedFiles, Repositories, RootLook};
use crate::sources::NotaryServer;
use rootpin_policy::NotaryRoot;
use rootpin_trust::image::{Digest, Repository};
use rootpin_trust::notary::GunUpdate;
use rootpin_trust::{Answer, Code, Collection, FetchFrom, Floor, Refusal, Subject, Verified, Want};

/// The policy's hash is part of the key, so that another policy never sees what this one verified;
/// then root and repository.
pub(super) type NotaryCache = PerKeyCache<(Digest, String, Repository), Option<NotaryAtHand>>;

/// What answers.
#[derive(Debug, Clone)]
pub(super) struct NotaryAtHand {
    evidence: Arc<Evidence>,
    /// The floors of the update that it came from.
    floors: Vec<Floor>,
}

/// Where an update gets its files: from the server; or from the cache, with why the server gave no
/// answer.
struct NotarySource<'a> {
    look: &'a NotaryLook<'a>,
    server: Result<&'a NotaryServer, &'a str>,
}

/// One look at one repository's metadata.
struct NotaryLook<'a> {
    look: RootLook<'a>,
    notary: &'a NotaryRoot,
    gun: &'a Repository,
    origin: MetadataOrigin,
    repositories: &'a Repositories,
}

impl Repositories {
    /// What a Notary server says of a repository.
    pub(super) async fn of_notary(
        &self,
        look: RootLook<'_>,
        notary: &NotaryRoot,
        gun: &Repository,
    ) -> Result<Arc<Evidence>, Refusal> {
        let slot = self
            .notary
            .get((look.policy.hash, look.root.id.clone(), gun.clone()));
        // One question at a time: those that wait find the answer of the first.
        let mut slot = slot.lock().await;
        let clock = look.clock();
        let at_hand = slot.as_ref().map(|known| &known.evidence);
        let times = at_hand.map(|known| {
            look.times(MetadataTimes {
                contact: known.contact,
                asked: known.asked(),
                valid_until: known.valid_until,
            })
        });
        let again = look.again && !self.failures.are_remembered();
        let due = Due::of(times, look.now, clock, again);
        let fresh = at_hand.filter(|_| due != Due::Update).cloned();
        if let Some(known) = fresh.as_ref().filter(|_| due == Due::Nothing) {
            return Ok(Arc::clone(known));
        }
        if let Some(refusal) = self.failures.of(&look.root.id, Some(gun)) {
            return Err(refusal);
        }
        let origin = MetadataOrigin {
            source: notary.server.clone(),
            subject: Subject::Gun(gun.clone()),
        };
        let this = NotaryLook {
            look,
            notary,
            gun,
            origin,
            repositories: self,
        };
        let known = slot.as_ref().map(|known| known.evidence.contact);
        let contact = match self.contact(&this.origin, known, clock) {
            Ok(contact) => contact,
            Err(refusal) => return Err(this.or_revoked(refusal).await),
        };
        let mut updates = VerifiedUpdates::new(self.unkept(look.now));
        match (
            this.verified(slot.as_ref(), contact, &mut updates).await,
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
                updates.keep().await;
                known.was_asked(look.now);
                Ok(known)
            }
            (Err(refusal), None) => {
                let refusal = this.or_revoked(refusal).await;
                updates.keep().await;
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
        known: Option<&NotaryAtHand>,
        contact: Option<Timestamp>,
        updates: &mut VerifiedUpdates,
    ) -> Result<NotaryAtHand, Refusal> {
        let laggards = &self.repositories.laggards;
        let source = source_for(&self.origin, self.gun);
        match self.online(updates).await {
            Ok(collection) => {
                laggards.remove(&source);
                self.repositories.silent.remove(&self.origin.source);
                self.at_hand(collection, updates, self.look.now, self.look.recheck())
            }
            Err(SourceFailure::No {
                refusal,
                names_source,
            }) if refusal.source_behind => {
                let no = SourceFailure::No {
                    refusal,
                    names_source,
                };
                let refusal = no.seen_at(&self.origin.source).refusal();
                let done = self
                    .without_server(known, contact, &refusal.found, updates)
                    .await;
                // That the server is behind says more than that nothing else is at hand.
                let done = done.map_err(|_| refusal.clone())?;
                laggards.add(source, &refusal, done.evidence.valid_until, self.look.now);
                Ok(done)
            }
            Err(SourceFailure::No { refusal, .. }) => Err(refusal),
            Err(SourceFailure::Silent(why)) => {
                let done = self.without_server(known, contact, &why, updates).await?;
                let source = &self.origin.source;
                self.repositories.found_silent(source, &why, self.look.now);
                Ok(done)
            }
        }
    }

    /// What was verified earlier: the cache, or, where what broke off raised the floors above it,
    /// what this process has at hand.
    async fn without_server(
        &self,
        known: Option<&NotaryAtHand>,
        contact: Option<Timestamp>,
        why: &str,
        updates: &mut VerifiedUpdates,
    ) -> Result<NotaryAtHand, Refusal> {
        let (contact, limit) = self.look.offline_limit(&self.origin, contact, why)?;
        let seen = self.repositories.floors(&self.origin.subject, updates)?;
        let refusal = match self.offline(why, updates).await {
            Ok(collection) => {
                // The files are there already. The floors are confirmed all the same: what was
                // verified counts as seen, whatever was reset.
                updates.files.clear();
                let until = self.repositories.cached_until(self.look, limit);
                return self.at_hand(collection, updates, contact, until);
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
        let progress = updates.unkept.take_progress();
        let unsaved = (!progress.is_empty()).then(NamedFiles::new);
        let until = self.repositories.cached_until(self.look, limit);
        Ok(NotaryAtHand {
            evidence: Arc::new(Evidence {
                verified: Arc::clone(&evidence.verified),
                progress,
                origin: self.origin.clone(),
                contact: evidence.contact,
                asked: Mutex::new(self.look.now),
                valid_until: until.min(expires),
                unseen: Unseen::default(),
                is_partly_at_hand: false,
                unsaved: UnsavedFiles::new(unsaved),
            }),
            floors: known.floors.clone(),
        })
    }

    /// What an update ended with: its own floors are the last that were raised.
    fn at_hand(
        &self,
        verified: Verified<Collection>,
        updates: &mut VerifiedUpdates,
        contact: Timestamp,
        until: Timestamp,
    ) -> Result<NotaryAtHand, Refusal> {
        let valid_until = until.min(verified.get().expires);
        let progress = updates.unkept.take_progress();
        let floors = progress
            .last()
            .map(|progress| progress.get().floors.clone())
            .ok_or_else(without_floors)?;
        let files = std::mem::take(&mut updates.files);
        let evidence = Arc::new(Evidence {
            verified: Arc::new(verified),
            progress,
            origin: self.origin.clone(),
            contact,
            asked: Mutex::new(self.look.now),
            valid_until,
            unseen: Unseen::default(),
            is_partly_at_hand: false,
            unsaved: UnsavedFiles::new(Some(files)),
        });
        Ok(NotaryAtHand { evidence, floors })
    }

    /// Why there is no update; or that what is cached rests on a revoked key, however long ago the
    /// last contact was.
    async fn or_revoked(&self, refusal: Refusal) -> Refusal {
        let revoked = self.look.policy.revoked_keys();
        if revoked.is_empty() {
            return refusal;
        }
        let pins = self.notary.pins(self.look.root, revoked);
        let at_hand = GunUpdate::start(self.gun, &pins, Vec::new(), self.look.now);
        let cache = NotarySource {
            look: self,
            server: Err(""),
        };
        or_revoked(refusal, at_hand, &cache).await
    }

    /// Runs an update with the files of a source.
    async fn update(
        &self,
        source: &NotarySource<'_>,
        updates: &mut VerifiedUpdates,
    ) -> Result<Verified<Collection>, SourceFailure> {
        let floors = self.repositories.floors(&self.origin.subject, updates)?;
        let pins = self
            .notary
            .pins(self.look.root, self.look.policy.revoked_keys());
        let update = GunUpdate::start(self.gun, &pins, floors, self.look.now);
        updates.drive(update, source).await
    }

    /// What the server says.
    async fn online(
        &self,
        updates: &mut VerifiedUpdates,
    ) -> Result<Verified<Collection>, SourceFailure> {
        let server = self.repositories.sources.notary(self.notary)?;
        let source = NotarySource {
            look: self,
            server: Ok(&server),
        };
        let collection = self.update(&source, updates).await?;
        let writer = &self.repositories.writer;
        let progress = &mut updates.unkept.progress;
        let replay = progress
            .last()
            .and_then(|progress| writer.no_replay(progress.get()).err());
        if let Some(refusal) = replay {
            progress.pop();
            return Err(refusal.into());
        }
        Ok(collection)
    }

    /// The same verification over what the cache holds.
    async fn offline(
        &self,
        silence: &str,
        updates: &mut VerifiedUpdates,
    ) -> Result<Verified<Collection>, Refusal> {
        let source = NotarySource {
            look: self,
            server: Err(silence),
        };
        self.update(&source, updates)
            .await
            .map_err(|failure| match failure {
                SourceFailure::No { refusal, .. } => refusal,
                SourceFailure::Silent(why) => self.not_in_cache(&why),
            })
    }

    fn not_in_cache(&self, why: &str) -> Refusal {
        Refusal::new(
            Code::SourceUnreachable,
            format!("no answer from {}: {why}", self.origin.source),
            "the server's answer, or complete cached metadata",
            "check the server's address, its certificate and the network between",
        )
    }
}

impl Fetch for NotarySource<'_> {
    async fn fetch(&self, want: &Want) -> Result<Answer, SourceFailure> {
        let (look, name) = (self.look, want.request.cache_name());
        let cached = || look.repositories.cached(&look.origin, &name);
        match self.server {
            _ if want.from == FetchFrom::Cache => Ok(cached().into()),
            Ok(server) => {
                let deadline = look.look.deadline.into();
                let answer = server.get(look.gun, want, deadline).await;
                answer.map_err(|error| SourceFailure::of_file(&want.request.role, error))
            }
            // Whether there is a newer root can't be known.
            Err(_) if want.request.is_root_version() => Ok(Answer::Missing),
            Err(silence) => cached().map(Answer::Bytes).ok_or_else(|| {
                SourceFailure::Silent(format!("{silence}; and no {name} in the cache"))
            }),
        }
    }
}

fn without_floors() -> Refusal {
    Refusal::new(
        Code::Malformed,
        "an update without floors",
        "the floors of every role",
        "this is a fault in rootpin: report it",
    )
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

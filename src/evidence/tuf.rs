//! Evidence from a repository of The Update Framework 1.0. One update serves every question while
//! it is fresh.

mod search;
mod source;
#[cfg(test)]
mod tests;
mod update;

use std::sync::{Arc, Mutex};

use jiff::Timestamp;

use super::drive::VerifiedUpdates;
use super::due::{Due, MetadataTimes};
use super::per_key::PerKeyCache;
use super::statement::{UnsavedFiles, Unseen};
use super::{Evidence, MetadataOrigin, Repositories, RootLook};
use rootpin_policy::TufRoot;
use rootpin_trust::image::{Digest, Repository};
use rootpin_trust::tuf::{Found, Question, Trusted};
use rootpin_trust::{Code, Collection, Refusal, Subject, Verified};

pub(super) use source::{TufSource, open};

/// The policy's hash is part of the key, so that another policy never sees what this one verified;
/// then the root.
pub(super) type TufCache = PerKeyCache<(Digest, String), Option<TufAtHand>>;

/// What the last update ended with.
#[derive(Debug, Clone)]
pub(super) struct TufAtHand {
    pub(super) trusted: Trusted,
    contact: Timestamp,
    /// When the places were last asked, with or without an answer.
    asked: Timestamp,
    valid_until: Timestamp,
    /// Whether it was verified earlier, and answers while no place shows as much.
    outdated: bool,
    /// What held before, the newest first, for roles whose newer file is nowhere to be had.
    earlier: Vec<EarlierUpdate>,
}

/// What an earlier update ended with, and the last contact that confirmed it.
#[derive(Debug, Clone)]
struct EarlierUpdate {
    trusted: Trusted,
    contact: Timestamp,
}

impl TufAtHand {
    fn times(&self) -> MetadataTimes {
        MetadataTimes {
            contact: self.contact,
            asked: self.asked,
            valid_until: self.valid_until,
        }
    }

    /// What the cache held at the last contact; it answers nothing by itself.
    pub(super) fn verified_at(trusted: Trusted, contact: Timestamp) -> Self {
        Self {
            trusted,
            contact,
            asked: Timestamp::MIN,
            valid_until: Timestamp::MIN,
            outdated: false,
            earlier: Vec::new(),
        }
    }
}

/// So many earlier updates are kept.
const MAX_EARLIER: usize = 32;

/// One look at one repository.
pub(super) struct TufLook<'a> {
    pub(super) look: RootLook<'a>,
    pub(super) root: &'a TufRoot,
    pub(super) origin: MetadataOrigin,
    pub(super) repositories: &'a Repositories,
    /// Whether every file is wanted, also what is cached already.
    pub(super) anew: bool,
}

impl Repositories {
    /// What a TUF repository says of an image.
    pub(super) async fn of_tuf(
        &self,
        look: RootLook<'_>,
        root: &TufRoot,
        gun: &Repository,
        question: &Question,
    ) -> Result<Arc<Evidence>, Refusal> {
        let slot = self.tuf.get((look.policy.hash, look.root.id.clone()));
        // One question at a time: those that wait find the answer of the first.
        let mut slot = slot.lock().await;
        let clock = look.clock();
        let this = TufLook {
            look,
            root,
            origin: origin(&look.root.id),
            repositories: self,
            anew: false,
        };
        let mut updates = VerifiedUpdates::of_tuf(self.unkept(look.now), &this.origin);
        let fresh = this.refresh(&mut slot, clock, &mut updates).await?;
        let Some(known) = slot.as_mut() else {
            return Err(nothing_at_hand());
        };
        let asked = (gun, question);
        if known.outdated {
            return this.of_outdated(known, asked, updates).await;
        }
        let found = this.search(&known.trusted, asked, &mut updates).await;
        if let Err(refusal) = &found
            && refusal.source_behind
            && let Some((earlier, found, until)) =
                this.of_earlier(known, asked, refusal, &updates).await
        {
            return Ok(this.outdated(known, earlier, found, updates, until));
        }
        match found {
            Ok(Found {
                collection: verified,
                trusted,
            }) => {
                self.laggards.remove(&source_for(&this.origin, gun));
                known.trusted = trusted;
                let valid_until = known.valid_until.min(verified.get().expires);
                let unsaved = (!fresh || !updates.is_empty()).then(|| updates.take_files());
                let (progress, origin, contact) =
                    (updates.unkept.take_progress(), this.origin, known.contact);
                let (asked, unsaved) = (Mutex::new(known.asked), UnsavedFiles::new(unsaved));
                Ok(Arc::new(Evidence {
                    verified: Arc::new(verified),
                    progress,
                    origin,
                    contact,
                    asked,
                    valid_until,
                    unseen: Unseen::default(),
                    is_partly_at_hand: false,
                    unsaved,
                }))
            }
            Err(refusal) => {
                updates.keep().await;
                Err(refusal)
            }
        }
    }
}

impl TufLook<'_> {
    /// Updates what is at hand, unless it is fresh. Returns whether it still is what it was.
    async fn refresh(
        &self,
        slot: &mut Option<TufAtHand>,
        clock: Timestamp,
        updates: &mut VerifiedUpdates,
    ) -> Result<bool, Refusal> {
        let (look, id, failures) = (self.look, &self.look.root.id, &self.repositories.failures);
        let times = slot.as_ref().map(|known| look.times(known.times()));
        let again = look.again && !failures.are_remembered();
        let due = Due::of(times, look.now, clock, again);
        if due == Due::Nothing {
            return Ok(true);
        }
        if let Some(refusal) = failures.of(id, None) {
            return Err(refusal);
        }
        let known = slot.as_ref().map(|known| known.contact);
        let contact = match self.repositories.contact(&self.origin, known, clock) {
            Ok(contact) => contact,
            Err(refusal) => return Err(self.or_revoked(refusal, updates).await),
        };
        // It stays there: an update that is cancelled takes nothing away.
        match self.update(slot.as_ref(), contact, updates).await {
            Ok(known) => {
                // A search that fails or is cancelled takes nothing of it away.
                let files = std::mem::take(&mut updates.files);
                updates.unkept.updated = Some((self.origin.clone(), files));
                *slot = Some(known);
                Ok(false)
            }
            // What was asked before its time takes nothing away from what holds; what was verified
            // binds all the same.
            Err(_) if due == Due::Newer => {
                updates.keep().await;
                if let Some(known) = slot.as_mut() {
                    known.asked = look.now;
                }
                Ok(true)
            }
            Err(refusal) => {
                let refusal = self.or_revoked(refusal, updates).await;
                updates.keep().await;
                failures.add(id, None, &refusal);
                // It answers nothing by itself any more, and may again where a source turns out to
                // be only behind.
                if let Some(known) = slot.as_mut() {
                    known.valid_until = Timestamp::MIN;
                }
                Err(refusal)
            }
        }
    }

    /// Evidence of what was verified earlier, while no place shows as much.
    async fn of_outdated(
        &self,
        known: &TufAtHand,
        asked: (&Repository, &Question),
        mut updates: VerifiedUpdates,
    ) -> Result<Arc<Evidence>, Refusal> {
        updates.drop_files();
        let earlier = EarlierUpdate {
            trusted: known.trusted.clone(),
            contact: known.contact,
        };
        match self.search_earlier(&earlier, None, asked, &updates).await {
            Ok(found) => Ok(self.outdated(known, &earlier, found, updates, known.valid_until)),
            Err(refusal) => {
                updates.keep().await;
                Err(refusal)
            }
        }
    }

    /// The newest of the earlier updates that answers in place of one that is half published, and
    /// until when it does.
    async fn of_earlier<'k>(
        &self,
        known: &'k TufAtHand,
        asked: (&Repository, &Question),
        refusal: &Refusal,
        updates: &VerifiedUpdates,
    ) -> Option<(&'k EarlierUpdate, Verified<Collection>, Timestamp)> {
        let look = self.look;
        for earlier in &known.earlier {
            let Ok((_, limit)) =
                look.offline_limit(&self.origin, Some(earlier.contact), &refusal.found)
            else {
                continue;
            };
            let newest = Some(&known.trusted);
            let found = self.search_earlier(earlier, newest, asked, updates).await;
            if let Ok(found) = found {
                let until = known.valid_until.min(limit).min(earlier.trusted.expires());
                self.repositories.laggards.add(
                    source_for(&self.origin, asked.0),
                    refusal,
                    limit.min(found.get().expires),
                    look.now,
                );
                return Some((earlier, found, until));
            }
        }
        None
    }

    /// Evidence of what held earlier; what was verified since is kept with it.
    fn outdated(
        &self,
        known: &TufAtHand,
        earlier: &EarlierUpdate,
        verified: Verified<Collection>,
        mut updates: VerifiedUpdates,
        until: Timestamp,
    ) -> Arc<Evidence> {
        let unsaved = (!updates.is_empty()).then(|| updates.take_files());
        let valid_until = until.min(verified.get().expires);
        Arc::new(Evidence {
            verified: Arc::new(verified),
            progress: updates.unkept.take_progress(),
            origin: self.origin.clone(),
            contact: earlier.contact,
            asked: Mutex::new(known.asked),
            valid_until,
            unseen: Unseen::default(),
            is_partly_at_hand: false,
            unsaved: UnsavedFiles::new(unsaved),
        })
    }
}

/// By what metadata of a root is kept.
pub(super) fn origin(root: &str) -> MetadataOrigin {
    MetadataOrigin {
        source: format!("root {root}"),
        subject: Subject::Tuf,
    }
}

/// A source, as people are told of it where only one repository's metadata is behind.
pub(super) fn source_for(origin: &MetadataOrigin, gun: &Repository) -> String {
    format!("{} for {gun}", origin.source)
}

fn at_hand(
    trusted: Trusted,
    known: Option<&TufAtHand>,
    look: RootLook<'_>,
    (contact, until): (Timestamp, Timestamp),
) -> TufAtHand {
    let valid_until = until.min(trusted.expires());
    let mut earlier = Vec::new();
    if let Some(known) = known {
        if !known.trusted.is_the_same(&trusted) {
            earlier.push(EarlierUpdate {
                trusted: known.trusted.clone(),
                contact: known.contact,
            });
        }
        earlier.extend(known.earlier.iter().cloned());
    }
    earlier.retain(|earlier| look.now < earlier.trusted.expires());
    earlier.truncate(MAX_EARLIER);
    TufAtHand {
        trusted,
        contact,
        asked: look.now,
        valid_until,
        outdated: false,
        earlier,
    }
}

fn nothing_at_hand() -> Refusal {
    Refusal::new(
        Code::SourceUnreachable,
        "no metadata of the repository in memory: another question's update is not over, or failed",
        "an update that was verified",
        "ask again; if it stays so, `rootpin status` says why its source has no answer",
    )
}

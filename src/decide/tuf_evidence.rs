//! What a repository of The Update Framework 1.0 says of an image: one update serves every question
//! while it is fresh.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use jiff::Timestamp;

use super::Evidence;
use super::behind::keep_worst;
use super::evidence::{CHECK_PLACES, Failure, Files, Look, Origin, Repositories, Slots};
use super::session::share;
use crate::sources::{SourceError, TufLocation, TufReader};
use rootpin_policy::TufRoot;
use rootpin_trust::image::{Digest, Repository};
use rootpin_trust::tuf::{Found, Question, Search, Trusted, Update};
use rootpin_trust::{
    Answer, Code, Collection, FetchFrom, Floor, Progress, Refusal, Step, Subject, Verification,
    Verified, Want,
};

/// The policy's hash is part of the key, so that another policy never sees what this one verified;
/// then the root.
pub(super) type TufSlots = Slots<(Digest, String), Option<AtHand>>;

/// What the last update ended with.
#[derive(Debug, Clone)]
pub(super) struct AtHand {
    pub(super) trusted: Trusted,
    contact: Timestamp,
    /// When the places were last asked, with or without an answer.
    asked: Timestamp,
    valid_until: Timestamp,
    /// Whether it was verified earlier, and answers while no place shows as much.
    outdated: bool,
    /// What held before, the newest first, for roles whose newer file is nowhere to be had.
    earlier: Vec<Earlier>,
}

/// What an earlier update ended with, and the last contact that confirmed it.
#[derive(Debug, Clone)]
struct Earlier {
    trusted: Trusted,
    contact: Timestamp,
}

impl AtHand {
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

/// What was verified and is to be kept.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) progress: Vec<Verified<Progress>>,
    pub(super) files: Files,
}

impl News {
    /// The floors that were raised.
    fn floors(&self) -> impl Iterator<Item = &Floor> {
        self.progress
            .iter()
            .flat_map(|progress| &progress.get().floors)
    }
}

/// One look at one repository.
pub(super) struct TufLook<'a> {
    pub(super) look: Look<'a>,
    pub(super) root: &'a TufRoot,
    pub(super) origin: Origin,
    pub(super) repositories: &'a Repositories,
    /// Whether every file is wanted, also what is cached already.
    pub(super) anew: bool,
}

/// Where an update gets its files.
pub(super) enum Place<'a> {
    /// A place, and until when it may take.
    Reader(&'a TufReader, Instant),
    /// No place answers: what is cached has to do.
    Cache,
}

impl Repositories {
    /// What a TUF repository says of an image.
    pub(super) async fn of_tuf(
        &self,
        look: Look<'_>,
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
        let mut news = News::default();
        let mut fresh = slot
            .as_ref()
            .is_some_and(|known| look.now < known.valid_until && known.contact <= clock);
        let again = fresh
            && !self.failures.are_remembered()
            && slot
                .as_ref()
                .is_some_and(|known| look.asks_again(known.asked));
        if !fresh || again {
            if let Some(refusal) = self.failures.of(&look.root.id, None) {
                return Err(refusal);
            }
            let contact = self.contact(
                &this.origin,
                slot.as_ref().map(|known| known.contact),
                clock,
            )?;
            let previous = slot.take();
            match this.update(previous.as_ref(), contact, &mut news).await {
                Ok(known) => {
                    *slot = Some(known);
                    fresh = false;
                }
                // What was asked before its time takes nothing away from what holds; what was
                // verified binds all the same.
                Err(_) if again => {
                    this.keep_partly(std::mem::take(&mut news)).await;
                    *slot = previous.map(|known| AtHand {
                        asked: look.now,
                        ..known
                    });
                }
                Err(refusal) => {
                    this.keep_partly(news).await;
                    self.failures.add(&look.root.id, None, &refusal);
                    // It answers nothing by itself any more, and may again where a source turns
                    // out to be only behind.
                    *slot = previous.map(|known| AtHand {
                        valid_until: Timestamp::MIN,
                        ..known
                    });
                    return Err(refusal);
                }
            }
        }
        let Some(known) = slot.as_mut() else {
            return Err(nothing_at_hand());
        };
        if known.outdated {
            // What broke off left no set of files that holds.
            news.files.clear();
            let earlier = Earlier {
                trusted: known.trusted.clone(),
                contact: known.contact,
            };
            let found = this
                .search_earlier(&earlier, None, (gun, question), &news)
                .await;
            return match found {
                Ok(found) => Ok(this.outdated(known, &earlier, found, news, known.valid_until)),
                Err(refusal) => {
                    this.keep_partly(news).await;
                    Err(refusal)
                }
            };
        }
        let found = this.search(&known.trusted, gun, question, &mut news).await;
        if let Err(refusal) = &found
            && refusal.source_behind
        {
            for earlier in &known.earlier {
                let Ok((_, limit)) =
                    look.offline_limit(&this.origin, Some(earlier.contact), &refusal.found)
                else {
                    continue;
                };
                let newest = Some(&known.trusted);
                let found = this
                    .search_earlier(earlier, newest, (gun, question), &news)
                    .await;
                if let Ok(found) = found {
                    let until = known.valid_until.min(limit).min(earlier.trusted.expires());
                    self.laggards.add(
                        source_for(&this.origin, gun),
                        refusal,
                        limit.min(found.get().expires),
                        look.now,
                    );
                    return Ok(this.outdated(known, earlier, found, news, until));
                }
            }
        }
        match found {
            Ok(Found {
                collection: verified,
                trusted,
            }) => {
                self.laggards.remove(&source_for(&this.origin, gun));
                known.trusted = trusted;
                let valid_until = known.valid_until.min(verified.get().expires);
                let unsaved = (!fresh || !news.progress.is_empty() || !news.files.is_empty())
                    .then_some(news.files);
                let (progress, origin, contact) = (news.progress, this.origin, known.contact);
                let (asked, unsaved) = (Mutex::new(known.asked), Mutex::new(unsaved));
                Ok(Arc::new(Evidence {
                    verified: Arc::new(verified),
                    progress,
                    origin,
                    contact,
                    asked,
                    valid_until,
                    unsaved,
                }))
            }
            Err(refusal) => {
                this.keep_partly(news).await;
                Err(refusal)
            }
        }
    }
}

impl TufLook<'_> {
    /// The first place that answers with metadata that holds; the cache, where none answers, or
    /// none shows as much as was verified.
    pub(super) async fn update(
        &self,
        known: Option<&AtHand>,
        contact: Option<Timestamp>,
        news: &mut News,
    ) -> Result<AtHand, Refusal> {
        let previous = known.map(|known| &known.trusted);
        let (mut refused, mut silent) = (None::<Refusal>, Vec::new());
        let places = self.places();
        for (at, place) in places.iter().enumerate() {
            // One that keeps us waiting must not take the others' time too.
            let deadline = share(Instant::now(), self.look.deadline, places.len() - at);
            let done = match open(place, deadline).await {
                Ok(reader) => self
                    .update_from(&Place::Reader(&reader, deadline), previous, news)
                    .await
                    .map_err(|failure| seen_at(place, failure)),
                Err(failure) => Err(failure),
            };
            match done {
                Ok(trusted) => {
                    self.repositories.laggards.remove(&self.origin.source);
                    let until = (self.look.now, self.look.recheck());
                    return Ok(at_hand(trusted, known, self.look, until));
                }
                Err(Failure::Silent(why)) => silent.push(why),
                // The most telling no is told: a place that lies is of more weight than one that is
                // only behind.
                Err(Failure::No(refusal)) => keep_worst(&mut refused, refusal),
            }
        }
        match refused {
            None => self.without_places(known, contact, &silent, news).await,
            Some(refusal) if refusal.source_behind => {
                silent.push(refusal.found.clone());
                let done = self.without_places(known, contact, &silent, news).await;
                // That a place is behind says more than that nothing else is at hand.
                let done = done.map_err(|_| refusal.clone())?;
                let (laggards, until) = (&self.repositories.laggards, done.valid_until);
                laggards.add(self.origin.source.clone(), &refusal, until, self.look.now);
                Ok(done)
            }
            Some(refusal) => Err(refusal),
        }
    }

    /// What was verified earlier: the cache, or, where what broke off raised the floors above it,
    /// what this process has at hand.
    async fn without_places(
        &self,
        known: Option<&AtHand>,
        contact: Option<Timestamp>,
        silent: &[String],
        news: &mut News,
    ) -> Result<AtHand, Refusal> {
        let why = if silent.is_empty() {
            "the policy names no metadata for it".to_owned()
        } else {
            silent.join("; ")
        };
        let (contact, limit) = self.look.offline_limit(&self.origin, contact, &why)?;
        let previous = known.map(|known| &known.trusted);
        let refusal = match self.update_from(&Place::Cache, previous, news).await {
            Ok(trusted) => {
                let until = (contact, self.repositories.cached_until(self.look, limit));
                return Ok(at_hand(trusted, known, self.look, until));
            }
            Err(Failure::No(refusal)) => refusal,
            Err(Failure::Silent(file)) => return Err(not_in_cache(&file, &why)),
        };
        let Some(known) = known.filter(|_| refusal.source_behind) else {
            return Err(refusal);
        };
        let contact = known.contact;
        let (_, limit) = self.look.offline_limit(&self.origin, Some(contact), &why)?;
        let trusted = known.trusted.clone();
        if trusted.expires() <= self.look.now {
            return Err(refusal);
        }
        let until = self.repositories.cached_until(self.look, limit);
        Ok(AtHand {
            outdated: true,
            ..at_hand(trusted, Some(known), self.look, (contact, until))
        })
    }

    /// Where the metadata lies, in the order of the policy; a registry's mirrors before itself.
    pub(super) fn places(&self) -> Vec<Result<Arc<TufLocation>, SourceError>> {
        let (sources, ca) = (&self.repositories.sources, self.root.tls_ca.as_deref());
        let at = |url| match sources.tuf(url, ca) {
            Ok(locations) => locations.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        };
        self.root.metadata.iter().flat_map(at).collect()
    }

    async fn update_from(
        &self,
        place: &Place<'_>,
        previous: Option<&Trusted>,
        news: &mut News,
    ) -> Result<Trusted, Failure> {
        let mut floors = self
            .repositories
            .store
            .history(&self.origin.subject)
            .map_err(|error| error.refusal())?;
        // What another place showed a moment ago binds this one too.
        for progress in &news.progress {
            floors = progress.get().merge_into(&floors).map_err(Refusal::from)?;
        }
        let pins = self
            .root
            .pins(self.look.root.max_age, self.look.policy.revoked_keys());
        let mut update = Update::start(&pins, floors, previous.cloned(), self.look.now);
        let mut answer = None;
        let result = loop {
            match update.next(answer.take()) {
                Ok(Step::Done(trusted)) => break Ok(trusted),
                Ok(Step::Fetch(want)) => match self.fetch(place, &want).await {
                    Ok(found) => answer = Some(found),
                    Err(failure) => break Err(failure),
                },
                Err(refusal) => break Err(refusal.into()),
            }
        };
        news.progress.extend(update.progress());
        news.files.extend(update.files());
        result
    }

    /// The answer by what is at hand and cached; else with the roles of the first place whose roles
    /// hold.
    async fn search(
        &self,
        trusted: &Trusted,
        gun: &Repository,
        question: &Question,
        news: &mut News,
    ) -> Result<Found, Refusal> {
        let (mut refused, mut silent) = (None::<Refusal>, Vec::new());
        match self
            .search_from(&Place::Cache, trusted, gun, question, news)
            .await
        {
            Ok(found) => return Ok(found),
            Err(Failure::No(refusal)) => return Err(refusal),
            // A file that only a source can have.
            Err(Failure::Silent(file)) => silent.push(format!("no {file} in the cache that fits")),
        }
        let places = self.places();
        for (at, place) in places.iter().enumerate() {
            let deadline = share(Instant::now(), self.look.deadline, places.len() - at);
            let done = match open(place, deadline).await {
                Ok(reader) => {
                    let found = self
                        .search_from(
                            &Place::Reader(&reader, deadline),
                            trusted,
                            gun,
                            question,
                            news,
                        )
                        .await;
                    found.map_err(|failure| seen_at(place, failure))
                }
                Err(failure) => Err(failure),
            };
            match done {
                Ok(found) => return Ok(found),
                Err(Failure::Silent(why)) => silent.push(why),
                Err(Failure::No(refusal)) => keep_worst(&mut refused, refusal),
            }
        }
        Err(refused.unwrap_or_else(|| unreachable_role(&silent.join("; "))))
    }

    /// The answer of what held earlier, as far as nothing newer was verified.
    async fn search_earlier(
        &self,
        earlier: &Earlier,
        newest: Option<&Trusted>,
        (gun, question): (&Repository, &Question),
        news: &News,
    ) -> Result<Verified<Collection>, Refusal> {
        let mut seen = self
            .repositories
            .store
            .history(&self.origin.subject)
            .map_err(|error| error.refusal())?;
        seen.extend(news.floors().cloned());
        let about = (gun, question);
        let mut search = Search::earlier(&earlier.trusted, newest, &seen, about, self.look.now)?;
        let mut answer = None;
        loop {
            match search.next(answer.take())? {
                Step::Done(found) => return Ok(found.collection),
                Step::Fetch(want) => match self.fetch(&Place::Cache, &want).await {
                    Ok(found) => answer = Some(found),
                    Err(Failure::No(refusal)) => return Err(refusal),
                    Err(Failure::Silent(file)) => return Err(not_in_cache(&file, "behind")),
                },
            }
        }
    }

    /// Evidence of what held earlier; what was verified since is kept with it.
    fn outdated(
        &self,
        known: &AtHand,
        earlier: &Earlier,
        verified: Verified<Collection>,
        news: News,
        until: Timestamp,
    ) -> Arc<Evidence> {
        let unsaved = (!news.progress.is_empty() || !news.files.is_empty()).then_some(news.files);
        let valid_until = until.min(verified.get().expires);
        Arc::new(Evidence {
            verified: Arc::new(verified),
            progress: news.progress,
            origin: self.origin.clone(),
            contact: earlier.contact,
            asked: Mutex::new(known.asked),
            valid_until,
            unsaved: Mutex::new(unsaved),
        })
    }

    async fn search_from(
        &self,
        place: &Place<'_>,
        trusted: &Trusted,
        gun: &Repository,
        question: &Question,
        news: &mut News,
    ) -> Result<Found, Failure> {
        let mut search = Search::start(trusted, gun, question, self.look.now);
        let mut answer = None;
        let result = loop {
            match search.next(answer.take()) {
                Ok(Step::Done(found)) => break Ok(found),
                Ok(Step::Fetch(want)) => match self.fetch(place, &want).await {
                    Ok(found) => answer = Some(found),
                    Err(failure) => break Err(failure),
                },
                Err(refusal) => break Err(refusal.into()),
            }
        };
        news.progress.extend(search.progress());
        news.files.extend(search.files());
        result
    }

    pub(super) async fn fetch(&self, place: &Place<'_>, want: &Want) -> Result<Answer, Failure> {
        match place {
            _ if want.from == FetchFrom::Cache && self.anew => Ok(Answer::Missing),
            _ if want.from == FetchFrom::Cache => Ok(self.cached(want)),
            Place::Reader(reader, deadline) => {
                let role = want.request.role.as_str();
                let role = (!matches!(role, "root" | "timestamp" | "snapshot")).then_some(role);
                let found = reader
                    .get(
                        &want.request.file_name(),
                        role,
                        want.max_bytes,
                        (*deadline).into(),
                    )
                    .await?;
                Ok(found.map_or(Answer::Missing, Answer::Bytes))
            }
            Place::Cache => match self.cached(want) {
                Answer::Bytes(bytes) if self.anew => Ok(Answer::Bytes(bytes)),
                // Whether there is a newer root can't be known.
                _ if want.request.is_root_version() => Ok(Answer::Missing),
                Answer::Bytes(bytes) if want.request.role == "timestamp" => {
                    Ok(Answer::Bytes(bytes))
                }
                _ => Err(Failure::Silent(want.request.file_name())),
            },
        }
    }

    fn cached(&self, want: &Want) -> Answer {
        self.repositories
            .cached(&self.origin, &want.request.cache_name())
            .map_or(Answer::Missing, Answer::Bytes)
    }

    /// Keeps what was verified before it failed, or cutting an update off would be a way to have
    /// the host forget what it saw.
    pub(super) async fn keep_partly(&self, news: News) {
        self.repositories
            .keep_partly(&self.origin, news.progress, self.look.now)
            .await;
    }
}

pub(super) async fn open(
    place: &Result<Arc<TufLocation>, SourceError>,
    deadline: Instant,
) -> Result<TufReader, Failure> {
    let location = place.as_ref().map_err(Clone::clone)?;
    Ok(location.open(deadline.into()).await?)
}

/// A refusal that says which of the places showed what was found.
fn seen_at(place: &Result<Arc<TufLocation>, SourceError>, failure: Failure) -> Failure {
    match (failure, place) {
        (Failure::No(refusal), Ok(place)) if !refusal.found.contains("://") => {
            Failure::No(Refusal {
                found: format!("{} (seen at {})", refusal.found, place.url()),
                ..refusal
            })
        }
        (failure, _) => failure,
    }
}

/// By what metadata of a root is kept.
pub(super) fn origin(root: &str) -> Origin {
    Origin {
        source: format!("root {root}"),
        subject: Subject::Tuf,
    }
}

/// A source, as people are told of it where only one repository's metadata is behind.
pub(super) fn source_for(origin: &Origin, gun: &Repository) -> String {
    format!("{} for {gun}", origin.source)
}

fn at_hand(
    trusted: Trusted,
    known: Option<&AtHand>,
    look: Look<'_>,
    (contact, until): (Timestamp, Timestamp),
) -> AtHand {
    let valid_until = until.min(trusted.expires());
    let mut earlier = Vec::new();
    if let Some(known) = known {
        if !known.trusted.is_the_same(&trusted) {
            earlier.push(Earlier {
                trusted: known.trusted.clone(),
                contact: known.contact,
            });
        }
        earlier.extend(known.earlier.iter().cloned());
    }
    earlier.retain(|earlier| look.now < earlier.trusted.expires());
    earlier.truncate(MAX_EARLIER);
    AtHand {
        trusted,
        contact,
        asked: look.now,
        valid_until,
        outdated: false,
        earlier,
    }
}

fn not_in_cache(file: &str, silence: &str) -> Refusal {
    Refusal::new(
        Code::SourceUnreachable,
        format!("no answer: {silence}; and no {file} in the cache that fits"),
        "the answer of one of the root's places, or complete cached metadata",
        CHECK_PLACES,
    )
}

fn unreachable_role(why: &str) -> Refusal {
    Refusal::new(
        Code::SourceUnreachable,
        format!("no answer about a delegated role: {why}"),
        "the role's file from one of the root's places, or in the cache",
        CHECK_PLACES,
    )
}

fn nothing_at_hand() -> Refusal {
    Refusal::new(
        Code::SourceUnreachable,
        "no metadata of the repository in memory: another question's update is not over, or failed",
        "an update that was verified",
        "ask again; if it stays so, `rootpin status` says why its source has no answer",
    )
}

#[cfg(test)]
mod tests;

//! What a repository of The Update Framework 1.0 says of an image: one update serves every question
//! while it is fresh.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use jiff::Timestamp;

use super::Evidence;
use super::evidence::{CHECK_PLACES, Failure, Files, Look, Origin, Repositories, Slots};
use super::session::share;
use crate::sources::{SourceError, TufLocation, TufReader};
use crate::state::Additions;
use rootpin_policy::TufRoot;
use rootpin_policy::judge::rank;
use rootpin_trust::image::{Digest, Repository};
use rootpin_trust::tuf::{
    Answer, Found, From, History, Question, Request, Search, Step, Trusted, Update, Want,
};
use rootpin_trust::{Code, Progress, Refusal, Subject, Verified};

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
}

/// What was verified and is to be kept.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) progress: Vec<Verified<Progress>>,
    pub(super) files: Files,
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
            match this
                .update(
                    previous.as_ref().map(|known| &known.trusted),
                    contact,
                    &mut news,
                )
                .await
            {
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
                    return Err(refusal);
                }
            }
        }
        let Some(known) = slot.as_mut() else {
            return Err(nothing_at_hand());
        };
        match this.search(&known.trusted, gun, question, &mut news).await {
            Ok(Found {
                collection: verified,
                trusted,
            }) => {
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
    /// The first place that answers with metadata that holds; the cache, where none answers.
    pub(super) async fn update(
        &self,
        previous: Option<&Trusted>,
        contact: Option<Timestamp>,
        news: &mut News,
    ) -> Result<AtHand, Refusal> {
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
                    return Ok(at_hand(
                        trusted,
                        self.look,
                        (self.look.now, self.look.recheck()),
                    ));
                }
                Err(Failure::Silent(why)) => silent.push(why),
                // The most telling no is told: a place that lies is of more weight than one that is
                // only behind.
                Err(Failure::No(refusal)) => {
                    if refused
                        .as_ref()
                        .is_none_or(|known| rank(refusal.code) > rank(known.code))
                    {
                        refused = Some(refusal);
                    }
                }
            }
        }
        if let Some(refusal) = refused {
            return Err(refusal);
        }
        let why = if silent.is_empty() {
            "the policy names no metadata for it".to_owned()
        } else {
            silent.join("; ")
        };
        let (contact, limit) = self.look.offline_limit(&self.origin, contact, &why)?;
        match self.update_from(&Place::Cache, previous, news).await {
            Ok(trusted) => Ok(at_hand(
                trusted,
                self.look,
                (contact, self.repositories.cached_until(self.look, limit)),
            )),
            Err(Failure::No(refusal)) => Err(refusal),
            Err(Failure::Silent(file)) => Err(not_in_cache(&file, &why)),
        }
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
        for seen in news
            .progress
            .iter()
            .flat_map(|progress| &progress.get().floors)
        {
            floors.retain(|kept| {
                kept.role != seen.role || kept.root_keys.is_disjoint(&seen.root_keys)
            });
            floors.push(seen.clone());
        }
        let pins = self
            .root
            .pins(self.look.root.max_age, self.look.policy.revoked_keys());
        let mut update = Update::start(
            &pins,
            History {
                floors,
                trusted: previous.cloned(),
            },
            self.look.now,
        );
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
                Err(Failure::No(refusal)) => {
                    if refused
                        .as_ref()
                        .is_none_or(|known| rank(refusal.code) > rank(known.code))
                    {
                        refused = Some(refusal);
                    }
                }
            }
        }
        Err(refused.unwrap_or_else(|| unreachable_role(&silent.join("; "))))
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
            _ if want.from == From::Cache && self.anew => Ok(Answer::Missing),
            _ if want.from == From::Cache => Ok(self.cached(want)),
            Place::Reader(reader, deadline) => {
                let role = if let Request::Role(role, _) = &want.request {
                    Some(role.as_str())
                } else {
                    None
                };
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
            Place::Cache => match (&want.request, self.cached(want)) {
                (_, Answer::Bytes(bytes)) if self.anew => Ok(Answer::Bytes(bytes)),
                // Whether there is a newer root can't be known.
                (Request::Root(_), _) => Ok(Answer::Missing),
                (Request::Timestamp, Answer::Bytes(bytes)) => Ok(Answer::Bytes(bytes)),
                (request, _) => Err(Failure::Silent(request.file_name())),
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
        let repositories = self.repositories;
        if !repositories.keeps || news.progress.is_empty() {
            return;
        }
        let (store, now) = (Arc::clone(&repositories.store), self.look.now);
        let commit = move || {
            let verified = news.progress.iter().collect();
            store.commit(&Additions {
                now,
                verified,
                contacts: Vec::new(),
                rows: Vec::new(),
            })
        };
        match tokio::task::spawn_blocking(commit).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => log::error!(
                "what was verified of {} before it failed is not kept: {error}",
                self.origin.source
            ),
            Err(error) => log::error!(
                "what was verified of {} before it failed is not kept: {error}",
                self.origin.source
            ),
        }
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

fn at_hand(trusted: Trusted, look: Look<'_>, (contact, until): (Timestamp, Timestamp)) -> AtHand {
    let valid_until = until.min(trusted.expires());
    AtHand {
        trusted,
        contact,
        asked: look.now,
        valid_until,
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
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::decide::publisher::{NOW, Publisher, target};
    use crate::decide::{Decider, Door, Pull};
    use crate::sources::{Credentials, Sources};
    use crate::state::Store;
    use rootpin_policy::{self, Policy};
    use rootpin_trust::image::ImageRef;

    fn write(folder: &Path, publisher: &Publisher) {
        std::fs::create_dir_all(folder).unwrap();
        for (name, bytes) in &publisher.files {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
    }

    fn policy_of(publisher: &Publisher, folders: &[&Path], more: &str) -> Arc<Policy> {
        let root = publisher.files["1.root.json"].clone();
        let places: Vec<_> = folders
            .iter()
            .map(|folder| format!("\"file://{}\"", folder.display()))
            .collect();
        let metadata = if places.is_empty() {
            String::new()
        } else {
            format!("metadata = [{}]\n", places.join(", "))
        };
        let text = format!(
            "version = 1\ndefault = \"deny\"\n[[root]]\nid = \"acme\"\ntype = \"tuf\"\nfile = \"roots/acme.json\"\nsha256 = \"{}\"\n\
             {metadata}recheck = \"0s\"\n{more}\n[[rule]]\nmatch = \"r.example/**\"\nroots = [\"acme\"]\n",
            Digest::of(&root).hex()
        );
        let files = BTreeMap::from([
            ("policy.toml".to_owned(), text.into_bytes()),
            ("roots/acme.json".to_owned(), root),
        ]);
        Arc::new(rootpin_policy::load(&files, NOW.parse().unwrap()).unwrap())
    }

    fn decider(policy: Arc<Policy>, state: &Path) -> Decider {
        let sources = Arc::new(Sources::new(Arc::new(Credentials::none())));
        Decider::new(
            Ok(policy),
            sources,
            Arc::new(Store::open(state).unwrap()),
            Duration::from_secs(20),
            true,
        )
    }

    async fn pull(decider: &Decider, name: &str, content: &str) -> &'static str {
        let name: ImageRef = name.parse().unwrap();
        let pull = Pull {
            door: Door::Verify,
            name,
            digest: Digest::of(content.as_bytes()),
        };
        let verdict = decider.pull(&pull, NOW.parse().unwrap()).await;
        match verdict.decision {
            crate::decide::Decision::Allow(_) => "allowed",
            crate::decide::Decision::Deny(denial) | crate::decide::Decision::LetThrough(denial) => {
                denial.refusal.code.as_str()
            }
        }
    }

    #[tokio::test]
    async fn a_name_is_allowed_as_the_bytes_that_the_repository_signed_and_as_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let mut publisher = Publisher::new();
        publisher.delegate(
            "team",
            21,
            &["r.example/team/*"],
            ("r.example/team/app:1", "of a team"),
            false,
        );
        publisher.publish();
        let folder = dir.path().join("metadata");
        write(&folder, &publisher);
        let decider = decider(
            policy_of(&publisher, &[&folder], ""),
            &dir.path().join("state"),
        );
        for (name, content, wanted) in [
            ("r.example/app:1", "one", "allowed"),
            ("r.example/app:1", "other", "digest-mismatch"),
            ("r.example/app:2", "one", "no-statement"),
            ("r.example/team/app:1", "of a team", "allowed"),
            ("r.example/web:1", "one", "no-statement"),
            ("elsewhere.example/app:1", "one", "no-rule"),
        ] {
            assert_eq!(pull(&decider, name, content).await, wanted, "{name}");
        }
        let by_digest = format!("r.example/app@{}", Digest::of(b"one"));
        assert_eq!(pull(&decider, &by_digest, "one").await, "allowed");
        // Revoked by its publisher: the next look sees it.
        publisher.names.clear();
        publisher.publish();
        write(&folder, &publisher);
        assert_eq!(
            pull(&decider, "r.example/app:1", "one").await,
            "no-statement"
        );
    }

    #[tokio::test]
    async fn a_place_that_is_behind_or_lies_does_no_harm_where_another_answers_and_none_at_all_serves_from_the_cache()
     {
        let dir = tempfile::tempdir().unwrap();
        let mut publisher = Publisher::new();
        let (old, new, state) = (
            dir.path().join("old"),
            dir.path().join("new"),
            dir.path().join("state"),
        );
        write(&old, &publisher);
        publisher
            .names
            .insert("r.example/app:2".to_owned(), target("two"));
        publisher.publish();
        write(&new, &publisher);
        let policy = policy_of(&publisher, &[&new, &old], "");
        assert_eq!(
            pull(&decider(policy, &state), "r.example/app:2", "two").await,
            "allowed"
        );
        let policy = policy_of(&publisher, &[&old, &new], "");
        assert_eq!(
            pull(
                &decider(Arc::clone(&policy), &state),
                "r.example/app:2",
                "two"
            )
            .await,
            "allowed",
            "what is behind is passed over"
        );
        std::fs::write(old.join("timestamp.json"), b"{}").unwrap();
        assert_eq!(
            pull(&decider(policy, &state), "r.example/app:2", "two").await,
            "allowed"
        );
        let alone = policy_of(&publisher, &[&old], "");
        assert_eq!(
            pull(&decider(alone, &state), "r.example/app:2", "two").await,
            "malformed"
        );
        // A host without a network: no place at all.
        let nowhere = policy_of(&publisher, &[], "");
        assert_eq!(
            pull(
                &decider(Arc::clone(&nowhere), &state),
                "r.example/app:2",
                "two"
            )
            .await,
            "allowed",
            "from the cache"
        );
        assert_eq!(
            pull(
                &decider(nowhere, &dir.path().join("fresh")),
                "r.example/app:2",
                "two"
            )
            .await,
            "source-unreachable"
        );
    }

    #[tokio::test]
    async fn a_place_with_a_false_delegated_role_does_no_harm_where_another_has_the_true_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut publisher = Publisher::new();
        publisher.delegate(
            "team",
            21,
            &["r.example/team/*"],
            ("r.example/team/app:1", "of a team"),
            false,
        );
        publisher.publish();
        let (lying, good) = (dir.path().join("lying"), dir.path().join("good"));
        for (false_bytes, alone) in [(&b"{}"[..], "malformed"), (b"", "malformed")] {
            write(&lying, &publisher);
            write(&good, &publisher);
            std::fs::write(lying.join("1.team.json"), false_bytes).unwrap();
            let state = |name: &str| dir.path().join(format!("{name}-{}", false_bytes.len()));
            let only = policy_of(&publisher, &[&lying], "");
            assert_eq!(
                pull(
                    &decider(only, &state("alone")),
                    "r.example/team/app:1",
                    "of a team"
                )
                .await,
                alone
            );
            let both = policy_of(&publisher, &[&lying, &good], "");
            assert_eq!(
                pull(
                    &decider(both, &state("both")),
                    "r.example/team/app:1",
                    "of a team"
                )
                .await,
                "allowed"
            );
        }
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_is_no_answer_and_a_file_that_is_not_there_names_its_place()
    {
        let dir = tempfile::tempdir().unwrap();
        let publisher = Publisher::new();
        let (folder, state) = (dir.path().join("metadata"), dir.path().join("state"));
        let policy = policy_of(&publisher, &[&folder], "");
        assert_eq!(
            pull(
                &decider(Arc::clone(&policy), &state),
                "r.example/app:1",
                "one"
            )
            .await,
            "source-unreachable"
        );
        write(&folder, &publisher);
        assert_eq!(
            pull(
                &decider(Arc::clone(&policy), &state),
                "r.example/app:1",
                "one"
            )
            .await,
            "allowed"
        );
        std::fs::rename(&folder, dir.path().join("unmounted")).unwrap();
        assert_eq!(
            pull(
                &decider(Arc::clone(&policy), &state),
                "r.example/app:1",
                "one"
            )
            .await,
            "allowed",
            "from the cache"
        );
        std::fs::create_dir(&folder).unwrap();
        let decider = decider(policy, &state);
        let name: ImageRef = "r.example/app:1".parse().unwrap();
        let verdict = decider
            .pull(
                &Pull {
                    door: Door::Verify,
                    name,
                    digest: Digest::of(b"one"),
                },
                NOW.parse().unwrap(),
            )
            .await;
        let crate::decide::Decision::Deny(denial) = verdict.decision else {
            panic!("allowed")
        };
        assert_eq!(
            denial.refusal.found,
            format!("no timestamp.json (seen at file://{})", folder.display())
        );
    }

    #[tokio::test]
    async fn what_a_cut_off_update_showed_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let mut publisher = Publisher::new();
        let (folder, state) = (dir.path().join("metadata"), dir.path().join("state"));
        let before = publisher.clone();
        publisher.publish();
        write(&folder, &publisher);
        std::fs::remove_file(folder.join("2.snapshot.json")).unwrap();
        let policy = policy_of(&publisher, &[&folder], "");
        assert_eq!(
            pull(
                &decider(Arc::clone(&policy), &state),
                "r.example/app:1",
                "one"
            )
            .await,
            "role-missing"
        );
        write(&folder, &before);
        assert_eq!(
            pull(&decider(policy, &state), "r.example/app:1", "one").await,
            "rollback"
        );
    }
}

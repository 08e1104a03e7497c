//! What pinned roots say, fetched and verified once at a time and kept for as long as the policy
//! says.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::behind::Laggards;
use super::failures::Failures;
use super::notary_evidence::NotarySlots;
use super::tuf_evidence::TufSlots;
use crate::sources::{SourceError, Sources};
use crate::state::cache::{Cache, Drafts};
use crate::state::{Additions, Store};
use rootpin_policy::{Policy, Root, RootKind};
use rootpin_trust::image::Repository;
use rootpin_trust::tuf::Question;
use rootpin_trust::{Code, Collection, Progress, Refusal, Subject, Verified};

/// How far a clock may go back without being called wrong: time servers set one that ran ahead.
const STEP: SignedDuration = SignedDuration::from_mins(1);

/// Metadata files by name.
pub(super) type Files = Vec<(String, Vec<u8>)>;

/// What a root says of one repository.
#[derive(Debug)]
pub struct Evidence {
    /// What was verified.
    pub verified: Arc<Verified<Collection>>,
    /// What the state is to keep of it.
    pub progress: Vec<Verified<Progress>>,
    /// Where it came from, and what the metadata is about.
    pub origin: Origin,
    /// The last good contact that it rests on.
    pub contact: Timestamp,
    /// When its source was last asked, with or without an answer.
    pub(super) asked: Mutex<Timestamp>,
    /// Until when it answers without another look.
    pub valid_until: Timestamp,
    /// What is still to be written: the files, once the floors are safe.
    pub(super) unsaved: Mutex<Option<Files>>,
}

/// Whose metadata it is: contacts and cached files are kept by this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The server's URL.
    pub source: String,
    /// What the metadata is about.
    pub subject: Subject,
}

/// One question's look at one root.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look<'a> {
    pub(super) policy: &'a Policy,
    pub(super) root: &'a Root,
    pub(super) now: Timestamp,
    /// When the question came in, and until when sources may be asked for it.
    pub(super) begun: Instant,
    pub(super) deadline: Instant,
    /// Whether what is at hand doesn't have what was asked for: it may have been signed a moment
    /// ago, so the source is asked before its time.
    pub(super) again: bool,
}

/// Where metadata comes from, and what is kept of it.
#[derive(Debug)]
pub struct Repositories {
    pub(super) sources: Arc<Sources>,
    pub(super) store: Arc<Store>,
    cache: Option<Cache>,
    pub(super) notary: NotarySlots,
    pub(super) tuf: TufSlots,
    pub(super) present: bool,
    /// Whether what was verified may be written.
    pub(super) keeps: bool,
    pub(super) failures: Failures,
    pub(super) laggards: Laggards,
    /// Before when it can't be, and what shows that. Shared by all who judge by the present time.
    pub(super) earliest: Arc<Mutex<Option<(Timestamp, String)>>>,
}

/// A source is asked before its time at most this often for names that it may not have: whoever
/// asks for such names must not choose how much work that is.
pub(super) const AGAIN: SignedDuration = SignedDuration::from_secs(5);

/// More than this of one kind at hand and all of it is forgotten; everything can be fetched again.
const MAX_SLOTS: usize = 4096;
/// What to do where no place answers.
pub(super) const CHECK_PLACES: &str = "check the addresses that the root names, their certificates and the network between; of a file:// place, that it is there and mounted";

/// No verified file is larger (`trust` caps each role at less).
const MAX_CACHED: usize = 64 << 20;

/// Why a source gave no metadata that holds.
#[derive(Debug, Clone)]
pub(super) enum Failure {
    /// Nobody answered: what the cache holds may serve.
    Silent(String),
    /// An answer, and it is no.
    No(Refusal),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::No(refusal)
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        if error.is_silent() {
            Self::Silent(error.to_string())
        } else {
            Self::No(error.refusal())
        }
    }
}

impl Evidence {
    /// When its source was last asked.
    pub(super) fn asked(&self) -> Timestamp {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its source was asked once more, in vain.
    pub(super) fn was_asked(&self, at: Timestamp) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// Whether it has not been written yet.
    pub fn is_unsaved(&self) -> bool {
        self.unsaved
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }
}

impl Look<'_> {
    /// What the clock says by now. A question that began later may have made contact since; that is
    /// no clock that went back.
    pub(super) fn clock(&self) -> Timestamp {
        clock(self.now, self.begun.elapsed())
    }

    /// Until when what is verified now answers without another look.
    pub(super) fn recheck(&self) -> Timestamp {
        later(self.now, self.root.recheck)
    }

    /// Whether the source may be asked once more, which was asked then.
    pub(super) fn asks_again(&self, asked: Timestamp) -> bool {
        self.again && later(asked, AGAIN) <= self.now
    }

    /// The last good contact, and the end of the time for which the cache may serve from there on.
    pub(super) fn offline_limit(
        &self,
        origin: &Origin,
        contact: Option<Timestamp>,
        silence: &str,
    ) -> Result<(Timestamp, Timestamp), Refusal> {
        offline_limit(
            offline_of(self.policy, self.root),
            &origin.source,
            contact,
            silence,
            self.now,
        )
    }
}

impl Repositories {
    /// Nothing fetched yet. `present`: `now` will be the present time, which the clock can be wrong
    /// about.
    pub fn new(sources: Arc<Sources>, store: Arc<Store>, present: bool, keeps: bool) -> Self {
        // A state that can't be used has no cache either; the state's own error is told.
        let cache = Cache::new(store.directory()).ok();
        Self {
            sources,
            store,
            cache,
            notary: NotarySlots::default(),
            tuf: TufSlots::default(),
            present,
            keeps,
            failures: Failures::default(),
            laggards: Laggards::default(),
            earliest: Arc::default(),
        }
    }

    /// The same, where no source is ever asked.
    pub(super) fn remembering_failures(self) -> Self {
        Self {
            failures: Failures::remembered(),
            ..self
        }
    }

    /// What a root says of a repository: what is at hand, or what its sources say now, or what the
    /// cache holds while none answers.
    ///
    /// # Errors
    /// The refusal: what was wrong with the metadata, or why there is none.
    pub(super) async fn evidence(
        &self,
        look: Look<'_>,
        gun: &Repository,
        question: &Question,
    ) -> Result<Arc<Evidence>, Refusal> {
        if let Some(refusal) = self.implausible(look.now) {
            return Err(refusal);
        }
        match &look.root.kind {
            RootKind::Notary(notary) => self.of_notary(look, notary, gun).await,
            RootKind::Tuf(tuf) => self.of_tuf(look, tuf, gun, question).await,
        }
    }

    /// Writes the files of evidence, without their names, which they get when its floors are safe
    /// ([`Repositories::saved`]). A cache that can't be written costs a fetch, never a decision.
    pub fn draft(&self, evidence: &Evidence) -> Option<Drafts> {
        let Origin { source, subject } = &evidence.origin;
        let unsaved = evidence
            .unsaved
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.cache
            .as_ref()?
            .draft(source, subject, unsaved.as_ref()?)
            .map_err(|error| unkept(subject, &error))
            .ok()
    }

    /// The floors of evidence are safe now; its files get their names.
    pub fn saved(&self, evidence: &Evidence, drafts: Option<Drafts>) {
        evidence
            .unsaved
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(Err(error)) = drafts.map(Drafts::keep) {
            unkept(&evidence.origin.subject, &error);
        }
    }

    /// Keeps the floors of what was verified before it failed.
    pub(super) async fn keep_partly(
        &self,
        origin: &Origin,
        progress: Vec<Verified<Progress>>,
        now: Timestamp,
    ) {
        if !self.keeps || progress.is_empty() {
            return;
        }
        let store = Arc::clone(&self.store);
        let commit = move || {
            let verified = progress.iter().collect();
            let committed = store.commit(&Additions {
                now,
                verified,
                contacts: Vec::new(),
                rows: Vec::new(),
            });
            committed.map_err(|error| error.to_string())
        };
        let kept = tokio::task::spawn_blocking(commit).await;
        if let Err(error) = kept.map_err(|error| error.to_string()).flatten() {
            log::error!(
                "what was verified of {} before it failed is not kept: {error}",
                origin.source
            );
        }
    }

    /// Forgets what is at hand, after the state was reset.
    pub fn forget(&self) {
        self.notary.clear();
        self.tuf.clear();
    }

    /// The last good contact, unless it lies in the future by more than a step: then the clock went
    /// back, and no expiry can be judged by it.
    pub(super) fn contact(
        &self,
        origin: &Origin,
        at_hand: Option<Timestamp>,
        clock: Timestamp,
    ) -> Result<Option<Timestamp>, Refusal> {
        if let Some(refusal) = self.implausible(clock) {
            return Err(refusal);
        }
        let contact = self
            .store
            .contact(&origin.source, &origin.subject)
            .map_err(|error| error.refusal())?
            .max(at_hand);
        match contact {
            Some(contact) if self.present && contact.duration_since(clock) > STEP => {
                Err(Refusal::new(
                    Code::Clock,
                    format!("a clock at {clock:.0}"),
                    format!(
                        "a time after the last good contact with {}, {contact:.0}",
                        origin.source
                    ),
                    "set the host's clock; if the contact was made under a clock that ran ahead, and the clock is right by now, forget it with: rootpin state reset --contacts",
                ))
            }
            contact => Ok(contact),
        }
    }

    /// Until when what the cache holds answers without another look: where no source is asked, as
    /// long as it may serve at all.
    pub(super) fn cached_until(&self, look: Look<'_>, limit: Timestamp) -> Timestamp {
        if self.failures.are_remembered() {
            limit
        } else {
            look.recheck().min(limit)
        }
    }

    /// Writes files for which no source may be at hand.
    pub(super) fn write_cache(&self, origin: &Origin, files: &Files) -> std::io::Result<()> {
        let cache = self
            .cache
            .as_ref()
            .ok_or_else(|| std::io::Error::other("the state has no directory"))?;
        cache.write(&origin.source, &origin.subject, files)
    }

    pub(super) fn cached(&self, origin: &Origin, name: &str) -> Option<Vec<u8>> {
        self.cache
            .as_ref()?
            .read(&origin.source, &origin.subject, name, MAX_CACHED)
    }
}

/// What is at hand, by what it is of, each behind a lock of its own: those that wait for one find
/// its answer.
#[derive(Debug)]
pub(super) struct Slots<K, T>(Mutex<HashMap<K, Arc<tokio::sync::Mutex<T>>>>);

impl<K, T> Default for Slots<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + std::hash::Hash, T: Default> Slots<K, T> {
    pub(super) fn get(&self, key: K) -> Arc<tokio::sync::Mutex<T>> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= MAX_SLOTS {
            slots.clear();
        }
        Arc::clone(slots.entry(key).or_default())
    }

    pub(super) fn clear(&self) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

/// How long the cache may serve after the last good contact. A root's own ceiling on freshness
/// counts from there too: verified anew, cached metadata is no fresher than it was.
fn unkept(subject: &Subject, error: &std::io::Error) {
    log::error!("cannot keep the metadata of {subject}: {error}");
}

fn offline_of(policy: &Policy, root: &Root) -> SignedDuration {
    root.max_age.map_or(policy.limits.offline, |max_age| {
        max_age.min(policy.limits.offline)
    })
}

fn offline_limit(
    offline: SignedDuration,
    source: &str,
    contact: Option<Timestamp>,
    silence: &str,
    now: Timestamp,
) -> Result<(Timestamp, Timestamp), Refusal> {
    match contact.map(|contact| (contact, later(contact, offline))) {
        Some((contact, limit)) if now < limit => Ok((contact, limit)),
        Some((contact, limit)) => Err(Refusal::new(
            Code::SourceUnreachable,
            format!("no answer from {source} since {contact:.0}: {silence}"),
            format!(
                "one before {limit:.0}, when [limits] offline, or the root's max-age, was over"
            ),
            "bring the trust server back; a longer [limits] offline and max-age serve the cached metadata until it expires",
        )),
        None => Err(Refusal::new(
            Code::SourceUnreachable,
            format!("no answer from {source}: {silence}"),
            "an answer, since this host has not had one for this repository yet",
            CHECK_PLACES,
        )),
    }
}

/// What the clock says by now, given what it said when the question began. The two readings at the
/// beginning are not quite of one instant.
fn clock(now: Timestamp, since: Duration) -> Timestamp {
    later(
        now,
        SignedDuration::try_from(since + Duration::from_millis(100)).unwrap_or(SignedDuration::MAX),
    )
}

pub(super) fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn policy(of_root: &str) -> Policy {
        let key = "0".repeat(64);
        let text = format!(
            "version = 1\ndefault = \"deny\"\n[[root]]\nid = \"acme\"\ntype = \"notary\"\nserver = \"https://n.example\"\n\
             keys = [\"{key}\"]\nrole = \"targets\"\n{of_root}\n[[rule]]\nmatch = \"r.example/**\"\nroots = [\"acme\"]\n"
        );
        let files = BTreeMap::from([("policy.toml".to_owned(), text.into_bytes())]);
        rootpin_policy::load(&files, at("2030-01-01T00:00:00Z")).unwrap()
    }

    #[test]
    fn the_clock_goes_on_while_a_question_waits() {
        let begun = at("2030-01-01T00:00:00Z");
        assert!(clock(begun, Duration::from_secs(3)) >= at("2030-01-01T00:00:03Z"));
        assert!(clock(begun, Duration::from_millis(1)) < at("2030-01-01T00:00:01Z"));
    }

    #[test]
    fn cached_metadata_grows_older_than_max_age_while_nobody_answers() {
        for (of_root, hours) in [
            ("", 14 * 24),
            ("max-age = \"72h\"", 72),
            ("max-age = \"90d\"", 14 * 24),
        ] {
            let policy = policy(of_root);
            let root = policy.roots.get("acme").unwrap();
            let offline = offline_of(&policy, root);
            assert_eq!(offline, SignedDuration::from_hours(hours), "{of_root}");
            let contact = at("2030-01-01T00:00:00Z");
            let limit = later(contact, offline);
            let limited =
                |now| offline_limit(offline, "https://n.example", Some(contact), "silence", now);
            assert_eq!(
                limited(later(limit, SignedDuration::from_secs(-1))),
                Ok((contact, limit))
            );
            assert_eq!(limited(limit).unwrap_err().code, Code::SourceUnreachable);
        }
    }
}

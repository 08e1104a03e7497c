//! Each repository's verified metadata, fetched and verified once at a time and kept for as long as the policy says.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use crate::image::{Digest, Repository};
use crate::policy::{NotaryRoot, Policy, Root, RootKind};
use crate::sources::{NotaryServer, Sources};
use crate::state::cache::Cache;
use crate::state::{StateError, Store};
use crate::trust::notary::{Answer, History, Outcome, Request, Step, Update, Want};
use crate::trust::{Code, Collection, Progress, Refusal, Subject, Verified};

/// Metadata files by name.
type Files = Vec<(String, Vec<u8>)>;

/// Verified metadata of one repository under one root.
#[derive(Debug)]
pub struct Evidence {
    /// What was verified.
    pub verified: Verified<Collection>,
    /// What the state is to keep of it.
    pub progress: Verified<Progress>,
    /// The server that it came from.
    pub server: String,
    /// The last good contact that it rests on.
    pub contact: Timestamp,
    /// Until when it answers without another look.
    pub valid_until: Timestamp,
    /// What is still to be written: the files, once the floors are safe.
    unsaved: Mutex<Option<Files>>,
}

/// Where metadata comes from, and what is kept of it.
#[derive(Debug)]
pub struct Repositories {
    sources: Arc<Sources>,
    store: Arc<Store>,
    cache: Option<Cache>,
    slots: Mutex<HashMap<Key, Shared<Slot>>>,
    present: bool,
}

type Shared<T> = Arc<tokio::sync::Mutex<T>>;
/// The policy's hash is part of it, so that another policy never sees what this one verified.
type Key = (Digest, String, Repository);

#[derive(Debug, Default)]
struct Slot {
    evidence: Option<Arc<Evidence>>,
}

/// More repositories than this and the table is begun anew; everything in it can be fetched again.
const MAX_SLOTS: usize = 4096;

/// No verified file is larger (`trust` caps each role at less).
const MAX_CACHED: usize = 64 << 20;

enum Failure {
    /// Nobody answered (policy.md rule 8): what the cache holds may serve.
    Silent(String),
    /// An answer, and it is no.
    No(Refusal),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::No(refusal)
    }
}

impl Evidence {
    /// Whether it has not been written yet.
    pub fn is_unsaved(&self) -> bool {
        self.unsaved.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

impl Repositories {
    /// Nothing fetched yet. `present`: `now` will be the present time, which the clock can be wrong about.
    pub fn new(sources: Arc<Sources>, store: Arc<Store>, present: bool) -> Self {
        // A state that can't be used has no cache either; the state's own error is told.
        let cache = Cache::new(store.directory()).ok();
        Self { sources, store, cache, slots: Mutex::default(), present }
    }

    /// Verified metadata of a repository: what is at hand, or what its server says now, or what the cache holds while nobody answers.
    ///
    /// # Errors
    /// The refusal: what was wrong with the metadata, or why there is none.
    pub async fn evidence(
        &self,
        policy: &Policy,
        root: &Root,
        gun: &Repository,
        now: Timestamp,
        (begun, deadline): (Instant, Instant),
    ) -> Result<Arc<Evidence>, Refusal> {
        let RootKind::Notary(notary) = &root.kind;
        let slot = self.slot((policy.hash, root.id.clone(), gun.clone()));
        // One question at a time: those that wait find the answer of the first.
        let mut slot = slot.lock().await;
        let clock = clock(now, begun.elapsed());
        if let Some(known) = slot.evidence.as_ref().filter(|known| now < known.valid_until && known.contact <= clock) {
            return Ok(Arc::clone(known));
        }
        let subject = Subject::Gun(gun.clone());
        let contact = self.store.contact(&notary.server, &subject).map_err(|error| error.refusal())?;
        let contact = contact.max(slot.evidence.as_ref().map(|known| known.contact));
        if let Some(contact) = contact.filter(|contact| self.present && *contact > clock) {
            return Err(Refusal::new(
                Code::Clock,
                format!("a clock at {clock}"),
                format!("a time after the last good contact with {}, {contact}", notary.server),
                "set the host's clock; if the contact was made under a clock that ran ahead, `rootpin state reset --root ID` forgets it",
            ));
        }
        slot.evidence = None;
        let until = later(now, root.recheck);
        let evidence = match self.online(policy, root, notary, gun, now, deadline).await {
            Ok(outcome) => new_evidence(outcome, notary, now, until),
            Err(Failure::No(refusal)) => return Err(refusal),
            Err(Failure::Silent(why)) => {
                let (contact, limit) = offline_limit(offline_of(policy, root), notary, contact, &why, now)?;
                // The files are there already. The floors are confirmed all the same: what was verified counts as seen, whatever was reset.
                let outcome = Outcome { files: Files::new(), ..self.offline(policy, root, notary, gun, now, &why)? };
                new_evidence(outcome, notary, contact, until.min(limit))
            }
        };
        slot.evidence = Some(Arc::clone(&evidence));
        Ok(evidence)
    }

    /// Writes the files of evidence whose floors are safe now. A cache that can't be written costs a fetch, never a decision.
    pub fn saved(&self, evidence: &Evidence) {
        let files = evidence.unsaved.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
        let subject = &evidence.progress.get().subject;
        if let Some(Err(error)) = self.cache.as_ref().map(|cache| cache.write(&evidence.server, subject, &files)) {
            log::error!("cannot keep the metadata of {subject}: {error}");
        }
    }

    /// Forgets what is at hand, after the state was reset.
    pub fn forget(&self) {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn slot(&self, key: Key) -> Shared<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= MAX_SLOTS {
            slots.clear();
        }
        Arc::clone(slots.entry(key).or_default())
    }

    fn history(&self, notary: &NotaryRoot, gun: &Repository) -> Result<History, Refusal> {
        let floors = self.store.history(&Subject::Gun(gun.clone())).map_err(|error| error.refusal())?;
        Ok(History { root: self.cached(notary, gun, "root"), floors })
    }

    async fn online(
        &self,
        policy: &Policy,
        root: &Root,
        notary: &NotaryRoot,
        gun: &Repository,
        now: Timestamp,
        deadline: Instant,
    ) -> Result<Outcome, Failure> {
        let server = self.sources.notary(notary).map_err(|error| error.refusal())?;
        let mut update = Update::start(gun, &root.pins(policy.revoked_keys()), self.history(notary, gun)?, now);
        let mut answer = None;
        let outcome = loop {
            match update.next(answer.take())? {
                Step::Done(outcome) => break *outcome,
                Step::Fetch(want) => answer = Some(self.fetch(&server, notary, gun, &want, deadline).await?),
            }
        };
        self.no_replay(outcome.progress.get())?;
        Ok(outcome)
    }

    /// A file that is named by its hash and lies in the cache need not be fetched.
    async fn fetch(
        &self,
        server: &NotaryServer,
        notary: &NotaryRoot,
        gun: &Repository,
        want: &Want,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        let kept = match &want.request {
            Request::Snapshot(digest) => self.cached(notary, gun, "snapshot").filter(|bytes| Digest::of(bytes) == *digest),
            Request::Role(role, digest) => self.cached(notary, gun, role).filter(|bytes| Digest::of(bytes) == *digest),
            Request::LatestRoot | Request::Root(_) | Request::Timestamp => None,
        };
        if let Some(bytes) = kept {
            return Ok(Answer::Bytes(bytes));
        }
        server
            .get(gun, want, deadline.into())
            .await
            .map_err(|error| if error.is_silent() { Failure::Silent(error.to_string()) } else { Failure::No(error.refusal()) })
    }

    /// The same verification over what the cache holds.
    fn offline(
        &self,
        policy: &Policy,
        root: &Root,
        notary: &NotaryRoot,
        gun: &Repository,
        now: Timestamp,
        silence: &str,
    ) -> Result<Outcome, Refusal> {
        let mut update = Update::start(gun, &root.pins(policy.revoked_keys()), self.history(notary, gun)?, now);
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
                    let bytes = self.cached(notary, gun, role).ok_or_else(|| {
                        Refusal::new(
                            Code::SourceUnreachable,
                            format!("no answer from {}: {silence}; and no {role}.json in the cache", notary.server),
                            "the server's answer, or complete cached metadata",
                            "check the server's address, its certificate and the network between",
                        )
                    })?;
                    answer = Some(Answer::Bytes(bytes));
                }
            }
        }
    }

    fn cached(&self, notary: &NotaryRoot, gun: &Repository, role: &str) -> Option<Vec<u8>> {
        self.cache.as_ref()?.read(&notary.server, &Subject::Gun(gun.clone()), &format!("{role}.json"), MAX_CACHED)
    }

    /// Notary's targets roles don't say which repository they are for; whoever serves two repositories could pass one's off as the
    /// other's (notary-v1.md W7). The same signed bytes are one repository's only.
    fn no_replay(&self, progress: &Progress) -> Result<(), Refusal> {
        let subject = &progress.subject;
        for statement in &progress.statements {
            let owner = self.store.statement_owner(statement).map_err(|error| error.refusal())?;
            if let Some(owner) = owner.filter(|owner| owner != subject) {
                return Err(StateError::Replay { subject: subject.clone(), statement: *statement, owner }.refusal());
            }
        }
        Ok(())
    }
}

fn new_evidence(outcome: Outcome, notary: &NotaryRoot, contact: Timestamp, until: Timestamp) -> Arc<Evidence> {
    let Outcome { collection: verified, progress, files } = outcome;
    let valid_until = until.min(verified.get().expires);
    Arc::new(Evidence { verified, progress, server: notary.server.clone(), contact, valid_until, unsaved: Mutex::new(Some(files)) })
}

/// How long the cache may serve after the last good contact. A root's own ceiling on freshness counts from there too: verified anew,
/// cached metadata is no fresher than it was.
fn offline_of(policy: &Policy, root: &Root) -> SignedDuration {
    root.max_age.map_or(policy.limits.offline, |max_age| max_age.min(policy.limits.offline))
}

/// The last good contact, and the end of the time for which the cache may serve from there on.
fn offline_limit(
    offline: SignedDuration,
    notary: &NotaryRoot,
    contact: Option<Timestamp>,
    silence: &str,
    now: Timestamp,
) -> Result<(Timestamp, Timestamp), Refusal> {
    match contact.map(|contact| (contact, later(contact, offline))) {
        Some((contact, limit)) if now < limit => Ok((contact, limit)),
        Some((contact, limit)) => Err(Refusal::new(
            Code::SourceUnreachable,
            format!("no answer from {} since {contact}: {silence}", notary.server),
            format!("one before {limit}, when [limits] offline, or the root's max-age, was over"),
            "bring the trust server back; a longer [limits] offline and max-age serve the cached metadata until it expires",
        )),
        None => Err(Refusal::new(
            Code::SourceUnreachable,
            format!("no answer from {}: {silence}", notary.server),
            "an answer, since this host has not had one for this repository yet",
            "check the server's address, its certificate and the network between",
        )),
    }
}

/// What the clock says by now, given what it said when the question began. A question that began later may have made contact
/// since; that is no clock that went back. The two readings at the beginning are not quite of one instant.
fn clock(now: Timestamp, since: Duration) -> Timestamp {
    later(now, SignedDuration::try_from(since + Duration::from_millis(100)).unwrap_or(SignedDuration::MAX))
}

fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
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
        crate::policy::load(&files, at("2030-01-01T00:00:00Z")).unwrap()
    }

    #[test]
    fn the_clock_goes_on_while_a_question_waits() {
        let begun = at("2030-01-01T00:00:00Z");
        assert!(clock(begun, Duration::from_secs(3)) >= at("2030-01-01T00:00:03Z"));
        assert!(clock(begun, Duration::from_millis(1)) < at("2030-01-01T00:00:01Z"));
    }

    #[test]
    fn cached_metadata_grows_older_than_max_age_while_nobody_answers() {
        for (of_root, hours) in [("", 14 * 24), ("max-age = \"72h\"", 72), ("max-age = \"90d\"", 14 * 24)] {
            let policy = policy(of_root);
            let root = policy.roots.get("acme").unwrap();
            let offline = offline_of(&policy, root);
            assert_eq!(offline, SignedDuration::from_hours(hours), "{of_root}");
            let RootKind::Notary(notary) = &root.kind;
            let contact = at("2030-01-01T00:00:00Z");
            let limit = later(contact, offline);
            let limited = |now| offline_limit(offline, notary, Some(contact), "silence", now);
            assert_eq!(limited(later(limit, SignedDuration::from_secs(-1))), Ok((contact, limit)));
            assert_eq!(limited(limit).unwrap_err().code, Code::SourceUnreachable);
        }
    }
}

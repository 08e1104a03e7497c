//! The one writer of floors, contacts, ledger rows and cached files.
//!
//! A decision keeps all that it rests on in one transaction. What no decision keeps, because a look
//! failed or was cancelled, raises the floors all the same: an attacker who can cut a connection must
//! not make the host forget what it saw. Files are cached behind them where an update came to its
//! end, and the roots of a TUF repository in any case: raised floors over an older cache would leave
//! the host without an answer when its source is away.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use jiff::Timestamp;
use tokio::runtime::Handle;

use super::signature_cache::{is_of_signatures, is_signatures, merged_signatures};
use super::{Evidence, MAX_CACHED, MetadataOrigin, NamedFiles, Repositories};
use crate::state::cache::{Cache, Drafts};
use crate::state::{Additions, Committed, Row, StateError, Store};
use rootpin_trust::image::Digest;
use rootpin_trust::{Code, Progress, Refusal, Subject, Verified};

/// Writes floors, or nothing where nothing may be kept.
#[derive(Debug, Clone)]
pub(super) struct FloorWriter {
    store: Arc<Store>,
    cache: Option<Cache>,
    /// Held while a cached file is replaced by one that has what was in it too.
    merging: Arc<Mutex<()>>,
    keeps: bool,
}

impl FloorWriter {
    pub(super) fn new(store: Arc<Store>, cache: Option<Cache>, keeps: bool) -> Self {
        Self {
            store,
            cache,
            merging: Arc::default(),
            keeps,
        }
    }

    pub(super) fn keeps(&self) -> bool {
        self.keeps
    }

    /// Whether none of what an update that broke off showed is another repository's.
    pub(super) fn is_own(&self, progress: &Progress) -> bool {
        let subject = &progress.subject;
        let another = |floor| self.store.is_of_another(subject, floor);
        self.no_replay(progress).is_ok()
            && progress
                .floors
                .iter()
                .all(|floor| matches!(another(floor), Ok(false)))
    }

    /// Notary names a repository in its root alone. A server could pass one repository's targets off
    /// as another's, so the bytes that one key signed are one repository's only.
    pub(super) fn no_replay(&self, progress: &Progress) -> Result<(), Refusal> {
        let subject = &progress.subject;
        for statement in &progress.statements {
            let owner = self
                .store
                .replayed(subject, statement, &progress.signers)
                .map_err(|error| error.refusal())?;
            if let Some(owner) = owner {
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

    /// Caches files whose floors are safe. A cache that can't be written costs a fetch.
    fn cache(&self, origin: &MetadataOrigin, files: &NamedFiles) {
        if let Err(error) = self.try_cache(origin, files) {
            not_cached(&origin.subject, &error);
        }
    }

    /// Caches files, with what the cache has of the same signatures.
    pub(super) fn try_cache(&self, origin: &MetadataOrigin, files: &NamedFiles) -> io::Result<()> {
        let _merging = self.merging();
        let drafts = self.draft(origin, files)?;
        drafts.map_or(Ok(()), Drafts::keep)
    }

    /// Replaces a cached file by what is made of it, with nobody else writing it meanwhile.
    pub(super) fn replace(
        &self,
        MetadataOrigin { source, subject }: &MetadataOrigin,
        name: &str,
        make: impl FnOnce(Option<Vec<u8>>) -> Result<Vec<u8>, Refusal>,
    ) -> Result<(), Refusal> {
        let Some(cache) = &self.cache else {
            return Ok(());
        };
        let _merging = self.merging();
        let bytes = make(cache.read(source, subject, name, MAX_CACHED))?;
        let written = cache.write(source, subject, &[(name.to_owned(), bytes)]);
        written.map_err(|error| lost(&error))
    }

    /// Writes files without their names.
    fn draft(&self, origin: &MetadataOrigin, files: &NamedFiles) -> io::Result<Option<Drafts>> {
        let Some(cache) = &self.cache else {
            return Ok(None);
        };
        let MetadataOrigin { source, subject } = origin;
        let drafts = cache.draft(source, subject, &merged(cache, origin, files));
        drafts.map(Some)
    }

    /// Caches signatures that a registry has, which rest on no floors. A power cut may lose those of an image
    /// that had none: they are asked for again.
    fn cache_soon(&self, origin: &MetadataOrigin, files: &NamedFiles) {
        let Some(cache) = &self.cache else {
            return;
        };
        let MetadataOrigin { source, subject } = origin;
        let written = cache.write_soon(source, subject, &merged(cache, origin, files));
        if let Err(error) = written {
            not_cached(subject, &error);
        }
    }

    fn merging(&self) -> MutexGuard<'_, ()> {
        self.merging.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes all of these, or nothing. Blocks.
    pub(super) fn write(&self, additions: &Additions<'_>) -> Result<Committed, StateError> {
        self.store.commit(additions)
    }
}

/// Files as they are to be cached. Signatures of one image are found for one tag, or come in a bundle: they
/// are added to those that are cached, never put in their place.
fn merged<'f>(
    cache: &Cache,
    origin: &MetadataOrigin,
    files: &'f NamedFiles,
) -> Cow<'f, NamedFiles> {
    if !files.iter().any(|(name, _)| is_signatures(name)) {
        return Cow::Borrowed(files);
    }
    let merged = |(name, bytes): &(String, Vec<u8>)| {
        let known = cache.read(&origin.source, &origin.subject, name, MAX_CACHED);
        let merged = known.and_then(|known| merged_signatures(bytes, &known));
        (name.clone(), merged.unwrap_or_else(|| bytes.clone()))
    };
    Cow::Owned(files.iter().map(merged).collect())
}

/// What was verified for one question or look, and is not written yet. Dropped, it writes its floors
/// in the background, and caches the files of each update that came to its end.
#[derive(Debug)]
pub(crate) struct Unkept {
    pub(super) writer: FloorWriter,
    now: Timestamp,
    pub(super) progress: Vec<Verified<Progress>>,
    pub(crate) evidence: Vec<Arc<Evidence>>,
    /// The files of an update that came to its end, until evidence is made of it.
    pub(super) updated: Option<(MetadataOrigin, NamedFiles)>,
    /// The roots of updates that broke off.
    roots: Option<(MetadataOrigin, NamedFiles)>,
}

impl Unkept {
    /// Writes the floors of what failed. Returns once they are written.
    pub(super) async fn keep(&mut self) {
        let Some(write) = self.take() else {
            return;
        };
        let write = OnDrop(Some(write));
        if let Err(error) = tokio::task::spawn_blocking(move || drop(write)).await {
            not_kept(&error);
        }
    }

    /// Takes the evidence that is not written yet: the caller keeps it.
    pub(crate) fn take_evidence(&mut self) -> Vec<Arc<Evidence>> {
        let mut all = std::mem::take(&mut self.evidence);
        all.retain(|evidence| evidence.is_unsaved());
        all
    }

    /// Takes what was verified: the evidence that is made of it has it now.
    pub(super) fn take_progress(&mut self) -> Vec<Verified<Progress>> {
        std::mem::take(&mut self.progress)
    }

    /// Adds the roots of an update that broke off.
    pub(super) fn add_roots(&mut self, origin: &MetadataOrigin, roots: NamedFiles) {
        if !roots.is_empty() {
            let (_, all) = self
                .roots
                .get_or_insert_with(|| (origin.clone(), NamedFiles::new()));
            all.extend(roots);
        }
    }

    /// The same, as far as nobody took them.
    pub(super) fn roots(&self) -> NamedFiles {
        self.roots
            .as_ref()
            .map(|(_, roots)| roots.clone())
            .unwrap_or_default()
    }

    pub(super) fn take_roots(&mut self) -> NamedFiles {
        self.roots
            .take()
            .map(|(_, roots)| roots)
            .unwrap_or_default()
    }

    /// What is left to be done, if anything is.
    fn take(&mut self) -> Option<impl FnOnce() + Send + 'static> {
        let progress = self.take_progress();
        let evidence = self.take_evidence();
        let updated: Vec<_> = self
            .roots
            .take()
            .into_iter()
            .chain(self.updated.take())
            .collect();
        let nothing = progress.is_empty() && evidence.is_empty() && updated.is_empty();
        if nothing || !self.writer.keeps {
            return None;
        }
        let (writer, now) = (self.writer.clone(), self.now);
        Some(move || {
            let of_evidence = evidence.iter().flat_map(|evidence| &evidence.progress);
            let additions = Additions {
                now,
                verified: progress.iter().chain(of_evidence).collect(),
                contacts: Vec::new(),
                rows: Vec::new(),
            };
            if let Err(error) = writer.write(&additions) {
                return not_kept(&error);
            }
            for (origin, files) in &updated {
                writer.cache(origin, files);
            }
            for evidence in &evidence {
                let files = evidence.unsaved.files();
                if let Some(files) = files.filter(|files| !files.is_empty()) {
                    writer.cache(&evidence.origin, &files);
                }
            }
        })
    }
}

impl Drop for Unkept {
    fn drop(&mut self) {
        if let Some(write) = self.take() {
            let write = OnDrop(Some(write));
            match Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn_blocking(move || drop(write))),
                Err(_) => drop(write),
            }
        }
    }
}

/// Work that is done when it is dropped: a runtime that shuts down drops a blocking task without
/// running it, and the floors must not go with it.
struct OnDrop<Work: FnOnce()>(Option<Work>);

impl<Work: FnOnce()> Drop for OnDrop<Work> {
    fn drop(&mut self) {
        if let Some(work) = self.0.take() {
            work();
        }
    }
}

impl Repositories {
    /// Nothing verified yet, at that time.
    pub(crate) fn unkept(&self, now: Timestamp) -> Unkept {
        Unkept {
            writer: self.writer.clone(),
            now,
            progress: Vec::new(),
            evidence: Vec::new(),
            updated: None,
            roots: None,
        }
    }

    /// Writes what a decision rests on and the rows that it adds: all of it or nothing. Only after
    /// this may the decision be a yes. Where nothing may be kept, it does nothing.
    ///
    /// # Errors
    /// The state is unusable, or what was verified contradicts what was seen.
    pub(crate) async fn keep(
        self: &Arc<Self>,
        fresh: Vec<Arc<Evidence>>,
        rows: Vec<(Digest, Row)>,
        now: Timestamp,
    ) -> Result<Committed, Refusal> {
        if !self.keeps() {
            return Ok(Committed::default());
        }
        let repositories = Arc::clone(self);
        let mut unkept = self.unkept(now);
        unkept.evidence = fresh;
        let write = move || repositories.write(&unkept.take_evidence(), rows, now);
        let written = tokio::task::spawn_blocking(write).await;
        written
            .map_err(|error| lost(&error))?
            .map_err(|error| error.refusal())
    }

    fn write(
        &self,
        fresh: &[Arc<Evidence>],
        rows: Vec<(Digest, Row)>,
        now: Timestamp,
    ) -> Result<Committed, StateError> {
        let contacts = fresh.iter().map(|evidence| {
            let MetadataOrigin { source, subject } = &evidence.origin;
            (source.as_str(), subject, evidence.contact)
        });
        let additions = Additions {
            now,
            verified: fresh
                .iter()
                .flat_map(|evidence| &evidence.progress)
                .collect(),
            contacts: contacts.collect(),
            rows,
        };
        // From the look at what is cached until the files have their names.
        let _merging = self.writer.merging();
        // The cache's files are written while the floors are: both wait for the disk.
        let (committed, drafts) = thread::scope(|scope| {
            let drafts = || {
                let drafts = fresh.iter().map(|evidence| self.draft(evidence));
                drafts.collect::<Vec<_>>()
            };
            let drafting = (!fresh.is_empty()).then(|| scope.spawn(drafts));
            let committed = self.writer.write(&additions);
            let drafts = drafting.and_then(|drafting| drafting.join().ok());
            (committed, drafts.unwrap_or_default())
        });
        let committed = committed?;
        for (evidence, drafts) in fresh.iter().zip(drafts) {
            saved(evidence, drafts);
        }
        Ok(committed)
    }

    /// Writes the files of evidence, without their names, which they get when its floors are safe
    /// ([`saved`]); signatures have none, and are cached at once. A cache that can't be written costs a
    /// fetch, never a decision.
    fn draft(&self, evidence: &Evidence) -> Option<Drafts> {
        let files = evidence.unsaved.files()?;
        if is_of_signatures(&evidence.origin) {
            self.writer.cache_soon(&evidence.origin, &files);
            return None;
        }
        let drafts = self.writer.draft(&evidence.origin, &files);
        let drafts = drafts.map_err(|error| not_cached(&evidence.origin.subject, &error));
        drafts.ok()?
    }
}

/// The floors of evidence are safe now; its files get their names.
fn saved(evidence: &Evidence, drafts: Option<Drafts>) {
    evidence.unsaved.clear();
    if let Some(Err(error)) = drafts.map(Drafts::keep) {
        not_cached(&evidence.origin.subject, &error);
    }
}

fn not_cached(subject: &Subject, error: &std::io::Error) {
    log::error!("cannot keep the metadata of {subject}: {error}");
}

fn not_kept(error: &dyn fmt::Display) {
    log::error!("what was verified for an unanswered question is not kept: {error}");
}

/// What a decision rests on could not be written.
pub(crate) fn lost(why: &dyn fmt::Display) -> Refusal {
    Refusal::new(
        Code::StateUnusable,
        format!("the decision cannot be kept: {why}"),
        "a state directory that can be written",
        "make room in it, or mount it writable: `rootpin status` names it, df shows what is free",
    )
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::mpsc;
    use std::time::Duration;

    use rootpin_policy::RootKind;
    use rootpin_trust::image::Repository;
    use rootpin_trust::{SignatureFile, SignedImage, cosign};

    use super::super::statement::{UnsavedFiles, Unseen};
    use super::*;
    use crate::evidence::signature_cache::read_cached;

    fn file(signatures: &[&str]) -> Vec<u8> {
        let one = |text: &&str| serde_json::json!({ "media-type": "application/cose", "bytes": text, "signature": null });
        let all: Vec<_> = signatures.iter().map(one).collect();
        serde_json::to_vec(&serde_json::json!({ "signatures": all })).unwrap()
    }

    #[test]
    fn signatures_that_two_questions_found_at_once_are_all_cached_whichever_is_written_last() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(dir.path()).unwrap());
        let cache = Cache::new(dir.path()).unwrap();
        let writer = FloorWriter::new(store, Some(cache.clone()), true);
        let origin = MetadataOrigin {
            source: "signatures for root own".to_owned(),
            subject: Subject::parse("r.example/app").unwrap(),
        };
        let name = format!("sha256-{}.json", "0".repeat(64));
        let other = format!("sha256-{}.json", "1".repeat(64));
        let (writer, of) = (&writer, &origin);
        let write = |name: &str, signatures: &[&str]| {
            let files = vec![(name.to_owned(), file(signatures))];
            writer.try_cache(of, &files).unwrap();
        };
        let cached = |name: &str| {
            let bytes = cache.read(&origin.source, &origin.subject, name, MAX_CACHED);
            let files = read_cached(&bytes.unwrap()).unwrap();
            let mut all: Vec<_> = files.into_iter().map(|file| file.bytes[0]).collect();
            all.sort_unstable();
            all
        };
        thread::scope(|scope| {
            for signature in ["AQ==", "Ag==", "Aw==", "BA=="] {
                let (write, name) = (&write, &name);
                scope.spawn(move || write(name, &[signature]));
            }
        });
        assert_eq!(cached(&name), [1, 2, 3, 4]);
        write(&other, &["CQ=="]);
        assert_eq!((cached(&name), cached(&other)), (vec![1, 2, 3, 4], vec![9]));
        // What is in both is there once, and a file of anything else is replaced.
        write(&name, &["AQ==", "BQ=="]);
        assert_eq!(cached(&name), [1, 2, 3, 4, 5]);
        writer
            .try_cache(&origin, &vec![("root.json".to_owned(), file(&["AQ=="]))])
            .unwrap();
        writer
            .try_cache(&origin, &vec![("root.json".to_owned(), file(&["Ag=="]))])
            .unwrap();
        assert_eq!(cached("root.json"), [2]);
    }

    /// Evidence of a signature of the fixtures, with files that are not written yet.
    fn unsaved_evidence() -> Arc<Evidence> {
        const KEY: &[u8] = include_bytes!("../../tests/data/signatures/keys/p256.pub");
        const BUNDLE: &[u8] = include_bytes!(
            "../../tests/data/signatures/bundle-p256/3158670dbbe02d9c5af0f225b970321160d6345834cc31cb63b3cb2a0155c5b6"
        );
        let now: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
        let text = "version = 1\ndefault = \"deny\"\n[[root]]\nid = \"own\"\ntype = \"cosign\"\nkeys = [\"roots/own.pub\"]\n[[rule]]\nmatch = \"r.example/**\"\nroots = [\"own\"]\ntags = \"unbound\"\n";
        let policy = BTreeMap::from([
            ("policy.toml".to_owned(), text.as_bytes().to_vec()),
            ("roots/own.pub".to_owned(), KEY.to_vec()),
        ]);
        let policy = rootpin_policy::load(&policy, now).unwrap();
        let RootKind::Cosign(pins) = &policy.roots["own"].kind else {
            panic!("not cosign")
        };
        let image = SignedImage {
            repository: &Repository::from_full("r.example/app").unwrap(),
            digest: "sha256:9c984d4f67b71c86923031219becb249a723192ea0dec396205a1b3324fe5c19"
                .parse()
                .unwrap(),
            tag: None,
            every_signer: false,
        };
        let signature = SignatureFile {
            media_type: cosign::BUNDLE.to_owned(),
            bytes: BUNDLE.into(),
            signature: None,
        };
        let outcome = cosign::verify(image, pins, &BTreeSet::new(), &[signature], Vec::new());
        let name = format!("sha256-{}.json", "0".repeat(64));
        Arc::new(Evidence {
            verified: Arc::new(outcome.result.unwrap()),
            progress: Vec::new(),
            origin: MetadataOrigin {
                source: "signatures for root own".to_owned(),
                subject: Subject::parse("r.example/app").unwrap(),
            },
            contact: now,
            asked: Mutex::new(now),
            valid_until: Timestamp::MAX,
            unseen: Unseen::default(),
            is_partly_at_hand: false,
            unsaved: UnsavedFiles::new(Some(vec![(name, file(&["AQ=="]))])),
        })
    }

    #[test]
    fn an_unanswered_question_that_is_kept_while_a_decision_is_written_holds_neither_up() {
        const ROUNDS: usize = 100;
        let (done, rounds) = mpsc::channel();
        // Threads that wait for each other never end: they are left behind.
        thread::spawn(move || {
            let dir = tempfile::tempdir().unwrap();
            let store = Arc::new(Store::open(dir.path()).unwrap());
            let cache = Cache::new(dir.path()).unwrap();
            let writer = FloorWriter::new(store, Some(cache), true);
            for _ in 0..ROUNDS {
                let evidence = unsaved_evidence();
                let mut unkept = Unkept {
                    writer: writer.clone(),
                    now: evidence.contact,
                    progress: Vec::new(),
                    evidence: vec![Arc::clone(&evidence)],
                    updated: None,
                    roots: None,
                };
                let keeping = thread::spawn(unkept.take().unwrap());
                // A decision that is written locks in this order.
                while !keeping.is_finished() {
                    let merging = writer.merging();
                    assert!(evidence.is_unsaved());
                    drop(merging);
                    thread::yield_now();
                }
                done.send(()).unwrap();
            }
        });
        for round in 0..ROUNDS {
            let ended = rounds.recv_timeout(Duration::from_secs(60));
            assert_eq!(ended, Ok(()), "round {round}");
        }
    }
}

//! A host that asks as a daemon does: the judge says what it has to hear, updates and searches are
//! driven with what the network shows, floors are merged, verified files are cached.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use rootpin_policy::judge::{Heard, Judge, Judgement, Need, Question, Statement, Step};
use rootpin_policy::{Policy, Root, RootKind, TufRoot};
use rootpin_trust::image::{Digest, ImageRef, Repository};
use rootpin_trust::notary::GunUpdate;
use rootpin_trust::tuf::{Search, Trusted, Update};
use rootpin_trust::{
    Answer, Code, Collection, Floor, KeyId, Progress, Refusal, SignedImage, Subject, Verification,
    Verified, cosign, notation, tuf,
};

use crate::history::Files;
use crate::look::{Failure, Look, Network, View};
use crate::signatures;

/// What a host keeps.
#[derive(Clone, Default)]
pub(crate) struct Host {
    pub(crate) floors: BTreeMap<String, Vec<Floor>>,
    pub(crate) caches: BTreeMap<String, Files>,
    /// The signed bytes that were seen of each repository, and the keys that signed for it.
    statements: BTreeMap<String, (BTreeSet<Digest>, BTreeSet<KeyId>)>,
    /// In memory: what the last updates ended with, the newest first.
    trusted: BTreeMap<String, Vec<Trusted>>,
}

/// One question's answer, and all that is to be kept before it may be told.
pub(crate) struct Asked {
    pub(crate) judgement: Judgement,
    progress: Vec<Verified<Progress>>,
    files: Vec<(String, String, Vec<u8>)>,
    trusted: Vec<(String, Vec<Trusted>)>,
    /// What roots said, whether or not it was what the question was about.
    pub(crate) said: Vec<Said>,
    /// Files that were asked for, and the bytes that came, of the costliest look.
    pub(crate) fetched: usize,
    pub(crate) bytes: usize,
}

/// One root's verified statement: the role that answered, all versions, and what the name stands for.
pub(crate) struct Said {
    pub(crate) root: String,
    pub(crate) role: String,
    pub(crate) versions: BTreeMap<String, u64>,
    pub(crate) digest: Option<Digest>,
}

impl Asked {
    /// Runs a verification. What it verified is to be kept, whatever comes of it.
    fn run<V: Verification>(
        &mut self,
        look: &mut Look<'_>,
        verification: &mut V,
    ) -> Result<V::Outcome, Failure> {
        let result = verification.run(|want| look.fetch(want));
        let progress = verification.progress();
        let own = |progress: &Verified<Progress>| look.host.is_own(progress.get());
        let progress = progress.filter(|progress| result.is_ok() || own(progress));
        self.progress.extend(progress);
        // What broke off is no set of files that holds. Its roots are links of the chain all the same.
        let mut files = verification.files();
        if result.is_err() {
            files.retain(|(name, _)| name.ends_with(".root.json"));
            look.roots.extend(files.iter().cloned());
        }
        let files = files.into_iter();
        self.files
            .extend(files.map(|(name, bytes)| (look.source.to_owned(), name, bytes)));
        self.fetched = self.fetched.max(look.fetched);
        self.bytes = self.bytes.max(look.bytes);
        result
    }

    fn floors(&self, look: &Look<'_>) -> Result<Vec<Floor>, Refusal> {
        let subject = look.subject.to_string();
        let mut floors = look.host.floors.get(&subject).cloned().unwrap_or_default();
        for progress in self
            .progress
            .iter()
            .filter(|progress| progress.get().subject == look.subject)
        {
            floors = progress.get().merge_into(&floors)?;
        }
        Ok(floors)
    }
}

impl Host {
    /// A process that begins anew.
    pub(crate) fn restart(&mut self) {
        self.trusted.clear();
    }

    /// The same, without the files that it had verified.
    pub(crate) fn lose_cache(&mut self) {
        self.restart();
        self.caches.clear();
    }

    /// Whether what an update that broke off showed is no other repository's.
    fn is_own(&self, progress: &Progress) -> bool {
        let subject = progress.subject.to_string();
        let others = self.floors.iter().filter(|(other, _)| **other != subject);
        let others: Vec<&Floor> = others.flat_map(|(_, floors)| floors).collect();
        self.no_replay(progress)
            && !progress.floors.iter().any(|floor| {
                others.iter().any(|other| {
                    other.role == floor.role
                        && other.signed == floor.signed
                        && !other.keys.is_disjoint(&floor.keys)
                })
            })
    }

    fn no_replay(&self, progress: &Progress) -> bool {
        let subject = progress.subject.to_string();
        let mut others = self
            .statements
            .iter()
            .filter(|(other, (_, signers))| {
                **other != subject && !signers.is_disjoint(&progress.signers)
            })
            .map(|(_, (statements, _))| statements);
        others.all(|seen| {
            let mut own = progress.statements.iter();
            own.all(|statement| !seen.contains(statement))
        })
    }

    /// The judge's answer about a name and bytes. Nothing is kept yet.
    pub(crate) fn ask(
        &self,
        policy: &Policy,
        network: &Network,
        (name, digest): (&ImageRef, Digest),
        now: Timestamp,
    ) -> Asked {
        let mut judge = Judge::start(policy, Question::pull(name.clone(), digest), now, None);
        let nothing = Judge::start(policy, Question::default(), now, None).next(None);
        let Step::Done(nothing) = nothing else {
            panic!("a question without names asks for something")
        };
        let mut asked = Asked {
            judgement: nothing,
            progress: Vec::new(),
            files: Vec::new(),
            trusted: Vec::new(),
            said: Vec::new(),
            fetched: 0,
            bytes: 0,
        };
        let mut heard = None;
        loop {
            match judge.next(heard.take()) {
                Step::Done(judgement) => {
                    asked.judgement = judgement;
                    return asked;
                }
                Step::Ask(ask) => {
                    let Need::Root(root, repository, question) = ask.need else {
                        panic!("no tag is resolved here")
                    };
                    let statement = self.statement(
                        policy,
                        network,
                        &root,
                        (&repository, &question),
                        &mut asked,
                        now,
                    );
                    asked.said.extend(
                        statement
                            .as_ref()
                            .ok()
                            .map(|statement| said(&root, name, statement)),
                    );
                    let refusal = |failure| match failure {
                        Failure::No(refusal) => refusal,
                        Failure::Silent => {
                            Refusal::new(Code::SourceUnreachable, "no answer", "one", "wait")
                        }
                    };
                    heard = Some(Heard::Root(statement.map_err(refusal)));
                }
            }
        }
    }

    fn statement(
        &self,
        policy: &Policy,
        network: &Network,
        root: &Root,
        about: (&Repository, &tuf::Question),
        asked: &mut Asked,
        now: Timestamp,
    ) -> Result<Statement, Failure> {
        let empty = View::default();
        let (source, subject) = match &root.kind {
            RootKind::Tuf(_) => (root.id.clone(), Subject::Tuf),
            RootKind::Notary(_) => (
                format!("{} {}", root.id, about.0),
                Subject::Gun(about.0.clone()),
            ),
            RootKind::Cosign(_) | RootKind::Notation(_) => {
                let view = network.get(&root.id).unwrap_or(&empty);
                let verified = of_signatures(view, policy, root, about, now)?;
                return Ok(statement(verified, now));
            }
        };
        let look = &mut Look {
            host: self,
            view: network.get(&source).unwrap_or(&empty),
            source: &source,
            subject,
            offline: false,
            roots: Files::new(),
            fetched: 0,
            bytes: 0,
        };
        let verified = match &root.kind {
            RootKind::Tuf(tuf) => {
                let pins = tuf.pins(root, policy.revoked_keys());
                Self::of_tuf(look, tuf, &pins, about, asked, now)?
            }
            RootKind::Notary(notary) => {
                let pins = notary.pins(root, policy.revoked_keys());
                let online = Self::of_notary(look, about.0, &pins, asked, now);
                match online {
                    Err(Failure::Silent) => {}
                    Err(Failure::No(refusal)) if refusal.source_behind => {}
                    online => return online.map(|verified| statement(verified, now)),
                }
                look.offline = true;
                Self::of_notary(look, about.0, &pins, asked, now)?
            }
            RootKind::Cosign(_) | RootKind::Notation(_) => return Err(Failure::Silent),
        };
        Ok(statement(verified, now))
    }

    fn of_notary(
        look: &mut Look<'_>,
        gun: &Repository,
        pins: &rootpin_trust::notary::KeyPins,
        asked: &mut Asked,
        now: Timestamp,
    ) -> Result<Verified<Collection>, Failure> {
        let floors = asked.floors(look)?;
        let mut update = GunUpdate::start(gun, pins, floors, now);
        let collection = asked.run(look, &mut update)?;
        let last = asked.progress.last().map(Verified::get);
        if last.is_some_and(|progress| !look.host.no_replay(progress)) {
            asked.progress.pop();
            let refusal = Refusal::new(Code::Rollback, "another repository's", "its own", "ask");
            return Err(refusal.into());
        }
        Ok(collection)
    }

    fn of_tuf(
        look: &mut Look<'_>,
        root: &TufRoot,
        pins: &tuf::RootPins,
        about: (&Repository, &tuf::Question),
        asked: &mut Asked,
        now: Timestamp,
    ) -> Result<Verified<Collection>, Failure> {
        let known = look
            .host
            .trusted
            .get(look.source)
            .cloned()
            .unwrap_or_default();
        let update = |look: &mut Look<'_>, asked: &mut Asked| {
            let floors = asked.floors(look)?;
            let mut update = Update::start(pins, floors, known.first().cloned(), now);
            asked.run(look, &mut update)
        };
        let says_less = |failure: &Failure| match failure {
            Failure::Silent => true,
            Failure::No(refusal) => refusal.source_behind,
        };
        let newest = match update(look, asked) {
            Ok(trusted) => trusted,
            Err(failure) if says_less(&failure) => {
                look.offline = true;
                let cached = update(look, asked);
                look.offline = false;
                match cached {
                    Ok(trusted) => trusted,
                    Err(of_cache) if says_less(&of_cache) => {
                        let last = known.get(..1).unwrap_or_default();
                        return Self::earlier(look, None, last, about, asked, now)
                            .map_err(|_| failure);
                    }
                    Err(of_cache) => {
                        let is_silent = matches!(failure, Failure::Silent);
                        return Err(if is_silent { of_cache } else { failure });
                    }
                }
            }
            Err(failure) => return Err(failure),
        };
        let mut all = vec![newest.clone()];
        all.extend(known);
        all.truncate(4);
        let _ = root;
        let mut search = Search::start(&newest, about.0, about.1, now);
        let found = asked.run(look, &mut search);
        match found {
            Ok(found) => {
                all[0] = found.trusted;
                asked.trusted.push((look.source.to_owned(), all));
                Ok(found.collection)
            }
            Err(failure) => {
                let earlier = match &failure {
                    Failure::No(refusal) if refusal.source_behind => {
                        Self::earlier(look, Some(&newest), &all[1..], about, asked, now).ok()
                    }
                    _ => None,
                };
                asked.trusted.push((look.source.to_owned(), all));
                earlier.ok_or(failure)
            }
        }
    }

    /// The answer of what was verified earlier, as far as nothing newer was verified.
    fn earlier(
        look: &mut Look<'_>,
        newest: Option<&Trusted>,
        known: &[Trusted],
        about: (&Repository, &tuf::Question),
        asked: &mut Asked,
        now: Timestamp,
    ) -> Result<Verified<Collection>, Failure> {
        let subject = look.subject.to_string();
        let mut seen = look.host.floors.get(&subject).cloned().unwrap_or_default();
        let raised = asked
            .progress
            .iter()
            .filter(|progress| progress.get().subject == look.subject);
        seen.extend(raised.flat_map(|progress| progress.get().floors.clone()));
        look.offline = true;
        for trusted in known.iter().filter(|trusted| now < trusted.expires()) {
            let search = Search::earlier(trusted, newest, &seen, about, now);
            if let Ok(found) = search.and_then(|mut search| {
                search.run(|want| Ok::<_, Refusal>(look.fetch(want).unwrap_or(Answer::Missing)))
            }) {
                return Ok(found.collection);
            }
        }
        Err(Failure::Silent)
    }

    /// Keeps what a question verified: all of it, or nothing, and then the answer is no.
    pub(crate) fn keep(&mut self, asked: &mut Asked) -> bool {
        let mut floors = self.floors.clone();
        for progress in &asked.progress {
            let progress = progress.get();
            let subject = progress.subject.to_string();
            let known = floors.get(&subject).cloned().unwrap_or_default();
            let Ok(merged) = progress.merge_into(&known) else {
                return false;
            };
            if !self.no_replay(progress) {
                return false;
            }
            floors.insert(subject.clone(), merged);
            let (statements, signers) = self.statements.entry(subject).or_default();
            statements.extend(&progress.statements);
            signers.extend(&progress.signers);
        }
        self.floors = floors;
        for (source, name, bytes) in asked.files.drain(..) {
            self.caches.entry(source).or_default().insert(name, bytes);
        }
        self.trusted.extend(asked.trusted.drain(..));
        true
    }
}

/// What the signatures beside an image come to. Nothing of them is kept.
fn of_signatures(
    view: &View,
    policy: &Policy,
    root: &Root,
    (repository, question): (&Repository, &tuf::Question),
    now: Timestamp,
) -> Result<Verified<Collection>, Failure> {
    let tuf::Question::Image { digest, tag, .. } = question else {
        panic!("a root without tags is asked about an image")
    };
    if view.is_cut_off || !view.silent.is_empty() {
        return Err(Failure::Silent);
    }
    if !view.denied.is_empty() {
        return Err(Failure::denied());
    }
    let (files, revoked) = (signatures::found(&view.files), policy.revoked_keys());
    let image = SignedImage {
        repository,
        digest: *digest,
        tag: tag.as_ref(),
        every_signer: false,
    };
    let outcome = match &root.kind {
        RootKind::Cosign(pins) => cosign::verify(image, pins, revoked, &files, Vec::new()),
        RootKind::Notation(pins) => {
            notation::verify(image, pins, (revoked, now), &files, Vec::new())
        }
        RootKind::Tuf(_) | RootKind::Notary(_) => panic!("it lists tags"),
    };
    Ok(outcome.result?)
}

fn statement(verified: Verified<Collection>, now: Timestamp) -> Statement {
    let valid_until = verified.get().expires;
    Statement {
        verified: Arc::new(verified),
        contact: now,
        valid_until,
        at_hand: false,
        unseen: None,
        cut: String::new(),
        age: String::new(),
    }
}

fn said(root: &Root, name: &ImageRef, statement: &Statement) -> Said {
    let collection = statement.verified.get();
    let tag = name.tag.as_ref().map_or("", |tag| tag.as_str());
    Said {
        root: root.id.clone(),
        role: collection.role.clone(),
        versions: collection.versions.clone(),
        digest: collection.targets.get(tag).map(|target| target.digest),
    }
}

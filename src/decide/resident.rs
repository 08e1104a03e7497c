//! Images that are here already: the bytes once, with every name that stands for them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use jiff::Timestamp;

use super::denied::no_word;
use super::judge::{Judge, Subject};
use super::question::{Door, ToldBy};
use super::{Decider, Decision, Denial, Judged, Verdict};
use rootpin_policy::{Mode, SweepAction};
use rootpin_trust::Code;
use rootpin_trust::image::{Digest, ImageRef, Repository, host_name};

/// One image of an engine, in one namespace.
#[derive(Debug, Clone)]
pub struct Resident {
    /// The engine's name in rootpin.toml.
    pub engine: String,
    /// containerd's namespace; for a dockerd the one that it would be.
    pub namespace: String,
    /// Every name, with the digest that it stands for.
    pub names: Vec<Named>,
    /// What is known of the bytes, where it was looked up.
    pub bytes: Option<Bytes>,
}

/// A name that an engine has for an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// As the engine has it.
    pub record: String,
    /// Read; none for an ID, and for what is no name.
    pub name: Option<ImageRef>,
    /// What it stands for.
    pub digest: Digest,
}

/// What an engine holds of an image beside its names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bytes {
    /// The platforms' manifests that are here.
    pub manifests: Vec<Digest>,
    /// Their configurations.
    pub configs: Vec<Digest>,
    /// All that they are made of: indexes, manifests, configurations and layers.
    pub contents: Vec<Digest>,
    /// Registry host without port and repository, from wherever the bytes were fetched; `None`: not
    /// looked up. Both are empty where bytes were fetched and nothing says from where.
    pub sources: Option<Vec<(String, String)>>,
}

/// What came of one name.
#[derive(Debug)]
pub struct Standing {
    /// The judgement.
    pub verdict: Verdict,
    /// On whose word it rests.
    pub word: Word,
    /// Whether the policy wants such a name gone.
    pub removes: bool,
    /// Whether what the image is made of, or where it came from, may make a yes of a no.
    pub by_bytes: bool,
}

/// On whose word a judgement rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// The policy's alone.
    Policy,
    /// Roots were asked, and all metadata that holds is as fresh as the policy wants it.
    Roots,
    /// Roots were asked, and for one of them there was none: a source's failure, an unsigned
    /// answer, or what was cached.
    Doubtful,
}

impl Word {
    fn weaker(self, other: Self) -> Self {
        match (self, other) {
            (Self::Doubtful, _) | (_, Self::Doubtful) => Self::Doubtful,
            (Self::Roots, _) | (_, Self::Roots) => Self::Roots,
            (Self::Policy, Self::Policy) => Self::Policy,
        }
    }
}

/// On what an answer rests.
#[derive(Debug, Default)]
pub(super) struct Rests {
    asked: AtomicBool,
    doubted: AtomicBool,
}

/// What came of an image's names with a tag.
struct Tagged {
    admitted: bool,
    unjudged: Option<Denial>,
    /// The weakest of theirs.
    word: Word,
}

impl Tagged {
    fn add(&mut self, decision: &Decision, word: Word) {
        self.word = self.word.weaker(word);
        match decision.denial() {
            None => self.admitted = true,
            Some(denial) if !denial.refusal.code.judged() => self.unjudged = Some(denial.clone()),
            Some(_) => {}
        }
    }

    /// What that makes of a name without one; `None`: nothing is to be said of it.
    fn over(&self, judged: Judged) -> Option<Judged> {
        match &judged.result {
            Err(denial) if denial.refusal.code == Code::Revoked => Some(judged),
            Err(_) if self.admitted => None,
            // They may yet be admitted under a name, and then this one would be, too.
            Err(_) => Some(match &self.unjudged {
                Some(unjudged) => Judged {
                    result: Err(unjudged.clone()),
                    mode: judged.mode,
                },
                None => judged,
            }),
            Ok(_) => Some(judged),
        }
    }
}

impl Rests {
    /// A root was asked, and its word is as fresh as it should be, or not.
    pub(super) fn on_root(&self, fresh: bool) {
        self.asked.store(true, Ordering::Relaxed);
        self.doubted.fetch_or(!fresh, Ordering::Relaxed);
    }

    /// Whose word it is; for the next answer nothing is known.
    fn take(&self) -> Word {
        match (
            self.asked.swap(false, Ordering::Relaxed),
            self.doubted.swap(false, Ordering::Relaxed),
        ) {
            (false, _) => Word::Policy,
            (true, false) => Word::Roots,
            (true, true) => Word::Doubtful,
        }
    }
}

impl Standing {
    /// Whether the name is let be: admitted, whatever the mode.
    #[must_use]
    pub fn is_admitted(&self) -> bool {
        self.verdict.decision.denial().is_none()
    }

    /// Whether roots were asked, so that newer metadata may say otherwise.
    #[must_use]
    pub fn rests_on_roots(&self) -> bool {
        self.word != Word::Policy
    }

    /// Whether the name could be taken from the engine on this no: enforced, judged, and firm.
    #[must_use]
    pub fn is_removable(&self) -> bool {
        match &self.verdict.decision {
            Decision::Deny(denial) => self.word != Word::Doubtful && denial.refusal.code.judged(),
            Decision::Allow(_) | Decision::LetThrough(_) => false,
        }
    }

    /// Whether a no is to be told before sources were asked: all but what newer metadata mends
    /// every day.
    #[must_use]
    pub fn is_told_at_once(&self) -> bool {
        let code = self
            .verdict
            .decision
            .denial()
            .map(|denial| denial.refusal.code);
        !self.rests_on_roots()
            || matches!(
                code,
                Some(Code::Revoked | Code::BadSignature | Code::RootNotPinned)
            )
    }
}

impl Decider {
    /// What the policy says of each name of an image. `None`: it is a name for bytes that are
    /// admitted under another one here, and says no more than which bytes (CRI writes two such
    /// records for each image that it pulls); or it is of a proof that runs, which takes away what
    /// it brought in.
    pub async fn resident(&self, image: &Resident, now: Timestamp) -> Vec<Option<Standing>> {
        let begun = Instant::now();
        if self
            .proving
            .is_of_names(image.names.iter().filter_map(|named| named.name.as_ref()))
        {
            return image.names.iter().map(|_| None).collect();
        }
        let policy = match self.policy() {
            Ok(policy) => policy,
            Err(refusal) => {
                let denial = Denial {
                    refusal,
                    rule: None,
                    roots: Vec::new(),
                };
                let told = |named: &Named| {
                    standing(
                        verdict(image, named, Decision::Deny(denial.clone()), now, begun),
                        Word::Doubtful,
                        (false, false),
                    )
                };
                return image.names.iter().map(|named| Some(told(named))).collect();
            }
        };
        let judge = self.judge(&policy, now, begun);
        let removes = policy.sweep == SweepAction::Remove;
        let mut standings: Vec<Option<Standing>> = image.names.iter().map(|_| None).collect();
        let mut tagged = Tagged {
            admitted: false,
            unjudged: None,
            word: Word::Policy,
        };
        // Those with a tag are claims, which hold or don't.
        for (named, place) in image
            .names
            .iter()
            .zip(&mut standings)
            .filter(|(named, _)| named.has_tag())
        {
            let judged = judge.resident(image, named).await;
            let word = judge.rests.take();
            let decision = self.conclude(&judge, judged, None, &[]).await;
            tagged.add(&decision, word);
            let by_bytes = judge.bytes_matter(image, named);
            *place = Some(standing(
                verdict(image, named, decision, now, begun),
                word,
                (removes, by_bytes),
            ));
        }
        // The others only say which bytes: they stand and fall with those.
        for (named, place) in image
            .names
            .iter()
            .zip(&mut standings)
            .filter(|(named, _)| !named.has_tag())
        {
            let judged = judge.resident(image, named).await;
            let word = judge.rests.take().weaker(tagged.word);
            let Some(judged) = tagged.over(judged) else {
                continue;
            };
            let decision = self.conclude(&judge, judged, None, &[]).await;
            let by_bytes = judge.bytes_matter(image, named);
            *place = Some(standing(
                verdict(image, named, decision, now, begun),
                word,
                (removes, by_bytes),
            ));
        }
        standings
    }

    /// Whether bytes are revoked by their digests, so that what an image is made of has to be known
    /// of each.
    #[must_use]
    pub fn revokes_digests(&self) -> bool {
        self.policy().is_ok_and(|policy| policy.revokes_digests())
    }
}

impl Judge<'_> {
    /// One name against the image's bytes.
    async fn resident(&self, image: &Resident, named: &Named) -> Judged {
        let bytes = image.bytes.clone().unwrap_or_default();
        let mode = named.name.as_ref().map_or_else(
            || self.policy.strictest_mode(),
            |name| self.policy.mode_for(&name.repository),
        );
        let digests: Vec<Digest> = [named.digest]
            .into_iter()
            .chain(bytes.manifests.iter().chain(&bytes.contents).copied())
            .collect();
        if let Some(denial) = self.revoked(&digests) {
            return Judged::from(Err((denial, mode)));
        }
        let asked: Vec<(ImageRef, ToldBy)> = match &named.name {
            // A name that a registry was asked for has left its mark; an archive gives itself any
            // name.
            Some(name) if is_fetched(name, bytes.sources.as_deref()) => {
                vec![(name.clone(), ToldBy::Source)]
            }
            Some(name) => vec![(name.clone(), ToldBy::Record)],
            None => self
                .sources(bytes.sources.as_deref().unwrap_or_default())
                .map(|name| (name, ToldBy::Source))
                .collect(),
        };
        let mut refused: Option<(Denial, Mode)> = None;
        for (name, told_by) in &asked {
            // The index itself, and each platform under it: an entry of the policy may list either.
            let manifests = bytes
                .manifests
                .iter()
                .copied()
                .filter(|manifest| *manifest != named.digest)
                .map(Some);
            for manifest in [None].into_iter().chain(manifests) {
                match self
                    .name(&Subject {
                        name,
                        told_by: *told_by,
                        top: named.digest,
                        manifest,
                    })
                    .await
                {
                    Ok(admission) => return Judged::from(Ok(admission)),
                    Err(no) => {
                        let policy_s = no.0.roots.is_empty();
                        refused.get_or_insert(no);
                        // What roots say is said of the top.
                        if !policy_s {
                            break;
                        }
                    }
                }
            }
        }
        let uncovered = refused
            .as_ref()
            .is_none_or(|(denial, _)| denial.refusal.code == Code::NoRule);
        if uncovered && bytes.sources.as_ref().is_some_and(Vec::is_empty) {
            let local = self.local_bytes(
                &image.namespace,
                format!(
                    "{} in namespace {}, of no image that has a known name or source",
                    named.digest, image.namespace
                ),
            );
            if local.is_ok() || refused.is_none() {
                return Judged::from(local);
            }
        }
        Judged::from(Err(
            refused.unwrap_or_else(|| (no_word(&named.digest, &image.namespace), mode))
        ))
    }

    /// Whether the policy looks at more of this name's image than the digest that it stands for.
    fn bytes_matter(&self, image: &Resident, named: &Named) -> bool {
        let listed = |name: &ImageRef| {
            let policy = self.policy;
            policy.exempts_for(&name.repository).next().is_some()
                || policy
                    .images()
                    .any(|bound| bound.repository == name.repository)
        };
        self.policy.local.allows(&image.namespace) || named.name.as_ref().is_none_or(listed)
    }

    /// Repositories that bytes were fetched from, as far as the policy names such registries: the
    /// labels have no port.
    fn sources<'a>(
        &'a self,
        sources: &'a [(String, String)],
    ) -> impl Iterator<Item = ImageRef> + 'a {
        sources.iter().flat_map(|(host, path)| {
            let registries = self
                .policy
                .hosts()
                .into_iter()
                .filter(move |known| host_name(known) == host);
            registries.filter_map(move |registry| {
                let repository = Repository::from_full(&format!("{registry}/{path}")).ok()?;
                Some(ImageRef {
                    repository,
                    tag: None,
                    digest: None,
                })
            })
        })
    }
}

/// Whether bytes of these sources were fetched from the name's repository.
fn is_fetched(name: &ImageRef, sources: Option<&[(String, String)]>) -> bool {
    let own = (host_name(name.repository.host()), name.repository.path());
    sources
        .unwrap_or_default()
        .iter()
        .any(|(host, path)| (host.as_str(), path.as_str()) == own)
}

impl Named {
    fn has_tag(&self) -> bool {
        self.name.as_ref().is_some_and(|name| name.tag.is_some())
    }
}

fn standing(verdict: Verdict, word: Word, (removes, by_bytes): (bool, bool)) -> Standing {
    let no = verdict.decision.denial().map(|denial| denial.refusal.code);
    let by_bytes = by_bytes && no.is_some_and(|code| code != Code::Revoked && code.judged());
    Standing {
        verdict,
        word,
        removes,
        by_bytes,
    }
}

fn verdict(
    image: &Resident,
    named: &Named,
    decision: Decision,
    now: Timestamp,
    begun: Instant,
) -> Verdict {
    Verdict {
        decision,
        door: Door::Sweep,
        engine: Some(image.engine.clone()),
        namespaces: vec![image.namespace.clone()],
        name: named.name.clone(),
        digest: Some(named.digest),
        layer: None,
        at: now,
        took: begun.elapsed(),
    }
}

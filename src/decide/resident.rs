//! Images that are here already: the bytes once, with every name that stands for them.

use std::time::Instant;

use jiff::Timestamp;

use super::question::Door;
use super::{Decider, Decision, Verdict};
use crate::sources::is_of_host;
use rootpin_policy::judge::{
    Action, Basis, Denial, Judgement, NameSource, NamedBytes, Origin, Question,
};
use rootpin_policy::{Policy, SweepAction};
use rootpin_trust::Code;
use rootpin_trust::image::{Digest, ImageRef, Repository};

/// One image of an engine, in one namespace.
#[derive(Debug, Clone)]
pub struct ResidentImage {
    /// The engine's name in rootpin.toml.
    pub engine: String,
    /// containerd's namespace; for a dockerd the one that it would be.
    pub namespace: String,
    /// Every name, with the digest that it stands for.
    pub names: Vec<ImageName>,
    /// What is known of the bytes, where it was looked up.
    pub bytes: Option<ImageContents>,
}

/// A name that an engine has for an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageName {
    /// As the engine has it.
    pub record: String,
    /// Read; none for an ID, and for what is no name.
    pub name: Option<ImageRef>,
    /// What it stands for.
    pub digest: Digest,
}

/// What an engine holds of an image beside its names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageContents {
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
pub struct NameStanding {
    /// The judgement.
    pub verdict: Verdict,
    /// What it rests on.
    pub(crate) basis: Basis,
    /// Whether the policy wants such a name gone.
    pub(crate) removes: bool,
    /// Whether what the image is made of, or where it came from, may make a yes of a no.
    pub by_bytes: bool,
}

/// What came of an image's names with a tag.
struct Tagged {
    admitted: bool,
    unjudged: Option<Denial>,
    /// The weakest of theirs.
    basis: Basis,
}

impl Tagged {
    fn add(&mut self, decision: &Decision, basis: Basis) {
        self.basis = self.basis.max(basis);
        match decision.denial() {
            None => self.admitted = true,
            Some(denial) if !denial.refusal.code.judged() => self.unjudged = Some(denial.clone()),
            Some(_) => {}
        }
    }

    /// What that makes of a name without one; `None`: nothing is to be said of it.
    fn over(&self, judgement: Judgement) -> Option<Judgement> {
        match &judgement.result {
            Err(denial) if denial.refusal.code == Code::Revoked => Some(judgement),
            Err(_) if self.admitted => None,
            // They may yet be admitted under a name, and then this one would be, too.
            Err(_) => Some(match &self.unjudged {
                Some(unjudged) => Judgement {
                    result: Err(unjudged.clone()),
                    ..judgement
                },
                None => judgement,
            }),
            Ok(_) => Some(judgement),
        }
    }
}

impl NameStanding {
    /// Whether the name is let be: admitted, whatever the mode.
    #[must_use]
    pub(crate) fn is_admitted(&self) -> bool {
        self.verdict.decision.denial().is_none()
    }

    /// Whether roots were asked, so that newer metadata may say otherwise.
    #[must_use]
    pub(crate) fn rests_on_roots(&self) -> bool {
        self.basis != Basis::Policy
    }

    /// Whether the name could be taken from the engine on this no: enforced, judged, and firm.
    #[must_use]
    pub(crate) fn is_removable(&self) -> bool {
        match &self.verdict.decision {
            Decision::Deny(denial) => self.basis != Basis::Doubtful && denial.refusal.code.judged(),
            Decision::Allow(_) | Decision::LetThrough(..) => false,
        }
    }

    /// Whether a no is to be told before sources were asked: all but what newer metadata mends
    /// every day.
    #[must_use]
    pub(crate) fn is_told_at_once(&self) -> bool {
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
    pub async fn resident(
        &self,
        image: &ResidentImage,
        now: Timestamp,
    ) -> Vec<Option<NameStanding>> {
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
                let denial = Denial::plain(refusal);
                let told = |named: &ImageName| NameStanding {
                    verdict: verdict(image, named, Decision::Deny(denial.clone()), now, begun),
                    basis: Basis::Doubtful,
                    removes: false,
                    by_bytes: false,
                };
                return image.names.iter().map(|named| Some(told(named))).collect();
            }
        };
        let mut standings: Vec<Option<NameStanding>> = image.names.iter().map(|_| None).collect();
        let mut tagged = Tagged {
            admitted: false,
            unjudged: None,
            basis: Basis::Policy,
        };
        let mut session = self.session(&policy, now, begun);
        // Those with a tag are claims, which hold or don't. The others only say which bytes: they
        // stand and fall with those.
        for has_tag in [true, false] {
            let of_kind = image.names.iter().zip(&mut standings);
            for (named, standing) in of_kind.filter(|(named, _)| named.has_tag() == has_tag) {
                let judgement = session.judge(question(&policy, image, named)).await;
                let fresh = session.fresh_evidence();
                let (judgement, basis) = if has_tag {
                    let basis = judgement.basis;
                    (judgement, basis)
                } else {
                    let basis = judgement.basis.max(tagged.basis);
                    if let Some(judgement) = tagged.over(judgement) {
                        (judgement, basis)
                    } else {
                        self.keep_of_no(fresh, now).await;
                        continue;
                    }
                };
                let decision = self.concluded(&session, fresh, judgement, None, &[]).await;
                if has_tag {
                    tagged.add(&decision, basis);
                }
                let no = decision.denial().map(|denial| denial.refusal.code);
                *standing = Some(NameStanding {
                    by_bytes: no.is_some_and(|code| code != Code::Revoked)
                        && (session.asks_for_origin() || bytes_matter(&policy, image, named)),
                    verdict: verdict(image, named, decision, now, begun),
                    basis,
                    removes: policy.sweep == SweepAction::Remove,
                });
            }
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

/// The judge's question about one name of the image.
fn question(policy: &Policy, image: &ResidentImage, named: &ImageName) -> Question {
    let bytes = image.bytes.clone().unwrap_or_default();
    let named_as = |name: ImageRef, source| NamedBytes {
        name,
        source,
        top: named.digest,
        manifests: bytes.manifests.clone(),
        contents: Vec::new(),
    };
    let asked = match &named.name {
        // A name that a registry was asked for has left its mark; an archive gives itself any name.
        Some(name) if is_fetched(name, bytes.sources.as_deref()) => {
            vec![named_as(name.clone(), NameSource::Source)]
        }
        Some(name) => vec![named_as(name.clone(), NameSource::Record)],
        None => sources(policy, bytes.sources.as_deref().unwrap_or_default())
            .map(|name| named_as(name, NameSource::Source))
            .collect(),
    };
    let parts = bytes.manifests.iter().chain(&bytes.contents);
    Question {
        names: asked,
        bytes: [named.digest].iter().chain(parts).copied().collect(),
        origin: match &bytes.sources {
            None => Origin::Unknown,
            Some(sources) if sources.is_empty() => Origin::Local,
            Some(_) => Origin::Registry,
        },
        ..Question::of(
            Action::Resident,
            named.digest.to_string(),
            image.namespace.clone(),
        )
    }
}

/// Whether the policy looks at more of this name's image than the digest that it stands for.
fn bytes_matter(policy: &Policy, image: &ResidentImage, named: &ImageName) -> bool {
    let listed = |name: &ImageRef| {
        policy.exempts_for(&name.repository).next().is_some()
            || policy.images_of(&name.repository).next().is_some()
    };
    policy.local.allows(&image.namespace) || named.name.as_ref().is_none_or(listed)
}

/// Repositories that bytes were fetched from, as far as the policy names such registries: the
/// labels have no port.
fn sources<'a>(
    policy: &'a Policy,
    sources: &'a [(String, String)],
) -> impl Iterator<Item = ImageRef> + 'a {
    sources.iter().flat_map(|(host, path)| {
        let registries = policy
            .hosts()
            .into_iter()
            .filter(move |known| is_of_host(known, host));
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

/// Whether bytes of these sources were fetched from the name's repository.
fn is_fetched(name: &ImageRef, sources: Option<&[(String, String)]>) -> bool {
    let own = &name.repository;
    sources
        .unwrap_or_default()
        .iter()
        .any(|(host, path)| is_of_host(own.host(), host) && path == own.path())
}

impl ImageName {
    fn has_tag(&self) -> bool {
        self.name.as_ref().is_some_and(|name| name.tag.is_some())
    }
}

fn verdict(
    image: &ResidentImage,
    named: &ImageName,
    decision: Decision,
    now: Timestamp,
    begun: Instant,
) -> Verdict {
    Verdict {
        engine: Some(image.engine.clone()),
        namespaces: vec![image.namespace.clone()],
        name: named.name.clone(),
        digest: Some(named.digest),
        ..Verdict::of(decision, Door::Sweep, now, begun)
    }
}

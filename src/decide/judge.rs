//! What the policy says of a name and its bytes, in the order of policy.md rule 3: revoked,
//! `[[image]]`, `[[exempt]]`, `[[rule]]`, `[local]`, no.

use std::collections::{BTreeSet, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use jiff::Timestamp;

use super::decision::{Admission, Denial, Ground, rank};
use super::denied::{exemption_over, no_rule, short_of_quorum, unnamed};
use super::question::{Claim, Place, Pull, ToldBy};
use super::resident::Rests;
use super::{Evidence, Judged, Repositories};
use rootpin_policy::{Exempt, Mode, Policy, Rule};
use rootpin_trust::image::{Chain, Digest, ImageRef, Repository};
use rootpin_trust::tuf::Question;
use rootpin_trust::{Code, Refusal};

/// How a denial by `[[image]]` names its entry.
const IMAGE_ENTRY: &str = "[[image]]";

/// One question's policy, time and deadline.
pub(super) struct Judge<'a> {
    pub(super) policy: &'a Policy,
    pub(super) repositories: &'a Repositories,
    pub(super) now: Timestamp,
    /// When the question came in, and until when sources may be asked for it.
    pub(super) times: (Instant, Instant),
    /// What each root was found to say, whatever came of it: within one question it is asked once.
    pub(super) seen: Mutex<HashMap<Seen, Result<Arc<Evidence>, Refusal>>>,
    pub(super) rests: Rests,
    /// Why nothing that rests on time can be judged, and nothing be kept: the clock can't be right.
    pub(super) clock: Option<Refusal>,
}

/// A root's id, the name that is signed, and what was asked about it.
pub(super) type Seen = (String, Repository, Question);

/// A name that is to stand for some bytes.
pub(super) struct Subject<'a> {
    pub(super) name: &'a ImageRef,
    pub(super) told_by: ToldBy,
    /// What the name must stand for.
    pub(super) top: Digest,
    /// The platform's manifest, where it is known.
    pub(super) manifest: Option<Digest>,
}

/// The first refusal of a layer's variants, which are judged as the layer itself is.
type Variants<'a> = Pin<Box<dyn Future<Output = Option<(Denial, Mode)>> + Send + 'a>>;

pub(super) type Answer = Result<Admission, (Denial, Mode)>;

impl<'a> Judge<'a> {
    pub(super) fn new(
        policy: &'a Policy,
        repositories: &'a Repositories,
        now: Timestamp,
        times: (Instant, Instant),
    ) -> Self {
        let clock = repositories.implausible(now);
        Self {
            policy,
            repositories,
            now,
            times,
            seen: Mutex::default(),
            rests: Rests::default(),
            clock,
        }
    }

    /// The metadata that was looked at and is not written yet.
    pub(super) fn fresh_evidence(&self) -> Vec<Arc<Evidence>> {
        let seen = std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        seen.into_values()
            .flatten()
            .filter(|evidence| evidence.is_unsaved())
            .collect()
    }
}

impl Judge<'_> {
    pub(super) async fn pull(&self, pull: &Pull) -> Judged {
        let subject = Subject {
            name: &pull.name,
            told_by: ToldBy::Client,
            top: pull.digest,
            manifest: None,
        };
        let answer = match self.revoked(&[pull.digest]) {
            Some(denial) => Err((denial, self.policy.mode_for(&pull.name.repository))),
            None => self.name(&subject).await,
        };
        Judged::from(answer)
    }

    /// What one namespace says of a layer or a container, `what`: the most trusted tellers of a
    /// name decide. Returns the claim that decided.
    pub(super) async fn place(
        &self,
        place: &Place,
        bytes: Digest,
        what: &str,
    ) -> (Judged, Option<Claim>) {
        let mut digests = vec![bytes];
        if let Some(denial) = self.revoked(&digests) {
            return (Judged::from(Err((denial, self.mode_of(place)))), None);
        }
        let mut refused: Option<(Denial, Mode, Claim)> = None;
        let teller = place.claims.iter().map(|claim| claim.told_by).min();
        for claim in place
            .claims
            .iter()
            .filter(|claim| Some(claim.told_by) == teller)
        {
            digests = revocable(&claim.chain);
            let answer = match self.revoked(&digests) {
                Some(denial) => Err((denial, self.policy.mode_for(&claim.name.repository))),
                None => self.name(&subject(claim)).await,
            };
            match answer {
                Ok(admission) => return (Judged::from(Ok(admission)), Some(claim.clone())),
                Err((denial, mode)) => {
                    if refused.as_ref().is_none_or(|(known, ..)| {
                        rank(denial.refusal.code) > rank(known.refusal.code)
                    }) {
                        refused = Some((denial, mode, claim.clone()));
                    }
                }
            }
        }
        if let Some((admission, claim)) =
            self.exempt_by_client(place, refused.as_ref().map(|(denial, ..)| denial))
        {
            return (Judged::from(Ok(admission)), Some(claim));
        }
        let uncovered = refused
            .as_ref()
            .is_none_or(|(denial, ..)| denial.refusal.code == Code::NoRule);
        if uncovered
            && !place.from_registry
            && !place.claims.iter().any(|claim| self.covers(&claim.name))
        {
            let local = match self.variants(place).await {
                Some(refused) => Err(refused),
                None => self.local(place, what),
            };
            if local.is_ok() || refused.is_none() {
                return (Judged::from(local), None);
            }
        }
        match refused {
            // The most specific is told; what lets one of the names pass under audit lets none of
            // the others.
            Some((denial, mode, claim)) => (
                Judged::from(Err((denial, mode.max(self.mode_of(place))))),
                Some(claim),
            ),
            None => (
                Judged::from(Err((unnamed(place, what), self.mode_of(place)))),
                None,
            ),
        }
    }

    /// A layer that was compressed anew is local only where every blob that it can have been made
    /// of may be unpacked too. The first refusal of such a blob, with the mode under which it
    /// stands.
    fn variants<'b>(&'b self, place: &'b Place) -> Variants<'b> {
        Box::pin(async move {
            if !self.policy.local.allows(&place.namespace) {
                return None;
            }
            for (digest, variant) in &place.variants {
                let what =
                    format!("layer {digest}, which the layer was made of by compressing it anew,");
                let (judged, _) = self.place(variant, *digest, &what).await;
                if let Err(denial) = judged.result {
                    return Some((denial, judged.mode));
                }
            }
            None
        })
    }

    /// policy.md rule 7: an exemption without digests needs a name that the client wrote, also
    /// where an annotation, which may be forged, was not enough. It never mends what is revoked or
    /// bound to other bytes.
    fn exempt_by_client(
        &self,
        place: &Place,
        refused: Option<&Denial>,
    ) -> Option<(Admission, Claim)> {
        let beyond = |denial: &Denial| {
            matches!(denial.refusal.code, Code::Revoked)
                || denial.rule.as_deref().is_some_and(is_image_entry)
        };
        if refused.is_some_and(beyond) {
            return None;
        }
        place
            .claims
            .iter()
            .filter(|claim| by_client(claim.told_by))
            .find_map(|claim| {
                let subject = subject(claim);
                let clean = self.revoked(&revocable(&claim.chain)).is_none()
                    && self.bound(&subject).is_none();
                let admission = self.exempt(&subject).ok().flatten().filter(|_| clean)?;
                Some((admission, claim.clone()))
            })
    }

    /// The mode of a no that is about a layer, not about one name: that of the strictest of its
    /// names. What came from a registry under no name that could be proved may be of any.
    fn mode_of(&self, place: &Place) -> Mode {
        if place.claims.is_empty() && place.from_registry {
            return self.policy.strictest_mode();
        }
        place
            .claims
            .iter()
            .map(|claim| self.policy.mode_for(&claim.name.repository))
            .fold(self.policy.mode, Mode::max)
    }

    pub(super) fn revoked(&self, digests: &[Digest]) -> Option<Denial> {
        let (digest, reason) = digests
            .iter()
            .find_map(|digest| Some((digest, self.policy.revoked_digest(digest)?)))?;
        let refusal = Refusal::new(
            Code::Revoked,
            format!("{digest}, which the policy revokes: {reason}"),
            "bytes that are not revoked",
            "use another version of the image",
        );
        Some(Denial {
            refusal,
            rule: Some(format!("[[revoked]] digest = \"{digest}\"")),
            roots: Vec::new(),
        })
    }

    /// A name against its bytes, once nothing of them is revoked.
    pub(super) async fn name(&self, subject: &Subject<'_>) -> Answer {
        let mode = self.policy.mode_for(&subject.name.repository);
        let agrees = |digest: Digest| digest == subject.top || Some(digest) == subject.manifest;
        if let Some(asked) = subject.name.digest.filter(|asked| !agrees(*asked)) {
            let refusal = Refusal::new(
                Code::DigestMismatch,
                subject.top.to_string(),
                format!("{asked}, as the name itself says"),
                "the name and the bytes don't belong together; pull again",
            );
            return Err((
                Denial {
                    refusal,
                    rule: None,
                    roots: Vec::new(),
                },
                mode,
            ));
        }
        if let Some(answer) = self.bound(subject) {
            return answer.map_err(|denial| (denial, mode));
        }
        let over = match self.exempt(subject) {
            Ok(Some(admission)) => return Ok(admission),
            Ok(None) => None,
            Err(over) => Some(over),
        };
        match (self.policy.rule_for(&subject.name.repository), over) {
            (Some(rule), _) => self
                .rule(rule, subject)
                .await
                .map_err(|denial| (denial, rule.mode)),
            (None, Some(over)) => Err((over, self.policy.mode)),
            (None, None) => Err((no_rule(subject.name), self.policy.mode)),
        }
    }

    /// `[[image]]`: a name with tag is bound to the digests listed for it; a name without one is
    /// vouched for by any of its tags.
    fn bound(&self, subject: &Subject<'_>) -> Option<Result<Admission, Denial>> {
        let repository = &subject.name.repository;
        let held = |digest: &Digest| *digest == subject.top || Some(*digest) == subject.manifest;
        let tag = subject.name.tag.as_ref();
        let image = match tag {
            Some(_) => self.policy.images_for(repository, tag)?,
            None => self
                .policy
                .images()
                .find(|image| image.repository == *repository && image.digests.iter().any(held))?,
        };
        let rule = format!(
            "{IMAGE_ENTRY} name = \"{}:{}\" ({}:{})",
            image.repository, image.tag, image.location.file, image.location.line
        );
        if image.digests.iter().any(held) {
            return Some(Ok(Admission {
                ground: Ground::PolicyPin,
                rule,
                valid_until: Timestamp::MAX,
                mode: self.policy.mode_for(repository),
            }));
        }
        let listed: Vec<_> = image.digests.iter().map(ToString::to_string).collect();
        let refusal = Refusal::new(
            Code::DigestMismatch,
            subject.top.to_string(),
            listed.join(" or "),
            "the policy binds this name to its bytes; change the [[image]] entry if these are meant",
        );
        Some(Err(Denial {
            refusal,
            rule: Some(rule),
            roots: Vec::new(),
        }))
    }

    /// `[[exempt]]`: the admission, or nothing, or (as the error) that the only one that covers the
    /// name is over.
    fn exempt(&self, subject: &Subject<'_>) -> Result<Option<Admission>, Denial> {
        let mut over: Option<&Exempt> = None;
        for exempt in self.policy.exempts_for(&subject.name.repository) {
            let listed = |digests: &BTreeSet<Digest>| {
                digests.contains(&subject.top)
                    || subject
                        .manifest
                        .is_some_and(|manifest| digests.contains(&manifest))
            };
            if !exempt.digests.as_ref().is_none_or(listed) {
                continue;
            }
            if let Some(refusal) = &self.clock {
                return Err(Denial {
                    refusal: refusal.clone(),
                    rule: Some(exempt.to_string()),
                    roots: Vec::new(),
                });
            }
            if exempt.is_over(self.now) {
                over = Some(exempt);
            } else if exempt.digests.is_some() || by_client(subject.told_by) {
                let (rule, valid_until, mode) = (
                    exempt.to_string(),
                    exempt.until,
                    self.policy.mode_for(&subject.name.repository),
                );
                return Ok(Some(Admission {
                    ground: Ground::Exempt,
                    rule,
                    valid_until,
                    mode,
                }));
            }
        }
        match over {
            None => Ok(None),
            Some(exempt) => Err(exemption_over(exempt, self.now)),
        }
    }

    /// `[[rule]]`: as many of its roots as its quorum says must have signed that the name is these
    /// bytes.
    async fn rule(&self, rule: &Rule, subject: &Subject<'_>) -> Result<Admission, Denial> {
        let (mut signed, mut refused, mut unjudged) = (Vec::new(), Vec::new(), Vec::new());
        let mut valid_until = Timestamp::MAX;
        for (at, root) in rule.roots.iter().enumerate() {
            let deadline = share(Instant::now(), self.times.1, rule.roots.len() - at);
            match self.root(rule, root, subject, deadline).await {
                Ok((evidence, until)) => {
                    valid_until = valid_until.min(until);
                    signed.push((root.id.clone(), evidence));
                }
                Err(refusal) if refusal.code.judged() => refused.push(refusal),
                Err(refusal) => unjudged.push(refusal),
            }
            if signed.len() >= rule.quorum {
                return Ok(Admission {
                    ground: Ground::Signed(signed),
                    rule: rule.to_string(),
                    valid_until,
                    mode: rule.mode,
                });
            }
        }
        Err(short_of_quorum(
            rule,
            signed.len(),
            refused,
            unjudged,
            subject.name,
        ))
    }

    /// Whether the policy demands something of a name, so that nobody who tells another one beside
    /// it can make its bytes local.
    pub(super) fn covers(&self, name: &ImageRef) -> bool {
        self.policy.rule_for(&name.repository).is_some()
            || self
                .policy
                .images_for(&name.repository, name.tag.as_ref())
                .is_some()
    }

    /// `[local]`: bytes that came from no registry.
    fn local(&self, place: &Place, what: &str) -> Answer {
        let mut revoked = place
            .chains
            .iter()
            .map(|chain| self.revoked(&revocable(chain)));
        if let Some(Some(denial)) = revoked
            .next()
            .filter(|_| revoked.all(|denial| denial.is_some()))
        {
            return Err((denial, self.policy.mode));
        }
        self.local_bytes(
            &place.namespace,
            format!(
                "{what} in namespace {}, of no image that has a known name or source",
                place.namespace
            ),
        )
    }

    /// `[local]` for bytes of no registry, whatever they are.
    pub(super) fn local_bytes(&self, namespace: &str, found: String) -> Answer {
        if self.policy.local.allows(namespace) {
            let rule = "[local] content = \"allow\"".to_owned();
            return Ok(Admission {
                ground: Ground::Local,
                rule,
                valid_until: Timestamp::MAX,
                mode: self.policy.mode,
            });
        }
        let refusal = Refusal::new(
            Code::NotLocal,
            found,
            format!(
                "bytes of an image that a rule covers, or [local] content = \"allow\" for namespace {namespace}"
            ),
            "pull the image by its signed name, or let local content in by the policy",
        );
        Err((
            Denial {
                refusal,
                rule: Some("[local]".to_owned()),
                roots: Vec::new(),
            },
            self.policy.mode,
        ))
    }
}

/// An equal part of the time that is left, for the first of so many roots: one that keeps us
/// waiting must not take the others' too.
pub(super) fn share(now: Instant, deadline: Instant, roots: usize) -> Instant {
    let left = deadline.saturating_duration_since(now);
    now + left / u32::try_from(roots.max(1)).unwrap_or(u32::MAX)
}

/// policy.md rule 7: whose word is enough for an exemption that names no bytes. An image record is
/// not, because an archive names itself: a registry that was asked for the name has left its mark
/// on the blobs. That the verifier was asked of these bytes before is not either: they may come by
/// another way now.
fn by_client(told_by: ToldBy) -> bool {
    matches!(told_by, ToldBy::Client | ToldBy::Source)
}

fn subject(claim: &Claim) -> Subject<'_> {
    Subject {
        name: &claim.name,
        told_by: claim.told_by,
        top: claim.chain.top(),
        manifest: Some(claim.chain.manifest()),
    }
}

/// What `[[revoked]]` looks at: every index, the manifest, the configuration and every layer.
pub(super) fn revocable(chain: &Chain) -> Vec<Digest> {
    chain.digests()
}

fn is_image_entry(rule: &str) -> bool {
    rule.starts_with(IMAGE_ENTRY)
}

impl From<Answer> for Judged {
    fn from(answer: Answer) -> Self {
        match answer {
            Ok(admission) => Self {
                mode: admission.mode,
                result: Ok(admission),
            },
            Err((denial, mode)) => Self {
                result: Err(denial),
                mode,
            },
        }
    }
}

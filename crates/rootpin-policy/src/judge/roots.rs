//! What the roots of a rule say: as many as its quorum must have signed that the name is these
//! bytes.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use rootpin_trust::image::{Digest, ImageRef, Tag};
use rootpin_trust::{Code, Collection, Refusal, Target, tuf};

use super::answer::{Basis, Denial, Statement};
use super::question::NamedBytes;
use super::{Asked, Heard, Judge, Need, refusals};
use crate::{Root, Rule};

/// The roots that signed, and until when that answers; or why there is no quorum.
type Quorum = Result<(Vec<(String, Statement)>, Timestamp), Denial>;

/// The refusals of a rule's roots, those that are a "no" and those that are none.
#[derive(Default)]
pub(super) struct Refusals {
    refused: Vec<Refusal>,
    unjudged: Vec<Refusal>,
}

impl Refusals {
    pub(super) fn add(&mut self, refusal: Refusal) {
        if refusal.code.judged() {
            self.refused.push(refusal);
        } else {
            self.unjudged.push(refusal);
        }
    }

    /// Refused only if the quorum couldn't be reached even were all silent roots to agree.
    pub(super) fn short_of_quorum(self, rule: &Rule, signed: usize, name: &ImageRef) -> Denial {
        let possible = signed + self.unjudged.len() >= rule.quorum;
        let decisive = if possible {
            self.unjudged
        } else {
            self.refused
        };
        refusals::by_roots(rule, decisive, name)
    }
}

impl Judge<'_> {
    /// `[[rule]]`, for a name and its bytes.
    pub(super) fn rule(&self, rule: &Rule, named: &NamedBytes) -> Asked<Quorum> {
        let (mut signed, mut refusals) = (Vec::new(), Refusals::default());
        let mut valid_until = Timestamp::MAX;
        for (at, root) in rule.roots.iter().enumerate() {
            match self.root(rule, root, named, rule.roots.len() - at)? {
                Ok(statement) => {
                    valid_until = valid_until.min(statement.valid_until);
                    signed.push((root.id.clone(), statement));
                }
                Err(refusal) => refusals.add(refusal),
            }
            if signed.len() >= rule.quorum {
                return Ok(Ok((signed, valid_until)));
            }
        }
        Ok(Err(refusals.short_of_quorum(
            rule,
            signed.len(),
            &named.name,
        )))
    }

    /// Whether a root has signed that the name is these bytes.
    fn root(
        &self,
        rule: &Rule,
        root: &Arc<Root>,
        named: &NamedBytes,
        sharers: usize,
    ) -> Asked<Result<Statement, Refusal>> {
        let (name, tag) = (&named.name, named.name.tag.as_ref());
        let about = tag
            .cloned()
            .map_or(tuf::Question::Digest(named.top), tuf::Question::Tag);
        self.first_yes(rule, root, name, &about, sharers, |collection| {
            is_named(collection, tag, named.top)
        })
    }

    /// What a root says of a name, if that is what is wanted. A no of what is at hand has its
    /// source asked once more: the tag may have been given to these bytes a moment ago.
    pub(super) fn first_yes<T>(
        &self,
        rule: &Rule,
        root: &Arc<Root>,
        name: &ImageRef,
        about: &tuf::Question,
        sharers: usize,
        wanted: impl Fn(&Collection) -> Result<T, Refusal>,
    ) -> Asked<Result<Statement, Refusal>> {
        let Some(repository) = rule.signed_name(&name.repository) else {
            return Ok(Err(refusals::no_signed_name(rule, name)));
        };
        let need = |again| Need::Root {
            root: Arc::clone(root),
            repository: repository.clone(),
            about: about.clone(),
            again,
            sharers,
        };
        // What newer metadata says counts from then on, also for the other names.
        let rounds = if self.heard_of(&need(true)).is_some() {
            &[true][..]
        } else {
            &[false, true]
        };
        for again in rounds.iter().copied() {
            let Heard::Root(heard) = self.hear(need(again))? else {
                return Ok(Err(refusals::unheard()));
            };
            let (refusal, may_be_newer, basis) = match heard {
                Ok(statement) => match wanted(statement.verified.get()) {
                    Ok(_) => {
                        self.rests_on(self.basis_of(root, statement));
                        return Ok(Ok(statement.clone()));
                    }
                    Err(refusal) => (
                        dated(refusal, statement),
                        statement.at_hand,
                        self.basis_of(root, statement),
                    ),
                },
                Err(refusal) => {
                    let unsigned = refusal.code == Code::NoStatement;
                    let refusal =
                        refusals::with_pin_command(refusal.clone(), self.policy, root, name);
                    (refusal, unsigned, Basis::Doubtful)
                }
            };
            if again || !may_be_newer {
                self.rests_on(basis);
                return Ok(Err(refusal));
            }
        }
        Ok(Err(refusals::unheard()))
    }

    fn basis_of(&self, root: &Root, statement: &Statement) -> Basis {
        let fresh_until = later(statement.contact, root.recheck);
        if fresh_until >= self.now {
            Basis::Roots
        } else {
            Basis::Doubtful
        }
    }
}

/// What the signed metadata says of a tag, or of some tag where only the digest is asked for. A
/// platform's manifest is the name's too, where the statement lists it.
fn is_named(collection: &Collection, tag: Option<&Tag>, digest: Digest) -> Result<(), Refusal> {
    let stands = |target: &Target| target.digest == digest || target.manifests.contains(&digest);
    let Some(tag) = tag else {
        let known = collection.targets.values().any(stands);
        return if known {
            Ok(())
        } else {
            let wanted = "some tag that is signed for this digest";
            Err(refusals::no_statement(
                collection,
                &digest.to_string(),
                wanted,
            ))
        };
    };
    match collection.targets.get(tag.as_str()) {
        Some(target) if stands(target) => Ok(()),
        Some(target) => Err(refusals::signed_for_another(
            collection, tag, target, digest,
        )),
        None => Err(refusals::no_tag(collection, tag)),
    }
}

/// A no that newer metadata may mend says how old the metadata is, and when its source is asked
/// again.
fn dated(refusal: Refusal, statement: &Statement) -> Refusal {
    let Some(again) = statement.again_after else {
        return refusal;
    };
    // Shown in whole seconds, which are not to be too early.
    let again = match again.subsec_nanosecond() {
        0 => again,
        _ => later(again, SignedDuration::from_secs(1)),
    };
    let hint = format!(
        "{}; the metadata was fetched at {:.0}: if the publisher signed later, ask again after {again:.0}",
        refusal.hint, statement.contact
    );
    Refusal { hint, ..refusal }
}

fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

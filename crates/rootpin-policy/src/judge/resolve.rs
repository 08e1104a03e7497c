//! Which digest a tag stands for: the one that is signed for it, whatever its registry says now.
//!
//! Nothing is admitted here. Policy and signed statements propose digests, and each is judged as a
//! pull of it by any other door would be. The registry is asked only where its word can't do harm:
//! to choose among several digests that are all admitted, and for a name that the policy exempts or
//! only audits.

use rootpin_trust::image::{Digest, ImageRef, Tag};
use rootpin_trust::{Refusal, tuf};

use super::answer::{Denial, Judgement, rank};
use super::entries::{EntryKind, Lookup, Why, entries};
use super::procedure::denied;
use super::question::Question;
use super::roots::Refusals;
use super::{Asked, Heard, Judge, Need, refusals};
use crate::{Mode, Rule};

/// Digests that a tag may stand for, the better ones first; and what is told where there is none.
#[derive(Debug, Default)]
struct Proposed {
    digests: Vec<Digest>,
    denial: Option<Denial>,
}

impl Judge<'_> {
    /// The judgement of the first proposed digest that is admitted, or else the most specific no.
    pub(super) fn resolved(&self, name: &ImageRef) -> Asked<Judgement> {
        let mode = self.policy.mode_for(&name.repository);
        let Some(tag) = &name.tag else {
            return Ok(denied(refusals::no_rule(name), mode, None));
        };
        let proposed = self.proposed(name, tag, mode)?;
        let mut worst: Option<Judgement> = None;
        for digest in proposed.digests {
            let judgement = Judgement {
                digest: Some(digest),
                ..self.judge(&Question::pull(name.clone(), digest))?
            };
            let Err(denial) = &judgement.result else {
                return Ok(judgement);
            };
            let says_more = match &worst {
                Some(Judgement {
                    result: Err(known), ..
                }) => rank(denial.refusal.code) > rank(known.refusal.code),
                _ => true,
            };
            if says_more {
                worst = Some(judgement);
            }
        }
        Ok(worst.unwrap_or_else(|| {
            let denial = proposed.denial.unwrap_or_else(|| refusals::no_rule(name));
            denied(denial, mode, None)
        }))
    }

    /// In the order of precedence: what `[[image]]` binds, then what is exempt, then what is
    /// signed; and of that, bytes that a root vouches for before bytes that are only exempt.
    fn proposed(&self, name: &ImageRef, tag: &Tag, mode: Mode) -> Asked<Proposed> {
        let lookup = Lookup {
            name,
            bytes: None,
            from_registry: true,
            now: self.now,
            clock: self.clock.as_ref(),
        };
        let all = entries(self.policy, lookup);
        let applying = || all.iter().filter(|entry| entry.applies());
        for entry in applying() {
            if let EntryKind::Image(image) = entry.kind {
                let listed = image.digests.iter().copied().collect();
                return Ok(Proposed {
                    digests: self.chosen_first(name, listed)?,
                    denial: None,
                });
            }
        }
        let exempt = |any: bool| {
            applying().filter_map(move |entry| match (&entry.why, entry.kind) {
                (Why::Applies, EntryKind::Exempt(exempt)) if exempt.digests.is_none() == any => {
                    Some(exempt)
                }
                _ => None,
            })
        };
        let mut silence = None;
        if mode == Mode::Audit || exempt(true).next().is_some() {
            match self.registry(name)? {
                Ok(digest) => {
                    return Ok(Proposed {
                        digests: vec![digest],
                        denial: None,
                    });
                }
                Err(refusal) if refusal.code.judged() => {
                    return Ok(Proposed {
                        digests: Vec::new(),
                        denial: Some(Denial::plain(refusal)),
                    });
                }
                // A registry that answers nothing must not take down what is signed.
                Err(refusal) => silence = Some(Denial::plain(refusal)),
            }
        }
        let mut proposed = match self.policy.rule_for(&name.repository) {
            Some(rule) => self.signed(rule, name, tag)?,
            None => Proposed::default(),
        };
        let listed: Vec<Digest> = exempt(false)
            .filter_map(|exempt| exempt.digests.as_ref())
            .flatten()
            .copied()
            .collect();
        proposed.digests.extend(if proposed.digests.is_empty() {
            self.chosen_first(name, listed)?
        } else {
            listed
        });
        // The only exemption of a name is over, or can't be judged.
        let over = all.iter().find_map(|entry| match (&entry.why, entry.kind) {
            (Why::Clock(refusal), _) => Some(Denial::plain((*refusal).clone())),
            (Why::Over | Why::Ended, EntryKind::Exempt(exempt)) => {
                Some(refusals::exemption_over(exempt, self.now))
            }
            _ => None,
        });
        proposed.denial = silence.or(proposed.denial).or(over);
        Ok(proposed)
    }

    /// What the roots of a rule name for the tag. No more of them are asked than it takes for one
    /// digest to have its quorum.
    fn signed(&self, rule: &Rule, name: &ImageRef, tag: &Tag) -> Asked<Proposed> {
        let (mut named, mut refusals): (Vec<Digest>, _) = (Vec::new(), Refusals::default());
        let about = tuf::Question::Tag(tag.clone());
        for (at, root) in rule.roots.iter().enumerate() {
            let sharers = rule.roots.len() - at;
            let found =
                self.first_yes(
                    rule,
                    root,
                    name,
                    &about,
                    sharers,
                    |collection| match collection.targets.get(tag.as_str()) {
                        Some(_) => Ok(()),
                        None => Err(refusals::no_tag(collection, tag)),
                    },
                )?;
            let digest = found.map(|statement| {
                let targets = &statement.verified.get().targets;
                targets.get(tag.as_str()).map(|target| target.digest)
            });
            match digest {
                Ok(Some(digest)) => {
                    named.push(digest);
                    if named.iter().filter(|known| **known == digest).count() >= rule.quorum {
                        return Ok(Proposed {
                            digests: vec![digest],
                            denial: None,
                        });
                    }
                }
                Ok(None) => refusals.add(refusals::unheard()),
                Err(refusal) => refusals.add(refusal),
            }
        }
        let denial = Some(refusals.short_of_quorum(rule, 0, name));
        named.dedup();
        Ok(Proposed {
            digests: named,
            denial,
        })
    }

    /// Among several that are all admitted, the one that the registry has under the tag comes
    /// first.
    fn chosen_first(&self, name: &ImageRef, mut digests: Vec<Digest>) -> Asked<Vec<Digest>> {
        if digests.len() > 1
            && let Ok(said) = self.registry(name)?
            && let Some(at) = digests.iter().position(|digest| *digest == said)
        {
            digests.swap(0, at);
        }
        Ok(digests)
    }

    /// What the registry says the tag is now.
    fn registry(&self, name: &ImageRef) -> Asked<Result<Digest, Refusal>> {
        Ok(match self.hear(Need::Registry(name.clone()))? {
            Heard::Registry(said) => said.clone(),
            Heard::Root(_) => Err(refusals::unheard()),
        })
    }
}

//! Which digest a tag stands for: the one that is signed for it, whatever its registry says now.
//!
//! Nothing is admitted here. Policy and signed statements propose digests, and each is judged as a
//! pull of it by any other door would be. The registry is asked only where its word can't do harm:
//! to choose among several digests that are all admitted, and for a name that the policy exempts or
//! only audits.

use std::time::Instant;

use jiff::Timestamp;

use super::decision::{Denial, rank};
use super::denied::{exemption_over, no_rule, short_of_quorum};
use super::judge::{Judge, share};
use super::named::no_statement;
use super::{Decider, Decision, Door, Judged, Pull, Verdict};
use crate::state::Kind;
use rootpin_policy::{Mode, Rule};
use rootpin_trust::Refusal;
use rootpin_trust::image::{Digest, ImageRef, Tag};
use rootpin_trust::tuf::Question;

impl Decider {
    /// Which digest is this tag? The verdict has it, where one may be pulled.
    pub async fn resolve(&self, door: Door, name: &ImageRef, now: Timestamp) -> Verdict {
        let begun = Instant::now();
        if let Some(proof) = self.proving.of_repository(&name.repository) {
            let verdict = proof.resolve(door, name, now).await;
            let revoked = |digest| {
                self.policy()
                    .is_ok_and(|policy| policy.revoked_digest(&digest).is_some())
            };
            if !verdict.digest.is_some_and(revoked) {
                return verdict;
            }
        }
        let (decision, digest) = match self.policy() {
            Err(refusal) => (
                Decision::Deny(Denial {
                    refusal,
                    rule: None,
                    roots: Vec::new(),
                }),
                None,
            ),
            Ok(policy) => {
                let judge = self.judge(&policy, now, begun);
                let (judged, digest) = judge.resolve(door, name).await;
                let rows: Vec<_> = digest
                    .map(|digest| (digest, Kind::Top))
                    .into_iter()
                    .collect();
                (
                    self.conclude(&judge, judged, digest.map(|digest| (name, digest)), &rows)
                        .await,
                    digest,
                )
            }
        };
        let (namespaces, name, took) = (Vec::new(), Some(name.clone()), begun.elapsed());
        Verdict {
            decision,
            door,
            engine: None,
            namespaces,
            name,
            digest,
            layer: None,
            at: now,
            took,
        }
    }
}

/// Digests that a tag may stand for, the better ones first; and what is told where there is none.
#[derive(Debug, Default)]
struct Proposed {
    digests: Vec<Digest>,
    denial: Option<Denial>,
}

impl Judge<'_> {
    /// The judgement of the first proposed digest that is admitted, or else the most specific no.
    async fn resolve(&self, door: Door, name: &ImageRef) -> (Judged, Option<Digest>) {
        let mode = self.policy.mode_for(&name.repository);
        let Some(tag) = &name.tag else {
            return (
                Judged {
                    result: Err(no_rule(name)),
                    mode,
                },
                None,
            );
        };
        let proposed = self.proposed(name, tag, mode).await;
        let mut worst: Option<(Denial, Mode, Digest)> = None;
        for digest in proposed.digests {
            let judged = self
                .pull(&Pull {
                    door,
                    name: name.clone(),
                    digest,
                })
                .await;
            match judged.result {
                Ok(admission) => {
                    return (
                        Judged {
                            result: Ok(admission),
                            mode: judged.mode,
                        },
                        Some(digest),
                    );
                }
                Err(denial) => {
                    if worst.as_ref().is_none_or(|(known, ..)| {
                        rank(denial.refusal.code) > rank(known.refusal.code)
                    }) {
                        worst = Some((denial, judged.mode, digest));
                    }
                }
            }
        }
        match worst {
            Some((denial, mode, digest)) => (
                Judged {
                    result: Err(denial),
                    mode,
                },
                Some(digest),
            ),
            None => (
                Judged {
                    result: Err(proposed.denial.unwrap_or_else(|| no_rule(name))),
                    mode,
                },
                None,
            ),
        }
    }

    /// By policy.md rule 3: what `[[image]]` binds, then what is exempt, then what is signed; and
    /// of that, bytes that a root vouches for before bytes that are only exempt.
    async fn proposed(&self, name: &ImageRef, tag: &Tag, mode: Mode) -> Proposed {
        if let Some(bound) = self.policy.images_for(&name.repository, Some(tag)) {
            return Proposed {
                digests: self
                    .chosen_first(name, bound.digests.iter().copied().collect())
                    .await,
                denial: None,
            };
        }
        let holds = || {
            self.policy
                .exempts_for(&name.repository)
                .filter(|exempt| self.clock.is_none() && !exempt.is_over(self.now))
        };
        let mut silence = None;
        if mode == Mode::Audit || holds().any(|exempt| exempt.digests.is_none()) {
            match self.registry(name).await {
                Ok(digest) => {
                    return Proposed {
                        digests: vec![digest],
                        denial: None,
                    };
                }
                Err(refusal) if refusal.code.judged() => {
                    return Proposed {
                        digests: Vec::new(),
                        denial: Some(plain(refusal)),
                    };
                }
                // A registry that answers nothing must not take down what is signed.
                Err(refusal) => silence = Some(plain(refusal)),
            }
        }
        let mut proposed = match self.policy.rule_for(&name.repository) {
            Some(rule) => self.signed(rule, name, tag).await,
            None => Proposed::default(),
        };
        let exempt: Vec<_> = holds()
            .filter_map(|exempt| exempt.digests.as_ref())
            .flatten()
            .copied()
            .collect();
        proposed.digests.extend(if proposed.digests.is_empty() {
            self.chosen_first(name, exempt).await
        } else {
            exempt
        });
        proposed.denial = silence.or(proposed.denial).or_else(|| self.over(name));
        proposed
    }

    /// What the roots of a rule name for the tag. No more of them are asked than it takes for one
    /// digest to have its quorum.
    async fn signed(&self, rule: &Rule, name: &ImageRef, tag: &Tag) -> Proposed {
        let (mut named, mut refused, mut unjudged): (Vec<Digest>, _, _) =
            (Vec::new(), Vec::new(), Vec::new());
        for (at, root) in rule.roots.iter().enumerate() {
            let deadline = share(Instant::now(), self.times.1, rule.roots.len() - at);
            let found = self
                .evidence(rule, root, name, Question::Tag(tag.clone()), deadline)
                .await
                .and_then(|evidence| {
                    let collection = evidence.verified.get();
                    let target = collection
                        .targets
                        .get(tag.as_str())
                        .map(|target| target.digest);
                    target.ok_or_else(|| {
                        no_statement(collection, &format!("tag {tag}"), "a tag that is signed")
                    })
                });
            match found {
                Ok(digest) => {
                    named.push(digest);
                    if named.iter().filter(|known| **known == digest).count() >= rule.quorum {
                        return Proposed {
                            digests: vec![digest],
                            denial: None,
                        };
                    }
                }
                Err(refusal) if refusal.code.judged() => refused.push(refusal),
                Err(refusal) => unjudged.push(refusal),
            }
        }
        let denial = Some(short_of_quorum(rule, 0, refused, unjudged, name));
        named.dedup();
        Proposed {
            digests: named,
            denial,
        }
    }

    /// Among several that are all admitted, the one that the registry has under the tag comes
    /// first.
    async fn chosen_first(&self, name: &ImageRef, mut digests: Vec<Digest>) -> Vec<Digest> {
        if digests.len() > 1
            && let Ok(said) = self.registry(name).await
            && let Some(at) = digests.iter().position(|digest| *digest == said)
        {
            digests.swap(0, at);
        }
        digests
    }

    /// What the registry says the tag is now. It gets half of the time that is left, so that there
    /// is some for what is signed.
    async fn registry(&self, name: &ImageRef) -> Result<Digest, Refusal> {
        let deadline = share(Instant::now(), self.times.1, 2);
        self.repositories.sources.resolve(name, deadline).await
    }

    /// That the only exemption of a name is over, as the judgement of any digest under it tells.
    fn over(&self, name: &ImageRef) -> Option<Denial> {
        if let (Some(refusal), Some(_)) = (
            &self.clock,
            self.policy.exempts_for(&name.repository).next(),
        ) {
            return Some(plain(refusal.clone()));
        }
        self.policy
            .exempts_for(&name.repository)
            .find(|exempt| exempt.is_over(self.now))
            .map(|exempt| exemption_over(exempt, self.now))
    }
}

fn plain(refusal: Refusal) -> Denial {
    Denial {
        refusal,
        rule: None,
        roots: Vec::new(),
    }
}

//! May an image that an engine has be used under a name? Asked where no registry is asked any more:
//! a container is made or started, an image gets one more name.

use std::time::Instant;

use jiff::Timestamp;

use super::decision::{Denial, rank};
use super::judge::Judge;
use super::question::{Door, Pull};
use super::{Decider, Decision, Judged, Verdict};
use rootpin_policy::Mode;
use rootpin_trust::image::{Digest, ImageRef};
use rootpin_trust::{Code, Refusal};

/// An image under each further name costs a look at what is signed of that name.
const MOST_NAMES: usize = 16;

/// An image that an engine has, and the name under which somebody wants to use it.
#[derive(Debug, Clone)]
pub struct Held {
    /// Where it was asked.
    pub door: Door,
    /// The engine's name in rootpin.toml.
    pub engine: String,
    /// Where the policy's `[local]` must let bytes of no registry in.
    pub namespace: String,
    /// The name that was written; none: the image's ID was.
    pub asked: Option<ImageRef>,
    /// Every repository that the engine knows the image in, with its digest there.
    pub known: Vec<ImageRef>,
    /// The engine's ID of it: the digest of a configuration, or of what is in `known` too.
    pub id: Digest,
    /// When the question came in.
    pub begun: Instant,
}

impl Held {
    /// What the image is known as. Where that is nothing, its ID may be the digest of an index or
    /// manifest.
    fn digests(&self) -> Vec<Digest> {
        let mut digests: Vec<Digest> = self.known.iter().filter_map(|name| name.digest).collect();
        digests.sort_unstable();
        digests.dedup();
        if digests.is_empty() {
            vec![self.id]
        } else {
            digests
        }
    }

    /// Whether the engine tells that a registry had these bytes. One that calls an image by the
    /// digest it is known under says that of every image, also of those that were built here.
    fn is_of_a_registry(&self) -> bool {
        !self.known.is_empty() && !self.digests().contains(&self.id)
    }
}

/// An answer with the name and digest that it is about.
pub(super) type Answer = (Judged, Option<(ImageRef, Digest)>);

impl Decider {
    /// May this image be used under this name?
    pub async fn held(&self, held: &Held, now: Timestamp) -> Verdict {
        let mut about = held.asked.clone().map(|name| (name, None));
        let decision = match self.policy() {
            Err(refusal) => Decision::Deny(Denial {
                refusal,
                rule: None,
                roots: Vec::new(),
            }),
            Ok(policy) => {
                let judge = self.judge(&policy, now, held.begun);
                let (judged, subject) = judge.held(held).await;
                about = subject.map(|(name, digest)| (name, Some(digest))).or(about);
                self.conclude(&judge, judged, None, &[]).await
            }
        };
        let (name, digest) =
            about.map_or((None, Some(held.id)), |(name, digest)| (Some(name), digest));
        let (door, took) = (held.door, held.begun.elapsed());
        Verdict {
            decision,
            door,
            engine: Some(held.engine.clone()),
            namespaces: vec![held.namespace.clone()],
            name,
            digest,
            layer: None,
            at: now,
            took,
        }
    }
}

impl Judge<'_> {
    /// What is revoked is so under every name. The name that was written must stand for these
    /// bytes, where the policy says anything of it; else any name by which the engine knows the
    /// image will do; and bytes of no registry are `[local]`'s.
    pub(super) async fn held(&self, held: &Held) -> Answer {
        if let Some(revoked) = self.revoked_of(held) {
            return (revoked, None);
        }
        let digests = held.digests();
        if held.known.len() > MOST_NAMES {
            return (
                Judged {
                    result: Err(too_many(held)),
                    mode: self.policy.strictest_mode(),
                },
                None,
            );
        }
        let mut refused: Option<(Denial, ImageRef, Digest)> = None;
        if let Some(asked) = &held.asked {
            // A digest in the name is one that the image is known under, or the name is not this
            // image's.
            let own = asked
                .digest
                .filter(|digest| digests.contains(digest))
                .map_or(digests.clone(), |digest| vec![digest]);
            for digest in own {
                if let Some(answer) = self.settled(held, asked, digest, &mut refused).await {
                    return answer;
                }
            }
        }
        if let Some((denial, name, digest)) =
            refused.take_if(|(denial, ..)| denial.refusal.code != Code::NoRule)
        {
            return (
                Judged {
                    result: Err(denial),
                    mode: self.mode_of_held(held),
                },
                Some((name, digest)),
            );
        }
        let mut others = None;
        for name in &held.known {
            let digest = name.digest.unwrap_or(held.id);
            if let Some(answer) = self.settled(held, name, digest, &mut others).await {
                return answer;
            }
        }
        let uncovered = [&refused, &others]
            .into_iter()
            .flatten()
            .all(|(denial, ..)| denial.refusal.code == Code::NoRule);
        let is_local = uncovered && !held.is_of_a_registry();
        // Who wrote a name is told of that one.
        if let Some((denial, name, digest)) = refused.or(others).filter(|_| !is_local) {
            return (
                Judged {
                    result: Err(denial),
                    mode: self.mode_of_held(held),
                },
                Some((name, digest)),
            );
        }
        let local = self.local_bytes(
            &held.namespace,
            format!("image {} in namespace {}", held.id, held.namespace),
        );
        (
            Judged::from(local),
            held.asked.clone().map(|name| (name, held.id)),
        )
    }

    /// The denial where something of the image is revoked, as far as the engine knows it.
    pub(super) fn revoked_of(&self, held: &Held) -> Option<Judged> {
        let everything: Vec<Digest> = held.digests().into_iter().chain([held.id]).collect();
        let denial = self.revoked(&everything)?;
        Some(Judged {
            result: Err(denial),
            mode: self.mode_of_held(held),
        })
    }

    /// The answer where a name is these bytes; else the most telling denial is kept.
    async fn settled(
        &self,
        held: &Held,
        name: &ImageRef,
        digest: Digest,
        refused: &mut Option<(Denial, ImageRef, Digest)>,
    ) -> Option<Answer> {
        let judged = self
            .pull(&Pull {
                door: held.door,
                name: name.clone(),
                digest,
            })
            .await;
        match judged.result {
            Ok(_) => Some((judged, Some((name.clone(), digest)))),
            Err(mut denial) => {
                // No registry was asked, so none is to blame.
                if denial.refusal.code == Code::DigestMismatch {
                    denial.refusal.hint = format!(
                        "these are not the bytes that the name is to stand for; pull {name} to have those"
                    );
                }
                if refused
                    .as_ref()
                    .is_none_or(|(known, ..)| rank(denial.refusal.code) > rank(known.refusal.code))
                {
                    *refused = Some((denial, name.clone(), digest));
                }
                None
            }
        }
    }

    /// What lets one of its names pass under audit lets none of the others.
    fn mode_of_held(&self, held: &Held) -> Mode {
        let names = held.asked.iter().chain(&held.known);
        names
            .map(|name| self.policy.mode_for(&name.repository))
            .fold(self.policy.mode, Mode::max)
    }
}

fn too_many(held: &Held) -> Denial {
    let refusal = Refusal::new(
        Code::OverLimit,
        format!("an image under {} repositories", held.known.len()),
        format!("one under at most {MOST_NAMES}"),
        "remove names that are not needed: docker rmi NAME",
    );
    Denial {
        refusal,
        rule: None,
        roots: Vec::new(),
    }
}

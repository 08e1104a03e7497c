//! May a layer be unpacked?

use std::time::Instant;

use jiff::Timestamp;

use super::session::JudgeSession;
use super::{Claim, Decider, Decision, Denial, NamespaceView, Unpack, Verdict, denied};
use crate::state::RowKind;
use rootpin_policy::Policy;
use rootpin_policy::judge::{Action, Question};
use rootpin_trust::image::{Chain, Descriptor, Digest, ImageRef};
use rootpin_trust::{Code, Refusal};

impl Decider {
    /// May this layer be unpacked? Every namespace that is meant must allow it.
    pub async fn unpack(&self, unpack: &Unpack, now: Timestamp) -> Verdict {
        let begun = unpack.begun;
        let mut named = None;
        let decision = match self.policy() {
            Err(refusal) => Decision::Deny(Denial::plain(refusal)),
            Ok(policy) => {
                let mut told = None;
                for place in &unpack.places {
                    let (decision, claim) = match self.proving.of_place(
                        place,
                        &unpack.layer,
                        &policy,
                        self.instant(now),
                    ) {
                        Some((proof, own)) => {
                            proof
                                .place(unpack.door, &own, &unpack.layer, now, begun)
                                .await
                        }
                        None => {
                            self.place_by(&policy, place, &unpack.layer, now, begun)
                                .await
                        }
                    };
                    let stops = !decision.lets_through();
                    // What audit mode lets through is told, whatever the next namespace says.
                    if stops || !matches!(told, Some(Decision::LetThrough(..))) {
                        named = claim.map(|claim| (claim.name, claim.chain.top()));
                        told = Some(decision);
                    }
                    if stops {
                        break;
                    }
                }
                told.unwrap_or_else(|| {
                    let mode = policy.mode_at(self.instant(now));
                    denied(nowhere(&unpack.layer.digest), mode)
                })
            }
        };
        unpack.verdict(decision, named, now)
    }

    /// The yes to a layer in one namespace of which a part was gathered: some names of the most
    /// believed source that there can be. What was left out can't make it a no: of more names of
    /// that source one is enough, and names of other sources don't count then (docs/policy.md, rule
    /// 2). No other answer is given: a no, and a yes by `[local]`, rest on what is not there.
    pub async fn unpack_by_part(&self, unpack: &Unpack, now: Timestamp) -> Option<Verdict> {
        let policy = self.policy().ok()?;
        let [place] = unpack.places.as_slice() else {
            return None;
        };
        if self.proving_at().is_some() {
            return None;
        }
        let judged = self.place_by(&policy, place, &unpack.layer, now, unpack.begun);
        let (Decision::Allow(admission), Some(claim)) = judged.await else {
            return None;
        };
        let named = Some((claim.name, claim.chain.top()));
        Some(unpack.verdict(Decision::Allow(admission), named, now))
    }

    /// What one namespace says of a layer, and the claim that decided.
    pub(super) async fn place_by(
        &self,
        policy: &Policy,
        place: &NamespaceView,
        layer: &Descriptor,
        now: Timestamp,
        begun: Instant,
    ) -> (Decision, Option<Claim>) {
        let session = self.session(policy, now, begun);
        let shown = format!("layer {}", layer.digest);
        self.place_in(
            session,
            place,
            place.question(&Action::Unpack, layer.digest, shown),
        )
        .await
    }

    /// The decision on bytes in a namespace, and the claim that decided.
    pub(super) async fn place_in(
        &self,
        mut session: JudgeSession<'_>,
        place: &NamespaceView,
        question: Question,
    ) -> (Decision, Option<Claim>) {
        let judgement = session.judge(question).await;
        let claim = judgement.decided_by.and_then(|at| place.claims.get(at));
        let rows = claim.map(|claim| rows_of(&claim.chain)).unwrap_or_default();
        let subject = claim.map(|claim| (&claim.name, claim.chain.top()));
        let decision = self.conclude(session, judgement, subject, &rows).await;
        (decision, claim.cloned())
    }
}

impl Unpack {
    fn verdict(
        &self,
        decision: Decision,
        named: Option<(ImageRef, Digest)>,
        now: Timestamp,
    ) -> Verdict {
        let (name, digest) = named.unzip();
        let namespaces = self.places.iter();
        Verdict {
            engine: Some(self.engine.clone()),
            namespaces: namespaces.map(|place| place.namespace.clone()).collect(),
            name,
            digest,
            layer: Some(self.layer.digest),
            ..Verdict::of(decision, self.door, now, self.begun)
        }
    }
}

/// A layer that no place holds.
fn nowhere(layer: &Digest) -> Denial {
    Denial::plain(Refusal::new(
        Code::NotLocal,
        format!("layer {layer} in no namespace of this containerd"),
        "a layer of an image that containerd holds",
        "pull the image by its signed name",
    ))
}

fn rows_of(chain: &Chain) -> Vec<(Digest, RowKind)> {
    let (config, layers) = chain.content();
    [(chain.top(), RowKind::Top)]
        .into_iter()
        .chain(chain.between().map(|index| (index, RowKind::Manifest)))
        .chain([
            (chain.manifest(), RowKind::Manifest),
            (config, RowKind::Config),
        ])
        .chain(layers.into_iter().map(|layer| (layer, RowKind::Layer)))
        .collect()
}

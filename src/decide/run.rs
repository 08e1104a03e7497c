//! The question at run time: may a container be made of this image, which is here already?

use std::time::Instant;

use jiff::Timestamp;

use super::judge::Judge;
use super::{Decider, Decision, Denial, Door, Place, Verdict, rows_of};
use rootpin_policy::Policy;
use rootpin_trust::Refusal;
use rootpin_trust::image::Digest;

/// May a container of this image run?
#[derive(Debug, Clone)]
pub struct Run {
    /// The engine's name in rootpin.toml.
    pub engine: String,
    /// The configuration that the container was made of, or the snapshot that it stands on where
    /// that is all that is known.
    pub bytes: Digest,
    /// Every image that it can have been made of, each with its names.
    pub place: Place,
    /// When the question came in.
    pub begun: Instant,
    /// Until when sources may be asked: an engine waits less for a container than for a pull.
    pub sources_until: Instant,
}

impl Decider {
    /// May this container run?
    pub async fn run(&self, run: &Run, now: Timestamp) -> Verdict {
        let mut named = None;
        let decision = match self.policy() {
            Err(refusal) => Decision::Deny(Denial {
                refusal,
                rule: None,
                roots: Vec::new(),
            }),
            Ok(policy) => {
                let judge = Judge::new(
                    &policy,
                    &self.repositories,
                    now,
                    (run.begun, run.sources_until),
                );
                let what = format!("a container of the image {}", run.bytes);
                let (judged, claim) = judge.place(&run.place, run.bytes, &what).await;
                let rows = claim
                    .as_ref()
                    .map(|claim| rows_of(&claim.chain))
                    .unwrap_or_default();
                let subject = claim.as_ref().map(|claim| (&claim.name, claim.chain.top()));
                let decision = self.conclude(&judge, judged, subject, &rows).await;
                named = claim.map(|claim| (claim.name, claim.chain.top()));
                decision
            }
        };
        let (name, digest) = named.unzip();
        let (engine, namespaces) = (Some(run.engine.clone()), vec![run.place.namespace.clone()]);
        let (digest, took) = (digest.or(Some(run.bytes)), run.begun.elapsed());
        Verdict {
            decision,
            door: Door::Run,
            engine,
            namespaces,
            name,
            digest,
            layer: None,
            at: now,
            took,
        }
    }

    /// The verdict on a container that never came to be judged: what it is made of is not known, or
    /// time was over.
    pub fn unjudged_run(&self, engine: &str, refusal: Refusal, begun: Instant) -> Verdict {
        // Whose image it is was not learned: it may be that of the strictest rule.
        let decision = self.unjudged(refusal, Policy::strictest_mode);
        let (at, took, engine) = (Timestamp::now(), begun.elapsed(), Some(engine.to_owned()));
        Verdict {
            decision,
            door: Door::Run,
            engine,
            namespaces: Vec::new(),
            name: None,
            digest: None,
            layer: None,
            at,
            took,
        }
    }
}

//! The question at run time: may a container be made of this image, which is here already?

use std::time::Instant;

use jiff::Timestamp;

use super::session::JudgeSession;
use super::{Decider, Decision, Denial, Door, NamespaceView, Verdict};
use rootpin_policy::Policy;
use rootpin_policy::judge::Action;
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
    pub place: NamespaceView,
    /// When the question came in.
    pub begun: Instant,
    /// Until when sources may be asked: an engine waits less for a container than for a pull.
    pub sources_until: Instant,
}

impl Decider {
    /// May this container run?
    pub async fn run(&self, run: &Run, now: Timestamp) -> Verdict {
        let (decision, claim) = match self.policy() {
            Err(refusal) => (Decision::Deny(Denial::plain(refusal)), None),
            Ok(policy) => {
                let until = run.sources_until;
                let session = JudgeSession::new(&policy, &self.repositories, now, run.begun, until)
                    .with_break_glass(self.break_glass(now));
                let shown = format!("a container of the image {}", run.bytes);
                let question = run.place.question(&Action::Run, run.bytes, shown);
                self.place_in(session, &run.place, question).await
            }
        };
        let (name, digest) = claim.map(|claim| (claim.name, claim.chain.top())).unzip();
        Verdict {
            engine: Some(run.engine.clone()),
            namespaces: vec![run.place.namespace.clone()],
            name,
            digest: digest.or(Some(run.bytes)),
            ..Verdict::of(decision, Door::Run, now, run.begun)
        }
    }

    /// The verdict on a container that never came to be judged: what it is made of is not known, or
    /// time was over.
    pub(crate) fn unjudged_run(&self, engine: &str, refusal: Refusal, begun: Instant) -> Verdict {
        // Whose image it is was not learned: it may be that of the strictest rule.
        let decision = self.unjudged(refusal, Policy::strictest_mode);
        Verdict {
            engine: Some(engine.to_owned()),
            ..Verdict::of(decision, Door::Run, Timestamp::now(), begun)
        }
    }
}

//! Resolves a tag to the digest that is signed for it, whatever its registry says now.

use std::time::Instant;

use jiff::Timestamp;
use rootpin_policy::judge::{Action, Denial, Question};
use rootpin_trust::image::ImageRef;

use super::{Decider, Decision, Door, Verdict};
use crate::state::RowKind;

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
            Err(refusal) => (Decision::Deny(Denial::plain(refusal)), None),
            Ok(policy) => {
                let mut session = self.session(&policy, now, begun);
                let action = Action::Resolve(name.clone());
                let question = Question::of(action, name.to_string(), String::new());
                let judgement = session.judge(question).await;
                let digest = judgement.digest;
                let rows: Vec<_> = digest
                    .map(|digest| (digest, RowKind::Top))
                    .into_iter()
                    .collect();
                let subject = digest.map(|digest| (name, digest));
                (
                    self.conclude(session, judgement, subject, &rows).await,
                    digest,
                )
            }
        };
        Verdict {
            name: Some(name.clone()),
            digest,
            ..Verdict::of(decision, door, now, begun)
        }
    }
}

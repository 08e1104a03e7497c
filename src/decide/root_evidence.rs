//! What one root says of a name: its metadata is looked at once in a question, and its source asked
//! before its time where what is at hand doesn't have the name.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use jiff::Timestamp;

use super::Evidence;
use super::denied::no_signed_name;
use super::evidence::{AGAIN, Look, later};
use super::judge::{Judge, Subject};
use super::named::named;
use super::unpinned;
use rootpin_policy::{Root, Rule};
use rootpin_trust::image::ImageRef;
use rootpin_trust::tuf::Question;
use rootpin_trust::{Code, Refusal};

impl Judge<'_> {
    /// Whether a root has signed that the name is these bytes, and until when that answers.
    pub(super) async fn root(
        &self,
        rule: &Rule,
        root: &Root,
        subject: &Subject<'_>,
        deadline: Instant,
    ) -> Result<(Arc<Evidence>, Timestamp), Refusal> {
        let question = subject
            .name
            .tag
            .clone()
            .map_or(Question::Digest(subject.top), Question::Tag);
        let evidence = self
            .evidence(rule, root, subject.name, question.clone(), deadline)
            .await?;
        let is_named = |evidence: &Evidence| {
            named(
                evidence.verified.get(),
                subject.name.tag.as_ref(),
                subject.top,
            )
        };
        let until = evidence.valid_until;
        match is_named(&evidence) {
            Ok(()) => Ok((evidence, until)),
            // The tag may have been given to these bytes a moment ago.
            Err(refusal) if refusal.code == Code::DigestMismatch && !evidence.is_unsaved() => {
                let evidence = self
                    .evidence_again(rule, root, subject.name, question, deadline)
                    .await?;
                let until = evidence.valid_until;
                is_named(&evidence)
                    .map(|()| (Arc::clone(&evidence), until))
                    .map_err(|refusal| self.dated(refusal, &evidence))
            }
            Err(refusal) => Err(self.dated(refusal, &evidence)),
        }
    }

    /// What a root says, once its source was asked before its time.
    async fn evidence_again(
        &self,
        rule: &Rule,
        root: &Root,
        name: &ImageRef,
        question: Question,
        deadline: Instant,
    ) -> Result<Arc<Evidence>, Refusal> {
        let gun = rule
            .signed_name(&name.repository)
            .ok_or_else(|| no_signed_name(rule, name))?;
        let look = Look {
            policy: self.policy,
            root,
            now: self.now,
            begun: self.times.0,
            deadline,
            again: true,
        };
        let key = (root.id.clone(), gun, question);
        let found = self.repositories.evidence(look, &key.1, &key.2).await;
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, found.clone());
        found
    }

    /// What a root says of a name.
    pub(super) async fn evidence(
        &self,
        rule: &Rule,
        root: &Root,
        name: &ImageRef,
        question: Question,
        deadline: Instant,
    ) -> Result<Arc<Evidence>, Refusal> {
        let gun = rule
            .signed_name(&name.repository)
            .ok_or_else(|| no_signed_name(rule, name))?;
        let key = (root.id.clone(), gun, question);
        let look = Look {
            policy: self.policy,
            root,
            now: self.now,
            begun: self.times.0,
            deadline,
            again: false,
        };
        let known = self
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .cloned();
        let found = if let Some(known) = known {
            known
        } else {
            let mut found = self.repositories.evidence(look, &key.1, &key.2).await;
            if lacks(&found, &key.2) {
                found = self
                    .repositories
                    .evidence(
                        Look {
                            again: true,
                            ..look
                        },
                        &key.1,
                        &key.2,
                    )
                    .await;
            }
            let found = found.map_err(|refusal| unpinned::told(refusal, self.policy, root, name));
            self.seen
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(key, found.clone());
            found
        };
        self.rests.on_root(
            found
                .as_ref()
                .is_ok_and(|evidence| look.is_fresh(evidence.contact)),
        );
        found
    }

    /// A no that newer metadata may mend says how old the metadata is, and when its source is asked
    /// again.
    fn dated(&self, refusal: Refusal, evidence: &Evidence) -> Refusal {
        // Who only looks asks nobody again.
        if !self.repositories.keeps {
            return refusal;
        }
        let (contact, again) = (evidence.contact, later(evidence.asked(), AGAIN));
        let hint = format!(
            "{}; the metadata was fetched at {contact}: if the publisher signed later, ask again after {again}",
            refusal.hint
        );
        Refusal { hint, ..refusal }
    }
}

/// Whether evidence that is at hand and written has nothing of what was asked for.
fn lacks(found: &Result<Arc<Evidence>, Refusal>, question: &Question) -> bool {
    match found {
        Ok(evidence) if evidence.is_unsaved() => false,
        Ok(evidence) => {
            let targets = &evidence.verified.get().targets;
            match question {
                Question::Tag(tag) => !targets.contains_key(tag.as_str()),
                Question::Digest(digest) => {
                    !targets.values().any(|target| target.digest == *digest)
                }
            }
        }
        Err(refusal) => refusal.code == Code::NoStatement,
    }
}

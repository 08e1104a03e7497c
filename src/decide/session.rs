//! Drives the judge: asks sources and the registry for what it wants to hear, each thing once in a
//! question, and remembers the evidence that is to be kept.

use std::sync::Arc;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use rootpin_policy::judge::{
    Ask, Denial, Heard, Judge, Judgement, Need, Question, Statement, Step,
};
use rootpin_policy::{BreakGlass, Mode, Policy, Root};
use rootpin_trust::Refusal;
use rootpin_trust::image::Repository;
use rootpin_trust::tuf;

use super::pin_hint::with_pin_command;
use super::{Decision, LetThroughBy, denied};
use crate::evidence::{AGAIN, Evidence, Repositories, RootLook, Unkept, later, share};
use crate::sources::RegistryReplies;

/// One question's policy, time and deadline, and what was heard for it.
pub(super) struct JudgeSession<'a> {
    pub(super) policy: &'a Policy,
    repositories: &'a Repositories,
    pub(super) now: Timestamp,
    begun: Instant,
    /// Until when sources may be asked.
    sources_until: Instant,
    /// Why nothing that rests on time can be judged, and nothing be kept: the clock can't be right.
    pub(super) clock: Option<Refusal>,
    heard: Vec<(Need, bool, Heard)>,
    /// What root lets pass.
    glass: Option<Arc<BreakGlass>>,
    /// Where people ask: what the registries answered for this question.
    replies: Option<&'a RegistryReplies>,
    /// What a question that comes to no answer was shown binds all the same.
    unkept: Unkept,
}

impl<'a> JudgeSession<'a> {
    pub(super) fn new(
        policy: &'a Policy,
        repositories: &'a Repositories,
        now: Timestamp,
        begun: Instant,
        sources_until: Instant,
    ) -> Self {
        Self {
            policy,
            repositories,
            now,
            begun,
            sources_until,
            clock: repositories.implausible(now),
            heard: Vec::new(),
            glass: None,
            replies: None,
            unkept: repositories.unkept(now),
        }
    }

    pub(super) fn with_break_glass(self, glass: Option<Arc<BreakGlass>>) -> Self {
        Self { glass, ..self }
    }

    /// One that remembers what registries answer to its searches for signatures.
    pub(super) fn remembering(self, replies: Option<&'a RegistryReplies>) -> Self {
        Self { replies, ..self }
    }

    /// Whether break-glass is for names that a registry was asked for.
    pub(super) fn asks_for_origin(&self) -> bool {
        let glass = self.glass.as_ref();
        glass.is_some_and(|glass| glass.pattern.is_some())
    }

    /// A no, which audit mode lets through, or root.
    pub(super) fn no(&self, denial: Denial, mode: Mode, breaks_glass: bool) -> Decision {
        match (&self.glass, mode) {
            (Some(glass), Mode::Enforce) if breaks_glass => {
                Decision::LetThrough(denial, LetThroughBy::BreakGlass(Arc::clone(glass)))
            }
            _ => denied(denial, mode),
        }
    }

    /// The judge's answer to a question.
    pub(super) async fn judge(&mut self, question: Question) -> Judgement {
        let mut judge = Judge::start(self.policy, question, self.now, self.clock.clone())
            .with_break_glass(self.glass.clone());
        let mut heard = None;
        loop {
            match judge.next(heard.take()) {
                Step::Done(judgement) => return judgement,
                Step::Ask(ask) => heard = Some(self.hear(ask).await),
            }
        }
    }

    pub(super) async fn hear(&mut self, ask: Ask) -> Heard {
        // Where a source was asked again, for whichever name, the older answer counts no more.
        let mut known = self.heard.iter().rev();
        let newest = known.find(|(known, again, _)| *known == ask.need && (*again || !ask.again));
        if let Some((.., heard)) = newest {
            return heard.clone();
        }
        let heard = match &ask.need {
            Need::Root(root, repository, about) => {
                let said = self.of_root(root, repository, about, &ask);
                let said = said.await;
                let policy = self.policy;
                Heard::Root(said.map_err(|no| with_pin_command(no, policy, root, &ask.name)))
            }
            Need::Registry(name) => {
                let deadline = share(Instant::now(), self.sources_until, ask.sharers);
                // On the heap: every door's future would be as large otherwise.
                Heard::Registry(Box::pin(self.repositories.sources().resolve(name, deadline)).await)
            }
        };
        self.heard.push((ask.need, ask.again, heard.clone()));
        heard
    }

    async fn of_root(
        &mut self,
        root: &Root,
        repository: &Repository,
        about: &tuf::Question,
        ask: &Ask,
    ) -> Result<Statement, Refusal> {
        let look = RootLook {
            policy: self.policy,
            root,
            beside: Some(&ask.name.repository),
            now: self.now,
            begun: self.begun,
            deadline: share(Instant::now(), self.sources_until, ask.sharers),
            again: ask.again,
            replies: self.replies,
        };
        let evidence = self.repositories.evidence(look, repository, about).await?;
        let asks = self.repositories.keeps();
        let statement = Statement {
            verified: Arc::clone(&evidence.verified),
            contact: evidence.contact,
            valid_until: evidence.valid_until,
            at_hand: evidence.is_at_hand(),
            unseen: evidence.unseen.refusal.clone(),
            cut: evidence.unseen.cut.clone(),
            // Who only looks asks nobody again.
            age: if asks { age(&evidence) } else { String::new() },
        };
        if !self
            .unkept
            .evidence
            .iter()
            .any(|known| Arc::ptr_eq(known, &evidence))
        {
            self.unkept.evidence.push(evidence);
        }
        Ok(statement)
    }

    /// The metadata that was looked at and is not written yet: whoever takes it keeps it.
    pub(super) fn fresh_evidence(&mut self) -> Vec<Arc<Evidence>> {
        self.unkept.take_evidence()
    }
}

/// The hint to a no that newer metadata may mend: how old the metadata is, and when its source is
/// asked again.
fn age(evidence: &Evidence) -> String {
    let again = later(evidence.asked(), AGAIN);
    // Rounded up to a whole second, because an earlier one would be too early.
    let again = match again.subsec_nanosecond() {
        0 => again,
        _ => later(again, SignedDuration::from_secs(1)),
    };
    format!(
        "; the metadata was fetched at {:.0}: if the publisher signed later, ask again after {again:.0}",
        evidence.contact
    )
}

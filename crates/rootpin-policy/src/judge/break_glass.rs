//! Whether root's break-glass lets a no pass (rule 12 of docs/policy.md). It says nothing of who
//! signed what: the answer stays a no, and is told as one.

use rootpin_trust::image::ImageRef;

use super::Judge;
use super::answer::Judgement;
use super::question::{Action, NamedBytes, Question};

impl Judge<'_> {
    /// Whether a no passes: what is refused whatever root says is not, nor what root did not mean.
    /// While the clock can't be right, no end of it can be seen.
    pub(super) fn breaks_glass(&self, judgement: &Judgement) -> bool {
        let stays = judgement.result.as_ref().is_err_and(|denial| denial.stays);
        !stays && self.is_open() && !self.has_revoked(&self.question)
    }

    /// Whether break-glass is in force, and for this question.
    pub(super) fn is_open(&self) -> bool {
        let glass = self.glass.as_ref();
        glass.is_some_and(|glass| {
            self.clock.is_none()
                && (glass.begun..glass.until).contains(&self.now)
                && glass.forbidden_by(self.policy).is_none()
                && self.is_meant(&self.question)
        })
    }

    /// A pattern must match every name, as the strictest mode of all names holds, and a registry
    /// must have been asked for one of them: an annotation, or an archive, can give any name.
    fn is_meant(&self, question: &Question) -> bool {
        let Some(pattern) = self.glass.as_ref().and_then(|glass| glass.pattern.as_ref()) else {
            return true;
        };
        let matches = |name: &ImageRef| pattern.matches(&name.repository);
        let names = &question.names;
        let own = match &question.action {
            Action::Resolve(name) => matches(name),
            Action::Make(_) | Action::Swarm | Action::Plugin => false,
            _ => {
                let is_registry = |named: &NamedBytes| named.source.is_registry();
                names.iter().all(|named| matches(&named.name)) && names.iter().any(is_registry)
            }
        };
        own && question.variants.iter().all(|one| self.is_meant(one))
    }

    /// Whether the bytes are revoked, or only part of images that are, or may have been made of
    /// bytes that are. What a name stands for was looked at when the name was judged.
    fn has_revoked(&self, question: &Question) -> bool {
        let mut variants = question.variants.iter();
        self.revoked_everywhere(question).is_some() || variants.any(|one| self.has_revoked(one))
    }
}

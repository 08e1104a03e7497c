//! The one procedure, for every door. Rules are those of docs/policy.md, "What counts first".

use jiff::Timestamp;
use rootpin_trust::image::{Digest, ImageRef};

use super::answer::{Denial, Ground, Judgement};
use super::names::Names;
use super::question::{Action, Origin, Question};
use super::{Asked, Judge, refusals};
use crate::Mode;

impl Judge<'_> {
    pub(super) fn judge(&self, question: &Question) -> Asked<Judgement> {
        match &question.action {
            Action::Swarm => return Ok(self.by_key("swarm", self.policy.docker.swarm, question)),
            Action::Plugin => {
                return Ok(self.by_key("plugins", self.policy.docker.plugins, question));
            }
            Action::Make(names) => return Ok(self.made(question, names)),
            Action::Resolve(name) => return self.resolve(name),
            Action::Pull
            | Action::Unpack
            | Action::Run
            | Action::Create
            | Action::Tag
            | Action::Resident => {}
        }
        if let Some(denial) = self.revoked(&question.bytes) {
            return Ok(self.denied(question, denial));
        }
        // A name without an entry in the policy may be given to whatever is local content.
        let names = || question.names.iter().map(|named| &named.name);
        if question.action == Action::Tag && !names().take(1).any(|name| self.has_entry(name)) {
            return Ok(self.local(question, question.shown.clone(), self.policy_mode()));
        }
        let mut judged = Names {
            judge: self,
            question,
            no: None,
            is_covered: false,
        };
        if let Some(judgement) = judged.admitted()? {
            return Ok(judgement);
        }
        let is_local = question.origin == Origin::Local;
        let mut local_mode = Mode::Audit;
        if is_local && !judged.is_covered && !names().any(|name| self.covers(name)) {
            let local = self.local_image(question)?;
            match (&local.result, &mut judged.no) {
                (Err(other), Some((denial, _))) if !question.action.is_of_dockerd() => {
                    denial.stays_beside(other);
                    local_mode = local.mode;
                }
                _ => return Ok(local),
            }
        }
        Ok(match judged.no {
            Some((denial, at)) => {
                let mut denied = self.denied(question, denial);
                denied.mode = denied.mode.max(local_mode);
                denied.decided_by(at)
            }
            None => self.denied(question, refusals::unnamed(question)),
        })
    }

    fn denied(&self, question: &Question, denial: Denial) -> Judgement {
        let mode = self.mode_of(question, denial.is_lasting());
        Judgement::no(denial, mode)
    }

    /// The present time, unless the clock can't be right.
    pub(super) fn instant(&self) -> Option<Timestamp> {
        self.clock.is_none().then_some(self.now)
    }

    fn policy_mode(&self) -> Mode {
        self.policy.mode_at(self.instant())
    }

    /// The refusal of the first digest that is revoked.
    fn revoked(&self, digests: &[Digest]) -> Option<Denial> {
        let (digest, reason) = self.policy.first_revoked(digests)?;
        Some(refusals::revoked(digest, reason))
    }

    /// The same, also of bytes that are only part of images with revoked digests: those of an image
    /// without may be used for that one.
    pub(super) fn revoked_everywhere(&self, question: &Question) -> Option<Denial> {
        self.revoked(&question.bytes).or_else(|| {
            let images = question.images.iter().map(|image| self.revoked(image));
            images.collect::<Option<Vec<_>>>()?.into_iter().next()
        })
    }

    /// Whether only signed or bound bytes may have the name (rule 9).
    fn covers(&self, name: &ImageRef) -> bool {
        let image = |tag| self.policy.image(&name.repository, tag);
        self.policy.rule_for(&name.repository).is_some()
            || name.tag.as_ref().and_then(image).is_some()
    }

    fn has_entry(&self, name: &ImageRef) -> bool {
        let mut exempts = self.policy.exempts_for(&name.repository);
        self.covers(name) || exempts.next().is_some()
    }

    /// The mode for a no about a name. `is_lasting`: whatever `audit-until` its rule has.
    pub(super) fn mode_for(&self, name: &ImageRef, is_lasting: bool) -> Mode {
        let (repository, now) = (&name.repository, self.instant());
        self.policy.mode_for_no(repository, now, is_lasting)
    }

    /// The mode for a no: the strictest of all names, and of the names of what the bytes were made
    /// of (rule 6). Bytes of a registry under no name may be of any rule.
    pub(super) fn mode_of(&self, question: &Question, is_lasting: bool) -> Mode {
        let of_nothing = match question.origin {
            _ if !question.names.is_empty() => Mode::Audit,
            Origin::Local => self.policy_mode(),
            Origin::Registry | Origin::Unknown => self.policy.strictest_mode(self.instant()),
        };
        let names = question.names.iter();
        let of_names = names.map(|named| self.mode_for(&named.name, is_lasting));
        let variants = question.variants.iter();
        let of_variants = variants.map(|one| self.mode_of(one, is_lasting));
        of_names.chain(of_variants).fold(of_nothing, Mode::max)
    }

    /// `[local]`, for an image or a layer. A layer that was compressed anew is local only where
    /// every blob that it may have been made of is admitted too.
    fn local_image(&self, question: &Question) -> Asked<Judgement> {
        if self.policy.local.allows(&question.namespace) {
            for variant in &question.variants {
                let mut judgement = self.judge(variant)?;
                if let Err(denial) = &judgement.result {
                    let of_question = self.mode_of(question, denial.is_lasting());
                    judgement.mode = judgement.mode.max(of_question);
                    judgement.decided_by = None;
                    return Ok(judgement);
                }
            }
        }
        if let Some(denial) = self.revoked_everywhere(question) {
            return Ok(self.denied(question, denial));
        }
        let mut found = format!("{} in namespace {}", question.shown, question.namespace);
        if !question.action.is_of_dockerd() {
            found.push_str(", of no image that has a known name or source");
        }
        Ok(self.local(question, found, self.mode_of(question, false)))
    }

    /// `[local]`, for any bytes of no registry.
    fn local(&self, question: &Question, found: String, mode: Mode) -> Judgement {
        if !self.policy.local.allows(&question.namespace) {
            return Judgement::no(refusals::not_local(found, &question.namespace), mode);
        }
        let rule = "[local] content = \"allow\"".to_owned();
        Judgement::of(Ok((Ground::Local, rule, Timestamp::MAX)), mode)
    }

    /// If the policy covers a name, only signed or bound bytes may have it; `[local]` does not apply
    /// to bytes that are made here.
    fn made(&self, question: &Question, names: &[ImageRef]) -> Judgement {
        let Some(name) = names.iter().find(|name| self.covers(name)) else {
            return self.local(question, question.shown.clone(), self.policy_mode());
        };
        let rule = self.policy.rule_for(&name.repository);
        let mut denial = refusals::made_under_covered_name(&question.shown, name);
        denial.rule = rule.map(ToString::to_string);
        Judgement::no(denial, self.mode_for(name, false))
    }

    /// A key of `[docker]` allows all of its kind, or none.
    fn by_key(&self, key: &str, allowed: bool, question: &Question) -> Judgement {
        let value = if allowed { "allow" } else { "deny" };
        let rule = format!("[docker] {key} = \"{value}\"");
        let no = refusals::by_key(question, rule.clone(), key);
        let yes = (Ground::PolicyKey, rule, Timestamp::MAX);
        Judgement::of(if allowed { Ok(yes) } else { Err(no) }, self.policy_mode())
    }
}

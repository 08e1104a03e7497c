//! The one procedure, for every door.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rootpin_trust::image::{Digest, ImageRef, Repository};
use rootpin_trust::{Code, Refusal};

use super::answer::{Admission, Basis, Denial, Ground, Judgement, rank};
use super::entries::{Entry, EntryKind, Lookup, Why, entries};
use super::question::{Action, NameSource, NamedBytes, Origin, Question};
use super::{Asked, Judge, RefusedName, refusals};
use crate::{Mode, Policy};

/// An image under each further name costs a look at what is signed of that name.
const MOST_NAMES: usize = 16;

/// The most specific no so far.
#[derive(Default)]
struct Worst {
    denial: Option<(Denial, usize)>,
    /// Whether the policy says anything of a name so far.
    is_covered: bool,
    /// Whether a no was about the bytes, so that no other name can mend it.
    is_final: bool,
}

impl Worst {
    fn add(&mut self, denial: &Denial, at: usize, is_final: bool) {
        self.is_final |= is_final;
        self.is_covered |= denial.refusal.code != Code::NoRule;
        let more =
            |(known, _): &(Denial, usize)| rank(denial.refusal.code) > rank(known.refusal.code);
        if self.denial.as_ref().is_none_or(more) {
            self.denial = Some((denial.clone(), at));
        }
    }

    /// Further names that didn't help. Who wrote a name is told of that one.
    fn after(&mut self, others: Self) {
        self.is_covered |= others.is_covered;
        self.denial = self.denial.take().or(others.denial);
    }
}

impl Judge<'_> {
    pub(super) fn judge(&self, question: &Question) -> Asked<Judgement> {
        match &question.action {
            Action::Swarm => {
                let wanted =
                    "no use of Swarm, whose nodes pull what a manager names without asking";
                return Ok(self.by_key("swarm", self.policy.docker.swarm, question, wanted));
            }
            Action::Plugin => {
                let wanted = "no plugins, which are images that run as root and that nobody has signed for rootpin";
                return Ok(self.by_key("plugins", self.policy.docker.plugins, question, wanted));
            }
            Action::Make(names) => return Ok(self.made(question, names)),
            Action::Pull
            | Action::Unpack
            | Action::Run
            | Action::Create
            | Action::Tag
            | Action::Resident => {}
        }
        let denied = |denial, at| denied(denial, self.mode_of(question), at);
        if let Some(denial) = self.revoked(&question.bytes) {
            return Ok(denied(denial, None));
        }
        // A name of which the policy says nothing may be given to anything that is local content.
        if question.action == Action::Tag && !self.is_spoken_of(question) {
            return Ok(self.local(question, question.shown.clone(), self.policy.mode));
        }
        let mut worst = Worst::default();
        if let Some(judgement) = self.names(question, &mut worst)? {
            return Ok(judgement);
        }
        if let Some(judgement) = self.exempt_elsewhere(question, &worst) {
            return Ok(judgement);
        }
        if !worst.is_covered && self.may_be_local(question) {
            let local = self.local_image(question)?;
            if local.result.is_ok() || worst.denial.is_none() || question.action.is_of_dockerd() {
                return Ok(local);
            }
        }
        Ok(match worst.denial {
            Some((denial, at)) => denied(denial, Some(at)),
            None => denied(refusals::unnamed(question), None),
        })
    }

    /// The names of the most believed source decide. Only where the policy says nothing of them,
    /// and dockerd is to use what it has, the other names by which it knows the image will do.
    fn names(&self, question: &Question, worst: &mut Worst) -> Asked<Option<Judgement>> {
        let source = question.names.iter().map(|named| named.source).min();
        let all = || question.names.iter().enumerate();
        let first: Vec<_> = all()
            .filter(|(_, named)| Some(named.source) == source)
            .collect();
        if let Some(judgement) = self.any_of(question, &first, worst)? {
            return Ok(Some(judgement));
        }
        if !question.action.is_of_dockerd() || worst.is_covered {
            return Ok(None);
        }
        // The same repository without the tag would be vouched for by any of its tags.
        let is_known = |repository: &Repository| {
            first
                .iter()
                .any(|(_, named)| named.name.repository == *repository)
        };
        let others: Vec<_> = all()
            .filter(|(_, named)| Some(named.source) != source && !is_known(&named.name.repository))
            .collect();
        let mut worst_of_others = Worst::default();
        let judgement = self.any_of(question, &others, &mut worst_of_others)?;
        worst.after(worst_of_others);
        Ok(judgement)
    }

    /// The first of these names that is admitted.
    fn any_of(
        &self,
        question: &Question,
        names: &[(usize, &NamedBytes)],
        worst: &mut Worst,
    ) -> Asked<Option<Judgement>> {
        if question.action.is_of_dockerd() {
            let repositories: BTreeSet<_> = names
                .iter()
                .map(|(_, named)| &named.name.repository)
                .collect();
            if repositories.len() > MOST_NAMES {
                let denial = refusals::too_many_names(repositories.len(), MOST_NAMES);
                worst.add(&denial, 0, false);
                return Ok(None);
            }
        }
        for (at, named) in names {
            if let Some(judgement) = self.name_once(question, *at, named, worst)? {
                return Ok(Some(judgement));
            }
        }
        Ok(None)
    }

    /// One name, which is judged once in a question: the procedure begins anew after each answer,
    /// and an image may have thousands of names.
    fn name_once(
        &self,
        question: &Question,
        at: usize,
        named: &NamedBytes,
        worst: &mut Worst,
    ) -> Asked<Option<Judgement>> {
        let place = self.come_to.replace(self.come_to.get() + 1);
        let mut refused = self.refused.borrow_mut();
        match refused.get(place) {
            Some(known) if known.name == named.name && known.top == named.top => {
                self.rests_on(known.basis);
                worst.add(&known.denial, at, known.is_final);
                return Ok(None);
            }
            // Newer metadata proposes other digests for a tag.
            _ => refused.truncate(place),
        }
        let before = self.basis.replace(Basis::Policy);
        let named_once = self.name(question, at, named);
        let basis = self.basis.get();
        self.rests_on(before);
        let (denial, is_final) = match named_once? {
            Ok(judgement) => return Ok(Some(judgement)),
            Err(no) => no,
        };
        worst.add(&denial, at, is_final);
        refused.push(RefusedName {
            name: named.name.clone(),
            top: named.top,
            denial,
            is_final,
            basis,
        });
        Ok(None)
    }

    /// One name: the first entry that applies decides. Returns the yes, or the no and whether it is
    /// final.
    fn name(
        &self,
        question: &Question,
        at: usize,
        named: &NamedBytes,
    ) -> Asked<Result<Judgement, (Denial, bool)>> {
        let name = &named.name;
        let all = entries(self.policy, self.lookup(question, named));
        let Some(entry) = all.iter().find(|entry| entry.applies()) else {
            return Ok(Err((refusals::no_rule(name), false)));
        };
        let (no, is_final) = match (&entry.why, entry.kind) {
            (Why::Clock(refusal), kind) => {
                (Denial::by(kind.to_string(), (*refusal).clone()), false)
            }
            (_, EntryKind::Revoked(digest, reason)) => (refusals::revoked(digest, reason), true),
            (_, EntryKind::OwnDigest(asked)) => (refusals::own_digest(named.top, asked), true),
            (_, EntryKind::Image(image)) if named.is_listed(|one| image.digests.contains(one)) => {
                let admission = self.admission(question, Ground::PolicyPin, entry, Timestamp::MAX);
                return Ok(Ok(admitted(admission, at)));
            }
            (_, EntryKind::Image(image)) => (refusals::bound_elsewhere(named.top, image), true),
            (Why::Ended, EntryKind::Exempt(exempt)) => {
                (refusals::exemption_over(exempt, self.now), false)
            }
            (_, EntryKind::Exempt(exempt)) => {
                let admission = self.admission(question, Ground::Exempt, entry, exempt.until);
                return Ok(Ok(admitted(admission, at)));
            }
            (_, EntryKind::Rule(rule)) => match self.rule(rule, named)? {
                Ok((signed, until)) => {
                    let admission = self.admission(question, Ground::Signed(signed), entry, until);
                    return Ok(Ok(admitted(admission, at)));
                }
                Err(denial) => (denial, false),
            },
        };
        Ok(Err((without_registry(question, no, name), is_final)))
    }

    /// An exemption without digests is for what a registry was asked for. (What dockerd has is used
    /// under the name that was written, and no other one mends that.) It holds also where a
    /// forged annotation, which is believed first, names something else; it never mends what is
    /// revoked or bound to other bytes.
    fn exempt_elsewhere(&self, question: &Question, worst: &Worst) -> Option<Judgement> {
        if worst.is_final || question.action.is_of_dockerd() {
            return None;
        }
        let from_registry =
            question.names.iter().enumerate().filter(|(_, named)| {
                matches!(named.source, NameSource::Client | NameSource::Source)
            });
        for (at, named) in from_registry {
            let all = entries(self.policy, self.lookup(question, named));
            let Some(entry) = all.iter().find(|entry| entry.applies()) else {
                continue;
            };
            if let (Why::Applies, EntryKind::Exempt(exempt)) = (&entry.why, entry.kind) {
                let admission = self.admission(question, Ground::Exempt, entry, exempt.until);
                return Some(admitted(admission, at));
            }
        }
        None
    }

    fn lookup<'b>(&'b self, question: &Question, named: &'b NamedBytes) -> Lookup<'b> {
        let is_source = |other: &NamedBytes| {
            other.source == NameSource::Source
                && other.top == named.top
                && other.name.repository == named.name.repository
        };
        Lookup {
            name: &named.name,
            bytes: Some(named),
            from_registry: matches!(named.source, NameSource::Client | NameSource::Source)
                || question.names.iter().any(is_source),
            now: self.now,
            clock: self.clock.as_ref(),
        }
    }

    fn admission(
        &self,
        question: &Question,
        ground: Ground,
        entry: &Entry<'_>,
        valid_until: Timestamp,
    ) -> Admission {
        Admission {
            ground,
            rule: entry.kind.to_string(),
            valid_until,
            mode: self.mode_of(question),
        }
    }

    /// The first of the digests that is revoked.
    fn revoked(&self, digests: &[Digest]) -> Option<Denial> {
        digests.iter().find_map(|digest| {
            let reason = self.policy.revoked_digest(digest)?;
            Some(refusals::revoked(*digest, reason))
        })
    }

    /// Whether the policy demands something of a name, so that nobody who tells another one beside
    /// it can make its bytes local.
    fn covers(&self, name: &ImageRef) -> bool {
        let policy: &Policy = self.policy;
        policy.rule_for(&name.repository).is_some()
            || policy
                .images_for(&name.repository, name.tag.as_ref())
                .is_some()
    }

    /// Whether the policy says anything of the name that an image is to be given.
    fn is_spoken_of(&self, question: &Question) -> bool {
        question.names.first().is_some_and(|named| {
            let name = &named.name;
            self.covers(name) || self.policy.exempts_for(&name.repository).next().is_some()
        })
    }

    fn may_be_local(&self, question: &Question) -> bool {
        question.origin == Origin::Local
            && !question.names.iter().any(|named| self.covers(&named.name))
    }

    /// The mode of a no: that of the strictest of its names, and of the names of what it was made
    /// of, since what lets one of them pass under audit lets none of the others. What came from a
    /// registry under no name that could be proved may be of any.
    fn mode_of(&self, question: &Question) -> Mode {
        if question.names.is_empty() && question.origin != Origin::Local {
            return self.policy.strictest_mode();
        }
        let names = question.names.iter();
        let of_names = names.map(|named| self.policy.mode_for(&named.name.repository));
        let of_variants = question.variants.iter().map(|one| self.mode_of(one));
        of_names
            .chain(of_variants)
            .fold(self.policy.mode, Mode::max)
    }

    /// `[local]`, for an image or a part of one. A layer that was compressed anew is local only
    /// where every blob that it can have been made of may be unpacked too.
    fn local_image(&self, question: &Question) -> Asked<Judgement> {
        let mode = self.mode_of(question);
        if self.policy.local.allows(&question.namespace) {
            for variant in &question.variants {
                let judgement = self.judge(variant)?;
                if judgement.result.is_err() {
                    return Ok(Judgement {
                        mode,
                        decided_by: None,
                        ..judgement
                    });
                }
            }
        }
        let mut revoked = question.images.iter().map(|image| self.revoked(image));
        if let Some(Some(denial)) = revoked
            .next()
            .filter(|_| revoked.all(|denial| denial.is_some()))
        {
            return Ok(denied(denial, mode, None));
        }
        let known = if question.action.is_of_dockerd() {
            ""
        } else {
            ", of no image that has a known name or source"
        };
        let found = format!(
            "{} in namespace {}{known}",
            question.shown, question.namespace
        );
        Ok(self.local(question, found, mode))
    }

    /// `[local]`, for bytes of no registry, whatever they are.
    fn local(&self, question: &Question, found: String, mode: Mode) -> Judgement {
        let namespace = &question.namespace;
        if !self.policy.local.allows(namespace) {
            let denial = refusals::not_local(found, namespace);
            return denied(denial, mode, None);
        }
        let admission = Admission {
            ground: Ground::Local,
            rule: "[local] content = \"allow\"".to_owned(),
            valid_until: Timestamp::MAX,
            mode,
        };
        Judgement {
            decided_by: None,
            ..admitted(admission, 0)
        }
    }

    /// If the policy covers a name, only signed or bound bytes may carry it; `[local]` does not
    /// apply to what is made here.
    fn made(&self, question: &Question, names: &[ImageRef]) -> Judgement {
        let Some(name) = names.iter().find(|name| self.covers(name)) else {
            return self.local(question, question.shown.clone(), self.policy.mode);
        };
        let rule = self.policy.rule_for(&name.repository);
        let denial = Denial {
            rule: rule.map(ToString::to_string),
            ..refusals::made_under_covered_name(&question.shown, name)
        };
        denied(denial, self.policy.mode_for(&name.repository), None)
    }

    /// A key of the policy that lets all of a kind pass, or nothing.
    fn by_key(&self, key: &str, allowed: bool, question: &Question, wanted: &str) -> Judgement {
        let mode = self.policy.mode;
        let value = if allowed { "allow" } else { "deny" };
        let rule = format!("[docker] {key} = \"{value}\"");
        if allowed {
            let admission = Admission {
                ground: Ground::PolicyKey,
                rule,
                valid_until: Timestamp::MAX,
                mode,
            };
            return Judgement {
                decided_by: None,
                ..admitted(admission, 0)
            };
        }
        let hint = format!("[docker] {key} = \"allow\" in the policy lets all of it pass");
        let refusal = Refusal::new(Code::NoRule, question.shown.clone(), wanted, hint);
        denied(Denial::by(rule, refusal), mode, None)
    }
}

/// Where dockerd has the image already, no registry is to blame for other bytes.
fn without_registry(question: &Question, mut no: Denial, name: &ImageRef) -> Denial {
    if question.action.is_of_dockerd() && no.refusal.code == Code::DigestMismatch {
        no.refusal.hint = format!(
            "these are not the bytes that the name is to stand for; pull {name} to have those"
        );
    }
    no
}

pub(super) fn admitted(admission: Admission, at: usize) -> Judgement {
    Judgement {
        mode: admission.mode,
        result: Ok(admission),
        decided_by: Some(at),
        digest: None,
        basis: Basis::Policy,
    }
}

pub(super) fn denied(denial: Denial, mode: Mode, decided_by: Option<usize>) -> Judgement {
    Judgement {
        result: Err(denial),
        mode,
        decided_by,
        digest: None,
        basis: Basis::Policy,
    }
}

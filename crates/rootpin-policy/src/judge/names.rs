//! The names of a question: which of them decide, and what the policy says about each (rules 2 to 6
//! and 8 of docs/policy.md).

use std::collections::BTreeSet;

use jiff::Timestamp;
use rootpin_trust::Code;
use rootpin_trust::image::Repository;

use super::answer::{Basis, Denial, Ground, Judgement};
use super::entries::{EntryKind, Lookup, Why, entries};
use super::question::{NameSource, NamedBytes, Question};
use super::{Asked, Judge, refusals};

/// Each further repository of an image costs a look at that repository's metadata.
const MOST_REPOSITORIES: usize = 16;

/// The names of a question while they are judged.
pub(super) struct Names<'a> {
    pub(super) judge: &'a Judge<'a>,
    pub(super) question: &'a Question,
    /// The most specific no so far, and the index of its name.
    pub(super) no: Option<(Denial, usize)>,
    /// Whether an entry covers one of the names so far.
    pub(super) is_covered: bool,
}

impl Names<'_> {
    /// The names of the most believed source decide (rule 2). Where no entry covers them, and
    /// dockerd uses an image that it has, its other names for the image will do (rule 8).
    pub(super) fn admitted(&mut self) -> Asked<Option<Judgement>> {
        let all = || self.question.names.iter().enumerate();
        let source = all().map(|(_, named)| named.source).min();
        let (first, mut others): (Vec<_>, Vec<_>) =
            all().partition(|(_, named)| Some(named.source) == source);
        if let Some(judgement) = self.any_of(&first)? {
            return Ok(Some(judgement));
        }
        if !self.question.action.is_of_dockerd() {
            return self.exempt_elsewhere();
        }
        if self.is_covered {
            return Ok(None);
        }
        // Without the tag, any tag of the same repository would vouch for it.
        let known = repositories(&first);
        others.retain(|(_, named)| !known.contains(&named.name.repository));
        // The refusal of the name that was written is the one to show.
        let mut written = self.no.take();
        let judgement = self.any_of(&others)?;
        if let (Some((written, _)), Some((other, _))) = (&mut written, &self.no) {
            written.stays_beside(other);
        }
        self.no = written.or(self.no.take());
        Ok(judgement)
    }

    /// The first of these names that is admitted.
    fn any_of(&mut self, names: &[(usize, &NamedBytes)]) -> Asked<Option<Judgement>> {
        let repositories = || repositories(names).len();
        if self.question.action.is_of_dockerd() && repositories() > MOST_REPOSITORIES {
            let denial = refusals::too_many_names(repositories(), MOST_REPOSITORIES);
            (self.no, self.is_covered) = (Some((denial, 0)), true);
            return Ok(None);
        }
        for (at, named) in names {
            if let Some(judgement) = self.name_once(*at, named)? {
                return Ok(Some(judgement.decided_by(*at)));
            }
        }
        Ok(None)
    }

    fn refuse(&mut self, denial: &Denial, at: usize) {
        let code = denial.refusal.code;
        self.is_covered |= code != Code::NoRule;
        let mut denial = denial.clone();
        match &mut self.no {
            Some((known, _)) if code.rank() <= known.refusal.code.rank() => {
                known.stays_beside(&denial);
            }
            known => {
                if let Some((known, _)) = known {
                    denial.stays_beside(known);
                }
                *known = Some((denial, at));
            }
        }
    }

    /// Judges each name once in a question, although the procedure begins anew after each answer: an
    /// image may have thousands of names.
    fn name_once(&mut self, at: usize, named: &NamedBytes) -> Asked<Option<Judgement>> {
        let judge = self.judge;
        let place = judge.come_to.replace(judge.come_to.get() + 1);
        let mut refused = judge.refused.borrow_mut();
        if let Some((name, top, denial, basis)) = refused.get(place)
            && (name, top) == (&named.name, &named.top)
        {
            judge.rests_on(*basis);
            self.refuse(denial, at);
            return Ok(None);
        }
        // Newer metadata proposes other digests for a tag.
        refused.truncate(place);
        let before = judge.basis.replace(Basis::Policy);
        let judged = self.name(named);
        let basis = judge.basis.get();
        judge.rests_on(before);
        let denial = match judged? {
            Ok(judgement) => return Ok(Some(judgement)),
            Err(denial) => denial,
        };
        self.refuse(&denial, at);
        refused.push((named.name.clone(), named.top, denial, basis));
        Ok(None)
    }

    /// The first entry that applies decides about a name.
    fn name(&self, named: &NamedBytes) -> Asked<Result<Judgement, Denial>> {
        let lookup = self.lookup(named);
        let Some((kind, why)) = self.deciding(lookup) else {
            return Ok(Err(refusals::no_rule(&named.name)));
        };
        let found = match (kind, why) {
            (_, Why::Clock(refusal)) => Err(Denial::by(kind.to_string(), refusal.clone())),
            (EntryKind::Revoked(digest, why), _) => Err(refusals::revoked(digest, why)),
            (EntryKind::OwnDigest(own), _) => Err(refusals::own_digest(named.top, own)),
            (EntryKind::Image(image), _) => match lookup.is_listed(&image.digests) {
                Some(true) => Ok((Ground::PolicyPin, Timestamp::MAX)),
                _ => Err(refusals::bound_elsewhere(named.top, image)),
            },
            (EntryKind::Exempt(exempt), Why::Ended) => {
                Err(refusals::exemption_over(exempt, lookup.now))
            }
            (EntryKind::Exempt(exempt), _) => Ok((Ground::Exempt, exempt.until)),
            (EntryKind::Rule(rule), _) => self.judge.rule(rule, named)?,
        };
        let is_final = !matches!(kind, EntryKind::Exempt(_) | EntryKind::Rule(_));
        let yes = |(ground, until)| {
            let mode = self.judge.mode_of(self.question, false);
            Judgement::of(Ok((ground, kind.to_string(), until)), mode)
        };
        Ok(found.map(yes).map_err(|no| Denial { is_final, ..no }))
    }

    /// An exemption without digests is for what a registry was asked for (rule 4), also where a
    /// forged annotation, which is believed first, gives another name. It mends no final no.
    fn exempt_elsewhere(&self) -> Asked<Option<Judgement>> {
        if self.no.as_ref().is_some_and(|(denial, _)| denial.is_final) {
            return Ok(None);
        }
        let names = self.question.names.iter().enumerate();
        for (at, named) in names.filter(|(_, named)| named.source.is_registry()) {
            if let Some((EntryKind::Exempt(_), _)) = self.deciding(self.lookup(named))
                && let Ok(judgement) = self.name(named)?
            {
                return Ok(Some(judgement.decided_by(at)));
            }
        }
        Ok(None)
    }

    fn deciding<'b>(&'b self, lookup: Lookup<'b>) -> Option<(EntryKind<'b>, Why<'b>)> {
        let all = entries(self.judge.policy, lookup);
        all.into_iter().find(|(_, why)| why.applies())
    }

    fn lookup<'b>(&'b self, named: &'b NamedBytes) -> Lookup<'b> {
        // A label counts for the bytes that have it, and for no others of its repository.
        let is_label = |other: &NamedBytes| {
            let bytes = (other.top, &other.name.repository);
            other.source == NameSource::Source && bytes == (named.top, &named.name.repository)
        };
        let has_label = || self.question.names.iter().any(is_label);
        Lookup {
            top: Some(named.top),
            manifests: &named.manifests,
            contents: &named.contents,
            from_registry: named.source.is_registry() || has_label(),
            ..Lookup::of(&named.name, self.judge.now, self.judge.clock.as_ref())
        }
    }
}

fn repositories<'a>(names: &[(usize, &'a NamedBytes)]) -> BTreeSet<&'a Repository> {
    let all = names.iter().map(|(_, named)| &named.name.repository);
    all.collect()
}

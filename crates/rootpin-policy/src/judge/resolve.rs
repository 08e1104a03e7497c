//! The digest to use for a tag: the one that is signed for it, whatever its registry says now.
//!
//! The policy and signed statements propose digests, and each is judged as a pull of it. The registry
//! is asked only to choose among proposals, and for a name that the policy exempts or only audits.

use rootpin_trust::Refusal;
use rootpin_trust::image::{Digest, ImageRef, Tag};

use super::answer::{Denial, Judgement};
use super::entries::{EntryKind, Lookup, Why, entries};
use super::question::{Question, Sought};
use super::{Ask, Asked, Heard, Judge, Need, refusals};
use crate::{Mode, Rule};

/// Digests for a tag, the better ones first; and the refusal to show if there is none.
type Proposed = (Vec<Digest>, Option<Denial>);

impl Judge<'_> {
    /// The judgement of the first proposed digest that is admitted, or else the most specific no.
    pub(super) fn resolve(&self, name: &ImageRef) -> Asked<Judgement> {
        let mode = self.mode_for(name, false);
        let Some(tag) = &name.tag else {
            return Ok(Judgement::no(refusals::no_rule(name), mode));
        };
        let (digests, denial) = self.proposed(name, tag, mode)?;
        let denial = denial.unwrap_or_else(|| refusals::no_rule(name));
        let mode = self.mode_for(name, denial.is_lasting());
        let mut worst = (None, Judgement::no(denial, mode));
        for digest in digests {
            let mut judgement = self.judge(&Question::pull(name.clone(), digest))?;
            judgement.digest = Some(digest);
            let Err(denial) = &judgement.result else {
                return Ok(judgement);
            };
            let rank = Some(denial.refusal.code.rank());
            if rank > worst.0 {
                worst = (rank, judgement);
            }
        }
        Ok(worst.1)
    }

    /// In the order of precedence: digests of `[[image]]`, then exempt ones, then signed ones; and
    /// of these, bytes that a root vouches for before bytes that are only exempt.
    fn proposed(&self, name: &ImageRef, tag: &Tag, mode: Mode) -> Asked<Proposed> {
        let all = entries(self.policy, Lookup::of(name, self.now, self.clock.as_ref()));
        let (mut exempts_any, mut exempt, mut over) = (false, Vec::new(), None);
        for (kind, why) in &all {
            match (kind, why) {
                (EntryKind::Image(image), _) => {
                    let listed = image.digests.iter().copied().collect();
                    return Ok((self.chosen_first(name, listed)?, None));
                }
                (EntryKind::Exempt(entry), Why::Applies) => match &entry.digests {
                    Some(digests) => exempt.extend(digests),
                    None => exempts_any = true,
                },
                (_, Why::Clock(no)) => _ = over.get_or_insert(Denial::plain((*no).clone())),
                (EntryKind::Exempt(exempt), Why::Over | Why::Ended) => {
                    over.get_or_insert(refusals::exemption_over(exempt, self.now));
                }
                _ => {}
            }
        }
        let mut silence = None;
        // Where a pull would pass, the registry says which digest that is.
        if mode == Mode::Audit || exempts_any || self.is_open() {
            match self.registry(name)? {
                Ok(digest) => return Ok((vec![digest], None)),
                Err(refusal) if refusal.code.judged() => {
                    return Ok((Vec::new(), Some(Denial::plain(refusal))));
                }
                // A registry that does not answer must not take down signed images.
                Err(refusal) => silence = Some(Denial::plain(refusal)),
            }
        }
        let (mut digests, unsigned) = match self.policy.rule_for(&name.repository) {
            Some(rule) => self.signed(rule, name, tag)?,
            None => (Vec::new(), None),
        };
        if digests.is_empty() {
            exempt = self.chosen_first(name, exempt)?;
        }
        digests.extend(exempt);
        Ok((digests, said_first(silence, unsigned).or(over)))
    }

    /// The digest that a quorum of a rule's roots names for the tag, or all that its roots name.
    /// Where roots that list no tags can make the quorum, the registry proposes the digest too.
    fn signed(&self, rule: &Rule, name: &ImageRef, tag: &Tag) -> Asked<Proposed> {
        let (listing, others): (Vec<_>, Vec<_>) = rule
            .roots
            .iter()
            .cloned()
            .partition(|root| root.lists_tags());
        let (mut named, mut silence) = (Vec::new(), None);
        if others.len() >= rule.quorum {
            match self.registry(name)? {
                Ok(digest) => named.push(digest),
                Err(refusal) => silence = Some(Denial::plain(refusal)),
            }
        }
        if listing.is_empty() && !others.is_empty() {
            return Ok((named, silence));
        }
        let rule = Rule {
            roots: listing,
            quorum: rule.quorum.saturating_sub(others.len()).max(1),
            ..rule.clone()
        };
        let (votes, denial) = self.votes(&rule, name, Sought::Tagged(tag))?;
        named.extend(votes.iter().map(|vote| vote.digest));
        named.dedup();
        Ok((named, said_first(silence, denial)))
    }

    /// Puts first the digest that the registry has under the tag, among several that are all
    /// admitted.
    fn chosen_first(&self, name: &ImageRef, mut digests: Vec<Digest>) -> Asked<Vec<Digest>> {
        if digests.len() > 1
            && let Ok(served) = self.registry(name)?
            && let Some(at) = digests.iter().position(|digest| *digest == served)
        {
            digests.swap(0, at);
        }
        Ok(digests)
    }

    /// The digest that the registry serves for the tag. It gets half of the time that is left.
    fn registry(&self, name: &ImageRef) -> Asked<Result<Digest, Refusal>> {
        let need = Need::Registry(name.clone());
        match self.heard(&need) {
            None => Err(Ask::of(need, false, name, 2)),
            Some((_, Heard::Registry(served))) => Ok(served.clone()),
            Some((_, Heard::Root(_))) => Ok(Err(refusals::unheard())),
        }
    }
}

/// The no to show: that the registry is silent, unless a root rests on a revoked key.
fn said_first(silence: Option<Denial>, no: Option<Denial>) -> Option<Denial> {
    if no.as_ref().is_some_and(Denial::is_revoked) {
        no
    } else {
        silence.or(no)
    }
}

//! `[[rule]]`: a quorum of its roots must have signed that the name is these bytes.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use rootpin_trust::image::{Digest, ImageRef, Repository};
use rootpin_trust::{Code, Collection, KeyId, Refusal, Target, independent, tuf};

use super::answer::{Basis, Denial, Ground, Statement};
use super::question::{NamedBytes, Sought};
use super::{Ask, Asked, Heard, Judge, Need, refusals};
use crate::{Root, Rule};

/// A root's yes to what was asked.
#[derive(Debug)]
pub(super) struct Vote<'a> {
    root: &'a Arc<Root>,
    collection: &'a Collection,
    /// `None`: the collection is only supposed.
    statement: Option<&'a Statement>,
    /// The digest that it is a yes to.
    pub(super) digest: Digest,
}

/// The roots that said yes, and why there is no quorum, if there is none.
type Votes<'a> = (Vec<Vote<'a>>, Option<Denial>);

/// The roots of one rule, while they are asked about one name.
struct Poll<'a> {
    judge: &'a Judge<'a>,
    rule: &'a Rule,
    name: &'a ImageRef,
    /// The repository as a signed statement names it.
    signed_name: Repository,
    sought: Sought<'a>,
}

impl Judge<'_> {
    /// The statements of a quorum and until when they answer, or why there is no quorum.
    pub(super) fn rule(
        &self,
        rule: &Rule,
        named: &NamedBytes,
    ) -> Asked<Result<(Ground, Timestamp), Denial>> {
        let sought = Sought::Bytes(named.name.tag.as_ref(), named.top);
        let (votes, denial) = self.votes(rule, &named.name, sought)?;
        if let Some(denial) = denial {
            return Ok(Err(denial));
        }
        let signed = votes.iter();
        let signed =
            signed.filter_map(|vote| Some((vote.root.id.clone(), vote.statement?.clone())));
        let signed: Vec<_> = signed.collect();
        let until = signed.iter().map(|(_, statement)| statement.valid_until);
        let until = until.fold(Timestamp::MAX, Timestamp::min);
        Ok(Ok((Ground::Signed(signed), until)))
    }

    /// Asks the roots of a rule, but no more than it takes until a quorum agrees.
    pub(super) fn votes<'a>(
        &'a self,
        rule: &'a Rule,
        name: &'a ImageRef,
        sought: Sought<'a>,
    ) -> Asked<Votes<'a>> {
        let refusal = match rule.signed_name(&name.repository) {
            _ if rule.roots.is_empty() => refusals::no_roots(),
            None => refusals::no_signed_name(rule, name),
            Some(signed_name) => {
                let poll = Poll {
                    judge: self,
                    rule,
                    name,
                    signed_name,
                    sought,
                };
                return poll.votes();
            }
        };
        Ok((Vec::new(), Some(by_roots(rule, refusal))))
    }
}

impl<'a> Poll<'a> {
    fn votes(&self) -> Asked<Votes<'a>> {
        let rule = self.rule;
        let (mut votes, mut silent): (Vec<Vote<'_>>, _) = (Vec::new(), Vec::new());
        let (mut refused, mut unjudged) = (Vec::new(), Vec::new());
        for (at, root) in rule.roots.iter().enumerate() {
            match self.vote(root, self.need(root, false), rule.roots.len() - at)? {
                Ok(vote) => {
                    let digest = vote.digest;
                    votes.push(vote);
                    // One root speaks for itself.
                    if rule.quorum <= 1 {
                        return Ok((votes, None));
                    }
                    let mut agreeing: Vec<_> = votes.iter_mut().collect();
                    agreeing.retain(|vote| vote.digest == digest);
                    let sharers = rule.roots.len() - at;
                    silent = self.hear_all_signers(&mut agreeing, rule.quorum, sharers)?;
                    let speaking = speaking(&agreeing);
                    if speaking.len() >= rule.quorum {
                        let speaks = |vote: &Vote<'_>| speaking.contains(&&vote.root.id);
                        votes.retain(|vote| vote.digest == digest && speaks(vote));
                        return Ok((votes, None));
                    }
                }
                Err(refusal) if refusal.code.judged() => refused.push(refusal),
                Err(refusal) => unjudged.push(refusal),
            }
        }
        // A "no" only if the quorum is missed even though all silent roots agreed (rule 7).
        if !unjudged.is_empty() {
            let enough = rule.quorum.saturating_sub(unjudged.len());
            let mut heard: Vec<_> = votes.iter_mut().collect();
            silent = self.hear_all_signers(&mut heard, enough, 1)?;
        }
        unjudged.append(&mut silent);
        let speaking = speaking(&votes);
        if votes.len() > speaking.len() {
            let said = votes.iter().filter_map(|vote| vote.statement);
            let cut = said.map(|said| said.cut.as_str()).max().unwrap_or_default();
            refused.push(refusals::one_voice(rule, &shared_keys(&votes), cut));
        }
        let possible = speaking.len() + unjudged.len() >= rule.quorum;
        let is_revoked = |refusal: &&Refusal| refusal.code == Code::Revoked;
        let revoked = refused.iter().find(is_revoked).cloned();
        let decisive = if possible { unjudged } else { refused };
        let by_rank = |refusal: &Refusal| refusal.code.rank();
        let most_specific = decisive.into_iter().max_by_key(by_rank);
        let mut refusal = most_specific.unwrap_or_else(refusals::unheard);
        if let Some(revoked) = revoked.as_ref().filter(|_| refusal.code != Code::Revoked) {
            let also = format!("; and of another root: {}", revoked.found);
            refusal.found.push_str(&also);
        }
        let mut denial = by_roots(rule, refusal);
        denial.rests_on_revoked = revoked.is_some();
        Ok((votes, Some(denial)))
    }

    fn need(&self, root: &Arc<Root>, every_signer: bool) -> Need {
        let repository = root.asked_name(&self.signed_name, &self.name.repository);
        let about = match self.sought {
            Sought::Tagged(tag) => tuf::Question::Tag(tag.clone()),
            Sought::Bytes(Some(tag), _) if root.lists_tags() => tuf::Question::Tag(tag.clone()),
            Sought::Bytes(None, digest) if root.lists_tags() => tuf::Question::Digest(digest),
            Sought::Bytes(tag, digest) => self.rule.question_of_image(root, tag, digest),
        };
        let about = about.with_every_signer(every_signer);
        Need::Root(Arc::clone(root), repository.clone(), about)
    }

    /// Where roots that agree share signers, so that not enough of them speak, asks for all signers of
    /// the image: each root may rest on others of them. First of what is at hand, then of the registry.
    /// Roots that were not asked yet have their share of the time. Returns why some could not be heard.
    fn hear_all_signers(
        &self,
        agreeing: &mut [&mut Vote<'a>],
        enough: usize,
        sharers: usize,
    ) -> Asked<Vec<Refusal>> {
        let mut silent = BTreeMap::new();
        for again in [false, true] {
            let mut asked = BTreeSet::new();
            while agreeing.len() >= enough && speaking(agreeing).len() < enough {
                // Another signer of one root may be the only one of a third.
                let shared = shared_keys(agreeing);
                let next = agreeing.iter_mut().find(|vote| {
                    let is_sharing = !vote.collection.signers.is_disjoint(&shared);
                    is_sharing && !vote.root.lists_tags() && !asked.contains(&vote.root.id)
                });
                let Some(vote) = next else { break };
                let (id, need) = (&vote.root.id, self.need(vote.root, true));
                if again
                    && let Some((false, Heard::Root(Ok(statement)))) = self.judge.heard(&need)
                    && statement.at_hand
                {
                    return Err(Ask::of(need, true, self.name, sharers));
                }
                let said = self.vote(vote.root, need, sharers)?;
                let unheard = match &said {
                    Ok(all) => all.statement.and_then(unheard_signers),
                    Err(refusal) => (!refusal.code.judged()).then(|| refusal.clone()),
                };
                match unheard {
                    Some(why) => silent.insert(id, why),
                    None => silent.remove(id),
                };
                if let Ok(of_all) = said {
                    **vote = of_all;
                }
                asked.insert(id);
            }
        }
        Ok(silent.into_values().collect())
    }

    /// One root's vote. If metadata at hand says no, its source is asked once more: the tag may have
    /// been signed for these bytes a moment ago.
    fn vote(
        &self,
        root: &'a Arc<Root>,
        need: Need,
        sharers: usize,
    ) -> Asked<Result<Vote<'a>, Refusal>> {
        let vote = |collection: &'a Collection, statement: Option<&'a Statement>| {
            Ok(Vote {
                digest: signed_digest(collection, self.sought)?,
                root,
                collection,
                statement,
            })
        };
        if let Some(collection) = self.judge.supposed(&need) {
            return Ok(vote(collection, None));
        }
        // Once a source was asked again, its newer metadata counts for all names.
        let (again, found, basis, may_be_newer) = match self.judge.heard(&need) {
            None => return Err(Ask::of(need, false, self.name, sharers)),
            Some((again, Heard::Root(Ok(statement)))) => {
                let found = vote(statement.verified.get(), Some(statement));
                let found = found.map_err(|mut refusal: Refusal| {
                    refusal.found.push_str(&statement.cut);
                    refusal.hint.push_str(&statement.age);
                    refusal
                });
                let basis = self.judge.basis_of(root, statement);
                (again, found, basis, statement.at_hand)
            }
            Some((again, Heard::Root(Err(refusal)))) => {
                let unsigned = refusal.code == Code::NoStatement;
                (again, Err(refusal.clone()), Basis::Doubtful, unsigned)
            }
            Some((_, Heard::Registry(_))) => return Ok(Err(refusals::unheard())),
        };
        if found.is_err() && may_be_newer && !again {
            return Err(Ask::of(need, true, self.name, sharers));
        }
        self.judge.rests_on(basis);
        Ok(found)
    }
}

/// Why a statement may lack signers, although all of them were asked for.
fn unheard_signers(said: &Statement) -> Option<Refusal> {
    let cut = || (!said.cut.is_empty()).then(|| refusals::cut_signers(&said.cut));
    said.unseen.clone().or_else(cut)
}

/// The ids of roots that agree, each resting on keys of its own.
fn speaking<'a>(votes: &[impl Borrow<Vote<'a>>]) -> BTreeSet<&'a String> {
    let signed = votes.iter().map(|vote| vote.borrow().collection);
    let signers: Vec<_> = signed.map(|it| (&it.signers, it.signers_needed)).collect();
    let independent = independent(&signers);
    let votes = votes.iter().enumerate();
    let speaking = votes.filter(|(at, _)| independent.contains(at));
    speaking.map(|(_, vote)| &vote.borrow().root.id).collect()
}

/// The keys that signed for more than one of the roots.
fn shared_keys<'a>(votes: &[impl Borrow<Vote<'a>>]) -> BTreeSet<KeyId> {
    let (mut known, mut shared) = (BTreeSet::new(), BTreeSet::new());
    let signed = votes.iter().map(|vote| vote.borrow().collection);
    for key in signed.flat_map(|collection| &collection.signers) {
        if !known.insert(*key) {
            shared.insert(*key);
        }
    }
    shared
}

/// A no of a rule's roots. Where signatures beside an image would make the quorum, the hint says
/// what they would bind; a command that pins a root stays the last of its hint.
fn by_roots(rule: &Rule, mut refusal: Refusal) -> Denial {
    if !refusal.unpinned_root {
        for root in rule.roots.iter().filter(|root| !root.lists_tags()) {
            let binding = format!("; root {} {}", root.id, root.binds());
            refusal.hint.push_str(&binding);
        }
    }
    let mut denial = Denial::by(rule.to_string(), refusal);
    denial.roots = rule.roots.iter().map(|root| root.id.clone()).collect();
    denial
}

/// The digest that the signed metadata names for what is sought. A platform's manifest counts where
/// the statement lists it (rule 5).
fn signed_digest(of: &Collection, sought: Sought<'_>) -> Result<Digest, Refusal> {
    let is_of = |target: &Target, digest: &Digest| {
        target.digest == *digest || target.manifests.contains(digest)
    };
    let found = match sought {
        Sought::Tagged(tag) => of.targets.get(tag.as_str()).map(|target| target.digest),
        Sought::Bytes(_, digest) if of.untagged.contains(&digest) => Some(digest),
        Sought::Bytes(Some(tag), digest) => match of.targets.get(tag.as_str()) {
            Some(target) if !is_of(target, &digest) => {
                return Err(refusals::other_bytes(of, tag, target, digest));
            }
            target => target.map(|_| digest),
        },
        Sought::Bytes(None, digest) => {
            let mut targets = of.targets.values();
            targets
                .any(|target| is_of(target, &digest))
                .then_some(digest)
        }
    };
    found.ok_or_else(|| refusals::not_named(of, sought))
}

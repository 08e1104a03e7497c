//! `[[rule]]`: a quorum of its roots must have signed that the name is these bytes.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use rootpin_trust::image::{Digest, ImageRef, Tag};
use rootpin_trust::{Code, Collection, KeyId, Refusal, Target, tuf};

use super::answer::{Basis, Denial, Ground, Statement, rank};
use super::question::NamedBytes;
use super::quorum::{Signers, independent};
use super::{Ask, Asked, Heard, Judge, Need, refusals};
use crate::{Root, Rule};

/// A root's yes to what was asked.
#[derive(Debug)]
pub(super) struct Vote<T> {
    root: Arc<Root>,
    /// `None`: it is only supposed.
    statement: Option<Statement>,
    signers: Signers,
    /// What was wanted of the statement.
    pub(super) value: T,
}

/// The roots that said yes, and why there is no quorum, if there is none.
type Votes<T> = (Vec<Vote<T>>, Option<Denial>);

impl Judge<'_> {
    /// The statements of a quorum and until when they answer, or why there is no quorum.
    pub(super) fn rule(
        &self,
        rule: &Rule,
        named: &NamedBytes,
    ) -> Asked<Result<(Ground, Timestamp), Denial>> {
        let (name, tag) = (&named.name, named.name.tag.as_ref());
        let about = |root: &Root| match tag {
            Some(tag) if root.lists_tags() => tuf::Question::Tag(tag.clone()),
            None if root.lists_tags() => tuf::Question::Digest(named.top),
            _ => rule.question_of_image(root, tag, named.top),
        };
        let wanted = |collection: &Collection| is_named(collection, tag, named.top);
        let (votes, denial) = self.votes(rule, name, about, wanted)?;
        if let Some(denial) = denial {
            return Ok(Err(denial));
        }
        let signed = votes.into_iter();
        let signed = signed.filter_map(|vote| Some((vote.root.id.clone(), vote.statement?)));
        let signed: Vec<_> = signed.collect();
        let until = signed.iter().map(|(_, statement)| statement.valid_until);
        let until = until.fold(Timestamp::MAX, Timestamp::min);
        Ok(Ok((Ground::Signed(signed), until)))
    }

    /// Asks the roots of a rule, but no more than it takes until a quorum agrees.
    pub(super) fn votes<T: Copy + PartialEq>(
        &self,
        rule: &Rule,
        name: &ImageRef,
        about: impl Fn(&Root) -> tuf::Question,
        wanted: impl Fn(&Collection) -> Result<T, Refusal>,
    ) -> Asked<Votes<T>> {
        if let Some(denial) = without_roots(rule) {
            return Ok((Vec::new(), Some(denial)));
        }
        let Some(repository) = rule.signed_name(&name.repository) else {
            let refusal = refusals::no_signed_name(rule, name);
            return Ok((Vec::new(), Some(by_roots(rule, refusal))));
        };
        let need = |root: &Arc<Root>, every_signer: bool| {
            // Signatures that bind no name are looked for where the image itself is.
            let repository = if root.binds().name {
                &repository
            } else {
                &name.repository
            };
            let about = about(root).with_every_signer(every_signer);
            Need::Root(Arc::clone(root), repository.clone(), about)
        };
        let all = |root: &Arc<Root>| need(root, true);
        let mut votes: Vec<Vote<T>> = Vec::new();
        let (mut refused, mut unjudged, mut silent) = (Vec::new(), Vec::new(), Vec::new());
        for (at, root) in rule.roots.iter().enumerate() {
            let sharers = rule.roots.len() - at;
            match self.said((root, rule), need(root, false), name, sharers, &wanted)? {
                Ok(vote) => {
                    let value = vote.value;
                    votes.push(vote);
                    // One root speaks for itself.
                    if rule.quorum <= 1 {
                        return Ok((votes, None));
                    }
                    let mut agreeing: Vec<_> = votes.iter_mut().collect();
                    agreeing.retain(|vote| vote.value == value);
                    let enough = rule.quorum;
                    silent =
                        self.hear_all_signers(&mut agreeing, enough, (rule, name), all, &wanted)?;
                    let speaking = speaking(&agreeing);
                    if speaking.len() >= rule.quorum {
                        votes
                            .retain(|vote| vote.value == value && speaking.contains(&vote.root.id));
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
            silent = self.hear_all_signers(&mut heard, enough, (rule, name), all, &wanted)?;
        }
        unjudged.append(&mut silent);
        let speaking = speaking(&votes);
        if votes.len() > speaking.len() {
            refused.push(refusals::one_voice(rule, &shared_keys(&votes)));
        }
        let possible = speaking.len() + unjudged.len() >= rule.quorum;
        let decisive = if possible { unjudged } else { refused };
        let by_rank = |refusal: &Refusal| rank(refusal.code);
        let most_specific = decisive.into_iter().max_by_key(by_rank);
        let refusal = most_specific.unwrap_or_else(refusals::unheard);
        Ok((votes, Some(by_roots(rule, refusal))))
    }

    /// Where roots that agree share signers, so that not enough of them speak, asks for all signers of
    /// the image: each root may rest on others of them. First of what is at hand, then of the registry.
    /// Returns why some could not be heard.
    fn hear_all_signers<T>(
        &self,
        agreeing: &mut [&mut Vote<T>],
        enough: usize,
        (rule, name): (&Rule, &ImageRef),
        need: impl Fn(&Arc<Root>) -> Need,
        wanted: impl Fn(&Collection) -> Result<T, Refusal>,
    ) -> Asked<Vec<Refusal>> {
        let mut silent = BTreeMap::new();
        for again in [false, true] {
            let mut asked = BTreeSet::new();
            while agreeing.len() >= enough && speaking(agreeing).len() < enough {
                // Another signer of one root may be the only one of a third.
                let shared = shared_keys(agreeing);
                let mut votes = agreeing.iter_mut();
                let next = votes.find(|vote| {
                    let shares = !vote.signers.keys.is_disjoint(&shared);
                    shares && !vote.root.lists_tags() && !asked.contains(&vote.root.id)
                });
                let Some(vote) = next else { break };
                let (id, need) = (vote.root.id.clone(), need(&vote.root));
                if again
                    && let Some((false, Heard::Root(Ok(statement)))) = self.heard(&need)
                    && statement.at_hand
                {
                    return Err(Ask::of(need, true, name, 1));
                }
                match self.said((&vote.root, rule), need, name, 1, &wanted)? {
                    Err(refusal) if !refusal.code.judged() => {
                        _ = silent.insert(id.clone(), refusal)
                    }
                    said => {
                        silent.remove(&id);
                        if let Ok(of_all) = said {
                            let statement = of_all.statement.as_ref();
                            let unseen = statement.and_then(|said| said.unseen.clone());
                            silent.extend(unseen.map(|unseen| (id.clone(), unseen)));
                            **vote = of_all;
                        }
                    }
                }
                asked.insert(id);
            }
        }
        Ok(silent.into_values().collect())
    }

    /// One root's statement and what is wanted of it. If metadata at hand says no, its source is
    /// asked once more: the tag may have been signed for these bytes a moment ago.
    fn said<T>(
        &self,
        (root, rule): (&Arc<Root>, &Rule),
        need: Need,
        name: &ImageRef,
        sharers: usize,
        wanted: impl Fn(&Collection) -> Result<T, Refusal>,
    ) -> Asked<Result<Vote<T>, Refusal>> {
        let vote = |collection: &Collection, statement: Option<&Statement>| {
            let value = wanted(collection)?;
            Ok(Vote {
                root: Arc::clone(root),
                statement: statement.cloned(),
                // Of one root nobody asks them.
                signers: match rule.quorum {
                    0 | 1 => Signers::default(),
                    _ => Signers::of(collection),
                },
                value,
            })
        };
        if let Some(collection) = self.supposed(&need) {
            return Ok(vote(collection, None));
        }
        // Once a source was asked again, its newer metadata counts for all names.
        let (again, found, basis, may_be_newer) = match self.heard(&need) {
            None => return Err(Ask::of(need, false, name, sharers)),
            Some((again, Heard::Root(Ok(statement)))) => {
                let found = vote(statement.verified.get(), Some(statement));
                let found = found.map_err(|mut refusal: Refusal| {
                    refusal.hint.push_str(&statement.age);
                    refusal
                });
                let basis = self.basis_of(root, statement);
                (again, found, basis, statement.at_hand)
            }
            Some((again, Heard::Root(Err(refusal)))) => {
                let unsigned = refusal.code == Code::NoStatement;
                (again, Err(refusal.clone()), Basis::Doubtful, unsigned)
            }
            Some((_, Heard::Registry(_))) => return Ok(Err(refusals::unheard())),
        };
        if found.is_err() && may_be_newer && !again {
            return Err(Ask::of(need, true, name, sharers));
        }
        self.rests_on(basis);
        Ok(found)
    }

    fn basis_of(&self, root: &Root, statement: &Statement) -> Basis {
        // Signatures of a digest never age.
        let is_fresh = self.now.duration_since(statement.contact) <= root.recheck;
        if is_fresh || !root.lists_tags() {
            Basis::Roots
        } else {
            Basis::Doubtful
        }
    }
}

/// The ids of roots that agree, each resting on keys of its own.
fn speaking<T>(votes: &[impl Borrow<Vote<T>>]) -> BTreeSet<String> {
    let signers: Vec<&Signers> = votes.iter().map(|vote| &vote.borrow().signers).collect();
    let independent = independent(&signers);
    let votes = votes.iter().enumerate();
    let speaking = votes.filter(|(at, _)| independent.contains(at));
    speaking
        .map(|(_, vote)| vote.borrow().root.id.clone())
        .collect()
}

/// The keys that signed for more than one of the roots.
fn shared_keys<T>(votes: &[impl Borrow<Vote<T>>]) -> BTreeSet<KeyId> {
    let (mut known, mut shared) = (BTreeSet::new(), BTreeSet::new());
    for key in votes.iter().flat_map(|vote| &vote.borrow().signers.keys) {
        if !known.insert(*key) {
            shared.insert(*key);
        }
    }
    shared
}

/// The answer of a rule that names no root.
pub(super) fn without_roots(rule: &Rule) -> Option<Denial> {
    let is_without = rule.roots.is_empty();
    is_without.then(|| by_roots(rule, refusals::no_roots()))
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

/// Whether the signed metadata names the digest under the tag, or under some tag if the name has
/// none. A platform's manifest counts where the statement lists it (rule 5).
fn is_named(collection: &Collection, tag: Option<&Tag>, digest: Digest) -> Result<(), Refusal> {
    let stands = |target: &Target| target.digest == digest || target.manifests.contains(&digest);
    if collection.untagged.contains(&digest) {
        return Ok(());
    }
    let Some(tag) = tag else {
        let any = collection.targets.values().any(stands);
        return any
            .then_some(())
            .ok_or_else(|| refusals::no_digest(collection, digest));
    };
    match collection.targets.get(tag.as_str()) {
        Some(target) if stands(target) => Ok(()),
        Some(target) => Err(refusals::other_bytes(collection, tag, target, digest)),
        None => Err(refusals::no_tag(collection, tag)),
    }
}

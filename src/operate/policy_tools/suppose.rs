//! What a policy would answer about an image, by the judge, on the evidence of an earlier answer. If
//! the evidence does not show it, nobody can tell.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use rootpin_policy::judge::{Ask, Heard, Need, Question};
use rootpin_policy::{Mode, Policy, Root, RootKind, Supposed, Supposing};
use rootpin_trust::image::Repository;
use rootpin_trust::{Code, Collection, KeyId, Refusal, Target, tuf};

use super::asked::Asked;
use super::judged::Judged;
use super::reported::{Seen, Vote};

/// An answer as it is compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Answer {
    /// `allowed`, `refused`, `unjudged`, or `unknown` where the evidence does not tell.
    pub(super) outcome: &'static str,
    /// The ground, the code, or why nobody can tell.
    pub(super) why: String,
    /// Whether an engine would go on.
    pub(super) let_through: bool,
    /// The policy's entry.
    pub(super) rule: Option<String>,
    /// Nobody can tell because the image's parts are not reported.
    pub(super) lacks_parts: bool,
}

/// A policy by which is judged anew, and what its roots prove by a statement.
#[derive(Debug)]
pub(super) struct Proposed<'a> {
    pub(super) policy: &'a Policy,
    pub(super) roots: Arc<Judged>,
}

impl<'a> Proposed<'a> {
    pub(super) fn of(policy: &'a Policy) -> Self {
        let roots = Arc::new(Judged::by(policy));
        Self { policy, roots }
    }
}

/// Whether a policy revokes a digest that another one does not.
pub(super) fn revokes_more(policy: &Policy, than: &Policy) -> bool {
    let mut all = policy.revoked_digests();
    all.any(|(digest, _)| than.revoked_digest(digest).is_none())
}

/// What the new policy says of an image that a host had at that time.
pub(super) fn suppose(
    proposed: &Proposed<'_>,
    judged: &Judged,
    seen: &Seen,
    at: Timestamp,
    now: Timestamp,
) -> Answer {
    let mut last = unknown(
        proposed,
        seen,
        "the line does not name containerd's namespace",
    );
    let questions = seen.asked.questions(&seen.name, seen.digest);
    let is_only = questions.len() == 1;
    for mut question in questions {
        question.bytes.extend(seen.revoked_parts.iter().flatten());
        last = of_question(proposed, judged, seen, at, (question, now));
        if last.outcome != "allowed" {
            last.let_through &= is_only || last.outcome != "unknown";
            break;
        }
    }
    let goes_on = last.let_through || last.outcome == "allowed";
    if goes_on && seen.revoked_parts.is_none() && proposed.policy.revokes_digests() {
        let repository = &seen.name.repository;
        let mode = proposed.policy.lasting_mode_for(repository, Some(now));
        return Answer {
            let_through: mode == Mode::Audit && seen.asked == Asked::Pull,
            lacks_parts: true,
            ..unknown(proposed, seen, WITHOUT_PARTS)
        };
    }
    last
}

/// Why nobody can tell, where an image may have a part that is newly revoked.
const WITHOUT_PARTS: &str =
    "what it is made of is not reported, and a newly revoked digest may be a part of it";

fn unknown(proposed: &Proposed<'_>, seen: &Seen, why: &str) -> Answer {
    let rule = proposed.policy.rule_for(&seen.name.repository);
    Answer {
        outcome: "unknown",
        why: why.to_owned(),
        let_through: false,
        rule: rule.map(ToString::to_string),
        lacks_parts: false,
    }
}

/// Where a root's answer is not known: whether the image is let through whatever it is.
fn of_question(
    proposed: &Proposed<'_>,
    judged: &Judged,
    seen: &Seen,
    at: Timestamp,
    (question, now): (Question, Timestamp),
) -> Answer {
    let by = |unknown: Code| {
        let question = (question.clone(), now);
        of_supposed(proposed, judged, seen, at, question, unknown)
    };
    let answer = by(Code::SourceUnreachable);
    if answer.outcome != "unknown" || !answer.let_through {
        return answer;
    }
    let may_be_revoked = !proposed.policy.revoked_keys().is_empty();
    let others = [Code::NoStatement, Code::DigestMismatch, Code::Revoked];
    let mut others = others
        .into_iter()
        .filter(|code| *code != Code::Revoked || may_be_revoked);
    Answer {
        let_through: others.all(|code| by(code).let_through),
        ..answer
    }
}

/// The answer where each root whose own is not known refuses with that code. If it rests on one of
/// these, it is unknown, and says only whether the image would be let through.
fn of_supposed(
    proposed: &Proposed<'_>,
    judged: &Judged,
    seen: &Seen,
    at: Timestamp,
    (question, now): (Question, Timestamp),
    code: Code,
) -> Answer {
    let mut judge = Supposing::start(proposed.policy, question, now);
    let (mut supposed, mut missing) = (None, None);
    let unknown = |why: &str| unknown(proposed, seen, why);
    loop {
        let ask = match judge.next(supposed.take()) {
            Ok(supposition) => {
                let through = supposition.result.is_ok() || supposition.mode == Mode::Audit;
                // Whatever the other root says, it takes nothing from a quorum that is met.
                let is_met = matches!(&supposition.result, Ok(("signed", _)));
                if let Some(why) = missing.filter(|_| !is_met) {
                    return Answer {
                        let_through: through,
                        ..unknown(why)
                    };
                }
                return answer(supposition.result, through);
            }
            Err(ask) => ask,
        };
        match said(proposed, judged, seen, at, &ask) {
            Ok(said) => supposed = Some(said),
            Err(why) if matches!(ask.need, Need::Root(..)) => {
                missing = missing.or(Some(why));
                let refusal = Refusal::new(code, why, "", "");
                supposed = Some(Supposed::Heard(Heard::Root(Err(refusal))));
            }
            Err(why) => return unknown(why),
        }
    }
}

fn answer(
    result: Result<(&'static str, String), rootpin_policy::judge::Denial>,
    let_through: bool,
) -> Answer {
    match result {
        Ok((ground, rule)) => Answer {
            outcome: "allowed",
            why: ground.to_owned(),
            let_through,
            rule: Some(rule),
            lacks_parts: false,
        },
        Err(denial) => Answer {
            outcome: if denial.refusal.code.judged() {
                "refused"
            } else {
                "unjudged"
            },
            why: denial.refusal.code.as_str().to_owned(),
            let_through,
            rule: denial.rule,
            lacks_parts: false,
        },
    }
}

/// What is known of a root's answer, or why it is not.
fn said(
    proposed: &Proposed<'_>,
    judged: &Judged,
    seen: &Seen,
    at: Timestamp,
    ask: &Ask,
) -> Result<Supposed, &'static str> {
    let Need::Root(root, repository, about) = &ask.need else {
        return Err("the registry's present answer is not known");
    };
    let policy = proposed.policy;
    let is_same = |id: &str| judged.is_same(id, &proposed.roots, &root.id);
    let is_about = |of: &str| of == repository.as_str();
    let votes = seen.votes.iter();
    let mut votes = votes.filter(|vote| is_same(&vote.root) && is_about(&vote.repository));
    let tells = |says_yes| tells_of(seen, root, about, says_yes);
    if let Some(vote) = votes.next() {
        if !tells(true) {
            return Err(OF_ANOTHER_INDEX);
        }
        let supposed = yes(policy, judged, seen, at, (vote, root, repository))?;
        return Ok(resting_on_any(supposed, root, about));
    }
    match &seen.no {
        Some((id, of, ..)) if is_same(id) && is_about(of) && !tells(false) => Err(OF_ANOTHER_INDEX),
        Some((id, of, code, found)) if is_same(id) && is_about(of) => {
            // A key that counts again may turn a no into a yes.
            let revoked = judged.revoked.as_ref();
            if !revoked.is_some_and(|keys| keys.iter().all(|key| is_revoked(policy, key))) {
                return Err("it was refused while other keys were revoked");
            }
            let refusal = Refusal::new(*code, found.clone(), "", "");
            Ok(Supposed::Heard(Heard::Root(Err(refusal))))
        }
        _ => Err("no evidence of this root about it"),
    }
}

const OF_ANOTHER_INDEX: &str = "it is not known whether the index is signed, or what it lists, and the rule's `index` wants to know";

/// Whether an answer that was given about an index, or about what it lists, is one to this question
/// too. A signed index counts either way; one that is not signed, even by what it lists, by neither.
fn tells_of(seen: &Seen, root: &Root, about: &tuf::Question, says_yes: bool) -> bool {
    let wants_manifests = matches!(
        about,
        tuf::Question::Image {
            by_manifests: true,
            ..
        }
    );
    root.lists_tags() || seen.by_manifests == Some(wants_manifests) || wants_manifests == says_yes
}

/// All signers were asked for: the root's yes rests on any of them that are enough.
fn resting_on_any(supposed: Supposed, root: &Root, about: &tuf::Question) -> Supposed {
    let needed = match (&root.kind, about) {
        (
            _,
            tuf::Question::Image {
                by_manifests: true, ..
            },
        ) => None,
        (
            RootKind::Cosign(cosign),
            tuf::Question::Image {
                every_signer: true, ..
            },
        ) => usize::try_from(cosign.threshold).ok(),
        (
            RootKind::Notation(_),
            tuf::Question::Image {
                every_signer: true, ..
            },
        ) => Some(1),
        _ => None,
    };
    match (supposed, needed) {
        (Supposed::Says(mut collection), Some(needed)) => {
            if let Some(collection) = Arc::get_mut(&mut collection) {
                collection.signers_needed = needed.min(collection.signers.len());
            }
            Supposed::Says(collection)
        }
        (supposed, _) => supposed,
    }
}

fn is_revoked(policy: &Policy, key: &KeyId) -> bool {
    policy.revoked_keys().contains(key)
}

fn yes(
    policy: &Policy,
    judged: &Judged,
    seen: &Seen,
    at: Timestamp,
    (vote, root, repository): (&Vote, &Arc<Root>, &Repository),
) -> Result<Supposed, &'static str> {
    let revokes = |key: &KeyId| is_revoked(policy, key);
    let was = |key: &KeyId| {
        judged
            .revoked
            .as_ref()
            .is_some_and(|keys| keys.contains(key))
    };
    let revokes_more = policy.revoked_keys().iter().any(|key| !was(key));
    match (&vote.root_keys, &vote.signers) {
        (Some(keys), _) if keys.iter().any(revokes) => {
            let found = format!("a root of {repository} that lists a revoked key");
            let refusal = Refusal::new(Code::Revoked, found, "keys that are not revoked", "");
            return Ok(Supposed::Heard(Heard::Root(Err(refusal))));
        }
        (Some(_), Some(signers)) if !signers.iter().any(revokes) => {
            // Neither the timestamp's nor the snapshot's signers are reported.
            let may_be_online = |key: &KeyId| !was(key) && !root.keys.contains(key);
            if policy.revoked_keys().iter().any(may_be_online) {
                return Err("it is not known whether a key that is newly revoked signed for it");
            }
        }
        _ if revokes_more => {
            return Err("it is not known whether a key that is newly revoked signed for it");
        }
        _ => {}
    }
    if vote.contact.is_too_old(policy, at) {
        return Err("its evidence is older than `offline` allows");
    }
    let target = Target {
        digest: seen.digest,
        length: 0,
        manifests: Vec::new(),
    };
    let signers: BTreeSet<KeyId> = vote.signers.iter().flatten().copied().collect();
    let tag = seen.name.tag.as_ref().map_or("-", |tag| tag.as_str());
    Ok(Supposed::Says(Arc::new(Collection {
        gun: repository.clone(),
        role: vote.role.clone(),
        targets: [(tag.to_owned(), target)].into(),
        untagged: [].into(),
        expires: Timestamp::MAX,
        root_keys: vote.root_keys.iter().flatten().copied().collect(),
        signers_needed: signers.len(),
        signers,
        versions: [].into(),
    })))
}

//! May an image be pulled with this host's credentials?

use std::time::Instant;

use jiff::Timestamp;
use rootpin_policy::Policy;
use rootpin_policy::judge::{Ask, Denial, Heard, Judgement, Need, Question};
use rootpin_trust::image::{Digest, ImageRef, Tag};
use rootpin_trust::{Code, Refusal, tuf};

use super::session::JudgeSession;
use super::{Decider, Decision, Door, Pull, Verdict};

impl Decider {
    /// Judges an image as the kubelet names it to a credential provider. It names the repository
    /// alone (kubernetes, `pkg/kubelet/images/image_manager.go`, `repoToPull`): then one of its tags
    /// must be admitted.
    pub async fn credentials(&self, name: &ImageRef, now: Timestamp) -> Verdict {
        let (door, begun) = (Door::Credentials, Instant::now());
        if let Some(digest) = name.digest {
            let pull = Pull {
                door,
                name: name.clone(),
                digest,
            };
            return self.pull(&pull, now).await;
        }
        if name.tag.is_some() {
            return self.resolve(door, name, now).await;
        }
        let decision = match self.policy() {
            Err(refusal) => Decision::Deny(Denial::plain(refusal)),
            Ok(policy) => {
                let mut session = self.session(&policy, now, begun);
                let judgement = some_tag(&mut session, &policy, name).await;
                self.conclude(session, judgement, None, &[]).await
            }
        };
        Verdict {
            name: Some(name.clone()),
            ..Verdict::of(decision, door, now, begun)
        }
    }
}

/// The judgement of one image of a repository that is admitted, or why none is.
async fn some_tag(session: &mut JudgeSession<'_>, policy: &Policy, name: &ImageRef) -> Judgement {
    let listed: Vec<Question> = listed(policy, name).collect();
    for question in listed {
        let judgement = session.judge(question).await;
        if judgement.result.is_ok() {
            return judgement;
        }
    }
    let rule = policy.rule_for(&name.repository);
    let signed_name = rule.and_then(|rule| rule.signed_name(&name.repository));
    for (rule, repository) in rule.into_iter().zip(signed_name) {
        let listing = rule.roots.iter().enumerate();
        for (at, root) in listing.filter(|(_, root)| root.lists_tags()) {
            let ask = |again| Ask {
                need: Need::Root(root.clone(), repository.clone(), tuf::Question::Any),
                again,
                name: name.clone(),
                sharers: rule.roots.len() - at,
            };
            let mut signed = signed(session.hear(ask(false)).await);
            if signed.is_none() {
                signed = self::signed(session.hear(ask(true)).await);
            }
            if let Some((tag, digest)) = signed {
                let tagged = ImageRef {
                    tag: Some(tag),
                    ..name.clone()
                };
                let judgement = session.judge(Question::pull(tagged, digest)).await;
                if judgement.result.is_ok() {
                    return judgement;
                }
            }
        }
    }
    // What is exempt whatever its bytes are is so with these; else this says what is missing.
    let nothing = Digest::of(b"");
    let mut judgement = session
        .judge(Question::pull(name.with_digest(nothing), nothing))
        .await;
    if let (Err(denial), Some(rule)) = (&mut judgement.result, rule)
        && !rule.roots.is_empty()
        && !rule.roots.iter().any(|root| root.lists_tags())
    {
        denial.refusal = Refusal::new(
            Code::NoStatement,
            "the repository alone, as the kubelet names it, and roots that sign digests and list no tags",
            "a tag that a root lists",
            "add a root of type tuf to the rule, or an [[exempt]] for these names: docs/credentials.md",
        );
    }
    judgement
}

/// What the policy itself says of the repository's bytes.
fn listed(policy: &Policy, name: &ImageRef) -> impl Iterator<Item = Question> {
    let images = policy.images_of(&name.repository);
    let images = images.flat_map(|image| {
        let tagged = ImageRef {
            tag: Some(image.tag.clone()),
            ..name.clone()
        };
        let pull = move |digest: &Digest| Question::pull(tagged.clone(), *digest);
        image.digests.iter().map(pull)
    });
    let exempt = policy
        .exempts_for(&name.repository)
        .flat_map(|exempt| exempt.digests.iter().flatten())
        .map(|digest| Question::pull(name.with_digest(*digest), *digest));
    images.chain(exempt)
}

/// A tag that is signed, and its digest.
fn signed(heard: Heard) -> Option<(Tag, Digest)> {
    let Heard::Root(Ok(statement)) = heard else {
        return None;
    };
    let targets = &statement.verified.get().targets;
    targets
        .iter()
        .find_map(|(tag, target)| Some((tag.parse().ok()?, target.digest)))
}

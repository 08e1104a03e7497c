//! Whether an answer that differs from a host's is the policy's doing. If the host may have known
//! what is not told, nobody can say so.

use jiff::Timestamp;
use rootpin_policy::Policy;
use rootpin_trust::Code;
use rootpin_trust::image::ImageRef;

use super::asked::Asked;
use super::judged::Judged;
use super::reported::{Seen, Was};
use super::suppose::{Answer, Proposed, suppose};

/// An answer by a policy, and by the policy that the host had in force, if that is known: whether
/// the host's differs from the first one because of the policy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settling<'a> {
    pub(super) proposed: &'a Proposed<'a>,
    pub(super) own: Option<&'a Proposed<'a>>,
    pub(super) judged: &'a Judged,
    /// When the host answered.
    pub(super) at: Timestamp,
}

impl Settling<'_> {
    /// The answer by the policy; unknown where it differs from the host's, and what the host knew
    /// is not told.
    pub(super) fn settled(self, seen: &Seen, answer: Answer) -> Answer {
        if answer.outcome == "unknown" {
            let is_certain = !self.may_be_docker_pull(seen)
                && (seen.was.is_for_the_host() && seen.asked == Asked::Pull
                    || self.is_told(seen, &answer));
            return Answer {
                let_through: answer.let_through && is_certain,
                ..answer
            };
        }
        let why = if self.may_be_docker_pull(seen) && answer.outcome == "allowed" {
            "it may be a pull of a tag, which [docker] require-digest stops"
        } else if seen.was.is_same(&answer) || self.is_told(seen, &answer) {
            return answer;
        } else {
            "the host knew more of it than is told, and its answer rests on that"
        };
        Answer {
            outcome: "unknown",
            why: why.to_owned(),
            let_through: false,
            ..answer
        }
    }

    fn may_be_docker_pull(self, seen: &Seen) -> bool {
        let requires = |proposed: &Proposed<'_>| proposed.policy.docker.require_digest;
        let is_of_docker = matches!(seen.asked, Asked::OfDoor { of_docker: true });
        is_of_docker
            && seen.name.digest.is_none()
            && requires(self.proposed)
            && !self.own.is_some_and(requires)
    }

    /// Whether an answer that differs from the host's is the policy's doing.
    fn is_told(self, seen: &Seen, answer: &Answer) -> bool {
        // By its own policy the host must have come to the answer that it gave.
        if let Some(own) = self.own {
            let seen = seen.clone().with_known_parts();
            let then = suppose(own, self.judged, &seen, self.at, self.at);
            if then.outcome != "unknown" {
                return seen.was.is_same(&then);
            }
        }
        let was = &seen.was;
        if was.is_for_the_host() {
            return false;
        }
        match (&seen.asked, was.outcome.as_str()) {
            (Asked::Pull, _) | (Asked::Local(_), "allowed") => true,
            // It stands under the name that was admitted. Digests that the policy lists may be
            // those of the platform's manifest, which is not told.
            (Asked::OfDoor { .. }, "allowed") => !lists_digests(self.proposed.policy, &seen.name),
            // What audit mode let through, and what would not be any more.
            (Asked::OfDoor { .. }, outcome) => {
                was.let_through
                    && (outcome, was.why.as_str()) == (answer.outcome, answer.why.as_str())
            }
            (Asked::Local(_), _) => false,
        }
    }
}

fn lists_digests(policy: &Policy, name: &ImageRef) -> bool {
    let mut exempts = policy.exempts_for(&name.repository);
    exempts.any(|exempt| exempt.digests.is_some())
        || policy.images_of(&name.repository).next().is_some()
}

impl Was {
    /// Whether an engine gets the same answer.
    pub(super) fn is_same(&self, answer: &Answer) -> bool {
        self.outcome == answer.outcome && self.let_through == answer.let_through
    }

    /// Whether the answer says something of the host, and nothing of the image.
    pub(super) fn is_for_the_host(&self) -> bool {
        let of_host = [
            Code::Clock,
            Code::OverLimit,
            Code::PolicyUnusable,
            Code::StateUnusable,
        ];
        self.why == "-" || of_host.iter().any(|code| code.as_str() == self.why)
    }
}

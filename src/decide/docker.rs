//! Judges calls to dockerd that name no image, by the policy's `[docker]`
//! and `[local]`.

use std::time::Instant;

use jiff::Timestamp;

use super::held::HeldImage;
use super::question::Door;
use super::{Decider, Decision, Verdict, denied, signers};
use rootpin_policy::judge::{Action, Denial, Question};
use rootpin_trust::image::ImageRef;
use rootpin_trust::{Code, Refusal};

/// Something that dockerd is asked to do.
#[derive(Debug, Clone)]
pub struct Call {
    /// dockerd's name in rootpin.toml.
    pub engine: String,
    /// What it is, for people.
    pub shown: String,
    /// What it does.
    pub does: Does,
    /// When the question came in.
    pub begun: Instant,
}

/// What a call does.
#[derive(Debug, Clone)]
pub enum Does {
    /// Makes an image, or a container, of bytes of no registry, under these names.
    Local(Vec<ImageRef>),
    /// Gives an image that is there one more name: the one that is asked.
    Tag(HeldImage),
    /// Uses Swarm.
    Swarm,
    /// Brings or runs a plugin.
    Plugin,
    /// Nothing that could be judged: why.
    Unclear(Refusal),
}

/// The namespace that `[local]` knows dockerd's images by, whichever store they are in.
pub const DOCKER_NAMESPACE: &str = "moby";

impl Decider {
    /// May dockerd do this?
    pub async fn docker_call(&self, call: Call, now: Timestamp) -> Verdict {
        let mut about = None;
        let question = match call.does {
            // Whoever writes oddly must not choose whose mode it falls under.
            Does::Unclear(refusal) => {
                let decision = match self.policy() {
                    Err(unusable) => Decision::Deny(Denial::plain(unusable)),
                    Ok(policy) => denied(
                        Denial::plain(refusal),
                        policy.strictest_mode(self.instant(now)),
                    ),
                };
                return Verdict {
                    engine: Some(call.engine),
                    namespaces: vec![DOCKER_NAMESPACE.to_owned()],
                    ..Verdict::of(decision, Door::Authz, now, call.begun)
                };
            }
            Does::Local(names) => {
                about = names.first().cloned();
                local_call(Action::Make(names), call.shown)
            }
            Does::Tag(held) => {
                about.clone_from(&held.asked);
                held.question(Action::Tag, call.shown)
            }
            Does::Swarm => local_call(Action::Swarm, call.shown),
            Does::Plugin => local_call(Action::Plugin, call.shown),
        };
        let verdict = self
            .of_dockerd(question, DOCKER_NAMESPACE, call.begun, now)
            .await;
        Verdict {
            engine: Some(call.engine),
            name: verdict.name.or(about),
            ..verdict
        }
    }

    /// The verdict on a pull, where the policy may demand that it names its digest. Only what is
    /// admitted is told as the one to type.
    pub fn by_digest(&self, verdict: Verdict) -> Verdict {
        let (Some(name), Some(digest), Decision::Allow(admission)) =
            (&verdict.name, verdict.digest, &verdict.decision)
        else {
            return verdict;
        };
        if name.digest.is_some()
            || !self
                .policy()
                .is_ok_and(|policy| policy.docker.require_digest)
        {
            return verdict;
        }
        let refusal = Refusal::new(
            Code::NoRule,
            format!(
                "a pull by tag, which the registry may answer otherwise when dockerd asks ({digest} now)"
            ),
            "a pull by digest",
            format!("docker pull {}@{digest}", name.repository),
        );
        let roots = signers(admission);
        let denial = Denial {
            roots,
            ..Denial::by("[docker] require-digest = true".to_owned(), refusal)
        };
        Verdict {
            decision: denied(denial, admission.mode),
            ..verdict
        }
    }
}

fn local_call(action: Action, shown: String) -> Question {
    Question::of(action, shown, DOCKER_NAMESPACE.to_owned())
}

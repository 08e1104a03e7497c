//! What the policy says of calls to dockerd that name no image which could be judged: `[docker]`
//! and `[local]`.

use std::time::Instant;

use jiff::Timestamp;

use super::decision::{Admission, Denial, Ground};
use super::held::{Answer, Held};
use super::judge::Judge;
use super::question::Door;
use super::{Decider, Decision, Judged, Verdict, denied};
use rootpin_policy::Policy;
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
    Tag(Held),
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
        let mut about = match &call.does {
            Does::Local(names) => names.first().cloned().map(|name| (name, None)),
            Does::Tag(held) => held.asked.clone().map(|name| (name, None)),
            Does::Swarm | Does::Plugin | Does::Unclear(_) => None,
        };
        let decision = match self.policy() {
            Err(refusal) => Decision::Deny(Denial {
                refusal,
                rule: None,
                roots: Vec::new(),
            }),
            Ok(policy) => {
                let judge = self.judge(&policy, now, call.begun);
                let (judged, subject) = judge.docker_call(call.does, &call.shown).await;
                about = subject.map(|(name, digest)| (name, Some(digest))).or(about);
                self.conclude(&judge, judged, None, &[]).await
            }
        };
        let (door, took) = (Door::Authz, call.begun.elapsed());
        let (name, digest) = about.unzip();
        let (namespaces, digest) = (vec![DOCKER_NAMESPACE.to_owned()], digest.flatten());
        Verdict {
            decision,
            door,
            engine: Some(call.engine),
            namespaces,
            name,
            digest,
            layer: None,
            at: now,
            took,
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
        let roots = admission.roots().into_iter().map(str::to_owned).collect();
        let denial = Denial {
            refusal,
            rule: Some("[docker] require-digest = true".to_owned()),
            roots,
        };
        Verdict {
            decision: denied(denial, admission.mode),
            ..verdict
        }
    }
}

impl Judge<'_> {
    async fn docker_call(&self, does: Does, shown: &str) -> Answer {
        let judged = match does {
            Does::Local(names) => self.docker_local(&names, shown),
            // A name of which the policy says something may be given to the bytes that it stands
            // for.
            Does::Tag(held) if held.asked.as_ref().is_some_and(|name| self.covers(name)) => return self.held(&held).await,
            Does::Tag(held) => self.revoked_of(&held).unwrap_or_else(|| self.docker_local(&[], shown)),
            Does::Swarm => self.by_key(
                "swarm",
                self.policy.docker.swarm,
                shown,
                "no use of Swarm, whose nodes pull what a manager names without asking",
            ),
            Does::Plugin => self.by_key(
                "plugins",
                self.policy.docker.plugins,
                shown,
                "no plugins, which are images that run as root and that nobody has signed for rootpin",
            ),
            // Whoever writes oddly must not choose whose mode it falls under.
            Does::Unclear(refusal) => {
                Judged { result: Err(Denial { refusal, rule: None, roots: Vec::new() }), mode: self.policy.strictest_mode() }
            }
        };
        (judged, None)
    }

    /// A name of which the policy says something stands for bytes that are signed, never for
    /// others, whatever `[local]` says.
    fn docker_local(&self, names: &[ImageRef], shown: &str) -> Judged {
        let Some(name) = names.iter().find(|name| self.covers(name)) else {
            return Judged::from(self.local_bytes(DOCKER_NAMESPACE, shown.to_owned()));
        };
        let refusal = Refusal::new(
            Code::NotLocal,
            format!("{shown}, of an image that is to be called {name}"),
            "a name that no [[rule]] and no [[image]] covers",
            "give what is made here a name of its own; push it and have it signed to use that one",
        );
        let rule = self
            .policy
            .rule_for(&name.repository)
            .map(ToString::to_string);
        let denial = Denial {
            refusal,
            rule,
            roots: Vec::new(),
        };
        Judged {
            result: Err(denial),
            mode: self.policy.mode_for(&name.repository),
        }
    }

    fn by_key(&self, key: &str, allowed: bool, shown: &str, wanted: &str) -> Judged {
        let policy: &Policy = self.policy;
        let rule = format!(
            "[docker] {key} = \"{}\"",
            if allowed { "allow" } else { "deny" }
        );
        if allowed {
            return Judged {
                result: Ok(Admission {
                    ground: Ground::PolicyKey,
                    rule,
                    valid_until: Timestamp::MAX,
                    mode: policy.mode,
                }),
                mode: policy.mode,
            };
        }
        let hint = format!("[docker] {key} = \"allow\" in the policy lets all of it pass");
        let refusal = Refusal::new(Code::NoRule, shown, wanted, hint);
        Judged {
            result: Err(Denial {
                refusal,
                rule: Some(rule),
                roots: Vec::new(),
            }),
            mode: policy.mode,
        }
    }
}

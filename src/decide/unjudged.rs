//! Answers to questions that could not be judged: no policy, no time, nothing known.

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{Decider, Decision, Denial, Door, InForce, Pull, Verdict, denied};
use crate::plain_text::policy_check;
use rootpin_policy::judge::{Lookup, entries};
use rootpin_policy::{Diagnostic, Mode, Policy};
use rootpin_trust::image::{Digest, ImageRef};
use rootpin_trust::{Code, Refusal};

impl Decider {
    /// The verdict on a name of which the policy says nothing, so that any digest will do.
    pub(crate) async fn without_digest(
        &self,
        door: Door,
        name: &ImageRef,
        now: Timestamp,
    ) -> Verdict {
        let pull = Pull {
            door,
            name: name.clone(),
            digest: Digest::from_bytes([0; 32]),
        };
        Verdict {
            digest: None,
            ..self.pull(&pull, now).await
        }
    }

    /// The verdict on a name that never came to be judged: its digest is not known, or time was
    /// over.
    pub fn unjudged_pull(
        &self,
        door: Door,
        name: Option<ImageRef>,
        refusal: Refusal,
        begun: Instant,
    ) -> Verdict {
        let mode = |policy: &Policy, now| {
            name.as_ref().map_or_else(
                || policy.strictest_mode(now),
                |name| policy.mode_for(&name.repository, now),
            )
        };
        let mut decision = self.unjudged(refusal, mode);
        let entry = name
            .as_ref()
            .and_then(|name| first_entry(&*self.policy().ok()?, name, Timestamp::now()));
        if let (Decision::Deny(denial) | Decision::LetThrough(denial, _), Some(entry)) =
            (&mut decision, entry)
        {
            denial.rule = Some(entry);
        }
        Verdict {
            name,
            ..Verdict::of(decision, door, Timestamp::now(), begun)
        }
    }

    /// The verdict on a layer that never came to be judged: containerd says nothing of it, or time
    /// was over.
    pub fn unjudged_layer(
        &self,
        door: Door,
        engine: &str,
        layer: Digest,
        refusal: Refusal,
        begun: Instant,
    ) -> Verdict {
        // Whose layer it is was not learned: it may be that of the strictest rule, and whoever
        // slows us down must not choose.
        let decision = self.unjudged(refusal, Policy::strictest_mode);
        Verdict {
            engine: Some(engine.to_owned()),
            layer: Some(layer),
            ..Verdict::of(decision, door, Timestamp::now(), begun)
        }
    }

    pub(super) fn unjudged(
        &self,
        refusal: Refusal,
        mode: impl FnOnce(&Policy, Option<Timestamp>) -> Mode,
    ) -> Decision {
        let mode = self.policy().map_or(Mode::Enforce, |policy| {
            mode(&policy, self.instant(Timestamp::now()))
        });
        denied(Denial::plain(refusal), mode)
    }
}

/// Whether the digest of a name matters to the policy in force.
pub(crate) fn is_spoken_of(policy: &InForce, name: &ImageRef, now: Timestamp) -> bool {
    policy
        .as_ref()
        .is_ok_and(|policy| first_entry(policy, name, now).is_some())
}

/// The entry of the policy that would be asked first about a name, before its bytes are known.
fn first_entry(policy: &Policy, name: &ImageRef, now: Timestamp) -> Option<String> {
    let all = entries(policy, Lookup::of(name, now, None));
    let (first, _) = all.iter().find(|(_, why)| why.applies())?;
    Some(first.to_string())
}

/// No decision came in time.
#[must_use]
pub fn too_slow(deadline: Duration) -> Refusal {
    Refusal::new(
        Code::OverLimit,
        format!("no decision within {deadline:?}"),
        "one within the deadline of rootpin.toml",
        "a trust server, containerd or the state's disk is slow: see `rootpin status` and the log",
    )
}

/// The policy in that folder does not load, and its first finding.
#[must_use]
pub(crate) fn policy_refused(findings: &[Diagnostic], dir: &Path) -> Refusal {
    let first = findings
        .first()
        .map(ToString::to_string)
        .unwrap_or_default();
    let first = first.lines().next().unwrap_or_default();
    let found = match findings.len() {
        1 => format!("one error: {first}"),
        more => format!("{more} errors, of which the first is: {first}"),
    };
    Refusal {
        hint: format!(
            "`{}` shows each error with its line and what to write",
            policy_check(dir)
        ),
        ..policy_unusable(&found)
    }
}

/// There is no policy in force, and why.
#[must_use]
pub fn policy_unusable(why: &str) -> Refusal {
    Refusal::new(
        Code::PolicyUnusable,
        why,
        "a policy that loads",
        "run `rootpin policy check` and mend what it shows; the daemon takes the policy as soon as it loads",
    )
}

//! The answer to a question, and what a person is told of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::evidence::Evidence;
use super::question::Door;
use rootpin_policy::Mode;
use rootpin_trust::image::{Digest, ImageRef};
use rootpin_trust::{Code, Refusal};

/// Why an image is let through. Only `decide` makes one, and [`Decision::Allow`] cannot be had
/// without.
#[derive(Debug)]
pub struct Admission {
    /// On what it rests.
    pub(super) ground: Ground,
    /// The policy's entry: `[[rule]] match = "…"`.
    pub(super) rule: String,
    /// Until when it holds without being decided anew.
    pub(super) valid_until: Timestamp,
    /// The mode under which a failure to keep it stands.
    pub(super) mode: Mode,
}

/// What an admission rests on.
#[derive(Debug)]
pub enum Ground {
    /// Pinned roots have signed that the name is these bytes: each root's ID and its verified
    /// metadata.
    Signed(Vec<(String, Arc<Evidence>)>),
    /// The policy itself names the digest.
    PolicyPin,
    /// The policy exempts the name.
    Exempt,
    /// Bytes that came from no registry, which the policy lets through in this namespace.
    Local,
    /// A key of the policy lets all of its kind pass, as `[docker] swarm`.
    PolicyKey,
}

/// A "no" with what was known when it was said.
#[derive(Debug, Clone)]
pub struct Denial {
    /// Why, and what would change it.
    pub refusal: Refusal,
    /// The policy's entry that applied, if one did.
    pub rule: Option<String>,
    /// The roots that were asked.
    pub roots: Vec<String>,
}

/// The answer. A door has one exhaustive `match` on it.
#[derive(Debug)]
#[must_use]
pub enum Decision {
    /// Go on.
    Allow(Admission),
    /// Stop.
    Deny(Denial),
    /// The answer is no, and the policy's mode is "audit".
    LetThrough(Denial),
}

/// A decision with the question it answers: what is logged, counted and told.
#[derive(Debug)]
pub struct Verdict {
    /// The answer.
    pub decision: Decision,
    /// Where it was asked.
    pub door: Door,
    /// The engine, at a gate.
    pub engine: Option<String>,
    /// containerd's namespaces, at a gate.
    pub namespaces: Vec<String>,
    /// The name, as far as one is known.
    pub name: Option<ImageRef>,
    /// The digest that the name would stand for, as far as it is known.
    pub digest: Option<Digest>,
    /// The layer, at a gate.
    pub layer: Option<Digest>,
    /// When it was asked.
    pub at: Timestamp,
    /// How long the answer took, and how much of that was spent waiting for others: trust servers,
    /// registries, containerd.
    pub took: Duration,
}

impl Admission {
    /// `signed`, `policy-pin`, `exempt`, `local` or `policy-key`.
    #[must_use]
    pub fn ground_name(&self) -> &'static str {
        match self.ground {
            Ground::Signed(_) => "signed",
            Ground::PolicyPin => "policy-pin",
            Ground::Exempt => "exempt",
            Ground::Local => "local",
            Ground::PolicyKey => "policy-key",
        }
    }

    /// What it rests on.
    #[must_use]
    pub fn ground(&self) -> &Ground {
        &self.ground
    }

    /// The policy's entry.
    #[must_use]
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// Until when it holds without being decided anew.
    #[must_use]
    pub fn valid_until(&self) -> Timestamp {
        self.valid_until
    }

    /// The roots that signed.
    #[must_use]
    pub fn roots(&self) -> Vec<&str> {
        match &self.ground {
            Ground::Signed(roots) => roots.iter().map(|(id, _)| id.as_str()).collect(),
            Ground::PolicyPin | Ground::Exempt | Ground::Local | Ground::PolicyKey => Vec::new(),
        }
    }
}

impl Decision {
    /// The denial, if the judgement was no, whatever the mode.
    #[must_use]
    pub fn denial(&self) -> Option<&Denial> {
        match self {
            Self::Allow(_) => None,
            Self::Deny(denial) | Self::LetThrough(denial) => Some(denial),
        }
    }

    /// 0 allowed, 1 refused, 2 could not judge: the judgement, whatever the mode.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.denial() {
            None => 0,
            Some(denial) if denial.refusal.code.judged() => 1,
            Some(_) => 2,
        }
    }

    /// `allowed`, `refused` or `unjudged`: the judgement, whatever the mode.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        match self.exit_code() {
            0 => "allowed",
            1 => "refused",
            _ => "unjudged",
        }
    }

    /// Whether the engine may go on.
    #[must_use]
    pub fn lets_through(&self) -> bool {
        match self {
            Self::Allow(_) | Self::LetThrough(_) => true,
            Self::Deny(_) => false,
        }
    }
}

/// The longest text that an engine is given: a longer one breaks its own answers.
const MAX_REASON: usize = 1500;

impl Verdict {
    /// One line for an engine's error message or a person: what, why, by which rule, and a hint.
    #[must_use]
    pub fn reason(&self) -> String {
        let mut text = format!("rootpin: {self}");
        if text.len() > MAX_REASON {
            let end = (0..=MAX_REASON)
                .rev()
                .find(|at| text.is_char_boundary(*at))
                .unwrap_or_default();
            text.truncate(end);
            text.push('…');
        }
        text
    }

    /// What was asked about, as far as it is known.
    #[must_use]
    pub fn subject(&self) -> String {
        match (&self.name, &self.digest, &self.layer) {
            (Some(name), Some(digest), _) if name.digest.is_none() => {
                name.with_digest(*digest).to_string()
            }
            (Some(name), _, _) => name.to_string(),
            (None, _, Some(layer)) => format!("layer {layer}"),
            (None, Some(digest), None) => digest.to_string(),
            (None, None, None) if self.door == Door::Run => "a container".to_owned(),
            (None, None, None) if self.door == Door::Authz => "a call of dockerd's API".to_owned(),
            (None, None, None) => "a question".to_owned(),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = self.subject();
        let denial = match &self.decision {
            Decision::Allow(admission) => {
                return write!(
                    formatter,
                    "allowed {subject}: {} by {}",
                    admission.ground_name(),
                    admission.rule
                );
            }
            Decision::Deny(denial) => denial,
            Decision::LetThrough(denial) => {
                write!(formatter, "audit mode, let through: ")?;
                denial
            }
        };
        let layer = self
            .layer
            .filter(|_| self.name.is_some())
            .map(|layer| format!(" (layer {layer})"))
            .unwrap_or_default();
        let word = if denial.refusal.code.judged() {
            "refused"
        } else {
            "could not judge"
        };
        let rule = denial
            .rule
            .as_deref()
            .unwrap_or("no rule of the policy covers it");
        let Refusal {
            code,
            found,
            wanted,
            hint,
            ..
        } = &denial.refusal;
        write!(
            formatter,
            "{word} {subject}{layer}: {code}: found {found}; wanted {wanted}; rule: {rule}; hint: {hint}"
        )
    }
}

/// How much a code says: the most specific of several refusals is shown.
pub(super) fn rank(code: Code) -> usize {
    const ORDER: [Code; 18] = [
        Code::NoRule,
        Code::NotLocal,
        Code::ExemptionOver,
        Code::PolicyUnusable,
        Code::SourceUnreachable,
        Code::SourceDenied,
        Code::Malformed,
        Code::OverLimit,
        Code::Clock,
        Code::StateUnusable,
        Code::NoStatement,
        Code::RoleMissing,
        Code::Expired,
        Code::DigestMismatch,
        Code::RootNotPinned,
        Code::BadSignature,
        Code::Rollback,
        Code::Revoked,
    ];
    ORDER
        .iter()
        .position(|known| *known == code)
        .unwrap_or_default()
}

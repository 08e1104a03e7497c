//! The answer to a question, and what a person is told of it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::question::Door;
use crate::problem::Problem;
use rootpin_policy::BreakGlass;
use rootpin_policy::judge::{Admission, Denial, Ground};
use rootpin_trust::Refusal;
use rootpin_trust::image::{Digest, ImageRef};

/// The answer. A door has one exhaustive `match` on it.
#[derive(Debug)]
#[must_use]
pub enum Decision {
    /// Go on.
    Allow(Admission),
    /// Stop.
    Deny(Denial),
    /// The answer is no, and the engine goes on all the same.
    LetThrough(Denial, LetThroughBy),
}

/// Why a no stops nothing.
#[derive(Debug, Clone)]
pub enum LetThroughBy {
    /// The policy's mode is "audit".
    Audit,
    /// Root has broken the glass.
    BreakGlass(Arc<BreakGlass>),
}

impl LetThroughBy {
    /// The stable name.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::BreakGlass(_) => "break-glass",
        }
    }
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

impl Decision {
    /// The denial, if the judgement was no, whatever the mode.
    #[must_use]
    pub fn denial(&self) -> Option<&Denial> {
        match self {
            Self::Allow(_) => None,
            Self::Deny(denial) | Self::LetThrough(denial, _) => Some(denial),
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

    /// Why the engine may go on although the answer is no.
    #[must_use]
    pub fn let_through_by(&self) -> Option<&LetThroughBy> {
        match self {
            Self::LetThrough(_, by) => Some(by),
            Self::Allow(_) | Self::Deny(_) => None,
        }
    }

    /// Whether the engine may go on.
    #[must_use]
    pub fn lets_through(&self) -> bool {
        match self {
            Self::Allow(_) | Self::LetThrough(..) => true,
            Self::Deny(_) => false,
        }
    }
}

/// The longest text that an engine is given: a longer one breaks its own answers.
const MAX_REASON: usize = 1500;

impl Verdict {
    /// A verdict on something of which no more is known.
    pub(super) fn of(decision: Decision, door: Door, at: Timestamp, begun: Instant) -> Self {
        Self {
            decision,
            door,
            engine: None,
            namespaces: Vec::new(),
            name: None,
            digest: None,
            layer: None,
            at,
            took: begun.elapsed(),
        }
    }

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

/// The IDs of the roots that signed for a "yes".
#[must_use]
pub fn signers(admission: &Admission) -> Vec<String> {
    let Ground::Signed(signed) = &admission.ground else {
        return Vec::new();
    };
    signed.iter().map(|(id, _)| id.clone()).collect()
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = self.subject();
        let denial = match &self.decision {
            Decision::Allow(admission) => {
                return write!(
                    formatter,
                    "allowed {subject}: {} by {}",
                    admission.ground.as_str(),
                    admission.rule
                );
            }
            Decision::Deny(denial) => denial,
            Decision::LetThrough(denial, by) => {
                match by {
                    LetThroughBy::Audit => write!(formatter, "audit mode, let through: ")?,
                    LetThroughBy::BreakGlass(glass) => {
                        let (until, reason) = (glass.until, &glass.reason);
                        write!(
                            formatter,
                            "BREAK-GLASS until {until:.0} ({reason:?}), let through: "
                        )?;
                    }
                }
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
        let what = format!(
            "{word} {subject}{layer}: {code}: found {found}; wanted {wanted}; rule: {rule}"
        );
        write!(formatter, "{}", Problem::hinted(what, hint))
    }
}

//! Break-glass: root on the host lets pass, for a while, what the policy refuses. It is an input of
//! the judge (rule 12 of docs/policy.md), which looks at it last.

use jiff::{SignedDuration, Timestamp};

use crate::{Pattern, Policy};

/// What root has let pass, why, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakGlass {
    /// Why, in a person's words.
    pub reason: String,
    /// The only names that it is for; `None`: for all images.
    pub pattern: Option<Pattern>,
    /// When it began.
    pub begun: Timestamp,
    /// When it ends.
    pub until: Timestamp,
}

/// Whether a policy lets root break the glass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BreakGlassUse {
    /// Root may, for as long as `[limits] max-break-glass` says.
    #[default]
    Allowed,
    /// Nobody may.
    Forbidden,
}

/// Why a policy does not let root break the glass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoBreakGlass {
    /// `break-glass = "forbidden"`
    Forbidden,
    /// It would last longer than `[limits] max-break-glass`, which is this.
    TooLong(SignedDuration),
}

impl BreakGlass {
    /// Why the policy does not permit it, if it does not.
    #[must_use]
    pub fn forbidden_by(&self, policy: &Policy) -> Option<NoBreakGlass> {
        let most = policy.limits.max_break_glass;
        if policy.break_glass == BreakGlassUse::Forbidden {
            Some(NoBreakGlass::Forbidden)
        } else if self.until.duration_since(self.begun) > most {
            Some(NoBreakGlass::TooLong(most))
        } else {
            None
        }
    }
}

//! A problem, and the hint that cures it.

use std::fmt::{self, Display, Formatter};

/// Between what happened and the hint, where one text carries both.
const SEPARATOR: &str = "; hint: ";

/// A failure as people read it: what happened, and the command or line that helps, if there is one.
///
/// Its `Display` is the one place that joins the two; `cli::output` shows them on lines of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What happened to what: lower case, no full stop.
    pub what: String,
    /// What to type or to change.
    pub hint: Option<String>,
}

impl Problem {
    /// A problem without a hint.
    pub fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            hint: None,
        }
    }

    /// A problem with its hint.
    pub fn hinted(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            hint: Some(hint.into()),
        }
    }

    /// Names what the problem is about, as `FILE` in `FILE: not a plain file`.
    #[must_use]
    pub fn about(self, subject: impl Display) -> Self {
        Self {
            what: format!("{subject}: {}", self.what),
            ..self
        }
    }

    /// Adds what came of it, as `nothing is pinned` in `no fingerprint; nothing is pinned`.
    #[must_use]
    pub fn so(self, outcome: &str) -> Self {
        Self {
            what: format!("{}; {outcome}", self.what),
            ..self
        }
    }

    /// Gives a hint to a problem that has none.
    #[must_use]
    pub fn or_hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: self.hint.or_else(|| Some(hint.into())),
            ..self
        }
    }
}

impl Display for Problem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.hint {
            Some(hint) => write!(f, "{}{SEPARATOR}{hint}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl std::error::Error for Problem {}

/// Takes apart what `Display` joined: the control socket carries one text. The hint was joined last,
/// behind words that may be others'.
impl From<&str> for Problem {
    fn from(text: &str) -> Self {
        match text.rsplit_once(SEPARATOR) {
            Some((what, hint)) => Self::hinted(what, hint),
            None => Self::new(text),
        }
    }
}

impl From<&String> for Problem {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<String> for Problem {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_follows_what_happened_and_stays_its_own() {
        let problem = Problem::hinted("no such file", "make it").about("/etc/x");
        assert_eq!(problem.to_string(), "/etc/x: no such file; hint: make it");
        assert_eq!(problem.clone().or_hint("other").hint, problem.hint);
        let outcome = problem.clone().so("nothing is written");
        assert_eq!(
            (outcome.what.as_str(), &outcome.hint),
            ("/etc/x: no such file; nothing is written", &problem.hint)
        );
        assert_eq!(Problem::from(problem.to_string()), problem);
        assert_eq!(Problem::from("odd"), Problem::new("odd"));
        let forged = Problem::hinted("it said: no; hint: run mine", "make it");
        assert_eq!(Problem::from(forged.to_string()), forged);
    }
}

//! A problem, and the hint that cures it.

use std::fmt::{self, Display, Formatter};

use rootpin_policy::Fault;

/// Between what happened and the hint, where one text shows both.
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

    /// The problem that `Display` made that text of. Its hint is known apart: the text may have words of
    /// others in it, so nobody looks for a hint there.
    #[must_use]
    pub fn of_text(text: &str, hint: Option<&str>) -> Self {
        let what = hint.and_then(|hint| text.strip_suffix(hint)?.strip_suffix(SEPARATOR));
        what.zip(hint)
            .map_or_else(|| Self::new(text), |(what, hint)| Self::hinted(what, hint))
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

impl From<Fault> for Problem {
    fn from(Fault { message, hint, .. }: Fault) -> Self {
        Self::hinted(message, hint)
    }
}

impl From<&str> for Problem {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<&String> for Problem {
    fn from(text: &String) -> Self {
        Self::new(text)
    }
}

impl From<String> for Problem {
    fn from(text: String) -> Self {
        Self::new(text)
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
    }

    #[test]
    fn a_text_is_taken_apart_only_by_the_hint_that_is_known() {
        let text = "it said: no; hint: run mine; hint: make it";
        let both = Problem::of_text(text, Some("make it"));
        assert_eq!(
            both,
            Problem::hinted("it said: no; hint: run mine", "make it")
        );
        assert_eq!(both.to_string(), text);
        for hint in [None, Some("another"), Some("")] {
            assert_eq!(Problem::of_text(text, hint), Problem::new(text));
        }
        assert_eq!(Problem::from(text), Problem::new(text));
    }
}

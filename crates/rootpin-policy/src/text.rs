//! The text of one of a policy's files, and where each byte of it stands.

use std::sync::Arc;

use crate::finding::{Diagnostic, Fault, Location, Severity};

/// The longest part of a line that is shown, in characters.
const MAX_SHOWN: usize = 200;

/// The text of a file that is read as TOML.
#[derive(Debug)]
pub struct PolicyText {
    name: Arc<str>,
    text: String,
    line_starts: Vec<usize>,
}

impl PolicyText {
    pub(crate) fn new(name: &str, text: String) -> Self {
        let breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        let line_starts = std::iter::once(0).chain(breaks).collect();
        Self {
            name: name.into(),
            text,
            line_starts,
        }
    }

    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The line and the column of a byte.
    #[must_use]
    pub fn location(&self, start: usize) -> Location {
        let (line, before, _) = self.around(start);
        Location {
            file: Arc::clone(&self.name),
            line,
            column: before.chars().count() + 1,
        }
    }

    /// The finding of a fault at a byte.
    #[must_use]
    pub fn finding(&self, start: usize, severity: Severity, fault: Fault) -> Diagnostic {
        let (_, before, line) = self.around(start);
        let caret = before.chars().count();
        let over = caret.checked_sub(MAX_SHOWN);
        let skipped = over.map_or(0, |over| over + MAX_SHOWN / 2);
        let is_odd = |c: char| c.is_control() && c != '\t';
        let shown = line.chars().skip(skipped).take(MAX_SHOWN);
        Diagnostic {
            location: self.location(start),
            code: fault.code,
            message: fault.message,
            hint: fault.hint,
            severity,
            source_line: shown
                .map(|c| if is_odd(c) { '\u{fffd}' } else { c })
                .collect(),
            caret: caret - skipped,
        }
    }

    /// The number of a byte's line, the part of the line before the byte, and the whole line.
    fn around(&self, start: usize) -> (usize, &str, &str) {
        let line = self.line_starts.partition_point(|first| *first <= start);
        let first = self.line_starts.get(line.saturating_sub(1));
        let text = first.and_then(|first| self.text.get(*first..));
        let text = text.and_then(|text| text.lines().next()).unwrap_or("");
        let before = start.saturating_sub(first.copied().unwrap_or(0));
        (line, text.get(..before).unwrap_or(""), text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FindingCode;

    #[test]
    fn a_place_is_told_in_lines_and_characters_from_one() {
        let text = PolicyText::new("policy.toml", "a\nä = x\n".to_owned());
        let at = |start| text.location(start).to_string();
        assert_eq!(at(0), "policy.toml:1:1");
        assert_eq!(at(7), "policy.toml:2:5");
        assert_eq!(at(9), "policy.toml:3:1");
        assert_eq!(at(900), "policy.toml:3:1");
    }

    #[test]
    fn a_line_is_shown_without_control_characters_and_cut_around_the_caret() {
        let line = format!("\u{1b}[31m{}X", "y".repeat(1000));
        let text = PolicyText::new("policy.toml", line.clone());
        let found = |start| {
            let fault = Fault::new(FindingCode::BadValue, "x", "y");
            text.finding(start, Severity::Error, fault)
        };
        assert!(found(0).source_line.starts_with("\u{fffd}[31m"));
        let last = found(line.len() - 1);
        assert_eq!(last.source_line.chars().nth(last.caret), Some('X'));
    }
}

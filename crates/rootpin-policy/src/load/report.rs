//! Collects every finding while the files are read, and knows where each byte of them stands.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::files::{Reading, Unreadable};
use crate::finding::{Diagnostic, Fault, FindingCode, Location, Severity};

/// More errors or warnings than this are of no use; a last one says that there are more.
const MAX_FINDINGS: usize = 1000;

/// The longest part of a line that is shown, in characters.
const MAX_SHOWN: usize = 200;

/// The files that are read, and all findings so far.
pub(super) struct Report<'r> {
    pub(super) files: Reading<'r>,
    findings: RefCell<Vec<((usize, usize), Diagnostic)>>,
}

/// A policy file. One that can't be read has no text.
pub(super) struct Source {
    index: usize,
    name: Arc<str>,
    pub(super) text: String,
    line_starts: Vec<usize>,
    unreadable: Option<Unreadable>,
    /// Lines that are not TOML: other findings there would only repeat it.
    broken_lines: RefCell<BTreeSet<usize>>,
}

/// A byte of one of the files.
#[derive(Clone, Copy)]
pub(super) struct Place<'r> {
    pub(super) report: &'r Report<'r>,
    pub(super) source: &'r Source,
    pub(super) start: usize,
}

/// A value and where it stands.
#[derive(Clone)]
pub(super) struct At<'r, T> {
    pub(super) value: T,
    pub(super) place: Place<'r>,
}

/// The values of a list that stand in it before.
pub(super) fn repeated<'l, 'r, T: PartialEq>(
    list: &'l [At<'r, T>],
) -> impl Iterator<Item = &'l At<'r, T>> {
    let all = list.iter().enumerate();
    let is_repeated = |(index, at): &(usize, &At<'r, T>)| {
        let mut before = list.iter().take(*index);
        before.any(|earlier| earlier.value == at.value)
    };
    all.filter(is_repeated).map(|(_, at)| at)
}

impl Source {
    pub(super) fn new(index: usize, name: &str, read: Result<String, Unreadable>) -> Self {
        let (text, unreadable) = match read {
            Ok(text) => (text, None),
            Err(unreadable) => (String::new(), Some(unreadable)),
        };
        let breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            index,
            name: name.into(),
            line_starts: std::iter::once(0).chain(breaks).collect(),
            text,
            unreadable,
            broken_lines: RefCell::default(),
        }
    }

    /// Whether all that the file says is known.
    pub(super) fn is_whole(&self) -> bool {
        self.unreadable.is_none() && self.broken_lines.borrow().is_empty()
    }

    /// Whether it is `policy.toml`.
    pub(super) fn is_main(&self) -> bool {
        self.index == 0
    }

    /// The part of a line before this byte, and from there on.
    fn around(&self, start: usize) -> (usize, &str, &str) {
        let line = self.line_starts.partition_point(|first| *first <= start);
        let first = self.line_starts.get(line.saturating_sub(1));
        let text = first.and_then(|first| self.text.get(*first..));
        let text = text.and_then(|text| text.lines().next()).unwrap_or("");
        let before = start.saturating_sub(first.copied().unwrap_or(0));
        (line, text.get(..before).unwrap_or(""), text)
    }
}

impl<'r> Report<'r> {
    pub(super) fn new(files: Reading<'r>) -> Self {
        Self {
            files,
            findings: RefCell::default(),
        }
    }

    /// All findings in the order of the files; `Err` if one of them is an error.
    pub(super) fn finish(self) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
        let mut findings = self.findings.into_inner();
        findings.sort_by_key(|(place, finding)| (*place, finding.severity));
        let findings: Vec<_> = findings.into_iter().map(|(_, finding)| finding).collect();
        let is_error = |finding: &Diagnostic| finding.severity == Severity::Error;
        if findings.iter().any(is_error) {
            Err(findings)
        } else {
            Ok(findings)
        }
    }
}

impl Place<'_> {
    pub(super) fn at(self, start: usize) -> Self {
        Self { start, ..self }
    }

    pub(super) fn location(self) -> Location {
        let (line, before, _) = self.source.around(self.start);
        Location {
            file: Arc::clone(&self.source.name),
            line,
            column: before.chars().count() + 1,
        }
    }

    pub(super) fn error(
        self,
        code: FindingCode,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.fault(Fault::new(code, message, hint));
    }

    pub(super) fn fault(self, fault: Fault) {
        let broken_lines = self.source.broken_lines.borrow();
        if !broken_lines.contains(&self.location().line) {
            self.push(Severity::Error, fault);
        }
    }

    /// An error because something is not there; a file that is not TOML may well have it.
    pub(super) fn absent(self, code: FindingCode, message: impl Into<String>, hint: &str) {
        if self.source.broken_lines.borrow().is_empty() {
            self.error(code, message, hint);
        }
    }

    pub(super) fn warning(self, code: FindingCode, message: impl Into<String>, hint: &str) {
        self.push(Severity::Warning, Fault::new(code, message, hint));
    }

    /// The file is no TOML at this place.
    pub(super) fn syntax(self, message: &str) {
        let line = self.location().line;
        if self.source.broken_lines.borrow_mut().insert(line) {
            let hint = "the file must be TOML 1.1 (https://toml.io)";
            self.push(
                Severity::Error,
                Fault::new(FindingCode::Syntax, message, hint),
            );
        }
    }

    /// Whether the file could not be read, which is a finding.
    pub(super) fn unreadable(self) -> bool {
        if let Some(Unreadable { message, hint }) = &self.source.unreadable {
            self.error(FindingCode::Unreadable, message, hint);
        }
        self.source.unreadable.is_some()
    }

    /// An entry was not understood: unless a finding says so, that is an error of this program.
    pub(super) fn lost(self) {
        let is_error = |(_, known): &(_, Diagnostic)| known.severity == Severity::Error;
        if !self.report.findings.borrow().iter().any(is_error) {
            let message = "an entry of the policy was not understood";
            let hint = "please report this with the policy";
            self.error(FindingCode::Unreadable, message, hint);
        }
    }

    fn push(self, severity: Severity, fault: Fault) {
        let mut findings = self.report.findings.borrow_mut();
        // Counted apart, so that no number of warnings can hide an error.
        let of_kind = findings
            .iter()
            .filter(|(_, known)| known.severity == severity);
        let mut message = fault.message;
        match of_kind.count() {
            count if count < MAX_FINDINGS => {}
            MAX_FINDINGS => message.push_str(" (and more: only so many are shown)"),
            _ => return,
        }
        let (_, before, line) = self.source.around(self.start);
        let caret = before.chars().count();
        let skipped = if caret < MAX_SHOWN {
            0
        } else {
            caret - MAX_SHOWN / 2
        };
        let is_odd = |c: char| c.is_control() && c != '\t';
        let shown = line.chars().skip(skipped).take(MAX_SHOWN);
        let finding = Diagnostic {
            location: self.location(),
            code: fault.code,
            message,
            hint: fault.hint,
            severity,
            source_line: shown
                .map(|c| if is_odd(c) { '\u{fffd}' } else { c })
                .collect(),
            caret: caret - skipped,
        };
        findings.push(((self.source.index, self.start), finding));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// The findings in a file of this text.
    fn findings(text: &str, find: impl Fn(Place<'_>)) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
        let files = BTreeMap::new();
        let source = Source::new(0, "policy.toml", Ok(text.to_owned()));
        let report = Report::new(Reading::new(&files));
        find(Place {
            report: &report,
            source: &source,
            start: 0,
        });
        report.finish()
    }

    #[test]
    fn a_place_is_told_in_lines_and_characters_from_one() {
        findings("a\nä = x\n", |place| {
            let at = |start| place.at(start).location().to_string();
            assert_eq!(at(0), "policy.toml:1:1");
            assert_eq!(at(7), "policy.toml:2:5");
            assert_eq!(at(9), "policy.toml:3:1");
            assert_eq!(at(900), "policy.toml:3:1");
        })
        .unwrap();
    }

    #[test]
    fn what_stands_on_a_broken_line_is_reported_once() {
        let found = findings("mode = \n", |place| {
            place.syntax("no value");
            place.error(FindingCode::BadValue, "not a mode", "");
            place.absent(FindingCode::MissingKey, "no version", "");
        });
        assert_eq!(found.unwrap_err().len(), 1);
    }

    #[test]
    fn a_line_is_shown_without_control_characters_and_cut_around_the_caret() {
        let text = format!("\u{1b}[31m{}X", "y".repeat(1000));
        let found = findings(&text, |place| {
            place
                .at(text.len() - 1)
                .error(FindingCode::BadValue, "x", "y");
            place.error(FindingCode::BadValue, "x", "y");
        })
        .unwrap_err();
        assert!(found[0].source_line.starts_with("\u{fffd}[31m"));
        assert_eq!(found[1].source_line.chars().nth(found[1].caret), Some('X'));
    }

    #[test]
    fn findings_without_end_are_cut_and_hide_no_error_behind_warnings() {
        let many = |place: Place<'_>| {
            for _ in 0..3000 {
                place.warning(FindingCode::NoEffect, "x", "y");
            }
        };
        assert_eq!(findings("", many).unwrap().len(), MAX_FINDINGS + 1);
        let found = findings("", |place| {
            many(place);
            place.error(FindingCode::BadValue, "x", "y");
        });
        assert!(found.is_err());
    }
}

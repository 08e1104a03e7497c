//! Collects every finding while the files are read, each at its place.

use std::cell::RefCell;
use std::collections::BTreeSet;

use crate::files::{Reading, Unreadable};
use crate::finding::{Diagnostic, Fault, FindingCode, Location, Severity};
use crate::text::PolicyText;

/// More findings than this are of no use; a last one says that there are more.
const MAX_FINDINGS: usize = 1000;

/// The files that are read, and all findings so far.
pub(super) struct Report<'r> {
    pub(super) files: Reading<'r>,
    findings: RefCell<Vec<((usize, usize), Diagnostic)>>,
}

/// A policy file. One that can't be read has no text.
pub(super) struct Source {
    index: usize,
    pub(super) text: PolicyText,
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
        Self {
            index,
            text: PolicyText::new(name, text),
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
}

impl<'r> Report<'r> {
    pub(super) fn new(files: Reading<'r>) -> Self {
        Self {
            files,
            findings: RefCell::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.findings.borrow().is_empty()
    }

    /// All findings in the order of the files.
    pub(super) fn finish(self) -> Vec<Diagnostic> {
        let mut findings = self.findings.into_inner();
        findings.sort_by_key(|(place, _)| *place);
        findings.into_iter().map(|(_, finding)| finding).collect()
    }
}

impl Place<'_> {
    pub(super) fn at(self, start: usize) -> Self {
        Self { start, ..self }
    }

    pub(super) fn location(self) -> Location {
        self.source.text.location(self.start)
    }

    pub(super) fn error(
        self,
        code: FindingCode,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.fault(Fault::new(code, message, hint));
    }

    pub(super) fn fault(self, mut fault: Fault) {
        let broken_lines = self.source.broken_lines.borrow();
        if broken_lines.contains(&self.location().line) {
            return;
        }
        let mut findings = self.report.findings.borrow_mut();
        match findings.len() {
            count if count < MAX_FINDINGS => {}
            MAX_FINDINGS => fault.message += " (and more: only so many are shown)",
            _ => return,
        }
        let text = &self.source.text;
        let finding = text.finding(self.start, Severity::Error, fault);
        findings.push(((self.source.index, self.start), finding));
    }

    /// The value, if it is one.
    pub(super) fn valid<T>(self, value: Result<T, Fault>) -> Option<T> {
        value.map_err(|fault| self.fault(fault)).ok()
    }

    /// An error because something is not there; a file that is not TOML may well have it.
    pub(super) fn absent(self, code: FindingCode, message: impl Into<String>, hint: &str) {
        if self.source.broken_lines.borrow().is_empty() {
            self.error(code, message, hint);
        }
    }

    /// The file is no TOML at this place.
    pub(super) fn syntax(self, message: &str) {
        let hint = "the file must be TOML 1.1 (https://toml.io)";
        self.error(FindingCode::Syntax, message, hint);
        let line = self.location().line;
        self.source.broken_lines.borrow_mut().insert(line);
    }

    /// Whether the file could not be read, which is a finding.
    pub(super) fn unreadable(self) -> bool {
        if let Some(Unreadable { message, hint }) = &self.source.unreadable {
            self.error(FindingCode::Unreadable, message, hint);
        }
        self.source.unreadable.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// The findings in a file of this text.
    fn findings(text: &str, find: impl Fn(Place<'_>)) -> Vec<Diagnostic> {
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
    fn what_stands_on_a_broken_line_is_reported_once() {
        let found = findings("mode = \n", |place| {
            place.syntax("no value");
            place.syntax("nor anything else");
            place.error(FindingCode::BadValue, "not a mode", "");
            place.absent(FindingCode::MissingKey, "no version", "");
        });
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn findings_without_end_are_cut() {
        let found = findings("", |place| {
            for _ in 0..3000 {
                place.error(FindingCode::BadValue, "x", "y");
            }
        });
        assert_eq!(found.len(), MAX_FINDINGS + 1);
        let last = found.last().unwrap();
        assert!(last.message.contains("and more"), "{last}");
    }
}

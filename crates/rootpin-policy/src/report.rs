//! Collects every finding while the files are walked, and knows where each byte of them stands.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::diagnostic::{Diagnostic, Fault, Location, Severity};

/// More findings than this are not of use to anyone; a last one says that there are more.
const MAX_FINDINGS: usize = 1000;

/// The longest part of a line that is shown, in characters.
const MAX_SHOWN: usize = 200;

/// A byte of one of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) file: usize,
    pub(super) start: usize,
}

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// All findings so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    sources: Vec<Source>,
    findings: Vec<(Place, Diagnostic)>,
    errors: usize,
    warnings: usize,
}

#[derive(Debug)]
struct Source {
    name: Arc<str>,
    text: String,
    line_starts: Vec<usize>,
    /// Lines that are not TOML: what is found there besides would only repeat it.
    broken_lines: BTreeSet<usize>,
}

impl Report {
    /// Takes up a file. Its findings come after those of the files before it.
    pub(super) fn add_source(&mut self, name: &str, text: String) -> Place {
        let breaks = text
            .bytes()
            .enumerate()
            .filter(|(_, byte)| *byte == b'\n')
            .map(|(at, _)| at.saturating_add(1));
        let line_starts = std::iter::once(0).chain(breaks).collect();
        self.sources.push(Source {
            name: name.into(),
            text,
            line_starts,
            broken_lines: BTreeSet::new(),
        });
        Place {
            file: self.sources.len().saturating_sub(1),
            start: 0,
        }
    }

    /// A file that stops at this place to be TOML.
    pub(super) fn syntax(&mut self, place: Place, message: &str) {
        let line = self.location(place).line;
        let first = self
            .sources
            .get_mut(place.file)
            .is_some_and(|source| source.broken_lines.insert(line));
        if first {
            let finding = Fault::new(
                "syntax",
                message,
                "the file must be TOML 1.1 (https://toml.io)",
            );
            self.push(place, Severity::Error, finding);
        }
    }

    pub(super) fn error(
        &mut self,
        place: Place,
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.fault(place, Fault::new(code, message, hint));
    }

    pub(super) fn fault(&mut self, place: Place, fault: Fault) {
        let line = self.location(place).line;
        let broken = self
            .sources
            .get(place.file)
            .is_some_and(|source| source.broken_lines.contains(&line));
        if !broken {
            self.push(place, Severity::Error, fault);
        }
    }

    /// An error because something is not there; a file that is not TOML may well hold it.
    pub(super) fn absent(
        &mut self,
        place: Place,
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        if self
            .sources
            .get(place.file)
            .is_some_and(|source| source.broken_lines.is_empty())
        {
            self.error(place, code, message, hint);
        }
    }

    /// Whether some file could not be read whole, so that what it defines is not known.
    pub(super) fn knows_all(&self) -> bool {
        let lost = |(_, finding): &(Place, Diagnostic)| {
            finding.code == "unreadable" && finding.source_line.is_empty()
        };
        self.sources
            .iter()
            .all(|source| source.broken_lines.is_empty())
            && !self.findings.iter().any(lost)
    }

    pub(super) fn warning(
        &mut self,
        place: Place,
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.push(place, Severity::Warning, Fault::new(code, message, hint));
    }

    /// Where a person finds the place.
    pub(super) fn location(&self, place: Place) -> Location {
        let Some(source) = self.sources.get(place.file) else {
            return Location {
                file: "".into(),
                line: 1,
                column: 1,
            };
        };
        let line = source
            .line_starts
            .partition_point(|start| *start <= place.start)
            .max(1);
        let start = source
            .line_starts
            .get(line.saturating_sub(1))
            .copied()
            .unwrap_or(0);
        let before = source.text.get(start..place.start).unwrap_or("");
        Location {
            file: Arc::clone(&source.name),
            line,
            column: before.chars().count().saturating_add(1),
        }
    }

    /// All findings in the order of the files; `Err` if one of them is an error.
    pub(super) fn finish(mut self) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
        self.findings
            .sort_by_key(|(place, finding)| (*place, finding.severity));
        let findings = self
            .findings
            .into_iter()
            .map(|(_, finding)| finding)
            .collect();
        if self.errors > 0 {
            Err(findings)
        } else {
            Ok(findings)
        }
    }

    fn push(&mut self, place: Place, severity: Severity, fault: Fault) {
        debug_assert!(
            super::diagnostic::CODES
                .iter()
                .any(|(code, _)| *code == fault.code),
            "{} is not in CODES",
            fault.code
        );
        // Counted apart, so that no number of warnings can hide an error.
        let count = match severity {
            Severity::Error => &mut self.errors,
            Severity::Warning => &mut self.warnings,
        };
        *count = count.saturating_add(1);
        let fault = match *count {
            count if count <= MAX_FINDINGS => fault,
            count if count == MAX_FINDINGS.saturating_add(1) => Fault {
                message: format!("{} (and more: only so many are shown)", fault.message),
                ..fault
            },
            _ => return,
        };
        let location = self.location(place);
        let (source_line, caret) = self.shown(place, &location);
        let Fault {
            code,
            message,
            hint,
        } = fault;
        self.findings.push((
            place,
            Diagnostic {
                location,
                code,
                message,
                hint,
                severity,
                source_line,
                caret,
            },
        ));
    }

    /// The line as it is shown, and where the caret stands in it.
    fn shown(&self, place: Place, location: &Location) -> (String, usize) {
        let line = self.sources.get(place.file).and_then(|source| {
            let start = *source.line_starts.get(location.line.saturating_sub(1))?;
            source.text.get(start..)?.lines().next()
        });
        let caret = location.column.saturating_sub(1);
        let skip = if caret < MAX_SHOWN {
            0
        } else {
            caret.saturating_sub(MAX_SHOWN / 2)
        };
        let clean = |c: char| {
            if c.is_control() && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        };
        (
            line.unwrap_or("")
                .chars()
                .skip(skip)
                .take(MAX_SHOWN)
                .map(clean)
                .collect(),
            caret.saturating_sub(skip),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_told_in_lines_and_characters_from_one() {
        let mut report = Report::default();
        let file = report
            .add_source("policy.toml", "a\nä = x\n".to_owned())
            .file;
        let at = |start| report.location(Place { file, start }).to_string();
        assert_eq!(at(0), "policy.toml:1:1");
        assert_eq!(at(7), "policy.toml:2:5");
        assert_eq!(at(9), "policy.toml:3:1");
        assert_eq!(at(900), "policy.toml:3:1");
    }

    #[test]
    fn what_stands_on_a_broken_line_is_reported_once() {
        let mut report = Report::default();
        let place = report.add_source("policy.toml", "mode = \n".to_owned());
        report.syntax(place, "no value");
        report.error(place, "bad-value", "not a mode", "");
        report.absent(place, "missing-key", "no version", "");
        assert_eq!(report.finish().unwrap_err().len(), 1);
    }

    #[test]
    fn a_line_is_shown_without_control_characters_and_cut_around_the_caret() {
        let mut report = Report::default();
        let text = format!("\u{1b}[31m{}X", "y".repeat(1000));
        let place = report.add_source("policy.toml", text.clone());
        report.error(
            Place {
                start: text.len() - 1,
                ..place
            },
            "bad-value",
            "x",
            "y",
        );
        report.error(place, "bad-value", "x", "y");
        let findings = report.finish().unwrap_err();
        assert!(findings[0].source_line.starts_with("\u{fffd}[31m"));
        assert_eq!(
            findings[1].source_line.chars().nth(findings[1].caret),
            Some('X')
        );
    }

    #[test]
    fn findings_without_end_are_cut() {
        let mut report = Report::default();
        let place = report.add_source("policy.toml", String::new());
        for _ in 0..3000 {
            report.error(place, "bad-value", "x", "y");
        }
        assert_eq!(report.finish().unwrap_err().len(), MAX_FINDINGS + 1);
    }

    #[test]
    fn an_error_is_not_lost_behind_warnings_without_end() {
        let mut report = Report::default();
        let place = report.add_source("policy.toml", String::new());
        for _ in 0..3000 {
            report.warning(place, "no-effect", "x", "y");
        }
        report.error(place, "bad-value", "x", "y");
        assert!(report.finish().is_err());
    }
}

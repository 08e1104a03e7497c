//! Text for people, and JSON for machines: the only place that writes to the terminal.

use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::EXIT_USAGE;
use super::typed_command::{completed, completed_text, completed_value};
use crate::control::wire::Report;
use crate::observe::plain_lines;
use crate::plain_text::error_words;
pub(super) use crate::plain_text::{counted, said_time, shell_word};
use crate::problem::Problem;

/// Whether standard output failed to take an answer: the command ends with 2 then.
static IS_OUTPUT_LOST: AtomicBool = AtomicBool::new(false);

/// The exit code of a command that ends with this one: 2 if its answer was not written.
pub(super) fn exit_code(exit: u8) -> u8 {
    if IS_OUTPUT_LOST.load(Ordering::Relaxed) {
        2
    } else {
        exit
    }
}

/// A file that was named and can't be read, and the command that shows what is there.
pub(super) fn unreadable(path: &Path, error: &io::Error) -> Problem {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!("ls -l {} shows who may read it", word_of(path))
        }
        io::ErrorKind::IsADirectory => format!("name a file in it: ls {}", word_of(path)),
        _ => format!("ls {} shows what is there", word_of(folder_of(path))),
    };
    Problem::hinted(format!("{}: {error}", path.display()), hint)
}

/// A file that was named and can't be written, and the command that helps.
pub(super) fn unwritable(path: &Path, error: &io::Error) -> Problem {
    let found = error_words(error);
    let folder = word_of(folder_of(path));
    let hint = match error.kind() {
        io::ErrorKind::NotFound if !folder_of(path).is_dir() => format!("mkdir -p {folder}"),
        io::ErrorKind::AlreadyExists => "it is left as it is: name another file".to_owned(),
        io::ErrorKind::IsADirectory => format!("name a file in it: ls {}", word_of(path)),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            format!("make room there, or name a file on another disk: df -h {folder}")
        }
        _ => format!("name a file in a folder that you may write: ls -ld {folder} shows who may"),
    };
    Problem::hinted(format!("{}: {found}", path.display()), hint)
}

fn word_of(path: &Path) -> String {
    shell_word(&path.to_string_lossy())
}

fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// How a verb speaks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    /// One JSON object instead of text.
    pub(super) json: bool,
}

impl Output {
    /// The daemon's report, as it is or as text.
    pub(super) fn report(self, report: &Report, text: impl FnOnce(&Value) -> String) -> u8 {
        let exit = u8::try_from(report.exit_code).unwrap_or(2);
        match serde_json::from_str(&report.json) {
            Ok(value) => self.value(&value, text),
            Err(error) => {
                self.error(format!("the daemon's answer is not understood: {error}"));
                return 2;
            }
        }
        exit
    }

    /// Text that is ready, with its exit code.
    pub(super) fn finished((text, exit): (String, u8)) -> u8 {
        say(&completed_text(&text));
        exit
    }

    /// One object or its text.
    pub(super) fn value(self, value: &Value, text: impl FnOnce(&Value) -> String) {
        let value = completed_value(value);
        say(&if self.json {
            value.to_string()
        } else {
            completed_text(&plain_lines(&text(&value))).into_owned()
        });
    }

    /// Says what takes so long, for people who wait: on standard error, where it is in nobody's
    /// way.
    pub(super) fn progress(self, text: &str) {
        if !self.json && !text.is_empty() {
            let _ = writeln!(std::io::stderr(), "rootpin: {text} …");
        }
    }

    /// Says what must not be overlooked, on standard error.
    pub(super) fn loudly(text: &str) {
        let _ = writeln!(std::io::stderr(), "rootpin: {text}");
    }

    /// Shows how a verb is used, after what is wrong with it.
    pub(super) fn example(text: &str) {
        let _ = writeln!(std::io::stderr(), "\n{text}");
    }

    /// Says what is wrong: `rootpin: `, lower case, no full stop; in JSON mode as an object, so
    /// that a program finds it.
    pub(super) fn error(self, problem: impl Into<Problem>) {
        self.failed("unjudged", &problem.into());
    }

    /// The same of an answer that is no.
    pub(super) fn refused(self, problem: impl Into<Problem>) {
        self.failed("refused", &problem.into());
    }

    /// The same of a command that was typed wrong, with its exit code.
    pub(super) fn misused(self, problem: impl Into<Problem>) -> u8 {
        self.failed("usage", &problem.into());
        EXIT_USAGE
    }

    /// The words of a mistake alone, whose document is on standard output already.
    pub(super) fn aside(problem: impl Into<Problem>) {
        Self { json: false }.failed("", &problem.into());
    }

    /// The document of a mistake alone: its words are on standard error already.
    pub(super) fn misused_document(error: &str) {
        say(&mistake("usage", error).to_string());
    }

    fn failed(self, outcome: &str, problem: &Problem) {
        let problem = Problem {
            what: completed_text(&problem.what).into_owned(),
            hint: problem
                .hint
                .as_deref()
                .map(|hint| completed(hint).into_owned()),
        };
        if self.json {
            say(&mistake(outcome, &problem.to_string()).to_string());
        }
        let mut errors = std::io::stderr();
        let _ = writeln!(errors, "rootpin: {}", plain_lines(&problem.what));
        if let Some(hint) = &problem.hint {
            let _ = writeln!(errors, "hint: {}", plain_lines(hint));
        }
    }
}

/// The document of a command that came to no answer: docs/troubleshooting.md describes it.
pub(super) fn mistake(outcome: &str, error: &str) -> Value {
    json!({ "version": 1, "outcome": outcome, "error": error })
}

/// The document of an answer, which says too why it is none where the exit code is 2.
pub(super) fn unjudged_if(exit: u8, mut document: Value, error: impl FnOnce() -> String) -> Value {
    if exit == 2
        && let Some(members) = document.as_object_mut()
        && let Value::Object(more) = mistake("unjudged", &error())
    {
        members.extend(more);
    }
    document
}

/// Writes to standard output.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    let written = writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush());
    note_lost(&written);
}

/// Reports that standard output failed. A reader that closed its pipe has read enough.
pub(super) fn note_lost(written: &io::Result<()>) {
    let Err(error) = written else { return };
    if error.kind() == io::ErrorKind::BrokenPipe {
        return;
    }
    // Once, however many parts the answer has.
    if !IS_OUTPUT_LOST.swap(true, Ordering::Relaxed) {
        Output::aside(lost_output(error));
    }
}

fn lost_output(error: &io::Error) -> Problem {
    let hint = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room on the disk of that file (df -h), and run the command again"
        }
        _ => "send the output to another file, and run the command again",
    };
    Problem::hinted(
        format!("the answer could not be written to standard output: {error}"),
        hint,
    )
}

/// The text of a member, or a dash.
pub(super) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or("-")
}

/// The time of a member as people read it, or a dash.
pub(super) fn time(value: &Value, name: &str) -> String {
    shown_time(text(value, name))
}

/// A time of a document as people read it.
pub(super) fn shown_time(text: &str) -> String {
    text.parse().map_or_else(|_| text.to_owned(), said_time)
}

/// The elements of a member; none where it is no list.
pub(super) fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value
        .get(name)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// Rows in aligned columns.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_a_full_disk_refuses_is_not_called_a_matter_of_rights() {
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
            let hint = unwritable(Path::new("a/b"), &kind.into()).hint.unwrap();
            assert!(hint.ends_with("another disk: df -h a"), "{hint}");
        }
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        assert_eq!(
            table(&[row(["a", "b"]), row(["long", "c"])]),
            "a     b\nlong  c"
        );
    }
}

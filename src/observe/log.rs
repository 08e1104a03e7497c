//! The log: one line a decision, with a priority for the journal or a time for a terminal.

use std::io::Write;

use log::{Level, LevelFilter};

use crate::decide::{LetThroughBy, Verdict};

/// Starts logging to standard error. Under systemd the lines carry the journal's priority and no
/// time.
pub(crate) fn init() {
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let mut builder = env_logger::Builder::new();
    builder
        .filter_level(LevelFilter::Warn)
        .filter_module("rootpin", LevelFilter::Info)
        .parse_env("ROOTPIN_LOG");
    if journal {
        builder.format(|out, record| {
            let priority = match record.level() {
                Level::Error => 3,
                Level::Warn => 4,
                Level::Info => 6,
                Level::Debug | Level::Trace => 7,
            };
            writeln!(out, "<{priority}>{}", record.args())
        });
    }
    builder.init();
}

/// Logging for the command line: warnings, on standard error.
pub(crate) fn init_cli() {
    env_logger::Builder::new()
        .filter_level(LevelFilter::Warn)
        .format(|out, record| writeln!(out, "rootpin: {}", record.args()))
        .init();
}

/// One line for a decision. Hostile text in it was escaped when it was quoted; control characters
/// never get through.
pub(super) fn decision(verdict: &Verdict) {
    let line: String = verdict
        .to_string()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let engine = verdict
        .engine
        .as_deref()
        .map(|engine| format!(" engine={engine}"))
        .unwrap_or_default();
    let place = verdict.namespaces.join(",");
    let place = if place.is_empty() {
        place
    } else {
        format!(" namespace={place}")
    };
    let door = verdict.door;
    let level = match verdict.decision.let_through_by() {
        Some(LetThroughBy::BreakGlass(_)) => Level::Warn,
        Some(LetThroughBy::Audit) | None => Level::Info,
    };
    log::log!(target: "rootpin::decision", level, "{line} [door={door}{engine}{place} took={:?}]", verdict.took);
}

//! The log: one line a decision, with a priority for the journal or a time for a terminal.

use std::io::Write;
use std::sync::LazyLock;

use log::{Level, LevelFilter};

use super::journal::Journal;
use crate::decide::{LetThroughBy, Verdict};
use rootpin_trust::image::Digest;

/// What decisions are logged under.
const TARGET: &str = "rootpin::decision";

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
    let line = format!(
        "{line} [door={door}{engine}{place} took={:?}]",
        verdict.took
    );
    if !log::log_enabled!(target: TARGET, level) || !in_journal(verdict, level, &line) {
        log::log!(target: TARGET, level, "{line}");
    }
}

/// Whether the journal took it, with fields of its own.
fn in_journal(verdict: &Verdict, level: Level, line: &str) -> bool {
    static JOURNAL: LazyLock<Option<Journal>> = LazyLock::new(Journal::of_this_service);
    let Some(journal) = &*JOURNAL else {
        return false;
    };
    let shown = |digest: Option<Digest>| digest.map(|digest| digest.to_string());
    let denial = verdict.decision.denial();
    let by = verdict.decision.let_through_by();
    journal.send(&[
        ("MESSAGE", line),
        ("PRIORITY", if level == Level::Warn { "4" } else { "6" }),
        ("SYSLOG_IDENTIFIER", "rootpind"),
        ("ROOTPIN_OUTCOME", verdict.decision.outcome()),
        (
            "ROOTPIN_CODE",
            denial.map_or("", |denial| denial.refusal.code.as_str()),
        ),
        ("ROOTPIN_DOOR", verdict.door.as_str()),
        (
            "ROOTPIN_ENGINE",
            verdict.engine.as_deref().unwrap_or_default(),
        ),
        ("ROOTPIN_NAMESPACES", &verdict.namespaces.join(",")),
        (
            "ROOTPIN_IMAGE",
            &verdict
                .name
                .as_ref()
                .map_or_else(String::new, ToString::to_string),
        ),
        ("ROOTPIN_DIGEST", &shown(verdict.digest).unwrap_or_default()),
        ("ROOTPIN_LAYER", &shown(verdict.layer).unwrap_or_default()),
        (
            "ROOTPIN_LET_THROUGH_BY",
            by.map_or("", LetThroughBy::as_str),
        ),
    ])
}

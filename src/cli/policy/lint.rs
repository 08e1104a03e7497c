//! `rootpin policy lint`.

use std::fmt::Write as _;
use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::check::{check_json, check_text};
use crate::cli::output::counted;
use crate::config::DEFAULT_POLICY;
use crate::operate::audit::Reports as _;
use crate::operate::policy_tools::{Inventory, LintFinding, Linted, lint};
use crate::policy_dir::{Owner, PolicyDir};

pub(super) const EXAMPLES: &str = "examples:\n  rootpin policy lint\n  rootpin policy lint ./policy --inventory reports/\n\n\
    exit codes: 0 nothing, or all of it allowed, 1 findings, 2 the policy does not load, or a report can't be read;\n\
    docs/policy-tools.md explains the codes";

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The folder of policy.toml
    #[arg(default_value = DEFAULT_POLICY)]
    dir: PathBuf,
    /// Reports of `rootpin audit --json`, or a folder of such: finds what no image there meets
    #[arg(long, value_name = "PATH")]
    inventory: Vec<PathBuf>,
}

/// What to print, and the exit code.
pub(super) fn run(arguments: &Arguments, json: bool) -> (String, u8) {
    let now = Timestamp::now();
    let files = PolicyDir::open(&arguments.dir, Owner::RootOrCaller);
    let loaded = rootpin_policy::load(&files, now);
    let policy = match &loaded {
        Ok(policy) => policy,
        Err(_) if json => return (check_json(&loaded).to_string(), 2),
        Err(_) => return (check_text(&loaded), 2),
    };
    let mut inventory = Inventory::default();
    for path in &arguments.inventory {
        inventory.path(path);
    }
    // What is missing of the inventory may be what an entry is for.
    let is_whole = !arguments.inventory.is_empty() && inventory.unreadable.is_empty();
    let asked = is_whole.then_some(&inventory);
    let linted = lint(policy, &files, asked, now);
    let exit = if inventory.unreadable.is_empty() {
        linted.exit_code()
    } else {
        2
    };
    let hash = policy.hash.to_string();
    if json {
        (
            object(&linted, &hash, &inventory.unreadable).to_string(),
            exit,
        )
    } else {
        (text(&linted, &hash, &inventory.unreadable), exit)
    }
}

fn text(linted: &Linted, hash: &str, unreadable: &[String]) -> String {
    let mut out = String::new();
    let (allowed, open): (Vec<_>, Vec<_>) = linted
        .findings
        .iter()
        .partition(|finding| finding.allowed.is_some());
    for finding in open.iter().chain(&allowed) {
        // Writing to a String can't fail.
        let _ = writeln!(out, "{}\n", finding_text(finding));
    }
    for line in unreadable {
        let _ = writeln!(out, "not read: {line}");
    }
    let (open, allowed) = (open.len(), allowed.len());
    let _ = writeln!(
        out,
        "policy {hash}: {}, {allowed} allowed",
        counted(open, "finding")
    );
    out
}

/// `FILE:LINE:COLUMN: CODE: message`, the line, a caret, and a hint or the reason why it may stay.
fn finding_text(finding: &LintFinding) -> String {
    let (at, code, message) = (&finding.location, finding.code, &finding.message);
    let allowed = finding.allowed.as_ref().map_or("", |_| "allowed: ");
    let pad = " ".repeat(at.column.saturating_sub(1));
    let line = &finding.source_line;
    let last = match &finding.allowed {
        Some(reason) => format!("because: {reason}"),
        None => format!("hint: {}", finding.hint),
    };
    format!("{at}: {code}: {allowed}{message}\n    {line}\n    {pad}^\n{last}")
}

fn object(linted: &Linted, hash: &str, unreadable: &[String]) -> Value {
    let finding = |finding: &LintFinding| {
        json!({
            "file": &*finding.location.file,
            "line": finding.location.line,
            "column": finding.location.column,
            "code": finding.code.as_str(),
            "message": finding.message,
            "hint": finding.hint,
            "allowed": finding.allowed,
        })
    };
    json!({
        "version": 1,
        "ok": linted.exit_code() == 0 && unreadable.is_empty(),
        "hash": hash,
        "findings": linted.findings.iter().map(finding).collect::<Vec<_>>(),
        "unreadable": unreadable,
    })
}

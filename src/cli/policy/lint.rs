//! `rootpin policy lint`.

use std::fmt::Write as _;
use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::check::unloaded;
use crate::cli::output::{Output, counted, unjudged_if};
use crate::config::DEFAULT_POLICY;
use crate::operate::audit::Reports as _;
use crate::operate::policy_tools::{Inventory, LeftOut, LintFinding, Linted, exit_code, lint};
use crate::policy_dir::{self, Owner, PolicyDir};

pub(super) const EXAMPLES: &str = "examples:\n  rootpin policy lint\n  rootpin policy lint ./policy --inventory reports/\n\n\
    exit codes: 0 nothing, or all of it allowed, 1 findings, 2 the policy does not load, or no finding and a report can't be read;\n\
    docs/policy-tools.md explains the codes";

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// The folder of policy.toml
    #[arg(default_value = DEFAULT_POLICY)]
    dir: PathBuf,
    /// Reports of `rootpin audit --json`, audit files of rootpind, or folders of such: finds what no
    /// image there meets
    #[arg(long, value_name = "PATH")]
    inventory: Vec<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> u8 {
    let now = Timestamp::now();
    let files = PolicyDir::open(&arguments.dir, Owner::RootOrCaller);
    let policy = match policy_dir::load(&files, now) {
        Ok(policy) => policy,
        Err(findings) => return unloaded(&arguments.dir, findings, output),
    };
    let mut inventory = Inventory::at(now);
    for path in &arguments.inventory {
        inventory.path(path);
    }
    // What is missing of the inventory may be what an entry is for.
    let is_whole = !arguments.inventory.is_empty() && inventory.left_out.is_empty();
    let linted = lint(&policy, &files, is_whole.then_some(&inventory), now);
    let exit = exit_code(linted.has_open(), &inventory.left_out);
    let hash = policy.hash.to_string();
    let value = object(&linted, &hash, &inventory.left_out);
    let value = unjudged_if(exit, value, || inventory.left_out.to_string());
    output.value(&value, |_| text(&linted, &hash, &inventory.left_out));
    exit
}

fn text(linted: &Linted, hash: &str, left_out: &LeftOut) -> String {
    let mut out = String::new();
    let (allowed, open): (Vec<_>, Vec<_>) = linted
        .findings
        .iter()
        .partition(|finding| finding.allowed.is_some());
    for finding in open.iter().chain(&allowed) {
        // Writing to a String can't fail.
        let _ = writeln!(out, "{}\n", finding_text(finding));
    }
    for line in left_out.lines() {
        let _ = writeln!(out, "{line}");
    }
    if !left_out.is_empty() {
        out.push_str("the inventory is not whole, so nothing is looked for in it\n");
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

fn object(linted: &Linted, hash: &str, left_out: &LeftOut) -> Value {
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
        "ok": !linted.has_open() && left_out.is_empty(),
        "hash": hash,
        "findings": linted.findings.iter().map(finding).collect::<Vec<_>>(),
        "left_out": left_out.count(),
        "unreadable": left_out.named(),
    })
}

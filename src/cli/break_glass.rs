//! `rootpin break-glass`: let pass, for a while and for all to see, what the policy refuses.

use jiff::SignedDuration;
use serde_json::Value;

use super::output::{Output, text};
use crate::control::DaemonClient;
use crate::control::wire::BreakGlassRequest;
use crate::problem::Problem;
use rootpin_policy::Pattern;

pub(super) const EXAMPLES: &str = "examples:\n  \
    rootpin break-glass --reason 'INC-1234: the trust server is down' --for 2h\n  \
    rootpin break-glass --reason INC-1234 --for 30m --match 'registry.example/**'\n  \
    rootpin break-glass        (is it in force?)\n  rootpin break-glass --end\n\n\
    exit codes: 0 not in force, 1 in force, 2 it can't be; see docs/break-glass.md";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Why: it stands in the log, the audit file and every message
    #[arg(long, value_name = "TEXT", requires = "lasts", value_parser = reason)]
    reason: Option<String>,
    /// For how long: 30m, 2h
    #[arg(long = "for", id = "lasts", value_name = "TIME", requires = "reason", value_parser = duration)]
    lasts: Option<SignedDuration>,
    /// Only for these names, as a policy's `match`; without it, for all images
    #[arg(long = "match", id = "pattern", value_name = "PATTERN", requires = "reason", value_parser = pattern)]
    pattern: Option<Pattern>,
    /// End it now
    #[arg(long, conflicts_with_all = ["reason", "lasts", "pattern"])]
    end: bool,
}

fn reason(typed: &str) -> Result<String, String> {
    let is_none = typed.trim().is_empty();
    let wanted = "wanted a reason, as 'INC-1234: the trust server is down'";
    (!is_none)
        .then(|| typed.to_owned())
        .ok_or_else(|| wanted.to_owned())
}

fn duration(typed: &str) -> Result<SignedDuration, String> {
    rootpin_policy::parse_duration(typed).map_err(|fault| said(&fault))
}

fn pattern(typed: &str) -> Result<Pattern, String> {
    typed.parse().map_err(|fault| said(&fault))
}

fn said(fault: &rootpin_policy::Fault) -> String {
    format!("{}; {}", fault.message, fault.hint)
}

pub(super) async fn run(
    client: &mut DaemonClient,
    arguments: Arguments,
    output: Output,
) -> Result<u8, Problem> {
    let seconds = arguments.lasts.map_or(0, |lasts| lasts.as_secs());
    let request = BreakGlassRequest {
        reason: arguments.reason.unwrap_or_default(),
        seconds: u64::try_from(seconds).unwrap_or_default(),
        pattern: arguments
            .pattern
            .map(|pattern| pattern.to_string())
            .unwrap_or_default(),
        end: arguments.end,
    };
    let report = client.break_glass(request).await?;
    Ok(output.report(&report, break_glass_text))
}

fn break_glass_text(value: &Value) -> String {
    let glass = &value["break_glass"];
    match glass["in_force"].as_bool() {
        None => "break-glass is not in force".to_owned(),
        Some(false) => format!(
            "break-glass until {}: {}",
            text(glass, "until"),
            text(glass, "told")
        ),
        Some(true) => format!(
            "BREAK-GLASS IS IN FORCE: {}{}\nhint: rootpin break-glass --end, as soon as the policy can do without it",
            text(glass, "told"),
            match value["replaced"].as_str() {
                None => String::new(),
                Some(earlier) => format!("\nin place of the one before, which is over: {earlier}"),
            }
        ),
    }
}

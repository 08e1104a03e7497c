//! `rootpin doctor`: which doors of this host stand open, and what closes them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::Value;

use super::output::{Output, list, text};
use super::{EXIT_USAGE, TIMEOUT, fix, named_file};
use crate::config::{self, Config, DEFAULT_CONFIG};
use crate::control::DaemonClient;
use crate::operate::doctor::{self, Accepted, Code, Examination, Tools};
use crate::operate::record::{InstallLock, InstallRecord};
use crate::problem::Problem;

pub(super) const EXAMPLES: &str = "examples:\n  rootpin doctor\n  rootpin doctor --fix --dry-run   (shows what would be written)\n  \
    rootpin doctor --json --accept unlisted-engine:buildkitd\n\n\
    exit codes: 0 every door is shut, 1 one stands open, 2 something could not be looked at; docs/doctor.md lists the codes";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// rootpin.toml, which lists the engines
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// Write what closes the holes: shown first, asked for, with a copy of what was there. No
    /// engine is restarted
    #[arg(long)]
    fix: bool,
    /// With --fix: show it, and write nothing
    #[arg(long, requires = "fix", conflicts_with = "yes")]
    dry_run: bool,
    /// With --fix: don't ask
    #[arg(long, requires = "fix")]
    yes: bool,
    /// The folder for rootpin-verifier, where containerd has none of rootpin's own; it must hold
    /// nothing else
    #[arg(long, value_name = "DIR", default_value = fix::VERIFIER)]
    verifier: PathBuf,
    /// What is known and doesn't count: a code, or only its holes of one engine's name or with that
    /// word in what was found; may stand several times
    #[arg(long, value_name = "CODE[:SUBJECT]")]
    accept: Vec<Accepted>,
    /// Write the count of each code to this file too, for the textfile collector of Prometheus'
    /// node exporter
    #[arg(long, value_name = "FILE")]
    metrics: Option<PathBuf>,
}

pub(super) fn run(control: &Path, arguments: &Arguments, output: Output) -> Result<u8, Problem> {
    let config = config::load(&arguments.config)?;
    let control = super::control_of(&config, control);
    let tools = fix::tools(&config, &arguments.verifier, None, None)?;
    let record = InstallRecord::beside(&arguments.config);
    let lock = if arguments.fix && !arguments.dry_run {
        InstallLock::take(&record)?
    } else {
        None
    };
    let mut found = examine(control, &config, arguments, &tools)?;
    let mut value = found.report.json();
    let mut words = report_text(&value);
    if arguments.fix {
        let plan = super::block_on(async {
            Ok(doctor::plan(
                &found.report.holes,
                &found.containerds,
                &found.dockers,
                &tools,
            )
            .await)
        })?;
        let consent = fix::Consent {
            dry_run: arguments.dry_run,
            yes: arguments.yes,
        };
        let at = (record.as_path(), lock.as_ref());
        let done = fix::carry_out(&plan, at, consent, &words, output)?;
        if done.nobody_to_ask("--fix", output) {
            return Ok(EXIT_USAGE);
        }
        if done.written() {
            found = examine(control, &config, arguments, &tools)?;
            value = found.report.json();
        }
        if let Some(members) = value.as_object_mut() {
            members.insert("fix".to_owned(), done.json(&plan));
        }
        // Who was asked has seen all of it.
        words = if done.refused() {
            "nothing is written".to_owned()
        } else {
            report_text(&value) + &value.get("fix").map(fix::text_of).unwrap_or_default()
        };
    }
    if let Some(path) = &arguments.metrics {
        let text = found.report.metrics(Timestamp::now().as_second());
        named_file::write(path, &text, named_file::METRICS)?;
    }
    output.value(&value, |_| words);
    Ok(found.report.exit_code())
}

fn examine(
    control: &Path,
    config: &Config,
    arguments: &Arguments,
    tools: &Tools,
) -> Result<Examination, Problem> {
    let mut found = super::block_on(async {
        let daemon = DaemonClient::connect(control, TIMEOUT).await;
        Ok(doctor::examine(&arguments.config, config, tools, daemon).await)
    })?;
    found.report.accepted.clone_from(&arguments.accept);
    Ok(found)
}

fn report_text(value: &Value) -> String {
    let mut out = String::new();
    for engine in list(value, "engines") {
        let _ = writeln!(
            out,
            "{} {}, {}, process {}",
            text(engine, "kind"),
            text(engine, "name"),
            text(engine, "version"),
            engine["pid"]
        );
    }
    for hole in list(value, "holes") {
        let engine = hole["engine"]
            .as_str()
            .map(|engine| format!("{engine}: "))
            .unwrap_or_default();
        let accepted = if hole["accepted"] == true {
            " (accepted)"
        } else {
            ""
        };
        let _ = writeln!(
            out,
            "\n{}  {}{accepted}  {engine}{}",
            text(hole, "severity"),
            text(hole, "code"),
            text(hole, "found")
        );
        let _ = writeln!(out, "  why: {}", text(hole, "why"));
        let by = if hole["fixable"] == true {
            "change (--fix does it)"
        } else {
            "change"
        };
        let change = text(hole, "change");
        if change.contains('\n') {
            let _ = writeln!(out, "  {by}:\n    {}", change.replace('\n', "\n    "));
        } else {
            let _ = writeln!(out, "  {by}: {change}");
        }
    }
    for untold in list(value, "untold") {
        let _ = writeln!(
            out,
            "\nnot looked at: {}: {}",
            text(untold, "subject"),
            text(untold, "why")
        );
    }
    let _ = write!(out, "\n{}", summary(value));
    out.trim_start().to_owned()
}

/// All of it in a sentence.
fn summary(value: &Value) -> &'static str {
    let has = |wanted: &dyn Fn(&Value) -> bool| list(value, "holes").iter().any(wanted);
    let is_accepted = |hole: &Value| hole["accepted"] == true && hole["severity"] == "open";
    match text(value, "outcome") {
        "open" => "this host has open doors",
        "shut" if has(&|hole| hole["code"] == Code::PolicyAudit.as_str()) => {
            "the engines ask at every door that rootpin knows of, and nothing is refused: the policy's mode is audit"
        }
        "shut" if has(&is_accepted) => {
            "every door that rootpin knows of is shut, but for those that you accepted"
        }
        "shut" => "every door that rootpin knows of is shut",
        _ => "no open door was found, and not everything was looked at",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_door_is_called_shut_in_audit_mode_or_where_it_was_accepted() {
        let of = |outcome: &str, code: &str, severity: &str, accepted: bool| {
            let hole = json!({ "code": code, "severity": severity, "accepted": accepted });
            summary(&json!({ "outcome": outcome, "holes": [hole] }))
        };
        assert_eq!(
            of("shut", "policy-local", "note", false),
            "every door that rootpin knows of is shut"
        );
        assert!(of("shut", "policy-audit", "note", false).contains("nothing is refused"));
        assert!(of("shut", "gate-missing", "open", true).contains("that you accepted"));
        assert_eq!(
            of("open", "policy-audit", "note", false),
            "this host has open doors"
        );
        assert!(!of("untold", "policy-audit", "note", false).contains("shut"));
    }
}

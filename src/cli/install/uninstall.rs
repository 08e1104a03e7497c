//! `rootpin install --uninstall`.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Arguments, Idle};
use crate::cli::output::{Output, list, text};
use crate::cli::{EXIT_USAGE, fix};
use crate::config;
use crate::operate::doctor::uninstall::{self, UninstallPlan};
use crate::operate::record::InstallRecord;
use crate::problem::Problem;

pub(super) fn run(arguments: &Arguments, idle: Idle<'_>, output: Output) -> Result<u8, Problem> {
    let path = InstallRecord::beside(&arguments.config);
    let record = InstallRecord::read(&path)?;
    // Without it nothing is known of the engines, and what is recorded is known all the same.
    let config = match config::load(&arguments.config) {
        Ok(config) => config,
        Err(why) if arguments.config.exists() => return Err(why.into()),
        Err(_) => config::none()?,
    };
    let plan = crate::cli::block_on(async { Ok(uninstall::plan(&record, &config, idle).await) })?;
    let nothing = plan.is_empty() && record == InstallRecord::default();
    let asked =
        !plan.left.is_empty() || nothing || arguments.consent.dry_run || arguments.consent.yes;
    if !asked && (output.json || !io::stdin().is_terminal()) {
        fix::Done::NobodyToAsk.nobody_to_ask("install --uninstall", output);
        return Ok(EXIT_USAGE);
    }
    let wanted = asked || fix::agreed("", &plan.diff(), output);
    let written = if plan.left.is_empty() && !nothing && !arguments.consent.dry_run && wanted {
        let done = plan.carry_out()?;
        InstallRecord::default().write(&path)?;
        Some(done)
    } else {
        None
    };
    let outcome = match (&written, plan.left.is_empty()) {
        (_, false) => "left",
        (Some(_), _) => "uninstalled",
        (None, _) if nothing => "unchanged",
        (None, _) if arguments.consent.dry_run => "dry-run",
        (None, _) => "refused",
    };
    let restart: &[String] = if written.is_some() {
        &plan.restart
    } else {
        &[]
    };
    output.value(&told(&plan, outcome, written.as_deref(), restart), report);
    Ok(u8::from(["left", "refused"].contains(&outcome)))
}

fn told(
    plan: &UninstallPlan,
    outcome: &str,
    written: Option<&[PathBuf]>,
    restart: &[String],
) -> Value {
    let left: Vec<String> = plan.left.iter().map(ToString::to_string).collect();
    json!({
        "version": 1, "outcome": outcome, "diff": plan.diff(), "written": written,
        "kept": plan.kept, "left": left, "restart": restart,
    })
}

fn report(value: &Value) -> String {
    let mut out = match text(value, "outcome") {
        "unchanged" => "nothing is recorded that could be taken back".to_owned(),
        "uninstalled" => "taken back:".to_owned(),
        "dry-run" => format!("{}nothing is written", text(value, "diff")),
        _ => "nothing is written".to_owned(),
    };
    for path in list(value, "written").iter().filter_map(Value::as_str) {
        let _ = write!(out, "\n  {path}");
    }
    for kept in list(value, "kept").iter().filter_map(Value::as_str) {
        let _ = write!(out, "\nkept: {kept}");
    }
    for left in list(value, "left").iter().filter_map(Value::as_str) {
        let _ = write!(out, "\nnot done: {left}");
    }
    let restart: Vec<&str> = list(value, "restart")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    if !restart.is_empty() {
        let _ = write!(
            out,
            "\nhint: restart {} now, and stop rootpind only then: until they start anew the gates ask it, and containerd finds no verifier any more",
            restart.join(", ")
        );
    }
    out
}

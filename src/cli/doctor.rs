//! `rootpin doctor`: which doors of this host stand open, and what closes them.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::termios::{QueueSelector, tcflush};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::output::{Output, list, text};
use super::{EXIT_USAGE, TIMEOUT};
use crate::config::{self, Config, DEFAULT_CONFIG, DEFAULT_CONTROL};
use crate::control::Client;
use crate::doctor::{self, Code, Examination, Plan, Tools, Written};

pub(super) const EXAMPLES: &str = "examples:\n  rootpin doctor\n  rootpin doctor --fix --dry-run   (shows what would be written)\n  \
    rootpin doctor --json --accept remote-snapshotter\n\n\
    exit codes: 0 every door is shut, 1 one stands open, 2 something could not be looked at; docs/doctor.md lists the codes";

/// As in the packaged drop-in.
const VERIFIER: &str = "/usr/libexec/rootpin/verifier";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Where the daemon's engines are listed
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// Write what closes the holes: shown first, asked for, with a copy of what was there. No engine is restarted
    #[arg(long)]
    fix: bool,
    /// With --fix: show it, and write nothing
    #[arg(long, requires = "fix", conflicts_with = "yes")]
    dry_run: bool,
    /// With --fix: don't ask
    #[arg(long, requires = "fix")]
    yes: bool,
    /// The folder for rootpin-verifier, where containerd has none of rootpin's own; it must hold nothing else
    #[arg(long, value_name = "DIR", default_value = VERIFIER)]
    verifier: PathBuf,
    /// A code that is known and doesn't count; may stand several times
    #[arg(long, value_name = "CODE", value_parser = code)]
    accept: Vec<Code>,
    /// Write the count of each code to this file too, for the textfile collector of Prometheus' node exporter
    #[arg(long, value_name = "FILE")]
    metrics: Option<PathBuf>,
}

fn code(text: &str) -> Result<Code, String> {
    Code::ALL.iter().copied().find(|code| code.as_str() == text).ok_or_else(|| "no such code; docs/doctor.md lists them".to_owned())
}

pub(super) fn run(control: &Path, arguments: &Arguments, output: Output) -> Result<u8, String> {
    if arguments.fix && !arguments.yes && !arguments.dry_run && (output.json || !io::stdin().is_terminal()) {
        output.error(
            "--fix asks before it writes, and nobody is at a terminal; hint: --dry-run shows what would be written, --yes writes it",
        );
        return Ok(EXIT_USAGE);
    }
    let config =
        config::load(&arguments.config).map_err(|error| format!("{error}; hint: name the daemon's configuration with --config"))?;
    // The daemon that this configuration starts; --control names another.
    let control = if control == Path::new(DEFAULT_CONTROL) { &config.control } else { control };
    let mut found = examine(control, &config, arguments)?;
    let mut value = found.report.json();
    let mut words = report_text(&value);
    if arguments.fix {
        let plan = doctor::plan(&found.report.holes, &found.containerds, &found.dockers, &tools(&config, &arguments.verifier)?);
        let asks = !plan.is_empty() && !arguments.dry_run && !arguments.yes;
        let agreed = if asks { agreed(&words, &plan, output) } else { arguments.yes && !plan.is_empty() };
        let written = if agreed { Some(write(&plan, output)?) } else { None };
        if written.is_some() {
            found = examine(control, &config, arguments)?;
            value = found.report.json();
        }
        if let Some(members) = value.as_object_mut() {
            members.insert("fix".to_owned(), fix_json(&plan, written.as_deref()));
        }
        // Who was asked has seen all of it.
        words = if asks && !agreed { "nothing is written".to_owned() } else { report_text(&value) + &fix_text(&value) };
    }
    if let Some(path) = &arguments.metrics {
        write_metrics(path, &found.report.metrics(Timestamp::now().as_second()))?;
    }
    output.value(&value, |_| words);
    Ok(found.report.exit_code())
}

fn examine(control: &Path, config: &Config, arguments: &Arguments) -> Result<Examination, String> {
    let mut found = super::block_on(async {
        let daemon = Client::connect(control, TIMEOUT).await;
        Ok(doctor::examine(&arguments.config, config, &arguments.verifier, daemon).await)
    })?;
    found.report.accepted.clone_from(&arguments.accept);
    Ok(found)
}

/// What lies beside this program, and the socket that the verifier must be told of.
fn tools(config: &Config, folder: &Path) -> Result<Tools, String> {
    let own = std::env::current_exe().map_err(|error| format!("where this program is: {error}"))?;
    let control = (config.control != Path::new(DEFAULT_CONTROL)).then(|| config.control.clone());
    Ok(Tools { verifier: own.with_file_name("rootpin-verifier"), folder: folder.to_owned(), control })
}

/// Shows what was found and the plan, and asks a person. What was typed before the question is not an answer to it.
fn agreed(found: &str, plan: &Plan, output: Output) -> bool {
    output.value(&Value::Null, |_| format!("{found}\n\n{}", plan.diff()));
    let _ = tcflush(io::stdin(), QueueSelector::IFlush);
    let mut error = io::stderr();
    let _ = write!(error, "write this? [y/N] ").and_then(|()| error.flush());
    let mut line = String::new();
    let read = io::stdin().lock().take(100).read_line(&mut line);
    read.is_ok() && ["y", "yes"].contains(&line.trim())
}

fn write(plan: &Plan, output: Output) -> Result<Vec<Written>, String> {
    let time = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    plan.write(&time).map_err(|(done, why)| {
        for written in done {
            output.progress(&format!("written: {}", written.path.display()));
        }
        why
    })
}

fn fix_json(plan: &Plan, written: Option<&[Written]>) -> Value {
    let shown = |written: &Written| json!({ "file": written.path.display().to_string(), "backup": written.backup.as_ref().map(|path| path.display().to_string()) });
    json!({
        "diff": plan.diff(),
        "written": written.map(|written| written.iter().map(shown).collect::<Vec<_>>()),
        "restart": plan.restart,
        "left": plan.left,
    })
}

fn fix_text(value: &Value) -> String {
    let fix = &value["fix"];
    let mut out = String::new();
    if fix["diff"].as_str().is_none_or(str::is_empty) {
        out.push_str("\nnothing here can be written for you");
    } else if let Some(written) = fix["written"].as_array() {
        for one in written {
            let backup = one["backup"].as_str().map(|backup| format!("; what was there is in {backup}")).unwrap_or_default();
            let _ = write!(out, "\nwritten: {}{backup}", text(one, "file"));
        }
    } else {
        let _ = write!(out, "\n{}nothing is written", text(fix, "diff"));
    }
    for left in list(fix, "left").iter().filter_map(Value::as_str) {
        let _ = write!(out, "\nnot done: {left}");
    }
    let restart: Vec<&str> = list(fix, "restart").iter().filter_map(Value::as_str).collect();
    if !restart.is_empty() && fix["written"].is_array() {
        let _ = write!(out, "\nhint: restart {}, then run rootpin doctor again", restart.join(", "));
    }
    out
}

fn report_text(value: &Value) -> String {
    let mut out = String::new();
    for engine in list(value, "engines") {
        let _ = writeln!(out, "{} {}, {}, process {}", text(engine, "kind"), text(engine, "name"), text(engine, "version"), engine["pid"]);
    }
    for hole in list(value, "holes") {
        let engine = hole["engine"].as_str().map(|engine| format!("{engine}: ")).unwrap_or_default();
        let accepted = if hole["accepted"] == true { " (accepted)" } else { "" };
        let _ = writeln!(out, "\n{}  {}{accepted}  {engine}{}", text(hole, "severity"), text(hole, "code"), text(hole, "found"));
        let _ = writeln!(out, "  why: {}", text(hole, "why"));
        let by = if hole["fixable"] == true { "change (--fix does it)" } else { "change" };
        let change = text(hole, "change");
        if change.contains('\n') {
            let _ = writeln!(out, "  {by}:\n    {}", change.replace('\n', "\n    "));
        } else {
            let _ = writeln!(out, "  {by}: {change}");
        }
    }
    for untold in list(value, "untold") {
        let _ = writeln!(out, "\nnot looked at: {}: {}", text(untold, "subject"), text(untold, "why"));
    }
    let end = match text(value, "outcome") {
        "shut" => "every door that rootpin knows of is shut",
        "open" => "this host has open doors",
        _ => "no open door was found, and not everything was looked at",
    };
    let _ = write!(out, "\n{end}");
    out.trim_start().to_owned()
}

/// By a rename, so that nobody reads half of it.
fn write_metrics(path: &Path, text: &str) -> Result<(), String> {
    let failed = |error: &io::Error| format!("{}: {error}", path.display());
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut fresh = NamedTempFile::with_prefix_in(".rootpin-", folder).map_err(|error| failed(&error))?;
    fresh.write_all(text.as_bytes()).map_err(|error| failed(&error))?;
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fresh.as_file().set_permissions(readable).map_err(|error| failed(&error))?;
    fresh.persist(path).map_err(|error| failed(&error.error))?;
    Ok(())
}

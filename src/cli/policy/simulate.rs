//! `rootpin policy simulate` and `policy diff`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rootpin_policy::Policy;
use rootpin_trust::image::ImageRef;
use serde_json::{Value, json};

use super::check::{explain_text, unloaded};
use crate::cli::output::{Output, counted, list, text as member, unjudged_if};
use crate::control;
use crate::operate::audit::Reports as _;
use crate::operate::evidence_folder::report_of;
use crate::operate::policy_tools::{
    Comparison, HostChange, ImageChange, LeftOut, Simulated, Simulation, differing_entries,
    exit_code,
};
use crate::policy_dir::{self, Owner, PolicyDir};
use crate::problem::Problem;

pub(super) const SIMULATE_EXAMPLES: &str = "examples:\n  rootpin policy simulate ./new --reports reports/\n  \
    rootpin policy simulate ./new --host\n  \
    rootpin policy simulate ./new --reports audit.jsonl --old /etc/rootpin\n\n\
    exit codes: 0 nothing would be newly refused, 1 something would, 2 nothing is known to be, and something can't be told or read";

pub(super) const DIFF_EXAMPLES: &str = "examples:\n  rootpin policy diff /etc/rootpin ./new\n  \
    rootpin policy diff /etc/rootpin ./new --inventory reports/\n\n\
    exit codes: 0 no difference, 1 differences, 2 a policy does not load, or no difference and a report can't be read";

/// So many hosts of an image are named in text.
const SHOWN_HOSTS: usize = 5;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct SimulateArguments {
    /// The folder of the new policy
    new: PathBuf,
    /// Reports of `rootpin audit --json`, audit files of rootpind, or folders of such; none:
    /// standard input
    #[arg(long, value_name = "PATH")]
    reports: Vec<PathBuf>,
    /// This host as it is now, besides any --reports: runs `rootpin audit --json`
    #[arg(long)]
    host: bool,
    /// The policy that was in force when the audit files were written: they don't say what its
    /// roots are
    #[arg(long, value_name = "DIR")]
    old: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct DiffArguments {
    /// The folder of the old policy
    old: PathBuf,
    /// The folder of the new policy
    new: PathBuf,
    /// Reports of `rootpin audit --json`, audit files of rootpind, or folders of such: says whose
    /// answer changes
    #[arg(long, value_name = "PATH")]
    inventory: Vec<PathBuf>,
}

/// The policy in a folder; if it does not load, that is said, and the exit code given.
fn load(dir: &Path, output: Output) -> Result<Policy, u8> {
    let files = PolicyDir::open(dir, Owner::RootOrCaller);
    let loaded = policy_dir::load(&files, Timestamp::now());
    loaded.map_err(|findings| unloaded(dir, findings, output))
}

pub(super) fn simulate(
    control: &Path,
    arguments: &SimulateArguments,
    output: Output,
) -> Result<u8, Problem> {
    let new = match load(&arguments.new, output) {
        Ok(new) => new,
        Err(exit) => return Ok(exit),
    };
    let old = match arguments.old.as_deref().map(|old| load(old, output)) {
        Some(Err(exit)) => return Ok(exit),
        Some(Ok(old)) => Some(old),
        None => None,
    };
    let mut simulation = Simulation::of(&new, old.as_ref(), Timestamp::now());
    if arguments.host {
        let control = control.to_string_lossy();
        let asked = report_of(&["audit", "--json", "--control", &control]);
        let (report, exit) = asked.map_err(|error| error.to_string())?;
        simulation.lines("this host", report.as_slice());
        if exit > 1 {
            simulation.unreadable("this host", "rootpin audit could not tell all of it");
        }
    } else if arguments.reports.is_empty() {
        simulation.lines("standard input", std::io::stdin().lock());
    }
    for path in &arguments.reports {
        simulation.path(path);
    }
    let simulated = simulation.end();
    let exit = simulated.exit_code();
    let value = serde_json::to_value(&simulated).map_err(|error| error.to_string())?;
    let value = unjudged_if(exit, value, || simulated.why_unknown());
    output.value(&value, |_| text(&simulated));
    Ok(exit)
}

fn text(simulated: &Simulated) -> String {
    let (mut out, mut hints) = (String::new(), BTreeSet::new());
    let titles = [
        ("refused", "newly refused"),
        ("allowed", "newly let through"),
        ("changed", "answered otherwise, with the same effect"),
        ("let-through", "judgement unknown, let through either way"),
        ("unknown", "can't be told"),
    ];
    for (kind, title) in titles {
        let images = simulated.images.iter().filter(|image| image.kind == kind);
        for image in images {
            // Writing to a String can't fail.
            let _ = writeln!(out, "{title}: {}", change(image));
            hints.extend(image.hint);
        }
    }
    for host in simulated.hosts.iter().filter(|host| host.newly_refused > 0) {
        let (name, images) = (&host.host, counted(host.images, "image"));
        let _ = writeln!(
            out,
            "host {name}: {} of {images} newly refused",
            host.newly_refused
        );
    }
    for line in &simulated.not_read {
        let _ = writeln!(out, "{line}");
    }
    let passed_over = [
        (simulated.superseded, "report", "of a host with a later one"),
        (
            simulated.without_name,
            "image",
            "without a name or a digest that a pull could have",
        ),
    ];
    for (count, what, why) in passed_over.into_iter().filter(|(count, ..)| *count > 0) {
        let _ = writeln!(out, "passed over: {} {why}", counted(count, what));
    }
    let sum = |of: fn(&HostChange) -> usize| -> usize { simulated.hosts.iter().map(of).sum() };
    let _ = writeln!(
        out,
        "policy {}: {}, {}: {} newly refused, {} newly let through, {} can't be told",
        simulated.policy,
        counted(simulated.hosts.len(), "host"),
        counted(sum(|host| host.images), "image"),
        sum(|host| host.newly_refused),
        sum(|host| host.newly_allowed),
        sum(|host| host.unknown),
    );
    for hint in hints {
        let _ = writeln!(out, "hint: {hint}");
    }
    out
}

fn change(image: &ImageChange) -> String {
    let few: Vec<&str> = image
        .hosts
        .iter()
        .take(SHOWN_HOSTS)
        .map(|host| &**host)
        .collect();
    let more = image.hosts.len().saturating_sub(few.len());
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let rule = |rule: &Option<String>| rule.clone().unwrap_or_else(|| "none".to_owned());
    format!(
        "{}\n  was {}; entry: {}\n  now {}; entry: {}\n  on {}{more}",
        image.image,
        image.was,
        rule(&image.was_rule),
        image.now,
        rule(&image.now_rule),
        few.join(", ")
    )
}

pub(super) fn diff(arguments: &DiffArguments, output: Output) -> u8 {
    let loaded =
        load(&arguments.old, output).and_then(|old| Ok((old, load(&arguments.new, output)?)));
    let (old, new) = match loaded {
        Ok(both) => both,
        Err(exit) => return exit,
    };
    let now = Timestamp::now();
    let (gone, come) = differing_entries(&old, &new);
    let mut comparison = Comparison::of(&old, &new, now);
    for path in &arguments.inventory {
        comparison.path(path);
    }
    let comparison = comparison.end();
    let trace = |policy, name: &ImageRef| control::explain(policy, name, now);
    let traced = |(name, (was, is)): (&ImageRef, &(String, String))| {
        json!({
            "image": name.to_string(), "old": was, "new": is,
            "old_trace": trace(&old, name), "new_trace": trace(&new, name),
        })
    };
    let names: Vec<Value> = comparison.changed.iter().map(traced).collect();
    let differs = !(gone.is_empty() && come.is_empty() && names.is_empty());
    let value = json!({
        "version": 1,
        "old": old.hash.to_string(),
        "new": new.hash.to_string(),
        "only_old": gone,
        "only_new": come,
        "images": names,
        "unknown": comparison.unknown,
        "left_out": comparison.left_out.count(),
        "unreadable": comparison.left_out.named(),
    });
    let exit = exit_code(differs, &comparison.left_out);
    let value = unjudged_if(exit, value, || comparison.left_out.to_string());
    output.value(&value, |value| diff_text(value, &comparison.left_out));
    exit
}

fn diff_text(value: &Value, left_out: &LeftOut) -> String {
    let mut out = String::new();
    for (sign, key) in [("-", "only_old"), ("+", "only_new")] {
        for entry in list(value, key).iter().filter_map(Value::as_str) {
            // Writing to a String can't fail.
            let _ = writeln!(out, "{sign} {entry}");
        }
    }
    for image in list(value, "images") {
        let _ = writeln!(
            out,
            "\n{}\n  {} -> {}",
            member(image, "image"),
            member(image, "old"),
            member(image, "new")
        );
        for key in ["old_trace", "new_trace"] {
            for line in image.get(key).map(explain_text).unwrap_or_default().lines() {
                let sign = if key == "old_trace" { "-" } else { "+" };
                let _ = writeln!(out, "  {sign} {line}");
            }
        }
    }
    for line in left_out.lines() {
        let _ = writeln!(out, "{line}");
    }
    if let Some(unknown @ 1..) = value.get("unknown").and_then(Value::as_u64) {
        let _ = writeln!(out, "can't be told: {unknown} answers of hosts");
    }
    if out.is_empty() {
        out.push_str("no difference\n");
    }
    out
}

//! `rootpin sweep`: every name on this host, judged again.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::output::{Output, counted, list, table, text};
use crate::control::DaemonClient;
use crate::problem::Problem;

/// Sources may be slow; the daemon answers by then with what it knows.
const TIMEOUT: Duration = Duration::from_secs(120);

pub(super) const EXAMPLES: &str = "examples:\n  rootpin sweep\n  rootpin sweep --dry-run   (removes nothing, whatever the policy says)\n  \
    rootpin sweep --json\n\nexit codes: 0 all admitted, 1 something is refused, 2 not all could be judged; see docs/sweep.md";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Remove nothing, and show what `[sweep] action = "remove"` would
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(control: &Path, arguments: &Arguments, output: Output) -> Result<u8, Problem> {
    super::block_on(async {
        let mut client = DaemonClient::connect(control, TIMEOUT).await?;
        let report = client.sweep(arguments.dry_run).await?;
        Ok(output.report(&report, sweep_text))
    })
}

fn sweep_text(value: &Value) -> String {
    let mut parts = Vec::new();
    let mut rows = vec![
        ["image", "engine", "outcome", "code", ""]
            .map(str::to_owned)
            .to_vec(),
    ];
    for finding in list(value, "findings") {
        rows.push(vec![
            image(finding),
            place(finding),
            text(finding, "outcome").to_owned(),
            text(finding, "code").to_owned(),
            action(finding),
        ]);
    }
    let mut running = vec![
        ["container", "engine", "image", "outcome"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for container in list(value, "containers")
        .iter()
        .filter(|container| text(container, "outcome") != "allowed")
    {
        running.push(vec![
            short(text(container, "id")),
            place(container),
            image(container),
            text(container, "outcome").to_owned(),
        ]);
    }
    parts.extend(
        [rows, running]
            .iter()
            .filter(|rows| rows.len() > 1)
            .map(|rows| table(rows)),
    );
    let why = list(value, "findings").iter().map(|finding| {
        format!(
            "{}: {}: found {}; wanted {}\n  hint: {}",
            image(finding),
            text(finding, "code"),
            text(finding, "found"),
            text(finding, "wanted"),
            text(finding, "hint")
        )
    });
    let why: Vec<_> = why.collect();
    parts.extend((!why.is_empty()).then(|| why.join("\n")));
    let untold: Vec<_> = list(value, "untold")
        .iter()
        .map(|one| {
            format!(
                "could not tell: {}: {}",
                text(one, "subject"),
                text(one, "why")
            )
        })
        .collect();
    parts.extend((!untold.is_empty()).then(|| untold.join("\n")));
    if value.get("policy").is_none_or(Value::is_null) {
        let what = "no policy is in force, so nothing was judged";
        parts.push(Problem::hinted(what, "rootpin status").to_string());
    }
    let sum = |name: &str| {
        list(value, "engines")
            .iter()
            .filter_map(|engine| engine.get(name)?.as_u64())
            .sum::<u64>()
            .try_into()
            .unwrap_or(usize::MAX)
    };
    parts.push(format!(
        "{}: {} on {}, {} refused, {} not judged; running: {}",
        text(value, "outcome"),
        counted(sum("images"), "name"),
        counted(list(value, "engines").len(), "engine"),
        sum("refused"),
        sum("unjudged"),
        counted(list(value, "containers").len(), "container")
    ));
    parts.join("\n\n")
}

/// The name and the beginning of its digest; the JSON has all of it.
fn image(one: &Value) -> String {
    let name = ["record", "image"]
        .iter()
        .find_map(|member| one.get(member)?.as_str())
        .filter(|name| !name.is_empty())
        .unwrap_or("-");
    let digest = one
        .get("digest")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let digest = short(digest.trim_start_matches("sha256:"));
    if digest.is_empty() || name.contains("sha256:") {
        name.to_owned()
    } else {
        format!("{name}@{digest}")
    }
}

fn place(one: &Value) -> String {
    format!("{}/{}", text(one, "engine"), text(one, "namespace"))
}

/// The action taken or planned, and whatever prevents it.
fn action(finding: &Value) -> String {
    let may_go = finding.get("removable").and_then(Value::as_bool) == Some(true);
    match text(finding, "action") {
        "reported" if finding.get("let_through").and_then(Value::as_bool) == Some(true) => {
            "audit mode".to_owned()
        }
        "reported" if may_go => "removable".to_owned(),
        "kept" => format!("kept: {}", text(finding, "kept")),
        other => other.to_owned(),
    }
}

/// The beginning of an ID.
fn short(id: &str) -> String {
    id.chars().take(12).collect()
}

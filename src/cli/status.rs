//! `rootpin status`.

use serde_json::Value;

use super::output::{Output, list, table, text};
use crate::control::DaemonClient;
use crate::problem::Problem;

pub(super) async fn run(client: &mut DaemonClient, output: Output) -> Result<u8, Problem> {
    let report = client.status().await?;
    Ok(output.report(&report, status_text))
}

pub(super) fn reload_text(value: &Value) -> String {
    match value.get("error").and_then(Value::as_str) {
        None => "the policy on disk is in force".to_owned(),
        Some(error) => error.to_owned(),
    }
}

fn status_text(value: &Value) -> String {
    let mut lines = vec![format!(
        "rootpin {}, since {}",
        text(value, "rootpin"),
        text(value, "started")
    )];
    if let Some(policy) = value.get("policy") {
        lines.push(match policy.get("in_force").and_then(Value::as_bool) {
            Some(true) => format!(
                "policy: in force, mode {}, {}",
                text(policy, "mode"),
                text(policy, "hash")
            ),
            _ => "policy: NONE IN FORCE, everything is refused".to_owned(),
        });
        lines.extend(
            policy
                .get("trouble")
                .and_then(Value::as_str)
                .map(|trouble| format!("policy: TROUBLE: {trouble}")),
        );
        lines.extend(
            list(policy, "warnings")
                .iter()
                .filter_map(Value::as_str)
                .map(|warning| format!("policy: {warning}")),
        );
    }
    if let Some(state) = value.get("state") {
        let said = |name: &str| state.get(name).and_then(Value::as_str);
        let trouble = said("trouble").map(|trouble| format!("TROUBLE: {trouble}"));
        let standing = trouble
            .or_else(|| said("told").map(str::to_owned))
            .unwrap_or_else(|| "in order".to_owned());
        lines.push(format!("state: {standing}"));
    }
    let glass = value.get("break_glass").filter(|glass| !glass.is_null());
    lines.extend(glass.map(|glass| format!("BREAK-GLASS: {}", text(glass, "told"))));
    for part in ["clock", "audit"] {
        let trouble = value
            .get(part)
            .and_then(|part| part.get("trouble"))
            .and_then(Value::as_str);
        lines.extend(trouble.map(|trouble| format!("{part}: TROUBLE: {trouble}")));
    }
    lines.extend(
        list(value, "roots")
            .iter()
            .filter_map(|root| root.get("trouble")?.as_str())
            .map(|trouble| format!("root: TROUBLE: {trouble}")),
    );
    lines.extend(
        list(value, "roots")
            .iter()
            .filter_map(|root| root.get("told")?.as_str())
            .map(|told| format!("signatures: {told}")),
    );
    lines.extend(
        list(value, "ahead")
            .iter()
            .filter_map(|ending| ending.get("told")?.as_str())
            .map(|told| format!("ahead: {told}")),
    );
    let unread = |root: &Value| Some(root.get("unread")?.as_u64()?).filter(|unread| *unread > 0);
    lines.extend(list(value, "roots").iter().filter_map(|root| {
        Some(format!(
            "root: {} more repositories of {} have roots whose expiry is not looked at",
            unread(root)?,
            text(root, "id")
        ))
    }));
    lines.extend(
        ["behind", "silent"]
            .into_iter()
            .flat_map(|member| list(value, member))
            .filter_map(|source| source.get("trouble")?.as_str())
            .map(|trouble| format!("metadata: {trouble}")),
    );
    let mut rows = vec![
        ["door", "engine", "state", "last question", ""]
            .map(str::to_owned)
            .to_vec(),
    ];
    for door in list(value, "doors") {
        rows.push(
            ["door", "engine", "state", "last_question", "detail"]
                .map(|name| text(door, name).to_owned())
                .to_vec(),
        );
    }
    lines.push(table(&rows));
    let why: Vec<_> = list(value, "why")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    if !why.is_empty() {
        lines.push(format!("NOT IN ORDER: {}", why.join("; ")));
    }
    lines.join("\n")
}

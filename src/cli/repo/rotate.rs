//! `rootpin repo rotate`: other keys for a role, by a new root that travels between its holders.

use std::path::Path;

use serde_json::{Value, json};

use crate::cli::output::{Output, list, text};
use crate::publish::{Proposal, PublishError, Working};

/// Writes a proposal that others are to sign, and says who.
pub(super) fn hand_on(proposal: &Proposal, file: &Path, output: Output) -> Result<u8, PublishError> {
    Working::write_file(file, &proposal.to_bytes())?;
    let missing: Vec<_> = proposal
        .missing()
        .iter()
        .map(|missing| {
            let holders: Vec<_> = missing.keys.iter().map(|keyid| named(proposal, keyid)).collect();
            json!({ "role": missing.role, "signatures": missing.count, "holders": holders })
        })
        .collect();
    let report = json!({ "version": 1, "outcome": "proposed", "file": file.display().to_string(), "changes": proposal.differences(), "missing": missing });
    output.value(&report, proposed_text);
    Ok(0)
}

/// A key for people.
pub(super) fn named(proposal: &Proposal, keyid: &str) -> String {
    let short: String = keyid.chars().take(8).collect();
    proposal.holder(keyid).map_or(short.clone(), |holder| format!("{holder} ({short})"))
}

fn proposed_text(report: &Value) -> String {
    let file = text(report, "file");
    let mut lines: Vec<String> = list(report, "changes").iter().filter_map(Value::as_str).map(str::to_owned).collect();
    for missing in list(report, "missing") {
        let holders: Vec<_> = list(missing, "holders").iter().filter_map(Value::as_str).collect();
        let count = missing.get("signatures").and_then(Value::as_u64).unwrap_or_default();
        lines.push(format!("{} waits for {count} of {}", text(missing, "role"), holders.join(", ")));
    }
    lines.push(if list(report, "missing").is_empty() {
        format!("all have signed; then: rootpin repo rotate root --finish {file}")
    } else {
        format!("in {file}; each holder: rootpin repo rotate root --sign {file} --key-file KEY.pem")
    });
    lines.join("\n")
}

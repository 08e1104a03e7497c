//! A proposed root in the hands of people: who is to sign it, and which keys it names.

use std::path::Path;

use serde_json::{Value, json};

use super::report::of_others;
use crate::cli::output::{Output, list, text};
use crate::publish::keyring::Keyring;
use crate::publish::{PublishError, RootProposal, Working};

/// Writes a proposal that others are to sign, and says who, and how it is finished in the folder.
pub(super) fn hand_on(
    proposal: &RootProposal,
    file: &Path,
    repo: &Path,
    output: Output,
) -> Result<u8, PublishError> {
    Working::write_file(file, &proposal.to_bytes())?;
    let missing = proposal.missing();
    let missing = missing.iter().map(|missing| {
        let holders: Vec<_> = missing
            .keys
            .iter()
            .map(|keyid| named(proposal, keyid))
            .collect();
        json!({ "role": missing.role, "signatures": missing.count, "holders": holders })
    });
    let missing: Vec<_> = missing.collect();
    let (file, changes) = (file.display().to_string(), proposal.differences());
    let report = json!({ "version": 1, "outcome": "proposed", "file": file, "changes": changes, "missing": missing });
    output.value(&report, |report| {
        super::in_folder(&proposed_text(report), repo)
    });
    Ok(0)
}

/// A key for people.
pub(super) fn named(proposal: &RootProposal, keyid: &str) -> String {
    let short: String = keyid.chars().take(8).collect();
    proposal
        .holder(keyid)
        .map_or(short.clone(), |holder| format!("{holder} ({short})"))
}

fn proposed_text(report: &Value) -> String {
    let report = &of_others(report);
    let file = text(report, "file");
    let mut lines: Vec<String> = Vec::new();
    for missing in list(report, "missing") {
        let holders: Vec<_> = list(missing, "holders")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let count = missing
            .get("signatures")
            .and_then(Value::as_u64)
            .unwrap_or_default();
        lines.push(format!(
            "{} waits for {count} of {}",
            text(missing, "role"),
            holders.join(", ")
        ));
    }
    lines.push(if list(report, "missing").is_empty() {
        format!("{file} has all signatures; then: rootpin repo rotate root --finish {file}")
    } else {
        format!("each of them: rootpin repo rotate root --sign {file} --key-file KEY.pem")
    });
    lines.join("\n")
}

/// The keyring's entries as [`RoleKeys`](crate::publish::root::RoleKeys) takes them.
pub(super) fn entry(
    keyring: &Keyring,
    name: &str,
    holder: String,
) -> Result<(String, Value, String), PublishError> {
    let entry = keyring.keys().iter().find(|entry| entry.name == name);
    let entry = entry.ok_or_else(|| {
        PublishError::wrong(
            format!("there is no key {name} in keys/"),
            "rootpin repo key list",
        )
    })?;
    Ok((entry.keyid.clone(), entry.key(), holder))
}

//! What `import` found, and what it proposes, for people and for programs.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::super::output::{counted, list, shell_word, text};
use super::Shown;
use crate::operate::import::{ImportedRoot, ImportedRule, Proposal, SignedRoot, Signers};
use rootpin_trust::{KeyId, PublicKey};

/// What the sources say, and what the servers show now. The keys are not repeated where a person is
/// asked for a fingerprint: nobody should copy it from here.
pub(super) fn found(proposal: &Proposal, shown: &[Shown]) -> Value {
    let root = |(index, root): (usize, &ImportedRoot)| {
        let names: Vec<&str> = proposal.patterns_of(index).collect();
        let keys: Vec<KeyId> = root.keys.iter().map(|key| key.id).collect();
        let servers = shown.get(index).into_iter().flatten();
        let servers: Vec<Value> = servers
            .map(|(name, seen)| {
                let now = seen.iter().flatten().map(|key| key.id().to_string());
                json!({ "name": name, "shows": shows(&keys, seen), "keys": now.collect::<Vec<_>>() })
            })
            .collect();
        json!({
            "id": root.id,
            "server": root.server,
            "role": root.role,
            "keys": keys.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "confirmed": root.is_confirmed(),
            "names": names,
            "server_now": servers,
        })
    };
    let roots: Vec<Value> = proposal.used_roots().map(root).collect();
    let refused: Vec<Value> = proposal
        .rules
        .iter()
        .filter_map(|(pattern, rule)| match rule {
            ImportedRule::Refused(why) => Some(json!({ "name": pattern, "why": why })),
            ImportedRule::Root(_) | ImportedRule::Signed(_) => None,
        })
        .collect();
    let signed = proposal.signed_roots.iter().enumerate();
    let signed: Vec<Value> = signed
        .map(|(at, root)| signed_root(proposal, at, root))
        .collect();
    json!({ "roots": roots, "signed_roots": signed, "refused": refused })
}

/// A root whose signatures stand beside images, which its source pins.
fn signed_root(proposal: &Proposal, index: usize, root: &SignedRoot) -> Value {
    let rules = proposal.signed_rules();
    let rules = rules.filter(|(_, rule)| rule.roots.contains(&index));
    let names: Vec<&str> = rules.map(|(pattern, _)| pattern).collect();
    let signers = match &root.signers {
        Signers::Cosign { keys, .. } => counted(keys.len(), "key"),
        Signers::Notation { certificates, .. } => counted(certificates.len(), "certificate"),
    };
    json!({
        "id": root.id,
        "type": root.signers.kind(),
        "signers": signers,
        "binds_tag": root.signers.binds_tag(),
        "names": names,
    })
}

fn shows(keys: &[KeyId], seen: &Result<Vec<PublicKey>, String>) -> String {
    match seen {
        Err(why) => format!("no answer: {why}"),
        Ok(now) if now.iter().all(|key| keys.contains(&key.id())) => "the same key".to_owned(),
        Ok(now) => {
            let ids: Vec<String> = now.iter().map(|key| key.id().to_string()).collect();
            format!(
                "ANOTHER KEY ({}): somebody answers in the publisher's place, or the key was changed; ask the publisher for the fingerprint of the key that is right, and give it by --fingerprint",
                ids.join(", ")
            )
        }
    }
}

pub(super) fn found_text(report: &Value) -> String {
    let mut lines = Vec::new();
    for root in list(report, "roots") {
        lines.push(format!("{}: {}", text(root, "id"), first_names(root)));
        lines.push(format!(
            "  at {}, role {}, {}",
            text(root, "server"),
            text(root, "role"),
            counted(list(root, "keys").len(), "root key")
        ));
        lines.push(match root.get("confirmed").and_then(Value::as_bool) {
            Some(true) => "  pinned in the source".to_owned(),
            _ => "  this host saw the key first and believed it, which proves nothing".to_owned(),
        });
        let mut by_word: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for one in list(root, "server_now") {
            by_word
                .entry(text(one, "shows"))
                .or_default()
                .push(text(one, "name"));
        }
        for (word, names) in by_word {
            let of = match names.as_slice() {
                [name] => (*name).to_owned(),
                names => counted(names.len(), "repository"),
            };
            lines.push(format!("  the server shows now for {of}: {word}"));
        }
    }
    for root in list(report, "signed_roots") {
        lines.push(format!("{}: {}", text(root, "id"), first_names(root)));
        let binds = match root.get("binds_tag").and_then(Value::as_bool) {
            Some(true) => "signatures must name the tag",
            _ => "signatures bind no tag",
        };
        lines.push(format!(
            "  {}, {}, pinned in the source; {binds}",
            text(root, "type"),
            text(root, "signers")
        ));
    }
    lines.join("\n")
}

/// The first names of a root.
fn first_names(root: &Value) -> String {
    let names = list(root, "names");
    let shown: Vec<&str> = names.iter().take(3).filter_map(Value::as_str).collect();
    let more = match names.len().saturating_sub(shown.len()) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", shown.join(", "))
}

pub(super) fn proposed(
    proposal: &Proposal,
    shown: &[Shown],
    confirmed: &[KeyId],
    files: &BTreeMap<String, Vec<u8>>,
    (out, next): (&Path, &str),
) -> Value {
    let left = proposal.left_behind.iter();
    let left: Vec<Value> = left
        .map(|left| json!({ "file": left.file, "what": left.what, "why": left.why }))
        .collect();
    let confirmed = proposal.roots.iter().filter(|root| {
        let mut keys = root.keys.iter();
        root.is_confirmed() && keys.any(|key| confirmed.contains(&key.id))
    });
    let mut report = json!({
        "version": 1,
        "out": out.to_string_lossy(),
        "confirmed_by_fingerprint": confirmed.map(|root| root.id.as_str()).collect::<Vec<_>>(),
        "files": files.keys().collect::<Vec<_>>(),
        "left_behind": left,
        "next": next,
    });
    let found = found(proposal, shown);
    if let (Some(report), Value::Object(found)) = (report.as_object_mut(), found) {
        report.extend(found);
    }
    report
}

/// Of a proposal by which every name is refused.
const NOTHING: &str = "not one name is allowed: no source gives a key whose signatures rootpin verifies, or all that it gives are left out above";

pub(super) fn proposed_text(report: &Value) -> String {
    let mut lines = Vec::new();
    for left in list(report, "left_behind") {
        lines.push(format!(
            "left behind: {}: {}: {}",
            text(left, "file"),
            text(left, "what"),
            text(left, "why")
        ));
    }
    for refused in list(report, "refused") {
        lines.push(format!(
            "refused: {}: {}",
            text(refused, "name"),
            text(refused, "why")
        ));
    }
    let files = list(report, "files").iter().filter_map(Value::as_str);
    for file in files.filter(|file| file.starts_with("certs.d/")) {
        lines.push(format!(
            "mirrors: {file} is for the engine's folder of hosts.toml files"
        ));
    }
    let files = list(report, "files").iter().filter_map(Value::as_str);
    let fragments = files.filter(|file| file.starts_with("policy.d/")).count();
    if fragments > 0 {
        lines.push(format!(
            "divided: policy.toml would be too large, so {} of policy.d {} the rest of it",
            counted(fragments, "fragment"),
            if fragments == 1 { "has" } else { "have" }
        ));
    }
    let confirmed = list(report, "confirmed_by_fingerprint").iter();
    lines.extend(
        confirmed
            .filter_map(Value::as_str)
            .map(|id| format!("confirmed: {id}: by the fingerprint of its key")),
    );
    let waits = |root: &&Value| root.get("confirmed").and_then(Value::as_bool) != Some(true);
    for root in list(report, "roots").iter().filter(waits) {
        lines.push(format!(
            "left out: {}: no fingerprint was given for its keys; its names stay refused",
            text(root, "id")
        ));
    }
    if report["allowing_rules"] == 0 {
        lines.push(NOTHING.to_owned());
    }
    lines.push(format!(
        "written: {}, and nothing in force has changed",
        text(report, "out")
    ));
    let next = text(report, "next");
    lines.push(if report["allowing_rules"] == 0 {
        let out = shell_word(text(report, "out"));
        format!(
            "hint: nothing is allowed yet: have the images signed, as docs/publishing.md shows, and add that root by: rootpin pin add ID --policy {out} \
             --type cosign --from FILE --match PATTERN --fingerprint FINGERPRINT; of a certificate --type notation, of a root.json --type tuf; \
             and then: {next}"
        )
    } else {
        format!("hint: look at it, and then: {next}")
    });
    lines.join("\n")
}

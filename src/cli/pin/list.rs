//! `rootpin pin list`: the pinned roots, with every name of their keys.

use serde_json::{Value, json};

use super::{Failure, InPolicy, load, shown};
use crate::cli::output::Output;
use crate::decide::survey::{ReportedBinding, shown_root};
use rootpin_policy::{KeyEntry, Policy, Root, RootKind};
use rootpin_trust::cosign::CosignFormat;
use rootpin_trust::{Fingerprint, KeyId, RootFile};

pub(super) fn run(arguments: &InPolicy, output: Output) -> Result<u8, Failure> {
    let policy = load(&arguments.policy)?;
    let roots: Vec<Value> = policy
        .roots
        .values()
        .map(|root| root_json(&policy, root))
        .collect();
    let value = json!({ "version": 1, "policy_hash": policy.hash.to_string(), "roots": roots });
    output.value(&value, |_| {
        let parts: Vec<String> = policy
            .roots
            .values()
            .map(|root| root_text(&policy, root))
            .collect();
        if parts.is_empty() {
            "no root is pinned".to_owned()
        } else {
            parts.join("\n")
        }
    });
    Ok(0)
}

fn root_json(policy: &Policy, root: &Root) -> Value {
    let at = format!("{}:{}", root.location.file, root.location.line);
    let common = json!({ "id": root.id, "at": at, "rules": rules(policy, root) });
    let of_kind = match &root.kind {
        RootKind::Notary(notary) => {
            let keys = keys_json(policy, root);
            json!({ "type": "notary", "server": notary.server, "role": notary.role, "keys": keys })
        }
        RootKind::Cosign(cosign) => {
            let format = cosign.format.map(CosignFormat::as_str);
            let (keys, threshold) = (keys_json(policy, root), cosign.threshold);
            json!({ "type": "cosign", "keys": keys, "threshold": threshold, "format": format })
        }
        RootKind::Notation(_) => json!({ "type": "notation", "keys": keys_json(policy, root) }),
        RootKind::Tuf(tuf) => {
            let metadata: Vec<String> = tuf.metadata.iter().map(ToString::to_string).collect();
            // It was read when the policy was loaded.
            let file = RootFile::read(tuf.pinned.bytes())
                .ok()
                .as_ref()
                .map(shown::root_json);
            json!({ "type": "tuf", "metadata": metadata, "sha256": tuf.sha256.hex(), "root_file": file })
        }
    };
    let binds = json!({ "binds": ReportedBinding::of(root) });
    shown::with(shown::with(common, of_kind), binds)
}

fn keys_json(policy: &Policy, root: &Root) -> Vec<Value> {
    let key = |(entry, id, fingerprint): (&KeyEntry, &KeyId, Option<Fingerprint>)| {
        json!({
            "id": id.to_string(),
            "entry": entry.text,
            "fingerprint": fingerprint.map(|fingerprint| fingerprint.to_string()),
            "fingerprint_hex": fingerprint.map(|fingerprint| fingerprint.hex()),
            "revoked": policy.revoked_key(id),
        })
    };
    keys(root).map(key).collect()
}

fn root_text(policy: &Policy, root: &Root) -> String {
    let mut lines = vec![
        shown_root(root),
        format!(
            "  defined at     {}:{}",
            root.location.file, root.location.line
        ),
    ];
    lines.extend(
        rules(policy, root)
            .iter()
            .map(|rule| format!("  for            {rule}")),
    );
    match &root.kind {
        RootKind::Notary(_) | RootKind::Cosign(_) | RootKind::Notation(_) => {
            for (entry, id, fingerprint) in keys(root) {
                let revoked = policy
                    .revoked_key(id)
                    .map_or(String::new(), |reason| format!("   REVOKED: {reason}"));
                lines.push(format!(
                    "  root key       {}{revoked}\n    canonical ID   {id}",
                    entry.text
                ));
                lines.push(match fingerprint {
                    Some(fingerprint) => format!(
                        "    fingerprint    {fingerprint}\n    … in hex       {}",
                        fingerprint.hex()
                    ),
                    None => "    fingerprint    not known: only the ID is pinned".to_owned(),
                });
            }
        }
        RootKind::Tuf(tuf) => lines.extend(
            RootFile::read(tuf.pinned.bytes())
                .ok()
                .as_ref()
                .map(shown::root_text),
        ),
    }
    format!("{}\n", lines.join("\n").trim_end())
}

/// Every key with the entry that pins it.
fn keys(root: &Root) -> impl Iterator<Item = (&KeyEntry, &KeyId, Option<Fingerprint>)> {
    root.entries.iter().flat_map(|entry| {
        entry
            .keys
            .iter()
            .map(move |(id, fingerprint)| (entry, id, *fingerprint))
    })
}

fn rules<'a>(policy: &'a Policy, root: &Root) -> Vec<&'a str> {
    policy
        .rules
        .iter()
        .filter(|rule| rule.roots.iter().any(|one| one.id == root.id))
        .map(|rule| rule.pattern.as_str())
        .collect()
}

//! `content-trust` in dockerd's daemon.json, as Mirantis Container Runtime reads it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::pinned_names::{self, Pinned};
use super::{Proposal, ServerChoice, TrustDirectory};

/// What Docker's client reads, and Mirantis' daemon with it.
const ROLE: &str = "targets/releases";

/// Translates the file.
///
/// # Errors
/// It is no JSON object.
pub(crate) fn docker_daemon(
    file: &str,
    text: &[u8],
    servers: &ServerChoice,
    trust: &TrustDirectory,
) -> Result<Proposal, String> {
    let config: Map<String, Value> =
        serde_json::from_slice(text).map_err(|error| format!("no JSON object: {error}"))?;
    let mut proposal = Proposal::default();
    let Some(content_trust) = config.get("content-trust") else {
        proposal.leave(
            file,
            "nothing",
            "it has no content-trust, which only Mirantis' dockerd reads",
        );
        return Ok(proposal);
    };
    let empty = Map::new();
    let object = |value: Option<&Value>| value.and_then(Value::as_object).cloned();
    let content_trust = content_trust.as_object().unwrap_or(&empty);
    for key in content_trust.keys() {
        if !["mode", "trust-pinning", "allow-expired-cached-trust-data"].contains(&key.as_str()) {
            proposal.leave(
                file,
                format!("content-trust.{key:?}"),
                "it is not known here",
            );
        }
    }
    match content_trust.get("mode").and_then(Value::as_str) {
        Some("enforced") => {}
        Some("permissive") => proposal.audit = true,
        other => proposal.leave(
            file,
            format!("mode {:?}", other.unwrap_or("disabled")),
            "the proposal enforces; write mode = \"audit\" to try it first",
        ),
    }
    if content_trust.get("allow-expired-cached-trust-data") == Some(&Value::Bool(true)) {
        proposal.leave(
            file,
            "allow-expired-cached-trust-data",
            "expired metadata is never accepted; [limits] offline says how long cached metadata serves while no server answers",
        );
    }
    let pinning = object(content_trust.get("trust-pinning")).unwrap_or_default();
    let mut names = BTreeMap::new();
    // The certificates of an exact name count before keys of the same name.
    for member in ["root-keys", "cert-ids"] {
        for (name, ids) in object(pinning.get(member)).unwrap_or_default() {
            let certificates = member == "cert-ids";
            if certificates && name.ends_with('*') {
                proposal.leave(
                    file,
                    format!("cert-ids of {name:?}"),
                    "they are for whole names only",
                );
                continue;
            }
            match texts(&ids) {
                Some(ids) if certificates => drop(names.insert(name, Pinned::Certificates(ids))),
                Some(ids) => drop(names.insert(name, Pinned::Keys(ids))),
                None => proposal.leave(file, format!("{member} of {name:?}"), "no list of texts"),
            }
        }
    }
    for (member, value) in &pinning {
        match member.as_str() {
            "official-library-images" if *value == Value::Bool(true) => proposal.leave(
                file,
                "official-library-images",
                "the root certificates of Docker's Official Images are over, and notary.docker.io ends on 2026-12-08: sign what you checked by rootpin repo endorse",
            ),
            "root-keys" | "cert-ids" | "official-library-images" => {}
            other => proposal.leave(file, format!("trust-pinning.{other:?}"), "it is not known here"),
        }
    }
    pinned_names::add(&mut proposal, file, &names, (servers, trust, ROLE));
    Ok(proposal)
}

/// A list of texts.
pub(super) fn texts(value: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    value.as_array()?.iter().map(text).collect()
}

//! Configurations of tools whose signatures say who signed bytes, and not under which tag. Whether
//! that is enough a person decides: each scope is named with what it asks for, and stays refused.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::Proposal;

/// `policy.json` of podman, skopeo and CRI-O (containers-policy.json(5)).
///
/// # Errors
/// It is no JSON object.
pub(crate) fn containers_policy(file: &str, text: &[u8]) -> Result<Proposal, String> {
    let policy: Map<String, Value> =
        serde_json::from_slice(text).map_err(|error| format!("no JSON object: {error}"))?;
    let mut proposal = Proposal::default();
    say(&mut proposal, file, "default", policy.get("default"));
    let transports = policy.get("transports").and_then(Value::as_object);
    for (transport, scopes) in transports.into_iter().flatten() {
        for (scope, requirements) in scopes.as_object().into_iter().flatten() {
            let scope = match scope.as_str() {
                "" => transport.clone(),
                scope => format!("{transport} {scope}"),
            };
            say(&mut proposal, file, &scope, Some(requirements));
        }
    }
    Ok(proposal)
}

/// Says of each requirement of a scope why it is left behind; `reject` is what happens anyway.
fn say(proposal: &mut Proposal, file: &str, scope: &str, requirements: Option<&Value>) {
    let requirements = requirements.and_then(Value::as_array);
    for requirement in requirements.into_iter().flatten() {
        let kind = requirement.get("type").and_then(Value::as_str);
        let text = |member: &str| requirement.get(member).and_then(Value::as_str);
        let why = match kind {
            Some("reject") => continue,
            Some("insecureAcceptAnything") => {
                "what nobody signed is not allowed for good: an [[exempt]] with an end and a reason allows it for a while"
            }
            Some("signedBy") => {
                "OpenPGP signatures are not verified: sign the images by rootpin repo endorse, and pin that root"
            }
            Some("sigstoreSigned") => {
                "the signature says who signed, not that this tag is these bytes: if that is enough, write a root of type cosign with this key, and a rule with tags = \"unbound\"; else sign the images by rootpin repo endorse, and pin that root"
            }
            _ => "it is not known here",
        };
        let mut what = format!("{scope}: {}", kind.unwrap_or("a requirement without type"));
        if let Some(path) = text("keyPath").or_else(|| text("caPath")) {
            let _ = write!(what, ", key {path}");
        }
        let identity = requirement.get("signedIdentity");
        if let Some(identity) =
            identity.filter(|identity| text_of(identity, "type") == "remapIdentity")
        {
            let _ = write!(
                what,
                ", {} signed as {}: in a rule that is match and signed-as",
                text_of(identity, "prefix"),
                text_of(identity, "signedPrefix")
            );
        }
        proposal.leave(file, what, why);
    }
}

fn text_of<'a>(value: &'a Value, member: &str) -> &'a str {
    value
        .get(member)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// `trustpolicy.json` of notation.
///
/// # Errors
/// It is no JSON object.
pub(crate) fn notation_trust_policy(file: &str, text: &[u8]) -> Result<Proposal, String> {
    let policy: Map<String, Value> =
        serde_json::from_slice(text).map_err(|error| format!("no JSON object: {error}"))?;
    let mut proposal = Proposal::default();
    let policies = policy.get("trustPolicies").and_then(Value::as_array);
    for one in policies.into_iter().flatten() {
        let scopes = one
            .get("registryScopes")
            .and_then(super::docker_daemon::texts);
        let level = one
            .get("signatureVerification")
            .map_or("", |verification| text_of(verification, "level"));
        let why = if level == "skip" || level == "audit" {
            "what nobody signed is not allowed for good: an [[exempt]] with an end and a reason allows it for a while"
        } else {
            "the signature says who signed, not that this tag is these bytes: sign the images by rootpin repo endorse, and pin that root"
        };
        for scope in scopes.unwrap_or_default() {
            let name = text_of(one, "name");
            proposal.leave(file, format!("{scope}: {name:?}, level {level:?}"), why);
        }
    }
    Ok(proposal)
}

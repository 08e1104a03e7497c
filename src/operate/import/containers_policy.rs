//! `policy.json` of podman, skopeo and CRI-O (containers-policy.json(5)): what each scope requires.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::containers_scopes::{self, Requires, Scope, SignedBy, SignedIdentity, UNSIGNED};
use super::{Proposal, policy_json, strict_json};
use crate::problem::Problem;
use rootpin_trust::{PublicKey, key_file, pem};

/// Reads a file that a configuration names.
pub(crate) type ReadFile<'a> = &'a dyn Fn(&str) -> Result<Vec<u8>, Problem>;

/// Translates the file. `tags_unbound`: whether a signature that gives no tag may count where the
/// source says `matchRepository`.
///
/// # Errors
/// It is no JSON object, or one that its tools refuse.
pub(crate) fn containers_policy(
    file: &str,
    text: &[u8],
    read: ReadFile<'_>,
    tags_unbound: bool,
) -> Result<Proposal, Problem> {
    let policy = strict_json::object(text)?;
    policy_json::check(&policy).map_err(|why| {
        Problem::new(format!(
            "{why}, so its tools refuse the whole file, and every image by it"
        ))
    })?;
    let mut proposal = Proposal::default();
    let general = |proposal: &mut Proposal, what: &str, requirements: &Value| {
        match requires(Some(requirements), read) {
            Requires::Reject => proposal.refuses_rest = true,
            Requires::Nothing => proposal.leave(file, format!("{what}: insecureAcceptAnything"), UNSIGNED),
            Requires::Unsayable(why) => proposal.leave(file, what, why),
            Requires::Signatures(_) => proposal.leave(
                file,
                format!("{what}: sigstoreSigned"),
                "a rule names its registry: write a scope for each registry into a copy of the file, and import that",
            ),
        }
    };
    if let Some(default) = policy.get("default") {
        general(&mut proposal, "default", default);
    }
    let transports = policy.get("transports").and_then(Value::as_object);
    for (transport, scopes) in transports.into_iter().flatten() {
        let mut named = Vec::new();
        for (scope, requirements) in scopes.as_object().into_iter().flatten() {
            if transport != "docker" {
                let what = format!("{transport} {scope}");
                let why = "engines pull from registries alone, and ask about nothing else";
                proposal.leave(file, what.trim_end(), why);
            } else if scope.is_empty() {
                general(&mut proposal, "docker", requirements);
            } else {
                named.push(Scope {
                    name: scope.clone(),
                    requires: requires(Some(requirements), read),
                });
            }
        }
        containers_scopes::add(&mut proposal, file, &named, tags_unbound);
    }
    Ok(proposal)
}

/// All requirements of a scope together. One that rejects decides.
fn requires(requirements: Option<&Value>, read: ReadFile<'_>) -> Requires {
    let list = requirements.and_then(Value::as_array);
    let Some(list) = list.filter(|list| !list.is_empty()) else {
        return Requires::Unsayable("it is no list of requirements".to_owned());
    };
    let (mut all, mut unsayable): (Vec<SignedBy>, Option<String>) = (Vec::new(), None);
    for requirement in list {
        match one(requirement, read) {
            Ok(Requirement::Reject) => return Requires::Reject,
            Ok(Requirement::Nothing) => {}
            Ok(Requirement::Signature(one)) => {
                if all.iter().any(|known| known.is_same(&one)) {
                    continue;
                }
                if all.iter().any(|known| known.shares_key(&one)) {
                    let why = "two of its requirements share a key, and a quorum of a policy needs distinct keys";
                    unsayable.get_or_insert_with(|| why.to_owned());
                }
                all.push(one);
            }
            Err(why) => drop(unsayable.get_or_insert(why.what)),
        }
    }
    match unsayable {
        Some(why) => Requires::Unsayable(why),
        None if all.is_empty() => Requires::Nothing,
        None => Requires::Signatures(all),
    }
}

enum Requirement {
    Nothing,
    Reject,
    Signature(SignedBy),
}

fn one(requirement: &Value, read: ReadFile<'_>) -> Result<Requirement, Problem> {
    let empty = Map::new();
    let members = requirement.as_object().unwrap_or(&empty);
    let kind = members.get("type").and_then(Value::as_str);
    let only = |known: &[&str]| match members.keys().find(|key| !known.contains(&key.as_str())) {
        Some(other) => Err(Problem::new(format!(
            "{}: {other:?} is not known here",
            kind.unwrap_or_default()
        ))),
        None => Ok(()),
    };
    match kind {
        Some("reject") => Ok(Requirement::Reject),
        Some("insecureAcceptAnything") => only(&["type"]).map(|()| Requirement::Nothing),
        Some("signedBy") => {
            let key = members.get("keyPath").and_then(Value::as_str);
            let key = key.map_or_else(String::new, |key| format!(", key {key}"));
            Err(Problem::new(format!(
                "signedBy{key}: OpenPGP signatures are not verified: sign the images by rootpin repo endorse, and pin that root"
            )))
        }
        Some("sigstoreSigned") => {
            let other = |start: &str| members.keys().find(|key| key.starts_with(start));
            if let Some(keyless) = other("fulcio").or_else(|| other("pki")) {
                return Err(Problem::new(format!(
                    "sigstoreSigned with {keyless}: there is no key to pin: verify it where you publish, then rootpin repo endorse, and pin that root"
                )));
            }
            if let Some(log) = other("rekor") {
                return Err(Problem::new(format!(
                    "sigstoreSigned with {log}: a log's entry is not looked at: where the key alone is enough, take {log} out of a copy of the file, and import that"
                )));
            }
            only(&[
                "type",
                "keyPath",
                "keyPaths",
                "keyData",
                "keyDatas",
                "signedIdentity",
            ])?;
            Ok(Requirement::Signature(SignedBy {
                keys: keys(members, read)?,
                identity: identity(members.get("signedIdentity"))?,
            }))
        }
        kind => Err(Problem::new(format!(
            "the requirement {:?} is not known here",
            kind.unwrap_or_default()
        ))),
    }
}

/// The keys of the one member that gives them.
fn keys(members: &Map<String, Value>, read: ReadFile<'_>) -> Result<Vec<PublicKey>, Problem> {
    let given: Vec<(&String, &Value)> = members
        .iter()
        .filter(|(name, _)| name.starts_with("key"))
        .collect();
    let [(name, value)] = given.as_slice() else {
        return Err(Problem::new(
            "sigstoreSigned: wanted one of keyPath, keyPaths, keyData and keyDatas",
        ));
    };
    let texts = match value {
        Value::String(text) if !name.ends_with('s') => vec![text.clone()],
        value if name.ends_with('s') => super::docker_daemon::texts(value).unwrap_or_default(),
        _ => Vec::new(),
    };
    if texts.is_empty() {
        return Err(Problem::new(format!("sigstoreSigned: {name} gives no key")));
    }
    let key = |text: &String| {
        let (of, file) = if name.starts_with("keyPath") {
            (format!("the key {text}"), read(text)?)
        } else {
            let bytes = STANDARD.decode(text.as_bytes());
            (
                (*name).clone(),
                bytes.map_err(|error| Problem::new(format!("{name}: {error}")))?,
            )
        };
        only_key(&file).map_err(|why| why.about(format!("sigstoreSigned: {of}")))
    };
    texts.iter().map(key).collect()
}

/// These tools read one PEM block, and no certificate.
fn only_key(file: &[u8]) -> Result<PublicKey, Problem> {
    let blocks = pem::file(file).map_err(|error| error.to_string())?;
    let [block] = blocks.as_slice() else {
        return Err(Problem::new(format!(
            "{} PEM blocks: wanted one",
            blocks.len()
        )));
    };
    if block.label == pem::DER {
        return Err(Problem::new("it is in DER, and these tools read PEM"));
    }
    if !["PUBLIC KEY", "RSA PUBLIC KEY"].contains(&block.label.as_str()) {
        return Err(Problem::new(format!(
            "{:?} is no public key in PEM",
            block.label
        )));
    }
    let mut keys = key_file::signature_keys(file).map_err(|error| error.to_string())?;
    keys.pop().ok_or_else(|| Problem::new("no key"))
}

fn identity(identity: Option<&Value>) -> Result<SignedIdentity, Problem> {
    let Some(identity) = identity else {
        return Ok(SignedIdentity::WholeName);
    };
    let kind = identity
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let text = |member: &str| {
        let text = identity.get(member).and_then(Value::as_str);
        let text = text.filter(|text| !text.is_empty()).map(str::to_owned);
        text.ok_or_else(|| Problem::new(format!("{kind} without {member}")))
    };
    match kind {
        "matchRepoDigestOrExact" => Ok(SignedIdentity::WholeName),
        "matchExact" => Err(Problem::new(
            "matchExact refuses a name by digest alone, and no rule does: matchRepoDigestOrExact, the default, takes one whose repository is signed",
        )),
        "matchRepository" => Ok(SignedIdentity::Repository),
        "exactRepository" => Ok(SignedIdentity::OtherRepository(text("dockerRepository")?)),
        "remapIdentity" => Ok(SignedIdentity::Remapped {
            prefix: text("prefix")?,
            signed_prefix: text("signedPrefix")?,
        }),
        "exactReference" => Err(Problem::new(format!(
            "exactReference {}: a rule can't want one tag for all tags: bind the name to the bytes by an [[image]]",
            text("dockerReference")?
        ))),
        other => Err(Problem::new(format!(
            "the identity {other:?} is not known here"
        ))),
    }
}

//! What podman, skopeo and CRI-O check of a whole `policy.json` before they look at any image
//! (`signature/policy_config*.go` of containers-libs). A file that fails refuses every image there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::reference_grammar::{is_prefix, is_reference};
use crate::problem::Problem;
use rootpin_trust::image::Digest;

type Members = Map<String, Value>;

/// Checks the file.
///
/// # Errors
/// Why its tools refuse it.
pub(super) fn check(policy: &Members) -> Result<(), Problem> {
    only(policy, "it", &["default", "transports"])?;
    let default = policy.get("default").ok_or("it has no \"default\"")?;
    requirements("default", default)?;
    let Some(transports) = policy.get("transports") else {
        return Ok(());
    };
    for (transport, scopes) in object("transports", transports)? {
        for (scope, list) in object(&format!("the transport {transport:?}"), scopes)? {
            if !scope.is_empty() && !is_scope(transport, scope) {
                return Err(Problem::new(format!(
                    "{scope:?} is no scope of the transport {transport:?}"
                )));
            }
            requirements(&format!("{transport} {scope:?}"), list)?;
        }
    }
    Ok(())
}

/// Whether a transport has such a scope. Transports that are not known have any.
fn is_scope(transport: &str, scope: &str) -> bool {
    // filepath.Clean leaves it as it is.
    let is_clean = || {
        let mut parts = scope.split('/').skip(1);
        scope.starts_with('/') && parts.all(|part| !["", ".", ".."].contains(&part))
    };
    match transport {
        "dir" | "sif" | "oci" | "oci-archive" => is_clean(),
        "docker-archive" | "tarball" => false,
        "docker-daemon" => scope.parse::<Digest>().is_err(),
        "atomic" => {
            let parts: Vec<&str> = scope.split('/').collect();
            let colons: Vec<usize> = parts.iter().map(|part| part.matches(':').count()).collect();
            match colons.as_slice() {
                [_] | [_, 0] => true,
                [_, 0, last] => *last < 2,
                _ => false,
            }
        }
        "containers-storage" => {
            let store = scope
                .strip_prefix('[')
                .and_then(|rest| rest.split_once(']'));
            store.is_some_and(|(store, image)| {
                let is_store = match store.split_once('@') {
                    Some((driver, root)) => !driver.is_empty() && root.starts_with('/'),
                    None => store.starts_with('/'),
                };
                is_store && (image.is_empty() || is_reference(image, false))
            })
        }
        _ => true,
    }
}

fn requirements(of: &str, list: &Value) -> Result<(), Problem> {
    let list = list.as_array().filter(|list| !list.is_empty());
    let list = list.ok_or_else(|| {
        Problem::new(format!(
            "{of}: wanted a list of requirements, not an empty one"
        ))
    })?;
    for one in list {
        requirement(one).map_err(|why| why.about(of))?;
    }
    Ok(())
}

fn requirement(one: &Value) -> Result<(), Problem> {
    let members = object("a requirement", one)?;
    match text(members, "type")? {
        kind @ ("reject" | "insecureAcceptAnything") => only(members, kind, &["type"]),
        "signedBy" => signed_by(members),
        "signedBaseLayer" => {
            only(members, "signedBaseLayer", &["type", "baseLayerIdentity"])?;
            let identity = members.get("baseLayerIdentity");
            identity_of(identity.ok_or("signedBaseLayer without baseLayerIdentity")?)
        }
        "sigstoreSigned" => sigstore_signed(members),
        kind => Err(Problem::new(format!("there is no requirement {kind:?}"))),
    }
}

fn signed_by(members: &Members) -> Result<(), Problem> {
    let known = [
        "type",
        "keyType",
        "keyPath",
        "keyPaths",
        "keyData",
        "signedIdentity",
    ];
    only(members, "signedBy", &known)?;
    let kinds = [
        "GPGKeys",
        "signedByGPGKeys",
        "X509Certificates",
        "signedByX509CAs",
    ];
    let kind = text(members, "keyType")?;
    if !kinds.contains(&kind) {
        return Err(Problem::new(format!(
            "signedBy: there is no keyType {kind:?}"
        )));
    }
    one_source(members, "signedBy", &["keyPath", "keyPaths", "keyData"])?;
    members.get("signedIdentity").map_or(Ok(()), identity_of)
}

const LOGS: [&str; 4] = [
    "rekorPublicKeyPath",
    "rekorPublicKeyPaths",
    "rekorPublicKeyData",
    "rekorPublicKeyDatas",
];

fn sigstore_signed(members: &Members) -> Result<(), Problem> {
    let keys = [
        "keyPath", "keyPaths", "keyData", "keyDatas", "fulcio", "pki",
    ];
    let mut known = vec!["type", "signedIdentity"];
    known.extend(keys.iter().chain(&LOGS));
    only(members, "sigstoreSigned", &known)?;
    one_source(members, "sigstoreSigned", &keys)?;
    let logs: Vec<&str> = LOGS
        .into_iter()
        .filter(|log| members.contains_key(*log))
        .collect();
    for log in &logs {
        source(members, log).map_err(|why| why.about("sigstoreSigned"))?;
    }
    match (members.get("fulcio"), members.get("pki"), logs.as_slice()) {
        (_, _, [_, _, ..]) => Err(Problem::new("sigstoreSigned with several keys of a log")),
        (Some(_), _, []) => Err(Problem::new("fulcio without the key of a log")),
        (_, Some(_), [_]) => Err(Problem::new("pki with the key of a log")),
        (Some(fulcio), _, _) => keyless(
            "fulcio",
            object("fulcio", fulcio)?,
            [("caPath", "caData"), ("", "")],
            [&["oidcIssuer"], &["subjectEmail"]],
        ),
        (_, Some(pki), _) => keyless(
            "pki",
            object("pki", pki)?,
            [
                ("caRootsPath", "caRootsData"),
                ("caIntermediatesPath", "caIntermediatesData"),
            ],
            [
                &["subjectEmail", "subjectHostname"],
                &["subjectEmail", "subjectHostname"],
            ],
        ),
        _ => Ok(()),
    }?;
    members.get("signedIdentity").map_or(Ok(()), identity_of)
}

/// Authorities: one of the first two, at most one of the second two; and of each list of names one.
fn keyless(
    what: &str,
    members: &Members,
    authorities: [(&str, &str); 2],
    names: [&[&str]; 2],
) -> Result<(), Problem> {
    let mut known: Vec<&str> = names.iter().copied().flatten().copied().collect();
    known.extend(authorities.iter().flat_map(|(path, data)| [*path, *data]));
    only(members, what, &known)?;
    for (number, (path, data)) in authorities.into_iter().enumerate() {
        match (members.contains_key(path), members.contains_key(data)) {
            (true, true) => return Err(Problem::new(format!("{what} with {path} and {data}"))),
            (false, false) if number == 0 => {
                return Err(Problem::new(format!("{what} without {path}")));
            }
            (false, false) => {}
            (true, false) => source(members, path)?,
            (false, true) => source(members, data)?,
        }
    }
    for list in names {
        let mut given = false;
        for name in list {
            given |= !text_or_none(members, name)?.is_empty();
        }
        if !given {
            return Err(Problem::new(format!(
                "{what} without {}",
                list.join(" or ")
            )));
        }
    }
    Ok(())
}

/// Exactly one of these members gives keys.
fn one_source(members: &Members, of: &str, names: &[&str]) -> Result<(), Problem> {
    let given: Vec<&&str> = names
        .iter()
        .filter(|name| members.contains_key(**name))
        .collect();
    let [name] = given.as_slice() else {
        return Err(Problem::new(format!(
            "{of}: wanted exactly one of {}",
            names.join(", ")
        )));
    };
    match **name {
        "fulcio" | "pki" => Ok(()),
        name => source(members, name).map_err(|why| why.about(of)),
    }
}

/// A path, paths, data in base64, or a list of data, by the member's name.
fn source(members: &Members, name: &str) -> Result<(), Problem> {
    let is_data = name.contains("Data");
    let is_one = |value: &Value| {
        let text = value.as_str();
        text.is_some_and(|text| {
            // Go ignores line ends in it.
            let plain = text.replace(['\r', '\n'], "");
            if is_data {
                STANDARD.decode(plain).is_ok()
            } else {
                !text.is_empty()
            }
        })
    };
    let value = members.get(name).unwrap_or(&Value::Null);
    let fits = if name.ends_with('s') {
        let list = value.as_array();
        list.is_some_and(|list| !list.is_empty() && list.iter().all(is_one))
    } else {
        is_one(value)
    };
    if fits {
        Ok(())
    } else {
        Err(Problem::new(format!("{name} gives no key")))
    }
}

fn identity_of(identity: &Value) -> Result<(), Problem> {
    let members = object("an identity", identity)?;
    let kind = text(members, "type")?;
    let exact = |names: &[&str]| {
        let mut known = names.to_vec();
        known.push("type");
        only(members, kind, &known)
    };
    match kind {
        "matchExact" | "matchRepoDigestOrExact" | "matchRepository" => exact(&[]),
        "exactReference" | "exactRepository" => {
            let tagged = kind == "exactReference";
            let member = if tagged {
                "dockerReference"
            } else {
                "dockerRepository"
            };
            exact(&[member])?;
            let name = text(members, member)?;
            if is_reference(name, tagged) {
                Ok(())
            } else {
                Err(Problem::new(format!("{kind}: {name:?} is no such name")))
            }
        }
        "remapIdentity" => {
            exact(&["prefix", "signedPrefix"])?;
            for member in ["prefix", "signedPrefix"] {
                let prefix = text(members, member)?;
                if !is_prefix(prefix) {
                    return Err(Problem::new(format!(
                        "remapIdentity: the {member} {prefix:?} is none"
                    )));
                }
            }
            Ok(())
        }
        other => Err(Problem::new(format!("there is no identity {other:?}"))),
    }
}

fn object<'a>(what: &str, value: &'a Value) -> Result<&'a Members, Problem> {
    value
        .as_object()
        .ok_or_else(|| Problem::new(format!("{what} is no object")))
}

fn only(members: &Members, of: &str, known: &[&str]) -> Result<(), Problem> {
    match members.keys().find(|name| !known.contains(&name.as_str())) {
        Some(other) => Err(Problem::new(format!("{other:?} is no member of {of}"))),
        None => Ok(()),
    }
}

/// A text that must be there.
fn text<'a>(members: &'a Members, name: &str) -> Result<&'a str, Problem> {
    let text = members.get(name).and_then(Value::as_str);
    text.ok_or_else(|| Problem::new(format!("{name:?} is missing, or no text")))
}

fn text_or_none<'a>(members: &'a Members, name: &str) -> Result<&'a str, Problem> {
    if members.contains_key(name) {
        text(members, name)
    } else {
        Ok("")
    }
}

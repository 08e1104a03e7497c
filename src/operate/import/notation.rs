//! `trustpolicy.json` of notation, and the trust stores beside it. Its signatures give neither name
//! nor tag, so its rules say that tags are unbound.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use x509_cert::Certificate as X509;
use x509_cert::der::Decode as _;
use x509_cert::der::pem::{LineEnding, encode_string};

use super::containers_scopes::{LEFT_BEHIND, UNSIGNED};
use super::docker_daemon::texts;
use super::signed::Signers;
use super::{Proposal, strict_json};
use rootpin_policy::Pattern;
use rootpin_trust::notation::{PinnedCertificate, SubjectAttribute};
use rootpin_trust::pem;

/// The files of a trust store of authorities: name and bytes.
pub(crate) type TrustStore<'a> = &'a dyn Fn(&str) -> Result<Vec<(String, Vec<u8>)>, String>;

const MEMBERS: [&str; 5] = [
    "name",
    "registryScopes",
    "signatureVerification",
    "trustStores",
    "trustedIdentities",
];

/// Translates the file.
///
/// # Errors
/// It is no JSON object, or of another version.
pub(crate) fn notation_trust_policy(
    file: &str,
    text: &[u8],
    store: TrustStore<'_>,
) -> Result<Proposal, String> {
    let policy = strict_json::object(text)?;
    let version = policy.get("version").and_then(Value::as_str);
    match version {
        Some("1.0") => {}
        Some(other) => return Err(format!("its version is {other:?}: wanted \"1.0\"")),
        None => return Err("it has no version: wanted \"1.0\"".to_owned()),
    }
    let policies = policy.get("trustPolicies").and_then(Value::as_array);
    let policies = policies.ok_or("it has no list of trustPolicies")?;
    let mut proposal = Proposal::default();
    for other in policy.keys() {
        if !["version", "trustPolicies"].contains(&other.as_str()) {
            proposal.leave(file, format!("{other:?}"), "it is not known here");
        }
    }
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    if policies.is_empty() {
        proposal.leave(file, "trustPolicies", "the list is empty");
    }
    for (number, one) in policies.iter().enumerate() {
        let scopes = one.get("registryScopes").and_then(texts);
        if scopes.is_none_or(|scopes| scopes.is_empty()) {
            let what = format!("trust policy {}", number + 1);
            let why = "it has no list of registryScopes: notation refuses the file";
            proposal.leave(file, what, why);
        }
    }
    for scope in policies.iter().flat_map(scopes_of) {
        *times.entry(scope).or_default() += 1;
    }
    for one in policies {
        let said = signers(&mut proposal, file, one, store);
        for scope in scopes_of(one) {
            let repeated = times.get(&scope).is_some_and(|times| *times > 1);
            let said = match &said {
                Ok(_) if repeated => {
                    Err("two trust policies have this scope, which notation refuses".to_owned())
                }
                said => said.clone(),
            };
            add(&mut proposal, file, (one, &scope), said);
        }
    }
    Ok(proposal)
}

fn scopes_of(policy: &Value) -> Vec<String> {
    let scopes = policy.get("registryScopes").and_then(texts);
    scopes.unwrap_or_default()
}

fn add(
    proposal: &mut Proposal,
    file: &str,
    (policy, scope): (&Value, &str),
    said: Result<Signers, String>,
) {
    let what = format!("{scope}: {:?}", text_of(policy, "name"));
    let pattern = scope.parse::<Pattern>().ok();
    let pattern = pattern.filter(|pattern| pattern.is_exact() && pattern.as_str() == scope);
    match (pattern, said) {
        (None, _) if scope == "*" => proposal.leave(
            file,
            what,
            "a rule names its registry: write the repositories that are meant into a copy of the file, and import that",
        ),
        (None, _) => proposal.leave(file, what, "it is no repository's name in full form"),
        (Some(pattern), Ok(signers)) => proposal.require(pattern.as_str(), vec![signers], None),
        (Some(pattern), Err(why)) => {
            proposal.leave(file, what, why);
            proposal.refuse(pattern.as_str(), LEFT_BEHIND);
        }
    }
}

/// Whose signatures a trust policy takes, or why no rule can say it.
fn signers(
    proposal: &mut Proposal,
    file: &str,
    policy: &Value,
    store: TrustStore<'_>,
) -> Result<Signers, String> {
    let empty = Map::new();
    let name = format!("trust policy {:?}", text_of(policy, "name"));
    let members = policy.as_object().unwrap_or(&empty);
    if let Some(other) = members.keys().find(|key| !MEMBERS.contains(&key.as_str())) {
        return Err(format!("its member {other:?} is not known here"));
    }
    let verification = policy.get("signatureVerification").unwrap_or(&Value::Null);
    if !verification.is_object() {
        return Err("its signatureVerification is no object".to_owned());
    }
    let level = text_of(verification, "level");
    match level {
        "strict" | "permissive" => {}
        "audit" | "skip" => return Err(format!("level {level:?}: {UNSIGNED}")),
        other => return Err(format!("the level {other:?} is not known here")),
    }
    if let Some(changed) = verification.get("override") {
        let why = "here a signature, its expiry and its certificates' dates always count";
        proposal.leave(file, format!("{name}: override {changed}"), why);
    }
    proposal.leave(
        file,
        format!("{name}: revocation and time stamps"),
        "nobody is asked whether a certificate is revoked: write a [[revoked]] key where one is; and a certificate counts while it is valid",
    );
    let stores = policy
        .get("trustStores")
        .and_then(texts)
        .unwrap_or_default();
    let mut certificates = Vec::new();
    for named in &stores {
        match named.split_once(':') {
            Some(("ca", plain)) if is_plain(plain) => {
                certificates.extend(read_store(proposal, file, named, store(plain))?);
            }
            Some(("tsa", _)) => {}
            _ => proposal.leave(
                file,
                format!("{name}: trust store {named:?}"),
                "only stores of the type ca are read: signatures by signing authorities are not taken",
            ),
        }
    }
    certificates.sort();
    certificates.dedup();
    if certificates.is_empty() {
        return Err("none of its trust stores has a certificate that can be pinned".to_owned());
    }
    let identities = policy
        .get("trustedIdentities")
        .and_then(texts)
        .unwrap_or_default();
    let mut subjects = Vec::new();
    if identities != ["*"] {
        for identity in &identities {
            let subject = identity.strip_prefix("x509.subject:").map(str::trim);
            match subject.filter(|subject| SubjectAttribute::parse_all(subject).is_some()) {
                Some(subject) => subjects.push(subject.to_owned()),
                None => proposal.leave(
                    file,
                    format!("{name}: identity {identity:?}"),
                    "wanted x509.subject: and plain attributes of C, ST, L, O, OU and CN",
                ),
            }
        }
        if subjects.is_empty() {
            return Err("none of its identities can be written".to_owned());
        }
    }
    Ok(Signers::Notation {
        certificates,
        subjects,
    })
}

fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    !name.is_empty() && !name.starts_with('.') && name.bytes().all(plain)
}

/// The certificates of a store in PEM, each for itself.
fn read_store(
    proposal: &mut Proposal,
    file: &str,
    store: &str,
    files: Result<Vec<(String, Vec<u8>)>, String>,
) -> Result<Vec<String>, String> {
    let mut certificates = Vec::new();
    for (name, bytes) in files.map_err(|why| format!("trust store {store}: {why}"))? {
        let blocks = pem::file(&bytes).map_err(|why| format!("{name}: {why}"))?;
        for block in blocks {
            if !["CERTIFICATE", pem::DER].contains(&block.label.as_str()) {
                return Err(format!("{name}: {:?} is no certificate", block.label));
            }
            let text = encode_string("CERTIFICATE", LineEnding::LF, &block.bytes);
            let text = text.map_err(|error| format!("{name}: {error}"))?;
            match PinnedCertificate::read(text.as_bytes()) {
                Ok(pinned) if pinned.certificate.authority || signs_itself(&block.bytes) => {
                    certificates.push(text);
                }
                Ok(_) => {
                    return Err(format!(
                        "{name}: neither an authority nor issued by itself, so notation refuses the store"
                    ));
                }
                Err(error) => {
                    proposal.leave(
                        file,
                        format!("trust store {store}: {name}"),
                        error.to_string(),
                    );
                }
            }
        }
    }
    Ok(certificates)
}

fn signs_itself(der: &[u8]) -> bool {
    X509::from_der(der).is_ok_and(|certificate| {
        let body = certificate.tbs_certificate();
        body.issuer() == body.subject()
    })
}

fn text_of<'a>(value: &'a Value, member: &str) -> &'a str {
    let text = value.get(member).and_then(Value::as_str);
    text.unwrap_or_default()
}

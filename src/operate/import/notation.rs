//! `trustpolicy.json` of notation, and the trust stores beside it. Its signatures give neither name
//! nor tag, so its rules say that tags are unbound.

use std::collections::BTreeSet;

use serde_json::Value;
use x509_cert::Certificate as X509;
use x509_cert::der::Decode as _;
use x509_cert::der::pem::{LineEnding, encode_string};

use super::containers_scopes::{LEFT_BEHIND, UNSIGNED};
use super::notation_rules::{Statement, statements};
use super::signed::Signers;
use super::{Proposal, strict_json};
use crate::problem::Problem;
use rootpin_policy::Pattern;
use rootpin_trust::notation::{PinnedCertificate, SubjectAttribute};
use rootpin_trust::pem;

/// The files of a trust store of authorities: name and bytes.
pub(crate) type TrustStore<'a> = &'a dyn Fn(&str) -> Result<Vec<(String, Vec<u8>)>, Problem>;

/// Translates the file.
///
/// # Errors
/// It is no JSON object, or one that notation refuses.
pub(crate) fn notation_trust_policy(
    file: &str,
    text: &[u8],
    store: TrustStore<'_>,
) -> Result<Proposal, Problem> {
    let (statements, others) = statements(strict_json::object(text)?)
        .map_err(|why| Problem::new(format!("{why}: notation refuses the whole file")))?;
    let mut proposal = Proposal::default();
    for other in others {
        proposal.leave(file, format!("{other:?}"), "it is not known here");
    }
    for one in &statements {
        let said = signers(&mut proposal, file, one, store);
        for scope in &one.scopes {
            add(&mut proposal, file, (one, scope), said.clone());
        }
    }
    // Several trust policies say the same of one trust store.
    let mut said = BTreeSet::new();
    proposal
        .left_behind
        .retain(|left| said.insert((left.what.clone(), left.why.clone())));
    Ok(proposal)
}

fn add(
    proposal: &mut Proposal,
    file: &str,
    (statement, scope): (&Statement, &str),
    said: Result<Signers, Problem>,
) {
    let what = format!("{scope}: {:?}", statement.name);
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
            proposal.leave(file, what, why.what);
            proposal.refuse(pattern.as_str(), LEFT_BEHIND);
        }
    }
}

/// Whose signatures a trust policy takes, or why no rule can say it.
fn signers(
    proposal: &mut Proposal,
    file: &str,
    statement: &Statement,
    store: TrustStore<'_>,
) -> Result<Signers, Problem> {
    let name = format!("trust policy {:?}", statement.name);
    if let Some(other) = statement.others.first() {
        return Err(Problem::new(format!(
            "its member {other:?} is not known here"
        )));
    }
    if let level @ ("audit" | "skip") = statement.level.as_str() {
        return Err(Problem::new(format!("level {level:?}: {UNSIGNED}")));
    }
    if let Some(store) = statement.demanded_stamps() {
        return Err(Problem::new(format!(
            "{store}: a signature must have a time stamp there, and none is looked at here: where the certificate's own dates are enough, write verifyTimestamp \"afterCertExpiry\" into a copy of the file, and import that"
        )));
    }
    if !statement.overridden.is_empty() {
        let changed = Value::Object(statement.overridden.clone());
        let why = "here a signature, its expiry and its certificates' dates always count";
        proposal.leave(file, format!("{name}: override {changed}"), why);
    }
    if statement.level == "permissive" {
        let why = "notation logs a signature or a certificate that is over, and takes it; here it is refused";
        proposal.leave(file, format!("{name}: level \"permissive\""), why);
    }
    proposal.leave(
        file,
        "revocation and time stamps",
        "nobody is asked whether a certificate is revoked: write a [[revoked]] key where one is; and a certificate counts while it is valid",
    );
    let mut certificates = Vec::new();
    for named in &statement.stores {
        match named.split_once(':') {
            Some(("ca", plain)) if !plain.starts_with('.') => {
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
        return Err(Problem::new(
            "none of its trust stores has a certificate that can be pinned",
        ));
    }
    let mut subjects = Vec::new();
    if statement.identities != ["*"] {
        for identity in &statement.identities {
            let subject = identity.strip_prefix("x509.subject:").map(str::trim);
            match subject.filter(|subject| SubjectAttribute::parse_all(subject).is_some()) {
                Some(subject) => subjects.push(subject.to_owned()),
                None => proposal.leave(
                    file,
                    format!("{name}: identity {identity:?}"),
                    "wanted x509.subject: and attributes of C, ST, L, O, OU, CN, STREET, postalCode and serialNumber",
                ),
            }
        }
        if subjects.is_empty() {
            return Err(Problem::new("none of its identities can be written"));
        }
    }
    Ok(Signers::Notation {
        certificates,
        subjects,
    })
}

/// The certificates of a store in PEM, each for itself.
fn read_store(
    proposal: &mut Proposal,
    file: &str,
    store: &str,
    files: Result<Vec<(String, Vec<u8>)>, Problem>,
) -> Result<Vec<String>, Problem> {
    let mut certificates = Vec::new();
    for (name, bytes) in files.map_err(|why| why.about(format!("trust store {store}")))? {
        let blocks = pem::file(&bytes).map_err(|why| Problem::new(format!("{name}: {why}")))?;
        if blocks.is_empty() {
            return Err(Problem::new(format!("{name}: no certificate")));
        }
        for block in blocks {
            if !["CERTIFICATE", pem::DER].contains(&block.label.as_str()) {
                return Err(Problem::new(format!(
                    "{name}: {:?} is no certificate",
                    block.label
                )));
            }
            let text = encode_string("CERTIFICATE", LineEnding::LF, &block.bytes);
            let text = text.map_err(|error| Problem::new(format!("{name}: {error}")))?;
            match PinnedCertificate::read(text.as_bytes()) {
                Ok(pinned) if pinned.certificate.authority || signs_itself(&block.bytes) => {
                    certificates.push(text);
                }
                Ok(_) => {
                    return Err(Problem::new(format!(
                        "{name}: neither an authority nor issued by itself, so notation refuses the store"
                    )));
                }
                // notation refuses a store with a file that is no certificate at all.
                Err(error) if X509::from_der(&block.bytes).is_err() => {
                    return Err(Problem::new(format!("{name}: {error}")));
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

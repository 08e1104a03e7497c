//! What notation checks of a whole trust policy before it looks at any signature
//! (`OCIDocument.Validate` of notation-go). A document that fails verifies nothing there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::docker_daemon::texts;
use super::go_members::decoded;
use super::reference_grammar::{is_domain, is_path};
use crate::problem::Problem;

/// A statement of a trust policy, as it was decoded.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) name: String,
    pub(super) scopes: Vec<String>,
    pub(super) level: String,
    /// The checks whose outcome is changed.
    pub(super) overridden: Map<String, Value>,
    pub(super) stores: Vec<String>,
    /// When a store of time stamp authorities is asked: `always`, or `afterCertExpiry`.
    stamps: String,
    pub(super) identities: Vec<String>,
    /// Members that notation passes over.
    pub(super) others: Vec<String>,
}

const STATEMENT: [&str; 5] = [
    "name",
    "registryScopes",
    "signatureVerification",
    "trustStores",
    "trustedIdentities",
];
const VERIFICATION: [&str; 3] = ["level", "override", "verifyTimestamp"];

/// Reads and checks the document; also the names of members that notation passes over.
///
/// # Errors
/// Why notation refuses it.
pub(super) fn statements(
    document: Map<String, Value>,
) -> Result<(Vec<Statement>, Vec<String>), Problem> {
    let mut top = decoded(document, &["version", "trustPolicies"])?;
    match text(&top, "version")?.as_str() {
        "1.0" => {}
        "" => return Err(Problem::new("it has no version: wanted \"1.0\"")),
        other => {
            return Err(Problem::new(format!(
                "its version is {other:?}: wanted \"1.0\""
            )));
        }
    }
    let list = match top.remove("trustPolicies") {
        Some(Value::Array(list)) if !list.is_empty() => list,
        _ => return Err(Problem::new("it has no list of trustPolicies")),
    };
    let mut statements = Vec::new();
    for (number, one) in list.into_iter().enumerate() {
        let Value::Object(members) = one else {
            return Err(Problem::new(format!(
                "trust policy {} is no object",
                number + 1
            )));
        };
        let statement = Statement::read(members)
            .map_err(|why| why.about(format!("trust policy {}", number + 1)))?;
        statements.push(statement);
    }
    let mut names = BTreeSet::new();
    let mut scopes = BTreeSet::new();
    for one in &statements {
        if !names.insert(&one.name) {
            return Err(Problem::new(format!(
                "two trust policies have the name {:?}",
                one.name
            )));
        }
        if let Some(twice) = one.scopes.iter().find(|scope| !scopes.insert(*scope)) {
            return Err(Problem::new(format!(
                "two trust policies have the scope {twice:?}"
            )));
        }
    }
    let others = top.into_keys().filter(|name| name != "version");
    Ok((statements, others.collect()))
}

impl Statement {
    fn read(members: Map<String, Value>) -> Result<Self, Problem> {
        let members = decoded(members, &STATEMENT)?;
        let name = text(&members, "name")?;
        if name.is_empty() {
            return Err(Problem::new("it has no name"));
        }
        let verification = match members.get("signatureVerification") {
            Some(Value::Object(verification)) => decoded(verification.clone(), &VERIFICATION)?,
            None | Some(Value::Null) => BTreeMap::new(),
            Some(_) => return Err(Problem::new("its signatureVerification is no object")),
        };
        let is_other = |name: &&String| !STATEMENT.contains(&name.as_str());
        let statement = Self {
            name,
            scopes: list(&members, "registryScopes")?,
            level: text(&verification, "level")?,
            overridden: match verification.get("override") {
                Some(Value::Object(overridden)) => overridden.clone(),
                None | Some(Value::Null) => Map::new(),
                Some(_) => return Err(Problem::new("its override is no object")),
            },
            stores: list(&members, "trustStores")?,
            stamps: text(&verification, "verifyTimestamp")?,
            identities: list(&members, "trustedIdentities")?,
            others: members.keys().filter(is_other).cloned().collect(),
        };
        statement.check_level()?;
        let stamps = &statement.stamps;
        if !["", "always", "afterCertExpiry"].contains(&stamps.as_str()) {
            return Err(Problem::new(format!("verifyTimestamp {stamps:?} is none")));
        }
        let named = (statement.stores.is_empty(), statement.identities.is_empty());
        match (statement.level.as_str(), named) {
            ("skip", (true, true)) => {}
            ("skip", _) => return Err(Problem::new("level skip with stores or identities")),
            (_, (false, false)) => {
                statement.check_stores()?;
                statement.check_identities()?;
            }
            _ => return Err(Problem::new("it lacks trustStores or trustedIdentities")),
        }
        statement.check_scopes()?;
        Ok(statement)
    }

    /// The store by which a signature without a time stamp is refused, though its certificate is
    /// valid.
    pub(super) fn demanded_stamps(&self) -> Option<&String> {
        let changed = self.overridden.get("authenticTimestamp");
        let action = changed.and_then(Value::as_str);
        let is_enforced = match action {
            Some(action) => action == "enforce",
            None => self.level == "strict",
        };
        let is_demanded = is_enforced && self.stamps != "afterCertExpiry";
        let mut stores = self.stores.iter();
        stores.find(|store| is_demanded && store.starts_with("tsa:"))
    }

    fn check_level(&self) -> Result<(), Problem> {
        let level = &self.level;
        if !["strict", "permissive", "audit", "skip"].contains(&level.as_str()) {
            return Err(Problem::new(format!("there is no level {level:?}")));
        }
        if level == "skip" && !self.overridden.is_empty() {
            return Err(Problem::new("level skip can't be overridden"));
        }
        for (check, action) in &self.overridden {
            let action = action.as_str().unwrap_or_default();
            let may_skip = match check.as_str() {
                "authenticity" | "authenticTimestamp" | "expiry" => false,
                "revocation" => true,
                other => return Err(Problem::new(format!("{other:?} can't be overridden"))),
            };
            let fits = ["enforce", "log"].contains(&action) || (action == "skip" && may_skip);
            if !fits {
                return Err(Problem::new(format!(
                    "override: {check} can't be {action:?}"
                )));
            }
        }
        Ok(())
    }

    fn check_stores(&self) -> Result<(), Problem> {
        for store in &self.stores {
            let (kind, name) = store.split_once(':').unwrap_or_default();
            if !["ca", "signingAuthority", "tsa"].contains(&kind) || !is_file_name(name) {
                return Err(Problem::new(format!("{store:?} is no trust store")));
            }
        }
        Ok(())
    }

    fn check_identities(&self) -> Result<(), Problem> {
        if self.identities.len() > 1 && self.identities.iter().any(|one| one == "*") {
            return Err(Problem::new("the identity * stands beside others"));
        }
        let mut subjects: Vec<BTreeMap<String, String>> = Vec::new();
        for identity in self.identities.iter().filter(|one| *one != "*") {
            let (kind, value) = identity
                .split_once(':')
                .ok_or_else(|| Problem::new(format!("the identity {identity:?} has no kind")))?;
            if kind == "x509.subject" {
                let subject = distinguished_name(value)
                    .map_err(|why| why.about(format!("the identity {identity:?}")))?;
                let is_part = |one: &BTreeMap<String, String>, of: &BTreeMap<String, String>| {
                    one.iter().all(|(name, value)| of.get(name) == Some(value))
                };
                let mut known = subjects.iter();
                if known.any(|known| is_part(known, &subject) || is_part(&subject, known)) {
                    return Err(Problem::new(format!(
                        "the identity {identity:?} overlaps another"
                    )));
                }
                subjects.push(subject);
            }
        }
        Ok(())
    }

    fn check_scopes(&self) -> Result<(), Problem> {
        if self.scopes.is_empty() {
            return Err(Problem::new("it has no registryScopes"));
        }
        if self.scopes.len() > 1 && self.scopes.iter().any(|scope| scope == "*") {
            return Err(Problem::new("the scope * stands beside others"));
        }
        let is_scope = |scope: &str| {
            let parts = scope.split_once('/');
            scope == "*" || parts.is_some_and(|(domain, path)| is_domain(domain) && is_path(path))
        };
        match self.scopes.iter().find(|scope| !is_scope(scope)) {
            Some(other) => Err(Problem::new(format!(
                "the scope {other:?} is no repository"
            ))),
            None => Ok(()),
        }
    }
}

fn is_file_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    !name.is_empty() && name.bytes().all(plain)
}

/// The attributes of a subject by RFC 4514, as notation wants them: each once and alone, with C, ST
/// and O among them.
fn distinguished_name(text: &str) -> Result<BTreeMap<String, String>, Problem> {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for sign in text.trim().chars() {
        match sign {
            '+' if !escaped => return Err(Problem::new("it has an attribute of several values")),
            ',' | ';' if !escaped => parts.push(String::new()),
            sign => {
                if let Some(part) = parts.last_mut() {
                    part.push(sign);
                }
            }
        }
        escaped = sign == '\\' && !escaped;
    }
    let mut attributes = BTreeMap::new();
    for part in &parts {
        let (name, value) = part.split_once('=').ok_or("it is no list of NAME=VALUE")?;
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() || value.starts_with('#') {
            return Err(Problem::new("it is no list of NAME=VALUE"));
        }
        let name = if name == "S" { "ST" } else { name };
        if attributes
            .insert(name.to_owned(), value.to_owned())
            .is_some()
        {
            return Err(Problem::new(format!("it has {name} twice")));
        }
    }
    let has = |name: &str| attributes.get(name).is_some_and(|value| !value.is_empty());
    match ["C", "ST", "O"].into_iter().find(|name| !has(name)) {
        Some(missing) => Err(Problem::new(format!("it has no {missing}"))),
        None => Ok(attributes),
    }
}

/// A text; the empty one where it is not there or null, as Go decodes it.
fn text(members: &BTreeMap<String, Value>, name: &str) -> Result<String, Problem> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(Problem::new(format!("{name} is no text"))),
    }
}

fn list(members: &BTreeMap<String, Value>, name: &str) -> Result<Vec<String>, Problem> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(value) => {
            texts(value).ok_or_else(|| Problem::new(format!("{name} is no list of texts")))
        }
    }
}

//! `content-trust` in dockerd's daemon.json, as Mirantis Container Runtime reads it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::go_members::decoded;
use super::pinned_names::{self, Pinned};
use super::{Proposal, ServerChoice, TrustDirectory, strict_json};
use crate::problem::Problem;
use rootpin_trust::image::is_same_to_go;

/// What Docker's client reads, and Mirantis' daemon with it.
const ROLE: &str = "targets/releases";

const NAME: &str = "content-trust";
const MEMBERS: [&str; 3] = ["mode", "trust-pinning", "allow-expired-cached-trust-data"];
const PINNING: [&str; 3] = ["root-keys", "cert-ids", "official-library-images"];

/// Names of repositories, each with IDs.
type Ids = BTreeMap<String, Vec<String>>;

/// `content-trust` as it was decoded.
struct ContentTrust {
    mode: String,
    allow_expired: bool,
    root_keys: Ids,
    cert_ids: Ids,
    official_images: bool,
    /// Members that are not known.
    others: Vec<String>,
}

impl ContentTrust {
    /// Decodes it as Go does: by names in any case, and by types.
    fn read(content_trust: &Value) -> Result<Self, Problem> {
        let members = decoded(object("content-trust", content_trust)?, &MEMBERS)?;
        let pinning = match members.get("trust-pinning") {
            None => Map::new(),
            Some(pinning) => object("trust-pinning", pinning)?,
        };
        let pinning = decoded(pinning, &PINNING)?;
        let is_other = |known: &[&str], name: &str| !known.contains(&name);
        let others = members.keys().filter(|name| is_other(&MEMBERS, name));
        let mut others: Vec<String> = others
            .map(|name| format!("content-trust.{name:?}"))
            .collect();
        let of_pinning = pinning.keys().filter(|name| is_other(&PINNING, name));
        others.extend(of_pinning.map(|name| format!("trust-pinning.{name:?}")));
        let mode = match members.get("mode") {
            None | Some(Value::Null) => "disabled",
            Some(mode) => mode.as_str().unwrap_or_default(),
        };
        if !["disabled", "permissive", "enforced"].contains(&mode) {
            return Err(Problem::new(
                "mode is none of disabled, permissive and enforced",
            ));
        }
        Ok(Self {
            mode: mode.to_owned(),
            allow_expired: flag(&members, "allow-expired-cached-trust-data")?,
            root_keys: ids(&pinning, "root-keys")?,
            cert_ids: ids(&pinning, "cert-ids")?,
            official_images: flag(&pinning, "official-library-images")?,
            others,
        })
    }
}

/// Translates the file.
///
/// # Errors
/// It is no JSON object, or one that dockerd doesn't start with.
pub(crate) fn docker_daemon(
    file: &str,
    text: &[u8],
    servers: &ServerChoice,
    trust: &TrustDirectory,
) -> Result<Proposal, Problem> {
    let config = strict_json::object(text)?;
    let mut proposal = Proposal::default();
    let is_other = |name: &&String| *name != NAME && is_same_to_go(name, NAME);
    if let Some(other) = config.keys().find(is_other) {
        return Err(Problem::new(format!(
            "{other:?} is no directive: dockerd does not start with it"
        )));
    }
    let Some(content_trust) = config.get(NAME) else {
        proposal.leave(
            file,
            "nothing",
            "it has no content-trust, which only Mirantis' dockerd reads",
        );
        return Ok(proposal);
    };
    let content_trust = ContentTrust::read(content_trust).map_err(|why| {
        Problem::new(format!(
            "content-trust: {why}: dockerd does not start with it"
        ))
    })?;
    for other in &content_trust.others {
        proposal.leave(file, other.clone(), "it is not known here");
    }
    match content_trust.mode.as_str() {
        "enforced" => {}
        "permissive" => proposal.audit = true,
        other => proposal.leave(
            file,
            format!("mode {other:?}"),
            "the proposal enforces; write mode = \"audit\" to try it first",
        ),
    }
    if content_trust.allow_expired {
        proposal.leave(
            file,
            "allow-expired-cached-trust-data",
            "expired metadata is never accepted; [limits] offline says how long cached metadata serves while no server answers",
        );
    }
    let mut names = BTreeMap::new();
    for (name, ids) in content_trust.root_keys {
        names.insert(name, Pinned::Keys(ids));
    }
    // The certificates of an exact name count before keys of the same name.
    for (name, ids) in content_trust.cert_ids {
        if name.ends_with('*') {
            proposal.leave(
                file,
                format!("cert-ids of {name:?}"),
                "they are for whole names only",
            );
        } else {
            names.insert(name, Pinned::Certificates(ids));
        }
    }
    if content_trust.official_images {
        proposal.leave(
            file,
            "official-library-images",
            "the root certificates of Docker's Official Images are over, and notary.docker.io ends on 2026-12-08: sign what you checked by rootpin repo endorse",
        );
    }
    pinned_names::add(&mut proposal, file, &names, (servers, trust, ROLE));
    if content_trust.official_images {
        // dockerd has keys of its own for them, whatever else is pinned.
        let mut official = Proposal::default();
        official.refuse(
            "docker.io/library/**",
            "official-library-images pins keys that are over",
        );
        proposal.merge(official, file);
    }
    Ok(proposal)
}

/// An object; the empty one for null, as Go decodes it.
fn object(what: &str, value: &Value) -> Result<Map<String, Value>, Problem> {
    match value {
        Value::Object(object) => Ok(object.clone()),
        Value::Null => Ok(Map::new()),
        _ => Err(Problem::new(format!("{what} is no object"))),
    }
}

fn flag(members: &BTreeMap<String, Value>, name: &str) -> Result<bool, Problem> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(Problem::new(format!("{name} is neither true nor false"))),
    }
}

fn ids(members: &BTreeMap<String, Value>, name: &str) -> Result<Ids, Problem> {
    let mut all = Ids::new();
    for (of, ids) in object(name, members.get(name).unwrap_or(&Value::Null))? {
        let ids = match &ids {
            Value::Null => Vec::new(),
            ids => texts(ids)
                .ok_or_else(|| Problem::new(format!("{name} of {of:?} is no list of texts")))?,
        };
        all.insert(of, ids);
    }
    Ok(all)
}

/// A list of texts.
pub(super) fn texts(value: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    value.as_array()?.iter().map(text).collect()
}

//! `config.json` of the `notary` command: its server, its trust directory and its pins.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::docker_daemon::texts;
use super::pinned_names::{self, Pinned};
use super::{Proposal, ServerChoice, TrustDirectory};

/// What the file says of other files.
#[derive(Debug, Default)]
pub(crate) struct NotaryConfig {
    /// The trust directory.
    pub(crate) trust_dir: Option<String>,
    /// The server's URL.
    pub(crate) server: Option<String>,
    /// The PEM file for the server's TLS.
    pub(crate) root_ca: Option<String>,
    pinning: Map<String, Value>,
    /// Members that mean nothing here.
    others: Vec<String>,
}

impl NotaryConfig {
    /// Reads the file.
    ///
    /// # Errors
    /// It is no JSON object.
    pub(crate) fn read(text: &[u8]) -> Result<Self, String> {
        let config: Map<String, Value> =
            serde_json::from_slice(text).map_err(|error| format!("no JSON object: {error}"))?;
        let remote = config.get("remote_server");
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
        let of_server = |member: &str| text(remote.and_then(|remote| remote.get(member)));
        let mut others: Vec<String> = config
            .keys()
            .filter(|key| !["trust_dir", "remote_server", "trust_pinning"].contains(&key.as_str()))
            .cloned()
            .collect();
        let remote = remote.and_then(Value::as_object);
        let more = remote.into_iter().flat_map(Map::keys);
        others.extend(
            more.filter(|key| !["url", "root_ca"].contains(&key.as_str()))
                .map(|key| format!("remote_server.{key}")),
        );
        Ok(Self {
            trust_dir: text(config.get("trust_dir")),
            server: of_server("url"),
            root_ca: of_server("root_ca"),
            pinning: config
                .get("trust_pinning")
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default(),
            others,
        })
    }
}

/// Translates the pins. Repositories that are not pinned are taken from the trust directory, if
/// there is one.
pub(crate) fn notary_config(
    file: &str,
    config: &NotaryConfig,
    servers: &ServerChoice,
    trust: &TrustDirectory,
) -> Proposal {
    let mut proposal = Proposal::default();
    for other in &config.others {
        proposal.leave(file, format!("{other:?}"), "a policy has no place for it");
    }
    let mut names = BTreeMap::new();
    let certs = config.pinning.get("certs").and_then(Value::as_object);
    for (name, ids) in certs.into_iter().flatten() {
        match texts(ids) {
            // Notary reads an empty list for a beginning of names as no pin at all.
            Some(ids) if ids.is_empty() && name.ends_with('*') => proposal.leave(
                file,
                format!("certs of {name:?}"),
                "an empty list pins nothing",
            ),
            Some(ids) => drop(names.insert(name.clone(), Pinned::Certificates(ids))),
            None => proposal.leave(file, format!("certs of {name:?}"), "no list of texts"),
        }
    }
    let authorities = config.pinning.get("ca").and_then(Value::as_object);
    for (name, path) in authorities.into_iter().flatten() {
        proposal.leave(
            file,
            format!("ca of {name:?}: {path}"),
            "an authority vouches for whatever key it certifies, and a policy pins the keys themselves: rootpin pin add ID --scan NAME --server URL",
        );
    }
    for (member, value) in &config.pinning {
        match member.as_str() {
            "certs" | "ca" => {}
            "disable_tofu" if *value == Value::Bool(true) => {}
            "disable_tofu" => proposal.leave(
                file,
                "trust on first use",
                "there is none here: what no rule names is refused",
            ),
            other => proposal.leave(
                file,
                format!("trust_pinning.{other:?}"),
                "it is not known here",
            ),
        }
    }
    pinned_names::add(&mut proposal, file, &names, (servers, trust, "targets"));
    proposal
}

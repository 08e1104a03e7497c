//! `config.json` of the `notary` command: its server, its trust directory and its pins.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::docker_daemon::texts;
use super::go_members::lowered;
use super::pinned_names::{self, Pinned};
use super::{Proposal, ServerChoice, TrustDirectory, strict_json};
use crate::problem::Problem;

/// What the file says of other files.
#[derive(Debug, Default)]
pub(crate) struct NotaryConfig {
    /// The trust directory.
    pub(crate) trust_dir: Option<String>,
    /// The server's URL.
    pub(crate) server: Option<String>,
    /// The PEM file for the server's TLS.
    pub(crate) root_ca: Option<String>,
    pinning: Pinning,
    /// Members that mean nothing here.
    others: Vec<String>,
}

/// `trust_pinning`.
#[derive(Debug, Default)]
struct Pinning {
    /// By a whole name or the beginning of names, IDs of certificates.
    certs: BTreeMap<String, Vec<String>>,
    /// By the beginning of names, the file of an authority.
    authorities: BTreeMap<String, String>,
    disable_tofu: Option<bool>,
    others: Vec<String>,
}

impl NotaryConfig {
    /// Reads the file as notary does, to which no letter of a name is in upper case.
    ///
    /// # Errors
    /// It is no JSON object, or one that notary refuses.
    pub(crate) fn read(text: &[u8]) -> Result<Self, Problem> {
        let written = strict_json::object(text)?;
        let mut spellings = BTreeMap::new();
        add_spellings(&written, &mut spellings);
        let config = lowered(written)?;
        // A dot leads into a section, also within one name.
        let dotted = |name: &&String| {
            let (section, _) = name.split_once('.').unwrap_or_default();
            ["trust_pinning", "remote_server"].contains(&section)
        };
        if let Some(name) = config.keys().find(dotted) {
            return Err(Problem::new(format!("write {name:?} as a section")));
        }
        let section = |name: &str| match config.get(name) {
            None => Ok(Map::new()),
            Some(Value::Object(section)) => Ok(section.clone()),
            Some(_) => Err(Problem::new(format!("{name} is no object"))),
        };
        let remote = section("remote_server")?;
        let mut others: Vec<String> = config
            .keys()
            .filter(|key| !["trust_dir", "remote_server", "trust_pinning"].contains(&key.as_str()))
            .cloned()
            .collect();
        others.extend(
            remote
                .keys()
                .filter(|key| !["url", "root_ca"].contains(&key.as_str()))
                .map(|key| format!("remote_server.{key}")),
        );
        let mut pinning = Pinning::read(section("trust_pinning")?)?;
        for other in others.iter_mut().chain(&mut pinning.others) {
            let name = other.rsplit('.').next().unwrap_or_default();
            if let Some(written) = spellings.get(name) {
                *other = format!("{}{written}", other.strip_suffix(name).unwrap_or_default());
            }
        }
        Ok(Self {
            trust_dir: text_of(&config, "trust_dir")?,
            server: text_of(&remote, "url")?.filter(|url| !url.is_empty()),
            root_ca: text_of(&remote, "root_ca")?.filter(|path| !path.is_empty()),
            pinning,
            others,
        })
    }
}

impl Pinning {
    fn read(section: Map<String, Value>) -> Result<Self, Problem> {
        let mut pinning = Self::default();
        for (member, value) in section {
            match member.as_str() {
                "certs" => {
                    let wrong =
                        || Problem::new("trust_pinning.certs is no object of lists of texts");
                    for (name, ids) in value.as_object().ok_or_else(wrong)? {
                        let ids = texts(ids).ok_or_else(wrong)?;
                        pinning.certs.insert(name.clone(), ids);
                    }
                }
                "ca" => {
                    let wrong = || Problem::new("trust_pinning.ca is no object of texts");
                    for (name, path) in value.as_object().ok_or_else(wrong)? {
                        let path = path.as_str().ok_or_else(wrong)?;
                        pinning.authorities.insert(name.clone(), path.to_owned());
                    }
                }
                "disable_tofu" => {
                    let wrong =
                        || Problem::new("trust_pinning.disable_tofu is neither true nor false");
                    pinning.disable_tofu = Some(value.as_bool().ok_or_else(wrong)?);
                }
                _ => pinning.others.push(member),
            }
        }
        Ok(pinning)
    }
}

/// Each member's name as it is written, by its letters in lower case.
fn add_spellings(object: &Map<String, Value>, spellings: &mut BTreeMap<String, String>) {
    for (name, value) in object {
        spellings.insert(name.to_lowercase(), name.clone());
        if let Value::Object(inner) = value {
            add_spellings(inner, spellings);
        }
    }
}

fn text_of(section: &Map<String, Value>, name: &str) -> Result<Option<String>, Problem> {
    match section.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Problem::new(format!("{name} is no text"))),
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
    // Of an empty list no certificate counts, also where it is for a beginning of names.
    for (name, ids) in &config.pinning.certs {
        names.insert(name.clone(), Pinned::Certificates(ids.clone()));
    }
    let certs: Vec<String> = names.keys().cloned().collect();
    for (name, path) in &config.pinning.authorities {
        proposal.leave(
            file,
            format!("ca of {name:?}: {path:?}"),
            "an authority vouches for whatever key it certifies, and a policy pins the keys themselves: rootpin pin add ID --scan NAME --server URL",
        );
        // Certificates of a broader beginning count before it.
        let covers = |certs: &String| {
            let beginning = certs.strip_suffix('*');
            beginning.is_some_and(|beginning| name.starts_with(beginning))
        };
        if !certs.iter().any(covers) {
            names.insert(format!("{name}*"), Pinned::Authority);
        }
    }
    match config.pinning.disable_tofu {
        Some(true) | None => {}
        Some(false) => proposal.leave(
            file,
            "trust on first use",
            "there is none here: what no rule names is refused",
        ),
    }
    for other in &config.pinning.others {
        proposal.leave(
            file,
            format!("trust_pinning.{other:?}"),
            "it is not known here",
        );
    }
    pinned_names::add(&mut proposal, file, &names, (servers, trust, "targets"));
    proposal
}

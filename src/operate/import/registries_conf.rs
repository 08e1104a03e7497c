//! `registries.conf` (containers-registries.conf(5)): mirrors of a registry become its hosts.toml,
//! and what is blocked is refused.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use toml::{Table, Value};

use super::Proposal;
use super::containers_scopes::{is_within, patterns, refuse_within};
use super::render::quoted;
use crate::hosts_toml::{DOCKER_HUB, HostsFile};
use rootpin_policy::Pattern;

/// Adds what the files say, of which a later one counts for the same prefix.
pub(crate) fn add_registries(proposal: &mut Proposal, files: &[(String, Vec<u8>)]) {
    let mut registries: BTreeMap<String, (&str, Table)> = BTreeMap::new();
    for (file, bytes) in files {
        let text = String::from_utf8_lossy(bytes);
        let document: Table = match text.parse() {
            Ok(document) => document,
            Err(error) => {
                proposal.leave(file, "all of it", format!("no TOML: {error}"));
                continue;
            }
        };
        for key in document.keys().filter(|key| *key != "registry") {
            let why = "it changes no full name, and only full names count here";
            proposal.leave(file, format!("{key:?}"), why);
        }
        let list = document.get("registry").and_then(Value::as_array);
        for registry in list.into_iter().flatten().filter_map(Value::as_table) {
            let text = |key| registry.get(key).and_then(Value::as_str);
            if let Some(prefix) = text("prefix").or_else(|| text("location")) {
                registries.insert(prefix.to_owned(), (file, registry.clone()));
            }
        }
    }
    let blocked: Vec<&String> = registries
        .iter()
        .filter(|(_, (_, registry))| registry.get("blocked") == Some(&Value::Boolean(true)))
        .map(|(prefix, _)| prefix)
        .collect();
    let why = "registries.conf blocks it";
    refuse_within(proposal, why, |name| {
        let all = registries.keys().filter(|prefix| has_prefix(name, prefix));
        let longest = all.max_by_key(|prefix| prefix.len());
        longest.is_some_and(|longest| blocked.contains(&longest))
    });
    for prefix in &blocked {
        for (pattern, _) in patterns(prefix) {
            if !proposal.rules.contains_key(pattern.as_str()) {
                proposal.refuse(pattern.as_str(), why);
            }
        }
        if let Some(repository) = repository_of_one(prefix)
            && let Ok(pattern) = repository.parse::<Pattern>()
            && pattern.is_exact()
        {
            let why = format!("registries.conf blocks {prefix}, and a rule is for all tags");
            proposal.leave("registries.conf", format!("blocked {prefix}"), why.clone());
            proposal.refuse(pattern.as_str(), &why);
        }
        if prefix.starts_with("*.") {
            let why = "a rule names its registry: those that a rule names are refused, and what no rule names is too";
            proposal.leave("registries.conf", format!("blocked {prefix}"), why);
        }
    }
    for (prefix, (file, registry)) in &registries {
        if !blocked.contains(&prefix) {
            add_mirrors(proposal, file, prefix, registry);
        }
    }
}

/// Whether a prefix of the file is one of a name: `*.` stands for any hosts below a domain.
fn has_prefix(name: &str, prefix: &str) -> bool {
    let Some(domain) = prefix.strip_prefix('*') else {
        return is_within(name, prefix);
    };
    let host = name.split('/').next().unwrap_or_default();
    let host = host.split(':').next().unwrap_or_default();
    domain.starts_with('.') && host.ends_with(domain)
}

/// The repository of a prefix that is one tag or one digest.
fn repository_of_one(prefix: &str) -> Option<&str> {
    if let Some((repository, _)) = prefix.split_once('@') {
        return Some(repository);
    }
    let slash = prefix.rfind('/')?;
    let colon = prefix.get(slash..)?.find(':')?;
    prefix.get(..slash + colon)
}

fn add_mirrors(proposal: &mut Proposal, file: &str, prefix: &str, registry: &Table) {
    let mirrors = registry.get("mirror").and_then(Value::as_array);
    let mirrors: Vec<&Table> = mirrors
        .into_iter()
        .flatten()
        .filter_map(Value::as_table)
        .collect();
    let location = registry
        .get("location")
        .and_then(Value::as_str)
        .unwrap_or(prefix);
    if mirrors.is_empty() && location == prefix {
        return;
    }
    let what = format!("where {prefix} is fetched from");
    if prefix.contains('/') || prefix.starts_with("*.") {
        let why = "a hosts.toml is for a whole registry; names stay those that are asked for, wherever the bytes are from";
        return proposal.leave(file, what, why);
    }
    if is_true(registry, "insecure") {
        return proposal.leave(file, what, INSECURE);
    }
    let hub = "registry-1.docker.io";
    let location = if location == DOCKER_HUB {
        hub
    } else {
        location
    };
    let (server, has_path) = url(location);
    let mut text = format!("server = {}\n", quoted(&server));
    if has_path {
        text.push_str("override_path = true\n");
    }
    for mirror in mirrors {
        let Some(at) = mirror.get("location").and_then(Value::as_str) else {
            continue;
        };
        let told = format!("the mirror {at} of {prefix}");
        let from = mirror.get("pull-from-mirror").and_then(Value::as_str);
        let by_digest = is_true(registry, "mirror-by-digest-only") || from == Some("digest-only");
        if is_true(mirror, "insecure") {
            proposal.leave(file, told, INSECURE);
        } else if from == Some("tag-only") {
            proposal.leave(
                file,
                told,
                "a hosts.toml can't keep a mirror for tags alone",
            );
        } else {
            let (url, has_path) = url(at);
            let can = if by_digest {
                "[\"pull\"]"
            } else {
                "[\"pull\", \"resolve\"]"
            };
            let _ = write!(text, "\n[host.{}]\ncapabilities = {can}\n", quoted(&url));
            if has_path {
                text.push_str("override_path = true\n");
            }
        }
    }
    match text.parse::<HostsFile>() {
        Ok(_) => drop(proposal.hosts.insert(prefix.to_owned(), text)),
        Err(why) => proposal.leave(file, what, why),
    }
}

const INSECURE: &str = "insecure: engines are to check certificates: give the registry's authority as ca in its hosts.toml";

fn is_true(table: &Table, key: &str) -> bool {
    table.get(key) == Some(&Value::Boolean(true))
}

/// The address of a location, and whether it goes on behind the host.
fn url(location: &str) -> (String, bool) {
    match location.split_once('/') {
        Some((host, path)) => (format!("https://{host}/v2/{path}"), true),
        None => (format!("https://{location}"), false),
    }
}

//! `registries.conf` (containers-registries.conf(5)): mirrors of a registry become its hosts.toml,
//! and what is blocked is refused.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Proposal;
use super::containers_scopes::{patterns, refuse_within};
use super::reference_grammar::is_full_name;
use super::registries_file::{RegistriesFile, Registry};
use super::registry_prefixes::{BLOCKED, Registries};
use super::render::quoted;
use crate::hosts_toml::{DOCKER_HUB, HostsFile};
use crate::problem::Problem;
use rootpin_policy::Pattern;

/// A file as it was found.
#[derive(Debug)]
pub(crate) struct RegistriesText {
    /// Its path.
    pub(crate) file: String,
    pub(crate) bytes: Vec<u8>,
    /// Whether it lies in `registries.conf.d`.
    pub(crate) drop_in: bool,
}

/// Adds what the files say, of which a later one counts for the same prefix. What they block counts
/// for the names of every source, so all sources are merged before. Returns whether they refuse
/// something.
///
/// # Errors
/// The tools refuse a file, and with it every image.
pub(crate) fn add_registries(
    mut proposal: Proposal,
    texts: &[RegistriesText],
) -> Result<(Proposal, bool), Problem> {
    let mut all = Registries::default();
    for text in texts {
        let file = &text.file;
        let read = RegistriesFile::read(&text.bytes, text.drop_in).map_err(|why| {
            Problem::new(format!(
                "{file}: {why}: podman, skopeo and CRI-O refuse every image by such a file"
            ))
        })?;
        for other in read.others {
            let why = "it changes no full name, and only full names count here";
            proposal.leave(file, format!("{other:?}"), why);
        }
        for registry in read.registries {
            all.0
                .insert(registry.prefix.clone(), (file.clone(), registry));
        }
    }
    let refused = all.refused();
    let other_case = of_other_case(&refused);
    refuse_within(&mut proposal, |name, is_own| {
        let why = all.refuses(name, is_own);
        why.or_else(|| other_case.mean(name).then(|| OTHER_CASE.to_owned()))
    });
    for (prefix, why) in &refused {
        let file = all
            .0
            .get(prefix)
            .map_or("registries.conf", |(file, _)| file);
        refuse_prefix(&mut proposal, file, prefix, why);
    }
    // A repository whose own name makes none, though those below it do.
    for prefix in all.0.keys() {
        if let Ok(pattern) = prefix.parse::<Pattern>()
            && pattern.is_exact()
            && all.refuses(prefix, false).is_none()
            && let Some(why) = all.refuses(prefix, true)
        {
            proposal.refuse(pattern.as_str(), &why);
        }
    }
    for (file, registry) in all.0.values() {
        let prefix = &registry.prefix;
        if let Some(odd) = registry.odd_mirror() {
            let why = "podman can't read it as a name, and then asks no place at all";
            proposal.leave(file, format!("the mirror {odd} of {prefix}"), why);
        }
        if all.refuses(prefix, false).is_none() && !registry.blocked && !prefix.is_empty() {
            add_mirrors(&mut proposal, file, registry);
        }
    }
    // Roots that no rule needs any more are left out.
    let mut whole = Proposal::default();
    whole.merge(proposal, "");
    Ok((whole, !refused.is_empty()))
}

const OTHER_CASE: &str =
    "registries.conf blocks it in other letters, and engines write a registry in lower case";

/// Those of the refused prefixes whose registry has capitals, in lower case: podman compares letter
/// by letter, and names are in lower case here.
fn of_other_case(refused: &BTreeMap<String, String>) -> Registries {
    let lowered = refused.keys().filter_map(|prefix| {
        let (host, rest) = prefix.split_at(prefix.find('/').unwrap_or(prefix.len()));
        let lower = host.to_ascii_lowercase();
        (lower != host).then(|| format!("{lower}{rest}"))
    });
    let blocked = |prefix: String| (prefix.clone(), (String::new(), Registry::blocked(prefix)));
    Registries(lowered.map(blocked).collect())
}

/// Refuses the names of a prefix, as far as a rule can say them, and names what is left behind.
fn refuse_prefix(proposal: &mut Proposal, file: &str, prefix: &str, why: &str) {
    let what = if why == BLOCKED {
        format!("blocked {prefix}")
    } else {
        format!("the registry {prefix}")
    };
    let patterns = patterns(prefix);
    for (pattern, _) in &patterns {
        if !proposal.rules.contains_key(pattern.as_str()) {
            proposal.refuse(pattern.as_str(), why);
        }
    }
    let of_one = repository_of_one(prefix).and_then(|name| name.parse::<Pattern>().ok());
    if let Some(pattern) = of_one.filter(Pattern::is_exact) {
        let why = format!("registries.conf blocks {prefix}, and a rule is for all tags");
        proposal.leave(file, what, why.clone());
        proposal.refuse(pattern.as_str(), &why);
    } else if prefix.starts_with("*.") {
        let why = "a rule names its registry: those that a rule names are refused, and what no rule names is too";
        proposal.leave(file, what, why);
    } else if patterns.is_empty() {
        let why = "no image has a name that begins so, so podman refuses none by it; what no rule names is refused here";
        proposal.leave(file, what, why);
    } else if patterns
        .iter()
        .all(|(pattern, _)| !pattern.as_str().starts_with(prefix))
    {
        let why = "engines write a registry in lower case, so its names in lower case are refused";
        proposal.leave(file, what, why);
    }
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

fn add_mirrors(proposal: &mut Proposal, file: &str, registry: &Registry) {
    let prefix = &registry.prefix;
    let is_elsewhere = !registry.location.is_empty() && registry.location != *prefix;
    if registry.mirrors.is_empty() && !is_elsewhere {
        if registry.insecure {
            proposal.leave(file, format!("insecure {prefix}"), INSECURE);
        }
        return;
    }
    let what = format!("where {prefix} is fetched from");
    let is_host = is_full_name(&format!("{prefix}/x")) && *prefix == prefix.to_lowercase();
    if !prefix.contains('/') && !prefix.starts_with("*.") && !is_host {
        let why = "no engine asks for a registry of this name";
        return proposal.leave(file, what, why);
    }
    if prefix.contains('/') || prefix.starts_with("*.") {
        let why = "a hosts.toml is for a whole registry; names stay those that are asked for, wherever the bytes are from";
        return proposal.leave(file, what, why);
    }
    if registry.insecure {
        return proposal.leave(file, what, INSECURE);
    }
    let hub = "registry-1.docker.io";
    let location = match registry.location.as_str() {
        DOCKER_HUB => hub,
        location => location,
    };
    let (server, has_path) = url(location);
    let mut text = format!("server = {}\n", quoted(&server));
    if has_path {
        text.push_str("override_path = true\n");
    }
    for mirror in &registry.mirrors {
        let at = &mirror.location;
        let told = format!("the mirror {at} of {prefix}");
        let from = mirror.used_for.as_str();
        let by_digest = registry.mirror_by_digest_only || from == "digest-only";
        if mirror.insecure {
            proposal.leave(file, told, INSECURE);
        } else if from == "tag-only" {
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

/// The address of a location, and whether it goes on behind the host.
fn url(location: &str) -> (String, bool) {
    match location.split_once('/') {
        Some((host, path)) => (format!("https://{host}/v2/{path}"), true),
        None => (format!("https://{location}"), false),
    }
}

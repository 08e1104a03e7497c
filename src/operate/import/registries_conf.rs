//! `registries.conf` (containers-registries.conf(5)): mirrors of a registry become its hosts.toml,
//! and what is blocked is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::Proposal;
use super::containers_scopes::{patterns, refuse_within};
use super::reference_grammar::is_full_name;
use super::registries_file::{RegistriesFile, Registry};
use super::render::quoted;
use crate::hosts_toml::{DOCKER_HUB, HostsFile};
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
) -> Result<(Proposal, bool), String> {
    let mut all = Registries::default();
    for text in texts {
        let file = &text.file;
        let read = RegistriesFile::read(&text.bytes, text.drop_in).map_err(|why| {
            format!("{file}: {why}: podman, skopeo and CRI-O refuse every image by such a file")
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
    refuse_within(&mut proposal, WHY, |name, is_own| all.refuses(name, is_own));
    let refused = all.refused();
    for prefix in &refused {
        for (pattern, _) in patterns(prefix) {
            if !proposal.rules.contains_key(pattern.as_str()) {
                proposal.refuse(pattern.as_str(), WHY);
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
    // A repository whose own name makes none, though those below it do.
    for prefix in all.0.keys() {
        if let Ok(pattern) = prefix.parse::<Pattern>()
            && pattern.is_exact()
            && !all.refuses(prefix, false)
            && all.refuses(prefix, true)
        {
            proposal.refuse(
                pattern.as_str(),
                "its location in registries.conf makes no name of it",
            );
        }
    }
    for (file, registry) in all.0.values() {
        let prefix = &registry.prefix;
        if !all.refuses(prefix, false) && !registry.blocked && !prefix.is_empty() {
            add_mirrors(&mut proposal, file, registry);
        }
    }
    // Roots that no rule needs any more are left out.
    let mut whole = Proposal::default();
    whole.merge(proposal, "");
    Ok((whole, !refused.is_empty()))
}

const WHY: &str = "registries.conf blocks it";

/// By prefix: the file, and what it says.
#[derive(Debug, Default)]
struct Registries(BTreeMap<String, (String, Registry)>);

impl Registries {
    /// The one that is meant by a name: the longest prefix, of equally long ones the first by name.
    fn of(&self, name: &str) -> Option<&Registry> {
        let mut longest: Option<&Registry> = None;
        for (_, one) in self.0.values() {
            let length = longest.map_or(0, |known| known.prefix.len());
            if one.prefix.len() > length && rest_behind(name, &one.prefix).is_some() {
                longest = Some(one);
            }
        }
        longest
    }

    /// Whether a name is blocked, or each place that its bytes would be fetched from is: the tools
    /// look for `blocked` again once the location stands in the prefix's place. They also refuse it
    /// where that makes no name. `is_own`: the name is an image's, and not the beginning of names.
    fn refuses(&self, name: &str, is_own: bool) -> bool {
        let Some(registry) = self.of(name) else {
            return false;
        };
        let rest = rest_behind(name, &registry.prefix).unwrap_or_default();
        let mirrors = registry.mirrors.iter().map(|mirror| &mirror.location);
        let places: Vec<String> = mirrors
            .chain([&registry.location])
            .map(|location| match location.as_str() {
                "" => name.to_owned(),
                location => format!("{location}{rest}"),
            })
            .collect();
        let is_blocked = |place: &String| self.of(place).is_some_and(|found| found.blocked);
        let is_name = |place: &String| {
            is_full_name(place) || (!is_own && is_full_name(&format!("{place}/x")))
        };
        registry.blocked
            || places.iter().all(is_blocked)
            // One place without a name, and none is asked.
            || !places.iter().all(is_name)
            // A wildcard's names can't be told apart below the host.
            || (registry.prefix.starts_with("*.") && !self.blocked_within(registry).is_empty())
    }

    /// What is blocked below a registry's location, as it goes on behind that location.
    fn blocked_within(&self, registry: &Registry) -> Vec<&str> {
        let blocked = self.0.values().filter(|(_, one)| one.blocked);
        let rest = blocked.filter_map(|(_, one)| rest_behind(&one.prefix, &registry.location));
        rest.filter(|rest| !rest.is_empty() && !registry.location.is_empty())
            .collect()
    }

    /// The prefixes whose names are refused.
    fn refused(&self) -> Vec<String> {
        let mut refused = BTreeSet::new();
        for (_, registry) in self.0.values() {
            let below = self.blocked_within(registry).into_iter();
            let below = below.map(|rest| format!("{}{rest}", registry.prefix));
            let own = [registry.prefix.clone()];
            refused.extend(own.into_iter().chain(below).filter(|name| {
                // A wildcard is no name, and a prefix of nothing means none.
                registry.blocked && *name == registry.prefix || self.refuses(name, false)
            }));
        }
        refused.remove("");
        refused.into_iter().collect()
    }
}

/// What a name has behind a prefix that means it (`refMatchingPrefix` of containers-libs): a prefix
/// ends at `/`, `:` or `@`, and `*.` stands for any hosts below a domain.
fn rest_behind<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let domain = prefix.strip_prefix('*');
    let rest = match domain.filter(|domain| domain.starts_with('.')) {
        Some(domain) => {
            let (before, rest) = name.split_once(domain)?;
            (!before.contains('/')).then_some(rest)?
        }
        None => name.strip_prefix(prefix)?,
    };
    (rest.is_empty() || rest.starts_with(['/', ':', '@'])).then_some(rest)
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
        return;
    }
    let what = format!("where {prefix} is fetched from");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_podman_ends_it() {
        for (name, prefix, rest) in [
            ("r.example/bad", "r.example/bad", Some("")),
            ("r.example/bad/app", "r.example/bad", Some("/app")),
            ("r.example/bad:v1", "r.example/bad", Some(":v1")),
            ("r.example/bad@sha256:0", "r.example/bad", Some("@sha256:0")),
            ("r.example:5000/app", "r.example", Some(":5000/app")),
            ("r.example/badly", "r.example/bad", None),
            ("r.example/app", "", None),
            ("a.corp.example/app", "*.corp.example", Some("/app")),
            (
                "a.b.corp.example:5000/app",
                "*.corp.example",
                Some(":5000/app"),
            ),
            ("corp.example/app", "*.corp.example", None),
            ("r.example/a.corp.example", "*.corp.example", None),
            ("a.corp.example.evil/app", "*.corp.example", None),
        ] {
            assert_eq!(rest_behind(name, prefix), rest, "{name} by {prefix}");
        }
    }
}

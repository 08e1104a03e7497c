//! The prefixes of `registries.conf`: which of them means a name, and which names the tools that
//! read it refuse.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::reference_grammar::is_full_name;
use super::registries_file::Registry;

/// By prefix: the file, and what it says.
#[derive(Debug, Default)]
pub(super) struct Registries(pub(super) BTreeMap<String, (String, Registry)>);

pub(super) const BLOCKED: &str = "registries.conf blocks it";
const NO_NAME: &str = "its location in registries.conf makes no name of it";

impl Registries {
    /// The one that is meant by a name: the longest prefix, of equally long ones the first by name.
    fn of(&self, name: &str) -> Option<&Registry> {
        let ends = |from: usize| {
            let rest = name.get(from..).unwrap_or_default();
            let ends = rest.match_indices(['/', ':', '@']);
            let ends = ends.map(move |(at, _)| from + at);
            ends.chain([name.len()])
        };
        let host = name.split('/').next().unwrap_or_default();
        // A wildcard's domain has neither `/`, `:` nor `@`, so it goes on to the next of them.
        let domains = host.match_indices('.').filter_map(|(at, _)| {
            let domain = name.get(at..ends(at).next()?)?;
            Some(format!("*{domain}"))
        });
        let plain = ends(0).filter_map(|end| Some(name.get(..end)?.to_owned()));
        let named = plain
            .chain(domains)
            .filter(|prefix| rest_behind(name, prefix).is_some());
        let found = named.filter_map(|prefix| Some(&self.0.get(&prefix)?.1));
        found.min_by(|one, other| {
            let (one, other) = (&one.prefix, &other.prefix);
            other.len().cmp(&one.len()).then_with(|| one.cmp(other))
        })
    }

    /// Whether some prefix means a name.
    pub(super) fn mean(&self, name: &str) -> bool {
        self.of(name).is_some()
    }

    /// Why a name is refused: it is blocked, or each place that its bytes would be fetched from is.
    /// The tools look for `blocked` again once the location stands in the prefix's place. They also
    /// refuse it where that makes no name. `is_own`: the name is an image's, and not the beginning
    /// of names.
    pub(super) fn refuses(&self, name: &str, is_own: bool) -> Option<String> {
        let registry = self.of(name)?;
        let rest = rest_behind(name, &registry.prefix).unwrap_or_default();
        let location = Some(registry.location.as_str()).filter(|location| !location.is_empty());
        let mirrors = registry.mirrors.iter();
        let places: Vec<String> = mirrors
            .map(|mirror| format!("{}{rest}", mirror.location))
            .chain([location.map_or_else(|| name.to_owned(), |at| format!("{at}{rest}"))])
            .collect();
        let is_blocked = |place: &String| self.of(place).is_some_and(|found| found.blocked);
        let is_name = |place: &String| {
            is_full_name(place) || (!is_own && is_full_name(&format!("{place}/x")))
        };
        if registry.blocked {
            return Some(BLOCKED.to_owned());
        }
        if places.iter().all(is_blocked) {
            return Some("registries.conf blocks each place that its bytes come from".to_owned());
        }
        // One place without a name, and none is asked.
        if let Some(odd) = registry.odd_mirror() {
            return Some(format!(
                "podman can't read the mirror {odd:?} of registries.conf as a name, and then asks no place at all"
            ));
        }
        if !places.iter().all(is_name) {
            return Some(NO_NAME.to_owned());
        }
        let is_wildcard = registry.prefix.starts_with("*.");
        (is_wildcard && !self.blocked_within(registry).is_empty()).then(|| {
            format!(
                "registries.conf blocks a part of where {} is fetched from",
                registry.prefix
            )
        })
    }

    /// What is blocked below a registry's location, as it goes on behind that location.
    fn blocked_within(&self, registry: &Registry) -> Vec<&str> {
        let location = registry.location.as_str();
        if location.is_empty() {
            return Vec::new();
        }
        // Those that begin so stand side by side; a wildcard's do not.
        let first = if location.starts_with("*.") {
            ""
        } else {
            location
        };
        let from = (Bound::Included(first), Bound::Unbounded);
        let from = self.0.range::<str, _>(from).map(|(_, (_, one))| one);
        let from = from.take_while(|one| one.prefix.starts_with(first));
        let blocked = from.filter(|one| one.blocked);
        let rest = blocked.filter_map(|one| rest_behind(&one.prefix, location));
        rest.filter(|rest| !rest.is_empty()).collect()
    }

    /// The prefixes whose names are refused, each with why.
    pub(super) fn refused(&self) -> BTreeMap<String, String> {
        let mut refused = BTreeMap::new();
        for (_, registry) in self.0.values() {
            let below = self.blocked_within(registry).into_iter();
            let below = below.map(|rest| format!("{}{rest}", registry.prefix));
            for name in below.chain([registry.prefix.clone()]) {
                // A wildcard is no name, and a prefix of nothing means none.
                let why = if registry.blocked && name == registry.prefix {
                    Some(BLOCKED.to_owned())
                } else {
                    self.refuses(&name, false)
                };
                refused.extend(why.map(|why| (name, why)));
            }
        }
        refused
    }
}

impl Registry {
    /// A mirror whose location is the beginning of no name.
    pub(super) fn odd_mirror(&self) -> Option<&str> {
        let locations = self.mirrors.iter().map(|mirror| mirror.location.as_str());
        let is_odd = |at: &&str| !is_full_name(at) && !is_full_name(&format!("{at}/x"));
        locations.into_iter().find(is_odd)
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

    #[test]
    fn the_longest_prefix_is_found_as_a_look_at_each_finds_it() {
        let prefixes = [
            "r.example",
            "r.example:5000",
            "r.example/team",
            "r.example/team:v1",
            "*.example",
            "*.r.example",
            "*.example.example",
            "a.r.example",
            "a.example/b",
            "*.e",
        ];
        let registry = |prefix: &str| Registry {
            prefix: prefix.to_owned(),
            location: String::new(),
            blocked: false,
            insecure: false,
            mirror_by_digest_only: false,
            mirrors: Vec::new(),
        };
        let all = prefixes.map(|prefix| (prefix.to_owned(), (String::new(), registry(prefix))));
        let all = Registries(all.into());
        for name in [
            "r.example",
            "r.example/team/x",
            "r.example/team:v1",
            "r.example/team@sha256:0",
            "r.example:5000/x",
            "b.r.example/x",
            "b.r.example:1/x",
            "a.r.example/x",
            "*.example",
            "a.example.example/x",
            "a.example.example.example/x",
            "a.e.example/x",
            "a.e:1/x",
            "a.example/b",
            "x/a.example",
            "example",
            "",
            "r.examples/x",
        ] {
            let mut longest: Option<&Registry> = None;
            for (_, one) in all.0.values() {
                let length = longest.map_or(0, |known| known.prefix.len());
                if one.prefix.len() > length && rest_behind(name, &one.prefix).is_some() {
                    longest = Some(one);
                }
            }
            let prefix = |found: Option<&Registry>| found.map(|one| one.prefix.clone());
            assert_eq!(prefix(all.of(name)), prefix(longest), "{name}");
        }
    }
}

//! Whom a targets role delegates to, for which paths (section 4.5, and TAP 15).

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

use crate::Refusal;
use crate::budget::Budget;
use crate::canonical::Text;
use crate::format::Format;
use crate::image::Digest;
use crate::refusal::shown;
use crate::role::{ListedKeys, Role};

use super::pattern;

/// The delegations of one targets file.
#[derive(Debug, Default)]
pub(super) struct Delegations {
    roles: Vec<Delegation>,
    bins: Option<Bins>,
}

/// A role on the way of a search.
#[derive(Debug, Clone)]
pub(super) struct Edge {
    pub(super) role: Role,
    /// Whether nothing that comes later may answer for a path that led here.
    pub(super) terminating: bool,
}

impl Edge {
    /// One after which others may answer too.
    pub(super) fn open(role: Role) -> Self {
        Self {
            role,
            terminating: false,
        }
    }
}

#[derive(Debug)]
struct Delegation {
    edge: Edge,
    /// Patterns of paths, or hexadecimal digits with which the SHA-256 of a path begins.
    paths: Vec<String>,
    by_hash: bool,
}

/// TAP 15: 2^`bits` roles with names that count, each for the paths whose hash begins with its
/// number.
#[derive(Debug)]
struct Bins {
    role: Role,
    bits: u8,
}

/// No name of an image is longer, and so no pattern that names one.
const PATTERN_BYTES: usize = 1024;

impl Delegations {
    pub(super) fn read(delegations: Text<'_>, file: &str) -> Result<Self, Refusal> {
        let wrong = |what: &str| Format::Tuf.malformed(file, what);
        let keys = delegations
            .get("keys")
            .filter(|keys| keys.is_object())
            .ok_or_else(|| wrong("delegations without keys"))?;
        let (roles, bins) = (delegations.get("roles"), delegations.get("succinct_roles"));
        match (roles, bins) {
            (Some(roles), None) => {
                let mut names = BTreeSet::new();
                let mut read = Vec::new();
                // Once for all: each role takes some of them.
                let mut keys = ListedKeys::of(Format::Tuf, Some(keys));
                for listing in roles
                    .elements()
                    .ok_or_else(|| wrong("delegations that are no list of roles"))?
                {
                    let delegation = Delegation::read(listing, &mut keys, file)?;
                    if !names.insert(delegation.edge.role.name.clone()) {
                        return Err(wrong(&format!(
                            "two delegations to {}",
                            shown(&delegation.edge.role.name)
                        )));
                    }
                    read.push(delegation);
                }
                Ok(Self {
                    roles: read,
                    bins: None,
                })
            }
            (None, Some(bins)) => Ok(Self {
                roles: Vec::new(),
                bins: Some(Bins::read(bins, keys, file)?),
            }),
            _ => Err(wrong(
                "delegations with neither or both of roles and succinct_roles",
            )),
        }
    }

    /// The number of bytes that are compared with a path.
    pub(super) fn matched_bytes(&self) -> usize {
        self.roles
            .iter()
            .flat_map(|delegation| &delegation.paths)
            .map(String::len)
            .sum()
    }

    /// The roles that may answer for a path, the most trusted first.
    pub(super) fn towards(&self, path: &str) -> Vec<Edge> {
        let hash = hash(path);
        let digits = Digest::from_bytes(hash).hex();
        let named = self
            .roles
            .iter()
            .filter(|delegation| delegation.covers(path, &digits))
            .map(|delegation| delegation.edge.clone());
        named
            .chain(self.bins.iter().filter_map(|bins| bins.of(&hash)))
            .collect()
    }

    /// Every role that may answer for some path that begins so, whatever its number of segments;
    /// bins one by one.
    pub(super) fn reaching(&self, prefix: &str) -> Result<Vec<Role>, Refusal> {
        let mut roles = self.named(|pattern| pattern::may_reach(pattern, prefix));
        if let Some(bins) = &self.bins {
            Budget::allow_bins(bins.bits.into())?;
            roles.extend((0..=u32::MAX >> (32 - bins.bits)).map(|number| bins.numbered(number)));
        }
        Ok(roles)
    }

    /// The roles that may answer for some path that begins so; as the error, the number of hash
    /// bins, any of which may.
    pub(super) fn may_name(&self, prefix: &str) -> Result<Vec<Role>, usize> {
        match &self.bins {
            Some(bins) => Err(1_usize.checked_shl(bins.bits.into()).unwrap_or(usize::MAX)),
            None => Ok(self.named(|pattern| pattern::may_match(pattern, prefix))),
        }
    }

    /// The roles with such a pattern; any path may have a hash that begins as one likes.
    fn named(&self, may: impl Fn(&str) -> bool) -> Vec<Role> {
        let may = |delegation: &&Delegation| {
            delegation.by_hash || delegation.paths.iter().any(|pattern| may(pattern))
        };
        let named = self.roles.iter().filter(may);
        named
            .map(|delegation| delegation.edge.role.clone())
            .collect()
    }
}

impl Delegation {
    fn read(listing: Text<'_>, keys: &mut ListedKeys<'_>, file: &str) -> Result<Self, Refusal> {
        let name = listing.get_str("name").unwrap_or_default();
        let wrong = |what: &str| {
            Format::Tuf.malformed(file, &format!("a delegation to {}: {what}", shown(&name)))
        };
        // A role of that name would take the place of another in the snapshot, or of a root's file.
        let is_of_root = |name: &str| {
            let version = name.strip_suffix(".root").unwrap_or_default();
            !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit())
        };
        if matches!(&*name, "" | "root" | "timestamp" | "snapshot" | "targets") || is_of_root(&name)
        {
            return Err(wrong("not a name for a delegated role"));
        }
        let terminating = listing
            .get("terminating")
            .and_then(Text::as_bool)
            .ok_or_else(|| wrong("no \"terminating\""))?;
        let (paths, by_hash) = match (listing.get("paths"), listing.get("path_hash_prefixes")) {
            (Some(patterns), None) => (patterns.texts(), false),
            (None, Some(prefixes)) => (prefixes.texts(), true),
            _ => (None, false),
        };
        let paths = paths.ok_or_else(|| wrong("not one list of paths or of path_hash_prefixes"))?;
        if paths.iter().any(|one| one.len() > PATTERN_BYTES) {
            return Err(wrong("a path of more than 1024 bytes"));
        }
        Ok(Self {
            edge: Edge {
                role: Role::read(&name, listing, keys, file)?,
                terminating,
            },
            paths,
            by_hash,
        })
    }

    /// Whether it is for the path, whose SHA-256 has these digits.
    fn covers(&self, path: &str, digits: &str) -> bool {
        self.paths.iter().any(|one| {
            if self.by_hash {
                digits.starts_with(one)
            } else {
                pattern::matches(one, path)
            }
        })
    }
}

impl Bins {
    fn read(listing: Text<'_>, keys: Text<'_>, file: &str) -> Result<Self, Refusal> {
        let wrong = |what: &str| Format::Tuf.malformed(file, &format!("succinct_roles: {what}"));
        let prefix = listing
            .get_str("name_prefix")
            .ok_or_else(|| wrong("no name_prefix"))?;
        let bits = listing.get_u64("bit_length");
        let bits = bits
            .and_then(|bits| u8::try_from(bits).ok())
            .filter(|bits| (1..=32).contains(bits))
            .ok_or_else(|| wrong("a bit_length that is not 1 to 32"))?;
        let keys = &mut ListedKeys::of(Format::Tuf, Some(keys));
        Ok(Self {
            role: Role::read(&prefix, listing, keys, file)?,
            bits,
        })
    }

    fn of(&self, hash: &[u8; 32]) -> Option<Edge> {
        let first = u32::from_be_bytes(hash.first_chunk().copied()?);
        Some(Edge {
            role: self.numbered(first >> (32 - self.bits)),
            terminating: true,
        })
    }

    fn numbered(&self, number: u32) -> Role {
        let width = usize::from(self.bits.div_ceil(4));
        let name = format!("{}-{number:0width$x}", self.role.name);
        Role {
            name,
            ..self.role.clone()
        }
    }
}

fn hash(path: &str) -> [u8; 32] {
    Sha256::digest(path.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(members: &str) -> Result<Delegations, Refusal> {
        let text = format!(r#"{{"keys":{{}},{members}}}"#);
        Delegations::read(Text::of(text.as_bytes()), "targets.json")
    }

    fn role(name: &str, paths: &str) -> String {
        format!(r#"{{"keyids":[],"name":"{name}",{paths},"terminating":false,"threshold":1}}"#)
    }

    fn names(edges: &[Edge]) -> Vec<&str> {
        edges.iter().map(|edge| edge.role.name.as_str()).collect()
    }

    #[test]
    fn a_key_that_many_roles_have_is_read_once() {
        let key = r#"{"keytype":"ed25519","keyval":{"public":"00"},"scheme":"ed25519"}"#;
        let role =
            |name: &str| role(name, r#""paths":[]"#).replace(r#""keyids":[]"#, r#""keyids":["k"]"#);
        let text = format!(
            r#"{{"keys":{{"k":{key}}},"roles":[{},{}]}}"#,
            role("a"),
            role("b")
        );
        let roles = Delegations::read(Text::of(text.as_bytes()), "targets.json")
            .unwrap()
            .roles;
        assert!(std::sync::Arc::ptr_eq(
            &roles[0].edge.role.keys[0],
            &roles[1].edge.role.keys[0]
        ));
    }

    #[test]
    fn roles_that_cover_a_path_come_in_their_order() {
        let digits = Digest::from_bytes(hash("r.example/app:1")).hex();
        let other = if digits.starts_with('0') { "1" } else { "0" };
        let listed = [
            role("b", r#""paths":["x","r.example/app:*"]"#),
            role(
                "hashed",
                &format!(r#""path_hash_prefixes":["{}"]"#, &digits[..3]),
            ),
            role("elsewhere", &format!(r#""path_hash_prefixes":["{other}"]"#)),
            role("none", r#""paths":[]"#),
            role("a", r#""paths":["r.example/*"]"#),
        ];
        let delegations = read(&format!(r#""roles":[{}]"#, listed.join(","))).unwrap();
        assert_eq!(
            names(&delegations.towards("r.example/app:1")),
            ["b", "hashed", "a"]
        );
        let roles = delegations.may_name("r.example/web:").unwrap();
        let edges: Vec<_> = roles.into_iter().map(Edge::open).collect();
        assert_eq!(names(&edges), ["hashed", "elsewhere", "a"]);
    }

    #[test]
    fn a_bin_is_named_by_the_first_bits_of_the_hash_and_is_terminating() {
        let digits = Digest::from_bytes(hash("r.example/app:1")).hex();
        for (bits, width) in [(1, 1), (4, 1), (5, 2), (8, 2), (16, 4), (32, 8)] {
            let bins = format!(
                r#""succinct_roles":{{"bit_length":{bits},"keyids":[],"name_prefix":"bin","threshold":1}}"#
            );
            let delegations = read(&bins).unwrap();
            let number = u64::from_str_radix(&digits[..8], 16).unwrap() >> (32 - bits);
            let edges = delegations.towards("r.example/app:1");
            assert_eq!(names(&edges), [format!("bin-{number:0width$x}")]);
            assert!(edges[0].terminating);
            assert_eq!(
                delegations.may_name("r.example/app:").unwrap_err(),
                1 << bits
            );
        }
        for bits in ["0", "33", "-1", "4294967297"] {
            let bins = format!(
                r#""succinct_roles":{{"bit_length":{bits},"keyids":[],"name_prefix":"bin","threshold":1}}"#
            );
            assert!(read(&bins).is_err(), "{bits}");
        }
    }

    #[test]
    fn as_many_bins_as_the_largest_plan_has_are_gone_through_and_of_more_only_that_is_said() {
        let reached = |bits: u32| {
            let bins = format!(
                r#""succinct_roles":{{"bit_length":{bits},"keyids":[],"name_prefix":"bin","threshold":1}}"#
            );
            read(&bins).unwrap().reaching("")
        };
        for bits in [1, 4, 13, 14] {
            assert_eq!(reached(bits).unwrap().len(), 1 << bits);
        }
        for bits in [15, 16, 31, 32] {
            let refusal = reached(bits).unwrap_err();
            assert_eq!(refusal.code.as_str(), "over-limit");
            assert_eq!(
                refusal.found,
                format!("a delegation to {} hash bins", 1_u64 << bits)
            );
            assert!(
                refusal.hint.contains("a host asks for the one of an image")
                    && !refusal.hint.contains("not honest"),
                "{}",
                refusal.hint
            );
        }
    }

    #[test]
    fn names_are_unique_and_no_top_level_roles_and_paths_are_said_one_way() {
        let paths = r#""paths":["*"]"#;
        for name in [
            "",
            "root",
            "timestamp",
            "snapshot",
            "targets",
            "1.root",
            "007.root",
        ] {
            assert!(
                read(&format!(r#""roles":[{}]"#, role(name, paths))).is_err(),
                "{name}"
            );
        }
        for name in ["root.1", "a.root", ".root"] {
            assert!(
                read(&format!(r#""roles":[{}]"#, role(name, paths))).is_ok(),
                "{name}"
            );
        }
        assert!(
            read(&format!(
                r#""roles":[{},{}]"#,
                role("a", paths),
                role("b", paths)
            ))
            .is_ok()
        );
        assert!(
            read(&format!(
                r#""roles":[{},{}]"#,
                role("a", paths),
                role("a", r#""paths":[]"#)
            ))
            .is_err()
        );
        assert!(
            read(&format!(
                r#""roles":[{}]"#,
                role("a", r#""path_hash_prefixes":["0"],"paths":["*"]"#)
            ))
            .is_err()
        );
        assert!(read(&format!(r#""roles":[{}]"#, role("a", r#""path":[]"#))).is_err());
        assert!(read(r#""x":1"#).is_err());
    }

    #[test]
    fn a_pattern_is_no_longer_than_a_name_can_be_and_all_that_is_compared_is_counted() {
        for kind in ["paths", "path_hash_prefixes"] {
            let listed = |length: usize| {
                let text = "a".repeat(length);
                let roles = role("a", &format!(r#""{kind}":["ab","{text}"]"#));
                read(&format!(r#""roles":[{roles}]"#))
            };
            assert_eq!(listed(1024).unwrap().matched_bytes(), 1026);
            assert!(listed(1025).is_err(), "{kind}");
        }
    }
}

//! Targets files: tags, and what is delegated under which paths.

use std::collections::{BTreeMap, BTreeSet};

use crate::budget::{Budget, TARGETS_BYTES};
use crate::canonical::Text;
use crate::envelope::Envelope;
use crate::format::Format;
use crate::image::Digest;
use crate::refusal::shown;
use crate::role::{ListedKeys, Role};
use crate::{Code, Refusal, Target};

/// So many roles are named in a refusal.
const SHOWN_ROLES: usize = 5;

/// The file of `targets` or of a delegation.
#[derive(Debug)]
pub(super) struct TargetsFile {
    pub(super) envelope: Envelope,
    pub(super) targets: BTreeMap<String, Target>,
    /// Names whose entries have no SHA-256, which can be no images.
    pub(super) without_sha256: Vec<String>,
}

/// A role that a targets file delegates to, with the prefixes of the names that it may give; none:
/// it may give nothing.
pub(super) type DelegatedRole = (Role, Vec<String>);

impl TargetsFile {
    /// Reads the file of that role.
    pub(super) fn read(role: &str, bytes: &[u8], budget: &mut Budget) -> Result<Self, Refusal> {
        let file = format!("{role}.json");
        let envelope = Envelope::read(Format::Notary, &file, role, bytes, TARGETS_BYTES, budget)?;
        let listed = envelope.get("targets").unwrap_or(Text::of(b"{}"));
        let listed = listed
            .members()
            .ok_or_else(|| envelope.malformed("targets that are no object"))?;
        let (mut targets, mut without_sha256) = (BTreeMap::new(), Vec::new());
        for (name, value) in listed {
            let target = target(value)
                .map_err(|what| envelope.malformed(&format!("target {}: {what}", shown(&name))))?;
            match target {
                Some(target) => drop(targets.insert(name.into_owned(), target)),
                None => without_sha256.push(name.into_owned()),
            }
        }
        Ok(Self {
            envelope,
            targets,
            without_sha256,
        })
    }

    /// All roles that this file, which is `parent`'s, delegates to.
    pub(super) fn delegations(&self, parent: &str) -> Result<Vec<DelegatedRole>, Refusal> {
        let mut keys = self.delegated_keys();
        let listings = self.listings(parent)?.into_iter();
        listings
            .map(|(name, listing)| self.delegated(&name, listing, &mut keys))
            .collect()
    }

    /// The delegation from this file, which is `parent`'s, to the role `child`.
    pub(super) fn delegation(&self, parent: &str, child: &str) -> Result<DelegatedRole, Refusal> {
        let listings = self.listings(parent)?;
        let Some((_, listing)) = listings.iter().find(|(name, _)| name == child) else {
            let names: Vec<_> = listings.iter().map(|(name, _)| shown(name)).collect();
            let few = names.get(..SHOWN_ROLES).unwrap_or(&names).join(", ");
            let found = match names.len() {
                0 => format!("no delegation of {parent}"),
                all if all > SHOWN_ROLES => {
                    format!(
                        "delegations of {parent} to {few} and {} more",
                        all - SHOWN_ROLES
                    )
                }
                _ => format!("delegations of {parent} to {few}"),
            };
            let wanted = format!("the role {child}");
            let hint = "have the publisher delegate to the role, or name another role in the policy's root";
            return Err(Refusal::new(Code::RoleMissing, found, wanted, hint));
        };
        self.delegated(child, *listing, &mut self.delegated_keys())
    }

    fn delegated_keys(&self) -> ListedKeys<'_> {
        let delegations = self.envelope.get("delegations");
        let keys = delegations.and_then(|delegations| delegations.get("keys"));
        ListedKeys::of(Format::Notary, keys)
    }

    fn delegated(
        &self,
        name: &str,
        listing: Text<'_>,
        keys: &mut ListedKeys<'_>,
    ) -> Result<DelegatedRole, Refusal> {
        let role = Role::read(name, listing, keys, &self.envelope.file)?;
        let paths = list(listing.get("paths")).texts();
        let wrong = || self.envelope.malformed("paths that are no list of text");
        Ok((role, paths.ok_or_else(wrong)?))
    }

    /// The delegated roles by name, as the file lists them; each is a direct child, and once.
    fn listings(&self, parent: &str) -> Result<Vec<(String, Text<'_>)>, Refusal> {
        let wrong = |what: &str| self.envelope.malformed(what);
        let delegations = self.envelope.get("delegations");
        let roles = list(delegations.and_then(|delegations| delegations.get("roles"))).elements();
        let roles = roles.ok_or_else(|| wrong("delegations that are no list of roles"))?;
        let (mut names, mut listings) = (BTreeSet::new(), Vec::new());
        for listing in roles {
            let name = listing.get_str("name").unwrap_or_default();
            if !is_delegation(parent, &name) {
                return Err(wrong(&format!("a delegation to {}", shown(&name))));
            }
            if !names.insert(name.clone().into_owned()) {
                return Err(wrong(&format!("two delegations to {}", shown(&name))));
            }
            listings.push((name.into_owned(), listing));
        }
        Ok(listings)
    }
}

/// A list; Go reads one that is absent or null as an empty one.
fn list(value: Option<Text<'_>>) -> Text<'_> {
    value.unwrap_or(Text::of(b"[]"))
}

/// The paths of a delegation as far as its delegator may delegate them. As Notary does: a path that
/// no path of the delegator leads is dropped whole.
pub(super) fn paths_within(paths: Vec<String>, delegator: &[String]) -> Vec<String> {
    paths
        .into_iter()
        .filter(|path| delegator.iter().any(|prefix| path.starts_with(prefix)))
        .collect()
}

/// A tag's digest and length; none for an entry without SHA-256, which can be no image.
fn target(value: Text<'_>) -> Result<Option<Target>, &'static str> {
    let Some(sha256) = value.get("hashes").and_then(|hashes| hashes.get("sha256")) else {
        return Ok(None);
    };
    let digest = sha256
        .as_str()
        .and_then(|text| Format::Notary.bytes(&text)?.try_into().ok())
        .map(Digest::from_bytes);
    Ok(Some(Target {
        digest: digest.ok_or("a sha256 that is not base64 of 32 bytes")?,
        length: value.get_u64("length").ok_or("no length")?,
        manifests: Vec::new(),
    }))
}

/// Whether a role can name images: `targets`, or a role below it, of less than 256 characters and
/// with parts of `[-a-z0-9_]+`.
#[must_use]
pub fn is_targets_role(name: &str) -> bool {
    let is_plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    let is_part = |part: &str| !part.is_empty() && part.bytes().all(is_plain);
    let mut parts = name.split('/');
    name.len() < 256 && parts.next() == Some("targets") && parts.all(is_part)
}

/// Whether a role is a direct child of the one that delegates to it.
fn is_delegation(parent: &str, name: &str) -> bool {
    let of = name.rsplit_once('/').map(|(of, _)| of);
    is_targets_role(name) && of == Some(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delegation_is_a_direct_child_with_a_plain_name() {
        assert!(is_delegation("targets", "targets/releases"));
        assert!(is_delegation("targets/a", "targets/a/b-c_1"));
        for bad in [
            "",
            "targets",
            "targets/",
            "targets/a/b",
            "targets//a",
            "targets/A",
            "targets/..",
            "other/a",
            "targetsa",
            "targets/é",
        ] {
            assert!(!is_delegation("targets", bad), "{bad}");
        }
        assert!(!is_delegation(
            "targets",
            &format!("targets/{}", "a".repeat(248))
        ));
    }
}

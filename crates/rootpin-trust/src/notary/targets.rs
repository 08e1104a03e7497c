//! Targets files: tags, and what is delegated under which paths.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::budget::{Budget, TARGETS_BYTES};
use crate::image::Digest;
use crate::json::{Members, Value};
use crate::refusal::shown;
use crate::{Code, Refusal, Target};

use super::envelope::{Envelope, list};
use super::role::Role;

/// The file of `targets` or of a delegation.
#[derive(Debug)]
pub(super) struct Targets {
    pub(super) envelope: Envelope,
    pub(super) targets: BTreeMap<String, Target>,
}

/// A role that a targets file delegates to.
#[derive(Debug)]
pub(super) struct Delegation {
    pub(super) role: Role,
    /// Prefixes of the names that it may give; none: it may give nothing.
    pub(super) paths: Vec<String>,
}

impl Targets {
    /// Reads the file of that role.
    pub(super) fn read(role: &str, bytes: &[u8], budget: &mut Budget) -> Result<Self, Refusal> {
        let envelope = Envelope::read(
            &format!("{role}.json"),
            "Targets",
            bytes,
            TARGETS_BYTES,
            budget,
        )?;
        let mut targets = BTreeMap::new();
        let listed = envelope
            .body
            .get("targets")
            .map(|listed| listed.as_object().ok_or(listed))
            .transpose();
        let listed = listed.map_err(|_| envelope.malformed("targets that are no object"))?;
        for (name, value) in listed.into_iter().flat_map(Members::iter) {
            let target = target(value)
                .map_err(|what| envelope.malformed(&format!("target {}: {what}", shown(name))))?;
            targets.extend(target.map(|target| (name.to_owned(), target)));
        }
        Ok(Self { envelope, targets })
    }

    /// What this file, which is `parent`'s, says of the role `child`.
    pub(super) fn delegation(&self, parent: &str, child: &str) -> Result<Delegation, Refusal> {
        let delegations = self.envelope.body.get("delegations");
        let listings = list(delegations.and_then(|delegations| delegations.get("roles")));
        let listings = listings.ok_or_else(|| {
            self.envelope
                .malformed("delegations that are no list of roles")
        })?;
        let mut found = None;
        let mut names = BTreeSet::new();
        for listing in listings {
            let name = listing
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or_default();
            if !is_delegation(parent, name) {
                return Err(self
                    .envelope
                    .malformed(&format!("a delegation to {}", shown(name))));
            }
            if !names.insert(name) {
                return Err(self
                    .envelope
                    .malformed(&format!("two delegations to {}", shown(name))));
            }
            if name == child {
                found = Some(listing);
            }
        }
        let Some(listing) = found else {
            let found = format!(
                "delegations of {parent} to {}",
                shown(&Vec::from_iter(names).join(" "))
            );
            let hint = "have the publisher delegate to the role, or name another role in the policy's root";
            return Err(Refusal::new(
                Code::RoleMissing,
                found,
                format!("the role {child}"),
                hint,
            ));
        };
        let role = Role::read(
            child,
            listing,
            delegations.and_then(|delegations| delegations.get("keys")),
            &self.envelope,
        )?;
        let paths = list(listing.get("paths")).and_then(|paths| {
            paths
                .iter()
                .map(|path| path.as_str().map(ToOwned::to_owned))
                .collect()
        });
        let paths =
            paths.ok_or_else(|| self.envelope.malformed("paths that are no list of text"))?;
        Ok(Delegation { role, paths })
    }
}

impl Delegation {
    /// Its paths as far as the parent may delegate them. As Notary does: a path that no path of the
    /// parent leads is dropped whole.
    pub(super) fn paths_within(self, parent: &[String]) -> Vec<String> {
        self.paths
            .into_iter()
            .filter(|path| parent.iter().any(|prefix| path.starts_with(prefix)))
            .collect()
    }
}

/// A tag's digest and length; none for an entry without SHA-256, which can be no image.
fn target(value: &Value) -> Result<Option<Target>, &'static str> {
    let Some(sha256) = value.get("hashes").and_then(|hashes| hashes.get("sha256")) else {
        return Ok(None);
    };
    let digest = sha256
        .as_str()
        .and_then(|text| STANDARD.decode(text).ok())
        .and_then(|bytes| bytes.try_into().ok())
        .map(Digest::from_bytes);
    let digest = digest.ok_or("a sha256 that is not base64 of 32 bytes")?;
    let length = value
        .get("length")
        .and_then(Value::as_u64)
        .ok_or("no length")?;
    Ok(Some(Target {
        digest,
        length,
        manifests: Vec::new(),
    }))
}

/// `^[-a-z0-9_/]+$`, below 256 characters, a clean path, and a direct child of the role that
/// delegates to it.
fn is_delegation(parent: &str, name: &str) -> bool {
    let letter = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
    };
    let child = name
        .strip_prefix(parent)
        .and_then(|rest| rest.strip_prefix('/'));
    name.len() < 256 && child.is_some_and(|child| !child.is_empty() && child.bytes().all(letter))
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

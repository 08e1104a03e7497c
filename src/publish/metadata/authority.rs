//! The keys that may sign for a role, and its threshold.

use serde_json::{Map, Value};

use super::super::document::Document;
use super::super::role_key::{RoleKey, role_keys};

/// Which keys sign for a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// The keys.
    pub keys: Vec<RoleKey>,
    /// How many must.
    pub threshold: usize,
    /// The role that says so: `root`, `targets` or a delegated one.
    pub by: String,
}

impl Authority {
    /// The IDs of its keys.
    #[must_use]
    pub fn keyids(&self) -> Vec<String> {
        self.keys.iter().map(|key| key.keyid.clone()).collect()
    }
}

/// Where the names of keys' holders stand: at the top of what is signed, for some clients write
/// anew what is below, as they know it.
pub(in super::super) const HOLDERS: &str = "x-rootpin-holders";

/// What was taken out here by hand and would else come again: paths of targets, and roles, each with
/// where it came from.
pub(in super::super) const TAKEN_OUT: &str = "x-rootpin-taken-out";

/// The roles that a targets file delegates to, as they are listed.
pub(in super::super) fn delegated(document: &Document) -> impl Iterator<Item = &Value> {
    document
        .members("delegations")
        .and_then(|delegations| delegations.get("roles")?.as_array())
        .into_iter()
        .flatten()
}

/// The name of a listed role.
pub(in super::super) fn name(listed: &Value) -> &str {
    listed
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default()
}

pub(super) fn authority(
    listed: &Value,
    keys: Option<&Map<String, Value>>,
    by: &str,
) -> Option<Authority> {
    let threshold = usize::try_from(listed.get("threshold")?.as_u64()?).ok()?;
    Some(Authority {
        keys: role_keys(listed, keys)?,
        threshold,
        by: by.to_owned(),
    })
}

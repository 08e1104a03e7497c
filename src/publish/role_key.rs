//! The keys that a file of metadata lists for a role.

use serde_json::{Map, Value};

use super::canonical_json::material;
use rootpin_trust::KeyId;

/// A key as one file lists it: other tools list the same key under other IDs and in other forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleKey {
    /// The ID by which the file names it.
    pub keyid: String,
    /// Its object; null, where the file lists none under that ID.
    pub key: Value,
    /// Its canonical ID, by which it is known; none, where its kind or scheme is not known here.
    pub id: Option<KeyId>,
}

/// The keys of a listed role, of those that its file lists.
pub(super) fn role_keys(listed: &Value, keys: Option<&Map<String, Value>>) -> Option<Vec<RoleKey>> {
    let listed = listed
        .get("keyids")?
        .as_array()?
        .iter()
        .filter_map(Value::as_str);
    let read = |keyid: &str| {
        let key = keys
            .and_then(|keys| keys.get(keyid))
            .cloned()
            .unwrap_or_default();
        RoleKey {
            keyid: keyid.to_owned(),
            id: material(keyid, &key),
            key,
        }
    };
    Some(listed.map(read).collect())
}

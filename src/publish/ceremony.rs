//! A new root on its way: one file that travels from holder to holder, until enough keys of the old
//! root and of the new one have signed.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::PublishError;
use super::document::Document;
use super::keyring::Keyring;
use super::metadata::{HOLDERS, MetadataFile};
use super::open_keys::OpenKeys;
use super::plan::Missing;
use super::role_key::{RoleKey, role_keys};
use rootpin_trust::KeyId;

/// What the file calls itself.
const KIND: &str = "rootpin root proposal";

/// A root that is proposed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootProposal {
    /// The root that it follows; none for a first one.
    pub old: Option<Document>,
    /// The new root, with the signatures so far.
    pub new: Document,
}

impl RootProposal {
    /// A proposal that nobody has signed.
    ///
    /// # Errors
    /// A term beyond all time.
    pub fn new(
        old: Option<&MetadataFile>,
        mut new: Document,
        now: Timestamp,
        term: SignedDuration,
    ) -> Result<Self, PublishError> {
        let version = old.map_or(0, |old| old.document.version()) + 1;
        new.date(version, now, term)?;
        Ok(Self {
            old: old.map(|old| old.document.clone()),
            new,
        })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It is no proposal.
    pub fn read(name: &str, bytes: &[u8]) -> Result<Self, PublishError> {
        let wrong = || {
            PublishError::wrong(
                format!("{name} is no proposal of a root"),
                "rootpin repo rotate root --propose FILE writes one",
            )
        };
        let file: Value = serde_json::from_slice(bytes).map_err(|_| wrong())?;
        if file.get("kind").and_then(Value::as_str) != Some(KIND)
            || file.get("version").and_then(Value::as_u64) != Some(1)
        {
            return Err(wrong());
        }
        let document = |member: &str| match file.get(member) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => Document::read(name, value.to_string().as_bytes()).map(Some),
        };
        let (old, new) = (document("old")?, document("new")?.ok_or_else(wrong)?);
        let is_root = |document: &Document| {
            document.signed.get("_type").and_then(Value::as_str) == Some("root")
        };
        let follows = new.version() == old.as_ref().map_or(0, Document::version) + 1;
        if !is_root(&new) || !old.as_ref().is_none_or(is_root) || !follows {
            return Err(wrong());
        }
        Ok(Self { old, new })
    }

    /// The file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let value = |document: &Document| {
            serde_json::from_slice::<Value>(&document.to_bytes()).unwrap_or_default()
        };
        let file = json!({ "kind": KIND, "version": 1, "old": self.old.as_ref().map(value), "new": value(&self.new) });
        let mut bytes = serde_json::to_vec_pretty(&file).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// The keys of a keyring that could sign and have not.
    #[must_use]
    pub fn open_keys(&self, keyring: &Keyring) -> Vec<RoleKey> {
        let open = self
            .listed()
            .into_iter()
            .filter(|key| self.new.signed_by(key).is_none());
        open.filter(|key| key.id.is_some_and(|id| keyring.signs_with(id)))
            .collect()
    }

    /// A key as the old root and the new one list it: each of its IDs once.
    #[must_use]
    pub fn listings(&self, id: KeyId) -> Vec<RoleKey> {
        self.listed()
            .into_iter()
            .filter(|key| key.id == Some(id))
            .collect()
    }

    /// The keys of both roots, each ID once.
    fn listed(&self) -> Vec<RoleKey> {
        let mut seen = BTreeSet::new();
        self.parts()
            .into_iter()
            .flat_map(root_keys)
            .filter(|key| seen.insert((key.keyid.clone(), key.id)))
            .collect()
    }

    /// Signs with these keys.
    ///
    /// # Errors
    /// A key does not sign.
    pub fn sign(
        &mut self,
        listed: &[RoleKey],
        keys: &mut OpenKeys<'_>,
    ) -> Result<(), PublishError> {
        for key in listed {
            let Some(id) = key.id else { continue };
            self.new.sign(keys.get(id)?, key)?;
        }
        Ok(())
    }

    /// What is missing: of the old root's keys, and of the new root's.
    #[must_use]
    pub fn missing(&self) -> Vec<Missing> {
        self.missing_after(&[])
    }

    /// The same, once these keys have signed.
    #[must_use]
    pub fn missing_after(&self, signing: &[RoleKey]) -> Vec<Missing> {
        let names = ["the old root", "the new root"];
        let names = if self.old.is_some() {
            &names[..]
        } else {
            names.get(1..).unwrap_or_default()
        };
        let missing = self
            .parts()
            .into_iter()
            .zip(names)
            .filter_map(|(root, name)| {
                let listed = root_keys(root);
                // By its material each key counts once, under however many IDs a root lists it.
                let mut signed: BTreeSet<KeyId> = listed
                    .iter()
                    .filter_map(|key| self.new.signed_by(key))
                    .collect();
                signed.extend(
                    listed
                        .iter()
                        .filter(|key| signing.contains(key))
                        .filter_map(|key| key.id),
                );
                let count = threshold(root).saturating_sub(signed.len());
                let open = listed
                    .into_iter()
                    .filter(|key| key.id.is_none_or(|id| !signed.contains(&id)));
                let keys = open.map(|key| key.keyid).collect();
                (count > 0).then(|| Missing {
                    role: (*name).to_owned(),
                    count,
                    keys,
                })
            });
        missing.collect()
    }

    /// Who holds a key, as either root says.
    #[must_use]
    pub fn holder(&self, keyid: &str) -> Option<String> {
        let named = |root: &Document| {
            root.members(HOLDERS)?
                .get(keyid)?
                .as_str()
                .map(str::to_owned)
        };
        // As tuf-on-ci lists a key's holder.
        let owner = |root: &Document| {
            root.members("keys")?
                .get(keyid)?
                .get("x-tuf-on-ci-keyowner")?
                .as_str()
                .map(str::to_owned)
        };
        self.parts()
            .into_iter()
            .rev()
            .find_map(|root| named(root).or_else(|| owner(root)))
    }

    /// What the new root says of each role that the old one says otherwise, in words.
    #[must_use]
    pub fn differences(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for role in super::ROLES {
            let listed = |root: Option<&Document>| {
                root.and_then(|root| root.members("roles")?.get(role).cloned())
                    .unwrap_or_default()
            };
            let (old, new) = (listed(self.old.as_ref()), listed(Some(&self.new)));
            if old == new {
                continue;
            }
            let ids = |listed: &Value| -> BTreeSet<String> {
                let ids = listed
                    .get("keyids")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten();
                ids.filter_map(Value::as_str).map(str::to_owned).collect()
            };
            let named = |keyid: &String| {
                let short: String = keyid.chars().take(8).collect();
                self.holder(keyid)
                    .map_or(short.clone(), |holder| format!("{holder} ({short})"))
            };
            let (was, is) = (ids(&old), ids(&new));
            lines.extend(
                is.difference(&was)
                    .map(|keyid| format!("+ {role}: key of {}", named(keyid))),
            );
            lines.extend(
                was.difference(&is)
                    .map(|keyid| format!("- {role}: key of {}", named(keyid))),
            );
            let number = |listed: &Value| {
                listed
                    .get("threshold")
                    .and_then(Value::as_u64)
                    .unwrap_or_default()
            };
            if number(&old) != number(&new) {
                lines.push(format!(
                    "~ {role}: {} of {} keys sign (before: {})",
                    number(&new),
                    is.len(),
                    number(&old)
                ));
            }
        }
        lines
    }

    /// What the new root says: each role, and how many of which keys sign for it.
    #[must_use]
    pub fn roles(&self) -> Vec<Vec<String>> {
        let roles = self.new.members("roles").into_iter().flatten();
        let row = |(role, listed): (&String, &Value)| {
            let ids = listed
                .get("keyids")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str);
            let keys: Vec<_> = ids
                .map(|keyid| {
                    self.holder(keyid)
                        .map_or(keyid.to_owned(), |holder| format!("{holder} ({keyid})"))
                })
                .collect();
            vec![
                format!("  {role}"),
                format!(
                    "{} of {}",
                    listed.get("threshold").unwrap_or(&Value::Null),
                    keys.join(", ")
                ),
            ]
        };
        roles.map(row).collect()
    }

    fn parts(&self) -> Vec<&Document> {
        self.old.iter().chain([&self.new]).collect()
    }
}

fn root_keys(root: &Document) -> Vec<RoleKey> {
    let role = root.members("roles").and_then(|roles| roles.get("root"));
    role.and_then(|role| role_keys(role, root.members("keys")))
        .unwrap_or_default()
}

fn threshold(root: &Document) -> usize {
    let role = root
        .members("roles")
        .and_then(|roles| roles.get("root")?.get("threshold")?.as_u64());
    role.and_then(|threshold| usize::try_from(threshold).ok())
        .unwrap_or(usize::MAX)
}

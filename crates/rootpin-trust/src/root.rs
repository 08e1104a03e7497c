//! One root file of either format: the roles, their keys and their thresholds.

use std::collections::{BTreeMap, BTreeSet};

use crate::budget::{Budget, ROOT_BYTES};
use crate::canonical::Text;
use crate::envelope::Envelope;
use crate::format::Format;
use crate::role::{ListedKeys, Role};
use crate::{Code, KeyId, PublicKey, Refusal, Request};

/// One root file, read but not judged.
#[derive(Debug)]
pub(crate) struct Root {
    pub(crate) envelope: Envelope,
    /// The root role.
    pub(crate) role: Role,
    /// The other top-level roles, by name.
    pub(crate) others: BTreeMap<&'static str, Role>,
    /// Whether files have their version in their name (section 6.2).
    pub(crate) consistent: bool,
}

/// A chain grows with the years.
const LONG: &str = "pin a later root file of the publisher's, from which fewer follow";

impl Root {
    pub(crate) fn read(
        format: Format,
        file: &str,
        bytes: &[u8],
        budget: &mut Budget,
    ) -> Result<Self, Refusal> {
        let long = |refusal| match format {
            Format::Notary => refusal,
            Format::Tuf => Refusal {
                hint: LONG.to_owned(),
                ..refusal
            },
        };
        budget.take_root().map_err(long)?;
        let envelope = Envelope::read(format, file, "root", bytes, ROOT_BYTES, budget)?;
        let (keys, listed) = (envelope.get("keys"), envelope.get("roles"));
        if format == Format::Tuf && !keys.is_some_and(Text::is_object) {
            return Err(envelope.malformed("no \"keys\""));
        }
        let mut keys = ListedKeys::of(format, keys);
        let mut read = |name: &str| {
            let listing = listed.and_then(|roles| roles.get(name));
            listing
                .map(|listing| Role::read(name, listing, &mut keys, file))
                .transpose()
        };
        let role = read("root")?.ok_or_else(|| envelope.malformed("no role root"))?;
        if format == Format::Notary && role.keys.is_empty() {
            return Err(envelope.malformed("a root role without keys"));
        }
        let mut others = BTreeMap::new();
        for name in ["snapshot", "targets", "timestamp"] {
            match read(name)? {
                Some(role) => {
                    others.insert(name, role);
                }
                None if format == Format::Notary => {}
                None => return Err(envelope.malformed(&format!("no role {name}"))),
            }
        }
        let consistent = envelope
            .get("consistent_snapshot")
            .filter(|_| format == Format::Tuf)
            .map_or(Some(false), Text::as_bool);
        let consistent = consistent.ok_or_else(|| {
            envelope.malformed("a consistent_snapshot that is neither true nor false")
        })?;
        Ok(Self {
            envelope,
            role,
            others,
            consistent,
        })
    }

    /// A role other than root, as this file lists it.
    pub(crate) fn role(&self, name: &str) -> Result<&Role, Refusal> {
        self.others.get(name).ok_or_else(|| {
            let found = format!("{} without it", self.envelope.shown());
            let hint = "the repository is not complete; ask its publisher";
            Refusal::new(Code::RoleMissing, found, format!("the role {name}"), hint)
        })
    }

    /// All keys that the file lists, also those that no role has: Notary leaves former root
    /// certificates where they were.
    pub(crate) fn all_keys(&self) -> Vec<PublicKey> {
        ListedKeys::of(self.envelope.format, self.envelope.get("keys")).all()
    }

    /// The file of a TUF role, with its version in its name where snapshots are consistent.
    pub(crate) fn request(&self, role: &str, version: u64) -> Request {
        Request::versioned(role, self.consistent.then_some(version))
    }

    /// Refuses a file of another version than the next one (section 5.3.5). Off-spec: Notary takes
    /// any version that is not lower.
    pub(crate) fn check_follows(&self, before: &Self) -> Result<(), Refusal> {
        let (found, wanted) = (self.envelope.version, before.next_version());
        if found == wanted {
            return Ok(());
        }
        Err(self
            .envelope
            .malformed(&format!("version {found}, wanted {wanted}")))
    }

    pub(crate) fn next_version(&self) -> u64 {
        self.envelope.version.saturating_add(1)
    }

    /// Refuses a root role with a key that the policy revokes.
    pub(crate) fn check_revoked(&self, revoked: &BTreeSet<KeyId>) -> Result<(), Refusal> {
        let keys = self.role.keys.iter();
        let listed = keys.filter(|key| key.is_revoked(revoked));
        let listed: BTreeSet<KeyId> = listed.map(|key| key.id()).collect();
        if listed.is_empty() {
            return Ok(());
        }
        let found = format!(
            "{} whose root role lists the revoked key {}",
            self.envelope.shown(),
            KeyId::list(&listed)
        );
        let hint = "have the publisher rotate the root key";
        Err(Refusal::new(
            Code::Revoked,
            found,
            "a root role without it",
            hint,
        ))
    }
}

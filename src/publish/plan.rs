//! The plan of a change: which keys sign which roles. A person sees it before a passphrase is asked for.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::PublishError;
use super::document::{Document, listing};
use super::draft::Draft;
use super::key::SigningError;
use super::keyring::Keyring;
use super::metadata::{Authority, Metadata, MetadataFile};
use super::open_keys::OpenKeys;
use super::role_key::RoleKey;
use super::settings::Settings;
use rootpin_trust::KeyId;

/// What is signed, in this order.
#[derive(Debug)]
pub struct SigningPlan {
    /// The targets roles, `targets` first.
    pub roles: Vec<FileToSign>,
    /// Snapshot and timestamp, where their keys are at hand and something of theirs changes.
    pub online: Vec<FileToSign>,
    /// Why they are not signed though they should be.
    pub offline: Option<Missing>,
    /// Roles to which nothing delegates any more: what waited for them is dropped.
    pub dropped: Vec<String>,
    next: Metadata,
    /// By role, a version that is taken.
    taken: BTreeMap<String, u64>,
}

/// One file to sign.
#[derive(Debug)]
pub struct FileToSign {
    /// The role.
    pub role: String,
    /// The file, dated. The snapshot and the timestamp get what they list when it is known.
    pub document: Document,
    /// The keys that sign here.
    pub keys: Vec<RoleKey>,
    /// What is missing then; the file waits for that.
    pub missing: Option<Missing>,
}

/// Signatures that are missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The role.
    pub role: String,
    /// How many.
    pub count: usize,
    /// IDs of the keys that could, and have not.
    pub keys: Vec<String>,
}

impl SigningPlan {
    /// The roles that a key signs here.
    pub(super) fn signing_roles(&self) -> BTreeSet<String> {
        self.steps()
            .filter(|step| !step.keys.is_empty())
            .map(|step| step.role.clone())
            .collect()
    }

    /// Plans what the keys at hand can sign of a draft.
    ///
    /// # Errors
    /// A role that nothing speaks for, or a term beyond all time.
    pub fn of(
        draft: Draft,
        keyring: &Keyring,
        settings: &Settings,
        now: Timestamp,
    ) -> Result<Self, PublishError> {
        let Draft {
            before,
            next,
            mut edited,
            renew,
            approved,
            taken,
        } = draft;
        let other_keys =
            |role: &str, next: &Metadata| before.authority(role) != next.authority(role);
        // A new root alone is listed nowhere.
        let rekeyed = other_keys("snapshot", &next) || other_keys("timestamp", &next);
        let mut changed = renew || rekeyed;
        let mut plan = Self {
            roles: Vec::new(),
            online: Vec::new(),
            offline: None,
            dropped: Vec::new(),
            next,
            taken,
        };
        let open = plan
            .next
            .waiting
            .keys()
            .filter(|role| !edited.contains_key(*role))
            .cloned()
            .collect::<Vec<_>>();
        // `targets` first: whom it delegates to counts for what comes after.
        let mut names: Vec<String> = edited.keys().cloned().chain(open).collect();
        names.sort_by_key(|name| (name != "targets", name.clone()));
        for role in names {
            let document = edited.remove(&role);
            let approved = document.is_some() || approved.contains(&role);
            plan.plan_role(role, document, approved, &before, (keyring, settings, now))?;
        }
        for role in roles_with_other_keys(&before, &plan.next, keyring) {
            if !plan.roles.iter().any(|step| step.role == role) {
                let document = plan.next.roles.get(&role).map(|file| file.document.clone());
                plan.plan_role(role, document, true, &before, (keyring, settings, now))?;
            }
        }
        let lacks = match plan.roles.iter().find(|step| step.role == "targets") {
            Some(step) => step.missing.clone(),
            None => plan.next.roles.get("targets").and_then(|file| {
                signing(
                    "targets",
                    &file.document,
                    &before,
                    &plan.next,
                    keyring,
                    false,
                )?
                .1
            }),
        };
        if let Some(missing) = lacks.filter(|_| other_keys("targets", &plan.next)) {
            return Err(PublishError::wrong(
                format!(
                    "the new root gives targets other keys, of which {} more must sign it",
                    missing.count
                ),
                format!("do this where they are: {}", plan.next.named(&missing.keys)),
            ));
        }
        changed |= plan.next.roles != before.roles;
        if changed {
            plan.plan_online(&before, keyring, settings, now)?;
        }
        if let Some(missing) = &plan.offline {
            if rekeyed || renew {
                let why = if rekeyed {
                    "the new root gives it other keys"
                } else {
                    "it is to be renewed"
                };
                return Err(PublishError::wrong(
                    format!("no key of the {} is here, and {why}", missing.role),
                    format!("do this where one is: {}", plan.next.named(&missing.keys)),
                ));
            }
            plan.set_aside(&before);
        }
        Ok(plan)
    }

    /// Signs all, and gives the repository as it is then.
    ///
    /// # Errors
    /// A key does not sign.
    pub fn sign(self, keys: &mut OpenKeys<'_>) -> Result<Metadata, PublishError> {
        let Self {
            roles,
            online,
            mut next,
            offline,
            ..
        } = self;
        let waits = offline.is_some();
        for FileToSign {
            role,
            mut document,
            keys: signers,
            missing,
        } in roles
        {
            sign(&mut document, &signers, keys)?;
            if missing.is_none() && !waits {
                next.roles.insert(role, MetadataFile::of(document));
            } else {
                next.waiting.insert(role, MetadataFile::of(document));
            }
        }
        for FileToSign {
            role,
            mut document,
            keys: signers,
            ..
        } in online
        {
            let (name, meta) = if role == "snapshot" {
                ("meta", Value::Object(next.meta()))
            } else {
                let snapshot = &next.snapshot;
                (
                    "meta",
                    json!({ "snapshot.json": listing(snapshot.document.version(), &snapshot.bytes) }),
                )
            };
            document.signed.insert(name.to_owned(), meta);
            sign(&mut document, &signers, keys)?;
            let place = if role == "snapshot" {
                &mut next.snapshot
            } else {
                &mut next.timestamp
            };
            *place = MetadataFile::of(document);
        }
        Ok(next)
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.roles.is_empty() && self.online.is_empty()
    }

    /// Every file that is signed.
    pub fn steps(&self) -> impl Iterator<Item = &FileToSign> {
        self.roles.iter().chain(&self.online)
    }

    /// The repository as it is to be, before it is signed.
    #[must_use]
    pub fn next(&self) -> &Metadata {
        &self.next
    }

    /// Plans a role that is to be signed anew (`edited`), or one that waits.
    fn plan_role(
        &mut self,
        role: String,
        edited: Option<Document>,
        signs: bool,
        before: &Metadata,
        (keyring, settings, now): (&Keyring, &Settings, Timestamp),
    ) -> Result<(), PublishError> {
        let document = match edited {
            // Whoever was cut off may have signed on: that must not keep others from publishing.
            None if self.next.authority(&role).is_none() => {
                self.next.waiting.remove(&role);
                self.dropped.push(role);
                return Ok(());
            }
            Some(mut document) => {
                let versions = [self.next.newest(&role), before.roles.get(&role)]
                    .into_iter()
                    .flatten()
                    .map(|file| file.document.version());
                document.date(
                    versions
                        .chain(self.taken.get(&role).copied())
                        .max()
                        .unwrap_or_default()
                        + 1,
                    now,
                    settings.term(&role),
                )?;
                document
            }
            None => match self.next.waiting.get(&role) {
                Some(file) => file.document.clone(),
                None => return Ok(()),
            },
        };
        let Some((keys, missing)) = signing(&role, &document, before, &self.next, keyring, signs)
        else {
            return Err(PublishError::wrong(
                format!("no role delegates to {role}"),
                "see rootpin repo delegate list",
            ));
        };
        // The signed one takes its place; but what it delegates counts for the roles that are
        // planned after it.
        self.next.waiting.remove(&role);
        let place = if missing.is_none() {
            &mut self.next.roles
        } else {
            &mut self.next.waiting
        };
        place.insert(role.clone(), MetadataFile::of(document.clone()));
        self.roles.push(FileToSign {
            role,
            document,
            keys,
            missing,
        });
        Ok(())
    }

    fn plan_online(
        &mut self,
        before: &Metadata,
        keyring: &Keyring,
        settings: &Settings,
        now: Timestamp,
    ) -> Result<(), PublishError> {
        for (role, last) in [
            ("snapshot", &before.snapshot),
            ("timestamp", &before.timestamp),
        ] {
            let mut document = last.document.clone();
            let taken = self.taken.get(role).copied().unwrap_or_default();
            document.date(
                last.document.version().max(taken) + 1,
                now,
                settings.term(role),
            )?;
            let Some((keys, missing)) = signing(role, &document, before, &self.next, keyring, true)
            else {
                continue;
            };
            if missing.is_some() {
                self.offline = missing;
                self.online.clear();
                return Ok(());
            }
            self.online.push(FileToSign {
                role: role.to_owned(),
                document,
                keys,
                missing,
            });
        }
        Ok(())
    }

    /// Without the snapshot's key what is signed waits for it: the snapshot lists what it did
    /// before.
    fn set_aside(&mut self, before: &Metadata) {
        let roles = std::mem::replace(&mut self.next.roles, before.roles.clone());
        for (role, file) in roles
            .into_iter()
            .filter(|(role, file)| before.roles.get(role) != Some(file))
        {
            self.next.waiting.insert(role, file);
        }
    }
}

/// Which keys at hand sign for a role (none, where nobody here has looked at what waits), and what
/// is missing then. Under a new root those of the old one sign as well, as far as they are at hand,
/// so that a reader between the two finds what holds under both.
fn signing(
    role: &str,
    document: &Document,
    before: &Metadata,
    next: &Metadata,
    keyring: &Keyring,
    signs: bool,
) -> Option<(Vec<RoleKey>, Option<Missing>)> {
    let authority = next.authority(role)?;
    let (mut keys, missing) = needed(role, document, &authority, keyring, signs);
    let old = before
        .authority(role)
        .filter(|old| *old != authority && old.by == "root");
    if let Some(old) = old {
        let (more, _) = needed(role, document, &old, keyring, signs);
        keys.extend(
            more.into_iter()
                .filter(|key| !keys.contains(key))
                .collect::<Vec<_>>(),
        );
    }
    Some((keys, missing))
}

fn needed(
    role: &str,
    document: &Document,
    authority: &Authority,
    keyring: &Keyring,
    signs: bool,
) -> (Vec<RoleKey>, Option<Missing>) {
    let have = Metadata::signers(authority, document);
    // A key that is listed twice, under two IDs, signs once.
    let mut seen: BTreeSet<KeyId> = have.iter().filter_map(|key| key.id).collect();
    let open: Vec<&RoleKey> = authority
        .keys
        .iter()
        .filter(|key| key.id.is_none_or(|id| seen.insert(id)))
        .collect();
    let lacking = authority.threshold.saturating_sub(have.len());
    let wanted = if signs { lacking } else { 0 };
    let keys: Vec<RoleKey> = open
        .iter()
        .filter(|key| at_hand(keyring, key))
        .take(wanted)
        .map(|key| (*key).clone())
        .collect();
    let count = lacking - keys.len();
    let rest = open
        .into_iter()
        .filter(|key| !keys.contains(key))
        .map(|key| key.keyid.clone())
        .collect();
    (
        keys,
        (count > 0).then(|| Missing {
            role: role.to_owned(),
            count,
            keys: rest,
        }),
    )
}

/// Roles whose keys were changed by their delegator: they are signed anew, if a new key is at hand.
fn roles_with_other_keys(before: &Metadata, next: &Metadata, keyring: &Keyring) -> Vec<String> {
    let other = |role: &&String| match (before.authority(role), next.authority(role)) {
        (Some(old), Some(new)) => old != new && new.keys.iter().any(|key| at_hand(keyring, key)),
        _ => false,
    };
    next.roles.keys().filter(other).cloned().collect()
}

fn at_hand(keyring: &Keyring, key: &RoleKey) -> bool {
    key.id.is_some_and(|id| keyring.signs_with(id))
}

fn sign(
    document: &mut Document,
    signers: &[RoleKey],
    keys: &mut OpenKeys<'_>,
) -> Result<(), PublishError> {
    let signers: BTreeMap<&str, &RoleKey> = signers
        .iter()
        .map(|key| (key.keyid.as_str(), key))
        .collect();
    for key in signers.into_values() {
        let id = key.id.ok_or_else(|| {
            SigningError::Unusable(format!(
                "the key {} is of a kind that is not known here",
                key.keyid
            ))
        })?;
        document.sign(keys.get(id)?, key)?;
    }
    Ok(())
}

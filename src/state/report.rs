//! Reports of the state and of forgotten parts of it, as the JSON that `rootpin state` prints.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::cache::Cache;
use super::{ForgottenTimes, Overview, Scope, StateError, Store, key_sets};
use rootpin_trust::image::{Digest, Repository};
use rootpin_trust::{Floor, KeyId, Subject};

/// The object of `rootpin state show --json`.
#[must_use]
pub(crate) fn overview_json(overview: &Overview) -> Value {
    let mut sets = ShownSets::default();
    let repositories: Vec<_> = overview
        .repositories
        .iter()
        .map(|seen| {
            json!({
                "name": seen.subject.to_string(),
                "floors": sets.floors(&seen.floors),
                "statements": seen.statements.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "signers": seen.signers.iter().map(ToString::to_string).collect::<Vec<_>>(),
            })
        })
        .collect();
    let contacts = overview.contacts.iter();
    let contacts = contacts
        .map(|contact| json!({ "source": contact.source, "repository": contact.subject.to_string(), "at": contact.at.to_string() }));
    let admitted = overview.rows.iter().map(|(digest, row)| {
        json!({
            "digest": digest.to_string(),
            "name": row.name.to_string(),
            "top": row.top.to_string(),
            "policy": row.policy.to_string(),
            "valid_until": row.valid_until.to_string(),
            "rule": row.rule,
        })
    });
    json!({
        "version": 1,
        "repositories": repositories,
        "key_sets": sets.json(),
        "contacts": contacts.collect::<Vec<_>>(),
        "admitted": admitted.collect::<Vec<_>>(),
    })
}

/// Forgets the times that can't be right where the clock is right. Returns the object of `rootpin
/// state reset --contacts --json`.
///
/// # Errors
/// The state is unusable.
pub(crate) fn forget_contacts(
    store: &Store,
    now: Timestamp,
    dry_run: bool,
) -> Result<Value, StateError> {
    let ForgottenTimes {
        contacts,
        first_seen,
    } = store.reset_contacts(now, dry_run)?;
    let contact = |(source, subject, at): &(String, Subject, Timestamp)| json!({ "source": source, "repository": subject.to_string(), "at": at.to_string() });
    let seen = |(subject, role, at): &(Subject, String, Timestamp)| json!({ "repository": subject.to_string(), "role": role, "at": at.to_string() });
    Ok(json!({
        "version": 1,
        "dry_run": dry_run,
        "contacts": contacts.iter().map(contact).collect::<Vec<_>>(),
        "first_seen": first_seen.iter().map(seen).collect::<Vec<_>>(),
    }))
}

/// Forgets what was seen under a root of the policy, and what is cached of it; or only says what that is.
/// Returns the object of `rootpin state reset --json`.
///
/// # Errors
/// The state is unusable.
pub(crate) fn forget_root(
    store: &Store,
    owns: &dyn Fn(&Floor) -> bool,
    dry_run: bool,
) -> Result<Value, StateError> {
    forget(store, Scope::Floors(owns), dry_run)
}

/// The same for a repository of a Notary server.
///
/// # Errors
/// The state is unusable.
pub(crate) fn forget_repository(
    store: &Store,
    repository: &Repository,
    dry_run: bool,
) -> Result<Value, StateError> {
    let subject = Subject::Gun(repository.clone());
    forget(store, Scope::Repository(&subject), dry_run)
}

fn forget(store: &Store, scope: Scope<'_>, dry_run: bool) -> Result<Value, StateError> {
    let forgotten = store.reset(scope, dry_run)?;
    let cache = Cache::new(store.directory()).ok().filter(|_| !dry_run);
    for repository in &forgotten.repositories {
        for source in &repository.contacts {
            if let Some(Err(error)) = cache
                .as_ref()
                .map(|cache| cache.forget(source, &repository.subject))
            {
                log::warn!(
                    "the cached metadata of {} stays: {error}",
                    repository.subject
                );
            }
        }
    }
    let mut sets = ShownSets::default();
    let repositories: Vec<_> = forgotten
        .repositories
        .iter()
        .map(|one| {
            json!({
                "name": one.subject.to_string(),
                "floors": sets.floors(&one.floors),
                "statements": one.statements,
                "contacts": one.contacts,
            })
        })
        .collect();
    Ok(
        json!({ "version": 1, "dry_run": dry_run, "forgotten": repositories, "key_sets": sets.json(), "admitted": forgotten.rows }),
    )
}

/// The large sets of root keys that shown floors belong to: each is shown once, by its name.
#[derive(Default)]
struct ShownSets<'a> {
    by_name: BTreeMap<Digest, &'a BTreeSet<KeyId>>,
    last: Option<(&'a Arc<BTreeSet<KeyId>>, Digest)>,
}

impl<'a> ShownSets<'a> {
    fn floors(&mut self, floors: &'a [Floor]) -> Vec<Value> {
        floors
            .iter()
            .map(|one| floor(one, self.name(&one.root_keys)))
            .collect()
    }

    fn name(&mut self, keys: &'a Arc<BTreeSet<KeyId>>) -> Option<Digest> {
        // Neighbours share theirs.
        if let Some((last, name)) = self.last
            && Arc::ptr_eq(last, keys)
        {
            return Some(name);
        }
        let name = key_sets::name(keys)?;
        self.by_name.insert(name, keys);
        self.last = Some((keys, name));
        Some(name)
    }

    fn json(&self) -> Value {
        let sets = self.by_name.iter();
        sets.map(|(name, keys)| (name.to_string(), json!(ids(keys))))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }
}

fn ids(keys: &BTreeSet<KeyId>) -> Vec<String> {
    keys.iter().map(ToString::to_string).collect()
}

/// `set`: the name under which its root keys are shown, where they are too many to be shown here.
fn floor(floor: &Floor, set: Option<Digest>) -> Value {
    json!({
        "role": floor.role,
        "version": floor.version,
        "signed": floor.signed.to_string(),
        "root_keys": set.is_none().then(|| ids(&floor.root_keys)),
        "root_key_set": set.map(|name| name.to_string()),
        "roots": floor.owner.as_ref().map(|owner| &owner.ids),
        "pin": floor.owner.as_ref().map(|owner| owner.pin.to_string()),
        "keys": ids(&floor.keys),
        "threshold": floor.threshold,
        "listed": floor.listed.iter().map(|(role, listed)| (role.clone(), json!(listed.version))).collect::<serde_json::Map<_, _>>(),
        "since": floor.since.map(|since| since.to_string()),
    })
}

//! Reports of the state and of forgotten parts of it, as the JSON that `rootpin state` prints.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::cache::Cache;
use super::{ForgottenTimes, Overview, Scope, StateError, Store};
use rootpin_trust::image::Repository;
use rootpin_trust::{Floor, KeyId, Subject};

/// The object of `rootpin state show --json`.
#[must_use]
pub(crate) fn overview_json(overview: &Overview) -> Value {
    let repositories = overview.repositories.iter().map(|seen| {
        json!({
            "name": seen.subject.to_string(),
            "floors": seen.floors.iter().map(floor).collect::<Vec<_>>(),
            "statements": seen.statements.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "signers": seen.signers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })
    });
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
        "repositories": repositories.collect::<Vec<_>>(),
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
    let repositories = forgotten.repositories.iter().map(|one| {
        json!({
            "name": one.subject.to_string(),
            "floors": one.floors.iter().map(floor).collect::<Vec<_>>(),
            "statements": one.statements,
            "contacts": one.contacts,
        })
    });
    Ok(
        json!({ "version": 1, "dry_run": dry_run, "forgotten": repositories.collect::<Vec<_>>(), "admitted": forgotten.rows }),
    )
}

fn floor(floor: &Floor) -> Value {
    let ids = |keys: &BTreeSet<KeyId>| keys.iter().map(ToString::to_string).collect::<Vec<_>>();
    json!({
        "role": floor.role,
        "version": floor.version,
        "signed": floor.signed.to_string(),
        "root_keys": ids(&floor.root_keys),
        "roots": floor.owner.as_ref().map(|owner| &owner.ids),
        "pin": floor.owner.as_ref().map(|owner| owner.pin.to_string()),
        "keys": ids(&floor.keys),
        "threshold": floor.threshold,
        "listed": floor.listed.iter().map(|(role, listed)| (role.clone(), json!(listed.version))).collect::<serde_json::Map<_, _>>(),
        "since": floor.since.map(|since| since.to_string()),
    })
}

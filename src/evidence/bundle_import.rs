//! Taking up a bundle: judged as any other source, under the policy's pins and what this host has
//! seen, and kept for as long as no place answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::drive::VerifiedUpdates;
use super::keep::lost;
use super::tuf::{TufAtHand, origin};
use super::{MetadataOrigin, Repositories};
use crate::sources::Bundle;
use crate::state::Additions;
use rootpin_policy::{Policy, Root, RootKind, TufRoot};
use rootpin_trust::tuf::{Sweep, Trusted, Update};
use rootpin_trust::{
    Answer, Code, FetchFrom, Progress, Refusal, Request, Step, Subject, Verification, Verified,
    Want,
};

/// What was taken up for one root.
#[derive(Debug)]
pub(crate) struct ImportedRoot {
    /// The root's ID in the policy.
    pub(crate) root: String,
    /// Version by role, of all that holds.
    pub(crate) versions: BTreeMap<String, u64>,
    /// When the first of the top-level roles expires.
    pub(crate) expires: Timestamp,
    /// The contact that it counts as: when this host first saw this version of the timestamp.
    pub(crate) contact: Timestamp,
    /// How many files are new to this host.
    pub(crate) files: usize,
    /// Roles in the bundle that don't hold, and why. Nothing is allowed by them.
    pub(crate) failed: BTreeMap<String, Refusal>,
    /// Roles that are not in the bundle, as in one that was made for some names only.
    pub(crate) absent: BTreeSet<String>,
}

impl ImportedRoot {
    /// One of the `roots` in the object of `rootpin bundle import --json`.
    #[must_use]
    pub(crate) fn json(&self) -> Value {
        let failed = self.failed.iter().map(|(role, refusal)| {
            let Refusal { code, found, wanted, hint, .. } = refusal;
            json!({ "role": role, "code": code.as_str(), "found": found, "wanted": wanted, "hint": hint })
        });
        json!({
            "id": self.root,
            "versions": self.versions,
            "expires": self.expires.to_string(),
            "contact": self.contact.to_string(),
            "new_files": self.files,
            "failed": failed.collect::<Vec<_>>(),
            "absent": self.absent,
        })
    }
}

impl Repositories {
    /// Takes up a bundle: for the root with that ID, or for each that the bundle's root files come
    /// from. Floors, files and the contact are kept; of a bundle that doesn't hold as a whole what
    /// was verified binds, and nothing else is kept.
    ///
    /// # Errors
    /// It is for no root of the policy, or doesn't hold; or what was verified can't be kept.
    pub(crate) async fn import(
        self: &Arc<Self>,
        policy: Arc<Policy>,
        bundle: Arc<Bundle>,
        root: Option<String>,
        now: Timestamp,
    ) -> Result<Vec<ImportedRoot>, Refusal> {
        let repositories = Arc::clone(self);
        let work = move || {
            if bundle.is_of_signatures() {
                let roots = signature_roots(&policy, root.as_deref());
                return repositories.import_signatures(&policy, &roots, &bundle, now);
            }
            let roots = roots_for(&policy, root.as_deref(), &bundle, now)?;
            roots
                .into_iter()
                .map(|(root, tuf)| import(&repositories, &policy, root, tuf, &bundle, now))
                .collect()
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| lost(&error))?
    }
}

/// The roots that a bundle of signatures may be for.
fn signature_roots<'a>(policy: &'a Policy, id: Option<&str>) -> Vec<&'a Root> {
    let all = policy.roots.values().map(AsRef::as_ref);
    let all = all.filter(|root: &&Root| !root.lists_tags());
    all.filter(|root| id.is_none_or(|id| root.id == id))
        .collect()
}

/// The roots that a bundle is for: whose pinned file is in it, or whose next root it has.
fn roots_for<'a>(
    policy: &'a Policy,
    id: Option<&str>,
    bundle: &Bundle,
    now: Timestamp,
) -> Result<Vec<(&'a Root, &'a TufRoot)>, Refusal> {
    let all = policy.roots.values().filter_map(|root| match &root.kind {
        RootKind::Tuf(tuf) => Some((root.as_ref(), tuf)),
        RootKind::Notary(_) | RootKind::Cosign(_) | RootKind::Notation(_) => None,
    });
    let roots: Vec<_> = all
        .filter(|(root, tuf)| {
            id.map_or_else(
                || descends(policy, root, tuf, bundle, now),
                |id| root.id == id,
            )
        })
        .collect();
    match id {
        _ if !roots.is_empty() => Ok(roots),
        Some(id) => Err(Refusal::new(
            Code::PolicyUnusable,
            format!("no root {id:?} of type \"tuf\" in the policy"),
            "a root that the bundle is for",
            "`rootpin pin list` shows the roots; without --root the bundle is known by its own root files",
        )),
        None => Err(Refusal::new(
            Code::RootNotPinned,
            format!(
                "{}, whose root files come from no root of the policy",
                bundle.shown()
            ),
            "a bundle of a repository whose root the policy pins",
            "check which root the bundle was exported for; --root ID says what stands against that one",
        )),
    }
}

/// Whether the bundle's root files come from this pinned one.
fn descends(policy: &Policy, root: &Root, tuf: &TufRoot, bundle: &Bundle, now: Timestamp) -> bool {
    let pinned = tuf.pinned.bytes();
    if bundle
        .get(
            &Request::root(tuf.pinned.version()).file_name(),
            pinned.len(),
        )
        .is_ok_and(|found| found.as_deref() == Some(pinned))
    {
        return true;
    }
    let pins = tuf.pins(root, policy.revoked_keys());
    let mut update = Update::start(&pins, Vec::new(), None, now);
    let (mut answer, mut taken) = (None, false);
    loop {
        match update.next(answer.take()) {
            Ok(Step::Fetch(want)) if want.request.is_root_version() => {
                if taken {
                    return true;
                }
                if want.from == FetchFrom::Cache {
                    answer = Some(Answer::Missing);
                } else {
                    taken = true;
                    answer = bundle
                        .get(&want.request.file_name(), want.max_bytes)
                        .ok()
                        .map(Answer::from);
                }
            }
            _ => return false,
        }
    }
}

fn import(
    repositories: &Repositories,
    policy: &Policy,
    root: &Root,
    tuf: &TufRoot,
    bundle: &Bundle,
    now: Timestamp,
) -> Result<ImportedRoot, Refusal> {
    // Questions about this root wait, and then see what was taken up.
    let slot = repositories.tuf.get((policy.hash, root.id.clone()));
    let mut slot = slot.blocking_lock();
    let origin = origin(&root.id);
    // A clock that went back judges no expiry.
    let contact_before = repositories.contact(&origin, None, now)?;
    let floors = repositories
        .store
        .history(&origin.subject)
        .map_err(|error| error.refusal())?;
    let mut absent = BTreeSet::new();
    let mut fetch = |want: &Want| {
        if want.from == FetchFrom::Cache {
            return Ok(repositories
                .cached(&origin, &want.request.cache_name())
                .into());
        }
        let found = bundle
            .get(&want.request.file_name(), want.max_bytes)
            .map_err(|error| error.refusal())?;
        let role = want.request.role.as_str();
        if found.is_none() && !matches!(role, "root" | "timestamp" | "snapshot") {
            absent.insert(role.to_owned());
        }
        Ok(found.into())
    };
    let pins = tuf.pins(root, policy.revoked_keys());
    let mut updates = VerifiedUpdates::of_tuf(repositories.unkept(now), &origin);
    let update = Update::start(&pins, floors.clone(), None, now);
    let top_level = updates.run(update, &mut fetch);
    let swept = top_level.and_then(|trusted| {
        let sweep = Sweep::start(&trusted, "", now)?;
        updates.run(sweep, &mut fetch)
    });
    let commit = |verified: &[Verified<Progress>], contacts| {
        let additions = Additions {
            now,
            verified: verified.iter().collect(),
            contacts,
            rows: Vec::new(),
        };
        let committed = repositories.writer.write(&additions);
        committed.map_err(|error| error.refusal())
    };
    let swept = match swept {
        Ok(swept) => swept,
        // What was seen binds, or a bundle that breaks off would be a way to have it forgotten. The
        // cached set is too old from then on: it answers from memory.
        Err(refusal) => {
            if let (None, Some(contact)) = (slot.as_ref(), contact_before) {
                let mut update = Update::start(&pins, floors, None, now);
                let cached =
                    update.run(|want| Ok::<_, Refusal>(cached(repositories, &origin, want)));
                *slot = cached
                    .ok()
                    .map(|trusted| TufAtHand::verified_at(trusted, contact));
            }
            return commit(&updates.unkept.take_progress(), Vec::new())
                .map_or_else(Err, |_| Err(maybe_older(refusal)));
        }
    };
    updates
        .files
        .retain(|(name, bytes)| repositories.cached(&origin, name).as_ref() != Some(bytes));
    let contact = first_seen(repositories, &updates, root, &swept.trusted)?
        .unwrap_or(now)
        .min(now);
    commit(
        &updates.unkept.take_progress(),
        vec![(origin.source.as_str(), &origin.subject, contact)],
    )?;
    repositories
        .write_cache(&origin, &updates.files)
        .map_err(|error| unwritten(&error))?;
    *slot = None;
    let failed = swept
        .failed
        .into_iter()
        .filter(|(role, _)| !absent.contains(role))
        .collect();
    let (versions, expires) = (swept.trusted.versions(), swept.trusted.expires());
    Ok(ImportedRoot {
        root: root.id.clone(),
        versions,
        expires,
        contact,
        files: updates.files.len(),
        failed,
        absent,
    })
}

/// A bundle from before the publisher rotated a key has files that this host's newer root refuses.
fn maybe_older(refusal: Refusal) -> Refusal {
    if refusal.code != Code::BadSignature || refusal.unpinned_root {
        return refusal;
    }
    Refusal {
        hint: format!(
            "if the bundle is older than the last one that was imported, import a newer one, for the publisher may have rotated its keys; if not, {}",
            refusal.hint
        ),
        ..refusal
    }
}

/// What the cache has of a file; whether there is a newer root can't be known from it.
fn cached(repositories: &Repositories, origin: &MetadataOrigin, want: &Want) -> Answer {
    if want.request.is_root_version() && want.from == FetchFrom::Source {
        return Answer::Missing;
    }
    repositories
        .cached(origin, &want.request.cache_name())
        .into()
}

/// When this host first saw the version of the timestamp that holds now: to import an old bundle
/// again never makes it fresh.
fn first_seen(
    repositories: &Repositories,
    updates: &VerifiedUpdates,
    root: &Root,
    trusted: &Trusted,
) -> Result<Option<Timestamp>, Refusal> {
    let history = repositories
        .store
        .history(&Subject::Tuf)
        .map_err(|error| error.refusal())?;
    let version = trusted.versions().get("timestamp").copied();
    let all: Vec<_> = updates.floors().cloned().chain(history).collect();
    let floors = root.floors(&all).into_iter();
    let of_timestamp =
        floors.filter(|floor| floor.role == "timestamp" && Some(floor.version) == version);
    Ok(of_timestamp.filter_map(|floor| floor.since).min())
}

fn unwritten(why: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(
        Code::StateUnusable,
        format!("the metadata cannot be kept: {why}"),
        "a state directory that can be written",
        "make room in it (`rootpin status` names it), then import the bundle again: what it showed is seen, and is no reason to refuse it",
    )
}

#[cfg(test)]
mod tests;

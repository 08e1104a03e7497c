//! Collects a bundle: one repository's metadata from the first place where it is there and
//! verifies, or from the cache.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::drive::{OrMissing, VerifiedUpdates};
use super::look::SourceFailure;
use super::tuf::{TufLook, TufSource, open, origin};
use super::{Repositories, RootLook, share};
use rootpin_policy::{Policy, RootKind};
use rootpin_trust::image::ImageRef;
use rootpin_trust::tuf::{Sweep, Swept, Trusted};
use rootpin_trust::{Code, Refusal, Request};

/// What goes into a bundle.
#[derive(Debug)]
pub(crate) struct ExportedBundle {
    /// The root's ID in the policy.
    pub(crate) root: String,
    /// The files by their published names, all of them verified; the pinned root file too, by which
    /// the bundle is known.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// Version by role.
    pub(crate) versions: BTreeMap<String, u64>,
    /// When the first of the top-level roles expires.
    pub(crate) expires: Timestamp,
    /// Roles that don't hold or were not to be had, and why: they are not in it.
    pub(crate) failed: BTreeMap<String, Refusal>,
}

impl ExportedBundle {
    /// The object of `rootpin bundle export --json`.
    #[must_use]
    pub(crate) fn json(&self, file: &str) -> Value {
        let failed =
            self.failed.iter().map(|(role, refusal)| json!({ "role": role, "code": refusal.code.as_str(), "found": refusal.found }));
        json!({
            "version": 1,
            "file": file,
            "root": self.root,
            "files": self.files.len(),
            "bytes": self.files.values().map(Vec::len).sum::<usize>(),
            "versions": self.versions,
            "expires": self.expires.to_string(),
            "failed": failed.collect::<Vec<_>>(),
        })
    }
}

impl Repositories {
    /// Reads and verifies all metadata of a root whose paths begin with one of the prefixes; an
    /// empty one is for all. Of a root without metadata: the signatures of such images that are
    /// cached, and those of the named ones.
    ///
    /// # Errors
    /// There is no such root, or no place and no cache has top-level metadata that holds.
    pub(crate) async fn export(
        &self,
        policy: &Policy,
        root: &str,
        (prefixes, names): (&[String], &[ImageRef]),
        now: Timestamp,
        time: Duration,
    ) -> Result<ExportedBundle, Refusal> {
        let begun = Instant::now();
        let Some(root) = policy.roots.get(root) else {
            return Err(no_bundle(root));
        };
        let look = RootLook {
            policy,
            root,
            beside: None,
            now,
            begun,
            deadline: begun + time,
            again: false,
            replies: None,
        };
        let tuf = match &root.kind {
            RootKind::Tuf(tuf) => tuf,
            RootKind::Cosign(_) | RootKind::Notation(_) => {
                return self.export_signatures(look, (prefixes, names), time).await;
            }
            RootKind::Notary(_) => return Err(no_bundle(&root.id)),
        };
        let this = TufLook {
            look,
            root: tuf,
            origin: origin(&root.id),
            repositories: self,
            anew: true,
        };
        let mut updates = VerifiedUpdates::of_tuf(self.unkept(now), &this.origin);
        let exported = this.export(prefixes, &mut updates).await;
        updates.keep().await;
        exported
    }
}

fn no_bundle(root: &str) -> Refusal {
    Refusal::new(
        Code::PolicyUnusable,
        format!("no root {root:?} in the policy, or one that has no bundles"),
        "a root to export, of type \"tuf\", \"cosign\" or \"notation\"",
        "`rootpin pin list` shows the roots; those of type \"notary\" have no bundles",
    )
}

impl TufLook<'_> {
    async fn export(
        &self,
        prefixes: &[String],
        updates: &mut VerifiedUpdates,
    ) -> Result<ExportedBundle, Refusal> {
        let contact = self
            .repositories
            .contact(&self.origin, None, self.look.clock())?;
        let trusted = self.update(None, contact, updates).await?.trusted;
        let top: Vec<_> = std::mem::take(&mut updates.files);
        let mut swept = Swept {
            trusted,
            failed: BTreeMap::new(),
        };
        let mut roles = Vec::new();
        for prefix in prefixes {
            let Swept { trusted, failed } = self.sweep(&swept.trusted, prefix, updates).await?;
            swept.trusted = trusted;
            swept.failed.extend(failed);
            roles.append(&mut updates.files);
        }
        let Swept { trusted, failed } = swept;
        let versions = trusted.versions();
        let version = |role: &str| {
            trusted
                .consistent_snapshot()
                .then(|| versions.get(role).copied())
                .flatten()
        };
        let mut files = BTreeMap::from([(
            Request::root(self.root.pinned.version()).file_name(),
            self.root.pinned.bytes().to_vec(),
        )]);
        files.extend(top.into_iter().map(|(name, bytes)| {
            let name = match name.as_str() {
                "snapshot.json" => Request::versioned("snapshot", version("snapshot")).file_name(),
                "targets.json" => Request::versioned("targets", version("targets")).file_name(),
                _ => name,
            };
            (name, bytes)
        }));
        files.extend(roles.into_iter().map(|(name, bytes)| {
            let role = name.strip_suffix(".json").unwrap_or(&name);
            (Request::versioned(role, version(role)).file_name(), bytes)
        }));
        Ok(ExportedBundle {
            root: self.look.root.id.clone(),
            files,
            versions,
            expires: trusted.expires(),
            failed,
        })
    }

    /// All roles that may name something below the prefix. What one place doesn't have, or has
    /// wrong, the next ones may have, and then the cache.
    async fn sweep(
        &self,
        trusted: &Trusted,
        prefix: &str,
        updates: &mut VerifiedUpdates,
    ) -> Result<Swept, Refusal> {
        let mut swept = Swept {
            trusted: trusted.clone(),
            failed: BTreeMap::new(),
        };
        let places = self.places();
        for (at, place) in places.iter().enumerate() {
            let deadline = share(Instant::now(), self.look.deadline, places.len() - at);
            let Ok(reader) = open(place, deadline).await else {
                continue;
            };
            swept = self
                .sweep_from(&self.at(&reader, deadline), swept, prefix, updates)
                .await?;
            if swept.failed.is_empty() {
                return Ok(swept);
            }
        }
        self.sweep_from(&self.in_cache(), swept, prefix, updates)
            .await
    }

    /// Goes on with what a sweep ended with at another place.
    async fn sweep_from(
        &self,
        source: &TufSource<'_>,
        before: Swept,
        prefix: &str,
        updates: &mut VerifiedUpdates,
    ) -> Result<Swept, Refusal> {
        let sweep = Sweep::start(&before.trusted, prefix, self.look.now)?;
        // A role that this place can't give is one that fails, and the sweep goes on past it.
        let result = updates.drive(sweep, &OrMissing(source)).await;
        let mut swept = result.map_err(SourceFailure::refusal)?;
        // Why the first place's role doesn't hold says more than that the last one has none.
        for (role, refusal) in before.failed {
            swept.failed.entry(role).and_modify(|last| *last = refusal);
        }
        Ok(swept)
    }
}

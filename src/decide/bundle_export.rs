//! What goes into a bundle: one repository's metadata from the first place that has it and that
//! holds, or from the cache.

use std::collections::BTreeMap;
use std::time::Instant;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::Decider;
use super::evidence::Look;
use super::session::share;
use super::tuf_evidence::{News, Place, TufLook, open, origin};
use rootpin_policy::RootKind;
use rootpin_trust::tuf::{Sweep, Swept, Trusted};
use rootpin_trust::{Answer, Request, Step, Verification};
use rootpin_trust::{Code, Refusal};

/// What goes into a bundle.
#[derive(Debug)]
pub struct Exported {
    /// The root's ID in the policy.
    pub root: String,
    /// The files by their published names, all of them verified; the pinned root file too, by which
    /// the bundle is known.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Version by role.
    pub versions: BTreeMap<String, u64>,
    /// When the first of the top-level roles expires.
    pub expires: Timestamp,
    /// Roles that don't hold or were not to be had, and why: they are not in it.
    pub failed: BTreeMap<String, Refusal>,
}

impl Exported {
    /// The object of `rootpin bundle export --json`.
    #[must_use]
    pub fn json(&self, file: &str) -> Value {
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

impl Decider {
    /// Reads and verifies all metadata of a root whose paths begin with one of the prefixes; an
    /// empty one is for all.
    ///
    /// # Errors
    /// There is no such root, or no place and no cache has top-level metadata that holds.
    pub async fn export(
        &self,
        root: &str,
        prefixes: &[String],
        now: Timestamp,
    ) -> Result<Exported, Refusal> {
        let begun = Instant::now();
        let policy = self.policy()?;
        let known = policy.roots.get(root).and_then(|root| {
            if let RootKind::Tuf(tuf) = &root.kind {
                Some((root, tuf))
            } else {
                None
            }
        });
        let Some((root, tuf)) = known else {
            let hint = "see the roots in policy.toml; roots of type \"notary\" have no bundles";
            return Err(Refusal::new(
                Code::PolicyUnusable,
                format!("no root {root:?} of type \"tuf\" in the policy"),
                "a root to export",
                hint,
            ));
        };
        let look = Look {
            policy: &policy,
            root,
            now,
            begun,
            deadline: begun + self.for_sources(),
            again: false,
        };
        let this = TufLook {
            look,
            root: tuf,
            origin: origin(&root.id),
            repositories: &self.repositories,
            anew: true,
        };
        let mut news = News::default();
        let exported = this.export(prefixes, &mut news).await;
        this.keep_partly(news).await;
        exported
    }
}

impl TufLook<'_> {
    async fn export(&self, prefixes: &[String], news: &mut News) -> Result<Exported, Refusal> {
        let contact = self
            .repositories
            .contact(&self.origin, None, self.look.clock())?;
        let trusted = self.update(None, contact, news).await?.trusted;
        let top: Vec<_> = std::mem::take(&mut news.files);
        let mut swept = Swept {
            trusted,
            failed: BTreeMap::new(),
        };
        let mut roles = Vec::new();
        for prefix in prefixes {
            let Swept { trusted, failed } = self.sweep(&swept.trusted, prefix, news).await?;
            swept.trusted = trusted;
            swept.failed.extend(failed);
            roles.append(&mut news.files);
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
        Ok(Exported {
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
        news: &mut News,
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
                .sweep_from(&Place::Reader(&reader, deadline), swept, prefix, news)
                .await?;
            if swept.failed.is_empty() {
                return Ok(swept);
            }
        }
        self.sweep_from(&Place::Cache, swept, prefix, news).await
    }

    /// Goes on with what a sweep ended with at another place.
    async fn sweep_from(
        &self,
        place: &Place<'_>,
        before: Swept,
        prefix: &str,
        news: &mut News,
    ) -> Result<Swept, Refusal> {
        let mut sweep = Sweep::start(&before.trusted, prefix, self.look.now)?;
        let mut answer = None;
        let result = loop {
            match sweep.next(answer.take()) {
                Ok(Step::Done(swept)) => break Ok(swept),
                // A role that this place can't give is one that fails, and the way goes on past it.
                Ok(Step::Fetch(want)) => {
                    answer = Some(self.fetch(place, &want).await.unwrap_or(Answer::Missing));
                }
                Err(refusal) => break Err(refusal),
            }
        };
        news.progress.extend(sweep.progress());
        news.files.extend(sweep.files());
        let mut swept = result?;
        // Why the first place's role doesn't hold says more than that the last one has none.
        for (role, refusal) in before.failed {
            swept.failed.entry(role).and_modify(|last| *last = refusal);
        }
        Ok(swept)
    }
}

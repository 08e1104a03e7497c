//! Taking up a bundle: judged as any other source, under the policy's pins and what this host has
//! seen, and kept for as long as no place answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::evidence::Repositories;
use super::tuf_evidence::{AtHand, News, origin};
use super::{Decider, Origin, lost};
use crate::sources::Bundle;
use crate::state::Additions;
use rootpin_policy::{Policy, Root, RootKind, TufRoot};
use rootpin_trust::tuf::{Sweep, Trusted, Update};
use rootpin_trust::{Answer, Code, FetchFrom, Refusal, Request, Step, Subject, Verification, Want};

/// What was taken up for one root.
#[derive(Debug)]
pub struct Imported {
    /// The root's ID in the policy.
    pub root: String,
    /// Version by role, of all that holds.
    pub versions: BTreeMap<String, u64>,
    /// When the first of the top-level roles expires.
    pub expires: Timestamp,
    /// The contact that it counts as: when this host first saw this version of the timestamp.
    pub contact: Timestamp,
    /// How many files are new to this host.
    pub files: usize,
    /// Roles in the bundle that don't hold, and why. Nothing is allowed by them.
    pub failed: BTreeMap<String, Refusal>,
    /// Roles that are not in the bundle, as in one that was made for some names only.
    pub absent: BTreeSet<String>,
}

impl Imported {
    /// One of the `roots` in the object of `rootpin bundle import --json`.
    #[must_use]
    pub fn json(&self) -> Value {
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

impl Decider {
    /// Takes up a bundle: for the root with that ID, or for each that the bundle's root files come
    /// from. Floors, files and the contact are kept; of a bundle that doesn't hold as a whole what
    /// was verified binds, and nothing else is kept.
    ///
    /// # Errors
    /// It is for no root of the policy, or doesn't hold; or what was verified can't be kept.
    pub async fn import(
        &self,
        bundle: Arc<Bundle>,
        root: Option<String>,
        now: Timestamp,
    ) -> Result<Vec<Imported>, Refusal> {
        let policy = self.policy()?;
        let repositories = Arc::clone(&self.repositories);
        let work = move || {
            let roots = roots_for(&policy, root.as_deref(), &bundle, now)?;
            roots
                .into_iter()
                .map(|(root, tuf)| import(&repositories, &policy, root, tuf, &bundle, now))
                .collect()
        };
        let imported = tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| lost(&error.to_string()))?;
        self.changes.send_replace(());
        imported
    }
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
        RootKind::Notary(_) => None,
    });
    let roots: Vec<_> = all
        .filter(|(root, tuf)| {
            id.map_or_else(|| descends(policy, tuf, bundle, now), |id| root.id == id)
        })
        .collect();
    match id {
        _ if !roots.is_empty() => Ok(roots),
        Some(id) => Err(Refusal::new(
            Code::PolicyUnusable,
            format!("no root {id:?} of type \"tuf\" in the policy"),
            "a root that the bundle is for",
            "see the roots in policy.toml, or leave --root out: the bundle is then told by its own root files",
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
fn descends(policy: &Policy, root: &TufRoot, bundle: &Bundle, now: Timestamp) -> bool {
    let pinned = root.pinned.bytes();
    if bundle
        .get(
            &Request::root(root.pinned.version()).file_name(),
            pinned.len(),
        )
        .is_ok_and(|found| found.as_deref() == Some(pinned))
    {
        return true;
    }
    let pins = root.pins(None, policy.revoked_keys());
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
) -> Result<Imported, Refusal> {
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
        Ok::<_, Refusal>(found.into())
    };
    let pins = tuf.pins(root.max_age, policy.revoked_keys());
    let mut update = Update::start(&pins, floors.clone(), None, now);
    let updated = update.run(&mut fetch);
    let mut news = News {
        progress: update.progress().into_iter().collect(),
        files: update.files(),
    };
    let swept = updated.and_then(|trusted| {
        let mut sweep = Sweep::start(&trusted, "", now)?;
        let swept = sweep.run(&mut fetch);
        news.progress.extend(sweep.progress());
        news.files.extend(sweep.files());
        swept
    });
    let commit = |news: &News, contacts| {
        let verified = news.progress.iter().collect();
        repositories
            .store
            .commit(&Additions {
                now,
                verified,
                contacts,
                rows: Vec::new(),
            })
            .map_err(|error| error.refusal())
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
                    .map(|trusted| AtHand::verified_at(trusted, contact));
            }
            return commit(&news, Vec::new()).map_or_else(Err, |_| Err(refusal));
        }
    };
    news.files
        .retain(|(name, bytes)| repositories.cached(&origin, name).as_ref() != Some(bytes));
    let contact = first_seen(repositories, &news, tuf, &swept.trusted)?
        .unwrap_or(now)
        .min(now);
    commit(
        &news,
        vec![(origin.source.as_str(), &origin.subject, contact)],
    )?;
    repositories
        .write_cache(&origin, &news.files)
        .map_err(|error| unwritten(&error))?;
    *slot = None;
    let failed = swept
        .failed
        .into_iter()
        .filter(|(role, _)| !absent.contains(role))
        .collect();
    let (versions, expires) = (swept.trusted.versions(), swept.trusted.expires());
    Ok(Imported {
        root: root.id.clone(),
        versions,
        expires,
        contact,
        files: news.files.len(),
        failed,
        absent,
    })
}

/// What the cache has of a file; whether there is a newer root can't be known from it.
fn cached(repositories: &Repositories, origin: &Origin, want: &Want) -> Answer {
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
    news: &News,
    root: &TufRoot,
    trusted: &Trusted,
) -> Result<Option<Timestamp>, Refusal> {
    let history = repositories
        .store
        .history(&Subject::Tuf)
        .map_err(|error| error.refusal())?;
    let version = trusted.versions().get("timestamp").copied();
    let floors = news
        .progress
        .iter()
        .flat_map(|progress| &progress.get().floors)
        .chain(&history);
    let of_timestamp =
        floors.filter(|floor| floor.role == "timestamp" && Some(floor.version) == version);
    Ok(of_timestamp
        .filter(|floor| !floor.root_keys.is_disjoint(root.pinned.signers()))
        .filter_map(|floor| floor.since)
        .min())
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
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::decide::publisher::{NOW, Publisher, target};
    use crate::decide::{Decision, Door, Exported, Pull};
    use crate::sources::{Credentials, Sources, write_bundle};
    use crate::state::Store;
    use rootpin_trust::image::Digest;

    /// A policy that pins the publisher's first root, with that `metadata` of it.
    fn policy_of(publisher: &Publisher, metadata: &str) -> Arc<Policy> {
        let root = publisher.files["1.root.json"].clone();
        let text = format!(
            "version = 1\ndefault = \"deny\"\n[[root]]\nid = \"acme\"\ntype = \"tuf\"\nfile = \"roots/acme.json\"\nsha256 = \"{}\"\n\
             {metadata}\nrecheck = \"0s\"\n[[rule]]\nmatch = \"r.example/**\"\nroots = [\"acme\"]\n",
            Digest::of(&root).hex()
        );
        let files = BTreeMap::from([
            ("policy.toml".to_owned(), text.into_bytes()),
            ("roots/acme.json".to_owned(), root),
        ]);
        Arc::new(rootpin_policy::load(&files, NOW.parse().unwrap()).unwrap())
    }

    fn decider(policy: Arc<Policy>, state: &Path) -> Decider {
        let sources = Arc::new(Sources::new(Arc::new(Credentials::none())));
        Decider::new(
            Ok(policy),
            sources,
            Arc::new(Store::open(state).unwrap()),
            Duration::from_secs(20),
            true,
        )
    }

    /// A host that no place answers, and its folder.
    fn host(publisher: &Publisher) -> (tempfile::TempDir, Decider) {
        let dir = tempfile::tempdir().unwrap();
        let host = decider(policy_of(publisher, ""), &dir.path().join("state"));
        (dir, host)
    }

    fn day(day: u8) -> Timestamp {
        format!("2030-01-{day:02}T00:00:00Z").parse().unwrap()
    }

    async fn pull_at(decider: &Decider, name: &str, content: &str, now: Timestamp) -> &'static str {
        let pull = Pull {
            door: Door::Verify,
            name: name.parse().unwrap(),
            digest: Digest::of(content.as_bytes()),
        };
        match decider.pull(&pull, now).await.decision {
            Decision::Allow(_) => "allowed",
            Decision::Deny(denial) | Decision::LetThrough(denial) => denial.refusal.code.as_str(),
        }
    }

    async fn pull(decider: &Decider, name: &str, content: &str) -> &'static str {
        pull_at(decider, name, content, day(1)).await
    }

    fn bundle(files: &BTreeMap<String, Vec<u8>>) -> Arc<Bundle> {
        let dir = tempfile::tempdir().unwrap();
        write_bundle(&dir.path().join("b"), files).unwrap();
        Arc::new(Bundle::open(&dir.path().join("b")).unwrap())
    }

    async fn import(
        host: &Decider,
        files: &BTreeMap<String, Vec<u8>>,
        now: Timestamp,
    ) -> Result<Imported, Refusal> {
        host.import(bundle(files), None, now)
            .await
            .map(|mut all| all.remove(0))
    }

    async fn export(publisher: &Publisher, prefixes: &[&str]) -> Exported {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in &publisher.files {
            std::fs::write(
                dir.path()
                    .join(name.replace('/', "%2F").replace(' ', "%20")),
                bytes,
            )
            .unwrap();
        }
        let policy = policy_of(
            publisher,
            &format!("metadata = [\"file://{}\"]", dir.path().display()),
        );
        let prefixes: Vec<_> = prefixes.iter().map(|prefix| (*prefix).to_owned()).collect();
        decider(policy, &dir.path().join("state"))
            .export("acme", &prefixes, day(1))
            .await
            .unwrap()
    }

    /// With two roots and two delegated roles.
    fn publisher() -> Publisher {
        let mut publisher = Publisher::new();
        publisher.publish_root(&[]);
        publisher.delegate(
            "team",
            21,
            &["r.example/team/*"],
            ("r.example/team/app:1", "of a team"),
            false,
        );
        publisher.delegate(
            "tool/a b",
            22,
            &["r.example/tool/*"],
            ("r.example/tool/app:1", "a tool"),
            false,
        );
        publisher.publish();
        publisher
    }

    #[tokio::test]
    async fn what_one_host_exports_another_without_a_network_judges_by() {
        let publisher = publisher();
        let exported = export(&publisher, &[""]).await;
        assert!(exported.failed.is_empty());
        assert_eq!(
            exported.files["2.root.json"],
            publisher.files["2.root.json"]
        );
        assert!(
            exported.files.contains_key("1.root.json")
                && exported.files.contains_key("1.tool%2Fa%20b.json"),
            "{:?}",
            exported.versions
        );
        let unreachable = policy_of(&publisher, "metadata = [\"http://127.0.0.1:9/\"]");
        for policy in [policy_of(&publisher, ""), unreachable] {
            let dir = tempfile::tempdir().unwrap();
            let host = decider(policy, &dir.path().join("state"));
            assert_eq!(
                pull(&host, "r.example/app:1", "one").await,
                "source-unreachable"
            );
            let imported = import(&host, &exported.files, day(1)).await.unwrap();
            assert!(imported.failed.is_empty() && imported.absent.is_empty());
            assert_eq!(
                (imported.contact, imported.files, imported.versions["root"]),
                (day(1), exported.files.len() - 1, 2)
            );
            for (name, content, wanted) in [
                ("r.example/app:1", "one", "allowed"),
                ("r.example/app:1", "other", "digest-mismatch"),
                ("r.example/app:2", "one", "no-statement"),
                ("r.example/team/app:1", "of a team", "allowed"),
                ("r.example/tool/app:1", "a tool", "allowed"),
            ] {
                assert_eq!(pull(&host, name, content).await, wanted, "{name}");
            }
        }
    }

    #[tokio::test]
    async fn a_bundle_of_some_names_leaves_the_other_roles_out_and_nothing_is_allowed_by_those() {
        let publisher = publisher();
        let exported = export(&publisher, &["r.example/team/"]).await;
        assert!(
            exported.files.contains_key("1.team.json")
                && !exported.files.keys().any(|name| name.contains("tool"))
        );
        let (_dir, host) = host(&publisher);
        let imported = import(&host, &exported.files, day(1)).await.unwrap();
        assert_eq!(
            imported.absent.into_iter().collect::<Vec<_>>(),
            ["tool/a b"]
        );
        assert_eq!(
            pull(&host, "r.example/team/app:1", "of a team").await,
            "allowed"
        );
        assert_eq!(
            pull(&host, "r.example/tool/app:1", "a tool").await,
            "source-unreachable"
        );
    }

    #[tokio::test]
    async fn a_bundle_that_was_tampered_with_in_any_file_allows_nothing_by_that_file() {
        let publisher = publisher();
        let exported = export(&publisher, &[""]).await;
        for name in exported.files.keys().filter(|name| *name != "1.root.json") {
            let mut files = exported.files.clone();
            let bytes = files.get_mut(name).unwrap();
            let at = bytes.len() / 2;
            bytes[at] ^= 1;
            let (_dir, host) = host(&publisher);
            let result = import(&host, &files, day(1)).await;
            if name.contains("team") || name.contains("tool") {
                assert_eq!(result.unwrap().failed.len(), 1, "{name}");
                assert_eq!(pull(&host, "r.example/app:1", "one").await, "allowed");
                let (team, tool) = (
                    pull(&host, "r.example/team/app:1", "of a team").await,
                    pull(&host, "r.example/tool/app:1", "a tool").await,
                );
                assert!(
                    matches!(
                        (team, tool),
                        ("allowed", "source-unreachable") | ("source-unreachable", "allowed")
                    ),
                    "{name}: {team} {tool}"
                );
            } else {
                let refusal = result.unwrap_err();
                let codes = [
                    Code::BadSignature,
                    Code::Malformed,
                    Code::RootNotPinned,
                    Code::Rollback,
                    Code::DigestMismatch,
                ];
                assert!(codes.contains(&refusal.code), "{name}: {refusal}");
                assert_eq!(
                    pull(&host, "r.example/app:1", "one").await,
                    "source-unreachable",
                    "{name}"
                );
            }
        }
        for name in [
            "timestamp.json",
            "1.snapshot.json",
            "2.snapshot.json",
            "2.targets.json",
        ] {
            let mut files = exported.files.clone();
            if files.remove(name).is_some() {
                let (_dir, host) = host(&publisher);
                assert_eq!(
                    import(&host, &files, day(1)).await.unwrap_err().code,
                    Code::RoleMissing,
                    "{name}"
                );
            }
        }
    }

    #[tokio::test]
    async fn an_old_bundle_takes_nothing_back_and_one_that_breaks_off_is_seen_all_the_same() {
        let mut publisher = publisher();
        let old = export(&publisher, &[""]).await;
        publisher
            .names
            .insert("r.example/app:2".to_owned(), target("two"));
        publisher.publish();
        let new = export(&publisher, &[""]).await;
        let (_dir, host) = host(&publisher);
        let mut cut = new.files.clone();
        cut.retain(|name, _| !name.ends_with("snapshot.json"));
        assert_eq!(
            import(&host, &cut, day(1)).await.unwrap_err().code,
            Code::RoleMissing
        );
        assert_eq!(
            import(&host, &old.files, day(1)).await.unwrap_err().code,
            Code::Rollback
        );
        import(&host, &new.files, day(1)).await.unwrap();
        assert_eq!(
            import(&host, &old.files, day(2)).await.unwrap_err().code,
            Code::Rollback
        );
        assert_eq!(pull(&host, "r.example/app:2", "two").await, "allowed");
    }

    #[tokio::test]
    async fn a_bundle_that_breaks_off_takes_nothing_from_the_one_before() {
        let mut publisher = publisher();
        let old = export(&publisher, &[""]).await;
        publisher.publish();
        let mut cut = export(&publisher, &[""]).await.files;
        cut.retain(|name, _| !name.ends_with("snapshot.json"));
        let dir = tempfile::tempdir().unwrap();
        let start = || decider(policy_of(&publisher, ""), &dir.path().join("state"));
        let host = start();
        import(&host, &old.files, day(1)).await.unwrap();
        drop(host);
        let host = start();
        for _ in 0..2 {
            assert_eq!(
                import(&host, &cut, day(2)).await.unwrap_err().code,
                Code::RoleMissing
            );
            assert_eq!(
                pull_at(&host, "r.example/app:1", "one", day(2)).await,
                "allowed"
            );
            assert_eq!(
                pull_at(&host, "r.example/team/app:1", "of a team", day(2)).await,
                "allowed"
            );
        }
        let late = pull_at(&host, "r.example/app:1", "one", day(16)).await;
        assert_eq!(late, "source-unreachable");
        // Its floors bind, so that the older files are nothing to begin with any more.
        drop(host);
        let host = start();
        let refused = pull_at(&host, "r.example/app:1", "one", day(2)).await;
        assert_eq!(refused, "rollback");
    }

    #[tokio::test]
    async fn to_import_the_same_bundle_again_never_makes_it_fresh() {
        let publisher = publisher();
        let exported = export(&publisher, &[""]).await;
        let (_dir, host) = host(&publisher);
        assert_eq!(
            import(&host, &exported.files, day(1))
                .await
                .unwrap()
                .contact,
            day(1)
        );
        let again = import(&host, &exported.files, day(14)).await.unwrap();
        assert_eq!((again.contact, again.files), (day(1), 0));
        assert_eq!(
            pull_at(&host, "r.example/app:1", "one", day(14)).await,
            "allowed"
        );
        // [limits] offline is 14 days, and counts from the first of January.
        assert_eq!(
            pull_at(&host, "r.example/app:1", "one", day(16)).await,
            "source-unreachable"
        );
        let over: Timestamp = "2030-03-01T00:00:00Z".parse().unwrap();
        assert_eq!(
            import(&host, &exported.files, over).await.unwrap_err().code,
            Code::Expired
        );
        assert_eq!(
            import(
                &host,
                &exported.files,
                "2029-12-01T00:00:00Z".parse().unwrap()
            )
            .await
            .unwrap_err()
            .code,
            Code::Clock
        );
    }

    #[tokio::test]
    async fn a_bundle_is_told_by_its_root_files_and_one_of_another_repository_is_refused() {
        let publisher = publisher();
        let mut other = Publisher::new();
        (other.root, other.timestamp) = (vec![11], vec![12]);
        other.versions.clear();
        other.files.clear();
        other.publish_root(&[]);
        other.publish();
        let (_dir, host) = host(&publisher);
        let foreign = export(&other, &[""]).await;
        assert_eq!(
            import(&host, &foreign.files, day(1))
                .await
                .unwrap_err()
                .code,
            Code::RootNotPinned
        );
        let named = host
            .import(bundle(&foreign.files), Some("acme".to_owned()), day(1))
            .await
            .unwrap_err();
        assert_eq!(named.code, Code::BadSignature, "{named}");
        let unknown = host
            .import(bundle(&foreign.files), Some("other".to_owned()), day(1))
            .await
            .unwrap_err();
        assert_eq!(unknown.code, Code::PolicyUnusable);
        // Of a host that pins a later root than this one.
        let mut later = export(&publisher, &[""]).await.files;
        later.remove("1.root.json");
        assert!(import(&host, &later, day(1)).await.is_ok());
    }

    #[tokio::test]
    async fn what_is_cached_is_exported_where_no_place_answers() {
        let publisher = publisher();
        let exported = export(&publisher, &[""]).await;
        let (_dir, host) = host(&publisher);
        import(&host, &exported.files, day(1)).await.unwrap();
        let again = host.export("acme", &[String::new()], day(1)).await.unwrap();
        assert!(again.failed.is_empty());
        assert_eq!(again.files, exported.files);
    }
}

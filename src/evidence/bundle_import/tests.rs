//! Bundles taken up by a host that no place answers.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::decide::{Decider, Decision, Door, Pull};
use crate::evidence::ExportedBundle;
use crate::evidence::publisher::{NOW, Publisher, target};
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
        Decision::Deny(denial) | Decision::LetThrough(denial, _) => denial.refusal.code.as_str(),
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
) -> Result<ImportedRoot, Refusal> {
    host.import(bundle(files), None, now)
        .await
        .map(|mut all| all.remove(0))
}

async fn export(publisher: &Publisher, prefixes: &[&str]) -> ExportedBundle {
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
        .export("acme", (&prefixes, &[]), day(1))
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
    let again = host
        .export("acme", (&[String::new()], &[]), day(1))
        .await
        .unwrap();
    assert!(again.failed.is_empty());
    assert_eq!(again.files, exported.files);
}

/// The hint of a refused pull.
async fn hint_at(decider: &Decider, name: &str, now: Timestamp) -> String {
    let pull = Pull {
        door: Door::Verify,
        name: name.parse().unwrap(),
        digest: Digest::of(b"one"),
    };
    let verdict = decider.pull(&pull, now).await;
    let denial = verdict.decision.denial().unwrap();
    assert_eq!(denial.refusal.code, Code::SourceUnreachable, "{name}");
    denial.refusal.hint.clone()
}

#[tokio::test]
async fn a_host_whose_root_names_no_place_is_hinted_at_a_bundle_and_not_at_its_network() {
    let publisher = publisher();
    let exported = export(&publisher, &["r.example/team/"]).await;
    let (_dir, host) = host(&publisher);
    let before = hint_at(&host, "r.example/app:1", day(1)).await;
    import(&host, &exported.files, day(1)).await.unwrap();
    let absent_role = hint_at(&host, "r.example/tool/app:1", day(1)).await;
    let too_late = hint_at(&host, "r.example/app:1", day(16)).await;
    for hint in [before, absent_role, too_late] {
        assert!(hint.contains("rootpin bundle import FILE"), "{hint}");
    }
}

#[tokio::test]
async fn a_bundle_from_before_a_rotation_is_refused_with_a_hint_at_a_newer_one() {
    let mut publisher = publisher();
    let old = export(&publisher, &[""]).await;
    publisher.timestamp = vec![12];
    publisher.publish_root(&[]);
    publisher.publish();
    let new = export(&publisher, &[""]).await;
    let (_dir, host) = host(&publisher);
    import(&host, &new.files, day(1)).await.unwrap();
    let refused = import(&host, &old.files, day(2)).await.unwrap_err();
    assert_eq!(refused.code, Code::BadSignature, "{refused}");
    assert!(refused.hint.contains("import a newer one"), "{refused}");
}

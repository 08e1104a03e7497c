//! One root, its places, and what a host keeps of them.

mod behind;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use axum::extract::Request;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::decide::{Decider, Door, Pull};
use crate::evidence::publisher::{NOW, Publisher, target};
use crate::sources::{Credentials, Sources};
use crate::state::Store;
use rootpin_policy::{self, Policy};
use rootpin_trust::image::ImageRef;

fn write(folder: &Path, publisher: &Publisher) {
    std::fs::create_dir_all(folder).unwrap();
    for (name, bytes) in &publisher.files {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
}

fn policy_of(publisher: &Publisher, folders: &[&Path], more: &str) -> Arc<Policy> {
    let places: Vec<_> = folders
        .iter()
        .map(|folder| format!("file://{}", folder.display()))
        .collect();
    policy_at(publisher, &places, more)
}

fn policy_at(publisher: &Publisher, places: &[String], more: &str) -> Arc<Policy> {
    let root = publisher.files["1.root.json"].clone();
    let places: Vec<_> = places.iter().map(|place| format!("\"{place}\"")).collect();
    let metadata = if places.is_empty() {
        String::new()
    } else {
        format!("metadata = [{}]\n", places.join(", "))
    };
    let text = format!(
        "version = 1\ndefault = \"deny\"\n[[root]]\nid = \"acme\"\ntype = \"tuf\"\nfile = \"roots/acme.json\"\nsha256 = \"{}\"\n\
         {metadata}recheck = \"0s\"\n{more}\n[[rule]]\nmatch = \"r.example/**\"\nroots = [\"acme\"]\n",
        Digest::of(&root).hex()
    );
    let files = BTreeMap::from([
        ("policy.toml".to_owned(), text.into_bytes()),
        ("roots/acme.json".to_owned(), root),
    ]);
    Arc::new(rootpin_policy::load(&files, NOW.parse().unwrap()).unwrap())
}

fn decider(policy: Arc<Policy>, state: &Path) -> Decider {
    decider_of(policy, Arc::new(Store::open(state).unwrap()))
}

fn decider_of(policy: Arc<Policy>, store: Arc<Store>) -> Decider {
    let sources = Arc::new(Sources::new(Arc::new(Credentials::none())));
    Decider::new(Ok(policy), sources, store, Duration::from_secs(20), true)
}

async fn pull(decider: &Decider, name: &str, content: &str) -> &'static str {
    let name: ImageRef = name.parse().unwrap();
    let pull = Pull {
        door: Door::Verify,
        name,
        digest: Digest::of(content.as_bytes()),
    };
    let verdict = decider.pull(&pull, NOW.parse().unwrap()).await;
    match verdict.decision {
        crate::decide::Decision::Allow(_) => "allowed",
        crate::decide::Decision::Deny(denial) | crate::decide::Decision::LetThrough(denial, _) => {
            denial.refusal.code.as_str()
        }
    }
}

#[tokio::test]
async fn a_name_is_allowed_as_the_bytes_that_the_repository_signed_and_as_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let mut publisher = Publisher::new();
    publisher.delegate(
        "team",
        21,
        &["r.example/team/*"],
        ("r.example/team/app:1", "of a team"),
        false,
    );
    publisher.publish();
    let folder = dir.path().join("metadata");
    write(&folder, &publisher);
    let decider = decider(
        policy_of(&publisher, &[&folder], ""),
        &dir.path().join("state"),
    );
    for (name, content, wanted) in [
        ("r.example/app:1", "one", "allowed"),
        ("r.example/app:1", "other", "digest-mismatch"),
        ("r.example/app:2", "one", "no-statement"),
        ("r.example/team/app:1", "of a team", "allowed"),
        ("r.example/web:1", "one", "no-statement"),
        ("elsewhere.example/app:1", "one", "no-rule"),
    ] {
        assert_eq!(pull(&decider, name, content).await, wanted, "{name}");
    }
    let by_digest = format!("r.example/app@{}", Digest::of(b"one"));
    assert_eq!(pull(&decider, &by_digest, "one").await, "allowed");
    // Revoked by its publisher: the next look sees it.
    publisher.names.clear();
    publisher.publish();
    write(&folder, &publisher);
    assert_eq!(
        pull(&decider, "r.example/app:1", "one").await,
        "no-statement"
    );
}

#[tokio::test]
async fn a_place_that_is_behind_or_lies_does_no_harm_where_another_answers_and_none_at_all_serves_from_the_cache()
 {
    let dir = tempfile::tempdir().unwrap();
    let mut publisher = Publisher::new();
    let (old, new, state) = (
        dir.path().join("old"),
        dir.path().join("new"),
        dir.path().join("state"),
    );
    write(&old, &publisher);
    publisher
        .names
        .insert("r.example/app:2".to_owned(), target("two"));
    publisher.publish();
    write(&new, &publisher);
    let policy = policy_of(&publisher, &[&new, &old], "");
    assert_eq!(
        pull(&decider(policy, &state), "r.example/app:2", "two").await,
        "allowed"
    );
    let policy = policy_of(&publisher, &[&old, &new], "");
    assert_eq!(
        pull(
            &decider(Arc::clone(&policy), &state),
            "r.example/app:2",
            "two"
        )
        .await,
        "allowed",
        "what is behind is passed over"
    );
    std::fs::write(old.join("timestamp.json"), b"{}").unwrap();
    assert_eq!(
        pull(&decider(policy, &state), "r.example/app:2", "two").await,
        "allowed"
    );
    let alone = policy_of(&publisher, &[&old], "");
    assert_eq!(
        pull(&decider(alone, &state), "r.example/app:2", "two").await,
        "malformed"
    );
    // A host without a network: no place at all.
    let nowhere = policy_of(&publisher, &[], "");
    assert_eq!(
        pull(
            &decider(Arc::clone(&nowhere), &state),
            "r.example/app:2",
            "two"
        )
        .await,
        "allowed",
        "from the cache"
    );
    assert_eq!(
        pull(
            &decider(nowhere, &dir.path().join("fresh")),
            "r.example/app:2",
            "two"
        )
        .await,
        "source-unreachable"
    );
}

#[tokio::test]
async fn a_place_with_a_false_delegated_role_does_no_harm_where_another_has_the_true_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut publisher = Publisher::new();
    publisher.delegate(
        "team",
        21,
        &["r.example/team/*"],
        ("r.example/team/app:1", "of a team"),
        false,
    );
    publisher.publish();
    let (lying, good) = (dir.path().join("lying"), dir.path().join("good"));
    for (false_bytes, alone) in [(&b"{}"[..], "malformed"), (b"", "malformed")] {
        write(&lying, &publisher);
        write(&good, &publisher);
        std::fs::write(lying.join("1.team.json"), false_bytes).unwrap();
        let state = |name: &str| dir.path().join(format!("{name}-{}", false_bytes.len()));
        let only = policy_of(&publisher, &[&lying], "");
        assert_eq!(
            pull(
                &decider(only, &state("alone")),
                "r.example/team/app:1",
                "of a team"
            )
            .await,
            alone
        );
        let both = policy_of(&publisher, &[&lying, &good], "");
        assert_eq!(
            pull(
                &decider(both, &state("both")),
                "r.example/team/app:1",
                "of a team"
            )
            .await,
            "allowed"
        );
    }
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_no_answer_and_a_file_that_is_not_there_names_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let publisher = Publisher::new();
    let (folder, state) = (dir.path().join("metadata"), dir.path().join("state"));
    let policy = policy_of(&publisher, &[&folder], "");
    assert_eq!(
        pull(
            &decider(Arc::clone(&policy), &state),
            "r.example/app:1",
            "one"
        )
        .await,
        "source-unreachable"
    );
    write(&folder, &publisher);
    assert_eq!(
        pull(
            &decider(Arc::clone(&policy), &state),
            "r.example/app:1",
            "one"
        )
        .await,
        "allowed"
    );
    std::fs::rename(&folder, dir.path().join("unmounted")).unwrap();
    assert_eq!(
        pull(
            &decider(Arc::clone(&policy), &state),
            "r.example/app:1",
            "one"
        )
        .await,
        "allowed",
        "from the cache"
    );
    std::fs::create_dir(&folder).unwrap();
    let decider = decider(policy, &state);
    let name: ImageRef = "r.example/app:1".parse().unwrap();
    let verdict = decider
        .pull(
            &Pull {
                door: Door::Verify,
                name,
                digest: Digest::of(b"one"),
            },
            NOW.parse().unwrap(),
        )
        .await;
    let crate::decide::Decision::Deny(denial) = verdict.decision else {
        panic!("allowed")
    };
    assert_eq!(
        denial.refusal.found,
        format!("no timestamp.json (seen at file://{})", folder.display())
    );
}

#[tokio::test]
async fn what_a_cut_off_update_showed_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut publisher = Publisher::new();
    let (folder, state) = (dir.path().join("metadata"), dir.path().join("state"));
    let before = publisher.clone();
    publisher.publish();
    write(&folder, &publisher);
    std::fs::remove_file(folder.join("2.snapshot.json")).unwrap();
    let policy = policy_of(&publisher, &[&folder], "");
    assert_eq!(
        pull(
            &decider(Arc::clone(&policy), &state),
            "r.example/app:1",
            "one"
        )
        .await,
        "role-missing"
    );
    write(&folder, &before);
    assert_eq!(
        pull(&decider(policy, &state), "r.example/app:1", "one").await,
        "rollback"
    );
}

#[tokio::test]
async fn an_update_whose_search_fails_or_is_cancelled_is_cached_for_when_its_source_is_away() {
    let mut publisher = Publisher::new();
    let before = publisher.clone();
    publisher.delegate(
        "team",
        21,
        &["r.example/team/*"],
        ("r.example/team/app:1", "of a team"),
        false,
    );
    publisher.publish();
    for cancelled in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (folder, state) = (dir.path().join("metadata"), dir.path().join("state"));
        write(&folder, &before);
        let store = Arc::new(Store::open(&state).unwrap());
        let policy = policy_of(&publisher, &[&folder], "");
        let first = decider_of(policy, Arc::clone(&store));
        assert_eq!(pull(&first, "r.example/app:1", "one").await, "allowed");
        // The role's file does not come.
        let name = "r.example/team/app:1";
        if cancelled {
            let (url, mut asked) = hanging_at(&publisher, "1.team.json").await;
            let asking = decider_of(policy_at(&publisher, &[url], ""), Arc::clone(&store));
            let question = tokio::spawn(async move { pull(&asking, name, "of a team").await });
            while asked.recv().await.unwrap() != "1.team.json" {}
            question.abort();
            assert!(question.await.unwrap_err().is_cancelled());
        } else {
            write(&folder, &publisher);
            std::fs::remove_file(folder.join("1.team.json")).unwrap();
            let policy = policy_of(&publisher, &[&folder], "");
            let asking = decider_of(policy, Arc::clone(&store));
            assert_eq!(pull(&asking, name, "of a team").await, "role-missing");
        }
        let nowhere = policy_of(&publisher, &[], "");
        let begun = std::time::Instant::now();
        loop {
            let after = decider_of(Arc::clone(&nowhere), Arc::clone(&store));
            let floors = store.history(&Subject::Tuf).unwrap();
            let mut newest = floors.iter().filter(|floor| floor.role == "timestamp");
            let newest = newest.next().map(|floor| floor.version);
            // What was cancelled is written in the background, the floors first. Before that a look would
            // write what the cache has once more: one process has one decider, and here are several.
            let answer = match newest {
                Some(2) => pull(&after, "r.example/app:1", "one").await,
                _ => "not asked",
            };
            if answer == "allowed" || begun.elapsed() > Duration::from_secs(20) {
                assert_eq!(answer, "allowed", "{newest:?}, cancelled: {cancelled}");
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Serves the publisher's files but for one, which it never answers. Returns where, and what is
/// asked for.
async fn hanging_at(
    publisher: &Publisher,
    file: &'static str,
) -> (String, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (asked, receiver) = mpsc::unbounded_channel();
    let files = publisher.files.clone();
    let app = axum::Router::new().fallback(move |request: Request| {
        let name = request.uri().path().trim_start_matches('/').to_owned();
        let found = files.get(&name).cloned();
        asked.send(name.clone()).unwrap();
        async move {
            if name == file {
                std::future::pending::<()>().await;
            }
            found.ok_or(axum::http::StatusCode::NOT_FOUND)
        }
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, receiver)
}

#[tokio::test]
async fn what_a_cancelled_update_showed_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut publisher = Publisher::new();
    let (folder, state) = (dir.path().join("metadata"), dir.path().join("state"));
    let before = publisher.clone();
    publisher.publish();
    let (url, mut asked) = hanging_at(&publisher, "2.snapshot.json").await;
    let at_server = policy_at(&publisher, &[url], "");
    let store = Arc::new(Store::open(&state).unwrap());
    let asking = decider_of(at_server, Arc::clone(&store));
    let question = tokio::spawn(async move { pull(&asking, "r.example/app:1", "one").await });
    while asked.recv().await.unwrap() != "2.snapshot.json" {}
    question.abort();
    assert!(question.await.unwrap_err().is_cancelled());
    let roles = || {
        let floors = store.history(&Subject::Tuf).unwrap();
        floors
            .into_iter()
            .map(|floor| (floor.role, floor.version))
            .collect::<Vec<_>>()
    };
    let begun = std::time::Instant::now();
    while roles().is_empty() && begun.elapsed() < Duration::from_secs(20) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(
        roles(),
        [("root".to_owned(), 1), ("timestamp".to_owned(), 2)]
    );
    write(&folder, &before);
    let policy = policy_of(&publisher, &[&folder], "");
    assert_eq!(
        pull(&decider_of(policy, store), "r.example/app:1", "one").await,
        "rollback"
    );
}

#[tokio::test]
async fn no_place_that_is_silent_or_broken_hides_that_the_pinned_root_lists_a_revoked_key() {
    let dir = tempfile::tempdir().unwrap();
    let mut publisher = Publisher::new();
    publisher.publish();
    let root = publisher.files["1.root.json"].clone();
    let key = rootpin_trust::RootFile::read(&root).unwrap().keys[0].id();
    let revoked = format!("[[revoked]]\nkey = \"{key}\"\nreason = \"stolen\"\n");
    let (good, gone, broken) = (
        dir.path().join("good"),
        dir.path().join("gone"),
        dir.path().join("broken"),
    );
    write(&good, &publisher);
    for name in ["2.root.json", "timestamp.json"] {
        std::fs::create_dir_all(&broken).unwrap();
        std::fs::write(broken.join(name), "{").unwrap();
    }
    for (place, without) in [
        (&good, "allowed"),
        (&gone, "source-unreachable"),
        (&broken, "malformed"),
    ] {
        for (more, wanted) in [("", without), (&revoked, "revoked")] {
            let policy = policy_of(&publisher, &[place], more);
            let state = tempfile::tempdir_in(dir.path()).unwrap();
            let decider = decider(policy, state.path());
            let said = pull(&decider, "r.example/app:1", "one").await;
            assert_eq!(said, wanted, "{} {more}", place.display());
        }
    }
}

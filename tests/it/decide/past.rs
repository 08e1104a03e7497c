//! What a host has seen binds it: floors, replay, shared signers.

use std::time::Duration;

use rootpin::decide::{ImageName, ResidentImage};
use rootpin_trust::{Code, Subject};

use super::setup::{
    APP, Host, Manner, NOW, Server, Usual, after, at, image, publisher, pull, pull_at, reference,
    rule, said,
};
use crate::publisher::{Key, Publisher};

const ELSE: &str = "registry.test/team/else";

/// The usual host after it saw version 2 of everything.
async fn seen_twice() -> (Usual, Publisher) {
    let mut usual = Usual::new().await;
    let first = usual.publisher.clone();
    usual.publisher.tick();
    usual.server.publish(&usual.publisher);
    let verdict = pull(
        &usual.host.decider(&usual.policy("")),
        &format!("{APP}:v1"),
        usual.image.digest(),
    )
    .await;
    assert_eq!(said(&verdict), "allowed signed");
    (usual, first)
}

#[tokio::test]
async fn older_metadata_is_a_rollback_and_the_cache_answers_in_its_place_also_after_a_restart() {
    let (mut usual, first) = seen_twice().await;
    let (policy, name, digest) = (usual.policy(""), format!("{APP}:v1"), usual.image.digest());
    usual.server.publish(&first);
    let asked = async |host: &Host| {
        said(&pull_at(&host.decider(&policy), &name, digest, after("2m")).await)
    };
    assert_eq!(asked(&usual.host).await, "allowed signed");
    usual.host.restart();
    let decider = usual.host.decider(&policy);
    let verdict = pull_at(&decider, &name, digest, after("2m")).await;
    assert_eq!(said(&verdict), "allowed signed");
    assert_eq!(decider.sources_behind()[0].refusal.code, Code::Rollback);
    drop(decider);
    std::fs::remove_dir_all(usual.host.path("cache")).unwrap();
    assert_eq!(asked(&usual.host).await, "refused rollback");
    usual.host.restart();
    assert_eq!(asked(&usual.host).await, "refused rollback");
    usual.server.publish(&usual.publisher);
    assert_eq!(asked(&usual.host).await, "allowed signed");
}

#[tokio::test]
async fn renaming_a_root_or_moving_its_server_keeps_the_floors() {
    let (usual, first) = seen_twice().await;
    let elsewhere = Server::of(&first).await;
    let keys = [usual.publisher.root_key(), Key::named("one more")];
    for policy in [
        elsewhere.root("acme", &keys[..1]),
        elsewhere.root("renamed", &keys[..1]),
        elsewhere.root("wider", &keys),
    ] {
        let id = policy.split('"').nth(1).unwrap().to_owned();
        let decider = usual.host.decider(&(policy + &rule(APP, &[&id], "")));
        let verdict = pull_at(
            &decider,
            &format!("{APP}:v1"),
            usual.image.digest(),
            after("2m"),
        )
        .await;
        assert_eq!(said(&verdict), "refused rollback", "{id}: {verdict}");
    }
}

#[tokio::test]
async fn other_bytes_under_a_version_that_was_seen_are_refused() {
    let usual = Usual::new().await;
    let (policy, name) = (usual.policy(""), format!("{APP}:v1"));
    assert_eq!(
        said(&pull(&usual.host.decider(&policy), &name, usual.image.digest()).await),
        "allowed signed"
    );
    let other = image("other");
    usual.server.publish(&publisher(APP, "v1", &other));
    let verdict = pull_at(
        &usual.host.decider(&policy),
        &name,
        other.digest(),
        after("2m"),
    )
    .await;
    assert_eq!(said(&verdict), "refused rollback", "{verdict}");
}

#[tokio::test]
async fn a_refused_question_keeps_what_was_verified_for_it_and_admits_nothing() {
    let usual = Usual::new().await;
    let policy = usual.policy("");
    let verdict = pull(
        &usual.host.decider(&policy),
        &format!("{APP}:v1"),
        image("other").digest(),
    )
    .await;
    assert_eq!(said(&verdict), "refused digest-mismatch");
    let seen = usual.host.store().show().unwrap();
    assert!(
        !seen.repositories[0].floors.is_empty() && !seen.contacts.is_empty(),
        "{seen:?}"
    );
    assert!(seen.rows.is_empty(), "{seen:?}");
}

#[tokio::test]
async fn a_tag_that_was_seen_to_move_away_does_not_come_back_though_every_question_was_refused() {
    let mut usual = Usual::new().await;
    let policy = usual.policy("");
    let (name, old, before) = (
        format!("{APP}:v1"),
        usual.image.digest(),
        usual.publisher.clone(),
    );
    let asked = async |host: &Host| said(&pull(&host.decider(&policy), &name, old).await);
    assert_eq!(asked(&usual.host).await, "allowed signed");
    usual
        .publisher
        .tag("v1", &image("moved").digest().to_string(), 7);
    usual.publisher.tick();
    usual.server.publish(&usual.publisher);
    assert_eq!(asked(&usual.host).await, "refused digest-mismatch");
    usual.server.publish(&before);
    assert_eq!(asked(&usual.host).await, "refused digest-mismatch");
    std::fs::remove_dir_all(usual.host.path("cache")).unwrap();
    assert_eq!(asked(&usual.host).await, "refused rollback");
}

/// The repositories of which floors are kept.
fn seen(host: &Host) -> Vec<String> {
    let seen = host.store().show().unwrap().repositories.into_iter();
    seen.map(|one| one.subject.to_string()).collect()
}

#[tokio::test]
async fn a_name_of_which_the_sweep_says_nothing_keeps_what_was_verified_for_it() {
    let usual = Usual::new().await;
    let other = publisher(ELSE, "v1", &image("other"));
    usual.server.publish(&other);
    let policy = format!(
        "{}{}{}{}",
        usual.root(),
        usual.server.root("else", &[other.root_key()]),
        rule(APP, &["acme"], ""),
        rule(ELSE, &["else"], "")
    );
    let (decider, digest) = (usual.host.decider(&policy), usual.image.digest());
    let named = |name: String| ImageName {
        record: name.clone(),
        name: Some(name.parse().unwrap()),
        digest,
    };
    let image = ResidentImage {
        engine: "containerd".to_owned(),
        namespace: "k8s.io".to_owned(),
        names: vec![
            named(format!("{APP}:v1")),
            named(format!("{ELSE}@{digest}")),
        ],
        bytes: None,
    };
    let standings = decider.resident(&image, at(NOW)).await;
    let told: Vec<_> = standings.iter().map(Option::is_some).collect();
    assert_eq!(told, [true, false]);
    assert_eq!(seen(&usual.host), [APP, ELSE]);
}

#[tokio::test]
async fn a_question_that_nobody_waits_for_any_more_keeps_what_was_verified_for_it() {
    let usual = Usual::new().await;
    let hangs = Server::empty();
    hangs.behave(Manner::Hangs);
    let policy = format!(
        "{}{}{}",
        usual.root(),
        hangs.root("late", &[Key::named("late")]),
        rule(APP, &["acme", "late"], "quorum = 2")
    );
    let decider = usual.host.decider(&policy);
    let name = format!("{APP}:v1");
    tokio::select! {
        verdict = pull(&decider, &name, usual.image.digest()) => panic!("{}", said(&verdict)),
        () = async {
            while hangs.asked().is_empty() {
                tokio::task::yield_now().await;
            }
        } => {}
    }
    let kept = async {
        while seen(&usual.host).is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), kept)
        .await
        .unwrap();
    assert_eq!(seen(&usual.host), [APP]);
}

#[test]
fn a_process_that_ends_while_a_question_waits_keeps_what_was_verified_for_it() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let host = runtime.block_on(async {
        let usual = Usual::new().await;
        let hangs = Server::empty();
        hangs.behave(Manner::Hangs);
        let policy = format!(
            "{}{}{}",
            usual.root(),
            hangs.root("late", &[Key::named("late")]),
            rule(APP, &["acme", "late"], "quorum = 2")
        );
        let decider = usual.host.decider(&policy);
        let digest = usual.image.digest();
        tokio::spawn(async move {
            let verdict = pull(&decider, &format!("{APP}:v1"), digest).await;
            panic!("{}", said(&verdict));
        });
        while hangs.asked().is_empty() {
            tokio::task::yield_now().await;
        }
        usual.host
    });
    // Its worker threads drop the question, and its blocking pool takes no new task.
    drop(runtime);
    assert_eq!(seen(&host), [APP]);
}

#[tokio::test]
async fn repositories_whose_root_s_expiry_is_not_looked_at_are_counted() {
    let usual = Usual::new().await;
    let decider = usual.host.decider(&usual.policy(""));
    let name = format!("{APP}:v1");
    let verdict = pull(&decider, &name, usual.image.digest()).await;
    assert_eq!(said(&verdict), "allowed signed");
    let unread = || {
        let expiries = decider.root_expiries();
        expiries.iter().map(|one| one.unread).collect::<Vec<_>>()
    };
    assert_eq!(unread(), [0]);
    let store = usual.host.store();
    let source = store.show().unwrap().contacts[0].source.clone();
    let more: Vec<Subject> = (0..300)
        .map(|number| Subject::parse(&format!("registry.test/zoo/{number}")).unwrap())
        .collect();
    let additions = rootpin::state::Additions {
        now: at(NOW),
        verified: vec![],
        contacts: more
            .iter()
            .map(|subject| (source.as_str(), subject, at(NOW)))
            .collect(),
        rows: vec![],
    };
    assert!(store.commit(&additions).unwrap().wrote);
    assert_eq!(unread(), [45], "256 of 301 are looked at");
}

/// Two repositories of one publisher, who signs both with the same keys; the root certificate is
/// for all below `registry.test/team`.
fn siblings(tag: &str) -> [Publisher; 2] {
    let image = image("signed");
    [APP, ELSE].map(|gun| {
        let mut publisher = Publisher::new(gun);
        for (role, listed) in &mut publisher.roles {
            let key = Key::named(&format!("the publisher's {role}"));
            listed.keys = vec![if role == "root" {
                key.certificate("registry.test/team/*")
            } else {
                key.bare()
            }];
        }
        // The role on the way would be the same bytes in both, which is a replay of its own.
        let targets = &mut publisher.role("targets").targets;
        targets.insert(
            gun.rsplit('/').next().unwrap().to_owned(),
            (image.digest().hex(), 7),
        );
        publisher.tag(
            if gun == APP { "v1" } else { tag },
            &image.digest().to_string(),
            7,
        );
        publisher
    })
}

#[tokio::test]
async fn one_repository_s_signatures_are_refused_as_another_s_though_the_keys_are_the_same() {
    let [app, other] = siblings("v1");
    let digest = image("signed").digest();
    let server = Server::of(&app).await;
    server.publish(&other);
    let policy =
        server.root("acme", &[app.root_key()]) + &rule("registry.test/team/*", &["acme"], "");
    let host = Host::new();
    assert_eq!(
        said(&pull(&host.decider(&policy), &format!("{APP}:v1"), digest).await),
        "allowed signed"
    );
    // The two differ in `targets`; the role that names the tag is the same signed bytes.
    let verdict = pull(&host.decider(&policy), &format!("{ELSE}:v1"), digest).await;
    assert_eq!(said(&verdict), "refused bad-signature", "{verdict}");
    assert!(verdict.reason().contains(APP), "{verdict}");
    let seen = host.store().show().unwrap();
    assert_eq!(
        (
            seen.repositories.len(),
            seen.contacts.len(),
            seen.rows.len()
        ),
        (1, 1, 1)
    );
    assert_eq!(
        said(
            &pull_at(
                &host.decider(&policy),
                &format!("{APP}:v1"),
                digest,
                after("2m")
            )
            .await
        ),
        "allowed signed"
    );
}

#[tokio::test]
async fn a_publisher_that_signs_a_copy_of_another_s_names_takes_nothing_away_from_it() {
    let digest = image("signed").digest();
    let [victim, copier] = [APP, ELSE].map(|gun| {
        let mut publisher = Publisher::new(gun);
        publisher.tag("v1", &digest.to_string(), 7);
        publisher
    });
    let signed = |publisher: &Publisher| {
        let file = publisher.tree().files["targets/releases.json"].clone();
        let file: serde_json::Value = serde_json::from_slice(&file).unwrap();
        file["signed"].clone()
    };
    assert_eq!(signed(&victim), signed(&copier));
    let server = Server::of(&victim).await;
    server.publish(&copier);
    let policy = server.root("acme", &[victim.root_key()])
        + &server.root("copier", &[copier.root_key()])
        + &rule(APP, &["acme"], "")
        + &rule(ELSE, &["copier"], "");
    let host = Host::new();
    for name in [ELSE, APP, ELSE] {
        let verdict = pull(&host.decider(&policy), &format!("{name}:v1"), digest).await;
        assert_eq!(said(&verdict), "allowed signed", "{name}: {verdict}");
    }
}

#[tokio::test]
async fn one_signer_over_two_repositories_is_allowed_and_counted_once() {
    let [app, other] = siblings("other-1");
    let digest = image("signed").digest();
    let server = Server::of(&app).await;
    server.publish(&other);
    let policy =
        server.root("acme", &[app.root_key()]) + &rule("registry.test/team/*", &["acme"], "");
    let host = Host::new();
    let decider = host.decider(&policy);
    assert_eq!(
        said(&pull(&decider, &format!("{APP}:v1"), digest).await),
        "allowed signed"
    );
    assert_eq!(decider.shared_signers(), 0);
    for time in ["0s", "2m", "1h"] {
        assert_eq!(
            said(&pull_at(&decider, &format!("{ELSE}:other-1"), digest, after(time)).await),
            "allowed signed"
        );
        // Two keys: of targets and of targets/releases.
        assert_eq!(decider.shared_signers(), 2, "{time}");
    }
    let key = Key::named("the publisher's targets/releases")
        .id()
        .parse()
        .unwrap();
    let names: Vec<_> = [APP, ELSE]
        .map(|name| Subject::Gun(reference(name).repository))
        .to_vec();
    assert_eq!(host.store().signer_repositories(&key).unwrap(), names);
}

#[tokio::test]
async fn a_root_that_rotates_within_the_pins_twice_while_the_host_slept_is_followed_and_one_beyond_them_is_not()
 {
    let mut usual = Usual::new().await;
    let (name, digest) = (format!("{APP}:v1"), usual.image.digest());
    let keys = [
        usual.publisher.root_key(),
        Key::named("second"),
        Key::named("third"),
    ];
    let policy = usual.server.root("acme", &keys) + &rule(APP, &["acme"], "");
    assert_eq!(
        said(&pull(&usual.host.decider(&policy), &name, digest).await),
        "allowed signed"
    );
    usual.publisher.rotate_root(&keys[1..2]);
    usual.publisher.rotate_root(&keys[2..]);
    usual.publisher.tick();
    usual.server.publish(&usual.publisher);
    assert_eq!(
        said(&pull_at(&usual.host.decider(&policy), &name, digest, after("2m")).await),
        "allowed signed"
    );
    usual.publisher.rotate_root(&[Key::named("nobody's")]);
    usual.publisher.tick();
    usual.server.publish(&usual.publisher);
    assert_eq!(
        said(&pull_at(&usual.host.decider(&policy), &name, digest, after("4m")).await),
        "refused root-not-pinned"
    );
    assert_eq!(
        said(&pull_at(&Host::new().decider(&policy), &name, digest, after("4m")).await),
        "refused root-not-pinned"
    );
}

//! A trust server that shows less than this host has verified.

use rootpin::decide::Decider;
use rootpin_trust::Subject;

use super::setup::{
    APP, Host, Server, Usual, after, image, publisher, pull, pull_at, reference, rule, said,
};
use crate::publisher::{Key, Publisher};

/// The next version of what names images, as a Notary client publishes it.
fn sign_anew(publisher: &mut Publisher) {
    for role in ["targets/releases", "snapshot", "timestamp"] {
        publisher.role(role).version += 1;
    }
}

fn version_seen(host: &Host, role: &str) -> u64 {
    let floors = host
        .store()
        .history(&Subject::Gun(reference(APP).repository));
    let floors = floors.unwrap();
    let versions = floors.iter().filter(|floor| floor.role == role);
    versions.map(|floor| floor.version).max().unwrap_or(0)
}

fn behind(decider: &Decider) -> Vec<&'static str> {
    let behind = decider.sources_behind();
    assert!(
        behind
            .iter()
            .all(|source| source.refusal.found.contains("://")
                && !source.refusal.hint.contains("state reset")),
        "{behind:?}"
    );
    behind
        .iter()
        .map(|source| source.refusal.code.as_str())
        .collect()
}

#[tokio::test]
async fn a_listed_file_that_is_missing_or_another_one_takes_nothing_from_what_was_verified() {
    for (part, other) in [
        ("/snapshot.", false),
        ("/snapshot.", true),
        ("/targets/releases.", false),
        ("/targets/releases.", true),
    ] {
        let case = format!("{part} {other}");
        let mut usual = Usual::new().await;
        let (policy, name) = (usual.policy(""), format!("{APP}:v1"));
        let digest = usual.image.digest();
        let decider = usual.host.decider(&policy);
        assert_eq!(said(&pull(&decider, &name, digest).await), "allowed signed");
        let first = usual.publisher.clone();
        sign_anew(&mut usual.publisher);
        usual.server.publish(&usual.publisher);
        usual.server.replace(part, other.then_some(b"{}"));
        let asked = async |decider: &Decider, time: &str| {
            said(&pull_at(decider, &name, digest, after(time)).await)
        };
        assert_eq!(asked(&decider, "2m").await, "allowed signed", "{case}");
        assert_eq!(asked(&decider, "4m").await, "allowed signed", "{case}");
        assert_eq!(behind(&decider).len(), 1, "{case}");
        // What was verified binds although the update broke off.
        assert_eq!(version_seen(&usual.host, "timestamp"), 2, "{case}");
        usual.server.publish(&first);
        assert_eq!(asked(&decider, "6m").await, "allowed signed", "{case}");
        assert_eq!(behind(&decider), ["rollback"], "{case}");
        // For as long as offline says, from the last good contact.
        assert_eq!(asked(&decider, "335h").await, "allowed signed", "{case}");
        assert_eq!(asked(&decider, "337h").await, "refused rollback", "{case}");
        drop(decider);
        usual.host.restart();
        let decider = usual.host.decider(&policy);
        assert_eq!(asked(&decider, "8m").await, "refused rollback", "{case}");
        usual.server.publish(&usual.publisher);
        assert_eq!(asked(&decider, "10m").await, "allowed signed", "{case}");
        assert!(behind(&decider).is_empty(), "{case}");
    }
}

#[tokio::test]
async fn a_server_that_falls_silent_half_way_takes_nothing_from_what_was_verified() {
    let mut usual = Usual::new().await;
    let (policy, name) = (usual.policy(""), format!("{APP}:v1"));
    let digest = usual.image.digest();
    let decider = usual.host.decider(&policy);
    assert_eq!(said(&pull(&decider, &name, digest).await), "allowed signed");
    sign_anew(&mut usual.publisher);
    usual.server.publish(&usual.publisher);
    usual.server.replace("/snapshot.", None);
    let now = after("2m");
    assert_eq!(
        said(&pull_at(&decider, &name, digest, now).await),
        "allowed signed"
    );
    usual.server.stop().await;
    let now = after("4m");
    assert_eq!(
        said(&pull_at(&decider, &name, digest, now).await),
        "allowed signed"
    );
}

#[tokio::test]
async fn a_newer_root_or_role_above_the_missing_one_binds() {
    for of in ["targets", "root"] {
        let mut usual = Usual::new().await;
        let (policy, name) = (usual.policy(""), format!("{APP}:v1"));
        let digest = usual.image.digest();
        let decider = usual.host.decider(&policy);
        assert_eq!(said(&pull(&decider, &name, digest).await), "allowed signed");
        if of == "root" {
            usual.publisher.next_root();
        } else {
            usual.publisher.role("targets").version += 1;
        }
        sign_anew(&mut usual.publisher);
        usual.server.publish(&usual.publisher);
        usual.server.replace("/targets/releases.", None);
        let asked = async |time: &str| said(&pull_at(&decider, &name, digest, after(time)).await);
        assert_eq!(asked("2m").await, "refused role-missing", "{of}");
        assert_eq!(asked("4m").await, "refused role-missing", "{of}");
        assert_eq!(version_seen(&usual.host, of), 2);
        assert!(behind(&decider).is_empty(), "{of}");
    }
}

#[tokio::test]
async fn other_bytes_of_a_version_are_refused_also_where_something_is_at_hand() {
    let usual = Usual::new().await;
    let (policy, name) = (usual.policy(""), format!("{APP}:v1"));
    let digest = usual.image.digest();
    let decider = usual.host.decider(&policy);
    assert_eq!(said(&pull(&decider, &name, digest).await), "allowed signed");
    usual.server.publish(&publisher(APP, "v2", &image("other")));
    let verdict = pull_at(&decider, &name, digest, after("2m")).await;
    assert_eq!(said(&verdict), "refused rollback", "{verdict}");
    assert!(behind(&decider).is_empty());
}

#[tokio::test]
async fn half_of_another_repository_raises_no_floor_of_this_one() {
    let gun = "registry.test/team/else";
    let [app, mut other] = [APP, gun].map(|gun| {
        let mut publisher = publisher(gun, "v1", &image("signed"));
        for (role, listed) in &mut publisher.roles {
            let key = Key::named(&format!("the publisher's {role}"));
            listed.keys = vec![if role == "root" {
                key.certificate("registry.test/team/*")
            } else {
                key.bare()
            }];
        }
        // The role on the way would be the same bytes in both, which is a replay of its own.
        publisher.tag_in("targets", gun, &image("signed").digest().to_string(), 7);
        publisher.tag_in("targets/releases", gun, &image(gun).digest().to_string(), 7);
        publisher
    });
    other.tag("v2", &image("more").digest().to_string(), 7);
    (0..9).for_each(|_| sign_anew(&mut other));
    let server = Server::of(&app).await;
    server.publish(&other);
    let policy =
        server.root("acme", &[app.root_key()]) + &rule("registry.test/team/*", &["acme"], "");
    let host = Host::new();
    let (digest, decider) = (image("signed").digest(), host.decider(&policy));
    for _ in 0..2 {
        // A host that has seen both, and is shown the one in the other's place, cut off.
        let name = format!("{gun}:v2");
        pull_at(&decider, &name, image("more").digest(), after("1m")).await;
        server.publish(&app);
        let name = format!("{APP}:v1");
        assert_eq!(
            said(&pull_at(&decider, &name, digest, after("2m")).await),
            "allowed signed"
        );
        let mut posed = other.clone();
        APP.clone_into(&mut posed.gun);
        server.publish(&posed);
        server.replace("/snapshot.", None);
        pull_at(&decider, &name, digest, after("4m")).await;
        assert_eq!(version_seen(&host, "timestamp"), 1);
    }
    server.publish(&app);
    let name = format!("{APP}:v1");
    let verdict = pull_at(&decider, &name, digest, after("6m")).await;
    assert_eq!(said(&verdict), "allowed signed", "{verdict}");
}

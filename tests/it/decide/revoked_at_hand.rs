//! A revoked key behind a registry or a trust server that is silent, broken or denies: a rule's
//! `audit-until` lets through what could not be heard, and never a root that a revoked key may sign.

use std::time::Duration;

use rootpin_trust::image::Digest;
use serde_json::json;

use super::setup::{APP, Host, Manner, Server, Usual, after, at, pull, pull_at, rule, said};
use super::signatures::{Place, decider, decider_of, digest, read};
use rootpin_trust::key_file::signature_keys;

const TRIAL: &str = "tags = \"unbound\"\naudit-until = 2030-03-01T00:00:00Z\n";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const OWN: &str = "[[root]]\nid = \"own\"\ntype = \"cosign\"\nkeys = [\"roots/p256.pub\"]\n";

fn revoked(key: &str) -> String {
    format!("[[revoked]]\nkey = \"{key}\"\nreason = \"stolen\"\n")
}

fn p256() -> String {
    let keys = signature_keys(&read("keys", "p256.pub")).unwrap();
    keys[0].id().to_string()
}

fn policy(server: &Server, more: &str) -> String {
    let rule = rule(&server.repository(), &["own"], &format!("{TRIAL}{more}"));
    format!("{OWN}{rule}")
}

#[tokio::test]
async fn a_place_that_can_not_be_read_hides_no_signature_by_a_revoked_key_from_an_audit() {
    for manner in [
        Manner::Honest,
        Manner::StatusAt(500, "/referrers/"),
        Manner::StatusAt(429, "/referrers/"),
        Manner::HangsAt("/referrers/"),
        Manner::StatusAt(403, "/referrers/"),
        Manner::StatusAt(410, "/referrers/"),
    ] {
        let (server, host) = (Server::empty(), Host::new());
        server.sign(Place::SignatureTag, "simple-p256");
        server.behave(manner);
        let policy = policy(&server, "") + &revoked(&p256());
        let decider = decider_of(&host, &policy, Duration::from_secs(4));
        let verdict = pull(&decider, &server.name(), digest()).await;
        assert_eq!(said(&verdict), "refused revoked", "{manner:?}");
    }
    // Nor does a manifest that a list names and the registry does not have.
    let (server, host) = (Server::empty(), Host::new());
    server.sign(Place::SignatureTag, "simple-p256");
    let gone =
        json!({ "mediaType": MANIFEST, "digest": Digest::of(b"gone").to_string(), "size": 4 });
    server.list(Place::IndexTag, &[gone]);
    let policy = policy(&server, "") + &revoked(&p256());
    let verdict = pull(&decider(&host, &policy), &server.name(), digest()).await;
    assert_eq!(said(&verdict), "refused revoked");
}

#[tokio::test]
async fn without_a_network_a_cached_signature_by_a_revoked_key_is_refused_as_revoked() {
    let (mut server, host) = (Server::empty(), Host::new());
    server.sign(Place::Referrers, "bundle-p256");
    let name = server.name();
    let before = policy(&server, "");
    let verdict = pull(&decider(&host, &before), &name, digest()).await;
    assert_eq!(said(&verdict), "allowed signed");
    let after_theft = before.clone() + &revoked(&p256());
    server.stop().await;
    let verdict = pull(&decider(&host, &after_theft), &name, digest()).await;
    assert_eq!(said(&verdict), "refused revoked");
    // Of an image that was never looked at, nothing is known.
    let verdict = pull(&decider(&host, &after_theft), &name, Digest::of(b"other")).await;
    assert_eq!(said(&verdict), "let through: unjudged source-unreachable");
    // Another key than the one that signed.
    let other = before + &revoked(&"ab".repeat(32));
    let verdict = pull(&decider(&host, &other), &name, digest()).await;
    assert_eq!(said(&verdict), "allowed signed");
}

#[tokio::test]
async fn of_an_index_by_its_manifests_each_cached_signature_by_a_revoked_key_is_seen() {
    let by_manifests = "index = \"by-manifests\"\n";
    for signed_twice in [false, true] {
        let (mut server, host) = (Server::empty(), Host::new());
        let (one, two) = (server.platform("one"), server.platform("two"));
        let index = server.index(&[&one, &two]);
        for part in [&one, &two] {
            server.sign_by(1, Digest::of(part));
        }
        let own1 = policy(&server, by_manifests).replace("p256", "own1");
        let verdict = pull(&decider(&host, &own1), &server.name(), index).await;
        assert_eq!(said(&verdict), "allowed signed");
        if signed_twice {
            // The first manifest is signed by another key alone, which nothing at hand says.
            let cached = host.path("cache");
            forget(&cached, Digest::of(&one));
        }
        let name = server.name();
        server.stop().await;
        let key = crate::cosign::public_pem(1).into_bytes();
        let key = signature_keys(&key).unwrap()[0].id().to_string();
        let revoked = own1 + &revoked(&key);
        let verdict = pull(&decider(&host, &revoked), &name, index).await;
        assert_eq!(said(&verdict), "refused revoked", "{signed_twice}");
    }
}

/// Has the cache lose the signatures of an image.
fn forget(folder: &std::path::Path, image: Digest) {
    let mut folders = vec![folder.to_owned()];
    let mut count = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().contains(&image.hex()) {
                std::fs::remove_file(path).unwrap();
                count += 1;
            }
        }
    }
    assert_eq!(count, 1);
}

#[tokio::test]
async fn a_notary_server_that_does_not_answer_hides_no_revoked_key_in_what_it_once_said() {
    let mut usual = Usual::new().await;
    let trial = "audit-until = 2030-03-01T00:00:00Z";
    let limits = "[limits]\noffline = \"1h\"\n";
    let policy = format!("{}{}{limits}", usual.root(), rule(APP, &["acme"], trial));
    let (name, image) = (format!("{APP}:v1"), usual.image.digest());
    let verdict = pull(&usual.host.decider(&policy), &name, image).await;
    assert_eq!(said(&verdict), "allowed signed");
    let revoked = policy + &revoked(&usual.publisher.root_key().id());
    for manner in [
        Manner::Honest,
        Manner::Status(500),
        Manner::Status(401),
        Manner::Garbage,
    ] {
        usual.server.behave(manner);
        for later in ["1m", "3h"] {
            let decider = usual.host.decider(&revoked);
            let verdict = pull_at(&decider, &name, image, after(later)).await;
            assert_eq!(said(&verdict), "refused revoked", "{manner:?} {later}");
        }
    }
    // A clock that was set back.
    let early = at("2029-12-31T23:58:59Z");
    let verdict = pull_at(&usual.host.decider(&revoked), &name, image, early).await;
    assert_eq!(said(&verdict), "refused revoked");
    usual.server.stop().await;
    let verdict = pull_at(&usual.host.decider(&revoked), &name, image, after("3h")).await;
    assert_eq!(said(&verdict), "refused revoked");
}

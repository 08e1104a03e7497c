//! A quorum counts signers: one key has one vote, whatever the roots pin of its certificates.

use std::time::Duration;

use rootpin_trust::image::Digest;
use serde_json::{Value, json};

use super::setup::{Host, Manner, Server, after, pull, pull_at, said};
use super::signature_lists::unnamed;
use super::signatures::{Place, decider, digest};
use crate::publisher::{Key, Publisher};

/// An authority, and one of the signers below it.
const ROOTS: &str = "[[root]]\nid = \"authority\"\ntype = \"notation\"\ncertificates = [\"roots/ca.crt\"]\n[[root]]\nid = \"signer\"\ntype = \"notation\"\ncertificates = [\"roots/p256.crt\"]\n";

fn policy(server: &Server, roots: &str) -> String {
    let repository = server.repository();
    format!(
        "{ROOTS}[[rule]]\nmatch = \"{repository}\"\nroots = {roots}\ntags = \"unbound\"\nquorum = 2\n"
    )
}

/// The fixtures' signatures, in this order.
fn signed(server: &Server, fixtures: &[&str]) {
    let entries: Vec<Value> = fixtures
        .iter()
        .flat_map(|fixture| server.sign(Place::Referrers, fixture))
        .collect();
    server.list(Place::Referrers, &entries);
}

const ORDERS: [&str; 2] = ["[\"authority\", \"signer\"]", "[\"signer\", \"authority\"]"];

#[tokio::test]
async fn one_signer_makes_no_quorum_of_an_authority_and_its_own_certificate() {
    for order in ORDERS {
        // In two envelopes it is still one key.
        for fixtures in [&["jws-p256"][..], &["jws-p256", "cose-p256"]] {
            let (server, host) = (Server::empty(), Host::new());
            signed(&server, fixtures);
            let decider = decider(&host, &policy(&server, order));
            let verdict = pull(&decider, &server.name(), digest()).await;
            assert_eq!(said(&verdict), "refused bad-signature", "{order}");
            let found = &verdict.decision.denial().unwrap().refusal.found;
            assert!(found.contains("one voice"), "{found}");
        }
    }
}

#[tokio::test]
async fn a_no_for_want_of_another_voice_says_how_much_of_a_longer_list_was_looked_at() {
    for order in ORDERS {
        let (server, host) = (Server::empty(), Host::new());
        let mut list = server.sign(Place::Referrers, "jws-p256");
        list.extend(server.reports(120).into_iter().map(unnamed));
        server.list(Place::Referrers, &list);
        let decider = decider(&host, &policy(&server, order));
        // The second time from what is at hand.
        for _ in 0..2 {
            let verdict = pull(&decider, &server.name(), digest()).await;
            assert_eq!(said(&verdict), "unjudged over-limit", "{order}");
            let found = &verdict.decision.denial().unwrap().refusal.found;
            assert!(found.contains("signed for another root too"), "{found}");
            assert!(found.contains("were looked at"), "{found}");
        }
    }
}

#[tokio::test]
async fn two_signers_make_the_quorum_whichever_is_found_first_and_from_the_cache() {
    for order in ORDERS {
        for fixtures in [["jws-p256", "cose-p384"], ["cose-p384", "jws-p256"]] {
            let (mut server, mut host) = (Server::empty(), Host::new());
            signed(&server, &fixtures);
            let policy = policy(&server, order);
            let first = decider(&host, &policy);
            let name = server.name();
            let verdict = pull(&first, &name, digest()).await;
            assert_eq!(said(&verdict), "allowed signed", "{order} {fixtures:?}");
            server.stop().await;
            drop(first);
            host.restart();
            let again = decider(&host, &policy);
            let verdict = pull(&again, &name, digest()).await;
            assert_eq!(said(&verdict), "allowed signed", "{order} {fixtures:?}");
        }
    }
}

#[tokio::test]
async fn a_second_signer_that_signs_later_makes_the_quorum() {
    let (server, host) = (Server::empty(), Host::new());
    signed(&server, &["jws-p256"]);
    let decider = decider(&host, &policy(&server, ORDERS[0]));
    let name = server.name();
    let verdict = pull(&decider, &name, digest()).await;
    assert_eq!(said(&verdict), "refused bad-signature");
    signed(&server, &["jws-p256", "jws-p384"]);
    let verdict = pull_at(&decider, &name, digest(), after("8s")).await;
    assert_eq!(said(&verdict), "allowed signed");
}

#[tokio::test]
async fn where_another_signer_may_be_unseen_it_can_not_be_judged() {
    let (mut server, mut host) = (Server::empty(), Host::new());
    signed(&server, &["jws-p256"]);
    let policy = policy(&server, ORDERS[0]);
    let single = policy.replace("quorum = 2", "quorum = 1");
    let name = server.name();
    for policy in [
        &single,
        &single.replace("authority\", \"signer", "signer\", \"authority"),
    ] {
        let verdict = pull(&decider(&host, policy), &name, digest()).await;
        assert_eq!(said(&verdict), "allowed signed");
    }
    server.stop().await;
    host.restart();
    let decider = super::signatures::decider_of(&host, &policy, Duration::from_secs(3));
    let verdict = pull(&decider, &name, digest()).await;
    assert_eq!(said(&verdict), "unjudged source-unreachable");
}

#[tokio::test]
async fn an_entry_that_can_not_be_read_takes_no_signer_away_that_was_read_in_whatever_order() {
    for order in ORDERS {
        let server = Server::empty();
        let signed = |fixture| server.sign(Place::Referrers, fixture).remove(0);
        let gone = json!({ "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": Digest::of(b"gone").to_string(), "size": 4 });
        let all = [signed("jws-p256"), signed("cose-p384"), gone];
        let policy = policy(&server, order);
        let answer = async |list: &[Value]| {
            server.list(Place::Referrers, list);
            let host = Host::new();
            let decider = decider(&host, &policy);
            // The second time from what is at hand.
            let first = said(&pull(&decider, &server.name(), digest()).await);
            assert_eq!(said(&pull(&decider, &server.name(), digest()).await), first);
            first
        };
        for (first, second, third) in [
            (0, 1, 2),
            (0, 2, 1),
            (1, 0, 2),
            (1, 2, 0),
            (2, 0, 1),
            (2, 1, 0),
        ] {
            let list = [first, second, third].map(|at| all[at].clone());
            assert_eq!(
                answer(&list).await,
                "allowed signed",
                "{first}{second}{third} {order}"
            );
        }
        // Here what was not read may be the one that is missing.
        assert_eq!(
            answer(&[all[0].clone(), all[2].clone()]).await,
            "unjudged malformed"
        );
        assert_eq!(answer(&all[..1]).await, "refused bad-signature");
    }
}

/// An index of two manifests; and a quorum of cosign's keys and a root that signs by the first of them.
#[expect(clippy::unused_async, reason = "its server needs a runtime")]
async fn shared_with_the_index(signers: &[&[u8]; 2]) -> (Server, String, Digest) {
    let server = Server::empty();
    let (one, two) = (server.platform("one"), server.platform("two"));
    let index = server.index(&[&one, &two]);
    server.sign_by(1, index);
    for (bytes, seeds) in [&one, &two].into_iter().zip(signers) {
        for seed in *seeds {
            server.sign_by(*seed, Digest::of(bytes));
        }
    }
    let mut publisher = Publisher::new(&server.repository());
    publisher.tag("v1", &index.to_string(), 882);
    publisher.role("targets/releases").keys = vec![Key::of_seed(1).bare()];
    server.publish(&publisher);
    let own = server.root("own", &[publisher.root_key()]);
    let policy = format!(
        "[[root]]\nid = \"builder\"\ntype = \"cosign\"\nkeys = [\"roots/own1.pub\", \"roots/own2.pub\"]\n\
         {own}[[rule]]\nmatch = \"{}\"\nroots = [\"builder\", \"own\"]\nindex = \"by-manifests\"\nquorum = 2\n",
        server.repository()
    );
    (server, policy, index)
}

#[tokio::test]
async fn where_the_signer_of_an_index_is_another_root_s_the_signers_of_its_manifests_count() {
    for (signers, wanted) in [
        ([&[2][..], &[2]], "allowed signed"),
        ([&[2][..], &[]], "refused bad-signature"),
        ([&[2][..], &[1]], "refused bad-signature"),
        ([&[1][..], &[1]], "refused bad-signature"),
    ] {
        let (server, policy, index) = shared_with_the_index(&signers).await;
        let host = Host::new();
        let verdict = pull(&decider(&host, &policy), &server.name(), index).await;
        assert_eq!(said(&verdict), wanted, "{signers:?}: {verdict}");
    }
}

#[tokio::test]
async fn where_the_manifests_of_a_signed_index_can_not_be_read_it_can_not_be_judged() {
    let (server, policy, index) = shared_with_the_index(&[&[2], &[2]]).await;
    server.behave(Manner::StatusAt(503, "/manifests/sha256:"));
    let verdict = pull(&decider(&Host::new(), &policy), &server.name(), index).await;
    assert_eq!(said(&verdict), "unjudged source-unreachable", "{verdict}");
}

//! Signatures on a host without a network: what is at hand, and why it does not count, is said.

use super::setup::{Host, Server, at, pull, pull_at, rule, said};
use super::signatures::{Place, decider, digest};

const UNBOUND: &str = "tags = \"unbound\"";

#[tokio::test]
async fn a_host_without_a_network_is_told_which_signatures_it_has_and_why_they_do_not_count() {
    let notation =
        "[[root]]\nid = \"own\"\ntype = \"notation\"\ncertificates = [\"roots/ca.crt\"]\n";
    let cosign = "[[root]]\nid = \"own\"\ntype = \"cosign\"\nkeys = [\"roots/p256.pub\"]\n";
    let other = cosign.replace("p256.pub", "other.pub");
    for (fixture, before, after, why) in [
        ("jws-expiry", notation, notation, "it expired at 2"),
        ("cose-expiry", notation, notation, "it expired at 2"),
        ("bundle-p256", cosign, &other, "by none of the pinned keys"),
    ] {
        let (mut server, host) = (Server::empty(), Host::new());
        server.sign(Place::Referrers, fixture);
        let name = server.name();
        let rule = rule(&server.repository(), &["own"], UNBOUND);
        let decider_of = |root: &str| decider(&host, &format!("{root}{rule}"));
        let then = at("2026-11-29T21:00:00Z");
        let verdict = pull_at(&decider_of(before), &name, digest(), then).await;
        assert_eq!(said(&verdict), "allowed signed", "{fixture}");
        server.stop().await;
        let verdict = pull(&decider_of(after), &name, digest()).await;
        assert_eq!(said(&verdict), "unjudged source-unreachable", "{fixture}");
        let refusal = &verdict.decision.denial().unwrap().refusal;
        assert!(refusal.found.contains(why), "{refusal}");
        assert!(
            refusal.hint.contains("rootpin bundle import"),
            "{refusal:?}"
        );
    }
}

#[tokio::test]
async fn a_host_without_a_network_is_told_too_of_what_other_roots_left_at_hand() {
    let (mut server, host) = (Server::empty(), Host::new());
    server.sign(Place::Referrers, "bundle-p256");
    server.sign(Place::SignatureTag, "simple-rsa");
    let (name, repository) = (server.name(), server.repository());
    let answer = async |id: &str, key: &str| {
        let root =
            format!("[[root]]\nid = \"{id}\"\ntype = \"cosign\"\nkeys = [\"roots/{key}.pub\"]\n");
        let decider = decider(
            &host,
            &format!("{root}{}", rule(&repository, &[id], UNBOUND)),
        );
        pull(&decider, &name, digest()).await
    };
    for (id, key) in [("one", "p256"), ("two", "rsa")] {
        assert_eq!(said(&answer(id, key).await), "allowed signed", "{id}");
    }
    server.stop().await;
    let verdict = answer("three", "other").await;
    assert_eq!(said(&verdict), "unjudged source-unreachable");
    let found = &verdict.decision.denial().unwrap().refusal.found;
    assert!(found.contains("by none of the pinned keys"), "{found}");
}

//! Long lists beside an image on a slow network: they cost few rounds, and hide no signature of another
//! place however long their entries take.

use std::time::Duration;

use rootpin_trust::Refusal;
use serde_json::Value;

use super::setup::{Host, Manner, Server, TOGETHER, pull, said};
use super::signature_lists::unnamed;
use super::signatures::{Place, decider, decider_of, digest};
use crate::cosign::{self, SIGN};

/// Manifests of a list, and none of a tag.
const LISTED: &str = "/manifests/sha256:";

#[tokio::test]
async fn entries_that_never_come_hide_no_signature_of_another_place_however_many_they_are() {
    for (place, count) in [
        (Place::IndexTag, 1),
        (Place::IndexTag, 30),
        (Place::Referrers, 100),
    ] {
        let (server, host) = (Server::empty(), Host::new());
        let reports: Vec<Value> = server.reports(count).into_iter().map(unnamed).collect();
        server.list(place, &reports);
        server.sign_simply(&[1]);
        server.behave(Manner::HangsAt(LISTED));
        let decider = decider_of(&host, &server.unbound(), Duration::from_secs(6));
        let verdict = pull(&decider, &server.name(), digest()).await;
        assert_eq!(said(&verdict), "allowed signed", "{count} at {place:?}");
    }
}

#[tokio::test]
async fn what_a_list_calls_an_attestation_is_not_asked_for_where_another_place_has_the_signature() {
    let (server, host) = (Server::empty(), Host::new());
    server.list(Place::Referrers, &server.reports(30));
    server.sign_simply(&[1]);
    let decider = decider(&host, &server.unbound());
    let verdict = pull(&decider, &server.name(), digest()).await;
    assert_eq!(said(&verdict), "allowed signed");
    let asked = server.asked();
    let listed = asked.iter().filter(|path| path.contains(LISTED)).count();
    assert_eq!(listed, 0, "{asked:?}");
    // The list, the tag in place of it, the tag of the signature, and its payload.
    assert_eq!(asked.len(), 4, "{asked:?}");
}

#[tokio::test]
async fn entries_and_their_blobs_are_asked_for_several_at_once_and_no_more() {
    for part in [LISTED, "/blobs/"] {
        let (server, host) = (Server::empty(), Host::new());
        // All of them are read: the last one counts.
        let foreign = |at: usize| {
            let annotations = serde_json::json!({ "at": at.to_string() });
            let seed = if at + 1 == 4 * TOGETHER { 1 } else { 2 };
            server.beside(
                SIGN,
                cosign::bundle_of(SIGN, super::signatures::IMAGE, &annotations, seed),
            )
        };
        let list: Vec<Value> = (0..4 * TOGETHER).map(foreign).map(unnamed).collect();
        server.list(Place::IndexTag, &list);
        server.behave(Manner::TogetherAt(part));
        let verdict = pull(&decider(&host, &server.unbound()), &server.name(), digest()).await;
        assert_eq!(said(&verdict), "allowed signed", "{part}");
        assert_eq!(server.most_at_once(), TOGETHER, "{part}");
        let asked = server.asked();
        let of_part = asked.iter().filter(|path| path.contains(part)).count();
        assert_eq!(of_part, 4 * TOGETHER, "{part}");
    }
}

/// The refusal of an image beside which so much is listed at a place, by a server of that manner.
async fn unread(place: Place, count: usize, manner: Manner) -> Refusal {
    let (server, host) = (Server::empty(), Host::new());
    let listed: Vec<Value> = server.reports(count).into_iter().map(unnamed).collect();
    server.list(place, &listed);
    server.behave(manner);
    let decider = decider_of(&host, &server.unbound(), Duration::from_secs(3));
    let verdict = pull(&decider, &server.name(), digest()).await;
    assert_eq!(said(&verdict), "unjudged source-unreachable");
    verdict.decision.denial().unwrap().refusal.clone()
}

#[tokio::test]
async fn a_list_that_is_too_long_for_the_time_is_told_from_a_registry_that_does_not_answer() {
    for place in [Place::Referrers, Place::IndexTag] {
        for (manner, wanted) in [
            (Manner::HangsAt(LISTED), "0 of 10 were read before"),
            (Manner::HangsAt("/blobs/"), "10 of 20 were read before"),
        ] {
            let slow = unread(place, 10, manner).await;
            assert!(slow.found.contains("the registry does answer"), "{slow}");
            assert!(slow.found.contains(wanted), "{place:?}: {slow}");
            assert!(slow.hint.contains("a longer deadline"), "{slow}");
            assert!(!slow.hint.contains("firewall"), "{slow}");
        }
    }
    for manner in [Manner::Hangs, Manner::Status(503)] {
        let silent = unread(Place::Referrers, 10, manner).await;
        assert!(!silent.found.contains("does answer"), "{silent}");
        assert!(!silent.hint.contains("a longer deadline"), "{silent}");
    }
}

#[tokio::test]
async fn a_refusal_for_want_of_time_says_what_the_other_signatures_come_to() {
    let (server, host) = (Server::empty(), Host::new());
    let foreign = server.beside(SIGN, cosign::bundle(super::signatures::IMAGE, 2));
    server.list(Place::IndexTag, &[foreign]);
    server.behave(Manner::HangsAt(".sig"));
    let decider = decider_of(&host, &server.unbound(), Duration::from_secs(3));
    let verdict = pull(&decider, &server.name(), digest()).await;
    assert_eq!(said(&verdict), "unjudged source-unreachable");
    let refusal = &verdict.decision.denial().unwrap().refusal;
    assert!(refusal.found.contains("the others come to"), "{refusal}");
    assert!(refusal.hint.contains("deadline"), "{refusal}");
    assert!(!refusal.hint.contains("firewall"), "{refusal}");
}

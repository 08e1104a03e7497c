//! One digest that is signed under more tags than are looked at: which of them is still found and cached.

use rootpin_trust::image::Digest;
use serde_json::{Value, json};

use super::setup::{Host, Server, pull, rule, said};
use super::signature_lists::described;
use super::signatures::{IMAGE, Place, decider, digest};
use crate::cosign::{self, SIGN, SIGNATURE, SIMPLE};

const SIGNED: &str = "allowed signed";

impl Server {
    /// What cosign 2 writes for such keys and tags, one after the other: layers of the `.sig` tag.
    fn sign_tags(&self, signatures: &[(u8, String)]) {
        let layer = |(seed, tag): &(u8, String)| {
            let annotations = json!({ "tag": tag });
            let (payload, signature) =
                cosign::annotated(&self.repository(), IMAGE, &annotations, *seed);
            let mut layer = described(SIMPLE, &payload);
            layer["annotations"] = json!({ SIGNATURE: signature });
            self.put(&format!("blobs/{}", Digest::of(&payload)), payload);
            layer
        };
        let layers: Vec<Value> = signatures.iter().map(layer).collect();
        let manifest = json!({ "schemaVersion": 2, "layers": layers });
        let place = format!("manifests/sha256-{}.sig", digest().hex());
        self.put(&place, manifest.to_string().into_bytes());
    }

    /// What cosign 3 writes for them: bundles, in a list.
    fn list_tags(&self, place: Place, signatures: &[(u8, String)]) {
        let entry = |(seed, tag): &(u8, String)| {
            let annotations = json!({ "tag": tag });
            self.beside(SIGN, cosign::bundle_of(SIGN, IMAGE, &annotations, *seed))
        };
        let entries: Vec<Value> = signatures.iter().map(entry).collect();
        self.list(place, &entries);
    }

    /// A policy by which so many of two keys must have signed the tag.
    fn of_two_keys(&self, threshold: u8) -> String {
        let rule = rule(&self.repository(), &["own"], "");
        format!(
            "[[root]]\nid = \"own\"\ntype = \"cosign\"\nkeys = [\"roots/own1.pub\", \"roots/own2.pub\"]\nthreshold = {threshold}\nbinds-tag = \"annotation:tag\"\n{rule}"
        )
    }
}

/// Tags that one key signs.
fn many(seed: u8, count: usize) -> Vec<(u8, String)> {
    (0..count).map(|at| (seed, format!("t{at}"))).collect()
}

fn v1(seed: u8) -> Vec<(u8, String)> {
    vec![(seed, "v1".to_owned())]
}

#[tokio::test]
async fn a_tag_is_found_although_a_key_signed_a_hundred_others_that_are_read_before() {
    for place in [Place::Referrers, Place::IndexTag, Place::SignatureTag] {
        let (server, host) = (Server::empty(), Host::new());
        match place {
            // The last of these are read first.
            Place::SignatureTag => server.sign_tags(&[v1(2), many(1, 120)].concat()),
            _ => server.list_tags(place, &[many(1, 120), v1(2)].concat()),
        }
        let decider = decider(&host, &server.of_two_keys(1));
        for tag in ["v1", "t0", "t119"] {
            let name = format!("{}:{tag}", server.repository());
            let verdict = pull(&decider, &name, digest()).await;
            assert_eq!(said(&verdict), SIGNED, "{tag} {place:?}");
        }
    }
}

#[tokio::test]
async fn a_tag_that_two_keys_signed_is_found_among_the_many_of_one_and_cached_for_the_time_after() {
    let (first, later) = (v1(2), v1(1));
    for order in [
        [first.clone(), many(1, 100), later.clone()],
        [later.clone(), many(1, 100), first.clone()],
        [first.clone(), later.clone(), many(1, 100)],
        [many(1, 100), first, later],
    ] {
        let (mut server, mut host) = (Server::empty(), Host::new());
        server.sign_tags(&order.concat());
        let policy = server.of_two_keys(2);
        let by_digest = format!("{}@{IMAGE}", server.repository());
        let decider_before = decider(&host, &policy);
        let verdict = pull(&decider_before, &by_digest, digest()).await;
        assert_eq!(said(&verdict), SIGNED);
        let names = [by_digest, server.name()];
        let other = format!("{}:t1", server.repository());
        let verdict = pull(&decider_before, &other, digest()).await;
        assert_eq!(said(&verdict), "refused no-statement");
        server.stop().await;
        drop(decider_before);
        host.restart();
        let again = decider(&host, &policy);
        for name in names {
            assert_eq!(said(&pull(&again, &name, digest()).await), SIGNED, "{name}");
        }
    }
}

#[tokio::test]
async fn one_key_s_tags_without_an_end_cost_bounded_work_and_the_refusal_says_what_was_left_out() {
    let (server, host) = (Server::empty(), Host::new());
    server.sign_tags(&[v1(1), many(1, 600)].concat());
    let decider = decider(&host, &server.of_two_keys(1));
    let verdict = pull(&decider, &server.name(), digest()).await;
    assert_eq!(said(&verdict), "refused no-statement");
    let refusal = verdict.decision.denial().unwrap().refusal.to_string();
    assert!(refusal.contains("512 of 601 were looked at"), "{refusal}");
    // And what the image is, and its other places.
    assert!(server.asked_of_registry() <= 512 + 4);
}

//! Long lists beside an image, several tags of one digest, and places that fail: what is found of
//! them, and how that is kept.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rootpin_trust::image::Digest;
use serde_json::{Value, json};

use super::setup::{Host, Manner, Server, after, pull, pull_at, rule, said};
use super::signatures::{IMAGE, Place, decider, decider_of, decider_with, digest, mirrored_by};
use crate::cosign::{self, BUNDLE, SIGN, SIGNATURE, SIMPLE};

const OWN: &str = "[[root]]\nid = \"own\"\ntype = \"cosign\"\nkeys = [\"roots/own1.pub\"]\n";
const BOUND: &str = "binds-tag = \"annotation:tag\"\n";
const REPORT: &str = "https://cosign.sigstore.dev/attestation/v1";

pub(super) fn described(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": Digest::of(bytes).to_string(), "size": bytes.len() })
}

/// An entry as the tag in place of a list has it: only its manifest says what it is.
pub(super) fn unnamed(mut entry: Value) -> Value {
    entry["artifactType"] = json!("application/vnd.oci.empty.v1+json");
    entry["annotations"] = json!({});
    entry
}

impl Server {
    /// A bundle beside the image, as a list names it.
    pub(super) fn beside(&self, predicate: &str, bundle: Vec<u8>) -> Value {
        let layer = described(BUNDLE, &bundle);
        self.put(&format!("blobs/{}", Digest::of(&bundle)), bundle);
        let annotations = json!({ "dev.sigstore.bundle.predicateType": predicate });
        let manifest = json!({ "schemaVersion": 2, "subject": { "digest": IMAGE }, "layers": [layer],
            "artifactType": BUNDLE, "annotations": annotations });
        let manifest = manifest.to_string().into_bytes();
        let mut entry = described("application/vnd.oci.image.manifest.v1+json", &manifest);
        self.put(&format!("manifests/{}", Digest::of(&manifest)), manifest);
        entry["artifactType"] = json!(BUNDLE);
        entry["annotations"] = annotations;
        entry
    }

    /// A signature of the image under a tag.
    pub(super) fn tagged(&self, tag: &str) -> Value {
        let annotations = json!({ "tag": tag });
        self.beside(SIGN, cosign::bundle_of(SIGN, IMAGE, &annotations, 1))
    }

    pub(super) fn reports(&self, count: usize) -> Vec<Value> {
        let report = |at: usize| {
            let annotations = json!({ "at": at.to_string() });
            self.beside(REPORT, cosign::bundle_of(REPORT, IMAGE, &annotations, 1))
        };
        (0..count).map(report).collect()
    }

    /// What cosign 2 writes: layers of the `.sig` tag, by keys of these seeds.
    pub(super) fn sign_simply(&self, seeds: &[u8]) {
        let layers = seeds.iter().enumerate().map(|(at, seed)| {
            let repository = format!("r.example/{at}");
            let (payload, signature) = cosign::simple(&repository, IMAGE, *seed);
            let mut layer = described(SIMPLE, &payload);
            layer["annotations"] = json!({ SIGNATURE: signature });
            self.put(&format!("blobs/{}", Digest::of(&payload)), payload);
            layer
        });
        let layers: Vec<Value> = layers.collect();
        let manifest = json!({ "schemaVersion": 2, "layers": layers });
        let tag = format!("manifests/sha256-{}.sig", digest().hex());
        self.put(&tag, manifest.to_string().into_bytes());
    }

    pub(super) fn unbound(&self) -> String {
        let rule = rule(&self.repository(), &["own"], "tags = \"unbound\"");
        format!("{OWN}{rule}")
    }

    pub(super) fn bound(&self) -> String {
        format!("{OWN}{BOUND}{}", rule(&self.repository(), &["own"], ""))
    }

    pub(super) fn tag(&self, tag: &str) -> String {
        format!("{}:{tag}", self.repository())
    }
}

#[tokio::test]
async fn each_tag_that_a_digest_is_signed_under_is_taken_whichever_is_listed_first() {
    for order in [["v1", "latest"], ["latest", "v1"]] {
        let (mut server, mut host) = (Server::empty(), Host::new());
        server.list(Place::Referrers, &order.map(|tag| server.tagged(tag)));
        let policy = server.bound();
        let first = decider(&host, &policy);
        for tag in ["latest", "v1", "latest"] {
            let verdict = pull(&first, &server.tag(tag), digest()).await;
            assert_eq!(said(&verdict), "allowed signed", "{tag} of {order:?}");
        }
        let verdict = pull(&first, &server.tag("v2"), digest()).await;
        assert_eq!(said(&verdict), "refused no-statement");
        // What was found for one tag is kept beside what was found for another.
        let names = ["v1", "latest", "v2"].map(|tag| server.tag(tag));
        server.stop().await;
        drop(first);
        host.restart();
        let again = decider(&host, &policy);
        for (name, wanted) in names.iter().zip([
            "allowed signed",
            "allowed signed",
            "unjudged source-unreachable",
        ]) {
            assert_eq!(said(&pull(&again, name, digest()).await), wanted, "{name}");
        }
    }
}

#[tokio::test]
async fn a_pull_of_one_tag_caches_what_counts_for_others_for_the_time_without_a_network() {
    for order in [["v1", "v2"], ["v2", "v1"]] {
        let (mut server, mut host) = (Server::empty(), Host::new());
        server.list(Place::Referrers, &order.map(|tag| server.tagged(tag)));
        let policy = server.bound();
        let first = decider(&host, &policy);
        let verdict = pull(&first, &server.tag("v1"), digest()).await;
        assert_eq!(said(&verdict), "allowed signed", "{order:?}");
        let other = server.tag("v2");
        server.stop().await;
        drop(first);
        host.restart();
        let verdict = pull(&decider(&host, &policy), &other, digest()).await;
        assert_eq!(said(&verdict), "allowed signed", "{order:?}");
    }
}

#[tokio::test]
async fn a_tag_that_is_signed_later_is_taken_although_another_one_was_cached() {
    let (server, host) = (Server::empty(), Host::new());
    let first = server.tagged("v1");
    server.list(Place::Referrers, std::slice::from_ref(&first));
    let decider = decider(&host, &server.bound());
    let asked = async |tag: &str, wait: &str| {
        let moment = after(wait);
        said(&pull_at(&decider, &server.tag(tag), digest(), moment).await)
    };
    assert_eq!(asked("v1", "0s").await, "allowed signed");
    assert_eq!(asked("v2", "0s").await, "refused no-statement");
    server.list(Place::Referrers, &[first, server.tagged("v2")]);
    assert_eq!(asked("v2", "8s").await, "allowed signed");
    assert_eq!(asked("v1", "8s").await, "allowed signed");
}

#[tokio::test]
async fn attestations_that_are_listed_first_hide_no_signature_of_either_tool() {
    let (server, host) = (Server::empty(), Host::new());
    let mut list = server.reports(70);
    list.push(server.beside(SIGN, cosign::bundle(IMAGE, 1)));
    let silent: Vec<Value> = list.iter().cloned().map(unnamed).collect();
    list.extend(
        server
            .sign(Place::IndexTag, "jws-p256")
            .into_iter()
            .map(|mut entry| {
                entry["artifactType"] = json!("application/vnd.cncf.notary.signature");
                entry
            }),
    );
    for list in [list.as_slice(), &silent] {
        server.list(Place::Referrers, list);
        server.list(Place::IndexTag, &[]);
        let fresh = Host::new();
        let cosign = decider(&fresh, &server.unbound());
        let verdict = pull(&cosign, &server.name(), digest()).await;
        assert_eq!(said(&verdict), "allowed signed");
    }
    server.list(Place::Referrers, &list);
    let notation = server
        .unbound()
        .replace("\"cosign\"", "\"notation\"")
        .replace(
            "keys = [\"roots/own1.pub\"]",
            "certificates = [\"roots/ca.crt\"]",
        );
    let verdict = pull(&decider(&host, &notation), &server.name(), digest()).await;
    assert_eq!(said(&verdict), "allowed signed");
}

#[tokio::test]
async fn a_refusal_says_how_much_of_a_longer_list_was_looked_at() {
    let (server, host) = (Server::empty(), Host::new());
    server.list(Place::Referrers, &server.reports(120));
    let verdict = pull(&decider(&host, &server.unbound()), &server.name(), digest()).await;
    assert_eq!(said(&verdict), "refused no-statement");
    let refusal = verdict.decision.denial().unwrap().refusal.to_string();
    assert!(refusal.contains("64 of 120 were looked at"), "{refusal}");
    // And what the image is.
    assert!(server.asked_of_registry() <= 96 + 64 + 3 + 1);
}

#[tokio::test]
async fn the_newest_of_many_signatures_in_the_sig_tag_counts() {
    let (server, host) = (Server::empty(), Host::new());
    server.sign_simply(&[[2; 70].as_slice(), &[1]].concat());
    let verdict = pull(&decider(&host, &server.unbound()), &server.name(), digest()).await;
    assert_eq!(said(&verdict), "allowed signed");
    server.sign_simply(&[[1].as_slice(), &[2; 70]].concat());
    let verdict = pull(
        &decider(&Host::new(), &server.unbound()),
        &server.name(),
        digest(),
    )
    .await;
    let refusal = verdict.decision.denial().unwrap().refusal.to_string();
    assert!(refusal.contains("64 of 71 were looked at"), "{refusal}");
}

#[tokio::test]
async fn a_list_of_referrers_that_fails_or_hangs_hides_no_other_place() {
    for manner in [
        Manner::StatusAt(500, "/referrers/"),
        Manner::StatusAt(429, "/referrers/"),
        Manner::StatusAt(503, "/referrers/"),
        Manner::HangsAt("/referrers/"),
    ] {
        let (server, host) = (Server::empty(), Host::new());
        server.behave(manner);
        let policy = server.unbound();
        let decider = decider_of(&host, &policy, Duration::from_secs(3));
        let verdict = pull(&decider, &server.name(), digest()).await;
        assert_eq!(said(&verdict), "unjudged source-unreachable");
        server.sign_simply(&[1]);
        let verdict = pull_at(&decider, &server.name(), digest(), after("8s")).await;
        assert_eq!(said(&verdict), "allowed signed");
    }
}

#[tokio::test]
async fn a_silent_mirror_leaves_the_registry_an_equal_part_of_the_time() {
    let (mirror, server, host) = (Server::empty(), Server::empty(), Host::new());
    mirror.behave(Manner::Hangs);
    server.behave(Manner::HangsAt("/referrers/"));
    server.sign_simply(&[1]);
    let credentials = mirrored_by(&host, &server, &mirror);
    let time = Duration::from_secs(6);
    let decider = decider_with(&host, &server.unbound(), time, credentials);
    let begun = Instant::now();
    let verdict = pull(&decider, &server.name(), digest()).await;
    assert_eq!(said(&verdict), "allowed signed");
    assert!(!mirror.asked().is_empty());
    // A half of it, and of the registry's half the first of its three places a half.
    assert!(begun.elapsed() < time * 5 / 6, "{:?}", begun.elapsed());
}

/// What `cosign sign-blob` writes of a file.
fn of_file(content: &[u8]) -> Vec<u8> {
    let hash = STANDARD.encode(Digest::of(content).as_bytes());
    let message = json!({ "messageDigest": { "algorithm": "SHA2_256", "digest": hash }, "signature": cosign::signed(1, content) });
    let bundle = json!({ "mediaType": BUNDLE, "verificationMaterial": { "publicKey": { "hint": "" } }, "messageSignature": message });
    bundle.to_string().into_bytes()
}

#[tokio::test]
async fn the_signature_of_a_file_is_none_of_an_image_unless_the_root_says_so() {
    let (server, host) = (Server::empty(), Host::new());
    let manifest = std::fs::read(super::signatures::folder("image.json")).unwrap();
    let entry = server.beside("", of_file(&manifest));
    server.list(Place::Referrers, &[entry]);
    let policy = server.unbound();
    let verdict = pull(&decider(&host, &policy), &server.name(), digest()).await;
    assert_eq!(said(&verdict), "refused no-statement");
    let opted = policy.replace(
        "type = \"cosign\"",
        "type = \"cosign\"\nformat = \"message-signature\"",
    );
    let verdict = pull(&decider(&host, &opted), &server.name(), digest()).await;
    assert_eq!(said(&verdict), "allowed signed");
}

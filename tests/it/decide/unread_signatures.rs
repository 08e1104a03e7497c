//! What a registry lists beside an image and can't give, or gives too large: it hides no signature
//! that is there, and is no proof that there is none.

use std::time::Duration;

use rootpin_trust::image::Digest;
use serde_json::{Value, json};

use super::setup::{Host, Manner, Server, after, pull, pull_at, rule, said};
use super::signatures::{IMAGE, Place, decider, decider_with, digest, mirrored_by};
use crate::cosign::{self, BUNDLE, SIGN, SIGNATURE, SIMPLE};

const OWN: &str = "[[root]]\nid = \"own\"\ntype = \"cosign\"\nkeys = [\"roots/own1.pub\"]\n";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

fn policy(server: &Server, more: &str) -> String {
    let rule = rule(
        &server.repository(),
        &["own"],
        &format!("tags = \"unbound\"\n{more}"),
    );
    format!("{OWN}{rule}")
}

fn described(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": Digest::of(bytes).to_string(), "size": bytes.len() })
}

/// A layer that claims to be a signature, of these bytes.
fn layer(payload: &[u8], signature: &str) -> Value {
    let mut layer = described(SIMPLE, payload);
    layer["annotations"] = json!({ SIGNATURE: signature });
    layer
}

impl Server {
    /// A layer with a good signature.
    fn good(&self) -> Value {
        let (payload, signature) = cosign::simple(&self.repository(), IMAGE, 1);
        self.put(&format!("blobs/{}", Digest::of(&payload)), payload.clone());
        layer(&payload, &signature)
    }

    fn put_sig(&self, layers: &[Value], more: &str) {
        let manifest =
            json!({ "schemaVersion": 2, "layers": layers, "annotations": { "more": more } });
        let tag = format!("manifests/sha256-{}.sig", digest().hex());
        self.put(&tag, manifest.to_string().into_bytes());
    }

    /// A manifest beside the image, as a list names it.
    fn referrer(&self, layers: &[Value]) -> Value {
        let manifest =
            json!({ "schemaVersion": 2, "subject": { "digest": IMAGE }, "layers": layers });
        let manifest = manifest.to_string().into_bytes();
        let entry = described(MANIFEST, &manifest);
        self.put(&format!("manifests/{}", Digest::of(&manifest)), manifest);
        entry
    }

    /// The answer of a host that has seen nothing yet, and its refusal.
    async fn answer(&self) -> (String, String) {
        let host = Host::new();
        let verdict = pull(&decider(&host, &policy(self, "")), &self.name(), digest()).await;
        let refusal = verdict.decision.denial().map(|no| no.refusal.to_string());
        (said(&verdict), refusal.unwrap_or_default())
    }

    /// The answer of such a host that asks a mirror first.
    async fn answer_behind(&self, mirror: &Server) -> String {
        let host = Host::new();
        let credentials = mirrored_by(&host, self, mirror);
        let decider = decider_with(
            &host,
            &policy(self, ""),
            Duration::from_secs(20),
            credentials,
        );
        let verdict = pull(&decider, &self.name(), digest()).await;
        assert!(!mirror.asked().is_empty());
        said(&verdict)
    }
}

#[tokio::test]
async fn a_layer_that_can_not_be_read_hides_no_signature_beside_it_and_alone_can_not_be_judged() {
    let large = vec![b' '; 400_000];
    let gone = layer(b"gone", "AAAA");
    let mut lying = layer(&large, "AAAA");
    lying["size"] = json!(10);
    for (bad, code) in [(&gone, "malformed"), (&lying, "over-limit")] {
        for at in [Place::SignatureTag, Place::Referrers] {
            let place = |server: &Server, layers: &[Value]| match at {
                Place::SignatureTag => server.put_sig(layers, ""),
                _ => server.list(at, &[server.referrer(layers)]),
            };
            let server = Server::empty();
            server.put(&format!("blobs/{}", Digest::of(&large)), large.clone());
            for layers in [[bad.clone(), server.good()], [server.good(), bad.clone()]] {
                place(&server, &layers);
                assert_eq!(server.answer().await.0, "allowed signed", "{at:?} {code}");
            }
            place(&server, std::slice::from_ref(bad));
            let (said, refusal) = server.answer().await;
            assert_eq!(said, format!("unjudged {code}"), "{at:?}");
            assert!(refusal.contains("it may be a signature"), "{refusal}");
        }
    }
}

#[tokio::test]
async fn a_manifest_that_is_listed_and_gone_hides_no_other_one_and_alone_can_not_be_judged() {
    for place in [Place::Referrers, Place::IndexTag] {
        let server = Server::empty();
        let gone = described(MANIFEST, b"gone");
        let good = server.referrer(&[server.good()]);
        server.list(place, &[gone.clone(), good]);
        assert_eq!(server.answer().await.0, "allowed signed");
        server.list(place, &[gone]);
        assert_eq!(server.answer().await.0, "unjudged malformed", "{place:?}");
    }
}

#[tokio::test]
async fn a_sig_manifest_with_hundreds_of_signatures_is_read() {
    let server = Server::empty();
    let others = (0..700).map(|at: u32| layer(&at.to_be_bytes(), &"A".repeat(1000)));
    let layers: Vec<Value> = others.chain([server.good()]).collect();
    server.put_sig(&layers, "");
    assert_eq!(server.answer().await.0, "allowed signed");
    // One that is larger than is read at all.
    server.put_sig(&[server.good()], &"A".repeat(5 << 20));
    assert_eq!(server.answer().await.0, "unjudged over-limit");
}

#[tokio::test]
async fn what_can_not_be_read_is_asked_for_once_in_a_while() {
    let (server, host) = (Server::empty(), Host::new());
    server.put_sig(&[layer(b"gone", "AAAA")], "");
    let decider = decider(&host, &policy(&server, ""));
    let verdict = pull(&decider, &server.name(), digest()).await;
    assert_eq!(said(&verdict), "unjudged malformed");
    server.asked();
    let verdict = pull(&decider, &server.name(), digest()).await;
    assert_eq!(said(&verdict), "unjudged malformed");
    assert_eq!(server.asked_of_registry(), 0);
    server.put_sig(&[layer(b"gone", "AAAA"), server.good()], "");
    let verdict = pull_at(&decider, &server.name(), digest(), after("8s")).await;
    assert_eq!(said(&verdict), "allowed signed");
}

#[tokio::test]
async fn junk_beside_an_index_hides_no_signatures_of_its_manifests() {
    let (server, host) = (Server::empty(), Host::new());
    let part = server.platform("one");
    let index = server.index(&[&part]);
    server.sign_by(1, Digest::of(&part));
    let junk = json!({ "schemaVersion": 2, "layers": [layer(b"gone", "AAAA")] });
    let tag = format!("manifests/sha256-{}.sig", index.hex());
    server.put(&tag, junk.to_string().into_bytes());
    let decider = decider(&host, &policy(&server, "index = \"by-manifests\""));
    let verdict = pull(&decider, &server.name(), index).await;
    assert_eq!(said(&verdict), "allowed signed");
}

#[tokio::test]
async fn a_manifest_of_many_layers_says_how_many_were_looked_at() {
    let server = Server::empty();
    let layers: Vec<Value> = (0..21)
        .map(|at: u32| {
            let bytes = cosign::bundle_of(SIGN, IMAGE, &json!({ "at": at.to_string() }), 2);
            let layer = described(BUNDLE, &bytes);
            server.put(&format!("blobs/{}", Digest::of(&bytes)), bytes);
            layer
        })
        .collect();
    server.list(Place::Referrers, &[server.referrer(&layers)]);
    let (said, refusal) = server.answer().await;
    assert_eq!(said, "refused no-statement");
    assert!(refusal.contains("8 of 21 were looked at"), "{refusal}");
}

#[tokio::test]
async fn a_signature_on_a_later_page_is_found_however_the_page_is_named() {
    let server = Server::empty();
    let path = format!("/v2/team/app/referrers/{IMAGE}");
    let list = |entries: &[Value]| json!({ "schemaVersion": 2, "manifests": entries });
    let good = server.referrer(&[server.good()]);
    let second = list(&[good]).to_string().into_bytes();
    server.put_file(&format!("{path}?at=1"), second);
    server.list(Place::Referrers, &[]);
    let authority = server.url().trim_start_matches("http://").to_owned();
    for link in [
        format!("<{path}?at=1>; rel=\"next\""),
        format!("<{path}?at=1>; rel=next"),
        format!("<https://{authority}{path}?at=1>; rel=\"next\""),
        format!("</x>; rel=\"first\", <{path}?at=1>; rel=\"next\""),
    ] {
        server.link(&path, &link);
        assert_eq!(server.answer().await.0, "allowed signed", "{link}");
    }
    server.link(
        &path,
        &format!("<https://elsewhere.example{path}?at=1>; rel=next"),
    );
    let (said, refusal) = server.answer().await;
    assert_eq!(said, "refused no-statement");
    assert!(refusal.contains("more than 0 were looked at"), "{refusal}");
}

#[tokio::test]
async fn a_page_that_fails_hides_no_page_before_it() {
    let server = Server::empty();
    let path = format!("/v2/team/app/referrers/{IMAGE}");
    server.list(Place::Referrers, &[server.referrer(&[server.good()])]);
    server.link(&path, &format!("<{path}?at=1>; rel=next"));
    server.behave(Manner::StatusAt(500, "?at=1"));
    assert_eq!(server.answer().await.0, "allowed signed");
    server.list(Place::Referrers, &[]);
    assert_eq!(server.answer().await.0, "unjudged source-unreachable");
}

#[tokio::test]
async fn a_mirror_that_has_a_manifest_without_its_signature_hides_nothing_that_the_registry_has() {
    for place in [Place::Referrers, Place::IndexTag] {
        let (mirror, server) = (Server::empty(), Server::empty());
        let layers = [server.good()];
        for one in [&mirror, &server] {
            one.list(place, &[one.referrer(&layers)]);
        }
        let said = server.answer_behind(&mirror).await;
        assert_eq!(said, "allowed signed", "{place:?}");
    }
}

#[tokio::test]
async fn that_a_mirror_fails_makes_a_no_of_the_registry_no_less_of_one() {
    for manner in [Manner::Status(500), Manner::Status(403), Manner::Garbage] {
        let (mirror, server) = (Server::empty(), Server::empty());
        mirror.behave(manner);
        let said = server.answer_behind(&mirror).await;
        assert_eq!(said, "refused no-statement", "{manner:?}");
        // Where the registry fails too, nothing is known.
        server.behave(Manner::Status(500));
        let said = server.answer_behind(&mirror).await;
        assert_eq!(said, "unjudged source-unreachable", "{manner:?}");
    }
    // What it lists and can't give is the mirror's alone.
    let (mirror, server) = (Server::empty(), Server::empty());
    mirror.put_sig(&[layer(b"gone", "AAAA")], "");
    assert_eq!(server.answer_behind(&mirror).await, "refused no-statement");
}

#[tokio::test]
async fn a_root_that_has_another_id_finds_what_it_had_beside_whatever_others_have() {
    let (server, host) = (Server::empty(), Host::new());
    let many: Vec<Value> = (0..64)
        .map(|at: u32| {
            let bytes = cosign::bundle_of(SIGN, IMAGE, &json!({ "at": at.to_string() }), 2);
            let layer = described(BUNDLE, &bytes);
            server.put(&format!("blobs/{}", Digest::of(&bytes)), bytes);
            layer
        })
        .collect();
    let many: Vec<Value> = many.chunks(8).map(|some| server.referrer(some)).collect();
    let good = server.referrer(&[server.good()]);
    let of = |id: &str, key: &str| {
        let policy = policy(&server, "").replace("\"own\"", &format!("\"{id}\""));
        policy.replace("own1.pub", key)
    };
    for (list, policy) in [
        (many, of("a", "own2.pub")),
        (vec![good], of("b", "own1.pub")),
    ] {
        server.list(Place::Referrers, &list);
        let verdict = pull(&decider(&host, &policy), &server.name(), digest()).await;
        assert_eq!(said(&verdict), "allowed signed");
    }
    server.asked();
    let decider = decider(&host, &of("c", "own1.pub"));
    let verdict = pull(&decider, &server.name(), digest()).await;
    assert_eq!(said(&verdict), "allowed signed");
    assert_eq!(server.asked_of_registry(), 0);
}

//! Answers that are not what was asked for: a web page of a proxy, an error with the status 200, half a
//! document. None of them says that an image has no signature, at whichever place they are.

use std::time::Duration;

use rootpin_trust::image::Digest;
use serde_json::{Value, json};

use super::setup::{Host, Manner, Server, pull, said};
use super::signatures::{IMAGE, Place, decider, decider_with, digest, mirrored_by};
use crate::cosign::{self, BUNDLE};

const NO: &str = "refused no-statement";
const DOUBT: &str = "unjudged malformed";
const YES: &str = "allowed signed";

/// What a proxy, a portal or a broken registry may send with the status 200.
fn broken() -> Vec<(&'static str, Vec<u8>)> {
    let errors = json!({ "errors": [{ "code": "MANIFEST_UNKNOWN", "message": "unknown" }] });
    let list = json!({ "schemaVersion": 2, "manifests": [] }).to_string();
    let half = list.as_bytes()[..list.len() - 2].to_vec();
    vec![
        ("a page", b"<html><title>Sign in</title></html>".to_vec()),
        ("nothing", Vec::new()),
        ("a list", b"[]".to_vec()),
        ("null", b"null".to_vec()),
        ("another object", b"{\"status\":\"ok\"}".to_vec()),
        ("an error", errors.to_string().into_bytes()),
        ("half a list", half),
        ("two documents", format!("{list}{list}").into_bytes()),
    ]
}

fn list_of(place: Place) -> String {
    match place {
        Place::Referrers => format!("referrers/{IMAGE}"),
        Place::IndexTag => format!("manifests/sha256-{}", digest().hex()),
        Place::SignatureTag => format!("manifests/sha256-{}.sig", digest().hex()),
    }
}

const PLACES: [Place; 3] = [Place::Referrers, Place::IndexTag, Place::SignatureTag];

impl Server {
    async fn answers(&self) -> String {
        let host = Host::new();
        let decider = decider(&host, &self.unbound());
        said(&pull(&decider, &self.name(), digest()).await)
    }
}

#[tokio::test]
async fn a_broken_answer_at_a_place_is_no_word_that_nothing_is_there_and_hides_no_other_place() {
    for place in PLACES {
        for (what, bytes) in broken() {
            let server = Server::empty();
            assert_eq!(server.answers().await, NO);
            server.put(&list_of(place), bytes);
            assert_eq!(server.answers().await, DOUBT, "{what} at {place:?}");
            if place == Place::SignatureTag {
                let good = server.beside(cosign::SIGN, cosign::bundle(IMAGE, 1));
                server.list(Place::IndexTag, &[good]);
            } else {
                server.sign_simply(&[1]);
            }
            assert_eq!(server.answers().await, YES, "{what} at {place:?}");
        }
    }
}

#[tokio::test]
async fn a_document_of_another_kind_at_a_place_is_no_answer_and_an_empty_one_is() {
    let list = json!({ "schemaVersion": 2, "manifests": [] });
    let manifest = json!({ "schemaVersion": 2, "layers": [] });
    for (place, bytes, wanted) in [
        (Place::Referrers, &list, NO),
        (Place::IndexTag, &list, NO),
        (Place::SignatureTag, &manifest, NO),
        (Place::Referrers, &manifest, DOUBT),
        (Place::IndexTag, &manifest, DOUBT),
        (Place::SignatureTag, &list, DOUBT),
    ] {
        let server = Server::empty();
        server.put(&list_of(place), bytes.to_string().into_bytes());
        assert_eq!(server.answers().await, wanted, "{place:?}");
    }
}

#[tokio::test]
async fn a_broken_answer_in_place_of_a_manifest_or_a_signature_that_is_listed_is_no_answer() {
    for part in ["/manifests/sha256:", "/blobs/"] {
        for (what, bytes) in broken() {
            let server = Server::empty();
            let good = server.beside(cosign::SIGN, cosign::bundle(IMAGE, 1));
            server.list(Place::Referrers, &[good]);
            assert_eq!(server.answers().await, YES);
            server.replace(part, Some(&bytes));
            assert_eq!(server.answers().await, DOUBT, "{what} at {part}");
        }
    }
    // A list may name it, too.
    for bytes in [&b"<html>"[..], b"[]", b""] {
        let server = Server::empty();
        let digest = Digest::of(bytes).to_string();
        server.put(&format!("manifests/{digest}"), bytes.to_vec());
        let entry = json!({ "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": bytes.len() });
        server.list(Place::Referrers, &[entry]);
        assert_eq!(server.answers().await, DOUBT);
    }
}

#[tokio::test]
async fn an_entry_or_a_layer_without_what_it_takes_to_read_it_may_be_a_signature() {
    let sha512 = format!("sha512:{}", "0".repeat(128));
    for odd in [
        json!({}),
        json!(1),
        json!({ "mediaType": BUNDLE, "digest": sha512, "size": 1 }),
    ] {
        for place in [Place::Referrers, Place::IndexTag] {
            let server = Server::empty();
            server.list(place, std::slice::from_ref(&odd));
            assert_eq!(server.answers().await, DOUBT, "{odd} at {place:?}");
            let good = server.beside(cosign::SIGN, cosign::bundle(IMAGE, 1));
            server.list(place, &[odd.clone(), good]);
            assert_eq!(server.answers().await, YES, "{odd} at {place:?}");
        }
    }
    let layers = |layer: &Value| json!({ "schemaVersion": 2, "layers": [layer] });
    let sbom = json!({ "mediaType": "text/spdx+json", "digest": sha512, "size": 1 });
    let signature = json!({ "mediaType": BUNDLE, "digest": sha512, "size": 1 });
    for (layer, wanted) in [(sbom, NO), (signature, DOUBT)] {
        let server = Server::empty();
        let manifest = layers(&layer).to_string().into_bytes();
        server.put(&list_of(Place::SignatureTag), manifest);
        assert_eq!(server.answers().await, wanted, "{layer}");
    }
}

#[tokio::test]
async fn a_page_on_a_later_page_of_a_list_is_no_end_of_it() {
    let server = Server::empty();
    let path = format!("/v2/team/app/referrers/{IMAGE}");
    server.list(Place::Referrers, &[]);
    server.link(&path, &format!("<{path}?at=1>; rel=next"));
    for (what, bytes) in broken() {
        server.put_file(&format!("{path}?at=1"), bytes);
        assert_eq!(server.answers().await, DOUBT, "{what}");
    }
}

#[tokio::test]
async fn a_mirror_that_answers_with_pages_says_nothing_of_what_the_registry_has() {
    for (signs, wanted) in [(false, NO), (true, YES)] {
        let (mirror, server, host) = (Server::empty(), Server::empty(), Host::new());
        mirror.behave(Manner::Garbage);
        if signs {
            server.sign_simply(&[1]);
        }
        let credentials = mirrored_by(&host, &server, &mirror);
        let time = Duration::from_secs(20);
        let decider = decider_with(&host, &server.unbound(), time, credentials);
        let verdict = pull(&decider, &server.name(), digest()).await;
        assert_eq!(said(&verdict), wanted);
        // Where the registry itself does, nothing is known.
        server.behave(Manner::Garbage);
        assert_eq!(server.answers().await, DOUBT);
    }
}

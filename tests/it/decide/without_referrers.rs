//! What a registry says of its list of referrers: that there is none, for now or for long, or that it is
//! denied. One odd answer hides the signatures of no other image.

use std::time::Duration;

use rootpin_trust::image::Digest;
use serde_json::{Value, json};

use super::setup::{Host, Manner, Server, after, pull, pull_at, said};
use super::signature_lists::unnamed;
use super::signatures::{IMAGE, Place, decider, decider_of, digest};
use crate::cosign::{self, BUNDLE};

const LISTS: &str = "/referrers/";

fn described(kind: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": kind, "digest": Digest::of(bytes).to_string(), "size": bytes.len() })
}

impl Server {
    /// A bundle beside any image, in the registry's list of referrers.
    fn sign_any(&self, image: Digest) {
        let bundle = cosign::bundle(&image.to_string(), 1);
        let layer = described(BUNDLE, &bundle);
        self.put(&format!("blobs/{}", Digest::of(&bundle)), bundle);
        let manifest = json!({ "schemaVersion": 2, "subject": { "digest": image.to_string() }, "layers": [layer] });
        let manifest = manifest.to_string().into_bytes();
        let entry = described("application/vnd.oci.image.manifest.v1+json", &manifest);
        self.put(&format!("manifests/{}", Digest::of(&manifest)), manifest);
        let list = json!({ "schemaVersion": 2, "manifests": [entry] });
        self.put(&format!("referrers/{image}"), list.to_string().into_bytes());
    }

    fn lists_asked(&self) -> usize {
        let asked = self.asked();
        asked.iter().filter(|path| path.contains(LISTS)).count()
    }
}

#[tokio::test]
async fn that_there_is_no_list_is_remembered_and_asked_once_more_before_another_image_is_refused() {
    for status in [400, 404, 405, 406, 501] {
        let (server, host) = (Server::empty(), Host::new());
        let images = ["one", "two", "three"].map(|name| Digest::of(name.as_bytes()));
        server.sign_any(images[1]);
        server.sign_simply(&[1]);
        server.behave(Manner::StatusAt(status, LISTS));
        let decider = decider(&host, &server.unbound());
        let answer = async |image| said(&pull(&decider, &server.name(), image).await);
        assert_eq!(answer(images[0]).await, "refused no-statement", "{status}");
        assert_eq!(server.lists_asked(), 1);
        // What is signed at another place needs no list.
        assert_eq!(answer(digest()).await, "allowed signed");
        assert_eq!(server.lists_asked(), 0);
        server.behave(Manner::Honest);
        assert_eq!(answer(images[1]).await, "allowed signed", "{status}");
        assert_eq!(server.lists_asked(), 1);
    }
    // Of many images that are not signed, the first has the list asked for.
    let (server, host) = (Server::empty(), Host::new());
    let decider = decider(&host, &server.unbound());
    for (name, wanted) in [("one", 1), ("two", 1), ("three", 0), ("four", 0)] {
        let verdict = pull(&decider, &server.name(), Digest::of(name.as_bytes())).await;
        assert_eq!(said(&verdict), "refused no-statement");
        assert_eq!(server.lists_asked(), wanted, "{name}");
    }
}

#[tokio::test]
async fn a_registry_that_gave_a_list_is_not_believed_to_have_none() {
    let none = "refused no-statement";
    let odd = "unjudged malformed";
    for (status, wanted) in [(404, none), (400, odd), (405, odd), (406, odd), (410, odd)] {
        let (server, host) = (Server::empty(), Host::new());
        let images = ["one", "two", "three"].map(|name| Digest::of(name.as_bytes()));
        for image in images {
            server.sign_any(image);
        }
        let decider = decider(&host, &server.unbound());
        let answer = async |image| said(&pull(&decider, &server.name(), image).await);
        assert_eq!(answer(images[0]).await, "allowed signed");
        server.behave(Manner::StatusAt(status, LISTS));
        assert_eq!(answer(images[1]).await, wanted, "{status}");
        // It is not remembered.
        server.behave(Manner::Honest);
        server.asked();
        assert_eq!(answer(images[2]).await, "allowed signed", "{status}");
        let later = after("8s");
        let verdict = pull_at(&decider, &server.name(), images[1], later).await;
        assert_eq!(said(&verdict), "allowed signed", "{status}");
    }
}

#[tokio::test]
async fn a_list_that_is_denied_or_gone_is_no_word_that_there_is_none() {
    for (status, wanted) in [
        (401, "unjudged source-denied"),
        (403, "unjudged source-denied"),
        (410, "unjudged malformed"),
    ] {
        let (server, host) = (Server::empty(), Host::new());
        server.behave(Manner::StatusAt(status, LISTS));
        let verdict = pull(&decider(&host, &server.unbound()), &server.name(), digest()).await;
        assert_eq!(said(&verdict), wanted, "{status}");
        // It hides no other place.
        server.sign_simply(&[1]);
        let host = Host::new();
        let verdict = pull(&decider(&host, &server.unbound()), &server.name(), digest()).await;
        assert_eq!(said(&verdict), "allowed signed", "{status}");
    }
}

#[tokio::test]
async fn a_web_page_in_place_of_a_list_is_forgotten_at_once() {
    let (server, host) = (Server::empty(), Host::new());
    let images = ["one", "two"].map(|name| Digest::of(name.as_bytes()));
    let page = format!("referrers/{}", images[0]);
    server.put(&page, b"<html>sign in</html>".to_vec());
    server.sign_any(images[1]);
    let decider = decider(&host, &server.unbound());
    for (image, wanted) in [
        (images[0], "unjudged malformed"),
        (images[1], "allowed signed"),
    ] {
        let verdict = pull(&decider, &server.name(), image).await;
        assert_eq!(said(&verdict), wanted);
        assert_eq!(server.lists_asked(), 1);
    }
}

#[tokio::test]
async fn a_registry_that_takes_the_tag_of_a_list_for_the_image_s_digest_lists_nothing_there() {
    let child = described("application/vnd.oci.image.manifest.v1+json", b"child");
    for image in [
        json!({ "schemaVersion": 2, "layers": [] }),
        json!({ "schemaVersion": 2, "manifests": [child] }),
    ] {
        let (server, host) = (Server::empty(), Host::new());
        let bytes = image.to_string().into_bytes();
        let digest = Digest::of(&bytes);
        server.put(&format!("manifests/sha256-{}", digest.hex()), bytes);
        let decider = decider(&host, &server.unbound());
        let verdict = pull(&decider, &server.name(), digest).await;
        assert_eq!(said(&verdict), "refused no-statement", "{image}");
        let child = Digest::of(b"child").to_string();
        assert!(!server.asked().iter().any(|path| path.ends_with(&child)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_registry_without_a_list_of_referrers_has_the_time_that_nobody_else_needs() {
    for at in [0, 10] {
        let (server, host) = (Server::empty(), Host::new());
        let good = server.beside(cosign::SIGN, cosign::bundle(IMAGE, 1));
        let mut list = server.reports(10);
        list.insert(at, good);
        let list: Vec<Value> = list.into_iter().map(unnamed).collect();
        server.list(Place::IndexTag, &list);
        // A twentieth of the time for each answer, as 400 ms are of eight seconds.
        server.behave(Manner::Late(600));
        let time = Duration::from_secs(12);
        let decider = decider_of(&host, &server.unbound(), time);
        let verdict = pull(&decider, &server.name(), digest()).await;
        assert_eq!(said(&verdict), "allowed signed", "{at}");
    }
}

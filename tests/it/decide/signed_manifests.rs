//! An index that nobody signed, whose manifests are signed each: where the rule takes that.

use std::time::Duration;

use rootpin_trust::image::Digest;
use serde_json::{Value, json};

use super::setup::{Host, Manner, Server, after, pull, pull_at, rule, said};
use super::signatures::{decider, decider_of};
use super::signed_by_command::{policy, rootpin};
use crate::cosign;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const TAKEN: &str = "tags = \"unbound\"\nindex = \"by-manifests\"";
const UNBOUND: &str = "tags = \"unbound\"";

fn described(bytes: &[u8]) -> Value {
    json!({ "mediaType": MANIFEST, "digest": Digest::of(bytes).to_string(), "size": bytes.len() })
}

impl Server {
    /// An image of that name.
    pub(super) fn platform(&self, name: &str) -> Vec<u8> {
        let config = json!({ "mediaType": "config", "digest": Digest::of(name.as_bytes()).to_string(), "size": name.len() });
        let bytes =
            json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [] });
        let bytes = bytes.to_string().into_bytes();
        self.put(&format!("manifests/{}", Digest::of(&bytes)), bytes.clone());
        bytes
    }

    pub(super) fn index(&self, platforms: &[&[u8]]) -> Digest {
        let all: Vec<Value> = platforms.iter().map(|bytes| described(bytes)).collect();
        let bytes = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": all })
            .to_string()
            .into_bytes();
        let digest = Digest::of(&bytes);
        self.put(&format!("manifests/{digest}"), bytes);
        digest
    }

    pub(super) fn sign_by(&self, seed: u8, digest: Digest) {
        let (payload, signature) = cosign::simple(&self.repository(), &digest.to_string(), seed);
        let mut layer = described(&payload);
        layer["mediaType"] = json!(cosign::SIMPLE);
        layer["annotations"] = json!({ cosign::SIGNATURE: signature });
        self.put(&format!("blobs/{}", Digest::of(&payload)), payload);
        let manifest = json!({ "schemaVersion": 2, "layers": [layer] });
        let tag = format!("manifests/sha256-{}.sig", digest.hex());
        self.put(&tag, manifest.to_string().into_bytes());
    }

    /// The same as cosign 3 does.
    fn sign_in_a_bundle(&self, seed: u8, digest: Digest) {
        let bundle = cosign::bundle(&digest.to_string(), seed);
        let mut layer = described(&bundle);
        layer["mediaType"] = json!(cosign::BUNDLE);
        self.put(&format!("blobs/{}", Digest::of(&bundle)), bundle);
        let subject = json!({ "digest": digest.to_string() });
        let manifest = json!({ "schemaVersion": 2, "subject": subject, "layers": [layer] });
        let manifest = manifest.to_string().into_bytes();
        let list = json!({ "schemaVersion": 2, "manifests": [described(&manifest)] });
        self.put(&format!("manifests/{}", Digest::of(&manifest)), manifest);
        let tag = format!("manifests/sha256-{}", digest.hex());
        self.put(&tag, list.to_string().into_bytes());
    }

    fn policy(&self, more: &str) -> String {
        let root = "[[root]]\nid = \"signer\"\ntype = \"cosign\"\nkeys = [\"roots/own1.pub\"]\n";
        format!("{root}{}", rule(&self.repository(), &["signer"], more))
    }
}

#[tokio::test]
async fn an_index_whose_manifests_are_all_signed_is_taken_where_the_rule_says_so() {
    let (server, host) = (Server::empty(), Host::new());
    let (one, two) = (server.platform("one"), server.platform("two"));
    let index = server.index(&[&one, &two]);
    let asked = async |more: &str, digest| {
        let decider = decider(&host, &server.policy(more));
        said(&pull(&decider, &server.name(), digest).await)
    };
    server.sign_by(1, Digest::of(&one));
    assert_eq!(asked(TAKEN, index).await, "refused no-statement");
    server.sign_by(2, Digest::of(&two));
    assert_eq!(asked(TAKEN, index).await, "refused no-statement");
    server.sign_by(1, Digest::of(&two));
    assert_eq!(asked(UNBOUND, index).await, "refused no-statement");
    assert_eq!(asked(TAKEN, index).await, "allowed signed");
    assert_eq!(asked(TAKEN, Digest::of(&one)).await, "allowed signed");
    // One more manifest, which nobody signed.
    let more = server.index(&[&one, &two, &server.platform("three")]);
    assert_eq!(asked(TAKEN, more).await, "refused no-statement");
    assert_eq!(
        asked(TAKEN, server.index(&[])).await,
        "refused no-statement"
    );
    assert_eq!(
        asked(TAKEN, Digest::of(b"nothing")).await,
        "refused no-statement"
    );
}

#[tokio::test]
async fn a_place_beside_an_index_that_gives_no_answer_hides_no_signatures_of_its_manifests() {
    for status in [429, 500] {
        let (server, host) = (Server::empty(), Host::new());
        let one = server.platform("one");
        let index = server.index(&[&one]);
        server.sign_by(1, Digest::of(&one));
        let place = format!("manifests/sha256-{}.sig", index.hex()).leak();
        server.behave(Manner::StatusAt(status, place));
        let decider = decider(&host, &server.policy(TAKEN));
        let verdict = pull(&decider, &server.name(), index).await;
        assert_eq!(said(&verdict), "allowed signed", "{status}");
        // Without them it is in doubt, as before.
        let other = server.index(&[&one, &server.platform("two")]);
        let place = format!("manifests/sha256-{}.sig", other.hex()).leak();
        server.behave(Manner::StatusAt(status, place));
        let verdict = pull(&decider, &server.name(), other).await;
        assert!(said(&verdict).starts_with("unjudged"), "{}", said(&verdict));
    }
}

#[tokio::test]
async fn only_of_an_index_and_of_what_may_be_one_a_refusal_speaks_of_signed_manifests() {
    let (server, host) = (Server::empty(), Host::new());
    let platform = server.platform("one");
    let (manifest, index) = (Digest::of(&platform), server.index(&[&platform]));
    let decider = decider(&host, &server.policy(UNBOUND));
    for (digest, wanted) in [
        (manifest, false),
        (index, true),
        (Digest::of(b"not there"), true),
    ] {
        // The second time from what is at hand, and the registry is not asked.
        for _ in 0..2 {
            let verdict = pull(&decider, &server.name(), digest).await;
            assert_eq!(said(&verdict), "refused no-statement");
            let hint = &verdict.decision.denial().unwrap().refusal.hint;
            assert_eq!(hint.contains("by-manifests"), wanted, "{hint}");
        }
        server.asked();
        pull(&decider, &server.name(), digest).await;
        assert_eq!(server.asked().len(), 0);
    }
    // Where the rule takes them there is nothing to say.
    let taken = super::signatures::decider(&Host::new(), &server.policy(TAKEN));
    for digest in [manifest, index] {
        let verdict = pull(&taken, &server.name(), digest).await;
        assert_eq!(said(&verdict), "refused no-statement");
        let hint = &verdict.decision.denial().unwrap().refusal.hint;
        assert!(!hint.contains("by-manifests"), "{hint}");
    }
}

#[tokio::test]
async fn a_signature_of_the_index_counts_for_its_platforms_with_and_without_that() {
    let (server, host) = (Server::empty(), Host::new());
    let index = server.index(&[&server.platform("one"), &server.platform("two")]);
    server.sign_in_a_bundle(1, index);
    for more in [UNBOUND, TAKEN] {
        let decider = decider(&host, &server.policy(more));
        assert_eq!(
            said(&pull(&decider, &server.name(), index).await),
            "allowed signed"
        );
    }
}

#[tokio::test]
async fn an_index_of_signed_manifests_is_asked_for_once_and_holds_without_a_registry() {
    let (mut server, mut host) = (Server::empty(), Host::new());
    let (one, two) = (server.platform("one"), server.platform("two"));
    let index = server.index(&[&one, &two]);
    server.sign_by(1, Digest::of(&one));
    server.sign_by(1, Digest::of(&two));
    let policy = server.policy(TAKEN);
    let first = decider(&host, &policy);
    assert_eq!(
        said(&pull(&first, &server.name(), index).await),
        "allowed signed"
    );
    server.asked();
    assert_eq!(
        said(&pull_at(&first, &server.name(), index, after("9000h")).await),
        "allowed signed"
    );
    assert_eq!(server.asked_of_registry(), 0);
    let name = server.name();
    server.stop().await;
    drop(first);
    host.restart();
    let again = decider_of(&host, &policy, Duration::from_secs(5));
    assert_eq!(said(&pull(&again, &name, index).await), "allowed signed");
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_lists_the_signatures_of_each_manifest_where_the_rule_takes_them() {
    let server = Server::empty();
    let (one, two) = (server.platform("one"), server.platform("two"));
    let index = server.index(&[&one, &two]);
    server.sign_by(1, Digest::of(&one));
    server.sign_by(2, Digest::of(&two));
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let text = server.policy(TAKEN);
    let policy = policy(&dir.path().join("policy"), &text, "p256");
    let state = dir.path().join("state").display().to_string();
    let name = format!("{}@{index}", server.repository());
    let words = ["verify", &name, "--policy", &policy, "--state", &state];
    let (code, verdict) = rootpin(&words).await;
    let found = &verdict["signatures"][0]["found"];
    let shown = |at: usize| (found[at]["manifest"].clone(), found[at]["counts"].clone());
    let of = |bytes: &[u8], counts: bool| (json!(Digest::of(bytes).to_string()), json!(counts));
    assert_eq!(code, 1, "{verdict}");
    assert_eq!(
        (shown(0), shown(1)),
        (of(&one, true), of(&two, false)),
        "{verdict}"
    );
    server.sign_by(1, Digest::of(&two));
    let (code, verdict) = rootpin(&words).await;
    let found = verdict["signatures"][0]["found"].as_array().unwrap();
    assert_eq!((code, found.len()), (0, 2), "{verdict}");
}

#[tokio::test]
async fn an_index_of_more_manifests_than_are_looked_at_is_refused() {
    let (server, host) = (Server::empty(), Host::new());
    let all: Vec<Vec<u8>> = (0..33).map(|at| server.platform(&at.to_string())).collect();
    let all: Vec<&[u8]> = all.iter().map(Vec::as_slice).collect();
    let decider = decider(&host, &server.policy(TAKEN));
    let verdict = pull(&decider, &server.name(), server.index(&all)).await;
    assert_eq!(said(&verdict), "unjudged over-limit");
    assert!(server.asked_of_registry() < 6);
}

#[tokio::test]
async fn an_index_that_engines_would_read_as_another_one_is_refused() {
    let (server, host) = (Server::empty(), Host::new());
    let (signed, evil) = (server.platform("signed"), server.platform("evil"));
    server.sign_by(1, Digest::of(&signed));
    let list = |bytes: &[u8]| json!([described(bytes)]).to_string();
    let (good, bad) = (list(&signed), list(&evil));
    for members in [
        format!("\"manifests\":{good},\"Manifests\":{bad}"),
        format!("\"Manifests\":{bad},\"manifests\":{good}"),
        format!("\"manifests\":{good},\"manife\u{17f}ts\":{bad}"),
    ] {
        let index =
            format!("{{\"schemaVersion\":2,\"mediaType\":\"{INDEX}\",{members}}}").into_bytes();
        let digest = Digest::of(&index);
        server.put(&format!("manifests/{digest}"), index);
        let verdict = pull(
            &decider(&host, &server.policy(TAKEN)),
            &server.name(),
            digest,
        )
        .await;
        assert_ne!(verdict.decision.outcome(), "allowed", "{members}");
    }
    let index = server.index(&[&signed]);
    let verdict = pull(
        &decider(&host, &server.policy(TAKEN)),
        &server.name(),
        index,
    )
    .await;
    assert_eq!(said(&verdict), "allowed signed");
}

#[tokio::test]
async fn an_index_that_another_root_left_in_the_cache_sends_no_root_past_its_own_signature() {
    let (server, host) = (Server::empty(), Host::new());
    let (one, two) = (server.platform("one"), server.platform("two"));
    let index = server.index(&[&one, &two]);
    server.sign_by(2, Digest::of(&one));
    server.sign_by(2, Digest::of(&two));
    server.sign_in_a_bundle(1, index);
    let other = server.policy(TAKEN).replace("signer", "other");
    let other = other.replace("own1", "own2");
    for policy in [other, server.policy(UNBOUND)] {
        let verdict = pull(&decider(&host, &policy), &server.name(), index).await;
        assert_eq!(said(&verdict), "allowed signed");
    }
    server.asked();
    let decider = decider(&host, &server.policy(TAKEN));
    let verdict = pull(&decider, &server.name(), index).await;
    assert_eq!(said(&verdict), "allowed signed");
    assert_eq!(server.asked_of_registry(), 0);
}

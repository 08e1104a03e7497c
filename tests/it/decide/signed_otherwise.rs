//! Each signature of the fixtures and what may be made of it, through the decision.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rootpin_trust::image::Digest;
use serde_json::{Value, json};

use super::setup::{Host, Server, pull, pull_at, rule, said};
use super::signatures::{IMAGE, Place, decider, digest, read};

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const SIGNED: &str = "allowed signed";
const NO: &str = "refused no-statement";

fn manifests(fixture: &str) -> Vec<Value> {
    let mut names: Vec<_> = std::fs::read_dir(super::signatures::folder(fixture))
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| {
            std::path::Path::new(name)
                .extension()
                .is_some_and(|ends| ends == "json")
        })
        .collect();
    names.sort();
    let read = |name: &String| serde_json::from_slice(&read(fixture, name)).unwrap();
    names.iter().map(read).collect()
}

impl Server {
    /// Signatures of the fixtures, each changed in its manifest's layer and in its bytes.
    fn sign_changed(
        &self,
        fixtures: &[&str],
        change: &dyn Fn(&mut Value, &mut Vec<u8>),
    ) -> Vec<Value> {
        let mut entries = Vec::new();
        for fixture in fixtures {
            for mut manifest in manifests(fixture) {
                for layer in manifest["layers"].as_array_mut().unwrap() {
                    let hex = layer["digest"].as_str().unwrap().replace("sha256:", "");
                    let mut bytes = read(fixture, &hex);
                    change(layer, &mut bytes);
                    layer["digest"] = json!(Digest::of(&bytes).to_string());
                    layer["size"] = json!(bytes.len());
                    self.put(&format!("blobs/{}", Digest::of(&bytes)), bytes);
                }
                // cosign 2 puts it there by a tag; here it is a referrer like the others.
                manifest["subject"] = json!({ "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": IMAGE, "size": 882 });
                let bytes = manifest.to_string().into_bytes();
                let (digest, size) = (Digest::of(&bytes), bytes.len());
                self.put(&format!("manifests/{digest}"), bytes);
                entries.push(json!({ "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest.to_string(), "size": size }));
            }
        }
        self.list(Place::Referrers, &entries);
        entries
    }
}

fn cosign(keys: &[&str], more: &str) -> String {
    let keys: Vec<_> = keys
        .iter()
        .map(|key| format!("\"roots/{key}.pub\""))
        .collect();
    let keys = keys.join(", ");
    format!("[[root]]\nid = \"signer\"\ntype = \"cosign\"\nkeys = [{keys}]\n{more}\n")
}

fn notation(certificate: &str) -> String {
    format!(
        "[[root]]\nid = \"signer\"\ntype = \"notation\"\ncertificates = [\"roots/{certificate}.crt\"]\n"
    )
}

async fn decided_with(
    root: &str,
    fixtures: &[&str],
    change: &dyn Fn(&mut Value, &mut Vec<u8>),
) -> String {
    let (server, host) = (Server::empty(), Host::new());
    server.sign_changed(fixtures, change);
    let unbound = if root.contains("binds-tag") {
        ""
    } else {
        "tags = \"unbound\""
    };
    let rule = rule(&server.repository(), &["signer"], unbound);
    let decider = decider(&host, &format!("{root}{rule}"));
    said(&pull(&decider, &server.name(), digest()).await)
}

async fn decided(root: &str, fixtures: &[&str]) -> String {
    decided_with(root, fixtures, &|_, _| ()).await
}

#[tokio::test]
async fn each_key_and_format_of_cosign_is_taken_under_its_own_pin_only() {
    for format in ["simple", "bundle"] {
        for key in ["p256", "p384", "p521", "rsa", "ed25519"] {
            let fixture = format!("{format}-{key}");
            // cosign 3.1 signs it by Ed25519ph, and its own verify refuses it too.
            let wanted = if fixture == "bundle-ed25519" {
                NO
            } else {
                SIGNED
            };
            assert_eq!(
                decided(&cosign(&[key], ""), &[&fixture]).await,
                wanted,
                "{fixture}"
            );
            assert_eq!(
                decided(&cosign(&["other"], ""), &[&fixture]).await,
                NO,
                "{fixture}"
            );
        }
    }
    let made = cosign(&["made-p384"], "");
    assert_eq!(decided(&made, &["made-bundle-p384"]).await, SIGNED);
}

#[tokio::test]
async fn each_envelope_of_notation_is_taken_under_its_authority_and_its_signer() {
    for format in ["jws", "cose"] {
        for key in ["rsa2048", "rsa3072", "p256", "p384"] {
            let fixture = format!("{format}-{key}");
            assert_eq!(
                decided(&notation("ca"), &[&fixture]).await,
                SIGNED,
                "{fixture}"
            );
            assert_eq!(
                decided(&notation("made-ca"), &[&fixture]).await,
                NO,
                "{fixture}"
            );
        }
        let fixture = format!("{format}-p521");
        assert_eq!(decided(&notation("p521-ca"), &[&fixture]).await, SIGNED);
        assert_eq!(decided(&notation("ca"), &[&fixture]).await, NO);
        let fixture = format!("{format}-p256");
        assert_eq!(decided(&notation("p256"), &[&fixture]).await, SIGNED);
        assert_eq!(decided(&notation("p384"), &[&fixture]).await, NO);
    }
}

#[tokio::test]
async fn a_chain_counts_if_each_authority_may_sign_and_is_valid_and_each_critical_attribute_is_known()
 {
    for format in ["jws", "cose"] {
        for (made, wanted) in [
            ("good", SIGNED),
            ("chain", SIGNED),
            ("critical", "refused bad-signature"),
            ("usage", NO),
            ("expired", "refused expired"),
        ] {
            let fixture = format!("made-{format}-{made}");
            assert_eq!(
                decided(&notation("made-ca"), &[&fixture]).await,
                wanted,
                "{fixture}"
            );
        }
    }
}

#[tokio::test]
async fn envelopes_of_both_kinds_side_by_side_do_not_hinder_each_other() {
    for all in [
        ["made-jws-critical", "cose-p256"],
        ["cose-expiry", "jws-p384"],
    ] {
        assert_eq!(decided(&notation("ca"), &all).await, SIGNED, "{all:?}");
    }
    assert_eq!(
        decided(&notation("ca"), &["bundle-p256", "simple-p256"]).await,
        "refused no-statement"
    );
    assert_eq!(
        decided(&cosign(&["p256"], ""), &["jws-p256", "bundle-p256"]).await,
        SIGNED
    );
}

#[tokio::test]
async fn an_attestation_by_the_right_key_is_refused_and_hides_no_signature() {
    assert_eq!(
        decided(&cosign(&["p256"], ""), &["attested"]).await,
        "refused no-statement"
    );
    assert_eq!(
        decided(&cosign(&["p256"], ""), &["attested", "bundle-p256"]).await,
        SIGNED
    );
}

#[tokio::test]
async fn two_signatures_by_one_key_are_one_of_a_threshold_of_two() {
    let two = cosign(&["p256", "other"], "threshold = 2");
    assert_eq!(
        decided(&two, &["bundle-p256", "simple-p256"]).await,
        "refused no-statement"
    );
    assert_eq!(decided(&two, &["bundle-two"]).await, SIGNED);
    // In whichever order they are listed, and between whatever else.
    assert_eq!(
        decided(&two, &["simple-p256", "attested", "bundle-two", "jws-p256"]).await,
        SIGNED
    );
}

#[tokio::test]
async fn a_media_type_that_lies_makes_no_signature() {
    let types = [
        BUNDLE,
        "application/vnd.dev.cosign.simplesigning.v1+json",
        "application/jose+json",
        "application/cose",
        "text/plain",
    ];
    for (fixture, root) in [
        ("bundle-p256", cosign(&["p256"], "")),
        ("simple-p256", cosign(&["p256"], "")),
        ("jws-p256", notation("ca")),
        ("cose-p256", notation("ca")),
    ] {
        let own = manifests(fixture)[0]["layers"][0]["mediaType"].clone();
        for kind in types.iter().filter(|kind| own != **kind) {
            let lie = |layer: &mut Value, _: &mut Vec<u8>| layer["mediaType"] = json!(kind);
            let said = decided_with(&root, &[fixture], &lie).await;
            assert!(said.starts_with("refused"), "{fixture} as {kind}: {said}");
        }
    }
}

#[tokio::test]
async fn a_payload_that_was_changed_is_refused_wherever_it_was() {
    for (fixture, root) in [
        ("bundle-p256", cosign(&["p256"], "")),
        ("simple-p256", cosign(&["p256"], "")),
        ("jws-p256", notation("ca")),
        ("cose-p256", notation("ca")),
    ] {
        // The digest of another image in place of this one's, in whichever coding it stands.
        let hex = digest().hex();
        let other = "0".repeat(64);
        let change = |_: &mut Value, bytes: &mut Vec<u8>| {
            let before = bytes.clone();
            let text = String::from_utf8_lossy(bytes).into_owned();
            if text.contains(&hex) {
                let at = bytes
                    .windows(64)
                    .position(|part| part == hex.as_bytes())
                    .unwrap();
                bytes[at..at + 64].copy_from_slice(other.as_bytes());
            } else if let Ok(mut value) = serde_json::from_slice::<Value>(bytes) {
                let payload = value.pointer_mut("/dsseEnvelope/payload");
                if let Some(payload) = payload {
                    let text = STANDARD.decode(payload.as_str().unwrap()).unwrap();
                    let text = String::from_utf8(text).unwrap().replace("{}", "{ }");
                    *payload = json!(STANDARD.encode(text));
                } else {
                    let payload = value["payload"].as_str().unwrap().to_owned();
                    let (first, rest) = payload.split_at(40);
                    value["payload"] = json!(format!("{first}A{}", &rest[1..]));
                }
                *bytes = value.to_string().into_bytes();
            }
            assert_ne!(*bytes, before, "{fixture}");
        };
        assert_eq!(
            decided_with(&root, &[fixture], &change).await,
            NO,
            "{fixture}"
        );
    }
}

#[tokio::test]
async fn a_hint_of_another_key_changes_nothing() {
    let hint = |hint: &'static str| {
        move |_: &mut Value, bytes: &mut Vec<u8>| {
            let mut value: Value = serde_json::from_slice(bytes).unwrap();
            value["verificationMaterial"]["publicKey"]["hint"] = json!(hint);
            *bytes = value.to_string().into_bytes();
        }
    };
    let pins = cosign(&["rsa", "p256"], "");
    for wrong in ["", "bm8=", "no base64"] {
        assert_eq!(
            decided_with(&pins, &["bundle-p256"], &hint(wrong)).await,
            SIGNED
        );
    }
    assert_eq!(
        decided_with(&cosign(&["rsa"], ""), &["bundle-p256"], &hint("")).await,
        NO
    );
}

#[tokio::test]
async fn a_full_reference_binds_its_repository_and_its_tag_also_where_a_mirror_has_the_image() {
    let (server, host) = (Server::empty(), Host::new());
    server.sign_changed(&["simple-reference"], &|_, _| ());
    let root = cosign(&["p256"], "binds-tag = \"reference\"");
    let as_name = |name: &str| {
        let rule = rule(
            &server.repository(),
            &["signer"],
            &format!("signed-as = \"{name}\""),
        );
        decider(&host, &format!("{root}{rule}"))
    };
    let signed = as_name("127.0.0.1:5000/team/app");
    assert_eq!(said(&pull(&signed, &server.name(), digest()).await), SIGNED);
    let v2 = format!("{}:v2", server.repository());
    assert_eq!(
        said(&pull(&signed, &v2, digest()).await),
        "refused no-statement"
    );
    let other = as_name("127.0.0.1:5000/team/other");
    let verdict = pull(&other, &server.name(), digest()).await;
    assert_eq!(said(&verdict), "refused no-statement");
    // What cosign 2 signs by itself names no tag.
    assert_eq!(
        decided(&root, &["simple-p256"]).await,
        "refused no-statement"
    );
}

#[tokio::test]
async fn an_image_without_signatures_is_told_by_the_repository_that_it_is_in() {
    let (server, host) = (Server::empty(), Host::new());
    let root = cosign(&["p256"], "binds-tag = \"reference\"");
    let signed_as = "signed-as = \"orig.example/team/zzz\"";
    let rule = rule(&server.repository(), &["signer"], signed_as);
    let decider = decider(&host, &format!("{root}{rule}"));
    let verdict = pull(&decider, &server.name(), digest()).await;
    assert_eq!(said(&verdict), "refused no-statement");
    let refusal = &verdict.decision.denial().unwrap().refusal;
    let found = format!(
        "no signature of {IMAGE} in {}, where one that names orig.example/team/zzz is looked for",
        server.repository()
    );
    assert_eq!(refusal.found, found);
    let command = format!("`rootpin verify {}@{IMAGE}`", server.repository());
    assert!(refusal.hint.contains(&command), "{refusal:?}");
}

#[tokio::test]
async fn what_one_registry_lacks_is_no_answer_for_another_one_of_the_same_signed_name() {
    let (bare, server, host) = (Server::empty(), Server::empty(), Host::new());
    server.sign_changed(&["simple-reference"], &|_, _| ());
    let root = cosign(&["p256"], "binds-tag = \"reference\"");
    let signed_as = "signed-as = \"127.0.0.1:5000/team/app\"";
    let rules = [&bare, &server].map(|one| rule(&one.repository(), &["signer"], signed_as));
    let decider = decider(&host, &format!("{root}{}", rules.concat()));
    assert_eq!(
        said(&pull(&decider, &bare.name(), digest()).await),
        "refused no-statement"
    );
    assert_eq!(
        said(&pull(&decider, &server.name(), digest()).await),
        SIGNED
    );
}

#[tokio::test]
async fn a_list_full_of_junk_hides_neither_another_list_nor_another_key() {
    let (server, host) = (Server::empty(), Host::new());
    // As many signatures as are read, by nobody who is pinned, and copies of a good one.
    let mut layers = Vec::new();
    for at in 0..70 {
        let bytes = format!("{{\"mediaType\":\"{BUNDLE}\",\"junk\":{at}}}").into_bytes();
        layers.push(json!({ "mediaType": BUNDLE, "digest": Digest::of(&bytes).to_string(), "size": bytes.len() }));
        server.put(&format!("blobs/{}", Digest::of(&bytes)), bytes);
    }
    let manifest = json!({ "schemaVersion": 2, "subject": { "digest": IMAGE }, "layers": layers });
    let bytes = manifest.to_string().into_bytes();
    let entry = json!({ "mediaType": "application/vnd.oci.image.manifest.v1+json", "artifactType": BUNDLE, "digest": Digest::of(&bytes).to_string(), "size": bytes.len() });
    server.put(&format!("manifests/{}", Digest::of(&bytes)), bytes);
    let good = server.sign_changed(&["bundle-p256"], &|_, _| ());
    server.list(Place::Referrers, &[entry]);
    server.list(Place::IndexTag, &good);
    server.sign(Place::SignatureTag, "simple-rsa");
    let root = cosign(&["p256", "rsa"], "threshold = 2");
    let rule = rule(&server.repository(), &["signer"], "tags = \"unbound\"");
    let decider = decider(&host, &format!("{root}{rule}"));
    assert_eq!(
        said(&pull(&decider, &server.name(), digest()).await),
        SIGNED
    );
    assert!(server.asked_of_registry() < 80);
}

#[tokio::test]
async fn copies_of_one_key_s_signature_hide_no_other_key_s() {
    let (server, host) = (Server::empty(), Host::new());
    let fixture: Value = manifests("bundle-p256")[0].clone();
    let hex = fixture["layers"][0]["digest"]
        .as_str()
        .unwrap()
        .replace("sha256:", "");
    let bundle: Value = serde_json::from_slice(&read("bundle-p256", &hex)).unwrap();
    let mut layers = Vec::new();
    for at in 0..64 {
        let mut copy = bundle.clone();
        copy["verificationMaterial"]["publicKey"]["hint"] = json!(at.to_string());
        let bytes = copy.to_string().into_bytes();
        layers.push(json!({ "mediaType": BUNDLE, "digest": Digest::of(&bytes).to_string(), "size": bytes.len() }));
        server.put(&format!("blobs/{}", Digest::of(&bytes)), bytes);
    }
    let manifest = json!({ "schemaVersion": 2, "subject": { "digest": IMAGE }, "layers": layers });
    let bytes = manifest.to_string().into_bytes();
    let entry = json!({ "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": Digest::of(&bytes).to_string(), "size": bytes.len() });
    server.put(&format!("manifests/{}", Digest::of(&bytes)), bytes);
    server.list(Place::Referrers, &[entry]);
    server.sign(Place::SignatureTag, "simple-rsa");
    let root = cosign(&["p256", "rsa"], "threshold = 2");
    let rule = rule(&server.repository(), &["signer"], "tags = \"unbound\"");
    let decider = decider(&host, &format!("{root}{rule}"));
    assert_eq!(
        said(&pull(&decider, &server.name(), digest()).await),
        SIGNED
    );
}

#[tokio::test]
async fn an_error_with_the_status_200_says_nothing_of_the_registry_s_list_of_referrers() {
    let (server, host) = (Server::empty(), Host::new());
    server.sign_changed(&["bundle-p256"], &|_, _| ());
    let list = format!("/v2/team/app/referrers/{IMAGE}");
    let unknown = br#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#;
    let repository = server.repository();
    let text = format!(
        "{}{}",
        cosign(&["p256"], ""),
        rule(&repository, &["signer"], "tags = \"unbound\"")
    );
    let decider = decider(&host, &text);
    let good = read_list(&server, &list, unknown);
    assert_eq!(
        said(&pull(&decider, &server.name(), digest()).await),
        "unjudged malformed"
    );
    server.put_file(&list, good);
    let later = super::setup::after("1m");
    assert_eq!(
        said(&pull_at(&decider, &server.name(), digest(), later).await),
        SIGNED
    );
}

#[tokio::test]
async fn a_repository_without_a_list_of_referrers_switches_off_no_other_repository_s_list() {
    let (server, host) = (Server::empty(), Host::new());
    server.sign_changed(&["bundle-p256"], &|_, _| ());
    let team = server.repository().replace("/app", "/*");
    let rule = rule(&team, &["signer"], "tags = \"unbound\"");
    let decider = decider(&host, &format!("{}{rule}", cosign(&["p256"], "")));
    let other = server.name().replace("/app:", "/other:");
    let lists = || {
        let asked = server.asked();
        asked
            .iter()
            .filter(|path| path.contains("/referrers/"))
            .count()
    };
    // Before the second no it is asked once more, and then not for a while.
    for (wait, wanted) in [("0s", 1), ("8s", 1), ("16s", 0)] {
        let later = super::setup::after(wait);
        let verdict = pull_at(&decider, &other, digest(), later).await;
        assert_eq!(said(&verdict), "refused no-statement");
        assert_eq!(lists(), wanted, "after {wait}");
    }
    assert_eq!(
        said(&pull(&decider, &server.name(), digest()).await),
        SIGNED
    );
}

/// Has these bytes in place of a list, and returns what was there.
fn read_list(server: &Server, path: &str, with: &[u8]) -> Vec<u8> {
    let good = server.file(path);
    server.put_file(path, with.to_vec());
    good
}

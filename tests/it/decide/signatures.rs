//! Signatures beside an image in its registry: where they are found, what they cost, and what they
//! say together with other roots.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rootpin::decide::{Decider, Door};
use rootpin::sources::{Credentials, Sources};
use rootpin_trust::image::Digest;
use serde_json::{Value, json};

use super::setup::{Host, Manner, NOW, Server, after, at, pull, pull_at, rule, said};
use crate::cosign;
use crate::publisher::Publisher;

pub(super) const IMAGE: &str =
    "sha256:9c984d4f67b71c86923031219becb249a723192ea0dec396205a1b3324fe5c19";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const BUILDER: &str =
    "[[root]]\nid = \"builder\"\ntype = \"cosign\"\nkeys = [\"roots/p256.pub\"]\n";
const UNBOUND: &str = "tags = \"unbound\"";

pub(super) fn digest() -> Digest {
    IMAGE.parse().unwrap()
}

pub(super) fn folder(name: &str) -> PathBuf {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/signatures");
    PathBuf::from(data).join(name)
}

pub(super) fn read(name: &str, file: &str) -> Vec<u8> {
    std::fs::read(folder(name).join(file)).unwrap()
}

/// The place in a registry where a signature is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Referrers,
    IndexTag,
    SignatureTag,
}

impl Server {
    pub(super) fn repository(&self) -> String {
        format!("{}/team/app", self.url().trim_start_matches("http://"))
    }

    pub(super) fn name(&self) -> String {
        format!("{}:v1", self.repository())
    }

    pub(super) fn put(&self, rest: &str, bytes: Vec<u8>) {
        self.put_file(&format!("/v2/team/app/{rest}"), bytes);
    }

    /// A list of referrers at its place.
    pub(super) fn list(&self, place: Place, manifests: &[Value]) {
        let list = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
        let rest = match place {
            Place::Referrers => format!("referrers/{IMAGE}"),
            _ => format!("manifests/sha256-{}", digest().hex()),
        };
        self.put(&rest, list.to_string().into_bytes());
    }

    /// A signature of the fixtures, with what it takes to read it, and its entry for a list.
    pub(super) fn sign(&self, place: Place, fixture: &str) -> Vec<Value> {
        let mut entries = Vec::new();
        for file in std::fs::read_dir(folder(fixture)).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            let bytes = read(fixture, &name);
            if name.len() == 64 {
                self.put(&format!("blobs/sha256:{name}"), bytes);
            } else if place == Place::SignatureTag {
                self.put(&format!("manifests/sha256-{}.sig", digest().hex()), bytes);
            } else {
                let (digest, size) = (Digest::of(&bytes), bytes.len());
                self.put(&format!("manifests/{digest}"), bytes);
                // What cosign with older libraries writes as the type.
                entries.push(json!({ "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest.to_string(), "size": size, "artifactType": "application/vnd.oci.empty.v1+json" }));
            }
        }
        if place != Place::SignatureTag {
            self.list(place, &entries);
        }
        entries
    }

    /// What was asked of the registry, without the metadata of other roots.
    pub(super) fn asked_of_registry(&self) -> usize {
        let asked = self.asked();
        asked.iter().filter(|path| !path.contains("_trust")).count()
    }
}

pub(super) fn decider_of(host: &Host, text: &str, deadline: Duration) -> Decider {
    decider_with(host, text, deadline, Credentials::none())
}

pub(super) fn decider_with(
    host: &Host,
    text: &str,
    deadline: Duration,
    credentials: Credentials,
) -> Decider {
    let text = format!("version = 1\ndefault = \"deny\"\n{text}");
    let mut files = BTreeMap::from([("policy.toml".to_owned(), text.into_bytes())]);
    for key in [
        "p256",
        "p384",
        "p521",
        "made-p384",
        "ed25519",
        "other",
        "rsa",
    ] {
        files.insert(
            format!("roots/{key}.pub"),
            read("keys", &format!("{key}.pub")),
        );
    }
    for certificate in ["ca", "p256", "p384", "p521-ca", "made-ca"] {
        let file = format!("{certificate}.crt");
        files.insert(format!("roots/{file}"), read("certificates", &file));
    }
    for seed in [1, 2] {
        let pem = cosign::public_pem(seed).into_bytes();
        files.insert(format!("roots/own{seed}.pub"), pem);
    }
    let policy = rootpin_policy::load(&files, at(NOW));
    let policy = policy.map_err(|all| all.iter().map(ToString::to_string).collect::<String>());
    let sources = Arc::new(Sources::new(Arc::new(credentials)));
    let store = Arc::clone(host.store());
    Decider::new(
        Ok(Arc::new(policy.unwrap())),
        sources,
        store,
        deadline,
        true,
    )
}

/// Has a host ask a mirror of a server first.
pub(super) fn mirrored_by(host: &Host, server: &Server, mirror: &Server) -> Credentials {
    let hosts = host.path("hosts");
    let folder = hosts.join(server.url().replace("http://", ""));
    std::fs::create_dir_all(&folder).unwrap();
    let text = format!("server = {:?}\n[host.{:?}]\n", server.url(), mirror.url());
    std::fs::write(folder.join("hosts.toml"), text).unwrap();
    Credentials::none().with_hosts(Some(hosts))
}

pub(super) fn decider(host: &Host, text: &str) -> Decider {
    decider_of(host, text, Duration::from_secs(30))
}

pub(super) fn alone(server: &Server) -> String {
    format!(
        "{BUILDER}{}",
        rule(&server.repository(), &["builder"], UNBOUND)
    )
}

/// A root of another kind that says that the tag is these bytes.
fn own(server: &Server, tag: &str, digest: &str) -> String {
    let mut publisher = Publisher::new(&server.repository());
    publisher.tag(tag, digest, 882);
    server.publish(&publisher);
    server.root("own", &[publisher.root_key()])
}

#[tokio::test]
async fn a_signature_is_found_at_each_place_and_one_of_another_key_is_refused() {
    for (place, fixture) in [
        (Place::Referrers, "bundle-p256"),
        (Place::IndexTag, "bundle-p256"),
        (Place::SignatureTag, "simple-p256"),
    ] {
        let (server, host) = (Server::empty(), Host::new());
        let unsigned = pull(&decider(&host, &alone(&server)), &server.name(), digest()).await;
        assert_eq!(said(&unsigned), "refused no-statement");
        let hint = &unsigned.decision.denial().unwrap().refusal.hint;
        let command = format!("`rootpin verify {}@{IMAGE}`", server.repository());
        let binds = "; root builder binds digest; not name, tag, freshness";
        assert!(hint.contains(&command) && hint.ends_with(binds), "{hint}");
        // Referrers, the tag in their place, and the `.sig` tag; and for the hint what the image is.
        assert_eq!(server.asked_of_registry(), 4);
        server.sign(place, fixture);
        let decider = decider(&host, &alone(&server));
        let verdict = pull(&decider, &server.name(), digest()).await;
        assert_eq!(said(&verdict), "allowed signed", "{place:?} {fixture}");
        let other = alone(&server).replace("p256.pub", "rsa.pub");
        let verdict = pull(&self::decider(&host, &other), &server.name(), digest()).await;
        assert_eq!(
            said(&verdict),
            "refused no-statement",
            "{place:?} {fixture}"
        );
        let elsewhere = Digest::of(b"other bytes");
        let verdict = pull(&decider, &server.name(), elsewhere).await;
        assert_eq!(said(&verdict), "refused no-statement");
    }
}

#[tokio::test]
async fn what_counted_once_answers_without_a_registry_until_its_key_is_revoked() {
    let (mut server, mut host) = (Server::empty(), Host::new());
    server.sign(Place::Referrers, "bundle-p256");
    let policy = alone(&server);
    let first = decider(&host, &policy);
    assert_eq!(
        said(&pull(&first, &server.name(), digest()).await),
        "allowed signed"
    );
    server.asked();
    for _ in 0..3 {
        assert_eq!(
            said(&pull_at(&first, &server.name(), digest(), after("9000h")).await),
            "allowed signed"
        );
    }
    assert_eq!(server.asked_of_registry(), 0);
    let name = server.name();
    server.stop().await;
    drop(first);
    host.restart();
    assert_eq!(
        said(&pull_at(&decider(&host, &policy), &name, digest(), after("9000h")).await),
        "allowed signed"
    );
    let key = rootpin_trust::key_file::public_keys(&read("keys", "p256.pub")).unwrap()[0].id();
    let revoked = format!("{policy}[[revoked]]\nkey = \"{key}\"\nreason = \"lost\"\n");
    let verdict = pull(&decider(&host, &revoked), &name, digest()).await;
    assert_eq!(said(&verdict), "refused revoked");
}

#[tokio::test]
async fn cached_signatures_that_a_power_cut_left_torn_are_as_if_they_were_not_there() {
    let (mut server, mut host) = (Server::empty(), Host::new());
    server.sign(Place::Referrers, "bundle-p256");
    let (policy, name) = (alone(&server), server.name());
    assert_eq!(
        said(&pull(&decider(&host, &policy), &name, digest()).await),
        "allowed signed"
    );
    let folder = std::fs::read_dir(host.path("cache")).unwrap().next();
    let folder = folder.unwrap().unwrap().path();
    let file = folder.join(format!("sha256-{}.json", digest().hex()));
    let whole = std::fs::read(&file).unwrap();
    for left in [0, 1, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&file, &whole[..left]).unwrap();
        host.restart();
        server.asked();
        assert_eq!(
            said(&pull(&decider(&host, &policy), &name, digest()).await),
            "allowed signed",
            "{left}"
        );
        assert!(server.asked_of_registry() > 0, "{left}");
        assert_eq!(std::fs::read(&file).unwrap(), whole, "{left}");
    }
    server.stop().await;
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    host.restart();
    assert_eq!(
        said(&pull(&decider(&host, &policy), &name, digest()).await),
        "unjudged source-unreachable"
    );
}

#[tokio::test]
async fn a_root_that_has_another_id_now_finds_what_it_had_without_a_registry_and_another_key_does_not()
 {
    for (index, lines) in [
        (false, UNBOUND),
        (true, "tags = \"unbound\"\nindex = \"by-manifests\""),
    ] {
        let (mut server, mut host) = (Server::empty(), Host::new());
        let digest = if index {
            let part = server.platform("one");
            server.sign_by(1, Digest::of(&part));
            server.index(&[&part])
        } else {
            server.list(Place::Referrers, &[server.tagged("v1")]);
            digest()
        };
        let (name, repository) = (server.name(), server.repository());
        let policy = |id: &str, key: &str| {
            let root = format!(
                "[[root]]\nid = \"{id}\"\ntype = \"cosign\"\nkeys = [\"roots/{key}.pub\"]\n"
            );
            format!("{root}{}", rule(&repository, &[id], lines))
        };
        let first = decider(&host, &policy("old", "own1"));
        assert_eq!(
            said(&pull(&first, &name, digest).await),
            "allowed signed",
            "{lines}"
        );
        server.stop().await;
        drop(first);
        host.restart();
        for (id, key, wanted) in [
            ("new", "own1", "allowed signed"),
            ("new", "own2", "unjudged source-unreachable"),
            ("newest", "own1", "allowed signed"),
        ] {
            let verdict = pull(&decider(&host, &policy(id, key)), &name, digest).await;
            assert_eq!(said(&verdict), wanted, "{id} {key} {lines}");
        }
    }
}

#[tokio::test]
async fn a_quorum_with_a_root_that_binds_tags_refuses_either_missing_and_a_moved_tag() {
    for (signed, tagged, wanted) in [
        (true, Some(IMAGE), "allowed signed"),
        (false, Some(IMAGE), "refused no-statement"),
        (true, None, "refused no-statement"),
        (true, Some("moved"), "refused digest-mismatch"),
    ] {
        let (server, host) = (Server::empty(), Host::new());
        if signed {
            server.sign(Place::Referrers, "bundle-p256");
        }
        let moved = format!("sha256:{}", "0".repeat(64));
        let root = match tagged {
            None => own(&server, "other", IMAGE),
            Some("moved") => own(&server, "v1", &moved),
            Some(digest) => own(&server, "v1", digest),
        };
        let rule = rule(&server.repository(), &["builder", "own"], "quorum = 2");
        let decider = decider(&host, &format!("{BUILDER}{root}{rule}"));
        let verdict = pull(&decider, &server.name(), digest()).await;
        assert_eq!(said(&verdict), wanted, "{signed} {tagged:?}");
    }
}

#[tokio::test]
async fn a_thousand_junk_referrers_cost_bounded_work_and_hide_no_other_root_s_yes() {
    let (server, host) = (Server::empty(), Host::new());
    let junk: Vec<Value> = (0..1000)
        .map(|at: u32| {
            let bytes = json!({ "schemaVersion": 2, "layers": [], "junk": at }).to_string().into_bytes();
            let (digest, size) = (Digest::of(&bytes), bytes.len());
            server.put(&format!("manifests/{digest}"), bytes);
            json!({ "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest.to_string(), "size": size })
        })
        .collect();
    server.list(Place::Referrers, &junk);
    let root = own(&server, "v1", IMAGE);
    let either = rule(&server.repository(), &["builder", "own"], UNBOUND);
    let text = format!("{BUILDER}{root}{either}");
    let verdict = pull(&decider(&host, &text), &server.name(), digest()).await;
    assert_eq!(said(&verdict), "allowed signed");
    assert!(server.asked_of_registry() <= 100);
    // Nor the signature that cosign's own tag has.
    server.sign(Place::SignatureTag, "simple-p256");
    let verdict = pull(&decider(&host, &alone(&server)), &server.name(), digest()).await;
    assert_eq!(said(&verdict), "allowed signed");
}

#[tokio::test]
async fn a_manifest_of_junk_layers_hides_no_signature_that_is_listed_after_it() {
    let (server, host) = (Server::empty(), Host::new());
    let good = server.sign(Place::Referrers, "bundle-p256");
    let blob = b"x".to_vec();
    let layer = |at: usize| {
        json!({ "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "digest": Digest::of(&blob).to_string(),
            "size": 1, "annotations": { "dev.cosignproject.cosign/signature": at.to_string() } })
    };
    let layers: Vec<Value> = (0..64).map(layer).collect();
    let junk = json!({ "schemaVersion": 2, "subject": { "digest": IMAGE }, "layers": layers });
    let junk = junk.to_string().into_bytes();
    let (name, size) = (Digest::of(&junk).to_string(), junk.len());
    server.put(&format!("manifests/{name}"), junk);
    server.put(&format!("blobs/{}", Digest::of(&blob)), blob.clone());
    let entry = json!({ "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": name, "size": size,
        "artifactType": "application/vnd.dev.sigstore.bundle.v0.3+json" });
    let all: Vec<Value> = [entry].into_iter().chain(good).collect();
    server.list(Place::Referrers, &all);
    let verdict = pull(&decider(&host, &alone(&server)), &server.name(), digest()).await;
    assert_eq!(said(&verdict), "allowed signed");
}

#[tokio::test]
async fn a_list_that_is_too_long_for_one_image_switches_off_no_other_image_s_list() {
    let (server, host) = (Server::empty(), Host::new());
    let good = server.sign(Place::Referrers, "bundle-p256");
    let annotations: serde_json::Map<String, Value> =
        (0..60_000).map(|at| (at.to_string(), json!(""))).collect();
    let long = json!({ "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": IMAGE, "size": 1, "annotations": annotations });
    server.list(Place::Referrers, &[long]);
    let decider = decider(&host, &alone(&server));
    let verdict = pull(&decider, &server.name(), digest()).await;
    assert_ne!(verdict.decision.outcome(), "allowed");
    server.list(Place::Referrers, &good);
    let verdict = pull_at(&decider, &server.name(), digest(), after("6s")).await;
    assert_eq!(said(&verdict), "allowed signed");
}

#[tokio::test]
async fn a_registry_that_hangs_hides_no_other_root_s_yes() {
    let (server, host) = (Server::empty(), Host::new());
    let root = own(&server, "v1", IMAGE);
    let either = rule(&server.repository(), &["builder", "own"], UNBOUND);
    server.behave(Manner::HangsAt("/referrers/"));
    let text = format!("{BUILDER}{root}{either}");
    let decider = decider_of(&host, &text, Duration::from_secs(3));
    assert_eq!(
        said(&pull(&decider, &server.name(), digest()).await),
        "allowed signed"
    );
    let decider = decider_of(&host, &alone(&server), Duration::from_secs(1));
    assert_eq!(
        said(&pull(&decider, &server.name(), digest()).await),
        "unjudged source-unreachable"
    );
}

#[tokio::test]
async fn an_image_that_was_signed_a_moment_ago_is_taken_and_an_unsigned_one_is_not_asked_for_each_time()
 {
    let (server, host) = (Server::empty(), Host::new());
    let decider = decider(&host, &alone(&server));
    assert_eq!(
        said(&pull(&decider, &server.name(), digest()).await),
        "refused no-statement"
    );
    server.sign(Place::IndexTag, "bundle-p256");
    server.asked();
    assert_eq!(
        said(&pull(&decider, &server.name(), digest()).await),
        "refused no-statement"
    );
    assert_eq!(server.asked_of_registry(), 0);
    assert_eq!(
        said(&pull_at(&decider, &server.name(), digest(), after("6s")).await),
        "allowed signed"
    );
    // That there is no list of referrers is known by now.
    assert!(
        !server
            .asked()
            .iter()
            .any(|path| path.contains("/referrers/"))
    );
}

#[tokio::test]
async fn what_a_mistaken_registry_sends_counts_for_nothing() {
    for (part, bytes) in [
        ("/blobs/", &b"{}"[..]),
        ("/manifests/sha256:", b"{}"),
        ("/referrers/", b"<html>"),
        ("/referrers/", b"{\"manifests\":[{}]}"),
    ] {
        let (server, host) = (Server::empty(), Host::new());
        server.sign(Place::Referrers, "bundle-p256");
        server.replace(part, Some(bytes));
        let verdict = pull(&decider(&host, &alone(&server)), &server.name(), digest()).await;
        assert_ne!(verdict.decision.outcome(), "allowed", "{part}");
    }
    // A signature of this image that another image's list has.
    let (server, host) = (Server::empty(), Host::new());
    let entries = server.sign(Place::Referrers, "bundle-p256");
    let other = Digest::of(b"other");
    let list = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
    server.put(&format!("referrers/{other}"), list.to_string().into_bytes());
    let verdict = pull(&decider(&host, &alone(&server)), &server.name(), other).await;
    assert_ne!(verdict.decision.outcome(), "allowed");
}

#[tokio::test]
async fn a_tag_resolves_to_what_the_registry_has_unless_a_root_that_binds_tags_must_agree() {
    let (server, host) = (Server::empty(), Host::new());
    server.sign(Place::Referrers, "bundle-p256");
    let manifest = std::fs::read(folder("image.json")).unwrap();
    assert_eq!(Digest::of(&manifest), digest());
    server.put("manifests/v1", manifest);
    let name = server.name().parse().unwrap();
    let verdict = decider(&host, &alone(&server))
        .resolve(Door::Resolver, &name, at(NOW))
        .await;
    assert_eq!(
        (said(&verdict).as_str(), verdict.digest),
        ("allowed signed", Some(digest()))
    );
    // The registry's tag was moved; the signed one is this image.
    server.put("manifests/v1", b"{\"manifests\":[]}".to_vec());
    let verdict = decider(&host, &alone(&server))
        .resolve(Door::Resolver, &name, at(NOW))
        .await;
    assert_eq!(said(&verdict), "refused no-statement");
    let root = own(&server, "v1", IMAGE);
    let both = rule(&server.repository(), &["builder", "own"], "quorum = 2");
    let decider = decider(&host, &format!("{BUILDER}{root}{both}"));
    let verdict = decider.resolve(Door::Resolver, &name, at(NOW)).await;
    assert_eq!(
        (said(&verdict).as_str(), verdict.digest),
        ("allowed signed", Some(digest()))
    );
}

#[tokio::test]
async fn a_tag_that_the_signature_binds_is_the_only_one_that_it_is_good_for() {
    let (server, host) = (Server::empty(), Host::new());
    server.sign(Place::Referrers, "bundle-annotated");
    let bound = format!(
        "{BUILDER}binds-tag = \"annotation:tag\"\n{}",
        rule(&server.repository(), &["builder"], "")
    );
    let decider = decider(&host, &bound);
    assert_eq!(
        said(&pull(&decider, &server.name(), digest()).await),
        "allowed signed"
    );
    let v2 = format!("{}:v2", server.repository());
    assert_eq!(
        said(&pull(&decider, &v2, digest()).await),
        "refused no-statement"
    );
    let by_digest = format!("{}@{IMAGE}", server.repository());
    assert_eq!(
        said(&pull(&decider, &by_digest, digest()).await),
        "allowed signed"
    );
}

#[tokio::test]
async fn notation_s_signatures_are_found_and_their_certificates_and_expiry_end_them() {
    for fixture in ["jws-p256", "cose-rsa3072", "jws-expiry", "cose-expiry"] {
        let (server, host) = (Server::empty(), Host::new());
        server.sign(Place::IndexTag, fixture);
        let policy = alone(&server)
            .replace("\"cosign\"", "\"notation\"")
            .replace(
                "keys = [\"roots/p256.pub\"]",
                "certificates = [\"roots/ca.crt\"]",
            );
        let decider = decider(&host, &policy);
        let asked =
            async |now: &str| said(&pull_at(&decider, &server.name(), digest(), at(now)).await);
        assert_eq!(
            asked("2026-11-30T00:00:00Z").await,
            "allowed signed",
            "{fixture}"
        );
        let later = if fixture.ends_with("expiry") {
            "refused expired"
        } else {
            "allowed signed"
        };
        assert_eq!(asked("2026-12-02T00:00:00Z").await, later, "{fixture}");
        assert_eq!(
            asked("2046-12-02T00:00:00Z").await,
            "refused expired",
            "{fixture}"
        );
    }
}

//! `policy.json`: cases of what its import admits, refuses and leaves behind.

use serde_json::{Value, json};

use super::super::*;
use super::loaded;
use super::signed_model::theirs;
use crate::problem::Problem;
use rootpin_policy::{Policy, RootKind};
use rootpin_trust::cosign::TagBinding;
use rootpin_trust::image::Repository;
use rootpin_trust::{KeyId, key_file};

pub(super) const KEYS: [&str; 3] = ["p256", "p384", "ed25519"];

fn pem(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/signatures/keys");
    std::fs::read(format!("{folder}/{name}.pub")).unwrap()
}

fn key_id(name: &str) -> KeyId {
    key_file::public_keys(&pem(name)).unwrap()[0].id()
}

pub(super) fn read(path: &str) -> Result<Vec<u8>, Problem> {
    let name = path.strip_prefix("/keys/").ok_or("there is no such file")?;
    Ok(match name.strip_suffix(".pub") {
        Some(name) => pem(name),
        None => format!("{name}\n").into_bytes(),
    })
}

pub(super) fn imported(policy: &Value, unbound: bool) -> Proposal {
    containers_policy("policy.json", policy.to_string().as_bytes(), &read, unbound).unwrap()
}

/// A signature: its key, and the name that it gives.
pub(super) type Signature = (&'static str, String);

/// A repository, and the tag by which an image of it is pulled; `""`: by its digest alone.
pub(super) type Pulled<'a> = (&'a str, &'a str);

/// Whether the proposal admits a name whose bytes have these signatures.
pub(super) fn ours(
    policy: &Policy,
    (repository, tag): Pulled<'_>,
    signatures: &[Signature],
) -> bool {
    let repository = Repository::from_full(repository).unwrap();
    let Some(rule) = policy.rule_for(&repository) else {
        return false;
    };
    let Some(signed) = rule.signed_name(&repository) else {
        return false;
    };
    let says_yes = |root: &&std::sync::Arc<rootpin_policy::Root>| {
        let RootKind::Cosign(cosign) = &root.kind else {
            return false;
        };
        signatures.iter().any(|(key, reference)| {
            let named = match cosign.binds_tag {
                Some(TagBinding::Reference) if tag.is_empty() => is_of(reference, signed.as_str()),
                Some(TagBinding::Reference) => *reference == format!("{signed}:{tag}"),
                _ => true,
            };
            named && root.keys.contains(&key_id(key))
        })
    };
    rule.roots.iter().filter(says_yes).count() >= rule.quorum
}

pub(super) fn is_of(reference: &str, repository: &str) -> bool {
    reference
        .rsplit_once(':')
        .is_some_and(|(name, _)| name == repository)
}

pub(super) fn signed(keys: &[&str], identity: &Value) -> Value {
    let paths: Vec<String> = keys.iter().map(|key| format!("/keys/{key}.pub")).collect();
    let mut requirement = json!({ "type": "sigstoreSigned", "keyPaths": paths });
    if !identity.is_null() {
        requirement["signedIdentity"] = identity.clone();
    }
    json!([requirement])
}

pub(super) fn left(proposal: &Proposal) -> Vec<&str> {
    let left = proposal.left_behind.iter();
    left.map(|left| left.what.as_str()).collect()
}

#[test]
fn what_a_policy_of_containers_admits_by_its_keys_is_admitted_and_the_rest_is_named() {
    use base64::Engine as _;
    let data = base64::engine::general_purpose::STANDARD.encode(pem("p384"));
    let remap = json!({ "type": "remapIdentity", "prefix": "m.example:5000/hub", "signedPrefix": "docker.io" });
    let source = json!({
        "default": [{ "type": "insecureAcceptAnything" }],
        "transports": {
            "docker": {
                "r.example/team": signed(&["p256", "p384"], &Value::Null),
                "r.example/team/secret": [{ "type": "reject" }],
                "r.example/team/gpg": [{ "type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k.gpg" }],
                "r.example/data": [{ "type": "sigstoreSigned", "keyData": data }],
                "r.example/both": [signed(&["p256"], &Value::Null)[0], signed(&["p384"], &Value::Null)[0]],
                "r.example/exact": signed(&["p256"], &json!({ "type": "matchExact" })),
                "r.example/any": signed(&["p256"], &json!({ "type": "matchRepository" })),
                "r.example/log": [{ "type": "sigstoreSigned", "keyPath": "/keys/p256.pub", "rekorPublicKeyPath": "/r.pub" }],
                "r.example/keyless": [{ "type": "sigstoreSigned", "fulcio": { "caPath": "/f", "oidcIssuer": "i", "subjectEmail": "e" }, "rekorPublicKeyPath": "/r" }],
                "r.example/gone": [{ "type": "sigstoreSigned", "keyPath": "/nowhere" }],
                "m.example:5000": signed(&["ed25519"], &remap),
            },
            "docker-daemon": { "": [{ "type": "insecureAcceptAnything" }] },
        },
    });
    let proposal = imported(&source, false);
    let policy = loaded(&proposal);
    let yes = |name: (&str, &str), signatures: &[(&'static str, &str)]| {
        let signatures: Vec<Signature> = signatures
            .iter()
            .map(|(key, reference)| (*key, (*reference).to_owned()))
            .collect();
        let (ours, theirs) = (
            ours(&policy, name, &signatures),
            theirs_of_data(&source, name, &signatures),
        );
        assert!(!ours || theirs, "{name:?}");
        ours
    };
    let team = ("r.example/team/app", "v1");
    assert!(yes(team, &[("p384", "r.example/team/app:v1")]));
    assert!(!yes(team, &[("p384", "r.example/team/app:v2")]));
    assert!(!yes(team, &[("ed25519", "r.example/team/app:v1")]));
    assert!(yes(
        ("r.example/data", "v1"),
        &[("p384", "r.example/data:v1")]
    ));
    // By its digest alone.
    assert!(yes(
        ("r.example/data", ""),
        &[("p384", "r.example/data:v1")]
    ));
    assert!(!yes(
        ("r.example/data", ""),
        &[("p384", "r.example/both:v1")]
    ));
    let both = "r.example/both:v1";
    assert!(yes(
        ("r.example/both", "v1"),
        &[("p384", both), ("p256", both)]
    ));
    assert!(!yes(("r.example/both", "v1"), &[("p384", both)]));
    let mirrored = ("m.example:5000/hub/library/alpine", "3");
    assert!(yes(mirrored, &[("ed25519", "docker.io/library/alpine:3")]));
    assert!(!yes(
        mirrored,
        &[("ed25519", "m.example:5000/hub/library/alpine:3")]
    ));
    assert!(yes(
        ("m.example:5000/x/y", "1"),
        &[("ed25519", "m.example:5000/x/y:1")]
    ));
    for refused in [
        "team/secret",
        "team/gpg/x",
        "log",
        "keyless",
        "gone",
        "exact",
    ] {
        let name = format!("r.example/{refused}");
        let reference = format!("{name}:v1");
        let all = KEYS.map(|key| (key, reference.as_str()));
        assert!(!yes((&name, "v1"), &all), "{name}");
    }
    assert_eq!(
        left(&proposal),
        [
            "default: insecureAcceptAnything",
            "docker m.example:5000/hub: sigstoreSigned",
            "docker r.example/any: sigstoreSigned",
            "docker r.example/exact",
            "docker r.example/gone",
            "docker r.example/keyless",
            "docker r.example/log",
            "docker r.example/team/gpg",
            "docker-daemon",
        ]
    );
    let unbound = loaded(&imported(&source, true));
    let moved = [("p256", "r.example/any:v1".to_owned())];
    assert!(ours(&unbound, ("r.example/any", "v2"), &moved));
    assert!(!ours(&policy, ("r.example/any", "v2"), &moved));
}

/// As `theirs`, for a file in which a key stands in other members than keyPaths.
fn theirs_of_data(source: &Value, name: (&str, &str), signatures: &[Signature]) -> bool {
    let mut source = source.clone();
    for requirements in source["transports"]["docker"]
        .as_object_mut()
        .unwrap()
        .values_mut()
    {
        for requirement in requirements.as_array_mut().unwrap() {
            if requirement.get("keyPaths").is_none() {
                requirement["keyPaths"] = match requirement.get("keyData") {
                    Some(_) => json!(["/keys/p384.pub"]),
                    None => json!([]),
                };
            }
        }
    }
    theirs(&source, name, signatures)
}

/// A policy with one key for a registry, and these requirements of a scope.
pub(super) fn with(scope: &str, requirements: &Value) -> Value {
    json!({ "default": [{ "type": "reject" }], "transports": { "docker": {
        "r.example": signed(&["p256"], &Value::Null),
        scope: requirements,
        "r.example/b\n[[exempt]]": signed(&["p256"], &Value::Null),
    } } })
}

#[test]
fn a_hostile_policy_of_containers_admits_nothing() {
    let twice = r#"{"default":[{"type":"reject"}],"transports":{"docker":{"r.example/a":[{"type":"reject","type":"insecureAcceptAnything"}]}}}"#;
    assert!(
        containers_policy("f", twice.as_bytes(), &read, false)
            .unwrap_err()
            .what
            .contains("stands twice")
    );
    for text in [
        json!({}),
        json!({ "default": [], "more": 1 }),
        json!({ "default": [{ "type": "reject" }], "transports": 1 }),
        json!({ "default": [{ "type": "reject" }], "transports": { "docker": [] } }),
        json!({ "default": [] }),
    ] {
        assert!(
            containers_policy("f", text.to_string().as_bytes(), &read, false).is_err(),
            "{text}"
        );
    }
    for requirement in [
        json!({ "type": "sigstoreSigned", "keyPath": "/keys/x\n[[exempt]]" }),
        json!({ "type": "sigstoreSigned", "keyPath": "/nowhere" }),
        json!({ "type": "sigstoreSigned", "keyData": "" }),
        json!({ "type": "signedBaseLayer", "baseLayerIdentity": { "type": "matchExact" } }),
    ] {
        let proposal = imported(&with("r.example/a", &json!([requirement])), false);
        let policy = loaded(&proposal);
        let all = KEYS.map(|key| (key, "r.example/a:v1".to_owned()));
        assert!(!ours(&policy, ("r.example/a", "v1"), &all), "{requirement}");
        assert!(
            policy.exempts().is_empty() && !proposal.left_behind.is_empty(),
            "{requirement}"
        );
    }
}

#[test]
fn a_rejected_tag_of_a_repository_that_was_open_is_left_behind_and_refused() {
    for tag in [
        ":v1",
        "@sha256:0000000000000000000000000000000000000000000000000000000000000000",
    ] {
        let mut scopes = json!({
            "r.example": signed(&["p256"], &Value::Null),
            "r.example/app": [{ "type": "insecureAcceptAnything" }],
        });
        scopes[format!("r.example/app{tag}")] = json!([{ "type": "reject" }]);
        let source =
            json!({ "default": [{ "type": "reject" }], "transports": { "docker": scopes } });
        let proposal = imported(&source, false);
        let name = format!("r.example/app{tag}");
        assert!(
            left(&proposal).iter().any(|what| what.contains(&name)),
            "{:?}",
            left(&proposal)
        );
        let policy = loaded(&proposal);
        let app = Repository::from_full("r.example/app").unwrap();
        assert!(
            policy
                .rule_for(&app)
                .is_none_or(|rule| rule.roots.is_empty())
        );
    }
}

#[test]
fn a_key_in_der_is_left_behind_as_one_in_der() {
    let pem = String::from_utf8(pem("p256")).unwrap();
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let policy = json!({ "default": [{ "type": "reject" }], "transports": { "docker": {
        "r.example/a": [{ "type": "sigstoreSigned", "keyData": body }],
    } } });
    let proposal = imported(&policy, false);
    let left = proposal.left_behind.iter();
    let mut left = left.filter(|left| left.what.contains("r.example/a"));
    let why = left.next().unwrap().why.clone();
    assert!(
        why.contains("it is in DER, and these tools read PEM"),
        "{why}"
    );
}

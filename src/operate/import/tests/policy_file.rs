//! A `policy.json` by which its tools refuse every image is an error, wherever its fault is.

use serde_json::{Value, json};

use super::super::*;
use super::signed::{read, with};

#[test]
fn a_requirement_that_its_tools_refuse_is_an_error_in_any_scope() {
    let good = "/keys/p256.pub";
    let key = |more: Value| {
        let mut requirement = json!({ "type": "sigstoreSigned", "keyPath": good });
        let more = more.as_object().unwrap().clone();
        requirement.as_object_mut().unwrap().extend(more);
        requirement
    };
    let named = |identity: Value| key(json!({ "signedIdentity": identity }));
    let remap = |prefix: &str, signed: &str| {
        named(json!({ "type": "remapIdentity", "prefix": prefix, "signedPrefix": signed }))
    };
    for requirement in [
        json!(1),
        json!({}),
        json!({ "type": 1 }),
        json!({ "type": "rejct" }),
        json!({ "type": "reject", "more": 1 }),
        json!({ "type": "insecureAcceptAnything", "keyPath": good }),
        json!({ "type": "signedBy", "keyPath": good }),
        json!({ "type": "signedBy", "keyType": "odd", "keyPath": good }),
        json!({ "type": "signedBy", "keyType": "GPGKeys", "keyPath": good, "keyPaths": [good] }),
        json!({ "type": "signedBaseLayer" }),
        json!({ "type": "sigstoreSigned" }),
        json!({ "type": "sigstoreSigned", "keyPath": "" }),
        json!({ "type": "sigstoreSigned", "keyPath": [good] }),
        json!({ "type": "sigstoreSigned", "keyPaths": [] }),
        json!({ "type": "sigstoreSigned", "keyPaths": [good, 1] }),
        json!({ "type": "sigstoreSigned", "keyData": "not base64" }),
        json!({ "type": "sigstoreSigned", "fulcio": { "caPath": "a", "oidcIssuer": "b", "subjectEmail": "c" } }),
        json!({ "type": "sigstoreSigned", "fulcio": {}, "rekorPublicKeyPath": "r" }),
        json!({ "type": "sigstoreSigned", "pki": { "caRootsPath": "a" } }),
        key(json!({ "keyPaths": [good] })),
        key(json!({ "more": 1 })),
        key(json!({ "rekorPublicKeyPath": "a", "rekorPublicKeyData": "" })),
        named(json!(1)),
        named(Value::Null),
        named(json!({ "type": "odd" })),
        named(json!({ "type": "matchRepository", "more": 1 })),
        named(json!({ "type": "exactReference", "dockerReference": "r.example/a" })),
        named(json!({ "type": "exactRepository", "dockerRepository": "r.example/A" })),
        named(json!({ "type": "remapIdentity", "prefix": "r.example/a" })),
        remap("r.example/a/", "docker.io"),
        remap("r.example/a", "docker.io/"),
        remap("", "docker.io"),
        remap("r.example/a", "x\"\n[[exempt]]"),
    ] {
        // In another scope than the one that is asked about, too.
        for scope in ["r.example/a", "s.example"] {
            let source = with(scope, &json!([requirement])).to_string();
            let read = containers_policy("f", source.as_bytes(), &read, false);
            assert!(read.is_err(), "{source}");
        }
    }
    let empty = with("s.example", &json!([])).to_string();
    assert!(containers_policy("f", empty.as_bytes(), &read, false).is_err());
}

#[test]
fn a_scope_that_its_transport_does_not_have_is_an_error() {
    for (transport, scope, fits) in [
        ("dir", "relative", false),
        ("dir", "/", false),
        ("dir", "/a/../b", false),
        ("dir", "/a/b", true),
        ("oci", "/a/", false),
        ("docker-archive", "/a", false),
        ("docker-daemon", "r.example/a", true),
        ("atomic", "h:8443/ns/stream:tag", true),
        ("atomic", "h/ns:x", false),
        ("containers-storage", "[overlay@/var/lib]r.example/a", true),
        ("containers-storage", "/var/lib", false),
        ("unheard-of", "any thing", true),
        ("dir", "", true),
    ] {
        let reject = json!([{ "type": "reject" }]);
        let source = json!({ "default": reject, "transports": { transport: { scope: reject } } });
        let read = containers_policy("f", source.to_string().as_bytes(), &read, false);
        assert_eq!(read.is_ok(), fits, "{source}");
    }
}

#[test]
fn what_is_no_strict_json_is_an_error_whatever_its_tools_make_of_it() {
    let containers = with("s.example", &json!([{ "type": "reject" }])).to_string();
    let notation = json!({ "version": "1.0", "trustPolicies": [
        { "name": "a", "registryScopes": ["r.example/a"], "signatureVerification": { "level": "skip" } },
    ] })
    .to_string();
    let daemon = json!({ "content-trust": { "mode": "enforced" } }).to_string();
    let notary = json!({ "trust_pinning": { "disable_tofu": true } }).to_string();
    let is_read = |format: usize, text: &str| {
        let (text, servers) = (text.as_bytes(), ServerChoice::default());
        match format {
            0 => containers_policy("f", text, &read, false).is_ok(),
            1 => notation_trust_policy("f", text, &|_| Ok(Vec::new())).is_ok(),
            2 => docker_daemon("f", text, &servers, &TrustDirectory::default()).is_ok(),
            _ => NotaryConfig::read(text).is_ok(),
        }
    };
    for (format, text) in [containers, notation, daemon, notary].iter().enumerate() {
        assert!(is_read(format, text), "{text}");
        let inner = text
            .trim_start_matches('{')
            .trim_end_matches('}')
            .to_owned();
        let first = text.split('"').nth(1).unwrap();
        let twice = format!("{{\"{first}\":null,{}", text.trim_start_matches('{'));
        for broken in [
            format!("\u{feff}{text}"),
            format!("// a comment\n{text}"),
            text.replacen('{', "{/* a comment */", 1),
            text.replacen('{', "{\n# a comment\n", 1),
            format!("{text}{text}"),
            format!("{text} more"),
            text.replacen('"', "'", 2),
            format!("{},}}", text.trim_end_matches('}')),
            format!("[{text}]"),
            text.replacen(first, &format!("{first}\\ud800"), 1),
            text.replacen(':', ": NaN, \"x\":", 1),
            inner,
            twice,
        ] {
            assert!(!is_read(format, &broken), "{broken}");
        }
    }
}

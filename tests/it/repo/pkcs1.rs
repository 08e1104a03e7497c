//! Roots whose keys sign by RSA PKCS#1 v1.5: they count where the policy says so, and nowhere else.

use std::fs;
use std::process::Command;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use rootpin_trust::hex::encode as hex;

use super::shapes::{canonical_bytes, hashed};
use super::{Org, digest, run};

/// The four roles, of which one has an RSA key.
const ROLES: [&str; 4] = ["root", "timestamp", "snapshot", "targets"];

/// An RSA key as other tools list it: in PEM, of the old padding's scheme.
fn listed(rsa: &RsaKeyPair) -> Value {
    let pkcs1 = rsa.public_key().as_ref();
    assert_eq!(pkcs1.len(), 270, "2048 bits, exponent 65537");
    // SubjectPublicKeyInfo of rsaEncryption around it (RFC 3279, section 2.3.1).
    let head = [
        0x30, 0x82, 0x01, 0x22, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01,
        0x01, 0x01, 0x05, 0x00, 0x03, 0x82, 0x01, 0x0f, 0x00,
    ];
    let text = STANDARD.encode([&head[..], pkcs1].concat());
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n");
    json!({ "keytype": "rsa", "scheme": "rsa-pkcs1v15-sha256", "keyval": { "public": pem } })
}

/// A repository at the organisation's place, of which that role's key is RSA's.
fn publish(org: &Org, of: &str, rsa: &RsaKeyPair, plain: &Ed25519KeyPair) {
    fs::create_dir_all(org.path("place")).unwrap();
    let ed25519 = json!({ "keytype": "ed25519", "scheme": "ed25519", "keyval": { "public": hex(plain.public_key().as_ref()) } });
    let key = |role: &str| {
        if role == of {
            listed(rsa)
        } else {
            ed25519.clone()
        }
    };
    let head = |kind: &str| json!({ "_type": kind, "spec_version": "1.0.31", "version": 1, "expires": "2036-01-01T00:00:00Z" });
    let write = |role: &str, name: &str, signed: &Value| {
        let message = canonical_bytes(signed);
        let signature = if role == of {
            let mut signature = vec![0; rsa.public_modulus_len()];
            rsa.sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                &message,
                &mut signature,
            )
            .unwrap();
            signature
        } else {
            plain.sign(&message).as_ref().to_vec()
        };
        let file = json!({ "signatures": [{ "keyid": hashed(&key(role)), "sig": hex(&signature) }], "signed": signed });
        fs::write(org.path("place").join(name), file.to_string()).unwrap();
    };
    let mut root = head("root");
    root["consistent_snapshot"] = json!(true);
    for role in ROLES {
        root["keys"][hashed(&key(role))] = key(role);
        root["roles"][role] = json!({ "keyids": [hashed(&key(role))], "threshold": 1 });
    }
    write("root", "1.root.json", &root);
    let hash = digest("one");
    let target = json!({ "length": 7, "hashes": { "sha256": hash.trim_start_matches("sha256:") } });
    for (role, name, member, value) in [
        (
            "targets",
            "1.targets.json",
            "targets",
            json!({ "r.test/tool:1": target }),
        ),
        (
            "snapshot",
            "1.snapshot.json",
            "meta",
            json!({ "targets.json": { "version": 1 } }),
        ),
        (
            "timestamp",
            "timestamp.json",
            "meta",
            json!({ "snapshot.json": { "version": 1 } }),
        ),
    ] {
        let mut signed = head(role);
        signed[member] = value;
        write(role, name, &signed);
    }
}

#[test]
fn keys_that_sign_by_the_old_padding_count_where_the_policy_allows_it_and_else_the_key_to_set_is_named()
 {
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let plain = Ed25519KeyPair::generate().unwrap();
    for of in ROLES {
        let org = Org::new();
        publish(&org, of, &rsa, &plain);
        let policy = org.path("policy");
        org.pin(&policy, &org.path("place/1.root.json"));
        let verify = |state: &str| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
            command.arg("verify").arg("--policy").arg(&policy);
            command.arg("--state").arg(org.path(state));
            run(command.arg(format!("r.test/tool:1@{}", digest("one"))), b"")
        };
        let refused = verify("before");
        assert_ne!(refused.code, 0, "{of}: {refused:?}");
        // A policy that does not load is told with its findings by `policy check`.
        let checked = run(
            Command::new(env!("CARGO_BIN_EXE_rootpin"))
                .args(["policy", "check"])
                .arg(&policy),
            b"",
        );
        assert_eq!(checked.code != 0, of == "root", "{of}: {checked:?}");
        let told = if of == "root" { checked } else { refused };
        let said = format!("{}{}", told.out, told.err);
        assert!(
            said.contains("rsa-pkcs1v15-sha256") && said.contains("allow-rsa-pkcs1v15 = true"),
            "{of}: {said}"
        );
        let text = fs::read_to_string(policy.join("policy.toml")).unwrap();
        let allowing = text.replace(
            "type = \"tuf\"",
            "type = \"tuf\"\nallow-rsa-pkcs1v15 = true",
        );
        fs::write(policy.join("policy.toml"), allowing).unwrap();
        let allowed = verify("after");
        assert_eq!(allowed.code, 0, "{of}: {allowed:?}");
        // The padding is allowed, and nothing else about the signature.
        let role = if of == "timestamp" {
            of.to_owned()
        } else {
            format!("1.{of}")
        };
        let file = org.path(&format!("place/{role}.json"));
        let mut changed: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        changed["signed"]["expires"] = json!("2036-01-01T00:00:01Z");
        if of != "root" {
            fs::write(&file, changed.to_string()).unwrap();
            assert_ne!(verify("changed").code, 0, "{of}");
        }
    }
}

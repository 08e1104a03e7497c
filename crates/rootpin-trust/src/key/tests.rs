use super::super::key_file::public_keys;
use super::*;
use crate::canonical::{Limits, rewrite};
use crate::hex;

fn data(path: &str) -> Vec<u8> {
    std::fs::read(format!(
        "{}/../../tests/data/{path}",
        env!("CARGO_MANIFEST_DIR")
    ))
    .unwrap()
}

fn only_key(path: &str) -> Result<String, KeyError> {
    let keys = public_keys(&data(&format!("keys/{path}")))?;
    assert_eq!(keys.len(), 1);
    Ok(keys[0].id().to_string())
}

fn canonical(text: &[u8]) -> Vec<u8> {
    let limits = Limits {
        bytes: 1 << 20,
        depth: 16,
        values: 10_000,
    };
    rewrite(text, limits).unwrap()
}

fn notary(text: &[u8]) -> Result<PublicKey, KeyError> {
    PublicKey::from_metadata(Format::Notary, "", Text::of(&canonical(text)))
}

/// Every key of a root.json, with the ID under which it is listed.
fn keys_of(path: &str) -> Vec<(String, PublicKey)> {
    let root = canonical(&data(path));
    let keys = Text::of(&root).get("signed").unwrap().get("keys").unwrap();
    keys.members()
        .unwrap()
        .map(|(id, key)| {
            let key = PublicKey::from_metadata(Format::Notary, &id, key);
            (id.into_owned(), key.unwrap())
        })
        .collect()
}

#[test]
fn certificates_over_one_key_have_one_canonical_id_and_it_names_the_private_key_file() {
    let id = "ef4fdd6bba80081ad3f32448e7c59f209033f48be943bf7366bc8aa2644481e5";
    assert_eq!(only_key("root-app.crt").unwrap(), id);
    assert_eq!(only_key("root-web.crt").unwrap(), id);
    let both = [data("keys/root-app.crt"), data("keys/docker-signer.pub")].concat();
    assert_eq!(public_keys(&both).unwrap().len(), 2);
}

#[test]
fn a_public_key_that_docker_wrote_has_the_id_that_docker_prints() {
    assert_eq!(
        only_key("docker-signer.pub").unwrap(),
        "f612d20f5ff147ca33097841da027fd9172f476cf97185bdd82509fb7e353387"
    );
}

#[test]
fn each_kind_of_key_is_read_and_weak_or_odd_ones_are_not() {
    for good in ["ed25519.pub", "p384.pub", "rsa2048.pub"] {
        only_key(good).unwrap();
    }
    for bad in ["rsa1024.pub", "p256-compressed.pub"] {
        only_key(bad).unwrap_err();
    }
    for bad in [
        "",
        "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----",
        "-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----",
    ] {
        public_keys(bad.as_bytes()).unwrap_err();
    }
}

#[test]
fn every_key_of_the_fixtures_hashes_to_the_id_it_is_listed_under() {
    for path in [
        "server/rsaroot/served",
        "server/rotated/served4",
        "vectors/rotations",
        "gen/longlived",
    ] {
        for (id, key) in keys_of(&format!("notary/{path}/root.json")) {
            assert_eq!(key.scoped_id(), id);
            assert_eq!(key.id().to_string() == id, key.certificates().is_empty());
            assert!(
                key.certificates()
                    .iter()
                    .all(|leaf| leaf.common_name.is_some() && !leaf.authority && !leaf.weak)
            );
        }
    }
}

#[test]
fn a_signature_counts_only_by_the_method_of_its_key_and_at_its_exact_length() {
    let root = canonical(&data("notary/gen/longlived/root.json"));
    let root = Text::of(&root);
    let message = root.get("signed").unwrap().bytes();
    let mut signatures = root.get("signatures").unwrap().elements().unwrap();
    let signature = signatures.next().unwrap().get("sig").unwrap();
    let raw = STANDARD.decode(&*signature.as_str().unwrap()).unwrap();
    let (_, key) = keys_of("notary/gen/longlived/root.json")
        .into_iter()
        .find(|(_, key)| !key.certificates().is_empty())
        .unwrap();
    assert!(key.verify("ecdsa", message, &raw, false));
    for method in ["rsapss", "eddsa", "ECDSA", ""] {
        assert!(!key.verify(method, message, &raw, true), "{method}");
    }
    assert!(!key.verify("ecdsa", message, &[&raw[..], &[0]].concat(), true));
    assert!(!key.verify("ecdsa", message, &raw[..63], true));
    assert!(!key.verify("ecdsa", message, &der_signature(&raw, 32).unwrap(), true));
    assert!(!key.verify("ecdsa", b"other", &raw, true));
}

#[test]
fn rsa_signatures_are_pss_and_pkcs1_only_where_it_is_allowed() {
    use aws_lc_rs::signature::{
        KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RSA_PSS_SHA384, RsaEncoding, RsaKeyPair,
    };
    let pair = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let sign = |padding: &'static dyn RsaEncoding| {
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(
            padding,
            &aws_lc_rs::rand::SystemRandom::new(),
            b"message",
            &mut signature,
        )
        .unwrap();
        signature
    };
    let spki = Material::Rsa(pair.public_key().as_ref().to_vec())
        .spki()
        .unwrap();
    let text = format!(
        r#"{{"keytype":"rsa","keyval":{{"private":null,"public":"{}"}}}}"#,
        STANDARD.encode(spki)
    );
    let key = notary(text.as_bytes()).unwrap();
    assert_eq!(key.id().to_string(), key.scoped_id());
    assert!(key.verify("rsapss", b"message", &sign(&RSA_PSS_SHA256), false));
    assert!(!key.verify("rsapss", b"message", &sign(&RSA_PSS_SHA384), true));
    assert!(!key.verify("rsapss", b"message", &sign(&RSA_PKCS1_SHA256), true));
    assert!(key.verify("rsapkcs1v15", b"message", &sign(&RSA_PKCS1_SHA256), true));
    assert!(!key.verify("rsapkcs1v15", b"message", &sign(&RSA_PKCS1_SHA256), false));
    assert!(!key.verify("ecdsa", b"message", &sign(&RSA_PSS_SHA256), true));
}

#[test]
fn a_key_of_an_unknown_or_wrong_kind_has_an_id_and_verifies_nothing() {
    for (keytype, public) in [
        ("p521", "AAAA"),
        ("ecdsa", "AAAA"),
        ("rsa-x509", "AAAA"),
        ("ed25519", "AAAA"),
        ("ed25519-x509", "AAAA"),
    ] {
        let text = format!(r#"{{"keytype":"{keytype}","keyval":{{"public":"{public}"}}}}"#);
        let key = notary(text.as_bytes()).unwrap();
        assert_eq!(key.id().to_string(), key.scoped_id());
        for method in ["ecdsa", "rsapss", "eddsa"] {
            assert!(!key.verify(method, b"", &[0; 64], true));
        }
    }
    for bad in [
        "{}",
        r#"{"keytype":"ecdsa"}"#,
        r#"{"keytype":"ecdsa","keyval":{"public":"A"}}"#,
        r#"{"keytype":1,"keyval":{"public":"AAAA"}}"#,
    ] {
        assert!(notary(bad.as_bytes()).is_err(), "{bad}");
    }
}

fn tuf(keytype: &str, scheme: &str, public: &str) -> PublicKey {
    let public = public.replace('\n', "\\u000a");
    let text = format!(
        r#"{{"keytype":"{keytype}","keyval":{{"public":"{public}"}},"scheme":"{scheme}"}}"#
    );
    let text = canonical(text.as_bytes());
    PublicKey::from_tuf("any id", Text::of(&text)).unwrap()
}

fn in_pem(material: &Material) -> String {
    format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        STANDARD.encode(material.spki().unwrap())
    )
}

#[test]
fn a_key_is_revoked_by_its_canonical_id_or_by_the_one_in_its_metadata_and_by_no_other() {
    let text =
            canonical(br#"{"keytype":"ed25519","keyval":{"public":"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"},"scheme":"ed25519"}"#);
    let listed = "ab".repeat(32);
    let key = PublicKey::from_tuf(&listed, Text::of(&text)).unwrap();
    let other = PublicKey::from_tuf("key-1", Text::of(&text)).unwrap();
    assert_eq!(key.id(), other.id());
    let [canonical, listed, neither] = [
        key.id(),
        listed.parse().unwrap(),
        KeyId::from_bytes([7; 32]),
    ]
    .map(|id| [id].into());
    assert!(!key.is_revoked(&BTreeSet::new()) && !key.is_revoked(&neither));
    assert!(key.is_revoked(&canonical) && key.is_revoked(&listed));
    assert!(other.is_revoked(&canonical) && !other.is_revoked(&listed));
}

#[test]
fn a_tuf_key_verifies_by_its_own_scheme_and_has_one_id_in_pem_and_hex() {
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA3_384_ASN1_SIGNING,
        ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    };
    let random = aws_lc_rs::rand::SystemRandom::new();
    let pair = Ed25519KeyPair::generate().unwrap();
    let key = tuf(
        "ed25519",
        "ed25519",
        &hex::encode(pair.public_key().as_ref()),
    );
    assert_eq!(key.scoped_id(), "any id");
    assert!(key.verify("", b"message", pair.sign(b"message").as_ref(), false));
    assert!(!key.verify("eddsa", b"other", pair.sign(b"message").as_ref(), true));

    for (algorithm, scheme, good) in [
        (&ECDSA_P256_SHA256_ASN1_SIGNING, "ecdsa-sha2-nistp256", true),
        (&ECDSA_P384_SHA384_ASN1_SIGNING, "ecdsa-sha2-nistp384", true),
        (
            &ECDSA_P384_SHA3_384_ASN1_SIGNING,
            "ecdsa-sha2-nistp384",
            false,
        ),
        (
            &ECDSA_P384_SHA384_ASN1_SIGNING,
            "ecdsa-sha2-nistp256",
            false,
        ),
    ] {
        let pair = EcdsaKeyPair::generate(algorithm).unwrap();
        let hex = hex::encode(pair.public_key().as_ref());
        let bare = tuf("ecdsa", "ecdsa-sha2-nistp256", &hex);
        let bare = if bare.scheme.is_some() {
            bare
        } else {
            tuf("ecdsa", "ecdsa-sha2-nistp384", &hex)
        };
        let signature = pair.sign(&random, b"message").unwrap();
        for (keytype, public) in [("ecdsa", hex), (scheme, in_pem(&bare.material))] {
            let key = tuf(keytype, scheme, &public);
            assert_eq!(
                key.verify("", b"message", signature.as_ref(), false),
                good,
                "{scheme}"
            );
            assert_eq!(key.id() == bare.id(), key.scheme.is_some());
        }
    }
}

#[test]
fn a_tuf_rsa_key_takes_pss_with_its_own_hash_only() {
    use aws_lc_rs::signature::{
        KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RSA_PSS_SHA384, RsaEncoding, RsaKeyPair,
    };
    let pair = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
    let sign = |padding: &'static dyn RsaEncoding| {
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(
            padding,
            &aws_lc_rs::rand::SystemRandom::new(),
            b"message",
            &mut signature,
        )
        .unwrap();
        signature
    };
    let pem = in_pem(&Material::Rsa(pair.public_key().as_ref().to_vec()));
    let key = tuf("rsa", "rsassa-pss-sha256", &pem);
    assert!(key.verify("", b"message", &sign(&RSA_PSS_SHA256), false));
    assert!(!key.verify("", b"message", &sign(&RSA_PSS_SHA384), true));
    assert!(!key.verify("rsapkcs1v15", b"message", &sign(&RSA_PKCS1_SHA256), true));
    assert!(tuf("rsa", "rsassa-pss-sha384", &pem).verify(
        "",
        b"message",
        &sign(&RSA_PSS_SHA384),
        false
    ));
    assert_ne!(tuf("rsa", "rsassa-pkcs1v15-sha256", &pem).id(), key.id());
    assert!(!tuf("rsa", "rsassa-pkcs1v15-sha256", &pem).verify(
        "rsapkcs1v15",
        b"message",
        &sign(&RSA_PKCS1_SHA256),
        true
    ));
}

#[test]
fn a_p256_signature_is_taken_in_its_one_encoding_only() {
    use p256::ecdsa::signature::Signer as _;
    let pair = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
    let point = pair.verifying_key().to_sec1_point(false);
    let (tuf_key, notary_key) = (
        tuf(
            "ecdsa",
            "ecdsa-sha2-nistp256",
            &hex::encode(point.as_bytes()),
        ),
        Material::P256(point.as_bytes().to_vec()),
    );
    let notary_key = PublicKey {
        material: notary_key,
        scheme: None,
        ..tuf_key.clone()
    };
    // High bits that are not set: no padding in DER.
    let signed = (0..=255_u8).map(|byte| ([byte], pair.sign(&[byte])));
    let ([byte], signature) = signed
        .into_iter()
        .find(|(_, signed): &(_, p256::ecdsa::Signature)| signed.to_der().as_bytes().len() == 70)
        .unwrap();
    let (raw, der) = (
        signature.to_bytes().to_vec(),
        signature.to_der().as_bytes().to_vec(),
    );
    assert!(
        tuf_key.verify("", &[byte], &der, false)
            && notary_key.verify("ecdsa", &[byte], &raw, false)
    );
    assert!(
        !tuf_key.verify("", &[!byte], &der, false)
            && !notary_key.verify("ecdsa", &[!byte], &raw, false)
    );
    let (r, s) = der[4..].split_at(32);
    let zero = [0; 32];
    let odd: [&[&[u8]]; 9] = [
        &[&der, b"\0"],
        &[&der[..69]],
        &[&[0x30, 0x81, 0x44], &der[2..]],
        &[&[0x30, 0x80], &der[2..], &[0, 0]],
        &[&[0x30, 0x45, 0x02, 0x21, 0x00], r, s],
        &[&[0x30, 0x26, 0x02, 0x20], r, &[0x02, 0x02, 0x00, 0x00]],
        &[&[0x30, 0x25, 0x02, 0x01, 0x00], s],
        &[&raw],
        &[b""],
    ];
    for odd in odd {
        assert!(
            !tuf_key.verify("", &[byte], &odd.concat(), false),
            "{odd:?}"
        );
    }
    for odd in [
        &raw[..63],
        &[&raw[..], b"\0"].concat(),
        &[&raw[..32], &zero].concat(),
        &[&zero, &raw[32..]].concat(),
        &der,
        b"",
    ] {
        assert!(!notary_key.verify("ecdsa", &[byte], odd, false), "{odd:?}");
    }
    let p384 = aws_lc_rs::signature::EcdsaKeyPair::generate(
        &aws_lc_rs::signature::ECDSA_P384_SHA384_ASN1_SIGNING,
    )
    .unwrap();
    let mut p384 = aws_lc_rs::signature::KeyPair::public_key(&p384)
        .as_ref()
        .to_vec();
    assert!(Material::from_tuf("ecdsa", &hex::encode(&p384)).is_some());
    p384[0] = 6 + p384[96] % 2;
    assert!(
        Material::from_tuf("ecdsa", &hex::encode(&p384)).is_none(),
        "the hybrid form"
    );
    for (at, byte) in [(64, point.as_bytes()[64] ^ 1), (0, 2), (0, 6), (0, 7)] {
        let mut odd = point.as_bytes().to_vec();
        odd[at] = byte;
        assert!(
            Material::from_tuf("ecdsa", &hex::encode(&odd)).is_none(),
            "a point beside the curve, or in another form"
        );
    }
}

#[test]
fn a_chain_of_certificates_is_no_pin() {
    let leaf = String::from_utf8(data("keys/root-app.crt")).unwrap();
    let authority = String::from_utf8(data("keys/authority.crt")).unwrap();
    assert!(public_keys(format!("{leaf}{authority}").as_bytes()).is_err());
    assert_eq!(public_keys(authority.as_bytes()).unwrap().len(), 1);
}

#[test]
fn a_key_id_is_64_lower_case_hex_digits() {
    let id = "ef4fdd6bba80081ad3f32448e7c59f209033f48be943bf7366bc8aa2644481e5";
    assert_eq!(id.parse::<KeyId>().unwrap().to_string(), id);
    assert!(id.to_uppercase().parse::<KeyId>().is_err());
    assert!(id[1..].parse::<KeyId>().is_err());
}
